"""metric=ais: energies whose log Z is known, both directions, errors that cover, and what the protocol says."""

import math

import pytest
import torch
from conftest import subject

from ebm_cli.datasets import Digits
from ebm_cli.energies import Gaussian, GaussianBase, Ising, UniformBox, box
from ebm_cli.energies.energy import Energy
from ebm_cli.metrics import AIS, Skip
from ebm_cli.metrics.ais import dequantize
from ebm_cli.models import RBM
from ebm_cli.samplers import AIS as Annealed
from ebm_cli.samplers import Langevin
from ebm_cli.samplers.ais import estimate


class Given:
    """Examples as data: ``split`` is all that a likelihood needs."""

    name, value_range, n_classes, levels = "given", None, None, 256

    def __init__(self, x):
        self.x, self.shape = x, tuple(x.shape[1:])

    def split(self, name, n=None):
        from ebm_cli.datasets.datamodule import Split

        return Split(self.x[:n], None)


def measured(energy, directory, n_examples=500, **options):
    data = Given(energy.sample(n_examples, torch.Generator().manual_seed(9)))
    return AIS(**options)(subject(data, directory, energy=energy))


def test_a_gaussians_log_z_bracket_and_likelihood(tmp_path):
    energy = Gaussian(dim=10, mean=0.3, std=[0.8 + 0.04 * i for i in range(10)])
    values = measured(energy, tmp_path, n_steps=100)
    low, high = values["ais/log_z"], values["ais/log_z_reverse"]
    assert abs(low.value - energy.log_z()) < 2 * low.stderr < 0.2
    assert abs(high.value - energy.log_z()) < 2 * high.stderr < 0.2
    assert values["ais/log_z/mean_log_w"].value < values["ais/log_z_reverse/mean_log_w"].value
    assert 50 < values["ais/log_z/ess"].value <= 100
    assert values["ais/log_z_exact"].value == pytest.approx(energy.log_z())
    entropy = energy.log_z() + 5  # of a Gaussian: log Z + d / 2
    found = values["ais/log_likelihood"]
    assert abs(found.value + entropy) < 3 * found.stderr and found.n == 500
    assert "no grey levels" in str(values["ais/bits_per_dim"])
    assert low.protocol["temperature"] == 1 and low.protocol["base"] == "GaussianBase" and low.protocol["levels"] == 100
    assert "exact draws" in high.protocol["starts"]


@pytest.mark.parametrize("energy", [Ising(size=[8], coupling=0.3), "rbm"])
def test_discrete_energies_stand_beside_their_enumeration(energy, tmp_path):
    if energy == "rbm":
        torch.manual_seed(0)
        energy = RBM(n_visible=8, n_hidden=5, weight_std=1.0)
    values = measured(energy, tmp_path, n_steps=50, n_chains=200)
    assert values["ais/log_z_exact"].value == pytest.approx(energy.log_z(), abs=1e-4)
    for name in ("ais/log_z", "ais/log_z_reverse"):
        assert abs(values[name].value - energy.log_z()) < 2.5 * values[name].stderr < 0.25
    nats, bits = values["ais/log_likelihood"], values["ais/bits_per_dim"]
    d = math.prod(energy.shape)
    assert bits.value == pytest.approx(-nats.value / d / math.log(2), rel=1e-6)  # discrete: nothing to dequantize


class Flat(Energy):
    """Constant in a box: its dequantized likelihood is that of uniform grey levels, whatever the value range."""

    def __init__(self, shape, low, high):
        super().__init__(shape, box(low, high))

    def forward(self, x):
        return 2.5 + 0.0 * x.flatten(1).sum(1)


@pytest.mark.parametrize("value_range", [[-1.0, 1.0], [0.0, 1.0]])
def test_bits_per_dimension_of_uniform_grey_levels(value_range, tmp_path):
    data = Digits(value_range=value_range)
    values = AIS(n_steps=3, n_chains=10)(subject(data, tmp_path, energy=Flat((1, 8, 8), *value_range)))
    width = value_range[1] - value_range[0]
    assert values["ais/log_z"].value == pytest.approx(-2.5 + 64 * math.log(width), abs=1e-4)
    assert values["ais/bits_per_dim"].value == pytest.approx(math.log2(17), abs=1e-5)
    assert "17 grey levels" in values["ais/bits_per_dim"].protocol["dequantization"]
    assert isinstance(values["ais/log_z_reverse"], Skip)  # neither exact draws nor a run to draw from


def test_dequantized_grey_levels_fill_the_range_and_keep_their_order():
    x = torch.linspace(-1, 1, 17).expand(2000, 17)
    u = dequantize(x, -1.0, 1.0, 17, seed=0)
    assert float(u.min()) >= -1 and float(u.max()) <= 1
    assert torch.equal(((u + 1) / 2 * 17).floor().long(), torch.arange(17).expand(2000, 17))
    assert torch.allclose(u.mean(0), (torch.arange(17) + 0.5) * 2 / 17 - 1, atol=0.005)


