"""Metropolis-adjusted Langevin and random-walk Metropolis."""

from dataclasses import dataclass

from ebm_cli.energies.energy import Energy
from ebm_cli.samplers.adjusted import Adjusted
from ebm_cli.samplers.boundary import at_border
from ebm_cli.samplers.sampler import Schedule, State
from ebm_cli.utils.tensors import append_dims, clip_row_norm, normal_like


@dataclass(kw_only=True, eq=False, repr=False)
class MALA(Adjusted):
    """Langevin proposals ``x - step_size * clip(grad E) + sqrt(2 step_size T) xi``, accepted or refused.

    Exact for any step size and any clip (Roberts & Tweedie 1996); one evaluation per step.

    Args:
        n_steps, step_size, temperature, boundary, adapt_steps, target_acceptance, chunk_size: see ``Adjusted``;
            acceptance is best at .574 in many dimensions (Roberts & Rosenthal 1998).
        grad_clip: bound on the norm of each chain's drift; null for none.

    Example:
        >>> import torch
        >>> harmonic = lambda x: 0.5 * x.square().sum(1)
        >>> sampler = MALA(n_steps=60, step_size=0.5)
        >>> chain = sampler.sample(harmonic, torch.zeros(500, 2), generator=torch.Generator().manual_seed(0))
        >>> abs(float(chain.x.var()) - 1) < 0.2, chain.stats["acceptance"].shape
        (True, torch.Size([60]))
    """

    can_reflect = False  # the drift makes a folded proposal lopsided

    n_steps: int = 100
    step_size: Schedule = 0.01
    grad_clip: float | None = None
    target_acceptance: float = 0.574

    def propose(self, energy: Energy, state: State, step_size, temperature, generator):
        h, t = append_dims(step_size, state.x), append_dims(temperature, state.x)
        noise = (2 * h * t) ** 0.5 * normal_like(state.x, generator)
        x = state.x - h * clip_row_norm(state.grad, self.grad_clip) + noise
        value, grad = self.evaluate(energy, x)
        back = state.x - x + h * clip_row_norm(grad, self.grad_clip)
        squares = (back.square() - noise.square()).flatten(1).sum(1)
        log_ratio = (state.energy - value) / temperature - squares / (4 * step_size * temperature)
        return State(x, value, grad), log_ratio, 1


@dataclass(kw_only=True, eq=False, repr=False)
class RandomWalkMetropolis(Adjusted):
    """Proposals ``x + step_size * xi``, accepted or refused (Metropolis et al. 1953); needs no gradient.

    Args:
        n_steps, step_size, temperature, boundary, adapt_steps, target_acceptance, chunk_size: see ``Adjusted``;
            ``step_size`` is the standard deviation of the proposal; acceptance is best at .234 in many dimensions.

    Example:
        >>> import torch
        >>> ring = lambda x: 8 * (x.norm(dim=1) - 1).square()
        >>> sampler = RandomWalkMetropolis(n_steps=50, step_size=0.5)
        >>> sampler.sample(ring, torch.zeros(100, 2), generator=torch.Generator().manual_seed(0)).x.shape
        torch.Size([100, 2])
    """

    uses_gradient = False

    step_size: Schedule = 0.1
    target_acceptance: float = 0.234

    def propose(self, energy: Energy, state: State, step_size, temperature, generator):
        x = state.x + append_dims(step_size, state.x) * normal_like(state.x, generator)
        x = at_border(x, self.boundary, energy.support)
        value, _ = self.evaluate(energy, x)
        return State(x, value), (state.energy - value) / temperature, 1
