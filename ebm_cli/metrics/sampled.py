"""The common part of metrics of samples: how many, under which sampling seeds, and the mean of what they give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import mean, stdev

from torch import Tensor

from ebm_cli.metrics.metric import Metric, Skip, Value
from ebm_cli.runs.trained import TrainedModel


@dataclass(kw_only=True, eq=False)
class Sampled(Metric):
    """Base of metrics that compare samples with the data.

    Args:
        n: samples in each set, at most as many as the test split and the given samples have; null takes that many.
    """

    n: int | None = None

    def __post_init__(self):
        if self.n is not None and self.n < 2:
            raise ValueError(f"n must be at least 2, or null, got {self.n}")

    def count(self, model: TrainedModel) -> int:
        """How many inputs of each kind are compared."""
        there = len(model.data.split("test").x)
        given = there if model.samples is None else len(model.samples.x)
        n = min(self.n or there, there, given)
        if n < 2:
            raise Skip(f"{n} samples are too few for a covariance: give at least 2 samples and 2 test examples")
        return n

    def drawn(self, model: TrainedModel, n: int) -> Tensor:
        """``n`` given samples, or as many drawn ones."""
        return (model.draw(n) if model.samples is None else model.samples).x[:n]


@dataclass(kw_only=True, eq=False)
class Repeated(Sampled):
    """Base of metrics that are averaged over sampling seeds.

    Args:
        n: see ``Sampled``.
        repeats: sampling seeds to average over; their spread gives the standard error.
    """

    repeats: int = 1

    def __post_init__(self):
        super().__post_init__()
        if self.repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {self.repeats}")

    def parts(self, model: TrainedModel) -> list[TrainedModel]:
        """The model under each sampling seed; given samples are what they are."""
        if model.samples is not None:
            return [model]
        return [replace(model, seed=model.seed + 1000 * repeat) for repeat in range(self.repeats)]

    def sets(self, model: TrainedModel, n: int) -> list[Tensor]:
        """Samples ``(n, *shape)`` under each sampling seed."""
        return [self.drawn(part, n) for part in self.parts(model)]


def origin(model: TrainedModel) -> dict:
    """How samples were made, for a protocol."""
    return {"n_steps": model.n_steps if model.samples is None else "given samples"}


def average(values: list[float], n: int, protocol: dict) -> Value:
    """The mean of repeated measurements, with the standard error that their spread gives."""
    stderr = stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return Value(mean(values), stderr, n, protocol | {"repeats": len(values)})
