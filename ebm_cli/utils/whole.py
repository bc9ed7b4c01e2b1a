"""Files of tensors and arrays: read only if they are whole, and nothing in them is executed."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch

from ebm_cli.config import ConfigError


def read_tensors(file: Path):
    """The content of a file that ``torch.save`` wrote: tensors and plain values.

    Every record carries a checksum (CRC-32), and all of them are checked: torch itself checks none, and would hand out
    wrong weights without a word. Files in torch's format before 1.6 carry none.

    Raises:
        ConfigError: naming the file and what is wrong with it: missing, damaged, or more than tensors and values.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "x.pt"
        >>> torch.save({"a": torch.arange(3)}, file)
        >>> read_tensors(file)
        {'a': tensor([0, 1, 2])}
    """
    try:
        broken = find_broken_record(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(f"{file}: holds more than tensors and plain values, or is no file of torch's") from error
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: no such file") from error
    except Exception as error:  # torch raises whatever a damaged pickle makes Python raise
        raise ConfigError(f"{file}: damaged ({first_line(error)})") from error
    if broken:
        raise ConfigError(f"{file}: damaged (checksum of {broken} is wrong)")
    return content


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, or the one of an .npy file under the name ``samples``.

    The records of an .npz carry checksums; an .npy carries none, so that only a wrong length shows.

    Raises:
        ConfigError: naming the file: missing, damaged, or with anything but numbers in it.
    """
    try:
        content = np.load(file, allow_pickle=False)
        return {"samples": content} if isinstance(content, np.ndarray) else {key: content[key] for key in content}
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: no such file") from error
    except Exception as error:  # numpy raises whatever a damaged file makes zlib and Python raise
        raise ConfigError(f"{file}: not a readable .npz or .npy of numbers ({first_line(error)})") from error


def find_broken_record(file: Path) -> str | None:
    """The first record of a zip file whose checksum is wrong, or None; None for a file that is no zip."""
    with file.open("rb") as start:
        if start.read(2) != b"PK":
            return None
    with zipfile.ZipFile(file) as archive:
        return archive.testzip()


def find_damage(file: Path) -> str | None:
    """Why ``file`` cannot be a whole checkpoint, or None.

    A whole file with foreign content is not damaged: reading it is refused, and no other is taken in its place.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            broken = archive.testzip()
        torch.load(file, mmap=True, map_location="cpu", weights_only=True)  # the zip's own header has no checksum
    except pickle.UnpicklingError:
        return f"checksum of {broken} is wrong" if broken else None
    except Exception as error:  # torch raises whatever a damaged pickle makes Python raise
        return first_line(error)
    return f"checksum of {broken} is wrong" if broken else None


def first_line(error: Exception) -> str:
    """What an error says, short enough for one line of ours."""
    return " ".join(str(error).split(". ")[0].split())[:120] or type(error).__name__
