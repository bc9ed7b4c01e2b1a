"""What a metric is: a callable that maps a trained model to named values, or says why it cannot."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, field

from ebm_cli.runs.trained import TrainedModel
from ebm_cli.samplers.diagnostics import effective_temperature


class Skip(ValueError):
    """A metric, or one row of it, cannot be computed: the message is the reason and what to do."""


@dataclass
class Value:
    """One measured number.

    Attributes:
        value: the number.
        stderr: its standard error, or None where there is none to give.
        n: how many samples or examples it rests on, or None.
        protocol: everything that another program must copy to get the same number.
    """

    value: float
    stderr: float | None = None
    n: int | None = None
    protocol: dict = field(default_factory=dict)


@dataclass(kw_only=True, eq=False)
class Metric(abc.ABC):
    """Base of the metrics of ebm-eval: a dataclass whose fields are the keys of its option, called with a model.

    Example:
        >>> @dataclass(kw_only=True, eq=False)
        ... class MeanEnergy(Metric):
        ...     n: int = 100
        ...
        ...     def __call__(self, model):
        ...         energy = model.energy(model.draw(self.n).x)
        ...         return {"mean_energy": Value(float(energy.mean()), n=self.n)}
        >>> MeanEnergy(n=10)
        MeanEnergy(n=10)
        >>> Metric()  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        TypeError: Can't instantiate abstract class Metric ...
    """

    def check(self, model: TrainedModel) -> None:  # noqa: B027, most metrics need nothing
        """Called for every metric before anything is sampled.

        Raises:
            Skip: if something is missing that the metric cannot do without: a package, weights, labels.
        """

    @abc.abstractmethod
    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        """Values by name, ``<metric>/<detail>``; a ``Skip`` in place of one records that this row is missing, and why.

        Raises:
            Skip: if nothing can be computed.
        """


def need_images(data) -> None:
    """Raises Skip for data that are not images."""
    if len(data.shape) != 3:
        raise Skip(f"{data.name} has no images: use metric=density for points in the plane")


def need_labels(data) -> None:
    """Raises Skip for data without labels."""
    if not data.n_classes:
        raise Skip(f"{data.name} has no labels, and a classifier is trained on labels: give a labeled data set")


def need_energy(model: TrainedModel) -> None:
    """Raises Skip where there are only samples."""
    if model.energy is None:
        raise Skip("only samples were given, and this needs a trained energy: give run=PATH")


def temperature_warning(model: TrainedModel, temperature: float) -> str | None:
    """One line where the chains that trained or generate never sampled ``temperature``, else None."""
    sampled = None if model.sampler is None else effective_temperature(model.sampler)
    if sampled is None:
        return None
    if math.isclose(sampled, temperature, rel_tol=0.05):
        return None
    return (
        f"the sampler runs at temperature {sampled:.3g}, not {temperature:g}: this likelihood is that of a density "
        f"which no chain has sampled (metric=[ais] metric.ais.temperature={sampled:.3g} is that of the samples)"
    )
