"""Maximum likelihood whose walkers are weighted, so that a finite number of steps leaves no bias."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor

from ebm_cli.chains import Chains, Entries, needs_labels
from ebm_cli.devices import everyone, rank, world
from ebm_cli.models.energy import Energy, energies
from ebm_cli.objectives.objective import Loss, Objective, energies_of
from ebm_cli.samplers.ais import effective_size
from ebm_cli.samplers.path import log_mean_exp
from ebm_cli.samplers.reweighted import Reweighted
from ebm_cli.samplers.smc import systematic

SHOWN = 512  # walkers, drawn by weight, that pictures show


class Jarzynski(Objective):
    """Maximum likelihood by walkers with log-weights (Carbone, Hua, Coste & Vanden-Eijnden 2023).

    Walkers start in the base density and follow the energy while it changes; their weights correct for what the moves
    have not kept up with, at any step size. Their mean is an estimate of Z, and with it ``cross_entropy`` is the true
    loss in nats, which no other training by chains knows. All walkers of all ranks are one population.

    Args:
        walkers: per process.
        resample_below: share of the walkers below which the effective sample size makes them resample.

    Raises:
        ValueError: without walkers, for a share outside [0, 1], for transitions that have no weights
            (see ``Reweighted``), and for class-conditional energies.
    """

    uses_chains = True

    def __init__(self, *, walkers: int = 4096, resample_below: float = 0.5):
        super().__init__()
        if walkers < 2 or not 0 <= resample_below <= 1:
            given = f"got walkers={walkers}, resample_below={resample_below}"
            raise ValueError(f"objective needs walkers >= 2 and 0 <= resample_below <= 1, {given}")
        self.walkers, self.resample_below = int(walkers), resample_below
        self.population: dict[str, Tensor] = {}

    def forward(self, energy: Energy, batch, chains: Chains) -> Loss:
        if needs_labels(energy):
            raise ValueError("objective=jarzynski: weights compare walkers of one density; use model.conditional=false")
        kernel = Reweighted(chains.sampler)
        if not self.population:
            self.population = kernel.start_from(chains.base, self.walkers, chains.generator)
        x, chain, log_w = self.moved(kernel, energy, chains)
        positive, negative = energies_of(energy, batch.x, x)
        share = torch.softmax(gathered(log_w), 0)
        expected = (world() * mine(share, len(x)).to(negative.dtype) * negative).sum()
        metrics = self.measured(positive.detach().mean(), expected.detach(), gathered(log_w), kernel.temperature)
        metrics |= {f"chain/{k}": chain.stats[k].mean() for k in ("grad_norm", "acceptance") if k in chain.stats}
        self.resample(chain, chains)
        return Loss(positive.mean() - expected, metrics)

    def moved(self, kernel: Reweighted, energy: Energy, chains: Chains):
        """The walkers and their log-weights under ``energy``, and the chain that takes them on from there."""
        walkers = {name: value.to(chains.device) for name, value in self.population.items()}
        x, found = walkers.pop("x"), []
        seen = chains.view.of(energy, x)
        keep = lambda i, state, info: found.append(info.extra["log_w"]) if i == 0 else None  # noqa: E731
        chain = kernel.sample(seen, x, generator=chains.generator, aux=walkers, callback=keep)
        return x, chain, found[0]

    def measured(self, positive: Tensor, negative: Tensor, log_w: Tensor, temperature: float) -> dict[str, Tensor]:
        """What to log; ``log_w`` are those of all ranks."""
        log_z = log_mean_exp(log_w)
        return {
            "energy/data": positive,
            "energy/samples": negative,
            "energy/gap": negative - positive,
            "cross_entropy": log_z + positive / temperature,
            "jarzynski/log_z": log_z,
            "jarzynski/effective_share": effective_size(log_w) / len(log_w),
        }

    def resample(self, chain, chains: Chains) -> None:
        """Keeps the moved walkers, resampled where the weights ask for it; the mean weight stays, as log Z does."""
        walkers = {"x": chain.x, **chain.state.aux}
        log_w = gathered(walkers["log_w"])
        index = systematic(log_w, chains.generator)
        now = effective_size(log_w) < self.resample_below * len(log_w)
        if world() == 1:  # without a wait for the device
            index = torch.where(now, index, torch.arange(len(index), device=index.device))
            self.population = {name: value[index] for name, value in walkers.items()}
        elif bool(now):
            dist.broadcast(index, 0)
            own = mine(index, len(chain.x))
            self.population = {name: gathered(value)[own] for name, value in walkers.items()}
        else:
            self.population = walkers
        self.population["log_w"] = torch.where(now, log_mean_exp(log_w), self.population["log_w"])
        self.show(chains)

    def show(self, chains: Chains) -> None:
        """Some walkers, drawn by weight, for pictures."""
        log_w, x = self.population["log_w"], self.population["x"]
        index = systematic(log_w, chains.generator)[:: math.ceil(len(x) / SHOWN)]
        none = torch.full_like(index, -1)
        chains.latest = Entries(x[index], none, none)

    @torch.no_grad()
    def validation(self, energy: Energy, batch, chains: Chains) -> tuple[str, Tensor] | None:
        """The cross-entropy of held-out data in nats, log Z estimated for the very weights that are judged."""
        if not self.population:
            return None
        walkers = {name: self.population[name].to(chains.device) for name in ("at", "value", "log_w")}
        temperature = Reweighted(chains.sampler).temperature
        now = energies(energy, walkers["at"], chunk_size=chains.sampler.chunk_size).double() / temperature
        log_z = log_mean_exp(gathered(walkers["log_w"] + walkers["value"] - now))
        return "cross_entropy", log_z + energies(energy, batch.x).double().mean() / temperature

    def rank_state(self) -> dict:
        return {name: value.cpu() for name, value in self.population.items()}

    def load_rank_state(self, state: dict) -> None:
        """Takes the walkers over; where ranks got unequal numbers of them, the last ones are dropped."""
        self.population = dict(state)
        if state and world() > 1:
            n = min(everyone(len(state["x"])))
            self.population = {name: value[:n] for name, value in state.items()}


def gathered(x: Tensor) -> Tensor:
    """Rows of all ranks, in order; every rank has as many."""
    if world() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(world())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def mine(rows: Tensor, n: int) -> Tensor:
    """This rank's ``n`` rows of those that ``gathered`` joined."""
    return rows[rank() * n : (rank() + 1) * n]
