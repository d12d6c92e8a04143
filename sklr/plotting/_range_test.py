"""The picture of a range test."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from sklr.plotting._axes import add_legend, drawing_axes

Array = npt.NDArray[np.float64]

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
OUTLYING = 10.0
"""A probe this many times as far from the best as the median of all is off the scale."""

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
        ax = drawing_axes(ax)
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
            add_legend(ax, f"lower {sides[0]}")
        elif self.scale == "log":
            # The curve lies in the other half until the descent.
            add_legend(ax, "upper left" if self.higher_is_better else "lower left")
        else:
            add_legend(ax, "best")
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
        add_legend(ax, "center left", ncols=2, title="trial trainings from fresh weights")

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
