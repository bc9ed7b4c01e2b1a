"""Energy matching against closed forms: transport, the flow's potential, the heat, the likelihood's optimum."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.replay import ReplayBuffer
from ebm_cli.datasets import Batch
from ebm_cli.energies import Energy, GaussianBase
from ebm_cli.objectives import EnergyMatching
from ebm_cli.objectives.energy_matching import transport
from ebm_cli.samplers import MALA, Langevin, Ramp


class Quadratic(Energy):
    """``k x^2 / 2 - m x`` in one dimension, k and m learned."""

    def __init__(self, k=1.0, m=0.0):
        super().__init__((1,))
        self.k = nn.Parameter(torch.tensor(float(k), dtype=torch.float64))
        self.m = nn.Parameter(torch.tensor(float(m), dtype=torch.float64))

    def forward(self, x):
        return 0.5 * self.k * x.square().sum(1) - self.m * x.sum(1)


def chains_for(sampler, std=1.0):
    base = GaussianBase((1,), std=std).double()
    data = lambda n, g: (torch.randn(n, 1, generator=g, dtype=torch.float64), None)  # noqa: E731
    return Negatives(sampler, ReplayBuffer(size=4), base, data)


def test_transport_is_the_cheapest_of_all_pairings():
    torch.manual_seed(0)
    start, x = torch.randn(5, 2), torch.randn(5, 2) + 1
    cost = lambda rows: float((rows - x).square().sum())  # noqa: E731
    best = min(cost(start[list(order)]) for order in itertools.permutations(range(5)))
    assert cost(transport(start, x)) == pytest.approx(best, rel=1e-6)


def test_without_the_second_phase_the_loss_is_that_of_the_flow_alone():
    """From N(0, 1) to N(4, 1) transport adds 4 to every point: the potential is -4 x, and its loss is 0."""
    torch.manual_seed(0)
    chains = chains_for(Langevin(step_size=0.1))
    x = 4 + torch.randn(400, 1, dtype=torch.float64)
    loss = lambda energy: EnergyMatching(flow=1.0)(energy, Batch(x, None), chains)  # noqa: E731
    right = loss(Quadratic(k=0.0, m=4.0))
    assert float(right.loss) < 0.05 and "energy/gap" not in right.metrics
    assert float(loss(Quadratic(k=0.0, m=-4.0)).loss) == pytest.approx(64, rel=0.03)
    assert float(loss(Quadratic(k=0.0, m=3.0)).loss) == pytest.approx(1, rel=0.2)


def test_the_flow_carries_the_base_to_the_data_in_unit_time():
    sampler = Langevin(n_steps=100, step_size=0.01, temperature=Ramp(begin=100, end=100, top=1.0))
    x = torch.randn(1000, 1, dtype=torch.float64)
    chain = sampler.sample(Quadratic(k=0.0, m=4.0), x, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(chain.x, x + 4)


def test_heat_comes_after_the_flow():
    assert [Ramp(begin=2, end=4, top=0.5)(i, 9) for i in range(6)] == [0.0, 0.0, 0.0, 0.25, 0.5, 0.5]
    assert [Ramp(begin=2, end=2, top=0.5)(i, 9) for i in range(4)] == [0.0, 0.0, 0.5, 0.5]
    with pytest.raises(ValueError, match="begin"):
        Ramp(begin=3, end=2, top=1.0)


def test_the_likelihood_is_at_its_best_where_the_curvature_is_temperature_over_variance():
    """Data of variance s^2: V'' = temperature / s^2; below it the data say more, above it less."""
    variance, temperature = 2.25, 0.5
    x = math.sqrt(variance) * torch.randn(40000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sampler = Langevin(n_steps=400, step_size=0.05, temperature=Ramp(begin=0, end=0, top=temperature))
    objective = EnergyMatching(flow=0.0, contrast=1.0, trim=0.0, floor=None)
    slopes = {}
    for factor in (0.5, 1.0, 2.0):
        energy, chains = Quadratic(k=factor * temperature / variance), chains_for(sampler, math.sqrt(variance / factor))
        term, _ = objective.raise_likelihood(energy, x, chains)
        term.backward()
        slopes[factor] = float(energy.k.grad)
    # d/dk of E V(data) - E V(negatives) = (s^2 - temperature / k) / 2, the half from data not quite mixed
    assert slopes[0.5] == pytest.approx(0.5 * (variance - variance / 0.5), rel=0.1)
    assert slopes[2.0] == pytest.approx(0.5 * (variance - variance / 2.0), rel=0.1)
    assert abs(slopes[1.0]) < 0.03


def test_half_of_the_negatives_stay_hot_at_data_and_half_come_from_the_base():
    sampler = Langevin(n_steps=10, step_size=0.01, temperature=Ramp(begin=9, end=9, top=0.02))
    chains, x = chains_for(sampler, std=0.1), torch.full((2000, 1), 50.0, dtype=torch.float64)
    negatives = EnergyMatching().draw(Quadratic(k=0.0), x, chains)
    assert float(negatives[:1000].std()) == pytest.approx(math.sqrt(2 * 0.01 * 0.02 * 10), rel=0.1)
    assert float(negatives[:1000].mean()) == pytest.approx(50, abs=0.05)
    assert float(negatives[1000:].std()) == pytest.approx(0.1, rel=0.1)  # heated in the last step alone


def test_the_highest_negatives_are_left_out_and_the_term_is_bounded():
    sampler = Langevin(n_steps=1, step_size=1e-6, temperature=Ramp(begin=9, end=9, top=0.0))
    x = torch.zeros(100, 1, dtype=torch.float64)
    energy, chains = Quadratic(k=1.0), chains_for(sampler, std=100.0)
    free = EnergyMatching(contrast=1.0, trim=0.0, floor=None).raise_likelihood(energy, x, chains)[0]
    trimmed = EnergyMatching(contrast=1.0, trim=0.5, floor=None).raise_likelihood(energy, x, chains)[0]
    bounded = EnergyMatching(contrast=1.0, trim=0.0, floor=0.02).raise_likelihood(energy, x, chains)[0]
    highest = EnergyMatching(contrast=1.0, trim=0.1, floor=None)
    ramp, negatives = torch.arange(128.0, dtype=torch.float64), chains_for(sampler, std=1.0)
    highest.draw = lambda *args: (2 * ramp[:, None]).sqrt()
    loss, _ = highest.raise_likelihood(energy, torch.zeros(128, 1, dtype=torch.float64), negatives)
    assert float(loss) == pytest.approx(-float(ramp[:116].mean()))  # 12 of 128 are left out, as in the authors' code
    assert float(free) < -1000 and abs(float(trimmed)) < 1e-6 and float(bounded) == pytest.approx(-0.02)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: EnergyMatching(flow=2), "flow"),
        (
            lambda: EnergyMatching(flow=0.0)(
                Quadratic(), Batch(torch.zeros(4, 1).double(), None), chains_for(MALA(n_steps=1, step_size=0.1))
            ),
            "sampler=energy_matching",
        ),
    ],
)
def test_bad_settings_are_named(make, word):
    with pytest.raises(ValueError, match=word):
        make()
