"""The residual networks of IGEBM (Du & Mordatch 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ebm_cli.models.network import Network, check_image
from ebm_cli.models.network import activation as make_activation
from ebm_cli.models.pooling import ConvPool
from ebm_cli.models.spectral import normalized


class ResNet(Network):
    """Residual energy: a stem, blocks that may halve the image, a sum over positions, one linear layer.

    Convolutions have no bias of their own and are spectrally normalized; each block adds a bias to the input of both
    convolutions and multiplies the output of the second by a gain, per class where the model is conditional.

    Args:
        width: channels of the stem, which block widths multiply.
        blocks: ``[multiple, halve]`` per block: channels as a multiple of ``width``, and whether to halve the image.
        conditional: gains and biases per class; labels are then needed.
        activation: see ``MLP``. With leaky_relu the sum over positions is of relu, as in the source.
        spectral_norm: normalize convolutions; the second of a block is only bounded.
        dropout: probability between the convolutions of a block.
        samples_in_train_mode: training's chains see dropout too, as the source's large networks do; they then belong to
            no one energy, and the power iterations of the spectral norm go on along them.

    Raises:
        ValueError: for blocks that are no such pairs, ``conditional`` without labels, inputs that are no images or too
            small to be halved so often.

    Example:
        >>> ResNet((3, 32, 32), width=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape,
        *,
        width: int = 128,
        blocks: Sequence = ((1, True), (1, False), (2, True), (2, False), (2, True), (2, False)),
        conditional: bool = False,
        activation: str = "leaky_relu",
        spectral_norm: bool = True,
        dropout: float = 0.0,
        samples_in_train_mode: bool = False,
        **supplied,
    ):
        super().__init__(shape, **supplied)
        check_blocks(blocks)
        check_image(self.shape, "ResNet", 2 ** sum(bool(halve) for _, halve in blocks))
        self.condition(conditional, supplied.get("n_classes"))
        self.samples_in_train_mode = samples_in_train_mode
        rows = self.n_classes if conditional else 1
        options = {"rows": rows, "activation": activation, "spectral_norm": spectral_norm, "dropout": dropout}
        self.stem = convolution(self.shape[0], width, spectral_norm)
        self.act = make_activation(activation)
        channels, layers = width, []
        for multiple, halve in blocks:
            layers.append(Block(channels, round(multiple * width), halve=bool(halve), **options))
            channels = round(multiple * width)
        self.blocks = nn.ModuleList(layers)
        self.last_act = make_activation("relu" if activation == "leaky_relu" else activation)
        self.head = nn.Linear(channels, self.n_outputs)
        nn.init.xavier_uniform_(self.head.weight)

    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        row = torch.zeros(len(x), dtype=torch.long, device=x.device) if y is None else y
        h = self.act(self.stem(x))
        for block in self.blocks:
            h = block(h, row)
        return self.head(self.last_act(h).sum((2, 3)))


class Block(nn.Module):
    """``act(pool(conv2(act(drop(conv1(x + b1))) + b2) * g + c + shortcut(x)))``, post-activation.

    The pooling is written inside the sum, next to the convolutions: gains and biases commute with it.

    Args:
        a, b: channels in and out.
        halve: pool 2x2.
        rows: rows of gains and biases: classes, or 1.
    """

    def __init__(self, a: int, b: int, *, halve: bool, rows: int, activation: str, spectral_norm: bool, dropout: float):
        super().__init__()
        self.act, self.drop = make_activation(activation), nn.Dropout(dropout)
        self.conv1 = convolution(a, b, spectral_norm)
        conv2 = convolution(b, b, spectral_norm, bounded=True)
        self.conv2 = ConvPool(conv2) if halve else conv2
        self.shortcut = nn.AvgPool2d(2) if halve else nn.Identity()
        if a != b:
            shortcut = convolution(a, b, spectral_norm)
            self.shortcut = ConvPool(shortcut) if halve else shortcut
        self.bias1 = nn.Embedding.from_pretrained(torch.zeros(rows, a), freeze=False)
        self.bias2 = nn.Embedding.from_pretrained(torch.zeros(rows, b), freeze=False)
        self.gain = nn.Embedding.from_pretrained(torch.ones(rows, b), freeze=False)
        self.offset = nn.Parameter(torch.zeros(b))

    def forward(self, x: Tensor, row: Tensor) -> Tensor:
        h = self.act(self.drop(self.conv1(x + spread(self.bias1(row)))))
        h = self.conv2(h + spread(self.bias2(row))) * spread(self.gain(row)) + self.offset[:, None, None]
        return self.act(h + self.shortcut(x))


def check_blocks(blocks) -> None:
    """Raises ValueError naming the first block that is no ``[multiple, halve]``."""
    for block in blocks:
        pair = isinstance(block, Sequence) and len(block) == 2
        if not (pair and isinstance(block[0], (int, float)) and block[0] > 0 and block[1] in (True, False)):
            raise ValueError(f"blocks must be a list of [multiple of width, true or false], got {block!r} in it")


def convolution(a: int, b: int, spectral_norm: bool, bounded: bool = False, bias: bool = False) -> nn.Conv2d:
    """A 3x3 convolution; under spectral norm drawn as IGEBM does, N(0, 1), or N(0, 1e-10) if bounded."""
    layer = nn.Conv2d(a, b, 3, padding=1, bias=bias)
    if not spectral_norm:
        return layer
    nn.init.normal_(layer.weight, std=1e-10 if bounded else 1.0)
    return normalized(layer, bounded)


def spread(per_channel: Tensor) -> Tensor:
    """``(B, C)`` over positions."""
    return per_channel[:, :, None, None]
