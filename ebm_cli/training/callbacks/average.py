"""The exponential moving average of the weights, which is what is validated, sampled and evaluated."""

from __future__ import annotations

from pytorch_lightning.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage(WeightAveraging):
    """Lightning's weight averaging with ``average <- decay * average + (1 - decay) * weights`` after every update.

    Buffers, such as those of spectral norms, are the current ones.

    Args:
        decay: share of the average that an update keeps; an option where it is null is left out.

    Raises:
        ValueError: for a share outside [0, 1].
    """

    def __init__(self, *, decay: float | None):
        super().__init__(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))
