"""Cyclical schedules: the rate rises again, once or many times."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import count, pairwise, takewhile
from typing import Any, ClassVar

from sklr._validation import ParameterValueError
from sklr.schedules._base import (
    ROUNDING,
    BaseSchedule,
    Scalar,
    between,
    even_cycle,
    even_end,
    half_cosine,
    locate,
)

TRIANGULAR_MODES = ("triangular", "triangular2", "exp_range")
ANNEALS = ("cos", "linear")


@dataclass(frozen=True, kw_only=True)
class CyclicalLR(BaseSchedule):
    """Smith's cyclical rate: linearly up and down between two bounds.

    With s = `step_size`, ``cycle = floor(1 + t/(2s))`` and ``x = abs(t/s - 2*cycle + 1)`` the rate
    is ``base + (max - base) * max(0, 1 - x)``, its amplitude scaled as `mode` says.

    Parameters
    ----------
    base_lr : float
        The rate at both ends of a cycle, at least 0.
    max_lr : float
        The peak, above `base_lr`.
    step_size : float
        Half a cycle, in steps, at least 0.5.
    mode : {'triangular', 'triangular2', 'exp_range'}, default='triangular'
        The amplitude: the same in every cycle, halved after each cycle, or multiplied by
        ``gamma**t`` with t counted from the start of the training.
    gamma : float, default=1.0
        Decay per step in mode 'exp_range', above 0 and at most 1; other modes ignore it.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range.

    References
    ----------
    Smith: Cyclical learning rates for training neural networks. WACV 2017.

    Examples
    --------
    >>> from sklr.schedules import CyclicalLR
    >>> CyclicalLR(base_lr=0.0, max_lr=1.0, step_size=2)([0, 1, 2, 3, 4])
    array([0. , 0.5, 1. , 0.5, 0. ])
    """

    base_lr: float
    max_lr: float
    step_size: float
    mode: str = "triangular"
    gamma: float = 1.0

    _lengths: ClassVar[tuple[str, ...] | None] = ("step_size",)
    _step_factors: ClassVar[tuple[str, ...]] = ("gamma",)

    def __post_init__(self) -> None:
        self._bounds("base_lr", "max_lr")
        self._number("step_size", at_least=0.5)
        self._option("mode", TRIANGULAR_MODES)
        self._number("gamma", above=0, at_most=1)

    def _rate(self, t: Any, xp: Any) -> Any:
        return between(self.base_lr, self.max_lr, self._weight(t, xp))

    def _weight(self, t: Any, xp: Any) -> Any:
        """Return the height above the base as a part of the whole amplitude."""
        cycle = xp.floor(1 + t / (2 * self.step_size))
        # From 1 at a cycle's start over 0 at its peak to 1 at its end; rounding may pass 1.
        x = abs(t / self.step_size - 2 * cycle + 1)
        height = xp.maximum(0.0, 1.0 - x)
        # Cycles count from 1 here, so that the first has the whole amplitude.
        if self.mode == "triangular2":
            return height * 0.5 ** (cycle - 1)
        if self.mode == "exp_range":
            return height * self.gamma**t
        return height

    def _snapshot_steps(self, n_steps: int) -> tuple[int, ...]:
        return _whole_ends((2 * self.step_size * k for k in count(1)), n_steps)


@dataclass(frozen=True, kw_only=True)
class SGDR(BaseSchedule):
    """SGDR: cosine falls with warm restarts, cycles that may lengthen, bounds that may decay.

    In cycle i (from 0) of length ``T_i = cycle_length * cycle_mult**i`` the rate falls as
    ``min_i + (max_i - min_i)/2 * (1 + cos(pi * T_cur / T_i))`` from ``max_i = max_lr *
    max_decay**i`` towards ``min_i = min_lr * min_decay**i``. The cumulated ends of the cycles are
    rounded to whole steps, not their lengths. Cycles that shrink end once one would be under a
    step long; the last minimum is held from there on.

    Parameters
    ----------
    min_lr : float, default=0.0
        The floor of the first cycle, at least 0.
    max_lr : float
        The peak of the first cycle, above `min_lr`.
    cycle_length : float
        Steps in the first cycle, at least 1.
    cycle_mult : float, default=1.0
        What each cycle multiplies the length by, above 0; any real number.
    max_decay, min_decay : float, default=1.0
        What each restart multiplies the peak and the floor by, above 0 and at most 1.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range, or the floor would pass its peak in some cycle.

    References
    ----------
    Loshchilov, Hutter: SGDR: stochastic gradient descent with warm restarts. ICLR 2017.

    Examples
    --------
    >>> from sklr.schedules import SGDR
    >>> schedule = SGDR(max_lr=1.0, cycle_length=2, cycle_mult=2)
    >>> schedule([0, 1, 2, 4, 6]).round(6)
    array([1. , 0.5, 1. , 0.5, 1. ])
    >>> schedule.snapshot_steps(20)
    (2, 6, 14)
    """

    min_lr: float = 0.0
    max_lr: float
    cycle_length: float
    cycle_mult: float = 1.0
    max_decay: float = 1.0
    min_decay: float = 1.0

    _lengths: ClassVar[tuple[str, ...] | None] = ("cycle_length",)

    def __post_init__(self) -> None:
        self._bounds("min_lr", "max_lr")
        self._number("cycle_length", at_least=1)
        self._number("cycle_mult", above=0)
        self._number("max_decay", above=0, at_most=1)
        self._number("min_decay", above=0, at_most=1)
        crossing = self._crossing()
        if crossing is not None:
            requirement = (
                f"be at most max_decay={self.max_decay:g} if min_lr is above 0: "
                f"the floor would pass its peak in cycle {crossing + 1}"
            )
            raise ParameterValueError(self, "min_decay", requirement, self.min_decay)

    def _crossing(self) -> int | None:
        """Return the first cycle, from 0, whose floor reaches its peak."""
        if self.min_lr == 0 or self.min_decay <= self.max_decay:
            return None
        # Solved for i: min_lr * min_decay**i = max_lr * max_decay**i.
        ratio = math.log(self.max_lr / self.min_lr) / math.log(self.min_decay / self.max_decay)
        cycle = math.ceil(ratio)
        # Cycles that shrink may be over by then.
        return cycle if cycle < self._n_cycles else None

    @cached_property
    def _n_cycles(self) -> float:
        """Number of cycles at least a step long; infinite unless they shrink."""
        if self.cycle_mult >= 1:
            return math.inf
        n_cycles = math.floor(math.log(self.cycle_length) / -math.log(self.cycle_mult)) + 1
        # The logarithms may miss a last cycle of exactly one step.
        return n_cycles + (self.cycle_length * self.cycle_mult**n_cycles >= 1)

    def _end(self, cycle: Any, xp: Any) -> Any:
        """Return the step at which cycle `cycle` (from 0) begins and the one before it ends."""
        if self.cycle_mult == 1:
            return xp.rint(self.cycle_length * cycle)
        # The geometric sum of the lengths before, in first cycles.
        growth = (self.cycle_mult**cycle - 1) / (self.cycle_mult - 1)
        return xp.rint(self.cycle_length * growth)

    def _cycle(self, t: Any, xp: Any) -> Any:
        # The middle of the step, since ends are rounded; then `_end` solved for the cycle.
        lengths = (xp.floor(t) + 0.5) / self.cycle_length
        if self.cycle_mult == 1:
            guess = xp.floor(lengths)
        else:
            # log1p keeps its digits where the multiple is almost 1.
            cycles = xp.log1p(lengths * (self.cycle_mult - 1)) / math.log(self.cycle_mult)
            guess = xp.floor(cycles)
        return locate(t, guess, lambda k: self._end(k, xp), xp)

    def _rate(self, t: Any, xp: Any) -> Any:
        within = t
        # Past the last of shrinking cycles, steps count as that one's, at its minimum.
        if self.cycle_mult < 1:
            within = xp.minimum(t, self._end(self._n_cycles, Scalar) - 1)
        cycle = self._cycle(within, xp)
        start, end = self._end(cycle, xp), self._end(cycle + 1, xp)
        # Beyond 2**53 steps floats hold no single step, and a cycle may seem to have no length.
        x = xp.minimum(xp.maximum(t - start, 0.0) / xp.maximum(end - start, 1.0), 1.0)
        low = _decayed(self.min_lr, self.min_decay, cycle)
        high = _decayed(self.max_lr, self.max_decay, cycle)
        return between(low, high, half_cosine(x, xp))

    def _snapshot_steps(self, n_steps: int) -> tuple[int, ...]:
        cycles = takewhile(lambda k: k <= self._n_cycles, count(1))
        return _whole_ends((self._end(k, Scalar) for k in cycles), n_steps)


@dataclass(frozen=True, kw_only=True)
class SnapshotCosine(BaseSchedule):
    """The snapshot ensemble's cycles: cosine falls to almost 0 that share the training evenly.

    In a cycle of C steps the rate is ``max_lr/2 * (cos(pi * mod(t, C)/C) + 1)``. Cycle k of M ends
    at ``round(k * T / M)``, so that every step belongs to a cycle even if M does not divide T. Past
    the end the rate of the last step is held; no step is spent at rate 0.

    Parameters
    ----------
    max_lr : float
        The rate of the first step of each cycle, above 0.
    n_steps : int
        Length T of the training in steps.
    n_cycles : int
        Number M of cycles, at least 1 and at most `n_steps`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range.

    References
    ----------
    Huang, Li, Pleiss, Liu, Hopcroft, Weinberger: Snapshot ensembles: train 1, get M for free.
    ICLR 2017.

    Examples
    --------
    >>> from sklr.schedules import SnapshotCosine
    >>> schedule = SnapshotCosine(max_lr=1.0, n_steps=5, n_cycles=2)
    >>> schedule(range(5)).round(6)
    array([1.  , 0.5 , 1.  , 0.75, 0.25])
    >>> schedule.snapshot_steps(5)
    (2, 5)
    """

    max_lr: float
    n_steps: int
    n_cycles: int

    _lengths: ClassVar[tuple[str, ...] | None] = ("n_steps",)

    def __post_init__(self) -> None:
        self._number("max_lr", above=0)
        self._integer("n_steps", at_least=1)
        self._integer("n_cycles", at_least=1, at_most=("n_steps", self.n_steps))

    def _rate(self, t: Any, xp: Any) -> Any:
        # Step n_steps would begin another cycle.
        t = xp.minimum(t, self.n_steps - 1)
        start, end = even_cycle(t, self.n_steps, self.n_cycles, xp)
        return self.max_lr * half_cosine((t - start) / (end - start), xp)

    def _snapshot_steps(self, n_steps: int) -> tuple[int, ...]:
        cycles = range(1, self.n_cycles + 1)
        ends = (even_end(k, self.n_steps, self.n_cycles, Scalar) for k in cycles)
        return _whole_ends(ends, n_steps)


@dataclass(frozen=True, kw_only=True)
class OneCycle(BaseSchedule):
    """1cycle: up to the peak over the first part of the training, then down to almost nothing.

    The rate rises from ``max_lr / div_factor`` at step 0 to `max_lr` at step ``pct_start * n_steps
    - 1`` and falls to ``max_lr / (div_factor * final_div_factor)`` at step ``n_steps - 1``, which
    is held from there on. A training too short for the rise has its peak at step 1, one of under
    three steps at step 0.

    Parameters
    ----------
    max_lr : float
        The peak, above 0.
    n_steps : int
        Length of the training in steps, at least 1.
    pct_start : float, default=0.3
        Fraction of the training spent rising, from 0 to 1.
    div_factor : float, default=25
        Peak over first rate, at least 1.
    final_div_factor : float, default=1e4
        First rate over last rate, at least 1.
    anneal : {'cos', 'linear'}, default='cos'
        Shape of the rise and of the fall.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range.

    References
    ----------
    Smith, Topin: Super-convergence: very fast training of neural networks using large learning
    rates. 2019.

    Examples
    --------
    >>> from sklr.schedules import OneCycle
    >>> schedule = OneCycle(max_lr=1.0, n_steps=10, anneal="linear")
    >>> schedule([0, 1, 2, 9]).round(6)
    array([4.0e-02, 5.2e-01, 1.0e+00, 4.0e-06])
    """

    max_lr: float
    n_steps: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    anneal: str = "cos"

    _lengths: ClassVar[tuple[str, ...] | None] = ("n_steps",)

    def __post_init__(self) -> None:
        self._number("max_lr", above=0)
        self._integer("n_steps", at_least=1)
        self._number("pct_start", at_least=0, at_most=1)
        self._number("div_factor", at_least=1)
        self._number("final_div_factor", at_least=1)
        self._option("anneal", ANNEALS)

    @cached_property
    def _peak(self) -> float:
        """The step of the peak, a real number as in torch wherever torch has a rise at all."""
        peak = self.pct_start * self.n_steps - 1
        if peak > 0 or self.pct_start == 0 or self.n_steps < 3:
            return max(peak, 0.0)
        return 1.0

    def _weight(self, t: Any, xp: Any) -> Any:
        """Return the height: 0 at the first step, 1 at the peak, 0 at the last."""
        peak, last = self._peak, self.n_steps - 1
        # A phase without length has no step of its own: its divisor is never used.
        up = t / (peak or 1.0)
        down = (xp.minimum(t, last) - peak) / (last - peak or 1.0)
        # The shape falls, from 1 at x=0 to 0 at x=1: on the way up x runs backwards.
        x = xp.where(t <= peak, 1.0 - up if peak else 0.0 * t, down)
        return half_cosine(x, xp) if self.anneal == "cos" else 1.0 - x

    def _rate(self, t: Any, xp: Any) -> Any:
        first = self.max_lr / self.div_factor
        # The rise begins higher than the fall ends.
        low = xp.where(t <= self._peak, first, first / self.final_div_factor)
        return between(low, self.max_lr, self._weight(t, xp))


@dataclass(frozen=True, kw_only=True)
class FastGeometric(BaseSchedule):
    """Fast geometric ensembling: one long fall, then short triangular cycles.

    Over the first ``P = round(pretrain_fraction * n_steps)`` steps the rate falls from `max_lr`
    towards `min_lr` along a cosine. The rest is shared evenly by cycles that fall linearly from
    `max_lr` to `min_lr` over their first half and rise back over the second. A snapshot is due in
    mid-cycle, at the minimum. Past the end the rate of the last step is held.

    Parameters
    ----------
    min_lr : float
        The rate in mid-cycle, at least 0.
    max_lr : float
        The first rate and that of a cycle's start, above `min_lr`.
    n_steps : int
        Length of the training in steps.
    pretrain_fraction : float, default=0.8
        Fraction of the training before the cycles, at least 0 and under 1.
    n_cycles : int
        Number of cycles, at least 1 and at most as many as steps are left after pre-training.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range.

    References
    ----------
    Garipov, Izmailov, Podoprikhin, Vetrov, Wilson: Loss surfaces, mode connectivity, and fast
    ensembling of DNNs. NeurIPS 2018.

    Examples
    --------
    >>> from sklr.schedules import FastGeometric
    >>> schedule = FastGeometric(
    ...     min_lr=0.0, max_lr=1.0, n_steps=12, pretrain_fraction=1 / 3, n_cycles=2
    ... )
    >>> schedule(range(12)).round(2)
    array([1.  , 0.85, 0.5 , 0.15, 1.  , 0.5 , 0.  , 0.5 , 1.  , 0.5 , 0.  ,
           0.5 ])
    >>> schedule.snapshot_steps(12)
    (6, 10)
    """

    min_lr: float
    max_lr: float
    n_steps: int
    pretrain_fraction: float = 0.8
    n_cycles: int

    _lengths: ClassVar[tuple[str, ...] | None] = ("n_steps",)

    def __post_init__(self) -> None:
        self._bounds("min_lr", "max_lr")
        self._integer("n_steps", at_least=1)
        self._number("pretrain_fraction", at_least=0, below=1)
        cycle_steps = self.n_steps - self._pretrain_steps
        self._integer("n_cycles", at_least=1)
        if self.n_cycles > cycle_steps:
            requirement = (
                f"be at most {cycle_steps}, the steps that are left of {self.n_steps} after the "
                f"pre-training of pretrain_fraction={self.pretrain_fraction:g}"
            )
            raise ParameterValueError(self, "n_cycles", requirement, self.n_cycles)

    @property
    def _pretrain_steps(self) -> int:
        return round(self.pretrain_fraction * self.n_steps)

    def _rate(self, t: Any, xp: Any) -> Any:
        pretrain = self._pretrain_steps
        cycle_steps = self.n_steps - pretrain
        fall = half_cosine(xp.minimum(t / (pretrain or 1), 1.0), xp)
        # The cycles' own clock: 0 while pre-training, when their rate is not used.
        s = xp.maximum(xp.minimum(t, self.n_steps - 1) - pretrain, 0)
        start, end = even_cycle(s, cycle_steps, self.n_cycles, xp)
        # From 1 at a cycle's start over 0 in its middle to 1 at its end.
        triangle = abs(2 * (s - start) / (end - start) - 1)
        return between(self.min_lr, self.max_lr, xp.where(t < pretrain, fall, triangle))

    def _snapshot_steps(self, n_steps: int) -> tuple[int, ...]:
        pretrain = self._pretrain_steps
        cycle_steps = self.n_steps - pretrain
        ends = [even_end(k, cycle_steps, self.n_cycles, Scalar) for k in range(self.n_cycles + 1)]
        middles = (pretrain + math.ceil((start + end) / 2) for start, end in pairwise(ends))
        return _whole_ends(middles, n_steps)


def _decayed(lr: float, decay: float, cycle: Any) -> Any:
    return lr if decay == 1 else lr * decay**cycle


def _whole_ends(ends: Iterable[float], n_steps: int) -> tuple[int, ...]:
    """Return the first whole step at or after each rising end, without repeats, up to n_steps."""
    # An end that should be whole may come out a rounding error above it.
    whole = (math.ceil(end / ROUNDING) for end in ends)
    return tuple(dict.fromkeys(takewhile(lambda step: step <= n_steps, whole)))
