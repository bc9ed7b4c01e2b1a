"""Energy discrepancy: likelihood-like training from noised copies of the data, with neither chains nor gradients."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy
from ebm_cli.objectives.objective import Loss, Objective, energies_of


class EnergyDiscrepancy(Objective):
    """``E log(w / M + 1/M sum_j exp(E(x) - E(x + sigma z + sigma z_j)))`` (Schroder et al. 2023).

    Data are noised, and noised back M times; the energy of data must lie below those of the copies. As M grows, the
    minimum is the data's energy; from score matching at small ``sigma`` it goes to maximum likelihood at large.

    Args:
        sigma: standard deviation of the noise, in the units of the data.
        copies: M, noised copies per data point.
        stabilizer: w, which bounds the logarithm from below.
    """

    def __init__(self, *, sigma: float = 0.5, copies: int = 16, stabilizer: float = 1.0):
        super().__init__()
        if not sigma > 0 or copies < 1 or stabilizer < 0:
            given = f"got sigma={sigma}, copies={copies}, stabilizer={stabilizer}"
            raise ValueError(f"objective needs sigma > 0, copies >= 1 and stabilizer >= 0, {given}")
        self.sigma, self.copies, self.stabilizer = float(sigma), int(copies), float(stabilizer)

    def forward(self, energy: Energy, batch, chains) -> Loss:
        if not energy.support.continuous:
            raise ValueError(f"energy discrepancy adds Gaussian noise, which {energy.support.kind} inputs do not allow")
        positive, negative = energies_of(energy, batch.x, self.perturbed(batch.x))
        loss = self.discrepancy(positive, negative.view(len(positive), self.copies)).mean()
        metrics = {
            "energy/data": positive.detach().mean(),
            "energy/noise": negative.detach().mean(),
            "energy/gap": negative.detach().mean() - positive.detach().mean(),
        }
        return Loss(loss, metrics)

    def perturbed(self, x: Tensor) -> Tensor:
        """The copies of every row, one row's after the other's, ``(B M, *shape)``."""
        away = x + self.sigma * torch.randn_like(x)
        copies = away.repeat_interleave(self.copies, 0)
        return copies + self.sigma * torch.randn_like(copies)

    def discrepancy(self, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss of every row from the energies ``(B,)`` of data and ``(B, M)`` of their copies."""
        differences = positive[:, None] - negative
        if self.stabilizer:
            least = torch.full_like(positive[:, None], math.log(self.stabilizer))
            differences = torch.cat([differences, least], 1)
        return torch.logsumexp(differences, 1) - math.log(self.copies)
