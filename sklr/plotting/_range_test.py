"""Draw what a learning-rate range test found."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from sklr.plotting._axes import add_legend, drawing_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

Array = npt.NDArray[np.float64]

MARKS: Mapping[str, dict[str, Any]] = {
    "lr": {"color": "C3", "linestyle": "-", "linewidth": 1.8},
    "base_lr": {"color": "C4", "linestyle": "--"},
    "max_lr": {"color": "C4", "linestyle": "--"},
    "steepest_lr": {"color": "0.4", "linestyle": ":", "linewidth": 1.2},
}
"""Styles of the rates of a suggestion."""
PHASE_COLORS = ("0.55", "C2", "C3")
"""Colors of the rates that are too low, of the descent and of the divergence."""

MIN_FALL = 0.02
"""A curve that falls by less than this fraction of its first value is drawn for its rise."""
MIN_HEIGHT = 0.05
"""Least height of a picture, as a fraction of the first value: noise should not look like a fall.
"""
ROOM = (0.15, 0.3)
"""Room below the fall, for the interval, and above it, for the names of the phases, as fractions of
its height."""
MARGIN = 0.02
"""Fraction of the range of rates that is left free on each side."""
PANEL = 0.32
"""Fraction of the height that the panel of trials takes."""
OUTLYING = 10.0
"""A trial is off the scale if it is this many times as far from the best as the median trial."""

Trials = tuple[Array, Array, Array]


class Search(Protocol):
    """A range search that knows what to draw."""

    def _plot_data(self) -> dict[str, Any]: ...


class LRRangeDisplay:
    """Display of a learning-rate range test: the loss against the rate, and the suggested rates.

    Parameters
    ----------
    lrs : array-like of shape (n,)
        Learning rates.
    losses : array-like of shape (n,)
        Averaged loss at each rate.
    band : pair of array-like of shape (n,), default=None
        Averaged loss one standard deviation below and above.
    repeats : sequence of (array-like, array-like), default=()
        Rates and losses of the single ramps.
    marks : dict of str to float, default=None
        Rates to mark, by their names. Those named as in `LRSuggestion` ('lr', 'base_lr',
        'max_lr', 'steepest_lr') have their own look.
    scale : {'log', 'linear'}, default='log'
        Scale of the rate's axis.
    title : str, default=None
        Title of the plot.
    phases : pair of float, default=None
        The rates at which the descent and the divergence begin, NaN if unknown. The phases are
        shaded.
    trials : triple of array-like of shape (n_trials,), default=None
        Rates of the trials (short trainings from fresh weights), their validation losses (NaN or
        infinite if they diverged), and their numbers of steps. They have a panel of their own,
        unless they are empty.
    best_trial : int, default=None
        Index of the best trial, which is ringed.
    interval : pair of float, default=None
        Lowest and highest rate that may be as good as the suggestion, NaN for none.
    message : str, default=None
        Text to write across the picture, such as the reason why no rate is marked.
    ylabel : str, default='training loss'
        Label of the axis of losses.
    trials_ylabel : str, default='validation loss'
        Label of the axis of the trials' losses.
    higher_is_better : bool, default=False
        Whether all losses are scores, of which higher ones are better.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where `plot` drew.
    ax_trials_ : matplotlib Axes or None
        The panel of the trials below it; None without trials.
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
        phases: tuple[float, float] | None = None,
        trials: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike] | None = None,
        best_trial: int | None = None,
        interval: tuple[float, float] | None = None,
        message: str | None = None,
        ylabel: str = "training loss",
        trials_ylabel: str = "validation loss",
        higher_is_better: bool = False,
    ) -> None:
        self.lrs = np.asarray(lrs)
        self.losses = np.asarray(losses)
        self.band = band
        self.repeats = repeats
        self.marks = dict(marks or {})
        self.scale = scale
        self.title = title
        self.phases = phases
        self.trials: Trials | None = None
        if trials is not None and np.size(trials[0]):
            trial_lrs, trial_losses, steps = (np.asarray(part, dtype=float) for part in trials)
            self.trials = trial_lrs, trial_losses, steps
        self.best_trial = best_trial
        self.interval = interval
        self.message = message
        self.ylabel = ylabel
        self.trials_ylabel = trials_ylabel
        self.higher_is_better = higher_is_better

    @classmethod
    def from_search(cls, search: Search) -> LRRangeDisplay:
        """Make the display of a fitted LRRangeSearch.

        Parameters
        ----------
        search : LRRangeSearch
            A fitted search.

        Returns
        -------
        LRRangeDisplay
        """
        return cls(**search._plot_data())

    def plot(self, ax: Axes | None = None) -> LRRangeDisplay:
        """Draw the averaged curve, the single ramps, the phases, the marked rates and the trials.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure. The panel of trials, if there are any, takes the
            lower part of these axes.

        Returns
        -------
        self : LRRangeDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = drawing_axes(ax)
        self.ax_, self.figure_ = ax, ax.figure
        ax.set(xscale=self.scale, ylabel=self.ylabel)
        ax.set_title(self.title or "", fontsize="medium")
        self.ax_trials_ = None if self.trials is None else _panel_below(ax)
        self._set_limits(ax)
        self._draw_phases(ax)
        self._draw_curves(ax)
        self._draw_marks(ax)
        self._draw_interval(ax)
        if self.ax_trials_ is not None and self.trials is not None:
            self._draw_trials(self.ax_trials_, self.trials)
        (self.ax_trials_ or ax).set_xlabel("learning rate")
        sides = ("left", "right") if self.higher_is_better else ("right", "left")
        if self.message is not None:
            # A curve without a suggestion is flat, or gets worse from its first value on: one
            # corner on each side is free.
            _write_across(ax, self.message, sides[1])
            add_legend(ax, f"lower {sides[0]}")
        elif self.scale == "log":
            # The curve lies in the other half until the descent.
            add_legend(ax, "upper left" if self.higher_is_better else "lower left")
        else:
            add_legend(ax, "best")
        return self

    def _draw_phases(self, ax: Axes) -> None:
        """Shade the phases that are known, each with its name at its left end."""
        lrs = self._ramp_lrs()
        if self.phases is None or not lrs.size:
            return
        left, right = lrs.min(), lrs.max()
        descent, divergence = np.clip(np.asarray(self.phases, dtype=float), left, right)
        # If the descent is unknown, its rate is NaN, and so is the width of the spans beside it:
        # they are not drawn.
        spans = [
            (left, descent),
            (descent, right if np.isnan(divergence) else divergence),
            (divergence, right),
        ]
        names = ("too low", "ascent" if self.higher_is_better else "descent", "divergence")
        written: list[Text] = []
        for name, color, (low, high) in zip(names, PHASE_COLORS, spans, strict=True):
            if _fraction(ax, high) - _fraction(ax, low) > 0.01:
                ax.axvspan(low, high, color=color, alpha=0.1, linewidth=0, zorder=0)
                written.append(_write_at_top(ax, name, _fraction(ax, low), written))

    def _draw_curves(self, ax: Axes) -> None:
        for index, (lrs, losses) in enumerate(self.repeats):
            label = "single ramps"[: -1 if len(self.repeats) == 1 else None]
            ax.plot(
                lrs,
                losses,
                color="0.7",
                linewidth=0.7,
                zorder=1,
                label=label if index == 0 else None,
            )
        if self.band is not None:
            label = "± 1 standard deviation"
            ax.fill_between(self.lrs, *self.band, color="C0", alpha=0.2, linewidth=0, label=label)
        label = "smoothed" if len(self.repeats) == 1 else "mean, smoothed"
        ax.plot(self.lrs, self.losses, color="C0", linewidth=2, zorder=3, label=label)

    def _draw_marks(self, ax: Axes) -> None:
        """Draw the rates in both panels; their numbers are in the legend."""
        others = (f"C{index}" for index in count(5))
        for name, lr in self.marks.items():
            style = MARKS.get(name) or {"color": next(others), "linestyle": "--"}
            ax.axvline(lr, label=self._label(name), zorder=2, **style)
            if self.ax_trials_ is not None:
                self.ax_trials_.axvline(lr, zorder=2, alpha=0.6, **style)

    def _label(self, name: str) -> str | None:
        """Return a mark's entry in the legend; both bounds of a cycle share one."""
        number = f"{self.marks[name]:.2g}"
        if name == "steepest_lr":
            return f"steepest {'ascent' if self.higher_is_better else 'descent'} = {number}"
        if {"base_lr", "max_lr"} <= self.marks.keys():
            if name == "base_lr":
                return f"cycle: base_lr = {number}, max_lr = {self.marks['max_lr']:.2g}"
            if name == "max_lr":
                return None
        return f"{name} = {number}"

    def _draw_interval(self, ax: Axes) -> None:
        low, high = self.interval or (np.nan, np.nan)
        # False for NaN, and for an interval of no width.
        if not low < high:
            return
        ax.plot(
            [low, high],
            [0.03, 0.03],
            "|-",
            transform=ax.get_xaxis_transform(),
            color="C3",
            linewidth=3,
            markersize=8,
            label=f"interval of lr: {low:.2g} to {high:.2g}",
        )

    def _draw_trials(self, ax: Axes, trials: Trials) -> None:
        """Draw the loss of each trial as a dot, whose size grows with the number of steps."""
        lrs, losses, steps = trials
        worse = self._worse
        low, high = _trial_limits(worse * losses)
        diverged = ~np.isfinite(losses)
        off = ~diverged & (worse * losses > high)
        sizes = 15 + 45 * steps / steps.max(initial=1)
        for n_steps in np.unique(steps[~diverged & ~off]):
            rung = ~diverged & ~off & (steps == n_steps)
            label = f"{n_steps:.0f} steps"
            ax.scatter(lrs[rung], losses[rung], sizes[rung], "C0", label=label, zorder=3)
        # Losses that cannot be shown are marked near the worse end, in fractions of the height.
        beyond = 0.1 if self.higher_is_better else 0.9
        style: dict[str, Any] = {"color": "C1", "transform": ax.get_xaxis_transform(), "zorder": 3}
        if diverged.any():
            ends = [beyond] * diverged.sum()
            ax.scatter(lrs[diverged], ends, marker="x", label="diverged", **style)
        if off.any():
            marker, ends = "v" if self.higher_is_better else "^", [beyond] * off.sum()
            ax.scatter(lrs[off], ends, marker=marker, label="off the scale", **style)
        best = self.best_trial
        if best is not None:
            ring: dict[str, Any] = {"facecolors": "none", "edgecolors": "C3", "linewidths": 1.5}
            ax.scatter(lrs[best], losses[best], 160, label="best", zorder=4, **ring)
        ax.set_ylim(*sorted((worse * low, worse * high)))
        ax.set_ylabel(self.trials_ylabel)
        add_legend(ax, "center left", ncols=2, title="trial trainings from fresh weights")

    def _set_limits(self, ax: Axes) -> None:
        """Show all rates, and of the losses the fall: a diverging end would flatten it."""
        tried = () if self.trials is None else self.trials[0]
        lrs = np.concatenate([self._ramp_lrs(), list(self.marks.values()), tried])
        if lrs.size and lrs.min() < lrs.max():
            to_axis = ax.xaxis.get_transform()
            ends = to_axis.transform([lrs.min(), lrs.max()])
            margin = MARGIN * (ends[1] - ends[0])
            left, right = to_axis.inverted().transform([ends[0] - margin, ends[1] + margin])
            ax.set_xlim(left, right)
        if np.isfinite(self.losses).any():
            ax.set_ylim(self._fall_limits())

    def _ramp_lrs(self) -> Array:
        """Return all rates of the averaged curve and the single ramps."""
        return np.concatenate([self.lrs, *(lrs for lrs, _ in self.repeats)]).astype(float)

    def _fall_limits(self) -> tuple[float, float]:
        """Return limits of the axis of losses that show the curve from its first to its best."""
        finite = np.isfinite(self.losses)
        lrs, losses = self.lrs[finite], self._worse * self.losses[finite]
        best, first = int(np.argmin(losses)), float(losses[0])
        band = [self._worse * np.asarray(edge)[finite][: best + 1] for edge in self.band or ()]
        fall = np.concatenate([losses[: best + 1], *band, *self._noise(float(lrs[best]))])
        low, top = float(fall.min()), float(fall.max())
        if first - losses[best] < MIN_FALL * abs(first):
            # There is no fall to show: show the rise, as far as twice the first value.
            top = max(top, min(float(losses.max()), first + abs(first)))
        low, top = sorted((self._worse * low, self._worse * top))
        missing = max(0.0, max(MIN_HEIGHT * abs(first), 1e-12) - (top - low))
        height = top - low + missing
        return low - missing / 2 - ROOM[0] * height, top + missing / 2 + ROOM[1] * height

    def _noise(self, last_lr: float) -> Iterator[Array]:
        """Yield the bounds of each single ramp up to a rate, without its spikes."""
        for lrs, losses in self.repeats:
            noise = self._worse * np.asarray(losses, dtype=float)
            noise = noise[(np.asarray(lrs) <= last_lr) & np.isfinite(noise)]
            if noise.size:
                yield np.quantile(noise, [0.05, 0.95])

    @property
    def _worse(self) -> float:
        """The sign of the direction in which losses get worse."""
        return -1.0 if self.higher_is_better else 1.0


