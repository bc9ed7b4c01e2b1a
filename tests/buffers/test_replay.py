"""Buffer semantics: which chains move, where they go back, what they carry, and that their state is all of it."""

from __future__ import annotations

import pytest
import torch

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.replay import Entries, ReplayBuffer
from ebm_cli.energies import GaussianBase, UniformBox, box
from ebm_cli.energies.energy import Plain
from ebm_cli.models import ResNet
from ebm_cli.overrides.frozen import FrozenCopies
from ebm_cli.samplers import MALA, SMC, Langevin, ParallelTempering, UnderdampedLangevin
from ebm_cli.training.resume import share_out
from ebm_cli.utils.distributed import rank_seed

SUPPORT = box(-1, 1)


class Quadratic(Plain):
    def __init__(self):
        super().__init__(lambda x: 0.5 * x.flatten(1).square().sum(1), (2,))


class PerLabel(Plain):
    """Pulls every chain toward its own label."""

    def __init__(self, n_classes=3):
        super().__init__(None, (2,))
        self.n_classes = n_classes

    def forward(self, x, y=None):
        return 50 * (x - y[:, None]).square().sum(1)


def make(seed=0, rank=0, n_classes=None, sampler=None, **buffer):
    options = {"size": 64, "restart_probability": 0.0} | buffer
    data = lambda n, g: (torch.full((n, 2), 0.5), torch.full((n,), 2) if n_classes else None)  # noqa: E731
    base = UniformBox((2,), support=SUPPORT)
    sampler = sampler or Langevin(n_steps=3, step_size=0.01)
    return Negatives(sampler, ReplayBuffer(**options), base, data, n_classes=n_classes, seed=seed, rank=rank)


def still():
    """A sampler that leaves chains (almost exactly) where they are."""
    return Langevin(n_steps=1, step_size=1e-12, noise_std=0.0)


def test_chains_go_back_to_the_slots_they_came_from():
    chains = make(sampler=still())
    chains.sample(Quadratic(), 8)
    before = chains.buffer.entries.x.clone()
    for _ in range(20):
        chains.sample(Quadratic(), 8)
    assert torch.allclose(chains.buffer.entries.x, before, atol=1e-9)
    assert int(chains.buffer.entries.age.sum()) == 21 * 8


def test_fifo_replaces_the_oldest_slots_in_turn():
    chains = make(sampler=still(), replace="fifo")
    chains.sample(Quadratic(), 8)
    assert (chains.buffer.entries.age[:8] == 1).all() and (chains.buffer.entries.age[8:] == 0).all()
    chains.sample(Quadratic(), 8)
    assert (chains.buffer.entries.age[8:16] > 0).all() and chains.buffer.cursor == 16


@pytest.mark.parametrize("size", [40, 64, 1000])
def test_a_draw_takes_distinct_slots_all_equally_likely(size):
    buffer = ReplayBuffer(size=size)
    buffer.fill(torch.zeros(size, 2), torch.zeros(size, dtype=torch.long))
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(size)
    for _ in range(4000):
        index, _ = buffer.pick(8, generator)
        assert len(index.unique()) == 8
        counts[index] += 1
    expected = 4000 * 8 / size
    assert (counts - expected).abs().max() < 5.5 * expected**0.5


def test_reinit_restarts_the_right_share_from_noise():
    chains = make(size=4000, restart_probability=0.25, start="data", sampler=still())
    chains.sample(Quadratic(), 2000)
    moved = (chains.buffer.entries.x - 0.5).abs().amax(1) > 1e-6
    assert abs(int(moved.sum()) - 500) < 4 * (2000 * 0.25 * 0.75) ** 0.5
    assert chains.buffer.entries.x[moved].abs().max() <= 1


def test_reinit_of_one_always_starts_fresh_and_ages_do_not_grow():
    chains = make(restart_probability=1.0)
    for _ in range(5):
        chains.sample(Quadratic(), 64)
    assert (chains.buffer.entries.age == 3).all()


