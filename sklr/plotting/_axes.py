"""Make the axes to draw on, and legends that fit into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LEGEND = 0.75
"""Fraction of the height and width of axes that a legend may take."""


def drawing_axes(ax: Axes | None) -> Axes:
    """Return the axes to draw on, those of a new figure if none are given."""
    # matplotlib is not imported if there are axes: they are made by it.
    return new_panels(1)[0] if ax is None else ax


def new_panels(n_panels: int) -> list[Axes]:
    """Return the axes, side by side, of a new figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib. Install it with: pip install 'sklr[plot]'"
        ) from error
    figsize = None if n_panels == 1 else (4.8 * n_panels, 3.8)
    figure, axes = plt.subplots(1, n_panels, squeeze=False, figsize=figsize)
    # The rates' axis, at the right of a panel, needs room before the next one.
    figure.set_layout_engine("constrained", wspace=0.06)
    return list(axes[0])


def add_legend(ax: Axes, loc: str, ncols: int = 1, title: str | None = None) -> None:
    """Add a legend; in small axes only with the marked rates, in even smaller ones none."""
    handles, labels = ax.get_legend_handles_labels()
    entries = list(zip(handles, labels, strict=True))
    # Only the labels of marked rates hold a number.
    style: dict[str, Any] = {
        "loc": loc,
        "ncols": ncols,
        "title": title,
        "fontsize": "x-small",
        "title_fontsize": "x-small",
        "labelspacing": 0.3,
        # Below the names of the phases, at the top of the axes.
        "bbox_to_anchor": (0, 0, 1, 0.94),
    }
    for kept in (entries, [entry for entry in entries if " = " in entry[1]]):
        if not kept:
            return
        legend = ax.legend(*map(list, zip(*kept, strict=True)), **style)
        # A constrained layout would shrink the axes to make room for the legend inside them.
        legend.set_in_layout(False)
        box, place = legend.get_window_extent(), ax.get_window_extent()
        if box.height < MAX_LEGEND * place.height and box.width < MAX_LEGEND * place.width:
            return
        legend.remove()
