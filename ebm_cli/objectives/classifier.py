"""The cross-entropy of labels alone: the plain classifier that a joint energy-based model is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from ebm_cli.energies.energy import Energy
from ebm_cli.objectives.objective import Loss, Objective


@dataclass(kw_only=True, eq=False)
class Classifier(Objective):
    """``-log p(y|x)`` alone: the baseline of a JEM, with the same network and the same energy ``E(x)``.

    Example:
        >>> Classifier().joint
        True
    """

    joint = True
    validation_metric = "nll"

    def forward(self, energy: Energy, batch, negatives) -> Loss:
        return Loss(*classify(energy.class_energies(batch.x), batch.y))

    def validate(self, energy: Energy, batch, negatives) -> Tensor:
        """The cross-entropy of held-out labels."""
        return classify(energy.class_energies(batch.x), batch.y)[0]


def classify(class_energies: Tensor, y: Tensor) -> tuple[Tensor, dict]:
    """Cross-entropy of the labels that are known (not -1) under ``softmax(-E(x, y))``, and what to log of it."""
    known = (y >= 0).sum().clamp_min(1)
    nll = cross_entropy(-class_energies, y, ignore_index=-1, reduction="sum") / known
    accuracy = (class_energies.argmin(1) == y).sum() / known
    return nll, {"classifier/nll": nll.detach(), "classifier/accuracy": accuracy}
