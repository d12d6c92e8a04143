"""The callback that runs one ramp of a learning-rate range test."""

from __future__ import annotations

import math
import weakref
from functools import partial
from typing import Any

import numpy as np
from skorch import NeuralNet
from skorch.exceptions import NotInitializedError

from sklr import _curves, _ramp
from sklr._validation import ParameterValueError, check_integer, check_option, in_name_of
from sklr.callbacks._base import ScheduleCallback
from sklr.callbacks._guard import guard_steps
from sklr.callbacks._progress import Done
from sklr.callbacks._run import Plan, runs
from sklr.plotting import LRRangeDisplay, ScheduleDisplay
from sklr.schedules import RangeTest

KINDS = ("loss", "rate")
"""The kinds of plot that `LRFinder.plot` draws."""


class RampEnd(KeyboardInterrupt):
    """Ends a training at the end of the ramp, in the way that skorch understands."""


class LRFinder(ScheduleCallback):
    """One ramp of a learning-rate range test: the rate rises, the loss of each batch is noted.

    The ramp ends the training after `n_steps` batches, or before if the loss diverges. The net's
    weights are those at the end of the ramp: fit it anew with the rate that was found.
    `LRRangeSearch` repeats ramps and leaves the net alone.

    At a rate too high the module, the criterion or the optimizer may raise, as some do at NaN.
    After at least one step of the ramp that is a divergence; before, the exception is the user's.
    Ctrl-C before the ramp has ended raises the KeyboardInterrupt that skorch would swallow.

    Parameters
    ----------
    min_lr : float, default=1e-7
        The first rate, above 0 on the log scale.
    max_lr : float, default=10.0
        The last rate.
    n_steps : int, default=100
        Length of the ramp in training batches, at least 10.
    scale : {'log', 'linear'}, default='log'
        Whether steps multiply the rate or add to it.

    Attributes
    ----------
    lrs_ : list of float
        The rates so far.
    losses_ : list of float
        The training loss that each rate produced.
    ended_ : {None, 'complete', 'diverged', 'not finite', 'raised'}
        How the ramp ended: after all its steps, as the loss rose far above its beginning, as it was
        NaN or infinite (the last of `losses_`), or as a step raised an exception (the last of
        `losses_` is then infinite). None if the training ended before the ramp did.
    error_ : str or None
        The exception that ended the ramp.

    Raises
    ------
    TypeError, ValueError
        At the start of fit, if a parameter is out of range, or the training is planned shorter
        than `n_steps`.
    KeyboardInterrupt
        At the end of fit, if Ctrl-C was pressed before the ramp had ended.

    References
    ----------
    Smith: Cyclical learning rates for training neural networks. WACV 2017. Section 3.3.

    Examples
    --------
    >>> from sklr.callbacks import LRFinder
    >>> LRFinder(max_lr=1.0)
    LRFinder(max_lr=1.0)
    """

    def __init__(
        self,
        *,
        min_lr: float = 1e-7,
        max_lr: float = 10.0,
        n_steps: int = 100,
        scale: str = "log",
    ) -> None:
        self.min_lr = min_lr
        self.max_lr = max_lr
        self.n_steps = n_steps
        self.scale = scale

    def ramp(self) -> RangeTest:
        """Return the ramp as a schedule.

        Raises
        ------
        TypeError, ValueError
            If a parameter is out of range.
        """
        check_integer(self, "n_steps", self.n_steps, at_least=_curves.MIN_POINTS)
        with in_name_of(self):
            return RangeTest(
                min_lr=self.min_lr, max_lr=self.max_lr, n_steps=self.n_steps, scale=self.scale
            )

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Begin a new ramp."""
        self.ramp()
        if net.max_epochs < 1:
            raise self._too_long(net, 0)
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self.lrs_: list[float] = []
        self.losses_: list[float] = []
        self.ended_: str | None = None
        self.error_: str | None = None
        self.monitor_ = _curves.DivergenceMonitor()
        self.step_losses_: list[float] = []
        guard_steps(net, partial(self._diverge, weakref.ref(net)))
        runs[net].start_watch()

    def on_epoch_begin(
        self, net: NeuralNet, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any
    ) -> None:
        """Raise if the training would end before the ramp does."""
        super().on_epoch_begin(net, dataset_train=dataset_train, dataset_valid=dataset_valid)
        steps_per_epoch = runs[net].steps_per_epoch
        if not self.lrs_ and steps_per_epoch is not None:
            planned = steps_per_epoch * int(net.max_epochs)
            if planned < self.n_steps:
                raise self._too_long(net, planned)

    def on_batch_end(
        self,
        net: NeuralNet,
        batch: Any = None,
        training: bool | None = None,
        loss: Any = None,
        **kwargs: Any,
    ) -> None:
        """Record the loss with the rate that produced it, and see whether the ramp is over."""
        if not training:
            return
        run = runs[net]
        done = run.step_is_done()
        super().on_batch_end(net, batch=batch, training=training)
        # With gradient accumulation several batches make a step.
        self.step_losses_.append(loss.item())
        # No step may ever follow a loss that is not finite: a gradient scaler skips it.
        if not done and math.isfinite(self.step_losses_[-1]):
            return
        loss = sum(self.step_losses_) / len(self.step_losses_)
        self.step_losses_ = []
        is_last = len(self.lrs_) + 1 == self.n_steps
        self.ended_ = _ramp.ending(loss, self.monitor_, is_last)
        self._note(run.lr, loss)

    def _diverge(self, net: weakref.ref[NeuralNet], error: Exception) -> None:
        """Take an exception in a step of the ramp, but its first, for a divergence."""
        run = runs[net()]
        if self.lrs_:
            self.ended_ = "raised"
            self.error_ = f"{type(error).__name__}: {error}"
            self._note(run.lr, math.inf)
        run.stop_watch()

    def _note(self, lr: float, loss: float) -> None:
        """Record a step, and end the training with the ramp."""
        self.lrs_.append(lr)
        self.losses_.append(loss)
        if self.ended_ is not None:
            raise RampEnd

    def on_train_end(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Raise the user's interruption, which skorch swallows."""
        super().on_train_end(net, X=X, y=y, **kwargs)
        if runs[net].stop_watch() and self.ended_ is None:
            raise KeyboardInterrupt

    def suggest(self) -> float:
        """Return the rate that this one ramp suggests for a constant rate.

        Returns
        -------
        float
            A tenth of the rate of least loss.

        Raises
        ------
        RangeTestError
            If the ramp has no answer, such as one that shows no fall of the loss.
        NotFittedError
            Before fit.
        """
        self._check_begun()
        return _ramp.suggested_lr(_ramp.curve_of(self.lrs_, self.losses_))

    def plot(  # type: ignore[override]  # what was measured, not a plan
        self, ax: Any = None, *, kind: str = "loss"
    ) -> LRRangeDisplay | ScheduleDisplay:
        """Draw the loss against the rate, or the rate over the training.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        kind : {'loss', 'rate'}, default='loss'
            The loss of each rate with the suggested rate, or the rate of each iteration with the
            ramp's end.

        Returns
        -------
        LRRangeDisplay or ScheduleDisplay
            With `ax_` and `figure_`.

        Raises
        ------
        TypeError, ValueError
            If `kind` is another word.
        NotFittedError
            Before fit.
        """
        check_option(self, "kind", kind, KINDS)
        self._check_begun()
        if kind == "rate":
            return self._plot_rate(ax)
        return _ramp.draw(self.lrs_, self.losses_, self.ended_, self.scale, ax)

    def _plot_rate(self, ax: Any) -> ScheduleDisplay:
        display = ScheduleDisplay(steps=np.arange(len(self.lrs_)), rates=self.lrs_)
        ax = display.plot(ax=ax).ax_
        if self.lrs_:
            ended = _ramp.ending_in_words(self.ended_, len(self.lrs_))
            ax.plot(len(self.lrs_) - 1, self.lrs_[-1], "o", color="C3", label=ended)
            ax.legend(loc="best")
        if self.scale == "log":
            ax.set_yscale("log")
            ax.autoscale(axis="y")
        ax.set_xlabel("iteration (training batch)")
        return display

    def _too_long(self, net: NeuralNet, planned: int) -> ParameterValueError:
        requirement = f"be at most {planned}, the training batches of max_epochs={net.max_epochs}"
        return ParameterValueError(self, "n_steps", requirement, self.n_steps)

    def _check_begun(self) -> None:
        if not hasattr(self, "losses_"):
            raise NotInitializedError("This LRFinder has seen no training yet: fit its net first.")

    def _value(self, plan: Plan) -> RangeTest:
        return self.ramp()

    def _position(self, done: Done, n_epochs: int) -> tuple[float, int | None]:
        # A ramp is a training of its own, whatever the net has done before.
        return len(self.lrs_), None
