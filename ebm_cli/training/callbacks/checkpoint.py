"""Which checkpoints a run keeps: the last ones, and the best."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning.callbacks import ModelCheckpoint


class Checkpoint(ModelCheckpoint):
    """Lightning's ``ModelCheckpoint`` under one name in the run's own folder, written at the end of an epoch.

    Nothing of it depends on where the run lies, so that a run can be moved and goes on.

    Args:
        name: of the file, without ``.ckpt``.
        monitor: metric of which the lowest value decides; null writes every time.
        every_n_epochs: how often.
    """

    def __init__(self, *, name: str, monitor: str | None = None, every_n_epochs: int = 1):
        super().__init__(
            filename=name,
            monitor=monitor,
            every_n_epochs=every_n_epochs,
            save_on_train_epoch_end=True,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    @property
    def state_key(self) -> str:
        return f"{type(self).__name__}({self.filename})"

    def setup(self, trainer, pl_module, stage: str) -> None:
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def state_dict(self) -> dict:
        """The lowest value so far, and no path."""
        return {"best_model_score": self.best_model_score}

    def load_state_dict(self, state_dict: dict) -> None:
        score, file = state_dict["best_model_score"], str(Path(self.dirpath) / f"{self.filename}.ckpt")
        if score is not None:
            self.best_model_score = self.kth_value = score
            self.best_model_path = self.kth_best_model_path = file
            self.best_k_models = {file: score}


class LastCheckpoint(Checkpoint):
    """Writes ``last.ckpt``, from which a run goes on; those before it stay as ``last-1.ckpt``, ``last-2.ckpt``, ...

    Args:
        earlier: how many before the last one are kept: they serve where a disk has damaged it.
        every_n_epochs: how often.
    """

    def __init__(self, *, earlier: int = 2, every_n_epochs: int = 1):
        super().__init__(name="last", every_n_epochs=every_n_epochs)
        self.earlier = earlier

    def setup(self, trainer, pl_module, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        trainer.strategy.checkpoint_io.earlier = self.earlier

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        for logger in trainer.loggers:  # a resumed run starts after this epoch, and would not log it again
            logger.save()
        super().on_train_epoch_end(trainer, pl_module)


class BestCheckpoint(Checkpoint):
    """Writes ``best.ckpt`` where the objective's own validation value, or another metric, is the lowest so far.

    Args:
        monitor: the metric; null is ``validation/...`` as the objective names it, and nothing where it names none.
        every_n_epochs: how often.
    """

    def __init__(self, *, monitor: str | None = None, every_n_epochs: int = 1):
        super().__init__(name="best", monitor=monitor, every_n_epochs=every_n_epochs)

    def setup(self, trainer, pl_module, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        own = pl_module.objective.validation_metric
        if self.monitor is None and own is not None:
            self.monitor = f"validation/{own}"

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        if self.monitor in trainer.callback_metrics:  # it may have nothing to compare yet
            super().on_train_epoch_end(trainer, pl_module)
