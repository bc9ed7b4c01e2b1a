"""Distances of vectors: closed forms, the floor of equal laws, and what a shuffled table gives away."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import subject

from ebm_cli.datasets import Npz
from ebm_cli.energies import FullGaussianBase
from ebm_cli.metrics import Skip, Vectors
from ebm_cli.metrics.vectors import correlation_gap, kolmogorov_smirnov, neighbor_auroc, sliced_wasserstein
from ebm_cli.runs.samples import Samples


def normal(n, *shift, seed=0):
    return torch.randn(n, len(shift), generator=torch.Generator().manual_seed(seed)) + torch.tensor(shift)


def test_the_sliced_distance_of_a_shift_is_its_mean_projection():
    """In two dimensions E |u . s| = |s| 2 / pi."""
    x = normal(20000, 0.0, 0.0)
    found = sliced_wasserstein(x, x + torch.tensor([3.0, 0.0]), 2000, torch.Generator().manual_seed(0))
    assert found == pytest.approx(3 * 2 / math.pi, rel=0.02)


def test_kolmogorov_smirnov_of_shifted_normals_has_its_closed_form():
    x, y = normal(50000, 0.0)[:, 0], normal(50000, 1.0, seed=1)[:, 0]
    assert kolmogorov_smirnov(x, y) == pytest.approx(math.erf(0.5 / math.sqrt(2)), abs=0.01)


def test_the_neighbor_classifier_is_at_chance_for_equal_laws_and_sure_of_far_ones():
    assert neighbor_auroc(normal(1000, 0.0, 0.0), normal(1000, 0.0, 0.0, seed=1)) == pytest.approx(0.5, abs=0.03)
    assert neighbor_auroc(normal(500, 0.0, 0.0), normal(500, 9.0, 0.0, seed=1)) == pytest.approx(1, abs=1e-6)


def test_the_gap_of_correlations_is_the_largest():
    x = normal(40000, 0.0, 0.0, 0.0)
    y = x.clone()
    y[:, 1] = 0.6 * x[:, 0] + 0.8 * x[:, 1]
    assert correlation_gap(x, y) == pytest.approx(0.6, abs=0.02)


@pytest.fixture
def table(tmp_path):
    """Two columns with mean near 1000, correlated .8, and a constant one."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=2000)
    b = 0.8 * a + 0.6 * rng.normal(size=2000)
    np.savez(tmp_path / "t.npz", x=np.stack([1000 + 100 * a, 900 + 80 * b, np.full(2000, 7.0)], 1))
    return Npz(file=str(tmp_path / "t.npz"))


def test_the_truth_is_at_the_floor_and_independent_columns_are_not(table, tmp_path):
    train = table.split("train").x
    base = FullGaussianBase(table.shape)
    base.fit(train)
    truth = subject(table, tmp_path, energy=base, samples=Samples(base.sample(200, torch.Generator().manual_seed(1))))
    good = {k: v.value for k, v in Vectors(repeats=1)(truth).items()}
    loose = torch.stack([train[:200, 0], train[200:400, 1]], 1)
    bad = {k: v.value for k, v in Vectors(repeats=1)(subject(table, tmp_path, samples=Samples(loose))).items()}
    for name in ("mmd", "wasserstein", "correlations", "two_sample"):
        assert good[f"vectors/{name}"] < bad[f"vectors/{name}"]
    assert bad["vectors/correlations"] > 0.6 > 0.2 > good["vectors/correlations"]
    assert abs(good["vectors/two_sample"] - 0.5) < 0.1 < bad["vectors/two_sample"] - 0.5
    assert good["vectors/anomalies"] > 0.6  # the energy knows the correlation
    assert "vectors/anomalies" not in bad and good["vectors/mmd/data"] < 0.02


def test_images_are_passed_over(digits, tmp_path):
    with pytest.raises(Skip, match="no set of vectors"):
        Vectors().check(subject(digits, tmp_path))
