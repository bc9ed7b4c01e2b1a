"""Gradient-informed transitions on discrete inputs: Gibbs-with-gradients and discrete MALA."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_cli.energies.discrete import Sites
from ebm_cli.samplers.discrete import Proposing, categorical
from ebm_cli.samplers.sampler import Schedule, value_at
from ebm_cli.utils.tensors import append_dims


class GibbsWithGradients(Proposing):
    """Changes one site at a time, chosen with probability ``exp(-(E(x') - E(x)) / 2T)`` to first order.

    Grathwohl et al. (2021), "Oops I took a gradient".

    Args:
        n_steps: proposals per chain, each of one site.
        temperature: T.
        chunk_size: evaluate at most so many chains at a time.
    """

    def __init__(self, *, n_steps: int = 1000, temperature: Schedule = 1.0, chunk_size: int | None = None):
        super().__init__(n_steps=n_steps, temperature=temperature, chunk_size=chunk_size)

    def log_rates(self, sites: Sites, x: Tensor, grad: Tensor, i: int, n: int) -> Tensor:
        change = sites.first_order(x, grad)
        rates = -change / (2 * append_dims(value_at(self.temperature, i, n), change))
        return rates.scatter(2, sites.codes(x)[:, :, None], -torch.inf)  # staying is no move

    def propose(self, sites: Sites, codes: Tensor, rates: Tensor, generator) -> Tensor:
        move = categorical(rates.flatten(1), generator)[:, None]
        return codes.scatter(1, move // sites.k, move % sites.k)

    def log_proposal(self, sites: Sites, rates: Tensor, a: Tensor, b: Tensor) -> Tensor:
        log_q = rates.flatten(1).log_softmax(1)
        differs = a != b
        site = differs.long().argmax(1, keepdim=True)
        move = site * sites.k + b.gather(1, site)
        one = differs.sum(1) == 1
        return torch.where(one, log_q.gather(1, move)[:, 0], -torch.inf)


class DiscreteMALA(Proposing):
    """Proposes all sites at once, each by ``exp(-grad . (x' - x) / 2T - |x' - x|^2 / (2 step_size))``.

    Zhang et al. (2022), a Langevin-like proposal on discrete inputs.

    Args:
        n_steps: steps of a chain.
        step_size: larger ones change more sites at once; a number, a ``(B,)`` tensor or a schedule.
        temperature: T.
        chunk_size: evaluate at most so many chains at a time.
    """

    def __init__(
        self,
        *,
        n_steps: int = 1000,
        step_size: Schedule = 1.0,
        temperature: Schedule = 1.0,
        chunk_size: int | None = None,
    ):
        super().__init__(n_steps=n_steps, step_size=step_size, temperature=temperature, chunk_size=chunk_size)

    def log_rates(self, sites: Sites, x: Tensor, grad: Tensor, i: int, n: int) -> Tensor:
        change = sites.first_order(x, grad)
        rates = -change / (2 * append_dims(value_at(self.temperature, i, n), change))
        cost = rates.new_full((), sites.jump) / (2 * append_dims(value_at(self.step_size, i, n), change))
        stays = torch.nn.functional.one_hot(sites.codes(x), sites.k).to(rates.dtype)
        return rates - (1 - stays) * cost

    def propose(self, sites: Sites, codes: Tensor, rates: Tensor, generator) -> Tensor:
        return categorical(rates, generator)

    def log_proposal(self, sites: Sites, rates: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return rates.log_softmax(2).gather(2, b[:, :, None])[:, :, 0].sum(1)
