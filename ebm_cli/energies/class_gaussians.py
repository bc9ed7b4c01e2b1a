"""A Gaussian for every class: chains that start from it start as blurred examples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebm_cli.energies.bases import Base
from ebm_cli.energies.energy import REAL, Support


class ClassGaussians(Base):
    """Mixture of one Gaussian per class, fitted to the labeled training data (informative start, Yang & Ji 2021).

    Each has the mean and the leading principal axes of its class, and one variance for all other directions (Tipping &
    Bishop 1999). Chains of a known class start from its Gaussian.

    Args:
        shape: shape of one input.
        n_classes: how many.
        rank: principal axes kept per class, at most; all are kept where there are no more.
        floor: least standard deviation along any direction, as a share of the class's root mean square one.

    Raises:
        ValueError: for data without labels.

    Example:
        >>> base = ClassGaussians((2,), n_classes=3)
        >>> base.fit_labeled(torch.randn(30, 2), torch.arange(30) % 3)
        >>> base.sample_labeled(torch.tensor([0, 2]), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 2])
    """

    def __init__(
        self,
        shape,
        *,
        rank: int = 256,
        floor: float = 0.01,
        support: Support = REAL,
        n_classes: int | None = None,
    ):
        super().__init__(shape, support)
        if not n_classes:
            raise ValueError("class_gaussians needs a data set with labels; use full_gaussian or gaussian")
        if rank < 1 or floor <= 0:
            raise ValueError(f"rank must be at least 1 and floor positive, got rank={rank}, floor={floor}")
        d = math.prod(self.shape)
        self.rank, self.floor = min(int(rank), d), float(floor)
        self.register_buffer("share", torch.full((n_classes,), 1 / n_classes))
        self.register_buffer("mean", torch.zeros(n_classes, d))
        self.register_buffer("axes", torch.eye(d)[:, : self.rank].repeat(n_classes, 1, 1))
        self.register_buffer("std", torch.ones(n_classes, self.rank))
        self.register_buffer("rest", torch.ones(n_classes))

    def fit_labeled(self, x: Tensor, y: Tensor | None) -> None:
        """Fits every class to its examples; those of hidden label (-1) are left out.

        Raises:
            ValueError: for a class with fewer than two examples.
        """
        counts = torch.bincount(y[y >= 0], minlength=len(self.share))
        if int(counts.min()) < 2:
            few = int(counts.argmin())
            raise ValueError(f"base: class {few} has {int(counts[few])} labeled examples, and a Gaussian needs two")
        self.share.copy_(counts / counts.sum())
        for label in range(len(self.share)):
            self.fit_class(label, x[y == label].flatten(1).double())

    def fit_class(self, label: int, x: Tensor) -> None:
        """Sets one Gaussian to the mean and principal axes of ``x`` ``(n, d)``."""
        n, d = x.shape
        centered = x - x.mean(0)
        _, lengths, axes = torch.linalg.svd(centered, full_matrices=n < self.rank)
        variance = torch.zeros(self.rank, dtype=x.dtype)
        kept = min(self.rank, len(lengths))
        variance[:kept] = lengths[:kept].square() / (n - 1)
        total = centered.square().sum() / (n - 1)
        least = self.floor**2 * total / d
        self.mean[label] = x.mean(0)
        self.axes[label] = axes[: self.rank].T
        self.std[label] = variance.clamp_min(least).sqrt()
        self.rest[label] = ((total - variance.sum()) / max(d - self.rank, 1)).clamp_min(least).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.stack([self.log_density(label, x.flatten(1)) for label in range(len(self.share))], 1)
        return -torch.logsumexp(parts + self.share.log(), 1)

    def log_density(self, label: int, x: Tensor) -> Tensor:
        """Log density ``(B,)`` of one class at flattened inputs ``(B, d)``."""
        std, rest, outside = self.std[label], self.rest[label], x.shape[1] - self.rank
        centered = x - self.mean[label]
        along = centered @ self.axes[label]
        squared = (along / std).square().sum(1)
        log_norm = std.log().sum() + 0.5 * x.shape[1] * math.log(2 * math.pi)
        if outside:
            squared = squared + (centered - along @ self.axes[label].T).square().sum(1) / rest.square()
            log_norm = log_norm + outside * rest.log()
        return -0.5 * squared - log_norm

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.sample_labeled(torch.multinomial(self.share, n, True, generator=generator), generator)

    def sample_labeled(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.empty(len(y), self.mean.shape[1], dtype=self.mean.dtype, device=self.mean.device)
        noise.normal_(generator=generator)
        x = torch.empty_like(noise)
        for label in range(len(self.share)):
            x[y == label] = self.draws(label, noise[y == label])
        return x.view(-1, *self.shape)

    def draws(self, label: int, noise: Tensor) -> Tensor:
        """Standard normal ``noise`` ``(n, d)`` with the mean and covariance of one class."""
        axes, rest = self.axes[label], self.rest[label]
        return self.mean[label] + rest * noise + (noise @ axes * (self.std[label] - rest)) @ axes.T
