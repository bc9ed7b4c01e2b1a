"""Contrastive divergence with the part of its gradient that is usually dropped: through the sampler."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.energies.energy import Energy, needs_labels
from ebm_cli.objectives.contrastive import ContrastiveDivergence, chain_metrics, contrast, with_labels
from ebm_cli.objectives.objective import Loss, energies_of
from ebm_cli.samplers.sampler import frozen


class ImprovedCD(ContrastiveDivergence):
    """Contrastive divergence plus the KL term ``E(x(theta)) - entropy of x(theta)`` (Du et al. 2021).

    The negatives x are functions of the weights through the last steps of their chains. The energy that judges them is
    held fixed; their entropy is estimated by the distance to the nearest of other chains.

    Args:
        start, energy_l2, gradient_penalty, labels: as for contrastive divergence; chains come from the buffer.
        backprop_steps: last steps that the gradient goes through; each costs a second derivative.
        kl: weight of ``E(x(theta))``.
        entropy: weight of the mean logarithm of nearest distances.
        neighbors: kept chains among which the nearest is sought.
        rows: of the negatives, at most so many in these terms; null for all.
    """

    double_backward = True

    def __init__(
        self,
        *,
        start: str = "buffer",
        energy_l2: float = 0.0,
        gradient_penalty: float = 0.0,
        labels: str = "own",
        backprop_steps: int = 1,
        kl: float = 1.0,
        entropy: float = 0.3,
        neighbors: int = 100,
        rows: int | None = None,
    ):
        super().__init__(start=start, energy_l2=energy_l2, gradient_penalty=gradient_penalty, labels=labels)
        if backprop_steps < 1 or kl < 0 or entropy < 0 or neighbors < 1:
            given = f"got backprop_steps={backprop_steps}, kl={kl}, entropy={entropy}, neighbors={neighbors}"
            raise ValueError(f"objective needs backprop_steps >= 1, kl >= 0, entropy >= 0 and neighbors >= 1, {given}")
        if start != "buffer":
            raise ValueError(f"objective.start must be buffer, where neighbors are kept, got {start!r}")
        self.backprop_steps, self.kl, self.entropy = int(backprop_steps), kl, entropy
        self.neighbors, self.rows = int(neighbors), rows

    def forward(self, energy: Energy, batch, chains: Negatives) -> Loss:
        chain = self.negatives(energy, batch, chains, backprop_steps=self.backprop_steps)
        positive, negative = energies_of(with_labels(energy, batch.y, chain), batch.x, chain.x)
        loss, metrics = contrast(positive, negative, self.energy_l2)
        loss = loss + self.slope_penalty(energy, batch)
        live = chain.x_live[: self.rows]
        conditional = energy.given(y=chain.y[: self.rows]) if needs_labels(energy) else energy
        with frozen(conditional):
            judged = conditional(live).mean()
        spread = log_nearest(live, self.others(chains)).mean()
        metrics |= chain_metrics(chain) | {"icd/energy": judged.detach(), "icd/log_nearest": spread.detach()}
        return Loss(loss + self.kl * judged - self.entropy * spread, metrics)

    def others(self, chains: Negatives) -> Tensor:
        """Kept chains, as they are now."""
        return chains.buffer.draw(min(self.neighbors, chains.buffer.size), chains.generator)[1].x


def log_nearest(x: Tensor, others: Tensor) -> Tensor:
    """Logarithm of the distance of every row of ``x`` to the nearest of ``others`` but itself, ``(B,)``.

    Times the dimension, and up to a constant, its mean estimates the entropy (Kozachenko & Leonenko 1987).
    """
    distance = (x.flatten(1)[:, None] - others.flatten(1)[None]).square().sum(2)
    same = distance.detach() < 1e-12  # a negative that was just written back
    return 0.5 * torch.where(same, torch.inf, distance).amin(1).clamp_max(1e12).log()
