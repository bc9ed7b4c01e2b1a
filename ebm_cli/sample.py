"""ebm-sample: a run -> samples, pictures, diagnostics."""

from __future__ import annotations

from pathlib import Path

from ebm_cli.config import ConfigError, option_node
from ebm_cli.config.launch import TEACHING, folders_in, launch, values_in
from ebm_cli.config.schema import SampleConfig
from ebm_cli.runs.find import inherit, named_run

GROUPS = ["recipe", "dataset", "sampler"]  # what may be chosen anew for a trained run
RECIPE = {  # what samplers read where there are no data
    "n_steps": 1000, "step_size": 0.05, "noise_std": None, "noise_first": False, "grad_clip": None, "boundary": None,
    "max_epochs": 1,
}  # fmt: skip


def main() -> None:
    """Entry point of the `ebm-sample` command."""
    launch("ebm-sample", sample, SampleConfig, choose)


def choose(arguments: list[str]) -> tuple[str, dict]:
    """The root config, and what it inherits: the config of a run, or what stands in for one.

    Raises:
        ConfigError: for a run and a model at once, or without a run where one is needed.
    """
    given = values_in(arguments)
    if "model" not in given:
        return "sample", inherit(arguments, GROUPS, named_run(arguments, default_run(arguments)))
    if given.get("run", "null") != "null":
        raise ConfigError("model=: a run brings its own model; give run= or model=, not both")
    return "sample", stand_in(given["model"], "sampler" in given, folders_in(arguments))


def default_run(arguments: list[str]) -> str | None:
    """The run to take where the command line names none: none for --help or a closed form, else the first of
    ``task.runs``, else the newest."""
    given = values_in(arguments)
    if TEACHING & set(arguments) or "model" in given:
        return None
    return given.get("task.runs", "").strip("[]").split(",")[0].strip() or "latest"


def stand_in(model: str, own_sampler: bool, folders: list[Path]) -> dict:
    """What a run would bring for a closed form that has none: a name, a seed, and the recipe of samplers.

    Raises:
        ConfigError: for an unknown model, or one that needs data.
    """
    if "${" in str(option_node("model", model, folders)):
        raise ConfigError(f"model={model}: needs data to be built; train it with ebm-train, then give run=PATH")
    kept = {"name": model, "seed": 0, "run": None, "frozen_copy": "none", "threads": 1, "recipe": RECIPE}
    return kept if own_sampler else kept | {"sampler": option_node("sampler", "langevin", folders)}


def sample(cfg) -> None:
    """Runs the task on the trained model, and writes what it made: samples.npz, pictures, diagnostics.json."""
    import time

    from hydra.core.hydra_config import HydraConfig

    from ebm_cli.config import build
    from ebm_cli.runs.trained import TrainedModel
    from ebm_cli.tasks.deliver import deliver, warn_beyond_horizon

    directory = Path(HydraConfig.get().runtime.output_dir)
    if cfg.num_samples < 1:
        raise ConfigError(f"num_samples={cfg.num_samples}: must be at least 1")
    model = TrainedModel.from_config(cfg, directory, num_samples=cfg.num_samples)
    warn_beyond_horizon(model)
    task = build(cfg.task, "task")
    since = time.monotonic()
    result = task(model, cfg.num_samples)
    deliver(model, result, time.monotonic() - since)
    print(f"samples: {directory}")
