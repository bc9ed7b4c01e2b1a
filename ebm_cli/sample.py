"""ebm-sample: a run -> samples, pictures, diagnostics."""

from __future__ import annotations

import sys
from pathlib import Path

from ebm_cli.config import ConfigError, option_node
from ebm_cli.config.launch import TEACHING, folders_in, inherit, launch, values_in
from ebm_cli.config.schema import SampleConfig

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
        return "sample", inherit(arguments, GROUPS, default_run(arguments))
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
    """Runs the task, and writes samples.npz, pictures and diagnostics.json."""
    import time

    from hydra.core.hydra_config import HydraConfig

    from ebm_cli.config import build
    from ebm_cli.runs.trained import TrainedModel

    directory = Path(HydraConfig.get().runtime.output_dir)
    if cfg.num_samples < 1:
        raise ConfigError(f"num_samples={cfg.num_samples}: must be at least 1")
    subject = TrainedModel.from_config(cfg, directory, num_samples=cfg.num_samples)
    warn_beyond_horizon(subject)
    task = build(cfg.task, "task")
    since = time.monotonic()
    result = task(subject, cfg.num_samples)
    seconds = time.monotonic() - since
    write(subject, result, seconds)
    log(cfg, subject)
    print(f"samples: {directory}")


def log(cfg, subject) -> None:
    """Sends numbers and pictures to the loggers: into the wandb run that trained the model."""
    import json
    from pathlib import Path

    from ebm_cli.training import loggers

    found = json.loads((subject.directory / "diagnostics.json").read_text())
    numbers = {f"sample/{key}": value for key, value in found.items() if isinstance(value, float | int)}
    run = subject.directory if cfg.run is None else Path(cfg.run)
    loggers.log_results(cfg.logger, run, numbers, sorted(subject.directory.glob("*.png")))


def warn_beyond_horizon(subject) -> None:
    """Says so where chains are longer than any that the training has seen."""
    if subject.horizon and subject.n_steps > subject.horizon:
        print(
            f"warning: sampler.n_steps={subject.n_steps} is beyond {subject.horizon}, the mean age at which training "
            "restarted its chains: samples drift there",
            file=sys.stderr,
        )


def write(subject, result, seconds: float) -> None:
    """All files of the contract."""
    from ebm_cli.runs.files import write_npz
    from ebm_cli.utils import plotting
    from ebm_cli.utils.files import write_json

    samples, data, directory = result.samples, subject.data, subject.directory
    write_npz(directory / "samples.npz", samples)
    if len(data.shape) == 1:
        plotting.scatter(samples.x, data, directory / "scatter.png", subject.energy)
    else:
        columns = result.columns or max(1, round(len(samples.x) ** 0.5))
        plotting.grid(plotting.as_images(samples.x), data.value_range, directory / "grid.png", columns)
    if result.panels:
        plotting.panels(result.panels, data, directory / "panels.png")
    if result.inputs:
        write_arrays(directory / "inputs.npz", result.inputs)
    found = {"n_steps": samples.n_steps, "seconds": round(seconds, 3), "n": len(samples.x)}
    write_json(directory / "diagnostics.json", found | watched(subject, result) | result.figures)


def write_arrays(file, tensors: dict) -> None:
    """An .npz of tensors by name, whole or absent."""
    import numpy as np

    from ebm_cli.utils.files import atomic

    with atomic(file, "wb") as out:
        np.savez_compressed(out, **{name: x.cpu().numpy() for name, x in tensors.items()})


def watched_rows(energy, n: int, shown: int = 16):
    """Rows of a task to be run again, and the first of those that share one law.

    Energies that bind nothing per row: 64 rows, all alike. Others, whose rows have a law each (labels, observations):
    16 rows to be filmed, then the first one 48 times, since only chains of one law can be compared.
    """
    import torch

    if energy.rows(slice(0, 1)) is energy:
        return torch.arange(min(n, 4 * shown)), 0
    first = torch.arange(min(n, shown))
    return torch.cat([first, torch.zeros(3 * shown, dtype=torch.long)]), len(first)


def watched(subject, result) -> dict:
    """Runs a few chains of the task again, films them, and says what they tell of the sampler."""
    import time

    import torch

    from ebm_cli.samplers import diagnostics
    from ebm_cli.tasks.task import visible
    from ebm_cli.utils import plotting
    from ebm_cli.utils.distributed import rank_seed

    sampler = result.sampler or subject.sampler
    steps = subject.n_steps if result.sampler is None else result.samples.n_steps
    rows, alike = watched_rows(result.energy, len(result.samples.x))
    energy = result.energy.rows(rows.to(subject.device))
    generator = torch.Generator(subject.device).manual_seed(rank_seed(subject.seed, 10**6))
    fresh = subject.base.sample(len(rows), generator)
    start = fresh if result.start is None else result.start[rows.to(result.start.device)].to(subject.device)
    recorder, since = diagnostics.Recorder(steps, alike=alike), time.monotonic()
    chain = sampler.sample(energy, start, n_steps=steps, generator=generator, callback=recorder)
    seconds = time.monotonic() - since
    few = energy.rows(slice(0, min(len(rows), recorder.shown)))
    frames = [visible(few, x.to(subject.device)).cpu() for x in recorder.frames]
    plotting.film(frames, subject.data, subject.directory / "chain.gif")
    evaluations = int(chain.stats["evaluations"].sum())
    values, skipped = diagnostics.judge(recorder, energy, sampler, chain.x, evaluations, seconds)
    plot(subject, recorder, chain.stats, values)
    return summary(subject, result, chain.stats) | values | {"skipped": skipped}


def plot(subject, recorder, stats: dict, values: dict) -> None:
    """diagnostics.png."""
    from ebm_cli.samplers import diagnostics
    from ebm_cli.utils import plotting

    curves = {}
    for name, series in recorder.settled().items():
        if f"autocorrelation_time/{name}" in values:
            curves[name] = diagnostics.autocorrelation(series)
    rhats = {name.removeprefix("rhat/"): value for name, value in values.items() if name.startswith("rhat/")}
    plotting.chains(recorder.whole(), stats, curves, rhats, subject.directory / "diagnostics.png")


def summary(subject, result, stats: dict) -> dict:
    """The sampler's own statistics, means of the last tenth of the watched chains, and those of the samples."""
    from ebm_cli.samplers.diagnostics import border_share, effective_temperature

    x, energy = result.samples.x, result.samples.energy
    tail = max(1, len(stats["energy"]) // 10)
    return {
        "effective_temperature": effective_temperature(result.sampler or subject.sampler),
        "energy_mean": float(energy.mean()),
        "energy_std": float(energy.std()) if len(x) > 1 else None,
        "border_share": border_share(x, subject.energy.support),
        "horizon": subject.horizon,
    } | {f"chain/{name}": float(values[-tail:].float().mean()) for name, values in stats.items()}
