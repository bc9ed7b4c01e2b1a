"""ebm-eval: a run, or anybody's samples -> numbers with their protocol, a report, plots."""

from __future__ import annotations

import sys
from pathlib import Path

from ebm_cli.config import ConfigError
from ebm_cli.config.launch import TEACHING, launch, values_in
from ebm_cli.config.schema import EvalConfig
from ebm_cli.runs.find import inherit, named_run
from ebm_cli.runs.samples import read_samples

GROUPS = ["recipe", "dataset", "sampler"]  # what may be chosen anew for a trained run


def main() -> None:
    """Entry point of the `ebm-eval` command."""
    launch("ebm-eval", evaluate, EvalConfig, choose)


def choose(arguments: list[str]) -> tuple[str, dict]:
    """The root config, and the config of the run that it inherits."""
    need_choice(arguments)
    return "eval", inherit(arguments, GROUPS, named_run(arguments, default_run(arguments)))


def need_choice(arguments: list[str]) -> None:
    """Raises ConfigError for a key of a metric that the command line does not choose: only chosen metrics have keys."""
    given = values_in(arguments)
    named = dict.fromkeys(key.split(".")[1] for key in given if key.startswith("metric.") and key.count(".") > 1)
    if named and "metric" not in given:
        raise ConfigError(f"metric.{next(iter(named))}: choose the metric too: metric=[{','.join(named)}]")


def default_run(arguments: list[str]) -> str | None:
    """The run to take where the command line names none: none for --help or for a file of samples.

    Raises:
        ConfigError: if there is nothing to measure, or no data to compare with.
    """
    given = values_in(arguments)
    if given.get("run") == "null" and "samples" not in given:
        raise ConfigError("run=null: nothing to measure; give run=PATH, or samples=FILE dataset=NAME")
    if "samples" in given and not {"run", "dataset"} & set(given):
        raise ConfigError("samples=: name the data to compare with: dataset=NAME, or run=PATH")
    return None if "samples" in given or TEACHING & set(arguments) else "latest"


def evaluate(cfg) -> None:
    """Computes every requested metric, writes each as soon as it is there, and prints the table."""
    from hydra.core.hydra_config import HydraConfig

    from ebm_cli.metrics import report

    directory = Path(HydraConfig.get().runtime.output_dir)
    model, origin = find_model(cfg, directory)
    directory = model.directory
    metrics = choose_metrics(cfg, model)
    values, skipped = {}, find_missing(metrics, model)
    report.write(directory, cfg.seed, origin, values, skipped)
    for name, metric in metrics.items():
        if name in skipped:
            continue
        measured, missing = measure(name, metric, model)
        values, skipped = values | measured, skipped | missing
        report.write(directory, cfg.seed, origin, values, skipped)
    log(cfg, values, directory)
    if not values:
        raise ConfigError("; ".join(f"{name}: {reason}" for name, reason in skipped.items()))
    print(report.table(values, skipped))
    print(f"eval: {directory}")


def find_missing(metrics: dict, model) -> dict:
    """Reasons, by name, of the metrics that lack something: known before anything is sampled."""
    from ebm_cli.metrics import Skip

    reasons = {}
    for name, metric in metrics.items():
        try:
            metric.check(model)
        except (Skip, ConfigError, OSError) as reason:
            reasons[name] = str(reason)
            print(f"skipped {name}: {reason}", file=sys.stderr)
    return reasons


def find_model(cfg, directory):
    """What is measured, and where it comes from as metrics.json and the protocols name it."""
    from ebm_cli.runs.files import checkpoint_of
    from ebm_cli.runs.find import find_run
    from ebm_cli.runs.trained import TrainedModel
    from ebm_cli.utils.files import sha256

    origin = {"run": cfg.run, "checkpoint_sha256": None, "samples": None}
    if cfg.run is None:
        model = TrainedModel.from_samples(cfg, directory)
    else:
        model = TrainedModel.from_config(cfg, directory, num_samples=250)
        origin["checkpoint_sha256"] = sha256(checkpoint_of(find_run(cfg.run), cfg.checkpoint))
    if cfg.samples is not None:
        model.samples = model.samples or read_samples(cfg.samples, model.data)
        origin["samples"] = f"{cfg.samples} (sha256 {sha256(Path(cfg.samples).expanduser())[:12]})"
    return model, origin


def choose_metrics(cfg, model) -> dict:
    """The requested metrics, or those that suit the model."""
    from ebm_cli.config import build, option_node, options

    nodes = dict(cfg.metric or {}) or {name: option_node("metric", name) for name in suitable(model)}
    if not nodes:
        raise ConfigError(f"metric: none suits {model.data.name} by itself; choose from {', '.join(options('metric'))}")
    return {name: build(node, f"metric.{name}") for name, node in nodes.items()}


def suitable(model) -> list[str]:
    """Names of the metrics that suit the data and the model."""
    data, energy = model.data, model.energy
    names = ["density"] if data.density is not None else ["vectors"] if len(data.shape) == 1 else []
    if len(data.shape) == 3:
        names += ["fd_classifier"] if energy is None else ["fd_classifier", "ood"]
    return names + (["classifier"] if getattr(energy, "joint", False) else [])


def measure(name: str, metric, model) -> tuple[dict, dict]:
    """Values of one metric, and the reasons for what is missing of it."""
    from ebm_cli.metrics import Skip
    from ebm_cli.samplers import DivergenceError

    try:
        found = metric(model)
    except (ValueError, DivergenceError, OSError) as error:  # Skip and ConfigError are ValueErrors
        return {}, {name: str(error)}
    missing = {key: str(value) for key, value in found.items() if isinstance(value, Skip)}
    return {key: value for key, value in found.items() if key not in missing}, missing


def log(cfg, values: dict, directory: Path) -> None:
    """Sends the numbers to the loggers, those of a run into its own wandb run."""
    from ebm_cli.runs import loggers

    loggers.log_results(cfg, directory, {key: value.value for key, value in values.items()})
