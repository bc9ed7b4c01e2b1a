"""Continuous energies whose normalizer, moments and exact samples are known: what samplers are measured by."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy

LOG_2PI = math.log(2 * math.pi)
Numbers = float | Sequence[float]


class ClosedForm(Energy):
    """An energy that knows its own shape, its ``log_z`` and how to draw from ``exp(-E) / Z`` exactly."""

    @abc.abstractmethod
    def log_z(self, temperature: float = 1.0) -> float:
        """``log`` of the integral of ``exp(-E(x) / T)``.

        Raises:
            ValueError: at temperatures where it has no closed form.
        """

    @abc.abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` independent draws at temperature 1, ``(n, *shape)``."""


class Gaussian(ClosedForm):
    """``(x - mean)' P (x - mean) / 2`` with precision P, not normalized.

    Args:
        dim: number of coordinates.
        mean, std: a number for all of them, or a list of one each.
        correlation: between every pair of coordinates, in ``(-1 / (dim - 1), 1)``.
        covariance: a matrix in place of ``std`` and ``correlation``; null for none.

    Example:
        >>> round(float(Gaussian(dim=2).log_z()), 4)  # log(2 pi)
        1.8379
    """

    def __init__(
        self,
        *,
        dim: int = 2,
        mean: Numbers = 0.0,
        std: Numbers = 1.0,
        correlation: float = 0.0,
        covariance: Sequence[Sequence[float]] | Tensor | None = None,
    ):
        super().__init__((dim,))
        if covariance is None:
            spread = per_coordinate("std", std, dim)
            covariance = correlation + (1 - correlation) * torch.eye(dim, dtype=torch.float64)
            covariance = spread[:, None] * covariance * spread
        covariance = torch.as_tensor(covariance, dtype=torch.float64)
        if covariance.shape != (dim, dim):
            raise ValueError(f"covariance must be {dim} x {dim}, got {tuple(covariance.shape)}")
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if failed:
            raise ValueError(f"covariance is not positive definite: std={std}, correlation={correlation}")
        self.log_det = 2 * float(factor.diagonal().log().sum())
        self.register_buffer("mean", per_coordinate("mean", mean, dim).float())
        self.register_buffer("covariance", covariance.float())
        self.register_buffer("precision", torch.cholesky_inverse(factor).float())
        self.register_buffer("factor", factor.float())

    def forward(self, x: Tensor) -> Tensor:
        centered = x - self.mean
        return 0.5 * ((centered @ self.precision) * centered).sum(1)

    def value_and_grad(self, x):
        with torch.no_grad():
            centered = x - self.mean
            grad = centered @ self.precision
            return 0.5 * (grad * centered).sum(1), grad

    def log_z(self, temperature=1.0):
        return 0.5 * (self.shape[0] * (LOG_2PI + math.log(temperature)) + self.log_det)

    def sample(self, n, generator=None):
        return self.mean + normal(n, self.shape[0], self.mean, generator) @ self.factor.T


class GaussianMixture(ClosedForm):
    """``-log sum_k w_k N(x; mean_k, std_k^2)``: normalized, with modes that samplers have to find.

    Args:
        means: centers, a list of points.
        std: a number for all components, or a list of one each.
        weights: of the components, made to sum to 1; null for equal ones.

    Example:
        >>> mixture = GaussianMixture()
        >>> mixture.sample(5, torch.Generator().manual_seed(0)).shape == (5, *mixture.shape)
        True
    """

    def __init__(
        self,
        *,
        means: Sequence[Sequence[float]] = ((-4.0, 0.0), (4.0, 0.0)),
        std: Numbers = 1.0,
        weights: Sequence[float] | None = (0.3, 0.7),
    ):
        means = torch.as_tensor(means, dtype=torch.float32)
        if means.ndim != 2:
            raise ValueError(f"means must be a list of points of one length, got shape {tuple(means.shape)}")
        super().__init__((means.shape[1],))
        weights = torch.ones(len(means)) if weights is None else torch.as_tensor(weights, dtype=torch.float32)
        if len(weights) != len(means) or weights.min() <= 0:
            raise ValueError(f"{len(means)} means need {len(means)} positive weights, got {weights.tolist()}")
        self.register_buffer("means", means)
        self.register_buffer("std", per_coordinate("std", std, len(means)).float())
        self.register_buffer("weights", weights / weights.sum())

    def forward(self, x: Tensor) -> Tensor:
        return -torch.logsumexp(self.log_joint(x), 1)

    def log_joint(self, x: Tensor) -> Tensor:
        """``log w_k N(x; mean_k, std_k^2)``, ``(B, components)``."""
        squared = (x[:, None] - self.means).square().sum(2)
        log_norm = self.shape[0] * (0.5 * LOG_2PI + self.std.log())
        return self.weights.log() - log_norm - 0.5 * squared / self.std.square()

    def component(self, x: Tensor) -> Tensor:
        """The component that each point most probably belongs to, ``(B,)``."""
        return self.log_joint(x).argmax(1)

    def log_z(self, temperature=1.0):
        if temperature != 1.0:
            raise ValueError(f"a Gaussian mixture has no closed log Z at temperature {temperature}, only at 1")
        return 0.0

    def sample(self, n, generator=None):
        cumulative = self.weights.cumsum(0)
        u = torch.rand(n, device=self.means.device, dtype=self.means.dtype, generator=generator)
        k = torch.searchsorted(cumulative, u * cumulative[-1])
        return self.means[k] + self.std[k, None] * normal(n, self.shape[0], self.means, generator)


