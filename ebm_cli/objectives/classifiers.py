"""Objectives that use labels: the joint energy-based model, and the plain classifier beside it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ebm_cli.energies.energy import Energy
from ebm_cli.models.network import marginal
from ebm_cli.objectives.contrastive import ContrastiveDivergence, chain_metrics, contrast
from ebm_cli.objectives.objective import Loss, Objective


class JEM(ContrastiveDivergence):
    """Joint energy-based model: ``-log p(y|x) + [E(data) - E(negatives)]`` with ``E(x) = -logsumexp_y(-E(x, y))``.

    One network is a classifier and a density (Grathwohl et al. 2020). Examples of hidden label (-1) teach the
    density alone.

    Args:
        start, energy_l2, gradient_penalty: as for contrastive divergence.
        labels: ``none`` lets chains follow ``E(x)``; ``own`` and ``batch`` let them follow ``E(x, y)`` under labels
            that they keep, or those of the current batch: negatives of all classes, balanced as the labels are.
        cross_entropy: weight of the classification term.
    """

    joint = True
    label_choices = ("none", "own", "batch")

    def __init__(
        self,
        *,
        start: str = "buffer",
        energy_l2: float = 0.0,
        gradient_penalty: float = 0.0,
        labels: str = "none",
        cross_entropy: float = 1.0,
    ):
        super().__init__(start=start, energy_l2=energy_l2, gradient_penalty=gradient_penalty, labels=labels)
        self.cross_entropy = cross_entropy

    def per_label(self, energy: Energy) -> bool:
        return self.labels != "none"

    def forward(self, energy: Energy, batch, chains) -> Loss:
        chain = self.negatives(energy, batch, chains)
        class_energies = energy.class_energies(torch.cat([batch.x, chain.x]))
        positive, negative = marginal(class_energies).split([len(batch.x), len(chain.x)])
        loss, metrics = contrast(positive, negative, self.energy_l2)
        nll, scores = classification(class_energies[: len(batch.x)], batch.y)
        loss = loss + self.cross_entropy * nll + self.slope_penalty(energy, batch)
        return Loss(loss, metrics | scores | chain_metrics(chain))

    def validation(self, energy: Energy, batch, chains) -> tuple[str, Tensor] | None:
        """The cross-entropy of held-out labels."""
        return "nll", classification(energy.class_energies(batch.x), batch.y)[0]


class Classifier(Objective):
    """``-log p(y|x)`` alone: the yardstick of a JEM, with the same network and the same energy ``E(x)``."""

    joint = True

    def forward(self, energy: Energy, batch, chains) -> Loss:
        return Loss(*classification(energy.class_energies(batch.x), batch.y))

    def validation(self, energy: Energy, batch, chains) -> tuple[str, Tensor] | None:
        """The cross-entropy of held-out labels."""
        return "nll", classification(energy.class_energies(batch.x), batch.y)[0]


def classification(class_energies: Tensor, y: Tensor) -> tuple[Tensor, dict]:
    """Cross-entropy of the labels that are known (not -1) under ``softmax(-E(x, y))``, and what to log of it."""
    known = (y >= 0).sum().clamp_min(1)
    nll = cross_entropy(-class_energies, y, ignore_index=-1, reduction="sum") / known
    accuracy = (class_energies.argmin(1) == y).sum() / known
    return nll, {"classifier/nll": nll.detach(), "classifier/accuracy": accuracy}
