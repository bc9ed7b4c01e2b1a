"""Data: toys with exact densities, bundled digits, published sets, the user's own; one data module."""

from ebm_cli.datasets.batches import Batch, Rows, ShuffledBatches
from ebm_cli.datasets.cifar import CIFAR10, CIFAR100
from ebm_cli.datasets.datamodule import DataModule, Split
from ebm_cli.datasets.densities import (
    Checkerboard,
    Density,
    GridOfGaussians,
    Pinwheel,
    RingOfGaussians,
    Rings,
    TwoMoons,
)
from ebm_cli.datasets.digits import Digits
from ebm_cli.datasets.folder import Folder
from ebm_cli.datasets.mnist import MNIST, FashionMNIST, read_idx
from ebm_cli.datasets.npz import Npz
from ebm_cli.datasets.resize import resized
from ebm_cli.datasets.stored import StoredData
from ebm_cli.datasets.svhn import SVHN
from ebm_cli.datasets.toys import Toy

__all__ = [
    "CIFAR10", "CIFAR100", "MNIST", "SVHN", "Batch", "Checkerboard", "DataModule", "Density", "Digits",
    "FashionMNIST", "Folder", "GridOfGaussians", "Npz", "Pinwheel", "RingOfGaussians", "Rings",
    "Rows", "ShuffledBatches", "Split", "StoredData", "Toy", "TwoMoons", "read_idx", "resized",
]  # fmt: skip
