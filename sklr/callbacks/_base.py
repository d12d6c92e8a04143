"""The base of all schedule callbacks: find the step, write its rate, record it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection
from typing import Any

import numpy as np
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler

from sklr._param_groups import follow_user
from sklr._validation import (
    ParameterTypeError,
    ParameterValueError,
    check_integer,
    check_number,
    check_option,
)
from sklr._warnings import warn
from sklr.callbacks import _progress
from sklr.callbacks._run import Plan, Rate, Run, net_optimizer, runs
from sklr.plotting import ScheduleDisplay
from sklr.schedules import BaseSchedule
from sklr.schedules._base import whole

__all__ = ["Plan", "Rate", "Run", "ScheduleCallback", "own_lr", "runs", "steps_per_epoch"]

UNITS = ("epoch", "batch", "fraction")


class ScheduleCallback(Callback):
    """Base of the callbacks that set the rate of each training batch.

    A subclass makes its schedule in `_value`. It holds parameters only.
    """

    unit: str = "batch"
    n_epochs: int | None = None

    def _value(self, plan: Plan) -> BaseSchedule:
        """Return the schedule in steps; check every parameter."""
        raise NotImplementedError

    def _rate(self, plan: Plan) -> Rate:
        """Return the function from step to rate: the schedule, if there is one."""
        return self._value(plan)

    def _momentum(self, net: NeuralNet, run: Run) -> Rate | None:
        """Return the function from step to momentum, None to leave momentum alone."""
        return None

    def _needs_total(self) -> bool:
        """Return whether the schedule depends on the length of the whole training."""
        return self.unit == "fraction"

    def value(
        self, steps_per_epoch: int, n_epochs: int | None = None, lr: float | None = None
    ) -> BaseSchedule:
        """Return the schedule as a value, a function of the step.

        Parameters
        ----------
        steps_per_epoch : int
            Training batches of an epoch.
        n_epochs : int, default=None
            Epochs of the whole training; None is the parameter of that name.
        lr : float, default=None
            The optimizer's own rate, for a peak that is left at None.

        Returns
        -------
        schedule
            A value of `sklr.schedules`.

        Raises
        ------
        TypeError, ValueError
            If a parameter is out of range, or one that is needed is left at None.
        """
        return self._value(self._made_plan(steps_per_epoch, n_epochs, lr))

    def planned_snapshots(
        self, steps_per_epoch: int, n_epochs: int, lr: float | None = None
    ) -> tuple[int, ...]:
        """Return the counts of steps after which snapshots are due in a whole training.

        Parameters
        ----------
        steps_per_epoch : int
            Training batches of an epoch.
        n_epochs : int
            Epochs of the training.
        lr : float, default=None
            The optimizer's own rate, for a peak that is left at None.

        Returns
        -------
        tuple of int
            Strictly increasing, the last at most the steps of the training.

        Raises
        ------
        TypeError, ValueError
            If the schedule cannot say, or a parameter is out of range.
        """
        n_epochs = check_integer(self, "n_epochs", n_epochs, at_least=1)
        plan = self._made_plan(steps_per_epoch, self.n_epochs or n_epochs, lr)
        planned, n_steps = plan.n_steps or 0, int(steps_per_epoch) * n_epochs
        horizon = planned if self._needs_total() else max(planned, n_steps)
        steps = self._value(plan).snapshot_steps(horizon)
        return tuple(step for step in steps if step <= n_steps)

    def _made_plan(self, steps_per_epoch: int, n_epochs: int | None, lr: float | None) -> Plan:
        """Return a plan that no training has made, its parts checked."""
        check_option(self, "unit", self.unit, UNITS)
        steps_per_epoch = check_integer(self, "steps_per_epoch", steps_per_epoch, at_least=1)
        if n_epochs is None:
            n_epochs = self.n_epochs
        n_steps = None
        if n_epochs is not None:
            n_steps = steps_per_epoch * check_integer(self, "n_epochs", n_epochs, at_least=1)
        elif self._needs_total():
            raise ParameterTypeError(self, "n_epochs", "be the epochs of the whole training", None)
        if lr is not None:
            lr = check_number(self, "lr", lr, above=0)
        return Plan(steps_per_epoch, n_steps, lr)

    def plot(
        self,
        *,
        steps_per_epoch: int = 100,
        n_epochs: int = 10,
        lr: float = 0.01,
        ax: Any = None,
    ) -> ScheduleDisplay:
        """Draw the rate over a training, without a net.

        Parameters
        ----------
        steps_per_epoch : int, default=100
            Training batches of an epoch.
        n_epochs : int, default=10
            Epochs to draw; also those of the training if the parameter of that name is None.
        lr : float, default=0.01
            The optimizer's own rate, for a peak that is left at None.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        ScheduleDisplay
            With `ax_` and `figure_`.

        Raises
        ------
        TypeError, ValueError
            If a parameter is out of range.
        ImportError
            If matplotlib is not installed.
        """
        n_epochs = check_integer(self, "n_epochs", n_epochs, at_least=1)
        rate = self._rate(self._made_plan(steps_per_epoch, self.n_epochs or n_epochs, lr))
        n_steps = int(steps_per_epoch) * n_epochs
        steps = np.arange(n_steps)
        snapshots: tuple[int, ...] = ()
        if isinstance(rate, BaseSchedule):
            snapshots = rate.snapshot_steps(n_steps)
        display = ScheduleDisplay(
            steps=steps,
            rates=[rate(step) for step in steps.tolist()],
            # A training without cycles has its only snapshot at the end: nothing to mark.
            snapshot_steps=snapshots if snapshots != (n_steps,) else (),
            steps_per_epoch=steps_per_epoch,
            name=repr(self),
        )
        return display.plot(ax=ax)

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Raise if there is a second schedule, and begin a run."""
        _check_alone(net)
        check_option(self, "unit", self.unit, UNITS)
        if net in runs:
            # An exception has ended the training before.
            runs[net].stop_watch()
            runs[net].release()
        runs[net] = Run(net)

    def on_epoch_begin(
        self, net: NeuralNet, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any
    ) -> None:
        """Find the step by the history, and the rates by the step."""
        run = runs[net]
        rows = net.history.to_list()
        epoch, rows = rows[-1], rows[:-1]
        if run.done is None:
            run.done = _progress.Done(_batches_of_epoch(net, dataset_train))
            follow_user(net_optimizer(net).param_groups, own_lr(net))
        run.done.add(rows)
        n_epochs = self._n_epochs(net, rows)
        run.step, run.n_steps = self._position(run.done, n_epochs)

        lr = run.bind(net, own_lr(net), _group_lrs(net))
        plan = Plan(run.steps_per_epoch, run.n_steps, lr)
        if plan != run.plan:
            run.set_plan(plan, self._rate(plan))
            run.momentum = self._momentum(net, run)
        run.plan_snapshots(self._snapshot_horizon(net, run))
        rate, momentum = run.rate, run.momentum
        if run.steps_per_epoch is not None and run.n_steps is not None:
            if self._needs_total():
                last = run.n_steps - 1
                # The epoch before, if a schedule saw it, has warned if it was past the end too.
                warned = run.step > run.n_steps and _progress.PLANNED_STEPS in rows[-1]
                if run.step + run.steps_per_epoch > run.n_steps and not warned:
                    self._warn_of_the_end(run.n_steps, rate(last))
                rate = _held(rate, last)
                momentum = momentum and _held(momentum, last)
            epoch[_progress.PLANNED_STEPS] = run.steps_per_epoch
            epoch[_progress.TOTAL_STEPS] = n_epochs * run.steps_per_epoch
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

    def on_train_end(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Leave the optimizer to the user."""
        runs[net].release()

    def _snapshot_horizon(self, net: NeuralNet, run: Run) -> int | None:
        """Return the steps for which snapshots are to be known; None if nothing can be."""
        if run.n_steps is None or run.steps_per_epoch is None or self._needs_total():
            return run.n_steps
        # A schedule without an end has snapshots past the planned training too.
        epochs_ahead = math.ceil(run.step) + run.steps_per_epoch
        return max(run.n_steps, int(net.max_epochs) * run.steps_per_epoch, epochs_ahead)

    def _n_epochs(self, net: NeuralNet, rows: list[_progress.Row]) -> int:
        """Return the epochs of the whole training: as given, else as the first fit planned."""
        if self.n_epochs is not None:
            return check_integer(self, "n_epochs", self.n_epochs, at_least=1)
        # A search may give a numpy integer, which the history could not be saved with.
        n_epochs = _progress.planned_epochs(rows) or int(net.max_epochs)
        if n_epochs == 0 and self._needs_total():
            # As after fit with max_epochs=0: partial_fit(epochs=3) says nothing to callbacks.
            requirement = "be the epochs of the whole training, as the net's max_epochs is 0"
            raise ParameterValueError(self, "n_epochs", requirement, None)
        return n_epochs

    def _position(self, done: _progress.Done, n_epochs: int) -> tuple[float, int | None]:
        """Return the next step, and the number of steps of the whole training if it is known."""
        if done.steps_per_epoch is None:
            self._check_needs_no_length()
            return done.steps, None
        n_steps = n_epochs * done.steps_per_epoch
        if self.unit != "batch":
            return whole(done.epochs_in_steps), n_steps
        # With batches for a clock, the epochs to come are counted in batches of today's size. Past
        # the plan, the batches of the planned epochs are a part of those done.
        if done.epochs_in_steps <= n_steps:
            total = done.steps + n_steps - done.epochs_in_steps
        else:
            total = done.steps * n_steps / done.epochs_in_steps
        return done.steps, max(1, round(total))

    def _check_needs_no_length(self) -> None:
        if self._needs_total():
            requirement = (
                "be a length in steps if the training data has none: pass "
                "Schedule(schedule) with a schedule of sklr.schedules and its n_steps"
            )
            raise ParameterValueError(self, "n_epochs", requirement, self.n_epochs)
        if self.unit != "batch":
            requirement = (
                "be 'batch' if the training data has no length, so that an epoch's batches "
                "cannot be counted; pass the lengths in batches too"
            )
            raise ParameterValueError(self, "unit", requirement, self.unit)

    def _warn_of_the_end(self, n_steps: int, lr: float) -> None:
        """Warn, in the epoch that goes past it, that the planned training is over."""
        warn(
            f"The training goes on past the {n_steps} steps that {type(self).__name__} was planned "
            f"for; the rate is held at {lr:g}. Pass n_epochs to plan the whole training."
        )

    def _unit_steps(self, plan: Plan) -> int:
        """Return the steps of one unit."""
        if self.unit == "batch":
            return 1
        steps = plan.steps_per_epoch if self.unit == "epoch" else plan.n_steps
        if steps is None:
            requirement = "be the epochs of the whole training if unit is 'fraction'"
            raise ParameterTypeError(self, "n_epochs", requirement, None)
        return steps

    def __repr__(self) -> str:
        """Return the class with the parameters that differ from their defaults."""
        signature = inspect.signature(type(self)).parameters
        params = [
            f"{name}={value!r}"
            for name, value in self.get_params(deep=False).items()
            if repr(value) != repr(signature[name].default)
        ]
        return f"{type(self).__name__}({', '.join(params)})"


def own_lr(net: NeuralNet) -> float:
    """Return the optimizer's own rate: `optimizer__lr` if it is set, else the net's `lr`."""
    return float(getattr(net, "optimizer__lr", net.lr))


def _group_lrs(net: NeuralNet) -> Collection[float]:
    """Return the rates that the user gave to groups, in the parameter of skorch for them."""
    groups = getattr(net, "optimizer__param_groups", None) or []
    return {float(params["lr"]) for _, params in groups if "lr" in params}


def steps_per_epoch(net: NeuralNet, dataset_train: Any) -> int | None:
    """Return the steps of an epoch on a data set; None if that has no length."""
    try:
        batches = len(net.get_iterator(dataset_train, training=True))
    except TypeError:  # an iterable data set
        return None
    accumulation = getattr(getattr(net, "accelerator", None), "gradient_accumulation_steps", 1)
    return math.ceil(batches / accumulation)


def _batches_of_epoch(net: NeuralNet, dataset_train: Any) -> int | None:
    """Return the steps of an epoch; raise if there is none."""
    steps = steps_per_epoch(net, dataset_train)
    if steps == 0:
        requirement = (
            "leave at least one training batch: with iterator_train__drop_last=True there is none "
            "if the training data has fewer rows than one batch"
        )
        raise ParameterValueError(net, "batch_size", requirement, net.batch_size)
    return steps


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
    """Return the function that holds its value from step `last` on."""
    return lambda step: rate(step if step < last else last)
