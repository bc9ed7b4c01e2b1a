"""The path of densities from a base to an energy, and the ladders of inverse temperatures along it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebm_cli.energies.bases import Base, BernoulliBase, GaussianBase, UniformBox
from ebm_cli.energies.compositions import Composition
from ebm_cli.energies.discrete import UniformStates, placed
from ebm_cli.energies.energy import Energy, energies

LADDERS = ("linear", "geometric", "sigmoid", "adaptive")


class Path(Composition):
    """``(1 - beta) base(x) + beta E(x) / T``: the geometric path, from the base at 0 to the energy at 1.

    Args:
        base: normalized, so that ``log Z`` is 0 at beta = 0.
        energy: the target.
        beta: where on the path, in [0, 1].
        temperature: T of the target.
    """

    def __init__(self, base: Base, energy: Energy, beta: float = 0.0, temperature: float = 1.0):
        super().__init__([base, energy])
        self.beta, self.temperature = beta, temperature
        self.support = energy.support if energy.support.kind != "real" else base.support

    @property
    def base(self) -> Base:
        return self.parts[0]

    def at(self, beta: float) -> Path:
        """The same path elsewhere."""
        return Path(*self.parts, beta, self.temperature)

    def mix(self, start: Tensor, end: Tensor) -> Tensor:
        """Energies on the path; outside the base's support they are infinite all along, also at its end."""
        inside = (1 - self.beta) * start.nan_to_num(posinf=0.0) + self.beta / self.temperature * end
        return torch.where(start.isposinf(), start, inside)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(*(part(x) for part in self.parts))

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        (start, slope), (end, grad) = (part.value_and_grad(x) for part in self.parts)
        return self.mix(start, end), (1 - self.beta) * slope + self.beta / self.temperature * grad

    def change(self, x: Tensor, chunk_size: int | None = None) -> Tensor:
        """``base(x) - E(x) / T``: the derivative of the log density by beta, ``(B,)``, float64."""
        start, end = (energies(part, x, chunk_size=chunk_size).double() for part in self.parts)
        return start - end / self.temperature

    def like(self, parts, index=slice(None)):
        return Path(*parts, self.beta, self.temperature)


def make_ladder(kind: str, n: int) -> Tensor:
    """Inverse temperatures ``(n + 1,)`` from 0 to 1, float64; ``adaptive`` starts from the sigmoid one."""
    s = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    if kind == "linear":
        return s
    if kind == "geometric":
        return torch.cat([s[:1], torch.logspace(-4, 0, n, dtype=torch.float64)]) if n > 1 else s
    logistic = torch.sigmoid(8 * (s - 0.5))
    return (logistic - logistic[0]) / (logistic[-1] - logistic[0])


def space_equally(betas: Tensor, spread: Tensor, n: int) -> Tensor:
    """``n + 1`` levels at equal thermodynamic length, where the log-weights gain equal variance at every level.

    Args:
        betas: a ladder ``(m + 1,)`` that was tried.
        spread: standard deviation of ``Path.change`` at its first m levels, ``(m,)``.
        n: number of steps of the new ladder.
    """
    speed = spread.double() + 1e-3 * spread.double().mean() + 1e-12
    length = torch.cat([torch.zeros(1, dtype=torch.float64), (speed * betas.diff()).cumsum(0)])
    wanted = torch.linspace(0, 1, n + 1, dtype=torch.float64) * length[-1]
    found = interpolate(wanted, length, betas)
    found[0], found[-1] = 0.0, 1.0
    return found


def interpolate(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """Piecewise linear interpolation of ``ys`` over increasing ``xs``, constant outside."""
    right = torch.searchsorted(xs, x).clamp(1, len(xs) - 1)
    share = ((x - xs[right - 1]) / (xs[right] - xs[right - 1])).clamp(0, 1)
    return ys[right - 1] + share * (ys[right] - ys[right - 1])


def base_for(energy: Energy) -> Base:
    """A base that suits an energy: its own where it is tilted, else a standard normal, or uniform over its support."""
    own = getattr(energy, "base", None)
    if isinstance(own, Base):
        return own
    dtype, device = placed(energy)
    if energy.support.kind == "real":
        base = GaussianBase(energy.shape)
    elif energy.support.kind == "box":
        base = UniformBox(energy.shape, support=energy.support)
    elif energy.support.kind == "binary":
        base = BernoulliBase(energy.shape)
    else:
        base = UniformStates(energy.shape, support=energy.support)
    return base.to(device=device, dtype=dtype)


def log_mean_exp(x: Tensor) -> Tensor:
    """``log mean exp`` of a vector."""
    return torch.logsumexp(x, 0) - math.log(len(x))
