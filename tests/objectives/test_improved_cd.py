"""Improved contrastive divergence: the gradient through the sampler, the entropy, the buffer's options."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.replay import Entries, ReplayBuffer
from ebm_cli.datasets import Batch
from ebm_cli.energies import Energy, GaussianBase
from ebm_cli.objectives import ContrastiveDivergence, ImprovedCD
from ebm_cli.objectives.improved_cd import log_nearest
from ebm_cli.samplers import Langevin

ETA, THETA = 0.1, 1.7


class Quadratic(Energy):
    """``theta x^2 / 2``."""

    def __init__(self):
        super().__init__((1,))
        self.theta = nn.Parameter(torch.tensor(THETA, dtype=torch.float64))

    def forward(self, x):
        return 0.5 * self.theta * x.square().sum(1)


def chains_for(sampler, **options):
    data = lambda n, g: (torch.randn(n, 1, generator=g, dtype=torch.float64), None)  # noqa: E731
    buffer = ReplayBuffer(**{"size": 50, "restart_probability": 0.0, **options})
    return Negatives(sampler, buffer, GaussianBase((1,)).double(), data)


def gradient(objective, sampler):
    energy, chains = Quadratic(), chains_for(sampler)
    chains.buffer.draw(20, chains)  # fills it
    chains.generator.manual_seed(5)
    found = objective(energy, Batch(torch.ones(20, 1, dtype=torch.float64), None), chains)
    found.loss.backward()
    return float(energy.theta.grad), chains.latest.x


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_extra_gradient_of_one_step_is_the_closed_form(noise):
    """x' = x - eta theta x + noise, so d E(x') / d theta with E held is theta x' (-eta x)."""
    sampler = Langevin(n_steps=1, step_size=ETA, noise_std=noise)
    plain, _ = gradient(ContrastiveDivergence(), sampler)
    improved, after = gradient(ImprovedCD(kl=1.0, entropy=0.0), sampler)
    chains = chains_for(sampler)
    chains.buffer.draw(20, chains)
    chains.generator.manual_seed(5)
    index, entries = chains.buffer.draw(20, chains)
    exact = (THETA * after * (-ETA * entries.x)).mean()
    assert improved - plain == pytest.approx(float(exact), rel=1e-5)


def test_more_steps_through_give_more_of_the_gradient():
    """Without noise x_k = (1 - eta theta)^k x, all of whose dependence on theta is seen with through = k."""
    sampler = Langevin(n_steps=3, step_size=ETA, noise_std=0.0)
    plain, after = gradient(ContrastiveDivergence(), sampler)
    full, _ = gradient(ImprovedCD(backprop_steps=3, entropy=0.0), sampler)
    shrink = 1 - ETA * THETA
    exact = (THETA * after * (3 * -ETA / shrink) * after).mean()
    assert full - plain == pytest.approx(float(exact), rel=1e-5)


