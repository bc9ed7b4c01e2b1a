"""A variational autoencoder (Kingma & Welling 2014), its prior fitted once more after training (Ghosh et al. 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily, MultivariateNormal

from ebm_cli.baselines.baseline import Budget, LossBaseline
from ebm_cli.baselines.layers import Upsampled, convolutions, mlp


class VAE(LossBaseline):
    """Gaussian encoder and decoder, one learned decoder variance (sigma-VAE, Rybkin et al. 2021).

    Draws of the standard normal prior fall between the codes of a thousand images; so samples start from a mixture of
    Gaussians fitted to the codes of training data (Ghosh et al. 2020). They are decoder means for images, whose noise
    nobody wants to see, and full draws for points.

    Args:
        shape: of one input.
        width: of the hidden layers.
        latent: number of latent variables; null is 16 for images and 8 for points.
        components: of the mixture; 0 keeps the standard normal.
    """

    def __init__(self, shape: tuple[int, ...], width: int = 256, latent: int | None = None, components: int = 10):
        super().__init__(shape, width)
        self.latent = latent or (16 if self.images else 8)
        if self.images:
            self.encoder = convolutions(shape, width, 2 * self.latent)
            self.decoder = Upsampled(self.latent, width, shape)
        else:
            self.encoder = mlp(self.dim, width, width, 2 * self.latent)
            self.decoder = mlp(self.latent, width, width, self.dim)
        self.log_std = nn.Parameter(torch.tensor(-2.0))  # from 0 the codes collapse before they are of use
        self.components, self.prior = components, None

    def fit(self, batches, budget: Budget) -> int:
        """Trains, then fits the prior."""
        updates = super().fit(batches, budget)
        if self.components:
            self.prior = mixture(torch.cat([self.code(batches())[0] for _ in range(40)]), self.components)
        return updates

    def code(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A draw of the encoder ``(B, latent)``, and its divergence from the standard normal ``(B,)``."""
        mean, log_std = self.encoder(x).chunk(2, 1)
        divergence = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(1)
        return mean + log_std.exp() * torch.randn_like(mean), divergence

    def loss(self, x: Tensor) -> Tensor:
        """Minus the evidence lower bound per example, in nats."""
        z, divergence = self.code(x)
        squared = (x - self.decoder(z)).square().flatten(1).sum(1)
        surprise = 0.5 * squared * (-2 * self.log_std).exp() + self.dim * (self.log_std + 0.5 * math.log(2 * math.pi))
        return (surprise + divergence).mean()

    def sample(self, n: int) -> Tensor:
        z = torch.randn(n, self.latent) if self.prior is None else self.prior.sample((n,)).float()
        x = self.decoder(z)
        return x if self.images else x + self.log_std.exp() * torch.randn_like(x)


def mixture(z: Tensor, components: int) -> Distribution:
    """A mixture of full-covariance Gaussians fitted to codes ``(N, latent)`` by expectation maximization."""
    from sklearn.mixture import GaussianMixture

    fitted = GaussianMixture(components, reg_covar=1e-3, random_state=torch.initial_seed() % 2**32)
    fitted.fit(z.double().numpy())
    means, covariances = torch.as_tensor(fitted.means_), torch.as_tensor(fitted.covariances_)
    return MixtureSameFamily(Categorical(torch.as_tensor(fitted.weights_)), MultivariateNormal(means, covariances))
