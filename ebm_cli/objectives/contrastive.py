"""Maximum likelihood by contrast with sampled negatives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.replay import ReplayBuffer
from ebm_cli.energies.energy import Energy, energy_and_grad, needs_labels
from ebm_cli.objectives.objective import Loss, Objective, evaluate_all, measure_gap, need_population
from ebm_cli.samplers.sampler import Chain

STARTS = ("buffer", "data", "noise")


@dataclass(kw_only=True, eq=False)
class ContrastiveDivergence(Objective):
    """``mean E(data) - mean E(negatives)``, whose gradient estimates that of the negative log-likelihood.

    Persistent chains (Tieleman 2008; Du & Mordatch 2019) when ``start`` is ``buffer``, CD-k (Hinton 2002) when it is
    ``data``, short-run MCMC (Nijkamp et al. 2019) when it is ``noise``.

    Args:
        start: where chains start: ``buffer``, ``data`` or ``noise``.
        energy_l2: weight of ``mean E(data)^2 + mean E(negatives)^2``, which keeps energies near zero.
        gradient_penalty: weight of ``mean |grad_x E(data)|^2``, which keeps energies smooth; a second derivative.
        labels: for class-conditional energies: ``own`` lets chains keep their labels, ``batch`` drives them under the
            labels of the current batch.

    Raises:
        ValueError: for an unknown choice or a negative weight.

    Example:
        >>> ContrastiveDivergence(start="noise").validation_metric
        'energy_distance'
    """

    start: str = "buffer"
    energy_l2: float = 0.0
    gradient_penalty: float = 0.0
    labels: str = "own"

    uses_chains = True
    label_choices = ("own", "batch")
    validation_metric = "energy_distance"

    def __post_init__(self):
        super().__post_init__()
        for key, choices in (("start", STARTS), ("labels", self.label_choices)):
            if getattr(self, key) not in choices:
                raise ValueError(f"objective.{key} must be one of {', '.join(choices)}, got {getattr(self, key)!r}")
        if self.gradient_penalty < 0:
            raise ValueError(f"objective.gradient_penalty must not be negative, got {self.gradient_penalty}")
        self.double_backward = self.double_backward or self.gradient_penalty > 0
        if self.start == "data" and self.validation_metric == "energy_distance":
            self.validation_metric = None  # such chains stay near the data, whatever the model

    def forward(self, energy: Energy, batch, negatives: Negatives) -> Loss:
        chain = self.draw(energy, batch, negatives)
        positive, negative = evaluate_all(bind_labels(energy, batch.y, chain), batch.x, chain.x)
        loss, metrics = contrast(positive, negative, self.energy_l2)
        return Loss(loss + self.penalize_slope(energy, batch), metrics | measure_chain(chain))

    def penalize_slope(self, energy: Energy, batch) -> Tensor | float:
        """``gradient_penalty * mean |grad_x E(data)|^2``; 0 without evaluating anything where the weight is 0."""
        if not self.gradient_penalty:
            return 0.0
        conditional = energy.given(y=batch.y) if needs_labels(energy) else energy
        _, slope = energy_and_grad(conditional, batch.x, create_graph=True)
        return self.gradient_penalty * slope.flatten(1).square().sum(1).mean()

    def validate(self, energy: Energy, batch, negatives: Negatives) -> Tensor | None:
        """The energy distance between the chains and held-out data."""
        kept = None if self.start == "data" else negatives.stored(len(batch.x))
        return None if kept is None else measure_energy_distance(kept.x, batch.x)

    def draw(self, energy: Energy, batch, negatives: Negatives, backprop_steps: int = 0) -> Chain:
        """As many chains as there are data, started where the objective says; see ``Negatives.sample``."""
        if self.start == "buffer":
            need_population(negatives, ReplayBuffer, "pcd", "replay")
        start = {"buffer": None, "data": batch.x, "noise": "noise"}[self.start]
        per_label = self.follows_labels(energy)
        y = batch.y if per_label and (self.labels == "batch" or self.start == "data") else None
        return negatives.sample(
            energy, len(batch.x), start=start, y=y, per_label=per_label, backprop_steps=backprop_steps
        )

    def follows_labels(self, energy: Energy) -> bool:
        """Whether chains follow ``E(x, y)`` under labels."""
        return needs_labels(energy)


def bind_labels(energy: Energy, y: Tensor | None, chain: Chain) -> Energy:
    """``energy`` with the labels of data and negatives bound, where it needs them."""
    return energy.given(y=torch.cat([y, chain.y])) if needs_labels(energy) else energy


def measure_energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` of flattened inputs, unbiased; 0 for one law (Szekely & Rizzo 2013)."""
    x, y = x.flatten(1), y.flatten(1)
    within = sum(torch.pdist(z).sum() * 2 / (len(z) * (len(z) - 1)) for z in (x, y))
    return 2 * torch.cdist(x, y).mean() - within


def contrast(positive: Tensor, negative: Tensor, energy_l2: float) -> tuple[Tensor, dict]:
    """The contrastive loss of energies ``(B,)`` of data and negatives, and what to log of them."""
    loss = positive.mean() - negative.mean()
    if energy_l2:
        loss = loss + energy_l2 * (positive.square().mean() + negative.square().mean())
    return loss, measure_gap(positive, negative)


def measure_chain(chain: Chain) -> dict[str, Tensor]:
    """What to log of the chains behind the negatives."""
    metrics = {"chain/grad_norm": chain.stats["grad_norm"].mean()} if "grad_norm" in chain.stats else {}
    if "acceptance" in chain.stats:
        metrics["chain/acceptance"] = chain.stats["acceptance"].mean()
    metrics["chain/age"] = chain.stats["age"].float().mean()
    return metrics
