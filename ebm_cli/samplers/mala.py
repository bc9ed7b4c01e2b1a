"""Metropolis-adjusted Langevin and random-walk Metropolis."""

from __future__ import annotations

from torch import Tensor

from ebm_cli.energies.energy import Energy
from ebm_cli.samplers.adjusted import Adjusted, normal
from ebm_cli.samplers.boundary import at_border
from ebm_cli.samplers.sampler import Schedule, State
from ebm_cli.utils.tensors import append_dims, row_norm


class MALA(Adjusted):
    """Langevin proposals ``x - step_size * clip(grad E) + sqrt(2 step_size T) xi``, accepted or refused.

    Exact for any step size and any clip (Roberts & Tweedie 1996); one evaluation per step.

    Args:
        n_steps, step_size, temperature, boundary, adapt_steps, target_acceptance, chunk_size: see ``Adjusted``;
            acceptance is best at .574 in many dimensions (Roberts & Rosenthal 1998).
        grad_clip: bound on the norm of each chain's drift; null for none.
    """

    can_reflect = False  # the drift makes a folded proposal lopsided

    def __init__(
        self,
        *,
        n_steps: int = 100,
        step_size: Schedule = 0.01,
        temperature: Schedule = 1.0,
        grad_clip: float | None = None,
        boundary: str | None = None,
        adapt_steps: int = 0,
        target_acceptance: float = 0.574,
        chunk_size: int | None = None,
    ):
        super().__init__(
            n_steps=n_steps,
            step_size=step_size,
            temperature=temperature,
            boundary=boundary,
            adapt_steps=adapt_steps,
            target_acceptance=target_acceptance,
            chunk_size=chunk_size,
        )
        self.grad_clip = grad_clip

    def drift(self, grad: Tensor) -> Tensor:
        if self.grad_clip is None:
            return grad
        return grad * append_dims((self.grad_clip / row_norm(grad).clamp_min(1e-12)).clamp_max(1.0), grad)

    def propose(self, energy: Energy, state: State, step_size, temperature, generator):
        h, t = append_dims(step_size, state.x), append_dims(temperature, state.x)
        noise = (2 * h * t) ** 0.5 * normal(state.x, generator)
        x = state.x - h * self.drift(state.grad) + noise
        value, grad = self.evaluate(energy, x)
        back = state.x - x + h * self.drift(grad)
        squares = (back.square() - noise.square()).flatten(1).sum(1)
        log_ratio = (state.energy - value) / temperature - squares / (4 * step_size * temperature)
        return State(x, value, grad), log_ratio, 1


class RandomWalkMetropolis(Adjusted):
    """Proposals ``x + step_size * xi``, accepted or refused (Metropolis et al. 1953); needs no gradient.

    Args:
        n_steps, step_size, temperature, boundary, adapt_steps, target_acceptance, chunk_size: see ``Adjusted``;
            ``step_size`` is the standard deviation of the proposal; acceptance is best at .234 in many dimensions.
    """

    uses_gradient = False

    def __init__(
        self,
        *,
        n_steps: int = 100,
        step_size: Schedule = 0.1,
        temperature: Schedule = 1.0,
        boundary: str | None = None,
        adapt_steps: int = 0,
        target_acceptance: float = 0.234,
        chunk_size: int | None = None,
    ):
        super().__init__(
            n_steps=n_steps,
            step_size=step_size,
            temperature=temperature,
            boundary=boundary,
            adapt_steps=adapt_steps,
            target_acceptance=target_acceptance,
            chunk_size=chunk_size,
        )

    def propose(self, energy: Energy, state: State, step_size, temperature, generator):
        x = state.x + append_dims(step_size, state.x) * normal(state.x, generator)
        x = at_border(x, self.boundary, energy.support)
        value, _ = self.evaluate(energy, x)
        return State(x, value), (state.energy - value) / temperature, 1
