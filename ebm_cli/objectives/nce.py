"""Noise-contrastive estimation: a density without chains, its normalizer learned."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import softplus

from ebm_cli.energies.energy import Energy
from ebm_cli.objectives.objective import Loss, Objective, energies_of


class NoiseContrastive(Objective):
    """Logistic regression of data against draws of the base with logit ``-E(x) - log_z - log q(x) - log ratio``.

    At the optimum ``exp(-E(x) - log_z)`` is the data density and ``log_z`` is learned (Gutmann & Hyvarinen 2010).

    Args:
        ratio: noise points per data point.
    """

    def __init__(self, *, ratio: int = 1):
        super().__init__()
        if ratio < 1:
            raise ValueError(f"objective.ratio must be at least 1, got {ratio}")
        self.ratio = int(ratio)
        self.log_z = nn.Parameter(torch.zeros(()))
        self.base = None

    def fit(self, base) -> None:
        object.__setattr__(self, "base", base)  # the run owns the base: it must not enter this module's state

    def forward(self, energy: Energy, batch, chains) -> Loss:
        noise = self.base.sample(self.ratio * len(batch.x))
        positive, negative = energies_of(energy, batch.x, noise)
        log_ratio = math.log(self.ratio)
        logit_data = -positive - self.log_z + self.base(batch.x) - log_ratio
        logit_noise = -negative - self.log_z + self.base(noise) - log_ratio
        loss = softplus(-logit_data).mean() + self.ratio * softplus(logit_noise).mean()
        metrics = {
            "energy/data": positive.detach().mean(),
            "energy/noise": negative.detach().mean(),
            "energy/gap": (negative.detach().mean() - positive.detach().mean()),
            "nce/log_z": self.log_z.detach().clone(),
        }
        return Loss(loss, metrics)
