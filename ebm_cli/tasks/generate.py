"""Generation from fresh noise, with or without labels."""

from __future__ import annotations

import torch

from ebm_cli.config import ConfigError
from ebm_cli.run import Subject, generate
from ebm_cli.tasks.task import Result, Task


class Generate(Task):
    """Chains from the base density under the energy as it was trained."""

    def __call__(self, subject: Subject, n: int) -> Result:
        return Result(generate(subject, n, subject.n_steps))


class Conditional(Task):
    """Chains from the base density under ``E(x | y)``: of a class-conditional model, or of a joint one (JEM).

    Args:
        labels: classes by number or by name, repeated in turn; null takes all of them, one per column of the grid.
    """

    def __init__(self, *, labels: list | None = None):
        self.labels = labels

    def __call__(self, subject: Subject, n: int) -> Result:
        if not subject.energy.n_classes:
            raise ConfigError(
                "task=conditional: this run was trained without labels; use objective=jem, or a conditional model"
            )
        classes = self.classes(subject)
        y = torch.tensor(classes).repeat(-(-n // len(classes)))[:n]
        return Result(generate(subject, n, subject.n_steps, y=y), columns=len(classes))

    def classes(self, subject: Subject) -> list[int]:
        """The chosen classes as numbers.

        Raises:
            ConfigError: for a label that there is not, listing those that there are.
        """
        names = [str(name) for name in subject.data.class_names or range(subject.energy.n_classes)]
        if self.labels is None:
            return list(range(len(names)))
        for label in self.labels:
            if str(label) not in names and not (isinstance(label, int) and 0 <= label < len(names)):
                raise ConfigError(f"task.labels={label}: no such class; choose among: {', '.join(names)}")
        return [names.index(str(label)) if str(label) in names else label for label in self.labels]
