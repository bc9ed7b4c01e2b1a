"""Biases that belong to a method and not to its code, as the documents state them."""

from __future__ import annotations

import math

import pytest
import torch

from ebm_cli.energies import Energy, Gaussian, box
from ebm_cli.samplers import AIS, MALA, SMC, Langevin
from ebm_cli.samplers.ais import estimate


class Slope(Energy):
    """``3.5 x`` on [0, 1]: mean 1 / 3.5 - 1 / (e^3.5 - 1) = .2546."""

    def __init__(self):
        super().__init__((1,), box(0.0, 1.0))

    def forward(self, x):
        return 3.5 * x.sum(1)


@pytest.mark.parametrize(
    ("boundary", "step_size", "mean", "border"),
    [("clamp", 0.02, 0.169, 0.42), ("clamp", 0.001, 0.235, 0.11), ("reflect", 0.02, 0.291, 0.0)],
)
def test_unadjusted_steps_at_a_border_are_biased(boundary, step_size, mean, border):
    generator = torch.Generator().manual_seed(0)
    sampler = Langevin(step_size=step_size, boundary=boundary, n_steps=400)
    x = sampler.sample(Slope(), torch.rand(20000, 1, generator=generator), generator=generator).x
    assert float(x.mean()) == pytest.approx(mean, abs=0.005)
    assert float(((x <= 0) | (x >= 1)).float().mean()) == pytest.approx(border, abs=0.02)


def test_adjusted_steps_at_a_border_are_not():
    generator = torch.Generator().manual_seed(0)
    sampler = MALA(step_size=0.02, n_steps=400)  # proposals outside are refused
    x = sampler.sample(Slope(), torch.rand(20000, 1, generator=generator), generator=generator).x
    assert float(x.mean()) == pytest.approx(1 / 3.5 - 1 / (math.exp(3.5) - 1), abs=0.006)


@pytest.mark.parametrize(("kind", "ratio", "slack"), [(AIS, 1.06, 0.2), (SMC, 0.74, 0.15)])
def test_how_standard_errors_of_log_z_compare_with_the_spread_of_runs(kind, ratio, slack):
    generator, energy = torch.Generator().manual_seed(0), Gaussian(dim=10, std=0.5)
    runs = [estimate(kind(n_steps=40).sample(energy, torch.zeros(100, 10), generator=generator)) for _ in range(100)]
    found = torch.tensor([[run.log_z, run.stderr] for run in runs])
    assert float(found[:, 1].square().mean().sqrt() / found[:, 0].std()) == pytest.approx(ratio, abs=slack)


@pytest.mark.parametrize(("n_steps", "gradient"), [(10, -0.449), (200, -0.067)])
def test_short_recovery_chains_pull_the_true_energy_away(n_steps, gradient):
    """Data N(0, 1), y = x + noise of deviation 1, chains of the true posterior from y: the gradient of theta x^2 / 2 at
    the true theta should vanish."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100_000, 1, generator=generator)
    y = x + torch.randn(100_000, 1, generator=generator)

    class Posterior(Energy):
        def __init__(self):
            super().__init__((1,))

        def forward(self, z):
            return (0.5 * z.square() + 0.5 * (z - y).square()).sum(1)

    z = Langevin(step_size=0.005, n_steps=n_steps).sample(Posterior(), y, generator=generator).x
    assert 0.5 * float(x.square().mean() - z.square().mean()) == pytest.approx(gradient, abs=0.02)
