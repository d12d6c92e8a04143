"""Verify rates by trials: whole trainings where the budget allows them, else shorter ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from sklr._curves import smooth
from sklr._training._evaluation import TrainingData
from sklr._training._parallel import Tasks
from sklr.callbacks import OneCycle
from sklr.range_search import _budget
from sklr.range_search._budget import Budget
from sklr.range_search._estimate import Estimate, estimate, grid_rate, nearest_index
from sklr.range_search._preparation import Prepared, Request, prepare
from sklr.range_search._ramps import RangeTest
from sklr.range_search._request import Seeds
from sklr.range_search._trials import Trial, run_trial, run_whole

FIRST = (-3, -2, -1)
"""Rates that are tried first, in thirds of a decade from that of least loss in the ramps: the best
of most tasks lies among them."""
FIRST_OF_CYCLE = (0, 1, 2)
"""The peaks of a cycle that are tried first, in the same steps from the best constant rate."""
FURTHEST = 6
"""So many steps below the first rates are tried at most, and half as many above."""
N_VALIDATIONS = 14
"""Validations of a candidate that comes to the last rung of short trials."""
CAUTION = 10**-0.1
"""What the best short trial's rate is multiplied by: a rate too high costs more than one too low,
and a high rate looks better in a training that ends before it overfits."""
OVERFIT = 0.005
"""A validation loss this part above its least has turned upwards."""


@dataclass(frozen=True)
class Verification:
    """What trials show.

    Attributes
    ----------
    trials : list of Trial
        Those at the best rate first, and OneCycle's after those at constant rates; empty if nothing
        was tried.
    are_whole : bool
        Whether they are whole trainings.
    n_splits : int
        Number of splits on which the best rates were trained.
    constant, peak : Estimate or None
        The constant rate, and the peak of a schedule, that they speak for. With a schedule in the
        net there is no constant rate.
    is_open : bool
        Whether rates next to the best were not tried on all splits, for want of budget.
    is_lowered : bool
        Whether the constant rate is lower than what short trials showed, since the validation loss
        of the best of them had turned upwards.
    """

    trials: list[Trial] = field(default_factory=list)
    are_whole: bool = False
    n_splits: int = 1
    constant: Estimate | None = None
    peak: Estimate | None = None
    is_open: bool = False
    is_lowered: bool = False

    @property
    def steps(self) -> int:
        """Steps of all trials."""
        return sum(trial.steps for trial in self.trials)


def verify(
    tasks: Tasks,
    request: Request,
    prepared: Prepared,
    data: TrainingData,
    budget: Budget,
    test: RangeTest,
    seeds: Seeds,
) -> Verification:
    """Try rates around that of least loss, if there is one and steps are left.

    Parameters
    ----------
    tasks : Tasks
        Runs them in parallel.
    request : Request
        What is asked; further splits are prepared from it.
    prepared : Prepared
        What is trained.
    data : TrainingData
        What on.
    budget : Budget
        How the steps were shared.
    test : RangeTest
        What the ramps show.
    seeds : Seeds
        All trials of a split have the same: they differ by their rates only.

    Returns
    -------
    Verification
    """
    best_lr, whole = test.summary.best_lr, budget.training_steps
    if not test.answered and not prepared.is_scored:
        # The ramps may be too noisy for what trials will see.
        best_lr = test.summary.guess_lr
    left = budget.left(test.steps)
    if whole is None or not (math.isfinite(best_lr) and budget.verify):
        return Verification()
    if _budget.are_whole(left, whole):
        return climb(tasks, request, prepared, data, left, nearest_index(best_lr), seeds)
    if _budget.can_verify(left, whole):
        return halve(tasks, prepared, data, best_lr, _budget.rungs(left, whole), seeds.trials)
    return Verification()


def climb(
    tasks: Tasks,
    request: Request,
    prepared: Prepared,
    data: TrainingData,
    left: int,
    start: int,
    seeds: Seeds,
) -> Verification:
    """Run whole trainings: with the net's schedule, else at constant rates and with OneCycle.

    Parameters
    ----------
    tasks, request, prepared, data, seeds
        As in `verify`.
    left : int
        Steps for all of them.
    start : int
        Index in the grid of the rate of least loss in the ramps.

    Returns
    -------
    Verification
    """
    wanted = [start + step for step in FIRST]
    of_both = _budget.MIN_BOTH * (prepared.training_steps or 1)
    if prepared.schedule is not None or left < of_both:
        return _Climb(tasks, request, prepared, data, seeds, left).verify(wanted)
    for_constant = left * _budget.MIN_WHOLE // _budget.MIN_BOTH
    constant = _Climb(tasks, request, prepared, data, seeds, for_constant, brackets_peak=False)
    found = constant.verify(wanted)
    if found.constant is None:
        return found
    cycle = replace(prepared, schedule=OneCycle())
    wanted = [nearest_index(found.constant.lr) + step for step in FIRST_OF_CYCLE]
    peak = _Climb(tasks, request, cycle, data, seeds, left - found.steps).verify(wanted)
    return replace(
        found,
        trials=[*found.trials, *peak.trials],
        peak=peak.peak or found.peak,
        is_open=found.is_open or peak.is_open,
    )


class _Climb:
    """Whole trainings: rates are tried downhill until the best lies between two others.

    Then those are trained on further splits, as far as the budget goes, and again further rates if
    the best is another by then.

    Parameters
    ----------
    tasks, request, prepared, data, seeds
        As in `verify`.
    left : int
        Steps for all of them.
    brackets_peak : bool, default=True
        Whether rates are tried until the best at averaged weights, which speak for a peak, lies
        between two others too, if trainings are at constant rates.
    """

    def __init__(
        self,
        tasks: Tasks,
        request: Request,
        prepared: Prepared,
        data: TrainingData,
        seeds: Seeds,
        left: int,
        *,
        brackets_peak: bool = True,
    ) -> None:
        self.tasks, self.request, self.seeds, self.left = tasks, request, seeds, left
        self.schedule = prepared.schedule
        self.averaged = (False, True) if brackets_peak and self.schedule is None else (False,)
        self.splits = [(prepared, data)]
        self.tried: list[dict[int, Trial]] = [{}]

    def verify(self, near: Sequence[int]) -> Verification:
        """Find the best rates.

        Parameters
        ----------
        near : sequence of int
            Indices in the grid of the rates to begin with.
        """
        allowed = range(near[0] - FURTHEST, near[-1] + FURTHEST // 2 + 1)
        while True:
            if self._is_tried(near):
                if not self._add_split(near):
                    break
            elif not self._try(near):
                break
            near = [index for index in self._near() if index in allowed]
        best_first = sorted(self._common(), key=self._loss)
        trials = [tried[index] for index in best_first for tried in self.tried]
        other = [trial for tried in self.tried for i, trial in tried.items() if i not in best_first]
        return Verification(
            [*trials, *sorted(other, key=lambda trial: trial.loss)],
            are_whole=True,
            n_splits=len(self.tried),
            constant=None if self.schedule is not None else self._estimate(averaged=False),
            peak=self._estimate(averaged=self.schedule is None),
            is_open=not self._is_tried(near),
        )

    def _cost(self, split: int) -> int:
        """Return the steps of a training on a split: another may have more rows, as of groups."""
        return self.splits[split][0].trial_steps or 1

    def _is_tried(self, indices: Sequence[int]) -> bool:
        """Return whether some rates were tried on all splits."""
        return all(index in tried for tried in self.tried for index in indices)

    def _add_split(self, near: Sequence[int]) -> bool:
        """Prepare another split, and return whether it is there and can be afforded."""
        number = len(self.splits)
        if number == _budget.MAX_SPLITS or self.left < len(near) * self._cost(0):
            return False
        prepared, data = prepare(self.request, self.seeds.split, number)
        prepared = replace(prepared, schedule=self.schedule)
        if prepared.evaluation is None or self.left < len(near) * (prepared.trial_steps or 1):
            return False
        self.splits.append((prepared, data))
        self.tried.append({})
        return self._try(near)

    def _try(self, indices: Sequence[int]) -> bool:
        """Train at some rates on all splits that lack them; return whether any could be tried."""
        wanted = [[index for index in indices if index not in tried] for tried in self.tried]
        if len(self.splits) == 1:
            # One split alone compares whatever was tried on it.
            wanted = [wanted[0][: self.left // self._cost(0)]]
        cost = sum(len(missing) * self._cost(split) for split, missing in enumerate(wanted))
        if not 0 < cost <= self.left:
            return False
        for split, missing in enumerate(wanted):
            if missing:
                self._run(split, missing)
        return True

    def _run(self, split: int, indices: Sequence[int]) -> None:
        """Train at some rates on a split."""
        prepared, data = self.splits[split]
        seed = (self.seeds.trials + split) % 2**32
        arguments = [(prepared, grid_rate(index), split, seed, *data) for index in indices]
        name = f"whole trainings, split {split + 1}"
        done = self.tasks.run(name, run_whole, arguments)
        self.tried[split].update(zip(indices, done, strict=True))
        self.left -= sum(trial.steps for trial in done)
        if self.tasks.verbose:
            best = min(done, key=lambda trial: trial.loss)
            print(f"LRRangeSearch: {name}: of {len(done)} rates {best.lr:.2g} is best")

    def _common(self) -> list[int]:
        """Return the rates that were tried on all splits."""
        return sorted(set.intersection(*(set(tried) for tried in self.tried)))

    def _loss(self, index: int, *, averaged: bool = False) -> float:
        """Return the mean loss of a rate over the splits."""
        return float(np.mean([tried[index].value(averaged=averaged) for tried in self.tried]))

    def _near(self) -> list[int]:
        """Return the best rates, and those next to them."""
        wanted = set()
        for averaged in self.averaged:
            # Of rates that did equally well the lowest is the safest.
            best = min(self._common(), key=partial(self._loss, averaged=averaged))
            wanted |= {best - 1, best, best + 1}
        return sorted(wanted)

    def _estimate(self, *, averaged: bool) -> Estimate | None:
        """Return what the trials speak for."""
        indices = self._common()
        losses = [[tried[i].value(averaged=averaged) for i in indices] for tried in self.tried]
        return estimate([grid_rate(index) for index in indices], losses)


def halve(
    tasks: Tasks,
    prepared: Prepared,
    data: TrainingData,
    best_lr: float,
    rungs: Sequence[tuple[int, int]],
    seed: int,
) -> Verification:
    """Train candidates at constant rates, ever fewer of them for longer.

    Parameters
    ----------
    tasks, prepared, data
        As in `verify`.
    best_lr : float
        The rate of least loss of the averaged curve.
    rungs : sequence of (int, int)
        Number of candidates of each rung, and the steps that each has had after it.
    seed : int
        The same for all candidates of a rung.

    Returns
    -------
    Verification
    """
    due = validation_steps(rungs[-1][1])
    going = [Trial(lr) for lr in candidates(best_lr, rungs[0][0])]
    ended: list[Trial] = []
    for number, (count, steps) in enumerate(rungs):
        ended = [*going[count:], *ended]
        now = tuple(sorted({step for step in due if step < steps} | {steps}))
        arguments = [
            (prepared, trial, now, (seed + number) % 2**32, *data) for trial in going[:count]
        ]
        name = f"trials, rung {number + 1} of {len(rungs)}"
        going = sorted(tasks.run(name, run_trial, arguments), key=lambda trial: trial.loss)
        if tasks.verbose:
            print(
                f"LRRangeSearch: {name}: of {len(going)} rates {going[0].lr:.2g} is best after "
                f"{going[0].steps} steps"
            )
    finalists = sorted(going, key=lambda trial: trial.lr)
    averaged = [trial.value(averaged=True) for trial in finalists]
    peak = estimate([trial.lr for trial in finalists], averaged)
    part = horizon(going[0], prepared.training_steps or going[0].steps)
    is_constant = prepared.schedule is None
    return Verification(
        [*going, *ended],
        constant=_constant(finalists, going[0], part) if is_constant else None,
        peak=peak,
        is_lowered=is_constant and part < 1,
    )


def candidates(best_lr: float, n: int) -> list[float]:
    """Return the rates of the grid to try around the rate of least loss of the averaged curve."""
    highest = nearest_index(best_lr) + 1
    return [grid_rate(index) for index in range(highest - n + 1, highest + 1)]


def validation_steps(last: int) -> tuple[int, ...]:
    """Return the steps after which to validate, of a training of `last` steps at most."""
    return tuple(sorted({math.ceil(last * i / N_VALIDATIONS) for i in range(1, N_VALIDATIONS + 1)}))


def _constant(finalists: Sequence[Trial], best: Trial, part: float) -> Estimate | None:
    """Return the constant rate for a whole training that short trials speak for.

    If the best one's validation loss turned upwards after a part of a whole training, it does so at
    the end of one at a rate that is lower in proportion. The rate is lowered by the root of that,
    since noise hides when the loss was least.
    """
    around = estimate([trial.lr for trial in finalists], [trial.loss for trial in finalists])
    if around is None:
        return None
    lr = best.lr * CAUTION * math.sqrt(part)
    factor = lr / around.lr
    low, high = around.interval
    good_low, good_high = around.good_range
    return Estimate(lr, (factor * low, factor * high), (factor * good_low, factor * good_high))


def horizon(trial: Trial, training_steps: int) -> float:
    """Return the part of a whole training after which a validation loss turns upwards; else 1."""
    losses = smooth(np.array(trial.losses))
    turn = (int(np.argmin(losses)) + 1) / len(losses) * trial.steps
    overfits = losses[-1] > losses.min() + OVERFIT * abs(losses.min())
    return min(1.0, turn / training_steps) if overfits else 1.0
