"""Base of the schedules, frozen values that give the rate of a step, and the parts of formulas."""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self, overload

import numpy as np
import numpy.typing as npt

from sklr._validation import (
    Bound,
    ParameterTypeError,
    ParameterValueError,
    check_integer,
    check_number,
    check_option,
)

LAST_STEP = 1e300
"""Steps beyond are taken for this one, so that no product of a step overflows."""


ROUNDING = 1 + 4e-15
"""Times a number of steps or cycles: more than the rounding of a few operations takes away, and, up
to 10**14 / d steps, less than would reach a whole number for lengths that are multiples of 1/d."""


class Scalar:
    """The few functions that formulas use, for one step; numpy itself serves arrays of steps.

    A formula takes its functions from the namespace that it is given, so that it is written once
    and costs under a microsecond a step in a training loop.
    """

    cos = math.cos
    floor = math.floor
    log1p = math.log1p
    maximum = max
    minimum = min
    rint = round

    @staticmethod
    def searchsorted(values: Sequence[float], x: float, side: str) -> int:
        """Count the sorted values up to x; only side='right', as formulas ask for it."""
        return bisect_right(values, x)

    @staticmethod
    def where(condition: bool, yes: Any, no: Any) -> Any:
        """Choose by a condition."""
        return yes if condition else no


@dataclass(frozen=True, kw_only=True)
class BaseSchedule(ABC):
    """Base of the schedules: validated when made, comparable, hashable, picklable, callable.

    A subclass is a frozen dataclass that checks its fields in `__post_init__`, writes its formula
    in `_rate` and names the fields that depend on the length of a step.
    """

    _lengths: ClassVar[tuple[str, ...] | None] = None
    """Fields that count steps; those stored as an int stay whole. None cannot be rescaled."""
    _step_factors: ClassVar[tuple[str, ...]] = ()
    """Fields that multiply something once a step."""
    _speeds: ClassVar[tuple[str, ...]] = ()
    """Fields that are a change per step."""

    @overload
    def __call__(self, step: float) -> float: ...

    @overload
    def __call__(self, step: npt.ArrayLike) -> npt.NDArray[np.float64]: ...

    def __call__(self, step: Any) -> Any:
        """Return the rate that is used in a step.

        Parameters
        ----------
        step : int, float or array-like of them
            Steps (training batches) completed before this one; 0 is the first.

        Returns
        -------
        float or ndarray of float64
            The rate; an array of the steps' shape if they are an array.

        Raises
        ------
        TypeError
            If a step is no real number.
        ValueError
            If a step is negative, NaN or infinite.
        """
        # Plain types first, for training loops. A bool is no step, and numpy's scalars overflow
        # (int8), or make the rate one of their own type.
        if (type(step) is int or type(step) is float) and 0 <= step <= LAST_STEP:
            return self._rate(step, Scalar)
        # Fractions and numpy's numbers are steps too, at the cost of a check.
        if isinstance(step, numbers.Real) and not isinstance(step, bool):
            number = check_number(self, "step", step, at_least=0)
            return self._rate(min(number, LAST_STEP), Scalar)
        steps = np.asarray(step)
        if steps.dtype.kind not in "iuf":
            raise ParameterTypeError(self, "step", "be a real number or an array of them", step)
        # Before any formula multiplies them: integers of few bits overflow silently.
        steps = steps.astype(np.float64)
        valid = (steps >= 0) & (steps < math.inf)
        if not valid.all():
            invalid = float(steps[~valid][0])
            raise ParameterValueError(self, "step", "be a finite number at least 0", invalid)
        # One step in an array of no dimension; its rate is a plain float.
        if steps.ndim == 0:
            return self(float(steps))
        return self._rate(np.minimum(steps, LAST_STEP), np)

    @abstractmethod
    def _rate(self, t: Any, xp: Any) -> Any:
        """Return the rate of step t >= 0: one number with xp=Scalar, or an array with xp=numpy."""

    def snapshot_steps(self, n_steps: int) -> tuple[int, ...]:
        """Return the counts of completed steps after which a snapshot of the weights is due.

        Parameters
        ----------
        n_steps : int
            Length of the training, in steps.

        Returns
        -------
        tuple of int
            Strictly increasing, the last at most `n_steps`: the end of each cycle that ends within
            the training. A schedule without restarts has one, the end of the training.

        Raises
        ------
        TypeError, ValueError
            If `n_steps` is no integer, or is below 1.
        """
        check_integer(self, "n_steps", n_steps, at_least=1)
        return self._snapshot_steps(int(n_steps))

    def _snapshot_steps(self, n_steps: int) -> tuple[int, ...]:
        return (n_steps,)

    def rescale(self, k: float) -> Self:
        """Return the same schedule with k steps for each of its own.

        Lengths are multiplied by k, and what happens at each step is spread over k of them, so that
        ``schedule.rescale(k)(k * t)`` is ``schedule(t)``. Schedules whose last rate belongs to
        their last step (OneCycle, RangeTest, SnapshotCosine, and a warm-up from 0) reach it at
        their new last step.

        Parameters
        ----------
        k : float
            New steps per old step, above 0: the steps of an epoch turn a schedule in epochs into
            one in steps. It must leave every whole number of steps whole.

        Returns
        -------
        schedule
            A schedule of the same class.

        Raises
        ------
        TypeError, ValueError
            If `k` is no number above 0, or leaves a number of steps that is not whole or too small.

        Examples
        --------
        >>> from sklr.schedules import CosineDecay
        >>> CosineDecay(max_lr=1.0, n_steps=3).rescale(100)
        CosineDecay(min_lr=0.0, max_lr=1.0, n_steps=300)
        """
        k = check_number(self, "k", k, above=0)
        if self._lengths is None:
            requirement = "name the fields that count steps, so that it can be rescaled"
            raise ParameterTypeError(self, "_lengths", requirement, None)
        changes: dict[str, Any] = {}
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if name in self._lengths and value is not None:
                changes[name] = self._rescaled_length(name, value, k)
            elif name in self._step_factors:
                # The k-th root, so that k steps multiply by the factor once.
                changes[name] = value ** (1 / k)
            elif name in self._speeds:
                changes[name] = value / k
            # The parts of a composition count the same steps as the whole.
            elif isinstance(value, BaseSchedule):
                changes[name] = value.rescale(k)
            elif isinstance(value, tuple) and value and isinstance(value[0], BaseSchedule):
                changes[name] = tuple(part.rescale(k) for part in value)
        return replace(self, **changes)

    def _rescaled_length(self, name: str, value: Any, k: float) -> Any:
        if isinstance(value, tuple):
            return tuple(self._rescaled_length(name, item, k) for item in value)
        steps = whole(value * k)
        # Half a step at the end of a training would belong to no batch.
        if isinstance(value, int) and not isinstance(steps, int):
            requirement = f"leave a whole number of steps of {name}={value}"
            raise ParameterValueError(self, "k", requirement, k)
        return steps

    def _number(
        self,
        name: str,
        *,
        above: Bound | None = None,
        at_least: Bound | None = None,
        below: Bound | None = None,
        at_most: Bound | None = None,
    ) -> None:
        """Check a field and store it as a plain float."""
        value = check_number(
            self,
            name,
            getattr(self, name),
            above=above,
            at_least=at_least,
            below=below,
            at_most=at_most,
        )
        self._store(name, value)

    def _integer(self, name: str, *, at_least: Bound, at_most: Bound | None = None) -> None:
        """Check a field and store it as a plain int."""
        value = getattr(self, name)
        self._store(name, check_integer(self, name, value, at_least=at_least, at_most=at_most))

    def _option(self, name: str, options: Collection[str]) -> None:
        """Check a field and store it as a plain str, which numpy's is not."""
        self._store(name, str(check_option(self, name, getattr(self, name), options)))

    def _bounds(self, low: str, high: str) -> None:
        """Check a pair of rates: the lower at least 0, the higher above it."""
        self._number(low, at_least=0)
        self._number(high, above=(low, getattr(self, low)))

    def _store(self, name: str, value: object) -> None:
        # Frozen for everybody else; stored once, before the value can be seen.
        object.__setattr__(self, name, value)


