"""Noise-contrastive estimation: a density without chains, its normalizer learned."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import softplus

from ebm_cli.energies.energy import Energy
from ebm_cli.objectives.objective import Loss, Objective, evaluate_all, measure_gap


@dataclass(kw_only=True, eq=False)
class NoiseContrastive(Objective):
    """Logistic regression of data against draws of the base with logit ``-E(x) - log_z - log q(x) - log ratio``.

    At the optimum ``exp(-E(x) - log_z)`` is the data density and ``log_z`` is learned (Gutmann & Hyvarinen 2010).

    Args:
        ratio: noise points per data point.

    Example:
        >>> float(NoiseContrastive(ratio=2).log_z)
        0.0
    """

    ratio: int = 1

    def __post_init__(self):
        super().__post_init__()
        if self.ratio < 1:
            raise ValueError(f"objective.ratio must be at least 1, got {self.ratio}")
        self.log_z = nn.Parameter(torch.zeros(()))
        self.base = None

    def fit(self, base) -> None:
        object.__setattr__(self, "base", base)  # the run owns the base: it must not enter this module's state

    def forward(self, energy: Energy, batch, negatives) -> Loss:
        noise = self.base.sample(self.ratio * len(batch.x))
        positive, negative = evaluate_all(energy, batch.x, noise)
        log_ratio = math.log(self.ratio)
        logit_data = -positive - self.log_z + self.base(batch.x) - log_ratio
        logit_noise = -negative - self.log_z + self.base(noise) - log_ratio
        loss = softplus(-logit_data).mean() + self.ratio * softplus(logit_noise).mean()
        log_z = {"nce/log_z": self.log_z.detach().clone()}
        return Loss(loss, measure_gap(positive, negative, "noise") | log_z)
