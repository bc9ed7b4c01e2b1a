"""Maximum likelihood at every noise level at once, by persistent chains that walk down the levels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.buffers.levels import LevelWalkers
from ebm_cli.buffers.negatives import Negatives
from ebm_cli.energies.energy import Energy, needs_labels
from ebm_cli.objectives.contrastive import measure_energy_distance
from ebm_cli.objectives.multi_scale_denoising import MultiScaleDenoising
from ebm_cli.objectives.objective import Loss, Objective, evaluate_all, measure_gap, need_population
from ebm_cli.samplers import AnnealedLangevin
from ebm_cli.utils.tensors import append_dims


@dataclass(kw_only=True, eq=False)
class AnnealedChains(Objective):
    """``mean sigma / data_std [E(x + sigma z, sigma) - E(x', sigma)]`` over chains x' at noise levels sigma.

    Contrastive divergence of an energy ``E(x, t)`` with the persistent chains of ``buffer=levels``, which each have a
    noise level of their own and walk down the levels as generation does. Denoising (Vincent 2011) trains alone at
    first, which costs no chains, and may stay as a second term.

    Args:
        n_steps: Langevin steps per update, with the step sizes of the sampler's levels.
        first: share of the run in which denoising trains alone.
        denoising: weight of the denoising loss after that.
        log_mean, log_std, data_std: of the denoising loss, see ``MultiScaleDenoising``.

    Raises:
        ValueError: for other samplers than Langevin over noise levels, other buffers, and class-conditional energies.

    Example:
        >>> AnnealedChains(first=0.5).validation_metric
        'energy_distance'
    """

    n_steps: int = 10
    first: float = 0.3
    denoising: float = 0.0
    log_mean: float = -0.7
    log_std: float = 1.0
    data_std: float = 0.5

    uses_chains = True
    double_backward = True
    validation_metric = "energy_distance"

    def __post_init__(self):
        super().__post_init__()
        if self.n_steps < 1 or self.denoising < 0 or not 0 <= self.first < 1:
            given = f"got n_steps={self.n_steps}, first={self.first}, denoising={self.denoising}"
            raise ValueError(f"objective needs n_steps >= 1, 0 <= first < 1 and denoising >= 0, {given}")

    def forward(self, energy: Energy, batch, negatives: Negatives) -> Loss:
        sampler, denoised = need_levels(energy, negatives), None
        if self.progress < self.first or self.denoising:
            denoised = self.denoise(energy, batch, sampler)
        if self.progress < self.first:
            return denoised
        loss, metrics = self.contrast(energy, batch.x, sampler, negatives)
        if denoised is not None:
            loss = loss + self.denoising * denoised.loss
            metrics["denoising"] = denoised.loss.detach()
        return Loss(loss, metrics)

    def denoise(self, energy: Energy, batch, sampler: AnnealedLangevin) -> Loss:
        """The denoising loss between the sampler's levels."""
        normal = {"log_mean": self.log_mean, "log_std": self.log_std, "data_std": self.data_std}
        objective = MultiScaleDenoising(sigma_min=sampler.sigma_min, sigma_max=sampler.sigma_max, **normal)
        return objective(energy, batch, None)

    def contrast(
        self, energy: Energy, x: Tensor, sampler: AnnealedLangevin, negatives: Negatives
    ) -> tuple[Tensor, dict]:
        """The contrastive loss of as many chains as there are data, which move on."""
        walkers = need_population(negatives, LevelWalkers, "annealed", "levels")
        # the drawn chains move at their levels
        index, entries = walkers.draw(len(x), negatives)
        sigma = torch.tensor(sampler.sigmas(), dtype=x.dtype, device=x.device)[entries.aux["level"]]
        copy = negatives.frozen.of(energy.given(t=sigma), entries.x)
        chain = sampler.at_level(sigma).sample(copy, entries.x, n_steps=self.n_steps, generator=negatives.generator)
        # data with the noise of the same levels are contrasted with them
        noised = x + append_dims(sigma, x) * torch.randn_like(x)
        at_levels = energy.given(t=torch.cat([sigma, sigma]))
        positive, negative = evaluate_all(at_levels, noised, chain.x)
        loss = (sigma / self.data_std * (positive - negative)).mean()
        walkers.write(index, entries._replace(x=chain.x), negatives)
        return loss, measure_gap(positive, negative) | {"chain/grad_norm": chain.stats["grad_norm"].mean()}

    @torch.no_grad()
    def validate(self, energy: Energy, batch, negatives: Negatives) -> Tensor | None:
        """The energy distance between chains at the last level and held-out data with its noise."""
        walkers = need_population(negatives, LevelWalkers, "annealed", "levels")
        if not walkers.chains:
            return None
        sampler = need_levels(energy, negatives)
        x = walkers.at_level(sampler.n_levels - 1)
        noised = batch.x + sampler.sigma_min * torch.randn_like(batch.x)
        return measure_energy_distance(x, noised) if len(x) > 1 else None


def need_levels(energy: Energy, negatives: Negatives) -> AnnealedLangevin:
    """The run's sampler, whose levels and step sizes the chains take."""
    sampler = negatives.sampler
    if not isinstance(sampler, AnnealedLangevin) or sampler.over != "noise":
        raise ValueError("objective=annealed: chains walk down noise levels; use sampler=annealed sampler.over=noise")
    if needs_labels(energy):
        raise ValueError("objective=annealed: chains have no labels; use a model without them")
    return sampler
