"""Score matching, energy discrepancy and pseudo-likelihood against closed forms and enumerations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ebm_cli.datasets import Batch
from ebm_cli.energies import Energy, Ising, Support, exact_sample
from ebm_cli.models import MLP
from ebm_cli.objectives import (
    DenoisingScoreMatching,
    EnergyDiscrepancy,
    MultiScaleDenoising,
    PseudoLikelihood,
    ScoreMatching,
    SlicedScoreMatching,
)

VARIANCE = 2.25


class Quadratic(Energy):
    """``k x^2 / 2`` in one dimension, k learned; with a level t, of precision ``1 / (1 / k + t^2)``."""

    def __init__(self, k=1.0):
        super().__init__((1,))
        self.k = nn.Parameter(torch.tensor(float(k), dtype=torch.float64))

    def forward(self, x, t=None):
        precision = self.k if t is None else 1 / (1 / self.k + t.square())
        return 0.5 * precision * x.square().sum(1)


def data(n=20000, seed=0):
    x = torch.randn(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return math.sqrt(VARIANCE) * (x - x.mean()) / x.std(correction=0)  # their variance exactly


def gradient(objective, k, x):
    energy = Quadratic(k)
    torch.manual_seed(1)
    objective(energy, Batch(x, None), None).loss.backward()
    return float(energy.k.grad)


def optimum(objective, x, low=0.05, high=2.0):
    """Where the gradient in k vanishes, by bisection: the loss is convex in one precision."""
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if gradient(objective, middle, x) < 0 else (low, middle)
    return 0.5 * (low + high)


@pytest.mark.parametrize(
    ("objective", "k", "tolerance"),
    [
        (ScoreMatching(), 1 / VARIANCE, 1e-6),
        (SlicedScoreMatching(projections=4), 1 / VARIANCE, 0.01),
        (SlicedScoreMatching(projections=4, variance_reduced=False), 1 / VARIANCE, 0.02),
        (DenoisingScoreMatching(sigma=0.5), 1 / (VARIANCE + 0.25), 0.01),
        (EnergyDiscrepancy(sigma=1.0, copies=64, stabilizer=0.0), 1 / VARIANCE, 0.03),
        (MultiScaleDenoising(sigma_min=0.3, sigma_max=3.0, data_std=1.5), 1 / VARIANCE, 0.02),
    ],
)
def test_the_optimum_is_the_precision_of_the_data(objective, k, tolerance):
    assert optimum(objective, data()) == pytest.approx(k, abs=tolerance)


@pytest.mark.parametrize(
    "objective",
    [ScoreMatching(), SlicedScoreMatching(), DenoisingScoreMatching(sigma=0.5), EnergyDiscrepancy(stabilizer=0.0)],
)
def test_a_flat_energy_is_told_to_bend_upwards(objective):
    assert gradient(objective, 1e-9, data()) < -0.1


def network():
    torch.manual_seed(0)
    return MLP((3,), hidden=[8]).double()


def test_the_implicit_loss_is_that_of_the_full_hessian():
    energy, x = network(), torch.randn(5, 3, dtype=torch.float64)
    loss = 0.0
    for row in x:
        hessian = torch.autograd.functional.hessian(lambda z: energy(z[None])[0], row)
        slope = torch.autograd.functional.jacobian(lambda z: energy(z[None])[0], row)
        loss += 0.5 * slope.square().sum() - hessian.trace()
    assert float(ScoreMatching()(energy, Batch(x, None), None).loss) == pytest.approx(float(loss / 5), abs=1e-12)


@pytest.mark.parametrize("variance_reduced", [True, False])
def test_slices_along_all_axes_make_the_implicit_loss(variance_reduced):
    energy, x = network(), torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
    sliced = SlicedScoreMatching(variance_reduced=variance_reduced)
    axes = math.sqrt(3) * torch.eye(3, dtype=torch.float64)
    mean = sum(sliced.slice(grad, x, sign * v.expand(5, 3)).mean() for v in axes for sign in (1, -1)) / 6
    exact = ScoreMatching()(energy, Batch(x.detach(), None), None).loss
    assert float(mean) == pytest.approx(float(exact), abs=1e-12)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
def test_every_level_has_its_own_optimum(sigma):
    """``E(x, t)`` of precision p(t): its gradient vanishes where p is that of data with noise t."""
    x, p = data(200000), nn.Parameter(torch.tensor(1 / (VARIANCE + sigma**2), dtype=torch.float64))

    class Level(Energy):
        def forward(self, z, t=None):
            return 0.5 * p * z.square().sum(1)

    torch.manual_seed(1)
    objective = MultiScaleDenoising(sigma_min=0.1, sigma_max=5.0, data_std=1.5)
    loss, _ = objective.denoise(Level((1,)), x, torch.full((len(x),), sigma, dtype=x.dtype), torch.randn_like(x))
    (slope,) = torch.autograd.grad(loss.mean(), p)
    curvature = 2 * (VARIANCE + sigma**2) * sigma**4 * (sigma**2 + 1.5**2) / (sigma * 1.5) ** 2
    assert abs(float(slope / curvature)) < 0.02 * float(p)


def test_energy_discrepancy_equals_its_integral_over_copies():
    """The mean over infinitely many copies of a quadratic energy is a Gaussian integral."""
    k, s, x = 0.7, 0.8, data()
    torch.manual_seed(1)
    loss = EnergyDiscrepancy(sigma=s, copies=256, stabilizer=0.0)(Quadratic(k), Batch(x, None), None).loss
    r = 1 + k * s**2
    exact = 0.5 * k * VARIANCE - 0.5 * math.log(r) - 0.5 * k * (VARIANCE + s**2) / r
    assert float(loss) == pytest.approx(exact, abs=0.01)


def test_the_stabilizer_counts_as_copies_of_the_same_energy():
    positive, negative = torch.tensor([0.5]), torch.tensor([[1.0, -2.0]])
    loss = EnergyDiscrepancy(copies=2, stabilizer=1.5).compare(positive, negative)
    assert float(loss) == pytest.approx(math.log((1.5 + math.exp(-0.5) + math.exp(2.5)) / 2), abs=1e-6)


@pytest.mark.parametrize("objective", [ScoreMatching(), SlicedScoreMatching(), DenoisingScoreMatching(),
                                       EnergyDiscrepancy(), MultiScaleDenoising()])  # fmt: skip
def test_a_constant_added_to_the_energy_changes_nothing(objective):
    class Shifted(Quadratic):
        def forward(self, x, t=None):
            return super().forward(x, t) + 123.0

    losses = []
    for energy in (Quadratic(0.3), Shifted(0.3)):
        torch.manual_seed(0)
        losses.append(float(objective(energy, Batch(data(100), None), None).loss.detach()))
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)


# Pseudo-likelihood -------------------------------------------------------------------------------------------------


class Independent(Energy):
    """Independent sites of the kind ``support``: ``sum_i field_i x_i``."""

    def __init__(self, shape, support, field):
        super().__init__(shape, support)
        self.field = field

    def forward(self, x):
        return (self.field * x).flatten(1).sum(1)


@pytest.mark.parametrize(
    ("shape", "kind", "values"),
    [((4,), "binary", [0.0, 1.0]), ((4,), "spins", [-1.0, 1.0])],
)
def test_pseudo_likelihood_is_the_likelihood_of_independent_sites(shape, kind, values):
    torch.manual_seed(0)
    field, values = torch.randn(shape, dtype=torch.float64), torch.tensor(values, dtype=torch.float64)
    x = values[torch.randint(2, (50, *shape))]
    log_z = torch.logsumexp(-field[:, None] * values, 1).sum()
    exact = (field * x).sum(1).mean() + log_z
    energy = Independent(shape, Support(kind), field)
    assert float(PseudoLikelihood()(energy, Batch(x, None), None).loss) == pytest.approx(float(exact), abs=1e-10)


def test_pseudo_likelihood_of_one_hot_sites_is_a_sum_of_cross_entropies():
    torch.manual_seed(0)
    field = torch.randn(3, 5, dtype=torch.float64)
    codes = torch.randint(5, (40, 3))
    x = nn.functional.one_hot(codes, 5).double()
    exact = sum(nn.functional.cross_entropy(-field[i].expand(40, 5), codes[:, i]) for i in range(3))
    energy = Independent((3, 5), Support("one_hot"), field)
    assert float(PseudoLikelihood()(energy, Batch(x, None), None).loss) == pytest.approx(float(exact), abs=1e-10)


def test_some_sites_give_all_sites_on_average():
    energy = Independent((4,), Support("spins"), torch.randn(4))
    x = (2.0 * torch.randint(2, (20000, 4)) - 1).float()
    whole = PseudoLikelihood()(energy, Batch(x, None), None).loss
    some = PseudoLikelihood(sites=1)(energy, Batch(x, None), None).loss
    assert float(some) == pytest.approx(float(whole), rel=0.02)


class Couplings(Energy):
    """``-sum_ij J_ij s_i s_j / 2``, J learned, on a flattened lattice."""

    def __init__(self, shape):
        super().__init__(shape, Support("spins"))
        n = math.prod(shape)
        self.free = nn.Parameter(torch.zeros(n, n, dtype=torch.float64))

    def matrix(self):
        symmetric = self.free + self.free.T
        return symmetric - symmetric.diag().diag()

    def forward(self, x):
        s = x.flatten(1)
        return -0.5 * (s @ self.matrix() * s).sum(1)


def test_pseudo_likelihood_recovers_the_couplings_of_a_lattice():
    x = exact_sample(Ising(size=(3, 3), coupling=0.3), 20000, torch.Generator().manual_seed(0)).double()
    energy, objective = Couplings((3, 3)), PseudoLikelihood()
    optimizer = torch.optim.LBFGS(energy.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = objective(energy, Batch(x[:5000], None), None).loss
        loss.backward()
        return loss

    optimizer.step(closure)
    every = torch.eye(9, dtype=torch.float64).view(9, 3, 3)
    neighbors = sum(every.roll(d, axis) for axis in (1, 2) for d in (1, -1)).view(9, 9)
    assert (energy.matrix().detach() - 0.3 * neighbors).abs().max() < 0.08


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: SlicedScoreMatching(projections=0), "objective.projections"),
        (lambda: DenoisingScoreMatching(sigma=0), "objective.sigma"),
        (lambda: MultiScaleDenoising(sigma_min=2, sigma_max=1), "sigma_min"),
        (lambda: EnergyDiscrepancy(copies=0), "copies"),
        (lambda: PseudoLikelihood(sites=0), "objective.sites"),
        (lambda: PseudoLikelihood()(Quadratic(), Batch(data(3), None), None), "objective=score_matching"),
    ],
)
def test_bad_settings_are_named(make, word):
    with pytest.raises(ValueError, match=word):
        make()
