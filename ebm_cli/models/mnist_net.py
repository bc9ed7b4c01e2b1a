"""IGEBM's network for MNIST (Du & Mordatch 2019)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from ebm_cli.models.network import Network, check_image
from ebm_cli.models.spectral import normalized


class MnistNet(Network):
    """A 3x3 convolution to 64 channels, three 4x4 ones of stride 2, a hidden layer of ``2 width`` units.

    All layers but the last are spectrally normalized; convolutions have no bias. Sides that do not divide are padded
    on the right, as TensorFlow does: 28, 14, 7, 4.

    Args:
        width: channels after the first of the strided convolutions, doubled by each of the others.

    Raises:
        ValueError: for inputs that are no images.

    Example:
        >>> import torch
        >>> MnistNet((1, 28, 28))(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape,
        *,
        width: int = 64,
        **supplied,
    ):
        super().__init__(shape, **supplied)
        check_image(self.shape, "MnistNet", 2)
        self.stem = normalized(nn.Conv2d(self.shape[0], 64, 3, padding=1, bias=False))
        widths = [64, width, 2 * width, 4 * width]
        self.strided = nn.ModuleList(
            normalized(nn.Conv2d(a, b, 4, stride=2, bias=False)) for a, b in zip(widths, widths[1:], strict=False)
        )
        height, breadth = (-(-side // 8) for side in self.shape[1:])
        self.hidden = normalized(nn.Linear(4 * width * height * breadth, 2 * width))
        self.head = nn.Linear(2 * width, self.n_outputs)

    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = leaky_relu(self.stem(x), 0.2)
        for convolution in self.strided:
            odd_width, odd_height = h.shape[3] % 2, h.shape[2] % 2
            h = leaky_relu(convolution(pad(h, (1, 1 + odd_width, 1, 1 + odd_height))), 0.2)
        return self.head(leaky_relu(self.hidden(h.flatten(1)), 0.2))
