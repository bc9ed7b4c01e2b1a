"""Arrays in an .npz file: one's own data, or what ebm-sample wrote."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ebm_cli.datasets.batches import count_of, cut
from ebm_cli.datasets.datamodule import SPLIT_SEED, DataModule
from ebm_cli.utils.whole import read_arrays


@dataclass(kw_only=True, eq=False)
class Npz(DataModule):
    """Examples ``samples`` or ``x`` ``(N, ...)``, float or uint8, and optional integer labels ``y`` ``(N,)``.

    uint8 arrays are grey levels and are mapped to ``value_range``; floats must lie in it already.

    Args:
        file: the .npz file.
        test_file: one more for the test split; null holds ``test`` of ``file`` out.
        test: held out for the test split, a number or a share, classes in proportion and always the same.
        batch_size, steps_per_epoch, validation, labeled, value_range, dequantize, noise_std, clamp, flip, crop,
            workers, seed: see ``DataModule``.
    """

    paths = ("file", "test_file")

    file: str
    test_file: str | None = None
    test: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        self.file = Path(self.file).expanduser()
        self.name = self.file.stem

    @cached_property
    def arrays(self) -> tuple[Tensor, Tensor | None]:
        x, y = read_npz(self.file)
        self.check_range(x)
        return x, y

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.arrays[0].shape[1:])

    @property
    def n_classes(self) -> int | None:
        y = self.arrays[1]
        return None if y is None else int(y.max()) + 1

    def load(self, part):
        x, y = self.arrays
        if self.test_file is not None:
            return (x, y) if part == "train" else read_npz(Path(self.test_file).expanduser())
        train, test = cut(y, len(x), count_of(self.test, len(x), "dataset.test"), SPLIT_SEED)
        index = train if part == "train" else test
        return x[index], None if y is None else y[index]

    def check_range(self, x: Tensor) -> None:
        """Raises ValueError for floats outside the value range, which then is not theirs."""
        if self.value_range is None or x.dtype == torch.uint8:
            return
        (low, high), (least, most) = self.value_range, (float(x.min()), float(x.max()))
        if least < low - 1e-4 or most > high + 1e-4:
            raise ValueError(
                f"dataset.value_range={list(self.value_range)}: {self.file} holds values from {least:.4g} to {most:.4g}"
            )


def read_npz(file: Path) -> tuple[Tensor, Tensor | None]:
    """Examples and labels of an .npz file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds neither ``samples`` nor ``x``.
    """
    if not file.is_file():
        raise FileNotFoundError(f"dataset.file={file}: no such file; it is an .npz with samples or x, and perhaps y")
    arrays = read_arrays(file)
    key = next((key for key in ("samples", "x") if key in arrays), None)
    if key is None:
        raise ValueError(f"dataset.file={file}: holds {', '.join(arrays)}, and neither samples nor x")
    x, y = torch.from_numpy(arrays[key]), torch.from_numpy(arrays["y"]).long() if "y" in arrays else None
    return (x if x.dtype == torch.uint8 else x.float()), y
