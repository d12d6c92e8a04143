"""Draw the training, the errors and the correlations of a snapshot ensemble."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from sklr._validation import Description, ParameterValueError
from sklr.plotting._axes import add_legend, new_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[np.float64]

ANNOTATED = 10
"""Most members whose correlations are written as numbers."""
HEADROOM = 0.25
"""Room above the curves of a training, for the legend, as a fraction of their height."""


class Ensemble(Protocol):
    """A snapshot ensemble that knows what to draw."""

    def _plot_data(self, X: Any, y: Any) -> dict[str, Any]: ...


class SnapshotDisplay:
    """Display of a snapshot ensemble: its training, its errors, and how alike its members are.

    Parameters
    ----------
    epochs : array-like of shape (n_epochs,)
        Numbers of the epochs, the first of which is usually 1. Losses are drawn at their ends.
    rates : array-like of shape (n_rates,)
        Learning rate of each epoch or each training batch: they divide the training into equal
        parts. Empty for none.
    losses : array-like of shape (n_epochs,)
        Training loss of each epoch.
    valid_losses : array-like of shape (n_epochs,), default=None
        Validation loss of each epoch.
    snapshot_epochs : array-like of float, default=()
        Times at which the snapshots were taken, in epochs and fractions of them.
    member_errors : array-like of shape (n_members,), default=None
        Validation error of each single member, oldest first.
    staged_errors : array-like of shape (n_stages,), default=None
        Validation error of the last 1, 2, ... members together.
    correlation : array-like of shape (n_members, n_members), default=None
        Correlation of pairs of members, oldest first.
    member_places : array-like of int of shape (n_members,), default=None
        Position of each member in its run, counted from the last, 1; its error is drawn there.
        None is that of a single run.
    error_name : str, default='validation error'
        Label of the axis of errors.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        The panels that `plot` drew: the training, then errors and correlations, if given.
    ax_ : matplotlib Axes
        The first of them.
    ax_rate_ : matplotlib Axes or None
        The axis of rates, at the right of the first; None without rates.
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
        member_errors: npt.ArrayLike | None = None,
        staged_errors: npt.ArrayLike | None = None,
        correlation: npt.ArrayLike | None = None,
        member_places: npt.ArrayLike | None = None,
        error_name: str = "validation error",
    ) -> None:
        self.epochs = np.asarray(epochs)
        self.rates = np.asarray(rates, dtype=float)
        self.losses = np.asarray(losses, dtype=float)
        self.valid_losses = _floats(valid_losses)
        self.snapshot_epochs = np.asarray(snapshot_epochs, dtype=float)
        self.member_errors = _floats(member_errors)
        self.staged_errors = _floats(staged_errors)
        self.correlation = _floats(correlation)
        self.member_places = None if member_places is None else np.asarray(member_places)
        self.error_name = error_name
        self._check_shapes()

    @classmethod
    def from_ensemble(cls, ensemble: Ensemble, X: Any = None, y: Any = None) -> SnapshotDisplay:
        """Make the display of a fitted ensemble.

        Parameters
        ----------
        ensemble : SnapshotEnsemble or SnapshotEnsembleRegressor
            A fitted ensemble. Of several runs the first one's training is drawn.
        X : array-like of shape (n_samples, ...), default=None
            Validation samples to compute correlations and errors from. None takes those that the
            ensemble found in fit on the net's own validation data, if it has any; the errors of
            several members together are then unknown.
        y : array-like of shape (n_samples,), default=None
            Their labels or targets; without them no errors are computed.

        Returns
        -------
        SnapshotDisplay
            Errors are the fraction of wrong labels, those of regressors 1 - R^2.

        Raises
        ------
        TypeError
            If y is given without X.
        ValueError
            If X and y differ in length.
        """
        return cls(**ensemble._plot_data(X, y))

    def plot(self, ax: Axes | None = None) -> SnapshotDisplay:
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
        draws: list[Callable[[Axes], None]] = [self._draw_training]
        if ax is None:
            if self.member_errors is not None or self.staged_errors is not None:
                draws.append(self._draw_errors)
            if self.correlation is not None:
                draws.append(self._draw_correlation)
        self.axes_ = np.array(new_panels(len(draws)) if ax is None else [ax])
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        for draw, panel in zip(draws, self.axes_, strict=True):
            draw(panel)
        return self

    def _check_shapes(self) -> None:
        n_epochs = len(self.epochs)
        per_epoch = f"have one value for each of the {n_epochs} epochs"
        of_errors = None if self.member_errors is None else self.member_errors.shape
        # A square has as many columns as rows, however many these are.
        side = None if self.correlation is None else len(self.correlation)
        for name, expected, requirement in (
            ("epochs", (max(n_epochs, 1),), "have at least one epoch"),
            ("losses", (n_epochs,), per_epoch),
            ("valid_losses", (n_epochs,), per_epoch),
            ("correlation", (side, side), "be a square matrix"),
            ("member_places", of_errors, "have one value for each of member_errors"),
        ):
            value = getattr(self, name)
            if value is not None and value.shape != expected:
                received = Description(f"an array of shape {value.shape}")
                raise ParameterValueError(self, name, requirement, received)

    def _draw_training(self, ax: Axes) -> None:
        """Draw losses, the rate behind them, and the times of the snapshots."""
        self.ax_rate_ = self._draw_rates(ax) if self.rates.size else None
        name = "snapshot" if len(self.snapshot_epochs) == 1 else "snapshots"
        for index, epoch in enumerate(self.snapshot_epochs):
            # Only the first line has a label, so that the legend has one entry for all.
            label = name if index == 0 else None
            ax.axvline(epoch, color="C3", linestyle=":", linewidth=1.2, zorder=1, label=label)
        style: dict[str, Any] = {"marker": "." if len(self.epochs) <= 30 else "", "zorder": 3}
        ax.plot(self.epochs, self.losses, color="C0", label="training loss", **style)
        if self.valid_losses is not None:
            ax.plot(self.epochs, self.valid_losses, color="C1", label="validation loss", **style)
        ax.set(xlabel="epoch", ylabel="loss")
        ax.set_title("training", fontsize="medium")
        ax.locator_params("x", integer=True)
        # The legend would hide the loss of the first epochs, which is the highest.
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + HEADROOM * (high - low))
        add_legend(ax, "upper right", ncols=2)

    def _draw_rates(self, ax: Axes) -> Axes:
        """Draw the rates on an axis of their own, behind the losses, and return it."""
        behind = ax.twinx()
        edges = np.linspace(self.epochs[0] - 1, self.epochs[-1], len(self.rates) + 1)
        style: dict[str, Any] = {"color": "0.75", "linewidth": 1.2}
        # As steps: a rate holds from the start of its part to the end.
        behind.stairs(self.rates, edges, baseline=None, **style)
        # An empty line enters the rates into the legend of the axes in front.
        ax.plot([], [], label="learning rate", **style)
        behind.set_ylabel("learning rate", color="0.4")
        behind.tick_params(axis="y", colors="0.4")
        behind.set_ylim(0, (1 + HEADROOM) * behind.get_ylim()[1])
        # matplotlib draws a twin in front. The losses must be, with nothing that hides the rates.
        ax.set_zorder(behind.get_zorder() + 1)
        ax.patch.set_visible(False)
        return behind

    def _draw_errors(self, ax: Axes) -> None:
        """Draw the errors of single members, and of as many last members together."""
        if self.member_errors is not None:
            places = self.member_places
            if places is None:
                places = np.arange(len(self.member_errors), 0, -1)
            ring: dict[str, Any] = {"facecolors": "none", "edgecolors": "0.4", "zorder": 3}
            ax.scatter(places, self.member_errors, 60, label="each member alone", **ring)
        if self.staged_errors is not None:
            counts = np.arange(1, len(self.staged_errors) + 1)
            ax.plot(counts, self.staged_errors, ".-", color="C0", label="last members together")
        ax.locator_params("x", integer=True)
        ax.set(xlabel="number of members, from the last", ylabel=self.error_name)
        ax.set_title("error", fontsize="medium")
        add_legend(ax, "best")

    def _draw_correlation(self, ax: Axes) -> None:
        """Draw the matrix, with the values of a small one written into its cells."""
        matrix = np.asarray(self.correlation, dtype=float)
        ends = 0.5, len(matrix) + 0.5
        # Members of one basin are so alike that the colors would show nothing but rounding.
        low = float(np.fmin.reduce(matrix, None, initial=0.99))
        colors: dict[str, Any] = {"cmap": "viridis", "vmin": low, "vmax": 1}
        image = ax.imshow(matrix, extent=(*ends, *ends[::-1]), **colors)
        ax.figure.colorbar(image, ax=ax, shrink=0.8)
        ax.locator_params(integer=True, min_n_ticks=1)
        if len(matrix) <= ANNOTATED:
            ax.set(xticks=range(1, len(matrix) + 1), yticks=range(1, len(matrix) + 1))
            # Members of one basin differ in the third digit.
            digits = 3 if low > 0.9 else 2
            for (row, column), value in np.ndenumerate(matrix):
                text = f"{value:.{digits}f}"
                color = "black" if value - low > 0.6 * (1 - low) else "white"
                style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": "x-small"}
                ax.text(column + 1, row + 1, text, color=color, **style)
        ax.set(xlabel="member", ylabel="member")
        ax.set_title("correlation of members", fontsize="medium")


def _floats(values: npt.ArrayLike | None) -> Array | None:
    return None if values is None else np.asarray(values, dtype=float)
