"""Writes small random data sets in the exact file formats of the published ones, to try commands without network.

    python scripts/make_small_datasets.py FOLDER [--n 64] [--seed 0] [--only cifar10 svhn ...]

Then, for instance: ebm-train model=resnet dataset=cifar10 dataset.root=FOLDER trainer.max_epochs=1
"""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat


def pictures(rng: np.random.Generator, n: int, n_classes: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Random uint8 images ``(n, *shape)``, brighter for higher labels, and labels that take turns."""
    y = np.arange(n) % n_classes
    shades = 128 * y / n_classes + rng.integers(0, 128, (*shape, n))
    return np.moveaxis(shades, -1, 0).astype(np.uint8), y


def write_pickle(file: Path, content: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(content))


def cifar10(folder: Path, n: int, rng: np.random.Generator) -> None:
    """``cifar-10-batches-py``: five training batches, a test batch and the names of the classes."""
    folder = folder / "cifar-10-batches-py"
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        x, y = pictures(rng, n // 5 if name != "test_batch" else n, 10, 3 * 32 * 32)
        files = [f"{i}.png" for i in range(len(x))]
        write_pickle(folder / name, {"batch_label": name, "labels": y.tolist(), "data": x, "filenames": files})
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    write_pickle(folder / "batches.meta", {"num_cases_per_batch": n // 5, "label_names": names, "num_vis": 3072})


def cifar100(folder: Path, n: int, rng: np.random.Generator) -> None:
    """``cifar-100-python``: training and test part, with fine and coarse labels, and the names of both."""
    folder = folder / "cifar-100-python"
    for name in ("train", "test"):
        x, y = pictures(rng, n, 100, 3 * 32 * 32)
        files = [f"{i}.png" for i in range(n)]
        labels = {"fine_labels": y.tolist(), "coarse_labels": (y // 5).tolist()}
        write_pickle(folder / name, {"filenames": files, "batch_label": name, "data": x} | labels)
    names = {"fine_label_names": [f"class_{i}" for i in range(100)]}
    write_pickle(folder / "meta", names | {"coarse_label_names": [f"group_{i}" for i in range(20)]})


def svhn(folder: Path, n: int, rng: np.random.Generator) -> None:
    """``train_32x32.mat`` and ``test_32x32.mat``: images along the last axis, the digit 0 labeled 10."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        x, y = pictures(rng, n, 10, 32, 32, 3)
        savemat(folder / f"{part}_32x32.mat", {"X": np.moveaxis(x, 0, -1), "y": np.where(y == 0, 10, y)[:, None]})


def idx(folder: Path, n: int, rng: np.random.Generator) -> None:
    """The four IDX files of MNIST: magic number and sizes in big-endian order, then bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "t10k"):
        x, y = pictures(rng, n, 10, 28, 28)
        images, labels = np.array([0x803, n, 28, 28], ">u4"), np.array([0x801, n], ">u4")
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images.tobytes() + x.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels.tobytes() + y.astype(np.uint8).tobytes())


def mnist(folder: Path, n: int, rng: np.random.Generator) -> None:
    idx(folder / "MNIST" / "raw", n, rng)


def fashion_mnist(folder: Path, n: int, rng: np.random.Generator) -> None:
    idx(folder / "FashionMNIST" / "raw", n, rng)


def kmnist(folder: Path, n: int, rng: np.random.Generator) -> None:
    idx(folder / "KMNIST" / "raw", n, rng)


def imagenet32(folder: Path, n: int, rng: np.random.Generator) -> None:
    """``imagenet32``: ten training batches and ``val_data``, flat color planes, labels from 1 to 1000."""
    folder = folder / "imagenet32"
    folder.mkdir(parents=True, exist_ok=True)
    for name in [f"train_data_batch_{i}" for i in range(1, 11)] + ["val_data"]:
        x, y = pictures(rng, n if name == "val_data" else -(-n // 10), 1000, 3 * 32 * 32)
        np.savez(folder / f"{name}.npz", data=x, labels=y + 1)


def picture_file(file: Path, rng: np.random.Generator, *shape: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(file)


def celeba(folder: Path, n: int, rng: np.random.Generator) -> None:
    """``celeba/img_align_celeba`` with pictures 178x218, and the list that says which belong to which part."""
    folder, lines = folder / "celeba", []
    for number in range(1, 2 * n + 1):
        picture_file(folder / "img_align_celeba" / f"{number:06d}.jpg", rng, 218, 178)
        lines.append(f"{number:06d}.jpg {2 if number > n else int(number > 0.9 * n)}")
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")


def textures(folder: Path, n: int, rng: np.random.Generator) -> None:
    """``dtd/images`` with a folder per class, and the lists of the first split."""
    folder = folder / "dtd"
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(("train1", "val1", "test1")):
        names = [f"texture_{i % 47:02d}/texture_{i % 47:02d}_{number}{i:04d}.jpg" for i in range(n)]
        for name in names:
            picture_file(folder / "images" / name, rng, 40, 48)
        (folder / "labels" / f"{part}.txt").write_text("\n".join(names) + "\n")


def imagenet128(folder: Path, n: int, rng: np.random.Generator) -> None:
    """``imagenet/train`` and ``imagenet/val`` with a folder per class, five classes here."""
    for part in ("train", "val"):
        for i in range(n):
            picture_file(folder / "imagenet" / part / f"n{i % 5:08d}" / f"{i}.JPEG", rng, 150, 140)


WRITERS = {
    f.__name__: f
    for f in (cifar10, cifar100, svhn, mnist, fashion_mnist, kmnist, imagenet32, celeba, textures, imagenet128)
}


def write(folder: Path, names=tuple(WRITERS), n: int = 64, seed: int = 0) -> None:
    """Writes the data sets ``names``, ``n`` training and ``n`` test images each, below ``folder``."""
    for name in names:
        WRITERS[name](Path(folder), n, np.random.default_rng(seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what dataset.root will be")
    parser.add_argument("--n", type=int, default=64, help="images per split (default 64)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=WRITERS, default=list(WRITERS), help="these data sets alone")
    options = parser.parse_args()
    write(options.folder, options.only, options.n, options.seed)


if __name__ == "__main__":
    main()
