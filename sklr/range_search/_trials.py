"""A trial: a training at a candidate rate, whole or shorter, that validation data judges."""

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
from sklr._averaging import TrailingAverage
from sklr._curves import RangeTestError
from sklr._training._dry_run import begin_training
from sklr._training._evaluation import Evaluation, TrainingData
from sklr._training._fit import fit_net
from sklr._training._seeding import generator_states, seeded, set_generator_states
from sklr.callbacks import Schedule
from sklr.callbacks._guard import guard_steps
from sklr.range_search._preparation import Prepared, at_rate

LEARNED = 0.2
"""A net whose validation loss fell by this part has learned something, if only to predict a mean:
noise alone lowers it by less."""
LAST_PART = 1 / 20
"""At a constant rate the loss varies from step to step. That at the end of a whole training is the
mean of three validations, each so large a part of the training after the one before."""
CONSTANT = "Constant"
"""Name of a constant rate among schedules."""
RATE, VALIDATIONS = "sklr_rate", "sklr_validations"
"""Names of a trial's callbacks, which no callback of the user's is likely to have."""


class _TrialEnd(KeyboardInterrupt):
    """Ends a training after a trial's last step, in the way that skorch understands."""


class _Validations(Callback):
    """Validate the net after some steps, and end the training after the last of them.

    Parameters
    ----------
    averages : bool
        Whether the net is validated, after the last step, at its averaged weights too.
    """

    def __init__(self, averages: bool = False) -> None:
        self.averages = averages

    def initialize(self) -> _Validations:
        """Begin to count; a training that goes on counts on."""
        self.done_ = 0
        self.losses_: list[float] = []
        self.averaged_loss_ = math.nan
        self.average_ = TrailingAverage() if self.averages else None
        self.error_: str | None = None
        return self

    def expect(
        self, steps: tuple[int, ...], evaluation: Evaluation | None, data: TrainingData | None
    ) -> None:
        """Set after which steps to validate, how and on what; None lets go of the data."""
        self.steps_ = steps
        self.evaluation_ = evaluation
        self.data_ = data
        self.dataset_ = None

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Take an exception in a step for a divergence."""
        guard_steps(net, self._diverge)

    def on_epoch_begin(self, net: NeuralNet, dataset_train: Any = None, **kwargs: Any) -> None:
        """Keep the training data, by which the statistics of BatchNorm are estimated."""
        self.dataset_ = dataset_train

    def on_batch_end(
        self, net: NeuralNet, training: bool | None = None, loss: Any = None, **kwargs: Any
    ) -> None:
        """Validate if it is due."""
        if not training:
            return
        self.done_ += 1
        if not math.isfinite(loss.item()):
            self.losses_.append(math.inf)
        else:
            self._validate(net)
        if self.has_ended():
            raise _TrialEnd

    def _validate(self, net: NeuralNet) -> None:
        if self.average_ is not None:
            self.average_.update(net.module_)
        if self.evaluation_ is None or self.data_ is None or self.done_ not in self.steps_:
            return
        # A DataLoader draws from the generators: the training goes on as if it was not validated.
        states = generator_states()
        self.losses_.append(self.evaluation_(net, self.data_))
        if self.average_ is not None and self.done_ == self.steps_[-1]:
            batches = net.get_iterator(self.dataset_, training=False)
            with self.average_.applied(net, batches):
                self.averaged_loss_ = self.evaluation_(net, self.data_)
        set_generator_states(states)

    def has_ended(self) -> bool:
        """Return whether the last step is done, or the training has diverged."""
        return self.done_ >= self.steps_[-1] or math.inf in self.losses_

    def _diverge(self, error: Exception) -> None:
        # Also in the first step: the ramps have shown that the net can train.
        self.error_ = f"{type(error).__name__}: {error}"
        self.losses_.append(math.inf)
        raise _TrialEnd


@dataclass
class Trial:
    """A candidate on a split of the data, and how it has done so far.

    Attributes
    ----------
    lr : float
        Its rate: constant, or the peak of the schedule.
    split : int
        Number of the split.
    schedule : str
        Class of the schedule's callback; 'Constant' for a constant rate.
    steps : int
        Training batches so far.
    losses : list of float
        Validation losses, or minus the scores, so far; of a whole training only their mean.
    averaged_loss : float
        The last of them at averaged weights; NaN if there is none.
    net : NeuralNet or None
        The net in training.
    error : str or None
        The exception by which it diverged, if by one.
    """

    lr: float
    split: int = 0
    schedule: str = CONSTANT
    steps: int = 0
    losses: list[float] = field(default_factory=list)
    averaged_loss: float = math.nan
    net: NeuralNet | None = None
    error: str | None = None

    @property
    def loss(self) -> float:
        """Mean of the last fifth of the validations."""
        return float(np.mean(self.losses[-max(1, round(len(self.losses) / 5)) :]))

    @property
    def has_diverged(self) -> bool:
        """Whether the training has diverged."""
        return math.inf in self.losses

    def value(self, *, averaged: bool) -> float:
        """Return the loss, or that at averaged weights; infinite if the trial has diverged."""
        if not averaged or self.has_diverged:
            return self.loss
        return self.averaged_loss


def run_trial(
    prepared: Prepared, trial: Trial, steps: tuple[int, ...], seed: int, *arrays: Any
) -> Trial:
    """Train a candidate at a constant rate, from fresh weights or from where it was.

    Parameters
    ----------
    prepared : Prepared
        What is trained.
    trial : Trial
        The candidate; one that has diverged stays as it is.
    steps : tuple of int
        The steps after which to validate, and to end after the last of them.
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
    if trial.has_diverged:
        return trial
    if trial.net is None:
        rate = Schedule(schedules.Constant(lr=trial.lr))
        net, watch = _net(prepared, rate, averages=True)
        # However short the data, this many epochs hold the steps.
        net.set_params(max_epochs=steps[-1])
        return _trained(prepared, trial, net, watch, steps, seed, TrainingData(*arrays))
    watch = dict(trial.net.callbacks_)[VALIDATIONS]
    epochs = steps[-1] - watch.done_
    data = TrainingData(*arrays)
    return _trained(prepared, trial, trial.net, watch, steps, seed, data, epochs)


