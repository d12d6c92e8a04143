"""Ramps of the rate: run, averaged and summarized, and run again over a wider range if need be."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from skorch import NeuralNet
from skorch.callbacks import Callback

from sklr import _curves
from sklr._training._evaluation import TrainingData, ValidationScore
from sklr._training._fit import fit_net
from sklr._training._parallel import Tasks
from sklr._training._seeding import seeded
from sklr._validation import Description, ParameterValueError
from sklr.callbacks import LRFinder
from sklr.callbacks._base import runs
from sklr.range_search import _budget
from sklr.range_search._budget import Budget
from sklr.range_search._preparation import Prepared, count_nonfinite
from sklr.range_search._request import Settings

FINDER, SCORES = "sklr_lr_finder", "sklr_scores"
"""Names of the ramp's callbacks, which no callback of the user's is likely to have."""

MAX_EXTENSIONS = 3
"""So many times the range is extended at most."""
HIGHEST_LR = 1e6
"""No range is extended beyond this rate."""


@dataclass(frozen=True)
class Ramp:
    """One ramp.

    Attributes
    ----------
    lrs : list of float
        The rates.
    losses : list of float
        The training loss that each produced.
    minus_scores : list of float or None
        Minus the validation score after each step, if there is a scorer.
    error : str or None
        The exception by which the ramp ended, if it did.
    """

    lrs: list[float]
    losses: list[float]
    minus_scores: list[float] | None = None
    error: str | None = None

    @property
    def values(self) -> list[float]:
        """Losses, or minus the scores if there are any; lower is better."""
        return self.losses if self.minus_scores is None else self.minus_scores


@dataclass(frozen=True)
class RangeTest:
    """All ramps of a search, and what those of the range that answers show.

    Attributes
    ----------
    rounds : list of list of Ramp
        The ramps over each range.
    chosen : int
        The round that answers: the last one, unless only one before it has an answer.
    lrs : ndarray of shape (n_steps,)
        Rates of a whole ramp of that round.
    curve : Curve
        Their average.
    summary : CurveSummary
        What it shows.
    message : str
        How the range was extended; may be empty.
    """

    rounds: list[list[Ramp]]
    chosen: int
    lrs: npt.NDArray[np.float64]
    curve: _curves.Curve
    summary: _curves.CurveSummary
    message: str

    @property
    def answered(self) -> bool:
        """Whether there is an answer."""
        return self.summary.status in _curves.ANSWERED

    @property
    def steps(self) -> int:
        """Steps of all ramps."""
        return sum(len(ramp.lrs) for ramps in self.rounds for ramp in ramps)

    def interval(self) -> tuple[float, float]:
        """Return the lowest and highest rate that the chosen round leaves open.

        From the rates whose averaged loss is within the noise of the least, and the rates of least
        loss of single ramps.
        """
        single = _curves.interval(self.lrs, [ramp.values for ramp in self.rounds[self.chosen]])
        rates = [self.summary.low_lr, self.summary.high_lr, *single]
        return float(np.nanmin(rates)), float(np.nanmax(rates))

    def table(self) -> dict[str, npt.NDArray[Any]]:
        """Return one row a round, repeat and step."""
        numbered = [
            (number, repeat, ramp)
            for number, ramps in enumerate(self.rounds)
            for repeat, ramp in enumerate(ramps)
        ]
        table = {
            "round": np.concatenate([np.full(len(r.lrs), number) for number, _, r in numbered]),
            "repeat": np.concatenate([np.full(len(r.lrs), repeat) for _, repeat, r in numbered]),
            "step": np.concatenate([np.arange(len(r.lrs)) for _, _, r in numbered]),
            "lr": np.concatenate([r.lrs for _, _, r in numbered]),
            "loss": np.concatenate([r.losses for _, _, r in numbered]),
        }
        if numbered[0][2].minus_scores is not None:
            table["score"] = -np.concatenate([r.values for _, _, r in numbered])
        return table


def run_test(
    tasks: Tasks,
    prepared: Prepared,
    data: TrainingData,
    settings: Settings,
    budget: Budget,
    seeds: Iterator[int],
) -> RangeTest:
    """Run the ramps, over a wider range if a phase was not seen and the budget allows it.

    Parameters
    ----------
    tasks : Tasks
        Runs them in parallel.
    prepared : Prepared
        What they train.
    data : TrainingData
        What on.
    settings : Settings
        The ramp to begin with, and whether to extend its range.
    budget : Budget
        How many ramps of which length.
    seeds : iterator of int
        One a ramp.

    Returns
    -------
    RangeTest
    """
    finder = clone(settings.finder, safe=False)
    asked = (finder.min_lr, finder.max_lr)
    finder.set_params(n_steps=budget.n_steps)
    rounds: list[list[Ramp]] = []
    answer: RangeTest | None = None
    n_ramps = budget.n_repeats
    while True:
        now = (finder.min_lr, finder.max_lr)
        label = f"LRRangeSearch: {now[0]:g} to {now[1]:g}, ramp" if settings.verbose else None
        arguments = [
            (prepared, finder, next(seeds), label and f"{label} {i + 1} of {n_ramps}", *data)
            for i in range(n_ramps)
        ]
        rounds.append(tasks.run("ramps", run_ramp, arguments))
        message = "" if now == asked else f"The range was extended to [{now[0]:g}, {now[1]:g}]."
        test = _evaluated(rounds, finder, message, scored=prepared.is_scored)
        if answer is None or test.answered or not answer.answered:
            answer = test
        wider = wider_range(*now, finder.scale, test.summary) if settings.extend else None
        n_ramps = _budget.more_ramps(budget, test.steps)
        if wider is None or n_ramps == 0 or len(rounds) > MAX_EXTENSIONS:
            if answer is not test:
                # Its own rounds end with it; what the others cost counts too.
                words = f"{answer.message} A wider range had no answer.".strip()
                answer = replace(answer, rounds=rounds, message=words)
            return answer if answer.answered else _explained(answer, prepared, data)
        finder.set_params(min_lr=wider[0], max_lr=wider[1])


def _evaluated(
    rounds: list[list[Ramp]], finder: LRFinder, message: str, *, scored: bool
) -> RangeTest:
    """Return what the last of several rounds shows."""
    ramps = list(rounds[-1])
    lrs = finder.ramp()(np.arange(finder.n_steps))
    curve = _curves.average(lrs, [ramp.values for ramp in ramps])
    summary = _curves.summarize(curve, "score" if scored else "loss")
    if scored and summary.status == "failed":
        summary = replace(summary, remedy="Look at 'scoring'.")
    elif scored and summary.status not in _curves.ANSWERED:
        summary = _read_by_loss(_curves.average(lrs, [ramp.losses for ramp in ramps])) or summary
    errors = [ramp.error for ramp in ramps if ramp.error is not None]
    if errors:
        ended = f"{len(errors)} of {len(ramps)} ramps ended in an exception ({errors[0]})."
        summary = replace(summary, finding=f"{summary.finding} {ended}")
    return RangeTest(list(rounds), len(rounds) - 1, lrs, curve, summary, message)


def _read_by_loss(curve: _curves.Curve) -> _curves.CurveSummary | None:
    """Return what the loss shows if the score is too coarse for a ramp; None if it shows nothing.

    The accuracy on thirty rows, or that of a net that still predicts one class, changes in a few
    steps of a whole training, and not within a ramp.
    """
    summary = _curves.summarize(curve)
    if summary.status not in _curves.ANSWERED:
        return None
    finding = "The score changed too little within the ramps, which were read by the loss. "
    return replace(summary, finding=finding + summary.finding)


def _explained(test: RangeTest, prepared: Prepared, data: TrainingData) -> RangeTest:
    """Name values in the data that are not finite, if they are why there is no answer."""
    if test.curve.n_nonfinite == 0:
        return test
    count = count_nonfinite(prepared.net, data)
    if count == 0:
        return test
    summary = _curves.CurveSummary(
        "failed",
        f"{count} training samples hold NaN or infinite values.",
        "Remove or impute the values of X and y that are not finite.",
    )
    return replace(test, summary=summary)


def wider_range(
    min_lr: float, max_lr: float, scale: str, summary: _curves.CurveSummary
) -> tuple[float, float] | None:
    """Return the range in which the phase that was not seen may be; None if there is none.

    Parameters
    ----------
    min_lr, max_lr : float
        The range so far.
    scale : {'log', 'linear'}
        Of the ramp.
    summary : CurveSummary
        What the ramps over it show.
    """
    is_log = scale == "log"
    wider = None
    if summary.status in ("no_divergence", "flat") and np.isnan(summary.divergence_lr):
        wider = (min_lr, max_lr * (100 if is_log else 10))
    elif summary.status == "diverged_at_start":
        wider = (min_lr / 1_000, max_lr) if is_log else (min_lr, max_lr / 100)
    elif summary.status == "flat" and is_log and min_lr > summary.divergence_lr / 100:
        # Two decades below the divergence are more than the fall takes: it may lie lower.
        wider = (min_lr / 1_000, max_lr)
    elif summary.status == "ok" and np.isnan(summary.descent_lr) and (is_log or min_lr > 0):
        wider = (min_lr / 100 if is_log else 0.0, max_lr)
    if wider is None or wider[1] > HIGHEST_LR or wider[0] >= wider[1]:
        return None
    return wider


class _Scores(Callback):
    """Record minus the validation score after each step of a ramp."""

    def __init__(self, evaluation: ValidationScore, data: TrainingData) -> None:
        self.evaluation = evaluation
        self.data = data

    def initialize(self) -> _Scores:
        """Begin with no scores."""
        self.values_: list[float] = []
        return self

    def on_batch_end(self, net: NeuralNet, training: bool | None = None, **kwargs: Any) -> None:
        """Score the net if a step was made."""
        if training and runs[net].step_is_done():
            self.values_.append(self.evaluation(net, self.data))


def run_ramp(
    prepared: Prepared, finder: LRFinder, seed: int, label: str | None, *arrays: Any
) -> Ramp:
    """Train a clone while the rate rises.

    Parameters
    ----------
    prepared : Prepared
        What is trained.
    finder : LRFinder
        The ramp.
    seed : int
        For everything random.
    label : str or None
        What a printed line begins with; None prints nothing.
    *arrays
        The fields of a TrainingData.

    Returns
    -------
    Ramp

    Raises
    ------
    KeyboardInterrupt
        If the user interrupts.
    RangeTestError
        If a callback ends the training before the ramp.
    """
    data = TrainingData(*arrays)
    with seeded(seed):
        net = clone(prepared.net)
        scorer = prepared.evaluation
        # Scores come before the finder, which ends the training.
        scores = [(SCORES, _Scores(scorer, data))] if isinstance(scorer, ValidationScore) else []
        net.callbacks = [*(net.callbacks or []), *scores, (FINDER, clone(finder, safe=False))]
        # However short the data, this many epochs hold the ramp, which ends them itself.
        net.set_params(max_epochs=finder.n_steps)
        if prepared.shuffles_ramps:
            net.set_params(iterator_train__shuffle=True)
        with _broadcast_loss_raises():
            fit_net(net, data.X, data.y, **prepared.fit_params)
    callbacks = dict(net.callbacks_)
    done = callbacks[FINDER]
    if done.ended_ is None:
        kept = [name for name, _ in net.callbacks_]
        raise _curves.RangeTestError(
            f"A callback ended the training before the ramp. It has {kept}."
        )
    if label is not None:
        print(f"{label}: {done.ended_} after {len(done.lrs_)} steps")
    minus_scores = None
    if scores:
        # A step that raised an exception has no score: like its loss, it is infinite.
        known = callbacks[SCORES].values_
        minus_scores = known + [math.inf] * (len(done.lrs_) - len(known))
    return Ramp(done.lrs_, done.losses_, minus_scores, getattr(done, "error_", None))


@contextmanager
def _broadcast_loss_raises() -> Iterator[None]:
    """Turn torch's warning of a loss over all pairs of outputs and targets into an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Using a target size")
        try:
            yield
        except UserWarning as warning:
            if "Using a target size" not in str(warning):
                raise
            requirement = (
                "have the shape of the net's output, as y.reshape(-1, 1) has (or squeeze the "
                "output, inside a TransformedTargetRegressor)"
            )
            raise ParameterValueError(
                "LRRangeSearch", "y", requirement, Description(f"torch's {str(warning)!r}")
            ) from None
