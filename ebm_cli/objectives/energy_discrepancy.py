"""Energy discrepancy: likelihood-like training from noised copies of the data, with neither chains nor gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy
from ebm_cli.objectives.objective import Loss, Objective, evaluate_all, measure_gap


@dataclass(kw_only=True, eq=False)
class EnergyDiscrepancy(Objective):
    """``E log(w / M + 1/M sum_j exp(E(x) - E(x + sigma z + sigma z_j)))`` (Schroder et al. 2023).

    Data are noised, and noised back M times; the energy of data must lie below those of the copies. As M grows, the
    minimum is the data's energy; from score matching at small ``sigma`` it goes to maximum likelihood at large.

    Args:
        sigma: standard deviation of the noise, in the units of the data.
        copies: M, noised copies per data point.
        stabilizer: w, which bounds the logarithm from below.

    Example:
        >>> EnergyDiscrepancy(copies=4).perturb(torch.zeros(2, 3)).shape
        torch.Size([8, 3])
    """

    sigma: float = 0.5
    copies: int = 16
    stabilizer: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        if not self.sigma > 0 or self.copies < 1 or self.stabilizer < 0:
            given = f"got sigma={self.sigma}, copies={self.copies}, stabilizer={self.stabilizer}"
            raise ValueError(f"objective needs sigma > 0, copies >= 1 and stabilizer >= 0, {given}")

    def forward(self, energy: Energy, batch, negatives) -> Loss:
        if not energy.support.continuous:
            raise ValueError(f"energy discrepancy adds Gaussian noise, which {energy.support.kind} inputs do not allow")
        positive, negative = evaluate_all(energy, batch.x, self.perturb(batch.x))
        loss = self.compare(positive, negative.view(len(positive), self.copies)).mean()
        return Loss(loss, measure_gap(positive, negative, "noise"))

    def perturb(self, x: Tensor) -> Tensor:
        """The copies of every row, one row's after the other's, ``(B M, *shape)``."""
        away = x + self.sigma * torch.randn_like(x)
        copies = away.repeat_interleave(self.copies, 0)
        return copies + self.sigma * torch.randn_like(copies)

    def compare(self, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss of every row from the energies ``(B,)`` of data and ``(B, M)`` of their copies."""
        differences = positive[:, None] - negative
        if self.stabilizer:
            least = torch.full_like(positive[:, None], math.log(self.stabilizer))
            differences = torch.cat([differences, least], 1)
        return torch.logsumexp(differences, 1) - math.log(self.copies)
