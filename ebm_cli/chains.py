"""Negatives: where chains start (data, noise, buffer), which sampler moves them, and where they are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ebm_cli.models.bases import Base
from ebm_cli.models.energy import Energy, Support
from ebm_cli.models.view import SamplingView
from ebm_cli.samplers.sampler import Chain, Sampler, per_row

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor | None]]


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
    average it. A draw takes distinct slots, restarts each with probability ``reinit``, and the chains are written back
    to the same slots, so that a slot is one chain with a history.

    Args:
        size: number of chains kept per rank.
        start: what fills the buffer at first: ``noise`` (the base density) or ``data`` (training examples).
        reinit: probability that a drawn chain starts over instead of going on.
        restart: what it starts over from: ``noise`` or ``data``.
        write: ``same`` returns chains to the slots they came from; ``fifo`` replaces the oldest slots in turn;
            ``reservoir`` keeps every chain ever written with equal chance.
        dtype: ``float32``; ``float16`` for half the memory; ``uint8`` for a quarter of it, where values are bounded:
            256 levels over their range, rounded up or down at random so that on average nothing moves.
        augment: transform of one example, such as those of torchvision, that every chain goes through when it is drawn
            (Du et al. 2021); it draws from torch's global generator. None for none.
    """

    def __init__(
        self, *, size=10000, start="noise", reinit=0.05, restart="noise", write="same", dtype="float32", augment=None
    ):
        for key, value, choices in (
            ("start", start, ("noise", "data")),
            ("restart", restart, ("noise", "data")),
            ("write", write, ("same", "fifo", "reservoir")),
            ("dtype", dtype, ("float32", "float16", "uint8")),
        ):
            if value not in choices:
                raise ValueError(f"buffer.{key} must be one of {', '.join(choices)}, got {value!r}")
        if size < 1 or not 0 <= reinit <= 1:
            raise ValueError(f"buffer needs size >= 1 and 0 <= reinit <= 1, got size={size}, reinit={reinit}")
        self.size, self.start, self.reinit = int(size), start, float(reinit)
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


