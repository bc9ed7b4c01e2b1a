"""ebm-eval: a run, or anybody's samples -> numbers with their protocol, a report, plots."""

from __future__ import annotations

import sys
from pathlib import Path

from ebm_cli.config import ConfigError
from ebm_cli.config.launch import TEACHING, inherit, launch, values_in
from ebm_cli.config.schema import EvalConfig

GROUPS = ["recipe", "dataset", "sampler"]  # what may be chosen anew for a trained run


def main() -> None:
    """Entry point of the `ebm-eval` command."""
    launch("ebm-eval", evaluate, EvalConfig, choose)


def choose(arguments: list[str]) -> tuple[str, dict]:
    """The root config, and the config of the run that it inherits."""
    need_choice(arguments)
    return "eval", inherit(arguments, GROUPS, default_run(arguments))


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
        raise ConfigError("run=null: nothing to judge; give run=PATH, or samples=FILE dataset=NAME")
    if "samples" in given and not {"run", "dataset"} & set(given):
        raise ConfigError("samples=: say what to judge them by: dataset=NAME, or run=PATH")
    return None if "samples" in given or TEACHING & set(arguments) else "latest"


def evaluate(cfg) -> None:
    """Computes every metric that was asked for, writes each as soon as it is there, and prints the table."""
    from hydra.core.hydra_config import HydraConfig

    from ebm_cli.metrics import report

    directory = Path(HydraConfig.get().runtime.output_dir)
    subject, origin = judged(cfg, directory)
    directory = subject.directory
    metrics = chosen(cfg, subject)
    values, skipped = {}, missing_needs(metrics, subject)
    report.write(directory, cfg.seed, origin, values, skipped)
    for name, metric in metrics.items():
        if name in skipped:
            continue
        measured, missing = measure(name, metric, subject)
        values, skipped = values | measured, skipped | missing
        report.write(directory, cfg.seed, origin, values, skipped)
    log(cfg, values, directory)
    if not values:
        raise ConfigError("; ".join(f"{name}: {reason}" for name, reason in skipped.items()))
    print(report.table(values, skipped))
    print(f"eval: {directory}")


def missing_needs(metrics: dict, subject) -> dict:
    """Reasons, by name, of the metrics that lack something: known before anything is sampled."""
    from ebm_cli.metrics import Skip

    reasons = {}
    for name, metric in metrics.items():
        try:
            metric.check(subject)
        except (Skip, ConfigError, OSError) as reason:
            reasons[name] = str(reason)
            print(f"skipped {name}: {reason}", file=sys.stderr)
    return reasons


def judged(cfg, directory):
    """What is judged, and where it comes from as metrics.json and the protocols say it."""
    from ebm_cli.config.launch import find_run
    from ebm_cli.runs.files import checkpoint_of
    from ebm_cli.runs.trained import open_trained_model
    from ebm_cli.utils.files import sha256

    origin = {"run": cfg.run, "checkpoint_sha256": None, "samples": None}
    if cfg.run is None:
        subject = samples_alone(cfg, directory)
    else:
        subject = open_trained_model(cfg, directory, num_samples=250)
        origin["checkpoint_sha256"] = sha256(checkpoint_of(find_run(cfg.run), cfg.checkpoint))
    if cfg.samples is not None:
        subject.samples = read_samples(cfg.samples, subject.data)
        origin["samples"] = f"{cfg.samples} (sha256 {sha256(Path(cfg.samples).expanduser())[:12]})"
    return subject, origin


def samples_alone(cfg, directory):
    """A subject without a model: the data set, and nothing to sample from."""
    from ebm_cli.config import build
    from ebm_cli.runs.trained import TrainedModel

    return TrainedModel(
        energy=None,
        base=None,
        sampler=None,
        data=build(cfg.dataset, "dataset", seed=cfg.seed),
        n_steps=0,
        horizon=None,
        seed=cfg.seed,
        num_samples=0,
        directory=directory,
        config=cfg,
    )


