"""Langevin against the stationary law it really has."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ebm_cli.energies import REAL, box
from ebm_cli.energies.energy import Plain, energy_and_grad
from ebm_cli.models import MLP
from ebm_cli.samplers import Langevin


def harmonic(k, support=REAL, shape=(1,)):
    energy = Plain(lambda x: 0.5 * k * x.flatten(1).square().sum(1), shape)
    energy.support = support
    return energy


def run(sampler, energy, n=20000, start=0.0, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    x = torch.full((n, *energy.shape), start, dtype=torch.float64)
    return sampler.sample(energy, x, generator=generator, **options)


# The biased variance, known in closed form ---------------------------------------------------------------------


@pytest.mark.parametrize(("k", "eta", "temperature"), [(2.0, 0.5, 1.0), (2.0, 0.5, 0.25), (1.0, 0.1, 2.0)])
def test_ula_has_variance_T_over_k_one_minus_eta_k_half(k, eta, temperature):
    chain = run(Langevin(n_steps=120, step_size=eta, temperature=temperature), harmonic(k))
    expected = temperature / (k * (1 - eta * k / 2))
    assert float(chain.x.var()) == pytest.approx(expected, rel=4 * math.sqrt(2 / 20000))
    assert float(chain.x.mean()) == pytest.approx(0.0, abs=4 * math.sqrt(expected / 20000))


def test_decoupled_noise_has_the_effective_temperature_it_says():
    k, eta, s = 2.0, 0.3, 0.2
    sampler = Langevin(n_steps=120, step_size=eta, noise_std=s)
    assert float(run(sampler, harmonic(k)).x.var()) == pytest.approx(s**2 / (2 * eta * k - (eta * k) ** 2), rel=0.04)
    assert sampler.effective_temperature() == pytest.approx(s**2 / (2 * eta))


def test_short_runs_have_the_variance_of_their_length():
    k, eta, s, steps = 1.0, 0.2, 0.3, 4
    chain = run(Langevin(n_steps=steps, step_size=eta, noise_std=s), harmonic(k), start=2.0)
    a = 1 - eta * k
    assert float(chain.x.mean()) == pytest.approx(2.0 * a**steps, abs=0.01)
    assert float(chain.x.var()) == pytest.approx(s**2 * (1 - a ** (2 * steps)) / (1 - a**2), rel=0.04)


def test_noise_first_ends_without_noise():
    """The law of a * (x + s xi): the variance is a^2 times that before the step."""
    k, eta, s = 1.0, 0.5, 0.4
    chain = run(Langevin(n_steps=100, step_size=eta, noise_std=s, noise_first=True), harmonic(k))
    a2 = (1 - eta * k) ** 2
    assert float(chain.x.var()) == pytest.approx(a2 * s**2 / (1 - a2), rel=0.04)


def test_per_chain_step_sizes_and_schedules_are_read():
    steps = torch.tensor([0.1, 0.5], dtype=torch.float64).repeat_interleave(20000)
    x = run(Langevin(n_steps=200, step_size=steps), harmonic(2.0), n=40000).x[:, 0]
    for half, eta in ((x[:20000], 0.1), (x[20000:], 0.5)):
        assert float(half.var()) == pytest.approx(1 / (2 * (1 - eta)), rel=0.04)
    falling = Langevin(n_steps=3, step_size=lambda i, n: 0.5 if i == 2 else 1e-12, noise_std=0.0)
    assert float(run(falling, harmonic(1.0), n=1, start=1.0).x) == pytest.approx(0.5)


# Clip, border, density of a step -----------------------------------------------------------------------------------


def test_clips_bound_the_step():
    still = {"n_steps": 1, "step_size": 1.0, "noise_std": 0.0}
    steep = harmonic(100.0, shape=(4,))
    by_value = run(Langevin(**still, grad_clip=0.1), steep, n=3, start=1.0).x
    by_norm = run(Langevin(**still, grad_clip=0.1, clip_by="norm"), steep, n=3, start=1.0).x
    assert torch.allclose(by_value, torch.full_like(by_value, 0.9))
    assert torch.allclose((1 - by_norm).norm(dim=1), torch.full((3,), 0.1, dtype=torch.float64))


def test_reflection_keeps_the_uniform_law_and_clamping_does_not():
    flat = Plain(lambda x: 0.0 * x.sum(1), (1,))
    flat.support = box(-1, 1)
    shares = {}
    for boundary in ("reflect", "clamp"):
        x = run(Langevin(n_steps=400, step_size=0.02, boundary=boundary), flat).x
        assert float(x.abs().max()) <= 1
        shares[boundary] = float((x.abs() > 0.9).double().mean())
    assert shares["reflect"] == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / 20000))
    assert shares["clamp"] > 0.15


def test_a_border_needs_a_box():
    with pytest.raises(ValueError, match="needs an energy on a box"):
        run(Langevin(boundary="clamp"), harmonic(1.0))
    with pytest.raises(ValueError, match="clamp, reflect or null"):
        run(Langevin(boundary="wrap"), harmonic(1.0))


@pytest.mark.parametrize("grad_clip", [None, 0.3])
def test_the_density_of_a_step_integrates_to_one_and_has_the_right_mean(grad_clip):
    sampler = Langevin(n_steps=1, step_size=0.3, grad_clip=grad_clip)
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    a = torch.full_like(grid, 1.5)
    density = sampler.log_transition(harmonic(2.0), a, grid).exp()
    width = 16 / 4000
    assert float(density.sum() * width) == pytest.approx(1.0, abs=1e-6)
    drift = 0.3 * (3.0 if grad_clip is None else 0.3)
    assert float((density * grid[:, 0]).sum() * width) == pytest.approx(1.5 - drift, abs=1e-6)


def test_the_graph_runs_through_the_last_steps_to_the_parameters():
    """One step from x0: x1 = x0 (1 - eta k), so d x1 / d k = -eta x0."""
    energy = Plain(None, (1,))
    energy.k = nn.Parameter(torch.tensor(2.0))
    energy.forward = lambda x: 0.5 * energy.k * x.square().sum(1)
    chain = Langevin(n_steps=1, step_size=0.1, noise_std=0.0).sample(energy, torch.tensor([[3.0]]), backprop_steps=1)
    chain.x_live.sum().backward()
    assert float(energy.k.grad) == pytest.approx(-0.3)
    assert not chain.x.requires_grad


def test_chunks_change_nothing():
    energy, x = MLP((2,), hidden=[8]).double(), torch.randn(7, 2, dtype=torch.float64)
    whole, parts = energy_and_grad(energy, x), energy_and_grad(energy, x, chunk_size=3)
    assert torch.allclose(whole[0], parts[0]) and torch.allclose(whole[1], parts[1])


def test_chains_are_independent_of_their_neighbors():
    energy = MLP((2,), hidden=[8]).double()
    x = torch.randn(5, 2, dtype=torch.float64)
    steps = {"n_steps": 20, "step_size": 0.1, "noise_std": 0.0}
    together = Langevin(**steps).sample(energy, x).x
    alone = torch.cat([Langevin(**steps).sample(energy, row[None]).x for row in x])
    assert torch.allclose(together, alone, atol=1e-12)


@pytest.mark.parametrize(("clamp_noise", "expected"), [(True, 0.9), (False, 1.0)])
def test_the_noisy_point_is_held_inside_only_where_it_is_wanted(clamp_noise, expected):
    """One step of ``E(x) = x^2 / 2`` at 1 in [-1, 1], noise of 4 to the right: the gradient is 1 there, or 5."""
    from ebm_cli.energies import Energy, box

    class Quadratic(Energy):
        def forward(self, x):
            return 0.5 * x.square().sum(1)

    class Fixed(Langevin):
        def add_noise(self, x, i, n, generator):
            return x + 4.0

    options = {"n_steps": 1, "step_size": 0.1, "noise_std": 1.0, "noise_first": True, "boundary": "clamp"}
    chain = Fixed(**options, clamp_noise=clamp_noise).sample(Quadratic((1,), box(-1, 1)), torch.ones(1, 1))
    # held inside: 1 - .1 * 1; otherwise 5 - .1 * 5 = 4.5, which the end of the step brings to the border
    assert float(chain.x) == pytest.approx(expected)
