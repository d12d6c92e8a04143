"""The ramp of a learning-rate range test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sklr.schedules._base import BaseSchedule, between

SCALES = ("log", "linear")


@dataclass(frozen=True, kw_only=True)
class RangeTest(BaseSchedule):
    """A ramp from min_lr at the first step to max_lr at the last, exact at both.

    Parameters
    ----------
    min_lr : float
        The first rate: above 0 on the log scale, at least 0 on the linear one.
    max_lr : float
        The last rate, above `min_lr`.
    n_steps : int
        Length of the ramp in steps, at least 2. The last rate is held past it.
    scale : {'log', 'linear'}, default='log'
        Whether steps multiply the rate or add to it.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range.

    References
    ----------
    Smith: Cyclical learning rates for training neural networks. WACV 2017. Section 3.3.

    Examples
    --------
    >>> from sklr.schedules import RangeTest
    >>> RangeTest(min_lr=0.01, max_lr=1.0, n_steps=3)([0, 1, 2])
    array([0.01, 0.1 , 1.  ])
    """

    min_lr: float
    max_lr: float
    n_steps: int
    scale: str = "log"

    _lengths: ClassVar[tuple[str, ...] | None] = ("n_steps",)

    def __post_init__(self) -> None:
        self._option("scale", SCALES)
        if self.scale == "log":
            self._number("min_lr", above=0)
        self._bounds("min_lr", "max_lr")
        self._integer("n_steps", at_least=2)

    def _rate(self, t: Any, xp: Any) -> Any:
        x = xp.minimum(t / (self.n_steps - 1), 1.0)
        if self.scale == "linear":
            return between(self.min_lr, self.max_lr, x)
        return self.min_lr ** (1.0 - x) * self.max_lr**x
