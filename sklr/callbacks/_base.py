"""What every schedule callback does: find the step, write its rate, record it."""

from __future__ import annotations

import inspect
import math
import warnings
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler

from sklr._param_groups import RATIO, Groups, momentum_writer, note_ratios, rate_writer
from sklr._validation import (
    ParameterTypeError,
    ParameterValueError,
    check_integer,
    check_option,
)
from sklr.callbacks import _progress
from sklr.schedules import BaseSchedule

UNITS = ("epoch", "batch", "fraction")

Rate = Callable[[float], float]
"""Gives the rate of a step."""


@dataclass(frozen=True)
class Plan:
    """What a schedule may depend on beside its own parameters.

    Attributes
    ----------
    steps_per_epoch : int or None
        Training batches of an epoch; None where the data has no length.
    n_steps : int or None
        Steps of the whole training; None where that is not known.
    lr : float or None
        The optimizer's own rate; None where there is no optimizer to ask.
    """

    steps_per_epoch: int | None
    n_steps: int | None
    lr: float | None


class Run:
    """The state of one net's training under a schedule; it lives beside the callback.

    So the user's callback object stays as it was made, and may serve several nets.

    Attributes
    ----------
    step : int or float
        The step that comes next, or that is being done.
    begun : int or float
        The step that was begun last.
    n_steps : int or None
        Steps of the whole training; None where that is not known.
    plan : Plan or None
        What `rate`, `momentum` and `schedule` were made for; None before the first epoch.
    schedule : schedule or None
        The value that gives the rates, None for a bare callable.
    """

    def __init__(self, net: NeuralNet) -> None:
        self.accelerator = getattr(net, "accelerator", None)
        optimizer = getattr(net, "optimizer_", None)
        # An accelerator speaks for all optimizers that it ever prepared. One whose training ended
        # with a skipped step makes it say so for ever: then the net's own has to be asked.
        skipped = self.accelerator is not None and self.accelerator.optimizer_step_was_skipped
        self.own_optimizer = optimizer if skipped else None
        self.done: _progress.Done | None = None
        self.n_steps: int | None = None
        self.step: float = 0
        self.begun: float = 0
        self.snapshot_steps: tuple[int, ...] | None = None
        self.steps_in_epoch = 0
        self.plan: Plan | None = None
        self.rate: Rate
        self.momentum: Rate | None = None
        self.schedule: BaseSchedule | None = None
        self.lr: float | None = None

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps of an epoch; None where the data has no length, and before the first epoch."""
        return None if self.done is None else self.done.steps_per_epoch

    def begin_epoch(self, net: NeuralNet, rate: Rate, momentum: Rate | None) -> None:
        """Bind what the hot loop touches: the groups and this epoch's row of the history."""
        groups = _groups(net)
        ratios = [group[RATIO] for group in groups]
        write_rate = rate_writer(groups, ratios)
        history = net.history
        # Recording through the history copies the list of its epochs once a batch.
        row = history[-1] if isinstance(history, list) else None
        self.steps_in_epoch = 0

        def begin_step() -> None:
            self.begun = step = self.step
            self.lr = lr = rate(step)
            write_rate(lr)
            # The epoch's rate is its last batch's, there before any callback's on_epoch_end.
            if row is None:
                history.record_batch("lr", lr)
                history.record("lr", lr)
            else:
                row["batches"][-1]["lr"] = row["lr"] = lr

        self.begin_step = begin_step
        if momentum is not None:
            write_momentum = momentum_writer(groups)

            def begin_step_with_momentum() -> None:
                begin_step()
                write_momentum(momentum(self.step))

            self.begin_step = begin_step_with_momentum

    def step_is_done(self) -> bool:
        """Tell whether the batch that just ended moved the weights (accelerate may skip it)."""
        if self.accelerator is None:
            return True
        if self.own_optimizer is not None:
            skipped = self.own_optimizer.step_was_skipped
        else:
            skipped = self.accelerator.optimizer_step_was_skipped
        return self.accelerator.sync_gradients and not skipped

    def due_snapshot(self) -> int | None:
        """Give the count of steps whose snapshot is due now that the step begun last has ended.

        After an interruption and a changed batch size steps need not be whole: one may pass it.
        """
        steps = self.snapshot_steps or ()
        coming = bisect_right(steps, self.begun)
        if coming < len(steps) and steps[coming] <= self.begun + 1 and self.step_is_done():
            return steps[coming]
        return None

    def end_step(self) -> None:
        """Go on to the next step."""
        if self.step_is_done():
            self.step += 1
            self.steps_in_epoch += 1


