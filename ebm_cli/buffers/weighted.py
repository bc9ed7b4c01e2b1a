"""Walkers with log-weights that follow the energy while it is trained, and witnesses that measure log Z."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from ebm_cli.buffers.population import Entries, Population, unlabeled
from ebm_cli.energies.energy import Energy, energies
from ebm_cli.samplers.ais import effective_size
from ebm_cli.samplers.path import log_mean_exp
from ebm_cli.samplers.reweighted import Reweighted
from ebm_cli.samplers.smc import systematic
from ebm_cli.utils.distributed import everyone, rank, world

if TYPE_CHECKING:
    from ebm_cli.buffers.negatives import Negatives

SHOWN = 512  # walkers, drawn by weight, that pictures show
PREFIX = "witnesses/"  # of the witnesses' names in the state


@dataclass(kw_only=True, eq=False)
class WeightedWalkers(Population):
    """The population of ``objective=jarzynski``: walkers from the base density, never restarted, with log-weights.

    ``log Z`` is the logarithm of the mean weight over all walkers of all ranks, which are one population. Of the
    walkers that train the network the estimate is too low, and the more so the longer the training: every update raises
    the energy where they are. Witnesses are walkers that have no part in the gradient; the estimate is theirs.

    Walkers carry what ``Reweighted`` needs (Carbone, Hua, Coste & Vanden-Eijnden 2023), among it ``log_w`` ``(n,)``.

    Args:
        size: number of walkers per rank that make the gradient.
        witnesses: number that measure log Z, per rank; 0 for none.
        resample_below: share of the walkers below which the effective sample size makes them resample.

    Raises:
        ValueError: for fewer than two walkers, and for a share outside [0, 1].

    Example:
        >>> walkers = WeightedWalkers(size=8, witnesses=4)
        >>> walkers.witness_population.size, walkers.stored() is None
        (4, True)
    """

    size: int = 1024
    witnesses: int = 1024
    resample_below: float = 0.5

    def __post_init__(self):
        if self.size < 2 or self.witnesses < 0 or not 0 <= self.resample_below <= 1:
            given = f"got size={self.size}, witnesses={self.witnesses}, resample_below={self.resample_below}"
            raise ValueError(f"buffer needs size >= 2, witnesses >= 0 and 0 <= resample_below <= 1, {given}")
        self.walkers: dict[str, Tensor] = {}
        self.shown: Entries | None = None
        self.witness_population: WeightedWalkers | None = None
        if self.witnesses:
            own = {"size": max(2, self.witnesses), "witnesses": 0, "resample_below": self.resample_below}
            self.witness_population = WeightedWalkers(**own)

    def draw(self, n: int | None, source: Negatives) -> tuple[None, Entries]:
        """All walkers: their weights mean something together only."""
        if not self.walkers:
            self.walkers = Reweighted(source.sampler).start_from(source.base, self.size, source.generator)
        aux = dict(self.walkers)
        return None, unlabeled(aux.pop("x"), **aux)

    def write(self, index: None, moved: Entries, source: Negatives) -> None:
        """Keeps moved walkers, resampled where the weights ask for it; the mean weight stays, as log Z does."""
        walkers = {"x": moved.x, **moved.aux}
        log_w = gather_rows(walkers["log_w"])
        index = systematic(log_w, source.generator)
        now = effective_size(log_w) < self.resample_below * len(log_w)
        if world() == 1:  # without a wait for the device
            index = torch.where(now, index, torch.arange(len(index), device=index.device))
            walkers = {name: value[index] for name, value in walkers.items()}
        elif bool(now):
            dist.broadcast(index, 0)
            own = take_own(index, self.size)
            walkers = {name: gather_rows(value)[own] for name, value in walkers.items()}
        self.walkers = walkers | {"log_w": torch.where(now, log_mean_exp(log_w), walkers["log_w"])}

    def estimate_log_z(self, energy: Energy, source: Negatives) -> tuple[Tensor, float]:
        """log Z of any energy near the present one, and the temperature it refers to."""
        at, value, log_w = (self.walkers[name] for name in ("at", "value", "log_w"))
        temperature = Reweighted(source.sampler).temperature
        now = energies(energy, at, chunk_size=source.sampler.chunk_size).double() / temperature
        return log_mean_exp(gather_rows(log_w + value - now)), temperature

    def show(self, generator: torch.Generator | None = None) -> Entries:
        """Sets some walkers, drawn by weight, aside to look at."""
        x = self.walkers["x"]
        index = systematic(self.walkers["log_w"], generator)[:: math.ceil(len(x) / SHOWN)]
        self.shown = unlabeled(x[index])
        return self.shown

    def stored(self, n: int | None = None) -> Entries | None:
        """Up to ``n`` walkers drawn by weight, so that all count alike."""
        if not self.walkers:
            return None
        if self.shown is None:
            self.show(torch.Generator(self.walkers["x"].device).manual_seed(0))
        return self.shown.at(slice(n))

    def state(self) -> dict | None:
        if not self.walkers:
            return None
        witnesses = self.witness_population.walkers if self.witness_population else {}
        return {**self.walkers, **{PREFIX + name: value for name, value in witnesses.items()}}

    def load_state(self, state: dict) -> None:
        """Takes saved walkers over; where ranks got unequal numbers of them, the last ones are dropped."""
        own = {name: value for name, value in state.items() if not name.startswith(PREFIX)}
        self.size, self.shown = min(everyone(len(own["x"]))), None
        self.walkers = {name: value[: self.size] for name, value in own.items()}
        theirs = {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}
        if self.witness_population and theirs:
            self.witness_population.load_state(theirs)


def gather_rows(x: Tensor) -> Tensor:
    """Rows of all ranks, in order; every rank has as many."""
    if world() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(world())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def take_own(rows: Tensor, n: int) -> Tensor:
    """This rank's ``n`` rows of those that ``gather_rows`` joined."""
    return rows[rank() * n : (rank() + 1) * n]
