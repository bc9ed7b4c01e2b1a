"""Steps down the noise levels, on laws whose energy is known exactly at every level."""

from __future__ import annotations

import math

import pytest
import torch

from ebm_cli.energies import FullGaussianBase, MixturePPCA
from ebm_cli.samplers import Ancestral


def gaussian():
    """Deviations 1 and .3, mean (2, -1)."""
    base = FullGaussianBase((2,))
    base.mean.copy_(torch.tensor([2.0, -1.0]))
    base.std.copy_(torch.tensor([1.0, 0.3]))
    return base


@pytest.mark.parametrize(("eta", "churn"), [(1.0, 1.0), (0.0, 1.0), (0.5, 1.0), (1.0, 1.02), (0.0, 1.02)])
def test_a_gaussian_comes_out_with_its_moments(eta, churn):
    sampler = Ancestral(n_steps=200, sigma_max=30.0, sigma_min=0.01, eta=eta, churn=churn)
    start = gaussian().mean.expand(20000, 2)  # the flow carries an offset of the start through to the end
    x = sampler.sample(gaussian(), start, generator=torch.Generator().manual_seed(0)).x
    assert torch.allclose(x.mean(0), torch.tensor([2.0, -1.0]), atol=0.05)
    assert torch.allclose(x.std(0), torch.tensor([1.0, 0.3]), rtol=0.06)


def test_churn_with_long_steps_narrows_what_comes_out():
    """As the docstring says; without it 200 levels are long enough."""
    stds = []
    for churn in (1.0, 1.15):
        sampler = Ancestral(n_steps=200, sigma_max=30.0, sigma_min=0.01, churn=churn)
        start = gaussian().mean.expand(20000, 2)
        stds.append(float(sampler.sample(gaussian(), start, generator=torch.Generator().manual_seed(0)).x[:, 0].std()))
    assert stds[0] == pytest.approx(1, abs=0.03) and stds[1] == pytest.approx(0.92, abs=0.02)


def test_one_step_is_the_closed_form():
    """From t to s on N(0, 1) the flow multiplies by 1 - (t - s) t / (1 + t^2); the ancestral step adds its variance."""
    base, x, generator = FullGaussianBase((1,)), torch.full((50000, 1), 2.0), torch.Generator().manual_seed(0)
    t, s = 1.0, 0.5
    for eta in (0.0, 1.0):
        sampler = Ancestral(n_steps=2, sigma_max=t, sigma_min=s, eta=eta)
        state, _ = sampler.step(base, sampler.init(base, x, generator)._replace(x=x), 0, 2, generator)
        added = eta * s**2 * (t**2 - s**2) / t**2
        mean = 2 * (1 - t * (t - math.sqrt(s**2 - added)) / (1 + t**2))
        assert float(state.x.mean()) == pytest.approx(mean, abs=0.01)
        assert float(state.x.var()) == pytest.approx(added, rel=0.03, abs=1e-9)


def test_the_masses_of_two_modes_come_out_where_one_chain_at_the_end_would_never_cross():
    base = MixturePPCA((1,), n_components=2, rank=0)
    base.mean.copy_(torch.tensor([[-6.0], [6.0]]))
    base.log_weight.copy_(torch.tensor([0.25, 0.75]).log())
    base.rest.fill_(0.25)
    sampler = Ancestral(n_steps=300, sigma_max=40.0, sigma_min=0.02)
    chain = sampler.sample(base, torch.zeros(20000, 1), generator=torch.Generator().manual_seed(0))
    assert float((chain.x < 0).float().mean()) == pytest.approx(0.25, abs=0.015)
    assert float((chain.x[chain.x > 0] - 6).std()) == pytest.approx(0.5, abs=0.02)
    assert chain.stats["sigma"][0] == pytest.approx(40.0) and chain.stats["sigma"][-1] == pytest.approx(0.02)


@pytest.mark.parametrize("wrong", [{"churn": 0.9}, {"eta": 1.5}, {"sigma_max": 0.01}])
def test_wrong_levels_are_refused(wrong):
    with pytest.raises(ValueError, match="expected, got"):
        Ancestral(**wrong)
