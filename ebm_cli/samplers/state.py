"""What a transition reads and returns: where chains are, what a step reports, and the chain that comes of them."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ebm_cli.utils.tensors import row_norm

__all__ = [
    "Chain", "DivergenceError", "Info", "State", "detach_state", "raise_if_not_finite", "stack_stats", "summarize_step",
]  # fmt: skip


class DivergenceError(RuntimeError):
    """Raised when a chain or a training run leaves the finite numbers; the message says what to try."""


class State(NamedTuple):
    """Where the chains are. Every tensor leads with B, the number of chains.

    Attributes:
        x: positions ``(B, *shape)``.
        energy: energy ``(B,)`` at ``x``, or None where the transition has not evaluated it.
        grad: its gradient ``(B, *shape)`` at ``x``, or None likewise.
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
        log_w: log-weights ``(B,)`` of weighted samplers (AIS, SMC, simulated tempering), else None; nats.
        x_live: ``x`` with the graph through the last ``backprop_steps`` steps, else None.
        y: labels ``(B,)`` that the energy was conditioned on, where the caller knows them.
    """

    x: Tensor
    state: State
    stats: dict[str, Tensor] = field(default_factory=dict)
    log_w: Tensor | None = None
    x_live: Tensor | None = None
    y: Tensor | None = None


def summarize_step(i: int, n: int, state: State, info: Info, callback) -> Info:
    """What statistics keep of a step: of its gradient the mean norm, where a callback watches or at the end."""
    if callback is not None:
        callback(i, state, info)
    watched = info.grad is not None and (callback is not None or i == n - 1)
    norm = row_norm(info.grad.detach()).mean() if watched else None
    return info._replace(energy=info.energy.detach() if info.energy.requires_grad else info.energy, grad=norm)


def detach_state(state: State) -> State:
    """``state`` without the graph of the steps that led to it."""
    detach = lambda v: v.detach() if isinstance(v, Tensor) else v  # noqa: E731
    return State(*map(detach, state[:3]), {name: detach(value) for name, value in state.aux.items()})


def stack_stats(infos: list[Info]) -> dict[str, Tensor]:
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


def raise_if_not_finite(state: State, stats: dict, sampler) -> None:
    """Raises DivergenceError where positions, energies or weights are not finite; names the options to try."""
    finite = torch.isfinite(state.x).all() & torch.isfinite(stats["energy"]).all()
    if "log_w" in state.aux:
        finite &= ~state.aux["log_w"].isnan().any()
    if not bool(finite):
        bad = (~torch.isfinite(stats["energy"])).nonzero()
        when = f"the energy at step {int(bad[0])}" if len(bad) else "a position or weight at the end of the chain"
        tries = [f"a smaller sampler.step_size (now {sampler.step_size})"] if sampler.step_size is not None else []
        tries += ["sampler.grad_clip"] if hasattr(sampler, "grad_clip") else []
        raise DivergenceError(f"{when} is not finite" + (f"; try {' or '.join(tries)}" if tries else ""))
