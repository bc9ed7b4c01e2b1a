"""vectors: samples of tables, numbers and series against held-out examples, beside a Gaussian and fresh data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.energy import needs_labels
from ebm_cli.metrics.detection import auroc, auroc_error
from ebm_cli.metrics.frechet import PixelGaussian
from ebm_cli.metrics.metric import Skip, Value
from ebm_cli.metrics.points import mmd
from ebm_cli.metrics.sampled import Repeated, average, origin
from ebm_cli.runs.trained import TrainedModel


@dataclass(kw_only=True, eq=False)
class Vectors(Repeated):
    """How samples of vectors ``(N, d)`` differ from test examples, in the units in which the model sees them.

    * ``vectors/mmd``: squared maximum mean discrepancy, unbiased, Gaussian kernel as wide as the median distance.
    * ``vectors/wasserstein``: sliced Wasserstein-1 distance, the mean over ``projections`` directions.
    * ``vectors/marginals``: largest Kolmogorov-Smirnov distance of an entry.
    * ``vectors/correlations``: largest difference of a correlation.
    * ``vectors/two_sample``: area under the curve of a nearest-neighbor classifier that tells samples from test
      examples (Lopez-Paz & Oquab 2017): 1/2 where nobody can.
    * ``vectors/anomalies``: area under the curve of the energy that tells test examples from ones whose entries were
      shuffled each by itself, which keeps every marginal.

    ``.../gaussian`` is the same of draws of a Gaussian with the training data's mean and covariance, ``.../data`` of
    training examples: the floor.

    Args:
        n: samples, at most as many as the test split and the given samples have; null takes that many.
        repeats: sampling seeds to average over; their spread gives the standard error.
        projections: directions of the sliced distance.

    Example:
        >>> Vectors(projections=10)
        Vectors(n=1000, repeats=3, projections=10)
    """

    n: int | None = 1000
    repeats: int = 3
    projections: int = 100

    def check(self, model: TrainedModel) -> None:
        if len(model.data.shape) != 1:
            raise Skip(f"{model.data.name} is no set of vectors: try metric=[fd_pixel]")

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        self.check(model)
        n = self.count(model)
        train, test = model.data.split("train").x, model.data.split("test").x
        generator = torch.Generator().manual_seed(model.seed)
        sets = {"": self.sets(model, n), "/gaussian": [PixelGaussian(train).sample(n, generator)]}
        sets["/data"] = [train[torch.randperm(len(train), generator=generator)[:n]]]
        protocol = origin(model) | {"reference": f"test split ({len(test)})", "projections": self.projections}
        values = {}
        for suffix, group in sets.items():
            found = [self.compare(x.cpu(), test, generator) for x in group]
            for name in found[0]:
                values[f"vectors/{name}{suffix}"] = average([f[name] for f in found], n, protocol)
        if model.energy is not None:
            values["vectors/anomalies"] = self.tell_anomalies(model, test, generator, protocol)
        return values

    def compare(self, x: Tensor, test: Tensor, generator: torch.Generator) -> dict[str, float]:
        """All distances of one set ``(n, d)`` from the test examples ``(m, d)``."""
        x, test = x.double(), test.double()
        return {
            "mmd": mmd(x, test, float(torch.pdist(test[:1000]).median())),
            "wasserstein": sliced_wasserstein(x, test, self.projections, generator),
            "marginals": max(kolmogorov_smirnov(x[:, k], test[:, k]) for k in range(x.shape[1])),
            "correlations": correlation_gap(x, test),
            "two_sample": neighbor_auroc(x, test),
        }

    def tell_anomalies(self, model: TrainedModel, test: Tensor, generator: torch.Generator, protocol: dict) -> Value:
        if test.shape[1] < 2:
            return Skip("one entry has nothing to be shuffled against")
        if needs_labels(model.energy):
            return Skip("a class-conditional energy has none of an example alone")
        shuffled = torch.stack([column[torch.randperm(len(test), generator=generator)] for column in test.T], 1)
        with torch.no_grad():
            known, odd = (model.energy(part.to(model.device)).cpu() for part in (test, shuffled))
        area, n = auroc(odd, known), len(test)
        return Value(area, auroc_error(area, n, n), n, protocol | {"anomalies": "entries shuffled each by itself"})


def sliced_wasserstein(x: Tensor, y: Tensor, projections: int, generator: torch.Generator) -> float:
    """Mean over random directions of the Wasserstein-1 distance of the projections of ``(n, d)`` and ``(m, d)``.

    Example:
        >>> x = torch.zeros(4, 1)
        >>> sliced_wasserstein(x, x + 2, 3, torch.Generator().manual_seed(0))
        2.0
    """
    directions = torch.randn(x.shape[1], projections, generator=generator, dtype=torch.float64)
    directions = directions / directions.norm(dim=0)
    levels = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    a, b = (torch.quantile(z.double() @ directions, levels, 0) for z in (x, y))
    return float((a - b).abs().mean())


def kolmogorov_smirnov(x: Tensor, y: Tensor) -> float:
    """Largest distance of the distribution functions of ``(n,)`` and ``(m,)``.

    Example:
        >>> kolmogorov_smirnov(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0]))
        1.0
    """
    every = torch.cat([x, y])
    shares = [torch.searchsorted(z.sort().values, every, right=True) / len(z) for z in (x, y)]
    return float((shares[0] - shares[1]).abs().max())


def correlation_gap(x: Tensor, y: Tensor) -> float:
    """Largest difference of a correlation of ``(n, d)`` and ``(m, d)``; 0 for one entry."""
    if x.shape[1] < 2:
        return 0.0
    return float((torch.corrcoef(x.T) - torch.corrcoef(y.T)).abs().nan_to_num(2.0).max())


def neighbor_auroc(x: Tensor, y: Tensor, k: int = 10) -> float:
    """Area under the curve of the share of ``x`` among the k nearest others: 1/2 for equal laws, 1 where told apart."""
    every = torch.cat([x, y])
    of_x = torch.arange(len(every)) < len(x)
    distance = torch.cdist(every, every)
    distance.fill_diagonal_(torch.inf)
    share = of_x[distance.topk(k, largest=False).indices].double().mean(1)
    return auroc(share[of_x], share[~of_x])
