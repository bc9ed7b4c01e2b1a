"""Adam with the gradient bounded by its own moments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.optim import Adam


class ClippedAdam(Adam):
    """Adam that clamps every entry of the gradient to ``sigmas sqrt(v) + slack`` before it updates its moments.

    ``v`` is the bias-corrected second moment of the updates so far, so a rare large gradient neither moves the weights
    far nor enters the moment at its full size (Du & Mordatch 2019, in their code and in igebm-pytorch). The first
    update is not clamped.

    Args:
        params: parameters, or groups of them.
        lr, betas, eps, weight_decay: of Adam.
        sigmas: bound in units of the root of the second moment.
        slack: what is added to the bound.

    Raises:
        ValueError: for a bound that is not positive.
    """

    def __init__(
        self,
        params,
        *,
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        sigmas: float = 3.0,
        slack: float = 0.1,
    ):
        if sigmas < 0 or slack < 0 or not sigmas + slack > 0:
            raise ValueError(f"sigmas and slack must not be negative nor both 0, got {sigmas} and {slack}")
        super().__init__(params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay)
        self.sigmas, self.slack = sigmas, slack

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and "exp_avg_sq" in self.state[p]:
                    bound = self.bound(self.state[p], group["betas"][1])
                    p.grad.copy_(p.grad.clamp(-bound, bound))
        super().step()
        return loss

    def bound(self, state: dict, beta: float) -> torch.Tensor:
        """The largest entries of the gradient that pass."""
        corrected = state["exp_avg_sq"] / (1 - beta ** float(state["step"]))
        return self.sigmas * corrected.sqrt() + self.slack
