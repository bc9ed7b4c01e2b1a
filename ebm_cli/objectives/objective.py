"""What a training loss is: a small module that turns a batch and negatives into one scalar."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.population import Population
from ebm_cli.energies.energy import Energy

P = TypeVar("P", bound=Population)


class Loss(NamedTuple):
    """A scalar to minimize, and detached device scalars to log."""

    loss: Tensor
    metrics: dict[str, Tensor]


@dataclass(kw_only=True, eq=False)
class Objective(nn.Module, abc.ABC):
    """Base of the training losses: ``objective(energy, batch, negatives) -> Loss``. Options are dataclass fields.

    Attributes:
        joint: the network needs one output per class.
        uses_chains: the loss draws negatives, so a sampler and a buffer take part in training.
        double_backward: the loss differentiates gradients, which a compiled network cannot do.
        progress: share of the run that is over, in [0, 1], alike on all ranks; set before every update.
        validation_metric: name of what a better model has less of on held-out data, or None where there is no such
            thing. The loss itself serves where it needs no chains; a contrastive loss does not order models.

    Example:
        >>> class MeanEnergy(Objective):
        ...     def forward(self, energy, batch, negatives):
        ...         return Loss(energy(batch.x).mean(), {})
        >>> MeanEnergy().validation_metric
        'loss'
    """

    joint = False
    uses_chains = False
    double_backward = False
    progress = 0.0
    validation_metric = "loss"

    def __post_init__(self):
        nn.Module.__init__(self)

    @abc.abstractmethod
    def forward(self, energy: Energy, batch, negatives: Negatives | None) -> Loss:
        """The loss of one batch.

        Args:
            energy: the model, of ``x`` alone; ``energy.given(y=...)`` binds labels and ``energy.given(t=...)`` levels.
            batch: data ``x`` ``(B, *shape)`` and labels ``y`` ``(B,)`` or None.
            negatives: what draws model samples.
        """

    def fit(self, base) -> None:
        """Called once before training with the base density, for objectives that contrast with it."""

    def validate(self, energy: Energy, batch, negatives: Negatives | None) -> Tensor | None:
        """The value of ``validation_metric`` on a held-out batch; None while there is nothing to compare."""
        if self.uses_chains or self.validation_metric is None:
            return None
        with torch.enable_grad():
            return self(energy, batch, negatives).loss


def evaluate_all(energy: Energy, *xs: Tensor) -> list[Tensor]:
    """Energies of several batches in one forward pass: one all-reduce and one update of spectral norms."""
    return list(energy(torch.cat(xs)).split([len(x) for x in xs]))


def measure_gap(positive: Tensor, negative: Tensor, contrasted: str = "samples") -> dict[str, Tensor]:
    """What to log of the energies of data and of what they are contrasted with: both means and their difference."""
    data, other = positive.detach().mean(), negative.detach().mean()
    return {"energy/data": data, f"energy/{contrasted}": other, "energy/gap": other - data}


def need_population(negatives: Negatives, kind: type[P], objective: str, option: str) -> P:
    """The run's population, which has to be of one kind.

    Raises:
        ValueError: naming the option to choose, for any other.
    """
    if not isinstance(negatives.buffer, kind):
        name = type(negatives.buffer).__name__
        raise ValueError(f"objective={objective} needs chains of another kind than {name}; use buffer={option}")
    return negatives.buffer
