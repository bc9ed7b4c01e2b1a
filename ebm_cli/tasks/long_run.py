"""Do long chains stay where the training left them? From data and from noise, many times the usual length."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.energy import energies, needs_labels
from ebm_cli.runs.trained import Samples, TrainedModel
from ebm_cli.samplers.diagnostics import border_share
from ebm_cli.samplers.recorder import Recorder
from ebm_cli.tasks.inputs import examples
from ebm_cli.tasks.task import Result, Task, balanced_labels, prior
from ebm_cli.utils.distributed import rank_seed


@dataclass(kw_only=True, eq=False)
class LongRun(Task):
    """Chains of many times the usual length, half from test data and half from noise (Nijkamp et al. 2020).

    A model whose chains have converged keeps the energy of the data, and forgets where chains started. Reported, at the
    usual length and at the end: the energy gap to the data, the share of entries at the border, the distance between
    the mean pictures of the two halves, and that of each from the mean of the data.

    Args:
        times: length in units of the usual one.
        moments: columns of the grid; the first is the start.
    """

    times: int = 10
    moments: int = 8

    def __post_init__(self):
        super().__post_init__()
        if self.times < 1 or self.moments < 2:
            got = f"times={self.times}, moments={self.moments}"
            raise ValueError(f"times must be at least 1 and moments at least 2, got {got}")

    def __call__(self, model: TrainedModel, n: int) -> Result:
        generator = torch.Generator(model.device).manual_seed(rank_seed(model.seed, 0))
        data, y = examples(model, "test", max(1, n // 2))
        half = len(data)
        start = torch.cat([data, model.base.sample(half, generator)])
        y = balanced_labels(model, half) if y is None else y  # a start from noise has the label of its start from data
        y = y.repeat(2) if needs_labels(model.energy) else None
        energy = prior(model, y, 2 * half)
        n_steps = self.times * model.n_steps
        positions, recorder = {0: start}, Recorder(n_steps, laws=y)
        wanted = {model.n_steps, *(round(k * n_steps / (self.moments - 1)) for k in range(1, self.moments))}

        def keep(i, state, info):
            recorder(i, state, info)
            if i + 1 in wanted:
                positions[i + 1] = state.x

        since = time.monotonic()
        chain = model.sampler.sample(energy, start, n_steps=n_steps, generator=generator, callback=keep)
        recorder.finish(energy, chain, time.monotonic() - since)
        figures = {"n_steps_long": n_steps}
        for when, step in (("usual", model.n_steps), ("end", n_steps)):
            figures |= {f"{name}/{when}": v for name, v in drift(energy, data, positions[step]).items()}
        samples = Samples(chain.x.cpu(), energies(energy, chain.x).cpu(), None, n_steps)
        shown = {f"{name} {step}": x[rows].cpu() for step, x in positions.items() for name, rows in halves(half)}
        panels = {k: shown[k] for name, _ in halves(half) for k in shown if k.startswith(name)}
        return Result(samples, recorder, figures=figures, panels=panels)


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
