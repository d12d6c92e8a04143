"""What the callbacks with a schedule of their own share: flat parameters, lengths in a unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skorch import NeuralNet

from sklr._validation import (
    ParameterTypeError,
    ParameterValueError,
    check_integer,
    check_number,
    check_option,
    in_name_of,
)
from sklr.callbacks._base import UNITS, Plan, Rate, Run, ScheduleCallback, whole
from sklr.plotting import ScheduleDisplay
from sklr.schedules import BaseSchedule, warmup


@dataclass(kw_only=True, eq=False, repr=False)
class NamedSchedule(ScheduleCallback):
    """Base of the callbacks with a schedule of their own: flat parameters, lengths in a unit.

    A subclass adds its parameters as fields and builds its value in `_value`.
    """

    unit: str = "epoch"
    warmup: float = 0
    n_epochs: int | None = None

    def _value(self, plan: Plan, n_steps: int) -> BaseSchedule:
        """Give the schedule in steps, of which a schedule that needs a total has `n_steps`."""
        raise NotImplementedError

    def schedule(
        self, steps_per_epoch: int, n_epochs: int | None = None, lr: float | None = None
    ) -> BaseSchedule:
        """Give the schedule as a value, a function of the step.

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
        return self._checked_value(Plan(steps_per_epoch, n_steps, lr))

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
            Epochs to draw; where the parameter of that name is None also those of the training.
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
        value = self.schedule(steps_per_epoch, self.n_epochs or n_epochs, lr)
        display = ScheduleDisplay.from_schedule(
            value, steps_per_epoch * n_epochs, steps_per_epoch=steps_per_epoch, name=repr(self)
        )
        return display.plot(ax=ax)

    def _rate(self, net: NeuralNet, run: Run, plan: Plan) -> Rate:
        run.schedule = self._checked_value(plan)
        return run.schedule

    def _checked_value(self, plan: Plan) -> BaseSchedule:
        """Give the value, its errors in the callback's name and the user's own terms."""
        warmup_steps = self._warmup_steps(plan)
        with in_name_of(self):
            value = self._value(plan, self._steps_left(plan, warmup_steps))
        return warmup(value, warmup_steps)

    def _warmup_steps(self, plan: Plan) -> int:
        if check_number(self, "warmup", self.warmup, at_least=0) == 0:
            return 0
        return round(self._steps("warmup", self.warmup, plan))

    def _steps_left(self, plan: Plan, warmup_steps: int) -> int:
        """Give the steps after the warm-up; 0 where the schedule does not ask for them."""
        if plan.n_steps is None or not self._needs_total():
            return 0
        if warmup_steps >= plan.n_steps:
            requirement = f"be shorter than the training of {plan.n_steps} steps"
            raise ParameterValueError(self, "warmup", requirement, self.warmup)
        return plan.n_steps - warmup_steps

    def _peak(self, name: str, plan: Plan) -> float:
        """Give a rate that stands for the optimizer's own where it is None."""
        value = getattr(self, name)
        if value is None:
            value = plan.lr
        if value is None:
            requirement = "be a number, or lr be given as the optimizer's own rate"
            raise ParameterTypeError(self, name, requirement, None)
        return check_number(self, name, value, above=0)

    def _floor(self, name: str, peak: float, fraction: float) -> float:
        """Give a rate that is a fraction of the peak where it is None."""
        value = getattr(self, name)
        return peak * fraction if value is None else check_number(self, name, value, at_least=0)

    def _length(self, name: str, plan: Plan) -> float:
        """Give a length in steps, at least one when rounded."""
        value = getattr(self, name)
        check_number(self, name, value, above=0)
        return self._steps(name, value, plan)

    def _steps(self, name: str, value: float, plan: Plan) -> float:
        steps = float(value) * self._unit_steps(plan)
        if round(steps) == 0:
            requirement = (
                f"be at least one training batch: unit {self.unit!r} has "
                f"{self._unit_steps(plan)} of them"
            )
            raise ParameterValueError(self, name, requirement, value)
        return whole(steps)

    def _unit_steps(self, plan: Plan) -> int:
        """Give the steps of one unit."""
        if self.unit == "batch":
            return 1
        steps = plan.steps_per_epoch if self.unit == "epoch" else plan.n_steps
        if steps is None:
            requirement = "be the epochs of the whole training where unit is 'fraction'"
            raise ParameterTypeError(self, "n_epochs", requirement, None)
        return steps
