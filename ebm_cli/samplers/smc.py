"""Sequential Monte Carlo from a base (Del Moral, Doucet & Jasra 2006): AIS whose chains are resampled."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.samplers.ais import AIS, effective_size
from ebm_cli.samplers.path import log_mean_exp
from ebm_cli.samplers.sampler import State


@dataclass(kw_only=True, eq=False, repr=False)
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

    Raises:
        ValueError: for a share outside [0, 1], and for what ``AIS`` refuses.

    Example:
        >>> from ebm_cli.energies import Gaussian
        >>> energy, generator = Gaussian(dim=2, std=0.3), torch.Generator().manual_seed(0)
        >>> chain = SMC(n_steps=10, pilot=16).sample(energy, torch.zeros(200, 2), generator=generator)
        >>> chain.x.shape, chain.log_w.shape
        (torch.Size([200, 2]), torch.Size([200]))
    """

    n_steps: int = 200
    resample_below: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.resample_below <= 1:
            raise ValueError(f"resample_below must be a share between 0 and 1, got {self.resample_below}")

    def start(self, x: Tensor, generator) -> dict[str, Tensor]:
        every = torch.arange(len(x), device=x.device)
        return super().start(x, generator) | {"ancestor": every, "resampled": torch.zeros_like(every)}

    def resample(self, state: State, generator) -> tuple[State, dict]:
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
