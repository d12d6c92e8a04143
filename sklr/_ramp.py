"""One ramp of a range test, whoever runs it: how it ends, what it suggests, how it is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sklr import _curves
from sklr.plotting import LRRangeDisplay

WORDS = {None: "cut short", "not finite": "loss not finite", "raised": "exception"}
"""What is said of an ending, if not its own name."""


def ending(loss: float, monitor: _curves.DivergenceMonitor, is_last: bool) -> str | None:
    """Return how a ramp ends with a loss; None if it goes on.

    Parameters
    ----------
    loss : float
        The loss of a step.
    monitor : DivergenceMonitor
        Has seen the losses before, and sees this one.
    is_last : bool
        Whether it is that of the last step.
    """
    if not math.isfinite(loss):
        return "not finite"
    if monitor.update(loss):
        return "diverged"
    return "complete" if is_last else None


def ending_in_words(ended: str | None, n_steps: int) -> str:
    """Return in words how a ramp ended, and after how many steps."""
    return f"{WORDS.get(ended, ended)} after {n_steps} steps"


def curve_of(lrs: Sequence[float], losses: Sequence[float]) -> _curves.Curve:
    """Return the curve of a ramp."""
    return _curves.average(np.array(lrs), [losses])


def suggested_lr(curve: _curves.Curve) -> float:
    """Return the constant rate that a ramp's curve suggests.

    Raises
    ------
    RangeTestError
        If it has no answer.
    """
    summary = _curves.summarize(curve)
    if summary.status not in _curves.ANSWERED:
        raise _curves.RangeTestError(f"{summary.status}: {summary.message}")
    return summary.lr


def draw(
    lrs: Sequence[float], losses: Sequence[float], ended: str | None, scale: str, ax: Any
) -> LRRangeDisplay:
    """Draw the loss of each rate of a ramp, with the suggested rate if there is one."""
    curve = curve_of(lrs, losses)
    summary = _curves.summarize(curve)
    answered = math.isfinite(summary.lr)
    answer = f", lr = {summary.lr:.2g}" if answered else ""
    display = LRRangeDisplay(
        lrs=curve.lrs,
        losses=curve.loss,
        repeats=[(lrs, losses)],
        marks={"lr": summary.lr} if answered else {},
        scale=scale,
        phases=(summary.descent_lr, summary.divergence_lr),
        title=f"ramp of the learning rate: {ending_in_words(ended, len(lrs))}{answer}",
        message=None if answered else summary.message,
    )
    return display.plot(ax=ax)
