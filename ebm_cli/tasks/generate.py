"""Generation from fresh noise, with or without labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ebm_cli.runs.trained import TrainedModel
from ebm_cli.tasks.task import Result, Task, balanced_labels, class_numbers, run_chains


class Generate(Task):
    """Chains from the base density under the energy as it was trained."""

    def __call__(self, model: TrainedModel, n: int) -> Result:
        return Result(*run_chains(model, model.energy, n, laws=balanced_labels(model, n)))


@dataclass(kw_only=True, eq=False)
class Conditional(Task):
    """Chains from the base density under ``E(x | y)``: of a class-conditional model, or of a joint one (JEM).

    Args:
        labels: classes by number or by name, repeated in turn; null takes all of them, one per column of the grid.
    """

    labels: list | None = None

    def __call__(self, model: TrainedModel, n: int) -> Result:
        every = range(model.energy.n_classes or 0)
        classes = class_numbers(model, list(every) if self.labels is None else self.labels, "task.labels")
        y = torch.tensor(classes).repeat(-(-n // len(classes)))[:n]
        energy = model.energy.given(y=y.to(model.device))
        samples, recorder = run_chains(model, energy, n, laws=y)
        samples.y = y
        return Result(samples, recorder, columns=len(classes))
