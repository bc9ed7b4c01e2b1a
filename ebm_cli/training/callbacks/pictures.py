"""Pictures of the chains while they train a model."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl

from ebm_cli.utils import plotting


class SampleGrid(pl.Callback):
    """Draws the kept chains now and then, as ``samples/epoch_NNNN.png``.

    Args:
        directory: where pictures go.
        every_n_epochs: how often.
        number: how many chains.
    """

    def __init__(self, directory: Path, every_n_epochs: int, number: int):
        self.directory, self.every, self.number = directory, every_n_epochs, number

    def on_train_epoch_end(self, trainer, module) -> None:
        epoch = trainer.current_epoch + 1
        kept = module.negatives.stored(self.number)
        if epoch % self.every or kept is None or not trainer.is_global_zero:
            return
        file = self.directory / f"epoch_{epoch:04d}.png"
        plotting.draw(kept.x.cpu(), trainer.datamodule, file)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("samples", [str(file)], step=trainer.global_step)
