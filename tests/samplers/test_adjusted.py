"""Kernels with momentum and with an accept step against the laws that they have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from ebm_cli.energies import REAL, box
from ebm_cli.energies.energy import Plain
from ebm_cli.samplers import (
    HMC,
    MALA,
    AnnealedLangevin,
    Cosine,
    Geometric,
    GradientDescent,
    Langevin,
    Polynomial,
    RandomWalkMetropolis,
    State,
    Trajectory,
    UnderdampedLangevin,
)
from ebm_cli.samplers.diagnostics import configurational_temperature, virial

EXACT = [
    MALA(n_steps=200, step_size=0.1),
    MALA(n_steps=200, step_size=0.1, grad_clip=0.5),
    HMC(n_steps=40, step_size=0.25, n_leapfrog=5),
    RandomWalkMetropolis(n_steps=400, step_size=0.8),
]
NAMES = ["mala", "mala with a clip", "hmc", "random walk"]


def energy_of(function, support=REAL, shape=(1,)):
    energy = Plain(function, shape)
    energy.support = support
    return energy


def harmonic(k, **options):
    return energy_of(lambda x: 0.5 * k * x.flatten(1).square().sum(1), **options)


def double_well(x):
    return ((x**2 - 1) ** 2 + 0.3 * x)[:, 0]


def run(sampler, energy, x=None, n=20000, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros(n, *energy.shape, dtype=torch.float64) if x is None else x
    return sampler.sample(energy, x, generator=generator, **options)


def close(variance, expected, n=20000):
    assert float(variance) == pytest.approx(expected, rel=4 * math.sqrt(2 / n))


# Unadjusted kernels: variances known in closed form, bias included --------------------------------------------------


def test_langevin_under_a_schedule_has_the_variance_of_the_recursion():
    """v <- (1 - h k)^2 v + 2 h along decreasing steps, which tend to no bias."""
    k, n = 2.0, 150
    schedule = Polynomial(a=0.4, b=1.0, gamma=0.55)
    v = 0.0
    for i in range(n):
        v = (1 - schedule(i, n) * k) ** 2 * v + 2 * schedule(i, n)
    close(run(Langevin(n_steps=n, step_size=schedule), harmonic(k)).x.var(), v)
    assert abs(v - 0.5) < 0.03 < abs(1 / (k * (1 - 0.4 * k / 2)) - 0.5)


def test_gradient_noise_adds_its_variance():
    """A gradient with noise of variance s^2 acts as noise of variance h^2 s^2: v = (2h + h^2 s^2) / (2hk - h^2 k^2)."""
    k, h, s = 2.0, 0.2, 3.0
    noise = torch.Generator().manual_seed(7)

    def noisy(x):
        tilt = s * torch.randn(len(x), dtype=x.dtype, generator=noise)
        return 0.5 * k * x[:, 0].square() + tilt * x[:, 0]

    close(
        run(Langevin(n_steps=60, step_size=h), energy_of(noisy)).x.var(),
        (2 * h + (h * s) ** 2) / (2 * h * k - (h * k) ** 2),
    )


@pytest.mark.parametrize(("scheme", "positions", "velocities"), [("BAOAB", 0.5, 0.875), ("OBABO", 0.571429, 1.0)])
def test_underdamped_has_the_variances_of_its_scheme(scheme, positions, velocities):
    sampler = UnderdampedLangevin(n_steps=80, step_size=0.5, friction=1.0, scheme=scheme)
    chain = run(sampler, harmonic(2.0), n=40000)
    close(chain.x.var(), positions, 40000)
    close(chain.state.aux["velocity"].var(), velocities, 40000)
    assert chain.stats["evaluations"][1:].tolist() == [1] * 79


def test_the_error_of_baoab_falls_with_the_square_of_the_step():
    """The variance of the velocity of a harmonic is 1 - h^2 / 4; positions are exact."""
    errors = []
    for step_size, n_steps in ((0.8, 30), (0.4, 60)):
        sampler = UnderdampedLangevin(n_steps=n_steps, step_size=step_size, friction=1.0)
        generator = torch.Generator().manual_seed(0)
        chain = sampler.sample(harmonic(1.0), torch.randn(1_000_000, 1, generator=generator), generator=generator)
        errors.append(1 - float(chain.state.aux["velocity"].square().mean()))
        assert float(chain.x.square().mean()) == pytest.approx(1, abs=0.006)
    assert 3.5 < errors[0] / errors[1] < 4.5


def test_underdamped_at_a_temperature_and_in_a_box():
    chain = run(UnderdampedLangevin(n_steps=80, step_size=0.3, temperature=0.25), harmonic(2.0))
    close(chain.x.var(), 0.125)
    flat = energy_of(lambda x: 0.0 * x[:, 0], support=box(-1, 1))
    x = run(UnderdampedLangevin(n_steps=60, step_size=0.5, boundary="reflect"), flat).x
    assert stats.kstest(x[:, 0].numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-3


# Exact kernels: the law itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", EXACT, ids=NAMES)
def test_exact_kernels_sample_the_double_well(sampler):
    grid = torch.linspace(-3, 3, 4001, dtype=torch.float64)[:, None]
    density = (-double_well(grid)).exp()
    cdf = torch.from_numpy(integrate.cumulative_trapezoid(density.numpy(), grid[:, 0].numpy(), initial=0))
    cdf = cdf / cdf[-1]
    uniform = torch.rand(4000, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    start = grid[torch.searchsorted(cdf, uniform).clamp_max(4000)]
    x = run(sampler, energy_of(double_well), x=start).x[:, 0].numpy()
    law = lambda v: np.interp(v, grid[:, 0].numpy(), cdf.numpy())  # noqa: E731
    assert stats.kstest(x, law).pvalue > 1e-3


@pytest.mark.parametrize("temperature", [1.0, 0.25])
@pytest.mark.parametrize("sampler", EXACT, ids=NAMES)
def test_exact_kernels_have_no_bias_of_their_step(sampler, temperature):
    chain = run(sampler.with_options(temperature=temperature), harmonic(2.0), n=10000)
    close(chain.x.var(), 0.5 * temperature, 10000)
    assert 0.2 < float(chain.stats["acceptance"].mean()) < 1


def test_leapfrog_is_reversible_and_of_the_right_order():
    """Backwards it returns; the mean energy error falls by 16 when the step is halved; E exp(-dH) = 1."""
    energy, generator = energy_of(double_well), torch.Generator().manual_seed(0)
    x = torch.randn(50000, 1, dtype=torch.float64, generator=generator)
    x = HMC(n_steps=30, step_size=0.2).sample(energy, x, generator=generator).x
    momentum = torch.randn(x.shape, dtype=torch.float64, generator=generator)
    errors = {}
    for h, leaps in ((0.1, 10), (0.05, 20)):
        sampler = HMC(step_size=h, n_leapfrog=leaps, jitter=0.0)
        start = sampler.evaluate_state(energy, State(x))
        end, p = sampler.leapfrog(energy, start, momentum, h, 1.0)
        back, q = sampler.leapfrog(energy, end, -p, h, 1.0)
        torch.testing.assert_close(back.x, x, rtol=0, atol=1e-9)
        torch.testing.assert_close(-q, momentum, rtol=0, atol=1e-9)
        change = end.energy - start.energy + 0.5 * (p.square() - momentum.square()).sum(1)
        assert float((-change).exp().mean()) == pytest.approx(1.0, abs=5 * float((-change).exp().std()) / 50000**0.5)
        errors[h] = float(change.square().mean())
    assert math.log2(errors[0.1] / errors[0.05]) == pytest.approx(4.0, abs=0.4)


@pytest.mark.parametrize("boundary", [None, "reflect"])
@pytest.mark.parametrize("kind", [HMC, RandomWalkMetropolis, MALA])
def test_borders_keep_the_truncated_law(kind, boundary):
    if kind is MALA and boundary:
        with pytest.raises(ValueError, match="MALA takes null"):
            MALA(boundary="reflect")
        return
    sampler = kind(n_steps=60, step_size=0.4, boundary=boundary)
    x = run(sampler, harmonic(1.0, support=box(-0.5, 1.0)), n=6000).x[:, 0].numpy()
    assert stats.kstest(x, stats.truncnorm(-0.5, 1.0).cdf).pvalue > 1e-3


def test_what_would_break_exactness_is_refused():
    with pytest.raises(ValueError, match="boundary=clamp: mass on the border makes HMC inexact"):
        HMC(boundary="clamp")

    class Noisy(Plain):
        samples_in_train_mode = True

    with pytest.raises(ValueError, match="dropout or batch statistics"):
        MALA().sample(Noisy(lambda x: x.sum(1), (2,)), torch.zeros(3, 2))


@pytest.mark.parametrize("kind", [MALA, HMC, RandomWalkMetropolis])
def test_step_sizes_are_tuned_to_the_target_and_then_kept(kind):
    target = 0.7
    sampler = kind(n_steps=400, step_size=1e-3, adapt_steps=200, target_acceptance=target)
    chain = run(sampler, harmonic(4.0, shape=(5,)), n=200)
    steps = chain.stats["step_size"]
    assert float(chain.stats["acceptance"][250:].mean()) == pytest.approx(target, abs=0.06)
    assert (steps[201:] == steps[201]).all() and float(steps[201]) > 0.01
    later = run(sampler, harmonic(4.0, shape=(5,)), n=200, aux=chain.state.aux, n_steps=5)
    assert float(later.stats["step_size"][0]) == pytest.approx(float(steps[-1]))


# Ladders of noise, descent, schedules ------------------------------------------------------------------------------


def test_annealing_ends_at_its_last_level():
    sampler = AnnealedLangevin(
        n_steps=400, step_size=0.02, n_levels=4, sigma_max=0.8, sigma_min=0.1, over="temperature", temperature=0.5
    )
    chain = run(sampler, harmonic(2.0))
    close(chain.x.var(), 0.5 / (2.0 * (1 - 0.02 * 2.0 / 2)))
    assert chain.stats["sigma"][[0, 100, 399]].tolist() == pytest.approx([0.8, 0.4, 0.1])


def test_annealing_binds_the_noise_level():
    class Levelled(Plain):
        def __init__(self):
            super().__init__(None, (1,))
            self.levels = []

        def forward(self, x, t=None):
            self.levels.append(float(t[0]))
            return 0.5 * (x[:, 0] / t).square()

    energy = Levelled()
    sampler = AnnealedLangevin(n_steps=300, step_size=1e-3, n_levels=3, sigma_max=0.4, sigma_min=0.1, over="noise")
    x = run(sampler, energy).x
    assert sorted(set(energy.levels)) == pytest.approx([0.1, 0.2, 0.4])
    close(x.var(), 0.01 / (1 - 0.05))  # k = 1 / sigma^2: the bias of step_size k / 2


def test_descent_goes_to_the_mode():
    x = run(GradientDescent(n_steps=200, step_size=0.1), energy_of(lambda x: (x[:, 0] - 3).square()), n=4).x
    assert torch.allclose(x, torch.full_like(x, 3.0), atol=1e-6)


@pytest.mark.parametrize("schedule", [Geometric(first=1.0, last=0.01), Cosine(first=1.0, last=0.01)])
def test_schedules_go_from_first_to_last(schedule):
    values = [schedule(i, 11) for i in range(11)]
    assert values[0] == pytest.approx(1.0) and values[-1] == pytest.approx(0.01)
    assert values == sorted(values, reverse=True)
    middle = {Geometric: 0.1, Cosine: 0.505}[type(schedule)]
    assert values[5] == pytest.approx(middle)


# Trajectories, and the temperature of a network --------------------------------------------------------------------


def test_trajectories_are_thinned_after_the_burn_in():
    kept, every = Trajectory(burn_in=3, thin=4), Trajectory()
    for callback in (kept, every):
        chain = run(MALA(n_steps=15, step_size=0.1), harmonic(2.0), n=5, callback=callback)
    assert kept.x.shape == (5, 3, 1) and every.energy.shape == (5, 15)
    assert torch.equal(kept.x, every.x[:, [6, 10, 14]]) and torch.equal(kept.x[:, -1], chain.x)
    assert torch.allclose(kept.energy, kept.x.square()[..., 0])
    with pytest.raises(ValueError, match="thin must be a whole number"):
        Trajectory(thin=0)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_chains_on_a_trained_network_have_the_temperature_that_they_were_given(temperature):
    """``<x . grad E> = d T`` and ``<|grad E|^2> = T <lap E>`` for any smooth energy sampled exactly."""
    torch.manual_seed(3)
    network = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)).double()
    energy = energy_of(lambda x: 6 * network(x)[:, 0] + 0.5 * x.square().sum(1), shape=(2,))
    ring = torch.randn(500, 2, dtype=torch.float64)
    ring = 2 * ring / ring.norm(dim=1, keepdim=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(100):  # noise contrastive: the ring against a wide Gaussian of energy |x|^2 / 8
        noise = 2 * torch.randn(500, 2, dtype=torch.float64)
        logits = [x.square().sum(1) / 8 - energy(x) for x in (ring, noise)]
        loss = torch.nn.functional.softplus(-logits[0]).mean() + torch.nn.functional.softplus(logits[1]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x = run(MALA(n_steps=120, step_size=0.1, temperature=temperature), energy, n=8000).x
    assert virial(energy, x) == pytest.approx(temperature, rel=0.06)
    assert configurational_temperature(energy, x) == pytest.approx(temperature, rel=0.06)
