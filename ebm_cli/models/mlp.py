"""Multilayer perceptron energy, for vectors and small images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from ebm_cli.models.network import Network
from ebm_cli.models.network import activation as make_activation


class MLP(Network):
    """Fully connected energy of the flattened input.

    Args:
        hidden: widths of the hidden layers.
        activation: silu, relu, leaky_relu, elu, gelu, softplus or tanh.
        fourier: append ``sin`` and ``cos`` of ``2 pi k x / fourier_period`` for k = 1 .. fourier, per coordinate.
        fourier_period: period of the slowest feature, in the units of the data.
        spectral_norm: bound every hidden layer's largest singular value to 1 (Miyato et al. 2018).

    Example:
        >>> MLP((2,), hidden=[16, 16])(torch.zeros(2, 2)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape,
        *,
        hidden: Sequence[int] = (256, 256),
        activation: str = "silu",
        fourier: int = 0,
        fourier_period: float = 14.0,
        spectral_norm: bool = False,
        **supplied,
    ):
        super().__init__(shape, **supplied)
        self.fourier = fourier
        frequencies = 2 * math.pi / fourier_period * torch.arange(1, fourier + 1)
        self.register_buffer("frequencies", frequencies, persistent=False)
        widths = [math.prod(self.shape) * (1 + 2 * fourier), *hidden]
        layers = [nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False)]
        if spectral_norm:
            layers = [with_spectral_norm(layer) for layer in layers]
        acts = [make_activation(activation) for _ in layers]
        pairs = [module for pair in zip(layers, acts, strict=True) for module in pair]
        self.layers = nn.Sequential(*pairs, nn.Linear(widths[-1], self.n_outputs))

    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.layers(self.features(x.flatten(1)))

    def features(self, x: Tensor) -> Tensor:
        """The flattened input ``(B, d)``, with its Fourier features appended: ``(B, d (1 + 2 fourier))``."""
        if not self.fourier:
            return x
        angles = (x[:, :, None] * self.frequencies).flatten(1)
        return torch.cat([x, angles.sin(), angles.cos()], 1)
