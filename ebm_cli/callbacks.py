"""What happens around training: the weight average, the divergence guard, sample grids, throughput."""

from __future__ import annotations

import bisect
import math
import time
from collections import deque
from pathlib import Path

import pytorch_lightning as pl
import torch

from ebm_cli import loggers, pictures
from ebm_cli.chains import needs_labels
from ebm_cli.samplers import DivergenceError

PER_UPDATE = (
    "on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step", "on_train_batch_end",
)  # fmt: skip


def drop_idle_hooks(hooks: list, stubs: type = pl.Callback) -> None:
    """Takes away what callbacks would be called for at every update without doing anything: Lightning's own ``stubs``.

    Lightning passes over a hook that is not callable; calling ten empty ones six times costs as much as a toy network.
    """
    for hook in hooks:
        for name in PER_UPDATE:
            if getattr(type(hook), name) is getattr(stubs, name):
                setattr(hook, name, None)


class WeightAverage(pl.callbacks.WeightAveraging):
    """Exponential moving average of the weights, all of them in one operation; buffers are the current ones.

    Args:
        decay: share of the average that an update keeps.
    """

    def __init__(self, decay: float):
        super().__init__(use_buffers=False)
        self.decay = decay

    def on_train_start(self, trainer, module) -> None:
        """Weights are tensors updated in place from here on, so that they need looking up once."""
        average = self._average_model.module
        self.weights = [[p.detach() for p in m.parameters()] for m in (average, module)]
        self.buffers = [list(m.buffers()) for m in (average, module)]
        self.started = bool(self._average_model.n_averaged)

    @torch.no_grad()
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if trainer.global_step <= self._latest_update_step:  # gradients are being accumulated
            return
        torch._foreach_lerp_(*self.weights, 1 - self.decay if self.started else 1.0)
        if self.buffers[0]:
            torch._foreach_copy_(*self.buffers)
        if not self.started:
            self.started = True
            self._average_model.n_averaged.fill_(1)
        self._latest_update_step = trainer.global_step


class DivergenceGuard(pl.Callback):
    """Stops a run whose loss leaves the finite numbers, or whose energy gap explodes; without a gap, whose loss does.

    Both bounds on the gap are free of the energies' scale, which a large sampler step shrinks: one compares it with its
    own running median, the other, where the noise is tied to the step and energies are nats of the chains' law, with
    temperature x dimension. Losses of objectives without chains have a scale: that of the first one.

    Values stay on the device and are judged together every ``trainer.log_every_n_steps`` updates, at the end of an
    epoch and when a chain diverges, in their order: the update named is the first bad one. No checkpoint is written
    of weights that are not finite.

    Args:
        growth: how many times the running median of ``|gap|`` counts as an explosion; of ``|loss|``, how many times the
            larger of its running median and its first value.
        window: how many updates make the median.
        nats: how many times temperature x dimension ``|gap|`` may be.
    """

    def __init__(self, growth: float, window: int, nats: float):
        self.growth, self.nats, self.gaps = growth, nats, RunningMedian(window)
        self.losses, self.first = RunningMedian(window), None
        self.pending: list[tuple[int, torch.Tensor, torch.Tensor | None]] = []
        self.scale = 0.0

    def on_train_start(self, trainer, module) -> None:
        self.scale = module.temperature() * math.prod(module.energy.shape)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        gap = module.latest.get("energy/gap") if module.objective.uses_chains else None
        self.pending.append((trainer.global_step, outputs["loss"], gap))
        if len(self.pending) >= trainer.log_every_n_steps:
            self.judge_pending()

    def on_train_epoch_end(self, trainer, module) -> None:
        """Before the checkpoint is written: Lightning calls those callbacks last."""
        self.judge_pending()
        weights = [p.detach() for p in module.parameters()]
        if not bool(torch.stack(torch._foreach_norm(weights, float("inf"))).isfinite().all()):
            raise DivergenceError(f"weights after update {trainer.global_step}: not finite")

    def on_exception(self, trainer, module, exception) -> None:
        """A chain that diverges may do so because of an update before."""
        if isinstance(exception, DivergenceError):
            self.judge_pending()

    def judge_pending(self) -> None:
        """Judges what was collected, in one transfer from the device."""
        steps, losses, gaps = zip(*self.pending, strict=True) if self.pending else ((), (), ())
        self.pending = []
        losses = torch.stack(losses).tolist() if losses else ()
        gaps = gaps if None in gaps or not gaps else torch.stack(gaps).tolist()
        for step, loss, gap in zip(steps, losses, gaps, strict=True):
            if not math.isfinite(loss):
                raise DivergenceError(f"loss={loss} at update {step}: not finite")
            if gap is None:
                self.judge_loss(abs(loss), step)
            else:
                self.judge(abs(gap), step, self.scale)

    def judge(self, gap: float, step: int, scale: float) -> None:
        """Compares one gap with the median of those before it, and with temperature x dimension (0 if unknown)."""
        if scale and gap > self.nats * scale:
            raise DivergenceError(
                f"|energy/gap|={gap:.3g} at update {step}: over guard.nats={self.nats:g} times temperature x dimension "
                f"= {scale:.3g}"
            )
        usual = self.gaps.median()
        if self.gaps.full and gap > self.growth * max(usual, 1e-12):
            raise DivergenceError(
                f"|energy/gap|={gap:.3g} at update {step}: over guard.growth={self.growth:g} times its running "
                f"median {usual:.3g}"
            )
        self.gaps.append(gap)

    def judge_loss(self, loss: float, step: int) -> None:
        """Compares one loss with those before it."""
        self.first = max(loss, 1e-12) if self.first is None else self.first
        usual = max(self.first, self.losses.median())
        if loss > self.growth * usual:
            raise DivergenceError(
                f"|loss|={loss:.3g} at update {step}: over guard.growth={self.growth:g} times the usual {usual:.3g}"
            )
        self.losses.append(loss)


class RunningMedian:
    """The median of the last ``window`` numbers, kept sorted; 0 before the first."""

    def __init__(self, window: int):
        self.window, self.latest, self.ordered = window, deque(), []

    @property
    def full(self) -> bool:
        return len(self.latest) == self.window

    def append(self, value: float) -> None:
        if self.full:
            del self.ordered[bisect.bisect_left(self.ordered, self.latest.popleft())]
        self.latest.append(value)
        bisect.insort(self.ordered, value)

    def median(self) -> float:
        return self.ordered[len(self.ordered) // 2] if self.ordered else 0.0


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
