"""Gradients that are written out by hand are those of autograd."""

from __future__ import annotations

import pytest
import torch

from ebm_cli.energies import Energy, FullGaussianBase, GaussianBase, Tilted
from ebm_cli.models import MLP, NoiseMLP
from ebm_cli.models.network import ACTIVATIONS
from ebm_cli.overrides import FrozenCopies
from ebm_cli.overrides.written_out import BACKWARD, WrittenOutMLP, WrittenOutNoiseMLP


def by_autograd(energy, x):
    return Energy.value_and_grad(energy, x)


def agree(energy, x):
    (value, grad), (expected_value, expected) = energy.value_and_grad(x), by_autograd(energy, x)
    assert value.shape == (len(x),) and grad.shape == x.shape
    assert not value.requires_grad and not grad.requires_grad
    torch.testing.assert_close(value, expected_value)
    assert (grad - expected).abs().max() <= 3e-6 * expected.abs().max()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("options", [{}, {"fourier": 3}, {"spectral_norm": True}, {"n_classes": 4, "joint": True}])
def test_the_mlp_writes_out_its_gradient(activation, options):
    torch.manual_seed(0)
    shape = (2,) if "fourier" in options else (1, 3, 4)
    energy, x = MLP(shape, hidden=[16, 8], activation=activation, **options).eval(), 2 * torch.randn(7, *shape)
    copied = FrozenCopies().of(energy, x)
    assert type(copied) is WrittenOutMLP
    agree(copied, x)
    torch.testing.assert_close(copied(x), energy(x))


def test_every_activation_has_its_derivative():
    assert {type(make()) for make in ACTIVATIONS.values()} == set(BACKWARD)


def test_a_base_adds_its_gradient():
    base = GaussianBase((3,), mean=0.3, std=1.7)
    agree(base, torch.randn(5, 3))
    agree(Tilted(MLP((3,), hidden=[8]), base), torch.randn(5, 3))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("options", [{}, {"n_layers": 1}, {"n_classes": 4, "joint": True}])
def test_networks_that_know_the_noise_level_write_out_their_gradient(activation, options):
    torch.manual_seed(0)
    energy = NoiseMLP((1, 3, 4), width=16, activation=activation, **options)
    energy.fit(torch.randn(20, 1, 3, 4))
    x = torch.randn(7, 1, 3, 4)
    copied = FrozenCopies().of(energy, x)
    assert type(copied) is WrittenOutNoiseMLP
    agree(copied, x)
    agree(copied.given(t=0.1 + torch.rand(7)), torch.randn(7, 1, 3, 4))


@pytest.mark.parametrize("make", [lambda: GaussianBase((1, 3), std=0.7), lambda: FullGaussianBase((1, 3))])
def test_bases_with_noise_write_out_their_gradient(make):
    base = make()
    base.fit(torch.randn(50, 1, 3) @ torch.randn(3, 3))
    agree(base, torch.randn(5, 1, 3))
    agree(base.given(t=torch.rand(5)), torch.randn(5, 1, 3))


class Doubled(MLP):
    def outputs(self, x, y=None):
        return 2 * super().outputs(x, y)


def test_a_subclass_with_outputs_of_its_own_is_differentiated_by_autograd():
    energy, x = Doubled((3,), hidden=[8]), torch.randn(5, 3)
    assert FrozenCopies().of(energy, x) is energy
    agree(energy, x)


def test_one_switch_turns_it_off():
    energy, x = MLP((3,), hidden=[8]), torch.randn(5, 3)
    assert FrozenCopies("none").of(energy, x) is energy


def test_noise_under_autocast_goes_through_autograd():
    energy = FrozenCopies().of(MLP((3,), hidden=[8]), torch.randn(5, 3))
    with torch.autocast("cpu", torch.bfloat16):
        agree(energy, torch.randn(5, 3))
