"""The benchmarks in their short form: nothing crashes; no time is judged."""

from __future__ import annotations

import pytest

from benchmarks import cases, operations, overhead
from benchmarks.cases import SHORT
from benchmarks.pairs import compare


def test_ratios_are_those_of_the_pairs():
    spin = lambda n: lambda: sum(range(n))  # noqa: E731
    ratio = compare(spin(2_000_000), spin(200_000), rounds=3)
    assert 4 < ratio.median < 25 and ratio.low <= ratio.median <= ratio.high


@pytest.mark.parametrize("case", ["buffer_growth"])
def test_buffers_do_not_slow_down_with_their_size(case):
    assert 0 < getattr(cases, case)(SHORT).median < 20


@pytest.mark.parametrize("frozen", [True, False])
def test_the_published_loops_run(frozen):
    assert cases.igebm_iteration(SHORT, "float32", frozen).fast > 0


def test_the_floor_and_the_other_networks_run():
    assert cases.over_the_floor(SHORT, "float32", batch=4).slow > 0
    assert cases.wide_resnet_step(SHORT, "float32").slow > 0
    assert cases.tutorial_iteration(SHORT, "float32").slow > 0


def test_what_ebm_train_adds_to_a_bare_loop_is_measured():
    pairs = overhead.per_update(overhead.RUNS["MLP 2-16-1, nce"], stretches=2, updates=3)
    assert len(pairs) == 2 and all(under > 0 and without > 0 for under, without in pairs)


def test_an_iteration_is_split_by_operation():
    shares = operations.shares(SHORT, "float32")
    assert sum(shares.values()) == pytest.approx(1) and max(shares, key=shares.get) != "noise"
    assert shares["convolutions forward"] > 0 and shares["convolutions backward"] > 0
