"""Timing that a busy machine can bear: two programs by turns, processor time of one thread, ratios within a round."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Ratio:
    """How many times as long ``slow`` takes as ``fast``: median and range over rounds; seconds are medians."""

    median: float
    low: float
    high: float
    slow: float
    fast: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def compare(slow: Callable[[], object], fast: Callable[[], object], rounds: int, calls: int = 1) -> Ratio:
    """Times two programs ``rounds`` times in turn, A B then B A, after one call of each to warm up.

    Args:
        calls: how often each is called within one timing; for programs of a few milliseconds.
    """
    slow(), fast()
    pairs = []
    for turn in range(rounds):
        if turn % 2:
            b, a = seconds(fast, calls), seconds(slow, calls)
        else:
            a, b = seconds(slow, calls), seconds(fast, calls)
        pairs.append((a, b))
    ratios = sorted(a / b for a, b in pairs)
    slow_median, fast_median = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Ratio(statistics.median(ratios), ratios[0], ratios[-1], slow_median, fast_median)


def seconds(program: Callable[[], object], calls: int) -> float:
    """Processor time of one call, the collector of garbage held back."""
    gc.collect()
    gc.disable()
    try:
        since = time.process_time()
        for _ in range(calls):
            program()
        return (time.process_time() - since) / calls
    finally:
        gc.enable()
