"""Base of the callbacks with a schedule of their own: flat parameters, lengths in a unit."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sklr._validation import (
    ParameterTypeError,
    ParameterValueError,
    check_number,
    in_name_of,
)
from sklr.callbacks._base import ScheduleCallback
from sklr.callbacks._run import Plan
from sklr.schedules import BaseSchedule, warmup
from sklr.schedules._base import whole


@dataclass(kw_only=True, eq=False, repr=False)
class NamedSchedule(ScheduleCallback):
    """Base of the callbacks with a schedule of their own: flat parameters, lengths in a unit.

    A subclass adds its parameters as fields and makes its schedule in `_shape`.
    """

    unit: str = "epoch"
    warmup: float = 0
    n_epochs: int | None = None

    def _shape(self, plan: Plan, n_steps: int) -> BaseSchedule:
        """Return the schedule after the warm-up, `n_steps` long if it needs a total."""
        raise NotImplementedError

    def schedule(
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
        return self.value(steps_per_epoch, n_epochs, lr)

    def _value(self, plan: Plan) -> BaseSchedule:
        """Return the schedule; its errors are in the callback's name and the user's own terms."""
        warmup_steps = self._warmup_steps(plan)
        with in_name_of(self):
            value = self._shape(plan, self._steps_left(plan, warmup_steps))
        return warmup(value, warmup_steps)

    def _warmup_steps(self, plan: Plan) -> int:
        if check_number(self, "warmup", self.warmup, at_least=0) == 0:
            return 0
        return round(self._steps("warmup", self.warmup, plan))

    def _steps_left(self, plan: Plan, warmup_steps: int) -> int:
        """Return the steps after the warm-up; 0 if the schedule does not ask for them."""
        if plan.n_steps is None or not self._needs_total():
            return 0
        if warmup_steps >= plan.n_steps:
            requirement = f"be shorter than the training of {plan.n_steps} steps"
            raise ParameterValueError(self, "warmup", requirement, self.warmup)
        return plan.n_steps - warmup_steps

    def _peak(self, name: str, plan: Plan) -> float:
        """Return a rate that is the optimizer's own if it is None."""
        value = getattr(self, name)
        if value is None:
            value = plan.lr
        if value is None:
            requirement = "be a number, or lr be given as the optimizer's own rate"
            raise ParameterTypeError(self, name, requirement, None)
        return check_number(self, name, value, above=0)

    def _floor(self, name: str, peak: float, fraction: float) -> float:
        """Return a rate that is a fraction of the peak if it is None."""
        value = getattr(self, name)
        return peak * fraction if value is None else check_number(self, name, value, at_least=0)

    def _length(self, name: str, plan: Plan) -> float:
        """Return a length in steps, at least one when rounded."""
        value = getattr(self, name)
        check_number(self, name, value, above=0)
        return self._steps(name, value, plan)

    def _steps(self, name: str, value: float, plan: Plan) -> float:
        steps = float(value) * self._unit_steps(plan)
        if math.isinf(steps):
            raise ParameterValueError(self, name, "be a finite number of training batches", value)
        if round(steps) == 0:
            requirement = (
                f"be at least one training batch: unit {self.unit!r} has "
                f"{self._unit_steps(plan)} of them"
            )
            raise ParameterValueError(self, name, requirement, value)
        return whole(steps)
