"""Diffusion recovery likelihood: at every noise level, the law of less noisy data given noisier ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.population import unlabeled
from ebm_cli.energies.energy import Energy, needs_labels
from ebm_cli.objectives.multi_scale_denoising import MultiScaleDenoising
from ebm_cli.objectives.objective import Loss, Objective, evaluate_all, measure_gap
from ebm_cli.samplers.recovery import RecoverySampler
from ebm_cli.utils.tensors import append_dims


@dataclass(kw_only=True, eq=False)
class RecoveryLikelihood(Objective):
    """Maximum likelihood of ``p(y_t | x_(t+1))`` at random levels t (Gao, Song, Poole, Wu & Kingma 2021).

    Negatives come from short chains that start at ``x_(t+1)``: no buffer, no restarts. The noise levels and the length
    of the chains are those of the run's ``sampler=recovery``.

    Args:
        denoising: weight of a denoising loss between the levels, for energies conditioned on the noise.
        first: share of the run in which that loss trains alone.

    Raises:
        ValueError: for another sampler, and for class-conditional energies.

    Example:
        >>> RecoveryLikelihood().validation_metric is None
        True
    """

    denoising: float = 0.0
    first: float = 0.0

    uses_chains = True
    double_backward = True
    validation_metric = None

    def __post_init__(self):
        super().__post_init__()
        if self.denoising < 0 or not 0 <= self.first < 1:
            given = f"got {self.denoising} and {self.first}"
            raise ValueError(f"objective needs denoising >= 0 and 0 <= first < 1, {given}")

    def forward(self, energy: Energy, batch, negatives: Negatives) -> Loss:
        sampler = self.need_sampler(energy, negatives)
        if self.progress < self.first:
            return self.denoise(energy, batch, sampler)
        loss, metrics = self.contrast(energy, batch.x, sampler, negatives)
        if self.denoising:
            denoised = self.denoise(energy, batch, sampler).loss
            loss, metrics["denoising"] = loss + self.denoising * denoised, denoised.detach()
        return Loss(loss, metrics)

    def need_sampler(self, energy: Energy, negatives: Negatives) -> RecoverySampler:
        """The run's sampler, which knows the levels."""
        if not isinstance(negatives.sampler, RecoverySampler):
            raise ValueError("objective=recovery needs the levels of sampler=recovery")
        if needs_labels(energy):
            raise ValueError("objective=recovery: chains have no labels; use a model without them")
        return negatives.sampler

    def contrast(
        self, energy: Energy, x: Tensor, sampler: RecoverySampler, negatives: Negatives
    ) -> tuple[Tensor, dict]:
        """The weighted contrast of ``y_t`` and of what chains recover from ``x_(t+1)``."""
        levels = sampler.levels
        t = torch.randint(len(levels), (len(x),), device=x.device, generator=negatives.generator)
        of = lambda name: sampler.row(name, t, x)  # noqa: E731
        y, noisy = self.draw_pair(x, t, sampler)
        copy = negatives.frozen.of(energy, noisy)
        chain = sampler.recover(copy, noisy, t, sampler.n_steps // len(levels), negatives.generator)
        conditioning = of("conditioning")
        positive, negative = evaluate_all(energy.given(t=torch.cat([conditioning, conditioning])), y, chain.x)
        negatives.latest = unlabeled((chain.x / append_dims(of("scale"), x))[t.argsort(stable=True)])
        metrics = measure_gap(positive, negative) | {"chain/grad_norm": chain.stats["grad_norm"].mean()}
        return (of("weight") * (positive - negative)).mean(), metrics

    def draw_pair(self, x: Tensor, t: Tensor, sampler: RecoverySampler) -> tuple[Tensor, Tensor]:
        """``y_t``, which the energy of level t is about, and ``x_(t+1)``, where chains start, of data ``x``."""
        of = lambda name: append_dims(sampler.row(name, t, x), x)  # noqa: E731
        less = of("clean") * x + of("noise") * torch.randn_like(x)
        return of("scale") * less, of("shrink") * less + of("std") * torch.randn_like(x)

    def denoise(self, energy: Energy, batch, sampler: RecoverySampler) -> Loss:
        """The denoising loss over the range of the levels' noise."""
        levels = sampler.levels
        if levels.conditioning != levels.noise:
            raise ValueError("objective.denoising and objective.first need energies conditioned on the noise, as "
                             "levels of VarianceExploding condition them; set both to 0")  # fmt: skip
        objective = MultiScaleDenoising(sigma_min=levels.noise[0], sigma_max=levels.start)
        return objective(energy, batch, None)
