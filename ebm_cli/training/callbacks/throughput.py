"""Updates per second."""

from __future__ import annotations

import time

import pytorch_lightning as pl


class Throughput(pl.Callback):
    """Logs updates and chain steps per second once an epoch."""

    def on_train_epoch_start(self, trainer, module) -> None:
        self.since, self.step = time.monotonic(), trainer.global_step

    def on_train_epoch_end(self, trainer, module) -> None:
        rate = (trainer.global_step - self.step) / max(time.monotonic() - self.since, 1e-9)
        module.log("steps_per_second", rate, prog_bar=True, rank_zero_only=True)
