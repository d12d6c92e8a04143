"""The result of a search: from the ramps' curve and the trials to what is suggested."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from sklr import _curves
from sklr._training._evaluation import TrainingData
from sklr._training._target import Target, group_params
from sklr.callbacks import Schedule
from sklr.range_search import _trials
from sklr.range_search._budget import Budget
from sklr.range_search._preparation import Prepared, Request
from sklr.range_search._ramps import RangeTest
from sklr.range_search._suggestion import LRSuggestion
from sklr.range_search._trials import Trial

HALF_DECADE = 10**0.5
"""Least factor between `lr` and the ends of its interval if there is one ramp only."""


def make_suggestion(
    target: Target,
    prepared: Prepared,
    test: RangeTest,
    trials: list[Trial],
    learned: bool,
    notes: str,
    seconds: float,
) -> LRSuggestion:
    """Return the suggestion.

    Parameters
    ----------
    target : Target
        The net in the user's estimator.
    prepared : Prepared
        What was trained.
    test : RangeTest
        The ramps and what they show.
    trials : list of Trial
        The best first; may be empty.
    learned : bool
        Whether trials have an answer if the ramps have none.
    notes : str
        What was adjusted.
    seconds : float
        Wall time.

    Returns
    -------
    LRSuggestion
    """
    summary, training_steps = test.summary, prepared.training_steps
    if trials and training_steps is not None:
        if learned and not test.answered:
            summary = _answered_by_trials(summary)
        if summary.status in _curves.ANSWERED:
            summary = _verified(summary, trials, training_steps)
    answered = summary.status in _curves.ANSWERED
    # A schedule begins or peaks at a rate that it leaves again.
    lr = summary.max_lr if _peaks(target) else summary.lr
    words = [summary.message, test.message, notes]
    return LRSuggestion(
        lr=lr if answered else math.nan,
        base_lr=summary.base_lr,
        max_lr=summary.max_lr,
        steepest_lr=summary.steepest_lr,
        interval=_interval(test, summary, lr) if answered else (math.nan, math.nan),
        status=summary.status,
        message=" ".join(word for word in words if word),
        verified=answered and bool(trials),
        params=_params(target, summary, lr, prepared.reference_lr) if answered else {},
        cost_steps=test.steps + sum(trial.steps for trial in trials),
        seconds=seconds,
    )


def _peaks(target: Target) -> bool:
    """Return whether the net has a schedule with a peak of its own to set."""
    return target.schedule is not None and not isinstance(target.schedule, Schedule)


def _interval(test: RangeTest, summary: _curves.CurveSummary, lr: float) -> tuple[float, float]:
    """Return the rates that the ramps leave open, scaled as `lr` is from their least loss."""
    low, high = (lr / summary.best_lr * rate for rate in test.interval())
    if test.curve.n_ramps == 1:
        # One ramp cannot show how far ramps differ: some half a decade in the benchmark's tasks.
        low, high = min(low, lr / HALF_DECADE), max(high, lr * HALF_DECADE)
    return min(low, lr), max(high, lr)


def _answered_by_trials(summary: _curves.CurveSummary) -> _curves.CurveSummary:
    """Return an answer if the ramps are too noisy for one and the trials have learned."""
    finding = "The ramps fell by no more than their noise, but the trials learned."
    return replace(summary, status="ok", finding=finding, remedy="", best_lr=summary.guess_lr)


def _verified(
    summary: _curves.CurveSummary, trials: list[Trial], training_steps: int
) -> _curves.CurveSummary:
    """Put what the best trial shows in the place of what the curve shows."""
    best = trials[0]
    if not math.isfinite(best.loss):
        why = f" ({best.error})" if best.error else ""
        return _curves.CurveSummary(
            "failed",
            f"Every trial diverged{why}, also at rates far below that of the least loss.",
            "Look at the data and the module's outputs.",
        )
    lr = _trials.constant_lr(best, training_steps)
    # Never beyond both the best trial and the least loss: there the loss soon explodes.
    peak = max(lr, min(lr * _trials.PEAK_FACTOR, max(best.lr, summary.best_lr)))
    finding = f"{summary.finding} Of {len(trials)} rates tried, {best.lr:.2g} did best"
    if _trials.horizon(best, training_steps) < 1:
        finding += (
            ", until its validation loss turned upwards: lr is lowered for the length of a whole "
            "training"
        )
    base = peak * _curves.BASE_FRACTION
    return replace(summary, lr=lr, base_lr=base, max_lr=peak, finding=f"{finding}.")


def _params(
    target: Target, summary: _curves.CurveSummary, lr: float, reference_lr: float
) -> dict[str, Any]:
    """Return the suggestion as parameters of the estimator: those of its schedule, or the rate.

    A schedule scales each parameter group from its initial rate. Without one, groups with rates of
    their own are set too, in the proportion in which they were tried.
    """
    net, prefix = target.net, target.prefix
    if target.schedule is not None and _peaks(target):
        suggested = {"lr": lr, "base_lr": summary.base_lr, "max_lr": summary.max_lr}
        own = target.schedule.get_params()
        name = f"{prefix}callbacks__{target.schedule_name}"
        return {f"{name}__{key}": value for key, value in suggested.items() if key in own}
    name = "optimizer__lr" if hasattr(net, "optimizer__lr") else "lr"
    params: dict[str, Any] = {f"{prefix}{name}": lr}
    groups = group_params(net)
    if groups is not None:
        factor = lr / reference_lr
        params[f"{prefix}optimizer__param_groups"] = [
            (pattern, options | {"lr": factor * options["lr"]} if "lr" in options else options)
            for pattern, options in groups
        ]
    return params


def notes_on(
    search: Any,
    request: Request,
    prepared: Prepared,
    data: TrainingData,
    budget: Budget,
    test: RangeTest,
    trials: list[Trial],
) -> str:
    """Return what was adjusted, and what was left out and why.

    Parameters
    ----------
    search : LRRangeSearch
        What was asked for.
    request, prepared, data, budget, test, trials
        The parts of the search.
    """
    notes = [budget.message]
    if search.verify and prepared.evaluation is None and prepared.training_steps is not None:
        notes.insert(0, "No candidate was verified: there is no validation data.")
    elif budget.verify and test.answered and not trials:
        notes.append("No candidate was verified: the extended range took the budget.")
    notes.append(_adjustments(search, request, prepared, data))
    return " ".join(note for note in notes if note)


def _adjustments(search: Any, request: Request, prepared: Prepared, data: TrainingData) -> str:
    """Return what of the data the net would not take from the user itself."""
    notes = []
    if prepared.adapted.get("dataset__columns"):
        notes.append("y of shape (n_samples,) as a column (give it y.reshape(-1, 1))")
    X, labels = data.X, request.labels
    if prepared.adapted.get("dataset__frames"):
        notes.append("a frame as an array (set_output(transform='default') does so)")
    elif not request.target.prefix and hasattr(search, "feature_names_in_"):
        notes.append("a frame as an array (give it X.to_numpy())")
    if isinstance(X, np.ndarray) and X.dtype == np.float64:
        notes.append("X of float64 in the net's dtype (dataset=sklr.data.ArrayDataset does so)")
    if labels is not None and not np.array_equal(labels.classes, labels.codes):
        notes.append("labels as 0, 1, ... (LabelEncoder does so)")
    if not notes:
        return ""
    remedy = "" if search.refit else ": refit=True does that for you"
    return f"The net was given {'; '.join(notes)}{remedy}."