def _panel_below(ax: Axes) -> Axes:
    """Divide the area of axes: they keep the upper part, and new axes get the lower."""
    heights = [1 - PANEL, PANEL]
    place = ax.get_subplotspec()
    if place is None:
        # Axes outside of any grid.
        left, bottom, width, height = ax.get_position().bounds
        ax.set_position((left, bottom + height * (PANEL + 0.04), width, height * (0.96 - PANEL)))
        below = ax.figure.add_axes((left, bottom, width, height * PANEL))
        below.sharex(ax)
    else:
        grid = place.subgridspec(2, 1, height_ratios=heights, hspace=0.08)
        ax.set_subplotspec(grid[0])
        below = ax.figure.add_subplot(grid[1], sharex=ax)
    ax.tick_params(labelbottom=False)
    # pyplot draws into the current axes, which should be the user's own.
    ax.figure.sca(ax)
    return below


def _fraction(ax: Axes, lr: float) -> float:
    """Return the position of a rate as a fraction of the width of axes."""
    left, right, place = ax.xaxis.get_transform().transform([*ax.get_xlim(), lr])
    return float((place - left) / (right - left))


def _trial_limits(losses: Array) -> tuple[float, float]:
    """Return the least and the highest loss to show, without trials that are far off."""
    finite = losses[np.isfinite(losses)]
    if not finite.size:
        return 0.0, 1.0
    low, middle = float(finite.min()), float(np.median(finite))
    far = low + OUTLYING * max(middle - low, MIN_HEIGHT * abs(low), 1e-12)
    high = float(finite[finite <= far].max())
    height = max(high - low, MIN_HEIGHT * abs(low), 1e-12)
    return low - 0.25 * height, high + 0.45 * height


