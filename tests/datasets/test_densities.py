"""The toys: exact densities, and samples that follow them."""

import math

import pytest
import torch
from sets import TOYS, make

from ebm_cli import datasets


def grid(box, n):
    line = ((torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 - 1) * box
    return torch.cartesian_prod(line, line), (2 * box / n) ** 2


@pytest.mark.parametrize("name", TOYS)
def test_density_integrates_to_one_with_the_known_entropy(name):
    density = make(name).density
    points, cell = grid(density.box, 300)
    assert density.log_prob(points).exp().sum().item() * cell == pytest.approx(1, abs=1e-3)
    assert density.entropy == pytest.approx(TOYS[name], abs=6e-4)


@pytest.mark.parametrize("name", TOYS)
def test_samples_follow_the_density(name):
    """Cell by cell (chi-square), and in the mean log density, which must be minus the entropy."""
    density, n = make(name).density, 40_000
    x = density.sample(n, torch.Generator().manual_seed(5))
    log_p = density.log_prob(x)
    assert -log_p.mean().item() == pytest.approx(density.entropy, abs=4 * log_p.std().item() / n**0.5 + 1e-5)

    points, cell = grid(density.box, 360)  # 12 x 12 bins of 30 x 30 points
    expected = n * cell * density.log_prob(points).exp().view(12, 30, 12, 30).sum((1, 3))
    bins = ((x + density.box) / (2 * density.box) * 12).long().clamp(0, 11)
    seen = torch.zeros(12, 12, dtype=torch.float64).index_put((bins[:, 0], bins[:, 1]), torch.ones(()).double(), True)
    likely = expected > 20
    chi2 = ((seen - expected)[likely].square() / expected[likely]).sum().item()
    degrees = likely.sum().item()
    assert chi2 < degrees + 5 * (2 * degrees) ** 0.5
    assert seen[expected < 1e-3].sum() == 0


def test_two_moons_is_the_convolution_of_its_arcs():
    """Against a plain Riemann sum along half circles of radius 1.6, written here anew."""
    density = datasets.TwoMoons()
    angle = (torch.arange(20_000, dtype=torch.float64) + 0.5) * math.pi / 20_000
    upper = 1.6 * torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], 1)
    curve = torch.cat([upper, -upper])
    for point in ([0.8, 1.2], [-0.9, 0.3], [2.3, -0.4], [-2.6, -0.5]):
        z = (torch.tensor(point, dtype=torch.float64) - curve) / 0.16
        direct = ((-0.5 * z.square().sum(1)).exp().mean() / (2 * math.pi * 0.16**2)).log()
        assert density.log_prob(torch.tensor([point]).double()).item() == pytest.approx(direct.item(), abs=1e-5)


def test_rings_and_gaussians_at_points_with_known_density():
    ring = datasets.Rings(n_rings=1, spacing=1.0, std=0.5).log_prob(torch.zeros(1, 2)).item()
    assert ring == pytest.approx(-math.log(2 * math.pi * 0.25) - 1 / (2 * 0.25), abs=1e-5)
    gaussians = datasets.RingOfGaussians(n_modes=2, radius=10.0, std=0.5)
    assert gaussians.log_prob(torch.tensor([[10.0, 0.5]])).item() == pytest.approx(
        -math.log(2) - math.log(2 * math.pi * 0.25) - 0.5, abs=1e-5
    )
    assert datasets.GridOfGaussians().modes.abs().max() == 2 and len(datasets.GridOfGaussians().modes) == 25


def test_checkerboard_is_flat_on_its_squares_and_zero_elsewhere():
    density = datasets.Checkerboard()
    log_p = density.log_prob(torch.tensor([[-2.9, -2.9], [-2.9, -1.4], [0.1, 0.1], [3.1, 3.1], [5.0, 0.0]]))
    assert log_p[[0, 2]].tolist() == pytest.approx([-math.log(18)] * 2) and torch.isinf(log_p[[1, 3, 4]]).all()
    with pytest.raises(ValueError, match="n_side must be even"):
        datasets.Checkerboard(n_side=3)