def run_whole(prepared: Prepared, lr: float, split: int, seed: int, *arrays: Any) -> Trial:
    """Train the net as the user will, with its schedule and to its end, and validate it there.

    Parameters
    ----------
    prepared : Prepared
        What is trained; its length is known.
    lr : float
        A constant rate, or the peak of the schedule.
    split : int
        Number of the split.
    seed : int
        For everything random.
    *arrays
        The fields of a TrainingData.

    Returns
    -------
    Trial
        Without the net.

    Raises
    ------
    RangeTestError
        If a callback of the net's ends the training before.
    """
    n_steps = prepared.trial_steps or 1
    if prepared.schedule is None:
        rate: Callback = Schedule(schedules.Constant(lr=lr))
        apart = max(1, int(LAST_PART * n_steps))
        due = tuple(sorted({max(1, n_steps - i * apart) for i in range(3)}))
    else:
        rate, due = at_rate(prepared.schedule, lr), (n_steps,)
    net, watch = _net(prepared, rate, averages=prepared.schedule is None)
    name = CONSTANT if prepared.schedule is None else type(prepared.schedule).__name__
    done = _trained(prepared, Trial(lr, split, name), net, watch, due, seed, TrainingData(*arrays))
    done.net, done.losses = None, [float(np.mean(done.losses))]
    return done


def _net(prepared: Prepared, rate: Callback, *, averages: bool) -> tuple[NeuralNet, _Validations]:
    """Return a clone of the net with a rate, and what validates it."""
    net, watch = clone(prepared.net), _Validations(averages)
    net.callbacks = [*(net.callbacks or []), (RATE, rate), (VALIDATIONS, watch)]
    return net, watch


def _trained(
    prepared: Prepared,
    trial: Trial,
    net: NeuralNet,
    watch: _Validations,
    steps: tuple[int, ...],
    seed: int,
    data: TrainingData,
    epochs: int | None = None,
) -> Trial:
    """Train a net up to the last of some steps, and return how it has done."""
    watch.expect(steps, prepared.evaluation, data)
    with seeded(seed):
        fit_net(net, data.X, data.y, epochs=epochs, **prepared.fit_params)
    if not watch.has_ended():
        kept = [name for name, _ in net.callbacks_]
        raise RangeTestError(f"A callback ended the training before the trial. It has {kept}.")
    # The net goes from process to process; the data need not.
    watch.expect((watch.done_,), None, None)
    return Trial(
        trial.lr,
        trial.split,
        trial.schedule,
        watch.done_,
        list(watch.losses_),
        watch.averaged_loss_,
        net,
        watch.error_,
    )


def table(trials: Sequence[Trial], *, scored: bool) -> dict[str, npt.NDArray[Any]]:
    """Return one row a trial, in their order."""
    sign, name = (-1, "score") if scored else (1, "loss")
    losses = np.array([trial.loss for trial in trials], dtype=float)
    averaged = np.array([trial.averaged_loss for trial in trials], dtype=float)
    return {
        "lr": np.array([trial.lr for trial in trials], dtype=float),
        "schedule": np.array([trial.schedule for trial in trials], dtype=str),
        "split": np.array([trial.split for trial in trials], dtype=int),
        "steps": np.array([trial.steps for trial in trials], dtype=int),
        name: sign * losses,
        f"averaged_{name}": sign * averaged,
    }


def have_learned(
    prepared: Prepared, data: TrainingData, trials: Sequence[Trial], seed: int
) -> bool:
    """Return whether the best two trials have learned something.

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
    # The loss before is that on the first split.
    best = [trial.loss for trial in trials if trial.split == 0][:2]
    return all(before - loss > LEARNED * abs(before) for loss in best)
