"""Compute the numbers that the display of a range test draws."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sklr.range_search._search import LRRangeSearch

Array = npt.NDArray[Any]

MARKED = ("lr", "base_lr", "max_lr", "steepest_lr")
"""Rates of a suggestion that are marked."""


def range_plot_data(search: LRRangeSearch) -> dict[str, Any]:
    """Return the parameters of an LRRangeDisplay of a fitted search.

    Parameters
    ----------
    search : LRRangeSearch
        A fitted search.

    Returns
    -------
    dict of str to object
    """
    curve, suggestion = search.curve_, search.suggestion_
    scored = search.scoring is not None
    # The curve of a search with scores is that of minus the score.
    sign = -1 if scored else 1
    answered = bool(np.isfinite(suggestion.lr))
    rates = {name: getattr(suggestion, name) for name in MARKED} if answered else {}
    answer = f", lr = {suggestion.lr:.2g}" if answered else ""
    repeats = _repeats(search.results_, "score" if scored else "loss", curve.lrs)
    # Losses at constant rates and at the peaks of schedules are no one curve.
    drawn = search.trials_["schedule"] == search.trials_["schedule"][:1]
    trials = {name: column[drawn] for name, column in search.trials_.items()}
    losses = trials["score" if scored else "loss"]
    score = f"validation score ({_scorer_name(search.scoring)}),\nhigher is better"
    return {
        "lrs": curve.lrs,
        "losses": sign * curve.loss,
        # A single ramp has no spread.
        "band": None if len(repeats) == 1 else tuple(sign * edge for edge in curve.band[::sign]),
        "repeats": repeats,
        "marks": {name: lr for name, lr in rates.items() if np.isfinite(lr)},
        "scale": search.scale,
        "title": f"learning-rate range test: {suggestion.status.replace('_', ' ')}{answer}",
        "phases": search.phases_,
        "trials": (trials["lr"], losses, trials["steps"]),
        # The best trial comes first.
        "best_trial": 0 if np.isfinite(losses[:1]).any() else None,
        "interval": suggestion.interval if answered else None,
        "message": None if answered else suggestion.message,
        "ylabel": score if scored else "training loss",
        "trials_ylabel": "validation score" if scored else "validation loss",
        "higher_is_better": scored,
    }


def _repeats(results: Mapping[str, Array], column: str, lrs: Array) -> list[tuple[Array, Array]]:
    """Return the rates and losses (or scores) of each ramp that a curve is the average of.

    Parameters
    ----------
    results : mapping of str to ndarray
        The search's `results_`.
    column : {'loss', 'score'}
        Which values to return.
    lrs : ndarray of shape (n,)
        The curve's rates. Of several rounds over the same rates the last is returned.
    """
    rounds, repeat = results["round"], results["repeat"]
    for number in np.unique(rounds)[::-1]:
        ramps = [(rounds == number) & (repeat == index) for index in np.unique(repeat)]
        drawn = [(results["lr"][ramp], results[column][ramp]) for ramp in ramps if ramp.any()]
        # Rounds differ in their first rate, or in the distance to the second.
        n = min(2, len(lrs), len(drawn[0][0]))
        if np.allclose(drawn[0][0][:n], lrs[:n]):
            return drawn
    return []


def _scorer_name(scoring: str | Callable[..., float] | None) -> str:
    """Return a scorer's name for a label."""
    # The scorers that make_scorer makes hold the metric in an attribute that they document for
    # their repr only.
    metric = getattr(scoring, "_score_func", scoring)
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", repr(metric))
    return textwrap.shorten(name.replace("_", " "), 24, placeholder="...")
