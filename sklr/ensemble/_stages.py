"""The last 1, 2, ... members together, and whether the earlier ones help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

STANDARD_ERRORS = 2.0
"""Of the mean difference of losses, which a stage has to be better by."""
MATERIAL = 0.02
"""Part of its loss that a stage has to be better by."""


def weighted_mean(outputs: Array, weights: Array | None) -> Array:
    """Give the mean over the first axis, in the dtype of the outputs; None weighs all alike."""
    mean: Array = np.average(outputs, axis=0, weights=weights)
    return mean.astype(outputs.dtype, copy=False)


def staged_means(
    outputs: Array, weights: Array | None, members_of_runs: Sequence[int]
) -> Iterator[Array]:
    """Yield the weighted mean of the outputs of each run's last 1, 2, ... members.

    Parameters
    ----------
    outputs : ndarray of shape (n_members, n_samples, ...)
        What each member says.
    weights : ndarray of shape (n_members,) or None
        Of the members; where those of a stage are all 0, they count alike.
    members_of_runs : sequence of int
        How many of the members each run has.
    """
    weights = np.ones(len(outputs)) if weights is None else weights
    # Each member's place in its run, counted from the end.
    places = np.concatenate([np.arange(n, 0, -1) for n in members_of_runs])
    for count in range(1, places.max() + 1):
        last = places <= count
        chosen = weights[last] if weights[last].any() else None
        yield weighted_mean(outputs[last], chosen)


def better_stage(losses: Sequence[Array]) -> int | None:
    """Give the stage of least loss, from 1, if it is surely and materially better than the last.

    Parameters
    ----------
    losses : sequence of ndarray of shape (n_samples,)
        Of each sample, by stage; the last is that of all members.
    """
    best = int(np.argmin([loss.mean() for loss in losses]))
    excess = losses[-1] - losses[best]
    noise = STANDARD_ERRORS * excess.std() / np.sqrt(len(excess))
    return best + 1 if excess.mean() > max(noise, MATERIAL * losses[best].mean()) else None
