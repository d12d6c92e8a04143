"""Displays: they hold arrays, and draw them when asked. Matplotlib is imported only then."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from sklr._validation import Description, ParameterTypeError, ParameterValueError


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


MARKS: Mapping[str, dict[str, Any]] = {
    "lr": {"color": "C3", "linestyle": "-", "linewidth": 1.8},
    "base_lr": {"color": "C4", "linestyle": "--"},
    "max_lr": {"color": "C4", "linestyle": "--"},
    "steepest_lr": {"color": "0.4", "linestyle": ":", "linewidth": 1.2},
}
"""How the rates of a suggestion are drawn."""

PHASE_COLORS = ("0.55", "C2", "C3")
"""Of the rates that are too low, of the descent and of the divergence."""

LEAST_FALL = 0.02
"""A curve that falls by less than this part of its first value is drawn for its rise."""
LEAST_HEIGHT = 0.05
"""Least height of a picture, as a part of the first value: noise should not look like a fall."""
ROOM = (0.15, 0.3)
"""Parts of the fall that are left free below it, where the interval is drawn, and above it, where
the phases are named."""
MARGIN = 0.02
"""Part of the range of rates that is left free on each side."""
PANEL = 0.32
"""Part of the height that the probes take."""
LEGEND = 0.75
"""Part of the height and width of axes that a legend may take."""
OUTLYING = 10.0
"""A probe this many times as far from the best as the median of all is off the scale."""

Array = npt.NDArray[np.float64]
Probes = tuple[Array, Array, Array]
"""Rates, their held-out losses, and the steps that each was trained for."""


class LRRangeDisplay:
    """What a learning-rate range test found: the loss against the rate, and the rates it suggests.

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
        Rates to mark, by what they are. Those named as in `LRSuggestion` ('lr', 'base_lr',
        'max_lr', 'steepest_lr') have their own look.
    scale : {'log', 'linear'}, default='log'
        Scale of the rate's axis.
    title : str, default=None
        Title of the plot.
    phases : pair of float, default=None
        The rates at which the descent and the divergence begin, NaN where unseen. The phases are
        shaded.
    probes : tuple of (array-like, array-like, array-like), default=None
        Rates that were trained from fresh weights, their held-out losses and the steps that each
        was trained for; empty for none. They have a panel of their own.
    interval : pair of float, default=None
        Lowest and highest rate that the single ramps suggest, NaN for none.
    message : str, default=None
        Written across the picture: why there is nothing to mark.
    ylabel : str, default='training loss'
        What `losses` are.
    probes_ylabel : str, default='held-out loss'
        What the probes' losses are.
    higher_is_better : bool, default=False
        Whether losses are scores.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where `plot` drew.
    ax_probes_ : matplotlib Axes or None
        The panel of the probes below it; None without probes.
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
        probes: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike] | None = None,
        interval: tuple[float, float] | None = None,
        message: str | None = None,
        ylabel: str = "training loss",
        probes_ylabel: str = "held-out loss",
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
        self.probes: Probes | None = None
        if probes is not None and np.size(probes[0]):
            probe_lrs, probe_losses, steps = (np.asarray(part, dtype=float) for part in probes)
            self.probes = probe_lrs, probe_losses, steps
        self.interval = interval
        self.message = message
        self.ylabel = ylabel
        self.probes_ylabel = probes_ylabel
        self.higher_is_better = higher_is_better

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
        curve, suggestion, probes = search.curve_, search.suggestion_, search.probes_
        low, high = curve.band
        scoring = getattr(search, "scoring", None)
        scored = scoring is not None
        score = f"held-out score ({_name(scoring)}),\nhigher is better"
        repeats = _repeats(search.results_, "score" if scored else "loss", curve.lrs)
        marks = {name: getattr(suggestion, name) for name in MARKS}
        answered = bool(np.isfinite(suggestion.lr))
        answer = f", lr = {suggestion.lr:.2g}" if answered else ""
        return cls(
            lrs=curve.lrs,
            losses=-curve.loss if scored else curve.loss,
            band=None if len(repeats) == 1 else (-high, -low) if scored else (low, high),
            repeats=repeats,
            marks={name: lr for name, lr in marks.items() if answered and np.isfinite(lr)},
            scale=search.scale,
            title=f"learning-rate range test: {suggestion.status.replace('_', ' ')}{answer}",
            phases=getattr(search, "phases_", None),
            probes=(probes["lr"], probes.get("score", probes.get("loss")), probes["steps"]),
            interval=suggestion.interval if answered else None,
            message=None if answered else suggestion.message,
            ylabel=score if scored else "training loss",
            probes_ylabel="held-out score" if scored else "held-out loss",
            higher_is_better=scored,
        )

    def plot(self, ax: Any = None) -> LRRangeDisplay:
        """Draw the averaged curve, the single ramps, the phases, the marked rates and the probes.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure. Where there are probes, their panel takes the
            lower part of its place.

        Returns
        -------
        self : LRRangeDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = _axes(ax)
        self.ax_, self.figure_ = ax, ax.figure
        ax.set(xscale=self.scale, ylabel=self.ylabel)
        ax.set_title(self.title, fontsize="medium")
        self.ax_probes_ = None if self.probes is None else _panel_below(ax)
        self._set_limits(ax)
        self._draw_phases(ax)
        self._draw_curves(ax)
        self._draw_marks(ax)
        self._draw_interval(ax)
        if self.probes is not None:
            self._draw_probes(self.ax_probes_, self.probes)
        (self.ax_probes_ or ax).set_xlabel("learning rate")
        sides = ("left", "right") if self.higher_is_better else ("right", "left")
        if self.message is not None:
            # A curve without an answer gets worse from its first value on, or is flat.
            _write_across(ax, self.message, sides[1])
            _add_legend(ax, f"lower {sides[0]}")
        elif self.scale == "log":
            # The curve lies in the other half until the descent.
            _add_legend(ax, "upper left" if self.higher_is_better else "lower left")
        else:
            _add_legend(ax, "best")
        return self

    def _draw_phases(self, ax: Any) -> None:
        """Shade the phases that were seen, each with its name at its left end."""
        lrs = self._ramp_lrs()
        if self.phases is None or not lrs.size:
            return
        left, right = lrs.min(), lrs.max()
        descent, divergence = np.clip(np.asarray(self.phases, dtype=float), left, right)
        # What lies below an unseen descent has no name.
        spans = [
            (left, descent),
            (descent, right if np.isnan(divergence) else divergence),
            (divergence, right),
        ]
        names = ("too low", "ascent" if self.higher_is_better else "descent", "divergence")
        written: list[Any] = []
        for name, color, (low, high) in zip(names, PHASE_COLORS, spans, strict=True):
            if _fraction(ax, high) - _fraction(ax, low) > 0.01:
                ax.axvspan(low, high, color=color, alpha=0.1, linewidth=0, zorder=0)
                written.append(_write_at_top(ax, name, _fraction(ax, low), written))

    def _draw_curves(self, ax: Any) -> None:
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

    def _draw_marks(self, ax: Any) -> None:
        """Draw the rates in both panels; their numbers are in the legend."""
        others = (f"C{index}" for index in count(5))
        for name, lr in self.marks.items():
            style = MARKS.get(name) or {"color": next(others), "linestyle": "--"}
            ax.axvline(lr, label=self._label(name), zorder=2, **style)
            if self.ax_probes_ is not None:
                self.ax_probes_.axvline(lr, zorder=2, alpha=0.6, **style)

    def _label(self, name: str) -> str | None:
        """Give the words for a mark in the legend: one entry for both bounds of a cycle."""
        number = f"{self.marks[name]:.2g}"
        if name == "steepest_lr":
            return f"steepest {'ascent' if self.higher_is_better else 'descent'} = {number}"
        if {"base_lr", "max_lr"} <= self.marks.keys():
            if name == "base_lr":
                return f"cycle: base_lr = {number}, max_lr = {self.marks['max_lr']:.2g}"
            if name == "max_lr":
                return None
        return f"{name} = {number}"

    def _draw_interval(self, ax: Any) -> None:
        low, high = self.interval or (np.nan, np.nan)
        # One ramp alone has no interval.
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

    def _draw_probes(self, ax: Any, probes: Probes) -> None:
        """Draw what each probe came to, larger the longer it was trained."""
        lrs, losses, steps = probes
        worse = self._worse
        low, high = _limits_of_probes(worse * losses)
        ended = ~np.isfinite(losses)
        off = ~ended & (worse * losses > high)
        sizes = 15 + 45 * steps / steps.max(initial=1)
        for n_steps in np.unique(steps[~ended & ~off]):
            those = ~ended & ~off & (steps == n_steps)
            label = f"{n_steps:.0f} steps"
            ax.scatter(lrs[those], losses[those], sizes[those], "C0", label=label, zorder=3)
        beyond = 0.1 if self.higher_is_better else 0.9
        style = {"color": "C1", "transform": ax.get_xaxis_transform(), "zorder": 3}
        if ended.any():
            ax.scatter(lrs[ended], [beyond] * ended.sum(), marker="x", label="diverged", **style)
        if off.any():
            marker = "v" if self.higher_is_better else "^"
            ax.scatter(
                lrs[off], [beyond] * off.sum(), marker=marker, label="off the scale", **style
            )
        best = _best_probe(worse * losses, steps)
        if best is not None:
            ring = {"facecolors": "none", "edgecolors": "C3", "linewidths": 1.5}
            ax.scatter(lrs[best], losses[best], 160, label="best", zorder=4, **ring)
        ax.set_ylim(sorted((worse * low, worse * high)))
        ax.set_ylabel(self.probes_ylabel)
        _add_legend(ax, "center left", ncols=2, title="trial trainings from fresh weights")

    def _set_limits(self, ax: Any) -> None:
        """Show all rates, and of the losses the fall: a diverging end would flatten it."""
        probed = () if self.probes is None else self.probes[0]
        lrs = np.concatenate([self._ramp_lrs(), list(self.marks.values()), probed])
        if lrs.size and lrs.min() < lrs.max():
            to_axis = ax.xaxis.get_transform()
            ends = to_axis.transform([lrs.min(), lrs.max()])
            margin = MARGIN * (ends[1] - ends[0])
            ax.set_xlim(to_axis.inverted().transform([ends[0] - margin, ends[1] + margin]))
        if np.isfinite(self.losses).any():
            ax.set_ylim(self._fall_limits())

    def _ramp_lrs(self) -> Array:
        """Give all rates that the ramps came to."""
        return np.concatenate([self.lrs, *(lrs for lrs, _ in self.repeats)]).astype(float)

    def _fall_limits(self) -> tuple[float, float]:
        """Give the ends of the axis of losses that show the curve from its first to its best."""
        finite = np.isfinite(self.losses)
        lrs, losses = self.lrs[finite], self._worse * self.losses[finite]
        best, first = int(np.argmin(losses)), float(losses[0])
        band = [self._worse * np.asarray(edge)[finite][: best + 1] for edge in self.band or ()]
        fall = np.concatenate([losses[: best + 1], *band, *self._noise(float(lrs[best]))])
        low, top = float(fall.min()), float(fall.max())
        if first - losses[best] < LEAST_FALL * abs(first):
            # Without a fall the rise is all there is to see, as far as it has a scale.
            top = max(top, min(float(losses.max()), first + abs(first)))
        low, top = sorted((self._worse * low, self._worse * top))
        missing = max(0.0, max(LEAST_HEIGHT * abs(first), 1e-12) - (top - low))
        height = top - low + missing
        return low - missing / 2 - ROOM[0] * height, top + missing / 2 + ROOM[1] * height

    def _noise(self, last_lr: float) -> Iterator[Array]:
        """Give what the single ramps reach up to a rate, but for their spikes."""
        for lrs, losses in self.repeats:
            noise = self._worse * np.asarray(losses, dtype=float)
            noise = noise[(np.asarray(lrs) <= last_lr) & np.isfinite(noise)]
            if noise.size:
                yield np.quantile(noise, [0.05, 0.95])

    @property
    def _worse(self) -> float:
        """The direction on the axis of losses in which they are worse."""
        return -1.0 if self.higher_is_better else 1.0


def _panel_below(ax: Any) -> Any:
    """Divide the place of axes: they keep the upper part, and new ones get the lower."""
    heights = [1 - PANEL, PANEL]
    place = ax.get_subplotspec()
    if place is None:
        left, bottom, width, height = ax.get_position().bounds
        ax.set_position([left, bottom + height * (PANEL + 0.04), width, height * (0.96 - PANEL)])
        below = ax.figure.add_axes([left, bottom, width, height * PANEL], sharex=ax)
    else:
        upper, lower = place.subgridspec(2, 1, height_ratios=heights, hspace=0.08)
        ax.set_subplotspec(upper)
        below = ax.figure.add_subplot(lower, sharex=ax)
    ax.tick_params(labelbottom=False)
    # What the user draws next belongs to the upper part.
    ax.figure.sca(ax)
    return below


def _add_legend(ax: Any, loc: str, ncols: int = 1, title: str | None = None) -> None:
    """Add the legend, in small axes that of the marked rates only, in yet smaller ones none."""
    handles, labels = ax.get_legend_handles_labels()
    entries = list(zip(handles, labels, strict=True))
    for kept in (entries, [entry for entry in entries if " = " in entry[1]]):
        if not kept:
            return
        legend = ax.legend(
            *zip(*kept, strict=True),
            loc=loc,
            ncols=ncols,
            title=title,
            fontsize="x-small",
            title_fontsize="x-small",
            labelspacing=0.3,
            # Below the names of the phases.
            bbox_to_anchor=(0, 0, 1, 0.94),
        )
        legend.set_in_layout(False)
        box, place = legend.get_window_extent(), ax.get_window_extent()
        if box.height < LEGEND * place.height and box.width < LEGEND * place.width:
            return
        legend.remove()


def _fraction(ax: Any, lr: float) -> float:
    """Give the place of a rate between the left end of axes, 0, and the right one, 1."""
    left, right, place = ax.xaxis.get_transform().transform([*ax.get_xlim(), lr])
    return float((place - left) / (right - left))


def _limits_of_probes(losses: Array) -> tuple[float, float]:
    """Give the least and the highest loss to show, without probes that are far off."""
    finite = losses[np.isfinite(losses)]
    if not finite.size:
        return 0.0, 1.0
    low, middle = float(finite.min()), float(np.median(finite))
    far = low + OUTLYING * max(middle - low, LEAST_HEIGHT * abs(low), 1e-12)
    high = float(finite[finite <= far].max())
    height = max(high - low, LEAST_HEIGHT * abs(low), 1e-12)
    return low - 0.25 * height, high + 0.45 * height


def _best_probe(losses: Array, steps: Array) -> int | None:
    """Give the index of the best of those that were trained longest; None where none is finite."""
    longest = np.where(steps == steps.max(initial=0), losses, np.inf)
    best = int(np.argmin(longest)) if longest.size else 0
    return best if longest.size and np.isfinite(longest[best]) else None


def _write_at_top(ax: Any, name: str, start: float, others: Sequence[Any]) -> Any:
    """Write a name from a place between the left end of axes, 0, and the right one, 1.

    It goes on the first of three lines where it does not run into others. Gives the text.
    """
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.6, "pad": 1}
    style = {"fontsize": "x-small", "color": "0.3", "bbox": box, "zorder": 4}
    text = ax.text(start + 0.01, 0.975, name, transform=ax.transAxes, va="top", **style)
    if text.get_window_extent().x1 > ax.get_window_extent().x1:
        text.set(x=0.99, horizontalalignment="right")
    for line in range(3):
        text.set(y=0.975 - 0.07 * line)
        extent = text.get_window_extent()
        if not any(extent.overlaps(other.get_window_extent()) for other in others):
            break
    return text


def _write_across(ax: Any, message: str, side: str) -> None:
    """Write a message into the upper half of axes, at one side."""
    box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "0.7", "alpha": 0.9}
    place = {"transform": ax.transAxes, "ha": side, "va": "top", "zorder": 5}
    x = 0.03 if side == "left" else 0.97
    ax.text(x, 0.9, textwrap.fill(message, 36), fontsize="small", bbox=box, **place)


def _repeats(results: Mapping[str, Any], column: str, lrs: Array) -> list[tuple[Array, Array]]:
    """Give the rates and losses, or scores, of each ramp of the round that a curve averages.

    Rounds differ by the range of their rates. Of several over the curve's range the last counts.
    """
    if column not in results:
        return []
    repeat = results["repeat"]
    rounds = results.get("round", np.zeros(len(repeat)))
    for number in np.unique(rounds)[::-1]:
        ramps = [(rounds == number) & (repeat == index) for index in np.unique(repeat)]
        drawn = [(results["lr"][ramp], results[column][ramp]) for ramp in ramps if ramp.any()]
        n = min(2, len(lrs), len(drawn[0][0]))
        if np.allclose(drawn[0][0][:n], lrs[:n]):
            return drawn
    return []


def _name(scoring: Any) -> str:
    """Give a scorer's name as it is to be read."""
    # What make_scorer makes holds the function.
    function = getattr(scoring, "_score_func", scoring)
    name = function if isinstance(function, str) else getattr(function, "__name__", repr(function))
    return textwrap.shorten(name.replace("_", " "), 24, placeholder="...")


