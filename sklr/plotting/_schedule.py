"""The picture of a schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from sklr.plotting._axes import drawing_axes


class ScheduleDisplay:
    """The rate of a schedule over a training.

    Parameters
    ----------
    steps : array-like of shape (n_steps,)
        Steps (training batches).
    rates : array-like of shape (n_steps,)
        The rate of each.
    snapshot_steps : array-like of int, default=()
        Steps at which snapshots are due, marked in the plot.
    steps_per_epoch : int, default=None
        Draws epochs instead of steps where it is given.
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
        schedule : schedule
            A value of `sklr.schedules`.
        n_steps : int
            Steps to draw.
        steps_per_epoch : int, default=None
            Draws epochs instead of steps where it is given.
        name : str, default=None
            Title of the plot; None is the schedule's repr.

        Returns
        -------
        ScheduleDisplay
        """
        steps = np.arange(n_steps)
        snapshots = schedule.snapshot_steps(n_steps)  # type: ignore[attr-defined]
        return cls(
            steps=steps,
            rates=schedule(steps),
            # A training without cycles has its only snapshot at the end: nothing to mark.
            snapshot_steps=snapshots if snapshots != (n_steps,) else (),
            steps_per_epoch=steps_per_epoch,
            name=repr(schedule) if name is None else name,
        )

    def plot(self, ax: Any = None, **kwargs: Any) -> ScheduleDisplay:
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
            label = "snapshot due" if index == 0 else None
            ax.axvline(step / length, color="0.7", linestyle=":", zorder=0, label=label)
        if self.snapshot_steps.size:
            ax.legend(loc="best")
        ax.set(
            xlabel="step (training batch)" if self.steps_per_epoch is None else "epoch",
            ylabel="learning rate",
            title=self.name,
        )
        ax.set_ylim(bottom=0)
        self.ax_, self.figure_ = ax, ax.figure
        return self
