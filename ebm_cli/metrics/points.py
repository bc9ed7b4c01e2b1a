"""points: samples of a toy density against the truth, for models that have samples and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.metrics.metric import Skip, Value
from ebm_cli.metrics.sampled import Repeated, average, origin
from ebm_cli.runs.trained import TrainedModel


@dataclass(kw_only=True, eq=False)
class Points(Repeated):
    """Maximum mean discrepancy, modes found, and stray points of samples in the plane.

    ``points/mmd`` is the squared discrepancy to test points, unbiased, with a Gaussian kernel as wide as the data's
    deviation over 4 (Gretton et al. 2012): 0 on average for the truth, negative now and then. ``points/stray`` is the
    share of samples where the true density is below all but 1e-3 of its own mass; ``points/modes`` counts modes that at
    least a quarter of their share of all samples, strays left out, is nearest to.

    Args:
        n: samples, at most as many as the test split and the given samples have; null takes that many.
        repeats: sampling seeds to average over; their spread gives the standard error.
    """

    n: int | None = 2000
    repeats: int = 3

    def check(self, model: TrainedModel) -> None:
        if model.data.density is None:
            raise Skip(f"{model.data.name} has no known density: try metric=[fd_classifier]")

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        self.check(model)
        n, truth = self.count(model), model.data.density
        sets, test = self.sets(model, n), model.data.split("test").x
        h = float(test.std()) / 4
        protocol = origin(model) | {"reference": f"test split ({len(test)})", "kernel": "Gaussian", "bandwidth": h}
        bound = truth.log_prob(test).quantile(1e-3)
        values = {
            "points/mmd": average([mmd(x, test, h) for x in sets], n, protocol),
            "points/stray": average([float((truth.log_prob(x) < bound).double().mean()) for x in sets], n, protocol),
        }
        if truth.modes is not None:
            found = [modes_found(x, truth.log_prob(x) >= bound, test, truth.modes) for x in sets]
            values["points/modes"] = average(found, n, protocol | {"of": len(truth.modes)})
        return values


def mmd(x: Tensor, y: Tensor, h: float) -> float:
    """Squared maximum mean discrepancy of ``(n, d)`` and ``(m, d)``, unbiased: no point is paired with itself.

    ``E k(x, x') + E k(y, y') - 2 E k(x, y)`` with ``k(a, b) = exp(-|a - b|^2 / (2 h^2))``.

    Example:
        >>> x = torch.zeros(4, 2)
        >>> mmd(x, x, 1.0), round(mmd(x, x + 10, 1.0), 4)
        (0.0, 2.0)
    """

    def total(a: Tensor, b: Tensor) -> float:
        parts = (torch.cdist(part, b).square() for part in a.split(1000))
        return float(sum((-part / (2 * h**2)).exp().sum() for part in parts))

    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    within = (total(x, x) - n) / (n * (n - 1)) + (total(y, y) - m) / (m * (m - 1))
    return within - 2 * total(x, y) / (n * m)


def modes_found(x: Tensor, sound: Tensor, test: Tensor, modes: Tensor) -> float:
    """Modes whose nearest ``sound`` samples ``(n,)`` are at least a quarter of the share of test points."""

    def shares(points: Tensor, of: int) -> Tensor:
        return torch.bincount(torch.cdist(points, modes.to(points)).argmin(1), minlength=len(modes)) / of

    return float((shares(x[sound], len(x)) >= shares(test, len(test)) / 4).sum())
