"""Objectives against closed forms: gradients, optima, identities."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import logsigmoid

from ebm_cli import datasets
from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.replay import ReplayBuffer
from ebm_cli.energies import Energy, GaussianBase
from ebm_cli.models import MLP
from ebm_cli.objectives import JEM, Classifier, ContrastiveDivergence, ImprovedCD, NoiseContrastive
from ebm_cli.samplers import MALA, Langevin, ParallelTempering


def Batch(x, y=None):
    return datasets.Batch(x, y)


class Quadratic(Energy):
    """``k x^2 / 2`` in one dimension, k learned."""

    def __init__(self, k=1.0):
        super().__init__((1,))
        self.k = nn.Parameter(torch.tensor(float(k), dtype=torch.float64))

    def forward(self, x):
        return 0.5 * self.k * x.square().sum(1)


def chains_for(sampler, **buffer):
    base = GaussianBase((1,)).double()
    data = lambda n, g: (torch.randn(n, 1, generator=g, dtype=torch.float64), None)  # noqa: E731
    return Negatives(sampler, ReplayBuffer(size=buffer.pop("size", 20000), **buffer), base, data)


def gradient(objective, energy, x, chains):
    energy.zero_grad()
    objective(energy, Batch(x), chains).loss.backward()
    return float(energy.k.grad)


def test_cd_gradient_is_that_of_the_likelihood_when_chains_have_mixed():
    """d/dk of the negative log-likelihood of N(0, 1/k) is (var_data - var_model) / 2."""
    torch.manual_seed(0)
    energy, eta, steps = Quadratic(2.0), 0.05, 200
    x = 1.5 * torch.randn(40000, 1, dtype=torch.float64)
    grad = gradient(ContrastiveDivergence(start="noise"), energy, x, chains_for(Langevin(n_steps=steps, step_size=eta)))
    var_model = 1 / (2.0 * (1 - eta * 2.0 / 2))
    assert grad == pytest.approx(0.5 * (2.25 - var_model), abs=4 * 0.5 * 2.6 * math.sqrt(2 / 40000))


def test_cd_k_gradient_is_biased_exactly_as_k_steps_from_the_data_are():
    """From data of variance v0, k steps of ULA give v_k = a^2k v0 + 2 eta (1 - a^2k) / (1 - a^2), a = 1 - eta k."""
    torch.manual_seed(0)
    energy, eta, steps, v0 = Quadratic(2.0), 0.05, 3, 2.25
    x = 1.5 * torch.randn(40000, 1, dtype=torch.float64)
    grad = gradient(ContrastiveDivergence(start="data"), energy, x, chains_for(Langevin(n_steps=steps, step_size=eta)))
    a2 = (1 - eta * 2.0) ** (2 * steps)
    v = a2 * v0 + 2 * eta * (1 - a2) / (1 - (1 - eta * 2.0) ** 2)
    assert grad == pytest.approx(0.5 * (v0 - v), abs=0.012)  # the chains start at the same data, so noise cancels


def test_short_run_starts_from_the_base_every_time():
    torch.manual_seed(0)
    energy, eta, steps = Quadratic(2.0), 0.1, 4
    sampler = Langevin(n_steps=steps, step_size=eta, noise_std=0.3)
    chains = chains_for(sampler)
    x = torch.zeros(60000, 1, dtype=torch.float64)
    grads = [gradient(ContrastiveDivergence(start="noise"), energy, x, chains) for _ in range(2)]
    a2 = (1 - eta * 2.0) ** (2 * steps)
    v = a2 * 1.0 + 0.09 * (1 - a2) / (1 - (1 - eta * 2.0) ** 2)
    for grad in grads:
        assert grad == pytest.approx(-0.5 * v, abs=4 * 0.5 * v * math.sqrt(2 / 60000))
    assert chains.buffer.entries is None


def test_energy_l2_adds_its_gradient_and_zero_adds_nothing():
    energy, x = Quadratic(1.0), torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    sampler = Langevin(n_steps=1, step_size=1e-9, noise_std=0.0)
    plain = gradient(ContrastiveDivergence(start="data"), energy, x, chains_for(sampler))
    with_l2 = gradient(ContrastiveDivergence(start="data", energy_l2=0.1), energy, x, chains_for(sampler))
    assert plain == pytest.approx(0.0, abs=1e-6)
    assert with_l2 == pytest.approx(0.1 * 2 * 2 * (0.25 * (1 + 16) / 2), rel=1e-6)  # d/dk of 2 * 0.1 * mean (k x^2/2)^2


@pytest.mark.parametrize("kind", [ContrastiveDivergence, ImprovedCD])
def test_gradient_penalty_adds_its_gradient(kind):
    """|grad E|^2 = k^2 x^2, so d/dk of w mean |grad E(data)|^2 is 2 w k mean x^2 = 2 * .1 * 3 * 2.5."""
    x = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    found = []
    for weight in (0.0, 0.1):
        objective = kind(gradient_penalty=weight)
        assert objective.double_backward == (weight > 0 or kind is ImprovedCD)
        chains = chains_for(Langevin(n_steps=1, step_size=1e-3), size=50)
        found.append(gradient(objective, Quadratic(3.0), x, chains))
    assert found[1] - found[0] == pytest.approx(1.5, rel=1e-6)


def test_gradient_penalty_is_that_of_the_energy_under_the_labels_of_the_data():
    class PerLabel(Quadratic):
        n_classes = 2

        def forward(self, x, y):
            return super().forward(x) * y

    x, y = torch.ones(4, 1, dtype=torch.float64), torch.tensor([0, 0, 0, 1])
    energy, objective = PerLabel(2.0), ContrastiveDivergence(gradient_penalty=1.0)
    assert float(objective.penalize_slope(energy, Batch(x, y)).detach()) == pytest.approx(4.0 / 4)


class TwoWells(Energy):
    """Gaussians of width 1 at -6 and 6 with masses ``sigmoid(logit)`` and the rest: one parameter, as it should be."""

    def __init__(self):
        super().__init__((1,))
        self.logit = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        left, right = (
            logsigmoid(self.logit) - 0.5 * (x[:, 0] + 6) ** 2,
            logsigmoid(-self.logit) - 0.5 * (x[:, 0] - 6) ** 2,
        )
        return -torch.logaddexp(left, right)


@pytest.mark.parametrize(
    ("sampler", "mass", "tolerance"),
    [
        (MALA(n_steps=2, step_size=1.0), 0.0, 0.01),  # chains stay where they started, half and half: one mode dies
        (ParallelTempering(n_steps=2, temperatures=[1, 2.5, 6, 15, 40], step_size=1.0), 0.25, 0.03),
    ],
    ids=["persistent", "tempered"],
)
def test_tempered_chains_learn_the_masses_of_modes_that_plain_ones_cannot_cross(sampler, mass, tolerance):
    torch.manual_seed(0)
    chains = Negatives(sampler, ReplayBuffer(size=256, restart_probability=0.0), GaussianBase((1,), std=6.0), None)
    energy, objective = TwoWells(), ContrastiveDivergence()
    optimizer, masses = torch.optim.Adam(energy.parameters(), lr=0.05), []
    for _ in range(400):
        center = torch.where(torch.rand(256, 1) < 0.25, -6.0, 6.0)
        optimizer.zero_grad()
        objective(energy, Batch(center + torch.randn(256, 1)), chains).loss.backward()
        optimizer.step()
        masses.append(float(energy.logit.detach().sigmoid()))
    assert sum(masses[-200:]) / 200 == pytest.approx(mass, abs=tolerance)


def test_loss_does_not_change_when_a_constant_is_added_to_the_energy():
    class Shifted(Quadratic):
        def forward(self, x):
            return super().forward(x) + 7.0

    x = torch.randn(50, 1, dtype=torch.float64)
    losses = []
    for kind in (Quadratic, Shifted):
        chains = chains_for(Langevin(n_steps=5, step_size=0.1), size=100)
        losses.append(float(ContrastiveDivergence()(kind(), Batch(x), chains).loss))
    assert losses[0] == pytest.approx(losses[1], abs=1e-12)


def test_nce_finds_precision_and_log_z():
    """T11: on N(0, 1.5^2) the optimum is k = 1/2.25 and log_z = log sqrt(2 pi 2.25) = 1.3244."""
    torch.manual_seed(0)
    x = 1.5 * torch.randn(20000, 1, dtype=torch.float64)
    energy, objective = Quadratic(1.0), NoiseContrastive(ratio=2).double()
    objective.fit(GaussianBase((1,), std=2.0).double())
    optimizer = torch.optim.LBFGS([*energy.parameters(), *objective.parameters()], max_iter=60)

    def closure():
        torch.manual_seed(1)  # the same noise at every evaluation
        optimizer.zero_grad()
        loss = objective(energy, Batch(x), None).loss
        loss.backward()
        return loss

    optimizer.step(closure)
    assert float(energy.k) == pytest.approx(1 / 2.25, rel=0.03)
    assert float(objective.log_z) == pytest.approx(0.5 * math.log(2 * math.pi * 2.25), abs=0.03)


def test_nce_starts_at_the_entropy_of_a_coin_per_point():
    """With E equal to the base's energy and log_z = 0 nothing can be told apart: loss = 2 log 2."""
    objective, base = NoiseContrastive(), GaussianBase((1,), std=2.0).double()
    objective.fit(base)
    x = torch.randn(500, 1, dtype=torch.float64)
    assert float(objective(base, Batch(x), None).loss.detach()) == pytest.approx(2 * math.log(2), rel=1e-6)


