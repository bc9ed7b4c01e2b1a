"""CIFAR-10 and CIFAR-100, read by torchvision."""

from __future__ import annotations

import torch
import torchvision

from ebm_cli.datasets.stored import StoredData


def unchecked(source: type) -> type:
    """A torchvision reader without checksums: those are for downloads, not for each start."""
    lists = {key: [[name, None] for name, _ in getattr(source, key)] for key in ("train_list", "test_list")}
    return type(source.__name__, (source,), lists | {"meta": source.meta | {"md5": None}})


class CIFAR10(StoredData):
    """50000 color images 32x32 to train on and 10000 to test (Krizhevsky 2009).

    Args: see ``StoredData``.
    """

    name = "cifar10"
    shape = (3, 32, 32)
    n_classes = 10
    class_names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    source = torchvision.datasets.CIFAR10
    files = {
        "train": tuple(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6))
        + ("cifar-10-batches-py/batches.meta",),
        "test": ("cifar-10-batches-py/test_batch", "cifar-10-batches-py/batches.meta"),
    }

    def load(self, part):
        reader = unchecked(self.source)(str(self.find(part)[0]), train=part == "train")
        self.class_names = list(reader.classes)
        return torch.from_numpy(reader.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(reader.targets)

    def fetch(self, part):
        self.source(str(self.root), download=True)


class CIFAR100(CIFAR10):
    """The same in 100 classes of 600 images; their names are known once the files have been read.

    Args: see ``StoredData``.
    """

    name = "cifar100"
    n_classes = 100
    class_names = None
    source = torchvision.datasets.CIFAR100
    files = {
        "train": ("cifar-100-python/train", "cifar-100-python/meta"),
        "test": ("cifar-100-python/test", "cifar-100-python/meta"),
    }
