"""Generation from fresh noise, with or without labels."""

from __future__ import annotations

import torch

from ebm_cli.runs.trained import TrainedModel
from ebm_cli.tasks.task import Result, Task, class_numbers, prior, run_chains


class Generate(Task):
    """Chains from the base density under the energy as it was trained."""

    def __call__(self, subject: TrainedModel, n: int) -> Result:
        samples = run_chains(subject, subject.energy, n)
        return Result(samples, prior(subject, samples.y, n))


class Conditional(Task):
    """Chains from the base density under ``E(x | y)``: of a class-conditional model, or of a joint one (JEM).

    Args:
        labels: classes by number or by name, repeated in turn; null takes all of them, one per column of the grid.
    """

    def __init__(self, *, labels: list | None = None):
        self.labels = labels

    def __call__(self, subject: TrainedModel, n: int) -> Result:
        every = range(subject.energy.n_classes or 0)
        classes = class_numbers(subject, list(every) if self.labels is None else self.labels, "task.labels")
        y = torch.tensor(classes).repeat(-(-n // len(classes)))[:n]
        energy = subject.energy.given(y=y.to(subject.device))
        samples = run_chains(subject, energy, n)
        samples.y = y
        return Result(samples, energy, columns=len(classes))
