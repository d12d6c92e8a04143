"""Axes, and legends that fit into them."""

from __future__ import annotations

from typing import Any

LEGEND = 0.75
"""Part of the height and width of axes that a legend may take."""


def drawing_axes(ax: Any) -> Any:
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


def add_legend(ax: Any, loc: str, ncols: int = 1, title: str | None = None) -> None:
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
