"""The files of a run directory: its checkpoints, its config, the link to the newest run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf

from ebm_cli.config import ConfigError
from ebm_cli.utils.files import atomic


def checkpoint_of(run: Path, name: str = "last") -> Path:
    """The checkpoint called ``last`` or ``best`` of a run, or the file that a path names.

    Raises:
        ConfigError: listing the checkpoints that there are.
    """
    file = Path(name) if name.endswith(".ckpt") else run / "checkpoints" / f"{name}.ckpt"
    if not file.is_file():
        there = ", ".join(f.name for f in sorted((run / "checkpoints").glob("*.ckpt"))) or "none"
        raise ConfigError(f"checkpoint={name}: not in {run}; there are: {there}")
    return file


def point_latest(run: Path) -> None:
    """Makes ``outputs/runs/latest`` point to ``run``, in one rename."""
    if len(run.parents) < 2 or run.parents[1].name != "runs":
        return
    link = run.parents[1] / "latest"
    beside = link.with_name(f"latest.{os.getpid()}")
    beside.symlink_to(run.relative_to(link.parent))
    os.replace(beside, link)


def read_checkpoint(file: Path) -> dict:
    """A checkpoint's content, tensors and plain values only: nothing in the file is executed.

    Raises:
        ConfigError: if the file is damaged, foreign, or holds anything else.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        raise ConfigError(f"{file}: not a readable checkpoint ({type(error).__name__})") from error
    if not isinstance(content, dict) or not {"state_dict", "hyper_parameters"} <= set(content):
        raise ConfigError(f"{file}: not a checkpoint of ebm-train")
    return content


def read_config(run: Path) -> dict:
    """The resolved config of a run as plain values."""
    return OmegaConf.to_container(OmegaConf.load(run / "config.yaml"), resolve=True)


def write_npz(file: Path, samples) -> None:
    """samples.npz: ``samples`` in the data's value range, ``energy``, and ``y`` if conditional; whole or absent."""
    arrays = {"samples": samples.x, "energy": samples.energy, "y": samples.y}
    with atomic(file, "wb") as out:
        np.savez_compressed(out, **{k: v.numpy() for k, v in arrays.items() if v is not None})
