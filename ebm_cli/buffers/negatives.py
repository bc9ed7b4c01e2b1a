"""Negatives: where chains start (data, noise, buffer), and which sampler moves them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ebm_cli.buffers.population import Entries, Population, unlabeled
from ebm_cli.energies import Base, Energy
from ebm_cli.energies.energy import needs_labels
from ebm_cli.overrides.frozen import FrozenCopies
from ebm_cli.samplers.sampler import Chain, Sampler
from ebm_cli.utils.distributed import rank_seed

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor | None]]


class Negatives:
    """Everything an objective needs to get negatives; one per rank.

    Args:
        sampler: the transition that moves chains.
        buffer: the population of persistent chains.
        base: the density that noise starts are drawn from.
        draw_data: ``(n, generator) -> (x, y)``, random training examples.
        n_classes: number of labels, or None.
        device: where chains live.
        seed, rank: seed the generator of this rank's chains.
        frozen: what chains see of networks; None lets them see the networks themselves.
    """

    def __init__(
        self,
        sampler: Sampler,
        buffer: Population,
        base: Base,
        draw_data: Draw,
        *,
        n_classes: int | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        rank: int = 0,
        frozen: FrozenCopies | None = None,
    ):
        self.sampler, self.buffer, self.base, self.draw_data = sampler, buffer, base, draw_data
        self.n_classes, self.device = n_classes, torch.device(device)
        buffer.keep_within(base.support)
        self.frozen = frozen or FrozenCopies("none")
        self.latest: Entries | None = None  # the negatives of the last update
        if sampler.exact and self.frozen.precision == "bfloat16":
            name = type(sampler).__name__
            raise ValueError(f"frozen_copy=bfloat16: {name} accepts or refuses by energies, which need float32")
        if sampler.weighted:
            name = type(sampler).__name__
            raise ValueError(f"sampler: {name} makes weighted samples, and training takes equal ones; use another")
        self.generator = torch.Generator(self.device).manual_seed(rank_seed(seed, rank))

    def sample(
        self,
        energy: Energy,
        n: int,
        *,
        y: Tensor | None = None,
        start=None,
        per_label: bool | None = None,
        backprop_steps=0,
    ) -> Chain:
        """``n`` chains moved by the sampler on ``energy``.

        Args:
            energy: sampled as it is, or per label.
            y: labels ``(n,)`` to sample under; default: those that the chains carry.
            start: None takes chains from the buffer and writes them back; ``"noise"`` starts fresh from the base; a
                tensor ``(n, *shape)`` starts there (contrastive divergence).
            per_label: sample under labels, with random ones for those that are -1; None where ``energy`` needs labels.
            backprop_steps: keep the graph through the last so many steps.
        """
        if start is None:
            index, entries = self.buffer.draw(n, self)
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
        followed = conditional if backprop_steps else self.frozen.of(conditional, entries.x)
        chain = self.sampler.sample(
            followed, entries.x, generator=self.generator, backprop_steps=backprop_steps, aux=entries.aux
        )
        carried = {name: chain.state.aux[name] for name in entries.aux}
        self.latest = Entries(chain.x, labels, entries.age + self.sampler.n_steps, carried)
        if start is None:
            self.buffer.write(index, self.latest, self)
        chain.stats["age"] = entries.age
        chain.y = labels
        return chain

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
        return self.entries_at(self.base.sample_labeled(labels, self.generator), labels)

    def random_labels(self, n: int) -> Tensor:
        return torch.randint(self.n_classes, (n,), device=self.device, generator=self.generator)

    def entries_at(self, x: Tensor, y: Tensor | None) -> Entries:
        """Chains of age 0 at ``x``; without labels their label is -1."""
        entries = unlabeled(x)
        return entries if y is None else entries._replace(y=y)

    def stored(self, n: int | None) -> Entries | None:
        """``n`` chains of the population, or of the last negatives where it has none, without moving them; or None."""
        entries = self.buffer.stored(n)
        if entries is None and self.latest is not None:
            return self.latest.at(slice(n))
        return entries

    @property
    def horizon(self) -> int | None:
        """Mean age in steps at which a persistent chain is restarted, K / probability; None if chains never restart."""
        restart_probability = self.buffer.restart_probability
        return round(self.sampler.n_steps / restart_probability) if restart_probability else None

    def state(self) -> dict:
        """Everything that continues the chains exactly: tensors and plain values only."""
        population = self.buffer.state()
        return {
            "generator": self.generator.get_state(),
            "frozen": self.frozen.state(),
            "population": None if population is None else {name: move(v, "cpu") for name, v in population.items()},
        }

    def load_state(self, state: dict) -> None:
        if state["generator"] is not None:
            self.generator.set_state(state["generator"].cpu())
        self.frozen.load_state(state["frozen"])
        if state["population"] is not None:
            self.buffer.load_state({name: move(v, self.device) for name, v in state["population"].items()})


def move(value, device: torch.device | str):
    """A tensor on ``device``; any other value as it is."""
    return value.to(device) if isinstance(value, Tensor) else value
