"""Distance between the Gaussians of two sets of features, and the full-covariance Gaussian of images."""

from __future__ import annotations

import torch
from torch import Tensor


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``(d,)`` and unbiased covariance ``(d, d)`` of rows ``(N, d)``, in float64."""
    x = x.double()
    return x.mean(0), torch.cov(x.T).view(x.shape[1], x.shape[1])


def square_root(matrix: Tensor) -> Tensor:
    """The symmetric root of a positive semi-definite matrix; eigenvalues that rounding made negative count as 0."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Frechet (2-Wasserstein) distance between the Gaussians that fit ``a`` and ``b`` (Dowson & Landau 1982).

    ``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2)``, biased upwards by about ``d / n``: compare only
    numbers made with the same ``n``.

    Args:
        a, b: features, ``(N, d)`` and ``(M, d)``, at least two rows each.

    Example:
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> round(frechet_distance(x, x + 3), 4)
        9.0
    """
    (mean_a, cov_a), (mean_b, cov_b) = moments(a), moments(b)
    root = square_root(cov_a)
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross)


class PixelGaussian:
    """The Gaussian with the mean and the full covariance of images: the baseline of every image metric.

    Args:
        x: training images ``(N, *shape)``.
        ridge: share of the mean variance that is added to every variance before the covariance is inverted, since
            pixels that never change have none.
    """

    def __init__(self, x: Tensor, ridge: float = 1e-3):
        self.shape = x.shape[1:]
        self.mean, covariance = moments(x.flatten(1))
        self.values, self.vectors = torch.linalg.eigh(covariance)
        self.ridge = ridge * float(self.values.mean())

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` draws ``(n, *shape)``, float32."""
        noise = torch.randn(n, len(self.mean), generator=generator, dtype=torch.float64)
        x = self.mean + (noise * self.values.clamp_min(0).sqrt()) @ self.vectors.T
        return x.float().view(n, *self.shape)

    def mahalanobis(self, x: Tensor) -> Tensor:
        """Squared Mahalanobis distance ``(N,)`` of images ``(N, *shape)`` to the mean."""
        z = (x.flatten(1).double() - self.mean) @ self.vectors
        return (z.square() / (self.values.clamp_min(0) + self.ridge)).sum(1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density ``(N,)`` of ``(N, *shape)`` in nats, float64; needs a ridge where an entry never changes."""
        log_volume = (2 * torch.pi * (self.values.clamp_min(0) + self.ridge)).log().sum()
        return -0.5 * (self.mahalanobis(x) + log_volume)
