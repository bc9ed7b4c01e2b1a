"""What a baseline is, and the one training loop of all of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Baseline(nn.Module):
    """A generative model of flat, standardised inputs ``(B, d)``.

    Args:
        dim: number of entries of one input.
        width: of the hidden layers.
    """

    steps = 6000  # updates of 128 examples
    lr = 1e-3

    def __init__(self, dim: int, width: int = 256):
        super().__init__()
        self.dim, self.width = dim, width

    def loss(self, x: Tensor) -> Tensor:
        """Scalar training loss of a batch."""
        raise TypeError(f"{type(self).__name__} does not define loss(x)")

    def sample(self, n: int) -> Tensor:
        """``n`` draws ``(n, d)``, from torch's global generator."""
        raise TypeError(f"{type(self).__name__} does not define sample(n)")

    def log_prob(self, x: Tensor) -> Tensor | None:
        """Exact log density ``(B,)`` in nats, or None for a model that has none."""
        return None

    def fit(self, batches, steps: int) -> None:
        """Adam with a cosine rate.

        Args:
            batches: ``batches()`` gives the next standardised training batch.
            steps: updates.
        """
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 0.5 * (1 + math.cos(math.pi * i / steps)))
        self.train()
        for _ in range(steps):
            optimizer.zero_grad()
            self.loss(batches()).backward()
            nn.utils.clip_grad_norm_(self.parameters(), 10.0)
            optimizer.step()
            schedule.step()
        self.eval().requires_grad_(False)


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with SiLU between them."""
    layers = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers[:-1])
