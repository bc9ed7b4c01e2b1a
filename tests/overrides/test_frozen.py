"""Chains see a cheaper copy of a network with the same energies: folds, refreshes, precision."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, cosine_similarity

from ebm_cli.energies import GaussianBase, Tilted, box
from ebm_cli.models import MLP, Network, ResNet, WideResNet
from ebm_cli.models.pooling import ConvPool
from ebm_cli.overrides.frozen import FrozenCopies
from ebm_cli.overrides.winograd import WinogradConv, convolved, transformed
from ebm_cli.samplers import Langevin


def small_resnet(**options):
    torch.manual_seed(0)
    network = ResNet((3, 8, 8), width=8, blocks=[[1, True], [1, False], [2, True]], support=box(-1, 1), **options)
    with torch.no_grad():  # the second convolutions start at 1e-10: make them matter
        for block in network.blocks:
            conv = getattr(block.conv2, "conv", block.conv2)
            conv.parametrizations.weight.original.normal_(std=0.3)
    for _ in range(20):
        network(torch.randn(2, 3, 8, 8))
    return network


def gradients(energy, x, **given):
    return energy.given(**given).value_and_grad(x)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kernel", [(3, 1), (1, 0), (5, 2), (3, 0)])
@pytest.mark.parametrize("side", [8, 9])
def test_pooling_may_come_before_a_convolution(kernel, side, memory_format):
    conv = nn.Conv2d(3, 5, kernel[0], padding=kernel[1]).double()
    x = torch.randn(2, 3, side, side, dtype=torch.float64).to(memory_format=memory_format)
    torch.testing.assert_close(ConvPool(conv)(x), avg_pool2d(conv(x), 2), rtol=1e-12, atol=1e-12)


def test_convolutions_that_cannot_be_pooled_before_are_refused():
    with pytest.raises(ValueError, match="stride 1"):
        ConvPool(nn.Conv2d(3, 3, 3, stride=2))


@pytest.mark.parametrize("conditional", [False, True])
def test_the_copy_has_the_energies_and_gradients_of_the_network(conditional):
    network = small_resnet(conditional=conditional, n_classes=4 if conditional else None)
    x, given = torch.randn(5, 3, 8, 8), {"y": torch.tensor([0, 1, 2, 3, 1])} if conditional else {}
    copy = FrozenCopies().of(network, x)
    assert copy is not network and not any(p.requires_grad for p in copy.parameters())
    network.eval()
    (value, grad), (expected, wanted) = gradients(copy, x, **given), gradients(network, x, **given)
    torch.testing.assert_close(value, expected)
    assert (grad - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_the_same_noise_gives_the_same_chain():
    network, sampler = small_resnet().eval(), Langevin(n_steps=10, step_size=1e-3, noise_std=0.01)
    x = torch.rand(3, 3, 8, 8)
    ends = [
        sampler.sample(e, x, generator=torch.Generator().manual_seed(1)).x
        for e in (network, FrozenCopies().of(network, x))
    ]
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-5)


def test_the_copy_follows_the_weights_and_leaves_the_network_alone():
    network, x, view = small_resnet().train(), torch.randn(3, 3, 8, 8), FrozenCopies()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    first = view.of(network, x)(x)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(m.training for m in network.modules()) and all(p.requires_grad for p in network.parameters())
    with torch.no_grad():
        network.head.weight.mul_(2), network.head.bias.mul_(2)
    torch.testing.assert_close(view.of(network, x)(x), 2 * first)


def test_networks_inside_compositions_are_replaced():
    network, x = small_resnet(), torch.rand(2, 3, 8, 8)
    energy = Tilted(network, GaussianBase((3, 8, 8)))
    seen = FrozenCopies().of(energy, x)
    assert seen.network is not network and seen.base is energy.base
    torch.testing.assert_close(seen(x), energy.eval()(x))


class Quadratic(Network):
    """One that has no cheaper form."""

    def outputs(self, x, y=None):
        return x.square().sum(1, keepdim=True)


def test_networks_that_gain_nothing_are_used_as_they_are():
    network, x = Quadratic((2,)), torch.randn(4, 2)
    assert FrozenCopies().of(network, x) is network
    convolutional = small_resnet()
    assert FrozenCopies("none").of(convolutional, torch.randn(2, 3, 8, 8)) is convolutional
    convolutional.samples_in_train_mode = True
    assert FrozenCopies().of(convolutional, torch.randn(2, 3, 8, 8)) is convolutional


def test_bfloat16_keeps_the_direction_of_the_gradient():
    torch.manual_seed(0)
    network, x = WideResNet((3, 16, 16), depth=10, width=2, n_classes=3, joint=True).eval(), torch.randn(4, 3, 16, 16)
    copy = FrozenCopies("bfloat16").of(network, x)
    (value, grad), (expected, wanted) = copy.value_and_grad(x), network.value_and_grad(x)
    assert value.dtype == grad.dtype == torch.float32
    assert (cosine_similarity(grad.flatten(1), wanted.flatten(1)) >= 0.99).all()
    assert (value - expected).abs().max() <= 0.02 * expected.abs().max()
    assert not any(isinstance(m, WinogradConv) for m in copy.modules())
    mlp = MLP((2,), hidden=[16])
    assert FrozenCopies("bfloat16").of(mlp, x[:, 0, 0, :2]).value_and_grad(x[:, 0, 0, :2])[1].dtype == torch.float32


def test_bfloat16_keeps_the_direction_through_fewer_multiplications():
    torch.manual_seed(0)
    network, x = WideResNet((3, 16, 16), depth=10, width=16, n_classes=3, joint=True).eval(), torch.randn(8, 3, 16, 16)
    seen = FrozenCopies("bfloat16", channels_last=True).of(network, x)
    assert sum(isinstance(m, WinogradConv) and m.kernels is not None for m in seen.modules()) == 1
    (_, grad), (_, wanted) = seen.value_and_grad(x), network.value_and_grad(x)
    assert (cosine_similarity(grad.flatten(1), wanted.flatten(1)) >= 0.99).all()


def test_the_memory_format_is_part_of_the_state():
    view, network, x = FrozenCopies(), small_resnet(), torch.randn(2, 3, 8, 8)
    view.load_state({"channels_last": True})
    assert view.of(network, x).stem.weight.is_contiguous(memory_format=torch.channels_last)
    assert view.state() == {"channels_last": True}


@pytest.mark.parametrize(("n", "height", "width"), [(1, 2, 2), (3, 6, 4), (5, 32, 32)])
def test_fewer_multiplications_make_the_same_convolution(n, height, width):
    x, weight = torch.randn(n, 3, height, width).double(), torch.randn(5, 3, 3, 3).double()
    expected = nn.functional.conv2d(x, weight, padding=1)
    torch.testing.assert_close(convolved(x, transformed(weight)), expected, rtol=1e-12, atol=1e-12)


def test_wide_convolutions_take_fewer_multiplications_where_channels_lie_last():
    torch.manual_seed(0)
    network, x = WideResNet((3, 16, 16), depth=10, width=4, joint=True, n_classes=3).eval(), torch.randn(8, 3, 16, 16)
    for module in network.modules():  # away from the kinks of the activation, where rounding decides the slope
        if hasattr(module, "negative_slope"):
            module.forward = nn.functional.silu
    seen = FrozenCopies(channels_last=True).of(network, x)
    wide = [m for m in seen.modules() if isinstance(m, WinogradConv)]
    assert len(wide) == 3 and all(m.kernels is not None for m in wide)
    value, grad = seen.value_and_grad(x)
    expected, wanted = network.value_and_grad(x)
    torch.testing.assert_close(value, expected)
    assert (grad - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    assert not any(isinstance(m, WinogradConv) for m in network.modules())


def test_what_gains_nothing_is_convolved_as_usual():
    conv = nn.Conv2d(64, 64, 3, padding=1)
    assert WinogradConv.is_fit(conv)
    others = [{"stride": 2}, {"padding": 0}, {"dilation": 2, "padding": 2}, {"groups": 2}, {"padding_mode": "circular"}]
    for other in others:
        assert not WinogradConv.is_fit(nn.Conv2d(64, 64, 3, **({"padding": 1} | other)))
    assert not WinogradConv.is_fit(nn.Conv2d(63, 64, 3, padding=1))
    odd, x = copy.deepcopy(conv).to(memory_format=torch.channels_last), torch.randn(8, 64, 9, 9)
    odd.__class__ = WinogradConv
    odd.prepare()
    torch.testing.assert_close(odd(x), conv(x))
    assert odd.kernels is not None


def test_unknown_precisions_are_refused():
    with pytest.raises(ValueError, match="frozen_copy=half"):
        FrozenCopies("half")
