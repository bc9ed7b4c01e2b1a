"""Training Boltzmann machines: gradients, centering, Gaussian visible units, against enumeration."""

from __future__ import annotations

import math

import pytest
import torch

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.replay import ReplayBuffer
from ebm_cli.datasets import Batch, BinaryDigits
from ebm_cli.energies import BernoulliBase, Support, box
from ebm_cli.energies.discrete import Sites
from ebm_cli.models import RBM, GaussianRBM
from ebm_cli.objectives import ContrastiveDivergence
from ebm_cli.samplers import Gibbs, Langevin

BINARY = Support("binary")


def machine(center=False):
    torch.manual_seed(0)
    energy = RBM((4,), n_hidden=3, weight_std=1.0, center=center).double()
    energy.fit(data())
    return energy


def data(n=40):
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(n, 4, generator=generator) < torch.tensor([0.8, 0.5, 0.3, 0.2])).double()


def likelihood_gradient(energy, x):
    """That of the exact mean negative log-likelihood, by enumeration."""
    states = Sites((4,), BINARY).states(torch.float64)
    loss = energy(x).mean() + torch.logsumexp(-energy(states), 0)
    return dict(zip(dict(energy.named_parameters()), torch.autograd.grad(loss, energy.parameters()), strict=True))


def test_many_block_gibbs_steps_give_the_gradient_of_the_likelihood():
    energy, x = machine(), data()
    base = BernoulliBase((4,)).double()
    chains = Negatives(Gibbs(n_steps=100, scan="block"), ReplayBuffer(size=4), base, lambda n, g: (x[:n], None))
    big = x.repeat(500, 1)
    ContrastiveDivergence(start="data")(energy, Batch(big, None), chains).loss.backward()
    for name, exact in likelihood_gradient(energy, x).items():
        torch.testing.assert_close(dict(energy.named_parameters())[name].grad, exact, atol=0.02, rtol=0)


def test_centering_changes_the_gradient_by_the_chain_rule_and_not_the_density():
    """W' = W, b' = b + W/2, c' = c + m W: plain and centered gradients agree after the transform."""
    centered, x = machine(center=True), data()
    plain = RBM((4,), n_hidden=3, fit_bias=False).double()
    b, c = centered.biases()
    with torch.no_grad():
        for mine, value in zip((plain.weight, plain.visible_bias, plain.hidden_bias), (centered.weight, b, c),
                               strict=True):  # fmt: skip
            mine.copy_(value)
    torch.testing.assert_close(plain(x), centered(x))
    torch.testing.assert_close(plain.log_z(), centered.log_z())
    simple, better = likelihood_gradient(plain, x), likelihood_gradient(centered, x)
    torch.testing.assert_close(better["visible_bias"], simple["visible_bias"])
    m, half = centered.visible_offset, centered.hidden_offset
    expected = simple["weight"] - simple["visible_bias"][:, None] * half - m[:, None] * simple["hidden_bias"]
    torch.testing.assert_close(better["weight"], expected)


def test_biases_start_at_the_log_odds_of_the_data():
    energy = RBM((4,), n_hidden=3, weight_std=0.0).double()
    energy.fit(data())
    states = Sites((4,), BINARY).states(torch.float64)
    mean = torch.softmax(-energy(states), 0).detach() @ states
    torch.testing.assert_close(mean, data().mean(0), atol=1e-6, rtol=0)


def gaussian(center=False):
    torch.manual_seed(0)
    energy = GaussianRBM((2,), n_hidden=3, weight_std=0.8, std=0.6, center=center).double()
    with torch.no_grad():
        energy.visible_bias.copy_(torch.tensor([0.3, -0.4]))
        energy.hidden_bias.copy_(torch.tensor([0.2, -0.5, 0.4]))
    return energy


@pytest.mark.parametrize("center", [False, True])
def test_the_gaussian_machine_is_a_mixture_of_gaussians(center):
    """Its density is that of 2^H Gaussians at b + W h, so log Z is that of the grid."""
    energy = gaussian(center)
    axis = torch.linspace(-6, 6, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    step = float(axis[1] - axis[0])
    numeric = torch.logsumexp(-energy(grid), 0) + 2 * math.log(step)
    assert energy.log_z() == pytest.approx(float(numeric.detach()), abs=1e-6)


def test_block_gibbs_of_the_gaussian_machine_draws_from_it():
    energy = gaussian()
    exact = energy.sample(40000, torch.Generator().manual_seed(1))
    start = torch.zeros(40000, 2, dtype=torch.float64)
    chain = Gibbs(n_steps=50, scan="block").sample(energy, start, generator=torch.Generator().manual_seed(0))
    assert (chain.x.mean(0) - exact.mean(0)).abs().max() < 0.02
    assert (torch.cov(chain.x.T) - torch.cov(exact.T)).abs().max() < 0.02


def test_langevin_agrees_with_block_gibbs():
    energy = gaussian()
    exact = energy.sample(20000, torch.Generator().manual_seed(1))
    chain = Langevin(n_steps=400, step_size=0.01).sample(energy, exact, generator=torch.Generator().manual_seed(0))
    assert (chain.x.var(0) / exact.var(0) - 1).abs().max() < 0.06


def test_the_gaussian_machine_starts_at_the_moments_of_the_data():
    x = 2 + 3 * torch.randn(5000, 2)
    energy = GaussianRBM((2,), weight_std=0.0)
    energy.fit(x)
    assert float(energy.log_std.exp()) == pytest.approx(3, rel=0.05)
    assert (energy.sample(5000).mean(0) - 2).abs().max() < 0.2


def test_the_digits_in_black_and_white():
    x = BinaryDigits().split("train").x
    assert x.shape[1:] == (1, 8, 8) and set(x.unique().tolist()) == {0.0, 1.0}
    assert BinaryDigits().support == BINARY and 0.25 < float(x.mean()) < 0.35
    with pytest.raises(ValueError, match="dataset.threshold"):
        BinaryDigits(threshold=0)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: RBM((4,), support=box(0, 1)), "model=gaussian_rbm"),
        (lambda: GaussianRBM((4,), support=BINARY), "model=rbm"),
        (lambda: GaussianRBM((4,), std=0.0), "std"),
    ],
)
def test_bad_settings_are_named(make, word):
    with pytest.raises(ValueError, match=word):
        make()
