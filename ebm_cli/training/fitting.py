"""What ebm-train does around Lightning: lay out the run, fit, advise after a divergence, report at the end."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf

from ebm_cli.config import build, plain
from ebm_cli.energies.energy import needs_labels
from ebm_cli.runs.files import checkpoint_of, point_latest, read_checkpoint
from ebm_cli.runs.provenance import commit, versions
from ebm_cli.runs.trained import Samples, TrainedModel, default_steps, energy_from, frozen_copies_of
from ebm_cli.samplers import DivergenceError
from ebm_cli.training import checkpoints, history, loggers
from ebm_cli.training.callbacks.average import WeightAverage
from ebm_cli.training.callbacks.budget import Budget
from ebm_cli.training.callbacks.guard import DivergenceGuard
from ebm_cli.training.callbacks.histograms import Distributions
from ebm_cli.training.callbacks.interrupt import Interrupt
from ebm_cli.training.callbacks.pictures import SampleGrid
from ebm_cli.training.callbacks.throughput import Throughput
from ebm_cli.training.module import EnergyModule
from ebm_cli.utils import plotting
from ebm_cli.utils.files import sha256, write_json, write_text

N_POINTS = 500  # points on samples.png for toys, and inputs behind each histogram of energies.png, at most


def make_trainer(cfg, directory: Path) -> pl.Trainer:
    """The Lightning trainer with this run's callbacks and loggers."""
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its tips and device lists
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's use of torch, not ours
    options = plain(cfg.trainer)
    options.pop("_target_")
    budgets = [
        ("trainer.max_time", options.pop("max_time"), time.monotonic),
        ("cpu_time", cfg.cpu_time, time.process_time),
    ]
    options["enable_progress_bar"] = options["enable_progress_bar"] and sys.stderr.isatty()  # not into log files
    hooks = [
        checkpoints.Checkpoints(directory / "checkpoints", cfg.checkpoints.earlier, cfg.checkpoints.best),
        Interrupt(),
        DivergenceGuard(cfg.guard.growth, cfg.guard.window, cfg.guard.nats),
        Throughput(),
        SampleGrid(directory / "samples", cfg.pictures.every_n_epochs, cfg.pictures.number),
        Distributions(cfg.pictures.every_n_epochs),
    ]
    hooks += [build(node, f"callbacks.{name}") for name, node in (cfg.callbacks or {}).items()]
    hooks += [Budget(*budget) for budget in budgets if budget[1] is not None]
    if cfg.ema_decay is not None:
        hooks.append(WeightAverage(cfg.ema_decay))
    logs = list(loggers.build_loggers(cfg.logger, directory).values())
    trainer = pl.Trainer(
        **options, callbacks=hooks, logger=logs, default_root_dir=directory, use_distributed_sampler=False
    )
    if not torch.cuda.is_available():  # Lightning sets this, and Adam would look for a driver library at every update
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    return trainer


def warn_of_long_steps(config: dict, data) -> None:
    """Warns where tied Langevin noise takes steps that the narrowest feature of a toy cannot bear."""
    density, sampler = getattr(data, "density", None), config["sampler"]
    step = sampler.get("step_size")
    if density is None or sampler.get("noise_std") is not None or not isinstance(step, float | int):
        return
    bound = 0.25 * density.sd_min**2
    if step > bound:
        warnings.warn(
            f"sampler.step_size={step:g} is above {bound:.3g}, a quarter of the squared width {density.sd_min:g} of "
            f"the narrowest feature of {data.name}: chains will miss it",
            stacklevel=2,
        )


