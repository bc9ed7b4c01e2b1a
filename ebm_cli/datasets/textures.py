"""The Describable Textures Dataset, as EBM papers use it out of distribution."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image

from ebm_cli.datasets.stored import StoredData


class Textures(StoredData):
    """5640 textures of 47 classes (Cimpoi et al. 2014), their upper left 32x32 pixels as IGEBM takes them.

    The first of the published splits: its training and validation parts, and its test part.

    Args: see ``StoredData``.
    """

    name = "textures"
    shape = (3, 32, 32)
    n_classes = 47
    subfolder = "dtd"
    files = {"train": ("labels/train1.txt", "labels/val1.txt"), "test": ("labels/test1.txt",)}

    def load(self, part):
        folder, lists = self.find(part)
        names = [line for file in lists for line in file.read_text().split()]
        classes = torch.tensor([self.class_names.index(Path(name).parent.name) for name in names])
        return torch.stack([corner(folder / "images" / name, self.shape[1]) for name in names]), classes

    @cached_property
    def class_names(self) -> list[str]:
        """Names of the classes, in alphabetical order as torchvision numbers them."""
        names = [line for file in self.find("train")[1] for line in file.read_text().split()]
        return sorted({Path(name).parent.name for name in names})

    def fetch(self, part):
        torchvision.datasets.DTD(str(self.root), download=True)


def corner(path: Path, side: int) -> torch.Tensor:
    """The upper left ``(3, side, side)`` pixels of an image, uint8."""
    with Image.open(path) as image:
        pixels = np.array(image.convert("RGB").crop((0, 0, side, side)))
    return torch.from_numpy(pixels).permute(2, 0, 1)
