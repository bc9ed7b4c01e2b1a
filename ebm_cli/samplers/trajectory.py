"""The positions that chains pass through, thinned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.samplers.sampler import Info, State, whole


@dataclass(kw_only=True, eq=False)
class Trajectory:
    """Callback of ``Sampler.sample`` that keeps positions and energies on the way.

    Args:
        burn_in: steps at the start that are left out.
        thin: keep one step in so many.
        device: where they are kept; null is where the chains are, ``cpu`` spares the memory of a GPU.

    Example:
        >>> from ebm_cli.energies import GaussianBase
        >>> from ebm_cli.samplers import Langevin
        >>> path = Trajectory(burn_in=4, thin=2)
        >>> sampler = Langevin(n_steps=10, step_size=0.1)
        >>> chain = sampler.sample(GaussianBase((2,)), torch.zeros(5, 2), callback=path)
        >>> path.x.shape, path.energy.shape
        (torch.Size([5, 3, 2]), torch.Size([5, 3]))
    """

    burn_in: int = 0
    thin: int = 1
    device: str | None = None

    def __post_init__(self):
        if not self.burn_in >= 0:
            raise ValueError(f"burn_in must be at least 0, got {self.burn_in}")
        self.burn_in, self.thin = int(self.burn_in), whole("thin", self.thin)
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
