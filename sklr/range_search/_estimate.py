"""Choose a rate by the losses of trials: pure functions of arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PER_DECADE = 3
"""Candidates a decade. They lie on one grid for all searches, so that two searches, or two random
states, compare the same rates."""
TEMPERATURE = 0.05
"""A rate whose loss is so far above the least, relatively, counts 1/e as much. Rates nearer than
that differ by noise, and their mean varies less from search to search than the best of them."""
OPEN = 2 * TEMPERATURE
"""A rate whose loss is up to this far above the least, relatively, may be the best one."""
TINY = 1e-12
"""In the place of a least loss of 0."""
GOOD = 0.05
"""A rate whose loss is up to this far above the least, relatively, is as good."""


def grid_rate(index: int) -> float:
    """Return a rate of the grid."""
    return float(10 ** (index / PER_DECADE))


def nearest_index(lr: float) -> int:
    """Return the index of the rate of the grid that is nearest to a rate, on the log scale."""
    return round(PER_DECADE * math.log10(lr))


@dataclass(frozen=True)
class Estimate:
    """The rate that the losses of trials speak for.

    Attributes
    ----------
    lr : float
        Mean of the rates that were tried, on the log scale, those of less loss counting for more.
    interval : tuple of (float, float)
        The rates between which the best one may lie.
    good_range : tuple of (float, float)
        The rates around the best between which the loss is as good, within `GOOD` of the least;
        between rates that were tried it is interpolated.
    """

    lr: float
    interval: tuple[float, float]
    good_range: tuple[float, float]


def relative_excess(losses: npt.ArrayLike) -> Array:
    """Return by how much each rate's loss is above the least, as a part of the least.

    Parameters
    ----------
    losses : array-like of shape (n_splits, n_rates)
        Validation losses, or minus scores. All rates were tried on all splits, so that a split
        that is harder than others is so for all of them.

    Returns
    -------
    ndarray of shape (n_rates,)
        Of the mean over the splits; infinite for a rate that diverged in one of them.
    """
    means = np.atleast_2d(np.asarray(losses, dtype=float)).mean(axis=0)
    excess = np.full(len(means), np.inf)
    finite = np.isfinite(means)
    if finite.any():
        least = means[finite].min()
        excess[finite] = (means[finite] - least) / max(abs(least), TINY)
    return excess


def estimate(lrs: npt.ArrayLike, losses: npt.ArrayLike) -> Estimate | None:
    """Return the rate that trials speak for; None if none of them has a finite loss.

    Parameters
    ----------
    lrs : array-like of shape (n_rates,)
        The rates that were tried, in ascending order.
    losses : array-like of shape (n_splits, n_rates)
        Their losses.
    """
    rates, excess = np.log10(np.asarray(lrs, dtype=float)), relative_excess(losses)
    if not np.isfinite(excess).any():
        return None
    weights = np.exp(-excess / TEMPERATURE)
    mean = float(np.average(rates, weights=weights))
    half_step = 0.5 / PER_DECADE
    candidates = rates[excess <= OPEN]
    # The best rate may lie anywhere between those that were tried.
    interval = (float(candidates[0]) - half_step, float(candidates[-1]) + half_step)
    good = _good_range(rates, excess)
    return Estimate(
        float(10**mean),
        (float(10 ** min(interval[0], mean)), float(10 ** max(interval[1], mean))),
        (float(10 ** min(good[0], mean)), float(10 ** max(good[1], mean))),
    )


def _good_range(rates: Array, excess: Array) -> tuple[float, float]:
    """Return where the interpolated excess crosses `GOOD` on both sides of the best rate."""
    best = int(np.argmin(excess))
    ends = []
    for step in (-1, 1):
        here = best
        while 0 <= here + step < len(rates) and excess[here + step] <= GOOD:
            here += step
        end = rates[here]
        beyond = here + step
        if 0 <= beyond < len(rates) and np.isfinite(excess[beyond]):
            part = (GOOD - excess[here]) / (excess[beyond] - excess[here])
            end += part * (rates[beyond] - rates[here])
        ends.append(float(end))
    return ends[0], ends[1]
