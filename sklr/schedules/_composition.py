"""Schedules made of schedules: a warm-up before one, one after another, one scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from sklr._validation import (
    ParameterTypeError,
    ParameterValueError,
    check_increasing,
    check_sequence,
)
from sklr.schedules._base import BaseSchedule


def warmup(schedule: BaseSchedule, n_steps: int, start_factor: float = 0.0) -> BaseSchedule:
    """Put a linear warm-up before a schedule, which begins when the warm-up ends.

    The rate rises linearly from ``start_factor`` times the schedule's first rate at step 0 to that
    first rate at step `n_steps`. With ``start_factor=0`` the line leaves zero one step before the
    first, so that no step is spent at rate 0.

    Parameters
    ----------
    schedule : schedule
        What follows the warm-up.
    n_steps : int
        Length of the warm-up in steps; 0 gives the schedule back.
    start_factor : float, default=0.0
        First rate over the schedule's first rate, from 0 to 1.

    Returns
    -------
    schedule
        The whole.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range.

    References
    ----------
    Goyal et al.: Accurate, large minibatch SGD: training ImageNet in 1 hour. 2017.

    Examples
    --------
    >>> from sklr.schedules import Constant, warmup
    >>> warmup(Constant(lr=1.0), n_steps=3)([0, 1, 2, 3])
    array([0.25, 0.5 , 0.75, 1.  ])
    """
    warmed = Warmup(schedule=schedule, n_steps=n_steps, start_factor=start_factor)
    return warmed if warmed.n_steps else schedule


def join(schedules: Sequence[BaseSchedule], boundaries: Sequence[int]) -> BaseSchedule:
    """Put schedules one after another, each with its own clock.

    Parameters
    ----------
    schedules : sequence of schedules
        At least one.
    boundaries : sequence of int
        The step at which each schedule but the first takes over, strictly increasing: that step
        is step 0 of the schedule that begins there.

    Returns
    -------
    schedule
        The whole.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range, or the numbers of schedules and boundaries do not fit.

    Examples
    --------
    >>> from sklr.schedules import Constant, ExponentialDecay, join
    >>> join([Constant(lr=1.0), ExponentialDecay(lr=1.0, gamma=0.5)], [2])(range(5))
    array([1.  , 1.  , 1.  , 0.5 , 0.25])
    """
    return Join(schedules=schedules, boundaries=boundaries)


def scale(schedule: BaseSchedule, factor: float) -> BaseSchedule:
    """Multiply a schedule's rates by a factor.

    Parameters
    ----------
    schedule : schedule
        What is scaled.
    factor : float
        Above 0.

    Returns
    -------
    schedule
        The scaled one.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from sklr.schedules import Constant, scale
    >>> scale(Constant(lr=1.0), 0.5)(0)
    0.5
    """
    return Scale(schedule=schedule, factor=factor)


class _Composition(BaseSchedule):
    """A schedule of schedules, shown as the call that makes it."""

    def __repr__(self) -> str:
        values = (f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))
        return f"{type(self).__name__.lower()}({', '.join(values)})"


@dataclass(frozen=True, kw_only=True, repr=False)
class Warmup(_Composition):
    """A linear warm-up and the schedule after it; made by `warmup`."""

    schedule: BaseSchedule
    n_steps: int
    start_factor: float = 0.0

    _lengths: ClassVar[tuple[str, ...] | None] = ("n_steps",)

    def __post_init__(self) -> None:
        _check_schedule(self, "schedule", self.schedule)
        self._integer("n_steps", at_least=0)
        self._number("start_factor", at_least=0, at_most=1)

    def _rate(self, t: Any, xp: Any) -> Any:
        after = self.schedule._rate(xp.maximum(t - self.n_steps, 0), xp)
        # From a start_factor of 0 the line leaves one step earlier.
        early = 0 if self.start_factor else 1
        done = (t + early) / (self.n_steps + early)
        factor = self.start_factor + (1.0 - self.start_factor) * done
        return xp.where(t < self.n_steps, factor * after, after)

    def _snapshot_steps(self, n_steps: int) -> tuple[int, ...]:
        if n_steps <= self.n_steps:
            return ()
        later = self.schedule.snapshot_steps(n_steps - self.n_steps)
        return tuple(self.n_steps + step for step in later)


@dataclass(frozen=True, kw_only=True, repr=False)
class Join(_Composition):
    """Schedules one after another; made by `join`."""

    schedules: Sequence[BaseSchedule]
    boundaries: Sequence[int]

    _lengths: ClassVar[tuple[str, ...] | None] = ("boundaries",)

    def __post_init__(self) -> None:
        requirement = "be a sequence of at least one schedule"
        schedules = check_sequence(self, "schedules", self.schedules, requirement)
        if not schedules:
            raise ParameterValueError(self, "schedules", requirement, self.schedules)
        for schedule in schedules:
            _check_schedule(self, "schedules", schedule)
        requirement = "be a sequence of whole steps"
        steps = check_sequence(self, "boundaries", self.boundaries, requirement)
        if steps:
            steps = check_increasing(self, "boundaries", steps)
        if any(step != int(step) for step in steps):
            raise ParameterValueError(self, "boundaries", requirement, self.boundaries)
        if len(steps) != len(schedules) - 1:
            requirement = f"hold one step fewer than the {len(schedules)} schedules"
            raise ParameterValueError(self, "boundaries", requirement, self.boundaries)
        self._store("schedules", schedules)
        self._store("boundaries", tuple(int(step) for step in steps))

    def _rate(self, t: Any, xp: Any) -> Any:
        rate = self.schedules[0]._rate(t, xp)
        for start, schedule in zip(self.boundaries, self.schedules[1:], strict=True):
            later = schedule._rate(xp.maximum(t - start, 0), xp)
            rate = xp.where(t >= start, later, rate)
        return rate

    def _snapshot_steps(self, n_steps: int) -> tuple[int, ...]:
        starts = [start for start in (0, *self.boundaries) if start < n_steps]
        ends = [*starts[1:], n_steps]
        return tuple(
            start + step
            for schedule, start, end in zip(self.schedules, starts, ends, strict=False)
            for step in schedule.snapshot_steps(end - start)
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class Scale(_Composition):
    """A schedule times a factor; made by `scale`."""

    schedule: BaseSchedule
    factor: float

    _lengths: ClassVar[tuple[str, ...] | None] = ()

    def __post_init__(self) -> None:
        _check_schedule(self, "schedule", self.schedule)
        self._number("factor", above=0)

    def _rate(self, t: Any, xp: Any) -> Any:
        return self.factor * self.schedule._rate(t, xp)

    def _snapshot_steps(self, n_steps: int) -> tuple[int, ...]:
        return self.schedule.snapshot_steps(n_steps)


def _check_schedule(owner: object, name: str, value: object) -> None:
    if not isinstance(value, BaseSchedule):
        raise ParameterTypeError(owner, name, "be a schedule of sklr.schedules", value)
