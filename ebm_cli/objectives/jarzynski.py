"""Maximum likelihood whose walkers are weighted, so that a finite number of steps leaves no bias."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.weighted import WeightedWalkers, gather_rows, take_own
from ebm_cli.energies.energy import Energy, energies, needs_labels
from ebm_cli.objectives.objective import Loss, Objective, evaluate_all, measure_gap, need_population
from ebm_cli.samplers.ais import effective_size
from ebm_cli.samplers.path import log_mean_exp
from ebm_cli.samplers.reweighted import Reweighted
from ebm_cli.samplers.sampler import Chain
from ebm_cli.utils.distributed import world


@dataclass(kw_only=True, eq=False)
class Jarzynski(Objective):
    """``mean E(data) - sum_i w_i E(x_i) / sum_i w_i`` by weighted walkers (Carbone, Hua, Coste & Vanden-Eijnden 2023).

    Walkers start in the base density and follow the energy while it changes; their weights correct for what the moves
    have not kept up with, at any step size. They are those of ``buffer=weighted``.

    The mean weight of the witnesses estimates Z, and with it the true loss ``E(data) / T + log Z`` in nats, which no
    other training by chains knows.

    Raises:
        ValueError: for other buffers, for transitions that have no weights (see ``Reweighted``), and for
            class-conditional energies.

    Example:
        >>> Jarzynski().validation_metric
        'cross_entropy'
    """

    uses_chains = True
    validation_metric = "cross_entropy"

    def forward(self, energy: Energy, batch, negatives: Negatives) -> Loss:
        if needs_labels(energy):
            raise ValueError("objective=jarzynski: weights compare walkers of one density; use model.conditional=false")
        walkers = need_population(negatives, WeightedWalkers, "jarzynski", "weighted")
        x, log_w, chain = follow(energy, walkers, negatives)
        positive, negative = evaluate_all(energy, batch.x, x)
        share = take_own(torch.softmax(gather_rows(log_w), 0), len(x)).to(negative.dtype)
        expected = world() * (share * negative).sum()
        metrics = measure_gap(positive, expected)
        metrics["jarzynski/effective_share"] = effective_size(gather_rows(log_w)) / (world() * len(x))
        metrics |= {f"chain/{k}": chain.stats[k].mean() for k in ("grad_norm", "acceptance") if k in chain.stats}
        if walkers.witness_population:
            _, log_w, _ = follow(energy, walkers.witness_population, negatives)
            metrics["jarzynski/log_z"] = log_mean_exp(gather_rows(log_w))
            data = metrics["energy/data"] / Reweighted(negatives.sampler).temperature
            metrics["cross_entropy"] = metrics["jarzynski/log_z"] + data
        negatives.latest = walkers.show(negatives.generator)
        return Loss(positive.mean() - expected, metrics)

    @torch.no_grad()
    def validate(self, energy: Energy, batch, negatives: Negatives) -> Tensor | None:
        """The cross-entropy of held-out data in nats, log Z estimated for the very weights that are evaluated."""
        witnesses = need_population(negatives, WeightedWalkers, "jarzynski", "weighted").witness_population
        if not (witnesses and witnesses.walkers):
            return None
        log_z, temperature = witnesses.estimate_log_z(energy, negatives)
        return log_z + energies(energy, batch.x).double().mean() / temperature


def follow(energy: Energy, walkers: WeightedWalkers, negatives: Negatives) -> tuple[Tensor, Tensor, Chain]:
    """Where walkers are, their log-weights under ``energy``, and the chain that takes them on from there."""
    index, entries = walkers.draw(None, negatives)
    found = []
    keep = lambda i, state, info: found.append(info.extra["log_w"]) if i == 0 else None  # noqa: E731
    copy = negatives.frozen.of(energy, entries.x)
    kernel = Reweighted(negatives.sampler)
    chain = kernel.sample(copy, entries.x, generator=negatives.generator, aux=entries.aux, callback=keep)
    walkers.write(index, entries._replace(x=chain.x, aux=chain.state.aux), negatives)
    return entries.x, found[0], chain
