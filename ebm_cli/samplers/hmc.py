"""Hamiltonian Monte Carlo."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy, Support
from ebm_cli.samplers.adjusted import Adjusted
from ebm_cli.samplers.boundary import reflect
from ebm_cli.samplers.sampler import Schedule, State, whole
from ebm_cli.utils.tensors import append_dims, normal_like


@dataclass(kw_only=True, eq=False, repr=False)
class HMC(Adjusted):
    """A fresh momentum, ``n_leapfrog`` leapfrog steps of ``E/T + |p|^2 / 2``, then accepted or refused (Neal 2011).

    In a box ``boundary: reflect`` turns the momentum at the walls like a billiard ball's, which keeps the law exact.

    Args:
        n_steps, step_size, temperature, boundary, adapt_steps, target_acceptance, chunk_size: see ``Adjusted``;
            acceptance is best at about .8 with several leapfrog steps.
        n_leapfrog: leapfrog steps, one evaluation each.
        jitter: each trajectory draws its step size from ``step_size * [1 - jitter, 1 + jitter]``, against resonance.

    Raises:
        ValueError: for a jitter outside [0, 1), and for what ``Adjusted`` refuses.

    Example:
        >>> harmonic = lambda x: 0.5 * x.square().sum(1)
        >>> sampler = HMC(n_steps=10, step_size=0.3, n_leapfrog=5)
        >>> chain = sampler.sample(harmonic, torch.zeros(500, 2), generator=torch.Generator().manual_seed(0))
        >>> abs(float(chain.x.var()) - 1) < 0.2, chain.stats["evaluations"].tolist()[:3]
        (True, [5, 5, 5])
    """

    step_size: Schedule = 0.1
    n_leapfrog: int = 10
    jitter: float = 0.2
    target_acceptance: float = 0.8

    def __post_init__(self):
        super().__post_init__()
        self.n_leapfrog = whole("n_leapfrog", self.n_leapfrog)
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter must lie in [0, 1), got {self.jitter}")

    def propose(self, energy: Energy, state: State, step_size, temperature, generator):
        h = self.jitter_step_size(step_size, state.x, generator)
        momentum = normal_like(state.x, generator)
        before = state.energy / temperature + kinetic(momentum)
        end, momentum = self.leapfrog(energy, state, momentum, h, append_dims(temperature, state.x))
        after = end.energy / temperature + kinetic(momentum)
        return end, before - after, self.n_leapfrog

    def jitter_step_size(self, step_size, x: Tensor, generator):
        """Step sizes of the trajectories, one per chain where there is jitter, shaped to multiply ``x``."""
        if not self.jitter:
            return append_dims(step_size, x)
        uniform = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
        return append_dims(step_size * (1 + self.jitter * (2 * uniform - 1)), x)

    def leapfrog(self, energy: Energy, state: State, momentum: Tensor, h, temperature) -> tuple[State, Tensor]:
        """Position and momentum after the trajectory: reversible, and of constant volume."""
        for _ in range(self.n_leapfrog):
            momentum = momentum - 0.5 * h * state.grad / temperature
            x, momentum = self.drift(state.x, momentum, h, energy.support)
            state = State(x, *self.evaluate(energy, x))
            momentum = momentum - 0.5 * h * state.grad / temperature
        return state, momentum

    def drift(self, x: Tensor, momentum: Tensor, h, support: Support) -> tuple[Tensor, Tensor]:
        """Free flight for a time ``h``, off the walls where they reflect."""
        x = x + h * momentum
        if not self.boundary:
            return x, momentum
        return reflect(x, support.low, support.high), momentum * facing(x, support)


def facing(x: Tensor, support: Support) -> Tensor:
    """Signs of the momentum: -1 where an odd number of walls was met on the way to the unfolded ``x``, else 1."""
    rounds = ((x - support.low) / (support.high - support.low)).floor()
    return 1 - 2 * rounds.remainder(2)


def kinetic(momentum: Tensor) -> Tensor:
    """``|p|^2 / 2``, ``(B,)``."""
    return 0.5 * momentum.flatten(1).square().sum(1)
