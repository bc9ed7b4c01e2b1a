"""What ebm-sample does with a task's result: files, pictures, diagnostics, loggers."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from ebm_cli.config import ConfigError
from ebm_cli.runs import loggers
from ebm_cli.runs.files import write_npz
from ebm_cli.runs.trained import TrainedModel
from ebm_cli.samplers import Sampler
from ebm_cli.samplers.diagnostics import autocorrelation, border_share, compute_diagnostics, effective_temperature
from ebm_cli.samplers.recorder import Recorder
from ebm_cli.tasks.task import Result, visible
from ebm_cli.utils import distributed, plotting
from ebm_cli.utils.files import write_json


def deliver(model: TrainedModel, result: Result, seconds: float) -> None:
    """Writes all files of a sampling run into ``model.directory``, and logs its numbers and pictures.

    Diagnostics come from the chains that made the samples; the first process ran and recorded the first of them, and
    has all samples, so that it alone delivers.

    Args:
        seconds: that the task took.
    """
    if distributed.rank():
        return
    write_samples(model, result)
    numbers = write_diagnostics(model, result, seconds)
    log(model, numbers)


def warn_beyond_horizon(model: TrainedModel) -> None:
    """Warns where chains are longer than any that the training has run."""
    if model.horizon and model.n_steps > model.horizon:
        print(
            f"warning: sampler.n_steps={model.n_steps} is beyond {model.horizon}, the mean age at which training "
            "restarted its chains: samples drift there",
            file=sys.stderr,
        )


def write_samples(model: TrainedModel, result: Result) -> None:
    """samples.npz and its picture, and what else the task has to show."""
    samples, data, directory = result.samples, model.data, model.directory
    write_npz(directory / "samples.npz", replace(samples, x=data.restored(samples.x)))
    if len(data.shape) == 1:
        plotting.draw(samples.x, data, directory / "samples.png", model.energy, beside=some_data(model))
    else:
        columns = result.columns or max(1, round(len(samples.x) ** 0.5))
        plotting.grid(plotting.as_images(samples.x), data.value_range, directory / "grid.png", columns)
    if result.panels:
        plotting.panels(result.panels, data, directory / "panels.png")
    if result.inputs:
        write_arrays(directory / "inputs.npz", result.inputs)


def some_data(model: TrainedModel, n: int = 500) -> Tensor | None:
    """Training examples to draw samples beside; None where the data set is not at hand."""
    try:
        return model.data.split("train", n).x
    except (ConfigError, OSError, ValueError):
        return None


def write_arrays(file: Path, tensors: dict[str, Tensor]) -> None:
    """An .npz of tensors by name, whole or absent."""
    beside = file.with_name(f".{file.name}")
    np.savez_compressed(beside, **{name: x.cpu().numpy() for name, x in tensors.items()})
    os.replace(beside, file)


def write_diagnostics(model: TrainedModel, result: Result, seconds: float) -> dict:
    """diagnostics.json, diagnostics.png and chain.gif; returns the content of the first."""
    recorder, sampler, directory = result.recorder, result.sampler or model.sampler, model.directory
    frames = [visible(recorder.film_energy, x.to(model.device)).cpu() for x in recorder.frames]
    plotting.film(frames, model.data, directory / "chain.gif")
    values, skipped = compute_diagnostics(recorder, sampler)
    plot_chains(recorder, values, directory / "diagnostics.png")
    content = {"n_steps": result.samples.n_steps, "seconds": round(seconds, 3), "n": len(result.samples.x)}
    content |= summarize(model, result, sampler) | values | {"skipped": skipped} | result.figures
    write_json(directory / "diagnostics.json", content)
    return content


def summarize(model: TrainedModel, result: Result, sampler: Sampler) -> dict[str, float | None]:
    """Numbers of the samples, and the sampler's own statistics: means over the last tenth of its steps."""
    x, energy, stats = result.samples.x, result.samples.energy, result.recorder.stats
    tail = max(1, len(stats["energy"]) // 10)
    return {
        "effective_temperature": effective_temperature(sampler),
        "energy_mean": float(energy.mean()),
        "energy_std": float(energy.std()) if len(x) > 1 else None,
        "border_share": border_share(x, model.energy.support),
        "horizon": model.horizon,
    } | {f"chain/{name}": float(values[-tail:].float().mean()) for name, values in stats.items()}


def plot_chains(recorder: Recorder, values: dict[str, float], file: Path) -> None:
    """The recorded chains as one picture: energies, the sampler's statistics, autocorrelation and R-hat."""
    curves = {}
    for name, groups in recorder.by_law().items():
        if f"autocorrelation_time/{name}" in values:
            mean = sum(autocorrelation(series) for series in groups) / len(groups)
            curves[name] = mean.repeat_interleave(recorder.thin)  # lags are counted in steps
    rhats = {name.removeprefix("rhat/"): value for name, value in values.items() if name.startswith("rhat/")}
    plotting.chains(recorder.whole(), recorder.stats, curves, rhats, file)


def log(model: TrainedModel, content: dict) -> None:
    """Sends numbers and pictures to the loggers: into the wandb run that trained the model."""
    numbers = {f"sample/{key}": value for key, value in content.items() if isinstance(value, float | int)}
    loggers.log_results(model.config, model.directory, numbers)
