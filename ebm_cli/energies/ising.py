"""The Ising model on a ring or a periodic lattice, with its normalizer by transfer matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ebm_cli.energies.discrete import Sites, exact_sample
from ebm_cli.energies.energy import Energy, Support

WIDEST = 10  # spins in a row of the transfer matrix


class Ising(Energy):
    """``-coupling sum_<ij> s_i s_j - field sum_i s_i`` over neighbors on a periodic lattice, spins -1 and +1.

    Args:
        size: spins per axis, one (a ring) or more axes; an axis of 2 counts its bond twice, as periodicity says.
        coupling: J over the temperature of the model; 0.4406868 is critical in two dimensions.
        field: h over the same temperature.

    Example:
        >>> energy = Ising()
        >>> energy(torch.ones(2, *energy.shape)).shape
        torch.Size([2])
    """

    def __init__(self, *, size: Sequence[int] = (4, 4), coupling: float = 0.4406868, field: float = 0.0):
        if not size or min(size) < 2:
            raise ValueError(f"size needs at least 2 spins along every axis, got {list(size)}")
        super().__init__(size, Support("spins"))
        self.coupling, self.field = float(coupling), float(field)

    def forward(self, x: Tensor) -> Tensor:
        bonds = sum((x * x.roll(1, axis)).flatten(1).sum(1) for axis in range(1, x.ndim))
        return -self.coupling * bonds - self.field * x.flatten(1).sum(1)

    def value_and_grad(self, x):
        with torch.no_grad():
            return self(x), -self.local_field(x)

    def local_field(self, x: Tensor) -> Tensor:
        """``coupling`` times the sum over neighbors, plus ``field``, at every spin."""
        neighbors = sum(x.roll(1, axis) + x.roll(-1, axis) for axis in range(1, x.ndim))
        return self.coupling * neighbors + self.field

    def gibbs_step(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Redraws one color of the chequerboard given the other, then the other (block Gibbs at temperature 1).

        Raises:
            ValueError: on a lattice with an axis of odd length, where neighbors share a color.
        """
        if any(side % 2 for side in self.shape):
            raise ValueError(f"a chequerboard needs even sides, got {list(self.shape)}: use scan=systematic")
        axes = torch.meshgrid(*(torch.arange(side, device=x.device) for side in self.shape), indexing="ij")
        color = sum(axes) % 2
        for turn in (0, 1):
            u = torch.rand(x.shape, device=x.device, dtype=x.dtype, generator=generator)
            drawn = 2.0 * (u < torch.sigmoid(2 * self.local_field(x))).to(x.dtype) - 1
            x = torch.where(color == turn, drawn, x)
        return x

    def log_z(self, temperature: float = 1.0) -> float:
        """Exact ``log Z`` of a ring or a two-dimensional lattice, ``log tr T^rows`` (Kramers & Wannier 1941).

        Raises:
            ValueError: for more axes, or more than 10 spins along the shorter one.
        """
        if len(self.shape) > 2 or (len(self.shape) == 2 and min(self.shape) > WIDEST):
            raise ValueError(f"no exact log Z for a lattice {list(self.shape)}: up to {WIDEST} x anything; use AIS")
        width, rows = (1, self.shape[0]) if len(self.shape) == 1 else sorted(self.shape)
        states = Sites((width,), self.support).states(torch.float64)
        inside = self.field * states.sum(1)
        if len(self.shape) == 2:
            inside = inside + self.coupling * (states * states.roll(1, 1)).sum(1)
        log_t = self.coupling * states @ states.T + 0.5 * (inside[:, None] + inside)
        values = torch.linalg.eigvalsh((log_t / temperature - log_t.max() / temperature).exp())
        scaled = values / values[-1]
        trace = math.log(float(scaled.pow(rows).sum()))
        return rows * (float(log_t.max()) / temperature + math.log(float(values[-1]))) + trace

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` exact draws by enumeration; raises ValueError for more than 22 spins."""
        return exact_sample(self, n, generator)
