"""The result of a search: from the ramps' curve and the trials to what is suggested."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from sklr import _curves
from sklr._training._target import Target, group_params
from sklr.callbacks import Schedule
from sklr.range_search import _trials
from sklr.range_search._ramps import RangeTest
from sklr.range_search._suggestion import LRSuggestion
from sklr.range_search._trials import Trial


def make_suggestion(
    target: Target,
    test: RangeTest,
    trials: list[Trial],
    learned: bool,
    training_steps: int | None,
    notes: str,
    seconds: float,
) -> LRSuggestion:
    """Return the suggestion.

    Parameters
    ----------
    target : Target
        The net in the user's estimator.
    test : RangeTest
        The ramps and what they show.
    trials : list of Trial
        The best first; may be empty.
    learned : bool
        Whether trials have an answer if the ramps have none.
    training_steps : int or None
        Steps of the estimator's own whole training.
    notes : str
        What was adjusted.
    seconds : float
        Wall time.

    Returns
    -------
    LRSuggestion
    """
    summary = test.summary
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
        params=_params(target, summary, lr) if answered else {},
        cost_steps=test.steps + sum(trial.steps for trial in trials),
        seconds=seconds,
    )


def _peaks(target: Target) -> bool:
    """Return whether the net has a schedule with a peak of its own to set."""
    return target.schedule is not None and not isinstance(target.schedule, Schedule)


def _interval(test: RangeTest, summary: _curves.CurveSummary, lr: float) -> tuple[float, float]:
    """Return the rates that the ramps leave open, scaled as `lr` is from their least loss."""
    low, high = (lr / summary.best_lr * rate for rate in test.interval())
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
        return _curves.CurveSummary(
            "failed",
            "Every trial diverged, also at rates far below that of the least loss.",
            "Look at the data and the module's outputs.",
        )
    lr = _trials.constant_lr(best, training_steps)
    # Never beyond both the best trial and the least loss: there the loss soon explodes.
    peak = max(lr, min(lr * _trials.PEAK_FACTOR, max(best.lr, summary.best_lr)))
    finding = f"{summary.finding} Of {len(trials)} rates tried, {best.lr:.2g} did best"
    if _trials.horizon(best, training_steps) < 1:
        finding += ", until its validation loss turned upwards: a whole training asks for less"
    base = peak * _curves.BASE_FRACTION
    return replace(summary, lr=lr, base_lr=base, max_lr=peak, finding=f"{finding}.")


def _params(target: Target, summary: _curves.CurveSummary, lr: float) -> dict[str, Any]:
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
        factor = lr / float(getattr(net, name))
        params[f"{prefix}optimizer__param_groups"] = [
            (pattern, options | {"lr": factor * options["lr"]} if "lr" in options else options)
            for pattern, options in groups
        ]
    return params
