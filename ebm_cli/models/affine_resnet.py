"""The residual network of igebm-pytorch, a reimplementation of IGEBM that many later papers build on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from ebm_cli.models.network import Network, check_image
from ebm_cli.models.pooling import ConvPool
from ebm_cli.models.resnet import check_blocks, convolution, spread
from ebm_cli.models.spectral import normalized


class AffineResNet(Network):
    """IGEBM's network as K. Seonghyeon wrote it: a gain and a bias per class after each convolution of a block.

    Against ``ResNet`` the shortcut is a 1x1 convolution and there wherever a block halves the image, both convolutions
    have a gain, biases follow them instead of preceding them, and the stem (without labels: every convolution but the
    shortcut's) has a bias. Weights under the spectral norm are drawn from N(0, 1).

    Args:
        width: channels of the stem, which block widths multiply.
        blocks: ``[multiple, halve]`` per block: channels as a multiple of ``width``, and whether to halve the image.
        conditional: gains and biases per class; labels are then needed.

    Raises:
        ValueError: as ``ResNet``.

    Example:
        >>> AffineResNet((3, 32, 32), width=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape,
        *,
        width: int = 128,
        blocks: Sequence = ((1, True), (1, False), (2, True), (2, False), (2, True), (2, False)),
        conditional: bool = False,
        **supplied,
    ):
        super().__init__(shape, **supplied)
        check_blocks(blocks)
        check_image(self.shape, "AffineResNet", 2 ** sum(bool(halve) for _, halve in blocks))
        self.condition(conditional, supplied.get("n_classes"))
        self.stem = convolution(self.shape[0], width, spectral_norm=True, bias=True)
        channels, layers = width, []
        for multiple, halve in blocks:
            layers.append(
                AffineBlock(channels, round(multiple * width), bool(halve), self.n_classes if conditional else 0)
            )
            channels = round(multiple * width)
        self.blocks = nn.ModuleList(layers)
        self.head = nn.Linear(channels, self.n_outputs)

    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = leaky_relu(self.stem(x), 0.2)
        for block in self.blocks:
            h = block(h, y)
        return self.head(h.relu().sum((2, 3)))


class AffineBlock(nn.Module):
    """``act(pool(g2 * conv2(act(g1 * conv1(x) + b1)) + b2 + shortcut(x)))``, pooled next to the convolutions.

    Args:
        a, b: channels in and out.
        halve: pool 2x2.
        n_classes: classes with gains and biases of their own; 0 has neither.
    """

    def __init__(self, a: int, b: int, halve: bool, n_classes: int):
        super().__init__()
        self.conv1 = convolution(a, b, spectral_norm=True, bias=not n_classes)
        conv2 = convolution(b, b, spectral_norm=True, bounded=True, bias=not n_classes)
        self.conv2 = ConvPool(conv2) if halve else conv2
        self.shortcut = nn.Identity()
        if halve or a != b:
            one_by_one = nn.Conv2d(a, b, 1, bias=False)
            nn.init.normal_(one_by_one.weight)
            one_by_one = normalized(one_by_one)
            self.shortcut = ConvPool(one_by_one) if halve else one_by_one
        self.affine = nn.Embedding.from_pretrained(rows_of(n_classes, b), freeze=False) if n_classes else None

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        if self.affine is None:
            return leaky_relu(self.conv2(leaky_relu(self.conv1(x), 0.2)) + self.shortcut(x), 0.2)
        gain1, gain2, bias1, bias2 = (spread(part) for part in self.affine(y).chunk(4, 1))
        h = leaky_relu(gain1 * self.conv1(x) + bias1, 0.2)
        return leaky_relu(gain2 * self.conv2(h) + bias2 + self.shortcut(x), 0.2)


def rows_of(n_classes: int, channels: int) -> Tensor:
    """Two gains of 1 and two biases of 0 per channel, for each class: ``(n_classes, 4 channels)``."""
    return torch.cat([torch.ones(n_classes, 2 * channels), torch.zeros(n_classes, 2 * channels)], 1)
