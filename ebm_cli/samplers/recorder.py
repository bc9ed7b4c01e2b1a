"""A bounded record of chains while they run: what diagnostics and the film need."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_cli.energies import Energy
from ebm_cli.samplers.sampler import Chain, Info, State
from ebm_cli.utils.tensors import row_norm

RECORDED = 64  # chains whose scalar summaries are kept
FILMED = 16  # chains whose positions are kept
FRAMES = 40  # moments of the film
MOMENTS = 4000  # moments of a series; longer chains are thinned to at most so many


class Recorder:
    """Callback of ``Sampler.sample`` that records a few of the chains; it draws nothing, so that the chains stay as
    they are.

    Memory is bounded whatever the number and the length of the chains: 64 rows of scalars at no more than 4000 moments,
    and 41 frames of 16 rows.

    Args:
        n_steps: of the chains.
        laws: a number per chain ``(B,)``; only chains of one number share a target, and may be compared by R-hat. None
            where all do. Chains are recorded law by law, so that as many as possible have a partner.

    Attributes:
        rows: which chains are recorded, or None for the first 64.
        thin: steps between two moments of a series.
        frames: positions ``(16, *shape)`` of the first chains on the way.
        energy, x, stats, n_chains, seconds: set by ``finish``: the energy bound to the recorded rows and their final
            positions, the statistics and the number of all chains, and the time that they took.

    Example:
        >>> from ebm_cli.energies import GaussianBase
        >>> from ebm_cli.samplers import Langevin
        >>> recorder = Recorder(10)
        >>> sampler, start = Langevin(n_steps=10, step_size=0.1), torch.zeros(100, 2)
        >>> chain = sampler.sample(GaussianBase((2,)), start, callback=recorder)
        >>> {name: tuple(series.shape) for name, series in recorder.whole().items()}
        {'energy': (64, 10), 'x0': (64, 10), 'x1': (64, 10)}
        >>> Recorder(10, laws=torch.tensor([0, 1, 2, 0, 1])).rows.tolist()
        [0, 3, 1, 4, 2]
    """

    def __init__(self, n_steps: int, *, laws: Tensor | None = None):
        self.every, self.last = max(1, n_steps // FRAMES), n_steps - 1
        self.thin = -(-n_steps // MOMENTS)
        # Sorted by law: of 64 inputs restored four times each in a block, 16 inputs come with all of their repeats.
        self.rows = None if laws is None else laws.cpu().argsort(stable=True)[:RECORDED]
        self.laws = None if laws is None else laws.cpu()[self.rows]
        self.frames: list[Tensor] = []
        self.series: dict[str, list[Tensor]] = {}
        self.film_energy = self.energy = self.x = None
        self.stats: dict[str, Tensor] = {}
        self.n_chains, self.seconds = 0, 0.0

    def __call__(self, i: int, state: State, info: Info) -> None:
        if i % self.every == 0 or i == self.last:
            self.frames.append(state.x[:FILMED].detach().cpu())
        if i % self.thin == 0:
            values = {"energy": self.pick(info.energy)} | summaries(self.pick(state.x))
            for name, value in values.items():
                self.series.setdefault(name, []).append(value.detach().clone())  # a view would keep the whole batch

    def finish(self, energy: Energy, chain: Chain, seconds: float) -> None:
        """Takes what is known at the end only.

        Args:
            energy: what the chains followed, bound to all of their rows where it binds anything.
            chain: what the sampler returned.
            seconds: that it took.
        """
        n = len(chain.x)
        rows = torch.arange(min(n, RECORDED)) if self.rows is None else self.rows
        self.energy, self.x = energy.rows(rows.to(chain.x.device)), self.pick(chain.x).clone()
        self.film_energy = energy.rows(slice(0, min(n, FILMED)))
        self.stats, self.n_chains, self.seconds = chain.stats, n, seconds

    def pick(self, values: Tensor) -> Tensor:
        """The recorded rows of ``values`` ``(B, ...)``."""
        return values[:RECORDED] if self.rows is None else values[self.rows.to(values.device)]

    def whole(self) -> dict[str, Tensor]:
        """Each series, ``(chains, moments)``."""
        return {name: torch.stack(values, 1).cpu() for name, values in self.series.items()}

    def after_warmup(self) -> dict[str, Tensor]:
        """The second half of each series, ``(chains, moments)``: the first is taken as warm-up."""
        return {name: values[:, values.shape[1] // 2 :] for name, values in self.whole().items()}

    def by_law(self) -> dict[str, list[Tensor]]:
        """The series after warm-up, one tensor ``(chains, moments)`` for each law."""
        series = self.after_warmup()
        if self.laws is None:
            return {name: [values] for name, values in series.items()}
        groups = [self.laws == law for law in self.laws.unique()]
        return {name: [values[group] for group in groups] for name, values in series.items()}


def summaries(x: Tensor, n_directions: int = 4) -> dict[str, Tensor]:
    """Scalars ``(B,)`` that tell chains apart: entries where there are few, else mean, norm and fixed projections.

    Example:
        >>> list(summaries(torch.zeros(3, 2)))
        ['x0', 'x1']
        >>> list(summaries(torch.zeros(3, 1, 8, 8)))
        ['mean', 'norm', 'projection0', 'projection1', 'projection2', 'projection3']
    """
    flat = x.flatten(1)
    if flat.shape[1] <= n_directions:
        return {f"x{k}": flat[:, k] for k in range(flat.shape[1])}
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(flat.shape[1], n_directions, generator=generator).to(flat) / flat.shape[1] ** 0.5
    projected = {f"projection{k}": v for k, v in enumerate((flat @ directions).unbind(1))}
    return {"mean": flat.mean(1), "norm": row_norm(x)} | projected
