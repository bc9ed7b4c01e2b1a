"""Vectors in units in which every entry has mean 0 and deviation 1; entries that never change are left out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Scaling:
    """Between the user's units ``(N, d)`` and the model's ``(N, k)``, where k of the d entries vary.

    Attributes:
        varies: numbers of the entries that vary.
        shift, scale: their mean and deviation, ``(k,)``.
        constant: a whole example, of which the entries that never change are taken, ``(d,)``.

    Example:
        >>> x = torch.tensor([[1000.0, 7.0], [1100.0, 7.0], [1200.0, 7.0]])
        >>> scaling = Scaling.fit(x)
        >>> scaling.inside(x).flatten().tolist(), scaling.outside(torch.zeros(1, 1)).tolist()
        ([-1.0, 0.0, 1.0], [[1100.0, 7.0]])
    """

    varies: list[int]
    shift: list[float]
    scale: list[float]
    constant: list[float]

    @classmethod
    def fit(cls, x: Tensor) -> Scaling:
        """The scaling of examples ``(N, d)``.

        Raises:
            ValueError: if no entry varies.
        """
        x = x.double()
        deviation = x.std(0) if len(x) > 1 else torch.zeros(x.shape[1])
        varies = (deviation > 1e-9 * (1 + x.abs().amax(0))).nonzero().flatten()
        if not len(varies):
            raise ValueError("all examples are equal")
        mean = x.mean(0)[varies]
        return cls(varies.tolist(), mean.tolist(), deviation[varies].tolist(), x[0].tolist())

    def inside(self, x: Tensor) -> Tensor:
        """From the user's units to the model's."""
        shift, scale = (torch.tensor(v, dtype=torch.float64) for v in (self.shift, self.scale))
        return ((x.double()[:, self.varies] - shift) / scale).float()

    def outside(self, x: Tensor) -> Tensor:
        """From the model's units to the user's, the entries that never change in their places."""
        shift, scale = (torch.tensor(v, dtype=torch.float64, device=x.device) for v in (self.shift, self.scale))
        whole = torch.tensor(self.constant, dtype=torch.float64, device=x.device).repeat(len(x), 1)
        whole[:, self.varies] = x.double() * scale + shift
        return whole.float()
