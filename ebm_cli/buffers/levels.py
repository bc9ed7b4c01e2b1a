"""Chains that each have a noise level of their own and walk down the levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ebm_cli.buffers.population import Entries, Population, unlabeled
from ebm_cli.utils.tensors import append_dims

if TYPE_CHECKING:
    from ebm_cli.buffers.negatives import Negatives


@dataclass(kw_only=True, eq=False)
class LevelWalkers(Population):
    """The population of ``objective=annealed``: chains over the noise levels of ``sampler=annealed``.

    At first chains stand at all levels, at training examples with the noise of the level. After an update a chain goes
    on to the next level with a chance of its own; past the last level it starts over from the base with noise of the
    first. So the population is what generation makes, at every level and age.

    Chains carry ``level`` and ``chance``, both ``(n,)``.

    Args:
        size: number of chains kept per rank.
        advance: bounds of the chance, drawn once per chain's life uniformly in its logarithm, of going on to the next
            level after an update.

    Raises:
        ValueError: without chains, and for bounds that are not ``0 < low <= high <= 1``.

    Example:
        >>> walkers = LevelWalkers(size=8, advance=(0.5, 0.5))
        >>> walkers.draw_chances(torch.zeros(2, 3), torch.Generator())
        tensor([0.5000, 0.5000])
    """

    size: int = 1024
    advance: tuple[float, float] = (0.03, 0.6)

    def __post_init__(self):
        low, high = self.advance
        if not 0 < low <= high <= 1:
            raise ValueError(f"buffer.advance must be two chances, 0 < low <= high <= 1, got {list(self.advance)}")
        if self.size < 1:
            raise ValueError(f"buffer.size must be at least 1, got {self.size}")
        self.chains: dict[str, Tensor] = {}

    def draw(self, n: int | None, source: Negatives) -> tuple[Tensor, Entries]:
        """``n`` distinct chains at random, whatever their levels."""
        if not self.chains:
            self.chains = self.begin(source)
        size = len(self.chains["x"])
        n = size if n is None else n
        if n > size:
            raise ValueError(f"buffer.size={size} is smaller than the batch of {n}")
        index = torch.randperm(size, device=source.device, generator=source.generator)[:n]
        x, level, chance = (self.chains[name][index] for name in ("x", "level", "chance"))
        return index, unlabeled(x, level=level, chance=chance)

    def begin(self, source: Negatives) -> dict[str, Tensor]:
        """Chains at all levels, at training examples with the noise of the level."""
        sampler, generator = source.sampler, source.generator
        x = source.draw_data(self.size, generator)[0].to(source.device)
        level = torch.randint(sampler.n_levels, (self.size,), device=source.device, generator=generator)
        sigma = torch.tensor(sampler.sigmas(), dtype=x.dtype, device=x.device)[level]
        x = x + append_dims(sigma, x) * draw_normal(x, generator)
        return {"x": x, "level": level, "chance": self.draw_chances(x, generator)}

    def write(self, index: Tensor, moved: Entries, source: Negatives) -> None:
        """Keeps moved chains: some go on to the next level, and those past the last start over."""
        x, generator, sampler = moved.x, source.generator, source.sampler
        chance = moved.aux["chance"]
        level = moved.aux["level"] + (torch.rand(len(x), device=x.device, generator=generator) < chance)
        over = level >= sampler.n_levels
        new = source.base.sample(len(x), generator) + sampler.sigma_max * draw_normal(x, generator)
        self.chains["x"][index] = torch.where(append_dims(over, x), new, x)
        self.chains["level"][index] = torch.where(over, 0, level)
        self.chains["chance"][index] = torch.where(over, self.draw_chances(x, generator), chance)

    def draw_chances(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Chances of going on, one for every row of ``x``."""
        low, high = (math.log(chance) for chance in self.advance)
        return (low + (high - low) * torch.rand(len(x), device=x.device, generator=generator)).exp()

    def stored(self, n: int | None = None) -> Entries | None:
        """The ``n`` chains that have come furthest down the levels."""
        if not self.chains:
            return None
        index = self.chains["level"].argsort(descending=True, stable=True)[:n]
        aux = {name: self.chains[name] for name in ("level", "chance")}
        return unlabeled(self.chains["x"], **aux).at(index)

    def at_level(self, level: int) -> Tensor:
        """Positions of the chains at one level, ``(m, *shape)``."""
        return self.chains["x"][self.chains["level"] == level]

    def state(self) -> dict | None:
        return dict(self.chains) or None

    def load_state(self, state: dict) -> None:
        self.chains = dict(state)
        self.size = len(self.chains["x"])


def draw_normal(x: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise of the shape of ``x``."""
    return torch.empty_like(x).normal_(generator=generator)
