"""Two-dimensional toys: fixed draws from a density that is known exactly."""

from __future__ import annotations

import torch

from ebm_cli.datasets.datamodule import DataModule
from ebm_cli.datasets.densities import Density


class Toy(DataModule):
    """Points on the plane; the splits are independent draws, the same for every ``seed``.

    Args:
        density: where the points come from; ``data.density`` knows its exact log probability.
        n_train, n_validation, n_test: points per split.
        batch_size, steps_per_epoch, noise_std, recipe, seed: see ``DataModule``.
    """

    shape = (2,)

    def __init__(
        self,
        *,
        density: Density,
        n_train: int = 100_000,
        n_validation: int = 10_000,
        n_test: int = 10_000,
        batch_size: int = 512,
        steps_per_epoch: int | None = 250,
        noise_std: float = 0.0,
        recipe: dict | None = None,
        seed: int = 0,
    ):
        super().__init__(
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            validation=n_validation,
            noise_std=noise_std,
            recipe=recipe,
            seed=seed,
        )
        self.density, self.name = density, density.name
        self.sizes = {"train": n_train + n_validation, "test": n_test}

    def load(self, part):
        generator = torch.Generator().manual_seed({"train": 1, "test": 2}[part])
        return self.density.sample(self.sizes[part], generator), None
