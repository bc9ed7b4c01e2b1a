"""Images of one data set in the shape of another."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: how bright red, green and blue look


def resized(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Images ``(N, C, H, W)`` as ``(N, *shape)``: grey or color as needed, size by antialiased bilinear interpolation.

    Raises:
        ValueError: for inputs that are not images, or a number of channels that is neither 1 nor 3.
    """
    channels, *size = shape if len(shape) == 3 else (0,)
    if x.ndim != 4 or {x.shape[1], channels} - {1, 3}:
        raise ValueError(f"cannot show examples of shape {tuple(x.shape[1:])} as {tuple(shape)}: both must be images")
    if x.shape[1] > channels:
        x = (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    if list(x.shape[2:]) != size:
        x = interpolate(x, size=tuple(size), mode="bilinear", antialias=True, align_corners=False)
    return x.expand(-1, channels, -1, -1)
