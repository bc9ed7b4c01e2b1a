"""Histograms of energies and ages, for loggers that can draw them."""

from __future__ import annotations

import pytorch_lightning as pl
import torch

from ebm_cli.energies.energy import needs_labels
from ebm_cli.runs import loggers


class EnergyHistograms(pl.Callback):
    """Sends histograms to wandb or TensorBoard: energies of data and of the chains kept, and the chains' ages.

    Args:
        every_n_epochs: how often.
        number: how many data and chains.
    """

    def __init__(self, *, every_n_epochs: int = 10, number: int = 256):
        self.every_n_epochs, self.number = every_n_epochs, number

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        drawing = [logger for logger in trainer.loggers if loggers.draws_histograms(logger)]
        if (trainer.current_epoch + 1) % self.every_n_epochs or not drawing or not trainer.is_global_zero:
            return
        for name, values in self.collect(trainer.datamodule, pl_module).items():
            for logger in drawing:
                loggers.log_histogram(logger, f"histogram/{name}", values, trainer.global_step - 1)

    @torch.no_grad()
    def collect(self, data, module) -> dict[str, torch.Tensor]:
        """Values by name."""
        real, kept = data.split("validation", self.number), module.negatives.stored(self.number)
        sets = {"energy_data": (real.x, real.y)} | ({} if kept is None else {"energy_chains": (kept.x, kept.y)})
        values = {} if kept is None else {"age": kept.age.cpu()}
        module.energy.eval()
        for name, (x, y) in sets.items():
            energy = module.energy.given(y=y.to(module.device)) if needs_labels(module.energy) else module.energy
            values[name] = energy(x.to(module.device)).cpu()
        module.energy.train()
        return values
