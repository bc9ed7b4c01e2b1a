"""Maximum likelihood whose walkers are weighted, so that a finite number of steps leaves no bias."""

from __future__ import annotations

import warnings
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

STEP_SHARE = 0.9  # of the walkers: on a quartic, Langevin steps that keep log Z to .05 have .97, those that lose it .6


@dataclass(kw_only=True, eq=False)
class Jarzynski(Objective):
    """``mean E(data) - sum_i w_i E(x_i) / sum_i w_i`` by weighted walkers (Carbone, Hua, Coste & Vanden-Eijnden 2023).

    Walkers start in the base density and follow the energy while it changes; their weights correct for what the moves
    have not kept up with. They are those of ``buffer=weighted``.

    The mean weight of the witnesses estimates Z, and with it the true loss ``E(data) / T + log Z`` in nats, which no
    other training by chains knows.

    In expectation weights are exact at any step size; with finitely many walkers only small steps are. The weight of
    one Langevin step where the energy bends within a step, or where its gradient is clipped, has so heavy a tail that
    its mean is carried by walkers too rare to be drawn: each step then loses a little of the mass, and log Z drifts
    low. The sign is ``jarzynski/step_share``, the effective share of the walkers under the weights of one step alone,
    near 1 while all is well; below STEP_SHARE a warning says so, once. MALA and HMC have no such weights: 1 throughout.

    Raises:
        ValueError: for other buffers, for transitions that have no weights (see ``Reweighted``), and for
            class-conditional energies.

    Example:
        >>> Jarzynski().validation_metric
        'cross_entropy'
    """

    uses_chains = True
    validation_metric = "cross_entropy"

    def __post_init__(self):
        super().__post_init__()
        self.step_shares: list[Tensor] = []  # of the updates since the last validation, on the device
        self.warned = False

    def forward(self, energy: Energy, batch, negatives: Negatives) -> Loss:
        if needs_labels(energy):
            raise ValueError("objective=jarzynski: weights compare walkers of one density; use model.conditional=false")
        walkers = need_population(negatives, WeightedWalkers, "jarzynski", "weighted")
        x, log_w, chain, step_share = follow(energy, walkers, negatives)
        positive, negative = evaluate_all(energy, batch.x, x)
        share = take_own(torch.softmax(gather_rows(log_w), 0), len(x)).to(negative.dtype)
        expected = world() * (share * negative).sum()
        metrics = measure_gap(positive, expected)
        metrics["jarzynski/effective_share"] = effective_size(gather_rows(log_w)) / (world() * len(x))
        metrics["jarzynski/step_share"] = step_share
        self.step_shares.append(step_share)
        metrics |= {f"chain/{k}": chain.stats[k].mean() for k in ("grad_norm", "acceptance") if k in chain.stats}
        if walkers.witness_population:
            _, log_w, _, _ = follow(energy, walkers.witness_population, negatives)
            metrics["jarzynski/log_z"] = log_mean_exp(gather_rows(log_w))
            data = metrics["energy/data"] / Reweighted(negatives.sampler).temperature
            metrics["cross_entropy"] = metrics["jarzynski/log_z"] + data
        negatives.latest = walkers.show(negatives.generator)
        return Loss(positive.mean() - expected, metrics)

    def warn_of_long_steps(self) -> None:
        """Warns, once, where the weights of single steps are too uneven to keep log Z; waits for the device."""
        share = float(torch.stack(self.step_shares).mean()) if self.step_shares else 1.0
        self.step_shares = []
        if share < STEP_SHARE and not self.warned:
            self.warned = True
            warnings.warn(
                f"jarzynski/step_share={share:.2f}: weights of single steps are this uneven (below {STEP_SHARE}), so "
                "that log Z drifts low; use sampler=mala, or a smaller sampler.step_size without sampler.grad_clip",
                stacklevel=2,
            )

    @torch.no_grad()
    def validate(self, energy: Energy, batch, negatives: Negatives) -> Tensor | None:
        """The cross-entropy of held-out data in nats, log Z estimated for the very weights that are evaluated."""
        self.warn_of_long_steps()
        witnesses = need_population(negatives, WeightedWalkers, "jarzynski", "weighted").witness_population
        if not (witnesses and witnesses.walkers):
            return None
        log_z, temperature = witnesses.estimate_log_z(energy, negatives)
        return log_z + energies(energy, batch.x).double().mean() / temperature


def follow(energy: Energy, walkers: WeightedWalkers, negatives: Negatives) -> tuple[Tensor, Tensor, Chain, Tensor]:
    """Where walkers are, their log-weights under ``energy``, the chain that takes them on from there, and the effective
    share of the walkers under the weights that the last step alone has given them."""
    index, entries = walkers.draw(None, negatives)
    found = []
    keep = lambda i, state, info: found.append(info.extra["log_w"]) if i == 0 else None  # noqa: E731
    copy = negatives.frozen.of(energy, entries.x)
    kernel = Reweighted(negatives.sampler)
    chain = kernel.sample(copy, entries.x, generator=negatives.generator, aux=entries.aux, callback=keep)
    walkers.write(index, entries._replace(x=chain.x, aux=chain.state.aux), negatives)
    step = effective_size(gather_rows(found[0] - entries.aux["log_w"])) / (world() * len(entries.x))
    return entries.x, found[0], chain, step
