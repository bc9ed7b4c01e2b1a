"""What a metric is: a callable that maps a trained model to named values, or says why it cannot."""

from __future__ import annotations

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


class Metric:
    """Base of the metrics of ebm-eval."""

    def check(self, model: TrainedModel) -> None:
        """Called for every metric before anything is sampled.

        Raises:
            Skip: if something is missing that the metric cannot do without: a package, weights, labels.
        """

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        """Values by name, ``<metric>/<detail>``; a ``Skip`` in place of one records that this row is missing, and why.

        Raises:
            Skip: if nothing can be computed.
        """
        raise TypeError(f"{type(self).__name__} does not define __call__(model)")


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
