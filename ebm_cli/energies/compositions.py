"""Energies made of energies: what every sampling task runs a sampler on."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ebm_cli.energies.bases import Base, per_level
from ebm_cli.energies.energy import Energy


class Composition(Energy):
    """Base of the compositions: ``parts`` are energies of one shape, ``like(parts)`` rebuilds with other parts."""

    def __init__(self, parts: Sequence[Energy]):
        shapes = {tuple(p.shape) for p in parts}
        if len(shapes) != 1:
            raise ValueError(f"composed energies must share one shape, got {sorted(shapes)}")
        super().__init__(parts[0].shape, parts[0].support)
        self.parts = nn.ModuleList(parts)
        self.n_classes = next((p.n_classes for p in parts if p.n_classes), None)

    @property
    def joint(self) -> bool:
        """Whether labels are marginalized where none are given, as in every part that knows labels."""
        labeled = [p for p in self.parts if p.n_classes]
        return bool(labeled) and all(getattr(p, "joint", False) for p in labeled)

    @abc.abstractmethod
    def like(self, parts: Sequence[Energy], index=slice(None)) -> Energy:
        """The same composition of other parts; ``index`` picks rows of whatever is bound per row."""

    def given(self, y=None, t=None) -> Energy:
        return self.like([p.given(y if p.n_classes else None, t) for p in self.parts])

    def rows(self, index) -> Energy:
        return self.like([p.rows(index) for p in self.parts], index)

    def with_networks(self, replace) -> Energy:
        return self.like([p.with_networks(replace) for p in self.parts])


class Product(Composition):
    """Product of experts: ``sum_i w_i E_i(x)``. A negative weight avoids what the part likes (Du et al. 2020).

    Example:
        >>> from ebm_cli.energies import Gaussian
        >>> both = Product([Gaussian(dim=2), Gaussian(dim=2)])
        >>> bool(both(torch.ones(1, 2)) == 2 * Gaussian(dim=2)(torch.ones(1, 2)))
        True
    """

    def __init__(self, parts: Sequence[Energy], weights: Sequence[float] | None = None):
        super().__init__(parts)
        self.weights = [1.0] * len(parts) if weights is None else [float(w) for w in weights]
        if len(self.weights) != len(parts):
            raise ValueError(f"{len(parts)} energies need {len(parts)} weights, got {len(self.weights)}")

    def forward(self, x: Tensor) -> Tensor:
        return sum(w * part(x) for w, part in zip(self.weights, self.parts, strict=True))

    def like(self, parts, index=slice(None)):
        return Product(parts, self.weights)


class Mixture(Composition):
    """Disjunction: ``-log sum_i w_i exp(-E_i(x))``; weights multiply the unnormalized densities.

    Example:
        >>> from ebm_cli.energies import Gaussian
        >>> energy, x = Gaussian(dim=2), torch.ones(1, 2)
        >>> torch.allclose(Mixture([energy, energy])(x), energy(x) - math.log(2))
        True
    """

    def __init__(self, parts: Sequence[Energy], weights: Sequence[float] | None = None):
        super().__init__(parts)
        self.weights = [1.0] * len(parts) if weights is None else [float(w) for w in weights]
        if len(self.weights) != len(parts) or min(self.weights) <= 0:
            raise ValueError(f"a mixture of {len(parts)} energies needs as many positive weights, got {self.weights}")

    def forward(self, x: Tensor) -> Tensor:
        logs = [math.log(w) - part(x) for w, part in zip(self.weights, self.parts, strict=True)]
        return -torch.logsumexp(torch.stack(logs), 0)

    def like(self, parts, index=slice(None)):
        return Mixture(parts, self.weights)


class Negated(Composition):
    """``-E(x)``: likes what the part dislikes.

    Example:
        >>> from ebm_cli.energies import Gaussian
        >>> float(Negated(Gaussian(dim=2))(torch.ones(1, 2)) + Gaussian(dim=2)(torch.ones(1, 2)))
        0.0
    """

    def __init__(self, part: Energy):
        super().__init__([part])

    def forward(self, x: Tensor) -> Tensor:
        return -self.parts[0](x)

    def like(self, parts, index=slice(None)):
        return Negated(*parts)


class Tempered(Composition):
    """``E(x) / T``, ``T`` a number or one per row ``(B,)``.

    Example:
        >>> from ebm_cli.energies import Gaussian
        >>> float(Tempered(Gaussian(dim=2), 2.0)(torch.ones(1, 2)) / Gaussian(dim=2)(torch.ones(1, 2)))
        0.5
    """

    def __init__(self, part: Energy, temperature: float | Tensor):
        super().__init__([part])
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        return self.parts[0](x) / self.temperature

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, grad = self.parts[0].value_and_grad(x)
        t = self.temperature
        return value / t, grad / (per_level(t, x) if isinstance(t, Tensor) and t.ndim else t)

    def like(self, parts, index=slice(None)):
        t = self.temperature
        return Tempered(*parts, t[index] if isinstance(t, Tensor) and t.ndim else t)


class Tilted(Composition):
    """``network(x) + base(x)``: normalizable wherever the network grows slower than the base.

    Example:
        >>> from ebm_cli.energies import GaussianBase
        >>> from ebm_cli.models import MLP
        >>> network, base = MLP((2,), hidden=[4]), GaussianBase((2,))
        >>> x = torch.ones(1, 2)
        >>> torch.allclose(Tilted(network, base)(x), network(x) + base(x))
        True
    """

    def __init__(self, network: Energy, base: Base):
        super().__init__([network, base])

    @property
    def network(self) -> Energy:
        return self.parts[0]

    @property
    def base(self) -> Base:
        return self.parts[1]

    def class_energies(self, x: Tensor) -> Tensor:
        """``E(x, y)`` of the tilted model, ``(B, K)``: the base shifts all classes alike."""
        return self.network.class_energies(x) + self.base(x)[:, None]

    def forward(self, x: Tensor) -> Tensor:
        parts = self.at_level(x).parts
        return parts[0](x) + parts[1](x)

    def at_level(self, x: Tensor) -> Tilted:
        """Itself, or both parts at the noise level that the network means where none is given."""
        level = self.network.level
        return self if level is None else self.given(t=torch.full((len(x),), level, dtype=x.dtype, device=x.device))

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        (value, grad), (more, slope) = (part.value_and_grad(x) for part in self.at_level(x).parts)
        return value + more, grad + slope

    def like(self, parts, index=slice(None)):
        return Tilted(*parts)


class Measured(Composition):
    """Soft measurement: ``E(x) + |A(x) - b|^2 / (2 s^2)``, the energy of x given the observation b.

    Args:
        part: prior energy.
        operator: differentiable map of ``(B, *shape)`` to the shape of ``b``.
        b: observations, ``(B, ...)``, one per row.
        noise_std: s, the standard deviation of the measurement noise, in the units of b: a number or one per row.

    Example:
        >>> from ebm_cli.energies import Gaussian
        >>> observed = Measured(Gaussian(dim=2), lambda x: x[:, :1], torch.ones(4, 1), noise_std=0.5)
        >>> observed(torch.zeros(4, 2)).shape
        torch.Size([4])
    """

    def __init__(self, part: Energy, operator: Callable, b: Tensor, noise_std: float | Tensor):
        super().__init__([part])
        self.operator, self.b, self.noise_std = operator, b, noise_std

    def forward(self, x: Tensor) -> Tensor:
        return self.parts[0](x) + self.misfit(x)

    def misfit(self, x: Tensor) -> Tensor:
        """The term of the measurement, ``(B,)``."""
        return (self.operator(x) - self.b).flatten(1).square().sum(1) / (2 * self.noise_std**2)

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, grad = self.parts[0].value_and_grad(x)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            misfit = self.misfit(x)
            (slope,) = torch.autograd.grad(misfit.sum(), x)
        return value + misfit.detach(), grad + slope

    def like(self, parts, index=slice(None)):
        s = self.noise_std
        return Measured(*parts, self.operator, self.b[index], s[index] if isinstance(s, Tensor) and s.ndim else s)


class Projected(Composition):
    """Hard constraint: ``E(project(x))``, where ``project`` restores what is known.

    The known entries of x then move freely and are put back by ``project`` at the end, which is exact for every
    sampler: the free entries follow their conditional law.

    Args:
        project: map ``(x, known) -> (B, *shape)``.
        known: what is known, one per row ``(B, ...)``.

    Example:
        >>> from ebm_cli.energies import Gaussian
        >>> put_back = lambda x, known: torch.cat([known, x[:, 1:]], 1)
        >>> energy, x = Projected(Gaussian(dim=2), put_back, torch.ones(1, 1)), torch.zeros(1, 2)
        >>> bool(energy(x) == Gaussian(dim=2)(torch.tensor([[1.0, 0.0]])))
        True
    """

    def __init__(self, part: Energy, project: Callable, known: Tensor):
        super().__init__([part])
        self.projection, self.known = project, known

    def project(self, x: Tensor) -> Tensor:
        return self.projection(x, self.known)

    def forward(self, x: Tensor) -> Tensor:
        return self.parts[0](self.project(x))

    def like(self, parts, index=slice(None)):
        return Projected(*parts, self.projection, self.known[index])
