"""Shared by the tests of data sets: every option in small, with files of every format."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ebm_cli.config import build, option_node, options

ROOT = Path(__file__).parents[2]
OPTIONS = options("dataset")
TOYS = {
    "8gaussians": 1.698,
    "25gaussians": 2.259,
    "two_moons": 1.948,
    "rings": 2.845,
    "checkerboard": math.log(18),
    "pinwheel": 2.144,
}
PUBLISHED = ("mnist", "fashion_mnist", "kmnist", "stacked_mnist", "cifar10", "cifar100", "svhn", "imagenet32")
NAMES = {"folder": "pictures", "npz": "mine", "imagenet128": "imagenet"}  # where it is not that of the option
EXACT = "donot_use_mm_for_euclid_dist"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def small_sets():
    """The module scripts/make_small_datasets.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("small", ROOT / "scripts" / "make_small_datasets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with every published format in small, a folder of images and an .npz file."""
    folder = tmp_path_factory.mktemp("data")
    small_sets().write(folder, n=200)
    rng = np.random.default_rng(0)
    for i in range(40):
        path = folder / "pictures" / ("cats" if i % 4 else "dogs") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(path)
    np.savez(folder / "mine.npz", samples=rng.normal(size=(100, 5)), energy=np.zeros(100), y=np.arange(100) % 2)
    return folder


def make(name, files=None, **changes):
    """An option of conf/dataset, built as the commands build it; files come from the fixture."""
    if name == "patches":
        pytest.importorskip("skimage")
    node = option_node("dataset", name)
    place = {
        "folder": {"root": "pictures"},
        "imagenet128": {"root": "imagenet/train", "test_root": "imagenet/val"},
        "npz": {"file": "mine.npz"},
    }.get(name)
    if place:
        node |= {key: str(files / value) for key, value in place.items()}
    elif "root" in node:
        node["root"] = str(files)
    return build(node | changes, "dataset", seed=3)