def _write_at_top(ax: Axes, name: str, start: float, others: Sequence[Text]) -> Text:
    """Write a name at the top of axes, on the first of three lines where it overlaps no other.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to write.
    name : str
        The text.
    start : float
        Its left end, as a fraction of the width of the axes.
    others : sequence of matplotlib Text
        The names written so far.
    """
    box: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.6, "pad": 1}
    style: dict[str, Any] = {"fontsize": "x-small", "color": "0.3", "bbox": box, "zorder": 4}
    text = ax.text(start + 0.01, 0.975, name, transform=ax.transAxes, va="top", **style)
    if text.get_window_extent().x1 > ax.get_window_extent().x1:
        text.set(x=0.99, horizontalalignment="right")
    for line in range(3):
        text.set(y=0.975 - 0.07 * line)
        extent = text.get_window_extent()
        if not any(extent.overlaps(other.get_window_extent()) for other in others):
            break
    return text


def _write_across(ax: Axes, message: str, side: str) -> None:
    """Write a message into the upper half of axes, at one side."""
    box: dict[str, Any] = {
        "boxstyle": "round",
        "facecolor": "white",
        "edgecolor": "0.7",
        "alpha": 0.9,
    }
    place: dict[str, Any] = {"transform": ax.transAxes, "ha": side, "va": "top", "zorder": 5}
    x = 0.03 if side == "left" else 0.97
    ax.text(x, 0.9, textwrap.fill(message, 36), fontsize="small", bbox=box, **place)
