"""Several processes for ebm-sample and ebm-eval, started as Lightning starts them for training."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from omegaconf import DictConfig


def join(cfg: DictConfig) -> torch.device:
    """Starts or joins the processes that ``trainer`` asks for, and returns the device of this one.

    As for training, the command starts its own copies, or torchrun or Slurm have done so. Only rank 0 prints.
    """
    import pytorch_lightning as pl

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    keys = ("accelerator", "strategy", "devices", "num_nodes", "plugins")
    options = {key: value for key, value in cfg.trainer.items() if key in keys}
    trainer = pl.Trainer(**options, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    strategy = trainer.strategy
    if getattr(strategy, "launcher", None) is not None and trainer.world_size > 1:
        strategy.launcher.launch(lambda: None, trainer=trainer)
    if trainer.world_size > 1:
        strategy.setup_environment()
        atexit.register(dist.destroy_process_group)
    if rank():
        sys.stdout = open(os.devnull, "w")
    return strategy.root_device


def own(directory: Path) -> Path:
    """Where this process writes: ``directory`` on rank 0, a folder that goes with the process elsewhere."""
    if not rank():
        return directory
    folder = tempfile.TemporaryDirectory(prefix="ebm-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def rank() -> int:
    """Number of this process, 0 without others."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def everyone(mine) -> list:
    """The objects of all ranks, in order."""
    if world() == 1:
        return [mine]
    found = [None] * world()
    dist.all_gather_object(found, mine)
    return found


def rank_seed(seed: int, rank: int) -> int:
    """A seed that differs between ranks and between neighboring seeds."""
    return (1_000_003 * (seed + 1) + 7919 * rank) % 2**63
