"""Maximum likelihood at every noise level at once, by persistent chains that walk down the levels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.replay import Entries
from ebm_cli.energies.energy import Energy, needs_labels
from ebm_cli.objectives.contrastive import energy_distance
from ebm_cli.objectives.objective import Loss, Objective, energies_of
from ebm_cli.objectives.score_matching import MultiScaleDenoising
from ebm_cli.samplers import AnnealedLangevin
from ebm_cli.samplers.sampler import Chain
from ebm_cli.utils.tensors import append_dims


class AnnealedChains(Objective):
    """Contrastive divergence of an energy ``E(x, t)`` whose persistent chains each have a noise level of their own.

    A chain starts from the base with noise of the sampler's first level, moves at its level, and goes on to the next
    with a chance of its own; past the last level it starts over. So negatives are what generation makes, at every level
    and age, and generation is the same walk. The contrast at level sigma counts ``sigma / data_std`` times. Denoising
    (Vincent 2011) trains alone at first, which costs no chains, and may stay as a second term.

    Args:
        chains: kept per process.
        n_steps: Langevin steps per update, with the step sizes of the sampler's levels.
        advance: bounds of the chance, drawn once per chain's life uniformly in its logarithm, of going on to the next
            level after an update.
        first: share of the run in which denoising trains alone.
        denoising: weight of the denoising loss after that.
        log_mean, log_std, data_std: of the denoising loss, see ``MultiScaleDenoising``.

    Raises:
        ValueError: for other samplers than Langevin over noise levels, and for class-conditional energies.
    """

    uses_chains = True
    double_backward = True

    def __init__(
        self,
        *,
        chains: int = 1024,
        n_steps: int = 10,
        advance: tuple[float, float] = (0.03, 0.6),
        first: float = 0.3,
        denoising: float = 0.0,
        log_mean: float = -0.7,
        log_std: float = 1.0,
        data_std: float = 0.5,
    ):
        super().__init__()
        if not 0 < advance[0] <= advance[1] <= 1:
            raise ValueError(f"objective.advance must be two chances, 0 < low <= high <= 1, got {list(advance)}")
        if chains < 1 or n_steps < 1 or denoising < 0 or not 0 <= first < 1:
            given = f"got chains={chains}, n_steps={n_steps}, first={first}, denoising={denoising}"
            raise ValueError(f"objective needs chains >= 1, n_steps >= 1, 0 <= first < 1 and denoising >= 0, {given}")
        self.number, self.n_steps, self.advance = int(chains), int(n_steps), tuple(advance)
        self.first, self.denoising, self.data_std = first, denoising, data_std
        self.normal = {"log_mean": log_mean, "log_std": log_std, "data_std": data_std}
        self.kept: dict[str, Tensor] = {}

    def forward(self, energy: Energy, batch, chains: Negatives) -> Loss:
        sampler = self.annealed(energy, chains)
        denoised = None
        if self.progress < self.first or self.denoising:
            denoised = self.denoise(energy, batch, sampler)
        if self.progress < self.first:
            return denoised
        loss, metrics = self.contrast(energy, batch.x, sampler, chains)
        if denoised is not None:
            loss = loss + self.denoising * denoised.loss
            metrics["denoising"] = denoised.loss.detach()
        return Loss(loss, metrics)

    def annealed(self, energy: Energy, chains: Negatives) -> AnnealedLangevin:
        """The run's sampler, whose levels and step sizes these chains take."""
        sampler = chains.sampler
        if not isinstance(sampler, AnnealedLangevin) or sampler.over != "noise":
            raise ValueError(
                "objective=annealed: chains walk down noise levels; use sampler=annealed sampler.over=noise"
            )
        if needs_labels(energy):
            raise ValueError("objective=annealed: chains have no labels; use a model without them")
        return sampler

    def denoise(self, energy: Energy, batch, sampler: AnnealedLangevin) -> Loss:
        """The denoising loss between the sampler's levels."""
        objective = MultiScaleDenoising(sigma_min=sampler.sigma_min, sigma_max=sampler.sigma_max, **self.normal)
        return objective(energy, batch, None)

    def contrast(self, energy: Energy, x: Tensor, sampler: AnnealedLangevin, chains: Negatives) -> tuple[Tensor, dict]:
        """The contrastive loss of a draw of chains, which move on."""
        index, level, chain = self.move(energy, len(x), sampler, chains)
        sigma = self.sigmas(sampler, x)[level]
        noised = x + append_dims(sigma, x) * torch.randn_like(x)
        at_levels = energy.given(t=torch.cat([sigma, sigma]))
        positive, negative = energies_of(at_levels, noised, chain.x)
        loss = (sigma / self.data_std * (positive - negative)).mean()
        self.put_back(index, level, chain.x, sampler, chains)
        gap = (negative - positive).detach().mean()
        metrics = {"energy/data": positive.detach().mean(), "energy/samples": negative.detach().mean()}
        return loss, metrics | {"energy/gap": gap, "chain/grad_norm": chain.stats["grad_norm"].mean()}

    def sigmas(self, sampler: AnnealedLangevin, like: Tensor) -> Tensor:
        return torch.tensor(sampler.sigmas(), dtype=like.dtype, device=like.device)

    # The chains -----------------------------------------------------------------------------------------------

    def move(
        self, energy: Energy, n: int, sampler: AnnealedLangevin, chains: Negatives
    ) -> tuple[Tensor, Tensor, Chain]:
        """Which chains were drawn, their levels, and where they are after their steps."""
        if not self.kept:
            self.kept = self.begin(sampler, chains)
        self.kept = {name: value.to(chains.device) for name, value in self.kept.items()}
        if n > len(self.kept["x"]):
            raise ValueError(f"objective.chains={len(self.kept['x'])} is smaller than the batch of {n}")
        index = torch.randperm(len(self.kept["x"]), device=chains.device, generator=chains.generator)[:n]
        x, level = self.kept["x"][index], self.kept["level"][index]
        sigma = self.sigmas(sampler, x)[level]
        seen = chains.frozen.of(energy.given(t=sigma), x)
        chain = sampler.at_level(sigma).sample(seen, x, n_steps=self.n_steps, generator=chains.generator)
        return index, level, chain

    def begin(self, sampler: AnnealedLangevin, chains: Negatives) -> dict[str, Tensor]:
        """Chains at all levels, at training examples with the noise of the level."""
        x = chains.draw_data(self.number, chains.generator)[0].to(chains.device)
        level = torch.randint(sampler.n_levels, (self.number,), device=chains.device, generator=chains.generator)
        x = x + append_dims(self.sigmas(sampler, x)[level], x) * normal_like(x, chains)
        return {"x": x, "level": level, "chance": self.chances(x, chains)}

    def put_back(self, index: Tensor, level: Tensor, x: Tensor, sampler: AnnealedLangevin, chains: Negatives) -> None:
        """Keeps moved chains: some go on to the next level, and those past the last start over."""
        chance = self.kept["chance"][index]
        level = level + (torch.rand(len(x), device=x.device, generator=chains.generator) < chance)
        over = level >= sampler.n_levels
        self.show(x, over, chains)
        new = chains.base.sample(len(x), chains.generator) + sampler.sigma_max * normal_like(x, chains)
        self.kept["x"][index] = torch.where(append_dims(over, x), new, x)
        self.kept["level"][index] = torch.where(over, 0, level)
        self.kept["chance"][index] = torch.where(over, self.chances(x, chains), chance)

    def chances(self, x: Tensor, chains: Negatives) -> Tensor:
        """Chances of going on, one for every row of ``x``."""
        low, high = (math.log(chance) for chance in self.advance)
        return (low + (high - low) * torch.rand(len(x), device=x.device, generator=chains.generator)).exp()

    def show(self, x: Tensor, over: Tensor, chains: Negatives) -> None:
        """Leaves the chains, those at the end of their walk first, for pictures."""
        order = over.to(torch.uint8).argsort(descending=True, stable=True)
        none = torch.full_like(order, -1)
        chains.latest = Entries(x[order], none, none)

    @torch.no_grad()
    def validation(self, energy: Energy, batch, chains: Negatives) -> tuple[str, Tensor] | None:
        """The energy distance between chains at the last level and held-out data with its noise."""
        if not self.kept:
            return None
        sampler = self.annealed(energy, chains)
        x = self.kept["x"][self.kept["level"] == sampler.n_levels - 1].to(chains.device)
        noised = batch.x + sampler.sigma_min * torch.randn_like(batch.x)
        return ("energy_distance", energy_distance(x, noised)) if len(x) > 1 else None

    def rank_state(self) -> dict:
        return {name: value.cpu() for name, value in self.kept.items()}

    def load_rank_state(self, state: dict) -> None:
        self.kept = dict(state)


def normal_like(x: Tensor, chains: Negatives) -> Tensor:
    """Standard normal noise from the chains' generator."""
    return torch.empty_like(x).normal_(generator=chains.generator)
