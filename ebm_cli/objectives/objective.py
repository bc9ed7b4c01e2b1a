"""What a training loss is: a small module that turns a batch and chains into one scalar."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ebm_cli.energies.energy import Energy


class Loss(NamedTuple):
    """A scalar to minimize, and detached device scalars to log."""

    loss: Tensor
    metrics: dict[str, Tensor]


class Objective(nn.Module):
    """Base of the training losses.

    Attributes:
        joint: the network needs one output per class.
        uses_chains: the loss draws negatives, so a sampler and a buffer take part in training.
        double_backward: the loss differentiates gradients, which a compiled network cannot do.
        progress: share of the run that is over, in [0, 1], alike on all ranks; set before every update.
    """

    joint = False
    uses_chains = False
    double_backward = False
    progress = 0.0

    def forward(self, energy: Energy, batch, chains) -> Loss:
        """The loss of one batch ``(x, y)``; negatives come from ``chains``."""
        raise TypeError(f"{type(self).__name__} does not define forward(energy, batch, chains)")

    def fit(self, base) -> None:
        """Called once before training with the base density, for objectives that contrast with it."""

    def validation(self, energy: Energy, batch, chains) -> tuple[str, Tensor] | None:
        """Name and value, on held-out data, of what a better model has less of; None where there is no such thing.

        The loss itself serves where it needs no chains; a contrastive loss says nothing.
        """
        if self.uses_chains:
            return None
        with torch.enable_grad():
            return "loss", self(energy, batch, chains).loss

    def rank_state(self) -> dict:
        """What this rank alone must keep to resume exactly (walkers, log-weights): tensors and plain values."""
        return {}

    def load_rank_state(self, state: dict) -> None:
        """Gives back what ``rank_state`` returned."""


def energies_of(energy: Energy, *xs: Tensor) -> list[Tensor]:
    """Energies of several batches in one forward pass: one all-reduce and one update of spectral norms."""
    return list(energy(torch.cat(xs)).split([len(x) for x in xs]))
