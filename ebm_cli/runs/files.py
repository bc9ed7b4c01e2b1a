"""The files of a run: its checkpoints, and samples."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from torch import Tensor

from ebm_cli.config import ConfigError
from ebm_cli.config.kept import AROUND, check_facts, check_kept
from ebm_cli.runs.find import refuse_links
from ebm_cli.utils.files import atomic
from ebm_cli.utils.whole import read_tensors


def checkpoint_of(run: Path, name: str = "last") -> Path:
    """The checkpoint called ``last`` or ``best`` of a run, or the file that a path names.

    Args:
        run: as ``find_run`` gives it: a folder, or a checkpoint, which is then the one.
        name: ``last``, ``best`` or a path.

    Raises:
        ConfigError: listing the checkpoints that there are, or for a link that leads out of the run.
    """
    if name.endswith(".ckpt"):
        file = Path(name).expanduser()
    else:
        file = run if run.is_file() else run / "checkpoints" / f"{name}.ckpt"
    if not file.is_file():
        there = ", ".join(f.name for f in sorted((run / "checkpoints").glob("*.ckpt"))) or "none"
        raise ConfigError(f"checkpoint={name}: not in {run}; there are: {there}")
    refuse_links(file)
    return file


def read_checkpoint(file: Path, given: Collection[str] = ()) -> dict:
    """The content of a checkpoint of ``ebm-train``: whole, and plain; nothing in it is executed.

    Args:
        given: keys of its config that the command line sets.

    Raises:
        ConfigError: if the file is damaged or foreign, its config is none of ``ebm-train``, or its weights are not
            finite.
    """
    content = read_tensors(file)
    if not isinstance(content, dict) or not {"state_dict", "hyper_parameters"} <= set(content):
        raise ConfigError(f"{file}: not a checkpoint of ebm-train")
    kept, weights = content["hyper_parameters"], content["state_dict"]
    if not isinstance(kept, dict) or not {"config", "facts"} <= set(kept) or not isinstance(weights, dict):
        raise ConfigError(f"{file}: not a checkpoint of ebm-train")
    check_kept(kept["config"], file, [*given, *AROUND])  # those are never built from a checkpoint
    check_facts(kept["facts"], file)
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            raise ConfigError(f"{file}: {name} among the weights is no tensor")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ConfigError(f"{file}: {name} is not finite: this run had diverged; take an earlier checkpoint")
    return content


def refuse_other_weights(found: dict[str, Tensor], wanted: dict[str, Tensor], file: Path | str, prefix="") -> None:
    """Raises ConfigError for the first weight of a checkpoint that a model lacks, has otherwise or has no place for."""
    for name in dict.fromkeys([*wanted, *found]):
        if name not in found:
            raise ConfigError(f"{file}: has no {prefix}{name}, which this model has; keep model= as the run had it")
        if name not in wanted:
            raise ConfigError(f"{file}: has {prefix}{name}, which this model lacks; keep model= as the run had it")
        if found[name].shape != wanted[name].shape:
            shapes = f"{tuple(found[name].shape)} in the file, {tuple(wanted[name].shape)} in this model"
            raise ConfigError(f"{file}: {prefix}{name} is {shapes}; keep model= as the run had it")


def write_npz(file: Path, samples) -> None:
    """samples.npz: ``samples`` in the data's value range, ``energy``, and ``y`` if conditional; whole or absent."""
    arrays = {"samples": samples.x, "energy": samples.energy, "y": samples.y}
    with atomic(file, "wb") as out:
        np.savez_compressed(out, **{k: v.numpy() for k, v in arrays.items() if v is not None})
