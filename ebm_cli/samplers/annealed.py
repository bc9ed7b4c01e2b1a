"""Langevin dynamics down a ladder of noise levels or temperatures, and plain descent."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy
from ebm_cli.samplers.boundary import at_border, check_boundary, inside
from ebm_cli.samplers.langevin import Langevin
from ebm_cli.samplers.sampler import Info, Sampler, Schedule, State, fixed, value_at, whole
from ebm_cli.utils.tensors import append_dims, clip_row_norm, normal_like


@dataclass(kw_only=True, eq=False, repr=False)
class AnnealedLangevin(Langevin):
    """Langevin at noise levels from ``sigma_max`` down to ``sigma_min`` (Song & Ermon 2019).

    At level sigma the step size is ``step_size * (sigma / sigma_min)^2``. The energy is ``E(x, t=sigma)`` with
    ``over: noise``, for energies that know noise levels, and ``E(x)`` at temperature ``T (sigma / sigma_min)^2`` with
    ``over: temperature``.

    Args:
        n_steps: in all; every level takes an equal share.
        step_size: of the last level.
        n_levels: number of levels.
        sigma_max, sigma_min: first and last level, in the units of the data.
        rho: spacing of the levels: equal in ``sigma^(1 / rho)`` (Karras et al. 2022), or in ``log sigma`` for null.
        noised_start: add noise of the first level to where chains start.
        denoise: end with ``x - sigma_min^2 grad E``, the mean of what the noisy sample came from, inside the support.
        over: ``noise`` or ``temperature``.
        temperature, grad_clip, boundary, chunk_size: see ``Langevin``.

    Raises:
        ValueError: for levels that do not fall, or ``denoise`` over temperatures.

    Example:
        >>> sampler = AnnealedLangevin(n_levels=3, sigma_max=1.0, sigma_min=0.01)
        >>> [round(sigma, 2) for sigma in sampler.sigmas()]
        [1.0, 0.1, 0.01]
    """

    n_steps: int = 200
    step_size: float = 1e-3
    n_levels: int = 10
    sigma_max: float = 1.0
    sigma_min: float = 0.1
    rho: float | None = None
    noised_start: bool = False
    denoise: bool = False
    over: str = "noise"
    temperature: float = 1.0
    noise_std: Schedule | None = fixed()  # always tied to the step size
    noise_first: bool = fixed(False)
    clamp_noise: bool = fixed(True)
    clip_by: str = fixed("value")

    def __post_init__(self):
        super().__post_init__()
        if self.over not in ("noise", "temperature"):
            raise ValueError(f"over must be noise or temperature, got {self.over!r}")
        if not self.sigma_max >= self.sigma_min > 0:
            raise ValueError(f"sigma_max >= sigma_min > 0 expected, got {self.sigma_max} and {self.sigma_min}")
        if self.denoise and self.over != "noise":
            raise ValueError("denoise=true needs an energy that knows noise levels: over=noise")
        self.n_levels = whole("n_levels", self.n_levels)

    def sigmas(self) -> list[float]:
        """The levels, from the first to the last."""
        shares = [level / max(1, self.n_levels - 1) for level in range(self.n_levels)]
        return [level_between(self.sigma_max, self.sigma_min, self.rho, share) for share in shares]

    def sigma_at(self, i: int, n: int) -> float:
        """The noise level of step i of n."""
        return self.sigmas()[min(i * self.n_levels // n, self.n_levels - 1)]

    def at_level(self, sigma: float | Tensor) -> Langevin:
        """The transition of a level, or of one level per chain ``(B,)``."""
        growth = (sigma / self.sigma_min) ** 2
        temperature = self.temperature * growth if self.over == "temperature" else self.temperature
        return Langevin(
            n_steps=self.n_steps,
            step_size=self.step_size * growth,
            temperature=temperature,
            grad_clip=self.grad_clip,
            boundary=self.boundary,
            chunk_size=self.chunk_size,
        )

    def init(self, energy: Energy, x: Tensor, generator) -> State:
        if self.noised_start:
            x = x + self.sigma_max * normal_like(x, generator)
        return State(x)

    def step(self, energy: Energy, state: State, i: int, n: int, generator) -> tuple[State, Info]:
        sigma = self.sigma_at(i, n)
        at_level = self.at_level(sigma)
        if self.over == "noise":
            energy = energy.given(t=fill_level(sigma, state.x))
        state, info = at_level.step(energy, state, i, n, generator)
        return state, info._replace(extra={"sigma": sigma})

    def finish(self, energy: Energy, state: State, generator) -> State:
        if not self.denoise:
            return state
        _, grad = self.evaluate(energy.given(t=fill_level(self.sigma_min, state.x)), state.x)
        clean = state.x - self.sigma_min**2 * grad
        return State(inside(clean, energy.support))


def level_between(first: float, last: float, rho: float | None, share: float) -> float:
    """The noise level after a share of the way from the first to the last: ``sigma^(1 / rho)``, or for null ``log
    sigma``, goes in a straight line (Karras et al. 2022)."""
    if rho is None:
        return first * (last / first) ** share
    top, bottom = first ** (1 / rho), last ** (1 / rho)
    return (top + share * (bottom - top)) ** rho


def fill_level(sigma: float, x: Tensor) -> Tensor:
    """``sigma`` for every row of ``x``, ``(B,)``."""
    return torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)


@dataclass(kw_only=True, eq=False, repr=False)
class GradientDescent(Sampler):
    """``x - step_size * clip(grad E)``: no noise, no law, the way down to a mode.

    Args:
        n_steps: default number of steps.
        step_size: factor of the gradient.
        grad_clip: bound on the norm of each chain's gradient; null for none.
        boundary: at the border of a box: ``clamp``, ``reflect`` or null.
        chunk_size: chains evaluated at a time; null is all at once.

    Example:
        >>> descent = GradientDescent(n_steps=200, step_size=0.1)
        >>> descent.sample(lambda x: (x - 3).square().sum(1), torch.zeros(2, 1)).x
        tensor([[3.0000],
                [3.0000]])
    """

    n_steps: int = 100
    step_size: Schedule = 0.01
    temperature: Schedule = fixed(1.0)
    grad_clip: float | None = None
    boundary: Literal["clamp", "reflect"] | None = None

    def check(self, energy: Energy) -> None:
        super().check(energy)
        check_boundary(self.boundary, energy.support)

    def step(self, energy: Energy, state: State, i: int, n: int, generator) -> tuple[State, Info]:
        value, grad = self.evaluate(energy, state.x)
        step_size = append_dims(value_at(self.step_size, i, n), grad)
        x = state.x - step_size * clip_row_norm(grad, self.grad_clip)
        return State(at_border(x, self.boundary, energy.support)), Info(value, grad)
