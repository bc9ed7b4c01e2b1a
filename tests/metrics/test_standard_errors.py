"""Standard errors by simulation: of many independent data sets, about 95 % lie within two of them of the truth."""

import pytest
import torch

from ebm_cli.metrics.classifier import standard_error
from ebm_cli.metrics.detection import auroc, auroc_error
from ebm_cli.metrics.fidelity import Fidelity
from ebm_cli.metrics.frechet import frechet_distance
from ebm_cli.metrics.robust import measure_share
from ebm_cli.metrics.sampled import average
from ebm_cli.metrics.stability import gap
from ebm_cli.metrics.stein import stein_kernel, u_statistic


def coverage(measure, truth, runs):
    """Share of ``runs`` whose ``measure(generator) -> (value, standard error)`` is within two errors of ``truth``."""
    found = [measure(torch.Generator().manual_seed(seed)) for seed in range(runs)]
    return sum(abs(value - truth) < 2 * stderr for value, stderr in found) / runs


def brier(g):
    p = 0.5 + 0.5 * torch.rand(300, generator=g)
    scores = (p - (torch.rand(300, generator=g) < p).float()).square()
    return float(scores.mean()), standard_error(scores)


def attacked(g):
    found = measure_share((torch.rand(200, generator=g) < 0.3).double(), {})
    return found.value, found.stderr


def area(g):
    inside, outside = torch.randn(150, generator=g) + 1, torch.randn(100, generator=g)
    found = auroc(inside, outside)
    return found, auroc_error(found, 150, 100)


def energy_gap(g):
    found = gap(torch.randn(100, generator=g) + 3, 2 * torch.randn(80, generator=g), torch.tensor(2.0), {})
    return found.value, found.stderr


def distance(g):
    """The mean of eight sets of samples, under a shift of 1 in each of four directions."""
    reference = torch.randn(4000, 4, generator=torch.Generator().manual_seed(10**6))
    found = average([frechet_distance(1 + torch.randn(200, 4, generator=g), reference) for _ in range(8)], 200, {})
    return found.value, found.stderr


def stein(g):
    x = 0.7 + torch.randn(250, 1, generator=g, dtype=torch.float64)
    return u_statistic(stein_kernel(x, -x, 1.0, "rbf"))


@pytest.mark.parametrize(
    "measure, truth, runs",
    [
        (brier, 1 / 6, 400),  # the mean of p (1 - p) for p uniform over [1/2, 1]
        (attacked, 0.3, 400),
        (area, 0.760250, 300),  # Phi(1 / sqrt 2)
        (energy_gap, 1.5, 400),
        (stein, 0.49 / 3**0.5, 150),
    ],
)
def test_two_standard_errors_cover(measure, truth, runs):
    assert 0.91 <= coverage(measure, truth, runs) <= 0.985  # 95 % less or more than three deviations


def test_the_spread_over_sampling_seeds_covers_the_distance_that_so_many_samples_have_on_average():
    """Eight seeds: Student's t with 7 degrees of freedom is within 2 in 91 % of the cases."""
    truth = sum(distance(torch.Generator().manual_seed(5000 + seed))[0] for seed in range(150)) / 150
    assert 0.84 <= coverage(distance, truth, 150) <= 0.97


def test_the_spread_over_subsets_is_that_of_the_kernel_distance():
    kid = pytest.importorskip("torch_fidelity.metric_kid", reason="needs torch-fidelity: pip install ebm-cli[eval]")
    metric, found = Fidelity(scores=["kid"], subsets=40, subset_size=60), []
    for seed in range(40):
        g = torch.Generator().manual_seed(seed)
        a, b = torch.rand(300, 8, generator=g), 0.3 + torch.rand(300, 8, generator=g)
        measured = kid.kid_features_to_metric(a, b, kid_subsets=40, kid_subset_size=60, rng_seed=seed, verbose=False)
        found.append(metric.read_kid(measured, 300, 300, {})["kid"])
    spread = float(torch.tensor([value.value for value in found]).std())
    claimed = sum(value.stderr for value in found) / len(found)
    assert claimed == pytest.approx(spread, rel=0.35)
