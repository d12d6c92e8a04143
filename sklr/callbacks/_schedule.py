"""The callback for any schedule value or function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sklr._validation import ParameterTypeError, ParameterValueError
from sklr.callbacks._base import ScheduleCallback
from sklr.callbacks._run import Plan, Rate
from sklr.schedules import BaseSchedule


class Schedule(ScheduleCallback):
    """Any schedule of `sklr.schedules`, or any function of the step, as a callback.

    Parameters
    ----------
    schedule : callable
        A value of `sklr.schedules`, whose steps are each one `unit` long, or a function that takes
        the position of a training batch in `unit` and returns its rate, a finite number at least 0.
        A value pickles, a lambda does not.
    unit : {'epoch', 'batch', 'fraction'}, default='batch'
        What the position counts: training batches done, epochs done (with the fraction of the
        present one), or the fraction done of the first fit's `max_epochs`. A value is rescaled, so
        that it moves with each batch.

    Raises
    ------
    TypeError, ValueError
        At the start of fit, if a parameter is out of range; in training, if what the function
        returns is no rate.

    Examples
    --------
    >>> from sklr import schedules
    >>> from sklr.callbacks import Schedule
    >>> Schedule(schedules.Constant(lr=0.1))
    Schedule(schedule=Constant(lr=0.1))
    """

    def __init__(self, schedule: Callable[[float], float], unit: str = "batch") -> None:
        self.schedule = schedule
        self.unit = unit

    def _value(self, plan: Plan) -> BaseSchedule:
        if not isinstance(self.schedule, BaseSchedule):
            requirement = "be a schedule of sklr.schedules, which a function of the step is not"
            raise ParameterTypeError(self, "schedule", requirement, self.schedule)
        return self.schedule.rescale(self._unit_steps(plan))

    def _rate(self, plan: Plan) -> Rate:
        schedule = self.schedule
        if not callable(schedule) or isinstance(schedule, type):
            requirement = "be a schedule of sklr.schedules or a function of the step"
            raise ParameterTypeError(self, "schedule", requirement, schedule)
        if isinstance(schedule, BaseSchedule):
            return self._value(plan)
        length = self._unit_steps(plan)

        def rate(step: float) -> float:
            return self._checked(schedule(step if length == 1 else step / length))

        return rate

    def _checked(self, rate: Any) -> float:
        requirement = "return a finite rate at least 0"
        number = _number(rate)
        if number is None:
            raise ParameterTypeError(self, "schedule", requirement, rate)
        if not 0 <= number < math.inf:
            raise ParameterValueError(self, "schedule", requirement, rate)
        return number


def _number(value: Any) -> float | None:
    """Return a number of any numeric type as a float, None for what is no number."""
    if isinstance(value, str | bytes | bool):  # which float() would take
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
