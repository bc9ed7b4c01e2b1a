"""A small three-dimensional CNN energy: video clips and voxel shapes (after Xie et al. 2017, 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ebm_cli.models.network import Network
from ebm_cli.models.network import activation as make_activation


class ConvNet3d(Network):
    """Convolutions over three axes (time, height, width, or x, y, z), then one hidden layer.

    Args:
        channels: of each convolution's output.
        kernels, strides: of each convolution, the same along all axes; borders are padded by ``kernel // 2``.
        hidden: width of the layer before the output.
        activation: see ``MLP``.

    Raises:
        ValueError: for lists of different lengths, and for inputs that are not of shape (C, D, H, W).

    Example:
        >>> import torch
        >>> ConvNet3d((1, 8, 16, 16))(torch.zeros(2, 1, 8, 16, 16)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape,
        *,
        channels: Sequence[int] = (16, 32, 32),
        kernels: Sequence[int] = (3, 3, 3),
        strides: Sequence[int] = (1, 2, 2),
        hidden: int = 64,
        activation: str = "silu",
        **supplied,
    ):
        super().__init__(shape, **supplied)
        if len(self.shape) != 4:
            raise ValueError(f"ConvNet3d takes clips or voxels (C, D, H, W), and these data are of shape {self.shape}")
        if not len(channels) == len(kernels) == len(strides):
            raise ValueError("channels, kernels and strides must be lists of one length")
        widths, sides, layers = [self.shape[0], *channels], list(self.shape[1:]), []
        for a, b, kernel, stride in zip(widths, channels, kernels, strides, strict=False):
            layers += [nn.Conv3d(a, b, kernel, stride, kernel // 2), make_activation(activation)]
            sides = [(side + 2 * (kernel // 2) - kernel) // stride + 1 for side in sides]
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        features = widths[-1] * sides[0] * sides[1] * sides[2]
        self.head = nn.Sequential(
            nn.Linear(features, hidden), make_activation(activation), nn.Linear(hidden, self.n_outputs)
        )

    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.head(self.convolutions(x))
