"""Gradient-informed transitions on discrete inputs: Gibbs-with-gradients and discrete MALA."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.discrete import Sites
from ebm_cli.samplers.discrete import Proposing, draw_categorical
from ebm_cli.samplers.sampler import Schedule, fixed, value_at
from ebm_cli.utils.tensors import append_dims


@dataclass(kw_only=True, eq=False, repr=False)
class GibbsWithGradients(Proposing):
    """Changes one site at a time, chosen with probability ``exp(-(E(x') - E(x)) / 2T)`` to first order.

    Grathwohl et al. (2021), "Oops I took a gradient".

    Args:
        n_steps: proposals per chain, each of one site.
        temperature: T.
        chunk_size: evaluate at most so many chains at a time.

    Example:
        >>> from ebm_cli.energies import Ising
        >>> chain = GibbsWithGradients(n_steps=1).sample(Ising(size=[9], coupling=0.4), torch.ones(4, 9))
        >>> bool(((chain.x != 1).sum(1) <= 1).all())  # one site, or none where the proposal is refused
        True
    """

    n_steps: int = 1000
    step_size: Schedule | None = fixed()

    def log_rates(self, sites: Sites, x: Tensor, grad: Tensor, i: int, n: int) -> Tensor:
        change = sites.first_order(x, grad)
        rates = -change / (2 * append_dims(value_at(self.temperature, i, n), change))
        return rates.scatter(2, sites.codes(x)[:, :, None], -torch.inf)  # staying is no move

    def propose(self, sites: Sites, codes: Tensor, rates: Tensor, generator) -> Tensor:
        move = draw_categorical(rates.flatten(1), generator)[:, None]
        return codes.scatter(1, move // sites.k, move % sites.k)

    def log_proposal(self, sites: Sites, rates: Tensor, a: Tensor, b: Tensor) -> Tensor:
        log_q = rates.flatten(1).log_softmax(1)
        differs = a != b
        site = differs.long().argmax(1, keepdim=True)
        move = site * sites.k + b.gather(1, site)
        one = differs.sum(1) == 1
        return torch.where(one, log_q.gather(1, move)[:, 0], -torch.inf)


@dataclass(kw_only=True, eq=False, repr=False)
class DiscreteMALA(Proposing):
    """Proposes all sites at once, each by ``exp(-grad . (x' - x) / 2T - |x' - x|^2 / (2 step_size))``.

    Zhang et al. (2022), a Langevin-like proposal on discrete inputs.

    Args:
        n_steps: steps of a chain.
        step_size: larger ones change more sites at once; a number, a ``(B,)`` tensor or a schedule.
        temperature: T.
        chunk_size: evaluate at most so many chains at a time.

    Example:
        >>> from ebm_cli.energies import Ising
        >>> sampler = DiscreteMALA(n_steps=5, step_size=0.5)
        >>> sampler.sample(Ising(size=[9], coupling=0.4), torch.ones(4, 9)).x.shape
        torch.Size([4, 9])
    """

    n_steps: int = 1000
    step_size: Schedule = 1.0

    def log_rates(self, sites: Sites, x: Tensor, grad: Tensor, i: int, n: int) -> Tensor:
        change = sites.first_order(x, grad)
        rates = -change / (2 * append_dims(value_at(self.temperature, i, n), change))
        cost = rates.new_full((), sites.jump) / (2 * append_dims(value_at(self.step_size, i, n), change))
        stays = torch.nn.functional.one_hot(sites.codes(x), sites.k).to(rates.dtype)
        return rates - (1 - stays) * cost

    def propose(self, sites: Sites, codes: Tensor, rates: Tensor, generator) -> Tensor:
        return draw_categorical(rates, generator)

    def log_proposal(self, sites: Sites, rates: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return rates.log_softmax(2).gather(2, b[:, :, None])[:, :, 0].sum(1)
