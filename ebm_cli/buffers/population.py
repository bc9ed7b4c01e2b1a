"""Populations of chains that live on from update to update: what they all can do, and how chains are kept."""

from __future__ import annotations

import abc
from typing import NamedTuple

import torch
from torch import Tensor

from ebm_cli.energies import Support


class Entries(NamedTuple):
    """Chains as they are kept.

    Attributes:
        x: positions ``(n, *shape)``.
        y: labels ``(n,)``, -1 for none.
        age: steps since the chain was started ``(n,)``.
        aux: what else belongs to a chain (replicas, velocities, log-weights, noise levels), ``(n, ...)`` by name.
    """

    x: Tensor
    y: Tensor
    age: Tensor
    aux: dict = {}

    def at(self, index) -> Entries:
        """The chains ``index``, positions in single precision."""
        aux = {name: value[index] for name, value in self.aux.items()}
        return Entries(self.x[index].float(), self.y[index], self.age[index], aux)


class Population(abc.ABC):
    """The chains of one rank that outlive an update; ``conf/buffer`` chooses how they live.

    A plain object, not a module: data-parallel training would overwrite it with rank 0's and weight averaging would
    average it. A turn is ``draw``, steps of the sampler, ``write``.

    Attributes:
        size: number of chains per rank.
        restart_probability: probability that a drawn chain starts over instead of going on.
    """

    size: int
    restart_probability: float = 0.0

    @abc.abstractmethod
    def draw(self, n: int | None, source) -> tuple[Tensor | None, Entries]:
        """``n`` chains, or None for all, and the slots they came from.

        Args:
            source: the rank's negatives: base, data, sampler, generator and device that new chains come from. An empty
                population fills itself first.
        """

    @abc.abstractmethod
    def write(self, index: Tensor | None, moved: Entries, source) -> None:
        """Takes drawn chains back after they have moved."""

    @abc.abstractmethod
    def stored(self, n: int | None = None) -> Entries | None:
        """Copies of ``n`` chains to look at, or of all, without moving anything; None while there are none."""

    @abc.abstractmethod
    def state(self) -> dict | None:
        """All of it as tensors that lead with rows, or plain values, by name; None while there are no chains."""

    @abc.abstractmethod
    def load_state(self, state: dict) -> None:
        """Goes on from a ``state``, whose tensors are on the device of the chains."""

    def keep_within(self, support: Support) -> None:  # noqa: B027
        """Learns the range of the values, for populations that depend on it."""


def unlabeled(x: Tensor, **aux: Tensor) -> Entries:
    """Chains at ``x`` of age 0, without labels."""
    none = torch.full((len(x),), -1, dtype=torch.long, device=x.device)
    return Entries(x, none, torch.zeros_like(none), aux)