ANNOTATED = 10
"""Most members whose correlations are written as numbers."""
HEADROOM = 0.25
"""Part of the height of a training's curves that is left free above them, for the legend."""


class SnapshotDisplay:
    """What a snapshot ensemble came from: its training, its errors, how alike its members are.

    Parameters
    ----------
    epochs : array-like of shape (n_epochs,)
        Numbers of the epochs, the first of which is usually 1. Losses are drawn at their ends.
    rates : array-like of shape (n_rates,)
        Learning rate of each epoch or of each training batch: equal parts of the training, over
        each of which the rate holds. Empty for none.
    losses : array-like of shape (n_epochs,)
        Training loss of each epoch.
    valid_losses : array-like of shape (n_epochs,), default=None
        Held-out loss of each epoch.
    snapshot_epochs : array-like of float, default=()
        When the snapshots were taken, in epochs and fractions of them.
    member_scores : array-like of shape (n_members,), default=None
        Held-out error of each single member, oldest first.
    staged_scores : array-like of shape (n_stages,), default=None
        Held-out error of the last 1, 2, ... members together.
    correlation : array-like of shape (n_members, n_members), default=None
        Correlation of pairs of members, oldest first.
    member_places : array-like of int of shape (n_members,), default=None
        Of how many last members each is the first, which is where its own error is drawn. None
        counts from the last; several runs each have a member at every place.
    error_name : str, default='held-out error'
        What the errors are.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        The panels that `plot` drew: the training, then, where they are known, errors and
        correlations.
    ax_ : matplotlib Axes
        The first of them.
    ax_rate_ : matplotlib Axes or None
        The axis of rates at the right of the first; None without rates.
    figure_ : matplotlib Figure
        The figure of these axes.

    Raises
    ------
    ValueError
        If there is no epoch, arrays that belong together differ in length, or the correlations
        are not square.

    References
    ----------
    Huang, Li, Pleiss, Liu, Hopcroft, Weinberger: Snapshot ensembles: train 1, get M for free.
    ICLR 2017: figure 2 (the training), figure 4 (members), section 4.4 (correlation).

    Examples
    --------
    >>> from sklr.plotting import SnapshotDisplay
    >>> display = SnapshotDisplay(
    ...     epochs=[1, 2], rates=[0.1, 0.0], losses=[1.0, 0.5], snapshot_epochs=[2.0]
    ... )
    >>> display.losses
    array([1. , 0.5])
    """

    def __init__(
        self,
        *,
        epochs: npt.ArrayLike,
        rates: npt.ArrayLike,
        losses: npt.ArrayLike,
        valid_losses: npt.ArrayLike | None = None,
        snapshot_epochs: npt.ArrayLike = (),
        member_scores: npt.ArrayLike | None = None,
        staged_scores: npt.ArrayLike | None = None,
        correlation: npt.ArrayLike | None = None,
        member_places: npt.ArrayLike | None = None,
        error_name: str = "held-out error",
    ) -> None:
        self.epochs = np.asarray(epochs)
        self.rates = np.asarray(rates, dtype=float)
        self.losses = np.asarray(losses, dtype=float)
        self.valid_losses = _floats(valid_losses)
        self.snapshot_epochs = np.asarray(snapshot_epochs, dtype=float)
        self.member_scores = _floats(member_scores)
        self.staged_scores = _floats(staged_scores)
        self.correlation = _floats(correlation)
        self.member_places = None if member_places is None else np.asarray(member_places)
        self.error_name = error_name
        self._check_shapes()

    @classmethod
    def from_ensemble(cls, ensemble: Any, X: Any = None, y: Any = None) -> SnapshotDisplay:
        """Take what a fitted ensemble knows of its training and its members.

        Parameters
        ----------
        ensemble : SnapshotEnsemble or SnapshotEnsembleRegressor
            A fitted ensemble. Of several runs the first one's training is drawn.
        X : array-like of shape (n_samples, ...), default=None
            Held-out samples, of which correlations and errors are computed. Without them they are
            those that the ensemble found in fit on what its net holds out, if it does; the error
            of several members together is then not known.
        y : array-like of shape (n_samples,), default=None
            Their labels or targets; without them no errors are computed.

        Returns
        -------
        SnapshotDisplay
            Errors are the part of wrong labels, of regressors 1 - R^2.

        Raises
        ------
        TypeError
            If y is given without X.
        """
        if X is None and y is not None:
            requirement = "be given where y is: errors are those of predictions for X"
            raise ParameterTypeError("SnapshotDisplay.from_ensemble", "X", requirement, X)
        history = ensemble.history_
        rates, counts = _rates_of_batches(history)
        known = _known_of_members(ensemble) if X is None else _found_of_members(ensemble, X, y)
        is_classifier = hasattr(ensemble, "classes_")
        validated = any("valid_loss" in epoch for epoch in history)
        ends = np.arange(len(history) + 1)
        done = np.concatenate([[0], np.cumsum(counts)])
        return cls(
            epochs=ends[1:],
            rates=rates,
            losses=_column(history, "train_loss"),
            valid_losses=_column(history, "valid_loss") if validated else None,
            snapshot_epochs=np.interp(getattr(ensemble, "snapshot_steps_", ()), done, ends),
            error_name="held-out error" if is_classifier else "held-out error (1 - R²)",
            **known,
        )

    def plot(self, ax: Any = None) -> SnapshotDisplay:
        """Draw the training and, side by side with it, what is known of the members.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw the training, and that alone; None makes a figure of all panels.

        Returns
        -------
        self : SnapshotDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        draws: list[Callable[[Any], None]] = [self._draw_training]
        if ax is None:
            if self.member_scores is not None or self.staged_scores is not None:
                draws.append(self._draw_errors)
            if self.correlation is not None:
                draws.append(self._draw_correlation)
        self.axes_ = _side_by_side(_axes(ax), len(draws))
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        for draw, panel in zip(draws, self.axes_, strict=True):
            draw(panel)
        return self

    def _check_shapes(self) -> None:
        n_epochs = len(self.epochs)
        if not n_epochs:
            self._refuse("epochs", "have at least one epoch", self.epochs)
        for name in ("losses", "valid_losses"):
            values = getattr(self, name)
            if values is not None and values.shape != (n_epochs,):
                self._refuse(name, f"have one value for each of the {n_epochs} epochs", values)
        matrix, scores, places = self.correlation, self.member_scores, self.member_places
        if matrix is not None and (matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]):
            self._refuse("correlation", "be a square matrix", matrix)
        if places is not None and (scores is None or places.shape != scores.shape):
            self._refuse("member_places", "have one value for each of member_scores", places)

    def _refuse(self, name: str, requirement: str, value: npt.NDArray[Any]) -> None:
        received = Description(f"an array of shape {value.shape}")
        raise ParameterValueError(self, name, requirement, received)

    def _draw_training(self, ax: Any) -> None:
        """Draw losses, the rate behind them, and the moments of the snapshots."""
        self.ax_rate_ = self._draw_rates(ax) if self.rates.size else None
        for index, epoch in enumerate(self.snapshot_epochs):
            label = "snapshots"[: -1 if len(self.snapshot_epochs) == 1 else None]
            style = {"color": "C3", "linestyle": ":", "linewidth": 1.2, "zorder": 1}
            ax.axvline(epoch, label=label if index == 0 else None, **style)
        style = {"marker": "." if len(self.epochs) <= 30 else "", "zorder": 3}
        ax.plot(self.epochs, self.losses, color="C0", label="training loss", **style)
        if self.valid_losses is not None:
            ax.plot(self.epochs, self.valid_losses, color="C1", label="held-out loss", **style)
        ax.set(xlabel="epoch", ylabel="loss")
        ax.set_title("training", fontsize="medium")
        ax.xaxis.get_major_locator().set_params(integer=True)
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + HEADROOM * (high - low))
        _add_legend(ax, "upper right", ncols=2)

    def _draw_rates(self, ax: Any) -> Any:
        """Draw the rates on an axis of their own, behind the losses; give that axis."""
        behind = ax.twinx()
        edges = np.linspace(self.epochs[0] - 1, self.epochs[-1], len(self.rates) + 1)
        style = {"color": "0.75", "linewidth": 1.2}
        behind.stairs(self.rates, edges, baseline=None, **style)
        # The legend is that of the axes in front.
        ax.plot([], [], label="learning rate", **style)
        behind.set_ylabel("learning rate", color="0.4")
        behind.tick_params(axis="y", colors="0.4")
        behind.set_ylim(0, (1 + HEADROOM) * behind.get_ylim()[1])
        ax.set_zorder(behind.get_zorder() + 1)
        ax.patch.set_visible(False)
        return behind

    def _draw_errors(self, ax: Any) -> None:
        """Draw each single member, where it joins the others, and all that are then together."""
        if self.member_scores is not None:
            places = self.member_places
            if places is None:
                places = np.arange(len(self.member_scores), 0, -1)
            ring = {"facecolors": "none", "edgecolors": "0.4", "zorder": 3}
            ax.scatter(places, self.member_scores, 60, label="the member that joins", **ring)
        if self.staged_scores is not None:
            counts = np.arange(1, len(self.staged_scores) + 1)
            ax.plot(counts, self.staged_scores, ".-", color="C0", label="the last members together")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="number of members, from the last", ylabel=self.error_name)
        ax.set_title("error", fontsize="medium")
        _add_legend(ax, "best")

    def _draw_correlation(self, ax: Any) -> None:
        """Draw the matrix, each value written into its cell where there is room."""
        matrix = np.asarray(self.correlation)
        ends = 0.5, len(matrix) + 0.5
        colors = {"cmap": "viridis", "vmin": np.fmin.reduce(matrix, None, initial=0.99)}
        image = ax.imshow(matrix, extent=(*ends, *ends[::-1]), vmax=1, **colors)
        ax.figure.colorbar(image, ax=ax, shrink=0.8)
        for axis in (ax.xaxis, ax.yaxis):
            axis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        if len(matrix) <= ANNOTATED:
            ax.set(xticks=range(1, len(matrix) + 1), yticks=range(1, len(matrix) + 1))
            for (row, column), value in np.ndenumerate(matrix):
                color = "black" if image.norm(value) > 0.6 else "white"
                place = {"ha": "center", "va": "center", "color": color, "fontsize": "x-small"}
                ax.text(column + 1, row + 1, f"{value:.2f}", **place)
        ax.set(xlabel="member", ylabel="member")
        ax.set_title("correlation of members", fontsize="medium")


def _floats(values: npt.ArrayLike | None) -> Array | None:
    return None if values is None else np.asarray(values, dtype=float)


def _side_by_side(ax: Any, n_panels: int) -> npt.NDArray[Any]:
    """Give axes and, in their figure at their right, as many more as make `n_panels`."""
    if n_panels == 1:
        return np.array([ax])
    figure = ax.figure
    figure.set_size_inches(4.8 * n_panels, 3.8)
    figure.get_layout_engine().set(wspace=0.06)
    grid = figure.add_gridspec(1, n_panels)
    ax.set_subplotspec(grid[0])
    return np.array([ax, *(figure.add_subplot(grid[i]) for i in range(1, n_panels))])


def _column(history: Sequence[Mapping[str, Any]], name: str) -> Array:
    """Give a column of a skorch history, NaN where an epoch that broke off has no value."""
    return np.array([epoch.get(name, np.nan) for epoch in history], dtype=float)


def _rates_of_batches(history: Sequence[Mapping[str, Any]]) -> tuple[Array, list[int]]:
    """Give the rates of all training batches of a skorch history, and the batches of each epoch."""
    # Batches of the validation have no rate.
    rates = [[row["lr"] for row in epoch["batches"] if "lr" in row] for epoch in history]
    return np.array([rate for epoch in rates for rate in epoch]), [len(epoch) for epoch in rates]


def _known_of_members(ensemble: Any) -> dict[str, Any]:
    """Give what an ensemble learned of its members in fit."""
    scores, found = (getattr(ensemble, name, None) for name in ("member_scores_", "diversity_"))
    known: dict[str, Any] = {}
    if scores is not None:
        known["member_scores"] = 1 - np.asarray(scores)
        known["member_places"] = _places(ensemble, len(scores))
    if found is not None and len(found.correlation) > 1:
        known["correlation"] = found.correlation
    return known


def _found_of_members(ensemble: Any, X: Any, y: Any) -> dict[str, Any]:
    """Give what an ensemble's members come to on some data."""
    outputs = np.asarray(ensemble._outputs(X), dtype=float)
    found: dict[str, Any] = {}
    if len(outputs) > 1:
        found["correlation"] = _correlation(outputs.reshape(len(outputs), -1))
    if y is not None:
        y = np.asarray(y).reshape(len(y))
        classes = getattr(ensemble, "classes_", None)
        answers = outputs if classes is None else classes[outputs.argmax(axis=2)]
        found["member_scores"] = [_error(y, answer, classes) for answer in answers]
        found["member_places"] = _places(ensemble, len(outputs))
        staged = getattr(ensemble, "staged_predict", None)  # hard voting has none
        if staged is not None:
            found["staged_scores"] = [_error(y, answer, classes) for answer in staged(X)]
    return found


def _places(ensemble: Any, n_members: int) -> npt.NDArray[Any]:
    """Give each member's place in its run, counted from the end."""
    counts = getattr(ensemble, "_members_of_runs", [n_members])
    if sum(counts) != n_members:  # members that were averaged into one
        counts = [n_members]
    return np.concatenate([np.arange(count, 0, -1) for count in counts])


def _correlation(outputs: Array) -> Array:
    """Give Pearson's correlation of rows; one that is constant is correlated with none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = np.nan_to_num(np.corrcoef(outputs))
    return np.clip(matrix, -1, 1)


def _error(y: npt.NDArray[Any], answer: npt.NDArray[Any], classes: Any) -> float:
    """Give the part of wrong labels, or the part of the variance that is left."""
    if classes is not None:
        return float(np.mean(answer != y))
    left, variance = np.mean((answer - y) ** 2), np.var(y)
    return float(left / variance) if variance else float("nan")
