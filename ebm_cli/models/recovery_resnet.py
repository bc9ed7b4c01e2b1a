"""The noise-conditional network of diffusion recovery likelihood (Gao et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, leaky_relu

from ebm_cli.models.network import Network, check_image, marginal
from ebm_cli.models.spectral import normalized


class RecoveryResNet(Network):
    """Pre-activation residual energy ``E(x, t)``: average pooling between levels, the noise level in every block.

    The energy is minus the inner product of the features, summed over positions, with an embedding of t. All layers but
    that last embedding are spectrally normalized.

    Args:
        width: channels, which the multiples of each level multiply.
        multiples: one level of the pyramid each; the image is halved between levels.
        n_blocks: blocks per level: 8 for CIFAR-10, 6 for CelebA.

    Raises:
        ValueError: for inputs that are no images or too small to be halved so often.

    Example:
        >>> RecoveryResNet((3, 32, 32))(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape,
        *,
        width: int = 128,
        multiples: Sequence[int] = (1, 2, 2, 2),
        n_blocks: int = 8,
        **supplied,
    ):
        super().__init__(shape, **supplied)
        check_image(self.shape, "RecoveryResNet", 2 ** (len(multiples) - 1))
        self.width, embedding = width, 4 * width
        self.embed = nn.Sequential(
            normalized(linear(width, embedding)), nn.LeakyReLU(0.2), normalized(linear(embedding, embedding))
        )
        self.stem = normalized(convolution(self.shape[0], width))
        channels, levels = width, []
        for multiple in multiples:
            level = nn.ModuleList()
            for _ in range(n_blocks):
                level.append(RecoveryBlock(channels, multiple * width, embedding))
                channels = multiple * width
            levels.append(level)
        self.levels = nn.ModuleList(levels)
        self.head = linear(embedding, channels * self.n_outputs)

    def forward(self, x: Tensor, y: Tensor | None = None, t: Tensor | None = None) -> Tensor:
        if self.joint:
            return marginal(self.outputs(x, t=t)) if y is None else self.outputs(x, t=t).gather(1, y[:, None])[:, 0]
        return self.outputs(x, t=t)[:, 0]

    def outputs(self, x: Tensor, y: Tensor | None = None, t: Tensor | None = None) -> Tensor:
        t = torch.zeros(len(x), device=x.device) if t is None else t
        embedding = leaky_relu(self.embed(sinusoids(t.to(x.dtype), self.width)), 0.2)
        h = self.stem(x)
        for i, level in enumerate(self.levels):
            h = avg_pool2d(h, 2) if i else h
            for block in level:
                h = block(h, embedding)
        features = h.relu().sum((2, 3))
        return -(features[:, None] * self.head(embedding).unflatten(1, (self.n_outputs, -1))).sum(2)


class RecoveryBlock(nn.Module):
    """``shortcut(x) + g * (conv2(act(conv1(act(x)) + W t)))``, the second convolution near 0 at first and bounded.

    Args:
        a, b: channels in and out.
        embedding: entries of the embedding of t.
    """

    def __init__(self, a: int, b: int, embedding: int):
        super().__init__()
        self.conv1 = normalized(convolution(a, b))
        self.noise = normalized(linear(embedding, b))
        self.conv2 = normalized(convolution(b, b, gain=1e-5), bounded=True)
        self.scale = nn.Parameter(torch.ones(b))
        self.shortcut = normalized(convolution(a, b)) if a != b else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(leaky_relu(x, 0.2)) + self.noise(embedding)[:, :, None, None]
        return self.shortcut(x) + self.conv2(leaky_relu(h, 0.2)) * self.scale[:, None, None]


def sinusoids(t: Tensor, size: int) -> Tensor:
    """Sines and cosines of ``t`` ``(B,)`` at ``size / 2`` frequencies from 1 to 1e-4 (Vaswani et al. 2017)."""
    half = size // 2
    frequencies = torch.exp(torch.arange(half, device=t.device, dtype=t.dtype) * (-math.log(10000) / (half - 1)))
    angles = t[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)


def convolution(a: int, b: int, gain: float = 1.0) -> nn.Conv2d:
    """A 3x3 convolution drawn as in the source."""
    return drawn(nn.Conv2d(a, b, 3, padding=1), gain)


def linear(a: int, b: int) -> nn.Linear:
    return drawn(nn.Linear(a, b))


def drawn(layer: nn.Module, gain: float = 1.0) -> nn.Module:
    """``layer`` with Xavier weights and without bias at first."""
    nn.init.xavier_uniform_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer
