"""The mixture of probabilistic PCAs against torch's own densities, quadrature, and data whose law is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from ebm_cli.energies import FullGaussianBase, MixturePPCA


def fitted(d=5, n_components=3, rank=2, n=3000, **options):
    generator = torch.Generator().manual_seed(0)
    centers = 3 * torch.randn(n_components, d, generator=generator)
    stretch = torch.randn(n_components, d, d, generator=generator) * torch.linspace(1.5, 0.1, d)
    y = torch.randint(n_components, (n,), generator=generator)
    x = centers[y] + torch.einsum("nd,nde->ne", torch.randn(n, d, generator=generator), stretch[y].mT)
    base = MixturePPCA((d,), n_components=n_components, rank=rank, **options).double()
    base.fit_labeled(x.double(), y if options.get("n_classes") else None)
    return base, x.double(), y


def by_torch(base, t=0.0):
    """The same density from torch.distributions."""
    d = base.mean.shape[1]
    inner = base.variance - base.rest[:, None]
    cov = torch.einsum("kdq,kq,keq->kde", base.axes, inner, base.axes)
    cov = cov + (base.rest + t**2)[:, None, None] * torch.eye(d).double()
    return MixtureSameFamily(Categorical(logits=base.log_weight), MultivariateNormal(base.mean, cov))


@pytest.mark.parametrize("t", [None, 0.3, 2.0])
def test_the_energy_is_minus_the_log_density_at_every_level(t):
    base, x, _ = fitted()
    level = None if t is None else torch.full((50,), t, dtype=torch.float64)
    expected = -by_torch(base, t or 0.0).log_prob(x[:50])
    torch.testing.assert_close(base(x[:50], level), expected, rtol=1e-9, atol=1e-9)
    point = x[:50].clone().requires_grad_()
    (slope,) = torch.autograd.grad(base(point, level).sum(), point)
    value, grad = base.value_and_grad(x[:50], level)
    torch.testing.assert_close(grad, slope, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("t", [0.0, 0.5])
def test_it_integrates_to_one_in_the_plane(t):
    base, _, _ = fitted(d=2, n_components=4, rank=1)
    line = torch.linspace(-20, 20, 1001).double()
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).view(-1, 2)
    mass = sum(float((-base(part, torch.full((len(part),), t).double())).exp().sum()) for part in grid.split(50000))
    assert mass * 0.04**2 == pytest.approx(1, abs=1e-3)


def test_draws_have_the_moments_and_the_energy_of_the_law():
    base, _, _ = fitted()
    x = base.sample(100_000, torch.Generator().manual_seed(1)).double()
    law = by_torch(base)
    assert torch.allclose(x.mean(0), law.mean, atol=0.05)
    assert torch.allclose(x.var(0), law.variance, rtol=0.03)
    again = law.sample((100_000,))
    assert float(base(x).mean()) == pytest.approx(float(base(again).mean()), abs=0.03)


def test_it_describes_a_mixture_better_than_a_gaussian_and_its_own_law_best():
    base, x, _ = fitted(rank=4)
    gauss = FullGaussianBase((5,)).double()
    gauss.fit(x[:2000])
    assert float(base(x[2000:]).mean()) < float(gauss(x[2000:]).mean()) - 0.5


def test_a_class_is_drawn_from_its_own_components():
    base, x, y = fitted(n_classes=3)
    drawn = base.sample_labeled(torch.tensor([2] * 500), torch.Generator().manual_seed(0)).double()
    assert torch.allclose(drawn.mean(0), x[y == 2].mean(0), atol=0.4)


def test_too_few_examples_are_named_and_few_of_a_component_lower_its_rank():
    with pytest.raises(ValueError, match="base.n_components=100: there are 50 examples"):
        MixturePPCA((4,)).fit(torch.randn(50, 4))
    base = MixturePPCA((20,), n_components=4, rank=20)
    base.fit(torch.randn(40, 20, generator=torch.Generator().manual_seed(0)))
    assert math.isfinite(float(base(torch.zeros(1, 20))))
    assert torch.allclose(base(torch.randn(9, 20)).isfinite().float().mean(), torch.ones(()))
