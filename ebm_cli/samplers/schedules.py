"""Schedules of step sizes and temperatures over a chain, for any option that takes a number: ``(i, n) -> number``."""

import math
from dataclasses import dataclass


@dataclass(kw_only=True, eq=False)
class Polynomial:
    """``a (b + i)^-gamma``: the decreasing steps of SGLD, gamma in (1/2, 1] (Welling & Teh 2011).

    Args:
        a: scale; the first value is ``a b^-gamma``.
        b: delay in steps, positive.
        gamma: decay, 0 for a constant.

    Example:
        >>> schedule = Polynomial(a=0.1, gamma=1.0)
        >>> [round(schedule(i, 100), 3) for i in (0, 9)]
        [0.1, 0.01]
    """

    a: float
    b: float = 1.0
    gamma: float = 0.55

    def __post_init__(self):
        if not (self.a > 0 and self.b > 0 and self.gamma >= 0):
            found = f"a={self.a}, b={self.b}, gamma={self.gamma}"
            raise ValueError(f"a and b must be positive and gamma not negative, got {found}")

    def __call__(self, i: int, n: int) -> float:
        return self.a * (self.b + i) ** -self.gamma


@dataclass(kw_only=True, eq=False)
class Geometric:
    """From ``first`` to ``last`` by equal factors.

    Args:
        first, last: values of the first and the last step, both positive.

    Example:
        >>> schedule = Geometric(first=1.0, last=0.01)
        >>> [round(schedule(i, 3), 3) for i in range(3)]
        [1.0, 0.1, 0.01]
    """

    first: float
    last: float

    def __post_init__(self):
        check_positive(self.first, self.last)

    def __call__(self, i: int, n: int) -> float:
        return self.first * (self.last / self.first) ** (i / max(1, n - 1))


@dataclass(kw_only=True, eq=False)
class Cosine:
    """From ``first`` to ``last`` along half a cosine.

    Args:
        first, last: values of the first and the last step, both positive.

    Example:
        >>> schedule = Cosine(first=1.0, last=0.01)
        >>> [round(schedule(i, 3), 3) for i in range(3)]
        [1.0, 0.505, 0.01]
    """

    first: float
    last: float

    def __post_init__(self):
        check_positive(self.first, self.last)

    def __call__(self, i: int, n: int) -> float:
        return self.last + (self.first - self.last) * 0.5 * (1 + math.cos(math.pi * i / max(1, n - 1)))


@dataclass(kw_only=True, eq=False)
class Ramp:
    """0 until step ``begin``, from there linearly to ``top`` at step ``end``, which it stays at.

    As a temperature: noise flows down the gradient to the data first, and the heat that follows spreads it over them.

    Args:
        begin, end: steps, counted from 0 however long the chain is; equal for a jump.
        top: last value, not negative.

    Example:
        >>> schedule = Ramp(begin=2, end=4, top=1.0)
        >>> [schedule(i, 6) for i in range(6)]
        [0.0, 0.0, 0.0, 0.5, 1.0, 1.0]
    """

    begin: int
    end: int
    top: float

    def __post_init__(self):
        if not (0 <= self.begin <= self.end and self.top >= 0):
            found = f"begin={self.begin}, end={self.end}, top={self.top}"
            raise ValueError(f"a ramp needs 0 <= begin <= end and top >= 0, got {found}")

    def __call__(self, i: int, n: int) -> float:
        if i < self.begin:
            return 0.0
        return self.top if i >= self.end else self.top * (i - self.begin) / (self.end - self.begin)


def check_positive(first: float, last: float) -> None:
    if not (first > 0 and last > 0):
        raise ValueError(f"first and last must be positive, got {first} and {last}")
