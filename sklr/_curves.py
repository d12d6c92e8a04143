"""Analyse the loss curves of learning-rate range tests.

Pure functions of arrays. A curve holds the loss (or minus the score) of each step of a ramp, in
which the learning rate rises.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ANSWERED = ("ok", "no_divergence")
"""Statuses of range tests that have a suggestion."""
STATUSES = (*ANSWERED, "flat", "diverged_at_start", "failed")
"""All statuses of a range test."""

MIN_POINTS = 10
"""Least number of finite losses that a curve can be analysed from."""

CONSTANT_FRACTION = 1 / 10
PEAK_FRACTION = 1 / 3
BASE_FRACTION = 1 / 4
"""A constant rate and a cycle's peak as fractions of the rate of least loss (measured best over 18
tasks), and a cycle's base as a fraction of its peak (Smith 2017)."""

# In about one flat curve of a hundred the greatest z-score of all stretches is greater than this,
# if the losses of successive batches are independent; heavy tails included.
MIN_Z_SCORE = 4.5
# A smaller change, as a fraction of the loss, is none, however significant.
MIN_CHANGE = 0.01
# The loss may leave a plateau, or its least value, by this fraction of the fall and still count as
# being there.
PHASE_FRACTION = 0.1
# A plateau takes at least this fraction of the way to the least loss: three times what a straight
# fall takes for a tenth of its depth.
PLATEAU_FRACTION = 0.3
# Without a clear fall, the least loss is sought in the last n / 8 steps before the divergence, a
# decade of the default range: most nets that learn at all do so there.
GUESS_FROM = 8
# The standard deviation of normal values, as a multiple of their median absolute deviation.
NORMAL_MAD = 1.4826


class RangeTestError(RuntimeError):
    """A range test has no answer; the message says what to do and what happened."""


class DivergenceMonitor:
    """Watch the losses of a ramp, and find the step at which it can end.

    A ramp has diverged if its loss is not finite, or far above where it began. "Far" is measured
    against the fall so far and the size of the first losses, never as a multiple of the least
    loss, which makes no sense if that is negative. The median of the last `window` losses decides,
    so that a single spike does not; it must also be four standard deviations above the losses
    before them, so that noise does not.

    Parameters
    ----------
    window : int, default=5
        Number of losses whose median decides.
    """

    def __init__(self, window: int = 5) -> None:
        self.window = window
        self._first: list[float] = []
        self._recent: deque[float] = deque(maxlen=window)
        # All losses before the recent ones, in order of size: their median and its absolute
        # deviation are then found in O(log n), as a ramp of many thousand steps needs.
        self._before: list[float] = []
        self._least = math.inf

    def update(self, loss: float) -> bool:
        """Take the loss of the next step, and return whether the ramp has diverged.

        Parameters
        ----------
        loss : float
            A loss that is not finite must be the last.
        """
        if not math.isfinite(loss):
            return True
        if len(self._first) < self.window:
            self._first.append(loss)
        if len(self._recent) == self.window:
            insort(self._before, self._recent[0])
        self._recent.append(loss)
        self._least = min(self._least, loss)
        if len(self._before) < 2 * self.window:
            return False
        first, last = median(self._first), median(self._recent)
        if last <= first + max(first - self._least, abs(first)):
            return False
        middle, deviation = _median_and_deviation(self._before)
        return last > max(first, middle) + 4 * NORMAL_MAD * deviation


def _median_and_deviation(ordered: Sequence[float]) -> tuple[float, float]:
    """Return the median of values in ascending order, and their median absolute deviation."""
    n = len(ordered)
    lower, upper = (n - 1) // 2, n // 2
    middle = _mean(ordered[lower], ordered[upper])

    def nearest(k: int) -> float:
        # The distance from the middle to its k-th nearest value. The k + 1 nearest are neighbours
        # in the order; the further right they start, the greater the distance of the last of them
        # and the smaller that of the first, so the best start is where the two cross.
        start = bisect_left(
            range(n - k), True, key=lambda i: ordered[i + k] - middle >= middle - ordered[i]
        )
        places = range(max(0, start - 1), min(start, n - k - 1) + 1)
        return min(max(ordered[i + k] - middle, middle - ordered[i]) for i in places)

    return middle, _mean(nearest(lower), nearest(upper))


def _mean(a: float, b: float) -> float:
    # The sum of two equal values may overflow, though their mean does not.
    return a if a == b else (a + b) / 2


