"""Range-test curves: when one has diverged, what several say together, and what to suggest.

Pure functions of arrays. A curve is the training loss of each step of a ramp of the rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

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

EVIDENCE = 4.5
"""Standard errors between two stretches of a curve that are no accident: in about one flat curve of
a hundred the greatest of all such distances is greater, where the losses of successive batches do
not depend on each other; heavy tails included."""
LEAST_CHANGE = 0.01
"""A smaller change, as a part of the loss, is none, however certain."""
PHASE_PART = 0.1
"""Part of the fall by which the loss may leave a plateau, or the least loss, and be on it still."""
PLATEAU_PART = 0.3
"""Part of the way to the least loss that a plateau takes at least: thrice what a straight fall
takes for a tenth of its depth."""


GUESS_FROM = 8
"""Of this part of the steps before the divergence, a decade of the default range, the least loss is
a guess where no fall is clear: most nets learn there if anywhere."""


def has_diverged(losses: Sequence[float], window: int = 5) -> bool:
    """Tell whether a ramp can end: its loss is not finite, or far above where it began.

    "Far" is measured against the fall so far and the size of the first losses, never as a
    multiple of the best loss, which would be false of a negative one. The median of the last
    `window` losses decides, so that a single spike does not; and it is four standard deviations
    above the losses before them, so that their scatter does not.

    Parameters
    ----------
    losses : sequence of float
        The losses so far.
    window : int, default=5
        Losses whose median decides.
    """
    if not math.isfinite(losses[-1]):
        return True
    if len(losses) < 3 * window:
        return False
    first, last = median(losses[:window]), median(losses[-window:])
    fall = first - min(losses)
    # Most steps end here: what follows is slow beside the training of a small net.
    if last <= first + max(fall, abs(first)):
        return False
    before = np.asarray(losses[:-window])
    middle = np.median(before)
    scatter = 1.4826 * np.median(np.abs(before - middle))
    return bool(last > max(first, middle) + 4 * scatter)


@dataclass(frozen=True)
class Curve:
    """Several ramps averaged.

    Attributes
    ----------
    lrs : ndarray of shape (n,)
        Rates, as far as every ramp came.
    level : ndarray of shape (n,)
        `mean`, smoothed.
    spread : ndarray of shape (n,)
        Standard deviation over the ramps.
    is_log : bool
        Whether `level` is a log.
    mean : ndarray of shape (n,)
        Mean over the ramps of the log of the loss; of the loss itself where a loss is not
        positive.
    n_ramps : int
        Ramps.
    n_nonfinite : int
        Ramps that were ended by a loss that is NaN or infinite.
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

    `best_lr` is the rate of least loss, of which `lr`, `base_lr` and `max_lr` are parts. The fall
    begins at `descent_lr`, where the plateau before it ends, and is steepest at `steepest_lr`; the
    loss rises for good from `divergence_lr` on. Where it rises without a clear fall, `guess_lr` is
    the rate of least loss shortly before, which the scatter may have made.
    """

    status: str
    message: str
    lr: float = math.nan
    base_lr: float = math.nan
    max_lr: float = math.nan
    steepest_lr: float = math.nan
    best_lr: float = math.nan
    descent_lr: float = math.nan
    divergence_lr: float = math.nan
    guess_lr: float = math.nan


def read(curve: Curve) -> Reading:
    """Find the rate of least loss and the suggestions that follow from it.

    A fall is seen where a stretch of the curve lies below all that comes before it by more than
    the scatter of the losses explains; the least loss is sought from that stretch on.

    Parameters
    ----------
    curve : Curve
        The averaged ramps.

    Returns
    -------
    Reading
    """
    n = len(curve.lrs)
    if n < MIN_POINTS:
        return _too_short(curve)
    scatter = _scatter(curve.mean)
    values = _without_spikes(curve.mean, scatter)
    level = smooth(values)
    first = values[: max(3, n // 10)]
    least_change = LEAST_CHANGE * (1.0 if curve.is_log else abs(float(first.mean())))
    evidence, start = _fall(values, scatter)
    best = start + int(np.argmin(level[start:]))
    fall = float(first.mean() - level[best])
    fell = evidence > EVIDENCE and fall >= least_change
    after = start if fell else 0
    # Read backwards, a rise is a fall.
    evidence, _ = _fall(values[after:][::-1], scatter)
    rise = float(values[-3:].mean() - level[after:].min())
    rose = curve.n_nonfinite > 0 or (evidence > EVIDENCE and rise >= least_change)
    margin = max(PHASE_PART * fall if fell else 0.0, 2 * scatter / math.sqrt(len(first)))
    divergence = best + int(np.flatnonzero(level[best:] <= level[best] + margin)[-1]) + 1
    divergence_lr = float(curve.lrs[min(divergence, n - 1)]) if rose else math.nan
    if not fell:
        low = max(0, divergence - n // GUESS_FROM)
        guess = low + int(np.argmin(level[low : divergence + 1]))
        return _without_fall(curve, guess, divergence, divergence_lr)
    above = np.flatnonzero(level[:best] >= first.mean() - margin)
    seen = above.size and above[-1] >= max(3, PLATEAU_PART * best)
    return _with_fall(curve, level, int(above[-1]) if seen else None, best, divergence_lr)


def _too_short(curve: Curve) -> Reading:
    """Read a curve of too few losses."""
    n = len(curve.lrs)
    if n == 0:
        message = (
            "A first loss was not finite. Look at the data, and at whether the criterion suits the "
            "module's outputs (skorch's default NLLLoss takes probabilities)."
        )
        return _reading(curve, "failed", message)
    message = f"The ramp ended after {n} steps. Lower min_lr, or look at the data."
    return _reading(curve, "diverged_at_start" if n > 1 else "failed", message)


def _with_fall(
    curve: Curve, level: Array, plateau_end: int | None, best: int, divergence_lr: float
) -> Reading:
    """Read a curve that falls.

    Parameters
    ----------
    curve : Curve
        The averaged ramps.
    level : ndarray of shape (n,)
        Their smoothed loss, without spikes.
    plateau_end : int or None
        Last step of the plateau before the fall; None where none was seen.
    best : int
        Step of the least level.
    divergence_lr : float
        The rate from which on the loss rises for good; NaN where it did not.
    """
    if math.isnan(divergence_lr):
        status = "no_divergence"
        message = "The loss did not rise again within the range; a higher max_lr may show more."
    elif curve.n_nonfinite:
        status, message = "ok", "The loss fell within the range before it diverged."
    else:
        status, message = "ok", "The loss fell and rose again within the range."
    slope = np.gradient(level, np.log(np.maximum(curve.lrs, 1e-300)))
    # What is steep on the plateau is scatter.
    low = plateau_end or 0
    best_lr = float(curve.lrs[best])
    peak = best_lr * PEAK_PART
    return _reading(
        curve,
        status,
        message,
        lr=best_lr * CONSTANT_PART,
        base_lr=peak * BASE_PART,
        max_lr=peak,
        steepest_lr=float(curve.lrs[low + int(np.argmin(slope[low : best + 1]))]),
        best_lr=best_lr,
        descent_lr=math.nan if plateau_end is None else float(curve.lrs[plateau_end]),
        divergence_lr=divergence_lr,
    )


def _without_fall(curve: Curve, guess: int, divergence: int, divergence_lr: float) -> Reading:
    """Read a curve that does not fall by more than its scatter.

    Parameters
    ----------
    curve : Curve
        The averaged ramps.
    guess, divergence : int
        Steps of the least level shortly before the divergence, and of the divergence.
    divergence_lr : float
        The rate there; NaN where the loss did not rise.
    """
    if math.isnan(divergence_lr):
        return _reading(
            curve,
            "flat",
            "The loss did not change by more than its scatter over the whole range. Raise max_lr, "
            "run more ramps, or look at whether the net can learn.",
        )
    rates = {"divergence_lr": divergence_lr, "guess_lr": float(curve.lrs[guess])}
    if divergence < PLATEAU_PART * len(curve.lrs):
        message = "The loss rose without falling first. Lower min_lr."
        return _reading(curve, "diverged_at_start", message, **rates)
    message = (
        "Before it diverged the loss did not fall by more than its scatter. Run more ramps, or "
        "look at whether the net can learn."
    )
    return _reading(curve, "flat", message, **rates)


def interval(lrs: Array, ramps: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Give the lowest and highest rate of least loss of the ramps one by one; NaN for none."""
    readings = [read(average(lrs, [losses])) for losses in ramps]
    rates = [reading.best_lr for reading in readings if math.isfinite(reading.best_lr)]
    return (min(rates), max(rates)) if rates else (math.nan, math.nan)


