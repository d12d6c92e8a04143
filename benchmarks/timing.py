"""Time rivals in one run: interleaved rounds, medians, spreads."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import process_time
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")

clock = process_time
"""Processor time: for work in memory on one thread the same as wall time on a quiet machine, and
hardly affected by other processes on a busy one."""


@dataclass(frozen=True)
class Spread:
    """The median of some measurements, between the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], unit: float = 1.0) -> Spread:
        """Summarize the values, given in parts of `unit`."""
        return cls(median(values) / unit, min(values) / unit, max(values) / unit)

    def __str__(self) -> str:
        return f"{significant(self.median)} ({significant(self.low)}-{significant(self.high)})"


def significant(value: float) -> str:
    """Return a number with three significant digits, without an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Compare two rivals round by round: what slows a whole round down cancels out."""
    return Spread.of([a / b for a, b in zip(numerators, denominators, strict=True)])


def interleave(rivals: Mapping[K, Callable[[], T]], rounds: int) -> dict[K, list[T]]:
    """Measure each rival once a round (A B A B ...), after a round that is dropped."""
    measured: dict[K, list[T]] = {name: [] for name in rivals}
    # A full collection that walks through all of torch would hit one rival or another by chance.
    gc.collect()
    gc.freeze()
    for turn in range(rounds + 1):
        for name, measure in rivals.items():
            gc.collect()
            value = measure()
            if turn:
                measured[name].append(value)
    return measured


def seconds(function: Callable[[], object], clock: Callable[[], float] = clock) -> float:
    """Time one call, by processor time unless another clock is given."""
    start = clock()
    function()
    return clock() - start
