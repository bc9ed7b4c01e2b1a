"""The replay buffer: persistent chains that go on from update to update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ebm_cli.buffers.population import Entries, Population
from ebm_cli.energies import Support
from ebm_cli.utils.tensors import append_dims

if TYPE_CHECKING:
    from ebm_cli.buffers.negatives import Negatives

CHOICES = {
    "start": ("noise", "data"),
    "restart_from": ("noise", "data"),
    "replace": ("same", "fifo", "reservoir"),
    "dtype": ("float32", "float16", "uint8"),
}


@dataclass(kw_only=True, eq=False)
class ReplayBuffer(Population):
    """Persistent chains of one rank (Tieleman 2008; Du & Mordatch 2019).

    A draw takes distinct slots and restarts each with ``restart_probability``; the chains are written back to the same
    slots, so that a slot is one chain with a history.

    Args:
        size: number of chains kept per rank.
        start: what fills the buffer at first: ``noise`` (the base density) or ``data`` (training examples).
        restart_probability: probability that a drawn chain starts over instead of going on.
        restart_from: what it starts over from: ``noise`` or ``data``.
        replace: ``same`` returns chains to the slots they came from; ``fifo`` replaces the oldest slots in turn;
            ``reservoir`` keeps every chain ever written with equal chance.
        dtype: ``float32``; ``float16`` for half the memory; ``uint8`` for a quarter of it, where values are bounded:
            256 levels over their range, rounded up or down at random so that on average nothing moves.
        augment: transform of one example, such as those of torchvision, that every chain goes through when it is drawn
            (Du et al. 2021); it draws from torch's global generator. None for none.

    Raises:
        ValueError: for an unknown choice, a size below 1, or a probability outside [0, 1].

    Example:
        >>> buffer = ReplayBuffer(size=4)
        >>> buffer.fill(torch.zeros(4, 2), torch.full((4,), -1))
        >>> index, chains = buffer.pick(3, torch.Generator().manual_seed(0))
        >>> len(index.unique()), chains.x.shape
        (3, torch.Size([3, 2]))
    """

    size: int = 10000
    start: str = "noise"
    restart_probability: float = 0.05
    restart_from: str = "noise"
    replace: str = "same"
    dtype: str = "float32"
    augment: Callable | None = None

    def __post_init__(self):
        for key, choices in CHOICES.items():
            if getattr(self, key) not in choices:
                raise ValueError(f"buffer.{key} must be one of {', '.join(choices)}, got {getattr(self, key)!r}")
        if self.size < 1 or not 0 <= self.restart_probability <= 1:
            given = f"got {self.size} and {self.restart_probability}"
            raise ValueError(f"buffer needs size >= 1 and 0 <= restart_probability <= 1, {given}")
        self.stored_as = getattr(torch, self.dtype)
        self.low, self.high = 0.0, 1.0  # of the values kept as uint8
        self.entries: Entries | None = None
        self.cursor = 0  # of fifo: the oldest slot; of reservoir: how many chains were written

    def keep_within(self, support: Support) -> None:
        """Learns the range of the values, which ``uint8`` needs.

        Raises:
            ValueError: where it has no bounds.
        """
        if self.stored_as == torch.uint8 and support.kind != "box":
            raise ValueError(f"buffer.dtype=uint8: needs data within bounds, and these are {support.kind}; use float16")
        if support.kind == "box":
            self.low, self.high = support.low, support.high

    def packed(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Positions as they are kept."""
        if self.stored_as != torch.uint8:
            return x.to(self.stored_as)
        level = (x - self.low) * (255 / (self.high - self.low))
        dither = torch.rand(x.shape, device=x.device, generator=generator)
        return (level + dither).floor_().clamp_(0, 255).to(torch.uint8)

    def unpacked(self, x: Tensor) -> Tensor:
        """Positions that were ``packed``, single precision in and out."""
        return self.low + x * ((self.high - self.low) / 255) if self.stored_as == torch.uint8 else x

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

    def draw(self, n: int | None, source: Negatives) -> tuple[Tensor, Entries]:
        """``n`` chains of distinct slots, a share ``restart_probability`` of them started over."""
        if self.entries is None:
            first = source.carrying(source.fresh(self.start, self.size))
            self.fill(first.x, first.y, first.aux, source.generator)
        index, entries = self.pick(self.size if n is None else n, source.generator)
        return index, self.restart(entries, source) if self.restart_probability else entries

    def restart(self, entries: Entries, source: Negatives) -> Entries:
        """Drawn chains, each replaced with ``restart_probability`` by a new one of age 0."""
        n = len(entries.x)
        over = torch.rand(n, device=entries.x.device, generator=source.generator) < self.restart_probability
        new = source.carrying(source.fresh(self.restart_from, n))
        kept = zip((new.x, new.y, new.age), entries[:3], strict=True)
        aux = {name: torch.where(append_dims(over, value), new.aux[name], value) for name, value in entries.aux.items()}
        return Entries(*(torch.where(append_dims(over, a), a, b) for a, b in kept), aux)

    def pick(self, n: int, generator: torch.Generator) -> tuple[Tensor, Entries]:
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

    def write(self, index: Tensor, moved: Entries, source: Negatives) -> None:
        """Puts moved chains back: to their own slots, or to those that ``replace`` chooses."""
        n, generator = len(moved.x), source.generator
        if self.replace == "fifo":
            index = (self.cursor + torch.arange(n, device=index.device)) % self.size
            self.cursor = (self.cursor + n) % self.size
        if self.replace == "reservoir":
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

    def stored(self, n: int | None = None) -> Entries | None:
        return None if self.entries is None else self.at(slice(n))

    def state(self) -> dict | None:
        if self.entries is None:
            return None
        aux = {f"aux/{name}": value for name, value in self.entries.aux.items()}
        x, y, age, _ = self.entries
        return {**aux, "x": x, "y": y, "age": age, "cursor": self.cursor}

    def load_state(self, state: dict) -> None:
        aux = {name.removeprefix("aux/"): value for name, value in state.items() if name.startswith("aux/")}
        self.entries = Entries(state["x"], state["y"], state["age"], aux)
        self.size, self.cursor = len(self.entries.x), state["cursor"]
