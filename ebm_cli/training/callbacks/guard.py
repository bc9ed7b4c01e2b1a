"""Stops a run that diverges."""

from __future__ import annotations

import bisect
import math
from collections import deque

import pytorch_lightning as pl
import torch

from ebm_cli.samplers import DivergenceError


class DivergenceGuard(pl.Callback):
    """Stops a run whose loss leaves the finite numbers, or whose energy gap explodes; without a gap, whose loss does.

    Both bounds on the gap are free of the energies' scale, which a large sampler step shrinks: one compares it with its
    own running median, the other, where the noise is tied to the step and energies are nats of the chains' law, with
    temperature x dimension. Losses of objectives without chains have a scale: that of the first one.

    Values stay on the device and are checked together every ``trainer.log_every_n_steps`` updates, at the end of an
    epoch and when a chain diverges, in their order: the update named is the first bad one. No checkpoint is written
    of weights that are not finite.

    Args:
        growth: how many times the running median of ``|gap|`` counts as an explosion; of ``|loss|``, how many times the
            larger of its running median and its first value.
        window: how many updates make the median.
        nats: how many times temperature x dimension ``|gap|`` may be.
    """

    def __init__(self, *, growth: float = 1000.0, window: int = 200, nats: float = 50.0):
        self.growth, self.nats, self.gaps = growth, nats, RunningMedian(window)
        self.losses, self.first = RunningMedian(window), None
        self.pending: list[tuple[int, torch.Tensor, torch.Tensor | None]] = []
        self.scale = 0.0

    def on_train_start(self, trainer, module) -> None:
        self.scale = tied_temperature(module.negatives.sampler) * math.prod(module.energy.shape)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        gap = module.recent[-1].get("energy/gap") if module.objective.uses_chains else None
        self.pending.append((trainer.global_step, outputs["loss"], gap))
        if len(self.pending) >= trainer.log_every_n_steps:
            self.check_pending()

    def on_train_epoch_end(self, trainer, module) -> None:
        """Before the checkpoint is written: Lightning calls those callbacks last."""
        self.check_pending()
        values = [v.detach() for v in module.state_dict().values() if v.is_floating_point()]  # buffers count too
        if not bool(torch.nn.utils.get_total_norm(values, float("inf")).isfinite()):
            raise DivergenceError(f"weights after update {trainer.global_step}: not finite")

    def on_exception(self, trainer, module, exception) -> None:
        """A chain that diverges may do so because of an update before."""
        if isinstance(exception, DivergenceError):
            self.check_pending()

    def check_pending(self) -> None:
        """Checks what was collected, in one transfer from the device."""
        steps, losses, gaps = zip(*self.pending, strict=True) if self.pending else ((), (), ())
        self.pending = []
        losses = torch.stack(losses).tolist() if losses else ()
        gaps = gaps if None in gaps or not gaps else torch.stack(gaps).tolist()
        for step, loss, gap in zip(steps, losses, gaps, strict=True):
            if not math.isfinite(loss):
                raise DivergenceError(f"loss={loss} at update {step}: not finite")
            if gap is None:
                self.check_loss(abs(loss), step)
            else:
                self.check_gap(abs(gap), step, self.scale)

    def check_gap(self, gap: float, step: int, scale: float) -> None:
        """Compares one gap with the median of those before it, and with temperature x dimension (0 if unknown)."""
        if scale and gap > self.nats * scale:
            raise DivergenceError(
                f"|energy/gap|={gap:.3g} at update {step}: over callbacks.guard.nats={self.nats:g} times temperature x "
                f"dimension = {scale:.3g}"
            )
        usual = self.gaps.median()
        if self.gaps.full and gap > self.growth * max(usual, 1e-12):
            raise DivergenceError(
                f"|energy/gap|={gap:.3g} at update {step}: over callbacks.guard.growth={self.growth:g} times its "
                f"running median {usual:.3g}"
            )
        self.gaps.append(gap)

    def check_loss(self, loss: float, step: int) -> None:
        """Compares one loss with those before it."""
        self.first = max(loss, 1e-12) if self.first is None else self.first
        usual = max(self.first, self.losses.median())
        if loss > self.growth * usual:
            raise DivergenceError(
                f"|loss|={loss:.3g} at update {step}: over callbacks.guard.growth={self.growth:g} times the usual "
                f"{usual:.3g}"
            )
        self.losses.append(loss)


def tied_temperature(sampler) -> float:
    """Temperature in which the energies of a run are measured: that of noise tied to the step, else 0 for none."""
    tied = getattr(sampler, "noise_std", 0.0) is None
    return float(sampler.temperature) if tied and isinstance(sampler.temperature, (int, float)) else 0.0


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
