"""A multilayer perceptron that knows the noise level of its input."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ebm_cli.models.network import Network, marginal
from ebm_cli.models.network import activation as make_activation


class NoiseMLP(Network):
    """``E(x, t)``: minus ``data_std / t`` times a residual perceptron of ``(x - mean) / sqrt(t^2 + data_std^2)``.

    Scaled so, its input and what it must learn are of the same size at every noise level t (Karras et al. 2022). Mean
    and ``data_std`` are those of the training data. Add a base that knows levels (``tilted=true base=full_gaussian``),
    and the network only learns what is not Gaussian.

    Args:
        width: of every hidden layer.
        n_layers: hidden layers; all but the first add to what they get.
        activation: silu, relu, leaky_relu, elu, gelu, softplus or tanh.
        n_frequencies: random sines and cosines of ``log t`` that every hidden layer sees.
        scale: factor of the output, so that large energies need no large weights.
        sigma_min: the level meant where none is given, in the units of the data.

    Example:
        >>> NoiseMLP((1, 8, 8), width=16)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape,
        *,
        width: int = 256,
        n_layers: int = 2,
        activation: str = "silu",
        n_frequencies: int = 16,
        scale: float = 8.0,
        sigma_min: float = 0.07,
        **supplied,
    ):
        super().__init__(shape, **supplied)
        self.scale, self.level = scale, float(sigma_min)
        self.act = make_activation(activation)
        self.first = nn.Linear(math.prod(self.shape), width)
        self.others = nn.ModuleList(nn.Linear(width, width) for _ in range(n_layers - 1))
        self.level_layer = nn.Linear(2 * n_frequencies, n_layers * width)
        self.last = nn.Linear(width, self.n_outputs)
        self.register_buffer("frequencies", torch.randn(n_frequencies))
        self.register_buffer("mean", torch.zeros(self.shape))
        self.register_buffer("data_std", torch.ones(()))

    def fit(self, x: Tensor) -> None:
        self.mean.copy_(x.mean(0))
        self.data_std.copy_((x - x.mean(0)).square().mean().sqrt())

    def forward(self, x: Tensor, y: Tensor | None = None, t: Tensor | None = None) -> Tensor:
        outputs = self.outputs(x, t=t)
        if self.joint:
            return marginal(outputs) if y is None else outputs.gather(1, y[:, None])[:, 0]
        return outputs[:, 0]

    def outputs(self, x: Tensor, y: Tensor | None = None, t: Tensor | None = None) -> Tensor:
        return self.outputs_kept(x, t)[0]

    def outputs_kept(self, x: Tensor, t: Tensor | None) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
        """The outputs, and what the way back needs: pre-activations, factor of the input, factor of the output."""
        t = torch.full((len(x),), self.level, dtype=x.dtype, device=x.device) if t is None else t.to(x.dtype)
        t = t[:, None]
        shrunk, grown = (t.square() + self.data_std.square()).rsqrt(), -self.scale * self.data_std / t
        first, *others = self.level_layer(self.features(t)).chunk(1 + len(self.others), 1)
        kept = [self.first((x - self.mean).flatten(1) * shrunk) + first]
        h = self.act(kept[0])
        for layer, level in zip(self.others, others, strict=True):
            kept.append(layer(h) + level)
            h = h + self.act(kept[-1])
        return grown * self.last(h), kept, shrunk, grown

    def features(self, t: Tensor) -> Tensor:
        """Cosines and sines of the logarithm of levels ``(B, 1)``."""
        angles = 0.5 * math.pi * t.log() * self.frequencies
        return torch.cat([angles.cos(), angles.sin()], 1)
