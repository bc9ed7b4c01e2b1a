"""The replay buffer: persistent chains that go on from update to update."""

from __future__ import annotations

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
        aux: what the sampler carries from run to run (replicas, velocities, tuned steps), ``(n, ...)`` by name.
    """

    x: Tensor
    y: Tensor
    age: Tensor
    aux: dict = {}

    def at(self, index) -> Entries:
        """The chains ``index``, positions in single precision."""
        aux = {name: value[index] for name, value in self.aux.items()}
        return Entries(self.x[index].float(), self.y[index], self.age[index], aux)


class ReplayBuffer:
    """Persistent chains of one rank (Tieleman 2008; Du & Mordatch 2019).

    A plain object, not a module: data-parallel training would overwrite it with rank 0's and weight averaging would
    average it. A draw takes distinct slots, restarts each with ``restart_probability``, and the chains are
    written back to the same slots, so that a slot is one chain with a history.

    Args:
        size: number of chains kept per rank.
        start: what fills the buffer at first: ``noise`` (the base density) or ``data`` (training examples).
        restart_probability: probability that a drawn chain starts over instead of going on.
        restart: what it starts over from: ``noise`` or ``data``.
        write: ``same`` returns chains to the slots they came from; ``fifo`` replaces the oldest slots in turn;
            ``reservoir`` keeps every chain ever written with equal chance.
        dtype: ``float32``; ``float16`` for half the memory; ``uint8`` for a quarter of it, where values are bounded:
            256 levels over their range, rounded up or down at random so that on average nothing moves.
        augment: transform of one example, such as those of torchvision, that every chain goes through when it is drawn
            (Du et al. 2021); it draws from torch's global generator. None for none.
    """

    def __init__(
        self,
        *,
        size=10000,
        start="noise",
        restart_probability=0.05,
        restart="noise",
        write="same",
        dtype="float32",
        augment=None,
    ):
        for key, value, choices in (
            ("start", start, ("noise", "data")),
            ("restart", restart, ("noise", "data")),
            ("write", write, ("same", "fifo", "reservoir")),
            ("dtype", dtype, ("float32", "float16", "uint8")),
        ):
            if value not in choices:
                raise ValueError(f"buffer.{key} must be one of {', '.join(choices)}, got {value!r}")
        if size < 1 or not 0 <= restart_probability <= 1:
            raise ValueError(
                f"buffer needs size >= 1 and 0 <= restart_probability <= 1, got {size} and {restart_probability}"
            )
        self.size, self.start, self.restart_probability = int(size), start, float(restart_probability)
        self.restart, self.write_policy, self.dtype = restart, write, getattr(torch, dtype)
        self.augment = augment
        self.low, self.high = 0.0, 1.0  # of the values kept as uint8
        self.entries: Entries | None = None
        self.cursor = 0  # of fifo: the oldest slot; of reservoir: how many chains were written

    def keep_within(self, support: Support) -> None:
        """Learns the range of the values, which ``uint8`` needs.

        Raises:
            ValueError: where it has no bounds.
        """
        if self.dtype == torch.uint8 and support.kind != "box":
            raise ValueError(f"buffer.dtype=uint8: needs data within bounds, and these are {support.kind}; use float16")
        if support.kind == "box":
            self.low, self.high = support.low, support.high

    def packed(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Positions as they are kept."""
        if self.dtype != torch.uint8:
            return x.to(self.dtype)
        level = (x - self.low) * (255 / (self.high - self.low))
        dither = torch.rand(x.shape, device=x.device, generator=generator)
        return (level + dither).floor_().clamp_(0, 255).to(torch.uint8)

    def unpacked(self, x: Tensor) -> Tensor:
        """Positions that were ``packed``, single precision in and out."""
        return self.low + x * ((self.high - self.low) / 255) if self.dtype == torch.uint8 else x

    def at(self, index) -> Entries:
        """Copies of the chains ``index``."""
        entries = self.entries.at(index)
        return entries._replace(x=self.unpacked(entries.x))

    def fill(
        self, x: Tensor, y: Tensor, aux: dict[str, Tensor] | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Starts the chains at ``x`` ``(size, *shape)`` with labels ``y`` and what the sampler carries."""
        age = torch.zeros(len(x), dtype=torch.long, device=x.device)
        self.entries = Entries(self.packed(x, generator), y, age, aux or {})

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Entries]:
        """``n`` distinct slots at random and copies of their chains."""
        if n > self.size:
            raise ValueError(f"buffer.size={self.size} is smaller than the {n} chains asked for at once")
        device = self.entries.x.device
        if n * 8 > self.size:
            index = torch.randperm(self.size, device=device, generator=generator)[:n]
        else:  # O(n) however large the buffer: a random start in every n-th stretch gives distinct slots
            stretch = self.size // n
            index = torch.randint(stretch, (n,), device=device, generator=generator)
            index += stretch * torch.arange(n, device=device)
            index = (index + torch.randint(self.size, (1,), device=device, generator=generator)) % self.size
        drawn = self.at(index)
        if self.augment is not None:
            drawn = drawn._replace(x=torch.stack([self.augment(x) for x in drawn.x]))
        return index, drawn

    def write(self, index: Tensor, moved: Entries, generator: torch.Generator) -> None:
        """Puts moved chains back, by the buffer's policy."""
        n = len(moved.x)
        if self.write_policy == "fifo":
            index = (self.cursor + torch.arange(n, device=index.device)) % self.size
            self.cursor = (self.cursor + n) % self.size
        if self.write_policy == "reservoir":
            index, kept = self.reservoir(n, index.device, generator)
            moved = Entries(moved.x[kept], moved.y[kept], moved.age[kept], {k: v[kept] for k, v in moved.aux.items()})
        self.entries.x[index] = self.packed(moved.x, generator)
        self.entries.y[index] = moved.y
        self.entries.age[index] = moved.age
        for name, value in self.entries.aux.items():
            value[index] = moved.aux[name]

    def reservoir(self, n: int, device, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Distinct slots, and which of ``n`` chains they get: the k-th ever written stays with chance size / k."""
        self.cursor = self.size if self.cursor < self.size else self.cursor  # what filled the buffer counts
        k = self.cursor + 1 + torch.arange(n, device=device)
        self.cursor += n
        stays = torch.rand(n, device=device, generator=generator) * k < self.size
        slots = torch.randint(self.size, (n,), device=device, generator=generator)
        winner = torch.full((self.size,), -1, device=device)  # of chains for one slot, the later one
        winner.scatter_reduce_(0, slots[stays], torch.arange(n, device=device)[stays], "amax")
        index = (winner >= 0).nonzero()[:, 0]
        return index, winner[index]


def flat(entries: Entries) -> dict[str, Tensor]:
    """Kept chains as one level of tensors by name, the carried ones as ``aux/<name>``."""
    named = entries._asdict()
    return {**{f"aux/{name}": value for name, value in named.pop("aux").items()}, **named}


def unflat(tensors: dict[str, Tensor]) -> Entries:
    """The chains that ``flat`` took apart."""
    aux = {name.removeprefix("aux/"): value for name, value in tensors.items() if name.startswith("aux/")}
    return Entries(tensors["x"], tensors["y"], tensors["age"], aux)
