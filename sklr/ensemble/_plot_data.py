"""Compute the numbers that the display of a snapshot ensemble draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sklr._validation import ParameterTypeError, ParameterValueError
from sklr.ensemble._diversity import diversity
from sklr.ensemble._selection import Array, places_in_runs

if TYPE_CHECKING:
    from sklr.ensemble._base import BaseSnapshotEnsemble

FROM_ENSEMBLE = "SnapshotDisplay.from_ensemble"


def snapshot_plot_data(ensemble: BaseSnapshotEnsemble, X: Any, y: Any) -> dict[str, Any]:
    """Return the parameters of a SnapshotDisplay of a fitted ensemble.

    Parameters
    ----------
    ensemble : BaseSnapshotEnsemble
        A fitted ensemble. Of several runs the first one's training is drawn.
    X : array-like of shape (n_samples, ...) or None
        Validation samples; None takes what fit found on the net's own validation data, if any.
    y : array-like of shape (n_samples,) or None
        Their labels or targets; without them there are no errors.

    Returns
    -------
    dict of str to object

    Raises
    ------
    TypeError
        If y is given without X.
    ValueError
        If X and y differ in length.
    """
    history = ensemble.history_
    # Batches of the validation have no rate.
    rates = [[row["lr"] for row in epoch["batches"] if "lr" in row] for epoch in history]
    ends = np.arange(len(history) + 1)
    # Training batches done by the end of each epoch.
    done = np.cumsum([0, *map(len, rates)])
    has_valid_loss = any("valid_loss" in epoch for epoch in history)
    is_classifier = hasattr(ensemble, "classes_")
    return {
        "epochs": ends[1:],
        "rates": np.concatenate([np.array(of_epoch, dtype=float) for of_epoch in rates]),
        "losses": _column(history, "train_loss"),
        "valid_losses": _column(history, "valid_loss") if has_valid_loss else None,
        # Epochs may differ in length, as those that Ctrl-C or a callback ends early.
        "snapshot_epochs": np.interp(ensemble.snapshot_steps_, done, ends),
        "error_name": f"validation error{'' if is_classifier else ' (1 - R²)'}",
        **(_known(ensemble, y) if X is None else _measured(ensemble, X, y)),
    }


def _column(history: Sequence[Mapping[str, Any]], name: str) -> Array:
    """Return a column of a skorch history, NaN in an epoch that was interrupted before it."""
    return np.array([epoch.get(name, np.nan) for epoch in history], dtype=float)


def _known(ensemble: BaseSnapshotEnsemble, y: Any) -> dict[str, Any]:
    """Return what fit found about the members on the net's validation data."""
    if y is not None:
        requirement = "be given if y is: errors are those of predictions for X"
        raise ParameterTypeError(FROM_ENSEMBLE, "X", requirement, None)
    known: dict[str, Any] = {}
    if ensemble.member_scores_ is not None:
        known["member_errors"] = 1 - np.asarray(ensemble.member_scores_)
        known["member_places"] = _places(ensemble, len(ensemble.member_scores_))
    # A single member is correlated with none.
    if ensemble.diversity_ is not None and len(ensemble.diversity_.correlation) > 1:
        known["correlation"] = ensemble.diversity_.correlation
    return known


def _measured(ensemble: BaseSnapshotEnsemble, X: Any, y: Any) -> dict[str, Any]:
    """Return correlations and, if y is given, errors of the members on some data."""
    outputs = ensemble._outputs(X)
    chosen = ensemble._decisions(outputs)
    measured: dict[str, Any] = {}
    if len(outputs) > 1:
        measured["correlation"] = diversity(outputs, chosen).correlation
    if y is None:
        return measured
    y = np.asarray(y)
    if y.size != outputs.shape[1]:
        requirement = f"have one value for each of the {outputs.shape[1]} samples of X"
        raise ParameterValueError(FROM_ENSEMBLE, "y", requirement, y)
    y = y.reshape(-1)
    classes = getattr(ensemble, "classes_", None)
    answers = outputs if classes is None or chosen is None else classes[chosen]
    measured["member_errors"] = [_error(y, answer, classes) for answer in answers]
    measured["member_places"] = _places(ensemble, len(outputs))
    staged = ensemble.staged_predict(X)
    measured["staged_errors"] = [_error(y, answer, classes) for answer in staged]
    return measured


def _places(ensemble: BaseSnapshotEnsemble, n_members: int) -> Array:
    """Return each member's position in its run, counted from the last."""
    counts = ensemble._members_of_runs
    # With combine='parameters' the errors are those of the snapshots of the one run, not of the
    # one member that they were averaged into.
    return places_in_runs(counts if sum(counts) == n_members else [n_members])


def _error(y: Array, answer: Array, classes: Array | None) -> float:
    """Return the fraction of wrong labels, or 1 - R^2, NaN if y is constant."""
    if classes is not None:
        return float(np.mean(answer != y))
    variance = np.var(y)
    return float(np.mean((answer.reshape(-1) - y) ** 2) / variance) if variance else np.nan
