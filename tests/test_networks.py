"""Networks: parameter counts of the sources, constraints that hold, gradients against straight-line code."""

from __future__ import annotations

import pytest
import torch
from conftest import CONF
from torch.nn.functional import avg_pool2d, conv2d, leaky_relu

from ebm_cli.config import build, option_node
from ebm_cli.models import MLP, ConvNet, ResNet, WideResNet
from ebm_cli.models.network import marginal

SMALL = {
    "resnet": {"width": 8},
    "wide_resnet": {"depth": 10, "width": 1},
    "mlp": {"hidden": [16], "activation": "silu", "fourier": 2},
}
NETWORKS = [f.stem for f in (CONF / "model").glob("*.yaml") if f.stem in ("mlp", "convnet", "resnet", "wide_resnet")]


def network(name, shape=(3, 32, 32), **supplied):
    return build(option_node("model", name) | SMALL.get(name, {}), "model", shape=shape, **supplied)


def count(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_one_finite_energy_per_input(name, shape):
    torch.manual_seed(0)
    energy = network(name, shape).double().eval()
    x = torch.rand(5, *shape, dtype=torch.float64)
    values = energy(x)
    assert values.shape == (5,) and values.dtype == torch.float64 and values.isfinite().all()
    assert torch.allclose(torch.cat([energy(x[:2]), energy(x[2:])]), values, rtol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_joint_networks_marginalise_their_classes(name):
    torch.manual_seed(0)
    energy = network(name, n_classes=7, joint=True).double().eval()
    x = torch.rand(4, 3, 32, 32, dtype=torch.float64)
    classes = energy.class_energies(x)
    assert classes.shape == (4, 7)
    assert torch.allclose(energy(x), marginal(classes))
    y = torch.tensor([0, 6, 3, 3])
    assert torch.allclose(energy.given(y=y)(x), classes[torch.arange(4), y])


DIGITS = {"channels": [16, 32, 32], "kernels": [3, 3, 3], "strides": [1, 2, 2], "paddings": [1, 1, 1], "hidden": 32}


def test_parameter_counts_are_those_of_the_sources():
    assert count(ConvNet((1, 28, 28))) == 76_993  # UvA tutorial: 77 k
    by_hand = (9 + 1) * 16 + (9 * 16 + 1) * 32 + (9 * 32 + 1) * 32 + (32 * 2 * 2 + 1) * 32 + 33
    assert count(ConvNet((1, 8, 8), **DIGITS)) == by_hand  # 18 k
    assert count(WideResNet((3, 32, 32), n_classes=10, joint=True)) == 36_471_338  # JEM, WRN-28-10 without norm
    large = [[1, True], [1, False], [1, False], [2, True], [2, False], [2, False], [4, True], [4, False], [4, False]]
    assert round(count(ResNet((3, 32, 32), blocks=large)) / 1e6, 1) == 18.6  # IGEBM ResNet32Large
    conditional = ResNet((3, 32, 32), conditional=True, n_classes=10)
    widths = [128, 128, 256, 256, 256, 256]
    never_used = sum(10 * w + 2 * w for w in widths)  # the source also makes gains of first convolutions, and biases
    assert round((count(conditional) + never_used) / 1e6, 2) == 5.37  # IGEBM ResNet32, class-conditional


@pytest.fixture
def small_resnet():
    torch.manual_seed(0)
    net = ResNet((3, 16, 16), width=6, blocks=[[1, True], [2, False]], conditional=True, n_classes=4).double()
    for block in net.blocks:  # as drawn the second convolutions are 1e-10, which would hide them
        block.conv2.parametrizations.weight.original.data.normal_(std=0.3)
        for table in (block.bias1, block.bias2, block.gain):
            table.weight.data.normal_()
        block.offset.data.normal_()
    for _ in range(50):
        net(torch.rand(2, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 1]))
    return net.eval()


def test_resnet_agrees_with_straight_line_code(small_resnet):
    net, y = small_resnet, torch.tensor([3, 0])
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    act = lambda h: leaky_relu(h, 0.2)  # noqa: E731
    h = act(conv2d(x, net.stem.weight, padding=1))
    for block, halve in zip(net.blocks, (True, False), strict=True):
        shift1, shift2 = block.bias1.weight[y][..., None, None], block.bias2.weight[y][..., None, None]
        gain = block.gain.weight[y][..., None, None]
        inner = act(conv2d(h + shift1, block.conv1.weight, padding=1))
        out = conv2d(inner + shift2, block.conv2.weight, padding=1) * gain + block.offset[:, None, None]
        out = out + (h if h.shape[1] == out.shape[1] else conv2d(h, block.shortcut.weight, padding=1))
        h = act(avg_pool2d(out, 2) if halve else out)
    expected = (h.relu().sum((2, 3)) @ net.head.weight.T + net.head.bias)[:, 0]
    assert torch.allclose(net.given(y=y)(x), expected, rtol=1e-10)
    ours, theirs = (torch.autograd.grad(e.sum(), x, retain_graph=True)[0] for e in (net.given(y=y)(x), expected))
    assert torch.allclose(ours, theirs, atol=1e-10 * float(theirs.abs().max()))


def test_spectral_norms_hold(small_resnet):
    for block in small_resnet.blocks:
        first = torch.linalg.matrix_norm(block.conv1.weight.flatten(1), 2)
        second = torch.linalg.matrix_norm(block.conv2.weight.flatten(1), 2)
        assert float(first) == pytest.approx(1.0, abs=1e-3)
        assert float(second) <= 1.0 + 1e-3
    small = ResNet((3, 16, 16), width=6)
    assert float(small.blocks[0].conv2.weight.norm()) < 1e-6  # below 1 the bounded norm leaves a weight as it is


def test_the_energy_is_one_function_in_evaluation_mode(small_resnet):
    x, y = torch.rand(2, 3, 16, 16, dtype=torch.float64), torch.tensor([1, 2])
    assert torch.equal(small_resnet(x, y), small_resnet(x, y))
    with torch.no_grad():
        small_resnet.blocks[0].conv1.parametrizations.weight.original.mul_(torch.rand(6, 6, 3, 3).double())
    before = small_resnet(x, y)
    assert not torch.equal(small_resnet.train()(x, y), before)


def test_labels_condition_the_energy(small_resnet):
    x = torch.rand(1, 3, 16, 16, dtype=torch.float64).expand(4, -1, -1, -1)
    energies = small_resnet.given(y=torch.arange(4))(x)
    assert len(energies.detach().unique()) == 4
    assert torch.allclose(small_resnet.class_energies(x[:1])[0], energies)
    assert torch.allclose(small_resnet(x[:1])[0], -torch.logsumexp(-energies, 0))  # without a label: all of them


def test_actnorm_starts_from_the_first_training_batch_alone():
    torch.manual_seed(0)
    net = WideResNet((3, 8, 8), depth=10, width=1, norm="act")
    norm, x = net.last[0], 3 + 2 * torch.randn(64, 64, 5, 5)
    assert torch.equal(norm.eval()(x), x)  # chains of the first update come before it
    out = norm.train()(x)
    assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(64), atol=1e-4)
    assert torch.allclose(out.std((0, 2, 3), correction=0), torch.ones(64), atol=1e-4)
    assert torch.allclose(norm(x + 1), out + norm.scale[:, None, None], atol=1e-5)
    other = WideResNet((3, 8, 8), depth=10, width=1, norm="act")
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.last[0].train()(x + 1), norm(x + 1))


