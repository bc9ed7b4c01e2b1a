"""Unadjusted Langevin dynamics in the forms the literature uses."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy
from ebm_cli.samplers.boundary import at_border, check_boundary
from ebm_cli.samplers.sampler import Info, Sampler, Schedule, State, value_at
from ebm_cli.utils.tensors import append_dims, clip_row_norm, normal_like


@dataclass(kw_only=True, eq=False, repr=False)
class Langevin(Sampler):
    """``x - step_size * clip(grad E) + noise_std * xi``.

    With the tied noise ``sqrt(2 step_size T)`` this is the unadjusted Langevin algorithm (Roberts & Tweedie 1996); with
    a free ``noise_std`` it is the short-run sampler of Du & Mordatch (2019) and Nijkamp et al. (2019).

    Args:
        n_steps: steps of a chain.
        step_size: factor of the gradient; a number, a ``(B,)`` tensor or a schedule.
        noise_std: standard deviation of the noise per step; null ties it to ``sqrt(2 * step_size * temperature)``.
        temperature: T of the tied noise. Not read when ``noise_std`` is given: see ``effective_temperature``.
        noise_first: add the noise before the gradient is taken, so that the picture ends without it (IGEBM).
        clamp_noise: where the noise comes first, ``boundary`` acts on the noisy point as well, before the gradient is
            taken there; otherwise after the step alone, as in IGEBM's release.
        grad_clip: bound on the gradient before it is scaled by ``step_size``; null for none.
        clip_by: ``value`` clips every entry to ``+-grad_clip``, ``norm`` each chain's whole gradient.
        boundary: ``clamp``, ``reflect`` or null: what happens at the border of the energy's box.
        chunk_size: evaluate at most so many chains at a time.

    Raises:
        ValueError: for a negative ``noise_std``, or an unknown ``clip_by``.

    Example:
        >>> harmonic = lambda x: 0.5 * x.square().sum(1)
        >>> sampler = Langevin(n_steps=100, step_size=0.1)
        >>> chain = sampler.sample(harmonic, torch.zeros(500, 2), generator=torch.Generator().manual_seed(0))
        >>> abs(float(chain.x.var()) - 1 / (1 - 0.1 / 2)) < 0.2  # 1 / (1 - step_size / 2): an unadjusted step is biased
        True
        >>> Langevin(step_size=10.0, noise_std=0.005).effective_temperature()
        1.25e-06
    """

    differentiable = True

    n_steps: int = 60
    step_size: Schedule = 1.0
    noise_std: Schedule | None = None
    noise_first: bool = False
    clamp_noise: bool = True
    grad_clip: float | None = None
    clip_by: str = "value"
    boundary: Literal["clamp", "reflect"] | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.clip_by not in ("value", "norm"):
            raise ValueError(f"clip_by must be value or norm, got {self.clip_by!r}")
        if isinstance(self.noise_std, (int, float)) and self.noise_std < 0:
            raise ValueError(f"noise_std must not be negative, got {self.noise_std}")

    def check(self, energy: Energy) -> None:
        super().check(energy)
        check_boundary(self.boundary, energy.support)

    def effective_temperature(self, i: int = 0, n: int = 1) -> float:
        """``noise_std^2 / (2 step_size)``: the temperature really sampled where neither clip nor border bites."""
        if self.noise_std is None:
            return value_at(self.temperature, i, n)
        return value_at(self.noise_std, i, n) ** 2 / (2 * value_at(self.step_size, i, n))

    def noise_at(self, i: int, n: int):
        """Standard deviation of the noise of step i of n."""
        if self.noise_std is not None:
            return value_at(self.noise_std, i, n)
        variance = 2 * value_at(self.step_size, i, n) * value_at(self.temperature, i, n)
        return variance.sqrt() if isinstance(variance, Tensor) else math.sqrt(variance)

    def clip(self, grad: Tensor) -> Tensor:
        """The gradient as the step uses it."""
        if self.grad_clip is None:
            return grad
        if self.clip_by == "value":
            return grad.clamp(-self.grad_clip, self.grad_clip)
        return clip_row_norm(grad, self.grad_clip)

    def step(self, energy: Energy, state: State, i: int, n: int, generator) -> tuple[State, Info]:
        if self.noise_first:
            noisy = self.add_noise(state.x, i, n, generator)
            state = State(at_border(noisy, self.boundary, energy.support) if self.clamp_noise else noisy)
        x, value, grad, _ = self.evaluate_state(energy, state)
        x = self.drift(x, grad, i, n)
        if not self.noise_first:
            x = self.add_noise(x, i, n, generator)
        x = at_border(x, self.boundary, energy.support)
        return State(x), Info(energy=value, grad=grad)

    def drift(self, x: Tensor, grad: Tensor, i: int, n: int) -> Tensor:
        """``x - step_size * clip(grad)``."""
        step_size, grad = value_at(self.step_size, i, n), self.clip(grad)
        if isinstance(step_size, Tensor):
            return x - append_dims(step_size, x) * grad
        return torch.sub(x, grad, alpha=step_size)

    def add_noise(self, x: Tensor, i: int, n: int, generator) -> Tensor:
        noise, std = normal_like(x, generator), self.noise_at(i, n)
        return x + noise.mul_(append_dims(std, x)) if isinstance(std, Tensor) else torch.add(x, noise, alpha=std)

    def log_transition(self, energy: Energy, a: Tensor, b: Tensor) -> Tensor:
        """``log q(b | a)`` of the first step, clip included, ``(B,)``.

        Raises:
            TypeError: with a border, or with the noise first: those kernels have no density of this form.
        """
        if self.boundary or self.noise_first:
            raise TypeError("the Langevin transition density needs boundary: null and noise_first: false")
        _, grad = self.evaluate(energy, a)
        return self.log_density(a, grad, b)

    def log_density(self, a: Tensor, grad: Tensor, b: Tensor) -> Tensor:
        """``log q(b | a)`` from the gradient at ``a``, already evaluated."""
        std = self.noise_at(0, 1)
        z = (b - a + append_dims(value_at(self.step_size, 0, 1), a) * self.clip(grad)) / append_dims(std, a)
        log_std = std.log() if isinstance(std, Tensor) else math.log(std)
        d = a[0].numel()
        return -0.5 * z.flatten(1).square().sum(1) - d * (log_std + 0.5 * math.log(2 * math.pi))
