"""The learning rate over a run, as a function of the update and of the share of the run that is over."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

DECAYS = ("linear", "cosine", "exponential")


@dataclass(kw_only=True)
class Schedule:
    """Factor of the learning rate: a linear warm-up, a plateau, then down to ``final``; perhaps steps on the way.

    ``warm(step) * fall(share beyond hold) * factor^(milestones passed)``. Shares are those of the run by whichever
    bound comes first: updates, epochs or time.

    Args:
        warmup_steps: updates of the linear rise.
        hold: share of the run at the full rate.
        final: share of the full rate at the end.
        decay: the way down: ``linear``, ``cosine`` or ``exponential``.
        milestones: shares of the run after which the rate is multiplied by ``factor``, each time.
        factor: see ``milestones``.

    Raises:
        ValueError: for another way down, or shares outside [0, 1].

    Example:
        >>> schedule = Schedule(warmup_steps=1, hold=0.5, final=0.1, decay="linear")
        >>> [round(schedule.factor_at(step, share), 3) for step, share in ((0, 0.0), (1, 0.1), (50, 0.75), (99, 1.0))]
        [0.5, 1.0, 0.55, 0.1]
    """

    warmup_steps: int = 50
    hold: float = 0.6
    final: float = 0.05
    decay: str = "linear"
    milestones: list[float] = field(default_factory=list)
    factor: float = 0.3

    def __post_init__(self):
        if self.decay not in DECAYS:
            raise ValueError(f"decay must be {', '.join(DECAYS)}, got {self.decay!r}")
        if self.warmup_steps < 0 or not 0 <= self.hold <= 1 or not 0 <= self.final <= 1:
            given = f"got warmup_steps={self.warmup_steps}, hold={self.hold}, final={self.final}"
            raise ValueError(f"needs warmup_steps >= 0, and hold and final in [0, 1], {given}")

    def factor_at(self, step: int, share: float) -> float:
        """The factor at update ``step``, when ``share`` of the run is over."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        beyond = max(0.0, share - self.hold) / max(1e-9, 1 - self.hold)
        passed = sum(share >= milestone for milestone in self.milestones)
        return warm * self.fall(beyond) * self.factor**passed

    def fall(self, beyond: float) -> float:
        """From 1 to ``final`` while ``beyond`` goes from 0 to 1."""
        if self.decay == "exponential":
            return self.final**beyond
        fall = 0.5 * (1 + math.cos(math.pi * beyond)) if self.decay == "cosine" else 1 - beyond
        return self.final + (1 - self.final) * fall


def progress_of(trainer, step: int, time_share: float = 0.0) -> float:
    """Share of the run that is over at an update, in [0, 1], by whichever bound on steps, epochs or time is nearest.

    Args:
        trainer: Lightning's.
        time_share: of the budget of time.
    """
    bounds = [trainer.max_steps] if trainer.max_steps > 0 else []
    # trainer.estimated_stepping_batches would load the data before a resumed run knows its epoch
    if (trainer.max_epochs or 0) > 0 and 0 < trainer.num_training_batches < math.inf:
        bounds.append(trainer.max_epochs * trainer.num_training_batches / trainer.accumulate_grad_batches)
    by_steps = step / min(bounds) if bounds else 0.0
    return min(1.0, max(by_steps, time_share))
