"""Checkpoints on disk: written whole or not at all, a ring of earlier ones, damage recognized, the best one kept."""

from __future__ import annotations

import os
import pickle
import sys
import zipfile
from pathlib import Path

import pytorch_lightning as pl
import torch

from ebm_cli.config import ConfigError
from ebm_cli.utils.files import atomic

# Writing -----------------------------------------------------------------------------------------------------------


class Checkpoints(pl.callbacks.Checkpoint):
    """Writes ``last.ckpt`` at the end of every epoch; the ones before it stay as ``last-1.ckpt``, ``last-2.ckpt``, ...

    A checkpoint is written beside the old one and then renamed, so that at any moment there is a whole one. The epoch
    whose ``validation`` value is the lowest so far also stays, as ``best.ckpt``.

    Args:
        directory: where checkpoints go.
        earlier: how many before the last one are kept.
        best: whether to keep ``best.ckpt``.
    """

    def __init__(self, directory: Path, earlier: int = 2, best: bool = True):
        self.directory, self.earlier, self.best = directory, earlier, best
        self.lowest = float("inf")

    def on_train_epoch_end(self, trainer, module) -> None:
        value = module.validate() if self.best else None
        improved = value is not None and value < self.lowest
        self.lowest = value if improved else self.lowest
        self.write(trainer, improved)

    def write(self, trainer, improved: bool) -> None:
        """Saves on all ranks (each adds its own chains), renames on rank 0."""
        beside, last = self.directory / "last.ckpt.part", self.directory / "last.ckpt"
        for logger in trainer.loggers:  # a resumed run starts after this epoch, and would not log it again
            logger.save()
        try:
            trainer.save_checkpoint(beside)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            beside.unlink(missing_ok=True)
            there = f"{last} is intact" if last.is_file() else "there is no earlier one"
            raise RuntimeError(f"checkpoint not written ({one_line(error)}); {there}: make room and go on") from error
        if trainer.is_global_zero:
            rotate(last, self.earlier)
            os.replace(beside, last)
            if improved:
                point_to(last, self.directory / "best.ckpt")

    def state_dict(self) -> dict:
        return {"lowest": self.lowest}

    def load_state_dict(self, state: dict) -> None:
        self.lowest = state["lowest"]


def rotate(last: Path, earlier: int) -> None:
    """Moves ``last.ckpt`` to ``last-1.ckpt``, that to ``last-2.ckpt`` and so on, up to ``earlier`` of them."""
    names = [last, *(last.with_name(f"last-{k}.ckpt") for k in range(1, earlier + 1))]
    for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
        if newer.is_file():
            os.replace(newer, older)


def point_to(file: Path, name: Path) -> None:
    """Makes ``name`` another name of ``file``'s content, in one rename; a copy where the disk has no links."""
    beside = name.with_name(f"{name.name}.part")
    beside.unlink(missing_ok=True)
    try:
        os.link(file, beside)
        os.replace(beside, name)
    except OSError:
        with atomic(name, "wb") as out:
            out.write(file.read_bytes())


# Reading -----------------------------------------------------------------------------------------------------------


def newest_good(directory: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None if there was none yet; damaged ones are passed over with a warning.

    Raises:
        ConfigError: if there are checkpoints and all of them are damaged.
    """
    names = ["last.ckpt", *sorted(f.name for f in directory.glob("last-*.ckpt"))]
    files = [directory / name for name in names if (directory / name).is_file()]
    for file in files:
        reason = damage(file)
        if reason is None:
            return file
        print(f"warning: {file} is damaged ({reason}); going on from the one before it", file=sys.stderr)
    if files:
        raise ConfigError(f"{directory}: all {len(files)} checkpoints are damaged; start anew in another directory")
    return None


def damage(file: Path) -> str | None:
    """Why ``file`` cannot be a whole checkpoint, or None: every record in it carries a checksum (CRC-32).

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
