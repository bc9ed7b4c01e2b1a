"""Random changes of training images, from torch's global generator of their device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def mirrored(x: Tensor) -> Tensor:
    """``x`` ``(B, ..., W)``, each example mirrored left to right with probability 1/2."""
    chosen = torch.rand(len(x), device=x.device) < 0.5
    return torch.where(chosen.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)


def shifted(x: Tensor, border: int) -> Tensor:
    """``x`` ``(B, ..., H, W)`` with ``border`` reflected pixels on every side, each example cropped back at random.

    Example:
        >>> shifted(torch.zeros(2, 1, 8, 16, 16), 4).shape  # all frames of a clip move alike
        torch.Size([2, 1, 8, 16, 16])
    """
    n, height, width = len(x), *x.shape[-2:]
    planes = x.reshape(n, -1, height, width)  # colors and frames are moved together
    top, left = torch.randint(2 * border + 1, (2, n, 1), device=x.device)
    rows = (top + torch.arange(height, device=x.device))[:, None, :, None]
    columns = (left + torch.arange(width, device=x.device))[:, None, None, :]
    image = torch.arange(n, device=x.device)[:, None, None, None]
    plane = torch.arange(planes.shape[1], device=x.device)[None, :, None, None]
    return pad(planes, [border] * 4, mode="reflect")[image, plane, rows, columns].view(x.shape)
