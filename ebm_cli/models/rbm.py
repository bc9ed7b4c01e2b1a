"""Restricted Boltzmann machines: binary hidden units, binary or Gaussian visible ones (Smolensky 1986; Hinton 2002)."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ebm_cli.energies.discrete import Sites, exact_log_z
from ebm_cli.energies.energy import REAL, Energy, Support

LARGEST = 20  # units on the smaller side, for an exact log Z
LEAST = 0.01  # distance from 0 and 1 of the frequencies that biases are set to
BINARY = Support("binary")


class Boltzmann(Energy):
    """What both machines share: parameters, centering, the hidden units given the visible ones.

    With ``center``, the weights multiply ``(v - m) (h - 1/2)``, m the mean of the training data, which is the same
    family of densities with better conditioned gradients (Montavon & Mueller 2012; Melchior et al. 2016).

    Args: see ``RBM``.
    """

    def __init__(self, shape, support: Support, n_hidden: int, weight_std: float, center: bool):
        if n_hidden < 1 or weight_std < 0 or math.prod(shape) < 1:
            found = f"got n_visible={math.prod(shape)}, n_hidden={n_hidden}, weight_std={weight_std}"
            raise ValueError(f"n_visible >= 1, n_hidden >= 1 and weight_std >= 0 expected, {found}")
        super().__init__(shape, support)
        d = math.prod(self.shape)
        self.center = center
        self.weight = nn.Parameter(weight_std * torch.randn(d, n_hidden))
        self.visible_bias = nn.Parameter(torch.zeros(d))
        self.hidden_bias = nn.Parameter(torch.zeros(n_hidden))
        self.register_buffer("visible_offset", torch.zeros(d))
        self.register_buffer("hidden_offset", torch.full((n_hidden,), 0.5 if center else 0.0))

    def biases(self) -> tuple[Tensor, Tensor]:
        """Visible and hidden biases of the same machine without offsets."""
        if not self.center:
            return self.visible_bias, self.hidden_bias
        visible = self.visible_bias - self.weight @ self.hidden_offset
        return visible, self.hidden_bias - self.from_visible(self.visible_offset)

    def hidden_probability(self, x: Tensor) -> Tensor:
        """The latents ``p(h_j = 1 | v)``, ``(B, n_hidden)``."""
        return torch.sigmoid(self.hidden_input(x.flatten(1)))

    def hidden_input(self, v: Tensor) -> Tensor:
        """What visible units ``(B, d)`` and biases together put into the hidden ones, ``(B, n_hidden)``."""
        return self.from_visible(v) + self.biases()[1]

    def from_visible(self, v: Tensor) -> Tensor:
        """What visible units alone put into the hidden ones."""
        return v @ self.weight

    def hidden_states(self) -> Tensor:
        """All hidden states ``(2^n_hidden, n_hidden)``, float64.

        Raises:
            ValueError: for more than 20 hidden units.
        """
        n_hidden = self.weight.shape[1]
        if n_hidden > LARGEST:
            raise ValueError(f"{n_hidden} hidden units are too many to enumerate, {LARGEST} are possible: use AIS")
        return Sites((n_hidden,), BINARY).states(torch.float64)

    def exact_hidden(self, n: int, generator: torch.Generator | None) -> Tensor:
        """``n`` exact draws of the hidden units."""
        cumulative = torch.softmax(self.hidden_log_weights(), 0).cumsum(0)
        device = self.weight.device
        u = torch.rand(n, dtype=torch.float64, device=device, generator=generator).cpu()
        return self.hidden_states()[torch.searchsorted(cumulative, u * cumulative[-1])].to(self.weight)

    @abc.abstractmethod
    def hidden_log_weights(self) -> Tensor:
        """``log integral over v of exp(-E(v, h))`` of every hidden state, ``(2^n_hidden,)``, float64."""


class RBM(Boltzmann):
    """Free energy ``-b.v - sum_j softplus(c_j + (v W)_j)`` of binary visible units v, hidden ones summed out.

    Args:
        shape: of the visible units; None is a vector of ``n_visible``.
        n_visible: number of visible units without a data set; a data set brings its own shape.
        n_hidden: number of hidden units.
        weight_std: standard deviation of the initial weights; hidden biases start at 0.
        center: subtract the mean of the data and 1/2 from visible and hidden units; see ``Boltzmann``.
        fit_bias: start the visible biases at the log-odds of the training data, instead of 0.

    Example:
        >>> machine = RBM(n_visible=4, n_hidden=3)
        >>> machine(torch.ones(2, 4)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape: Sequence[int] | None = None,
        *,
        n_visible: int = 16,
        n_hidden: int = 16,
        weight_std: float = 0.01,
        center: bool = False,
        fit_bias: bool = True,
        support: Support = BINARY,
    ):
        if support.kind != "binary":
            raise ValueError(f"an RBM needs binary data (0 or 1), and these are {support.kind}; try model=gaussian_rbm")
        super().__init__((n_visible,) if shape is None else shape, BINARY, n_hidden, weight_std, center)
        self.fit_bias = fit_bias

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        mean = x.flatten(1).mean(0)
        if self.center:
            self.visible_offset.copy_(mean)
        if self.fit_bias:
            self.visible_bias.copy_(torch.logit(mean, LEAST) + self.weight @ self.hidden_offset)

    def forward(self, x: Tensor) -> Tensor:
        v = x.flatten(1)
        b, c = self.biases()
        return -(v @ b) - softplus(v @ self.weight + c).sum(1)

    def visible_probability(self, h: Tensor) -> Tensor:
        """``p(v_i = 1 | h)``, ``(B, *shape)``."""
        return torch.sigmoid(h @ self.weight.T + self.biases()[0]).view(-1, *self.shape)

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

    @torch.no_grad()
    def hidden_log_weights(self) -> Tensor:
        weight, b, c = (p.double().cpu() for p in (self.weight, *self.biases()))
        parts = self.hidden_states().split(65536)
        return torch.cat([part @ c + softplus(part @ weight.T + b).sum(1) for part in parts])

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` exact draws: hidden states by enumeration, then visible ones; ValueError for more than 20 hidden."""
        return bernoulli(self.visible_probability(self.exact_hidden(n, generator)), generator)


class GaussianRBM(Boltzmann):
    """Free energy ``|v - b|^2 / (2 s^2) - sum_j softplus(c_j + (v W)_j / s^2)`` of real visible units.

    Given the hidden units, the visible ones are Gaussian with mean ``b + W h`` and standard deviation s.

    Args:
        shape, n_visible, n_hidden, weight_std, center: see ``RBM``; the visible biases start at the mean of the data.
        std: s, in the units of the data; null learns it, from the standard deviation of the data.

    Example:
        >>> machine = GaussianRBM(n_visible=4, n_hidden=3, std=1.0)
        >>> machine(torch.ones(2, 4)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape: Sequence[int] | None = None,
        *,
        n_visible: int = 16,
        n_hidden: int = 16,
        weight_std: float = 0.01,
        center: bool = False,
        std: float | None = None,
        support: Support = REAL,
    ):
        if not support.continuous:
            raise ValueError(f"a Gaussian RBM needs continuous data, and these are {support.kind}; try model=rbm")
        if std is not None and not std > 0:
            raise ValueError(f"std must be positive or null, got {std}")
        super().__init__((n_visible,) if shape is None else shape, support, n_hidden, weight_std, center)
        self.learn_std = std is None
        self.log_std = nn.Parameter(torch.tensor(math.log(std or 1.0)), requires_grad=self.learn_std)

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        mean = x.flatten(1).mean(0)
        if self.center:
            self.visible_offset.copy_(mean)
        if self.learn_std:
            self.log_std.copy_((x.flatten(1) - mean).square().mean().sqrt().log())
        self.visible_bias.copy_(mean + self.weight @ self.hidden_offset)

    @property
    def variance(self) -> Tensor:
        return (2 * self.log_std).exp()

    def forward(self, x: Tensor) -> Tensor:
        v, b = x.flatten(1), self.biases()[0]
        return 0.5 * (v - b).square().sum(1) / self.variance - softplus(self.hidden_input(v)).sum(1)

    def from_visible(self, v: Tensor) -> Tensor:
        return v @ self.weight / self.variance

    def visible_mean(self, h: Tensor) -> Tensor:
        """``E(v | h)``, ``(B, *shape)``."""
        return (self.biases()[0] + h @ self.weight.T).view(-1, *self.shape)

    def gibbs_step(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Hidden units given visible ones, then visible given hidden (block Gibbs at temperature 1)."""
        return self.visible_draw(bernoulli(self.hidden_probability(x), generator), generator)

    def visible_draw(self, h: Tensor, generator) -> Tensor:
        mean = self.visible_mean(h)
        return mean + self.log_std.exp() * torch.empty_like(mean).normal_(generator=generator)

    def log_z(self, temperature: float = 1.0) -> float:
        """Exact ``log Z`` by enumeration of the hidden units.

        Raises:
            ValueError: at other temperatures than 1, or with more than 20 hidden units.
        """
        if temperature != 1.0:
            raise ValueError(f"an RBM's exact log Z is that at temperature 1, got {temperature}")
        return float(torch.logsumexp(self.hidden_log_weights(), 0))

    @torch.no_grad()
    def hidden_log_weights(self) -> Tensor:
        weight, b, c, variance = (p.double().cpu() for p in (self.weight, *self.biases(), self.variance))
        log_norm = 0.5 * len(b) * torch.log(2 * math.pi * variance)
        found = []
        for h in self.hidden_states().split(65536):
            mean = b + h @ weight.T
            found.append(h @ c + 0.5 * (mean.square().sum(1) - b.square().sum()) / variance + log_norm)
        return torch.cat(found)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` exact draws: hidden states by enumeration, then visible ones; ValueError for more than 20 hidden."""
        return self.visible_draw(self.exact_hidden(n, generator), generator)


def bernoulli(p: Tensor, generator) -> Tensor:
    """Zeros and ones with probabilities ``p``."""
    return torch.rand(p.shape, device=p.device, dtype=p.dtype, generator=generator).lt_(p)
