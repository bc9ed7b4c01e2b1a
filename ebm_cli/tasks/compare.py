"""Samplers side by side on one energy: what a gradient and what a second buys."""

from __future__ import annotations

import math
import time

import torch
from omegaconf import OmegaConf

from ebm_cli import diagnostics
from ebm_cli.chains import rank_seed
from ebm_cli.config import ConfigError, build, option_node, plain
from ebm_cli.run import Samples, Subject
from ebm_cli.samplers import Sampler
from ebm_cli.tasks.task import Result, Task, prior


class Compare(Task):
    """The same chains by several samplers, each as its option has it, from the same fresh starts.

    ``num_samples`` chains each. Reported per sampler: effective sample size per second and per evaluation of the
    energy, of its worst summary, over the second half of the chains; the largest R-hat; the acceptance.

    Args:
        samplers: options of the group ``sampler``.
        n_steps: of every chain; null takes each option's own.
    """

    def __init__(self, *, samplers: list, n_steps: int | None = None):
        if not samplers:
            raise ValueError("samplers must name at least one option: task.samplers=[langevin,mala]")
        self.samplers, self.n_steps = [str(name) for name in samplers], n_steps

    def __call__(self, subject: Subject, n: int) -> Result:
        energy, figures, panels = prior(subject, None, n), {}, {}
        for name in self.samplers:
            sampler = self.sampler_of(subject, name)
            recorder, chain, seconds = self.run(subject, sampler, energy, n)
            figures |= {f"{name}/{key}": value for key, value in judged(recorder, chain, seconds).items()}
            panels[name] = chain.x[:200].cpu()
        print(table(figures, self.samplers))
        samples = Samples(chain.x.cpu(), energy(chain.x).detach().cpu(), None, len(chain.stats["energy"]))
        return Result(samples, energy, figures=figures, panels=panels)

    def sampler_of(self, subject: Subject, name: str) -> Sampler:
        """The sampler of an option, its interpolations read from the run's data set.

        Raises:
            ConfigError: for an unknown option, listing those that there are.
        """
        recipe = {"recipe": plain(subject.config.dataset).get("recipe", {})}
        node = OmegaConf.create({"sampler": option_node("sampler", name), "dataset": recipe})
        return build(OmegaConf.to_container(node, resolve=True)["sampler"], f"sampler={name}")

    def run(self, subject: Subject, sampler: Sampler, energy, n: int):
        """Watched chains of one sampler, and the seconds that they took."""
        generator = torch.Generator(subject.device).manual_seed(rank_seed(subject.seed, 0))
        n_steps = self.n_steps or sampler.n_steps
        recorder, start = diagnostics.Recorder(n_steps), subject.base.sample(n, generator)
        since = time.monotonic()
        try:
            chain = sampler.sample(energy, start, n_steps=n_steps, generator=generator, callback=recorder)
        except ValueError as error:
            raise ConfigError(f"task.samplers: {error}") from error
        return recorder, chain, time.monotonic() - since


def judged(recorder: diagnostics.Recorder, chain, seconds: float) -> dict[str, float]:
    """The figures of one sampler; a series that does not move has an effective size of 0 and no R-hat."""
    sizes, rhats = [], []
    for series in recorder.settled().values():
        try:
            sizes.append(diagnostics.effective_sample_size(series))
            rhats.append(diagnostics.split_rhat(series))
        except diagnostics.Unsuited:
            sizes.append(0.0)
            rhats.append(math.inf)
    evaluations = int(chain.stats["evaluations"].sum()) * len(chain.x)
    size = 2 * min(sizes)  # the series are half of what was run
    acceptance = float(chain.stats["acceptance"].mean()) if "acceptance" in chain.stats else math.nan
    found = {"ess_per_second": size / seconds, "ess_per_evaluation": size / evaluations, "rhat": max(rhats)}
    return found | {"acceptance": acceptance, "seconds": seconds}


def table(figures: dict[str, float], names: list[str]) -> str:
    """The figures as Markdown, a line per sampler."""
    columns = ["ess_per_second", "ess_per_evaluation", "rhat", "acceptance", "seconds"]
    lines = [f"| sampler | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        cells = [figures[f"{name}/{column}"] for column in columns]
        lines.append(f"| {name} | {' | '.join('—' if math.isnan(v) else f'{v:.3g}' for v in cells)} |")
    return "\n".join(lines)
