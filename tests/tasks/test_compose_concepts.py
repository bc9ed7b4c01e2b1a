"""Concepts learned apart and composed: the product of two energies keeps both attributes."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from conftest import ROOT

from ebm_cli.datasets import Shapes


@pytest.fixture(scope="module")
def concepts():
    """The module scripts/compose_concepts.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("concepts", ROOT / "scripts" / "compose_concepts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def judge(concepts):
    return concepts.Judge(Shapes())


def test_the_judge_tells_attributes_that_it_has_not_seen_drawn_and_takes_noise_for_no_shape(judge):
    assert judge.accuracy["shape"] > 0.99 and judge.accuracy["position"] > 0.99, judge.accuracy
    g = torch.Generator().manual_seed(0)
    noise, empty = 2 * torch.rand(20, 1, 16, 16, generator=g) - 1, -torch.ones(2, 1, 16, 16)
    speckled = torch.where(torch.rand(20, 1, 16, 16, generator=g) < 0.2, 1.0, -1.0)
    assert judge.hits(torch.cat([noise, empty, speckled]), torch.ones(3, 4)).sum() == 0


def test_chance_is_what_pictures_without_attributes_of_their_own_reach(concepts):
    """Test pictures keep no composition on purpose, so that every kind must come out at chance."""
    attributes, kinds = Shapes(n_test=4000).attributes("test"), {}
    for kind, _, right in concepts.compositions("a", "b"):
        kinds.setdefault(kind, []).append(right[attributes["shape"], attributes["position"]].mean())
    for kind, shares in kinds.items():
        assert float(torch.stack(shares).mean()) == pytest.approx(concepts.CHANCE[kind], abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_product_keeps_both_attributes(concepts, judge, command, tmp_path, seed):
    """Half a minute of training per seed; joint accuracy above that of either energy alone."""
    runs = []
    for concept in ("shape", "position"):
        words = [f"dataset.concept={concept}", f"name={concept}", f"seed={seed}", "trainer.enable_progress_bar=false"]
        status, _, err = command("ebm-train", "experiment=shapes_concept", *words, stamp="a")
        assert status == 0, err
        runs.append(str(tmp_path / "outputs" / "runs" / concept / "a"))
    found, _ = concepts.measure(*runs, n=96, seed=seed, judge=judge)
    assert found["product"] > max(found["shape alone"], found["position alone"]), found
    assert found["negation"] > 2 * concepts.CHANCE["negation"] and found["disjunction"] > 0.7, found