class DoubleWell(ClosedForm):
    """``height ((x_1 / a)^2 - 1)^2`` along the first coordinate, ``|x|^2 / 2`` along the others.

    Args:
        dim: number of coordinates.
        height: of the barrier between the wells.
        a: the wells are at ``x_1 = -a`` and ``a``.

    Example:
        >>> energy = DoubleWell()
        >>> energy(torch.zeros(3, *energy.shape)).shape
        torch.Size([3])
    """

    def __init__(self, *, dim: int = 2, height: float = 4.0, a: float = 2.0):
        super().__init__((dim,))
        if height <= 0 or a <= 0:
            raise ValueError(f"height > 0 and a > 0 expected, got {height}, {a}")
        self.height, self.a = float(height), float(a)
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.along(x[:, 0]) + 0.5 * x[:, 1:].square().sum(1)

    def along(self, x: Tensor) -> Tensor:
        """Energy of the first coordinate."""
        return self.height * ((x / self.a).square() - 1).square()

    def grid(self, temperature: float) -> tuple[Tensor, Tensor]:
        """Points of the first coordinate that hold all but 1e-16 of its mass, and log densities there, float64."""
        reach = self.a * math.sqrt(1 + math.sqrt(40 * temperature / self.height))
        x = torch.linspace(-reach, reach, 20001, dtype=torch.float64)
        return x, -self.along(x) / temperature

    def log_z(self, temperature=1.0):
        x, log_p = self.grid(temperature)
        rest = 0.5 * (self.shape[0] - 1) * (LOG_2PI + math.log(temperature))
        return float(torch.logsumexp(log_p, 0) + (x[1] - x[0]).log()) + rest

    def sample(self, n, generator=None):
        rest = normal(n, self.shape[0] - 1, self.like, generator)
        u = torch.rand(n, device=self.like.device, dtype=torch.float64, generator=generator).cpu()
        x, log_p = self.grid(1.0)
        cumulative = torch.softmax(log_p, 0).cumsum(0)
        at = torch.searchsorted(cumulative, u * cumulative[-1])
        below = torch.where(at > 0, cumulative[at - 1], 0.0)
        first = x[at] + (x[1] - x[0]) * ((u * cumulative[-1] - below) / (cumulative[at] - below) - 0.5)
        return torch.cat([first.to(rest)[:, None], rest], 1)


class Funnel(ClosedForm):
    """Neal's funnel (2003): ``v ~ N(0, std^2)``, and the other coordinates ``N(0, exp(v))``; not normalized.

    Args:
        dim: number of coordinates, ``v`` first.
        std: of ``v``.

    Example:
        >>> energy = Funnel()
        >>> energy(torch.zeros(3, *energy.shape)).shape
        torch.Size([3])
    """

    def __init__(self, *, dim: int = 10, std: float = 3.0):
        super().__init__((dim,))
        if dim < 2 or std <= 0:
            raise ValueError(f"dim >= 2 and std > 0 expected, got {dim}, {std}")
        self.std = float(std)
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        v, rest = x[:, 0], x[:, 1:]
        across = 0.5 * rest.square().sum(1) * (-v).exp() + 0.5 * rest.shape[1] * v
        return 0.5 * (v / self.std).square() + across

    def log_z(self, temperature=1.0):
        # integrating the d - 1 coordinates out at temperature T leaves exp(v (d - 1) (1 - 1/T) / 2)
        n, shift = self.shape[0] - 1, 0.5 * (self.shape[0] - 1) * (1 - 1 / temperature)
        along = 0.5 * (LOG_2PI + math.log(temperature)) + math.log(self.std)
        return along + 0.5 * shift**2 * self.std**2 * temperature + 0.5 * n * (LOG_2PI + math.log(temperature))

    def sample(self, n, generator=None):
        z = normal(n, self.shape[0], self.like, generator)
        v = self.std * z[:, :1]
        return torch.cat([v, z[:, 1:] * (0.5 * v).exp()], 1)


def per_coordinate(name: str, value: Numbers, n: int) -> Tensor:
    """``value`` ``(n,)``, float64, from a number or a list of n; standard deviations must be positive."""
    values = torch.as_tensor(value, dtype=torch.float64)
    if values.ndim > 1 or (values.ndim == 1 and len(values) != n):
        raise ValueError(f"{name} must be a number or a list of {n}, got {values.tolist()}")
    if name == "std" and values.min() <= 0:
        raise ValueError(f"std must be positive, got {values.tolist()}")
    return values.expand(n).clone()


def normal(n: int, dim: int, like: Tensor, generator) -> Tensor:
    """Standard normal draws ``(n, dim)`` of the type and on the device of ``like``."""
    return torch.randn(n, dim, device=like.device, dtype=like.dtype, generator=generator)
