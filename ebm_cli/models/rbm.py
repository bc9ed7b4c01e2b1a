"""The restricted Boltzmann machine with binary visible and hidden units (Smolensky 1986; Hinton 2002)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ebm_cli.models.discrete import Sites, exact_log_z
from ebm_cli.models.energy import Energy, Support

LARGEST = 20  # units on the smaller side, for an exact log Z
BINARY = Support("binary")


class RBM(Energy):
    """Free energy ``-b.v - sum_j softplus(c_j + (v W)_j)`` of visible units v, hidden ones summed out.

    Args:
        shape: of the visible units; None is a vector of ``n_visible``.
        n_visible: number of visible units without a data set; a data set brings its own shape.
        n_hidden: number of hidden units.
        weight_std: standard deviation of the initial weights; biases start at 0.
    """

    def __init__(
        self,
        shape: Sequence[int] | None = None,
        *,
        n_visible: int = 16,
        n_hidden: int = 16,
        weight_std: float = 0.01,
        support: Support = BINARY,
    ):
        if support.kind != "binary":
            raise ValueError(f"an RBM needs binary data (0 or 1), and these are {support.kind}")
        if n_visible < 1 or n_hidden < 1 or weight_std < 0:
            found = f"got {n_visible}, {n_hidden}, {weight_std}"
            raise ValueError(f"n_visible >= 1, n_hidden >= 1, weight_std >= 0 expected, {found}")
        super().__init__((n_visible,) if shape is None else shape, BINARY)
        d = math.prod(self.shape)
        self.weight = nn.Parameter(weight_std * torch.randn(d, n_hidden))
        self.visible_bias = nn.Parameter(torch.zeros(d))
        self.hidden_bias = nn.Parameter(torch.zeros(n_hidden))

    def forward(self, x: Tensor) -> Tensor:
        v = x.flatten(1)
        return -(v @ self.visible_bias) - softplus(v @ self.weight + self.hidden_bias).sum(1)

    def hidden_probability(self, x: Tensor) -> Tensor:
        """``p(h_j = 1 | v)``, ``(B, n_hidden)``."""
        return torch.sigmoid(x.flatten(1) @ self.weight + self.hidden_bias)

    def visible_probability(self, h: Tensor) -> Tensor:
        """``p(v_i = 1 | h)``, ``(B, *shape)``."""
        return torch.sigmoid(h @ self.weight.T + self.visible_bias).view(-1, *self.shape)

    def gibbs_step(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Hidden units given visible ones, then visible given hidden (block Gibbs at temperature 1)."""
        return bernoulli(self.visible_probability(bernoulli(self.hidden_probability(x), generator)), generator)

    def log_z(self, temperature: float = 1.0) -> float:
        """Exact ``log Z`` by enumeration of the smaller side.

        Raises:
            ValueError: at other temperatures than 1, or with more than 20 units on both sides.
        """
        if temperature != 1.0:
            raise ValueError(f"an RBM's exact log Z is that at temperature 1, got {temperature}")
        d, n_hidden = self.weight.shape
        if min(d, n_hidden) > LARGEST:
            raise ValueError(f"{d} visible and {n_hidden} hidden units are too many for an exact log Z: use AIS")
        if d < n_hidden:
            return exact_log_z(self)
        return float(torch.logsumexp(self.hidden_log_weights(), 0))

    def hidden_log_weights(self) -> Tensor:
        """``log sum_v exp(-E(v, h))`` of every hidden state, ``(2^n_hidden,)``, float64."""
        h = Sites((self.weight.shape[1],), BINARY).states(torch.float64)
        with torch.no_grad():
            weight, b, c = (p.double().cpu() for p in (self.weight, self.visible_bias, self.hidden_bias))
            return torch.cat([part @ c + softplus(part @ weight.T + b).sum(1) for part in h.split(65536)])

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` exact draws: hidden states by enumeration, then visible ones; ValueError for more than 20 hidden."""
        n_hidden = self.weight.shape[1]
        if n_hidden > LARGEST:
            raise ValueError(f"{n_hidden} hidden units are too many to draw exactly, {LARGEST} are possible")
        cumulative = torch.softmax(self.hidden_log_weights(), 0).cumsum(0)
        device = self.weight.device
        u = torch.rand(n, dtype=torch.float64, device=device, generator=generator).cpu()
        index = torch.searchsorted(cumulative, u * cumulative[-1])
        h = Sites((n_hidden,), BINARY).states(self.weight.dtype)[index].to(device)
        with torch.no_grad():
            return bernoulli(self.visible_probability(h), generator)


def bernoulli(p: Tensor, generator) -> Tensor:
    """Zeros and ones with probabilities ``p``."""
    return (torch.rand(p.shape, device=p.device, dtype=p.dtype, generator=generator) < p).to(p.dtype)
