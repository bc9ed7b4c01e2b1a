"""AIS and SMC: log Z of what has a known one, brackets, unbiased weights, systematic resampling."""

import math

import pytest
import torch

from ebm_cli.energies import Gaussian, GaussianBase, Ising, UniformBox, box
from ebm_cli.energies.energy import Energy
from ebm_cli.models import RBM
from ebm_cli.samplers import AIS, HMC, SMC, Langevin
from ebm_cli.samplers.ais import effective_size, estimate
from ebm_cli.samplers.path import Path, make_ladder, space_equally
from ebm_cli.samplers.smc import systematic


def rbm(n_visible=5, n_hidden=3):
    torch.manual_seed(0)
    return RBM(n_visible=n_visible, n_hidden=n_hidden, weight_std=1.0)


ENERGIES = {  # energy, and levels that make the standard error at most .1 nat
    "gaussian": (lambda: Gaussian(dim=100, mean=0.5, std=[0.7 + 0.007 * i for i in range(100)], correlation=0.1), 300),
    "ising": (lambda: Ising(size=[4, 4]), 60),
    "rbm": (lambda: rbm(8, 6), 30),
}


@pytest.mark.parametrize("sampler", [AIS, SMC])
@pytest.mark.parametrize("name", ENERGIES)
def test_log_z_lies_within_two_standard_errors(name, sampler):
    make, n_steps = ENERGIES[name]
    energy, n = make(), 200
    chain = sampler(n_steps=n_steps).sample(
        energy, torch.zeros(n, *energy.shape), generator=torch.Generator().manual_seed(1)
    )
    found = estimate(chain)
    assert found.stderr <= 0.1
    assert abs(found.log_z - energy.log_z()) < 2 * found.stderr
    assert chain.log_w.shape == (n,) and found.mean_log_w < found.log_z


def test_the_bias_of_the_mean_log_weight_falls_with_the_levels_and_the_estimate_stays():
    """Neal (2001): E w = Z for any ladder, E log w < log Z, and the reverse run lies above."""
    energy, g = rbm(), torch.Generator().manual_seed(0)
    log_z, gaps = energy.log_z(), []
    for n_steps in (1, 5, 20, 100):
        sampler = AIS(n_steps=n_steps, ladder="linear")
        found = estimate(sampler.sample(energy, torch.zeros(2000, 5), generator=g))
        back = estimate(sampler.reverse(energy, energy.sample(2000, g), generator=g), reverse=True)
        assert abs(found.log_z - log_z) < 3.5 * found.stderr and abs(back.log_z - log_z) < 3.5 * back.stderr
        margin = 3 * found.stderr if n_steps == 100 else 0.0  # the bounds hold on average over runs
        assert found.mean_log_w - margin < log_z < back.mean_log_w + margin
        gaps.append(log_z - found.mean_log_w)
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] < 0.01 < gaps[0]


def test_weights_are_unbiased_and_their_standard_error_covers():
    energy, g = Gaussian(dim=3, std=[0.6, 1.0, 1.5]), torch.Generator().manual_seed(0)
    runs = [estimate(AIS(n_steps=6).sample(energy, torch.zeros(100, 3), generator=g)) for _ in range(60)]
    ratio = torch.tensor([math.exp(run.log_z - energy.log_z()) for run in runs])
    assert float(ratio.mean()) == pytest.approx(1, abs=3.5 * float(ratio.std()) / 60**0.5)
    assert float(ratio.std()) == pytest.approx(sum(run.stderr for run in runs) / 60, rel=0.4)


def test_smc_keeps_log_z_over_resamplings():
    energy, g = Gaussian(dim=3, std=[0.4, 1.0, 1.5], mean=1.0), torch.Generator().manual_seed(0)
    sampler = SMC(n_steps=8, resample_below=1.0)  # at every level
    chains = [sampler.sample(energy, torch.zeros(200, 3), generator=g) for _ in range(40)]
    ratio = torch.tensor([math.exp(estimate(chain).log_z - energy.log_z()) for chain in chains])
    assert float(chains[0].stats["resampled"].sum()) == 8
    assert float(ratio.mean()) == pytest.approx(1, abs=3.5 * float(ratio.std()) / 40**0.5)
    x = torch.cat([chain.x for chain in chains])  # resampled chains are draws of the target
    assert torch.allclose(x.mean(0), torch.ones(3), atol=0.1)
    assert torch.allclose(x.std(0), torch.tensor([0.4, 1.0, 1.5]), rtol=0.1)


def test_systematic_resampling_counts_to_within_one():
    g = torch.Generator().manual_seed(0)
    for scale in (0.1, 1.0, 5.0):
        log_w = scale * torch.randn(200, generator=g, dtype=torch.float64)
        counts = torch.bincount(systematic(log_w, g), minlength=200)
        expected = 200 * torch.softmax(log_w, 0)
        assert int(counts.sum()) == 200 and float((counts - expected).abs().max()) < 1
    draws = torch.stack([torch.bincount(systematic(log_w, g), minlength=200) for _ in range(2000)]).double()
    assert torch.allclose(draws.mean(0), expected, atol=0.05)
    only = torch.full((5,), -torch.inf)
    only[3] = 0.0
    assert systematic(only).tolist() == [3] * 5


