"""A budget of time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytorch_lightning as pl


class Budget(pl.Callback):
    """Stops after a budget of time, at the end of an epoch so that resuming is exact; counts over resumes.

    Args:
        key: which word of the config asks for it.
        duration: ``DD:HH:MM:SS``.
        clock: seconds of what: ``time.monotonic``, or ``time.process_time`` for the processor time of this process.

    Raises:
        ValueError: for a duration of another form.
    """

    def __init__(self, key: str, duration: str, clock: Callable[[], float]):
        parts = str(duration).split(":")
        if len(parts) != 4 or not all(part.isdigit() for part in parts):
            raise ValueError(f"{key}={duration}: not a duration; write DD:HH:MM:SS, such as 00:00:01:00 for a minute")
        days, hours, minutes, seconds = (int(part) for part in parts)
        self.seconds = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
        self.clock, self.before, self.since = clock, 0.0, None

    @property
    def state_key(self) -> str:
        return f"Budget({self.clock.__name__})"

    def share(self) -> float:
        """Share of the budget that is spent."""
        return self.elapsed() / self.seconds

    def elapsed(self) -> float:
        """Seconds of training so far."""
        return self.before + (0.0 if self.since is None else self.clock() - self.since)

    def on_fit_start(self, trainer, module) -> None:
        self.stop_if_spent(trainer)  # a resumed run may have nothing left

    def on_train_start(self, trainer, module) -> None:
        self.since = self.clock()

    def on_train_epoch_end(self, trainer, module) -> None:
        self.stop_if_spent(trainer)

    def stop_if_spent(self, trainer) -> None:
        """All ranks stop when rank 0's budget is spent."""
        trainer.should_stop = trainer.should_stop or trainer.strategy.broadcast(self.share() >= 1)

    def state_dict(self) -> dict:
        return {"elapsed": self.elapsed()}

    def load_state_dict(self, state_dict: dict) -> None:
        self.before = state_dict["elapsed"]
