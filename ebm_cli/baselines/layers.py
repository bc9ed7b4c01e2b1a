"""Small networks between inputs and vectors: perceptrons for points, convolutions for images."""

from __future__ import annotations

import math

from torch import Tensor, nn


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with SiLU between them."""
    layers = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


def convolutions(shape: tuple[int, int, int], width: int, outputs: int) -> nn.Sequential:
    """Images ``(B, C, H, W)`` to ``(B, outputs)``; large ones are halved twice, small ones once."""
    strides = (2, 2) if halvings(shape) == 2 else (1, 2)
    layers, channels = [], shape[0]
    for stride, out in zip(strides, (32, 64), strict=True):
        layers += [nn.Conv2d(channels, out, 3, stride, 1), nn.SiLU()]
        channels = out
    side = math.prod(smallest(shape))
    return nn.Sequential(*layers, nn.Flatten(), *mlp(64 * side, width, outputs))


class Upsampled(nn.Module):
    """Vectors ``(B, inputs)`` to images ``(B, *shape)``: the way back of ``convolutions``."""

    def __init__(self, inputs: int, width: int, shape: tuple[int, int, int]):
        super().__init__()
        self.shape, (height, wide) = shape, smallest(shape)
        layers, channels = [*mlp(inputs, width, 64 * height * wide), nn.SiLU(), nn.Unflatten(1, (64, height, wide))], 64
        for _ in range(halvings(shape)):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(channels, 32, 3, 1, 1), nn.SiLU()]
            channels = 32
        self.layers = nn.Sequential(*layers, nn.Conv2d(32, 32, 3, 1, 1), nn.SiLU(), nn.Conv2d(32, shape[0], 3, 1, 1))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)[..., : self.shape[1], : self.shape[2]]


def halvings(shape: tuple[int, int, int]) -> int:
    return 2 if shape[1] >= 16 else 1


def smallest(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Height and width of the inmost feature maps."""
    factor = 2 ** halvings(shape)
    return math.ceil(shape[1] / factor), math.ceil(shape[2] / factor)
