"""The picture of a snapshot ensemble."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sklr._validation import Description, ParameterTypeError, ParameterValueError
from sklr.plotting._axes import add_legend, drawing_axes

Array = npt.NDArray[np.float64]

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
        self.axes_ = _side_by_side(drawing_axes(ax), len(draws))
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
        add_legend(ax, "upper right", ncols=2)

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
        add_legend(ax, "best")

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
            # Members of one basin differ in the third digit.
            digits = 3 if matrix.min() > 0.99 else 2
            for (row, column), value in np.ndenumerate(matrix):
                color = "black" if image.norm(value) > 0.6 else "white"
                place = {"ha": "center", "va": "center", "color": color, "fontsize": "x-small"}
                ax.text(column + 1, row + 1, f"{value:.{digits}f}", **place)
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
        answers = outputs if classes is None else classes[ensemble._decisions(outputs)]
        found["member_scores"] = [_error(y, answer, classes) for answer in answers]
        found["member_places"] = _places(ensemble, len(outputs))
        staged = ensemble.staged_predict(X)
        found["staged_scores"] = [_error(y, answer, classes) for answer in staged]
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
