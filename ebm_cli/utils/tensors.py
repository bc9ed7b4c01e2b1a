"""Tensors whose rows are examples."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["append_dims", "clip_row_norm", "normal_like", "row_norm"]


def append_dims(value, x: Tensor):
    """A number as it is, a ``(B,)`` tensor as ``(B, 1, ..., 1)``, so that it multiplies the rows of ``x``.

    Example:
        >>> append_dims(torch.ones(3), torch.zeros(3, 2, 8, 8)).shape
        torch.Size([3, 1, 1, 1])
    """
    if isinstance(value, Tensor) and value.ndim == 1:
        return value.view(-1, *[1] * (x.ndim - 1))
    return value


def row_norm(x: Tensor) -> Tensor:
    """Euclidean norm of each row, ``(B, *shape) -> (B,)``.

    Example:
        >>> row_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        tensor([5., 1.])
    """
    return torch.linalg.vector_norm(x.flatten(1), dim=1)


def clip_row_norm(x: Tensor, bound: float | None) -> Tensor:
    """Rows longer than ``bound`` scaled down to that length, ``x min(1, bound / |x|)``; None clips nothing.

    Example:
        >>> clip_row_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), 2.5)
        tensor([[1.5000, 2.0000],
                [0.0000, 1.0000]])
    """
    if bound is None:
        return x
    # A row of zeros stays one: without the floor it would be 0 / 0.
    scale = (bound / row_norm(x).clamp_min(1e-12)).clamp_max(1.0)
    return x * append_dims(scale, x)


def normal_like(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal noise of the shape, type and device of ``x``; ``torch.randn_like`` takes no generator.

    Example:
        >>> normal_like(torch.zeros(2, 3), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3])
    """
    return torch.empty_like(x).normal_(generator=generator)
