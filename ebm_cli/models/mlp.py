"""Multilayer perceptron energy, for vectors and small images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from ebm_cli.energies.energy import REAL, Support
from ebm_cli.models.network import Network
from ebm_cli.models.network import activation as make_activation

aten = torch.ops.aten
FEW = 8  # columns, below which a matrix product on the processor is slow unless they lie in rows

# d E / d z from d E / d act(z) and z, written over z: the operators that autograd itself uses
BACKWARD = {
    nn.SiLU: lambda d, z, act: aten.silu_backward.grad_input(d, z, grad_input=z),
    nn.ReLU: lambda d, z, act: aten.threshold_backward.grad_input(d, z, 0, grad_input=z),
    nn.LeakyReLU: lambda d, z, act: aten.leaky_relu_backward.grad_input(d, z, act.negative_slope, False, grad_input=z),
    nn.ELU: lambda d, z, act: aten.elu_backward.grad_input(d, act.alpha, 1, 1, False, z, grad_input=z),
    nn.GELU: lambda d, z, act: aten.gelu_backward.grad_input(d, z, grad_input=z),
    nn.Softplus: lambda d, z, act: aten.softplus_backward.grad_input(d, z, act.beta, act.threshold, grad_input=z),
    nn.Tanh: lambda d, z, act: aten.tanh_backward.grad_input(d, z.tanh_(), grad_input=z),
}


class MLP(Network):
    """Fully connected energy of the flattened input.

    Args:
        hidden: widths of the hidden layers.
        activation: silu, relu, leaky_relu, elu, gelu, softplus or tanh.
        fourier: append ``sin`` and ``cos`` of ``2 pi k x / fourier_period`` for k = 1 .. fourier, per coordinate.
        fourier_period: period of the slowest feature, in the units of the data.
        spectral_norm: bound every hidden layer's largest singular value to 1 (Miyato et al. 2018).
    """

    def __init__(
        self,
        shape,
        *,
        hidden: Sequence[int] = (256, 256),
        activation: str = "silu",
        fourier: int = 0,
        fourier_period: float = 14.0,
        spectral_norm: bool = False,
        support: Support = REAL,
        n_classes: int | None = None,
        joint: bool = False,
    ):
        super().__init__(shape, support=support, n_classes=n_classes, joint=joint)
        self.fourier = fourier
        frequencies = 2 * math.pi / fourier_period * torch.arange(1, fourier + 1)
        self.register_buffer("frequencies", frequencies, persistent=False)
        widths = [math.prod(self.shape) * (1 + 2 * fourier), *hidden]
        layers = [nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False)]
        if spectral_norm:
            layers = [with_spectral_norm(layer) for layer in layers]
        acts = [make_activation(activation) for _ in layers]
        pairs = [module for pair in zip(layers, acts, strict=True) for module in pair]
        self.layers = nn.Sequential(*pairs, nn.Linear(widths[-1], self.n_outputs))

    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.layers(self.features(x.flatten(1)))

    def features(self, x: Tensor) -> Tensor:
        """The flattened input ``(B, d)``, with its Fourier features appended: ``(B, d (1 + 2 fourier))``."""
        if not self.fourier:
            return x
        angles = (x[:, :, None] * self.frequencies).flatten(1)
        return torch.cat([x, angles.sin(), angles.cos()], 1)

    # The gradient written out: the numbers of autograd, without its cost per operation -----------------------------

    def value_and_grad(self, x: Tensor, **given: Tensor) -> tuple[Tensor, Tensor]:
        """Energies and their gradient, layer by layer; a subclass with outputs of its own gets autograd's."""
        *hidden, last = self.layers
        own = type(self).outputs is not MLP.outputs or type(self).forward is not Network.forward
        mixed = torch.is_autocast_enabled(x.device.type) or x.dtype != last.weight.dtype
        if own or mixed or given:
            return super().value_and_grad(x, **given)
        if torch.is_grad_enabled():
            with torch.no_grad():
                return self.written_out(hidden, last, x)
        return self.written_out(hidden, last, x)

    def written_out(self, hidden: list[nn.Module], last: nn.Linear, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies and their gradient; a step of a small network is mostly calls, so that there are few of them."""
        inputs = x if x.ndim == 2 else x.flatten(1)
        if self.fourier:
            inputs = self.features(inputs)
        h, kept = forward_kept(hidden, inputs)
        outputs = torch.addmm(last.bias, h, last.weight.T)
        energy = -torch.logsumexp(-outputs, 1) if self.joint else outputs[:, 0]
        slope = torch.softmax(-outputs, 1) @ last.weight if self.joint else last.weight.expand(len(x), -1)
        for weight, z, act in reversed(kept):
            slope = back_through(weight, BACKWARD[type(act)](slope, z, act))
        if self.fourier:
            slope = self.through_features(slope, inputs)
        return energy, slope if x.ndim == 2 else slope.view_as(x)

    def through_features(self, slope: Tensor, inputs: Tensor) -> Tensor:
        """The gradient with respect to ``x`` ``(B, d)`` from that with respect to its Fourier features."""
        n = math.prod(self.shape)
        direct, along_sin, along_cos = slope.split([n, n * self.fourier, n * self.fourier], 1)
        sin, cos = inputs[:, n:].chunk(2, 1)
        along = (along_sin * cos - along_cos * sin).view(-1, n, self.fourier)
        return direct + along @ self.frequencies


def back_through(weight: Tensor, slope: Tensor) -> Tensor:
    """``slope @ weight``, by the transposed weight where its columns are few: up to five times as fast."""
    return torch.mm(slope, weight.T.contiguous().T if weight.shape[1] <= FEW else weight)


def forward_kept(hidden: list[nn.Module], h: Tensor) -> tuple[Tensor, list]:
    """The last hidden layer, and what the way back needs of each: its weight, pre-activation and activation."""
    kept = []
    for layer, act in zip(hidden[::2], hidden[1::2], strict=True):
        weight = layer.weight  # read once: a spectral norm computes it
        z = torch.addmm(layer.bias, h, weight.T)
        kept.append((weight, z, act))
        h = act.forward(z)
    return h, kept