def test_starts_from_data_noise_and_tensors_leave_the_buffer_alone():
    chains = make()
    given = torch.full((5, 2), 0.9)
    assert torch.allclose(make(sampler=still()).sample(Quadratic(), 5, start=given).x, given, atol=1e-9)
    chains.sample(Quadratic(), 5, start="noise")
    assert chains.buffer.entries is None


def test_chains_keep_their_labels_and_are_driven_by_them():
    chains = make(n_classes=3, sampler=Langevin(n_steps=50, step_size=0.005, noise_std=0.0))
    chain = chains.sample(PerLabel(), 32)
    kept = chains.buffer.entries
    aged = kept.age > 0
    assert torch.allclose(kept.x[aged], kept.y[aged, None].float().expand(-1, 2), atol=1e-3)
    assert set(chain.y.tolist()) == {0, 1, 2}


def test_labels_of_the_batch_drive_the_chains_when_asked():
    chains = make(n_classes=3, sampler=Langevin(n_steps=50, step_size=0.005, noise_std=0.0))
    y = torch.full((16,), 1)
    chain = chains.sample(PerLabel(), 16, y=y)
    assert torch.allclose(chain.x, torch.ones(16, 2), atol=1e-3)
    assert (chains.buffer.entries.y[chains.buffer.entries.age > 0] == 1).all()


def test_state_continues_bit_for_bit():
    straight, first, second = (
        make(restart_probability=0.1),
        make(restart_probability=0.1),
        make(seed=9, restart_probability=0.1),
    )
    for _ in range(6):
        straight.sample(Quadratic(), 16)
    for _ in range(3):
        first.sample(Quadratic(), 16)
    second.load_state(first.state())
    for _ in range(3):
        second.sample(Quadratic(), 16)
    for a, b in zip(straight.buffer.entries[:3], second.buffer.entries[:3], strict=True):
        assert torch.equal(a, b)


def test_ranks_and_seeds_have_their_own_noise():
    draws = {float(make(seed=s, rank=r).fresh("noise", 1).x[0, 0]) for s in range(4) for r in range(4)}
    assert len(draws) == 16
    assert len({rank_seed(s, r) for s in range(100) for r in range(64)}) == 6400


def test_the_horizon_is_the_mean_age_at_restart():
    assert make(restart_probability=0.05).horizon == 60 and make(restart_probability=0.0).horizon is None


def test_half_precision_chains_move_in_single_precision():
    chains = make(dtype="float16")
    assert chains.sample(Quadratic(), 8).x.dtype == torch.float32
    assert chains.buffer.entries.x.dtype == torch.float16


def test_chains_kept_in_bytes_move_on_average_by_nothing():
    buffer, generator = ReplayBuffer(size=4000, dtype="uint8"), torch.Generator().manual_seed(0)
    buffer.keep_within(box(-1, 1))
    x = torch.tensor([-1.0, -0.3001, 0.0, 0.777, 1.0]).repeat(4000, 1)
    buffer.fill(x, torch.zeros(4000).long(), generator=generator)
    kept = buffer.at(slice(4000)).x
    assert buffer.entries.x.dtype == torch.uint8
    assert (kept - x).abs().max() < 2 / 255
    assert (kept.mean(0) - x.mean(0)).abs().max() < 4 * 1 / 255 / 4000**0.5
    assert torch.equal(kept[:, [0, 4]], x[:, [0, 4]])  # the borders are levels


def test_chains_kept_in_bytes_need_bounds():
    chains = make(dtype="uint8")
    first = chains.sample(Quadratic(), 8).x
    assert first.dtype == torch.float32 and chains.stored(64).x.abs().max() <= 1
    with pytest.raises(ValueError, match="buffer.dtype=uint8: needs data within bounds"):
        Negatives(Langevin(n_steps=1, step_size=0.1), ReplayBuffer(dtype="uint8"), GaussianBase((2,)), None)


def test_asking_for_more_chains_than_there_are_is_said():
    with pytest.raises(ValueError, match="buffer.size=64 is smaller than the 65"):
        make().sample(Quadratic(), 65)


