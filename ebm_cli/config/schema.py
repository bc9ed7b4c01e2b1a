"""The keys of every command: the schemas that composed configs are checked against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

RECIPE = (  # keys of conf/recipe, which other options read
    "hidden", "activation", "fourier", "n_steps", "step_size", "noise_std", "noise_first", "grad_clip", "boundary",
    "start", "restart_probability", "buffer_size", "lr", "betas", "energy_l2", "ema_decay", "threads", "max_epochs",
    "tilted", "base",
)  # fmt: skip


@dataclass
class Schedule:
    """Learning rate over a run; see conf/train.yaml."""

    warmup_steps: int = MISSING
    hold: float = MISSING
    final: float = MISSING
    shape: str = MISSING
    milestones: list[float] = field(default_factory=list)
    factor: float = 1.0


@dataclass
class Guard:
    """When a run counts as diverged; see conf/train.yaml."""

    growth: float = MISSING
    window: int = MISSING
    nats: float = MISSING


@dataclass
class Pictures:
    """Pictures during training; see conf/train.yaml."""

    every_n_epochs: int = MISSING
    number: int = MISSING


@dataclass
class Keep:
    """Which checkpoints are kept; see conf/train.yaml."""

    earlier: int = MISSING
    best: bool = MISSING


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
    schedule: Schedule = field(default_factory=Schedule)
    checkpoints: Keep = field(default_factory=Keep)
    guard: Guard = field(default_factory=Guard)
    pictures: Pictures = field(default_factory=Pictures)


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
