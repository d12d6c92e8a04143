"""Range-test curves: when one has diverged, what several say together, and what to suggest.

Pure functions of arrays. A curve is the training loss of each step of a ramp of the rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ANSWERED = ("ok", "no_divergence")
"""The statuses of a range test that carry an answer."""
STATUSES = (*ANSWERED, "flat", "diverged_at_start", "failed")
"""All that a range test can come to."""

MIN_POINTS = 10
"""Fewer finite losses than this say nothing."""

CONSTANT_PART = 1 / 10
PEAK_PART = 1 / 3
BASE_PART = 1 / 4
"""Parts of the rate of least loss for a constant rate and for a cycle's peak, which measured best
over 18 tasks; and of the peak for a cycle's base (Smith 2017)."""


def has_diverged(losses: Sequence[float], window: int = 5) -> bool:
    """Tell whether a ramp can end: its loss is not finite, or far above where it began.

    "Far" is measured against the fall so far and the size of the first losses, never as a
    multiple of the best loss, which would be false of a negative one. The median of the last
    `window` losses decides, so that a single spike does not.

    Parameters
    ----------
    losses : sequence of float
        The losses so far.
    window : int, default=5
        Losses whose median decides.
    """
    if not math.isfinite(losses[-1]):
        return True
    if len(losses) < 2 * window:
        return False
    first, last = np.median(losses[:window]), np.median(losses[-window:])
    fall = first - np.min(losses)
    return bool(last > first + max(fall, abs(first)))


@dataclass(frozen=True)
class Curve:
    """Several ramps averaged.

    Attributes
    ----------
    lrs : ndarray of shape (n,)
        Rates, as far as every ramp came.
    level : ndarray of shape (n,)
        Mean over the ramps of the log of the loss, smoothed; of the loss itself where a loss is
        not positive.
    spread : ndarray of shape (n,)
        Standard deviation over the ramps.
    noise : float
        Standard error of `level`, from the scatter of the mean about it.
    is_log : bool
        Whether `level` is a log.
    """

    lrs: Array
    level: Array
    spread: Array
    noise: float
    is_log: bool

    @property
    def loss(self) -> Array:
        """The averaged loss."""
        return np.exp(self.level) if self.is_log else self.level

    @property
    def band(self) -> tuple[Array, Array]:
        """The averaged loss one standard deviation below and above."""
        low, high = self.level - self.spread, self.level + self.spread
        return (np.exp(low), np.exp(high)) if self.is_log else (low, high)


def average(lrs: Array, ramps: Sequence[Sequence[float]]) -> Curve:
    """Average ramps over the same rates, in log loss, up to where the first of them ended.

    Parameters
    ----------
    lrs : ndarray of shape (n_steps,)
        The rates of a whole ramp.
    ramps : sequence of sequence of float
        The losses of each ramp, which may have ended before the last rate.

    Returns
    -------
    Curve
    """
    finite = [np.asarray(losses)[: _finite_length(losses)] for losses in ramps]
    n = min(len(losses) for losses in finite)
    losses = np.array([losses[:n] for losses in finite], dtype=float).reshape(len(finite), n)
    is_log = bool((losses > 0).all())
    levels = np.log(losses) if is_log else losses
    mean = levels.mean(axis=0)
    level = smooth(mean)
    # A median of distances, as one standard deviation, of which smoothing leaves a part.
    scatter = 1.4826 * float(np.median(np.abs(mean - level))) if n else 0.0
    noise = scatter / math.sqrt(2 * _reach(n) + 1)
    return Curve(lrs[:n], level, levels.std(axis=0), noise, is_log)


def smooth(values: Array) -> Array:
    """Average each value with its neighbours, symmetrically, so that nothing is shifted.

    Parameters
    ----------
    values : ndarray of shape (n,)
        What to smooth; on each side a twentieth of n is taken in, near the ends fewer.

    Returns
    -------
    ndarray of shape (n,)
    """
    n = len(values)
    total = np.concatenate([[0.0], np.cumsum(values)])
    middle = np.arange(n)
    width = np.minimum(_reach(n), np.minimum(middle, n - 1 - middle))
    smoothed: Array = (total[middle + width + 1] - total[middle - width]) / (2 * width + 1)
    return smoothed


@dataclass(frozen=True)
class Reading:
    """What a curve says: a status of `STATUSES` and the rates that follow, NaN where none do.

    `best_lr` is the rate of least loss, of which the others are parts.
    """

    status: str
    message: str
    lr: float = math.nan
    base_lr: float = math.nan
    max_lr: float = math.nan
    steepest_lr: float = math.nan
    best_lr: float = math.nan


def read(curve: Curve) -> Reading:
    """Find the rate of least loss and the suggestions that follow from it.

    Parameters
    ----------
    curve : Curve
        The averaged ramps.

    Returns
    -------
    Reading
    """
    n = len(curve.lrs)
    if n == 0:
        return Reading("failed", "No loss was finite. Look at the data and the module's outputs.")
    if n < MIN_POINTS:
        return Reading(
            "diverged_at_start" if n > 1 else "failed",
            f"The ramp ended after {n} steps. Lower min_lr, or look at the data.",
        )
    best = int(np.argmin(curve.level))
    # Of a curve that rises from the start the least loss is the first: no fall leads to it.
    first = float(curve.level[: min(max(3, n // 10), best + 1)].mean())
    fall = first - float(curve.level[best])
    rise = float(curve.level[-1] - curve.level[best])
    significant = max(4 * curve.noise, 0.02 * (1.0 if curve.is_log else abs(first)))
    if fall < significant:
        if rise < significant:
            return Reading(
                "flat",
                "The loss did not change over the whole range. Raise max_lr, or look at whether "
                "the net can learn.",
            )
        return Reading("diverged_at_start", "The loss rose without falling first. Lower min_lr.")
    best_lr = float(curve.lrs[best])
    slope = np.gradient(curve.level, np.log(np.maximum(curve.lrs, 1e-300)))
    steepest = float(curve.lrs[int(np.argmin(slope[: best + 1]))])
    status, message = "ok", "The loss fell and rose again within the range."
    if rise < significant:
        status = "no_divergence"
        message = "The loss did not rise again within the range; a higher max_lr may show more."
    peak = best_lr * PEAK_PART
    return Reading(
        status, message, best_lr * CONSTANT_PART, peak * BASE_PART, peak, steepest, best_lr
    )


def interval(lrs: Array, ramps: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Give the lowest and highest constant rate that the ramps suggest one by one; NaN for none."""
    readings = [read(average(lrs, [losses])) for losses in ramps]
    rates = [reading.lr for reading in readings if math.isfinite(reading.lr)]
    return (min(rates), max(rates)) if rates else (math.nan, math.nan)


def _reach(n: int) -> int:
    """Give the neighbours that smoothing takes in on each side."""
    return math.ceil(0.05 * n)


def _finite_length(losses: Sequence[float]) -> int:
    """Give the number of losses before the first that is not finite."""
    wrong = np.flatnonzero(~np.isfinite(np.asarray(losses, dtype=float)))
    return int(wrong[0]) if wrong.size else len(losses)
