"""Weighted walkers against closed forms: the change of log Z, moments and masses while the energy changes."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import nn

from ebm_cli import datasets
from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.weighted import WeightedWalkers
from ebm_cli.energies import BernoulliBase, Energy, GaussianBase, Support
from ebm_cli.objectives import Jarzynski
from ebm_cli.samplers import HMC, MALA, Gibbs, Langevin
from ebm_cli.samplers.path import log_mean_exp
from ebm_cli.samplers.reweighted import Reweighted

EXACT = -0.5 * math.log(4)  # log Z ratio of precision 1 to 4


class Quadratic(Energy):
    """``k x^2 / 2 + log sqrt(2 pi)``: of precision 1 it is normalized."""

    def __init__(self, k):
        super().__init__((1,))
        self.k = nn.Parameter(torch.tensor(float(k), dtype=torch.float64))

    def forward(self, x):
        return 0.5 * self.k * x.square().sum(1) + 0.5 * math.log(2 * math.pi)


def walked(kernel, precisions, n=40000, seed=0):
    """Walkers that follow the precision: log-weights and positions under the last one."""
    generator = torch.Generator().manual_seed(seed)
    weights = Reweighted(kernel)
    walkers = weights.start_from(GaussianBase((1,)).double(), n, generator)
    for k in precisions:
        found = []
        keep = lambda i, state, info, found=found: found.append(info.extra["log_w"])  # noqa: E731
        chain = weights.sample(Quadratic(k), walkers["x"], generator=generator, aux=walkers, callback=keep)
        x, walkers = walkers["x"], {"x": chain.x, **chain.state.aux}
    return found[0], x[:, 0]


@pytest.mark.parametrize("n_updates", [5, 20])
@pytest.mark.parametrize(
    "kernel",
    [
        Langevin(n_steps=1, step_size=0.2),
        Langevin(n_steps=3, step_size=0.2),
        Langevin(n_steps=1, step_size=0.2, grad_clip=0.8),
        Langevin(n_steps=1, step_size=0.2, noise_std=math.sqrt(0.4)),
        MALA(n_steps=1, step_size=0.2),
        HMC(n_steps=1, step_size=0.4),
    ],
    ids=["langevin", "three steps", "clipped", "noise given", "mala", "hmc"],
)
def test_log_z_and_variance_follow_a_precision_that_goes_from_1_to_4(kernel, n_updates):
    log_w, x = walked(kernel, torch.linspace(1, 4, n_updates + 1).tolist())
    share = torch.softmax(log_w, 0)
    assert float(log_mean_exp(log_w)) == pytest.approx(EXACT, abs=0.02)
    assert float((share * x.square()).sum()) == pytest.approx(0.25, abs=0.015)


def test_without_the_correction_of_the_moves_log_z_is_wrong_by_a_fifth():
    """``U - U'`` alone suits exact transitions only: on Langevin steps it is what the tolerance above tells apart."""
    generator, n = torch.Generator().manual_seed(0), 40000
    x = torch.randn(n, 1, dtype=torch.float64, generator=generator)
    log_w, ks = torch.zeros(n, dtype=torch.float64), torch.linspace(1, 4, 21).tolist()
    for k, following in zip(ks, ks[1:], strict=False):
        log_w += (0.5 * (k - following) * x.square())[:, 0]
        x = Langevin(n_steps=1, step_size=0.2).sample(Quadratic(following), x, generator=generator).x
    assert float(log_mean_exp(log_w)) == pytest.approx(-0.874, abs=0.03)


def test_gibbs_walkers_know_log_z_of_independent_bits():
    class Field(Energy):
        def __init__(self, h):
            super().__init__((3,), Support("binary"))
            self.h = h

        def forward(self, x):
            return -self.h * x.sum(1)

    generator = torch.Generator().manual_seed(0)
    weights = Reweighted(Gibbs(n_steps=3))
    walkers = weights.start_from(BernoulliBase((3,)), 20000, generator)
    for h in (0.0, 0.5, 1.0, 1.5):
        chain = weights.sample(Field(h), walkers["x"], generator=generator, aux=walkers)
        walkers = {"x": chain.x, **chain.state.aux}
    exact = 3 * math.log(1 + math.exp(1.5))
    assert float(log_mean_exp(walkers["log_w"])) == pytest.approx(exact, abs=0.02)


def chains_for(sampler, seed=0, **walkers):
    data = lambda n, g: (torch.randn(n, 1, generator=g, dtype=torch.float64), None)  # noqa: E731
    return Negatives(sampler, WeightedWalkers(**walkers), GaussianBase((1,)).double(), data, seed=seed)


def train(objective, energy, chains, x, n, lr):
    optimizer = torch.optim.SGD(energy.parameters(), lr=lr)
    for _ in range(n):
        optimizer.zero_grad()
        loss, metrics = objective(energy, datasets.Batch(x, None), chains)
        loss.backward()
        optimizer.step()
    return metrics


@pytest.mark.parametrize("resample_below", [0.0, 0.95])
def test_training_reports_its_true_loss_and_finds_the_precision(resample_below):
    torch.manual_seed(0)
    x = 0.5 * torch.randn(5000, 1, dtype=torch.float64)
    variance = float(x.square().mean())
    energy, objective = Quadratic(1.0), Jarzynski()
    options = {"size": 10000, "witnesses": 20000, "resample_below": resample_below}
    metrics = train(objective, energy, chains_for(Langevin(n_steps=1, step_size=0.1), **options), x, 60, lr=4.0)
    k = 1 / variance
    assert float(energy.k) == pytest.approx(k, rel=0.05)
    entropy = 0.5 * math.log(2 * math.pi * math.e * variance)
    assert float(metrics["cross_entropy"]) == pytest.approx(entropy, abs=0.03)
    assert (float(metrics["jarzynski/effective_share"]) > 0.9) == (resample_below > 0.9)


