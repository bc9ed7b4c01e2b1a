"""Energies that know the noise level, their samplers and their chains, against Gaussians."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from ebm_cli.buffers.levels import LevelWalkers
from ebm_cli.buffers.negatives import Negatives
from ebm_cli.datasets import Batch
from ebm_cli.energies import Energy, FullGaussianBase, GaussianBase, Tilted, UniformBox, box
from ebm_cli.models import MLP, NoiseMLP
from ebm_cli.objectives import AnnealedChains
from ebm_cli.samplers import AnnealedLangevin, Langevin

LEVELS = {"n_levels": 4, "sigma_max": 3.0, "sigma_min": 0.3, "over": "noise", "step_size": 0.3 * 0.3**2}


class Noised(Energy):
    """A Gaussian of variance v in one dimension, v learned, with noise of level t (0.3 where none is given)."""

    level = 0.3

    def __init__(self, variance, support=None):
        super().__init__((1,), support or box(-100, 100))
        self.log_v = nn.Parameter(torch.tensor(math.log(variance), dtype=torch.float64))

    def forward(self, x, t=None):
        t = torch.full((len(x),), self.level, dtype=x.dtype) if t is None else t
        return 0.5 * x.square().sum(1) / (self.log_v.exp() + t.square())


# Bases and networks ------------------------------------------------------------------------------------------------


def correlated(n=5000):
    torch.manual_seed(0)
    mix = torch.tensor([[1.0, 0.4, 0.0], [0.0, 0.5, 0.2], [0.0, 0.0, 0.3]])
    return torch.randn(n, 3) @ mix + torch.tensor([1.0, -1.0, 0.5])


@pytest.mark.parametrize("t", [None, 0.7])
def test_the_full_gaussian_is_that_of_its_data_and_of_its_data_with_noise(t):
    x, base = correlated(), FullGaussianBase((3,))
    base.fit(x)
    exact = MultivariateNormal(x.mean(0), torch.cov(x.T) + (t or 0.0) ** 2 * torch.eye(3))
    given = {} if t is None else {"t": torch.full((50,), t)}
    torch.testing.assert_close(base.given(**given)(x[:50]), -exact.log_prob(x[:50]), atol=1e-4, rtol=1e-4)


def test_the_full_gaussian_draws_its_own_mean_and_covariance():
    x, base = correlated(), FullGaussianBase((3,))
    base.fit(x)
    drawn = base.sample(100000, torch.Generator().manual_seed(0))
    assert (drawn.mean(0) - x.mean(0)).abs().max() < 0.02
    assert (torch.cov(drawn.T) - torch.cov(x.T)).abs().max() < 0.02


def test_a_direction_without_variance_gets_the_floor():
    x = torch.cat([torch.randn(1000, 1), torch.zeros(1000, 1)], 1)
    base = FullGaussianBase((2,), floor=0.1)
    base.fit(x)
    assert float(base.std.min()) == pytest.approx(0.1 * math.sqrt(float(x.var(0).mean())), rel=1e-3)


def test_the_independent_gaussian_knows_noise_too():
    base, x = GaussianBase((2,), mean=0.5, std=2.0), torch.randn(7, 2)
    wider = GaussianBase((2,), mean=0.5, std=math.sqrt(4 + 0.49))
    torch.testing.assert_close(base.given(t=torch.full((7,), 0.7))(x), wider(x))


def test_other_bases_refuse_noise_levels():
    with pytest.raises(ValueError, match="base=full_gaussian"):
        UniformBox((2,), low=0, high=1).given(t=torch.ones(3))


def test_without_a_level_the_last_one_is_meant_by_network_and_base():
    x, base, network = correlated(), FullGaussianBase((3,)), NoiseMLP((3,), width=8, sigma_min=0.2)
    base.fit(x), network.fit(x)
    energy, t = Tilted(network, base), torch.full((50,), 0.2)
    torch.testing.assert_close(energy(x[:50]), energy.given(t=t)(x[:50]))
    assert (energy(x[:50]) - network(x[:50]) - base(x[:50])).abs().max() > 0.01
    torch.testing.assert_close(energy.value_and_grad(x[:50]), energy.given(t=t).value_and_grad(x[:50]))


# Generation --------------------------------------------------------------------------------------------------------


def test_levels_are_spaced_by_rho():
    assert AnnealedLangevin(n_levels=3, sigma_max=1.0, sigma_min=0.01).sigmas() == pytest.approx([1.0, 0.1, 0.01])
    spaced = AnnealedLangevin(n_levels=3, sigma_max=8.0, sigma_min=1.0, rho=3.0).sigmas()
    assert spaced == pytest.approx([8.0, 1.5**3, 1.0])


@pytest.mark.parametrize("denoise", [False, True])
def test_the_walk_down_the_levels_ends_with_the_variance_of_the_last(denoise):
    sampler = AnnealedLangevin(n_steps=1200, noised_start=True, denoise=denoise, **LEVELS)
    x = math.sqrt(2.25) * torch.randn(20000, 1, dtype=torch.float64)
    chain = sampler.sample(Noised(2.25), x, generator=torch.Generator().manual_seed(0))
    step, v = 0.3 * 0.09, 2.25 + 0.09  # of the last level; unadjusted Langevin widens by 1 / (1 - step / (2 v))
    kept = 0.3**2 / v  # what denoising takes off
    expected = v / (1 - step / (2 * v)) * ((1 - kept) ** 2 if denoise else 1)
    assert float(chain.x.var()) == pytest.approx(expected, rel=0.04)


def test_denoising_ends_inside_the_box():
    sampler = AnnealedLangevin(n_steps=8, denoise=True, **LEVELS)
    chain = sampler.sample(Noised(2.25, box(-0.5, 0.5)), torch.randn(100, 1, dtype=torch.float64))
    assert float(chain.x.abs().max()) <= 0.5


# Training ----------------------------------------------------------------------------------------------------------


def chains_for(sampler, variance=2.25, **options):
    base = GaussianBase((1,), std=math.sqrt(variance)).double()
    data = lambda n, g: (math.sqrt(2.25) * torch.randn(n, 1, generator=g, dtype=torch.float64), None)  # noqa: E731
    return Negatives(sampler, LevelWalkers(**options), base, data)


def test_the_gradient_vanishes_at_the_data_and_points_to_it_elsewhere():
    x = math.sqrt(2.25) * torch.randn(2000, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    slopes = {}
    for variance in (1.0, 2.25, 5.0):
        torch.manual_seed(0)
        energy, objective = Noised(variance), AnnealedChains(n_steps=30, first=0.0)
        short = AnnealedLangevin(n_steps=40, **{**LEVELS, "step_size": 0.05 * 0.3**2})  # little bias of the step
        chains = chains_for(short, variance, size=4000)
        for step in range(25):
            energy.zero_grad() if step < 10 else None
            objective(energy, Batch(x, None), chains).loss.backward()
        slopes[variance] = float(energy.log_v.grad) / 15
    assert slopes[1.0] < -0.1 and slopes[5.0] > 0.1 and abs(slopes[2.25]) < 0.05


def test_chains_go_down_the_levels_and_start_over():
    energy, objective = Noised(2.25), AnnealedChains(n_steps=1, first=0.0)
    chains = chains_for(AnnealedLangevin(n_steps=40, **LEVELS), size=300, advance=(1.0, 1.0))
    x = torch.randn(300, 1, dtype=torch.float64)
    objective(energy, Batch(x, None), chains)
    before = chains.buffer.chains["level"].clone()
    objective(energy, Batch(x, None), chains)
    assert torch.equal(chains.buffer.chains["level"], (before + 1) % 4)
    new = chains.buffer.chains["x"][before == 3]
    assert float(new.var()) == pytest.approx(2.25 + 9.0, rel=0.5)


def test_denoising_comes_first_then_chains_and_both_where_asked():
    energy, x = Noised(2.25), torch.randn(50, 1, dtype=torch.float64)
    chains = chains_for(AnnealedLangevin(n_steps=40, **LEVELS), size=100)
    objective = AnnealedChains(first=0.5, denoising=0.3)
    objective.progress = 0.4
    assert "score/norm" in objective(energy, Batch(x, None), chains).metrics and not chains.buffer.chains
    objective.progress = 0.5
    found = objective(energy, Batch(x, None), chains)
    assert "denoising" in found.metrics and "energy/gap" in found.metrics


def test_its_state_goes_on():
    energy, x = Noised(2.25), torch.randn(50, 1, dtype=torch.float64)
    one, other = AnnealedChains(first=0.0), AnnealedChains(first=0.0)
    chains = [chains_for(AnnealedLangevin(n_steps=40, **LEVELS), size=100) for _ in range(2)]
    one(energy, Batch(x, None), chains[0])
    state = chains[0].state()
    chains[1].load_state(state | {"population": {k: v.clone() for k, v in state["population"].items()}})
    losses = []
    for objective, mine in zip((one, other), chains, strict=True):
        torch.manual_seed(5)
        losses.append(float(objective(energy, Batch(x, None), mine).loss.detach()))
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: LevelWalkers(advance=(0.5, 0.1)), "buffer.advance"),
        (lambda: AnnealedChains(first=1.0), "first"),
        (lambda: AnnealedLangevin(denoise=True, over="temperature"), "over=noise"),
        (lambda: MLP((2,)).given(t=torch.ones(3))(torch.zeros(3, 2)), "MLP knows no noise levels; use model=noise_mlp"),
        (lambda: MLP((2,)).given(t=torch.ones(3)).value_and_grad(torch.zeros(3, 2)), "MLP knows no noise levels"),
        (lambda: AnnealedChains()(Noised(1.0), Batch(torch.zeros(2, 1), None), chains_for(Langevin())), "over=noise"),
        (
            lambda: AnnealedChains(first=0.0)(
                Noised(1.0), Batch(torch.zeros(3, 1).double(), None), chains_for(AnnealedLangevin(**LEVELS), size=2)
            ),
            "buffer.size=2",
        ),
    ],
)
def test_bad_settings_are_named(make, word):
    with pytest.raises(ValueError, match=word):
        make()
