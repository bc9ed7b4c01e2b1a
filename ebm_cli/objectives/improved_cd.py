"""Contrastive divergence with the part of its gradient that is usually dropped: through the sampler."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.energies.energy import Energy, Given, needs_labels
from ebm_cli.objectives.contrastive import ContrastiveDivergence, bind_labels, contrast, measure_chain
from ebm_cli.objectives.objective import Loss, measure_gap
from ebm_cli.samplers.sampler import frozen


@dataclass(kw_only=True, eq=False)
class ImprovedCD(ContrastiveDivergence):
    """Contrastive divergence plus the KL term ``E(x(theta)) - entropy of x(theta)`` (Du et al. 2021).

    The negatives x are functions of the weights through the last steps of their chains. The weights of the energy that
    evaluates them are held fixed; their entropy is estimated by the distance to the nearest of other chains.

    Of an energy that is a sum over scales, ``E = sum_s E_s`` (``MultiScale``), chains follow the sum, and the loss
    takes the mean over scales of each of its parts, as the authors' code does: ``mean_s (E_s(data) - E_s(x))``,
    ``energy_l2 mean_s (E_s(data)^2 + E_s(x)^2)`` and ``kl mean_s E_s(x(theta))``.

    Args:
        start, energy_l2, gradient_penalty, labels: as for contrastive divergence; chains come from the buffer.
        backprop_steps: last steps that the gradient goes through; each costs a second derivative.
        kl: weight of ``E(x(theta))``.
        entropy: weight of the mean logarithm of nearest distances.
        neighbors: kept chains among which the nearest is sought.
        rows: of the negatives, at most so many in these terms; null for all.

    Example:
        >>> ImprovedCD(kl=0.5).double_backward
        True
    """

    backprop_steps: int = 1
    kl: float = 1.0
    entropy: float = 0.3
    neighbors: int = 100
    rows: int | None = None

    double_backward = True

    def __post_init__(self):
        super().__post_init__()
        if self.backprop_steps < 1 or self.kl < 0 or self.entropy < 0 or self.neighbors < 1:
            given = f"got {self.backprop_steps}, {self.kl}, {self.entropy} and {self.neighbors}"
            raise ValueError(f"objective needs backprop_steps >= 1, kl >= 0, entropy >= 0 and neighbors >= 1, {given}")
        if self.start != "buffer":
            raise ValueError(f"objective.start must be buffer, where neighbors are kept, got {self.start!r}")

    def forward(self, energy: Energy, batch, negatives: Negatives) -> Loss:
        chain = self.draw(energy, batch, negatives, backprop_steps=self.backprop_steps)
        terms = terms_of(bind_labels(energy, batch.y, chain), torch.cat([batch.x, chain.x]))
        positive, negative = terms.split([len(batch.x), len(chain.x)])
        loss, _ = contrast(positive, negative, self.energy_l2)
        metrics = measure_gap(positive.sum(1), negative.sum(1))
        loss = loss + self.penalize_slope(energy, batch)
        live = chain.x_live[: self.rows]
        conditional = energy.given(y=chain.y[: self.rows]) if needs_labels(energy) else energy
        with frozen(conditional):
            value = terms_of(conditional, live).mean()
        spread = log_nearest(live, self.draw_others(negatives)).mean()
        metrics |= measure_chain(chain) | {"icd/energy": value.detach(), "icd/log_nearest": spread.detach()}
        return Loss(loss + self.kl * value - self.entropy * spread, metrics)

    def draw_others(self, negatives: Negatives) -> Tensor:
        """Kept chains, as they are now."""
        return negatives.buffer.pick(min(self.neighbors, negatives.buffer.size), negatives.generator)[1].x


def terms_of(energy: Energy, x: Tensor) -> Tensor:
    """The energies of each scale, ``(B, S)``, of an energy that is their sum; ``(B, 1)`` of any other."""
    inner, bound = (energy.energy, energy.bound) if isinstance(energy, Given) else (energy, {})
    return inner.terms(x, **bound) if hasattr(inner, "terms") else energy(x)[:, None]


def log_nearest(x: Tensor, others: Tensor) -> Tensor:
    """Logarithm of the distance of every row of ``x`` to the nearest of ``others`` but itself, ``(B,)``.

    Times the dimension, and up to a constant, its mean estimates the entropy (Kozachenko & Leonenko 1987).
    """
    distance = (x.flatten(1)[:, None] - others.flatten(1)[None]).square().sum(2)
    same = distance.detach() < 1e-12  # a negative that was just written back
    return 0.5 * torch.where(same, torch.inf, distance).amin(1).clamp_max(1e12).log()
