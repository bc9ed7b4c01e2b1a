"""Closed forms: their normalizers by quadrature and enumeration, their exact draws by their moments."""

import math

import pytest
import torch

from ebm_cli import config
from ebm_cli.energies import DoubleWell, Funnel, Gaussian, GaussianMixture, Ising, exact_log_z, exact_sample
from ebm_cli.energies.discrete import enumerated
from ebm_cli.energies.energy import Support
from ebm_cli.models import RBM

LINE = torch.linspace(-30, 30, 2001)
PLANE, AREA = torch.cartesian_prod(LINE, LINE), 0.03**2


@pytest.mark.parametrize("temperature", [1.0, 1.7])
@pytest.mark.parametrize(
    "energy",
    [Gaussian(mean=[1, -2], std=[1, 2], correlation=0.5), GaussianMixture(), DoubleWell(), Funnel(dim=2, std=0.8)],
    ids=lambda energy: type(energy).__name__,
)
def test_log_z_is_that_of_quadrature(energy, temperature):
    if isinstance(energy, GaussianMixture) and temperature != 1:
        with pytest.raises(ValueError, match="no closed log Z at temperature 1.7"):
            energy.log_z(temperature)
        return
    found = float(torch.logsumexp(-energy(PLANE).double() / temperature, 0)) + math.log(AREA)
    assert energy.log_z(temperature) == pytest.approx(found, abs=1e-4)