def between(low: Any, high: Any, weight: Any) -> Any:
    """Return the point between low (weight 0) and high (weight 1), exact at both ends."""
    # low + (high - low) * weight would be shorter, and miss `high` by a rounding error.
    return low * (1.0 - weight) + high * weight


def half_cosine(x: Any, xp: Any) -> Any:
    """Return the cosine's fall from 1 at x=0 to 0 at x=1, exact at both ends."""
    return (1.0 + xp.cos(math.pi * x)) / 2.0


def whole(steps: float) -> float:
    """Return an int for a whole number of steps that a rounding error may have missed."""
    nearest = round(steps)
    # Relatively close: a length of almost no step is never taken for 0.
    return nearest if math.isclose(steps, nearest, rel_tol=1e-9) else steps


def even_end(cycle: Any, n_steps: int, n_cycles: int, xp: Any) -> Any:
    """Return the end, in steps, of the first `cycle` of `n_cycles` cycles that share n_steps."""
    return xp.rint(cycle * n_steps / n_cycles)


def even_cycle(t: Any, n_steps: int, n_cycles: int, xp: Any) -> tuple[Any, Any]:
    """Return start and end of the cycle of step t < n_steps, if cycles share n_steps evenly."""
    # The ends are rounded: a step belongs to the cycle that its middle lies in.
    guess = xp.floor((xp.floor(t) + 0.5) * n_cycles / n_steps)
    cycle = locate(t, guess, lambda k: even_end(k, n_steps, n_cycles, xp), xp)
    return even_end(cycle, n_steps, n_cycles, xp), even_end(cycle + 1, n_steps, n_cycles, xp)


def locate(t: Any, guess: Any, end: Any, xp: Any) -> Any:
    """Return the cycle that holds step t, from a guess that is at most one off.

    Ends are rounded to whole steps, and the guess comes from floating point; only comparing with
    the ends themselves makes the restart exact.
    """
    cycle = xp.where(t >= end(guess + 1), guess + 1, guess)
    return xp.where(t < end(cycle), cycle - 1, cycle)
