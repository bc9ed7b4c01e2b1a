"""Score matching: fits the gradient of the energy, so that no normalizer and no chain is needed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy, energy_and_grad
from ebm_cli.objectives.objective import Loss, Objective
from ebm_cli.utils.tensors import row_norm


class ScoreMatching(Objective):
    """``E[1/2 |grad E|^2 - laplacian E]`` over the data: implicit score matching (Hyvarinen 2005).

    Up to a constant, half the squared distance between the gradients of ``-E`` and of the log density. The exact
    Laplacian takes one backward pass per coordinate: for few dimensions.
    """

    double_backward = True

    def forward(self, energy: Energy, batch, chains) -> Loss:
        x = batch.x.detach().requires_grad_()
        values, grad = energy_and_grad(energy, x, create_graph=True)
        loss = 0.5 * squared(grad) - self.curvature(grad, x)
        return Loss(loss.mean(), score_metrics(values, grad))

    def curvature(self, grad: Tensor, x: Tensor) -> Tensor:
        """The Laplacian of the energy at ``x``, ``(B,)``."""
        units = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device).view(-1, *x.shape[1:])
        return sum(along(grad, x, unit.expand_as(x)) for unit in units)


class SlicedScoreMatching(ScoreMatching):
    """Score matching along random directions, ``E[1/2 (v'grad E)^2 - v'H v]`` (Song et al. 2019).

    One backward pass per direction, however many dimensions.

    Args:
        projections: directions per data point and update.
        variance_reduced: put ``1/2 |grad E|^2``, the first term's mean over directions, in its place.
    """

    def __init__(self, *, projections: int = 1, variance_reduced: bool = True):
        super().__init__()
        if projections < 1:
            raise ValueError(f"objective.projections must be at least 1, got {projections}")
        self.projections, self.variance_reduced = int(projections), variance_reduced

    def forward(self, energy: Energy, batch, chains) -> Loss:
        x = batch.x.detach().requires_grad_()
        values, grad = energy_and_grad(energy, x, create_graph=True)
        slices = [self.slice(grad, x, torch.randn_like(x)) for _ in range(self.projections)]
        return Loss(sum(slices).mean() / self.projections, score_metrics(values, grad))

    def slice(self, grad: Tensor, x: Tensor, v: Tensor) -> Tensor:
        """The loss of every row along its direction ``v`` ``(B, *shape)``, whose covariance is the identity."""
        first = squared(grad) if self.variance_reduced else (v * grad).flatten(1).sum(1).square()
        return 0.5 * first - along(grad, x, v)


class DenoisingScoreMatching(Objective):
    """``1/2 E|sigma grad E(x + sigma z) - z|^2``: the energy of data with noise of one size (Vincent 2011).

    Args:
        sigma: standard deviation of the noise, in the units of the data. The density that is learned is that of the
            data blurred by it; too small a noise leaves the masses of separate modes to chance.
    """

    double_backward = True

    def __init__(self, *, sigma: float = 0.1):
        super().__init__()
        if not sigma > 0:
            raise ValueError(f"objective.sigma must be positive, got {sigma}")
        self.sigma = float(sigma)

    def forward(self, energy: Energy, batch, chains) -> Loss:
        noise = torch.randn_like(batch.x)
        values, grad = energy_and_grad(energy, batch.x + self.sigma * noise, create_graph=True)
        return Loss(0.5 * squared(self.sigma * grad - noise).mean(), score_metrics(values, grad))


class MultiScaleDenoising(Objective):
    """Denoising at all noise levels at once, by an energy ``E(x, t)`` that knows the level (Li et al. 2019, 2023).

    The denoiser ``D(y) = y - sigma^2 grad E(y, sigma)`` is fitted to clean data with the weights of Karras et al.
    (2022), which give every level an equal say.

    Args:
        sigma_min, sigma_max: bounds of the levels, in the units of the data.
        log_mean, log_std: of the normal that ``log sigma`` is drawn from, before the bounds.
        data_std: root mean square of the data around their mean; it enters the weights alone.
    """

    double_backward = True

    def __init__(
        self,
        *,
        sigma_min: float = 0.07,
        sigma_max: float = 3.0,
        log_mean: float = -0.7,
        log_std: float = 1.0,
        data_std: float = 0.5,
    ):
        super().__init__()
        if not 0 < sigma_min < sigma_max:
            raise ValueError(f"objective needs 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")
        self.log_bounds = (math.log(sigma_min), math.log(sigma_max))
        self.log_mean, self.log_std, self.data_std = log_mean, log_std, data_std

    def forward(self, energy: Energy, batch, chains) -> Loss:
        n = len(batch.x)
        drawn = self.log_mean + self.log_std * torch.randn(n, dtype=batch.x.dtype, device=batch.x.device)
        sigma = drawn.clamp(*self.log_bounds).exp()
        loss, grad = self.denoising(energy, batch.x, sigma, torch.randn_like(batch.x))
        return Loss(loss.mean(), {"score/norm": row_norm(grad.detach()).mean()})

    def denoising(self, energy: Energy, x: Tensor, sigma: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted loss of every row and the gradient it is about; ``sigma`` is ``(B,)``."""
        s = sigma.view(-1, *[1] * (x.ndim - 1))
        y = x + s * noise
        _, grad = energy_and_grad(energy.given(t=sigma), y, create_graph=True)
        weight = (sigma.square() + self.data_std**2) / (sigma * self.data_std).square()
        return weight * (y - s.square() * grad - x).flatten(1).square().mean(1), grad


def squared(grad: Tensor) -> Tensor:
    """Squared norm of each row."""
    return grad.flatten(1).square().sum(1)


def along(grad: Tensor, x: Tensor, v: Tensor) -> Tensor:
    """``v' H v`` of every row, ``(B,)``: the curvature along ``v`` of the energy whose gradient at ``x`` is given."""
    (product,) = torch.autograd.grad((grad * v).sum(), x, create_graph=True)
    return (product * v).flatten(1).sum(1)


def score_metrics(values: Tensor, grad: Tensor) -> dict[str, Tensor]:
    """What to log of the energies and gradients at data."""
    return {"energy/data": values.detach().mean(), "score/norm": row_norm(grad.detach()).mean()}
