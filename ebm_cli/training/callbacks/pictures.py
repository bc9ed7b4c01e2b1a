"""Pictures of the chains while they train a model."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl

from ebm_cli.utils import plotting


class SamplePictures(pl.Callback):
    """Draws the chains of the population now and then, as ``samples/epoch_NNNN.png`` in the run's folder.

    Args:
        every_n_epochs: how often.
        number: how many chains.

    Raises:
        ValueError: for numbers below 1.
    """

    def __init__(self, *, every_n_epochs: int = 10, number: int = 64):
        if every_n_epochs < 1 or number < 1:
            raise ValueError(f"every_n_epochs and number must be at least 1, got {every_n_epochs} and {number}")
        self.every_n_epochs, self.number = every_n_epochs, number

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        epoch = trainer.current_epoch + 1
        chains = pl_module.negatives.stored(self.number)
        if epoch % self.every_n_epochs or chains is None or not trainer.is_global_zero:
            return
        file = Path(trainer.default_root_dir) / "samples" / f"epoch_{epoch:04d}.png"
        file.parent.mkdir(exist_ok=True)
        plotting.draw(chains.x.cpu(), trainer.datamodule, file)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("samples", [str(file)], step=trainer.global_step)
