"""Inputs that a model made, or that somebody brings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Samples:
    """Generated inputs: ``x`` ``(N, *shape)`` in the data's value range, ``energy`` ``(N,)``, labels ``y`` or None."""

    x: Tensor
    energy: Tensor | None = None
    y: Tensor | None = None
    n_steps: int | None = None
