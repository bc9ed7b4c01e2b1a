"""Score matching along random directions: any number of dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy, energy_and_grad
from ebm_cli.objectives.implicit import curve_along, measure_score, square_norm
from ebm_cli.objectives.objective import Loss, Objective


@dataclass(kw_only=True, eq=False)
class SlicedScoreMatching(Objective):
    """``E[1/2 (v'grad E)^2 - v'H v]`` along random directions v (Song, Garg, Shi & Ermon 2019).

    One backward pass per direction, however many dimensions.

    Args:
        projections: directions per data point and update.
        variance_reduced: put ``1/2 |grad E|^2``, the first term's mean over directions, in its place.

    Example:
        >>> SlicedScoreMatching(projections=2).projections
        2
    """

    projections: int = 1
    variance_reduced: bool = True

    double_backward = True

    def __post_init__(self):
        super().__post_init__()
        if self.projections < 1:
            raise ValueError(f"objective.projections must be at least 1, got {self.projections}")

    def forward(self, energy: Energy, batch, negatives) -> Loss:
        x = batch.x.detach().requires_grad_()
        values, grad = energy_and_grad(energy, x, create_graph=True)
        slices = [self.slice(grad, x, torch.randn_like(x)) for _ in range(self.projections)]
        return Loss(sum(slices).mean() / self.projections, measure_score(values, grad))

    def slice(self, grad: Tensor, x: Tensor, v: Tensor) -> Tensor:
        """The loss of every row along its direction ``v`` ``(B, *shape)``, whose covariance is the identity."""
        first = square_norm(grad) if self.variance_reduced else (v * grad).flatten(1).sum(1).square()
        return 0.5 * first - curve_along(grad, x, v)