@pytest.mark.parametrize("norm", ["none", "batch", "instance", "layer", "act"])
def test_every_norm_gives_energies_of_one_input_each(norm):
    torch.manual_seed(0)
    net, x = WideResNet((3, 8, 8), depth=10, width=1, norm=norm).double(), torch.rand(6, 3, 8, 8).double()
    assert net(x).isfinite().all()
    net.eval()
    assert torch.allclose(torch.cat([net(x[:2]), net(x[2:])]), net(x), rtol=1e-9)


def test_the_smallest_image_of_a_convnet_leaves_one_pixel():
    layers = {"kernels": [5, 3, 4], "strides": [2, 2, 3], "paddings": [1, 0, 1], "channels": [2, 2, 2]}
    assert ConvNet((1, 11, 11), **layers).head[0].in_features == 2  # 11 -> 5 -> 2 -> 1
    with pytest.raises(ValueError, match="at least 11x11"):
        ConvNet((1, 10, 10), **layers)


def test_fourier_features_are_what_they_say():
    net = MLP((2,), hidden=[4], fourier=2, fourier_period=9.0)
    x = torch.tensor([[1.0, -2.0]])
    angles = 2 * torch.pi / 9 * torch.tensor([1.0, 2.0, -2.0, -4.0])
    assert torch.allclose(net.features(x), torch.cat([x[0], angles.sin(), angles.cos()])[None])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WideResNet((3, 32, 32), depth=11), "6 n"),
        (lambda: WideResNet((3, 32, 32), norm="nope"), "norm must be one of"),
        (lambda: ResNet((3, 32, 32), conditional=True), "labels"),
        (lambda: ResNet((3, 32, 32), blocks=[[1, True], [2]]), r"blocks must be .* got \[2\]"),
        (lambda: ResNet((3, 4, 4), width=2), "at least 8x8"),
        (lambda: ConvNet((2,)), "takes images .*shape \\(2,\\)"),
        (lambda: WideResNet((2,)), "takes images"),
        (lambda: ConvNet((1, 8, 8), strides=[2]), "lists of one length"),
        (lambda: MLP((2,), activation="nope"), "activation 'nope'"),
        (lambda: MLP((2,), joint=True), "class labels"),
    ],
)
def test_bad_words_are_one_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()