def chosen(cfg, subject) -> dict:
    """The metrics asked for by name, or those that suit the subject."""
    from ebm_cli.config import build, option_node, options

    nodes = dict(cfg.metric or {}) or {name: option_node("metric", name) for name in suitable(subject)}
    if not nodes:
        raise ConfigError(
            f"metric: none suits {subject.data.name} by itself; choose from {', '.join(options('metric'))}"
        )
    return {name: build(node, f"metric.{name}") for name, node in nodes.items()}


def suitable(subject) -> list[str]:
    """Names of the metrics that suit the data and the model."""
    data, energy = subject.data, subject.energy
    names = ["density"] if hasattr(data, "density") else []
    if len(data.shape) == 3:
        names += ["fd_classifier"] if energy is None else ["fd_classifier", "ood"]
    return names + (["classifier"] if getattr(energy, "joint", False) else [])


def measure(name: str, metric, subject) -> tuple[dict, dict]:
    """Values of one metric, and the reasons for what is missing of it."""
    from ebm_cli.metrics import Skip
    from ebm_cli.samplers import DivergenceError

    try:
        found = metric(subject)
    except (ValueError, DivergenceError, OSError) as error:  # Skip and ConfigError are ValueErrors
        return {}, {name: str(error)}
    missing = {key: str(value) for key, value in found.items() if isinstance(value, Skip)}
    return {key: value for key, value in found.items() if key not in missing}, missing


def log(cfg, values: dict, directory: Path) -> None:
    """Sends the numbers to the loggers, those of a run into its own wandb run."""
    from ebm_cli.training import loggers

    run = directory if cfg.run is None else Path(cfg.run)
    numbers = {key: value.value for key, value in values.items()}
    loggers.log_results(cfg.logger, run, numbers, sorted(directory.glob("*.png")))


# Given samples -----------------------------------------------------------------------------------------------------


def read_samples(name: str, data):
    """Samples of an .npz file (array ``samples``, or ``x``) or an .npy file, in the shape and range of the data.

    uint8 images, 0 to 255, are mapped to the value range; channels may come last.

    Raises:
        ConfigError: for a file that is missing, foreign, or of another shape or range.
    """
    import zipfile

    import numpy as np
    import torch

    from ebm_cli.runs.trained import Samples

    try:
        content = np.load(Path(name).expanduser(), allow_pickle=False)
        array = content if isinstance(content, np.ndarray) else content["samples" if "samples" in content else "x"]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"samples={name}: not a readable .npz with an array `samples` ({error})") from error
    x = arranged(torch.as_tensor(array), tuple(data.shape), name)
    if not len(x):
        raise ConfigError(f"samples={name}: no samples in it, expected (N, {', '.join(map(str, data.shape))})")
    if x.dtype == torch.uint8 and data.value_range:
        low, high = data.value_range
        return Samples(low + x.float() * ((high - low) / 255))
    return Samples(in_range(x.float(), data, name))


def arranged(x, shape: tuple, name: str):
    """``(N, *shape)`` from that, from channels last, or from grey images without a channel axis."""
    if tuple(x.shape[1:]) == shape:
        return x
    if len(shape) == 3 and tuple(x.shape[1:]) == (*shape[1:], shape[0]):
        return x.movedim(-1, 1)
    if len(shape) == 3 and shape[0] == 1 and tuple(x.shape[1:]) == shape[1:]:
        return x[:, None]
    raise ConfigError(f"samples={name}: shape {tuple(x.shape)}, expected (N, {', '.join(map(str, shape))})")


def in_range(x, data, name: str):
    """``x`` if it is finite and, up to 5 % of its width, in the data's value range."""
    low, high = data.value_range or (float("-inf"), float("inf"))
    slack = 0.05 * (high - low)
    if not x.isfinite().all():
        raise ConfigError(f"samples={name}: not all values are finite")
    if x.min() < low - slack or x.max() > high + slack:
        found = f"values in [{float(x.min()):.3g}, {float(x.max()):.3g}]"
        raise ConfigError(f"samples={name}: {found}, expected [{low:g}, {high:g}], or uint8")
    return x
