"""What an energy is: a module that maps ``(B, *shape)`` to ``(B,)`` and knows where it is defined."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

KINDS = ("real", "box", "binary", "spins", "one_hot")


@dataclass(frozen=True)
class Support:
    """The set of inputs an energy is defined on.

    ``kind`` is one of ``real`` (all of R^d), ``box`` (every entry in ``[low, high]``), ``binary`` (0 or 1), ``spins``
    (-1 or +1) and ``one_hot`` (one-hot along the last axis). ``low`` and ``high`` belong to ``box`` alone.

    Raises:
        ValueError: for an unknown kind, or a box whose ``low`` is not below its ``high``.

    Example:
        >>> str(Support("box", -1.0, 1.0)), Support("binary").continuous
        ('in [-1, 1]', False)
    """

    kind: str = "real"
    low: float | None = None
    high: float | None = None

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"support kind {self.kind!r} is unknown; choose one of {', '.join(KINDS)}")
        if self.kind == "box" and not (self.low is not None and self.high is not None and self.low < self.high):
            raise ValueError(f"a box needs low < high, got [{self.low}, {self.high}]")

    @property
    def continuous(self) -> bool:
        return self.kind in ("real", "box")

    def __str__(self) -> str:
        return f"in [{self.low:g}, {self.high:g}]" if self.kind == "box" else self.kind.replace("_", "-")

    def as_dict(self) -> dict:
        """Plain values, as stored with a run; ``Support(**d)`` gives it back."""
        return {"kind": self.kind, "low": self.low, "high": self.high}


REAL = Support()


def box(low: float, high: float) -> Support:
    """The support of data whose every entry lies in ``[low, high]``."""
    return Support("box", float(low), float(high))


class Energy(nn.Module, abc.ABC):
    """Base of everything that has an energy: networks, closed forms, bases and compositions.

    Subclasses implement ``forward(x)``, and take ``y`` (class labels ``(B,)``) or ``t`` (noise levels ``(B,)``) as
    keywords where they can be conditioned. Samplers never see those keywords: they get ``energy.given(y=...)``.

    Args:
        shape: shape of one input, without the batch.
        support: where the energy is defined.

    Attributes:
        n_classes: number of class labels the energy can be given, or None.
        level: the noise level meant where an energy that takes levels is given none, or None.

    Example:
        >>> class Quadratic(Energy):
        ...     def forward(self, x):
        ...         return 0.5 * x.square().sum(1)
        >>> value, grad = Quadratic((2,)).value_and_grad(torch.ones(1, 2))
        >>> float(value), grad.tolist()
        (1.0, [[1.0, 1.0]])
    """

    n_classes: int | None = None
    level: float | None = None

    def __init__(self, shape, support: Support = REAL):
        super().__init__()
        self.shape = tuple(int(s) for s in shape)
        self.support = support

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Energies ``(B,)`` of inputs ``(B, *shape)``."""

    def given(self, y: Tensor | None = None, t: Tensor | None = None) -> Energy:
        """This energy with labels ``y`` and / or noise levels ``t``, ``(B,)`` each, bound row by row."""
        return self if y is None and t is None else Given(self, y, t)

    def fit(self, x: Tensor) -> None:
        """Sets, before training, what is estimated from training data ``x`` ``(N, *shape)``: usually nothing."""

    def rows(self, index) -> Energy:
        """The energy of the rows ``index`` alone: re-indexes whatever is bound per row (here: nothing)."""
        return self

    def with_networks(self, replace: Callable[[Energy], Energy]) -> Energy:
        """This energy with ``replace(network)`` in place of every learned network in it (here: there is none)."""
        return self

    def value_and_grad(self, x: Tensor, **given: Tensor) -> tuple[Tensor, Tensor]:
        """Energies ``(B,)`` and their gradient ``(B, *shape)`` at ``x``, detached: one forward, one backward.

        Energies whose gradient is cheaper written out override this; chains spend nearly all their time here.

        Args:
            given: keywords of ``forward``: labels ``y``, noise levels ``t``.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            values = self(x, **given)
            (grad,) = torch.autograd.grad(values, x, torch.ones_like(values))
        return values.detach(), grad


class Given(Energy):
    """An energy with labels or noise levels bound to the rows of the batch; made by ``Energy.given``."""

    def __init__(self, energy: Energy, y: Tensor | None, t: Tensor | None):
        super().__init__(energy.shape, energy.support)
        self.energy, self.y, self.t = energy, y, t
        self.level = energy.level if t is None else None

    @property
    def bound(self) -> dict[str, Tensor]:
        """What is bound, by keyword."""
        return {k: v for k, v in (("y", self.y), ("t", self.t)) if v is not None}

    def forward(self, x: Tensor) -> Tensor:
        return self.energy(x, **self.bound)

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.energy.value_and_grad(x, **self.bound)

    def given(self, y=None, t=None) -> Energy:
        return Given(self.energy, self.y if y is None else y, self.t if t is None else t)

    def with_networks(self, replace) -> Energy:
        return Given(self.energy.with_networks(replace), self.y, self.t)

    def rows(self, index) -> Energy:
        pick = lambda v: None if v is None else v[index]  # noqa: E731
        return Given(self.energy.rows(index), pick(self.y), pick(self.t))


class Plain(Energy):
    """Any callable ``(B, *shape) -> (B,)`` as a real-valued energy; samplers wrap callables with it."""

    def __init__(self, function, shape=()):
        super().__init__(shape)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def as_energy(energy, shape=()) -> Energy:
    """``energy`` itself, or a plain callable as a real-valued ``Energy`` of inputs of ``shape``."""
    return energy if isinstance(energy, Energy) else Plain(energy, shape)


def energies(energy: Energy, x: Tensor, *, chunk_size: int | None = None) -> Tensor:
    """Energies ``(B,)`` at ``x`` without a gradient, at most ``chunk_size`` rows at a time."""
    if chunk_size and len(x) > chunk_size:
        slices = [slice(start, start + chunk_size) for start in range(0, len(x), chunk_size)]
        return torch.cat([energies(energy.rows(index), x[index]) for index in slices])
    with torch.no_grad():
        return energy(x)


def energy_and_grad(energy: Energy, x: Tensor, *, chunk_size: int | None = None, create_graph: bool = False):
    """Energies ``(B,)`` and their gradient ``(B, *shape)`` at ``x``: one forward, one backward to the input alone.

    Args:
        chunk_size: evaluate at most so many rows at a time (memory falls, the result does not change).
        create_graph: keep the graph, so that the gradient itself can be differentiated.
    """
    if chunk_size and len(x) > chunk_size:
        parts = []
        for start in range(0, len(x), chunk_size):
            index = slice(start, start + chunk_size)
            parts.append(energy_and_grad(energy.rows(index), x[index], create_graph=create_graph))
        return tuple(torch.cat(p) for p in zip(*parts, strict=True))
    if not create_graph:
        return energy.value_and_grad(x)
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        values = energy(x)
        (grad,) = torch.autograd.grad(values.sum(), x, create_graph=True)
    return values, grad


def needs_labels(energy: Energy) -> bool:
    """Whether ``energy`` is class-conditional through its input (a joint model marginalizes its labels instead)."""
    return bool(energy.n_classes) and not getattr(energy, "joint", False)
