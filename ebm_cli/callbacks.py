"""What happens around training: the divergence guard, sample grids, throughput."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

import pytorch_lightning as pl
import torch

from ebm_cli import loggers, pictures
from ebm_cli.chains import needs_labels
from ebm_cli.samplers import DivergenceError


class DivergenceGuard(pl.Callback):
    """Stops a run whose loss leaves the finite numbers, or whose energy gap explodes; without a gap, whose loss does.

    Both bounds on the gap are free of the energies' scale, which a large sampler step shrinks: one compares it with its
    own running median, the other, where the noise is tied to the step and energies are nats of the chains' law, with
    temperature x dimension. Losses of objectives without chains have a scale: that of the first one.

    Args:
        growth: how many times the running median of ``|gap|`` counts as an explosion; of ``|loss|``, how many times the
            larger of its running median and its first value.
        window: how many updates make the median.
        nats: how many times temperature x dimension ``|gap|`` may be.
    """

    def __init__(self, growth: float, window: int, nats: float):
        self.growth, self.nats, self.gaps = growth, nats, deque(maxlen=window)
        self.losses, self.first = deque(maxlen=window), None

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        loss = outputs["loss"]
        if not bool(torch.isfinite(loss)):
            raise DivergenceError(f"loss={float(loss)} at update {trainer.global_step}: not finite")
        gap = module.latest.get("energy/gap") if module.objective.uses_chains else None
        if gap is not None:
            self.judge(abs(float(gap)), trainer.global_step, module.temperature() * batch.x[0].numel())
        else:
            self.judge_loss(abs(float(loss)), trainer.global_step)

    def judge(self, gap: float, step: int, scale: float) -> None:
        """Compares one gap with the median of those before it, and with temperature x dimension (0 if unknown)."""
        if scale and gap > self.nats * scale:
            raise DivergenceError(
                f"|energy/gap|={gap:.3g} at update {step}: over guard.nats={self.nats:g} times temperature x dimension "
                f"= {scale:.3g}"
            )
        if len(self.gaps) == self.gaps.maxlen:
            usual = median(self.gaps)
            if gap > self.growth * max(usual, 1e-12):
                raise DivergenceError(
                    f"|energy/gap|={gap:.3g} at update {step}: over guard.growth={self.growth:g} times its running "
                    f"median {usual:.3g}"
                )
        self.gaps.append(gap)

    def judge_loss(self, loss: float, step: int) -> None:
        """Compares one loss with those before it."""
        self.first = max(loss, 1e-12) if self.first is None else self.first
        usual = max(self.first, median(self.losses) if self.losses else 0.0)
        if loss > self.growth * usual:
            raise DivergenceError(
                f"|loss|={loss:.3g} at update {step}: over guard.growth={self.growth:g} times the usual {usual:.3g}"
            )
        self.losses.append(loss)


def median(values) -> float:
    return sorted(values)[len(values) // 2]


class Throughput(pl.Callback):
    """Logs updates and chain steps per second once an epoch."""

    def on_train_epoch_start(self, trainer, module) -> None:
        self.since, self.step = time.monotonic(), trainer.global_step

    def on_train_epoch_end(self, trainer, module) -> None:
        rate = (trainer.global_step - self.step) / max(time.monotonic() - self.since, 1e-9)
        module.log("steps_per_second", rate, prog_bar=True, rank_zero_only=True)


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
        kept = module.chains.stored(self.number)
        if epoch % self.every or kept is None or not trainer.is_global_zero:
            return
        file = self.directory / f"epoch_{epoch:04d}.png"
        pictures.draw(kept.x.cpu(), trainer.datamodule, file)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("samples", [str(file)], step=trainer.global_step)


class Distributions(pl.Callback):
    """Sends histograms to the loggers that can draw them: energies of data and of kept chains, and the chains' ages.

    Args:
        every_n_epochs: how often.
        number: how many data and chains.
    """

    def __init__(self, every_n_epochs: int, number: int = 256):
        self.every, self.number = every_n_epochs, number

    def on_train_epoch_end(self, trainer, module) -> None:
        drawing = [logger for logger in trainer.loggers if loggers.draws_histograms(logger)]
        if (trainer.current_epoch + 1) % self.every or not drawing or not trainer.is_global_zero:
            return
        for name, values in self.found(trainer.datamodule, module).items():
            for logger in drawing:
                loggers.log_histogram(logger, f"histogram/{name}", values, trainer.global_step - 1)

    @torch.no_grad()
    def found(self, data, module) -> dict[str, torch.Tensor]:
        """Values by name."""
        real, kept = data.split("validation", self.number), module.chains.stored(self.number)
        sets = {"energy_data": (real.x, real.y)} | ({} if kept is None else {"energy_chains": (kept.x, kept.y)})
        values = {} if kept is None else {"age": kept.age.cpu()}
        with module.evaluating():
            for name, (x, y) in sets.items():
                energy = module.energy.given(y=y.to(module.device)) if needs_labels(module.energy) else module.energy
                values[name] = energy(x.to(module.device)).cpu()
        return values
