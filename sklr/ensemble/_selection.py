"""Means of members, weights learned for them, and whether the earlier ones help."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sklr._training._evaluation import weighted_mean as mean_of_samples

Array = npt.NDArray[Any]

ROUNDS = 100
"""Members that greedy selection adds at most: weights are then as fine as a hundredth."""
STANDARD_ERRORS = 2.0
"""Number of standard errors by which a mean difference of losses must exceed 0."""
MATERIAL = 0.02
"""Fraction of a loss by which another must exceed it to be worth a warning."""


def normalized(weights: npt.ArrayLike) -> Array:
    """Return weights that sum to 1, in proportion to finite ones that are not all 0."""
    array = np.asarray(weights, dtype=float)
    # Sums of the largest floats overflow, and quotients of the smallest underflow.
    array = array / array.max()
    return np.asarray(array / array.sum())


def weighted_mean(outputs: Array, weights: Array | None) -> Array:
    """Return the mean over the first axis, in the dtype of the outputs; None weighs all equally."""
    mean: Array = np.average(outputs, axis=0, weights=weights)
    return mean.astype(outputs.dtype, copy=False)


def staged_means(
    outputs: Array, weights: Array | None, members_of_runs: Sequence[int]
) -> Iterator[Array]:
    """Yield the weighted mean of the outputs of each run's last 1, 2, ... members.

    Parameters
    ----------
    outputs : ndarray of shape (n_members, n_samples, ...)
        The members' predictions.
    weights : ndarray of shape (n_members,) or None
        The members' weights; if those of a stage are all 0, its members count equally.
    members_of_runs : sequence of int
        How many of the members each run has.
    """
    weights = np.ones(len(outputs)) if weights is None else weights
    places = places_in_runs(members_of_runs)
    for count in range(1, places.max() + 1):
        last = places <= count
        # Each stage by itself: the weights of the members that it has must sum to 1.
        chosen = normalized(weights[last]) if weights[last].any() else None
        yield weighted_mean(outputs[last], chosen)


def places_in_runs(members_of_runs: Sequence[int]) -> Array:
    """Return each member's position in its run, counted from the last, which is 1."""
    return np.concatenate([np.arange(n, 0, -1) for n in members_of_runs])


def greedy_weights(outputs: Array, loss: Callable[[Array], float]) -> Array:
    """Select members with replacement, always the one whose addition lowers the loss most.

    Selection starts from the best member, and ends when no addition is better. Members whose
    predictions are not finite are never selected; of equal ones the first is.

    Parameters
    ----------
    outputs : ndarray of shape (n_members, n_samples, ...)
        The members' predictions for validation data.
    loss : callable
        Returns the loss of a mean of predictions.

    Returns
    -------
    ndarray of shape (n_members,)
        The fraction of selections that each member got.

    Raises
    ------
    FloatingPointError
        If no member's predictions are finite.

    References
    ----------
    Caruana, Niculescu-Mizil, Crew, Ksikes: Ensemble selection from libraries of models. ICML 2004.
    """
    # A NaN in the sum would stay there for all later rounds.
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
        raise FloatingPointError("No member's predictions for the validation data are finite.")
    return normalized(counts)


def better_stage(losses: Sequence[Array], weights: Array | None = None) -> int | None:
    """Return the stage of least loss, from 1, if it is materially better than the last.

    Parameters
    ----------
    losses : sequence of ndarray of shape (n_samples,)
        Losses of each sample, by stage; the last stage is that of all members.
    weights : ndarray of shape (n_samples,), default=None
        Weights of the samples.
    """
    # A mean that is NaN would be argmin's choice.
    means = np.array([mean_of_samples(loss, weights) for loss in losses])
    best = int(np.argmin(np.where(np.isnan(means), np.inf, means)))
    return best + 1 if is_materially_higher(losses[-1], losses[best], weights) else None


def is_materially_higher(losses: Array, others: Array, weights: Array | None = None) -> bool:
    """Return whether a mean loss is higher than another, by more than noise and a small part.

    Parameters
    ----------
    losses, others : ndarray of shape (n_samples,)
        Losses of each sample.
    weights : ndarray of shape (n_samples,), default=None
        Weights of the samples.
    """
    # The statistics of an infinite loss would be NaN, which is never greater than anything.
    if not np.isfinite(losses).all():
        return bool(np.isfinite(others).all())
    weights = np.ones(len(losses)) if weights is None else weights
    parts = weights / weights.sum()
    excess = losses - others
    mean = float(parts @ excess)
    standard_error = np.sqrt(parts**2 @ (excess - mean) ** 2)
    noise = STANDARD_ERRORS * float(standard_error)
    return mean > max(noise, MATERIAL * abs(float(parts @ others)))
