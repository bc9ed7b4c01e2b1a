"""The one interface of populations: each refuses a wrong objective, keeps all of its state, and has to be complete."""

from __future__ import annotations

import pytest
import torch

from ebm_cli.buffers import Entries, LevelWalkers, Negatives, Population, ReplayBuffer, WeightedWalkers
from ebm_cli.datasets import Batch
from ebm_cli.energies import GaussianBase
from ebm_cli.objectives import AnnealedChains, ContrastiveDivergence, Jarzynski
from ebm_cli.samplers import AnnealedLangevin, Langevin

LANGEVIN = Langevin(n_steps=1, step_size=0.1)
WALK = AnnealedLangevin(n_steps=8, n_levels=4, sigma_max=3.0, sigma_min=0.3, over="noise")
MAKERS = {
    "replay": lambda: (LANGEVIN, ReplayBuffer(size=6)),
    "weighted": lambda: (LANGEVIN, WeightedWalkers(size=6, witnesses=4)),
    "levels": lambda: (WALK, LevelWalkers(size=6)),
}


def negatives_of(name):
    sampler, population = MAKERS[name]()
    data = lambda n, g: (torch.randn(n, 2, generator=g), None)  # noqa: E731
    return Negatives(sampler, population, GaussianBase((2,)), data)


@pytest.mark.parametrize("name", MAKERS)
def test_a_turn_draws_moves_and_writes_and_the_state_is_all_of_it(name):
    negatives = negatives_of(name)
    population = negatives.buffer
    assert population.stored() is None and population.state() is None
    index, entries = population.draw(None, negatives)
    assert entries.x.shape == (6, 2)
    population.write(index, entries._replace(x=torch.full_like(entries.x, 0.25)), negatives)
    other = negatives_of(name).buffer
    other.load_state(population.state())
    for key, value in population.state().items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(other.state()[key])), key
    stored = other.stored(2)
    assert isinstance(stored, Entries) and stored.x.shape == (2, 2)


def test_stored_chains_over_levels_are_those_furthest_down():
    walkers = LevelWalkers(size=4)
    level = torch.tensor([0, 3, 1, 3])
    walkers.load_state({"x": torch.arange(4.0)[:, None], "level": level, "chance": torch.full((4,), 0.5)})
    assert walkers.stored(2).x.flatten().tolist() == [1.0, 3.0]
    assert walkers.at_level(1).tolist() == [[2.0]]


def test_stored_walkers_are_drawn_by_weight():
    walkers = WeightedWalkers(size=4, witnesses=0)
    walkers.load_state({"x": torch.arange(4.0)[:, None], "log_w": torch.tensor([0.0, -1e3, -1e3, 0.0]).double()})
    assert walkers.stored().x.flatten().tolist() == [0.0, 0.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("objective", "name", "word"),
    [
        (ContrastiveDivergence(), "levels", "use buffer=replay"),
        (Jarzynski(), "replay", "use buffer=weighted"),
        (AnnealedChains(first=0.0), "replay", "use buffer=levels"),
    ],
)
def test_a_wrong_population_is_refused_and_the_right_one_named(objective, name, word):
    negatives = negatives_of(name)
    if isinstance(objective, AnnealedChains):
        negatives.sampler = WALK
    with pytest.raises(ValueError, match=word):
        objective(GaussianBase((2,)), Batch(torch.zeros(3, 2), None), negatives)


def test_an_incomplete_population_says_what_it_lacks():
    class Half(Population):
        def draw(self, n, source):
            return None

    with pytest.raises(TypeError, match="load_state.*stored.*write|abstract"):
        Half()


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: WeightedWalkers(size=1), "size >= 2"),
        (lambda: WeightedWalkers(resample_below=2.0), "resample_below"),
        (lambda: LevelWalkers(size=0), "buffer.size"),
        (lambda: ReplayBuffer(replace="lifo"), "buffer.replace"),
        (lambda: ReplayBuffer(restart_from="here"), "buffer.restart_from"),
    ],
)
def test_bad_settings_are_named(make, word):
    with pytest.raises(ValueError, match=word):
        make()
