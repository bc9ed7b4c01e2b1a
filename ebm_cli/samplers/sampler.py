"""The one sampling loop, and what every Markov transition plugs into it."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy, Plain, as_energy, energies, energy_and_grad
from ebm_cli.utils.tensors import row_norm

Schedule = float | Tensor | Callable[[int, int], float]


class DivergenceError(RuntimeError):
    """Raised when a chain or a training run leaves the finite numbers; the message says what to try."""


class State(NamedTuple):
    """Where the chains are. Every tensor leads with B.

    Attributes:
        x: positions ``(B, *shape)``.
        energy, grad: energy ``(B,)`` and its gradient at ``x``, or None where a transition has not evaluated them.
        aux: what else a transition carries from step to step (velocity, level, replicas, log-weight), tensors by name.
    """

    x: Tensor
    energy: Tensor | None = None
    grad: Tensor | None = None
    aux: dict = {}


class Info(NamedTuple):
    """What one step reports, before averaging over chains.

    Attributes:
        energy: ``(B,)`` at the point the gradient was taken.
        grad: ``(B, *shape)`` there, or None.
        acceptance: ``(B,)`` Metropolis acceptance probabilities, or None for unadjusted kernels.
        evaluations: energy-and-gradient evaluations spent per chain.
        extra: further ``(B,)`` tensors or scalars by name (swap rates, ...), averaged into ``Chain.stats``.
    """

    energy: Tensor
    grad: Tensor | None = None
    acceptance: Tensor | None = None
    evaluations: int = 1
    extra: dict = {}


@dataclass
class Chain:
    """What ``Sampler.sample`` returns.

    Attributes:
        x: final positions ``(B, *shape)``, detached.
        state: final ``State`` of the transition.
        stats: per-step means over chains, device tensors ``(n_steps,)`` by name; where no callback watches,
            ``grad_norm`` is that of the last step alone, ``(1,)``: it costs as much as a small network.
        log_w: log-weights ``(B,)`` of weighted samplers (AIS, SMC), else None.
        x_live: ``x`` with the graph through the last ``backprop_steps`` steps, else None.
        y: labels ``(B,)`` that the chains were driven under, where the caller knows them.
    """

    x: Tensor
    state: State
    stats: dict[str, Tensor] = field(default_factory=dict)
    log_w: Tensor | None = None
    x_live: Tensor | None = None
    y: Tensor | None = None


def value_at(schedule: Schedule, i: int, n: int):
    """``schedule`` itself where it is a number or a ``(B,)`` tensor, else ``schedule(i, n)`` for step i of n."""
    return schedule(i, n) if callable(schedule) and not isinstance(schedule, Tensor) else schedule


class Sampler:
    """A Markov transition and the loop that runs it. Immutable: all that changes lives in ``State``.

    A transition of your own needs ``step`` alone.

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
    """

    supports: tuple[str, ...] = ("real", "box")
    uses_gradient = True
    exact = False
    differentiable = False
    weighted = False

    def __init__(
        self,
        *,
        n_steps: int,
        step_size: Schedule | None = None,
        temperature: Schedule = 1.0,
        chunk_size: int | None = None,
    ):
        self.n_steps = whole("n_steps", n_steps)
        for name, value in (("step_size", step_size), ("temperature", temperature)):
            if isinstance(value, (int, float)) and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a positive number, got {value}")
        self.step_size, self.temperature = step_size, temperature
        self.chunk_size = None if chunk_size is None else whole("chunk_size", chunk_size)

    # What a transition defines --------------------------------------------------------------------------------

    def start(self, x: Tensor, generator: torch.Generator | None) -> dict[str, Tensor]:
        """What new chains at ``x`` carry in ``State.aux``; needs no energy, so that a buffer can restart some rows."""
        return {}

    def init(self, energy: Energy, x: Tensor, generator: torch.Generator | None) -> State:
        """The state that the first step starts from."""
        return State(x, aux=self.start(x, generator))

    def step(self, energy: Energy, state: State, i: int, n: int, generator) -> tuple[State, Info]:
        """One transition: step i of n."""
        raise TypeError(f"{type(self).__name__} does not define step()")

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
        """Energy ``(B,)`` and gradient at ``x``, in chunks where asked; the gradient is None where it is not used."""
        if not self.uses_gradient:
            return energies(energy, x, chunk_size=self.chunk_size), None
        return energy_and_grad(energy, x, chunk_size=self.chunk_size, create_graph=create_graph)

    def evaluated(self, energy: Energy, state: State) -> State:
        """``state`` with the energy and gradient at its positions, evaluated only where they are not known yet."""
        if state.energy is not None and (state.grad is not None or not self.uses_gradient):
            return state
        value, grad = self.evaluate(energy, state.x, create_graph=torch.is_grad_enabled())
        return state._replace(energy=value, grad=grad)

    def with_options(self, **options) -> Sampler:
        """A copy with some attributes replaced; samplers are immutable."""
        copy = object.__new__(type(self))
        copy.__dict__ = {**self.__dict__, **options}
        return copy

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
        """Runs the chains from start to end.

        Works under ``no_grad`` and ``inference_mode``; leaves parameters, their ``.grad`` and the mode of the network
        as they were; draws from ``generator`` alone; checks for non-finite values once, at the end.

        Args:
            energy: an ``Energy``, or any callable ``(B, *shape) -> (B,)``.
            x: starting points ``(B, *shape)``; not modified.
            n_steps: instead of the sampler's own.
            callback: called as ``callback(i, state, info)`` after each step.
            through: keep the graph (also to the parameters) through the last so many steps, in ``x_live``.
            aux: ``Chain.state.aux`` of an earlier run, to go on with its replicas, velocities and tuned step sizes;
                energies are not among what is taken over, since ``energy`` may have changed.

        Raises:
            ValueError: if the energy's support or shape does not fit, or ``n_steps`` is below 1.
            DivergenceError: if positions or energies are not finite at the end.
        """
        energy, n = as_energy(energy), self.n_steps if n_steps is None else whole("n_steps", n_steps)
        self.check(energy)
        self.check_start(energy, x, n, backprop_steps)
        with torch.inference_mode(False), torch.no_grad(), evaluation_mode(energy):
            with frozen(energy):
                state = self.init(energy, x.detach().clone(), generator)
                known = {name: value for name, value in (aux or {}).items() if name in state.aux}
                state = state._replace(aux=state.aux | known)
                state, infos = self.stepped(energy, state, range(n - backprop_steps), n, generator, callback)
            if backprop_steps:
                state = state._replace(x=state.x.detach().requires_grad_(), energy=None, grad=None)
                with torch.enable_grad():
                    state, live = self.stepped(energy, state, range(n - backprop_steps, n), n, generator, callback)
                infos += live
            x_live = state.x if backprop_steps else None
            state = self.finish(energy, _detached(state), generator)
            stats = _stack(infos)
        _raise_if_not_finite(state, stats, self)
        return Chain(state.x, state, stats, log_w=state.aux.get("log_w"), x_live=x_live)

    def stepped(
        self, energy: Energy, state: State, turns: range, n: int, generator, callback
    ) -> tuple[State, list[Info]]:
        """The state after some of the ``n`` steps, and what each reported: the only loop over steps in this package."""
        infos = []
        for i in turns:
            state, info = self.step(energy, state, i, n, generator)
            infos.append(_kept(i, n, state, info, callback))
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


@contextmanager
def frozen(energy: Energy):
    """Parameters want no gradient inside, so a backward pass to the input computes none for the weights."""
    wanted = [p for p in energy.parameters() if p.requires_grad]
    for p in wanted:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in wanted:
            p.requires_grad_(True)


@contextmanager
def evaluation_mode(energy: Energy):
    """Puts a training energy in evaluation mode, so that it is one function along the whole chain.

    An energy with ``samples_in_train_mode`` set (a recipe's explicit choice) is left as it is.
    """
    training = [] if in_train_mode(energy) else [m for m in energy.modules() if m.training]
    for m in training:
        m.training = False
    try:
        yield
    finally:
        for m in training:
            m.training = True


def in_train_mode(energy: Energy) -> bool:
    """Whether a recipe wants chains to see dropout and batch statistics as training does."""
    return any(getattr(m, "samples_in_train_mode", False) for m in energy.modules())


def _kept(i: int, n: int, state: State, info: Info, callback) -> Info:
    """What statistics keep of a step: of its gradient the mean norm, where a callback watches or at the end."""
    if callback is not None:
        callback(i, state, info)
    watched = info.grad is not None and (callback is not None or i == n - 1)
    norm = row_norm(info.grad.detach()).mean() if watched else None
    return info._replace(energy=info.energy.detach() if info.energy.requires_grad else info.energy, grad=norm)


def _detached(state: State) -> State:
    detach = lambda v: v.detach() if isinstance(v, Tensor) else v  # noqa: E731
    return State(*map(detach, state[:3]), {name: detach(value) for name, value in state.aux.items()})


def _stack(infos: list[Info]) -> dict[str, Tensor]:
    """Per-step means over chains by name."""
    stats = {"energy": torch.stack([i.energy for i in infos]).mean(1)}
    if infos[-1].grad is not None:
        stats["grad_norm"] = torch.stack([i.grad for i in infos if i.grad is not None])
    if infos[0].acceptance is not None:
        stats["acceptance"] = torch.stack([i.acceptance for i in infos]).mean(1)
    for name in infos[0].extra:
        stats[name] = torch.stack([torch.as_tensor(i.extra[name]).float().mean() for i in infos])
    stats["evaluations"] = torch.tensor([i.evaluations for i in infos])
    return stats


def _raise_if_not_finite(state: State, stats: dict, sampler: Sampler) -> None:
    finite = torch.isfinite(state.x).all() & torch.isfinite(stats["energy"]).all()
    if "log_w" in state.aux:
        finite &= ~state.aux["log_w"].isnan().any()
    if not bool(finite):
        bad = (~torch.isfinite(stats["energy"])).nonzero()
        when = f"the energy at step {int(bad[0])}" if len(bad) else "a position or weight at the end of the chain"
        tries = [f"a smaller sampler.step_size (now {sampler.step_size})"] if sampler.step_size is not None else []
        tries += ["sampler.grad_clip"] if hasattr(sampler, "grad_clip") else []
        raise DivergenceError(f"{when} is not finite" + (f"; try {' or '.join(tries)}" if tries else ""))


__all__ = [
    "Chain", "DivergenceError", "Info", "Sampler", "State", "evaluation_mode", "frozen", "in_train_mode", "value_at",
    "whole",
]  # fmt: skip
