"""CelebA: aligned faces, at three sizes."""

from __future__ import annotations

import torchvision

from ebm_cli.datasets.folder import ImageFiles
from ebm_cli.datasets.stored import StoredData

PARTS = {"train": ("0", "1"), "test": ("2",)}  # of list_eval_partition.txt: training, validation, test


class CelebA(StoredData):
    """202599 aligned faces (Liu et al. 2015), the largest centered square resized; the published test part is kept.

    The published validation part counts as training data here, from which ``validation`` is cut. A subclass has
    ``shape``. Images are decoded when a batch asks for them.

    Args: see ``StoredData``.
    """

    subfolder = "celeba"
    files = {part: ("list_eval_partition.txt",) for part in PARTS}

    def load(self, part):
        folder, (partition,) = self.find(part)
        rows = [line.split() for line in partition.read_text().splitlines() if line.strip()]
        paths = [folder / "img_align_celeba" / name for name, which in rows if which in PARTS[part]]
        missing = next((path for path in paths if not path.is_file()), None)
        if missing is not None:
            raise FileNotFoundError(f"dataset.root={self.root}: {self.name} lists {missing}, which is not there")
        return ImageFiles(paths, self.shape[1], self.shape[0]), None

    def fetch(self, part):
        torchvision.datasets.CelebA(str(self.root), split="all", download=True)


class CelebA32(CelebA):
    """CelebA at 32x32.

    Args: see ``StoredData``.
    """

    name, shape = "celeba32", (3, 32, 32)


class CelebA64(CelebA):
    """CelebA at 64x64.

    Args: see ``StoredData``.
    """

    name, shape = "celeba64", (3, 64, 64)


class CelebA128(CelebA):
    """CelebA at 128x128.

    Args: see ``StoredData``.
    """

    name, shape = "celeba128", (3, 128, 128)