# The joint model ---------------------------------------------------------------------------------------------------


@pytest.fixture
def joint():
    torch.manual_seed(0)
    return MLP((4,), hidden=[16], n_classes=5, joint=True).double(), torch.randn(30, 4, dtype=torch.float64)


def test_the_joint_model_marginalizes_its_class_energies(joint):
    energy, x = joint
    per_class = torch.stack([energy.given(y=torch.full((30,), c))(x) for c in range(5)], 1)
    assert torch.allclose(per_class, energy.class_energies(x))
    assert torch.allclose(torch.exp(-energy(x)), torch.exp(-per_class).sum(1))


def test_shifting_all_logits_by_g_leaves_the_classifier_and_shifts_the_energy(joint):
    energy, x = joint
    y = torch.randint(5, (30,))
    before, loss = energy(x), Classifier()(energy, Batch(x, y), None).loss
    with torch.no_grad():
        energy.layers[-1].bias += 3.0
    assert torch.allclose(Classifier()(energy, Batch(x, y), None).loss, loss)
    assert torch.allclose(energy(x), before + 3.0)


def test_jem_is_cross_entropy_plus_contrast(joint):
    energy, x = joint
    y = torch.randint(5, (30,))
    still = Langevin(n_steps=1, step_size=1e-12, noise_std=0.0)
    base = GaussianBase((4,)).double()
    chains = Negatives(still, ReplayBuffer(size=30), base, lambda n, g: (x[:n] + 1, None))
    loss = JEM(start="data", cross_entropy=2.0)(energy, Batch(x, y), chains).loss
    expected = 2.0 * Classifier()(energy, Batch(x, y), None).loss
    assert float(loss) == pytest.approx(float(expected), rel=1e-9)  # chains that stay at the data cancel the contrast


def test_unknown_words_are_named():
    with pytest.raises(ValueError, match="objective.start must be one of buffer, data, noise, got 'here'"):
        ContrastiveDivergence(start="here")
    with pytest.raises(ValueError, match="objective.ratio"):
        NoiseContrastive(ratio=0)
