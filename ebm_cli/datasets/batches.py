"""Which examples make up which batch, as a function of seed, epoch and rank alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler


class Batch(NamedTuple):
    """Examples ``(B, *shape)`` and their labels ``(B,)``, int64, or None for data without labels."""

    x: Tensor
    y: Tensor | None


class Rows(Dataset):
    """Examples ``index`` of a store, a batch at a time: ``rows[indices] -> Batch``.

    Args:
        x: anything that an index tensor ``(B,)`` picks a tensor ``(B, *shape)`` out of.
        y: labels of the whole store, or None.
        index: which examples of the store belong here, ``(N,)``.
    """

    def __init__(self, x, y: Tensor | None, index: Tensor):
        self.x, self.y, self.index = x, y, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, indices: Tensor) -> Batch:
        index = self.index[indices]
        return Batch(self.x[index], None if self.y is None else self.y[index])


class ShuffledBatches(Sampler):
    """Training batches as index tensors: the same for the same ``(seed, epoch)``, disjoint over ranks.

    With ``steps`` the examples form one endless stream of successive shuffles, and an epoch is the next ``steps``
    batches of it: every example is seen once before any is seen again, however short the epochs. Without, an epoch is
    one shuffle, whose remainder (less than a batch) is left out.

    Args:
        n: examples there are.
        batch_size: examples per batch and rank.
        steps: batches per epoch and rank, or None for one pass.
        seed: of the shuffles.
        rank, world_size: this process among how many.
        epoch: the epoch to begin with; ``set_epoch`` moves on.

    Example:
        >>> batches = ShuffledBatches(6, 2, 3)
        >>> sorted(torch.cat(list(batches)).tolist())
        [0, 1, 2, 3, 4, 5]
    """

    def __init__(self, n: int, batch_size: int, steps: int | None, *, seed=0, rank=0, world_size=1, epoch=0):
        if n < world_size:
            raise ValueError(f"{n} training examples cannot feed {world_size} processes")
        self.n, self.seed, self.rank, self.world_size, self.epoch = n, seed, rank, world_size, epoch
        self.batch_size = batch_size if steps else min(batch_size, n // world_size)
        self.whole_passes = steps is None
        self.steps = steps or n // (self.batch_size * world_size)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Tensor]:
        indices = self.stretch().view(self.steps, self.world_size, self.batch_size)
        return iter(indices[:, self.rank])

    def stretch(self) -> Tensor:
        """The indices of this epoch, over all ranks."""
        size = self.steps * self.world_size * self.batch_size
        if self.whole_passes:
            return self.shuffle(self.epoch)[:size]
        first, last = self.epoch * size // self.n, ((self.epoch + 1) * size - 1) // self.n
        stream = torch.cat([self.shuffle(k) for k in range(first, last + 1)])
        start = self.epoch * size - first * self.n
        return stream[start : start + size]

    def shuffle(self, k: int) -> Tensor:
        """The k-th shuffle of all examples; a generator jumps far between neighboring seeds."""
        return torch.randperm(self.n, generator=torch.Generator().manual_seed((1_000_003 * self.seed + k) % 2**63))


def portion(y: Tensor | None, n: int, size: int, seed: int) -> Tensor:
    """Indices of ``size`` of ``n`` examples, sorted: a random choice that keeps the classes in proportion.

    Shuffled, ordered by class, and then taken at equal distances, so that no class is off by more than one example.
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    if y is not None:
        order = order[y[order].sort(stable=True).indices]
    places = ((torch.arange(size) + 0.5) * n / max(size, 1)).long()
    return order[places].sort().values


def cut(y: Tensor | None, n: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of ``n`` examples in two sorted parts, the second of ``size`` as ``portion`` picks them."""
    held_out = portion(y, n, size, seed)
    everything = torch.arange(n)
    return everything[~torch.isin(everything, held_out)], held_out


def hidden(rows: Rows, labeled: int, seed: int) -> Rows:
    """The same examples with the labels of ``labeled`` of them, as ``portion`` picks them, and -1 for the others.

    Raises:
        ValueError: for data without labels, or fewer examples than that.
    """
    if rows.y is None or labeled > len(rows):
        there = "no labels" if rows.y is None else f"{len(rows)} training examples"
        raise ValueError(f"dataset.labeled={labeled}: there are {there}; null shows what there is")
    shown = rows.index[portion(rows.y[rows.index], len(rows), labeled, seed)]
    y = torch.full_like(rows.y, -1)
    y[shown] = rows.y[shown]
    return Rows(rows.x, y, rows.index)


def count_of(amount: float, n: int, key: str) -> int:
    """A number of examples given as such (1 or more) or as a share of ``n`` (below 1).

    Raises:
        ValueError: naming ``key``, if nothing would be left or the amount is negative.
    """
    count = round(amount * n) if 0 <= amount < 1 else amount
    if count != int(count) or not 0 <= count < n:
        raise ValueError(f"{key} must be a share in [0, 1) or a whole number below {n}, got {amount}")
    return math.floor(count)
