"""The exponential moving average of the weights."""

from __future__ import annotations

import pytorch_lightning as pl
import torch


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
