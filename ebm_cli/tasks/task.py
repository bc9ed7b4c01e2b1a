"""What a task is: a small class that turns a trained model into samples, by a sampler run on a composed energy."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ebm_cli.config import ConfigError
from ebm_cli.energies import Energy, Projected
from ebm_cli.energies.energy import needs_labels
from ebm_cli.runs.generate import generate
from ebm_cli.runs.trained import Samples, TrainedModel
from ebm_cli.samplers import Sampler


@dataclass
class Result:
    """What a task gives back.

    Attributes:
        samples: what was made.
        energy: what the chains followed, bound to the rows of ``samples`` where it binds anything.
        start: where they started ``(n, *shape)``; None is fresh noise.
        columns: images per row of the grid; None for a square grid.
        figures: numbers of the task's own, for diagnostics.json.
        panels: inputs to be seen side by side, ``(k, *shape)`` by title; written as panels.png.
        inputs: further arrays by name; written as inputs.npz.
        sampler: that made the samples, in as many steps as they say; None is the subject's own.
    """

    samples: Samples
    energy: Energy
    start: Tensor | None = None
    columns: int | None = None
    figures: dict[str, float] = field(default_factory=dict)
    panels: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)
    sampler: Sampler | None = None


class Task:
    """Base of the tasks: ``task(subject, n) -> Result``."""

    def __call__(self, subject: TrainedModel, n: int) -> Result:
        """Makes ``n`` samples."""
        raise TypeError(f"{type(self).__name__} does not define __call__(subject, n)")


def run_chains(subject: TrainedModel, energy: Energy, n: int, *, y: Tensor | None = None, start: Tensor | None = None):
    """Chains of the subject's length on a composed energy; what a ``Projected`` one knows is put back at the end."""
    samples = generate(subject, n, subject.n_steps, energy=energy, y=y, start=start)
    samples.x = visible(energy, samples.x.to(subject.device)).cpu()
    return samples


def visible(energy: Energy, x: Tensor) -> Tensor:
    """``x`` as it is to be seen: projected onto what is known, where the energy knows something."""
    return energy.project(x) if isinstance(energy, Projected) else x


def prior(subject: TrainedModel, y: Tensor | None, n: int) -> Energy:
    """The subject's energy for n rows, bound to labels where it cannot do without (then to balanced ones if None)."""
    if not needs_labels(subject.energy):
        return subject.energy
    y = torch.arange(n) % subject.energy.n_classes if y is None else y
    return subject.energy.given(y=y.to(subject.device))


def class_numbers(subject: TrainedModel, labels: list, key: str) -> list[int]:
    """Labels given by number or by name as numbers.

    Raises:
        ConfigError: for a model without labels, or a label that there is not, listing those that there are.
    """
    if not subject.energy.n_classes:
        raise ConfigError(f"{key}: this run was trained without labels; use objective=jem, or a conditional model")
    names = [str(name) for name in subject.data.class_names or range(subject.energy.n_classes)]
    for label in labels:
        if str(label) not in names and not (isinstance(label, int) and 0 <= label < len(names)):
            raise ConfigError(f"{key}={label}: no such class; choose among: {', '.join(names)}")
    return [names.index(str(label)) if str(label) in names else label for label in labels]
