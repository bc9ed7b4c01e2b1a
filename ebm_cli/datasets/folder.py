"""Any folder of images."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from ebm_cli.config import ConfigError
from ebm_cli.datasets.batches import count_of, cut
from ebm_cli.datasets.datamodule import SPLIT_SEED, DataModule

MODES = {1: "L", 3: "RGB"}


class ImageFiles:
    """Images decoded when an index tensor asks for them, as uint8 ``(B, channels, size, size)``."""

    def __init__(self, paths: list[Path], size: int, channels: int):
        self.paths, self.size, self.mode = paths, size, MODES[channels]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Tensor) -> Tensor:
        if not len(index):
            return torch.zeros(0, len(self.mode), self.size, self.size, dtype=torch.uint8)
        return torch.stack([self.decoded(self.paths[i]) for i in index.tolist()])

    def decoded(self, path: Path) -> Tensor:
        """The largest centered square of the image, antialiased to ``size``."""
        square = ImageOps.fit(read_image(path, self.mode), (self.size, self.size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(square)).view(self.size, self.size, -1).permute(2, 0, 1)


def read_image(path: Path, mode: str) -> Image.Image:
    """An image file as ``L`` or ``RGB``: upright as its camera says, transparency on white, 16 bits scaled to 8.

    Raises:
        ConfigError: naming a file that is no whole image.
    """
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith(("I", "F")):  # more than eight bits
                levels = np.asarray(image, dtype=np.float64)
                top = 255 if levels.max() <= 255 else 2 ** int(levels.max()).bit_length() - 1
                image = Image.fromarray((255 * levels / top).round().clip(0, 255).astype(np.uint8))
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            return image.convert(mode)
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        reason = str(error).split(" '")[0]
        raise ConfigError(
            f"{path}: not a whole image ({reason}); delete it, or say dataset.skip_broken=true"
        ) from error


@dataclass(kw_only=True, eq=False)
class Folder(DataModule):
    """Images below a folder, in any format that Pillow reads; two or more subfolders are classes.

    Args:
        root: the folder.
        test_root: folder of the test images; null holds ``test`` of those in ``root`` out.
        test: held out for the test split, a number or a share, classes in proportion and always the same.
        size: side of the square that images are cropped and resized to, in pixels.
        channels: 3 for color, 1 for grey.
        skip_broken: leave files out that are no whole images, and say how many; it decodes all of them once.
        batch_size, steps_per_epoch, validation, labeled, value_range, dequantize, noise_std, clamp, flip, crop,
            workers, seed: see ``DataModule``.
    """

    workers: int = 2
    value_range: list[float] | None = (0.0, 1.0)
    paths = ("root", "test_root")

    root: str
    test_root: str | None = None
    test: float = 0.1
    size: int = 32
    channels: int = 3
    skip_broken: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.channels not in MODES or self.size < 1:
            given = f"channels={self.channels}, size={self.size}"
            raise ValueError(f"a folder needs channels 1 or 3 and size >= 1, got {given}")
        self.root = Path(self.root).expanduser()
        self.name = self.root.parent.name if self.root.name == "train" else self.root.name
        self.shape = (self.channels, self.size, self.size)

    @cached_property
    def class_names(self) -> list[str] | None:
        """Names of the subfolders that hold images, or None if there are fewer than two."""
        names = sorted({relative.parts[0] for relative in images_below(self.root) if len(relative.parts) > 1})
        return names if len(names) > 1 else None

    @property
    def n_classes(self) -> int | None:
        return None if self.class_names is None else len(self.class_names)

    @cached_property
    def broken(self) -> set[Path]:
        """Files that are no whole images, counted in a warning; empty unless they are to be skipped."""
        if not self.skip_broken:
            return set()
        roots = [self.root, *([Path(self.test_root).expanduser()] if self.test_root else [])]
        found = {root / path for root in roots for path in images_below(root) if not is_whole(root / path)}
        if found:
            some = ", ".join(sorted(str(path) for path in found)[:3])
            sys.stderr.write(f"warning: dataset.skip_broken: {len(found)} files are no whole images: {some}\n")
        return found

    def load(self, part):
        if self.test_root is not None:
            root = self.root if part == "train" else Path(self.test_root).expanduser()
            return self.store(root, [path for path in images_below(root) if root / path not in self.broken])
        relative = [path for path in images_below(self.root) if self.root / path not in self.broken]
        size = count_of(self.test, len(relative), "dataset.test")
        train, test = cut(self.labels(self.root, relative), len(relative), size, SPLIT_SEED)
        return self.store(self.root, [relative[i] for i in (train if part == "train" else test).tolist()])

    def store(self, root: Path, relative: list[Path]) -> tuple[ImageFiles, Tensor | None]:
        images = ImageFiles([root / path for path in relative], self.shape[1], self.shape[0])
        return images, self.labels(root, relative)

    def labels(self, root: Path, relative: list[Path]) -> Tensor | None:
        """Class of each image by the subfolder it lies in.

        Raises:
            ValueError: naming an image outside the class folders.
        """
        if self.class_names is None:
            return None
        stray = next((path for path in relative if path.parts[0] not in self.class_names), None)
        if stray is not None:
            raise ValueError(f"{root / stray}: lies in none of the class folders {', '.join(self.class_names)}")
        return torch.tensor([self.class_names.index(path.parts[0]) for path in relative])


def is_whole(path: Path) -> bool:
    try:
        read_image(path, "L")
    except ConfigError:
        return False
    return True


def images_below(root: Path) -> list[Path]:
    """Paths of all images below ``root``, relative to it and sorted; hidden files and folders are passed over.

    Raises:
        FileNotFoundError: if there is no image.
    """
    paths = (path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in IMG_EXTENSIONS)
    found = sorted(path for path in paths if not any(part.startswith(".") for part in path.parts))
    if not found:
        raise FileNotFoundError(f"dataset.root={root}: no images ({' '.join(IMG_EXTENSIONS)}) in this folder")
    return found
