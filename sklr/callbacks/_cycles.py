"""Callbacks whose rate rises again, once or many times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skorch import NeuralNet

from sklr import schedules
from sklr._param_groups import momentum_groups
from sklr._validation import ParameterTypeError, ParameterValueError, check_number
from sklr.callbacks._named import NamedSchedule
from sklr.callbacks._run import Plan, Rate, Run
from sklr.schedules._base import Scalar, between
from sklr.schedules._composition import Warmup


@dataclass(kw_only=True, eq=False, repr=False)
class MomentumCycle(NamedSchedule):
    """Base of the schedules that can cycle momentum against the rate."""

    min_momentum: float | None = None
    max_momentum: float | None = None

    def _momentum(self, net: NeuralNet, run: Run) -> Rate | None:
        if self.min_momentum is None and self.max_momentum is None:
            return None
        if self.min_momentum is None or self.max_momentum is None:
            name = "min_momentum" if self.min_momentum is None else "max_momentum"
            raise ParameterTypeError(self, name, "be a number if the other bound is one", None)
        low = check_number(self, "min_momentum", self.min_momentum, at_least=0, below=1)
        high = check_number(
            self, "max_momentum", self.max_momentum, above=("min_momentum", low), below=1
        )
        if not momentum_groups(net.optimizer_.param_groups):
            name = type(net.optimizer_).__name__
            requirement = f"be None for an optimizer that has no momentum, as {name} here"
            raise ParameterValueError(self, "max_momentum", requirement, self.max_momentum)

        value: Any = run.schedule
        start = 0
        if isinstance(value, Warmup):
            value, start = value.schedule, value.n_steps
        weight = value._weight
        return lambda step: between(high, low, weight(max(step - start, 0), Scalar))


@dataclass(kw_only=True, eq=False, repr=False)
class CyclicalLR(MomentumCycle):
    """Smith's cyclical rate: linearly up and down between two bounds.

    Parameters
    ----------
    base_lr : float, default=None
        The rate at both ends of a cycle; None is a quarter of `max_lr`.
    max_lr : float, default=None
        The peak; None is the optimizer's own rate.
    step_size : float, default=5
        Half a cycle in `unit`; Smith advises 2 to 10 epochs.
    mode : {'triangular', 'triangular2', 'exp_range'}, default='triangular'
        The amplitude: the same in every cycle, halved after each cycle, or decaying all along.
    gamma : float, default=1.0
        What one `unit` multiplies the amplitude by in mode 'exp_range', above 0 and at most 1.
    min_momentum, max_momentum : float, default=None
        Bounds of the momentum (of Adam's first beta), which moves against the rate; None leaves it
        alone.
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
    sklr.schedules.CyclicalLR : The same in steps, with the formula and the paper.

    Examples
    --------
    >>> from sklr.callbacks import CyclicalLR
    >>> callback = CyclicalLR(max_lr=1.0, step_size=2)
    >>> callback.schedule(steps_per_epoch=10)([0, 20, 40])
    array([0.25, 1.  , 0.25])
    """

    base_lr: float | None = None
    max_lr: float | None = None
    step_size: float = 5
    mode: str = "triangular"
    gamma: float = 1.0

    def _shape(self, plan: Plan, n_steps: int) -> schedules.CyclicalLR:
        max_lr = self._peak("max_lr", plan)
        gamma = check_number(self, "gamma", self.gamma, above=0, at_most=1)
        return schedules.CyclicalLR(
            base_lr=self._floor("base_lr", max_lr, 1 / 4),
            max_lr=max_lr,
            step_size=self._length("step_size", plan),
            mode=self.mode,
            gamma=gamma ** (1 / self._unit_steps(plan)) if self.mode == "exp_range" else gamma,
        )


@dataclass(kw_only=True, eq=False, repr=False)
class SGDR(NamedSchedule):
    """Cosine falls with warm restarts, cycles that may lengthen, bounds that may decay.

    Parameters
    ----------
    min_lr : float, default=None
        The floor of the first cycle; None is 0.
    max_lr : float, default=None
        The peak of the first cycle; None is the optimizer's own rate.
    cycle_length : float, default=10
        The first cycle in `unit`.
    cycle_mult : float, default=1.0
        What each cycle multiplies the length by, above 0; any real number.
    max_decay, min_decay : float, default=1.0
        What each restart multiplies the peak and the floor by, above 0 and at most 1.
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
    sklr.schedules.SGDR : The same in steps, with the formula and the paper.

    Examples
    --------
    >>> from sklr.callbacks import SGDR
    >>> callback = SGDR(max_lr=1.0, cycle_length=1, cycle_mult=2)
    >>> callback.schedule(steps_per_epoch=10)([0, 5, 10, 30]).round(6)
    array([1. , 0.5, 1. , 1. ])
    """

    min_lr: float | None = None
    max_lr: float | None = None
    cycle_length: float = 10
    cycle_mult: float = 1.0
    max_decay: float = 1.0
    min_decay: float = 1.0

    def _shape(self, plan: Plan, n_steps: int) -> schedules.SGDR:
        max_lr = self._peak("max_lr", plan)
        return schedules.SGDR(
            min_lr=self._floor("min_lr", max_lr, 0.0),
            max_lr=max_lr,
            # What rounds to one step is taken for one.
            cycle_length=max(self._length("cycle_length", plan), 1),
            cycle_mult=self.cycle_mult,
            max_decay=self.max_decay,
            min_decay=self.min_decay,
        )


@dataclass(kw_only=True, eq=False, repr=False)
class SnapshotCosine(NamedSchedule):
    """The snapshot ensemble's cycles: cosine falls that share the training evenly.

    Parameters
    ----------
    max_lr : float, default=None
        The rate that each cycle begins with; None is the optimizer's own.
    n_cycles : int, default=5
        Number of cycles, at least 1 and at most as many as the training has steps.
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
    sklr.schedules.SnapshotCosine : The same in steps, with the formula and the paper.
    sklr.callbacks.Snapshots : Takes the weights at the end of each cycle.

    Examples
    --------
    >>> from sklr.callbacks import SnapshotCosine
    >>> schedule = SnapshotCosine(n_cycles=2).schedule(steps_per_epoch=10, n_epochs=4, lr=1.0)
    >>> schedule([0, 10, 20, 30]).round(6)
    array([1. , 0.5, 1. , 0.5])
    """

    max_lr: float | None = None
    n_cycles: int = 5

    def _needs_total(self) -> bool:
        return True

    def _shape(self, plan: Plan, n_steps: int) -> schedules.SnapshotCosine:
        max_lr = self._peak("max_lr", plan)
        return schedules.SnapshotCosine(max_lr=max_lr, n_steps=n_steps, n_cycles=self.n_cycles)


@dataclass(kw_only=True, eq=False, repr=False)
class OneCycle(MomentumCycle):
    """1cycle: up to the peak over the first part of the training, then down to almost nothing.

    Parameters
    ----------
    max_lr : float, default=None
        The peak; None is the optimizer's own rate.
    pct_start : float, default=0.3
        Fraction of the training spent rising, from 0 to 1.
    div_factor : float, default=25
        Peak over first rate, at least 1.
    final_div_factor : float, default=1e4
        First rate over last rate, at least 1.
    anneal : {'cos', 'linear'}, default='cos'
        Shape of the rise and of the fall.
    min_momentum, max_momentum : float, default=None
        Bounds of the momentum (of Adam's first beta), which moves against the rate; None leaves it
        alone.
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
    sklr.schedules.OneCycle : The same in steps, with the formula and the paper.

    Examples
    --------
    >>> from sklr.callbacks import OneCycle
    >>> schedule = OneCycle(max_lr=1.0).schedule(steps_per_epoch=10, n_epochs=10)
    >>> schedule([0, 29, 99]).round(6)
    array([4.e-02, 1.e+00, 4.e-06])
    """

    max_lr: float | None = None
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    anneal: str = "cos"

    def _needs_total(self) -> bool:
        return True

    def _shape(self, plan: Plan, n_steps: int) -> schedules.OneCycle:
        return schedules.OneCycle(
            max_lr=self._peak("max_lr", plan),
            n_steps=n_steps,
            pct_start=self.pct_start,
            div_factor=self.div_factor,
            final_div_factor=self.final_div_factor,
            anneal=self.anneal,
        )


@dataclass(kw_only=True, eq=False, repr=False)
class FastGeometric(NamedSchedule):
    """Fast geometric ensembling: one long fall, then short triangular cycles.

    Parameters
    ----------
    min_lr : float, default=None
        The rate in mid-cycle; None is a hundredth of `max_lr`.
    max_lr : float, default=None
        The first rate and that of a cycle's start; None is the optimizer's own.
    pretrain_fraction : float, default=0.8
        Fraction of the training before the cycles, at least 0 and under 1.
    n_cycles : int, default=5
        Number of cycles, at least 1 and at most as many as steps are left after pre-training.
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
    sklr.schedules.FastGeometric : The same in steps, with the shape and the paper.

    Examples
    --------
    >>> from sklr.callbacks import FastGeometric
    >>> callback = FastGeometric(max_lr=1.0, n_cycles=1)
    >>> callback.schedule(steps_per_epoch=10, n_epochs=10)([0, 80, 90]).round(6)
    array([1.  , 1.  , 0.01])
    """

    min_lr: float | None = None
    max_lr: float | None = None
    pretrain_fraction: float = 0.8
    n_cycles: int = 5

    def _needs_total(self) -> bool:
        return True

    def _shape(self, plan: Plan, n_steps: int) -> schedules.FastGeometric:
        max_lr = self._peak("max_lr", plan)
        return schedules.FastGeometric(
            min_lr=self._floor("min_lr", max_lr, 1 / 100),
            max_lr=max_lr,
            n_steps=n_steps,
            pretrain_fraction=self.pretrain_fraction,
            n_cycles=self.n_cycles,
        )
