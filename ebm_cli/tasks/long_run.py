"""Do long chains stay where the training left them? From data and from noise, many times the usual length."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_cli.energies.energy import energies
from ebm_cli.runs.trained import Samples, TrainedModel
from ebm_cli.samplers.diagnostics import border_share
from ebm_cli.tasks.inputs import examples
from ebm_cli.tasks.task import Result, Task, prior
from ebm_cli.utils.distributed import rank_seed


class LongRun(Task):
    """Chains of many times the usual length, half from test data and half from noise (Nijkamp et al. 2020).

    A model whose chains have converged keeps the energy of the data, and forgets where chains started. Reported, at the
    usual length and at the end: the energy gap to the data, the share of entries at the border, the distance between
    the mean pictures of the two halves, and that of each from the mean of the data.

    Args:
        times: length in units of the usual one.
        moments: columns of the grid; the first is the start.
    """

    def __init__(self, *, times: int = 10, moments: int = 8):
        if times < 1 or moments < 2:
            raise ValueError(f"times must be at least 1 and moments at least 2, got times={times}, moments={moments}")
        self.times, self.moments = times, moments

    def __call__(self, subject: TrainedModel, n: int) -> Result:
        generator = torch.Generator(subject.device).manual_seed(rank_seed(subject.seed, 0))
        data, y = examples(subject, "test", max(1, n // 2))
        half = len(data)
        start = torch.cat([data, subject.base.sample(half, generator)])
        energy = prior(subject, None if y is None else y.repeat(2), 2 * half)
        n_steps = self.times * subject.n_steps
        kept = {0: start}
        wanted = {subject.n_steps, *(round(k * n_steps / (self.moments - 1)) for k in range(1, self.moments))}

        def keep(i, state, info):
            if i + 1 in wanted:
                kept[i + 1] = state.x

        chain = subject.sampler.sample(energy, start, n_steps=n_steps, generator=generator, callback=keep)
        figures = {"n_steps_long": n_steps}
        for when, step in (("usual", subject.n_steps), ("end", n_steps)):
            figures |= {f"{name}/{when}": v for name, v in drift(energy, data, kept[step]).items()}
        samples = Samples(chain.x.cpu(), energies(energy, chain.x).cpu(), None, n_steps)
        shown = {f"{name} {step}": x[rows].cpu() for step, x in kept.items() for name, rows in halves(half)}
        panels = {k: shown[k] for name, _ in halves(half) for k in shown if k.startswith(name)}
        return Result(samples, energy, start=start, figures=figures, panels=panels)


def halves(half: int, shown: int = 8):
    """The first chains from data, and the first from noise, as titles and rows."""
    return ("data", slice(0, min(half, shown))), ("noise", slice(half, half + min(half, shown)))


def drift(energy, data: Tensor, x: Tensor) -> dict[str, float]:
    """How far chains ``x`` (the first half from data, the second from noise) are from the data and from each other."""
    half = len(data)
    values, reference = energies(energy, x), energies(energy.rows(slice(0, half)), data).mean()
    found = {"halves_apart": rms(x[:half].mean(0) - x[half:].mean(0))}
    for name, rows in (("from_data", slice(0, half)), ("from_noise", slice(half, 2 * half))):
        found[f"energy_gap/{name}"] = float(values[rows].mean() - reference)
        found[f"border_share/{name}"] = border_share(x[rows], energy.support)
        found[f"drift/{name}"] = rms(x[rows].mean(0) - data.mean(0))
    return found


def rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())
