"""The result of a search: from the ramps' curve and the trials to what is suggested."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from sklr import _curves
from sklr._training._evaluation import TrainingData
from sklr._training._target import Target, group_params
from sklr.range_search._budget import Budget
from sklr.range_search._estimate import Estimate
from sklr.range_search._preparation import Prepared, Request, schedule_params
from sklr.range_search._ramps import RangeTest
from sklr.range_search._suggestion import LRSuggestion
from sklr.range_search._verification import Verification

NOWHERE = (math.nan, math.nan)
"""The range of no answer."""
LARGE = 30.0
"""Inputs or targets of a greater root mean square are unscaled; images of 0 to 16 are not."""
HALF_DECADE = 10**0.5
"""Least factor between `lr` and the ends of its interval if there is one ramp only."""


def make_suggestion(
    target: Target,
    prepared: Prepared,
    data: TrainingData,
    test: RangeTest,
    found: Verification,
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
    data : TrainingData
        What on.
    test : RangeTest
        The ramps and what they show.
    found : Verification
        What the trials show.
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
    summary = test.summary
    if found.trials:
        if learned and not test.answered:
            summary = _answered_by_trials(summary)
        if summary.status in _curves.ANSWERED:
            summary = _verified(summary, found)
    answered = summary.status in _curves.ANSWERED
    # A schedule begins or peaks at a rate that it leaves again.
    lr = summary.lr if prepared.schedule is None else summary.max_lr
    words = [_what_to_scale(data), summary.message, test.message, notes]
    return LRSuggestion(
        lr=lr if answered else math.nan,
        base_lr=summary.base_lr,
        max_lr=summary.max_lr,
        steepest_lr=summary.steepest_lr,
        interval=_interval(test, found, summary, lr) if answered else NOWHERE,
        good_range=_good_range(found) if answered else NOWHERE,
        status=summary.status,
        message=" ".join(word for word in words if word),
        verified=answered and bool(found.trials),
        params=_params(target, prepared, summary, lr) if answered else {},
        cost_steps=test.steps + found.steps,
        seconds=seconds,
    )


def _of_net(found: Verification) -> Estimate | None:
    """Return the estimate of the rate of the net as it is."""
    return found.peak if found.constant is None else found.constant


def _good_range(found: Verification) -> tuple[float, float]:
    """Return the rates that did as well as the best in the trials."""
    around = _of_net(found)
    return NOWHERE if around is None else around.good_range


def _interval(
    test: RangeTest, found: Verification, summary: _curves.CurveSummary, lr: float
) -> tuple[float, float]:
    """Return the rates that trials leave open.

    Without trials those that the ramps do, scaled as `lr` is from their least loss.
    """
    around = _of_net(found)
    if around is not None:
        return around.interval
    low, high = (lr / summary.best_lr * rate for rate in test.interval())
    if test.curve.n_ramps == 1:
        # One ramp cannot show how far ramps differ: some half a decade in the benchmark's tasks.
        low, high = min(low, lr / HALF_DECADE), max(high, lr * HALF_DECADE)
    return min(low, lr), max(high, lr)


def _answered_by_trials(summary: _curves.CurveSummary) -> _curves.CurveSummary:
    """Return an answer if the ramps are too noisy for one and the trials have learned."""
    finding = "The ramps fell by no more than their noise, but the trials learned."
    return replace(summary, status="ok", finding=finding, remedy="", best_lr=summary.guess_lr)


def _verified(summary: _curves.CurveSummary, found: Verification) -> _curves.CurveSummary:
    """Put what the trials show in the place of what the curve shows."""
    best = found.trials[0]
    if found.peak is None:
        why = f" ({best.error})" if best.error else ""
        return _curves.CurveSummary(
            "failed",
            f"Every trial diverged{why}, also at rates far below that of the least loss.",
            "Look at the data and the module's outputs.",
        )
    peak, around = found.peak.lr, _of_net(found) or found.peak
    # A cycle leaves its peak again, and so bears no less than a rate that is held.
    peak = max(peak, around.lr)
    return replace(
        summary,
        lr=around.lr,
        base_lr=peak * _curves.BASE_FRACTION,
        max_lr=peak,
        remedy=_remedy(summary, found),
        finding=f"{summary.finding} {_trials_said(found)}",
    )


def _remedy(summary: _curves.CurveSummary, found: Verification) -> str:
    """Return what to do; whole trainings that found the best rate need no wider range."""
    if found.is_open:
        return "Raise budget for more: not all rates next to the best were tried."
    return "" if found.are_whole else summary.remedy


def _trials_said(found: Verification) -> str:
    """Return what was tried, in a sentence."""
    best, n_rates = found.trials[0], len({trial.lr for trial in found.trials})
    if n_rates > 1 and len({trial.loss for trial in found.trials}) == 1:
        return "All trials did equally well, which tells no rates apart."
    if found.are_whole:
        splits = f", the best on {found.n_splits} splits," if found.n_splits > 1 else ""
        return f"Whole trainings at {n_rates} rates{splits} did best around {best.lr:.2g}."
    said = f"Of {n_rates} rates tried, {best.lr:.2g} did best"
    if found.is_lowered:
        said += (
            ", until its validation loss turned upwards: lr is lowered for the length of a whole "
            "training"
        )
    return f"{said}."


def _params(
    target: Target, prepared: Prepared, summary: _curves.CurveSummary, lr: float
) -> dict[str, Any]:
    """Return the suggestion as parameters of the estimator: those of its schedule, or the rate.

    A schedule scales each parameter group from its initial rate. Without one, groups with rates of
    their own are set too, in the proportion in which they were tried.
    """
    net, prefix = target.net, target.net_params
    if prepared.schedule is not None and target.schedule_params is not None:
        found = schedule_params(prepared.schedule, summary.max_lr)
        return {target.schedule_params + key: value for key, value in found.items()}
    name = "optimizer__lr" if hasattr(net, "optimizer__lr") else "lr"
    params: dict[str, Any] = {f"{prefix}{name}": lr}
    groups = group_params(net)
    if groups is not None:
        factor = lr / prepared.reference_lr
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
    found: Verification,
) -> str:
    """Return what was adjusted, and what was left out and why.

    Parameters
    ----------
    search : LRRangeSearch
        What was asked for.
    request, prepared, data, budget, test, found
        The parts of the search.
    """
    notes = [budget.message]
    if search.verify and prepared.evaluation is None and prepared.training_steps is not None:
        notes.insert(0, "No candidate was verified: there is no validation data.")
    elif budget.verify and test.answered and not found.trials:
        notes.append("No candidate was verified: the extended range took the budget.")
    notes.append(_adjustments(search, request, prepared, data))
    return " ".join(note for note in notes if note)


def _what_to_scale(data: TrainingData) -> str:
    """Return what to scale, if inputs or targets are so large that no rate suits all weights."""
    remedies = []
    if _is_large(data.X):
        remedies.append("X (by a StandardScaler before the net)")
    if _is_large(data.y):
        remedies.append("y (by a TransformedTargetRegressor with a StandardScaler)")
    if not remedies:
        return ""
    return f"Scale {' and '.join(remedies)}: it has values far from 0 and 1, and nets learn worse."


def _is_large(values: Any) -> bool:
    """Return whether a column of numbers is of a size that nets are not made for."""
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.ndim > 2:
        return False
    # A part of the rows shows it.
    sizes = np.sqrt(np.mean(np.square(values[:1_000], dtype=float), axis=0))
    return bool(np.max(sizes, initial=0.0) > LARGE)


def _adjustments(search: Any, request: Request, prepared: Prepared, data: TrainingData) -> str:
    """Return what of the data the net would not take from the user itself."""
    if request.target.is_ensemble:
        # It takes all of it.
        return ""
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
