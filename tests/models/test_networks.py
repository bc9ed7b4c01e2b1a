"""Networks: parameter counts of the sources, constraints that hold, gradients against straight-line code."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, group_norm, leaky_relu, pad, silu

from ebm_cli.config import build, option_node
from ebm_cli.models import (
    MLP,
    AffineResNet,
    ConvNet,
    ConvPool,
    MnistNet,
    MultiScale,
    RecoveryResNet,
    ResNet,
    UNetTransformer,
    WideResNet,
)
from ebm_cli.models.network import marginal
from ebm_cli.models.nonlocal_net import NonLocal
from ebm_cli.samplers import Langevin

SMALL = {
    "resnet": {"width": 8},
    "resnet_large": {"width": 8},
    "affine_resnet": {"width": 8},
    "mnist_net": {"width": 8},
    "nonlocal_net": {"width": 8},
    "short_run_convnet": {"channels": [8, 8, 16, 16]},
    "wide_resnet": {"depth": 10, "width": 1},
    "multi_scale": {"width": 8},
    "recovery_resnet": {"width": 8, "n_blocks": 1},
    "unet_transformer": {"width": 32, "multiples": [1, 1], "n_blocks": 1, "tokens_width": 16, "n_layers": 1},
    "convnet": {},
    "mlp": {"hidden": [16], "activation": "silu", "fourier": 2},
}
NETWORKS = sorted(SMALL)
SHAPES = [(name, shape) for name in NETWORKS for shape in [(1, 8, 8), (1, 28, 28), (3, 32, 32)]]
SHAPES.remove(("multi_scale", (1, 8, 8)))  # its smallest branch halves what was halved twice


def network(name, shape=(3, 32, 32), **supplied):
    return build(option_node("model", name) | SMALL.get(name, {}), "model", shape=shape, **supplied)


def count(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize(("name", "shape"), SHAPES)
def test_every_network_gives_one_finite_energy_per_input(name, shape):
    torch.manual_seed(0)
    energy = network(name, shape).double().eval()
    x = torch.rand(5, *shape, dtype=torch.float64)
    values = energy(x)
    assert values.shape == (5,) and values.dtype == torch.float64 and values.isfinite().all()
    assert torch.allclose(torch.cat([energy(x[:2]), energy(x[2:])]), values, rtol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_joint_networks_marginalize_their_classes(name):
    torch.manual_seed(0)
    energy = network(name, n_classes=7, joint=True).double().eval()
    x = torch.rand(4, 3, 32, 32, dtype=torch.float64)
    classes = energy.class_energies(x)
    assert classes.shape == (4, 7)
    assert torch.allclose(energy(x), marginal(classes))
    y = torch.tensor([0, 6, 3, 3])
    assert torch.allclose(energy.given(y=y)(x), classes[torch.arange(4), y])


DIGITS = {"channels": [16, 32, 32], "kernels": [3, 3, 3], "strides": [1, 2, 2], "paddings": [1, 1, 1], "hidden": 32}


def full(name, shape=(3, 32, 32), *, supplied=None, **changes):
    return build(option_node("model", name) | changes, "model", shape=shape, **(supplied or {}))


def test_parameter_counts_are_those_of_the_sources():
    assert count(full("convnet", (1, 28, 28))) == 76_993  # UvA tutorial: 77 k
    by_hand = (9 + 1) * 16 + (9 * 16 + 1) * 32 + (9 * 32 + 1) * 32 + (32 * 2 * 2 + 1) * 32 + 33
    assert count(ConvNet((1, 8, 8), **DIGITS)) == by_hand  # 18 k
    assert count(full("short_run_convnet")) == 2_763_393  # short-run, n_f = 64: 2.76 M
    assert round(count(full("short_run_convnet", channels=[32, 64, 128, 256])) / 1e6, 2) == 0.69  # anatomy, vanilla
    assert count(full("nonlocal_net")) == 628_529
    assert round(count(full("mnist_net", (1, 28, 28))) / 1e6, 2) == 1.25  # IGEBM MnistNet
    assert count(full("affine_resnet", conditional=True, supplied={"n_classes": 10})) == 5_183_233  # igebm-pytorch
    multi_scale = full("multi_scale", conditional=True, supplied={"n_classes": 10})
    assert [round(count(branch) / 1e6, 2) for branch in multi_scale.branches] == [0.42, 1.32, 4.90]
    assert round(count(multi_scale) / 1e6, 2) == 6.64  # improved contrastive divergence, label maps included


def test_wide_networks_have_the_parameters_of_the_sources():
    joint = {"n_classes": 10, "joint": True}
    with torch.device("meta"):
        assert count(full("wide_resnet", supplied=joint)) == 36_471_338  # JEM, WRN-28-10 without norm
        assert round(count(full("wide_resnet", norm="batch", supplied=joint)) / 1e6, 2) == 36.49  # JEM++
        potential = full("unet_transformer")
        assert count(potential.unet) == 35_746_307  # U-Net of OT-CFM
        assert round(count(potential) / 1e6, 1) == 50.0  # energy matching


@pytest.mark.parametrize(("n_blocks", "millions"), [(8, 34.8), (2, 9.1)])
def test_recovery_network_has_the_parameters_of_the_source(n_blocks, millions):
    assert round(count(full("recovery_resnet", n_blocks=n_blocks)) / 1e6, 1) == millions


WIDER = [[m, m != n] for n, m in [(0, 1.5), (1.5, 1.5), (1.5, 1.5), (0, 3), (3, 3), (3, 3), (0, 6), (6, 6), (6, 6)]]


@pytest.mark.parametrize(
    ("name", "shape", "rows", "changes", "millions"),
    [
        ("resnet", (3, 32, 32), 10, {"conditional": True}, 5.37),  # ResNet32, class-conditional CIFAR-10
        ("resnet_large", (3, 32, 32), 1, {}, 18.6),  # ResNet32Large, unconditional CIFAR-10
        ("resnet_wider", (3, 32, 32), 10, {"conditional": True, "blocks": WIDER}, 42.1),  # ResNet32Wider, 192
        ("resnet_wider", (3, 32, 32), 1000, {"conditional": True}, 97.6),  # ResNet32Wider, ImageNet-32
        ("resnet128", (3, 128, 128), 1000, {"conditional": True}, 24.5),  # ResNet128
    ],
)
def test_igebm_networks_have_the_parameters_of_the_source(name, shape, rows, changes, millions):
    """The source makes gains and biases for every convolution, also where the forward pass never reads them."""
    net = full(name, shape, supplied={"n_classes": rows}, **changes)
    digits = 2 if millions < 10 else 1
    unread = sum(rows * block.gain.embedding_dim for block in net.blocks)  # gains of first convolutions
    widened = [block for block in net.blocks if block.bias1.embedding_dim != block.gain.embedding_dim]
    unread += sum(rows * (b.bias1.embedding_dim + b.gain.embedding_dim) for b in widened)  # of shortcuts
    unread += sum(2 * block.gain.embedding_dim for block in net.blocks)  # biases of both convolutions
    assert round((count(net) + unread) / 1e6, digits) == millions


def second(block):
    """The second convolution of a block, with or without pooling behind it."""
    return getattr(block.conv2, "conv", block.conv2)


@pytest.fixture
def small_resnet():
    torch.manual_seed(0)
    net = ResNet((3, 16, 16), width=6, blocks=[[1, True], [2, False]], conditional=True, n_classes=4).double()
    for block in net.blocks:  # as drawn the second convolutions are 1e-10, which would hide them
        second(block).parametrizations.weight.original.data.normal_(std=0.3)
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
        out = conv2d(inner + shift2, second(block).weight, padding=1) * gain + block.offset[:, None, None]
        out = out + (h if h.shape[1] == out.shape[1] else conv2d(h, block.shortcut.weight, padding=1))
        h = act(avg_pool2d(out, 2) if halve else out)
    expected = (h.relu().sum((2, 3)) @ net.head.weight.T + net.head.bias)[:, 0]
    agree(net.given(y=y)(x), expected, x)


def agree(energies, expected, x):
    """Energies and their input gradients agree to 1e-9 of the largest entry."""
    assert float(expected.abs().max()) > 1e-3
    ours, theirs = (torch.autograd.grad(e.sum(), x, retain_graph=True)[0] for e in (energies, expected))
    for a, b in ((energies, expected), (ours, theirs)):
        assert float((a - b).abs().max()) < 1e-9 * float(b.abs().max())


def test_igebm_pytorch_agrees_with_straight_line_code():
    torch.manual_seed(0)
    net = AffineResNet((3, 16, 16), width=6, blocks=[[1, True], [2, False]], conditional=True, n_classes=4).double()
    for block in net.blocks:
        second(block).parametrizations.weight.original.data.normal_(std=0.3)
        block.affine.weight.data.normal_()
    x, y = torch.rand(2, 3, 16, 16, dtype=torch.float64, requires_grad=True), torch.tensor([3, 0])
    net.eval()
    act = lambda h: leaky_relu(h, 0.2)  # noqa: E731
    h = act(conv2d(x, net.stem.weight, net.stem.bias, padding=1))
    for block, halve in zip(net.blocks, (True, False), strict=True):
        gain1, gain2, bias1, bias2 = block.affine.weight[y][..., None, None].chunk(4, 1)
        inner = act(gain1 * conv2d(h, block.conv1.weight, padding=1) + bias1)
        shortcut = getattr(block.shortcut, "conv", block.shortcut)
        out = gain2 * conv2d(inner, second(block).weight, padding=1) + bias2 + conv2d(h, shortcut.weight)
        h = act(avg_pool2d(out, 2) if halve else out)
    expected = (h.relu().flatten(2).sum(2) @ net.head.weight.T + net.head.bias)[:, 0]
    agree(net.given(y=y)(x), expected, x)


def test_wide_resnet_agrees_with_straight_line_code():
    torch.manual_seed(0)
    net = WideResNet((3, 16, 16), depth=16, width=1, n_classes=5, joint=True).double().eval()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    p = dict(net.named_parameters())
    act = lambda h: leaky_relu(h, 0.2)  # noqa: E731
    h = conv2d(x, p["stem.weight"], p["stem.bias"], padding=1)
    for i in range(6):
        stride = 2 if i in (2, 4) else 1
        out = conv2d(act(h), p[f"blocks.{i}.residual.2.weight"], p[f"blocks.{i}.residual.2.bias"], padding=1)
        out = conv2d(act(out), p[f"blocks.{i}.residual.6.weight"], p[f"blocks.{i}.residual.6.bias"], stride, 1)
        if i in (2, 4):
            h = conv2d(h, p[f"blocks.{i}.shortcut.weight"], p[f"blocks.{i}.shortcut.bias"], stride)
        h = h + out
    logits = act(h).mean((2, 3)) @ p["head.weight"].T + p["head.bias"]
    agree(net(x), -torch.logsumexp(-logits, 1), x)


def standardized(weight):
    flat = weight.flatten(1)
    return ((flat - flat.mean(1, keepdim=True)) / (flat.std(1, keepdim=True) + 1e-5)).view_as(weight)


def normed(h, norm):
    n, channels = h.shape[:2]
    groups = h.view(n, channels if channels <= 128 else 32, -1)
    mean, var = groups.mean(2, keepdim=True), groups.var(2, correction=0, keepdim=True)
    h = ((groups - mean) / (var + 1e-5).sqrt()).view_as(h)
    return h * norm.weight[:, None, None] + norm.bias[:, None, None]


def attended(h, layer):
    n, channels, height, width = h.shape
    out = torch.empty_like(h)
    for i in range(n):
        flat = h[i].reshape(channels, -1)
        q, k, v = (m.weight[:, :, 0, 0] @ flat + m.bias[:, None] for m in (layer.query, layer.key, layer.value))
        weights = torch.softmax(torch.einsum("ca,cb->ab", q, k), 1)
        out[i] = (h[i].reshape(channels, -1) + layer.gamma * torch.einsum("cb,ab->ca", v, weights)).view_as(h[i])
    return out


def straight_branch(branch, x, y, n_classes):
    """One scale of improved contrastive divergence, written out."""
    h = silu(conv2d(x, branch.stem.weight, branch.stem.bias, padding=1))
    for block in branch.blocks:
        if hasattr(block, "gamma"):
            h = attended(h, block)
            continue
        out = h
        for conv, norm, label in ((block.conv1, block.norm1, block.label1), (block.conv2, block.norm2, block.label2)):
            out = normed(conv2d(out, standardized(conv.weight), conv.bias, padding=1), norm)
            both = torch.eye(n_classes).double()[y] @ label.weight.T + label.bias
            out = silu(both[:, : out.shape[1], None, None] * out + both[:, out.shape[1] :, None, None])
        h = h + out
        if block.down is not None:
            h = silu(avg_pool2d(conv2d(h, block.down.weight, block.down.bias, padding=1), 3, 2, 1))
    return (silu(h).mean((2, 3)) @ branch.head.weight.T + branch.head.bias)[:, 0]


def test_multi_scale_agrees_with_straight_line_code():
    torch.manual_seed(0)
    net = MultiScale((3, 16, 16), width=40, conditional=True, n_classes=4).double().eval()  # 160 channels: group norm
    for p in net.parameters():
        p.data += 0.1 * torch.randn_like(p)
    x, y = torch.rand(2, 3, 16, 16, dtype=torch.float64, requires_grad=True), torch.tensor([3, 0])
    images = [avg_pool2d(avg_pool2d(x, 3, 2, 1), 3, 2, 1), avg_pool2d(x, 3, 2, 1), x]
    terms = [straight_branch(b, image, y, 4) for b, image in zip(net.branches, images, strict=True)]
    assert torch.allclose(net.terms(x, y), torch.stack(terms, 1), rtol=1e-9)
    assert len({float(t[0]) for t in terms}) == 3
    agree(net.given(y=y)(x), sum(terms), x)


def test_recovery_network_agrees_with_straight_line_code():
    torch.manual_seed(0)
    net = RecoveryResNet((3, 16, 16), width=8, multiples=[1, 2], n_blocks=2).double()
    for level in net.levels:
        for block in level:
            block.conv2.parametrizations.weight.original.data.normal_(std=0.2)
            block.scale.data.normal_()
    net.eval()
    x, t = torch.rand(3, 3, 16, 16, dtype=torch.float64, requires_grad=True), torch.tensor([0, 3, 5])
    act = lambda h: leaky_relu(h, 0.2)  # noqa: E731
    angles = t.double()[:, None] * torch.tensor([10000.0 ** (-k / 3) for k in range(4)], dtype=torch.float64)
    dense = lambda v, layer: v @ layer.weight.T + layer.bias  # noqa: E731
    embedding = act(dense(act(dense(torch.cat([angles.sin(), angles.cos()], 1), net.embed[0])), net.embed[2]))
    h = conv2d(x, net.stem.weight, net.stem.bias, padding=1)
    for i, level in enumerate(net.levels):
        h = avg_pool2d(h, 2) if i else h
        for block in level:
            out = conv2d(act(h), block.conv1.weight, block.conv1.bias, padding=1)
            out = act(out + dense(embedding, block.noise)[:, :, None, None])
            out = conv2d(out, block.conv2.weight, block.conv2.bias, padding=1) * block.scale[:, None, None]
            widens = h.shape[1] != out.shape[1]
            h = out + (conv2d(h, block.shortcut.weight, block.shortcut.bias, padding=1) if widens else h)
    expected = -(h.relu().sum((2, 3)) * dense(embedding, net.head)).sum(1)
    agree(net.given(t=t)(x), expected, x)


def straight_stage(stage, h, time):
    """A block of the U-Net and the attention behind it, written out."""
    norm = lambda v, layer: group_norm(v, 32, layer.weight, layer.bias)  # noqa: E731
    out = conv2d(silu(norm(h, stage.norm1)), stage.conv1.weight, stage.conv1.bias, padding=1)
    out = out + (silu(time) @ stage.time.weight.T + stage.time.bias)[0, :, None, None]
    out = conv2d(silu(norm(out, stage.norm2)), stage.conv2.weight, stage.conv2.bias, padding=1)
    h = out + (h if h.shape == out.shape else conv2d(h, stage.skip.weight, stage.skip.bias))
    if stage.attention is None:
        return h
    tokens = norm(h, stage.attention.norm).flatten(2).transpose(1, 2) @ stage.attention.qkv.weight.T
    q, k, v = (tokens + stage.attention.qkv.bias).chunk(3, 2)
    heads = [part.split(16, 2) for part in (q, k, v)]
    mixed = [torch.softmax(a @ b.transpose(1, 2) / 4, 2) @ c for a, b, c in zip(*heads, strict=True)]
    mixed = torch.cat(mixed, 2) @ stage.attention.out.weight.T + stage.attention.out.bias
    return h + mixed.transpose(1, 2).reshape(h.shape)


def test_unet_transformer_agrees_with_straight_line_code_and_torchs_own_layer():
    torch.manual_seed(0)
    options = {"multiples": [1, 2], "n_blocks": 1, "attention": [8], "head_width": 16, "tokens_width": 8, "n_layers": 1}
    net = UNetTransformer((3, 16, 16), width=32, n_heads=2, scale=3.0, **options).double().eval()
    for p in net.parameters():  # some are zero as drawn
        p.data += 0.1 * torch.randn_like(p)
    x, unet = torch.rand(2, 3, 16, 16, dtype=torch.float64, requires_grad=True), net.unet
    angles = 0.5 * 10000.0 ** (-torch.arange(16) / 16)
    moment = torch.cat([angles.cos(), angles.sin()])[None].double()
    time = silu(moment @ unet.time[0].weight.T + unet.time[0].bias) @ unet.time[2].weight.T + unet.time[2].bias
    a = conv2d(x, unet.stem.weight, unet.stem.bias, padding=1)
    b = straight_stage(unet.down[0], a, time)
    c = conv2d(b, unet.down[1].weight, unet.down[1].bias, stride=2, padding=1)
    d = straight_stage(unet.down[2], c, time)
    h = straight_stage(unet.middle[1], straight_stage(unet.middle[0], d, time), time)
    h = straight_stage(unet.up[1], torch.cat([straight_stage(unet.up[0], torch.cat([h, d], 1), time), c], 1), time)
    h = conv2d(h.repeat_interleave(2, 2).repeat_interleave(2, 3), unet.up[2].weight, unet.up[2].bias, padding=1)
    h = straight_stage(unet.up[4], torch.cat([straight_stage(unet.up[3], torch.cat([h, b], 1), time), a], 1), time)
    h = conv2d(silu(group_norm(h, 32, unet.norm.weight, unet.norm.bias)), unet.last.weight, unet.last.bias, padding=1)
    tokens = conv2d(h, net.embed.weight, net.embed.bias, stride=4).flatten(2).transpose(1, 2) + net.place
    ours = net.layers[0]
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True).double()
    pairs = [(theirs.self_attn.out_proj, ours.out), (theirs.linear1, ours.wide[0]), (theirs.linear2, ours.narrow)]
    for to, source in [*pairs, (theirs.norm1, ours.norm1), (theirs.norm2, ours.norm2)]:
        to.load_state_dict(source.state_dict())
    theirs.self_attn.in_proj_weight.data.copy_(ours.qkv.weight)
    theirs.self_attn.in_proj_bias.data.copy_(ours.qkv.bias)
    expected = 3 * (theirs(tokens).mean(1) @ net.head.weight.T + net.head.bias)[:, 0]
    agree(net(x), expected, x)


def test_nonlocal_layers_look_everywhere():
    torch.manual_seed(0)
    layer, x = NonLocal(6).double(), torch.randn(2, 6, 4, 4, dtype=torch.float64)
    assert torch.equal(layer(x), x)
    layer.out.weight.data.normal_()
    q, k, v = layer.query(x).flatten(2), layer.key(x).flatten(2), layer.value(x).flatten(2)
    by_hand = torch.stack([(q[:, :, i, None] * k).sum(1).softmax(1) for i in range(16)], 1)
    mixed = torch.einsum("nij,ncj->nci", by_hand, v).view(2, 3, 4, 4)
    assert torch.allclose(layer(x), x + layer.out(mixed), rtol=1e-12)


def test_mnist_net_pads_odd_sides_on_the_right():
    net = MnistNet((1, 28, 28), width=4).double().eval()
    x = torch.rand(1, 1, 28, 28, dtype=torch.float64)
    h = x
    for convolution, padding in zip([net.stem, *net.strided], [(1, 1), (1, 1), (1, 1), (1, 2)], strict=True):
        stride = 1 if convolution is net.stem else 2
        h = leaky_relu(conv2d(pad(h, padding * 2), convolution.weight, stride=stride), 0.2)
    hidden = leaky_relu(h.flatten(1) @ net.hidden.weight.T + net.hidden.bias, 0.2)
    assert torch.allclose(net(x), hidden @ net.head.weight[0] + net.head.bias, rtol=1e-10)


def test_pooled_convolutions_are_strided_ones_with_averaged_kernels():
    conv = torch.nn.Conv2d(3, 5, 3, padding=1).double()
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    kernel = sum(pad(conv.weight, (i, 1 - i, j, 1 - j)) for i in (0, 1) for j in (0, 1)) / 4
    assert torch.allclose(ConvPool(conv)(x), conv2d(x, kernel, conv.bias, stride=2, padding=1), rtol=1e-10)


@pytest.mark.parametrize("data", ["moving_digits", "voxels"])
def test_clips_and_voxels_have_energies(data):
    shape = {"moving_digits": (1, 8, 16, 16), "voxels": (1, 16, 16, 16)}[data]
    energy = network("convnet3d", shape)
    x = torch.rand(3, *shape, requires_grad=True)
    (grad,) = torch.autograd.grad(energy(x).sum(), x)
    assert energy(x).shape == (3,) and grad.shape == x.shape and float(grad.abs().min()) > 0
    with pytest.raises(ValueError, match="clips or voxels"):
        network("convnet3d", (1, 8, 8))


@pytest.mark.parametrize("asked", [False, True])
def test_chains_see_dropout_only_where_a_recipe_says_so(asked):
    net = ResNet((3, 16, 16), width=6, blocks=[[1, True]], dropout=0.5, samples_in_train_mode=asked).train()
    seen = []
    net.blocks[0].drop.register_forward_hook(lambda layer, args, out: seen.append(layer.training))
    Langevin(n_steps=2, step_size=1.0).sample(net, torch.rand(2, 3, 16, 16))
    assert set(seen) == {asked} and net.training


def test_spectral_norms_hold(small_resnet):
    for block in small_resnet.blocks:
        first = torch.linalg.matrix_norm(block.conv1.weight.flatten(1), 2)
        other = torch.linalg.matrix_norm(second(block).weight.flatten(1), 2)
        assert float(first) == pytest.approx(1.0, abs=1e-3)
        assert float(other) <= 1.0 + 1e-3
    small = ResNet((3, 16, 16), width=6)
    assert float(second(small.blocks[0]).weight.norm()) < 1e-6  # below 1 the bounded norm leaves a weight as it is


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
    assert torch.allclose(out.std((0, 2, 3)), torch.ones(64), atol=1e-5)  # unbiased, as in the code of JEM
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
        (lambda: UNetTransformer((3, 28, 28)), "divisible by 8 .* 28"),
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
