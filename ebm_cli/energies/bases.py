"""Normalized densities: where chains start, what NCE contrasts with, what AIS anneals from, what tilts a network."""

from __future__ import annotations

import abc
import math

import torch
from torch import Tensor

from ebm_cli.energies.energy import REAL, Energy, Support, box


def _randn(n, shape, like: Tensor, generator):
    return torch.randn(n, *shape, device=like.device, dtype=like.dtype, generator=generator)


def _rand(n, shape, like: Tensor, generator):
    return torch.rand(n, *shape, device=like.device, dtype=like.dtype, generator=generator)


def per_level(t: Tensor, x: Tensor) -> Tensor:
    """Levels ``(B,)`` shaped to broadcast over ``x`` ``(B, *shape)``."""
    return t.view(-1, *[1] * (x.ndim - 1))


class Base(Energy):
    """An energy whose ``log Z`` is 0, that is ``forward(x) = -log p(x)``, and that can be sampled exactly.

    Attributes:
        takes_levels: whether ``forward`` takes ``t``, the standard deviation of noise added to draws.
    """

    takes_levels = False

    def given(self, y: Tensor | None = None, t: Tensor | None = None) -> Energy:
        """Bases have no labels; with noise levels, the Gaussian ones are those of noised draws.

        Raises:
            ValueError: for noise levels and any other base.
        """
        if t is not None and not self.takes_levels:
            name = type(self).__name__
            raise ValueError(
                f"base: {name} knows no noise levels; use base=full_gaussian, base=gaussian or tilted=false"
            )
        return super().given(y, t)

    @abc.abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` independent draws, ``(n, *shape)``."""

    def fit_labeled(self, x: Tensor, y: Tensor | None) -> None:
        """``fit`` to examples ``(N, *shape)`` whose labels ``(N,)``, -1 where hidden, a base may use."""
        self.fit(x)

    def sample_labeled(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw for each label of ``y`` ``(n,)``: ``(n, *shape)``; the label makes no difference here."""
        return self.sample(len(y), generator)

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log density ``(B,)``."""
        return -self(x)


class GaussianBase(Base):
    """Independent Gaussian in every entry, ``N(mean, std^2)``.

    Args:
        shape: shape of one input.
        mean, std: of every entry, in the units of the data.
        fit_to_data: replace both by each entry's mean and standard deviation over the training split.

    Example:
        >>> round(float(GaussianBase((2,), std=1.0)(torch.zeros(1, 2))), 4)  # -log p(0) = log(2 pi)
        1.8379
    """

    takes_levels = True

    def __init__(self, shape, *, support: Support = REAL, mean: float = 0.0, std: float = 1.0, fit_to_data=False):
        super().__init__(shape, support)
        self.fit_to_data = fit_to_data
        self.register_buffer("mean", torch.full(self.shape, float(mean)))
        self.register_buffer("std", torch.full(self.shape, float(std)))

    def fit(self, x: Tensor) -> None:
        if self.fit_to_data:
            self.mean.copy_(x.mean(0))
            self.std.copy_(x.std(0).clamp_min(1e-2 * x.std()))

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        std = self.std[None] if t is None else (self.std.square() + per_level(t, x).square()).sqrt()
        z = ((x - self.mean) / std).flatten(1)
        log_norm = std.flatten(1).log().sum(1) + 0.5 * self.std.numel() * math.log(2 * math.pi)
        return 0.5 * z.square().sum(1) + log_norm

    def value_and_grad(self, x, t=None):
        with torch.no_grad():
            extra = 0.0 if t is None else per_level(t, x).square()
            return self(x, t), (x - self.mean) / (self.std.square() + extra)

    def sample(self, n, generator=None):
        return self.mean + self.std * _randn(n, self.shape, self.std, generator)


class FullGaussianBase(Base):
    """Gaussian with the mean and the covariance of the training data; the standard normal until it is fitted.

    Args:
        shape: shape of one input.
        floor: least standard deviation along any direction, as a share of the data's root mean square one.

    Example:
        >>> base = FullGaussianBase((3,))
        >>> base.fit(torch.randn(50, 3))
        >>> base.sample(4, torch.Generator().manual_seed(0)).shape
        torch.Size([4, 3])
    """

    takes_levels = True

    def __init__(self, shape, *, support: Support = REAL, floor: float = 0.01):
        super().__init__(shape, support)
        d = math.prod(self.shape)
        self.floor = float(floor)
        self.register_buffer("mean", torch.zeros(d))
        self.register_buffer("axes", torch.eye(d))
        self.register_buffer("std", torch.ones(d))

    def fit(self, x: Tensor) -> None:
        x = x.flatten(1).double()
        variance, axes = torch.linalg.eigh(torch.cov(x.T).view(x.shape[1], -1))
        least = self.floor**2 * variance.mean()
        self.mean.copy_(x.mean(0))
        self.axes.copy_(axes)
        self.std.copy_(variance.clamp_min(least).sqrt())

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        return self.along_axes(x, t)[0]

    def value_and_grad(self, x, t=None):
        with torch.no_grad():
            value, slope = self.along_axes(x, t)
            return value, (slope @ self.axes.T).view_as(x)

    def along_axes(self, x: Tensor, t: Tensor | None) -> tuple[Tensor, Tensor]:
        """Energies ``(B,)``, and their gradient in the principal axes ``(B, d)``."""
        along = (x.flatten(1) - self.mean) @ self.axes
        variance = self.std.square() + (0.0 if t is None else t[:, None].square())
        slope, d = along / variance, len(self.std)
        log_norm = 0.5 * variance.log().sum(-1) + 0.5 * d * math.log(2 * math.pi)
        return 0.5 * (along * slope).sum(1) + log_norm, slope

    def sample(self, n, generator=None):
        along = self.std * _randn(n, (len(self.std),), self.std, generator)
        return (self.mean + along @ self.axes.T).view(n, *self.shape)


class UniformBox(Base):
    """Uniform over ``[low, high]`` in every entry; outside, the energy is infinite.

    Args:
        low, high: bounds; null takes those of the data's support.

    Example:
        >>> round(float(UniformBox((2,), low=0.0, high=2.0)(torch.ones(1, 2))), 4)  # log of the volume, 2 log 2
        1.3863
    """

    def __init__(self, shape, *, support: Support = REAL, low: float | None = None, high: float | None = None):
        low = support.low if low is None else low
        high = support.high if high is None else high
        if low is None or high is None:
            raise ValueError("a uniform base needs low and high: this data set has no bounded range")
        super().__init__(shape, box(low, high))
        self.register_buffer("low", torch.tensor(float(low)))
        self.register_buffer("high", torch.tensor(float(high)))

    def forward(self, x: Tensor) -> Tensor:
        inside = ((x >= self.low) & (x <= self.high)).flatten(1).all(1)
        log_volume = math.prod(self.shape) * (self.high - self.low).log()
        # 0 * x keeps the input in the graph, so that the gradient inside the box is 0 rather than missing
        return torch.where(inside, log_volume + 0.0 * x.flatten(1).sum(1), math.inf)

    def sample(self, n, generator=None):
        return self.low + (self.high - self.low) * _rand(n, self.shape, self.low, generator)


class BernoulliBase(Base):
    """Independent Bernoulli entries in {0, 1}.

    Args:
        probability: of a one, in every entry.
        fit_to_data: replace it by each entry's training frequency, kept ``smoothing`` away from 0 and 1.

    Example:
        >>> base = BernoulliBase((4,), support=Support("binary"))
        >>> round(float(base(torch.ones(1, 4))), 4)  # 4 log 2
        2.7726
    """

    def __init__(self, shape, *, support: Support | None = None, probability=0.5, fit_to_data=False, smoothing=0.01):
        super().__init__(shape, Support("binary"))
        self.fit_to_data, self.smoothing = fit_to_data, smoothing
        self.register_buffer("probability", torch.full(self.shape, float(probability)))

    def fit(self, x: Tensor) -> None:
        if self.fit_to_data:
            self.probability.copy_(x.mean(0).clamp(self.smoothing, 1 - self.smoothing))

    def forward(self, x: Tensor) -> Tensor:
        log_p, log_q = self.probability.log(), (1 - self.probability).log()
        return -(x * log_p + (1 - x) * log_q).flatten(1).sum(1)

    def sample(self, n, generator=None):
        return (_rand(n, self.shape, self.probability, generator) < self.probability).to(self.probability.dtype)


class DataMixture(Base):
    """Gaussian mixture with one component at each of ``n_components`` training points.

    Args:
        n_components: how many training points carry a component; at most the size of the training split.
        std: width of every component, in the units of the data.

    Example:
        >>> base = DataMixture((2,), n_components=3, std=0.5)
        >>> base.fit(torch.randn(10, 2))
        >>> base(torch.zeros(4, 2)).shape
        torch.Size([4])
    """

    def __init__(self, shape, *, support: Support = REAL, n_components: int = 256, std: float = 0.3):
        super().__init__(shape, support)
        self.std = float(std)
        self.register_buffer("centers", torch.zeros(n_components, *self.shape))

    def fit(self, x: Tensor) -> None:
        if len(x) < len(self.centers):
            raise ValueError(f"n_components={len(self.centers)} exceeds the {len(x)} training points")
        self.centers.copy_(x[:: len(x) // len(self.centers)][: len(self.centers)])

    def forward(self, x: Tensor) -> Tensor:
        flat, centers = x.flatten(1), self.centers.flatten(1)
        squared = torch.cdist(flat, centers, compute_mode="donot_use_mm_for_euclid_dist").square()
        log_norm = flat.shape[1] * (math.log(self.std) + 0.5 * math.log(2 * math.pi)) + math.log(len(centers))
        return log_norm - torch.logsumexp(-0.5 * squared / self.std**2, 1)

    def sample(self, n, generator=None):
        device = self.centers.device
        index = torch.randint(len(self.centers), (n,), device=device, generator=generator)
        return self.centers[index] + self.std * _randn(n, self.shape, self.centers, generator)
