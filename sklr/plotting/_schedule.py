"""Draw the rate of a schedule over a training."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sklr._validation import ParameterTypeError, check_integer
from sklr.plotting._axes import drawing_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FROM_SCHEDULE = "ScheduleDisplay.from_schedule"
TITLE_WIDTH = 72
"""Most characters of a line of the title."""


class ScheduleDisplay:
    """The rate of a schedule over a training.

    Parameters
    ----------
    steps : array-like of shape (n_steps,)
        Steps (training batches).
    rates : array-like of shape (n_steps,)
        Learning rate of each step.
    snapshot_steps : array-like of int, default=()
        Numbers of completed steps after which snapshots are due, marked in the plot.
    steps_per_epoch : int, default=None
        Training batches of an epoch, to draw epochs instead of steps.
    name : str, default=None
        Title of the plot.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where `plot` drew.
    figure_ : matplotlib Figure
        The figure of these axes.

    Examples
    --------
    >>> from sklr import schedules
    >>> from sklr.plotting import ScheduleDisplay
    >>> display = ScheduleDisplay.from_schedule(schedules.Constant(lr=0.1), n_steps=3)
    >>> display.rates
    array([0.1, 0.1, 0.1])
    """

    def __init__(
        self,
        *,
        steps: npt.ArrayLike,
        rates: npt.ArrayLike,
        snapshot_steps: npt.ArrayLike = (),
        steps_per_epoch: int | None = None,
        name: str | None = None,
    ) -> None:
        self.steps = np.asarray(steps)
        self.rates = np.asarray(rates)
        self.snapshot_steps = np.asarray(snapshot_steps, dtype=int)
        self.steps_per_epoch = steps_per_epoch
        self.name = name

    @classmethod
    def from_schedule(
        cls,
        schedule: Callable[[Any], Any],
        n_steps: int,
        *,
        steps_per_epoch: int | None = None,
        name: str | None = None,
    ) -> ScheduleDisplay:
        """Compute the rates of a schedule's first steps.

        Parameters
        ----------
        schedule : schedule or callable
            A value of `sklr.schedules`, or any function of the step that returns the rate.
        n_steps : int
            Number of steps to draw, at least 1.
        steps_per_epoch : int, default=None
            Training batches of an epoch, to draw epochs instead of steps.
        name : str, default=None
            Title of the plot; None is the schedule's repr, or the function's name.

        Returns
        -------
        ScheduleDisplay

        Raises
        ------
        TypeError, ValueError
            If `schedule` is not callable, or `n_steps` no integer above 0.

        Examples
        --------
        >>> from sklr.plotting import ScheduleDisplay
        >>> ScheduleDisplay.from_schedule(lambda step: 0.1 / (1 + step), n_steps=2).rates
        array([0.1 , 0.05])
        """
        if not callable(schedule):
            requirement = "be a schedule, or a function of the step that returns the rate"
            raise ParameterTypeError(FROM_SCHEDULE, "schedule", requirement, schedule)
        n_steps = check_integer(FROM_SCHEDULE, "n_steps", n_steps, at_least=1)
        if hasattr(schedule, "snapshot_steps"):
            rates = schedule(np.arange(n_steps))
            snapshots = tuple(schedule.snapshot_steps(n_steps))
        else:
            # Other functions may neither take arrays nor know of snapshots.
            rates = [float(schedule(step)) for step in range(n_steps)]
            snapshots = ()
        return cls(
            steps=np.arange(n_steps),
            rates=rates,
            # A training without cycles has its only snapshot at the end: nothing to mark.
            snapshot_steps=snapshots if snapshots != (n_steps,) else (),
            steps_per_epoch=steps_per_epoch,
            name=getattr(schedule, "__name__", repr(schedule)) if name is None else name,
        )

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> ScheduleDisplay:
        """Draw the rate over the training.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **kwargs
            Passed to the line.

        Returns
        -------
        self : ScheduleDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = drawing_axes(ax)
        length = self.steps_per_epoch or 1
        ax.plot(self.steps / length, self.rates, **kwargs)
        for index, step in enumerate(self.snapshot_steps):
            # One entry in the legend is enough for all of them.
            label = "snapshot due" if index == 0 else None
            ax.axvline(step / length, color="0.7", linestyle=":", zorder=0, label=label)
        if self.snapshot_steps.size:
            ax.legend(loc="best")
        ax.set(
            xlabel="step (training batch)" if self.steps_per_epoch is None else "epoch",
            ylabel="learning rate",
        )
        # The repr of a schedule may be wider than the axes.
        ax.set_title(textwrap.fill(self.name or "", TITLE_WIDTH), fontsize="medium")
        ax.set_ylim(bottom=0)
        self.ax_, self.figure_ = ax, ax.figure
        return self
