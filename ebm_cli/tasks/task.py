"""What a task is: a small class that turns a trained model into samples."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ebm_cli.run import Samples, Subject


@dataclass
class Result:
    """What a task gives back.

    Attributes:
        samples: what was made.
        columns: images per row of the grid; None for a square grid.
        figures: numbers of the task's own, for diagnostics.json.
    """

    samples: Samples
    columns: int | None = None
    figures: dict[str, float] = field(default_factory=dict)


class Task:
    """Base of the tasks: ``task(subject, n) -> Result``."""

    def __call__(self, subject: Subject, n: int) -> Result:
        """Makes ``n`` samples."""
        raise TypeError(f"{type(self).__name__} does not define __call__(subject, n)")

    def energy(self, subject: Subject, y: Tensor | None):
        """The energy that the chain of pictures follows."""
        return subject.energy if y is None else subject.energy.given(y=y)
