"""MNIST and its relatives: images in IDX files, plain or gzipped."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import ClassVar

import torch
import torchvision
from torch import Tensor

from ebm_cli.datasets.stored import StoredData

IDX_OF_BYTES = b"\x00\x00\x08"


def read_idx(path: Path) -> Tensor:
    """The uint8 array of an IDX file: two zero bytes, type, rank, one big-endian size per axis, then the values.

    Raises:
        ValueError: naming the file, if it is not such a file or is cut short.
    """
    opened = gzip.open(path) if path.suffix == ".gz" else path.open("rb")
    with opened as stream:
        content = stream.read()
    rank = content[3] if len(content) > 3 and content[:3] == IDX_OF_BYTES else 0
    shape = [int.from_bytes(content[4 * i + 4 : 4 * i + 8], "big") for i in range(rank)]
    start = 4 * rank + 4
    if not rank or len(content) != start + math.prod(shape):
        raise ValueError(f"{path}: not a whole IDX file of bytes")
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).view(shape)


class IDXData(StoredData):
    """Grey 28x28 images in the four files of MNIST. A subclass has ``source``, the torchvision class that downloads."""

    shape = (1, 28, 28)
    n_classes = 10
    suffixes = ("", ".gz")
    files = {
        "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    }
    source: ClassVar[type]

    def load(self, part):
        images, labels = (read_idx(path) for path in self.find(part)[1])
        return images[:, None], labels.long()

    def fetch(self, part):
        self.source(str(self.root), download=True)


class MNIST(IDXData):
    """60000 handwritten digits to train on and 10000 to test (LeCun et al. 1998).

    Args: see ``StoredData``.
    """

    name = "mnist"
    class_names = [str(digit) for digit in range(10)]
    subfolder = "MNIST/raw"
    source = torchvision.datasets.MNIST


class FashionMNIST(IDXData):
    """60000 pictures of clothes to train on and 10000 to test (Xiao et al. 2017).

    Args: see ``StoredData``.
    """

    name = "fashion_mnist"
    class_names = torchvision.datasets.FashionMNIST.classes
    subfolder = "FashionMNIST/raw"
    system_folder = "/usr/share/datasets/fashion-mnist"  # Debian's package dataset-fashion-mnist
    source = torchvision.datasets.FashionMNIST


class KMNIST(IDXData):
    """60000 cursive Japanese characters of ten kinds to train on and 10000 to test (Clanuwat et al. 2018).

    Args: see ``StoredData``.
    """

    name = "kmnist"
    class_names = torchvision.datasets.KMNIST.classes
    subfolder = "KMNIST/raw"
    source = torchvision.datasets.KMNIST


class StackedMNIST(MNIST):
    """Three random MNIST digits as red, green and blue: 1000 modes that can be counted (Metz et al. 2017).

    As many images as MNIST has; which digits make which image is the same for every ``seed``.

    Args: see ``StoredData``.
    """

    name = "stacked_mnist"
    shape = (3, 28, 28)
    n_classes = 1000
    class_names = [f"{number:03d}" for number in range(1000)]

    def load(self, part):
        x, y = super().load(part)
        generator = torch.Generator().manual_seed({"train": 1, "test": 2}[part])
        chosen = torch.randint(len(x), (len(x), 3), generator=generator)
        return x[chosen, 0], (y[chosen] * torch.tensor([100, 10, 1])).sum(1)
