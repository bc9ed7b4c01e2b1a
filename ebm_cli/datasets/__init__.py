"""Data: toys with exact densities, bundled digits, published sets, the user's own; one data module."""

from ebm_cli.datasets.batches import Batch, Rows, ShuffledBatches
from ebm_cli.datasets.celeba import CelebA32, CelebA64, CelebA128
from ebm_cli.datasets.cifar import CIFAR10, CIFAR100
from ebm_cli.datasets.datamodule import DataModule, Split
from ebm_cli.datasets.densities import (
    Checkerboard,
    Density,
    GridOfGaussians,
    Pinwheel,
    RingOfGaussians,
    Rings,
    TwoModes,
    TwoMoons,
)
from ebm_cli.datasets.digits import BinaryDigits, Digits
from ebm_cli.datasets.folder import Folder
from ebm_cli.datasets.imagenet32 import ImageNet32
from ebm_cli.datasets.mnist import KMNIST, MNIST, FashionMNIST, StackedMNIST, read_idx
from ebm_cli.datasets.npz import Npz
from ebm_cli.datasets.patches import Patches
from ebm_cli.datasets.rendered import MovingDigits, Rendered, Voxels
from ebm_cli.datasets.resize import resized
from ebm_cli.datasets.shapes import CONCEPTS, Shapes
from ebm_cli.datasets.stored import StoredData
from ebm_cli.datasets.svhn import SVHN
from ebm_cli.datasets.textures import Textures
from ebm_cli.datasets.toys import Toy

__all__ = [
    "Batch", "BinaryDigits", "CIFAR10", "CIFAR100", "CONCEPTS", "CelebA128", "CelebA32", "CelebA64", "Checkerboard",
    "DataModule", "Density", "Digits", "FashionMNIST", "Folder", "GridOfGaussians", "ImageNet32", "KMNIST", "MNIST",
    "MovingDigits", "Npz", "Patches", "Pinwheel", "Rendered", "RingOfGaussians", "Rings", "Rows", "SVHN", "Shapes",
    "ShuffledBatches", "Split", "StackedMNIST", "StoredData", "Textures", "Toy", "TwoModes", "TwoMoons", "Voxels",
    "read_idx", "resized",
]  # fmt: skip
