"""What a baseline is, its budget, and the training loop that most of them share."""

from __future__ import annotations

import abc
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Budget:
    """How long to train: iterating gives the share that is used up, from 0 to below 1, once per update.

    Attributes:
        steps: updates.
        cpu_time: seconds of processor time instead, which a busy machine does not shorten.

    Example:
        >>> list(Budget(steps=4))
        [0.0, 0.25, 0.5, 0.75]
    """

    steps: int | None = None
    cpu_time: float | None = None

    def __post_init__(self):
        for name, value in (("steps", self.steps), ("cpu-time", self.cpu_time)):
            if value is not None and value <= 0:
                raise ValueError(f"--{name} must be above 0, got {value}")

    def __iter__(self) -> Iterator[float]:
        if self.cpu_time is None:
            yield from (i / self.steps for i in range(self.steps))
            return
        since = time.process_time()
        while (share := (time.process_time() - since) / self.cpu_time) < 1:
            yield share


class Baseline(nn.Module, abc.ABC):
    """A generative model of standardized inputs ``(B, *shape)``.

    Args:
        shape: of one input.
        width: of the hidden layers.
    """

    steps = 6000  # updates where no budget is given
    batch_size = 128
    lr = 1e-3

    def __init__(self, shape: tuple[int, ...], width: int = 256):
        super().__init__()
        self.shape, self.width, self.dim = tuple(shape), width, math.prod(shape)
        self.images = len(shape) == 3

    @abc.abstractmethod
    def sample(self, n: int) -> Tensor:
        """``n`` draws ``(n, *shape)``, from torch's global generator."""

    def log_prob(self, x: Tensor) -> Tensor | None:
        """Exact log density ``(B,)`` in nats, or None for a model that has none."""
        return None

    @abc.abstractmethod
    def fit(self, batches: Callable[[], Tensor], budget: Budget) -> int:
        """Trains the model.

        Args:
            batches: gives the next standardized training batch ``(B, *shape)``.
            budget: how long.

        Returns:
            number of updates.
        """


class LossBaseline(Baseline):
    """A baseline that is trained by one loss, with Adam and a cosine learning rate."""

    @abc.abstractmethod
    def loss(self, x: Tensor) -> Tensor:
        """Scalar training loss of a batch ``(B, *shape)``."""

    def fit(self, batches: Callable[[], Tensor], budget: Budget) -> int:
        """Minimizes the loss until the budget is used up."""
        optimizer, updates = torch.optim.Adam(self.parameters(), lr=self.lr, betas=(0.9, 0.99)), 0
        self.train()
        for share in budget:
            set_rate(optimizer, self.lr * 0.5 * (1 + math.cos(math.pi * share)))
            optimizer.zero_grad()
            self.loss(batches()).backward()
            nn.utils.clip_grad_norm_(self.parameters(), 10.0)
            optimizer.step()
            updates += 1
        self.eval().requires_grad_(False)
        return updates


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
