"""From the ramps' curve and the probes to what is suggested."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from skorch import NeuralNet

from sklr import _curves
from sklr._training._target import find_net, find_schedule
from sklr.callbacks import Schedule
from sklr.range_search import _trials
from sklr.range_search._ramps import RangeTest
from sklr.range_search._suggestion import LRSuggestion
from sklr.range_search._trials import Probe


def suggestion(
    owner: object,
    estimator: object,
    test: RangeTest,
    probes: list[Probe],
    learned: bool,
    training_steps: int | None,
    notes: str,
    seconds: float,
) -> LRSuggestion:
    """Give the suggestion.

    Parameters
    ----------
    owner : object
        The search, for messages.
    estimator : estimator
        Holds the net.
    test : RangeTest
        The ramps and what they say.
    probes : list of Probe
        The best first; may be empty.
    learned : bool
        Whether probes have an answer where the ramps have none.
    training_steps : int or None
        Steps of the estimator's own whole training.
    notes : str
        What was adjusted.
    seconds : float
        Wall time.
    """
    prefix, net = find_net(owner, estimator)
    summary = test.summary
    if probes:
        assert training_steps is not None
        if learned and not test.answered:
            summary = _found_by_probes(summary)
        if summary.status in _curves.ANSWERED:
            summary = _verified(summary, probes, training_steps)
    params: dict[str, float] = {}
    low = high = math.nan
    if summary.status in _curves.ANSWERED:
        schedule = find_schedule(net)
        if schedule is not None and not isinstance(schedule[1], Schedule):
            # A schedule begins or peaks at a rate that it leaves again.
            summary = replace(summary, lr=summary.max_lr)
        params = _params(prefix, net, summary)
        low, high = _interval(test, summary)
    words = [summary.message, test.message, notes]
    return LRSuggestion(
        lr=summary.lr,
        base_lr=summary.base_lr,
        max_lr=summary.max_lr,
        steepest_lr=summary.steepest_lr,
        interval=(low, high),
        status=summary.status,
        message=" ".join(word for word in words if word),
        params=params,
        cost_steps=test.spent + sum(probe.steps for probe in probes),
        seconds=seconds,
    )


def _interval(test: RangeTest, summary: _curves.CurveSummary) -> tuple[float, float]:
    """Give the rates that stand to the suggestion as single ramps' least losses to the mean's."""
    part = summary.lr / summary.best_lr
    rates = [part * rate for rate in test.interval()]
    if test.curve.n_ramps == 1 or not np.isfinite(rates).all():
        return math.nan, math.nan
    return min(*rates, summary.lr), max(*rates, summary.lr)


def _found_by_probes(summary: _curves.CurveSummary) -> _curves.CurveSummary:
    """Give an answer where the ramps are too noisy for one and the probes have learned."""
    message = "The ramps' loss fell by no more than its noise, but the probes learned."
    return replace(summary, status="ok", finding=message, remedy="", best_lr=summary.guess_lr)


def _verified(
    summary: _curves.CurveSummary, probes: list[Probe], training_steps: int
) -> _curves.CurveSummary:
    """Put what the best probe says in the place of what the curve says."""
    if not np.isfinite(_trials.recent(probes[0])):
        message = (
            "Every probe diverged, at rates far below that of the least loss too. Look at the data "
            "and the module's outputs."
        )
        return _curves.CurveSummary("failed", message)
    lr = _trials.verdict(probes[0], training_steps)
    # Never beyond both the best probe and the least loss: there the loss soon explodes.
    peak = max(lr, min(lr * _trials.PEAK, max(probes[0].lr, summary.best_lr)))
    message = f"{summary.finding} Of {len(probes)} rates probed, {probes[0].lr:.2g} did best"
    if _trials.horizon(probes[0], training_steps) < 1:
        message += ", until its held-out loss turned upwards: a whole training asks for less"
    base = peak * _curves.BASE_FRACTION
    return replace(summary, lr=lr, base_lr=base, max_lr=peak, finding=f"{message}.")


def _params(prefix: str, net: NeuralNet, summary: _curves.CurveSummary) -> dict[str, float]:
    """Give the suggestion as parameters of the estimator: those of its schedule, or the rate."""
    schedule = find_schedule(net)
    if schedule is not None and not isinstance(schedule[1], Schedule):
        name, callback = schedule
        suggested = {"lr": summary.lr, "base_lr": summary.base_lr, "max_lr": summary.max_lr}
        own = callback.get_params()
        return {f"{prefix}callbacks__{name}__{k}": v for k, v in suggested.items() if k in own}
    return {f"{prefix}{'optimizer__lr' if hasattr(net, 'optimizer__lr') else 'lr'}": summary.lr}
