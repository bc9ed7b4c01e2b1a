"""Staged generation of diffusion recovery likelihood: every level undoes a part of the noise."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.compositions import Measured, Tempered
from ebm_cli.energies.energy import Energy
from ebm_cli.samplers.boundary import inside
from ebm_cli.samplers.langevin import Langevin
from ebm_cli.samplers.sampler import Chain, Info, Sampler, Schedule, State, fixed
from ebm_cli.utils.tensors import append_dims, normal_like


class NoiseLevels:
    """Noise in T transitions: ``x_(t+1) = shrink_t x_t + std_t z``. Lists of T numbers each.

    Attributes:
        scale: the energy of level t is one of ``y_t = scale_t x_t``.
        shrink, std: of the transitions, ``x_(t+1) = shrink_t x_t + std_t z``; shrink is scale, but for a last level
            that is open, whose energy is one of ``x_t`` itself.
        clean, noise: x_t is ``clean_t x + noise_t z`` for data x.
        step: ``b^2``, twice the Langevin step size, of every level.
        conditioning: the ``t`` that the energy is conditioned on at every level.
        temperature: the energy of ``y_t`` is the network's over this.
        weight: of the level's loss.
        open: whether the last level takes its marginal law, without ``x_(t+1)``.
        start: standard deviation of the noise that generation adds to draws of the base at first.
    """

    scale: list[float]
    shrink: list[float]
    std: list[float]
    clean: list[float]
    noise: list[float]
    step: list[float]
    conditioning: list[float]
    temperature: list[float]
    weight: list[float]
    open: bool
    start: float

    def __len__(self) -> int:
        return len(self.scale)


class VariancePreserving(NoiseLevels):
    """The levels of Gao et al. (2021): some of the thousand of a linear schedule.

    The energy is conditioned on their number.

    Args:
        n_levels: T, at least 2; the first T are evenly spaced over half the schedule, and the last transition goes on
            to pure noise. T = 6, that of the paper's short schedule, takes the levels 0, 100, .., 500 and 999.
        step: b^2 of the first level over the variance of its noise.

    Raises:
        ValueError: for fewer than two levels.

    Example:
        >>> levels = VariancePreserving(n_levels=6)
        >>> len(levels), levels.conditioning
        (6, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    """

    def __init__(self, *, n_levels: int = 6, step: float = 2e-4):
        if n_levels < 2:
            raise ValueError(f"sampler.levels.n_levels must be at least 2, got {n_levels}")
        beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
        spacing = 1000 // (2 * (n_levels - 1))
        # Share of the data's variance left at the levels, and at the end of the schedule: alpha-bar of DDPM.
        left = torch.cumprod(1 - beta, 0)[[*range(0, n_levels * spacing, spacing), 999]]
        ratio, noise = left[1:] / left[:-1], (1 - left[:-1]).sqrt()
        self.shrink, self.std = ratio.sqrt().tolist(), (1 - ratio).sqrt().tolist()
        self.scale = [*self.shrink[:-1], 1.0]
        self.clean, self.noise = left[:-1].sqrt().tolist(), noise.tolist()
        self.step = (step * noise / noise[0] * (1 - ratio)).tolist()
        self.conditioning, self.temperature = [float(t) for t in range(n_levels)], self.step
        self.weight = [self.std[0] / std for std in self.std]
        self.open, self.start = True, 0.0


class VarianceExploding(NoiseLevels):
    """Levels of growing noise, for energies conditioned on its standard deviation (``model=noise_mlp``).

    Args:
        n_levels: T, equally spaced in ``sigma^(1 / rho)`` (Karras et al. 2022).
        sigma_min, sigma_max: noise of the first level, and of what the last transition leads to.
        rho: bend of the spacing.
        step: b^2 over the variance of noise of a transition.
        data_std: root mean square of the data around their mean; for the weights alone.

    Raises:
        ValueError: for levels that do not rise from a positive one.

    Example:
        >>> levels = VarianceExploding(n_levels=2, sigma_min=0.1, sigma_max=1.0, rho=1.0)
        >>> [round(sigma, 2) for sigma in levels.conditioning]
        [0.1, 0.55]
    """

    def __init__(
        self,
        *,
        n_levels: int = 8,
        sigma_min: float = 0.07,
        sigma_max: float = 3.0,
        rho: float = 3.0,
        step: float = 0.1,
        data_std: float = 0.5,
    ):
        if not 0 < sigma_min < sigma_max:
            raise ValueError(f"sampler.levels needs 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")
        low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
        sigma = [(low + t / n_levels * (high - low)) ** rho for t in range(n_levels + 1)]
        self.scale = self.shrink = self.clean = [1.0] * n_levels
        self.noise = sigma[:-1]
        self.std = [math.sqrt(b**2 - a**2) for a, b in zip(sigma, sigma[1:], strict=False)]
        self.step = [step * std**2 for std in self.std]
        self.conditioning, self.temperature = self.noise, [1.0] * n_levels
        self.weight = [noise / data_std for noise in self.noise]
        self.open, self.start = False, sigma_max


@dataclass(kw_only=True, eq=False, repr=False)
class RecoverySampler(Sampler):
    """Generates from the noisiest level down, each by Langevin on ``p(y_t | x_(t+1))`` (Gao et al. 2021).

    The energy of a level's ``y`` is ``E(y, t) + |x_(t+1) - y|^2 / (2 std_t^2)``: one mode, where the noise is small, so
    that a short chain from ``x_(t+1)`` is enough.

    Args:
        n_steps: in all; every level takes an equal share, in training too.
        levels: the noise, a ``VariancePreserving`` or ``VarianceExploding``.
        denoise: end with ``x - noise_0^2 grad E``, inside the support.
        chunk_size: chains evaluated at a time; null is all at once.

    Raises:
        ValueError: for fewer steps than levels.

    Example:
        >>> sampler = RecoverySampler(levels=VariancePreserving(n_levels=6), n_steps=180)
        >>> [sampler.level_at(i, 180) for i in (0, 30, 179)]  # the noisiest first
        [5, 4, 0]
    """

    levels: NoiseLevels
    n_steps: int = 180
    denoise: bool = False
    step_size: Schedule | None = fixed()  # that of the levels
    temperature: Schedule = fixed(1.0)

    def __post_init__(self):
        super().__post_init__()
        if self.n_steps < len(self.levels):
            raise ValueError(f"sampler.n_steps={self.n_steps} is fewer than the {len(self.levels)} levels")

    # One level ------------------------------------------------------------------------------------------------

    def conditional(self, energy: Energy, noisy: Tensor, t: Tensor) -> Energy:
        """The energy of ``y_t`` given ``x_(t+1) = noisy``, one level ``t`` ``(B,)`` per row."""
        part = Tempered(energy.given(t=self.row("conditioning", t, noisy)), self.row("temperature", t, noisy))
        std = self.row("std", t, noisy)
        if self.levels.open:
            std = torch.where(t == len(self.levels) - 1, math.inf, std)
        return Measured(part, lambda y: y, noisy, std)

    def recover(self, energy: Energy, noisy: Tensor, t: Tensor, n_steps: int, generator) -> Chain:
        """Chains of ``y_t`` from ``x_(t+1)``, where they start."""
        return self.move(t, noisy).sample(
            self.conditional(energy, noisy, t), noisy, n_steps=n_steps, generator=generator
        )

    def move(self, t: Tensor, like: Tensor) -> Langevin:
        """The transition of every row's level."""
        return Langevin(step_size=0.5 * self.row("step", t, like), chunk_size=self.chunk_size)

    def row(self, name: str, t: Tensor, like: Tensor) -> Tensor:
        """A number of the levels for every row, ``(B,)``."""
        return torch.tensor(getattr(self.levels, name), dtype=like.dtype, device=like.device)[t]

    # All levels -----------------------------------------------------------------------------------------------

    def init(self, energy: Energy, x: Tensor, generator) -> State:
        if self.levels.start:
            x = x + self.levels.start * normal_like(x, generator)
        return State(x, aux={"noisy": x})

    def level_at(self, i: int, n: int) -> int:
        """The level of step i of n."""
        return max(0, len(self.levels) - 1 - i * len(self.levels) // n)

    def step(self, energy: Energy, state: State, i: int, n: int, generator) -> tuple[State, Info]:
        level = self.level_at(i, n)
        x, noisy = state.x, state.aux["noisy"]
        if i and level != self.level_at(i - 1, n):
            x = noisy = x / self.levels.scale[level + 1]
        t = torch.full((len(x),), level, device=x.device)
        target = self.conditional(energy, noisy, t)
        moved, info = self.move(t, x).step(target, State(x), i, n, generator)
        return State(moved.x, aux={"noisy": noisy}), info._replace(extra={"level": float(level)})

    def finish(self, energy: Energy, state: State, generator) -> State:
        x, t = state.x / self.levels.scale[0], torch.zeros(len(state.x), dtype=torch.long, device=state.x.device)
        if self.denoise:
            _, grad = self.evaluate(energy.given(t=self.row("conditioning", t, x)), x)
            grad = grad / append_dims(self.row("temperature", t, x), x)
            x = x - self.levels.noise[0] ** 2 * grad
        x = inside(x, energy.support)
        return state._replace(x=x, energy=None, grad=None)
