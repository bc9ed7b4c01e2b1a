"""A budget of processor time, which is fair on a shared machine."""

from __future__ import annotations

import time

from pytorch_lightning.callbacks import Timer
from pytorch_lightning.utilities.exceptions import MisconfigurationException


class CPUTimer(Timer):
    """Lightning's ``Timer``, in seconds of processor time of this process; it counts on over resumes.

    Args:
        duration: ``DD:HH:MM:SS``; null for no budget.
        interval: ``epoch`` stops where resuming is exact; ``step`` at once.

    Raises:
        ValueError: for a duration or an interval of another form.
    """

    def __init__(self, *, duration: str | None, interval: str = "epoch"):
        try:
            super().__init__(duration, interval, verbose=False)
        except MisconfigurationException as error:
            raise ValueError(f"duration={duration}: not a duration; write DD:HH:MM:SS, such as 00:00:01:00") from error
        self.before, self.since = 0.0, None

    def on_train_start(self, trainer, pl_module) -> None:
        super().on_train_start(trainer, pl_module)
        self.since = time.process_time()

    def on_train_end(self, trainer, pl_module) -> None:
        super().on_train_end(trainer, pl_module)
        self.before, self.since = self.time_elapsed(), None

    def time_elapsed(self, stage: str = "train") -> float:
        """Seconds of processor time of training; of other stages Lightning's wall-clock time."""
        if stage != "train":
            return super().time_elapsed(stage)
        return self.before + (0.0 if self.since is None else time.process_time() - self.since)

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self.before = state_dict["time_elapsed"]["train"]