def prepare(directory: Path, cfg) -> None:
    """Lays out the run directory, and keeps the resolved config in it."""
    for folder in ("checkpoints", "samples"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    kept, text = directory / "config.yaml", text_of(cfg)
    if kept.is_file() and kept.read_text() != text:  # another phase of the run: both configs stay
        kept.rename(directory / f"config.{len(list(directory.glob('config.*.yaml'))) + 1}.yaml")
    write_text(kept, text)
    point_latest(directory)


def text_of(cfg) -> str:
    """A config as config.yaml has it."""
    return OmegaConf.to_yaml(cfg, resolve=True)


def fit(trainer: pl.Trainer, module: EnergyModule, data, directory: Path) -> None:
    """Runs the training loop from the last checkpoint, if there is one.

    Raises:
        DivergenceError: naming the metric, its bound, the last good checkpoint and what to try next.
    """
    start = checkpoints.newest_good(directory / "checkpoints")
    if start is not None:
        read_checkpoint(start)  # refuses what Lightning would meet with a page of text
    try:
        trainer.fit(module, data, ckpt_path=start, weights_only=True)
        loggers.log_checkpoint(trainer.loggers, directory / "checkpoints" / "last.ckpt")
    except DivergenceError as error:
        raise DivergenceError(f"{error}. {advice(module.config, directory / 'checkpoints')}") from error
    finally:
        loggers.finish()
    leave_if_interrupted(trainer, directory)


def leave_if_interrupted(trainer: pl.Trainer, directory: Path) -> None:
    """Ends the process, saying how to go on, where a signal has ended the run; status 128 + signal, as shells have it.

    Only rank 0 leaves with that status: Lightning kills all ranks when another one fails.
    """
    (interrupt,) = (hook for hook in trainer.callbacks if isinstance(hook, Interrupt))
    if interrupt.signum is None:
        return
    if trainer.is_global_zero:
        print(f"\nstopped after epoch {trainer.current_epoch}, saved; go on with: ebm-train run={directory}")
    sys.exit(128 + interrupt.signum if trainer.is_global_zero else 0)


def advice(config: dict, directory: Path) -> str:
    """What to do after a divergence: the checkpoint to go on from, and gentler settings, as words to paste."""
    tries = [f"optimizer.lr={config['optimizer']['lr'] / 3:.1g}"]
    if config["trainer"]["gradient_clip_val"] is None:
        tries.append("trainer.gradient_clip_val=1")
    if "energy_l2" in config["objective"]:
        tries.append(f"objective.energy_l2={max(0.01, 10 * config['objective']['energy_l2']):.3g}")
    step = config["sampler"].get("step_size")
    if isinstance(step, float | int):
        tries.append(f"sampler.step_size={step / 2:.3g}")
    if (directory / "last.ckpt").is_file():
        return f"Go on from the last good checkpoint: ebm-train run={directory.parent} {' '.join(tries)}"
    return f"No checkpoint was written yet. Start again with: {' '.join(tries)}"


# The end of a run --------------------------------------------------------------------------------------------------


def report(trainer: pl.Trainer, module: EnergyModule, data, directory: Path) -> None:
    """Final pictures and numbers of a run, and the commands that come next; all ranks sample, rank 0 writes."""
    trainer.strategy.barrier()
    subject = trained_model_of(directory, module, data)
    drawn = subject.draw()
    if not trainer.is_global_zero:
        return
    rows = history.read_rows(directory / "metrics.csv")
    if rows:
        plotting.curves(rows, directory / "curves.png")
    x = drawn.x[: module.config["pictures"]["number"]] if len(data.shape) > 1 else drawn.x
    plotting.draw(x, data, directory / "samples.png", subject.energy)
    plotting.energies(energy_groups(subject, drawn), directory / "energies.png")
    write_json(directory / "metrics.json", final_metrics(directory, module, trainer, rows))
    print(f"\nrun: {directory}\nnext: ebm-sample run={directory}\n      ebm-eval run={directory}")


def trained_model_of(directory: Path, module: EnergyModule, data) -> TrainedModel:
    """The trained model, with its averaged weights, as ebm-sample and ebm-eval see it."""
    content = read_checkpoint(checkpoint_of(directory))
    base, energy = energy_from(content)
    n_steps, horizon = default_steps(module.config)
    return TrainedModel(
        energy=energy,
        base=base,
        sampler=build(module.config["sampler"], "sampler"),
        data=data,
        n_steps=n_steps,
        horizon=horizon,
        seed=module.config["seed"],
        num_samples=N_POINTS if len(data.shape) == 1 else 4 * module.config["pictures"]["number"],
        directory=directory,
        config=module.config,
        frozen=frozen_copies_of(module.config["frozen_copy"], content),
    )


def energy_groups(subject: TrainedModel, drawn: Samples) -> dict:
    """Energies of training and test data, of samples and of noise; class-conditional ones under labels.

    Over all classes a conditional network costs as many forward passes as there are classes; noise takes them in turn.
    """
    data, energy = subject.data, subject.energy
    n = min(N_POINTS, 2 * subject.num_samples)
    noise = subject.base.sample(n, torch.Generator().manual_seed(subject.seed))
    splits = {name: data.split(name, n) for name in ("train", "test")}
    groups = {name: (split.x, split.y) for name, split in splits.items()}
    groups |= {"samples": (drawn.x, drawn.y), "noise": (noise, torch.arange(n) % (energy.n_classes or 1))}
    with torch.no_grad():
        return {name: (energy.given(y=y) if needs_labels(energy) else energy)(x) for name, (x, y) in groups.items()}


def final_metrics(directory: Path, module: EnergyModule, trainer: pl.Trainer, rows: list[dict]) -> dict:
    """metrics.json of a run: where it comes from, and the last value of everything logged."""
    last = {k: v for row in rows for k, v in row.items() if k not in ("step", "epoch")}
    protocol = {"update": trainer.global_step, "what": "mean over the last logged updates"}
    return {
        "run": str(directory),
        "checkpoint_sha256": sha256(directory / "checkpoints" / "last.ckpt"),
        "commit": commit(),
        "versions": versions(),
        "seed": module.config["seed"],
        "metrics": {k: {"value": v, "stderr": None, "n": None, "protocol": protocol} for k, v in last.items()},
        "skipped": {},
    }
