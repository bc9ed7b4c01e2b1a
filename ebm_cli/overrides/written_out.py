"""Gradients of perceptrons written out layer by layer: the numbers of autograd, without its cost per operation.

A step of a small network is mostly calls: on the toys (``dataset=two_moons``, ``python -m benchmarks``) chains of an
MLP take about half as long. A copied network becomes one of these by its class.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ebm_cli.models.mlp import MLP
from ebm_cli.models.network import marginal
from ebm_cli.models.noise_mlp import NoiseMLP

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


def write_out(network: nn.Module) -> bool:
    """Gives a copied network its written-out gradient, in place; False where there is none for its class.

    A subclass may have outputs of its own: it keeps autograd's gradient.
    """
    chosen = {MLP: WrittenOutMLP, NoiseMLP: WrittenOutNoiseMLP}.get(type(network))
    if chosen is None or any(type(act) not in BACKWARD for act in chosen.activations(network)):
        return False
    network.__class__ = chosen
    return True


def takes_autograd(x: Tensor, weight: Tensor) -> bool:
    """Whether precisions are mixed, which autograd's own operators see to."""
    return torch.is_autocast_enabled(x.device.type) or x.dtype != weight.dtype


class WrittenOutMLP(MLP):
    """An ``MLP`` whose ``value_and_grad`` is written out."""

    @staticmethod
    def activations(network: MLP) -> list[nn.Module]:
        return list(network.layers)[1:-1:2]

    def value_and_grad(self, x: Tensor, **given: Tensor) -> tuple[Tensor, Tensor]:
        *hidden, last = self.layers
        if given or takes_autograd(x, last.weight):
            return super().value_and_grad(x, **given)
        with torch.no_grad():
            return self.write_out(hidden, last, x)

    def write_out(self, hidden: list[nn.Module], last: nn.Linear, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies and their gradient, in as few calls as there can be."""
        # forward: what the way back needs is kept
        inputs = x if x.ndim == 2 else x.flatten(1)
        if self.fourier:
            inputs = self.features(inputs)
        h, kept = keep_forward(hidden, inputs)
        outputs = torch.addmm(last.bias, h, last.weight.T)
        energy = -torch.logsumexp(-outputs, 1) if self.joint else outputs[:, 0]
        # and back, from the last layer to the input
        slope = torch.softmax(-outputs, 1) @ last.weight if self.joint else last.weight.expand(len(x), -1)
        for weight, z, act in reversed(kept):
            slope = multiply_back(weight, BACKWARD[type(act)](slope, z, act))
        if self.fourier:
            slope = self.differentiate_features(slope, inputs)
        return energy, slope if x.ndim == 2 else slope.view_as(x)

    def differentiate_features(self, slope: Tensor, inputs: Tensor) -> Tensor:
        """The gradient with respect to ``x`` ``(B, d)`` from that with respect to its Fourier features."""
        n = math.prod(self.shape)
        direct, along_sin, along_cos = slope.split([n, n * self.fourier, n * self.fourier], 1)
        sin, cos = inputs[:, n:].chunk(2, 1)
        along = (along_sin * cos - along_cos * sin).view(-1, n, self.fourier)
        return direct + along @ self.frequencies


class WrittenOutNoiseMLP(NoiseMLP):
    """A ``NoiseMLP`` whose ``value_and_grad`` is written out."""

    @staticmethod
    def activations(network: NoiseMLP) -> list[nn.Module]:
        return [network.act]

    def value_and_grad(self, x: Tensor, **given: Tensor) -> tuple[Tensor, Tensor]:
        if "y" in given or takes_autograd(x, self.last.weight):
            return super().value_and_grad(x, **given)
        with torch.no_grad():
            outputs, (first, *others), shrunk, grown = self.outputs_kept(x, given.get("t"))
            energy = marginal(outputs) if self.joint else outputs[:, 0]
            shares = torch.softmax(-outputs, 1) if self.joint else torch.ones_like(outputs)
            slope = (grown * shares) @ self.last.weight
            for layer, z in zip(reversed(self.others), reversed(others), strict=True):
                slope = slope + BACKWARD[type(self.act)](slope, z, self.act) @ layer.weight
            slope = BACKWARD[type(self.act)](slope, first, self.act) @ self.first.weight
            return energy, (slope * shrunk).view_as(x)


def multiply_back(weight: Tensor, slope: Tensor) -> Tensor:
    """``slope @ weight``, by the transposed weight where its columns are few: up to five times as fast."""
    return torch.mm(slope, weight.T.contiguous().T if weight.shape[1] <= FEW else weight)


def keep_forward(hidden: list[nn.Module], h: Tensor) -> tuple[Tensor, list]:
    """The last hidden layer, and what the way back needs of each: its weight, pre-activation and activation."""
    kept = []
    for layer, act in zip(hidden[::2], hidden[1::2], strict=True):
        z = torch.addmm(layer.bias, h, layer.weight.T)
        kept.append((layer.weight, z, act))
        h = act.forward(z)
    return h, kept
