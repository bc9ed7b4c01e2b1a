"""Spectral normalization of weights: the plain one is torch's, the bounded one is IGEBM's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm


class BoundedSpectralNorm(nn.Module):
    """``w / sigma * min(sigma, 1)``: bounds the largest singular value by 1 and leaves smaller ones alone.

    ``sigma`` comes from one power iteration per forward pass in training mode and is frozen in evaluation mode, so that
    an energy is one function along a chain (Du & Mordatch 2019, the second convolution of a block).
    """

    def __init__(self, weight: Tensor):
        super().__init__()
        matrix = weight.flatten(1)
        self.register_buffer("u", normalize(torch.randn(matrix.shape[0]), dim=0))
        self.register_buffer("v", normalize(torch.randn(matrix.shape[1]), dim=0))
        for _ in range(15):
            self.iterate(matrix)

    @torch.no_grad()
    def iterate(self, matrix: Tensor) -> None:
        """One power iteration, out of place: earlier graphs keep the vectors that they were made with."""
        self.v = normalize(matrix.T @ self.u, dim=0, eps=1e-12)
        self.u = normalize(matrix @ self.v, dim=0, eps=1e-12)

    def forward(self, weight: Tensor) -> Tensor:
        matrix = weight.flatten(1)
        if self.training:
            self.iterate(matrix.detach())
        sigma = torch.dot(self.u, matrix @ self.v)
        return weight / sigma.clamp_min(1.0)


def normalized(layer: nn.Module, bounded: bool = False) -> nn.Module:
    """``layer`` with its weight spectrally normalized, to exactly 1 or to at most 1."""
    if not bounded:
        return spectral_norm(layer)
    parametrize.register_parametrization(layer, "weight", BoundedSpectralNorm(layer.weight.data))
    return layer
