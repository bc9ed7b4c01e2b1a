"""ebm-sample: a run -> samples, pictures, diagnostics."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import yaml

from ebm_cli.config import ConfigError, option_node
from ebm_cli.config.launch import inherit, launch, stop
from ebm_cli.config.schema import SampleConfig

GROUPS = ["dataset", "sampler"]  # what may be chosen anew for a trained run
RECIPE = {  # what samplers read of a data set, where there is none
    "n_steps": 1000, "step_size": 0.05, "noise_std": None, "noise_first": False, "grad_clip": None, "boundary": None,
    "max_epochs": 1,
}  # fmt: skip
HELP = {"--help", "-h", "--hydra-help", "--shell-completion", "-sc", "--version"}


def main() -> None:
    """Entry point of the `ebm-sample` command."""
    try:
        words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
        if "model" in words and words.get("run", "null") != "null":
            raise ConfigError("model=: a run brings its own model; give run= or model=, not both")
        inherit(GROUPS, default=default_run(sys.argv[1:]))
        if "model" in words:
            stand_in(words["model"], without_sampler="sampler" in words)
    except ConfigError as error:
        stop("ebm-sample", error)
    launch("ebm-sample", "sample", sample, SampleConfig)


def default_run(words: list[str]) -> str | None:
    """The run to take where the command line names none: none for --help or a closed form, else the first of
    ``task.runs``, else the newest."""
    composed = next((word.split("=", 1)[1] for word in words if word.startswith("task.runs=[")), "")
    if HELP & set(words) or any(word.startswith("model=") for word in words):
        return None
    return composed.strip("[]").split(",")[0].strip() or "latest"


def stand_in(model: str, without_sampler: bool) -> None:
    """Writes what a run would bring for a closed form that has none: a name, a seed, and the recipe of samplers.

    Raises:
        ConfigError: for an unknown model, or one that needs data.
    """
    if "${" in str(option_node("model", model)):
        raise ConfigError(f"model={model}: needs data to be built; train it with ebm-train, then give run=PATH")
    kept = {"name": model, "seed": 0, "run": None, "frozen_copy": "none", "threads": 1, "dataset": {"recipe": RECIPE}}
    if not without_sampler:
        kept["sampler"] = option_node("sampler", "langevin")
    Path(os.environ["EBM_INHERITED"], "inherited.yaml").write_text(yaml.safe_dump(kept, sort_keys=False))


def sample(cfg) -> None:
    """Runs the task on the trained model, and writes what it made: samples.npz, pictures, diagnostics.json."""
    import time

    from hydra.core.hydra_config import HydraConfig

    from ebm_cli.config import build
    from ebm_cli.runs.trained import open_trained_model
    from ebm_cli.tasks.deliver import deliver, warn_beyond_horizon

    directory = Path(HydraConfig.get().runtime.output_dir)
    if cfg.num_samples < 1:
        raise ConfigError(f"num_samples={cfg.num_samples}: must be at least 1")
    model = open_trained_model(cfg, directory, num_samples=cfg.num_samples)
    warn_beyond_horizon(model)
    task = build(cfg.task, "task")
    since = time.monotonic()
    result = task(model, cfg.num_samples)
    deliver(model, result, time.monotonic() - since)
    print(f"samples: {directory}")
