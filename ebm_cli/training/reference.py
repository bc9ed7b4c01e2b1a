"""The training step of ``EnergyModule`` as a plain loop: what Lightning does with it on one device, and no more."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def train(energy, objective, negatives, batches: Iterable, optimizer, *, rate=None, clip=None, average=None) -> None:
    """Trains ``energy`` in place; ``EnergyModule`` gives the same bits for the same pieces.

    Args:
        energy: ``E(x) -> (B,)``, whose weights ``optimizer`` holds.
        objective: ``objective(energy, batch, negatives) -> Loss(loss, metrics)``.
        negatives: where chains live and which sampler moves them; None for objectives without chains.
        batches: one ``Batch(x, y)`` per update.
        rate: a scheduler of the learning rate, moved on after every update.
        clip: bound on the norm of the gradient.
        average: a ``torch.optim.swa_utils.AveragedModel`` of ``energy``.

    Example:
        >>> from types import SimpleNamespace
        >>> from ebm_cli.energies import GaussianBase
        >>> from ebm_cli.models import MLP
        >>> from ebm_cli.objectives import NoiseContrastive
        >>> _ = torch.manual_seed(0)
        >>> energy, objective = MLP((2,), hidden=[8]), NoiseContrastive()
        >>> objective.fit(GaussianBase((2,), std=2.0))
        >>> batches = [SimpleNamespace(x=torch.randn(64, 2), y=None) for _ in range(50)]
        >>> train(energy, objective, None, batches, torch.optim.Adam(energy.parameters(), lr=1e-2))
        >>> bool(energy(torch.zeros(1, 2)) < energy(torch.full((1, 2), 4.0)))  # data are near 0
        True
    """
    weights = list(energy.parameters())
    for batch in batches:
        # the loss: energies of data against those of negatives, which chains have just made
        loss, _ = objective(energy, batch, negatives)
        # its gradient
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(weights, clip)
        # the update, the rate of the next one, and the average that is kept
        optimizer.step()
        if rate is not None:
            rate.step()
        if average is not None:
            average.update_parameters(energy)
