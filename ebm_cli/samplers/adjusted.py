"""What Metropolis-adjusted transitions share: accept or stay, borders that stay exact, a step size tuned on the way."""

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy, Support
from ebm_cli.samplers.sampler import Info, Sampler, Schedule, State, in_train_mode, value_at
from ebm_cli.utils.tensors import append_dims

GAMMA, DELAY, KAPPA = 0.05, 10, 0.75  # of dual averaging (Hoffman & Gelman 2014, section 3.2)


@dataclass(kw_only=True, eq=False, repr=False)
class Adjusted(Sampler):
    """Base of the transitions whose stationary law is exactly ``exp(-E/T)``: propose, then accept or stay.

    A subclass defines ``propose``. In a box, proposals outside are refused, or ``boundary: reflect`` folds them back
    where that keeps the law; a clamp would put mass on the border that no acceptance can correct.

    Args:
        n_steps: default number of steps.
        step_size: scale of the proposals; the starting value where it is tuned.
        temperature: T.
        boundary: ``reflect``, or null.
        adapt_steps: tune the step size over the first so many steps of a chain and keep it from then on; 0 does not.
        target_acceptance: acceptance probability that tuning aims at.
        chunk_size: chains evaluated at a time; null is all at once.

    Raises:
        ValueError: for ``boundary: clamp``, for a target acceptance outside (0, 1), and for what a subclass refuses.
    """

    exact = True
    can_reflect = True

    n_steps: int = 100
    step_size: Schedule = field()  # required: the default of the base would be inherited else
    boundary: Literal["clamp", "reflect"] | None = None
    adapt_steps: int = 0
    target_acceptance: float

    def __post_init__(self):
        super().__post_init__()
        name, boundary = type(self).__name__, self.boundary
        choices = "reflect or null" if self.can_reflect else "null, which refuses proposals outside"
        if boundary == "clamp":
            raise ValueError(f"boundary=clamp: mass on the border makes {name} inexact; use {choices}")
        if boundary not in (None, "reflect") or (boundary and not self.can_reflect):
            raise ValueError(f"boundary={boundary}: {name} takes {choices}")
        if not 0 < self.target_acceptance < 1 or self.adapt_steps < 0:
            found = f"target_acceptance={self.target_acceptance}, adapt_steps={self.adapt_steps}"
            raise ValueError(f"target_acceptance must lie between 0 and 1 and adapt_steps be at least 0, got {found}")
        self.adapt_steps = int(self.adapt_steps)

    # What a subclass defines ----------------------------------------------------------------------------------

    @abstractmethod
    def propose(self, energy: Energy, state: State, step_size, temperature, generator) -> tuple[State, Tensor, int]:
        """Proposed state, its log acceptance ratio ``(B,)``, and how many evaluations it took."""

    # What all share -------------------------------------------------------------------------------------------

    def check(self, energy: Energy) -> None:
        super().check(energy)
        if in_train_mode(energy):
            raise ValueError(
                f"{type(self).__name__} compares energies, and this one changes between evaluations "
                "(samples_in_train_mode: dropout or batch statistics); use langevin"
            )
        if self.boundary and energy.support.kind != "box":
            raise ValueError(f"boundary={self.boundary} needs a box; this energy is defined on {energy.support.kind}")

    def start(self, x: Tensor, generator) -> dict[str, Tensor]:
        if not self.adapt_steps:
            return {}
        # One entry per chain, all alike: a buffer that restarts some chains carries tensors that lead with B.
        rows = torch.zeros(len(x), device=x.device)
        log_step = rows + math.log(value_at(self.step_size, 0, 1))
        return {"log_step": log_step, "log_step_mean": log_step.clone(), "shortfall": rows, "adapted": rows.clone()}

    def init(self, energy: Energy, x: Tensor, generator) -> State:
        return self.evaluate_state(energy, State(x, aux=self.start(x, generator)))

    def step(self, energy: Energy, state: State, i: int, n: int, generator) -> tuple[State, Info]:
        state = self.evaluate_state(energy, state)
        step_size = state.aux["log_step"].exp() if self.adapt_steps else value_at(self.step_size, i, n)
        temperature = value_at(self.temperature, i, n)
        proposed, log_ratio, evaluations = self.propose(energy, state, step_size, temperature, generator)
        # What lies outside the box has no density: refused like any proposal of infinite energy.
        log_ratio = torch.where(inside(proposed.x, energy.support), log_ratio, -math.inf)
        acceptance = log_ratio.clamp_max(0).exp()
        uniform = torch.rand(log_ratio.shape, generator=generator, device=log_ratio.device, dtype=log_ratio.dtype)
        moved = select_rows(uniform < acceptance, proposed, state)._replace(
            aux=self.tune_step_size(state.aux, acceptance)
        )
        return moved, Info(moved.energy, moved.grad, acceptance, evaluations, self.report(step_size))

    def report(self, step_size) -> dict:
        return {"step_size": step_size} if self.adapt_steps else {}

    def tune_step_size(self, aux: dict, acceptance: Tensor) -> dict:
        """Dual averaging of the log step size toward the target, over all chains; fixed after ``adapt_steps``.

        Hoffman & Gelman (2014), section 3.2: ``log_step`` explores, and its running mean is what remains.
        """
        if not self.adapt_steps:
            return aux
        count = aux["adapted"] + 1
        open_ = count <= self.adapt_steps
        weight = 1 / (count + DELAY)
        shortfall = (1 - weight) * aux["shortfall"] + weight * (self.target_acceptance - acceptance.mean())
        anchor = math.log(10 * value_at(self.step_size, 0, 1))
        log_step = anchor - count.sqrt() / GAMMA * shortfall
        decay = count.pow(-KAPPA)
        mean = decay * log_step + (1 - decay) * aux["log_step_mean"]
        tuned = {
            "log_step": torch.where(count < self.adapt_steps, log_step, mean),
            "log_step_mean": mean,
            "shortfall": shortfall,
            "adapted": count,
        }
        return aux | {name: torch.where(open_, value, aux[name]) for name, value in tuned.items()}


def inside(x: Tensor, support: Support) -> Tensor:
    """Whether every entry of a row lies in the support, ``(B,)``."""
    if support.kind != "box":
        return torch.ones(len(x), dtype=torch.bool, device=x.device)
    return ((x >= support.low) & (x <= support.high)).flatten(1).all(1)


def select_rows(accept: Tensor, new: State, old: State) -> State:
    """Row by row the new state where accepted, else the old one."""
    pick = append_dims(accept, new.x)
    grad = None if new.grad is None else torch.where(pick, new.grad, old.grad)
    return State(torch.where(pick, new.x, old.x), torch.where(accept, new.energy, old.energy), grad, old.aux)
