"""The one sampling loop, and what every Markov transition plugs into it."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Self

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy, Plain, as_energy, energies, energy_and_grad
from ebm_cli.samplers.modes import evaluation_mode, frozen, in_train_mode
from ebm_cli.samplers.state import (
    Chain,
    DivergenceError,
    Info,
    State,
    detach_state,
    raise_if_not_finite,
    stack_stats,
    summarize_step,
)

__all__ = [
    "Chain", "DivergenceError", "Info", "Sampler", "Schedule", "State", "evaluation_mode", "fixed", "frozen",
    "in_train_mode", "value_at", "whole",
]  # fmt: skip

# Annotations of this room are real types and not text: a dataclass inherits those of its bases, and text is read in
# the module of the subclass, where their names need not exist.

Schedule = float | Tensor | Callable[[int, int], float]


def value_at(schedule: Schedule, i: int, n: int):
    """``schedule`` itself where it is a number or a ``(B,)`` tensor, else ``schedule(i, n)`` for step i of n."""
    return schedule(i, n) if callable(schedule) and not isinstance(schedule, Tensor) else schedule


def fixed(value=None):
    """A field that is no keyword: this class settles the value of an attribute that its base leaves open."""
    return field(default=value, init=False)


@dataclass(kw_only=True, eq=False, repr=False)
class Sampler(ABC):
    """A Markov transition and the loop that runs it. Immutable: all that changes lives in ``State``.

    A transition of your own needs ``step`` alone; keywords of your own are fields, under the same
    ``@dataclass(kw_only=True, eq=False)``.

    Args:
        n_steps: default number of steps of ``sample``.
        step_size, temperature: a number, a ``(B,)`` tensor, or a schedule ``(i, n) -> number``; ``step_size`` is None
            for transitions that have none.
        chunk_size: evaluate the energy on at most so many chains at a time; null is all at once.

    Attributes:
        supports: kinds of input that the transition moves.
        uses_gradient: whether it needs the gradient of the energy.
        exact: whether its stationary law is the target itself, without a bias of the step size.
        differentiable: whether ``sample(backprop_steps=...)`` can send gradients through its steps.
        weighted: whether its chains follow the target only together with ``Chain.log_w``.

    Raises:
        ValueError: for steps, step sizes or temperatures that are not positive.

    Example:
        >>> class Descent(Sampler):
        ...     def step(self, energy, state, i, n, generator):
        ...         value, grad = self.evaluate(energy, state.x)
        ...         return State(state.x - self.step_size * grad), Info(energy=value)
        >>> descent = Descent(n_steps=10, step_size=0.5)
        >>> descent.sample(lambda x: 0.5 * x.square().sum(1), torch.ones(1, 2)).x
        tensor([[0.0010, 0.0010]])
        >>> Sampler(n_steps=10)
        Traceback (most recent call last):
        TypeError: Can't instantiate abstract class Sampler with abstract method step
    """

    # Without annotations: facts about a class, not keywords of it.
    supports = ("real", "box")
    uses_gradient = True
    exact = False
    differentiable = False
    weighted = False

    n_steps: int
    step_size: Schedule | None = None
    temperature: Schedule = 1.0
    chunk_size: int | None = None

    def __post_init__(self):
        self.n_steps = whole("n_steps", self.n_steps)
        for name in ("step_size", "temperature"):
            value = getattr(self, name)
            if isinstance(value, (int, float)) and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a positive number, got {value}")
        self.chunk_size = None if self.chunk_size is None else whole("chunk_size", self.chunk_size)

    def __repr__(self) -> str:
        """The keywords that differ from their defaults; tensors by their shape alone."""
        given = [(f.name, getattr(self, f.name), f.default) for f in fields(self) if f.init]
        shown = [f"{name}={_brief(value)}" for name, value, default in given if _differs(value, default)]
        return f"{type(self).__name__}({', '.join(shown)})"

    # What a transition defines --------------------------------------------------------------------------------

    def start(self, x: Tensor, generator: torch.Generator | None) -> dict[str, Tensor]:
        """What new chains at ``x`` carry in ``State.aux``; needs no energy, so that a buffer can restart some rows."""
        return {}

    def init(self, energy: Energy, x: Tensor, generator: torch.Generator | None) -> State:
        """The state that the first step starts from."""
        return State(x, aux=self.start(x, generator))

    @abstractmethod
    def step(self, energy: Energy, state: State, i: int, n: int, generator) -> tuple[State, Info]:
        """One transition, step i of n: the next state, and what to report of it."""

    def finish(self, energy: Energy, state: State, generator) -> State:
        """What remains to be done after the last step: usually nothing."""
        return state

    def log_transition(self, energy: Energy, a: Tensor, b: Tensor) -> Tensor:
        """``log q(b | a)`` of one step, ``(B,)``.

        Raises:
            TypeError: for transitions whose density is not available.
        """
        raise TypeError(f"{type(self).__name__} has no tractable transition density; use Langevin")

    def check(self, energy: Energy) -> None:
        """Refuses energies that this transition cannot sample correctly.

        Raises:
            ValueError: naming the support of the energy and those that the sampler takes.
        """
        if energy.support.kind not in self.supports:
            others = "langevin, mala or hmc" if energy.support.continuous else "gibbs, gwg or discrete_mala"
            raise ValueError(
                f"{type(self).__name__} samples {' or '.join(self.supports)} inputs, "
                f"and this energy is defined on {energy.support.kind} ones; use sampler={others}"
            )

    # What all share -------------------------------------------------------------------------------------------

    def evaluate(self, energy: Energy, x: Tensor, create_graph: bool = False):
        """Energy ``(B,)`` and gradient at ``x``, ``chunk_size`` rows at a time; the gradient is None where not used."""
        if not self.uses_gradient:
            return energies(energy, x, chunk_size=self.chunk_size), None
        return energy_and_grad(energy, x, chunk_size=self.chunk_size, create_graph=create_graph)

    def evaluate_state(self, energy: Energy, state: State) -> State:
        """``state`` with the energy and gradient at its positions, evaluated only where they are not known yet."""
        if state.energy is not None and (state.grad is not None or not self.uses_gradient):
            return state
        if not self.uses_gradient or self.chunk_size or torch.is_grad_enabled():
            value, grad = self.evaluate(energy, state.x, create_graph=torch.is_grad_enabled())
        else:  # nearly every step of every chain: straight to the energy's own gradient
            value, grad = energy.value_and_grad(state.x)
        return state._replace(energy=value, grad=grad)

    def with_options(self, **options) -> Self:
        """A copy with some attributes replaced. Not checked again: transitions inside others call it at every step."""
        changed = copy.copy(self)
        vars(changed).update(options)
        return changed

    def sample(
        self,
        energy: Energy | Callable[[Tensor], Tensor],
        x: Tensor,
        *,
        n_steps: int | None = None,
        generator: torch.Generator | None = None,
        callback: Callable[[int, State, Info], None] | None = None,
        backprop_steps: int = 0,
        aux: dict[str, Tensor] | None = None,
    ) -> Chain:
        """Runs the chains from start to end, in any gradient mode; leaves the network as it was.

        Args:
            energy: an ``Energy``, or any callable ``(B, *shape) -> (B,)``.
            x: starting points ``(B, *shape)``; not modified.
            n_steps: instead of the sampler's own.
            callback: called as ``callback(i, state, info)`` after each step.
            backprop_steps: keep the graph (also to the parameters) through the last so many steps, in ``x_live``.
            aux: ``Chain.state.aux`` of an earlier run, to go on with its replicas, velocities and tuned step sizes;
                not with its energies, since ``energy`` may have changed.

        Raises:
            ValueError: if the energy's support or shape does not fit, or ``n_steps`` is below 1.
            DivergenceError: if positions or energies are not finite at the end.
        """
        energy, n = as_energy(energy, x.shape[1:]), self.n_steps if n_steps is None else whole("n_steps", n_steps)
        self.check(energy)
        self.check_start(energy, x, n, backprop_steps)
        with torch.inference_mode(False), torch.no_grad(), evaluation_mode(energy):
            # Most steps need gradients with respect to x alone, so the weights are frozen meanwhile.
            with frozen(energy):
                state = self.init(energy, x.detach().clone(), generator)
                state = state._replace(aux=state.aux | {k: v for k, v in (aux or {}).items() if k in state.aux})
                state, infos = self.run_steps(energy, state, range(n - backprop_steps), n, generator, callback)

            # The last steps keep their graph: from a fresh leaf, where energy and gradient are evaluated anew.
            if backprop_steps:
                state = state._replace(x=state.x.detach().requires_grad_(), energy=None, grad=None)
                with torch.enable_grad():
                    state, live = self.run_steps(energy, state, range(n - backprop_steps, n), n, generator, callback)
                infos += live
            x_live = state.x if backprop_steps else None

            # One look at the numbers, at the end: a check at every step would wait for the device every time.
            state = self.finish(energy, detach_state(state), generator)
            stats = stack_stats(infos)
        raise_if_not_finite(state, stats, self)
        return Chain(state.x, state, stats, log_w=state.aux.get("log_w"), x_live=x_live)

    def run_steps(
        self, energy: Energy, state: State, turns: range, n: int, generator, callback
    ) -> tuple[State, list[Info]]:
        """The state after some of the ``n`` steps, and what each reported: the only loop over steps in this package."""
        infos = []
        for i in turns:
            state, info = self.step(energy, state, i, n, generator)
            infos.append(summarize_step(i, n, state, info, callback))
        return state, infos

    def check_start(self, energy: Energy, x: Tensor, n: int, backprop_steps: int) -> None:
        """Raises ValueError for starting points that do not fit the energy, or a ``backprop_steps`` that cannot be."""
        if not isinstance(energy, Plain) and tuple(x.shape[1:]) != energy.shape:
            raise ValueError(
                f"chains start at inputs of shape {tuple(x.shape[1:])}, and this energy takes {energy.shape}"
            )
        if not x.is_floating_point():
            raise ValueError(f"chains start at floating-point inputs, got {x.dtype}")
        if not 0 <= backprop_steps <= n:
            raise ValueError(f"backprop_steps must lie between 0 and n_steps={n}, got {backprop_steps}")
        if backprop_steps and not self.differentiable:
            raise ValueError(
                f"backprop_steps={backprop_steps}: the steps of {type(self).__name__} have no gradient; use Langevin"
            )


def whole(name: str, value) -> int:
    """``value`` as a whole number of at least 1, or a ValueError that names it."""
    if not (isinstance(value, (int, float)) and value >= 1 and int(value) == value):
        raise ValueError(f"{name} must be a whole number of at least 1, got {value}")
    return int(value)


def _differs(value, default) -> bool:
    return isinstance(value, Tensor) or default is MISSING or value != default


def _brief(value) -> str:
    return f"Tensor{tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
