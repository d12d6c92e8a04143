"""Schedules without restarts: the rate holds or falls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sklr._validation import ParameterValueError, check_increasing
from sklr.schedules._base import LAST_STEP, ROUNDING, BaseSchedule, between, half_cosine


@dataclass(frozen=True, kw_only=True)
class Constant(BaseSchedule):
    """The same rate at every step.

    Parameters
    ----------
    lr : float
        The rate, above 0.

    Raises
    ------
    TypeError, ValueError
        If the parameter is out of range.

    Examples
    --------
    >>> from sklr.schedules import Constant
    >>> Constant(lr=0.1)(1_000)
    0.1
    """

    lr: float

    _lengths: ClassVar[tuple[str, ...] | None] = ()

    def __post_init__(self) -> None:
        self._number("lr", above=0)

    def _rate(self, t: Any, xp: Any) -> Any:
        return self.lr + 0.0 * t


@dataclass(frozen=True, kw_only=True)
class StepDecay(BaseSchedule):
    """The rate multiplied by a factor now and then: ``lr * factor**(drops so far)``.

    Parameters
    ----------
    lr : float
        The first rate, above 0.
    factor : float, default=0.1
        What each drop multiplies the rate by, above 0 and at most 1.
    every : float, default=None
        Steps between drops. Give this or `milestones`.
    milestones : sequence of float, default=None
        The steps of the drops, strictly increasing: from step ``milestones[0]`` on the rate is
        ``lr * factor``.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range, or not exactly one of `every` and `milestones` is given.

    Examples
    --------
    >>> from sklr.schedules import StepDecay
    >>> StepDecay(lr=1.0, factor=0.5, every=2)([0, 1, 2, 3, 4])
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """

    lr: float
    factor: float = 0.1
    every: float | None = None
    milestones: tuple[float, ...] | None = None

    _lengths: ClassVar[tuple[str, ...] | None] = ("every", "milestones")

    def __post_init__(self) -> None:
        self._number("lr", above=0)
        self._number("factor", above=0, at_most=1)
        if (self.every is None) == (self.milestones is None):
            requirement = "be given, or 'milestones', but not both"
            raise ParameterValueError(self, "every", requirement, self.every)
        if self.every is not None:
            self._number("every", above=0)
        else:
            self._store("milestones", check_increasing(self, "milestones", self.milestones))

    def _rate(self, t: Any, xp: Any) -> Any:
        if self.every is not None:
            # 0.8 epochs of 6 batches are 4.8 steps, of which 24 hold five and not 4.9999999.
            drops = xp.floor(xp.minimum(t / self.every, LAST_STEP) * ROUNDING)
        else:
            drops = xp.searchsorted(self.milestones, t, side="right")
        return self.lr * self.factor**drops


@dataclass(frozen=True, kw_only=True)
class ExponentialDecay(BaseSchedule):
    """The rate multiplied by the same factor at each step: ``lr * gamma**t``.

    Parameters
    ----------
    lr : float
        The first rate, above 0.
    gamma : float
        What each step multiplies the rate by, above 0 and at most 1.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from sklr.schedules import ExponentialDecay
    >>> ExponentialDecay(lr=1.0, gamma=0.5)([0, 1, 2])
    array([1.  , 0.5 , 0.25])
    """

    lr: float
    gamma: float

    _lengths: ClassVar[tuple[str, ...] | None] = ()
    _step_factors: ClassVar[tuple[str, ...]] = ("gamma",)

    def __post_init__(self) -> None:
        self._number("lr", above=0)
        self._number("gamma", above=0, at_most=1)

    def _rate(self, t: Any, xp: Any) -> Any:
        return self.lr * self.gamma**t


@dataclass(frozen=True, kw_only=True)
class InverseTimeDecay(BaseSchedule):
    """The rate divided by a line in time, "1/t decay": ``lr / (1 + decay_rate * t)``.

    Parameters
    ----------
    lr : float
        The first rate, above 0.
    decay_rate : float
        Speed of the decay per step, at least 0: after ``1 / decay_rate`` steps half of `lr` is
        left.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from sklr.schedules import InverseTimeDecay
    >>> InverseTimeDecay(lr=1.0, decay_rate=1.0)([0, 1, 3])
    array([1.  , 0.5 , 0.25])
    """

    lr: float
    decay_rate: float

    _lengths: ClassVar[tuple[str, ...] | None] = ()
    _speeds: ClassVar[tuple[str, ...]] = ("decay_rate",)

    def __post_init__(self) -> None:
        self._number("lr", above=0)
        self._number("decay_rate", at_least=0)

    def _rate(self, t: Any, xp: Any) -> Any:
        return self.lr / (1.0 + self.decay_rate * t)


@dataclass(frozen=True, kw_only=True)
class CosineDecay(BaseSchedule):
    """Half a cosine from max_lr down to min_lr: ``min + (max - min)/2 * (1 + cos(pi * t / T))``.

    With T = `n_steps`. The floor is reached at step T and held from there on.

    Parameters
    ----------
    min_lr : float, default=0.0
        The floor, at least 0.
    max_lr : float
        The first rate, above `min_lr`.
    n_steps : int
        Length of the fall in steps, at least 1.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range.

    References
    ----------
    Loshchilov, Hutter: SGDR: stochastic gradient descent with warm restarts. ICLR 2017.

    Examples
    --------
    >>> from sklr.schedules import CosineDecay
    >>> CosineDecay(min_lr=0.0, max_lr=1.0, n_steps=4)([0, 2, 4, 5]).round(6)
    array([1. , 0.5, 0. , 0. ])
    """

    min_lr: float = 0.0
    max_lr: float
    n_steps: int

    _lengths: ClassVar[tuple[str, ...] | None] = ("n_steps",)

    def __post_init__(self) -> None:
        self._bounds("min_lr", "max_lr")
        self._integer("n_steps", at_least=1)

    def _rate(self, t: Any, xp: Any) -> Any:
        x = xp.minimum(t / self.n_steps, 1.0)
        return between(self.min_lr, self.max_lr, half_cosine(x, xp))
