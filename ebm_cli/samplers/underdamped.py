"""Underdamped Langevin dynamics."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy
from ebm_cli.samplers.boundary import reflect
from ebm_cli.samplers.hmc import facing
from ebm_cli.samplers.sampler import Info, Sampler, Schedule, State, value_at
from ebm_cli.utils.tensors import append_dims, normal_like


@dataclass(kw_only=True, eq=False, repr=False)
class UnderdampedLangevin(Sampler):
    """``dx = v dt, dv = -grad E dt - friction v dt + sqrt(2 friction T) dW``, split into letters.

    A moves x along v, B kicks v by the gradient, O mixes v with noise exactly; a letter that stands twice takes half
    the time each. BAOAB samples positions of a quadratic energy exactly (Leimkuhler & Matthews 2013).

    Args:
        n_steps: default number of steps.
        step_size: time step h.
        friction: of the velocity, per unit of time.
        temperature: T.
        scheme: letters in order, such as ``BAOAB``, ``OBABO`` or ``ABOBA``.
        boundary: ``reflect`` turns positions and velocities at the walls of a box; null does nothing.
        chunk_size: chains evaluated at a time; null is all at once.

    Raises:
        ValueError: for a scheme without one of the letters, or a friction that is not positive.

    Example:
        >>> harmonic = lambda x: 0.5 * x.square().sum(1)
        >>> sampler = UnderdampedLangevin(n_steps=60, step_size=0.3)
        >>> chain = sampler.sample(harmonic, torch.zeros(500, 2), generator=torch.Generator().manual_seed(0))
        >>> abs(float(chain.x.var()) - 1) < 0.2, chain.state.aux["velocity"].shape
        (True, torch.Size([500, 2]))
    """

    n_steps: int = 100
    step_size: Schedule = 0.1
    friction: float = 1.0
    scheme: str = "BAOAB"
    boundary: str | None = None

    def __post_init__(self):
        super().__post_init__()
        if set(self.scheme) != set("ABO"):
            raise ValueError(f"scheme must be made of the letters A, B and O, each at least once, got {self.scheme!r}")
        if not self.friction > 0:
            raise ValueError(f"friction must be positive, got {self.friction}")
        if self.boundary not in (None, "reflect"):
            raise ValueError(f"boundary={self.boundary}: UnderdampedLangevin takes reflect or null")

    def check(self, energy: Energy) -> None:
        super().check(energy)
        if self.boundary and energy.support.kind != "box":
            raise ValueError(f"boundary={self.boundary} needs a box; this energy is defined on {energy.support.kind}")

    def start(self, x: Tensor, generator) -> dict[str, Tensor]:
        spread = value_at(self.temperature, 0, 1)
        return {"velocity": append_dims(spread, x) ** 0.5 * normal_like(x, generator)}

    def init(self, energy: Energy, x: Tensor, generator) -> State:
        return self.evaluate_state(energy, State(x, aux=self.start(x, generator)))

    def step(self, energy: Energy, state: State, i: int, n: int, generator) -> tuple[State, Info]:
        h, temperature = value_at(self.step_size, i, n), value_at(self.temperature, i, n)
        evaluations = 0
        for letter in self.scheme:
            time = h / self.scheme.count(letter)
            if letter == "B":
                evaluations += state.grad is None
                state = self.evaluate_state(energy, state)
            state = getattr(self, f"letter_{letter}")(state, time, temperature, energy, generator)
        evaluations += state.grad is None
        state = self.evaluate_state(energy, state)
        velocity = 0.5 * state.aux["velocity"].flatten(1).square().mean(1)
        info = Info(state.energy, state.grad, None, evaluations, {"kinetic": velocity})
        return state, info

    def letter_A(self, state: State, time, temperature, energy: Energy, generator) -> State:
        velocity = state.aux["velocity"]
        x = state.x + append_dims(time, state.x) * velocity
        if self.boundary:
            support = energy.support
            velocity = velocity * facing(x, support)
            x = reflect(x, support.low, support.high)
        return State(x, aux=state.aux | {"velocity": velocity})

    def letter_B(self, state: State, time, temperature, energy: Energy, generator) -> State:
        velocity = state.aux["velocity"] - append_dims(time, state.x) * state.grad
        return state._replace(aux=state.aux | {"velocity": velocity})

    def letter_O(self, state: State, time, temperature, energy: Energy, generator) -> State:
        # Exact solution of the Ornstein-Uhlenbeck part: any step is as good as a short one.
        decay = torch.exp(-self.friction * time) if isinstance(time, Tensor) else math.exp(-self.friction * time)
        spread = ((1 - decay**2) * temperature) ** 0.5
        noise = append_dims(spread, state.x) * normal_like(state.x, generator)
        velocity = append_dims(decay, state.x) * state.aux["velocity"] + noise
        return state._replace(aux=state.aux | {"velocity": velocity})
