"""Samples of a trained model, in blocks that any number of processes can share."""

from __future__ import annotations

import time

import torch
from torch import Tensor
from torch.nn.functional import pad

from ebm_cli.config import ConfigError
from ebm_cli.energies import Base, Energy
from ebm_cli.energies.energy import needs_labels
from ebm_cli.runs.samples import Samples
from ebm_cli.samplers.recorder import Recorder
from ebm_cli.samplers.smc import systematic
from ebm_cli.utils import distributed
from ebm_cli.utils.distributed import rank_seed

BLOCK = 250  # chains per block; a block's noise depends on (seed, block) alone, so devices can share the work


def generate(
    model,
    n: int,
    n_steps: int,
    *,
    energy: Energy | None = None,
    y: Tensor | None = None,
    start: Tensor | None = None,
    recorder: Recorder | None = None,
) -> Samples:
    """Samples in blocks whose randomness depends on (seed, block) alone, shared out among the processes.

    Args:
        model: the ``TrainedModel``.
        energy: instead of the model's own: a composition, where it binds anything per row, bound to n rows.
        y: labels ``(n,)`` to condition on; a class-conditional energy without them gets balanced ones.
        start: where chains start, ``(n, *shape)``; None is fresh noise.
        recorder: callback of the first block, on the process that runs it; it leaves the samples as they are.

    Raises:
        ConfigError: for samplers that weigh chains against one another, where every chain has an energy of its own.
    """
    own = energy is not None and energy is not model.energy
    energy = model.energy if energy is None else energy
    if y is None and needs_labels(energy):
        y = torch.arange(n) % energy.n_classes
    if model.sampler.weighted and (own or y is not None):
        name = type(model.sampler).__name__
        raise ConfigError(f"sampler: {name} weighs chains against one another, and these have energies of their own")
    mine = {}
    for block in range(-(-n // BLOCK))[distributed.rank() :: distributed.world()]:
        rows = slice(block * BLOCK, min((block + 1) * BLOCK, n))
        generator = torch.Generator(model.device).manual_seed(rank_seed(model.seed, block))
        labels = None if y is None else y[rows].to(model.device)
        conditional = energy.rows(rows) if labels is None else energy.rows(rows).given(y=labels)
        fresh = starts(model.base, labels, generator)[: rows.stop - rows.start]
        x = fresh if start is None else start[rows].to(model.device)
        watching, since = None if block else recorder, time.monotonic()
        chain = model.sampler.sample(
            model.frozen.of(conditional, x), x, n_steps=n_steps, generator=generator, callback=watching
        )
        if watching is not None:
            watching.finish(conditional, chain, time.monotonic() - since)
        x = chain.x if chain.log_w is None else chain.x[systematic(chain.log_w, generator)]
        with torch.no_grad():
            mine[block] = x.cpu(), conditional(x).cpu()
    blocks = {block: part for parts in distributed.everyone(mine) for block, part in parts.items()}
    x, values = (torch.cat(p) for p in zip(*(blocks[block] for block in sorted(blocks)), strict=True))
    return Samples(x, values, y, n_steps)


def starts(base: Base, y: Tensor | None, generator: torch.Generator) -> Tensor:
    """A block of draws from the base, under labels where there are any: the same ones however many are used."""
    if y is None:
        return base.sample(BLOCK, generator)
    return base.sample_labeled(pad(y, (0, BLOCK - len(y))), generator)
