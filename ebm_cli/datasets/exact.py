"""A closed-form energy in the place of data: its own exact draws are the examples."""

from __future__ import annotations

import torch

from ebm_cli.datasets.batches import Batch
from ebm_cli.datasets.datamodule import DataModule
from ebm_cli.energies.energy import Energy

RANGES = {"binary": (0.0, 1.0), "spins": (-1.0, 1.0), "one_hot": (0.0, 1.0)}


class Exact:
    """What sampling must know of data, for an energy that was not trained on any.

    Args:
        energy: with ``sample(n, generator)`` where it can be drawn from exactly.
        name: of the energy.
        seed: of the draws.
    """

    n_classes = None
    class_names = None
    density = None
    scaling = None
    restored = DataModule.restored

    def __init__(self, energy: Energy, name: str, seed: int):
        self.energy, self.name, self.seed = energy, name, seed
        self.shape, self.support = energy.shape, energy.support
        box = (energy.support.low, energy.support.high) if energy.support.kind == "box" else None
        self.value_range = RANGES.get(energy.support.kind, box)

    def split(self, part: str, n: int | None = None) -> Batch:
        """``n`` exact draws, others for every part.

        Raises:
            ValueError: for energies that cannot be drawn from exactly.
        """
        draw = getattr(self.energy, "sample", None)
        if draw is None:
            raise ValueError(f"model={self.name}: has no exact draws, which this task takes as examples")
        number = ("train", "validation", "test").index(part)
        return Batch(draw(n or 1000, torch.Generator().manual_seed(3 * self.seed + number)), None)
