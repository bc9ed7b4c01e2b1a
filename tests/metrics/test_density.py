"""Quadrature on densities that are known."""

import math

import pytest
import torch
from conftest import subject

from ebm_cli.datasets import RingOfGaussians, Rings, Toy
from ebm_cli.energies import Energy
from ebm_cli.metrics import Density
from ebm_cli.samplers import Langevin

# density -----------------------------------------------------------------------------------------------------------


class Exact(Energy):
    """Minus the log of a density, shifted: log Z is ``shift``."""

    def __init__(self, density, shift=0.0):
        super().__init__((2,))
        self.density, self.shift = density, shift

    def forward(self, x):
        return -self.density.log_prob(x) - self.shift


@pytest.mark.parametrize("density", [RingOfGaussians(), Rings(std=0.1)])
def test_the_true_density_has_divergence_zero_and_its_log_z(density, tmp_path):
    data = Toy(density=density, n_train=100, n_validation=10, n_test=4000)
    values = Density()(subject(data, tmp_path, energy=Exact(density, shift=3.0)))
    assert values["density/kl"].value == pytest.approx(0, abs=1e-3)
    assert values["density/log_z"].value == pytest.approx(3, abs=1e-3)
    assert values["density/outside"].value < 1e-5
    error = values["density/log_likelihood"]
    assert abs(error.value + density.entropy) < 4 * error.stderr and error.n == 4000
    if density.modes is not None:
        assert values["density/modes"].value == 8 and values["density/min_mode_share"].value == pytest.approx(
            1, abs=1e-3
        )


def test_a_temperature_that_no_chain_sampled_is_warned_of(tmp_path):
    data = Toy(density=RingOfGaussians(), n_train=100, n_validation=10, n_test=50)
    given = subject(data, tmp_path, energy=Exact(data.density))
    for sampler, warned in ((None, False), (Langevin(step_size=0.1), False), (Langevin(noise_std=0.01), True)):
        given.sampler = sampler
        protocol = Density(max_side=50)(given)["density/log_likelihood"].protocol
        assert ("warning" in protocol) == warned


class Lopsided(Energy):
    """Two Gaussians at +-2 on the first axis, with masses 0.9 and 0.1, and a far one that carries ``far``."""

    def __init__(self, far=0.0):
        super().__init__((2,))
        self.weights = torch.tensor([0.9, 0.1, far]) / (1 + far)
        self.centers = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [8.0, 8.0]])

    def forward(self, x):
        squared = (x[:, None] - self.centers.to(x)).square().sum(2)
        return -torch.logsumexp(self.weights.to(x).log() - squared / (2 * 0.2**2), 1)


def test_divergence_modes_and_escaping_mass_of_a_mixture_with_other_weights(tmp_path):
    data = Toy(density=RingOfGaussians(n_modes=2), n_train=100, n_validation=10, n_test=1000)
    values = Density()(subject(data, tmp_path, energy=Lopsided()))
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert values["density/kl"].value == pytest.approx(expected, abs=1e-3)
    assert values["density/min_mode_share"].value == pytest.approx(0.2, abs=1e-3)
    assert values["density/modes"].value == 1
    values = Density()(subject(data, tmp_path, energy=Lopsided(far=0.25)))
    assert values["density/outside"].value == pytest.approx(0.2, abs=1e-3)
    assert values["density/kl"].value == pytest.approx(expected + math.log(1.25), abs=1e-3)
