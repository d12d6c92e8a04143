"""Score suggested rates: their regret, its noise floor, and their spread."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from range_tasks import Task
from range_truth import LRS, Key, load, seeds_of

Array = NDArray[np.float64]

N_DRAWS = 10_000
"""Bootstrap samples of an interval."""


@cache
def _truth() -> dict[Key, float]:
    """Return the losses of all trainings, read once."""
    return load()


def log_losses(task: Task, schedule: str) -> Array:
    """Return the log of the loss of each training: a row a rate of the grid, a column a seed.

    A loss worse than an untrained net's counts as that.
    """
    truth = _truth()
    seeds = seeds_of(task)
    losses = np.array([[truth[Key(task.name, schedule, lr, s)] for s in seeds] for lr in LRS])
    return np.log(np.minimum(losses, np.median(losses[:2])))


def regret(curve: Array, lr: float) -> float:
    """Return the loss at a rate over the best of the grid; no suggestion counts as the worst.

    Parameters
    ----------
    curve : ndarray
        Log of the loss at each rate of the grid; between them it is interpolated.
    lr : float
        The rate.
    """
    if not math.isfinite(lr):
        return float(np.exp(curve.max() - curve.min()))
    return float(np.exp(np.interp(math.log(lr), np.log(LRS), curve) - curve.min()))


def run_again(logs: Array) -> Array:
    """Return the regrets of the best rate of the grid, run again: the noise floor of a regret.

    For each seed, the rate is the best by the mean log loss of the other seeds, and the seed's own
    training at that rate is the one run again; its loss is taken over the same best of the grid,
    the mean over all seeds, as a suggestion's.

    Parameters
    ----------
    logs : ndarray
        Log losses, a row a rate, a column a seed.
    """
    seeds = range(logs.shape[1])
    chosen = [np.delete(logs, seed, axis=1).mean(axis=1).argmin() for seed in seeds]
    return np.exp(logs[chosen, seeds] - logs.mean(axis=1).min())


def spread(lrs: Array) -> Array:
    """Return the decades between the lowest and the highest rate of each row.

    Parameters
    ----------
    lrs : ndarray
        A row a task, a column a random state; a NaN is left out, and a row with less than two
        rates gives NaN.
    """
    found = np.ma.masked_invalid(np.log10(lrs))
    between = (found.max(axis=1) - found.min(axis=1)).filled(np.nan)
    return np.where(found.count(axis=1) > 1, between, np.nan)


def geometric_mean(values: Array) -> float:
    """Return the geometric mean of all values."""
    return float(np.exp(np.log(values).mean()))


def paired_interval(ours: Array, rival: Array) -> tuple[float, float]:
    """Return the 95% bootstrap interval of the ratio of geometric means, rival over ours.

    Parameters
    ----------
    ours, rival : ndarray
        Regrets, a row a task; tasks are drawn, and both sides with them.
    """
    difference = np.log(rival).mean(axis=1) - np.log(ours).mean(axis=1)
    rng = np.random.default_rng(0)
    draws = rng.choice(difference, (N_DRAWS, len(difference))).mean(axis=1)
    low, high = np.exp(np.percentile(draws, [2.5, 97.5]))
    return float(low), float(high)