@dataclass(frozen=True)
class Curve:
    """The average of several ramps.

    Attributes
    ----------
    lrs : ndarray of shape (n,)
        Rates, up to where the first ramp ended.
    level : ndarray of shape (n,)
        `mean`, smoothed.
    spread : ndarray of shape (n,)
        Standard deviation over the ramps.
    is_log : bool
        Whether `mean`, `level` and `spread` are those of the log of the loss.
    mean : ndarray of shape (n,)
        Mean over the ramps of the log of the loss; of the loss itself if any is not positive.
    n_ramps : int
        Number of ramps.
    n_nonfinite : int
        Number of ramps that were ended by a loss that is NaN or infinite.
    """

    lrs: Array
    level: Array
    spread: Array
    is_log: bool
    mean: Array
    n_ramps: int = 1
    n_nonfinite: int = 0

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
    return Curve(
        lrs=lrs[:n],
        level=smooth(mean),
        spread=levels.std(axis=0),
        is_log=is_log,
        mean=mean,
        n_ramps=len(ramps),
        n_nonfinite=sum(len(ok) < len(all_) for ok, all_ in zip(finite, ramps, strict=True)),
    )


def smooth(values: Array) -> Array:
    """Average each value with its neighbours, symmetrically, so that nothing is shifted.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Values to smooth, each over n / 20 neighbours on both sides, near the ends over fewer.

    Returns
    -------
    ndarray of shape (n,)
    """
    n = len(values)
    total = np.concatenate([[0.0], np.cumsum(values)])
    middle, reach = np.arange(n), _reach(n)
    smoothed: Array = (total[middle + reach + 1] - total[middle - reach]) / (2 * reach + 1)
    return smoothed


@dataclass(frozen=True)
class CurveSummary:
    """The outcome of a range test, and the rates that follow; NaN if there is none.

    Attributes
    ----------
    status : str
        One of `STATUSES`.
    finding : str
        What the curve shows, in a sentence or two.
    remedy : str
        What to do about it, in a sentence; may be empty.
    lr, base_lr, max_lr : float
        Suggestions: a constant rate, and the base and the peak of a cycle.
    steepest_lr : float
        The rate at which the loss falls most steeply.
    best_lr : float
        The rate of least loss, of which the suggestions are fractions.
    low_lr, high_lr : float
        The lowest and the highest rate around `best_lr` (or `guess_lr`) between which the smoothed
        loss differs from the least by no more than its noise.
    descent_lr : float
        The rate at which the fall begins, after a plateau.
    divergence_lr : float
        The rate from which on the loss rises for good.
    guess_lr : float
        If the loss rises without a clear fall: the rate of least loss shortly before, which may be
        due to noise.
    """

    status: str
    finding: str
    remedy: str = ""
    lr: float = math.nan
    base_lr: float = math.nan
    max_lr: float = math.nan
    steepest_lr: float = math.nan
    best_lr: float = math.nan
    low_lr: float = math.nan
    high_lr: float = math.nan
    descent_lr: float = math.nan
    divergence_lr: float = math.nan
    guess_lr: float = math.nan

    @property
    def message(self) -> str:
        """The remedy, if any, and the finding."""
        return f"{self.remedy} {self.finding}".strip()


