"""Two-dimensional densities whose logarithm is known exactly: what every toy run is measured by."""

from __future__ import annotations

import abc
import math
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

BOX = 4.5  # half-width that shows all toys at one scale; their mass lies well inside


class Density(abc.ABC):
    """A normalized density on the plane.

    Attributes:
        name: how runs and tables call it.
        modes: centers ``(M, 2)`` of modes worth counting, or None where the mass is connected.
        sd_min: width of the narrowest feature, as a standard deviation: a Langevin step must stay well below it.
        reach: largest coordinate that mass is found at: all but 1e-6 of it lies within.
    """

    name: str
    modes: Tensor | None = None
    sd_min: float
    reach: float

    @abc.abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log density ``(B,)`` at points ``(B, 2)``, in nats."""

    @abc.abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` independent exact draws ``(n, 2)``, float32; ``generator`` lives on the CPU."""

    @property
    def box(self) -> float:
        """Half-width of the square around 0 that pictures and grids show; it holds the mass."""
        return max(BOX, float(self.reach))

    @cached_property
    def entropy(self) -> float:
        """``-E log p`` in nats, by the midpoint rule: exact to rounding for smooth features wider than a cell."""
        n = max(400, math.ceil(4 * self.box / self.sd_min))
        line = ((torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 - 1) * self.box
        total = 0.0
        for y in line.split(50):
            points = torch.cartesian_prod(line, y)
            log_p = self.log_prob(points)
            total -= torch.special.xlogy(log_p.exp(), log_p.exp()).sum().item()
        return total * (2 * self.box / n) ** 2


def positive(**values: float) -> None:
    """Raises ValueError naming the first value that is not above 0."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def randint(high: int, n: int, generator) -> Tensor:
    return torch.randint(high, (n,), generator=generator)


def randn(n: int, generator) -> Tensor:
    return torch.randn(n, 2, generator=generator)


def log_mixture(x: Tensor, centers: Tensor, log_weights: Tensor, std: float) -> Tensor:
    """Log density ``(B,)`` of round Gaussians of one ``std`` at ``centers`` ``(M, 2)``."""
    squared = (x[:, None] - centers.to(x)).square().sum(2)
    return torch.logsumexp(log_weights.to(x) - squared / (2 * std**2), 1) - math.log(2 * math.pi * std**2)


class Gaussians(Density):
    """Equal round Gaussians: the common part of ring and grid.

    Args:
        centers: ``(M, 2)``.
        std: of every Gaussian.
    """

    def __init__(self, centers: Tensor, std: float):
        positive(std=std)
        self.modes, self.sd_min = centers, float(std)
        self.reach = float(centers.abs().max()) + 6 * std
        self.name = f"{len(centers)}gaussians"

    def log_prob(self, x: Tensor) -> Tensor:
        weights = torch.full((len(self.modes),), -math.log(len(self.modes)))
        return log_mixture(x, self.modes, weights, self.sd_min)

    def sample(self, n, generator=None):
        return self.modes[randint(len(self.modes), n, generator)] + self.sd_min * randn(n, generator)


class RingOfGaussians(Gaussians):
    """Gaussians at equal angles on a circle.

    Args:
        n_modes: how many.
        radius: of the circle.
        std: of every Gaussian.
    """

    def __init__(self, *, n_modes: int = 8, radius: float = 2.0, std: float = 0.2):
        positive(n_modes=n_modes, radius=radius)
        angles = torch.arange(n_modes) * (2 * math.pi / n_modes)
        super().__init__(radius * torch.stack([angles.cos(), angles.sin()], 1), std)


class GridOfGaussians(Gaussians):
    """Gaussians on a square grid around 0.

    Args:
        n_side: Gaussians per side.
        spacing: distance between neighbors.
        std: of every Gaussian.
    """

    def __init__(self, *, n_side: int = 5, spacing: float = 1.0, std: float = 0.15):
        positive(n_side=n_side, spacing=spacing)
        line = (torch.arange(n_side) - (n_side - 1) / 2) * spacing
        super().__init__(torch.cartesian_prod(line, line), std)


class TwoModes(Density):
    """Two round Gaussians far apart on the first axis, of unequal mass: what chains that do not jump cannot weigh.

    Args:
        distance: of each center from 0; the lighter one lies to the left.
        mass: of the one to the left, in (0, 1).
        std: of both.
    """

    name = "two_modes"

    def __init__(self, *, distance: float = 6.0, mass: float = 0.25, std: float = 1.0):
        positive(distance=distance, mass=mass, std=std)
        if mass >= 1:
            raise ValueError(f"mass must lie between 0 and 1, got {mass}")
        self.modes = torch.tensor([[-float(distance), 0.0], [float(distance), 0.0]])
        self.mass, self.sd_min, self.reach = float(mass), float(std), distance + 6 * std

    def log_prob(self, x: Tensor) -> Tensor:
        return log_mixture(x, self.modes, torch.tensor([self.mass, 1 - self.mass]).log(), self.sd_min)

    def sample(self, n, generator=None):
        right = (torch.rand(n, generator=generator) >= self.mass).long()
        return self.modes[right] + self.sd_min * randn(n, generator)


class TwoMoons(Density):
    """Two interleaved half circles, uniform along their length, with round Gaussian noise added.

    The density is the convolution of the arcs with the Gaussian; its integral along the arcs is taken by
    Gauss-Legendre quadrature, exact to rounding with nodes closer than ``std``.

    Args:
        scale: radius of the half circles.
        std: of the noise.
    """

    name = "two_moons"

    def __init__(self, *, scale: float = 1.6, std: float = 0.16):
        positive(scale=scale, std=std)
        self.scale, self.sd_min = float(scale), float(std)
        self.reach = 1.5 * scale + 6 * std
        n_nodes = math.ceil(2 * math.pi * scale / std)
        nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
        angles = torch.from_numpy(math.pi / 2 * (nodes + 1))
        self.centers = torch.cat([self.arc(angles, 0), self.arc(angles, 1)])
        self.log_weights = torch.from_numpy(weights / 4).log().repeat(2)

    def arc(self, angle: Tensor, moon: Tensor | int) -> Tensor:
        """Points ``(n, 2)`` on the upper (0) or lower (1) moon, at angles in [0, pi]."""
        sign = 1 - 2 * torch.as_tensor(moon)
        x, y = sign * angle.cos() - sign * 0.5, sign * angle.sin() - sign * 0.25
        return self.scale * torch.stack([x, y], 1)

    def log_prob(self, x):
        return log_mixture(x, self.centers, self.log_weights, self.sd_min)

    def sample(self, n, generator=None):
        angle = math.pi * torch.rand(n, generator=generator)
        return self.arc(angle, randint(2, n, generator)) + self.sd_min * randn(n, generator)


class Rings(Density):
    """Concentric circles of equal mass, uniform along their length, with round Gaussian noise added.

    A circle of radius R convolved with the Gaussian is ``exp(-(r^2 + R^2) / 2 s^2) I_0(r R / s^2) / (2 pi s^2)``.

    Args:
        n_rings: how many.
        spacing: radius of the innermost, and distance between neighbors.
        std: of the noise.
    """

    name = "rings"

    def __init__(self, *, n_rings: int = 4, spacing: float = 0.75, std: float = 0.1):
        positive(n_rings=n_rings, spacing=spacing, std=std)
        self.radii, self.sd_min = spacing * torch.arange(1, n_rings + 1), float(std)
        self.reach = n_rings * spacing + 6 * std

    def log_prob(self, x):
        radii, variance = self.radii.to(x), self.sd_min**2
        r = x.square().sum(1, keepdim=True).clamp_min(1e-30).sqrt()
        log_rings = (torch.special.i0e(r * radii / variance)).log() - (r - radii).square() / (2 * variance)
        return torch.logsumexp(log_rings, 1) - math.log(2 * math.pi * variance * len(radii))

    def sample(self, n, generator=None):
        radius = self.radii[randint(len(self.radii), n, generator)]
        angle = 2 * math.pi * torch.rand(n, generator=generator)
        circle = radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
        return circle + self.sd_min * randn(n, generator)


class Checkerboard(Density):
    """Uniform on every other square of a board centered at 0; zero, that is ``log p = -inf``, elsewhere.

    Args:
        n_side: squares per side, even.
        cell: side of a square.
    """

    name = "checkerboard"

    def __init__(self, *, n_side: int = 4, cell: float = 1.5):
        positive(n_side=n_side, cell=cell)
        if n_side % 2:
            raise ValueError(f"n_side must be even, so that half of the squares are full, got {n_side}")
        self.n_side, self.cell = int(n_side), float(cell)
        self.reach, self.sd_min = n_side * cell / 2, cell / math.sqrt(12)
        places = torch.cartesian_prod(torch.arange(n_side), torch.arange(n_side))
        self.full = places[places.sum(1) % 2 == 0]
        self.modes = (self.full + 0.5) * self.cell - self.reach

    @property
    def entropy(self) -> float:
        return math.log(len(self.full) * self.cell**2)

    def log_prob(self, x):
        place = ((x + self.reach) / self.cell).floor()
        on_board = ((place >= 0) & (place < self.n_side)).all(1)
        inside = on_board & (place.sum(1) % 2 == 0)
        return torch.where(inside, -self.entropy, -math.inf).to(x)

    def sample(self, n, generator=None):
        corner = self.full[randint(len(self.full), n, generator)]
        return (corner + torch.rand(n, 2, generator=generator)) * self.cell - self.reach


class Pinwheel(Density):
    """Long Gaussians around a circle, each point turned by an angle proportional to its radius.

    Turning by an angle that depends on the radius alone preserves area, so the density is that of the Gaussians at the
    point turned back. (The pinwheel of Johnson et al. 2016 turns by an exponential of one coordinate, which has no such
    closed form; it looks alike.)

    Args:
        n_arms: how many.
        radius: distance of their centers from 0.
        radial_std, tangential_std: of the Gaussians, along and across the arm before it is turned.
        twist: turn per unit of radius, in radians.
    """

    name = "pinwheel"

    def __init__(
        self, *, n_arms: int = 5, radius: float = 2.0, radial_std=0.5, tangential_std=0.2, twist: float = 0.35
    ):
        positive(n_arms=n_arms, radius=radius, radial_std=radial_std, tangential_std=tangential_std)
        self.radius, self.twist = float(radius), float(twist)
        self.stds = torch.tensor([radial_std, tangential_std])
        self.angles = torch.arange(n_arms) * (2 * math.pi / n_arms)
        self.reach = radius + 5 * radial_std
        # the turn shears an arm by twist * r, which narrows it; taken one deviation beyond the center of the arm
        self.sd_min = tangential_std / math.hypot(1, twist * (radius + radial_std))
        self.modes = turned(torch.tensor([[radius, 0.0]]).expand(n_arms, 2), self.angles + twist * radius)

    def log_prob(self, x):
        angle = self.angles.to(x) + self.twist * torch.linalg.vector_norm(x, dim=1, keepdim=True)
        back = turned(x[:, None].expand(-1, len(self.angles), 2), -angle)
        z = (back - torch.tensor([self.radius, 0.0]).to(x)) / self.stds.to(x)
        log_norm = math.log(2 * math.pi * len(self.angles)) + self.stds.log().sum().item()
        return torch.logsumexp(-0.5 * z.square().sum(2), 1) - log_norm

    def sample(self, n, generator=None):
        straight = randn(n, generator) * self.stds + torch.tensor([self.radius, 0.0])
        angle = self.angles[randint(len(self.angles), n, generator)]
        return turned(straight, angle + self.twist * torch.linalg.vector_norm(straight, dim=1))


def turned(x: Tensor, angle: Tensor) -> Tensor:
    """Points ``(..., 2)`` turned counter-clockwise around 0 by ``angle`` ``(...)``, in radians."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos * x[..., 0] - sin * x[..., 1], sin * x[..., 0] + cos * x[..., 1]], -1)