def test_a_temperature_that_no_chain_sampled_is_warned_of(tmp_path):
    energy = Gaussian(dim=2)
    whole = subject(Given(energy.sample(50)), tmp_path, energy=energy)
    whole.base, whole.sampler = GaussianBase((2,)), Langevin(step_size=1.0, noise_std=0.1)
    warning = AIS(n_steps=5)(whole)["ais/log_likelihood"].protocol["warning"]
    assert "0.005" in warning and "metric.ais.temperature=0.005" in warning
    cold = AIS(n_steps=5, temperature=0.005)(whole)["ais/log_likelihood"].protocol
    assert "warning" not in cold and cold["temperature"] == 0.005
    whole.sampler = Langevin(step_size=0.1)
    assert "warning" not in AIS(n_steps=5)(whole)["ais/log_z"].protocol


def test_what_cannot_be_measured_is_skipped_with_a_reason(tmp_path):
    with pytest.raises(Skip, match="need"):
        AIS().check(subject(Given(torch.zeros(3, 2)), tmp_path))
    boxed = subject(Given(torch.zeros(3, 4)), tmp_path, energy=Flat((4,), -1, 1))
    boxed.base = GaussianBase((4,))
    with pytest.raises(Skip, match="UniformBox"):
        AIS().check(boxed)
    boxed.base = UniformBox((4,), low=-1, high=1)
    AIS().check(boxed)
    with pytest.raises(ValueError, match="n_chains >= 2"):
        AIS(n_chains=1)


# A hundred small runs: the issue's own bar -------------------------------------------------------------------------


def hundred(energy, n_steps, n_chains, seed, runs=100):
    """Forward and reverse estimates of independent runs; the ladder and the steps are tuned in each."""
    g = torch.Generator().manual_seed(seed)
    sampler, start = Annealed(n_steps=n_steps), torch.zeros(n_chains, *energy.shape)
    forward = [estimate(sampler.sample(energy, start, generator=g)) for _ in range(runs)]
    backward = [estimate(sampler.reverse(energy, energy.sample(n_chains, g), generator=g), True) for _ in range(runs)]
    return forward, backward


def near(dim):
    """Target precisions within a factor 2 of the base's."""
    return Gaussian(dim=dim, std=[(0.5 + 1.5 * i / (dim - 1)) ** -0.5 for i in range(dim)])


CASES = {
    "gaussian10": (lambda: near(10), 40, 100),
    "gaussian100": (lambda: near(100), 300, 100),
    "rbm": (lambda: RBM(n_visible=8, n_hidden=6, weight_std=1.0), 20, 200),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_of_a_hundred_runs_at_least_88_cover_within_two_standard_errors(name):
    torch.manual_seed(0)
    make, n_steps, n_chains = CASES[name]
    energy = make()
    log_z = energy.log_z()
    for found in hundred(energy, n_steps, n_chains, seed=0):
        assert sum(abs(run.log_z - log_z) < 2 * run.stderr for run in found) >= 88
        assert sorted(run.stderr for run in found)[-1] <= 0.1


def test_the_mean_log_weight_lies_below_and_the_reverse_above():
    torch.manual_seed(0)
    for make, n_steps in ((lambda: near(10), 30), (CASES["rbm"][0], 10)):
        energy = make()
        forward, backward = hundred(energy, n_steps, 60, seed=1, runs=6)
        log_z = energy.log_z()
        assert sum(run.mean_log_w for run in forward) / 6 < log_z < sum(run.mean_log_w for run in backward) / 6
        covered = sum(abs(run.log_z - log_z) < 2 * run.stderr for run in forward + backward)
        assert covered >= 9  # of 12: fewer has a probability of 2e-3


@pytest.mark.slow
def test_both_directions_agree_at_a_thousand_levels():
    for dim in (10, 100):
        forward, backward = hundred(near(dim), 1000, 100, seed=2, runs=1)
        assert abs(forward[0].log_z - backward[0].log_z) < 0.1


def test_bits_per_dimension_of_a_uniform_density_are_those_of_its_levels(tmp_path):
    """A uniform law gives each of 17 grey levels log2(17) bits, whatever the value range."""
    import math

    from conftest import subject

    from ebm_cli.datasets import Digits
    from ebm_cli.energies import UniformBox
    from ebm_cli.metrics import Value

    for value_range in ([-1, 1], [0, 1]):
        data = Digits(value_range=value_range)
        box = UniformBox(data.shape, low=value_range[0], high=value_range[1])
        metric = AIS(n=50)
        metric.temperature = 1.0
        found = metric.likelihood(subject(data, tmp_path, energy=box), Value(0.0, 0.0), {})
        assert found["ais/bits_per_dim"].value == pytest.approx(math.log2(data.levels), abs=1e-5)
