"""Maximum likelihood whose walkers are weighted, so that a finite number of steps leaves no bias."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.replay import Entries
from ebm_cli.energies.energy import Energy, energies, needs_labels
from ebm_cli.objectives.objective import Loss, Objective, energies_of
from ebm_cli.samplers.ais import effective_size
from ebm_cli.samplers.path import log_mean_exp
from ebm_cli.samplers.reweighted import Reweighted
from ebm_cli.samplers.sampler import Chain
from ebm_cli.samplers.smc import systematic
from ebm_cli.utils.distributed import everyone, rank, world

SHOWN = 512  # walkers, drawn by weight, that pictures show


class Jarzynski(Objective):
    """Maximum likelihood by walkers with log-weights (Carbone, Hua, Coste & Vanden-Eijnden 2023).

    Walkers start in the base density and follow the energy while it changes; their weights correct for what the moves
    have not kept up with, at any step size. All walkers of all ranks are one population.

    The mean weight estimates Z, and with it the true loss in nats, which no other training by chains knows. Of the
    walkers that teach the estimate is too low, and the more so the longer the training: every update raises the
    energy where they are. Witnesses are walkers that do not teach; the estimate is theirs.

    Args:
        walkers: that teach, per process.
        witnesses: that measure log Z, per process; 0 for none.
        resample_below: share of the walkers below which the effective sample size makes them resample.

    Raises:
        ValueError: without walkers, for a share outside [0, 1], for transitions that have no weights
            (see ``Reweighted``), and for class-conditional energies.
    """

    uses_chains = True

    def __init__(self, *, walkers: int = 1024, witnesses: int = 1024, resample_below: float = 0.5):
        super().__init__()
        if walkers < 2 or witnesses < 0 or not 0 <= resample_below <= 1:
            given = f"got walkers={walkers}, witnesses={witnesses}, resample_below={resample_below}"
            raise ValueError(f"objective needs walkers >= 2, witnesses >= 0 and 0 <= resample_below <= 1, {given}")
        self.walkers = Walkers(int(walkers), resample_below)
        self.witnesses = Walkers(int(witnesses), resample_below) if witnesses else None

    def forward(self, energy: Energy, batch, chains: Negatives) -> Loss:
        if needs_labels(energy):
            raise ValueError("objective=jarzynski: weights compare walkers of one density; use model.conditional=false")
        kernel = Reweighted(chains.sampler)
        x, log_w, chain = self.walkers.move(kernel, energy, chains)
        positive, negative = energies_of(energy, batch.x, x)
        share = mine(torch.softmax(gathered(log_w), 0), len(x)).to(negative.dtype)
        expected = world() * (share * negative).sum()
        metrics = {
            "energy/data": positive.detach().mean(),
            "energy/samples": expected.detach(),
            "energy/gap": expected.detach() - positive.detach().mean(),
            "jarzynski/effective_share": effective_size(gathered(log_w)) / (world() * len(x)),
        }
        metrics |= {f"chain/{k}": chain.stats[k].mean() for k in ("grad_norm", "acceptance") if k in chain.stats}
        if self.witnesses:
            _, log_w, _ = self.witnesses.move(kernel, energy, chains)
            metrics["jarzynski/log_z"] = log_mean_exp(gathered(log_w))
            data = metrics["energy/data"] / kernel.temperature
            metrics["cross_entropy"] = metrics["jarzynski/log_z"] + data
        self.walkers.show(chains)
        return Loss(positive.mean() - expected, metrics)

    @torch.no_grad()
    def validation(self, energy: Energy, batch, chains: Negatives) -> tuple[str, Tensor] | None:
        """The cross-entropy of held-out data in nats, log Z estimated for the very weights that are judged."""
        if not (self.witnesses and self.witnesses.tensors):
            return None
        log_z, temperature = self.witnesses.log_z(energy, chains)
        return "cross_entropy", log_z + energies(energy, batch.x).double().mean() / temperature

    def rank_state(self) -> dict:
        witnesses = self.witnesses.tensors if self.witnesses else {}
        named = {**self.walkers.tensors, **{f"witnesses/{name}": value for name, value in witnesses.items()}}
        return {name: value.cpu() for name, value in named.items()}

    def load_rank_state(self, state: dict) -> None:
        prefix = "witnesses/"
        self.walkers.load({name: value for name, value in state.items() if not name.startswith(prefix)})
        if self.witnesses:
            own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            self.witnesses.load(own)


class Walkers:
    """A weighted population that follows the energy, over all ranks.

    Args:
        number: of walkers per process.
        resample_below: share of them.
    """

    def __init__(self, number: int, resample_below: float):
        self.number, self.resample_below = number, resample_below
        self.tensors: dict[str, Tensor] = {}

    def move(self, kernel: Reweighted, energy: Energy, chains: Negatives) -> tuple[Tensor, Tensor, Chain]:
        """Where the walkers are, their log-weights under ``energy``, and the chain that takes them on from there."""
        if not self.tensors:
            self.tensors = kernel.start_from(chains.base, self.number, chains.generator)
        walkers = {name: value.to(chains.device) for name, value in self.tensors.items()}
        x, found = walkers.pop("x"), []
        keep = lambda i, state, info: found.append(info.extra["log_w"]) if i == 0 else None  # noqa: E731
        seen = chains.frozen.of(energy, x)
        chain = kernel.sample(seen, x, generator=chains.generator, aux=walkers, callback=keep)
        self.resample({"x": chain.x, **chain.state.aux}, chains.generator)
        return x, found[0], chain

    def resample(self, walkers: dict[str, Tensor], generator: torch.Generator) -> None:
        """Keeps ``walkers``, resampled where the weights ask for it; the mean weight stays, as log Z does."""
        log_w = gathered(walkers["log_w"])
        index = systematic(log_w, generator)
        now = effective_size(log_w) < self.resample_below * len(log_w)
        if world() == 1:  # without a wait for the device
            index = torch.where(now, index, torch.arange(len(index), device=index.device))
            walkers = {name: value[index] for name, value in walkers.items()}
        elif bool(now):
            dist.broadcast(index, 0)
            own = mine(index, self.number)
            walkers = {name: gathered(value)[own] for name, value in walkers.items()}
        self.tensors = walkers | {"log_w": torch.where(now, log_mean_exp(log_w), walkers["log_w"])}

    def log_z(self, energy: Energy, chains: Negatives) -> tuple[Tensor, float]:
        """log Z of any energy near the present one, and the temperature it refers to."""
        at, value, log_w = (self.tensors[name].to(chains.device) for name in ("at", "value", "log_w"))
        temperature = Reweighted(chains.sampler).temperature
        now = energies(energy, at, chunk_size=chains.sampler.chunk_size).double() / temperature
        return log_mean_exp(gathered(log_w + value - now)), temperature

    def show(self, chains: Negatives) -> None:
        """Leaves some walkers, drawn by weight, for pictures."""
        x = self.tensors["x"]
        index = systematic(self.tensors["log_w"], chains.generator)[:: math.ceil(len(x) / SHOWN)]
        none = torch.full_like(index, -1)
        chains.latest = Entries(x[index], none, none)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Takes saved walkers over; where ranks got unequal numbers of them, the last ones are dropped."""
        self.tensors = tensors
        if tensors:
            self.number = min(everyone(len(tensors["x"])))
            self.tensors = {name: value[: self.number] for name, value in tensors.items()}


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