def summarize(curve: Curve, what: str = "loss") -> CurveSummary:
    """Find the rate of least loss and the suggestions that follow from it.

    The loss is seen to fall if a stretch of the curve lies below all that comes before it by more
    than the noise of the losses explains; the least loss is sought from that stretch on.

    Parameters
    ----------
    curve : Curve
        The averaged ramps.
    what : str, default='loss'
        What the curve shows, in the words of a message: 'score' if its values are minus scores.

    Returns
    -------
    CurveSummary
    """
    n = len(curve.lrs)
    if n < MIN_POINTS:
        return _summarize_short(curve, what)
    noise = _noise(curve.mean)
    values = _clip_spikes(curve.mean, noise)
    level = smooth(values)
    first = values[: max(3, n // 10)]
    min_change = MIN_CHANGE * (1.0 if curve.is_log else abs(float(first.mean())))
    z_score, start = _find_fall(values, noise)
    best = start + int(np.argmin(level[start:]))
    fall = float(first.mean() - level[best])
    fell = z_score > MIN_Z_SCORE and fall >= min_change
    after = start if fell else 0
    # In reverse order, a rise is a fall.
    z_score, _ = _find_fall(values[after:][::-1], noise)
    rise = float(values[-3:].mean() - level[after:].min())
    rose = curve.n_nonfinite > 0 or (z_score > MIN_Z_SCORE and rise >= min_change)
    margin = max(PHASE_FRACTION * fall if fell else 0.0, 2 * noise / math.sqrt(len(first)))
    divergence = best + int(np.flatnonzero(level[best:] <= level[best] + margin)[-1]) + 1
    divergence_lr = float(curve.lrs[min(divergence, n - 1)]) if rose else math.nan
    if not fell:
        low = max(0, divergence - n // GUESS_FROM)
        guess = low + int(np.argmin(level[low : divergence + 1]))
        around = _near_least(level, noise, guess, max(divergence, guess + 1))
        return _summarize_no_fall(curve, what, guess, around, divergence, divergence_lr)
    above = np.flatnonzero(level[:best] >= first.mean() - margin)
    has_plateau = above.size and above[-1] >= max(3, PLATEAU_FRACTION * best)
    plateau_end = int(above[-1]) if has_plateau else None
    around = _near_least(level, noise, best, divergence)
    return _summarize_fall(curve, what, level, plateau_end, best, around, divergence_lr)


def _summarize_short(curve: Curve, what: str) -> CurveSummary:
    """Summarize a curve of too few losses."""
    n = len(curve.lrs)
    if n == 0:
        remedy = (
            "Check the data, and whether the criterion suits the module's outputs (skorch's "
            "default NLLLoss takes probabilities)."
        )
        return _summary(curve, what, "failed", f"A first {what} was not finite.", remedy)
    finding = f"The ramp ended after {n} step{'s' if n > 1 else ''}."
    remedy = "Lower min_lr, or check the data."
    return _summary(curve, what, "diverged_at_start" if n > 1 else "failed", finding, remedy)


def _summarize_fall(
    curve: Curve,
    what: str,
    level: Array,
    plateau_end: int | None,
    best: int,
    around: tuple[int, int],
    divergence_lr: float,
) -> CurveSummary:
    """Summarize a curve that falls.

    Parameters
    ----------
    curve : Curve
        The averaged ramps.
    what : str
        What it shows.
    level : ndarray of shape (n,)
        The smoothed loss, without spikes.
    plateau_end : int or None
        Last step of the plateau before the fall; None if there is none.
    best : int
        Step of the least level.
    around : tuple of (int, int)
        First and last step whose level differs from it by noise only.
    divergence_lr : float
        The rate from which on the loss rises for good; NaN if it does not.
    """
    remedy = ""
    if math.isnan(divergence_lr):
        status, finding = "no_divergence", f"The {what} did not get worse again within the range."
        remedy = "A higher max_lr may show more."
    elif curve.n_nonfinite:
        status, finding = "ok", f"The {what} improved within the range before it diverged."
    else:
        status, finding = "ok", f"The {what} improved and got worse again within the range."
    # A linear range may begin at a rate of 0.
    slope = np.gradient(level, np.log(np.maximum(curve.lrs, 1e-300)))
    # Steep slopes on the plateau are noise.
    low = plateau_end or 0
    best_lr = float(curve.lrs[best])
    peak = best_lr * PEAK_FRACTION
    return _summary(
        curve,
        what,
        status,
        finding,
        remedy,
        lr=best_lr * CONSTANT_FRACTION,
        base_lr=peak * BASE_FRACTION,
        max_lr=peak,
        steepest_lr=float(curve.lrs[low + int(np.argmin(slope[low : best + 1]))]),
        best_lr=best_lr,
        low_lr=float(curve.lrs[around[0]]),
        high_lr=float(curve.lrs[around[1]]),
        descent_lr=math.nan if plateau_end is None else float(curve.lrs[plateau_end]),
        divergence_lr=divergence_lr,
    )


def _summarize_no_fall(
    curve: Curve,
    what: str,
    guess: int,
    around: tuple[int, int],
    divergence: int,
    divergence_lr: float,
) -> CurveSummary:
    """Summarize a curve that does not fall by more than its noise.

    Parameters
    ----------
    curve : Curve
        The averaged ramps.
    what : str
        What it shows.
    guess : int
        Step of the least level shortly before the divergence.
    around : tuple of (int, int)
        First and last step whose level differs from it by noise only.
    divergence : int
        Step of the divergence.
    divergence_lr : float
        The rate there; NaN if the loss does not rise.
    """
    if math.isnan(divergence_lr):
        finding = f"The {what} did not change by more than its noise over the whole range."
        remedy = "Raise max_lr, or check whether the net can learn."
        return _summary(curve, what, "flat", finding, remedy)
    rates = {
        "divergence_lr": divergence_lr,
        "guess_lr": float(curve.lrs[guess]),
        "low_lr": float(curve.lrs[around[0]]),
        "high_lr": float(curve.lrs[around[1]]),
    }
    if divergence < PLATEAU_FRACTION * len(curve.lrs):
        finding = f"The {what} got worse without improving first."
        return _summary(curve, what, "diverged_at_start", finding, "Lower min_lr.", **rates)
    finding = f"The {what} did not improve by more than its noise before it diverged."
    return _summary(curve, what, "flat", finding, "Check whether the net can learn.", **rates)


def interval(lrs: Array, ramps: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the lowest and the highest rate of least loss of single ramps; NaN if none has one."""
    summaries = [summarize(average(lrs, [losses])) for losses in ramps]
    rates = [summary.best_lr for summary in summaries if math.isfinite(summary.best_lr)]
    return (min(rates), max(rates)) if rates else (math.nan, math.nan)


def _summary(
    curve: Curve, what: str, status: str, finding: str, remedy: str, **rates: float
) -> CurveSummary:
    """Return a summary that also counts the ramps that were ended by a loss that is not finite."""
    if curve.n_nonfinite:
        ended = f"{curve.n_nonfinite} of {curve.n_ramps} ramps ended"
        finding = f"{finding} {ended} at a {what} that is not a finite number."
    return CurveSummary(status, finding, remedy, **rates)


def _noise(values: Array) -> float:
    """Return the standard deviation of values about a smooth curve through them.

    Each is compared with the mean of two others at equal distances on both sides, which would be
    the same on a straight line; the lower quartile of the differences is not affected by bends and
    explosions.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Losses of successive steps, or their logs.
    """
    n = len(values)
    if n < 3:
        return 0.0
    # The noise of next neighbours may be correlated, which would hide it: long curves skip them.
    differences = [
        values[lag:-lag] - (values[: -2 * lag] + values[2 * lag :]) / 2
        for lag in range(max(1, n // 30), max(1, n // 15) + 1)
    ]
    # The variance of a difference is 1 + 1/4 + 1/4 of the values' own, and the lower quartile of
    # the absolute values of a normal variable is 0.3186 of its standard deviation.
    quartile = float(np.quantile(np.abs(np.concatenate(differences)), 0.25))
    return quartile / (0.3186 * math.sqrt(1.5))


def _clip_spikes(values: Array, noise: float) -> Array:
    """Clip values to two standard deviations about the median around them.

    Parameters
    ----------
    values : ndarray of shape (n,)
        At least three.
    noise : float
        The standard deviation.

    Returns
    -------
    ndarray of shape (n,)
        The same values wherever the curve is monotone, however steep.
    """
    # Medians of five values; of three in a short curve, whose dips are no longer than that.
    reach = 2 if len(values) >= 20 else 1
    padded = np.pad(values, reach, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    middle = np.median(windows, axis=1)
    clipped: Array = middle + np.clip(values - middle, -2 * noise, 2 * noise)
    return clipped


def _find_fall(values: Array, noise: float) -> tuple[float, int]:
    """Find the stretch that lies most significantly below all values before it.

    Stretches of several lengths are tried everywhere. The weights of a stretch rise towards its
    end, as the distance does while the loss falls.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Losses of successive steps, or their logs.
    noise : float
        Their standard deviation.

    Returns
    -------
    z_score : float
        The distance in standard errors.
    start : int
        First step of the stretch.
    """
    n = len(values)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    z_score, start, length = -math.inf, 0, max(2, n // 20)
    while length <= min(n // 2, n - 3):
        weights = np.arange(1, length + 1) * 2 / (length * (length + 1))
        before = np.arange(3, n - length + 1)
        distance = sums[before] / before - np.correlate(values, weights, mode="valid")[3:]
        z_scores = distance / np.sqrt(1 / before + np.sum(weights**2)) / max(noise, 1e-150)
        best = int(np.argmax(z_scores))
        if z_scores[best] > z_score:
            z_score, start = float(z_scores[best]), int(before[best])
        length = math.ceil(1.5 * length)
    return z_score, start


def _near_least(level: Array, noise: float, least: int, end: int) -> tuple[int, int]:
    """Return the first and the last step around a least level that differ from it by noise only.

    Parameters
    ----------
    level : ndarray of shape (n,)
        The smoothed loss.
    noise : float
        Standard deviation of the loss before it was smoothed.
    least : int
        Step of the least level.
    end : int
        Step before which to stop, greater than `least`.
    """
    variance = noise**2 / (2 * _reach(len(level)) + 1)
    margin = 2 * np.sqrt(variance + variance[least])
    above = np.flatnonzero(level > level[least] + margin)
    left, right = above[above < least], above[above > least]
    first = int(left[-1]) + 1 if left.size else 0
    return first, min(int(right[0]) if right.size else len(level), end) - 1


def _reach(n: int) -> npt.NDArray[np.intp]:
    """Return how many neighbours on each side the smoothing takes in, for each of n values."""
    middle = np.arange(n)
    return np.minimum(math.ceil(0.05 * n), np.minimum(middle, n - 1 - middle))


def _finite_length(losses: Sequence[float]) -> int:
    """Return the number of losses before the first that is not finite."""
    wrong = np.flatnonzero(~np.isfinite(np.asarray(losses, dtype=float)))
    return int(wrong[0]) if wrong.size else len(losses)
