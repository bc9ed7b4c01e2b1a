"""stein: the kernel Stein discrepancy of samples and energy, which needs no normalizer and no second sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.energy import energy_and_grad
from ebm_cli.metrics.metric import Skip, Value, need_energy
from ebm_cli.metrics.sampled import Sampled, origin
from ebm_cli.runs.trained import TrainedModel

CHUNK = 500


@dataclass(kw_only=True, eq=False)
class Stein(Sampled):
    """Squared kernel Stein discrepancy between samples and ``exp(-E / T)``, unbiased (Liu et al. 2016).

    0 where the sampler samples the model; it measures the chains, not the model's fit: ``stein/data`` puts test data in
    place of samples, and measures the fit. ``p_value`` is that of a wild bootstrap under "they agree".

    Args:
        n: samples, at most as many as the test split and the given samples have.
        kernel: ``imq``, ``(1 + r^2 / h^2)^(-1/2)`` (Gorham & Mackey 2017), or ``rbf``, ``exp(-r^2 / (2 h^2))``.
        bandwidth: h; null is the median distance.
        temperature: T.
        draws: of the bootstrap.
    """

    n: int | None = 1000
    kernel: str = "imq"
    bandwidth: float | None = None
    temperature: float = 1.0
    draws: int = 500

    def __post_init__(self):
        super().__post_init__()
        if self.kernel not in ("imq", "rbf"):
            raise ValueError(f"kernel must be imq or rbf, got {self.kernel!r}")
        if self.temperature <= 0 or (self.bandwidth is not None and self.bandwidth <= 0) or self.draws < 1:
            found = f"got {self.temperature}, {self.bandwidth}, {self.draws}"
            raise ValueError(f"temperature, bandwidth > 0, draws >= 1 expected, {found}")

    def check(self, model: TrainedModel) -> None:
        need_energy(model)
        if model.energy.support.kind != "real":
            raise Skip(
                f"the energy of {model.data.name} lives in a box, where mass at the border breaks Stein's identity: "
                "for data on all of R^d only"
            )

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        self.check(model)
        n = self.count(model)
        values = {}
        for prefix, x in (("stein", self.drawn(model, n)), ("stein/data", model.data.split("test", n).x)):
            gram, bandwidth = self.gram(model, x)
            protocol = origin(model) | {
                "kernel": self.kernel,
                "bandwidth": bandwidth,
                "temperature": self.temperature,
            }
            value, stderr = u_statistic(gram)
            values[prefix] = Value(value, stderr, n, protocol)
            p = wild_bootstrap(gram, self.draws, torch.Generator().manual_seed(model.seed))
            values[f"{prefix}/p_value"] = Value(p, None, n, protocol | {"bootstrap": self.draws})
        return values

    def gram(self, model: TrainedModel, x: Tensor) -> tuple[Tensor, float]:
        """Stein kernel ``(n, n)`` of points ``(n, *shape)``, float64, and the bandwidth."""
        grad = energy_and_grad(model.energy, x.to(model.device), chunk_size=CHUNK)[1]
        score = -grad.cpu().flatten(1).double() / self.temperature
        x = x.flatten(1).double()
        bandwidth = self.bandwidth or float(torch.pdist(x[:1000]).median())
        return stein_kernel(x, score, bandwidth, self.kernel), bandwidth


def stein_kernel(x: Tensor, score: Tensor, h: float, kernel: str) -> Tensor:
    """``k_p(x, x')`` for all pairs: ``s.s' k + s.grad' k + s'.grad k + tr grad grad' k``.

    Args:
        x: points ``(n, d)``.
        score: ``grad log p`` there, ``(n, d)``.
        h: bandwidth.
        kernel: ``imq`` or ``rbf``.
    """
    d, squared = x.shape[1], torch.cdist(x, x).square()
    if kernel == "rbf":
        k = (-squared / (2 * h**2)).exp()
        slope, curve = -k / (2 * h**2), k / (4 * h**4)  # first and second derivative by r^2
    else:
        base = 1 + squared / h**2
        k, slope, curve = base**-0.5, -0.5 * base**-1.5 / h**2, 0.75 * base**-2.5 / h**4
    along = score @ x.T  # s_i . x_j
    toward = along.diagonal()[:, None] - along  # s_i . (x_i - x_j)
    cross = -2 * slope * (toward + toward.T)
    return score @ score.T * k + cross - 2 * d * slope - 4 * squared * curve


def u_statistic(gram: Tensor) -> tuple[float, float]:
    """Mean over pairs, and its standard error: twice that of the mean over rows, as a projection gives it."""
    n = len(gram)
    rows = (gram.sum(1) - gram.diagonal()) / (n - 1)
    return float(rows.mean()), float(2 * rows.std() / n**0.5)


def wild_bootstrap(gram: Tensor, draws: int, generator: torch.Generator) -> float:
    """Share of random signs that give a larger statistic: uniform where samples and energy agree."""
    n = len(gram)
    off = gram - torch.diag(gram.diagonal())
    signs = torch.randint(2, (draws, n), generator=generator).double() * 2 - 1
    null = ((signs @ off) * signs).sum(1) / (n * (n - 1))
    return float((1 + (null >= off.sum() / (n * (n - 1))).sum()) / (1 + draws))
