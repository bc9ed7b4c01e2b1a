"""ebm-eval: a run, or anybody's samples -> numbers with their protocol, a report, plots."""

from __future__ import annotations

import sys

from ebm_cli.config import ConfigError, EvalConfig, inherit, launch, stop

GROUPS = ["dataset", "sampler"]  # what may be chosen anew for a trained run


def main() -> None:
    """Entry point of the `ebm-eval` command."""
    try:
        inherit(GROUPS, default=default_run(sys.argv[1:]))
    except ConfigError as error:
        stop("ebm-eval", error)
    launch("ebm-eval", "eval", evaluate, EvalConfig)


def default_run(words: list[str]) -> str | None:
    """The run to take where the command line names none: none for --help or for a file of samples.

    Raises:
        ConfigError: if there is nothing to judge, or nothing to judge it by.
    """
    keys = {word.split("=", 1)[0] for word in words}
    if "run=null" in words and "samples" not in keys:
        raise ConfigError("run=null: nothing to judge; give run=PATH, or samples=FILE dataset=NAME")
    if "samples" in keys and not keys & {"run", "dataset"}:
        raise ConfigError("samples=: say what to judge them by: dataset=NAME, or run=PATH")
    without = keys & {"samples", "--help", "-h", "--hydra-help", "--shell-completion", "-sc", "--version"}
    return None if without else "latest"


def evaluate(cfg) -> None:
    """Computes every metric that was asked for, writes each as soon as it is there, and prints the table."""
    from pathlib import Path

    from hydra.core.hydra_config import HydraConfig

    from ebm_cli.metrics import report

    directory = Path(HydraConfig.get().runtime.output_dir)
    subject, origin = open_subject(cfg, directory)
    metrics = chosen(cfg, subject)
    values, skipped = {}, {}
    for name, metric in metrics.items():
        measured, missing = measure(name, metric, subject)
        values, skipped = values | measured, skipped | missing
        report.write(directory, cfg.seed, origin, values, skipped)
    log(cfg, values)
    if not values:
        raise ConfigError("; ".join(f"{name}: {reason}" for name, reason in skipped.items()))
    print(report.table(values, skipped))
    print(f"eval: {directory}")


def open_subject(cfg, directory):
    """What is judged, and where it comes from as metrics.json and the protocols say it."""
    from ebm_cli import run as runs
    from ebm_cli.config import build

    data = build(cfg.dataset, "dataset", seed=cfg.seed)
    origin = {"run": cfg.run, "checkpoint_sha256": None, "samples": None}
    if cfg.run is None:
        subject = samples_alone(cfg, data, directory)
    else:
        file = runs.checkpoint_of(runs.find_run(cfg.run), cfg.checkpoint)
        subject = trained(cfg, data, directory, runs.read_checkpoint(file))
        origin["checkpoint_sha256"] = runs.sha256(file)
    if cfg.samples is not None:
        subject.samples = read_samples(cfg.samples, data)
        origin["samples"] = f"{cfg.samples} (sha256 {runs.sha256(cfg_path(cfg.samples))[:12]})"
    return subject, origin


def samples_alone(cfg, data, directory):
    """A subject without a model."""
    from ebm_cli.run import Subject

    return Subject(
        energy=None,
        base=None,
        sampler=None,
        data=data,
        n_steps=0,
        horizon=None,
        seed=cfg.seed,
        num_samples=0,
        directory=directory,
        config=cfg,
    )


def trained(cfg, data, directory, content: dict):
    """The subject of a checkpoint; chain lengths are those of the training unless the command line says otherwise."""
    from ebm_cli.config import build, plain
    from ebm_cli.run import Subject, default_steps, energy_from

    base, energy = energy_from(content)
    if tuple(energy.shape) != tuple(data.shape):
        raise ConfigError(f"dataset: {data.name} has shape {tuple(data.shape)}, the run's model {tuple(energy.shape)}")
    kept = content["hyper_parameters"]["config"]
    n_steps, horizon = default_steps(kept)
    asked = plain(cfg.sampler).get("n_steps")
    if asked is not None and asked != kept["sampler"].get("n_steps"):
        n_steps = asked
    device = device_of(cfg)
    return Subject(
        energy=energy.to(device),
        base=base.to(device),
        sampler=build(cfg.sampler, "sampler"),
        data=data,
        n_steps=n_steps,
        horizon=horizon,
        seed=cfg.seed,
        num_samples=250 if len(data.shape) > 1 else 2000,
        directory=directory,
        config=cfg,
        device=device,
    )


def device_of(cfg):
    """The device that trainer.accelerator means."""
    import torch

    wants_gpu = cfg.trainer.accelerator in ("auto", "gpu", "cuda")
    return torch.device("cuda" if wants_gpu and torch.cuda.is_available() else "cpu")


def chosen(cfg, subject) -> dict:
    """The metrics asked for by name, or those that suit the subject."""
    from ebm_cli.config import build, option_node

    nodes = dict(cfg.metric or {}) or {name: option_node("metric", name) for name in suitable(subject)}
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
    except (Skip, ConfigError, DivergenceError, OSError) as error:
        return {}, {name: str(error)}
    missing = {key: str(value) for key, value in found.items() if isinstance(value, Skip)}
    return {key: value for key, value in found.items() if key not in missing}, missing


def log(cfg, values: dict) -> None:
    """Sends the numbers to the loggers."""
    from ebm_cli.config import build

    for name, node in (cfg.logger or {}).items():
        logger = build(node, f"logger.{name}")
        logger.log_metrics({key: value.value for key, value in values.items()}, step=0)
        logger.finalize("success")


# Given samples -----------------------------------------------------------------------------------------------------


def cfg_path(name: str):
    from pathlib import Path

    return Path(name).expanduser()


def read_samples(name: str, data):
    """Samples of an .npz file (array ``samples``, or ``x``) or an .npy file, in the shape and range of the data.

    uint8 images, 0 to 255, are mapped to the value range; channels may come last.

    Raises:
        ConfigError: for a file that is missing, foreign, or of another shape or range.
    """
    import zipfile

    import numpy as np
    import torch

    from ebm_cli.run import Samples

    try:
        content = np.load(cfg_path(name), allow_pickle=False)
        array = content if isinstance(content, np.ndarray) else content["samples" if "samples" in content else "x"]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"samples={name}: not a readable .npz with an array `samples` ({error})") from error
    x = arranged(torch.as_tensor(array), tuple(data.shape), name)
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
