"""What the discrete transitions share: supports, starting points, and the Metropolis test of a proposal."""

from abc import abstractmethod

import torch
from torch import Tensor

from ebm_cli.energies.discrete import Sites
from ebm_cli.energies.energy import Energy
from ebm_cli.samplers.sampler import Info, Sampler, State, value_at
from ebm_cli.utils.tensors import append_dims


class Discrete(Sampler):
    """Base of transitions on binary, spin and one-hot inputs, ``(B, *shape)`` of the values that the support lists."""

    supports = ("binary", "spins", "one_hot")
    exact = True

    def sites(self, energy: Energy) -> Sites:
        """The sites of this energy's inputs."""
        return Sites(energy.shape, energy.support)

    def check_start(self, energy, x, n, backprop_steps):
        super().check_start(energy, x, n, backprop_steps)
        if not torch.equal(x, self.sites(energy).points(self.sites(energy).codes(x), x.dtype)):
            raise ValueError(f"chains must start at {energy.support.kind} inputs, and these have other values")


class Proposing(Discrete):
    """A proposal from the gradient, accepted or refused (Metropolis & Hastings).

    A transition defines ``log_rates``, unnormalized log-probabilities ``(B, n, k)`` of every value at every site; how
    they make one proposal is ``propose`` and ``log_proposal``.
    """

    @abstractmethod
    def log_rates(self, sites: Sites, x: Tensor, grad: Tensor, i: int, n: int) -> Tensor:
        """Unnormalized log-probabilities ``(B, n, k)`` of every value at every site."""

    @abstractmethod
    def propose(self, sites: Sites, codes: Tensor, rates: Tensor, generator) -> Tensor:
        """Codes ``(B, n)`` of the proposals."""

    @abstractmethod
    def log_proposal(self, sites: Sites, rates: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """``log q(b | a)`` of codes, ``(B,)``, from the rates at ``a``."""

    def step(self, energy: Energy, state: State, i: int, n: int, generator) -> tuple[State, Info]:
        # Propose
        sites, state = self.sites(energy), self.evaluate_state(energy, state)
        codes = sites.codes(state.x)
        moved = self.propose(sites, codes, self.log_rates(sites, state.x, state.grad, i, n), generator)
        new = State(sites.points(moved, state.x.dtype))
        new = self.evaluate_state(energy, new)

        # Accept or stay
        log_ratio = self.log_ratio(sites, state, new, i, n)
        u = torch.rand(len(codes), device=codes.device, dtype=log_ratio.dtype, generator=generator)
        accepted = u.log() < log_ratio
        pick = lambda a, b: torch.where(append_dims(accepted, a), a, b)  # noqa: E731
        state_after = State(*map(pick, new[:3], state[:3]), state.aux)
        return state_after, Info(state.energy, state.grad, log_ratio.exp().clamp_max(1.0))

    def log_ratio(self, sites: Sites, a: State, b: State, i: int, n: int) -> Tensor:
        """Log of the Metropolis-Hastings ratio of the move from a to b, ``(B,)``."""
        there = self.log_proposal(sites, self.log_rates(sites, a.x, a.grad, i, n), sites.codes(a.x), sites.codes(b.x))
        back = self.log_proposal(sites, self.log_rates(sites, b.x, b.grad, i, n), sites.codes(b.x), sites.codes(a.x))
        return (a.energy - b.energy) / value_at(self.temperature, i, n) + back - there

    def log_transition(self, energy: Energy, a: Tensor, b: Tensor) -> Tensor:
        """``log`` of the probability to go from a to b != a in one step, ``(B,)``."""
        sites = self.sites(energy)
        start, end = self.evaluate_state(energy, State(a)), self.evaluate_state(energy, State(b))
        rates = self.log_rates(sites, a, start.grad, 0, 1)
        there = self.log_proposal(sites, rates, sites.codes(a), sites.codes(b))
        log_p = there + self.log_ratio(sites, start, end, 0, 1).clamp_max(0.0)
        return torch.where(there.isneginf(), there, log_p)  # what is never proposed has no ratio


def draw_categorical(logits: Tensor, generator) -> Tensor:
    """Draws from the last axis: indices ``(...)`` of ``(..., k)``."""
    cumulative = torch.softmax(logits, -1).cumsum(-1)
    u = torch.rand(logits.shape[:-1], device=logits.device, dtype=logits.dtype, generator=generator)
    return (cumulative <= (u * cumulative[..., -1])[..., None]).sum(-1).clamp_max(logits.shape[-1] - 1)
