"""Trials: short trainings at candidate rates by successive halving; validation data decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from skorch import NeuralNet
from skorch.callbacks import Callback

from sklr import schedules
from sklr._curves import RangeTestError, smooth
from sklr._training._dry_run import begin_training
from sklr._training._evaluation import Evaluation, TrainingData
from sklr._training._fit import fit_net
from sklr._training._parallel import Tasks
from sklr._training._seeding import seeded
from sklr.callbacks import Schedule
from sklr.callbacks._guard import guard_steps
from sklr.range_search import _budget
from sklr.range_search._budget import Budget
from sklr.range_search._preparation import Prepared
from sklr.range_search._ramps import RangeTest

OFFSETS = tuple(step / 3 for step in range(-6, 2))
"""Candidates in decades from the rate of least loss: the best of most tasks lies below it, of some
two decades below."""
N_VALIDATIONS = 14
"""Validations of a candidate that comes to the last rung."""
CAUTION = 10**-0.1
"""What the best trial's rate is multiplied by: a rate too high costs more than one too low, and a
high rate looks better in a training that ends before it overfits."""
PEAK_FACTOR = 2.0
"""The peak of a cycle over the best constant rate."""
OVERFIT = 0.005
"""A validation loss this part above its least has turned upwards."""
LEARNED = 0.2
"""A net whose validation loss fell by this part has learned something: one that cannot learn comes
no further than to predicting a mean, or the shares of the classes."""
RATE, VALIDATIONS = "sklr_rate", "sklr_validations"
"""Names of a trial's callbacks, which no callback of the user's is likely to have."""


class _RungEnd(KeyboardInterrupt):
    """Ends a training at the end of a rung, in the way that skorch understands."""


class _Validations(Callback):
    """Validate the net after some steps, and end the training after the last of them."""

    def initialize(self) -> _Validations:
        """Begin to count; a training that goes on counts on."""
        self.done_ = 0
        self.losses_: list[float] = []
        self.error_: str | None = None
        return self

    def expect(
        self, steps: tuple[int, ...], evaluation: Evaluation | None, data: TrainingData | None
    ) -> None:
        """Set after which steps to validate, how and on what; None lets go of the data."""
        self.steps_ = steps
        self.evaluation_ = evaluation
        self.data_ = data

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Take an exception in a step for a divergence."""
        guard_steps(net, self._diverge)

    def on_batch_end(
        self, net: NeuralNet, training: bool | None = None, loss: Any = None, **kwargs: Any
    ) -> None:
        """Validate if it is due."""
        if not training:
            return
        self.done_ += 1
        if not math.isfinite(loss.item()):
            self.losses_.append(math.inf)
        elif self.evaluation_ is not None and self.data_ is not None and self.done_ in self.steps_:
            self.losses_.append(self.evaluation_(net, self.data_))
        if self.has_ended():
            raise _RungEnd

    def has_ended(self) -> bool:
        """Return whether the last step is done, or the training has diverged."""
        return self.done_ >= self.steps_[-1] or math.inf in self.losses_

    def _diverge(self, error: Exception) -> None:
        # Also in the first step: the ramps have shown that the net can make one.
        self.error_ = f"{type(error).__name__}: {error}"
        self.losses_.append(math.inf)
        raise _RungEnd


@dataclass
class Trial:
    """A candidate and how it has done so far.

    Attributes
    ----------
    lr : float
        Its constant rate.
    steps : int
        Training batches so far.
    losses : list of float
        Validation losses, or minus the scores, so far.
    net : NeuralNet or None
        The net in training.
    error : str or None
        The exception by which it diverged, if by one.
    """

    lr: float
    steps: int = 0
    losses: list[float] = field(default_factory=list)
    net: NeuralNet | None = None
    error: str | None = None

    @property
    def loss(self) -> float:
        """Mean of the last fifth of the validations."""
        return float(np.mean(self.losses[-max(1, round(len(self.losses) / 5)) :]))


def candidates(best_lr: float) -> list[float]:
    """Return the rates to try around the rate of least loss of the averaged curve."""
    return [best_lr * 10**offset for offset in OFFSETS]


def validation_steps(last: int) -> tuple[int, ...]:
    """Return the steps after which to validate, of a training of `last` steps at most."""
    return tuple(sorted({math.ceil(last * i / N_VALIDATIONS) for i in range(1, N_VALIDATIONS + 1)}))


def try_candidates(
    tasks: Tasks,
    prepared: Prepared,
    data: TrainingData,
    budget: Budget,
    test: RangeTest,
    seed: int,
) -> list[Trial]:
    """Try the rates around the one of least loss, if there is one and steps are left.

    Parameters
    ----------
    budget : Budget
        How the steps were shared.
    test : RangeTest
        What the ramps show.
    tasks, prepared, data, seed
        As in `run_trials`.

    Returns
    -------
    list of Trial
        The best first; empty if nothing is tried.
    """
    best_lr = test.summary.best_lr
    if not test.answered and not prepared.is_scored:
        # The ramps may be too noisy for what trials will see.
        best_lr = test.summary.guess_lr
    left = 0 if budget.steps is None else budget.steps - test.steps
    if not (math.isfinite(best_lr) and budget.verify and _budget.can_verify(left)):
        return []
    return run_trials(tasks, prepared, data, best_lr, left, seed)


