"""Arrays and tables in a file: one's own data, or what ebm-sample wrote."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ebm_cli.config import ConfigError
from ebm_cli.datasets.batches import count_of, cut
from ebm_cli.datasets.datamodule import SPLIT_SEED, DataModule
from ebm_cli.datasets.inspection import Found, inspect
from ebm_cli.datasets.scaling import Scaling


@dataclass(kw_only=True, eq=False)
class Npz(DataModule):
    """Examples ``samples`` or ``x`` ``(N, ...)`` in an .npz or .npy file, or the rows of a .csv or .parquet table.

    Labels are an array or a column ``y`` ``(N,)``: whole numbers, text, or one-hot. Images may have their channels
    last, or none; uint8 are grey levels and are mapped to ``value_range``, so are levels of more bits and floats from 0
    to 1; other floats must lie in it already. Vectors are brought to mean 0 and deviation 1 per entry, and entries that
    never change are left out; samples are written in the units of the file again.

    Args:
        file: the file.
        test_file: one more for the test split; null holds ``test`` of ``file`` out.
        test: held out for the test split, a number or a share, classes in proportion and always the same.
        standardize: bring vectors to mean 0 and deviation 1; false takes them as they are.
        batch_size, steps_per_epoch, validation, labeled, value_range, dequantize, noise_std, clamp, flip, crop,
            workers, seed: see ``DataModule``.

    Raises:
        ConfigError: naming the file and what in it cannot be data; see ``inspection``.
    """

    paths = ("file", "test_file")

    file: str
    test_file: str | None = None
    test: float = 0.1
    standardize: bool = True

    def __post_init__(self):
        super().__post_init__()
        self.file = Path(self.file).expanduser()
        self.name = self.file.stem

    @cached_property
    def found(self) -> Found:
        """What is in the file; its values lie in the value range where there is one."""
        return self.look(self.file)

    def look(self, file: Path) -> Found:
        if not file.is_file():
            right = "it is an .npz with samples or x, and perhaps y, or an .npy, .csv or .parquet"
            raise ConfigError(f"dataset.file={file}: no such file; {right}")
        found = inspect(file)
        found.x = self.in_range(found.x, file)
        return found

    @cached_property
    def scaling(self) -> Scaling | None:
        """Between the units of the file and those of the model; None where they are the same."""
        x = self.found.x
        if not self.standardize or self.value_range is not None or x.ndim != 2 or self.found.kind == "binary":
            return None
        try:
            return Scaling.fit(torch.from_numpy(x[self.cut()[0].numpy()]))
        except ValueError as error:
            raise ConfigError(f"dataset.file={self.file}: {error}, so there is nothing to learn") from error

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.found.x.shape[1:]) if self.scaling is None else (len(self.scaling.varies),)

    @property
    def n_classes(self) -> int | None:
        return None if self.found.y is None else int(self.found.y.max()) + 1

    @property
    def class_names(self) -> list[str] | None:
        return self.found.class_names

    def load(self, part):
        found, index = self.found, self.cut()[0 if part == "train" else 1]
        if self.test_file is not None and part == "test":
            found = self.look(Path(self.test_file).expanduser())
            index = torch.arange(len(found.x))
        x = torch.from_numpy(found.x)[index]
        y = None if found.y is None else torch.from_numpy(found.y)[index]
        return x if self.scaling is None else self.scaling.inside(x), y

    def cut(self) -> tuple[Tensor, Tensor]:
        """Rows of the training part and of the test part."""
        y = None if self.found.y is None else torch.from_numpy(self.found.y)
        n = len(self.found.x)
        if self.test_file is not None:
            return torch.arange(n), torch.arange(0)
        return cut(y, n, count_of(self.test, n, "dataset.test"), SPLIT_SEED)

    def in_range(self, x: np.ndarray, file: Path) -> np.ndarray:
        """Floats in the value range: those from 0 to 1 are mapped to it, others must lie in it.

        Raises:
            ConfigError: for values outside.
        """
        if self.value_range is None or x.dtype == np.uint8:
            return x
        (low, high), (least, most) = self.value_range, (float(x.min()), float(x.max()))
        if low < 0 and least >= 0 and most <= 1:
            return (low + (high - low) * x).astype(np.float32)
        if least < low - 1e-4 or most > high + 1e-4:
            has = f"{file} holds values from {least:.4g} to {most:.4g}"
            right = "give the range that they have, or null to take them as vectors"
            raise ConfigError(f"dataset.value_range={list(self.value_range)}: {has}; {right}")
        return x
