"""Tensors whose rows are examples."""

from __future__ import annotations

import torch
from torch import Tensor


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
    """Euclidean norm of each row, ``(B, *shape) -> (B,)``."""
    return torch.linalg.vector_norm(x.flatten(1), dim=1)
