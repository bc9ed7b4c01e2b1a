"""Several temperatures: swap rates by formula, masses of modes that one temperature cannot exchange."""

from __future__ import annotations

import math

import pytest
import torch

from ebm_cli.config import ConfigError
from ebm_cli.energies import GaussianBase
from ebm_cli.energies.energy import Plain
from ebm_cli.runs.generate import generate
from ebm_cli.runs.trained import TrainedModel
from ebm_cli.samplers import MALA, SMC, Langevin, ParallelTempering, SimulatedTempering, UnderdampedLangevin
from ebm_cli.samplers.diagnostics import Recorder, split_rhat

LADDER = [1.0, 2.5, 6.0, 15.0]


def two_modes(x):
    """Unit Gaussians at -4 and 4 with masses .3 and .7."""
    return -torch.logaddexp(math.log(0.3) - 0.5 * (x[:, 0] + 4).square(), math.log(0.7) - 0.5 * (x[:, 0] - 4).square())


def harmonic(shape):
    return Plain(lambda x: 0.5 * x.flatten(1).square().sum(1), shape)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def test_swaps_are_accepted_as_often_as_the_formula_says():
    """In two dimensions energies are exponential, and the rate is 2 T1 / (T1 + T2)."""
    sampler = ParallelTempering(n_steps=300, temperatures=[1.0, 2.0, 5.0], transition=MALA(step_size=0.5))
    chain = sampler.sample(harmonic((2,)), torch.zeros(2000, 2), generator=noise())
    for name, expected in (("swap_rate_0", 2 * 1 / 3), ("swap_rate_1", 2 * 2 / 7)):
        assert float(chain.stats[name][100:].mean()) == pytest.approx(expected, abs=0.01)
    assert float(chain.x.var()) == pytest.approx(1.0, rel=0.06)
    replicas = chain.state.aux["replicas"]
    assert replicas.shape == (2000, 3, 2) and torch.equal(replicas[:, 0], chain.x)
    assert replicas.var(0).mean(1).tolist() == pytest.approx([1.0, 2.0, 5.0], rel=0.12)
    assert 0 < float(chain.stats["round_trips"].mean()) < 1


def test_parallel_tempering_gets_the_masses_and_plain_mala_does_not():
    energy = Plain(two_modes, (1,))
    start = torch.tensor([[-4.0], [4.0]]).repeat(500, 1)
    found = {}
    for name, sampler in (
        ("tempered", ParallelTempering(n_steps=1000, temperatures=LADDER, transition=MALA(step_size=0.3))),
        ("plain", MALA(n_steps=1000, step_size=0.3)),
    ):
        recorder = Recorder(1000)
        chain = sampler.sample(energy, start, generator=noise(1), callback=recorder)
        found[name] = float((chain.x < 0).float().mean()), split_rhat(recorder.after_warmup()["x0"])
    assert found["tempered"][0] == pytest.approx(0.3, abs=0.04) and found["tempered"][1] < 1.05
    assert found["plain"][0] == pytest.approx(0.5, abs=0.02) and found["plain"][1] > 1.5


def test_one_evaluation_serves_all_replicas():
    calls = []

    def counted(x):
        calls.append(len(x))
        return 0.5 * x.square().sum(1)

    for transition, expected in ((MALA(step_size=0.1), 11), (Langevin(n_steps=1, step_size=0.1), 11)):
        calls.clear()
        sampler = ParallelTempering(n_steps=10, temperatures=[1.0, 2.0, 4.0], transition=transition)
        sampler.sample(Plain(counted, (2,)), torch.zeros(5, 2), generator=noise())
        assert calls == [15] * expected


def test_replicas_go_on_where_they_were():
    """Twenty steps are seven and thirteen more from what the first left behind, turns of swaps included."""
    sampler = ParallelTempering(temperatures=[1.0, 3.0, 9.0], transition=MALA(step_size=0.2))
    energy, x = harmonic((2,)), torch.randn(8, 2, generator=noise(3))
    generator = noise()
    straight = sampler.sample(energy, x, n_steps=20, generator=generator)
    generator = noise()
    first = sampler.sample(energy, x, n_steps=7, generator=generator)
    second = sampler.sample(energy, first.x, n_steps=13, generator=generator, aux=first.state.aux)
    assert torch.equal(straight.x, second.x)
    assert torch.equal(straight.state.aux["replicas"], second.state.aux["replicas"])


def test_simulated_tempering_weighs_its_chains_to_the_target():
    energy, start = Plain(two_modes, (1,)), torch.full((3000, 1), 4.0)
    transition = MALA(step_size=0.3)
    sampler = SimulatedTempering(n_steps=2500, temperatures=LADDER, transition=transition, adapt_steps=500)
    chain = sampler.sample(energy, start, generator=noise())
    weights = torch.softmax(chain.log_w, 0)
    assert abs(float((chain.x < 0).float().mean()) - 0.3) > 0.06  # hot chains are among them: the weights matter
    assert float(weights[chain.x[:, 0] < 0].sum()) == pytest.approx(0.3, abs=0.05)
    assert float(chain.stats["at_target"][600:].mean()) == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("temperatures", [[1.0], [2.0, 1.0], [0.0, 1.0]])
def test_ladders_that_are_none_are_refused(temperatures):
    with pytest.raises(ValueError, match="increasing order"):
        ParallelTempering(temperatures=temperatures)


@pytest.mark.parametrize("kind", [ParallelTempering, SimulatedTempering])
def test_transitions_that_no_ladder_can_use_are_refused(kind):
    with pytest.raises(ValueError, match="SMC makes weighted samples"):
        kind(transition=SMC())
    with pytest.raises(ValueError, match="noise_std must be null"):
        kind(transition=Langevin(noise_std=0.01))


def test_simulated_tempering_refuses_transitions_that_carry_something():
    with pytest.raises(ValueError, match="UnderdampedLangevin carries velocities"):
        SimulatedTempering(transition=UnderdampedLangevin())


def model_of(energy, sampler):
    return TrainedModel(energy, GaussianBase((1,), std=1.0), sampler, None, 400, None, 0, 10, None, None)


def test_samples_of_a_weighted_sampler_are_written_with_equal_weights(monkeypatch):
    """Half the chains hot: their variance is 2.5 unweighted, and that of the target once weighted."""
    monkeypatch.setattr("ebm_cli.runs.generate.BLOCK", 4000)
    energy = harmonic((1,))
    sampler = SimulatedTempering(temperatures=[1.0, 4.0], transition=MALA(step_size=0.5), adapt_steps=100)
    assert float(generate(model_of(energy, sampler), 4000, 400).x.var()) == pytest.approx(1.0, rel=0.15)
    with pytest.raises(ConfigError, match="SimulatedTempering weighs chains against one another"):
        generate(model_of(energy, sampler), 10, 5, energy=Plain(energy, (1,)))
