"""Energy matching: one potential that noise flows down to the data, and that is their energy once there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.population import unlabeled
from ebm_cli.energies.energy import Energy, energy_and_grad, needs_labels
from ebm_cli.objectives.objective import Loss, Objective, evaluate_all, measure_gap
from ebm_cli.samplers.langevin import Langevin
from ebm_cli.samplers.sampler import value_at
from ebm_cli.utils.tensors import append_dims, row_norm


@dataclass(kw_only=True, eq=False)
class EnergyMatching(Objective):
    """``|-grad V(x_t) - (x_1 - x_0)|^2`` along transport, then maximum likelihood as well (Balcerak et al. 2025).

    ``x_t`` goes straight from a draw ``x_0`` of the base to the data point ``x_1`` that a batch's optimal transport
    gives it, so noise reaches the data in unit time down the gradient of V. In the second phase chains at the last
    temperature of the run's Langevin sampler make ``exp(-V / temperature)`` the density of the data: half of them start
    at data and stay at that temperature, half at the base and follow the sampler's schedule.

    Args:
        flow: share of the run before the second phase; 1 for no second phase.
        contrast: weight of the likelihood term ``E V(data) - E V(negatives)``.
        trim: share of the negatives, those of highest V, left out of that term.
        floor: what the weighted term is kept above, so that negatives do not run away; null for no bound.

    Raises:
        ValueError: for another sampler than Langevin, and for class-conditional energies.

    Example:
        >>> EnergyMatching(flow=1.0).floor
        0.02
    """

    flow: float = 0.8
    contrast: float = 1e-3
    trim: float = 0.1
    floor: float | None = 0.02

    uses_chains = True
    double_backward = True
    validation_metric = None

    def __post_init__(self):
        super().__post_init__()
        bounded = self.floor is None or self.floor > 0
        if not (0 <= self.flow <= 1 and self.contrast >= 0 and 0 <= self.trim < 1 and bounded):
            given = f"got flow={self.flow}, contrast={self.contrast}, trim={self.trim}, floor={self.floor}"
            raise ValueError(
                f"objective needs 0 <= flow <= 1, contrast >= 0, 0 <= trim < 1 and floor > 0 or null, {given}"
            )

    def forward(self, energy: Energy, batch, negatives: Negatives) -> Loss:
        loss, metrics = self.match_flow(energy, batch.x, negatives)
        if self.progress >= self.flow and self.contrast:
            term, more = self.raise_likelihood(energy, batch.x, negatives)
            loss, metrics = loss + term, metrics | more
        return Loss(loss, metrics)

    def match_flow(self, energy: Energy, x: Tensor, negatives: Negatives) -> tuple[Tensor, dict]:
        """The loss of the flow."""
        start = transport(negatives.base.sample(len(x), negatives.generator).to(x.dtype), x)
        t = append_dims(torch.rand(len(x), dtype=x.dtype, device=x.device), x)
        values, grad = energy_and_grad(energy, start + t * (x - start), create_graph=True)
        loss = (grad + x - start).flatten(1).square().mean(1).mean()
        return loss, {"flow": loss.detach(), "grad": row_norm(grad.detach()).mean()}

    def raise_likelihood(self, energy: Energy, x: Tensor, negatives: Negatives) -> tuple[Tensor, dict]:
        """The weighted likelihood term, with half of the negatives from data and half from the base."""
        positive, negative = evaluate_all(energy, x, self.draw(energy, x, negatives))
        kept = negative.sort().values[: len(negative) - int(self.trim * len(negative))]
        term = self.contrast * (positive.mean() - kept.mean())
        metrics = measure_gap(positive, negative)
        return term if self.floor is None else term.clamp_min(-self.floor), metrics

    def draw(self, energy: Energy, x: Tensor, negatives: Negatives) -> Tensor:
        """Chains from data and from the base, in one batch, inside the support at the end."""
        sampler, n = negatives.sampler, len(x)
        if not isinstance(sampler, Langevin) or sampler.noise_std is not None:
            raise ValueError("objective=energy_matching: use sampler=energy_matching, or Langevin with noise_std=null")
        if needs_labels(energy):
            raise ValueError("objective=energy_matching: chains have no labels; use a model without them")
        from_data = torch.arange(n, device=x.device) < n // 2
        hot = value_at(sampler.temperature, sampler.n_steps - 1, sampler.n_steps)
        ramp = lambda i, m: torch.where(from_data, hot, value_at(sampler.temperature, i, m)).to(x.dtype)  # noqa: E731
        start = torch.where(append_dims(from_data, x), x, negatives.base.sample(n, negatives.generator).to(x.dtype))
        copy = negatives.frozen.of(energy, start)
        chain = sampler.with_options(temperature=ramp).sample(copy, start, generator=negatives.generator)
        support = energy.support
        moved = chain.x.clamp(support.low, support.high) if support.kind == "box" else chain.x
        negatives.latest = unlabeled(moved.flip(0))
        return moved


def transport(start: Tensor, x: Tensor) -> Tensor:
    """The rows of ``start`` in the order that makes ``sum |start - x|^2`` least: exact optimal transport of a batch."""
    cost = torch.cdist(x.flatten(1), start.flatten(1)).square()
    return start[torch.as_tensor(linear_sum_assignment(cost.cpu().numpy())[1], device=x.device)]
