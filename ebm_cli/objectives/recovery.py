"""Diffusion recovery likelihood: at every noise level, the law of less noisy data given noisier ones."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.replay import Entries
from ebm_cli.energies.energy import Energy, needs_labels
from ebm_cli.objectives.objective import Loss, Objective, energies_of
from ebm_cli.objectives.score_matching import MultiScaleDenoising
from ebm_cli.samplers.recovery import RecoverySampler
from ebm_cli.utils.tensors import append_dims


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

    def forward(self, energy: Energy, batch, chains: Negatives) -> Loss:
        sampler = self.recovery(energy, chains)
        if self.progress < self.first:
            return self.denoise(energy, batch, sampler)
        loss, metrics = self.contrast(energy, batch.x, sampler, chains)
        if self.denoising:
            denoised = self.denoise(energy, batch, sampler).loss
            loss, metrics["denoising"] = loss + self.denoising * denoised, denoised.detach()
        return Loss(loss, metrics)

    def recovery(self, energy: Energy, chains: Negatives) -> RecoverySampler:
        """The run's sampler, which knows the levels."""
        if not isinstance(chains.sampler, RecoverySampler):
            raise ValueError("objective=recovery needs the levels of sampler=recovery")
        if needs_labels(energy):
            raise ValueError("objective=recovery: chains have no labels; use a model without them")
        return chains.sampler

    def contrast(self, energy: Energy, x: Tensor, sampler: RecoverySampler, chains: Negatives) -> tuple[Tensor, dict]:
        """The weighted contrast of ``y_t`` and of what chains recover from ``x_(t+1)``."""
        levels = sampler.levels
        t = torch.randint(len(levels), (len(x),), device=x.device, generator=chains.generator)
        of = lambda name: sampler.row(name, t, x)  # noqa: E731
        less = append_dims(of("clean"), x) * x + append_dims(of("noise"), x) * torch.randn_like(x)
        y = append_dims(of("scale"), x) * less
        noisy = y + append_dims(of("std"), x) * torch.randn_like(x)
        seen = chains.frozen.of(energy, noisy)
        chain = sampler.recover(seen, noisy, t, sampler.n_steps // len(levels), chains.generator)
        conditioning = of("conditioning")
        positive, negative = energies_of(energy.given(t=torch.cat([conditioning, conditioning])), y, chain.x)
        none = torch.full_like(t, -1)
        chains.latest = Entries((chain.x / append_dims(of("scale"), x))[t.argsort(stable=True)], none, none)
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
        if levels.conditioning != levels.noise:
            raise ValueError("objective.denoising and objective.first need energies that are told the noise, as levels "
                             "of VarianceExploding tell it; set both to 0")  # fmt: skip
        objective = MultiScaleDenoising(sigma_min=levels.noise[0], sigma_max=levels.start)
        return objective(energy, batch, None)
