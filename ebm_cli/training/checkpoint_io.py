"""Checkpoints on disk: written whole or not at all, the earlier ones kept, damage recognized."""

from __future__ import annotations

import os
import pickle
import sys
import zipfile
from pathlib import Path

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from ebm_cli.config import ConfigError


class CheckpointIO(TorchCheckpointIO):
    """Lightning's reader and writer of checkpoints, made safe.

    A file is written beside the old one and then renamed, so that at any moment there is a whole one. Every record in
    it carries a checksum (CRC-32), and reading checks them all. Nothing in a file is executed.

    Attributes:
        earlier: how many files before ``last.ckpt`` stay, as ``last-1.ckpt``, ``last-2.ckpt``, ...
    """

    earlier = 0

    def save_checkpoint(self, checkpoint: dict, path, storage_options=None) -> None:
        """Writes the file whole.

        Raises:
            RuntimeError: where it cannot be written, saying that the one before is whole.
        """
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f"{file.name}.part")
        try:
            torch.save(checkpoint, beside)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            beside.unlink(missing_ok=True)
            there = f"{file} is intact" if file.is_file() else "there is no earlier one"
            raise RuntimeError(f"checkpoint not written ({one_line(error)}); {there}: make room and go on") from error
        if file.name == "last.ckpt":
            rotate(file, self.earlier)
        os.replace(beside, file)

    def load_checkpoint(self, path, map_location=None, weights_only: bool | None = None) -> dict:
        """The content of a whole file: tensors and plain values.

        Raises:
            ConfigError: naming a file that is damaged.
        """
        reason = find_damage(Path(path))
        if reason is not None:
            raise ConfigError(f"{path}: damaged ({reason})")
        return super().load_checkpoint(path, map_location=map_location or "cpu", weights_only=True)


def rotate(last: Path, earlier: int) -> None:
    """Moves ``last.ckpt`` to ``last-1.ckpt``, that to ``last-2.ckpt`` and so on, up to ``earlier`` of them."""
    names = [last, *(last.with_name(f"last-{k}.ckpt") for k in range(1, earlier + 1))]
    for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
        if newer.is_file():
            os.replace(newer, older)


def find_newest_whole(directory: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None if there was none yet; damaged ones are passed over with a warning.

    Raises:
        ConfigError: if there are checkpoints and all of them are damaged.
    """
    names = ["last.ckpt", *sorted(f.name for f in directory.glob("last-*.ckpt"))]
    files = [directory / name for name in names if (directory / name).is_file()]
    for file in files:
        reason = find_damage(file)
        if reason is None:
            return file
        print(f"warning: {file} is damaged ({reason}); going on from the one before it", file=sys.stderr)
    if files:
        raise ConfigError(f"{directory}: all {len(files)} checkpoints are damaged; start anew in another directory")
    return None


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
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        return one_line(error)
    return f"checksum of {broken} is wrong" if broken else None


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
