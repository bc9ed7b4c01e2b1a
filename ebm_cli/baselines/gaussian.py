"""The Gaussian with the data's mean and full covariance: what any model must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_cli.baselines.baseline import Baseline
from ebm_cli.metrics.frechet import PixelGaussian


class Gaussian(Baseline):
    """Fitted in closed form to as many training examples as one pass has.

    Args:
        dim: number of entries of one input.
    """

    def __init__(self, dim: int):
        super().__init__(dim)

    def fit(self, batches, steps: int) -> None:
        self.gaussian = PixelGaussian(torch.cat([batches() for _ in range(200)]), ridge=0.0)

    def sample(self, n: int) -> Tensor:
        return self.gaussian.sample(n, torch.default_generator)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.gaussian.log_prob(x).float()