def test_stored_reads_without_moving():
    chains = make()
    chains.sample(Quadratic(), 8)
    before = chains.state()["generator"]
    assert isinstance(chains.stored(5), Entries) and len(chains.stored(5).x) == 5
    assert torch.equal(before, chains.generator.get_state())


def test_chains_move_on_the_view_of_a_network():
    network = ResNet((1, 4, 4), width=4, blocks=[[1, True]]).train()
    seen = []

    class Watched(Langevin):
        def check(self, energy):
            seen.append(energy)

    base = UniformBox((1, 4, 4), low=-1.0, high=1.0)
    sampler = Watched(n_steps=2, step_size=0.01)
    chains = Negatives(sampler, ReplayBuffer(size=8), base, None, frozen=FrozenCopies())
    chains.sample(network, 4)
    assert seen[0] is not network and not any(p.requires_grad for p in seen[0].parameters())
    assert chains.state()["frozen"] == {"channels_last": chains.frozen.channels_last}


def test_bfloat16_is_refused_for_samplers_that_compare_energies():
    class Exact(Langevin):
        exact = True

    with pytest.raises(ValueError, match="frozen_copy=bfloat16: Exact"):
        base = UniformBox((2,), low=-1.0, high=1.0)
        Negatives(Exact(n_steps=1, step_size=0.1), ReplayBuffer(size=8), base, None, frozen=FrozenCopies("bfloat16"))


# What samplers carry from run to run --------------------------------------------------------------------------------


def tempered(n_steps=1):
    return ParallelTempering(n_steps=n_steps, temperatures=[1.0, 3.0, 9.0], transition=MALA(step_size=0.3))


CARRYING = [
    tempered(),
    UnderdampedLangevin(n_steps=2, step_size=0.1),
    MALA(n_steps=2, step_size=0.01, adapt_steps=6),
]


@pytest.mark.parametrize("sampler", CARRYING, ids=lambda s: type(s).__name__)
def test_what_a_sampler_carries_stays_with_its_slot_and_resumes_bit_for_bit(sampler):
    straight, first, second = (make(seed=s, restart_probability=0.1, sampler=sampler) for s in (0, 0, 9))
    for _ in range(6):
        straight.sample(Quadratic(), 16)
    for _ in range(3):
        first.sample(Quadratic(), 16)
    second.load_state(first.state())
    for _ in range(3):
        second.sample(Quadratic(), 16)
    assert straight.buffer.entries.aux
    for name, value in straight.state()["population"].items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(second.state()["population"][name])), name


def test_replicas_in_the_buffer_make_one_long_chain():
    """Runs of one step each keep the hot replicas and swap all pairs: the variances are those of the ladder."""
    chains = make(size=400, sampler=tempered())
    for _ in range(300):
        chains.sample(Quadratic(), 400)
    aux = chains.buffer.entries.aux
    assert torch.equal(aux["replicas"][:, 0], chains.buffer.entries.x) and (aux["turn"] == 300).all()
    assert aux["replicas"].var(0).mean(1).tolist() == pytest.approx([1.0, 3.0, 9.0], rel=0.2)


def test_restarted_chains_start_anew_in_all_that_they_carry():
    chains = make(size=400, restart_probability=0.5, sampler=tempered())
    chains.sample(Quadratic(), 400)
    chains.sample(Quadratic(), 400)
    kept = chains.buffer.entries
    assert torch.equal(kept.aux["turn"], kept.age) and set(kept.age.tolist()) == {1, 2}


def test_replicas_are_shared_out_among_other_numbers_of_processes():
    ranks = []
    for rank in range(2):
        chains = make(rank=rank, sampler=tempered())
        chains.sample(Quadratic(), 8)
        ranks.append({"negatives": chains.state()})
    alone = make(sampler=tempered())
    alone.load_state(share_out(ranks, 0, 1)["negatives"])
    assert alone.buffer.size == 128 and alone.buffer.entries.aux["replicas"].shape == (128, 3, 2)
    alone.sample(Quadratic(), 100)


def test_weighted_samples_are_refused_in_training():
    with pytest.raises(ValueError, match="SMC makes weighted samples"):
        make(sampler=SMC())
