"""A generative adversarial network (Goodfellow et al. 2014) with the R1 penalty (Mescheder et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ebm_cli.baselines.baseline import Baseline, Budget, set_rate
from ebm_cli.baselines.layers import Upsampled, convolutions, mlp

LAZY = 4  # the penalty at every so manieth update, that much stronger (StyleGAN2)


class GAN(Baseline):
    """Non-saturating losses; samples come from an average of the generator's weights.

    Convolutions for images from 16 pixels on, perceptrons for smaller ones, which learn faster so.

    Args:
        shape: of one input.
        width: of the hidden layers.
        latent: number of latent variables.
        r1: weight of the squared gradient of the critic at the data.
        average: decay of the weight average.
    """

    steps = 10_000

    def __init__(
        self, shape: tuple[int, ...], width: int = 256, latent: int = 16, r1: float = 0.3, average: float = 0.998
    ):
        super().__init__(shape, width)
        self.latent, self.r1 = latent, r1
        self.batch_size = 32 if self.images else 128
        self.generator, self.critic = networks(self.shape, width, latent)
        decay = torch.optim.swa_utils.get_ema_multi_avg_fn(average)
        self.averaged = torch.optim.swa_utils.AveragedModel(self.generator, multi_avg_fn=decay)

    def fit(self, batches, budget: Budget) -> int:
        """Adam on either side in turn; the rate falls to 0 over the second half."""
        critic, generator = (
            torch.optim.Adam(part.parameters(), lr=self.lr, betas=(0.0, 0.99)) for part in (self.critic, self.generator)
        )
        updates = 0
        for share in budget:
            lr = self.lr * min(1.0, 2 * (1 - share))
            descend(critic, lr, self.critic_loss(batches(), penalized=updates % LAZY == 0))
            descend(generator, lr, self.generator_loss())
            self.averaged.update_parameters(self.generator)
            updates += 1
        self.eval().requires_grad_(False)
        return updates

    def critic_loss(self, x: Tensor, penalized: bool) -> Tensor:
        with torch.no_grad():
            fake = self.generator(torch.randn(len(x), self.latent))
        x = x.requires_grad_(penalized)
        real = self.critic(x)
        loss = softplus(self.critic(fake)).mean() + softplus(-real).mean()
        if not penalized:
            return loss
        (grad,) = torch.autograd.grad(real.sum(), x, create_graph=True)
        return loss + LAZY * 0.5 * self.r1 * grad.square().flatten(1).sum(1).mean()

    def generator_loss(self) -> Tensor:
        return softplus(-self.critic(self.generator(torch.randn(self.batch_size, self.latent)))).mean()

    def sample(self, n: int) -> Tensor:
        return self.averaged(torch.randn(n, self.latent))


def descend(optimizer: torch.optim.Optimizer, lr: float, loss: Tensor) -> None:
    """One update; gradients that a loss leaves on the other side are dropped there before its own."""
    set_rate(optimizer, lr)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def networks(shape: tuple[int, ...], width: int, latent: int) -> tuple[nn.Module, nn.Module]:
    """Generator and critic."""
    if len(shape) == 3 and shape[1] >= 16:
        return Upsampled(latent, width, shape), convolutions(shape, width, 1)
    dim = torch.Size(shape).numel()
    generator = nn.Sequential(mlp(latent, width, width, dim), nn.Unflatten(1, shape))
    return generator, nn.Sequential(nn.Flatten(), mlp(dim, width, width, 1))
