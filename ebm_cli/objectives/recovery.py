"""Diffusion recovery likelihood: at every noise level, the law of less noisy data given noisier ones."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_cli.chains import Chains, Entries, needs_labels
from ebm_cli.models.energy import Energy
from ebm_cli.objectives.objective import Loss, Objective, energies_of
from ebm_cli.objectives.score_matching import MultiScaleDenoising
from ebm_cli.samplers.recovery import RecoverySampler
from ebm_cli.samplers.sampler import per_row


class RecoveryLikelihood(Objective):
    """Maximum likelihood of ``p(y_t | x_(t+1))`` at random levels t (Gao, Song, Poole, Wu & Kingma 2021).

    Negatives come from short chains that start at ``x_(t+1)``: no buffer, no restarts. The noise levels and the length
    of the chains are those of the run's ``sampler=recovery``.

    Args:
        denoising: weight of a denoising loss between the levels, for energies that are told the noise.
        first: share of the run in which that loss trains alone.

    Raises:
        ValueError: for another sampler, and for class-conditional energies.
    """

    uses_chains = True
    double_backward = True

    def __init__(self, *, denoising: float = 0.0, first: float = 0.0):
        super().__init__()
        if denoising < 0 or not 0 <= first < 1:
            raise ValueError(f"objective needs denoising >= 0 and 0 <= first < 1, got {denoising} and {first}")
        self.denoising, self.first = denoising, first

    def forward(self, energy: Energy, batch, chains: Chains) -> Loss:
        sampler = self.recovery(energy, chains)
        if self.progress < self.first:
            return self.denoise(energy, batch, sampler)
        loss, metrics = self.contrast(energy, batch.x, sampler, chains)
        if self.denoising:
            denoised = self.denoise(energy, batch, sampler).loss
            loss, metrics["denoising"] = loss + self.denoising * denoised, denoised.detach()
        return Loss(loss, metrics)

    def recovery(self, energy: Energy, chains: Chains) -> RecoverySampler:
        """The run's sampler, which knows the levels."""
        if not isinstance(chains.sampler, RecoverySampler):
            raise ValueError("objective=recovery needs the levels of sampler=recovery")
        if needs_labels(energy):
            raise ValueError("objective=recovery: chains have no labels; use a model without them")
        return chains.sampler

    def contrast(self, energy: Energy, x: Tensor, sampler: RecoverySampler, chains: Chains) -> tuple[Tensor, dict]:
        """The weighted contrast of ``y_t`` and of what chains recover from ``x_(t+1)``."""
        levels = sampler.levels
        t = torch.randint(len(levels), (len(x),), device=x.device, generator=chains.generator)
        of = lambda name: sampler.row(name, t, x)  # noqa: E731
        less = per_row(of("clean"), x) * x + per_row(of("noise"), x) * torch.randn_like(x)
        y = per_row(of("scale"), x) * less
        noisy = y + per_row(of("std"), x) * torch.randn_like(x)
        seen = chains.view.of(energy, noisy)
        chain = sampler.recover(seen, noisy, t, sampler.n_steps // len(levels), chains.generator)
        told = of("told")
        positive, negative = energies_of(energy.given(t=torch.cat([told, told])), y, chain.x)
        none = torch.full_like(t, -1)
        chains.latest = Entries((chain.x / per_row(of("scale"), x))[t.argsort(stable=True)], none, none)
        metrics = {
            "energy/data": positive.detach().mean(),
            "energy/samples": negative.detach().mean(),
            "energy/gap": (negative - positive).detach().mean(),
            "chain/grad_norm": chain.stats["grad_norm"].mean(),
        }
        return (of("weight") * (positive - negative)).mean(), metrics

    def denoise(self, energy: Energy, batch, sampler: RecoverySampler) -> Loss:
        """The denoising loss over the range of the levels' noise."""
        levels = sampler.levels
        if levels.told != levels.noise:
            raise ValueError("objective.denoising and objective.first need energies that are told the noise, as levels "
                             "of VarianceExploding tell it; set both to 0")  # fmt: skip
        objective = MultiScaleDenoising(sigma_min=levels.noise[0], sigma_max=levels.start)
        return objective(energy, batch, None)
