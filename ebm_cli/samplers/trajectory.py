"""The positions that chains pass through, thinned."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_cli.samplers.sampler import Info, State, whole


class Trajectory:
    """Callback of ``Sampler.sample`` that keeps positions and energies on the way.

    Args:
        burn_in: steps at the start that are left out.
        thin: keep one step in so many.
        device: where they are kept; null is where the chains are, ``cpu`` spares the memory of a GPU.
    """

    def __init__(self, *, burn_in: int = 0, thin: int = 1, device: str | None = None):
        if not burn_in >= 0:
            raise ValueError(f"burn_in must be at least 0, got {burn_in}")
        self.burn_in, self.thin, self.device = int(burn_in), whole("thin", thin), device
        self.positions: list[Tensor] = []
        self.energies: list[Tensor] = []

    def __call__(self, i: int, state: State, info: Info) -> None:
        past = i + 1 - self.burn_in
        if past > 0 and past % self.thin == 0:
            self.positions.append(state.x.detach().to(self.device or state.x.device, copy=True))
            self.energies.append(info.energy.detach().to(self.device or state.x.device, copy=True))

    @property
    def x(self) -> Tensor:
        """``(B, kept, *shape)``, in the order of time."""
        return torch.stack(self.positions, 1)

    @property
    def energy(self) -> Tensor:
        """``(B, kept)``, as the steps report it (unadjusted ones where they took the gradient)."""
        return torch.stack(self.energies, 1)
