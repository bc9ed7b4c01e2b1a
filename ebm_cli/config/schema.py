"""The keys of every command: the schemas that composed configs are checked against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

RECIPE = (  # keys of conf/recipe, which other options read
    "hidden", "activation", "fourier", "n_steps", "step_size", "noise_std", "noise_first", "grad_clip", "boundary",
    "start", "restart_probability", "buffer_size", "lr", "betas", "energy_l2", "ema_decay", "threads", "max_epochs",
    "tilted", "base",
)  # fmt: skip


BUILDS = {  # what the options of a group build: a class that derives from this one, and nothing else
    "model": "ebm_cli.energies.Energy",
    "objective": "ebm_cli.objectives.Objective",
    "sampler": "ebm_cli.samplers.Sampler",
    "buffer": "ebm_cli.buffers.population.Population",
    "dataset": "ebm_cli.datasets.DataModule",
    "base": "ebm_cli.energies.Base",
    "optimizer": "torch.optim.Optimizer",
    "schedule": "ebm_cli.training.schedule.Schedule",
    "trainer": "pytorch_lightning.Trainer",
    "logger": "pytorch_lightning.loggers.Logger",
    "callbacks": "pytorch_lightning.Callback",
    "metric": "ebm_cli.metrics.Metric",
    "task": "ebm_cli.tasks.Task",
    "table": "ebm_cli.tables.table.Table",
}


@dataclass
class TrainConfig:
    """Keys of `ebm-train`, and of the config that a run keeps."""

    model: Any = MISSING
    objective: Any = MISSING
    sampler: Any = MISSING
    buffer: Any = MISSING
    recipe: Any = None
    dataset: Any = MISSING
    optimizer: Any = MISSING
    schedule: Any = MISSING
    trainer: Any = MISSING
    logger: Any = MISSING
    callbacks: Any = None
    name: str = MISSING
    seed: int = MISSING
    run: str | None = None
    base: Any = MISSING
    tilted: bool = MISSING
    ema_decay: float | None = None
    sample_steps: int | None = None
    compile: bool = MISSING
    frozen_copy: str = MISSING
    cpu_time: str | None = None
    threads: int | None = None


@dataclass
class SampleConfig(TrainConfig):
    """Keys of `ebm-sample`: those of the run, and what to do with it."""

    task: Any = MISSING
    num_samples: int = MISSING
    checkpoint: str = MISSING


@dataclass
class EvalConfig(TrainConfig):
    """Keys of `ebm-eval`: those of the run, and what to measure."""

    metric: Any = None
    checkpoint: str = MISSING
    samples: str | None = None


@dataclass
class TableConfig:
    """Keys of `ebm-table`."""

    table: Any = MISSING
    seeds: list[int] = MISSING
    rows: list[str] | None = None
    columns: list[str] | None = None
    run_missing: bool = MISSING
    format: str = MISSING
    results: str = MISSING
    into: str | None = None


SCHEMAS = {
    "train_schema": TrainConfig,
    "sample_schema": SampleConfig,
    "eval_schema": EvalConfig,
    "table_schema": TableConfig,
}
