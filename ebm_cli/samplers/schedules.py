"""Schedules of step sizes and temperatures over a chain, for any option that takes a number: ``(i, n) -> number``."""

from __future__ import annotations

import math


class Polynomial:
    """``a (b + i)^-gamma``: the decreasing steps of SGLD, gamma in (1/2, 1] (Welling & Teh 2011).

    Args:
        a: scale; the first value is ``a b^-gamma``.
        b: delay in steps, positive.
        gamma: decay, 0 for a constant.
    """

    def __init__(self, *, a: float, b: float = 1.0, gamma: float = 0.55):
        if not (a > 0 and b > 0 and gamma >= 0):
            raise ValueError(f"a and b must be positive and gamma not negative, got a={a}, b={b}, gamma={gamma}")
        self.a, self.b, self.gamma = a, b, gamma

    def __call__(self, i: int, n: int) -> float:
        return self.a * (self.b + i) ** -self.gamma


class Geometric:
    """From ``first`` to ``last`` by equal factors.

    Args:
        first, last: values of the first and the last step, both positive.
    """

    def __init__(self, *, first: float, last: float):
        check_positive(first, last)
        self.first, self.last = first, last

    def __call__(self, i: int, n: int) -> float:
        return self.first * (self.last / self.first) ** (i / max(1, n - 1))


class Cosine:
    """From ``first`` to ``last`` along half a cosine.

    Args:
        first, last: values of the first and the last step, both positive.
    """

    def __init__(self, *, first: float, last: float):
        check_positive(first, last)
        self.first, self.last = first, last

    def __call__(self, i: int, n: int) -> float:
        return self.last + (self.first - self.last) * 0.5 * (1 + math.cos(math.pi * i / max(1, n - 1)))


class Ramp:
    """0 until step ``begin``, from there linearly to ``top`` at step ``end``, which it stays at.

    As a temperature: noise flows down the gradient to the data first, and the heat that follows spreads it over them.

    Args:
        begin, end: steps, counted from 0 however long the chain is; equal for a jump.
        top: last value, not negative.
    """

    def __init__(self, *, begin: int, end: int, top: float):
        if not (0 <= begin <= end and top >= 0):
            raise ValueError(f"a ramp needs 0 <= begin <= end and top >= 0, got begin={begin}, end={end}, top={top}")
        self.begin, self.end, self.top = begin, end, top

    def __call__(self, i: int, n: int) -> float:
        if i < self.begin:
            return 0.0
        return self.top if i >= self.end else self.top * (i - self.begin) / (self.end - self.begin)


def check_positive(first: float, last: float) -> None:
    if not (first > 0 and last > 0):
        raise ValueError(f"first and last must be positive, got {first} and {last}")
