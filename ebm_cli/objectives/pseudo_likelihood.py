"""Pseudo-likelihood: every site of a discrete input given all others, which needs no normalizer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.discrete import Sites
from ebm_cli.energies.energy import Energy
from ebm_cli.objectives.objective import Loss, Objective, evaluate_all


@dataclass(kw_only=True, eq=False)
class PseudoLikelihood(Objective):
    """``-sum_i log p(x_i | x_others)`` of binary, spin and one-hot data, in nats (Besag 1975).

    Exact maximum likelihood for independent sites, and consistent for all others.

    Args:
        sites: drawn at random per data point, their sum scaled up to all sites; null takes every site.

    Example:
        >>> PseudoLikelihood(sites=2).choose(torch.zeros(3, 5), 5).shape
        torch.Size([3, 2])
    """

    sites: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.sites is not None and self.sites < 1:
            raise ValueError(f"objective.sites must be at least 1 or null, got {self.sites}")

    def forward(self, energy: Energy, batch, negatives) -> Loss:
        if energy.support.continuous:
            raise ValueError("pseudo-likelihood takes binary, spin or one-hot data; try objective=score_matching")
        sites = Sites(energy.shape, energy.support)
        chosen = self.choose(batch.x, sites.n)
        positive, negative = evaluate_all(energy, batch.x, change_sites(batch.x, sites, chosen))
        negative = negative.view(len(batch.x), chosen.shape[1], sites.k - 1)
        logits = positive[:, None, None] - negative
        nats = torch.logsumexp(torch.cat([torch.zeros_like(logits[..., :1]), logits], 2), 2)
        loss = sites.n * nats.mean(1).mean()
        return Loss(loss, {"energy/data": positive.detach().mean(), "energy/gap": -logits.detach().mean()})

    def choose(self, x: Tensor, n: int) -> Tensor:
        """Distinct sites of every row, ``(B, m)``."""
        if self.sites is None or self.sites >= n:
            return torch.arange(n, device=x.device).expand(len(x), n)
        return torch.rand(len(x), n, device=x.device).argsort(1)[:, : self.sites]


def change_sites(x: Tensor, sites: Sites, chosen: Tensor) -> Tensor:
    """``x`` with each chosen site set to each of its other values, ``(B m (k - 1), *shape)``."""
    (rows, m), others = chosen.shape, sites.k - 1
    codes = sites.codes(x)[:, None, None].expand(rows, m, others, sites.n)
    where = chosen[:, :, None, None].expand(rows, m, others, 1)
    offset = torch.arange(1, sites.k, device=x.device).view(1, 1, others, 1)
    return sites.points(codes.scatter(3, where, (codes.gather(3, where) + offset) % sites.k).flatten(0, 2), x.dtype)
