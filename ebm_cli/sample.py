"""ebm-sample: a run -> samples, pictures, diagnostics."""

from __future__ import annotations

import sys

from ebm_cli.config import ConfigError, SampleConfig, inherit, launch, stop

GROUPS = ["dataset", "sampler"]  # what may be chosen anew for a trained run
HELP = {"--help", "-h", "--hydra-help", "--shell-completion", "-sc", "--version"}


def main() -> None:
    """Entry point of the `ebm-sample` command."""
    try:
        inherit(GROUPS, default=None if HELP & set(sys.argv) else "latest")
    except ConfigError as error:
        stop("ebm-sample", error)
    launch("ebm-sample", "sample", sample, SampleConfig)


def sample(cfg) -> None:
    """Runs the task, and writes samples.npz, pictures and diagnostics.json."""
    import time
    from pathlib import Path

    from hydra.core.hydra_config import HydraConfig

    from ebm_cli.config import build
    from ebm_cli.run import open_subject

    directory = Path(HydraConfig.get().runtime.output_dir)
    if cfg.num_samples < 1:
        raise ConfigError(f"num_samples={cfg.num_samples}: must be at least 1")
    subject = open_subject(cfg, directory, num_samples=cfg.num_samples)
    warn_beyond_horizon(subject)
    task = build(cfg.task, "task")
    since = time.monotonic()
    result = task(subject, cfg.num_samples)
    seconds = time.monotonic() - since
    write(subject, task, result, seconds)
    print(f"samples: {directory}")


def warn_beyond_horizon(subject) -> None:
    """Says so where chains are longer than any that the training has seen."""
    if subject.horizon and subject.n_steps > subject.horizon:
        print(
            f"warning: sampler.n_steps={subject.n_steps} is beyond {subject.horizon}, the mean age at which training "
            "restarted its chains: samples drift there",
            file=sys.stderr,
        )


def write(subject, task, result, seconds: float) -> None:
    """All files of the contract."""
    from ebm_cli import pictures
    from ebm_cli.run import write_json, write_npz

    samples, directory = result.samples, subject.directory
    write_npz(directory / "samples.npz", samples)
    points = len(subject.data.shape) == 1
    if points:
        pictures.scatter(samples.x, subject.data, directory / "scatter.png", subject.energy)
    else:
        pictures.grid(samples.x, subject.data.value_range, directory / "grid.png", result.columns)
    frames, stats = film(subject, task, samples)
    pictures.film(frames, subject.data, directory / "chain.gif")
    write_json(directory / "diagnostics.json", diagnostics(subject, samples, stats, seconds) | result.figures)


def film(subject, task, samples, n: int = 16, frames: int = 40):
    """A few chains filmed from the noise on: positions at up to ``frames`` moments, and the sampler's statistics."""
    import torch

    from ebm_cli.chains import rank_seed

    generator = torch.Generator(subject.device).manual_seed(rank_seed(subject.seed, 10**6))
    n = min(n, len(samples.x))
    y = None if samples.y is None else samples.y[:n].to(subject.device)
    x, kept = subject.base.sample(n, generator), []
    every = max(1, subject.n_steps // frames)

    def keep(i, state, info):
        if i % every == 0 or i == subject.n_steps - 1:
            kept.append(state.x.cpu())

    energy = task.energy(subject, y)
    chain = subject.sampler.sample(energy, x, n_steps=subject.n_steps, generator=generator, callback=keep)
    return kept, chain.stats


def diagnostics(subject, samples, stats: dict, seconds: float) -> dict:
    """What diagnostics.json says of the chains: means of the last tenth of the filmed ones."""
    tail = max(1, subject.n_steps // 10)
    means = {name: float(values[-tail:].float().mean()) for name, values in stats.items()}
    temperature = getattr(subject.sampler, "effective_temperature", None)
    low_high = subject.data.value_range
    border = (
        None
        if low_high is None
        else float((samples.x <= low_high[0]).logical_or(samples.x >= low_high[1]).float().mean())
    )
    return {
        "n_steps": subject.n_steps,
        "seconds": round(seconds, 3),
        "n": len(samples.x),
        "effective_temperature": temperature() if temperature else None,
        "energy_mean": float(samples.energy.mean()),
        "energy_std": float(samples.energy.std()) if len(samples.x) > 1 else None,
        "border_share": border,
        "horizon": subject.horizon,
    } | {f"chain/{name}": value for name, value in means.items()}
