"""Sequential Monte Carlo from a base (Del Moral, Doucet & Jasra 2006): AIS whose chains are resampled."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_cli.energies.bases import Base
from ebm_cli.samplers.ais import AIS, effective_size
from ebm_cli.samplers.path import log_mean_exp
from ebm_cli.samplers.sampler import Sampler, State


class SMC(AIS):
    """Annealed importance sampling that resamples its chains, systematically, when few of them carry the weight.

    The energy must bind nothing per row: chains change their rows.

    Args:
        n_steps: levels of the path.
        step_size: of the transition at first; ``tune`` adapts it per level.
        temperature: T of the target.
        base: density to start from; null is a standard normal, or uniform over the energy's support.
        transition: sampler that moves chains at each level; null is HMC, or Gibbs for discrete inputs.
        n_moves: transitions per level.
        ladder: inverse temperatures: ``linear``, ``geometric``, ``sigmoid`` or ``adaptive``, as in ``AIS``.
        tune: acceptance that a pilot run tunes the step size of an adjusted transition to, per level; null for none.
        pilot: chains in the pilot run.
        resample_below: resample when the effective sample size falls below this share of the chains.
        chunk_size: evaluate at most so many chains at a time.
    """

    def __init__(
        self,
        *,
        n_steps: int = 200,
        step_size: float = 0.1,
        temperature: float = 1.0,
        base: Base | None = None,
        transition: Sampler | None = None,
        n_moves: int = 1,
        ladder: str = "adaptive",
        tune: float | None = 0.7,
        pilot: int = 64,
        resample_below: float = 0.5,
        chunk_size: int | None = None,
    ):
        super().__init__(
            n_steps=n_steps,
            step_size=step_size,
            temperature=temperature,
            base=base,
            transition=transition,
            n_moves=n_moves,
            ladder=ladder,
            tune=tune,
            pilot=pilot,
            chunk_size=chunk_size,
        )
        if not 0 <= resample_below <= 1:
            raise ValueError(f"resample_below must be a share between 0 and 1, got {resample_below}")
        self.resample_below = resample_below

    def start(self, x: Tensor, generator) -> dict[str, Tensor]:
        every = torch.arange(len(x), device=x.device)
        return super().start(x, generator) | {"ancestor": every, "resampled": torch.zeros_like(every)}

    def reweighted(self, state: State, generator) -> tuple[State, dict]:
        """Resampled where the weights ask for it; the mean weight stays, so that log Z is always log-mean-exp."""
        log_w = state.aux["log_w"]
        now = effective_size(log_w) < self.resample_below * len(log_w)
        index = torch.where(now, systematic(log_w, generator), torch.arange(len(log_w), device=log_w.device))
        aux = {name: value[index] for name, value in state.aux.items()}
        aux |= {
            "log_w": torch.where(now, log_mean_exp(log_w), log_w),
            "resampled": aux["resampled"] + now.long(),
        }
        return State(state.x[index], aux=aux), {"resampled": now}


def systematic(log_w: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Indices ``(N,)`` of a systematic resampling: chain i appears ``N w_i`` times, rounded down or up.

    Args:
        log_w: log-weights ``(N,)``, in any scale.
    """
    n = len(log_w)
    cumulative = torch.softmax(log_w.double(), 0).cumsum(0)
    u = torch.rand(1, dtype=torch.float64, device=log_w.device, generator=generator)
    teeth = (torch.arange(n, device=log_w.device) + u) / n * cumulative[-1]
    return torch.searchsorted(cumulative, teeth, right=True).clamp_max(n - 1)
