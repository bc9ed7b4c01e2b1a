"""A variational autoencoder (Kingma & Welling 2014)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ebm_cli.baselines.baseline import Baseline, mlp


class VAE(Baseline):
    """Gaussian encoder and decoder, one learned decoder variance (sigma-VAE, Rybkin et al. 2021).

    Samples are decoder means for images, whose noise nobody wants to see, and full draws for points.

    Args:
        dim: number of entries of one input.
        width: of the hidden layers.
        latent: number of latent variables; null is 16 for images and 8 for points.
    """

    def __init__(self, dim: int, width: int = 256, latent: int | None = None):
        super().__init__(dim, width)
        self.latent = latent or (16 if dim > 3 else 8)
        self.encoder = mlp(dim, width, width, 2 * self.latent)
        self.decoder = mlp(self.latent, width, width, dim)
        self.log_std = nn.Parameter(torch.tensor(-2.0))  # from 0 the codes collapse before they are of use

    def loss(self, x: Tensor) -> Tensor:
        """Minus the evidence lower bound per example, in nats."""
        mean, log_std = self.encoder(x).chunk(2, 1)
        z = mean + log_std.exp() * torch.randn_like(mean)
        divergence = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(1)
        squared = (x - self.decoder(z)).square().sum(1)
        surprise = 0.5 * squared * (-2 * self.log_std).exp() + self.dim * (self.log_std + 0.5 * math.log(2 * math.pi))
        return (surprise + divergence).mean()

    def sample(self, n: int) -> Tensor:
        x = self.decoder(torch.randn(n, self.latent))
        return x if self.dim > 3 else x + self.log_std.exp() * torch.randn_like(x)