def run_trials(
    tasks: Tasks,
    prepared: Prepared,
    data: TrainingData,
    best_lr: float,
    left: int,
    seed: int,
) -> list[Trial]:
    """Train the candidates, ever fewer of them; the best of the last rung comes first.

    Parameters
    ----------
    tasks : Tasks
        Runs them in parallel.
    prepared : Prepared
        What they train.
    data : TrainingData
        What on.
    best_lr : float
        The rate of least loss of the averaged curve.
    left : int
        Steps for all of them.
    seed : int
        The same for all: they differ by their rates only.

    Returns
    -------
    list of Trial
    """
    rungs = _budget.rungs(left)
    due = validation_steps(rungs[-1][1])
    going = [Trial(lr) for lr in candidates(best_lr)]
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
    return [*going, *ended]


def run_trial(
    prepared: Prepared, trial: Trial, steps: tuple[int, ...], seed: int, *arrays: Any
) -> Trial:
    """Train a candidate up to the last of some steps, from fresh weights or from where it was.

    Parameters
    ----------
    prepared : Prepared
        What is trained.
    trial : Trial
        The candidate; one that has diverged stays as it is.
    steps : tuple of int
        The steps after which to validate.
    seed : int
        For everything random.
    *arrays
        The fields of a TrainingData.

    Returns
    -------
    Trial

    Raises
    ------
    RangeTestError
        If a callback of the net's ends the training before.
    """
    if math.inf in trial.losses:
        return trial
    data = TrainingData(*arrays)
    if trial.net is None:
        net, watch, epochs = clone(prepared.net), _Validations(), None
        rate = Schedule(schedules.Constant(lr=trial.lr))
        net.callbacks = [*(net.callbacks or []), (RATE, rate), (VALIDATIONS, watch)]
        # However short the data, this many epochs hold the steps.
        net.set_params(max_epochs=steps[-1])
    else:
        net, watch = trial.net, dict(trial.net.callbacks_)[VALIDATIONS]
        epochs = steps[-1] - watch.done_
    watch.expect(steps, prepared.evaluation, data)
    with seeded(seed):
        fit_net(net, data.X, data.y, epochs=epochs, **prepared.fit_params)
    if not watch.has_ended():
        kept = [name for name, _ in net.callbacks_]
        raise RangeTestError(f"A callback ended the training before the trial. It has {kept}.")
    # The net goes from process to process; the data need not.
    watch.expect((watch.done_,), None, None)
    return Trial(trial.lr, watch.done_, list(watch.losses_), net, watch.error_)


def table(trials: Sequence[Trial], *, scored: bool) -> dict[str, npt.NDArray[Any]]:
    """Return one row a candidate, the best first."""
    losses = np.array([trial.loss for trial in trials], dtype=float)
    return {
        "lr": np.array([trial.lr for trial in trials], dtype=float),
        "steps": np.array([trial.steps for trial in trials], dtype=int),
        "score" if scored else "loss": -losses if scored else losses,
    }


def have_learned(
    prepared: Prepared, data: TrainingData, trials: Sequence[Trial], seed: int
) -> bool:
    """Return whether all candidates of the last rung have learned something.

    Parameters
    ----------
    prepared : Prepared
        What they trained.
    data : TrainingData
        What on.
    trials : sequence of Trial
        The best first.
    seed : int
        The one that they began with.
    """
    if prepared.evaluation is None or not trials:
        return False
    with seeded(seed):
        untrained = begin_training(clone(prepared.net), data.X, data.y)
        before = prepared.evaluation(untrained, data)
    finalists = trials[: _budget.SURVIVORS[-1]]
    return all(before - trial.loss > LEARNED * abs(before) for trial in finalists)


def constant_lr(trial: Trial, training_steps: int) -> float:
    """Return the constant rate for a whole training that the best candidate speaks for.

    If its validation loss has turned upwards, a rate that comes to the turn only at the end of the
    training is lower in proportion; half of that, on the log scale, is what is lowered, since the
    loss's least is not known exactly.
    """
    return trial.lr * CAUTION * math.sqrt(horizon(trial, training_steps))


def horizon(trial: Trial, training_steps: int) -> float:
    """Return the part of a whole training after which a validation loss turns upwards; else 1."""
    losses = smooth(np.array(trial.losses))
    turn = (int(np.argmin(losses)) + 1) / len(losses) * trial.steps
    overfits = losses[-1] > losses.min() + OVERFIT * abs(losses.min())
    return min(1.0, turn / training_steps) if overfits else 1.0
