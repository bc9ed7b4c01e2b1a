"""What a task is: a small class that turns a trained model into samples, by a sampler run on a composed energy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ebm_cli.config import ConfigError
from ebm_cli.energies import Energy, Projected
from ebm_cli.energies.energy import needs_labels
from ebm_cli.runs.generate import BLOCK, generate
from ebm_cli.runs.trained import Samples, TrainedModel
from ebm_cli.samplers import Sampler
from ebm_cli.samplers.recorder import Recorder


@dataclass
class Result:
    """What a task gives back.

    Attributes:
        samples: what was made.
        recorder: what was recorded of the chains that made them.
        columns: images per row of the grid; None for a square grid.
        figures: numbers of the task's own, for diagnostics.json.
        panels: inputs to be seen side by side, ``(k, *shape)`` by title; written as panels.png.
        inputs: further arrays by name; written as inputs.npz.
        sampler: that made the samples, in as many steps as they say; None is the model's own.
    """

    samples: Samples
    recorder: Recorder
    columns: int | None = None
    figures: dict[str, float] = field(default_factory=dict)
    panels: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)
    sampler: Sampler | None = None


@dataclass(kw_only=True, eq=False)
class Task(ABC):
    """Base of the tasks: ``task(model, n) -> Result``. Options are fields, checked in ``__post_init__``.

    Example:
        >>> class Nothing(Task):
        ...     pass
        >>> Nothing()
        Traceback (most recent call last):
        ...
        TypeError: Can't instantiate abstract class Nothing with abstract method __call__
    """

    def __post_init__(self) -> None:  # noqa: B027 (not every task has options)
        """Checks the options; a subclass that has some calls this one first."""

    @abstractmethod
    def __call__(self, model: TrainedModel, n: int) -> Result:
        """Makes ``n`` samples with ``model``."""


def run_chains(
    model: TrainedModel, energy: Energy, n: int, *, start: Tensor | None = None, laws: Tensor | None = None
) -> tuple[Samples, Recorder]:
    """Chains of the model's length on a composed energy, and what was recorded of the first of them.

    What a ``Projected`` energy knows is put back at the end.

    Args:
        start: where chains start, ``(n, *shape)``; None is fresh noise.
        laws: a number per chain ``(n,)``, the same for chains that share one target; None where all do.
    """
    recorder = Recorder(model.n_steps, laws=None if laws is None else laws[:BLOCK])
    samples = generate(model, n, model.n_steps, energy=energy, start=start, recorder=recorder)
    samples.x = visible(energy, samples.x.to(model.device)).cpu()
    return samples, recorder


def visible(energy: Energy, x: Tensor) -> Tensor:
    """``x`` as it is to be seen: projected onto what is known, where the energy knows something."""
    return energy.project(x) if isinstance(energy, Projected) else x


def balanced_labels(model: TrainedModel, n: int) -> Tensor | None:
    """Labels ``(n,)`` in turn for a model whose energy needs them, else None."""
    return torch.arange(n) % model.energy.n_classes if needs_labels(model.energy) else None


def prior(model: TrainedModel, y: Tensor | None, n: int) -> Energy:
    """The model's energy for n rows, bound to labels where it cannot do without (then to balanced ones if None)."""
    if not needs_labels(model.energy):
        return model.energy
    y = balanced_labels(model, n) if y is None else y
    return model.energy.given(y=y.to(model.device))


def class_numbers(model: TrainedModel, labels: list, key: str) -> list[int]:
    """Labels given by number or by name as numbers.

    Raises:
        ConfigError: for a model without labels, or a label that there is not, listing those that there are.
    """
    if not model.energy.n_classes:
        raise ConfigError(f"{key}: this run was trained without labels; use objective=jem, or a conditional model")
    names = [str(name) for name in model.data.class_names or range(model.energy.n_classes)]
    for label in labels:
        if str(label) not in names and not (isinstance(label, int) and 0 <= label < len(names)):
            raise ConfigError(f"{key}={label}: no such class; choose among: {', '.join(names)}")
    return [names.index(str(label)) if str(label) in names else label for label in labels]
