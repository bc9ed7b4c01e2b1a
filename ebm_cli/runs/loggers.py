"""Loggers of a run: what is logged of it later, by ebm-sample and ebm-eval, goes into the same wandb run."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from ebm_cli.config import build
from ebm_cli.runs.find import folder_of


def build_loggers(nodes, run: Path, directory: Path) -> dict:
    """The loggers of ``nodes`` by name.

    Args:
        run: the run directory, which gives wandb the identity of the run.
        directory: where they write; the config does not say it, so that a run can be moved and copied.
    """
    place = {"directory": str(directory), "save_dir": str(directory)}
    return {name: build(node, f"logger.{name}", **place, **identity(name, run)) for name, node in (nodes or {}).items()}


def identity(name: str, run: Path) -> dict:
    """What makes wandb go on with one run: an id that the run directory decides; jobs of a sweep share a group.

    wandb needs a place for its files that can be written, also where there is no home directory.
    """
    if name != "wandb":
        return {}
    for variable in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        if not os.access(Path("~").expanduser(), os.W_OK):
            os.environ.setdefault(variable, str(run / "wandb"))
    group = run.parent.name if run.parent.parent.name == "sweeps" else None
    return {"id": wandb_id(run), "resume": "allow"} | ({"group": group} if group else {})


def wandb_id(run: Path) -> str:
    """``<name>-<stamp>`` of a run directory as wandb takes it."""
    return re.sub(r"[^\w.-]", "-", f"{run.parent.name}-{run.name}")[-120:]


@rank_zero_only
def log_results(cfg, directory: Path, values: dict[str, float]) -> None:
    """Logs final numbers, and the pictures in ``directory``: into the summary of the run's wandb run, elsewhere as one
    step."""
    run = directory if cfg.run is None else folder_of(Path(cfg.run)) or directory
    images = sorted(directory.glob("*.png"))
    for name, logger in build_loggers(cfg.logger, run, directory).items():
        if name == "wandb":
            logger.experiment.summary.update(values)
            for image in images:
                logger.log_image(image.stem, [str(image)])
        else:
            logger.log_metrics(values, step=0)
        logger.finalize("success")
    finish()


def draws_histograms(logger) -> bool:
    return isinstance(logger, (WandbLogger, TensorBoardLogger))


def log_histogram(logger, name: str, values, step: int) -> None:
    """A histogram of ``values``, under ``name``."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_histogram(name, values, step)
        return
    import wandb

    logger.log_metrics({name: wandb.Histogram(values.numpy())}, step=step)


def finish() -> None:
    """Ends the wandb run of this process, or the next job of a sweep would log into it."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish()