runs: WeakKeyDictionary[NeuralNet, Run] = WeakKeyDictionary()
"""The trainings under way, by net."""


class ScheduleCallback(Callback):
    """Base of the callbacks that set the rate of each training batch.

    A subclass says in `_rate` how the rate follows from the step. It holds parameters only.
    """

    unit: str = "batch"

    def _rate(self, net: NeuralNet, run: Run, plan: Plan) -> Rate:
        """Give the function from step to rate; check every parameter."""
        raise NotImplementedError

    def _momentum(self, net: NeuralNet, run: Run) -> Rate | None:
        """Give the function from step to momentum, None to leave momentum alone."""
        return None

    def _needs_total(self) -> bool:
        """Tell whether the schedule depends on the length of the whole training."""
        return self.unit == "fraction"

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Refuse a second schedule and begin a run."""
        _check_alone(net)
        check_option(self, "unit", self.unit, UNITS)
        runs[net] = Run(net)

    def on_epoch_begin(
        self, net: NeuralNet, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any
    ) -> None:
        """Find the step by the history, and the rates by the step."""
        run = runs[net]
        rows = net.history.to_list()
        epoch, rows = rows[-1], rows[:-1]
        if run.done is None:
            run.done = _progress.Done(steps_per_epoch(net, dataset_train))
        run.done.add(rows)
        n_epochs = self._n_epochs(net, rows)
        run.step, run.n_steps = self._position(run.done, n_epochs)

        lr = note_ratios(_groups(net), own_lr(net))
        plan = Plan(run.steps_per_epoch, run.n_steps, lr)
        if plan != run.plan:
            run.plan, run.rate = plan, self._rate(net, run, plan)
            run.momentum = self._momentum(net, run)
        rate, momentum = run.rate, run.momentum
        if run.steps_per_epoch is not None and run.n_steps is not None:
            if self._needs_total():
                last = run.n_steps - 1
                # The epoch before, if a schedule saw it, has warned where it was past the end too.
                warned = run.step > run.n_steps and _progress.PLANNED_STEPS in rows[-1]
                if run.step + run.steps_per_epoch > run.n_steps and not warned:
                    self._warn_of_the_end(run.n_steps, rate(last))
                rate = _held(rate, last)
                momentum = momentum and _held(momentum, last)
            epoch[_progress.PLANNED_STEPS] = run.steps_per_epoch
            epoch[_progress.TOTAL_STEPS] = n_epochs * run.steps_per_epoch
        run.snapshot_steps = self._snapshot_steps(run)
        run.begin_epoch(net, rate, momentum)

    def on_batch_begin(
        self, net: NeuralNet, batch: Any = None, training: bool | None = None, **kwargs: Any
    ) -> None:
        """Write the rate of the step that begins."""
        if training:
            runs[net].begin_step()

    def on_batch_end(
        self, net: NeuralNet, batch: Any = None, training: bool | None = None, **kwargs: Any
    ) -> None:
        """Count the step that ended."""
        if training:
            run = runs[net]
            run.end_step()
            if run.accelerator is not None:
                net.history.record(_progress.OPTIMIZER_STEPS, run.steps_in_epoch)

    def _snapshot_steps(self, run: Run) -> tuple[int, ...] | None:
        """Give the counts of steps after which a snapshot is due; None where none can be told."""
        if run.schedule is None or run.n_steps is None or run.steps_per_epoch is None:
            return None
        n_steps = run.n_steps
        if not self._needs_total():
            # A schedule without an end has snapshots past the planned training too.
            n_steps = max(n_steps, math.ceil(run.step) + run.steps_per_epoch)
        return run.schedule.snapshot_steps(n_steps)

    def _n_epochs(self, net: NeuralNet, rows: list[_progress.Row]) -> int:
        """Give the epochs of the whole training: as told, else as the first fit was to have."""
        n_epochs = getattr(self, "n_epochs", None)
        if n_epochs is not None:
            return check_integer(self, "n_epochs", n_epochs, at_least=1)
        # A search may give a numpy integer, which the history could not be saved with.
        return _progress.planned_epochs(rows) or int(net.max_epochs)

    def _position(self, done: _progress.Done, n_epochs: int) -> tuple[float, int | None]:
        """Give the next step, and the number of steps of the whole training if it is known."""
        if done.steps_per_epoch is None:
            self._check_needs_no_length()
            return done.steps, None
        n_steps = n_epochs * done.steps_per_epoch
        if self.unit != "batch":
            return whole(done.epochs_in_steps), n_steps
        # With batches for a clock, the epochs to come are counted in batches of today's size.
        return done.steps, max(1, round(done.steps + n_steps - done.epochs_in_steps))

    def _check_needs_no_length(self) -> None:
        if self._needs_total():
            requirement = (
                "be a length in steps where the training data has none: pass "
                "Schedule(schedule) with a schedule of sklr.schedules and its n_steps"
            )
            n_epochs = getattr(self, "n_epochs", None)
            raise ParameterValueError(self, "n_epochs", requirement, n_epochs)
        if self.unit != "batch":
            requirement = (
                "be 'batch' where the training data has no length, so that an epoch's batches "
                "cannot be counted; pass the lengths in batches too"
            )
            raise ParameterValueError(self, "unit", requirement, self.unit)

    def _warn_of_the_end(self, n_steps: int, lr: float) -> None:
        """Say once, in the epoch that goes past it, that the planned training is over."""
        warnings.warn(
            f"The training goes on past the {n_steps} steps that {type(self).__name__} was "
            f"planned for; the rate is held at {lr:g}. Pass n_epochs to plan the whole training.",
            UserWarning,
            stacklevel=2,
        )

    def __repr__(self) -> str:
        """Give the class with the parameters that differ from their defaults."""
        signature = inspect.signature(type(self)).parameters
        params = [
            f"{name}={value!r}"
            for name, value in self.get_params(deep=False).items()
            if repr(value) != repr(signature[name].default)
        ]
        return f"{type(self).__name__}({', '.join(params)})"


def own_lr(net: NeuralNet) -> float:
    """Give the optimizer's own rate: `optimizer__lr` where it is set, else the net's `lr`."""
    return float(getattr(net, "optimizer__lr", net.lr))


def _groups(net: NeuralNet) -> Groups:
    optimizer = getattr(net, "optimizer_", None)
    if optimizer is None:
        name = type(net).__name__
        requirement = "give the net an 'optimizer_' whose rate can be set"
        raise ParameterTypeError(name, "optimizer", requirement, optimizer)
    return optimizer.param_groups  # type: ignore[no-any-return]


def steps_per_epoch(net: NeuralNet, dataset_train: Any) -> int | None:
    """Give the steps of an epoch on a data set; None where that has no length."""
    try:
        batches = len(net.get_iterator(dataset_train, training=True))
    except TypeError:  # an iterable data set
        return None
    accumulation = getattr(getattr(net, "accelerator", None), "gradient_accumulation_steps", 1)
    return math.ceil(batches / accumulation)


def _check_alone(net: NeuralNet) -> None:
    schedules = [
        f"{name} ({type(callback).__name__})"
        for name, callback in net.callbacks_
        if isinstance(callback, ScheduleCallback | LRScheduler)
    ]
    if len(schedules) > 1:
        requirement = "hold at most one schedule, since the last to write the rate wins"
        raise ParameterValueError(net, "callbacks", requirement, schedules)


def _held(rate: Rate, last: int) -> Rate:
    """Give the function that holds its value from step `last` on."""
    return lambda step: rate(step if step < last else last)


def whole(steps: float) -> float:
    """Give an int for a whole number of steps, which must not be missed by a rounding error."""
    nearest = round(steps)
    return nearest if math.isclose(steps, nearest, rel_tol=1e-9) else steps
