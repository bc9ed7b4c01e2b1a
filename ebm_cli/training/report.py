"""The end of a run: final pictures and numbers, and the commands that come next."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
import torch

from ebm_cli.energies.energy import needs_labels
from ebm_cli.runs import history
from ebm_cli.runs.provenance import commit, versions
from ebm_cli.runs.samples import Samples
from ebm_cli.runs.trained import TrainedModel
from ebm_cli.training.module import EnergyModule
from ebm_cli.utils import plotting
from ebm_cli.utils.files import sha256, write_json

N_POINTS = 500  # points on samples.png for toys, and inputs behind each histogram of energies.png, at most
N_IMAGES = 64  # where no option of callbacks.pictures says how many


def report(trainer: pl.Trainer, module: EnergyModule, data, directory: Path) -> None:
    """Final pictures and numbers of a run, and the commands that come next; all ranks sample, rank 0 writes."""
    trainer.strategy.barrier()
    number = N_POINTS if len(data.shape) == 1 else 4 * count_images(module.config)
    model = TrainedModel.from_module(module, data, directory, num_samples=number)
    drawn = model.draw()
    if not trainer.is_global_zero:
        return
    rows = history.read_rows(directory / "metrics.csv")
    if rows:
        plotting.curves(rows, directory / "curves.png")
    x = drawn.x[: count_images(module.config)] if len(data.shape) > 1 else drawn.x
    beside = data.split("train", N_POINTS).x if len(data.shape) == 1 else None
    plotting.draw(x, data, directory / "samples.png", model.energy, beside=beside)
    plotting.energies(collect_energies(model, drawn), directory / "energies.png")
    write_json(directory / "metrics.json", summarize(directory, module, trainer, rows))
    print(f"\nrun: {directory}\nnext: ebm-sample run={directory}\n      ebm-eval run={directory}")


def count_images(config: dict) -> int:
    """How many images the final picture shows."""
    return (config["callbacks"].get("pictures") or {}).get("number", N_IMAGES)


def collect_energies(model: TrainedModel, drawn: Samples) -> dict:
    """Energies of training and test data, of samples and of noise; class-conditional ones under labels.

    Over all classes a conditional network costs as many forward passes as there are classes; noise takes them in turn.
    """
    data, energy = model.data, model.energy
    n = min(N_POINTS, 2 * model.num_samples)
    noise = model.base.sample(n, torch.Generator(model.device).manual_seed(model.seed))
    splits = {name: data.split(name, n) for name in ("train", "test")}
    groups = {name: (split.x, split.y) for name, split in splits.items()}
    groups |= {"samples": (drawn.x, drawn.y), "noise": (noise, torch.arange(n) % (energy.n_classes or 1))}
    with torch.no_grad():
        return {
            name: (energy.given(y=y.to(model.device)) if needs_labels(energy) else energy)(x.to(model.device)).cpu()
            for name, (x, y) in groups.items()
        }


def summarize(directory: Path, module: EnergyModule, trainer: pl.Trainer, rows: list[dict]) -> dict:
    """metrics.json of a run: where it comes from, and the last value of everything logged."""
    last = {k: v for row in rows for k, v in row.items() if k not in ("step", "epoch")}
    protocol = {"update": trainer.global_step, "what": "mean over the last logged updates"}
    checkpoint = directory / "checkpoints" / "last.ckpt"
    return {
        "run": str(directory),
        "checkpoint_sha256": sha256(checkpoint) if checkpoint.is_file() else None,
        "commit": commit(),
        "versions": versions(),
        "seed": module.config["seed"],
        "metrics": {k: {"value": v, "stderr": None, "n": None, "protocol": protocol} for k, v in last.items()},
        "skipped": {},
    }
