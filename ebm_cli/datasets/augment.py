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
    """Images ``(B, C, H, W)`` with ``border`` reflected pixels added on every side, cropped at random to their size."""
    n, _, height, width = x.shape
    top, left = torch.randint(2 * border + 1, (2, n, 1), device=x.device)
    rows = (top + torch.arange(height, device=x.device))[:, None, :, None]
    columns = (left + torch.arange(width, device=x.device))[:, None, None, :]
    image = torch.arange(n, device=x.device)[:, None, None, None]
    channel = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
    return pad(x, [border] * 4, mode="reflect")[image, channel, rows, columns]