def test_held_out_cross_entropy_is_that_of_the_weights_that_are_judged():
    """Log Z is taken over from the walkers' energy to any other one, here of precision 2."""
    torch.manual_seed(0)
    objective, chains = Jarzynski(), chains_for(Langevin(n_steps=2, step_size=0.1), witnesses=40000)
    assert objective.validate(Quadratic(2.0), datasets.Batch(torch.ones(1, 1), None), chains) is None
    train(objective, Quadratic(1.5), chains, torch.ones(8, 1, dtype=torch.float64), 3, lr=0.0)
    batch = datasets.Batch(torch.ones(1, 1, dtype=torch.float64), None)
    value = objective.validate(Quadratic(2.0), batch, chains)
    assert objective.validation_metric == "cross_entropy"
    assert float(value) == pytest.approx(0.5 * math.log(2 * math.pi / 2) + 1.0, abs=0.01)


def test_the_gradient_is_that_of_the_weighted_walkers():
    """At precision 4 with walkers from precision 1, before any move: d loss / dk is (var_data - 1/4) / 2 by weights."""
    torch.manual_seed(0)
    energy, x = Quadratic(4.0), torch.ones(4, 1, dtype=torch.float64)
    chains = chains_for(Langevin(n_steps=1, step_size=0.1), size=200000, witnesses=0, resample_below=0.0)
    Jarzynski()(energy, datasets.Batch(x, None), chains).loss.backward()
    assert float(energy.k.grad) == pytest.approx(0.5 * (1 - 0.25), abs=0.005)


def test_walkers_that_teach_flatter_the_loss_and_witnesses_do_not():
    """Few walkers at a large learning rate: their log Z falls below the truth, that of witnesses does not."""
    torch.manual_seed(0)
    energy, objective = Quadratic(1.0), Jarzynski()
    chains = chains_for(Langevin(n_steps=1, step_size=0.1), size=8, witnesses=20000)
    metrics = train(objective, energy, chains, 0.5 * torch.randn(5000, 1, dtype=torch.float64), 100, lr=2.0)
    log_z = -0.5 * math.log(float(energy.k))
    assert float(metrics["jarzynski/log_z"]) == pytest.approx(log_z, abs=0.3)
    assert float(chains.buffer.estimate_log_z(energy, chains)[0]) < log_z - 0.5


@pytest.mark.parametrize(
    ("sampler", "word"),
    [
        (Langevin(n_steps=1, boundary="clamp"), "sampler.boundary=null"),
        (Langevin(n_steps=1, noise_first=True), "noise_first=false"),
    ],
)
def test_transitions_without_weights_are_refused(sampler, word):
    with pytest.raises(ValueError, match=word):
        Reweighted(sampler)


class Quartic(Energy):
    """``x^4 / 4`` in two dimensions, reached along a line from a Gaussian."""

    def __init__(self):
        super().__init__((2,))
        self.k = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return ((1 - self.k) * 0.5 * x.square() + self.k * 0.25 * x**4).sum(1)


QUARTIC = 2 * math.log(2 * math.gamma(1.25) * 4**0.25)  # the integral of exp(-x^4 / 4), twice


def follow_quartic(sampler, seed=0, updates=300):
    """log Z at the end, the mean share of single steps, and the warnings of the validation that follows."""
    energy, objective = Quartic(), Jarzynski()
    data = lambda n, g: (torch.randn(n, 2, generator=g), None)  # noqa: E731
    walkers = WeightedWalkers(size=1000, witnesses=0)
    negatives = Negatives(sampler, walkers, GaussianBase((2,)), data)
    negatives.generator.manual_seed(seed)
    shares = []
    for update in range(updates):
        with torch.no_grad():
            energy.k.fill_(min(1.0, update / 100))
        metrics = objective(energy, datasets.Batch(torch.randn(8, 2), None), negatives).metrics
        shares += [float(metrics["jarzynski/step_share"])] if update > 100 else []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        objective.validate(energy, datasets.Batch(torch.randn(8, 2), None), negatives)
        objective.validate(energy, datasets.Batch(torch.randn(8, 2), None), negatives)
    log_z = float(log_mean_exp(walkers.walkers["log_w"]))
    return log_z, sum(shares) / len(shares), [str(w.message) for w in caught]


def test_steps_too_long_for_their_weights_are_noticed():
    """Where log Z is lost the share of single steps is low, and a warning says so once; MALA keeps both."""
    assert pytest.approx(1.8829, abs=1e-3) == QUARTIC
    log_z, share, said = follow_quartic(MALA(n_steps=1, step_size=0.2))
    assert log_z == pytest.approx(QUARTIC, abs=0.06) and share == pytest.approx(1, abs=1e-6) and not said
    log_z, share, said = follow_quartic(Langevin(n_steps=1, step_size=0.02))
    assert log_z == pytest.approx(QUARTIC, abs=0.1) and share > 0.99 and not said
    log_z, share, said = follow_quartic(Langevin(n_steps=1, step_size=0.1, grad_clip=1.0))
    assert log_z < QUARTIC - 1 and share < 0.4
    assert len(said) == 1 and "log Z drifts low; use sampler=mala" in said[0]
