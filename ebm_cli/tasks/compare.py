"""Samplers side by side on one energy: what a gradient and what a second buys."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from omegaconf import OmegaConf
from torch import Tensor

from ebm_cli.config import ConfigError, build, option_node
from ebm_cli.energies import Energy, GaussianMixture
from ebm_cli.runs.trained import Samples, TrainedModel
from ebm_cli.samplers import Sampler, diagnostics
from ebm_cli.samplers.recorder import Recorder
from ebm_cli.tasks.task import Result, Task, balanced_labels, prior
from ebm_cli.utils import markdown
from ebm_cli.utils.distributed import rank_seed


@dataclass(kw_only=True, eq=False)
class Compare(Task):
    """The same chains by several samplers, each as its option has it, from the same starts.

    ``num_samples`` chains each. Reported per sampler: effective sample size per second and per evaluation of the
    energy, of its worst summary, over the second half of the chains; the largest R-hat; the acceptance; and for a
    mixture the share of chains that end in each component.

    Args:
        samplers: options of the group ``sampler``, none of which weighs its chains.
        n_steps: of every chain; null takes each option's own.
        step_sizes: one per sampler; null takes each option's own.
        start: points that chains start from in turn, each as long as an input; null is fresh noise.
    """

    samplers: list
    n_steps: int | None = None
    step_sizes: list | None = None
    start: list | None = None

    def __post_init__(self):
        super().__post_init__()
        samplers, step_sizes = self.samplers, self.step_sizes
        if not samplers or isinstance(samplers, str):  # a mandatory key that nobody gave is a string
            raise ValueError("samplers must name at least one option: task.samplers=[langevin,mala]")
        if step_sizes is not None and len(step_sizes) != len(samplers):
            raise ValueError(
                f"step_sizes must be one per sampler: {len(samplers)} samplers, {len(step_sizes)} step_sizes"
            )
        self.samplers = [str(name) for name in samplers]
        self.step_sizes = step_sizes or [None] * len(samplers)

    def __call__(self, model: TrainedModel, n: int) -> Result:
        energy, figures, panels = prior(model, None, n), {}, {}
        for name, step_size in zip(self.samplers, self.step_sizes, strict=True):
            sampler = self.sampler_of(model, name, step_size)
            recorder, chain = self.run(model, sampler, energy, n)
            found = summarize(recorder) | shares(energy, chain.x)
            figures |= {f"{name}/{key}": value for key, value in found.items()}
            panels[name] = chain.x[:200].cpu()
        print(table(figures, self.samplers))
        samples = Samples(chain.x.cpu(), energy(chain.x).detach().cpu(), None, len(chain.stats["energy"]))
        return Result(samples, recorder, figures=figures, panels=panels, sampler=sampler)

    def sampler_of(self, model: TrainedModel, name: str, step_size: float | None = None) -> Sampler:
        """The sampler of an option, its interpolations read from the run's recipe.

        Raises:
            ConfigError: for an unknown option, listing those that there are; for one that weighs its chains, or that
                has no step size where one is given.
        """
        recipe = model.config.get("recipe") or {}
        node = OmegaConf.create({"sampler": option_node("sampler", name), "recipe": recipe})
        options = OmegaConf.to_container(node, resolve=True)["sampler"]
        if step_size is not None and "step_size" not in options:
            raise ConfigError(f"task.step_sizes={step_size}: sampler={name} has no step size; write null in its place")
        options |= {} if step_size is None else {"step_size": step_size}
        sampler = build(options, f"sampler={name}")
        if sampler.weighted:
            raise ConfigError(f"task.samplers: {name} weighs its chains; their series say nothing of the target")
        return sampler

    def starts(self, model: TrainedModel, n: int) -> Tensor | None:
        """Where the chains start ``(n, *shape)``; None is fresh noise.

        Raises:
            ConfigError: for points that are no inputs.
        """
        if self.start is None:
            return None
        try:
            points = torch.tensor(self.start, dtype=torch.float32).view(-1, *model.data.shape)
        except (RuntimeError, ValueError, TypeError) as error:
            shape = tuple(model.data.shape)
            raise ConfigError(f"task.start={self.start}: must be a list of inputs of shape {shape}") from error
        return points[torch.arange(n) % len(points)].to(model.device)

    def run(self, model: TrainedModel, sampler: Sampler, energy, n: int):
        """Chains of one sampler, and what was recorded of them."""
        generator = torch.Generator(model.device).manual_seed(rank_seed(model.seed, 0))
        n_steps, start = self.n_steps or sampler.n_steps, self.starts(model, n)
        recorder = Recorder(n_steps, laws=balanced_labels(model, n))
        start = model.base.sample(n, generator) if start is None else start
        since = time.monotonic()
        try:
            chain = sampler.sample(energy, start, n_steps=n_steps, generator=generator, callback=recorder)
        except ValueError as error:
            raise ConfigError(f"task.samplers: {error}") from error
        recorder.finish(energy, chain, time.monotonic() - since)
        return recorder, chain


def summarize(recorder: Recorder) -> dict[str, float]:
    """The figures of one sampler; a series that does not move has an effective size of 0 and no R-hat."""
    sizes, rhats = [], []
    for groups in recorder.by_law().values():
        try:
            sizes.append(diagnostics.total_effective_sample_size(groups))
            rhats.append(diagnostics.worst_rhat(groups))
        except diagnostics.Unsuited:
            sizes.append(0.0)
            rhats.append(math.inf)
    stats, seconds, n = recorder.stats, recorder.seconds, recorder.n_chains
    evaluations = int(stats["evaluations"].sum()) * n
    size = 2 * min(sizes) * n / len(recorder.x)  # series are half of what was run, recorded chains a part of all
    found = {"ess_per_second": size / seconds, "ess_per_evaluation": size / evaluations, "rhat": max(rhats)}
    if "acceptance" in stats:
        found["acceptance"] = float(stats["acceptance"].mean())
    return found | {"seconds": seconds}


def shares(energy: Energy, x: Tensor) -> dict[str, float]:
    """Share of chains in each component of a mixture, by number; nothing for other energies."""
    if not isinstance(energy, GaussianMixture):
        return {}
    counts = torch.bincount(energy.component(x), minlength=len(energy.weights))
    return {f"share_{k}": float(count) / len(x) for k, count in enumerate(counts)}


def table(figures: dict[str, float], names: list[str]) -> str:
    """The figures as Markdown, a line per sampler.

    Example:
        >>> print(table({"mala/rhat": 1.01}, ["mala"]).splitlines()[-1])
        | mala    | —              | —                  | 1.01 | —          | —       |
    """
    columns = ["ess_per_second", "ess_per_evaluation", "rhat", "acceptance", "seconds"]
    columns += sorted({key.split("/")[1] for key in figures if "/share_" in key})
    rows = [("sampler", *columns)]
    for name in names:
        cells = [figures.get(f"{name}/{column}") for column in columns]
        rows.append((name, *("—" if v is None else f"{v:.3g}" for v in cells)))
    return markdown.table(rows)
