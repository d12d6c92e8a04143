"""Displays: they hold arrays, and draw them when asked. Matplotlib is imported only then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def _axes(ax: Any) -> Any:
    """Give the axes to draw on, of a new figure where there are none."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib. Install it with: pip install 'sklr[plot]'"
        ) from error
    if ax is None:
        _, ax = plt.subplots(layout="constrained")
    return ax


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
        ax = _axes(ax)
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


class LRRangeDisplay:
    """The loss of a learning-rate range test against the rate.

    Parameters
    ----------
    lrs : array-like of shape (n,)
        Rates.
    losses : array-like of shape (n,)
        Averaged loss at each rate.
    band : pair of array-like of shape (n,), default=None
        Averaged loss one standard deviation below and above.
    repeats : sequence of (array-like, array-like), default=()
        Rates and losses of the single ramps.
    marks : dict of str to float, default=None
        Rates to mark, by what they are.
    scale : {'log', 'linear'}, default='log'
        Scale of the rate's axis.
    title : str, default=None
        Title of the plot.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where `plot` drew.
    figure_ : matplotlib Figure
        The figure of these axes.

    Examples
    --------
    >>> from sklr.plotting import LRRangeDisplay
    >>> LRRangeDisplay(lrs=[0.01, 0.1], losses=[1.0, 0.5]).losses
    array([1. , 0.5])
    """

    def __init__(
        self,
        *,
        lrs: npt.ArrayLike,
        losses: npt.ArrayLike,
        band: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        repeats: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]] = (),
        marks: Mapping[str, float] | None = None,
        scale: str = "log",
        title: str | None = None,
    ) -> None:
        self.lrs = np.asarray(lrs)
        self.losses = np.asarray(losses)
        self.band = band
        self.repeats = repeats
        self.marks = dict(marks or {})
        self.scale = scale
        self.title = title

    @classmethod
    def from_search(cls, search: Any) -> LRRangeDisplay:
        """Take the arrays of a fitted LRRangeSearch.

        Parameters
        ----------
        search : LRRangeSearch
            A fitted search.

        Returns
        -------
        LRRangeDisplay
        """
        results, suggestion = search.results_, search.suggestion_
        ramps = [results["repeat"] == repeat for repeat in np.unique(results["repeat"])]
        marks = {
            "lr (constant)": suggestion.lr,
            "base_lr": suggestion.base_lr,
            "max_lr (cycle)": suggestion.max_lr,
        }
        return cls(
            lrs=search.curve_.lrs,
            losses=search.curve_.loss,
            band=search.curve_.band,
            repeats=[(results["lr"][ramp], results["loss"][ramp]) for ramp in ramps],
            marks={name: lr for name, lr in marks.items() if np.isfinite(lr)},
            scale=search.scale,
            title=f"learning-rate range test: {suggestion.status}",
        )

    def plot(self, ax: Any = None) -> LRRangeDisplay:
        """Draw the averaged curve with its band, the single ramps and the marked rates.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : LRRangeDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = _axes(ax)
        for lrs, losses in self.repeats:
            ax.plot(lrs, losses, color="0.8", linewidth=0.8, zorder=1)
        if self.band is not None:
            ax.fill_between(self.lrs, *self.band, alpha=0.2, label="± 1 standard deviation")
        ax.plot(self.lrs, self.losses, label="mean loss", zorder=3)
        for index, (name, lr) in enumerate(self.marks.items()):
            color = f"C{index + 1}"
            ax.axvline(lr, color=color, linestyle="--", label=f"{name} = {lr:.2g}")
        ax.set(xscale=self.scale, xlabel="learning rate", ylabel="training loss", title=self.title)
        # A diverging loss would flatten everything else; the fall is what is to be seen.
        if self.losses.size:
            low, first = float(np.min(self.losses)), float(self.losses[0])
            margin = max(first - low, 1e-3 * abs(first), 1e-12)
            ax.set_ylim(low - 0.2 * margin, first + 0.8 * margin)
        ax.legend(loc="best")
        self.ax_, self.figure_ = ax, ax.figure
        return self
