"""Denoising score matching at one noise size."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ebm_cli.energies.energy import Energy, energy_and_grad
from ebm_cli.objectives.implicit import measure_score, square_norm
from ebm_cli.objectives.objective import Loss, Objective


@dataclass(kw_only=True, eq=False)
class DenoisingScoreMatching(Objective):
    """``1/2 E|sigma grad E(x + sigma z) - z|^2``: the energy of data with noise of one size (Vincent 2011).

    Args:
        sigma: standard deviation of the noise, in the units of the data. The density that is learned is that of the
            data blurred by it; too small a noise leaves the masses of separate modes to chance.

    Example:
        >>> DenoisingScoreMatching(sigma=0.3).sigma
        0.3
    """

    sigma: float = 0.1

    double_backward = True

    def __post_init__(self):
        super().__post_init__()
        if not self.sigma > 0:
            raise ValueError(f"objective.sigma must be positive, got {self.sigma}")

    def forward(self, energy: Energy, batch, negatives) -> Loss:
        noise = torch.randn_like(batch.x)
        values, grad = energy_and_grad(energy, batch.x + self.sigma * noise, create_graph=True)
        return Loss(0.5 * square_norm(self.sigma * grad - noise).mean(), measure_score(values, grad))
