"""Implicit score matching: fits the gradient of the energy, so that no normalizer and no chain is needed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy, energy_and_grad
from ebm_cli.objectives.objective import Loss, Objective
from ebm_cli.utils.tensors import row_norm


@dataclass(kw_only=True, eq=False)
class ScoreMatching(Objective):
    """``E[1/2 |grad E|^2 - laplacian E]`` over the data: implicit score matching (Hyvarinen 2005).

    Up to a constant, half the squared distance between the gradients of ``-E`` and of the log density. The exact
    Laplacian takes one backward pass per coordinate: for few dimensions.

    Example:
        >>> ScoreMatching().double_backward
        True
    """

    double_backward = True

    def forward(self, energy: Energy, batch, negatives) -> Loss:
        x = batch.x.detach().requires_grad_()
        values, grad = energy_and_grad(energy, x, create_graph=True)
        loss = 0.5 * square_norm(grad) - take_laplacian(grad, x)
        return Loss(loss.mean(), measure_score(values, grad))


def take_laplacian(grad: Tensor, x: Tensor) -> Tensor:
    """The Laplacian ``(B,)`` of the energy whose gradient at ``x`` is given."""
    units = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device).view(-1, *x.shape[1:])
    return sum(curve_along(grad, x, unit.expand_as(x)) for unit in units)


def curve_along(grad: Tensor, x: Tensor, v: Tensor) -> Tensor:
    """``v' H v`` of every row, ``(B,)``: the curvature along ``v`` of the energy whose gradient at ``x`` is given."""
    (product,) = torch.autograd.grad((grad * v).sum(), x, create_graph=True)
    return (product * v).flatten(1).sum(1)


def square_norm(grad: Tensor) -> Tensor:
    """Squared norm of each row."""
    return grad.flatten(1).square().sum(1)


def measure_score(values: Tensor, grad: Tensor) -> dict[str, Tensor]:
    """What to log of the energies and gradients at data."""
    return {"energy/data": values.detach().mean(), "score/norm": row_norm(grad.detach()).mean()}
