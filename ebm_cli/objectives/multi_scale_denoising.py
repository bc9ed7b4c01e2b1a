"""Denoising at all noise levels at once, for energies that know the level."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy, energy_and_grad
from ebm_cli.objectives.objective import Loss, Objective
from ebm_cli.utils.tensors import append_dims, row_norm


@dataclass(kw_only=True, eq=False)
class MultiScaleDenoising(Objective):
    """``E w(sigma) |D(x + sigma z, sigma) - x|^2`` with ``D(y) = y - sigma^2 grad E(y, sigma)`` (Li et al. 2019, 2023).

    The weights are those of Karras et al. (2022), ``w = (sigma^2 + data_std^2) / (sigma data_std)^2``, by which all
    levels count alike.

    Args:
        sigma_min, sigma_max: bounds of the levels, in the units of the data.
        log_mean, log_std: of the normal that ``log sigma`` is drawn from, before the bounds.
        data_std: root mean square of the data around their mean; it enters the weights alone.

    Example:
        >>> MultiScaleDenoising(sigma_min=0.1, sigma_max=1.0).data_std
        0.5
    """

    sigma_min: float = 0.07
    sigma_max: float = 3.0
    log_mean: float = -0.7
    log_std: float = 1.0
    data_std: float = 0.5

    double_backward = True

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.sigma_min < self.sigma_max:
            given = f"got {self.sigma_min} and {self.sigma_max}"
            raise ValueError(f"objective needs 0 < sigma_min < sigma_max, {given}")

    def forward(self, energy: Energy, batch, negatives) -> Loss:
        n = len(batch.x)
        drawn = self.log_mean + self.log_std * torch.randn(n, dtype=batch.x.dtype, device=batch.x.device)
        sigma = drawn.clamp(math.log(self.sigma_min), math.log(self.sigma_max)).exp()
        loss, grad = self.denoise(energy, batch.x, sigma, torch.randn_like(batch.x))
        return Loss(loss.mean(), {"score/norm": row_norm(grad.detach()).mean()})

    def denoise(self, energy: Energy, x: Tensor, sigma: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted loss of every row and the gradient it is about; ``sigma`` is ``(B,)``."""
        s = append_dims(sigma, x)
        y = x + s * noise
        _, grad = energy_and_grad(energy.given(t=sigma), y, create_graph=True)
        weight = (sigma.square() + self.data_std**2) / (sigma * self.data_std).square()
        return weight * (y - s.square() * grad - x).flatten(1).square().mean(1), grad
