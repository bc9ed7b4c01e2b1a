"""ais: log Z by annealed importance sampling, forward and reverse, and the likelihood that follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.analytic import ClosedForm
from ebm_cli.energies.discrete import LARGEST, Sites, exact_log_z
from ebm_cli.energies.energy import energies
from ebm_cli.metrics.metric import Metric, Skip, Value, need_energy, temperature_warning
from ebm_cli.models.rbm import LARGEST as LARGEST_SIDE
from ebm_cli.models.rbm import RBM
from ebm_cli.runs.trained import TrainedModel
from ebm_cli.samplers.ais import AIS as Annealed
from ebm_cli.samplers.ais import Estimate, estimate
from ebm_cli.samplers.path import base_for

CHUNK = 4096


@dataclass(kw_only=True, eq=False)
class AIS(Metric):
    """log Z, its bracket, and the test log-likelihood in nats and in bits per dimension (Neal 2001).

    ``log Z = log Z_base + log mean exp(log w)``, and bits per dimension are ``-mean log p(x) / (d log 2)`` of
    dequantized grey levels.

    The forward estimate is unbiased for Z, so that its log errs low; the reverse one errs high, and is a bound only if
    it starts from exact samples. It starts from exact draws where the energy can give them, else from the run's own
    samples, and the protocol says which. Where all states can be enumerated the exact values stand beside.

    Args:
        n_steps: levels of the path from the base to the model; thousands for images.
        n_chains: chains in each direction.
        n_moves: transitions per level: HMC tuned in a pilot run, or Gibbs sweeps for discrete inputs.
        ladder: inverse temperatures: linear, geometric, sigmoid or adaptive.
        tune: acceptance that the step sizes are tuned to.
        temperature: T of the likelihood.
        n: test examples of the likelihood; null is all.
        chunk_size: chains evaluated at a time; null is all at once.
    """

    n_steps: int = 1000
    n_chains: int = 100
    n_moves: int = 1
    ladder: str = "adaptive"
    tune: float | None = 0.7
    temperature: float = 1.0
    n: int | None = None
    chunk_size: int | None = None

    def __post_init__(self):
        if self.n_chains < 2 or (self.n is not None and self.n < 2):
            raise ValueError(f"n_chains >= 2 and n >= 2 expected, got n_chains={self.n_chains}, n={self.n}")
        keywords = ("n_steps", "n_moves", "ladder", "tune", "temperature", "chunk_size")
        self.sampler = Annealed(**{name: getattr(self, name) for name in keywords})

    def check(self, model: TrainedModel) -> None:
        need_energy(model)
        if model.energy.n_classes and not getattr(model.energy, "joint", False):
            raise Skip("this energy is conditional on labels: its log Z is one number per class, which is not measured")
        if model.energy.support.kind == "box" and model.base is not None and model.base.support.kind == "real":
            raise Skip("the data live in a box and the base is unbounded: train with a UniformBox base, or real data")

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        self.check(model)
        energy, generator = model.energy, torch.Generator(model.device).manual_seed(model.seed)
        sampler = self.sampler.with_options(base=model.base or base_for(energy))
        start = sampler.base.sample(self.n_chains, generator)
        forward = estimate(sampler.sample(energy, start, generator=generator))
        values = self.bracket("ais/log_z", forward, self.protocol(model, sampler))
        values |= self.reversed(model, sampler, generator)
        log_z, source = values["ais/log_z"], "ais, forward"
        exact = self.exact(energy)
        if exact is not None:
            values["ais/log_z_exact"] = log_z = Value(exact, None, None, {"temperature": self.temperature})
            source = "exact"
        return values | self.likelihood(model, log_z, self.protocol(model, sampler) | {"log_z": source})

    def protocol(self, model: TrainedModel, sampler: Annealed) -> dict:
        """Everything that another program must copy, with a warning where the temperature is nobody's."""
        move = sampler.move(model.energy)
        protocol = {
            "temperature": self.temperature,
            "base": type(sampler.base).__name__,
            "levels": sampler.n_steps,
            "transition": f"{type(move).__name__} x {sampler.n_moves}",
            "ladder": sampler.ladder,
            "border": getattr(move, "boundary", None),
        }
        warning = temperature_warning(model, self.temperature)
        return protocol | ({"warning": warning} if warning else {})

    def bracket(self, name: str, found: Estimate, protocol: dict) -> dict[str, Value]:
        """The estimate, the mean log-weight beside it (the looser bound), and the effective sample size."""
        return {
            name: Value(found.log_z, found.stderr, self.n_chains, protocol),
            f"{name}/mean_log_w": Value(found.mean_log_w, None, self.n_chains, protocol),
            f"{name}/ess": Value(found.ess, None, self.n_chains, protocol),
        }

    def reversed(self, model: TrainedModel, sampler: Annealed, generator) -> dict[str, Value | Skip]:
        """The way back, from exact draws where there are any."""
        energy, own = model.energy, getattr(model.energy, "sample", None)
        exact = own is not None and self.temperature == 1.0
        if exact:
            x = own(self.n_chains, generator)
        elif model.samples is not None or model.sampler is not None:
            x = (model.samples or model.draw(self.n_chains)).x[: self.n_chains].to(model.device)
        else:
            return {"ais/log_z_reverse": Skip("the reverse estimate starts from samples: give run=PATH")}
        found = estimate(sampler.reverse(energy, x, generator=generator), reverse=True)
        starts = "exact draws: a bound" if exact else "samples of the run: a bound only as far as they are exact"
        return self.bracket("ais/log_z_reverse", found, self.protocol(model, sampler) | {"starts": starts})

    def exact(self, energy) -> float | None:
        """log Z where it is known, else None."""
        if isinstance(energy, RBM) and self.temperature == 1.0 and min(energy.weight.shape) <= LARGEST_SIDE:
            return energy.log_z()
        if isinstance(energy, ClosedForm) and self.temperature == 1.0:
            return energy.log_z()
        if energy.support.continuous:
            return None
        sites = Sites(energy.shape, energy.support)
        return exact_log_z(energy, self.temperature) if sites.n * math.log(sites.k) <= math.log(LARGEST) else None

    def likelihood(self, model: TrainedModel, log_z: Value, protocol: dict) -> dict[str, Value | Skip]:
        """Mean test log-likelihood in nats, and in bits per dimension for grey levels or discrete data."""
        x = model.data.split("test", self.n).x.to(model.device)
        protocol = protocol | {"split": "test"}
        values = {"ais/log_likelihood": self.mean_log_p(model, x, log_z, protocol)}
        bits = math.log(2) * math.prod(model.data.shape)
        levels = grey_levels(model)
        if isinstance(levels, Skip):
            return values | {"ais/bits_per_dim": levels}
        offset = 0.0
        if levels:
            low, high = model.data.value_range
            x, offset = dequantize(x, low, high, levels, model.seed), math.log2(levels / (high - low))
            protocol |= {"dequantization": f"uniform over {levels} grey levels, + {offset:.4g} bits per dimension"}
        nats = self.mean_log_p(model, x, log_z, protocol)
        return values | {"ais/bits_per_dim": Value(offset - nats.value / bits, nats.stderr / bits, nats.n, protocol)}

    def mean_log_p(self, model: TrainedModel, x: Tensor, log_z: Value, protocol: dict) -> Value:
        """Mean log density at ``x``, with its standard error over examples and that of log Z together."""
        log_p = -energies(model.energy, x, chunk_size=CHUNK).double() / self.temperature - log_z.value
        stderr = math.hypot(float(log_p.std()) / len(log_p) ** 0.5, log_z.stderr or 0.0)
        return Value(float(log_p.mean()), stderr, len(log_p), protocol)


def grey_levels(model: TrainedModel) -> int | Skip:
    """Number of grey levels of the data, 0 for discrete inputs, or why there are no bits per dimension."""
    data = model.data
    if not model.energy.support.continuous:
        return 0
    if len(data.shape) < 3 or not data.value_range:
        return Skip(f"{data.name} has no grey levels, and so no bits per dimension")
    return data.levels


def dequantize(x: Tensor, low: float, high: float, levels: int, seed: int) -> Tensor:
    """Grey levels at equal distances over ``[low, high]``, spread uniformly over cells of ``(high - low) / levels``."""
    level = ((x - low) * ((levels - 1) / (high - low))).round()
    u = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
    return low + (level + u) * ((high - low) / levels)
