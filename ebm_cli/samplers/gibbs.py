"""Gibbs sampling of discrete inputs: site by site, or in the blocks that an energy knows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.discrete import Sites
from ebm_cli.energies.energy import Energy, energies
from ebm_cli.samplers.discrete import Discrete, draw_categorical
from ebm_cli.samplers.sampler import Info, Schedule, State, fixed, value_at
from ebm_cli.utils.tensors import append_dims

SCANS = ("systematic", "random", "block")


@dataclass(kw_only=True, eq=False, repr=False)
class Gibbs(Discrete):
    """Redraws sites from their exact conditional law given all others (Geman & Geman 1984).

    One step is a sweep of as many redraws as there are sites, or one call of the energy's ``gibbs_step``.

    Args:
        n_steps: sweeps per chain.
        scan: ``systematic`` goes through the sites in order; ``random`` draws a site per chain and redraw; ``block``
            calls ``energy.gibbs_step(x, generator)`` (an RBM's layers, the colors of an Ising lattice), also where the
            inputs are real (a Gaussian RBM).
        temperature: T; blocks know 1 only.
        chunk_size: evaluate at most so many inputs at a time.

    Raises:
        ValueError: for an unknown scan, or blocks at a temperature.

    Example:
        >>> from ebm_cli.energies import Ising
        >>> spins = torch.ones(4, 9)
        >>> Gibbs(n_steps=3).sample(Ising(size=[9], coupling=0.4), spins).stats["evaluations"]
        tensor([9, 9, 9])
    """

    uses_gradient = False

    n_steps: int = 100
    scan: str = "systematic"
    step_size: Schedule | None = fixed()

    def __post_init__(self):
        super().__post_init__()
        if self.scan not in SCANS:
            raise ValueError(f"scan must be one of {', '.join(SCANS)}, got {self.scan!r}")
        if self.scan == "block" and self.temperature != 1.0:
            raise ValueError(f"scan=block samples at temperature 1 only, got temperature={self.temperature}")

    def check(self, energy: Energy) -> None:
        if self.scan != "block":
            super().check(energy)
        elif not hasattr(energy, "gibbs_step"):
            raise ValueError(f"scan=block needs an energy with gibbs_step; {type(energy).__name__} has none")

    def check_start(self, energy, x, n, backprop_steps):
        check = super() if energy.support.kind in self.supports else super(Discrete, self)
        check.check_start(energy, x, n, backprop_steps)

    def step(self, energy: Energy, state: State, i: int, n: int, generator) -> tuple[State, Info]:
        if self.scan == "block":
            x = energy.gibbs_step(state.x, generator)
            return State(x, aux=state.aux), Info(energies(energy, x, chunk_size=self.chunk_size), evaluations=0)
        sites, state = self.sites(energy), self.evaluate_state(energy, state)
        x, value, temperature = state.x, state.energy, value_at(self.temperature, i, n)
        for turn in range(sites.n):
            site = self.next_site(turn, sites, x, generator)
            x, value = self.redraw(energy, sites, x, value, site, temperature, generator)
        return State(x, value, aux=state.aux), Info(value, evaluations=sites.n * (sites.k - 1))

    def next_site(self, turn: int, sites: Sites, x: Tensor, generator) -> Tensor:
        """The site ``(B,)`` that every chain redraws now."""
        if self.scan == "random":
            return torch.randint(sites.n, (len(x),), device=x.device, generator=generator)
        return torch.full((len(x),), turn, device=x.device)

    def redraw(self, energy: Energy, sites: Sites, x: Tensor, value: Tensor, site: Tensor, temperature, generator):
        """Positions and energies after one redraw of ``site``."""
        points, values = self.evaluate_alternatives(energy, sites, x, value, site)
        drawn = draw_categorical(-values / append_dims(temperature, values), generator)
        every = torch.arange(len(x), device=x.device)
        return points[every, drawn], values[every, drawn]

    def evaluate_alternatives(self, energy: Energy, sites: Sites, x: Tensor, value: Tensor, site: Tensor):
        """``x`` with every value at ``site``: inputs ``(B, k, *shape)`` and energies ``(B, k)``.

        The value that is there already costs no evaluation: ``value`` is its energy.
        """
        codes, here = sites.codes(x), site[:, None]
        current = codes.gather(1, here)
        others = (current + torch.arange(1, sites.k, device=x.device)) % sites.k
        moved = (
            codes[:, None]
            .repeat(1, sites.k - 1, 1)
            .scatter(2, here[:, :, None].expand(-1, sites.k - 1, 1), others[:, :, None])
        )
        points = sites.points(moved.flatten(0, 1), x.dtype)
        rows = torch.arange(len(x), device=x.device).repeat_interleave(sites.k - 1)
        found = energies(energy.rows(rows), points, chunk_size=self.chunk_size).view(len(x), -1)
        order = torch.cat([current, others], 1).argsort(1)
        values = torch.cat([value[:, None], found], 1).gather(1, order)
        points = torch.cat([x[:, None], points.view(len(x), -1, *x.shape[1:])], 1)
        return points[torch.arange(len(x), device=x.device)[:, None], order], values