def test_the_entropy_pushes_samples_away_from_their_neighbors():
    x = torch.tensor([[1.0], [-3.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(log_nearest(x, torch.tensor([[0.9], [-2.0], [5.0], [1.0]])).sum(), x)
    torch.testing.assert_close(slope, torch.tensor([[10.0], [-1.0]]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("d", [1, 2])
def test_nearest_distances_estimate_the_entropy(d):
    """Kozachenko & Leonenko: d E log r + log(volume (n)) + euler's constant is the entropy of a Gaussian."""
    n, scale = 4000, 1.5
    x = scale * torch.randn(n, d, generator=torch.Generator().manual_seed(0))
    ball = {1: 2.0, 2: math.pi}[d]
    estimate = d * float(log_nearest(x, x).mean()) + math.log(ball * (n - 1)) + 0.5772
    assert estimate == pytest.approx(0.5 * d * math.log(2 * math.pi * math.e * scale**2), abs=0.06)


def test_drawn_chains_are_augmented_and_kept_ones_are_not():
    chains = chains_for(Langevin(n_steps=1, step_size=1e-9), augment=lambda x: x + 100)
    x = chains.sample(Quadratic(), 20).x
    assert float(x.min()) > 50
    assert int((chains.buffer.entries.x > 50).sum()) == 20


def test_a_reservoir_keeps_every_chain_with_equal_chance():
    buffer = ReplayBuffer(size=50, replace="reservoir")
    source = SimpleNamespace(generator=torch.Generator().manual_seed(0))
    entries = lambda value: Entries(torch.full((20, 1), float(value)), torch.zeros(20).long(), torch.zeros(20).long())  # noqa: E731
    counts = torch.zeros(21)
    for _ in range(300):
        buffer.cursor = 0
        buffer.fill(torch.zeros(50, 1), torch.zeros(50).long())
        for turn in range(1, 21):
            buffer.write(torch.arange(20), entries(turn), source)
        counts += torch.bincount(buffer.entries.x[:, 0].long(), minlength=21)
    share = counts / counts.sum()  # of 50 that filled it and 20 writes of 20
    assert float(share[0]) == pytest.approx(50 / 450, rel=0.1)
    assert (share[1:] - 20 / 450).abs().max() < 0.01


@pytest.mark.parametrize("options", [{"backprop_steps": 0}, {"start": "data"}, {"neighbors": 0}])
def test_bad_settings_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ImprovedCD(**options)


class Scales(Energy):
    """A sum of three energies ``w_s x^2 / 2`` whose parts are known."""

    def __init__(self):
        super().__init__((1,))
        self.w = nn.Parameter(torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64))

    def terms(self, x):
        return 0.5 * self.w * x.square()

    def forward(self, x):
        return self.terms(x).sum(1)


def test_of_several_scales_the_loss_takes_the_mean_of_every_part():
    """Contrast, squares and KL are means over scales, as in the authors' formula, here in plain tensors."""
    sampler, energy = Langevin(n_steps=1, step_size=ETA, noise_std=0.3), Scales()
    chains = chains_for(sampler)
    chains.buffer.draw(20, chains)
    chains.generator.manual_seed(5)
    data = torch.linspace(-1, 2, 20, dtype=torch.float64)[:, None]
    objective = ImprovedCD(kl=0.7, entropy=0.0, energy_l2=0.9)
    found = objective(energy, Batch(data, None), chains)
    slope = torch.autograd.grad(found.loss, energy.w)[0]

    twin = chains_for(sampler)
    twin.buffer.draw(20, twin)
    twin.generator.manual_seed(5)
    _, entries = twin.buffer.draw(20, twin)
    after, total = chains.latest.x, float(energy.w.sum())
    noise = after - (1 - ETA * total) * entries.x
    w = energy.w.detach().clone().requires_grad_()
    positive, negative = 0.5 * w * data.square(), 0.5 * w * after.square()
    live = (1 - ETA * w.sum()) * entries.x + noise
    kl = (0.5 * energy.w.detach() * live.square()).mean()
    squares = positive.square().mean() + negative.square().mean()
    expected = positive.mean() - negative.mean() + 0.9 * squares + 0.7 * kl
    assert float(found.loss) == pytest.approx(float(expected), rel=1e-7)  # the buffer keeps float32
    torch.testing.assert_close(slope, torch.autograd.grad(expected, w)[0], rtol=1e-6, atol=0)
    assert float(found.metrics["energy/data"]) == pytest.approx(float(positive.sum(1).mean()))


def test_the_multi_scale_network_gives_its_scales():
    from ebm_cli.models import MultiScale
    from ebm_cli.objectives.improved_cd import terms_of

    net, x = MultiScale((3, 16, 16), width=8, n_classes=4, conditional=True), torch.rand(5, 3, 16, 16)
    bound = net.given(y=torch.arange(5) % 4)
    assert terms_of(bound, x).shape == (5, 3)
    torch.testing.assert_close(terms_of(bound, x).sum(1), bound(x))
