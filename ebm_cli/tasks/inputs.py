"""Inputs that tasks work on: test examples, or the user's own images."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ebm_cli.config import ConfigError
from ebm_cli.runs.trained import TrainedModel


def examples(model: TrainedModel, source: str, n: int) -> tuple[Tensor, Tensor | None]:
    """At most ``n`` inputs in the shape and range of the data, and their labels where there are any.

    Args:
        source: ``test`` for examples of the test split, else a folder of images.

    Raises:
        ConfigError: for a folder that is not there or holds no image, or data that are no images.
    """
    if source == "test":
        x, y = model.data.split("test", n)
        return x.to(model.device), y
    return own_images(model, Path(source).expanduser(), n).to(model.device), None


def own_images(model: TrainedModel, folder: Path, n: int) -> Tensor:
    """The first ``n`` images below a folder, cropped and resized to the model's shape."""
    from ebm_cli.datasets.folder import MODES, ImageFiles, images_below

    shape = model.data.shape
    if len(shape) != 3 or shape[1] != shape[2] or shape[0] not in MODES:
        raise ConfigError(f"task.input={folder}: this model takes {tuple(shape)}, which is no square image; use test")
    try:
        relative = images_below(folder)[:n]
    except FileNotFoundError as error:
        raise ConfigError(f"task.input={folder}: no images there; name a folder of images, or test") from error
    images = ImageFiles([folder / path for path in relative], shape[1], shape[0])
    low, high = model.data.value_range
    return low + images[torch.arange(len(relative))].float() * ((high - low) / 255)


def mask_of(mask: str, share: float, shape: tuple, n: int, generator: torch.Generator) -> Tensor:
    """What stays known, 1, and what is hidden, 0: ``(n, *shape)``.

    Args:
        mask: ``box`` (the middle), ``half`` (the lower half, or the second half of a vector), ``random``, or a PNG in
            the size of the images, white where they are hidden.
        share: hidden share of ``box`` and ``random``.

    Raises:
        ConfigError: for a mask that does not exist or has another size.
    """
    known = torch.ones(shape)
    if mask == "random":
        picture = shape if len(shape) == 1 else (1, *shape[1:])  # channels of a pixel are hidden together
        kept = torch.rand(n, *picture, generator=generator, device=generator.device) >= share
        return kept.float().expand(n, *shape)
    if mask == "half":
        rows = known if len(shape) == 1 else known.movedim(-2, 0)
        rows[len(rows) // 2 :] = 0
    elif mask == "box":
        known[middle(shape, share)] = 0
    else:
        known = known * painted(Path(mask).expanduser(), shape)
    return known.to(generator.device).expand(n, *shape)


def middle(shape: tuple, share: float) -> tuple:
    """Slices of the box in the middle of an image that covers ``share`` of it."""
    if len(shape) < 2:
        raise ConfigError("task.mask=box: needs images; vectors take half or random")
    sides = [max(1, round(size * share**0.5)) for size in shape[-2:]]
    return (..., *[slice((size - s) // 2, (size - s) // 2 + s) for size, s in zip(shape[-2:], sides, strict=True)])


def painted(file: Path, shape: tuple) -> Tensor:
    """A mask read from a PNG, white where the image is hidden, ``(H, W)``."""
    import numpy as np
    from PIL import Image

    if not file.is_file():
        raise ConfigError(f"task.mask={file}: no such mask; choose box, half or random, or name a PNG")
    with Image.open(file) as image:
        hidden = torch.from_numpy(np.array(image.convert("L"))) > 127
    if len(shape) < 2 or tuple(hidden.shape) != tuple(shape[-2:]):
        raise ConfigError(f"task.mask={file}: is {tuple(hidden.shape)}, and the model's inputs are {tuple(shape)}")
    return 1 - hidden.float()