def test_an_unadjusted_transition_is_weighted_for_its_bias():
    """Precision 1 -> 4, log ratio -log 2: without the kernel's terms the weights give about -.87 (Carbone et al.)."""
    energy, g = Gaussian(dim=1, std=0.5), torch.Generator().manual_seed(0)
    sampler = AIS(n_steps=5, ladder="linear", transition=Langevin(step_size=0.2))
    found = estimate(sampler.sample(energy, torch.zeros(100000, 1), generator=g))
    assert found.log_z == pytest.approx(energy.log_z(), abs=max(0.005, 3 * found.stderr))
    chain = sampler.sample(energy, torch.zeros(100000, 1), generator=g)
    share = torch.softmax(chain.log_w, 0)
    assert float((share * chain.x[:, 0].square()).sum()) == pytest.approx(0.25, abs=0.01)


class Slope(Energy):
    """``rate * sum x`` in a box: ``Z = prod (exp(-rate low) - exp(-rate high)) / rate``."""

    def __init__(self, rate, dim=4):
        super().__init__((dim,), box(-1, 1))
        self.rate = rate

    def forward(self, x):
        return self.rate * x.sum(1)


@pytest.mark.parametrize("boundary", ["reflect", None])
def test_the_border_of_a_box_is_hard(boundary):
    """A soft border is tens of nats off in a picture (the box's own mass): here every entry counts exactly."""
    energy, g = Slope(3.0), torch.Generator().manual_seed(0)
    exact = 4 * math.log((math.exp(3) - math.exp(-3)) / 3)
    n_leapfrog, n_steps = (3, 60) if boundary else (1, 300)  # refused proposals take shorter trajectories
    move = HMC(step_size=0.3, n_leapfrog=n_leapfrog, boundary=boundary)
    sampler = AIS(n_steps=n_steps, transition=move)
    chain = sampler.sample(energy, torch.zeros(400, 4), generator=g)
    found = estimate(chain)
    assert abs(found.log_z - exact) < 2.5 * found.stderr < 0.35
    assert float(chain.x.abs().max()) <= 1


def test_the_temperature_of_the_target_enters_log_z():
    energy, g = Gaussian(dim=4, std=0.8), torch.Generator().manual_seed(0)
    found = estimate(AIS(n_steps=50, temperature=2.0).sample(energy, torch.zeros(300, 4), generator=g))
    assert abs(found.log_z - energy.log_z(2.0)) < 2.5 * found.stderr < 0.1
    assert abs(found.log_z - energy.log_z(1.0)) > 1


@pytest.mark.parametrize("ladder", ["linear", "geometric", "sigmoid", "adaptive"])
def test_ladders_rise_from_0_to_1(ladder):
    betas = make_ladder(ladder, 20)
    if ladder == "adaptive":
        betas = space_equally(betas, 1 / (0.01 + betas[:-1]), 30)
        assert float(betas[1]) < 1 / 30  # short steps where the weights spread most
    assert float(betas[0]) == 0 and float(betas[-1]) == 1 and float(betas.diff().min()) > 0


def test_the_path_runs_from_the_base_to_the_energy():
    base, energy = GaussianBase((3,), std=2.0), Gaussian(dim=3, mean=1.0)
    x = torch.randn(5, 3)
    path = Path(base, energy, 0.3, temperature=2.0)
    assert torch.allclose(path(x), 0.7 * base(x) + 0.15 * energy(x))
    value, grad = path.value_and_grad(x)
    reference = super(Path, path).value_and_grad(x)
    assert torch.allclose(value, reference[0]) and torch.allclose(grad, reference[1], atol=1e-6)
    assert torch.allclose(path.at(0.0)(x), base(x)) and torch.allclose(path.at(1.0)(x), energy(x) / 2)
    walled = Path(UniformBox((3,), low=-1, high=1), Slope(1.0, dim=3), 1.0)
    assert torch.isinf(walled(torch.full((1, 3), 1.5))).all() and torch.isfinite(walled(torch.zeros(1, 3))).all()


def test_the_effective_size_counts_chains():
    assert float(effective_size(torch.zeros(7))) == pytest.approx(7)
    assert float(effective_size(torch.tensor([0.0, -torch.inf, -torch.inf]))) == pytest.approx(1)


def test_sampling_leaves_weights_gradients_and_modes_alone():
    energy = rbm().train()
    with torch.inference_mode():
        AIS(n_steps=3).sample(energy, torch.zeros(4, 5))
    SMC(n_steps=3).sample(energy, torch.zeros(4, 5))
    assert energy.training and all(p.grad is None and p.requires_grad for p in energy.parameters())


def test_the_same_generator_gives_the_same_bits():
    energy = Gaussian(dim=3)
    runs = [
        SMC(n_steps=10).sample(energy, torch.zeros(20, 3), generator=torch.Generator().manual_seed(5)) for _ in "ab"
    ]
    assert torch.equal(runs[0].x, runs[1].x) and torch.equal(runs[0].log_w, runs[1].log_w)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AIS(ladder="steep"), "ladder must be one of"),
        (lambda: AIS(tune=1.5), "tune must be an acceptance"),
        (lambda: SMC(resample_below=2.0), "resample_below must be a share"),
        (lambda: AIS(transition=Langevin(boundary="clamp")).sample(Slope(1.0), torch.zeros(2, 4)), "has no density"),
        (lambda: AIS(transition=HMC(adapt_steps=5)).sample(Gaussian(), torch.zeros(2, 2)), "adapt_steps 0"),
    ],
)
def test_bad_input_is_one_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", [AIS, SMC])
def test_a_plain_callable_has_the_shape_of_the_starting_points(kind):
    """``E(x) = |x|^2 / 8`` in two dimensions: Z = 8 pi."""
    generator = torch.Generator().manual_seed(0)
    chain = kind(n_steps=200).sample(lambda x: x.square().sum(1) / 8, torch.randn(1000, 2), generator=generator)
    assert estimate(chain).log_z == pytest.approx(math.log(8 * math.pi), abs=0.05)