class Chains:
    """Everything an objective needs to get negatives; one per rank.

    Args:
        sampler: the transition that moves chains.
        buffer: where persistent chains live.
        base: the density that noise starts are drawn from.
        draw_data: ``(n, generator) -> (x, y)``, random training examples.
        n_classes: number of labels, or None.
        device: where chains live.
        seed, rank: seed the generator of this rank's chains.
        view: what chains see of networks; None lets them see the networks themselves.
    """

    def __init__(
        self,
        sampler: Sampler,
        buffer: ReplayBuffer,
        base: Base,
        draw_data: Draw,
        *,
        n_classes: int | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        rank: int = 0,
        view: SamplingView | None = None,
    ):
        self.sampler, self.buffer, self.base, self.draw_data = sampler, buffer, base, draw_data
        self.n_classes, self.device = n_classes, torch.device(device)
        buffer.keep_within(base.support)
        self.view = view or SamplingView("none")
        self.latest: Entries | None = None  # the negatives of the last update
        if sampler.exact and self.view.precision == "bfloat16":
            name = type(sampler).__name__
            raise ValueError(f"view=bfloat16: {name} accepts or refuses by energies, which need float32")
        if sampler.weighted:
            name = type(sampler).__name__
            raise ValueError(f"sampler: {name} makes weighted samples, and training takes equal ones; use another")
        self.generator = torch.Generator(self.device).manual_seed(rank_seed(seed, rank))

    def negatives(
        self, energy: Energy, n: int, *, y: Tensor | None = None, start=None, per_label: bool | None = None, through=0
    ) -> Chain:
        """``n`` chains moved by the sampler on ``energy``.

        Args:
            energy: sampled as it is, or per label.
            y: labels ``(n,)`` to sample under; default: those that the chains carry.
            start: None takes chains from the buffer and writes them back; ``"noise"`` starts fresh from the base; a
                tensor ``(n, *shape)`` starts there (contrastive divergence).
            per_label: sample under labels, with random ones for those that are -1; None where ``energy`` needs labels.
            through: keep the graph through the last so many steps.
        """
        if start is None:
            index, entries = self.from_buffer(n)
        elif isinstance(start, Tensor):
            entries = self.entries_at(start, y)
        else:
            entries = self.fresh("noise", n)
        labels = entries.y if y is None else y
        if needs_labels(energy) if per_label is None else per_label:
            labels = torch.where(labels < 0, self.random_labels(n), labels)
            conditional = energy.given(y=labels)
        else:
            conditional = energy
        seen = conditional if through else self.view.of(conditional, entries.x)
        chain = self.sampler.sample(seen, entries.x, generator=self.generator, through=through, aux=entries.aux)
        carried = {name: chain.state.aux[name] for name in entries.aux}
        self.latest = Entries(chain.x, labels, entries.age + self.sampler.n_steps, carried)
        if start is None:
            self.buffer.write(index, self.latest, self.generator)
        chain.stats["age"] = entries.age
        chain.y = labels
        return chain

    def from_buffer(self, n: int) -> tuple[Tensor, Entries]:
        """Slots and the chains in them, a share ``reinit`` of them started over."""
        if self.buffer.entries is None:
            filling = self.carrying(self.fresh(self.buffer.start, self.buffer.size))
            self.buffer.fill(filling.x, filling.y, filling.aux, self.generator)
        index, entries = self.buffer.draw(n, self.generator)
        if not self.buffer.reinit:
            return index, entries
        over = torch.rand(n, device=self.device, generator=self.generator) < self.buffer.reinit
        new = self.carrying(self.fresh(self.buffer.restart, n))
        kept = zip((new.x, new.y, new.age), entries[:3], strict=True)
        aux = {name: torch.where(per_row(over, value), new.aux[name], value) for name, value in entries.aux.items()}
        return index, Entries(*(torch.where(per_row(over, a), a, b) for a, b in kept), aux)

    def carrying(self, entries: Entries) -> Entries:
        """New chains with what the sampler gives them to carry."""
        return entries._replace(aux=self.sampler.start(entries.x, self.generator))

    def fresh(self, source: str, n: int) -> Entries:
        """New chains from the base (``noise``) or from training examples (``data``)."""
        if source == "data":
            x, y = self.draw_data(n, self.generator)
            return self.entries_at(x.to(self.device), None if y is None else y.to(self.device))
        if not self.n_classes:
            return self.entries_at(self.base.sample(n, self.generator), None)
        labels = self.random_labels(n)
        return self.entries_at(self.base.sample_labelled(labels, self.generator), labels)

    def random_labels(self, n: int) -> Tensor:
        return torch.randint(self.n_classes, (n,), device=self.device, generator=self.generator)

    def entries_at(self, x: Tensor, y: Tensor | None) -> Entries:
        """Chains of age 0 at ``x``; without labels their label is -1."""
        none = torch.full((len(x),), -1, dtype=torch.long, device=self.device)
        return Entries(x, none if y is None else y, torch.zeros_like(none))

    def stored(self, n: int) -> Entries | None:
        """The first ``n`` kept chains, or of the last negatives where none are kept, without moving them; or None."""
        if self.buffer.entries is not None:
            return self.buffer.at(slice(n))
        return None if self.latest is None else self.latest.at(slice(n))

    @property
    def horizon(self) -> int | None:
        """Mean age at which a persistent chain is restarted, in steps: K / reinit; None if chains never restart."""
        return round(self.sampler.n_steps / self.buffer.reinit) if self.buffer.reinit else None

    def state(self) -> dict:
        """Everything that continues the chains exactly: tensors and plain values only."""
        entries = self.buffer.entries
        return {
            "generator": self.generator.get_state(),
            "cursor": self.buffer.cursor,
            "view": self.view.state(),
            "entries": None if entries is None else {name: v.cpu() for name, v in flat(entries).items()},
        }

    def load_state(self, state: dict) -> None:
        if state["generator"] is not None:
            self.generator.set_state(state["generator"].cpu())
        self.buffer.cursor = state["cursor"]
        self.view.load_state(state["view"])
        if state["entries"] is not None:
            self.buffer.entries = unflat({name: v.to(self.device) for name, v in state["entries"].items()})
            self.buffer.size = len(self.buffer.entries.x)


def flat(entries: Entries) -> dict[str, Tensor]:
    """Kept chains as one level of tensors by name, the carried ones as ``aux/<name>``."""
    named = entries._asdict()
    return {**{f"aux/{name}": value for name, value in named.pop("aux").items()}, **named}


def unflat(tensors: dict[str, Tensor]) -> Entries:
    """The chains that ``flat`` took apart."""
    aux = {name.removeprefix("aux/"): value for name, value in tensors.items() if name.startswith("aux/")}
    return Entries(tensors["x"], tensors["y"], tensors["age"], aux)


def needs_labels(energy: Energy) -> bool:
    """Whether ``energy`` is class-conditional through its input (a joint model marginalises its labels instead)."""
    return bool(energy.n_classes) and not getattr(energy, "joint", False)


def rank_seed(seed: int, rank: int) -> int:
    """A seed that differs between ranks and between neighbouring seeds."""
    return (1_000_003 * (seed + 1) + 7919 * rank) % 2**63
