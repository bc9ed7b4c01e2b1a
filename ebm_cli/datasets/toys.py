"""Two-dimensional toys: fixed draws from a density that is known exactly."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ebm_cli.datasets.datamodule import DataModule, fixed
from ebm_cli.datasets.densities import Density


@dataclass(kw_only=True, eq=False)
class Toy(DataModule):
    """Points on the plane; the splits are independent draws, the same for every ``seed``.

    Args:
        density: where the points come from; ``data.density`` knows its exact log probability.
        n_train, n_validation, n_test: points per split.
        batch_size, steps_per_epoch, workers, noise_std, seed: see ``DataModule``.

    Example:
        >>> from ebm_cli.datasets import Rings
        >>> data = Toy(density=Rings(), n_train=90, n_validation=10, n_test=20)
        >>> [len(data.split(name).x) for name in ("train", "validation", "test")]
        [90, 10, 20]
    """

    shape = (2,)

    batch_size: int = 512
    steps_per_epoch: int | None = 250
    value_range: None = fixed()
    dequantize: bool = fixed(False)
    clamp: bool = fixed(False)
    flip: bool = fixed(False)
    crop: int = fixed(0)
    validation: int = fixed(0)  # n_validation
    labeled: int | None = fixed()
    n_train: int = 100_000
    n_validation: int = 10_000
    n_test: int = 10_000
    density: Density = field()  # required: the base class has one of None

    def __post_init__(self):
        super().__post_init__()
        self.name, self.validation = self.density.name, self.n_validation
        self.sizes = {"train": self.n_train + self.n_validation, "test": self.n_test}

    def load(self, part):
        generator = torch.Generator().manual_seed({"train": 1, "test": 2}[part])
        return self.density.sample(self.sizes[part], generator), None
