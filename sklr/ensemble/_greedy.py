"""Weights of members, learned on held-out data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ROUNDS = 100
"""Members that are added at most: weights are then as fine as a hundredth."""


def greedy_weights(outputs: Array, loss: Callable[[Array], float]) -> Array:
    """Select members with replacement, always the one whose addition loses least.

    It begins with the best member, and ends where no addition is better. Members that are not
    finite are never taken; of equal ones the first is.

    Parameters
    ----------
    outputs : ndarray of shape (n_members, n_samples, ...)
        What each member says of held-out data.
    loss : callable
        Of the mean of some members' outputs.

    Returns
    -------
    ndarray of shape (n_members,)
        How often each was taken, over the number of all.

    References
    ----------
    Caruana, Niculescu-Mizil, Crew, Ksikes: Ensemble selection from libraries of models. ICML 2004.
    """
    finite = [i for i, output in enumerate(outputs) if np.isfinite(output).all()]
    counts = np.zeros(len(outputs))
    total, least = np.zeros_like(outputs[0], dtype=float), np.inf
    for n_taken in range(1, ROUNDS + 1):
        losses = {i: loss((total + outputs[i]) / n_taken) for i in finite}
        best = min(losses, key=losses.__getitem__, default=None)
        if best is None or not losses[best] < least:
            break
        least = losses[best]
        total += outputs[best]
        counts[best] += 1
    if not counts.any():
        raise FloatingPointError("No member's output on the held-out data is finite.")
    weights: Array = counts / counts.sum()
    return weights
