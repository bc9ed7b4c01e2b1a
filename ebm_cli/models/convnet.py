"""A small strided CNN energy: digits, MNIST, Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ebm_cli.models.network import Network, check_image
from ebm_cli.models.network import activation as make_activation


class ConvNet(Network):
    """Strided convolutions, then one hidden layer.

    With ``channels=[16, 32, 64, 64]``, ``kernels=[5, 3, 3, 3]``, ``strides=[2, 2, 2, 2]``, ``paddings=[4, 1, 1, 1]``
    and ``hidden=64`` on 1x28x28 it is the network of the UvA deep energy models tutorial (P. Lippe).

    With ``channels=[64, 128, 256, 512]``, ``kernels=[3, 4, 4, 4]``, ``strides=[1, 2, 2, 2]``, ``paddings`` of 1 and
    ``hidden=null`` on 3x32x32 it is that of short-run MCMC (Nijkamp et al. 2019): their last 4x4 convolution without
    padding is a linear layer.

    For 8x8 digits on a processor ``channels=[16, 32, 32]``, ``kernels=[3, 3, 3]``, ``strides=[1, 2, 2]``,
    ``paddings=[1, 1, 1]`` and ``hidden=32`` are enough.

    Args:
        channels: of each convolution's output.
        kernels, strides, paddings: of each convolution.
        hidden: width of the layer before the output; null for none.
        activation: see ``MLP``.

    Raises:
        ValueError: for lists of different lengths, and for inputs that are no images or too small for the strides.

    Example:
        >>> ConvNet((1, 28, 28))(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape,
        *,
        channels: Sequence[int] = (16, 32, 64, 64),
        kernels: Sequence[int] = (5, 3, 3, 3),
        strides: Sequence[int] = (2, 2, 2, 2),
        paddings: Sequence[int] = (4, 1, 1, 1),
        hidden: int | None = 64,
        activation: str = "silu",
        **supplied,
    ):
        super().__init__(shape, **supplied)
        if not len(channels) == len(kernels) == len(strides) == len(paddings):
            raise ValueError("channels, kernels, strides and paddings must be lists of one length")
        check_image(self.shape, "ConvNet", smallest_side(kernels, strides, paddings))
        widths = [self.shape[0], *channels]
        layers = []
        for a, b, kernel, stride, padding in zip(widths, channels, kernels, strides, paddings, strict=False):
            layers += [nn.Conv2d(a, b, kernel, stride, padding), make_activation(activation)]
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            features = self.convolutions(torch.zeros(1, *self.shape)).shape[1]
        layers = [nn.Linear(features, hidden), make_activation(activation)] if hidden else []
        self.head = nn.Sequential(*layers, nn.Linear(hidden or features, self.n_outputs))

    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.head(self.convolutions(x))


def smallest_side(kernels: Sequence[int], strides: Sequence[int], paddings: Sequence[int]) -> int:
    """Side of the smallest image that leaves one pixel after all convolutions."""
    side = 1
    for kernel, stride, padding in reversed(list(zip(kernels, strides, paddings, strict=True))):
        side = max(1, (side - 1) * stride + kernel - 2 * padding)
    return side
