"""Diffusion recovery likelihood against Gaussians: the conditional law, its likelihood and staged generation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.replay import ReplayBuffer
from ebm_cli.datasets import Batch
from ebm_cli.energies import Energy, GaussianBase
from ebm_cli.models import RecoveryResNet
from ebm_cli.objectives import RecoveryLikelihood
from ebm_cli.samplers import Langevin, RecoverySampler, VarianceExploding, VariancePreserving

VARIANCE = 2.25


class Told(Energy):
    """A Gaussian whose variance v is learned, of which it is told the noise t; ``factor`` times its true energy."""

    def __init__(self, variance=VARIANCE, factor=None):
        super().__init__((1,))
        self.log_v = nn.Parameter(torch.tensor(math.log(variance), dtype=torch.float64))
        self.factor = factor

    def forward(self, x, t):
        return 0.5 * x.square().sum(1) / (self.log_v.exp() + t.square())


class ByNumber(Energy):
    """The energies of the levels of ``VariancePreserving``, over which their temperatures divide."""

    def __init__(self, levels):
        super().__init__((1,))
        of = lambda name: torch.tensor(getattr(levels, name), dtype=torch.float64)  # noqa: E731
        # y_t = scale_t x_t, but at the last level, which is not scaled
        self.variance = of("scale").square() * (of("clean").square() * VARIANCE + of("noise").square())
        self.temperature = of("temperature")

    def forward(self, x, t):
        return 0.5 * self.temperature[t.long()] * x.square().sum(1) / self.variance[t.long()]


def exploding(**options):
    return VarianceExploding(**{"n_levels": 4, "sigma_min": 0.2, "sigma_max": 4.0, "step": 0.1, **options})


@pytest.mark.parametrize("level", [0, 1, 3])
def test_the_conditional_is_the_product_of_prior_and_noise(level):
    """Mean (x/s^2)/(k + 1/s^2), variance 1/(k + 1/s^2), for a prior of precision k."""
    levels = exploding(step=0.02)
    sampler = RecoverySampler(levels=levels, n_steps=4)
    noisy, t = torch.full((40000, 1), 1.7, dtype=torch.float64), torch.full((40000,), level)
    chain = sampler.recover(Told(), noisy, t, 400, torch.Generator().manual_seed(0))
    k, s2 = 1 / (VARIANCE + levels.noise[level] ** 2), levels.std[level] ** 2
    precision = k + 1 / s2
    assert float(chain.x.mean()) == pytest.approx(1.7 / s2 / precision, abs=0.03 * precision**-0.5)
    assert float(chain.x.var()) == pytest.approx(1 / precision, rel=0.04)


def test_rows_have_levels_of_their_own():
    levels = exploding()
    sampler, x = RecoverySampler(levels=levels, n_steps=4), torch.randn(4, 1, dtype=torch.float64)
    noisy, t = torch.randn(4, 1, dtype=torch.float64), torch.tensor([3, 0, 1, 2])
    together, slopes = sampler.conditional(Told(), noisy, t).value_and_grad(x)
    for row in range(4):
        one = slice(row, row + 1)
        value, slope = sampler.conditional(Told(), noisy[one], t[one]).value_and_grad(x[one])
        torch.testing.assert_close((value, slope), (together[one], slopes[one]))
        k, s2 = 1 / (VARIANCE + levels.noise[t[row]] ** 2), levels.std[t[row]] ** 2
        assert float(slope) == pytest.approx(float(k * x[row] + (x[row] - noisy[row]) / s2), rel=1e-6)


@pytest.mark.parametrize("levels", [exploding(), VariancePreserving()])
def test_transitions_compose_to_the_noise_of_every_level(levels):
    """x_(t+1) = scale x_t + std z has the clean share and the noise of the next level."""
    for t in range(len(levels) - 1):
        assert levels.clean[t + 1] == pytest.approx(levels.scale[t] * levels.clean[t], rel=1e-9)
        noise = (levels.scale[t] * levels.noise[t]) ** 2 + levels.std[t] ** 2
        assert levels.noise[t + 1] ** 2 == pytest.approx(noise, rel=1e-9)


def test_the_published_levels():
    levels = VariancePreserving(n_levels=6, step=2e-4)
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    assert [c**2 for c in levels.clean] == pytest.approx(kept[[0, 100, 200, 300, 400, 500]].tolist())
    assert levels.step[0] == pytest.approx(2e-4 * levels.std[0] ** 2)
    assert levels.step[2] == pytest.approx(2e-4 * levels.std[2] ** 2 * levels.noise[2] / levels.noise[0])
    assert levels.weight[2] == pytest.approx(levels.std[0] / levels.std[2])
    assert levels.scale[-1] == 1.0 and levels.conditioning == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("denoise", [False, True])
def test_stages_lead_from_noise_to_the_data(denoise):
    sampler = RecoverySampler(levels=exploding(step=0.05), n_steps=4 * 150, denoise=denoise)
    base = GaussianBase((1,), std=math.sqrt(VARIANCE)).double()
    x = base.sample(20000, torch.Generator().manual_seed(0))
    chain = sampler.sample(Told(), x, generator=torch.Generator().manual_seed(1))
    v = VARIANCE + 0.04
    expected = v * (1 - 0.04 / v) ** 2 if denoise else v
    assert float(chain.x.var()) == pytest.approx(expected, rel=0.04)


def test_stages_of_the_published_schedule_are_those_of_its_linear_recursion():
    """For a Gaussian, every Langevin step is linear, so that the variance after few steps is known exactly."""
    levels = VariancePreserving(n_levels=4, step=1e-3)
    energy, x_variance = ByNumber(levels), 1.0
    for t in reversed(range(4)):
        k, s2, h = 1 / float(energy.variance[t]), levels.std[t] ** 2, 0.5 * levels.step[t]
        toward = 0.0 if t == 3 else h / s2  # the last level does not see x_(t+1)
        own, variance, covariance = 1 - h * k - toward, x_variance, x_variance
        for _ in range(30):
            variance = own**2 * variance + 2 * own * toward * covariance + toward**2 * x_variance + 2 * h
            covariance = own * covariance + toward * x_variance
        x_variance = variance / levels.scale[t] ** 2
    sampler = RecoverySampler(levels=levels, n_steps=4 * 30)
    x = torch.randn(40000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    chain = sampler.sample(energy, x, generator=torch.Generator().manual_seed(1))
    assert float(chain.x.var()) == pytest.approx(x_variance, rel=0.03)


def chains_for(sampler):
    base = GaussianBase((1,)).double()
    data = lambda n, g: (torch.randn(n, 1, generator=g, dtype=torch.float64), None)  # noqa: E731
    return Negatives(sampler, ReplayBuffer(size=4), base, data)


@pytest.mark.parametrize("levels", [VariancePreserving(n_levels=6), exploding()])
def test_chains_of_every_level_start_at_the_noisier_data_of_the_next(levels):
    """Data N(.8, .3^2): the start of the published last level is N(.006, .998), nearly what generation starts from."""
    x, sampler = 0.8 + 0.3 * torch.randn(200_000, 1, dtype=torch.float64), RecoverySampler(levels=levels, n_steps=60)
    torch.manual_seed(0)
    for t in range(len(levels)):
        y, noisy = RecoveryLikelihood().draw_pair(x, torch.full((len(x),), t), sampler)
        mean, variance = levels.clean[t] * 0.8, levels.clean[t] ** 2 * 0.09 + levels.noise[t] ** 2
        assert float(y.mean()) == pytest.approx(levels.scale[t] * mean, abs=0.01)
        assert float(y.var()) == pytest.approx(levels.scale[t] ** 2 * variance, rel=0.02)
        assert float(noisy.mean()) == pytest.approx(levels.shrink[t] * mean, abs=0.03)
        assert float(noisy.var()) == pytest.approx(levels.shrink[t] ** 2 * variance + levels.std[t] ** 2, rel=0.02)
    if isinstance(levels, VariancePreserving):
        assert float(noisy.mean()) == pytest.approx(0.006, abs=0.01)
        assert float(noisy.var()) == pytest.approx(0.998, abs=0.01)


def test_the_gradient_vanishes_at_the_data_and_points_to_it_elsewhere():
    x = math.sqrt(VARIANCE) * torch.randn(40000, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    slopes = {}
    for variance in (1.0, VARIANCE, 5.0):
        torch.manual_seed(0)
        chains = chains_for(RecoverySampler(levels=exploding(step=0.05), n_steps=4 * 100))
        energy = Told(variance)
        RecoveryLikelihood()(energy, Batch(x, None), chains).loss.backward()
        slopes[variance] = float(energy.log_v.grad)
    assert slopes[1.0] < -0.05 and slopes[5.0] > 0.02 and abs(slopes[VARIANCE]) < 0.01


def test_denoising_comes_first_and_stays_where_asked():
    chains, x = chains_for(RecoverySampler(levels=exploding(), n_steps=8)), torch.randn(50, 1, dtype=torch.float64)
    objective = RecoveryLikelihood(denoising=0.3, first=0.5)
    assert "score/norm" in objective(Told(), Batch(x, None), chains).metrics
    objective.progress = 0.5
    assert {"denoising", "energy/gap"} <= set(objective(Told(), Batch(x, None), chains).metrics)


def test_the_published_network_trains():
    levels = VariancePreserving(n_levels=3)
    energy = RecoveryResNet((3, 8, 8), width=8, multiples=[1, 2], n_blocks=1)
    base = GaussianBase((3, 8, 8))
    data = lambda n, g: (torch.randn(n, 3, 8, 8, generator=g), None)  # noqa: E731
    chains = Negatives(RecoverySampler(levels=levels, n_steps=6), ReplayBuffer(size=4), base, data)
    found = RecoveryLikelihood()(energy, Batch(torch.randn(5, 3, 8, 8), None), chains)
    found.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in energy.parameters())


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: RecoverySampler(levels=exploding(), n_steps=3), "sampler.n_steps=3"),
        (lambda: VarianceExploding(sigma_min=2, sigma_max=1), "sigma_min"),
        (lambda: VariancePreserving(n_levels=1), "n_levels"),
        (lambda: RecoveryLikelihood(first=1.0), "first"),
        (lambda: RecoveryLikelihood()(Told(), Batch(torch.zeros(2, 1), None), chains_for(Langevin())), "recovery"),
        (
            lambda: RecoveryLikelihood(first=0.5)(
                Told(), Batch(torch.zeros(2, 1), None), chains_for(RecoverySampler(levels=VariancePreserving()))
            ),
            "VarianceExploding",
        ),
    ],
)
def test_bad_settings_are_named(make, word):
    with pytest.raises(ValueError, match=word):
        make()
