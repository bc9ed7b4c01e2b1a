"""Bases are normalized and sampled exactly; composed energies are the energies they say."""

from __future__ import annotations

import math

import pytest
import torch

from ebm_cli.energies import (
    BernoulliBase,
    DataMixture,
    GaussianBase,
    Measured,
    Mixture,
    Negated,
    Product,
    Projected,
    Tempered,
    Tilted,
    UniformBox,
    box,
)
from ebm_cli.samplers import Langevin


def grid(low, high, n=400):
    line = torch.linspace(low, high, n, dtype=torch.float64)
    return torch.cartesian_prod(line, line), ((high - low) / (n - 1)) ** 2


def data(n=400):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.5, 2.0]) + 1


def fitted(base):
    base.fit(data())
    return base.double()


BASES = {
    "gaussian": lambda: GaussianBase((2,), mean=0.5, std=1.5).double(),
    "gaussian fitted": lambda: fitted(GaussianBase((2,), fit_to_data=True)),
    "mixture": lambda: fitted(DataMixture((2,), n_components=100, std=0.4)),
}


@pytest.mark.parametrize("name", BASES)
def test_bases_integrate_to_one_and_sample_what_they_say(name):
    base = BASES[name]()
    points, cell = grid(-12, 12, 500)
    p = base.log_prob(points).exp()
    assert float(p.sum() * cell) == pytest.approx(1.0, abs=2e-3)
    x = base.sample(40000, torch.Generator().manual_seed(1))
    mean = (p[:, None] * points).sum(0) * cell
    second = (p[:, None] * points.square()).sum(0) * cell
    spread = (second - mean.square()).sqrt()
    assert ((x.mean(0) - mean).abs() < 4.5 * spread / 200).all()
    assert torch.allclose(x.std(0), spread, rtol=0.03)


def test_a_fitted_gaussian_has_the_moments_of_the_data():
    base = fitted(GaussianBase((2,), fit_to_data=True))
    assert torch.allclose(base.mean, data().mean(0).double(), atol=1e-6)
    assert torch.allclose(base.std, data().std(0).double(), atol=1e-6)


def test_the_uniform_box_is_one_over_its_volume_and_infinite_outside():
    base = UniformBox((3,), support=box(-1, 2))
    x = base.sample(5000, torch.Generator().manual_seed(0))
    assert torch.allclose(base.log_prob(x), torch.full((5000,), -3 * math.log(3.0)))
    assert float(x.min()) >= -1 and float(x.max()) <= 2 and float(x.mean()) == pytest.approx(0.5, abs=0.03)
    assert base(torch.tensor([[0.0, 0.0, 2.1]])).isinf()
    with pytest.raises(ValueError, match="low and high"):
        UniformBox((3,))


def test_the_bernoulli_base_sums_to_one():
    base = BernoulliBase((4,), probability=0.3)
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
    assert float(base.log_prob(states).exp().sum()) == pytest.approx(1.0, abs=1e-6)
    assert float(base.sample(20000, torch.Generator().manual_seed(0)).mean()) == pytest.approx(0.3, abs=0.01)


def gaussian(mean, std):
    return GaussianBase((2,), mean=mean, std=std).double()


def test_precisions_add_in_a_product():
    """N(1, 1) x N(-2, 0.5^2): precision 5, mean (1 - 8) / 5."""
    energy = Product([gaussian(1.0, 1.0), gaussian(-2.0, 0.5)])
    points, _ = grid(-5, 3)
    law = gaussian(-1.4, math.sqrt(0.2))
    difference = energy(points) - law(points)
    assert float(difference.max() - difference.min()) < 1e-5
    weighted = Product([gaussian(1.0, 1.0), gaussian(-2.0, 0.5)], weights=[2.0, 0.5])
    expected = 2 * gaussian(1.0, 1.0)(points) + 0.5 * gaussian(-2.0, 0.5)(points)
    assert torch.allclose(weighted(points), expected)


def test_a_mixture_adds_densities():
    points, cell = grid(-7, 7)
    energy = Mixture([gaussian(-3.0, 0.5), gaussian(3.0, 0.5)], weights=[0.25, 0.75])
    p = torch.exp(-energy(points))
    assert float(p.sum() * cell) == pytest.approx(1.0, abs=1e-3)
    assert float(p[points[:, 0] < 0].sum() * cell) == pytest.approx(0.25, abs=1e-3)


def test_negated_tempered_and_tilted():
    a, base, x = gaussian(0.0, 1.0), gaussian(1.0, 2.0), torch.randn(5, 2, dtype=torch.float64)
    assert torch.allclose(Negated(a)(x), -a(x))
    assert torch.allclose(Tempered(a, 4.0)(x), a(x) / 4)
    assert torch.allclose(Tilted(a, base)(x), a(x) + base(x))
    append_dims = Tempered(a, torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert torch.allclose(append_dims.rows(slice(1, 3))(x[1:3]), a(x[1:3]) / torch.tensor([2.0, 3.0]))


def test_a_soft_measurement_gives_the_posterior_of_a_gaussian():
    """Prior N(0, 1), x0 + x1 measured as 2 with s = .5: mean 2 / (2 + .25) per entry, variance 1 - 1 / 2.25."""
    observed = torch.full((20000, 1), 2.0, dtype=torch.float64)
    energy = Measured(gaussian(0.0, 1.0), lambda x: x.sum(1, keepdim=True), observed, noise_std=0.5)
    sampler = Langevin(n_steps=300, step_size=0.02)
    x = sampler.sample(energy, torch.zeros(20000, 2).double(), generator=torch.Generator().manual_seed(0)).x
    assert torch.allclose(x.mean(0), torch.full((2,), 2 / 2.25).double(), atol=0.025)
    assert float(x[:, 0].var()) == pytest.approx(1 - 1 / 2.25, rel=0.05)
    assert float(torch.cov(x.T)[0, 1]) == pytest.approx(-1 / 2.25, abs=0.03)


def test_projection_samples_the_conditional_law_of_a_gaussian():
    """Correlated Gaussian with rho = .8, x0 known to be 1.5: x1 ~ N(rho x0, 1 - rho^2)."""
    rho = 0.8
    precision = torch.linalg.inv(torch.tensor([[1.0, rho], [rho, 1.0]]).double())

    class Correlated(GaussianBase):
        def forward(self, x):
            return 0.5 * ((x @ precision) * x).sum(1)

    known = torch.full((20000, 1), 1.5, dtype=torch.float64)
    energy = Projected(Correlated((2,)), lambda x, known: torch.cat([known, x[:, 1:]], 1), known)
    sampler = Langevin(n_steps=200, step_size=0.02)
    chain = sampler.sample(energy, torch.zeros(20000, 2).double(), generator=torch.Generator().manual_seed(0))
    x = energy.project(chain.x)
    assert (x[:, 0] == 1.5).all()
    assert float(x[:, 1].mean()) == pytest.approx(rho * 1.5, abs=0.02)
    assert float(x[:, 1].var()) == pytest.approx((1 - rho**2) / (1 - 0.02 / 0.72), rel=0.05)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="share one shape"):
        Product([gaussian(0.0, 1.0), GaussianBase((3,))])
    with pytest.raises(ValueError, match="weights"):
        Mixture([gaussian(0.0, 1.0)], weights=[-1.0])
