"""Measure how members differ: in pairs, and all of them on each sample."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from sklearn.utils import Bunch

from sklr.ensemble._selection import Array


class Uncertainty(NamedTuple):
    """Predictive uncertainty of samples, and its parts.

    Attributes
    ----------
    total, aleatoric, epistemic : ndarray of shape (n_samples,)
        Of classifiers, in nats: the entropy of the mean probabilities, the mean of the members'
        entropies (noise in the data), and the difference (disagreement of the members). Of
        regressors: `epistemic` is the standard deviation among the members, `total` the same, and
        `aleatoric` NaN.
    """

    total: Array
    aleatoric: Array
    epistemic: Array


def diversity(outputs: Array, chosen: Array | None) -> Bunch:
    """Return how pairs of members differ.

    Parameters
    ----------
    outputs : ndarray of shape (n_members, n_samples, ...)
        Probabilities, or values.
    chosen : ndarray of shape (n_members, n_samples) or None
        The labels that probabilities decide for; None for values.

    Returns
    -------
    Bunch
        `correlation`, of shape (n_members, n_members): of all outputs (Huang et al. 2017, section
        4.4). `disagreement`, of that shape: the part of the samples for which a pair predicts
        different labels; of regressors the root mean squared difference.
    """
    # In float32 the differences of members of one basin would be little more than rounding.
    flat = outputs.reshape(len(outputs), -1).astype(float)
    deviations = flat - flat.mean(axis=1, keepdims=True)
    lengths = np.sqrt((deviations**2).sum(axis=1))
    products = np.outer(lengths, lengths)
    # A constant member is correlated with none.
    correlation = np.divide(
        deviations @ deviations.T, products, out=np.zeros_like(products), where=products > 0
    )
    differences = np.zeros_like(products)
    for i, j in combinations(range(len(flat)), 2):
        if chosen is None:
            between = np.sqrt(np.mean((flat[i] - flat[j]) ** 2))
        else:
            between = np.mean(chosen[i] != chosen[j])
        differences[i, j] = differences[j, i] = between
    # Rounding may lead out of the interval.
    return Bunch(correlation=np.clip(correlation, -1, 1), disagreement=differences)


def entropy_parts(outputs: Array, weights: Array | None) -> Uncertainty:
    """Split the entropy of the weighted mean of probabilities.

    Parameters
    ----------
    outputs : ndarray of shape (n_members, n_samples, n_classes)
        Probabilities.
    weights : ndarray of shape (n_members,) or None
        The members' weights.

    References
    ----------
    Depeweg, Hernandez-Lobato, Doshi-Velez, Udluft: Decomposition of uncertainty in Bayesian deep
    learning for efficient and risk-sensitive learning. ICML 2018.
    """
    total = _entropy(np.average(outputs.astype(float), axis=0, weights=weights))
    aleatoric = np.average(_entropy(outputs.astype(float)), axis=0, weights=weights)
    # Rounding may make a difference of 0 slightly negative.
    return Uncertainty(total, aleatoric, np.maximum(total - aleatoric, 0.0))


def spread(outputs: Array, weights: Array | None) -> Uncertainty:
    """Return the weighted standard deviation among members' values.

    Parameters
    ----------
    outputs : ndarray of shape (n_members, n_samples)
        Values.
    weights : ndarray of shape (n_members,) or None
        The members' weights.
    """
    mean = np.average(outputs, axis=0, weights=weights)
    deviation = np.sqrt(np.average((outputs - mean) ** 2, axis=0, weights=weights))
    return Uncertainty(deviation, np.full_like(deviation, np.nan), deviation)


def _entropy(proba: Array) -> Array:
    # The limit of p log p at 0 is 0, for which numpy gives NaN.
    logs = np.log(np.where(proba > 0, proba, 1.0))
    entropy: Array = -(proba * logs).sum(axis=-1)
    return entropy
