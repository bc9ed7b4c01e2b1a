"""Checkpoints on disk: written whole or not at all, the earlier ones kept, damage recognized."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from ebm_cli.config import ConfigError
from ebm_cli.utils.whole import find_damage, first_line, read_tensors


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
            reason = getattr(error, "strerror", None) or first_line(error)
            raise RuntimeError(f"{file}: not written ({reason}); {there}: make room and go on") from error
        if file.name == "last.ckpt":
            rotate(file, self.earlier)
        os.replace(beside, file)

    def load_checkpoint(self, path, map_location=None, weights_only: bool | None = None) -> dict:
        """The content of a whole file: tensors and plain values.

        Raises:
            ConfigError: naming a file that is damaged.
        """
        return read_tensors(Path(path))


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
