"""stability: do samples have the energy of the data, fresh chains that of kept ones, long chains that of short ones?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebm_cli.energies.energy import energies
from ebm_cli.metrics.metric import Metric, Skip, Value, need_energy
from ebm_cli.runs.trained import TrainedModel, kept_chains
from ebm_cli.tasks import LongRun
from ebm_cli.utils import plotting

CHUNK = 500


@dataclass(kw_only=True, eq=False)
class Stability(Metric):
    """Energy gaps in units of the standard deviation of test energies, and the drift of long chains.

    ``gap`` is fresh samples minus test data; ``kept`` is fresh samples minus the chains that the checkpoint keeps: far
    from 0, sampling does not reach what training has reached. ``long/...`` are the figures of ``task=long_run``: chains
    from data and from noise, at the usual length and ``times`` as long (Nijkamp et al. 2020). Written too:
    ``energies.png``, histograms of train, test, samples, kept chains and noise.

    Args:
        n: inputs of each kind.
        times: length of the long chains, in units of the usual one.
    """

    n: int = 250
    times: int = 10

    def __post_init__(self):
        if self.n < 2 or self.times < 1:
            raise ValueError(f"n >= 2 and times >= 1 expected, got n={self.n}, times={self.times}")

    def check(self, model: TrainedModel) -> None:
        need_energy(model)
        if model.sampler is None:
            raise Skip("this needs a run to sample from: give run=PATH")

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        self.check(model)
        groups = {name: energy_of(model, x) for name, x in self.inputs(model).items()}
        plotting.energies(groups, model.directory / "energies.png")
        protocol = {"n_steps": model.n_steps, "unit": "standard deviations of test energies"}
        values = {"stability/gap": gap(groups["samples"], groups["test"], groups["test"].std(), protocol)}
        if "kept" in groups:
            values["stability/kept"] = gap(groups["samples"], groups["kept"], groups["test"].std(), protocol)
        else:
            values["stability/kept"] = Skip("the checkpoint keeps no chains: objective=pcd does")
        figures = LongRun(times=self.times)(replace(model, samples=None), self.n).figures
        protocol = {"times": self.times, "n_steps": figures.pop("n_steps_long"), "what": "task=long_run"}
        return values | {f"stability/long/{name}": Value(v, None, self.n, protocol) for name, v in figures.items()}

    def inputs(self, model: TrainedModel) -> dict[str, Tensor]:
        """Inputs of every kind, ``(n, *shape)`` each."""
        generator = torch.Generator(model.device).manual_seed(model.seed)
        kept = kept_chains(model)
        return {
            "train": model.data.split("train", self.n).x,
            "test": model.data.split("test", self.n).x,
            "samples": model.draw(self.n).x,
            **({} if kept is None else {"kept": kept[: self.n]}),
            "noise": model.base.sample(self.n, generator).cpu(),
        }


def energy_of(model: TrainedModel, x: Tensor) -> Tensor:
    """Energies ``(N,)`` on the CPU."""
    return energies(model.energy, x.to(model.device), chunk_size=CHUNK).cpu()


def gap(a: Tensor, b: Tensor, unit: Tensor, protocol: dict) -> Value:
    """Difference of mean energies in ``unit``, with its standard error."""
    stderr = float((a.var() / len(a) + b.var() / len(b)).sqrt() / unit)
    return Value(float((a.mean() - b.mean()) / unit), stderr, len(a), protocol)
