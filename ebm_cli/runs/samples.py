"""Inputs that a model made, or that somebody brings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ebm_cli.config import ConfigError

if TYPE_CHECKING:  # the commands import this module before they need torch
    from torch import Tensor


@dataclass
class Samples:
    """Generated inputs: ``x`` ``(N, *shape)`` in the data's value range, ``energy`` ``(N,)``, labels ``y`` or None."""

    x: Tensor
    energy: Tensor | None = None
    y: Tensor | None = None
    n_steps: int | None = None


def read_samples(name: str, data):
    """Samples of an .npz file (array ``samples``, or ``x``) or an .npy file, in the shape and range of the data.

    uint8 images, 0 to 255, are mapped to the value range; channels may come last.

    Raises:
        ConfigError: for a file that is missing, foreign, or of another shape or range.
    """
    import torch

    from ebm_cli.utils.whole import read_arrays

    try:
        arrays = read_arrays(Path(name).expanduser())
        array = arrays["samples" if "samples" in arrays else "x"]
    except ConfigError as error:
        raise ConfigError(f"samples={error}") from error
    except KeyError as error:
        raise ConfigError(
            f"samples={name}: not a readable .npz with an array `samples`: {', '.join(arrays)}"
        ) from error
    x = torch.as_tensor(array)
    if data.scaling is not None and tuple(x.shape[1:]) == (len(data.scaling.constant),):
        x = data.scaling.inside(x)
    x = arrange(x, tuple(data.shape), name)
    if not len(x):
        raise ConfigError(f"samples={name}: no samples in it, expected (N, {', '.join(map(str, data.shape))})")
    if x.dtype == torch.uint8 and data.value_range:
        low, high = data.value_range
        return Samples(low + x.float() * ((high - low) / 255))
    return Samples(check_range(x.float(), data, name))


def arrange(x, shape: tuple, name: str):
    """``(N, *shape)`` from that, from channels last, or from grey images without a channel axis."""
    if tuple(x.shape[1:]) == shape:
        return x
    if len(shape) == 3 and tuple(x.shape[1:]) == (*shape[1:], shape[0]):
        return x.movedim(-1, 1)
    if len(shape) == 3 and shape[0] == 1 and tuple(x.shape[1:]) == shape[1:]:
        return x[:, None]
    raise ConfigError(f"samples={name}: shape {tuple(x.shape)}, expected (N, {', '.join(map(str, shape))})")


def check_range(x, data, name: str):
    """``x`` if it is finite and, up to 5 % of its width, in the data's value range."""
    low, high = data.value_range or (float("-inf"), float("inf"))
    slack = 0.05 * (high - low)
    if not x.isfinite().all():
        raise ConfigError(f"samples={name}: not all values are finite")
    if x.min() < low - slack or x.max() > high + slack:
        found = f"values in [{float(x.min()):.3g}, {float(x.max()):.3g}]"
        raise ConfigError(f"samples={name}: {found}, expected [{low:g}, {high:g}], or uint8")
    return x