def test_exact_draws_have_the_moments():
    g, n = torch.Generator().manual_seed(0), 40000
    x = Gaussian(mean=[1, -2], std=[1, 2], correlation=0.5).sample(n, g)
    assert torch.allclose(x.mean(0), torch.tensor([1.0, -2.0]), atol=0.04)
    assert torch.allclose(x.T.cov(), torch.tensor([[1.0, 1.0], [1.0, 4.0]]), atol=0.1)
    assert float((GaussianMixture().sample(n, g)[:, 0] < 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    v = Funnel(dim=3).sample(n, g)
    assert float(v[:, 0].std()) == pytest.approx(3, rel=0.02)
    assert float((v[:, 1] * (-v[:, 0] / 2).exp()).std()) == pytest.approx(1, rel=0.02)
    well = DoubleWell(dim=1)
    x, density = LINE.double(), (-well.along(LINE.double())).exp()
    second = float((density * x**2).sum() / density.sum())
    assert float(well.sample(n, g).square().mean()) == pytest.approx(second, rel=0.015)


ISING = {  # J: log Z, <E> / N, <|m|>, C / N on the 4 x 4 lattice
    0.2: (11.771470, -0.456135, 0.342766, 0.119546),
    0.4406868: (15.521916, -1.565624, 0.843860, 0.783267),
    0.7: (23.160966, -1.963491, 0.989969, 0.160339),
}


@pytest.mark.parametrize("coupling", ISING)
def test_the_ising_lattice_has_its_known_figures(coupling):
    energy = Ising(size=[4, 4], coupling=coupling)
    log_z, mean, magnetization, capacity = ISING[coupling]
    assert energy.log_z() == pytest.approx(log_z, abs=1e-6)
    states, log_p = enumerated(energy)
    p, bonds = torch.softmax(log_p, 0), log_p / coupling
    assert float(torch.logsumexp(log_p, 0)) == pytest.approx(log_z, abs=1e-5)
    average = float((p * bonds).sum())
    assert -average / 16 == pytest.approx(mean, abs=1e-5)
    assert float((p * states.flatten(1).mean(1).abs()).sum()) == pytest.approx(magnetization, abs=1e-5)
    variance = float((p * (bonds - average).square()).sum())
    assert coupling**2 * variance / 16 == pytest.approx(capacity, abs=1e-5)


def test_the_ising_ring_is_known_in_closed_form():
    expected = math.log((2 * math.cosh(0.7)) ** 10 + (2 * math.sinh(0.7)) ** 10)
    assert Ising(size=[10], coupling=0.7).log_z() == pytest.approx(expected, abs=1e-10)
    assert expected == pytest.approx(9.210655, abs=1e-6)


@pytest.mark.parametrize("size", [[5], [3, 4], [4, 3], [2, 4]])
def test_the_transfer_matrix_agrees_with_enumeration_under_a_field(size):
    energy = Ising(size=size, coupling=-0.3, field=0.4)
    for temperature in (1.0, 2.0):
        assert energy.log_z(temperature) == pytest.approx(exact_log_z(energy, temperature), abs=1e-5)
    x = exact_sample(energy, 5, torch.Generator().manual_seed(0))
    value, grad = energy.value_and_grad(x)
    reference = super(Ising, energy).value_and_grad(x)
    assert torch.allclose(value, reference[0]) and torch.allclose(grad, reference[1])


def test_an_rbms_free_energy_sums_its_hidden_units_out():
    torch.manual_seed(0)
    energy = RBM(n_visible=5, n_hidden=3, weight_std=1.0).double()
    torch.nn.init.normal_(energy.visible_bias)
    torch.nn.init.normal_(energy.hidden_bias)
    v, log_p = enumerated(energy)
    h = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    with torch.no_grad():
        joint = (v @ energy.weight @ h.T) + (v @ energy.visible_bias)[:, None] + h @ energy.hidden_bias
    assert torch.allclose(torch.logsumexp(joint, 1), log_p, atol=1e-12)
    log_z = float(torch.logsumexp(joint.flatten(), 0))
    assert energy.log_z() == pytest.approx(log_z, abs=1e-12)
    assert exact_log_z(energy) == pytest.approx(log_z, abs=1e-12)
    assert RBM(n_visible=3, n_hidden=30).log_z() == pytest.approx(33 * math.log(2), abs=1.0)
    drawn = energy.sample(40000, torch.Generator().manual_seed(0))
    mean = (torch.softmax(log_p, 0)[:, None] * v).sum(0)
    assert torch.allclose(drawn.mean(0), mean, atol=0.01)


def test_an_rbm_takes_its_shape_from_the_data_and_refuses_what_is_not_binary():
    node = config.option_node("model", "rbm")
    own = config.build(node, "model")
    assert own.shape == (16,) and own.support.kind == "binary"
    fitted = config.build(node, "model", shape=(1, 3, 3), support=Support("binary"), n_classes=10, joint=False)
    assert fitted.shape == (1, 3, 3) and fitted(torch.ones(2, 1, 3, 3)).shape == (2,)
    assert fitted.gibbs_step(torch.ones(2, 1, 3, 3)).shape == (2, 1, 3, 3)
    with pytest.raises(config.ConfigError, match="needs binary data.*these are box"):
        config.build(node, "model", shape=(1, 3, 3), support=Support("box", 0, 1))


@pytest.mark.parametrize("name", ["gaussian", "gaussian_mixture", "double_well", "funnel", "ising", "rbm"])
def test_an_option_builds_from_its_keywords_alone(name):
    energy = config.build(config.option_node("model", name), "model")
    x = energy.sample(3, torch.Generator().manual_seed(0))
    assert x.shape == (3, *energy.shape) and energy(x).shape == (3,)
    assert torch.equal(x, energy.sample(3, torch.Generator().manual_seed(0)))
    assert math.isfinite(energy.log_z())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Gaussian(dim=3, std=[1, 2]), "std must be a number or a list of 3"),
        (lambda: Gaussian(std=-1), "std must be positive"),
        (lambda: Gaussian(dim=3, correlation=-0.9), "not positive definite"),
        (lambda: GaussianMixture(weights=[1.0]), "2 means need 2 positive weights"),
        (lambda: Ising(size=[1]), "at least 2 spins"),
        (lambda: Ising(size=[11, 11]).log_z(), "use AIS"),
        (lambda: RBM(n_visible=30, n_hidden=30).log_z(), "30 visible and 30 hidden"),
    ],
)
def test_bad_input_is_one_line(make, said):
    with pytest.raises(ValueError, match=said):
        make()
