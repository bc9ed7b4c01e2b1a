"""Patches of the photographs that scikit-learn and scikit-image ship: natural color images without network."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ebm_cli.datasets.batches import Rows
from ebm_cli.datasets.datamodule import DataModule, fixed

PHOTOGRAPHS = {  # whole photographs, because patches of one overlap
    "train": ("china.jpg", "astronaut.png", "coffee.png", "motorcycle_left.png", "motorcycle_right.png", "ihc.png"),
    "validation": ("rocket.jpg",),
    "test": ("chelsea.png", "flower.jpg"),
}
SCALES = {1: 16, 2: 16, 4: 8}  # reduction of the photograph, and distance between patches in its pixels
FLAT = 8.0  # grey levels: patches with a smaller standard deviation are sky or paper, and left out


@dataclass(kw_only=True, eq=False)
class Patches(DataModule):
    """32x32 color patches of nine photographs at three scales; every photograph belongs to one split alone.

    Needs scikit-image, for the photographs in its package.

    Args:
        batch_size, steps_per_epoch, value_range, dequantize, noise_std, clamp, flip, seed: see ``DataModule``.
    """

    name = "patches"
    shape = (3, 32, 32)

    value_range: list[float] | None = (0.0, 1.0)
    validation: float = fixed(0.0)  # whole photographs are held out
    labeled: int | None = fixed()

    def rows(self, split):
        if split not in PHOTOGRAPHS:
            raise ValueError(f"split must be {', '.join(PHOTOGRAPHS)}, got {split!r}")
        x, y = self.part(split)
        return Rows(x, y, torch.arange(len(x)))

    def load(self, part):
        return torch.cat([patches_of(find(name)) for name in PHOTOGRAPHS[part]]), None


def find(name: str) -> Path:
    """The file of a photograph, in the package that ships it; the package itself is not imported.

    Raises:
        FileNotFoundError: naming the package to install.
    """
    for package, folder in (("sklearn", "datasets/images"), ("skimage", "data")):
        found = importlib.util.find_spec(package)
        file = Path(found.submodule_search_locations[0]) / folder / name if found else None
        if file is not None and file.is_file():
            return file
    raise FileNotFoundError(f"dataset=patches: the photograph {name} is missing; pip install scikit-image")


def patches_of(file: Path) -> Tensor:
    """Patches ``(N, 3, 32, 32)`` of a photograph at all scales, uint8, the flat ones left out."""
    with Image.open(file) as opened:
        photograph = opened.convert("RGB")
    found = []
    for scale, stride in SCALES.items():
        pixels = torch.from_numpy(np.array(photograph.reduce(scale))).permute(2, 0, 1)
        found.append(pixels.unfold(1, 32, stride).unfold(2, 32, stride).permute(1, 2, 0, 3, 4).reshape(-1, 3, 32, 32))
    x = torch.cat(found)
    return x[x.float().flatten(1).std(1) > FLAT]