def _reading(curve: Curve, status: str, message: str, **rates: float) -> Reading:
    """Give a reading that says, where it is so, how many ramps ended at a loss not finite."""
    if curve.n_nonfinite:
        ended = f"{curve.n_nonfinite} of {curve.n_ramps} ramps ended"
        message = f"{message} {ended} at a loss that is not a finite number."
    return Reading(status, message, **rates)


def _scatter(values: Array) -> float:
    """Give the standard deviation of values about a curve through them.

    Each is compared with the middle between two others at equal distances, which a straight piece
    goes through; the lower quartile of the distances passes over bends and explosions. Neighbours
    are left out of a long curve, since what they share would not be seen.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Losses of successive steps, or their logs.
    """
    n = len(values)
    if n < 3:
        return 0.0
    differences = [
        values[lag:-lag] - (values[: -2 * lag] + values[2 * lag :]) / 2
        for lag in range(max(1, n // 30), max(1, n // 15) + 1)
    ]
    # In 1.5 variances, of which the lower quartile of distances is 0.3186 standard deviations.
    quartile = float(np.quantile(np.abs(np.concatenate(differences)), 0.25))
    return quartile / (0.3186 * math.sqrt(1.5))


def _without_spikes(values: Array, scatter: float) -> Array:
    """Bring values to within two standard deviations of the median around them.

    Parameters
    ----------
    values : ndarray of shape (n,)
        At least three.
    scatter : float
        The standard deviation.

    Returns
    -------
    ndarray of shape (n,)
        Where the curve goes one way only, also steeply, the same values.
    """
    # Five values, of a short curve three: there a dip is no longer than that.
    reach = 2 if len(values) >= 20 else 1
    padded = np.pad(values, reach, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    middle = np.median(windows, axis=1)
    within: Array = middle + np.clip(values - middle, -2 * scatter, 2 * scatter)
    return within


def _fall(values: Array, scatter: float) -> tuple[float, int]:
    """Find the stretch that lies most clearly below all values before it.

    Stretches of several lengths are tried everywhere. In each the weights rise to the end, as the
    distance does while the loss falls.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Losses of successive steps, or their logs.
    scatter : float
        Their standard deviation.

    Returns
    -------
    evidence : float
        The distance in standard errors.
    start : int
        Where the stretch begins.
    """
    n = len(values)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    evidence, start, length = -math.inf, 0, max(2, n // 20)
    while length <= min(n // 2, n - 3):
        weights = np.arange(1, length + 1) * 2 / (length * (length + 1))
        before = np.arange(3, n - length + 1)
        distance = sums[before] / before - np.correlate(values, weights, mode="valid")[3:]
        errors = distance / np.sqrt(1 / before + np.sum(weights**2)) / max(scatter, 1e-150)
        best = int(np.argmax(errors))
        if errors[best] > evidence:
            evidence, start = float(errors[best]), int(before[best])
        length = math.ceil(1.5 * length)
    return evidence, start


def _reach(n: int) -> int:
    """Give the neighbours that smoothing takes in on each side."""
    return math.ceil(0.05 * n)


def _finite_length(losses: Sequence[float]) -> int:
    """Give the number of losses before the first that is not finite."""
    wrong = np.flatnonzero(~np.isfinite(np.asarray(losses, dtype=float)))
    return int(wrong[0]) if wrong.size else len(losses)
