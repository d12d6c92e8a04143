"""Ramps of the rate: run, averaged and read, and run again over a wider range where need be."""

from __future__ import annotations

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
from sklr._training._evaluation import Judge
from sklr._training._parallel import Tasks
from sklr._training._seeding import seeded
from sklr._validation import Description, ParameterValueError
from sklr.callbacks import LRFinder
from sklr.callbacks._base import runs
from sklr.range_search import _budget
from sklr.range_search._budget import Budget
from sklr.range_search._preparation import Material
from sklr.range_search._suggestion import RangeTestError

FINDER, SCORES = "sklr_lr_finder", "sklr_scores"
"""Names of the ramp's callbacks, which no callback of the user's is likely to have."""

EXTENSIONS = 3
"""So many times the range is extended at most."""
HIGHEST = 1e6
"""No range is extended beyond this rate."""


@dataclass(frozen=True)
class Ramp:
    """One ramp: rates, the loss that each produced, minus the score after it if there is one."""

    lrs: list[float]
    losses: list[float]
    minus_scores: list[float] | None

    @property
    def values(self) -> list[float]:
        """What is read: minus the score where there is one."""
        return self.losses if self.minus_scores is None else self.minus_scores


@dataclass(frozen=True)
class RangeTest:
    """All ramps of a search, and what those of the range that answers say.

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
        What it says.
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
    def spent(self) -> int:
        """Steps of all ramps."""
        return sum(len(ramp.lrs) for ramps in self.rounds for ramp in ramps)

    def interval(self) -> tuple[float, float]:
        """Give the lowest and highest rate of least loss of the round's ramps one by one."""
        return _curves.interval(self.lrs, [ramp.values for ramp in self.rounds[self.chosen]])

    def table(self) -> dict[str, npt.NDArray[Any]]:
        """Give one row a round, repeat and step."""
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
    material: Material,
    finder: LRFinder,
    budget: Budget,
    seeds: Iterator[int],
    *,
    extend: bool,
    verbose: bool,
) -> RangeTest:
    """Run the ramps, over a wider range where a phase was not seen and the budget allows it.

    Parameters
    ----------
    tasks : Tasks
        Runs them in parallel.
    material : Material
        What they train on.
    finder : LRFinder
        A ramp over the range to begin with.
    budget : Budget
        How many ramps of which length.
    seeds : iterator of int
        One a ramp.
    extend : bool
        Whether to extend the range.
    verbose : bool
        Whether to print a line a ramp.
    """
    asked = (finder.min_lr, finder.max_lr)
    finder = clone(finder, safe=False)
    finder.set_params(n_steps=budget.n_steps)
    rounds: list[list[Ramp]] = []
    answer: RangeTest | None = None
    n_ramps = budget.n_repeats
    while True:
        now = (finder.min_lr, finder.max_lr)
        label = f"LRRangeSearch: {now[0]:g} to {now[1]:g}, ramp" if verbose else None
        arguments = [
            (material, finder, next(seeds), label and f"{label} {i + 1} of {n_ramps}")
            for i in range(n_ramps)
        ]
        rounds.append(tasks.run("ramps", run_ramp, arguments))
        lrs = finder.ramp()(np.arange(finder.n_steps))
        curve = _curves.average(lrs, [ramp.values for ramp in rounds[-1]])
        summary = _curves.summarize(curve)
        if summary.status == "failed" and np.isfinite(rounds[-1][0].losses[:1]).all():
            scores = "A first score was not finite. Look at 'scoring' and the module's outputs."
            summary = replace(summary, finding=scores, remedy="")
        message = "" if now == asked else f"The range was extended to [{now[0]:g}, {now[1]:g}]."
        test = RangeTest(rounds, len(rounds) - 1, lrs, curve, summary, message)
        if answer is None or test.answered or not answer.answered:
            answer = test
        wider = wider_range(*now, finder.scale, test.summary) if extend else None
        n_ramps = _budget.more_ramps(budget, test.spent)
        if wider is None or n_ramps == 0 or len(rounds) > EXTENSIONS:
            if answer is not test:
                answer = replace(answer, message=f"{answer.message} A wider range gave no answer.")
            return answer
        finder.set_params(min_lr=wider[0], max_lr=wider[1])


def wider_range(
    min_lr: float, max_lr: float, scale: str, summary: _curves.CurveSummary
) -> tuple[float, float] | None:
    """Give the range in which the phase that was not seen may be; None where there is none.

    Parameters
    ----------
    min_lr, max_lr : float
        The range so far.
    scale : {'log', 'linear'}
        Of the ramp.
    summary : CurveSummary
        What the ramps over it say.
    """
    is_log = scale == "log"
    wider = None
    if summary.status in ("no_divergence", "flat") and np.isnan(summary.divergence_lr):
        wider = (min_lr, max_lr * (100 if is_log else 10))
    elif summary.status == "diverged_at_start":
        wider = (min_lr / 1_000, max_lr) if is_log else (min_lr, max_lr / 100)
    elif summary.status == "ok" and np.isnan(summary.descent_lr) and (is_log or min_lr > 0):
        wider = (min_lr / 100 if is_log else 0.0, max_lr)
    if wider is None or wider[1] > HIGHEST or wider[0] >= wider[1]:
        return None
    return wider


class _Scores(Callback):
    """Judges the net after each step of a ramp."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def initialize(self) -> _Scores:
        """Begin anew."""
        self.values_: list[float] = []
        return self

    def on_batch_end(self, net: NeuralNet, training: bool | None = None, **kwargs: Any) -> None:
        """Note minus the score where a step was made."""
        if training and runs[net].step_is_done():
            self.values_.append(self.judge(net))


def run_ramp(material: Material, finder: LRFinder, seed: int, label: str | None) -> Ramp:
    """Train a clone while the rate rises.

    Parameters
    ----------
    material : Material
        What it trains on.
    finder : LRFinder
        The ramp.
    seed : int
        For everything random.
    label : str or None
        What a printed line begins with; None prints nothing.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupts.
    RangeTestError
        If a callback ends the training before the ramp.
    """
    with seeded(seed):
        net = clone(material.net)
        judge = material.minus_score
        # Scores come before the finder, which ends the training.
        scores = [] if judge is None else [(SCORES, _Scores(judge))]
        net.callbacks = [*(net.callbacks or []), *scores, (FINDER, clone(finder, safe=False))]
        # However short the data, this many epochs hold the ramp, which ends them itself.
        net.set_params(max_epochs=finder.n_steps)
        with _no_broadcast_loss():
            net.fit(material.X, material.y, **material.fit_params)
    callbacks = dict(net.callbacks_)
    done = callbacks[FINDER]
    if done.ended_ is None:
        kept = [name for name, _ in net.callbacks_]
        raise RangeTestError(f"A callback ended the training before the ramp. It has {kept}.")
    if label is not None:
        print(f"{label}: {done.ended_} after {len(done.lrs_)} steps")
    minus_scores = None if judge is None else callbacks[SCORES].values_
    return Ramp(done.lrs_, done.losses_, minus_scores)


@contextmanager
def _no_broadcast_loss() -> Iterator[None]:
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
