"""Discrete inputs: their sites and values, the uniform law over them, and sums over all states where they are few."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebm_cli.energies.bases import Base
from ebm_cli.energies.energy import Energy, Support, energies

LARGEST = 2**22  # states that an enumeration visits at most
CHUNK = 65536


class Sites:
    """Discrete inputs ``(B, *shape)`` seen as ``n`` sites with one of ``k`` values each.

    Args:
        shape: of one input; the last axis of one-hot inputs runs over the values.
        support: binary, spins or one_hot.

    Raises:
        ValueError: for a continuous support.

    Example:
        >>> sites = Sites((2, 2), Support("spins"))
        >>> sites.n, sites.k, sites.points(torch.zeros(1, 4, dtype=torch.long)).tolist()
        (4, 2, [[[-1.0, -1.0], [-1.0, -1.0]]])
    """

    def __init__(self, shape, support: Support):
        if support.continuous:
            raise ValueError(f"sites need binary, spins or one_hot inputs, got {support.kind} ones")
        self.shape, self.kind = tuple(shape), support.kind
        self.k = self.shape[-1] if support.kind == "one_hot" else 2
        self.n = math.prod(self.shape[:-1] if support.kind == "one_hot" else self.shape)

    @property
    def low(self) -> float:
        """The smaller of the two values of a binary site or a spin; the larger is 1."""
        return -1.0 if self.kind == "spins" else 0.0

    def codes(self, x: Tensor) -> Tensor:
        """Indices of the values ``(B, n)`` of inputs ``x``."""
        if self.kind == "one_hot":
            return x.reshape(len(x), self.n, self.k).argmax(2)
        return (x.flatten(1) > 0.5 * (1 + self.low)).long()

    def points(self, codes: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Inputs ``(B, *shape)`` of codes ``(B, n)``."""
        if self.kind == "one_hot":
            x = torch.nn.functional.one_hot(codes, self.k).to(dtype)
        else:
            x = self.low + (1 - self.low) * codes.to(dtype)
        return x.view(len(codes), *self.shape)

    def first_order(self, x: Tensor, grad: Tensor) -> Tensor:
        """``grad . (x' - x)`` for every x' that differs from x at one site, ``(B, n, k)``; 0 where it does not."""
        if self.kind == "one_hot":
            slope = grad.reshape(len(x), self.n, self.k)
            return slope - (slope * x.reshape(slope.shape)).sum(2, keepdim=True)
        values = torch.tensor([self.low, 1.0], dtype=x.dtype, device=x.device)
        return grad.flatten(1)[:, :, None] * (values - x.flatten(1)[:, :, None])

    @property
    def jump(self) -> float:
        """``|x' - x|^2`` of a change at one site."""
        return {"binary": 1.0, "spins": 4.0, "one_hot": 2.0}[self.kind]

    def states(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """All ``k^n`` inputs, first site slowest.

        Raises:
            ValueError: if they are too many to enumerate.
        """
        if self.k**self.n > LARGEST:
            raise ValueError(f"{self.k}^{self.n} states are too many to enumerate; {LARGEST} are possible: use AIS")
        index = torch.arange(self.k**self.n)[:, None]
        return self.points(index // self.k ** torch.arange(self.n - 1, -1, -1) % self.k, dtype)


class UniformStates(Base):
    """Uniform over all binary, spin or one-hot inputs.

    Args:
        shape: shape of one input.
        support: binary, spins or one_hot.

    Example:
        >>> base = UniformStates((3,), support=Support("binary"))
        >>> round(float(base(torch.zeros(1, 3))), 4)  # 3 log 2
        2.0794
    """

    def __init__(self, shape, *, support: Support):
        super().__init__(shape, support)
        self.sites = Sites(self.shape, support)
        self.register_buffer("log_count", torch.tensor(self.sites.n * math.log(self.sites.k)))

    def forward(self, x: Tensor) -> Tensor:
        return self.log_count.to(x.dtype) + 0.0 * x.flatten(1).sum(1)  # 0 * x: a gradient of 0, rather than none

    def sample(self, n, generator=None):
        device = self.log_count.device
        codes = torch.randint(self.sites.k, (n, self.sites.n), device=device, generator=generator)
        return self.sites.points(codes, self.log_count.dtype)


def enumerated(energy: Energy, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """All states ``(S, *shape)`` and their log-probabilities ``(S,)`` before normalization, float64.

    Raises:
        ValueError: for a continuous energy, or one with too many states.
    """
    dtype, device = placed(energy)
    states = Sites(energy.shape, energy.support).states(dtype)
    values = [energies(energy, part.to(device)).cpu() for part in states.split(CHUNK)]
    return states, -torch.cat(values).double() / temperature


def placed(energy: Energy) -> tuple[torch.dtype, torch.device]:
    """Type and device of an energy's numbers; float32 on the CPU where it has none."""
    first = next((v for v in [*energy.parameters(), *energy.buffers()] if v.is_floating_point()), torch.zeros(()))
    return first.dtype, first.device


def exact_log_z(energy: Energy, temperature: float = 1.0) -> float:
    """``log sum_x exp(-E(x) / T)`` by enumeration; raises ValueError where that cannot be."""
    return float(torch.logsumexp(enumerated(energy, temperature)[1], 0))


def exact_sample(energy: Energy, n: int, generator=None, temperature: float = 1.0) -> Tensor:
    """``n`` independent draws by enumeration, ``(n, *shape)``; raises ValueError where that cannot be."""
    states, log_p = enumerated(energy, temperature)
    cumulative = torch.softmax(log_p, 0).cumsum(0)
    device = "cpu" if generator is None else generator.device
    u = torch.rand(n, dtype=torch.float64, generator=generator, device=device).cpu()
    return states[torch.searchsorted(cumulative, u * cumulative[-1])].to(placed(energy)[1])
