"""Updates per second."""

from __future__ import annotations

import time

import pytorch_lightning as pl


class Throughput(pl.Callback):
    """Logs ``steps_per_second``, updates per second of wall-clock time, once an epoch."""

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        self.since, self.step = time.monotonic(), trainer.global_step

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        rate = (trainer.global_step - self.step) / max(time.monotonic() - self.since, 1e-9)
        pl_module.log("steps_per_second", rate, prog_bar=True, rank_zero_only=True)
