"""Energy matching: one potential that noise flows down to the data, and that is their energy once there."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.replay import Entries
from ebm_cli.energies.energy import Energy, energy_and_grad, needs_labels
from ebm_cli.objectives.objective import Loss, Objective, energies_of
from ebm_cli.samplers.langevin import Langevin
from ebm_cli.samplers.sampler import value_at
from ebm_cli.utils.tensors import append_dims, row_norm


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
    """

    uses_chains = True
    double_backward = True

    def __init__(self, *, flow: float = 0.8, contrast: float = 1e-3, trim: float = 0.1, floor: float | None = 0.02):
        super().__init__()
        if not (0 <= flow <= 1 and contrast >= 0 and 0 <= trim < 1 and (floor is None or floor > 0)):
            given = f"got flow={flow}, contrast={contrast}, trim={trim}, floor={floor}"
            raise ValueError(
                f"objective needs 0 <= flow <= 1, contrast >= 0, 0 <= trim < 1 and floor > 0 or null, {given}"
            )
        self.flow, self.weight, self.trim, self.floor = flow, contrast, trim, floor

    def forward(self, energy: Energy, batch, chains: Negatives) -> Loss:
        loss, metrics = self.matching(energy, batch.x, chains)
        if self.progress >= self.flow and self.weight:
            term, more = self.contrast(energy, batch.x, chains)
            loss, metrics = loss + term, metrics | more
        return Loss(loss, metrics)

    def matching(self, energy: Energy, x: Tensor, chains: Negatives) -> tuple[Tensor, dict]:
        """The loss of the flow."""
        start = transported(chains.base.sample(len(x), chains.generator).to(x.dtype), x)
        t = append_dims(torch.rand(len(x), dtype=x.dtype, device=x.device), x)
        values, grad = energy_and_grad(energy, start + t * (x - start), create_graph=True)
        loss = (grad + x - start).flatten(1).square().mean(1).mean()
        return loss, {"flow": loss.detach(), "grad": row_norm(grad.detach()).mean()}

    def contrast(self, energy: Energy, x: Tensor, chains: Negatives) -> tuple[Tensor, dict]:
        """The weighted likelihood term, with half of the negatives from data and half from the base."""
        negatives = self.negatives(energy, x, chains)
        positive, negative = energies_of(energy, x, negatives)
        kept = negative.sort().values[: max(1, round((1 - self.trim) * len(negative)))]
        term = self.weight * (positive.mean() - kept.mean())
        metrics = {
            "energy/data": positive.detach().mean(),
            "energy/samples": negative.detach().mean(),
            "energy/gap": (negative.mean() - positive.mean()).detach(),
        }
        return term if self.floor is None else term.clamp_min(-self.floor), metrics

    def negatives(self, energy: Energy, x: Tensor, chains: Negatives) -> Tensor:
        """Chains from data and from the base, in one batch, inside the support at the end."""
        sampler, n = chains.sampler, len(x)
        if not isinstance(sampler, Langevin) or sampler.noise_std is not None:
            raise ValueError("objective=energy_matching: use sampler=energy_matching, or Langevin with noise_std=null")
        if needs_labels(energy):
            raise ValueError("objective=energy_matching: chains have no labels; use a model without them")
        from_data = torch.arange(n, device=x.device) < n // 2
        hot = value_at(sampler.temperature, sampler.n_steps - 1, sampler.n_steps)
        ramp = lambda i, m: torch.where(from_data, hot, value_at(sampler.temperature, i, m)).to(x.dtype)  # noqa: E731
        start = torch.where(append_dims(from_data, x), x, chains.base.sample(n, chains.generator).to(x.dtype))
        seen = chains.frozen.of(energy, start)
        chain = sampler.with_options(temperature=ramp).sample(seen, start, generator=chains.generator)
        support = energy.support
        negatives = chain.x.clamp(support.low, support.high) if support.kind == "box" else chain.x
        none = torch.full((n,), -1, dtype=torch.long, device=x.device)
        chains.latest = Entries(negatives.flip(0), none, none)
        return negatives


def transported(start: Tensor, x: Tensor) -> Tensor:
    """The rows of ``start`` in the order that makes ``sum |start - x|^2`` least: exact optimal transport of a batch."""
    cost = torch.cdist(x.flatten(1), start.flatten(1)).square()
    return start[torch.as_tensor(linear_sum_assignment(cost.cpu().numpy())[1], device=x.device)]
