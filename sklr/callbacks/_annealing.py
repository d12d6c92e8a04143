"""Callbacks whose rate holds or falls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sklr import schedules
from sklr._validation import ParameterValueError, check_increasing, check_number
from sklr.callbacks._named import NamedSchedule
from sklr.callbacks._run import Plan


@dataclass(kw_only=True, eq=False, repr=False)
class StepDecay(NamedSchedule):
    """The rate multiplied by a factor now and then.

    Parameters
    ----------
    lr : float, default=None
        The first rate; None is the optimizer's own.
    factor : float, default=0.1
        What each drop multiplies the rate by, above 0 and at most 1.
    every : float, default=None
        Length between drops in `unit`.
    milestones : sequence of float, default=None
        Times of the drops in `unit`, counted from the end of the warm-up. With `every` None too:
        a half and three quarters of the training.
    unit : {'epoch', 'batch', 'fraction'}, default='epoch'
        What lengths count: epochs, training batches, or fractions of the whole training.
    warmup : float, default=0
        Length of a linear warm-up in `unit`, after which the schedule begins.
    n_epochs : int, default=None
        Epochs of the whole training, if `unit` is 'fraction'; None is the `max_epochs` of the
        first fit. Training past them holds the last rate and warns.

    Raises
    ------
    TypeError, ValueError
        At the start of fit, if a parameter is out of range.

    See Also
    --------
    sklr.schedules.StepDecay : The same in steps, with the formula.

    References
    ----------
    He, Zhang, Ren, Sun: Deep residual learning for image recognition. CVPR 2016.

    Examples
    --------
    >>> from sklr.callbacks import StepDecay
    >>> StepDecay(every=2, factor=0.5).schedule(steps_per_epoch=10, lr=0.1)([0, 19, 20])
    array([0.1 , 0.1 , 0.05])
    """

    lr: float | None = None
    factor: float = 0.1
    every: float | None = None
    milestones: Sequence[float] | None = None

    def _needs_total(self) -> bool:
        return super()._needs_total() or (self.every is None and self.milestones is None)

    def _shape(self, plan: Plan, n_steps: int) -> schedules.StepDecay:
        lr = self._peak("lr", plan)
        if self.every is not None:
            if self.milestones is not None:
                requirement = "be None if 'milestones' is given"
                raise ParameterValueError(self, "every", requirement, self.every)
            every = self._length("every", plan)
            return schedules.StepDecay(lr=lr, factor=self.factor, every=every)
        if self.milestones is not None:
            times = check_increasing(self, "milestones", self.milestones)
            steps = tuple(self._steps("milestones", time, plan) for time in times)
        else:
            steps = (n_steps / 2, n_steps * 3 / 4)
        return schedules.StepDecay(lr=lr, factor=self.factor, milestones=steps)


@dataclass(kw_only=True, eq=False, repr=False)
class ExponentialDecay(NamedSchedule):
    """The rate multiplied by the same factor at each batch.

    Parameters
    ----------
    lr : float, default=None
        The first rate; None is the optimizer's own.
    gamma : float, default=0.95
        What one `unit` multiplies the rate by, above 0 and at most 1.
    unit : {'epoch', 'batch', 'fraction'}, default='epoch'
        What lengths count: epochs, training batches, or fractions of the whole training.
    warmup : float, default=0
        Length of a linear warm-up in `unit`, after which the schedule begins.
    n_epochs : int, default=None
        Epochs of the whole training, if `unit` is 'fraction'; None is the `max_epochs` of the
        first fit. Training past them holds the last rate and warns.

    Raises
    ------
    TypeError, ValueError
        At the start of fit, if a parameter is out of range.

    See Also
    --------
    sklr.schedules.ExponentialDecay : The same in steps, with the formula.

    Examples
    --------
    >>> from sklr.callbacks import ExponentialDecay
    >>> schedule = ExponentialDecay(gamma=0.25).schedule(steps_per_epoch=2, lr=1.0)
    >>> schedule([0, 1, 2])
    array([1.  , 0.5 , 0.25])
    """

    lr: float | None = None
    gamma: float = 0.95

    def _shape(self, plan: Plan, n_steps: int) -> schedules.ExponentialDecay:
        gamma = check_number(self, "gamma", self.gamma, above=0, at_most=1)
        gamma **= 1 / self._unit_steps(plan)
        return schedules.ExponentialDecay(lr=self._peak("lr", plan), gamma=gamma)


@dataclass(kw_only=True, eq=False, repr=False)
class InverseTimeDecay(NamedSchedule):
    """The rate divided by a line in time, "1/t decay".

    Parameters
    ----------
    lr : float, default=None
        The first rate; None is the optimizer's own.
    decay_rate : float, default=0.1
        Speed of the decay per `unit`, at least 0: after ``1 / decay_rate`` units half of `lr` is
        left.
    unit : {'epoch', 'batch', 'fraction'}, default='epoch'
        What lengths count: epochs, training batches, or fractions of the whole training.
    warmup : float, default=0
        Length of a linear warm-up in `unit`, after which the schedule begins.
    n_epochs : int, default=None
        Epochs of the whole training, if `unit` is 'fraction'; None is the `max_epochs` of the
        first fit. Training past them holds the last rate and warns.

    Raises
    ------
    TypeError, ValueError
        At the start of fit, if a parameter is out of range.

    See Also
    --------
    sklr.schedules.InverseTimeDecay : The same in steps, with the formula.

    Examples
    --------
    >>> from sklr.callbacks import InverseTimeDecay
    >>> InverseTimeDecay(decay_rate=1.0).schedule(steps_per_epoch=2, lr=1.0)([0, 2, 6])
    array([1.  , 0.5 , 0.25])
    """

    lr: float | None = None
    decay_rate: float = 0.1

    def _shape(self, plan: Plan, n_steps: int) -> schedules.InverseTimeDecay:
        decay_rate = check_number(
            self, "decay_rate", self.decay_rate, at_least=0
        ) / self._unit_steps(plan)
        return schedules.InverseTimeDecay(lr=self._peak("lr", plan), decay_rate=decay_rate)


@dataclass(kw_only=True, eq=False, repr=False)
class CosineDecay(NamedSchedule):
    """Half a cosine over the whole training, from max_lr down to min_lr.

    Parameters
    ----------
    min_lr : float, default=None
        The floor; None is 0.
    max_lr : float, default=None
        The first rate; None is the optimizer's own.
    unit : {'epoch', 'batch', 'fraction'}, default='epoch'
        What lengths count: epochs, training batches, or fractions of the whole training.
    warmup : float, default=0
        Length of a linear warm-up in `unit`, after which the schedule begins.
    n_epochs : int, default=None
        Epochs of the whole training; None is the `max_epochs` of the first fit. Training past them
        holds the last rate and warns.

    Raises
    ------
    TypeError, ValueError
        At the start of fit, if a parameter is out of range.

    See Also
    --------
    sklr.schedules.CosineDecay : The same in steps, with the formula and the paper.

    Examples
    --------
    >>> from sklr.callbacks import CosineDecay
    >>> CosineDecay().schedule(steps_per_epoch=10, n_epochs=2, lr=1.0)([0, 10, 20]).round(6)
    array([1. , 0.5, 0. ])
    """

    min_lr: float | None = None
    max_lr: float | None = None

    def _needs_total(self) -> bool:
        return True

    def _shape(self, plan: Plan, n_steps: int) -> schedules.CosineDecay:
        max_lr = self._peak("max_lr", plan)
        min_lr = self._floor("min_lr", max_lr, 0.0)
        return schedules.CosineDecay(min_lr=min_lr, max_lr=max_lr, n_steps=n_steps)
