"""The joint energy-based model: a classifier and a density in one network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.energies.energy import Energy
from ebm_cli.models.network import marginal
from ebm_cli.objectives.classifier import classify
from ebm_cli.objectives.contrastive import ContrastiveDivergence, contrast, measure_chain
from ebm_cli.objectives.objective import Loss


@dataclass(kw_only=True, eq=False)
class JEM(ContrastiveDivergence):
    """``-log p(y|x) + [E(data) - E(negatives)]`` with ``E(x) = -logsumexp_y(-E(x, y))`` (Grathwohl et al. 2020).

    Examples of hidden label (-1) train the density alone.

    Args:
        start, energy_l2, gradient_penalty: as for contrastive divergence.
        labels: ``none`` lets chains follow ``E(x)``; ``own`` and ``batch`` let them follow ``E(x, y)`` under labels
            that they keep, or those of the current batch: negatives of all classes, balanced as the labels are.
        cross_entropy: weight of the classification term.

    Example:
        >>> JEM(labels="batch").joint
        True
    """

    labels: str = "none"
    cross_entropy: float = 1.0

    joint = True
    label_choices = ("none", "own", "batch")
    validation_metric = "nll"

    def follows_labels(self, energy: Energy) -> bool:
        return self.labels != "none"

    def forward(self, energy: Energy, batch, negatives: Negatives) -> Loss:
        chain = self.draw(energy, batch, negatives)
        class_energies = energy.class_energies(torch.cat([batch.x, chain.x]))
        positive, negative = marginal(class_energies).split([len(batch.x), len(chain.x)])
        loss, metrics = contrast(positive, negative, self.energy_l2)
        nll, scores = classify(class_energies[: len(batch.x)], batch.y)
        loss = loss + self.cross_entropy * nll + self.penalize_slope(energy, batch)
        return Loss(loss, metrics | scores | measure_chain(chain))

    def validate(self, energy: Energy, batch, negatives) -> Tensor:
        """The cross-entropy of held-out labels."""
        return classify(energy.class_energies(batch.x), batch.y)[0]
