"""Maximum likelihood by contrast with sampled negatives."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy, energy_and_grad, needs_labels
from ebm_cli.objectives.objective import Loss, Objective, energies_of

STARTS = ("buffer", "data", "noise")


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
    """

    uses_chains = True
    label_choices = ("own", "batch")

    def __init__(
        self, *, start: str = "buffer", energy_l2: float = 0.0, gradient_penalty: float = 0.0, labels: str = "own"
    ):
        super().__init__()
        for key, value, choices in (("start", start, STARTS), ("labels", labels, self.label_choices)):
            if value not in choices:
                raise ValueError(f"objective.{key} must be one of {', '.join(choices)}, got {value!r}")
        if gradient_penalty < 0:
            raise ValueError(f"objective.gradient_penalty must not be negative, got {gradient_penalty}")
        self.start, self.energy_l2, self.labels = start, energy_l2, labels
        self.gradient_penalty = gradient_penalty
        self.double_backward = self.double_backward or gradient_penalty > 0

    def forward(self, energy: Energy, batch, chains) -> Loss:
        chain = self.negatives(energy, batch, chains)
        positive, negative = energies_of(with_labels(energy, batch.y, chain), batch.x, chain.x)
        loss, metrics = contrast(positive, negative, self.energy_l2)
        return Loss(loss + self.slope_penalty(energy, batch), metrics | chain_metrics(chain))

    def slope_penalty(self, energy: Energy, batch) -> Tensor | float:
        """``gradient_penalty * mean |grad_x E(data)|^2``; 0 without evaluating anything where the weight is 0."""
        if not self.gradient_penalty:
            return 0.0
        conditional = energy.given(y=batch.y) if needs_labels(energy) else energy
        _, slope = energy_and_grad(conditional, batch.x, create_graph=True)
        return self.gradient_penalty * slope.flatten(1).square().sum(1).mean()

    def validation(self, energy: Energy, batch, chains) -> tuple[str, Tensor] | None:
        """The energy distance between the chains and held-out data; None where chains start from data, near which they
        stay whatever the model."""
        kept = None if self.start == "data" else chains.stored(len(batch.x))
        return None if kept is None else ("energy_distance", energy_distance(kept.x, batch.x))

    def negatives(self, energy: Energy, batch, chains, backprop_steps: int = 0):
        """As many chains as there are data, started where the objective says; see ``Chains.negatives``."""
        start = {"buffer": None, "data": batch.x, "noise": "noise"}[self.start]
        per_label = self.per_label(energy)
        y = batch.y if per_label and (self.labels == "batch" or self.start == "data") else None
        return chains.negatives(
            energy, len(batch.x), start=start, y=y, per_label=per_label, backprop_steps=backprop_steps
        )

    def per_label(self, energy: Energy) -> bool:
        """Whether chains follow ``E(x, y)`` under labels."""
        return needs_labels(energy)


def with_labels(energy: Energy, y: Tensor | None, chain) -> Energy:
    """``energy`` with the labels of data and negatives bound, where it needs them."""
    return energy.given(y=torch.cat([y, chain.y])) if needs_labels(energy) else energy


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` of flattened inputs, unbiased; 0 for one law (Szekely & Rizzo 2013)."""
    x, y = x.flatten(1), y.flatten(1)
    within = sum(torch.pdist(z).sum() * 2 / (len(z) * (len(z) - 1)) for z in (x, y))
    return 2 * torch.cdist(x, y).mean() - within


def contrast(positive: Tensor, negative: Tensor, energy_l2: float) -> tuple[Tensor, dict]:
    """The contrastive loss of energies ``(B,)`` of data and negatives, and what to log of them."""
    loss = positive.mean() - negative.mean()
    if energy_l2:
        loss = loss + energy_l2 * (positive.square().mean() + negative.square().mean())
    metrics = {
        "energy/data": positive.detach().mean(),
        "energy/samples": negative.detach().mean(),
        "energy/gap": (negative.detach().mean() - positive.detach().mean()),
    }
    return loss, metrics


def chain_metrics(chain) -> dict[str, Tensor]:
    """What to log of the chains behind the negatives."""
    metrics = {"chain/grad_norm": chain.stats["grad_norm"].mean()} if "grad_norm" in chain.stats else {}
    if "acceptance" in chain.stats:
        metrics["chain/acceptance"] = chain.stats["acceptance"].mean()
    metrics["chain/age"] = chain.stats["age"].float().mean()
    return metrics
