"""The state of one net's training under a schedule, from step to step."""

from __future__ import annotations

import inspect
import math
import weakref
from bisect import bisect_right
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from skorch import NeuralNet
from torch.utils.hooks import RemovableHandle

from sklr._interrupts import InterruptWatch
from sklr._param_groups import RATIO, WRITTEN, Groups, momentum_writer, note_ratios, rate_writer
from sklr._validation import ParameterTypeError
from sklr.callbacks._progress import Done
from sklr.schedules import BaseSchedule

Rate = Callable[[float], float]
"""Returns the rate (or the momentum) of a step."""

FITS = frozenset(("fit", "partial_fit", "fit_loop"))
"""The methods of a net within which it trains."""


@dataclass(frozen=True)
class Plan:
    """All that a schedule may depend on beside its own parameters.

    Attributes
    ----------
    steps_per_epoch : int or None
        Training batches of an epoch; None if the data has no length.
    n_steps : int or None
        Steps of the whole training; None if that is not known.
    lr : float or None
        The optimizer's own rate; None if there is no optimizer to ask.
    """

    steps_per_epoch: int | None
    n_steps: int | None
    lr: float | None


class Run:
    """The state of one net's training under a schedule; it lives beside the callback.

    So the user's callback object stays as it was made, and may serve several nets.

    Attributes
    ----------
    step : int or float
        The step that comes next, or that is being done.
    begun : int or float
        The step that was begun last.
    lr : float
        The schedule's rate in that step.
    done : Done or None
        The epochs done before; None before the first epoch.
    n_steps : int or None
        Steps of the whole training; None if that is not known.
    plan : Plan or None
        What `rate` and `momentum` were made for; None before the first epoch.
    schedule : schedule or None
        The value that gives the rates; None for a bare function.
    """

    def __init__(self, net: NeuralNet) -> None:
        self.accelerator = getattr(net, "accelerator", None)
        optimizer = getattr(net, "optimizer_", None)
        # An accelerator speaks for all optimizers that it ever prepared. One whose training ended
        # with a skipped step makes it say so for ever: then the net's own has to be asked.
        skipped = self.accelerator is not None and self.accelerator.optimizer_step_was_skipped
        self.own_optimizer = optimizer if skipped else None
        self.done: Done | None = None
        self.n_steps: int | None = None
        self.step: float = 0
        self.begun: float = 0
        self.lr = math.nan
        self.steps_in_epoch = 0
        self.plan: Plan | None = None
        self.rate: Rate
        self.momentum: Rate | None = None
        self._watch = InterruptWatch()
        self._hook: RemovableHandle | None = None
        self._snapshot_horizon: int | None = None

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps of an epoch; None if the data has no length, and before the first epoch."""
        return None if self.done is None else self.done.steps_per_epoch

    @property
    def schedule(self) -> BaseSchedule | None:
        """The value that gives the rates; None for a bare function."""
        return self.rate if isinstance(self.rate, BaseSchedule) else None

    def set_plan(self, plan: Plan, rate: Rate) -> None:
        """Take the rates of a plan."""
        self.plan, self.rate = plan, rate
        self.plan_snapshots(None)

    def plan_snapshots(self, horizon: int | None) -> None:
        """Set how many steps snapshots are to be known for."""
        if horizon != self._snapshot_horizon:
            self._snapshot_horizon = horizon
            vars(self).pop("snapshot_steps", None)

    @cached_property
    def snapshot_steps(self) -> tuple[int, ...] | None:
        """The counts of steps after which a snapshot is due; None if the schedule cannot say.

        Counted when somebody asks: a training of very many cycles need not know.
        """
        if self.schedule is None or self._snapshot_horizon is None:
            return None
        return self.schedule.snapshot_steps(self._snapshot_horizon)

    def bind(self, net: NeuralNet, own_lr: float, stated: Collection[float]) -> float:
        """Take the net's optimizer for this epoch, and return the rate that a peak of None is."""
        self._optimizer = net_optimizer(net)
        self._own_lr = own_lr
        self.release()
        # Callbacks that stand later may add groups after the step has begun; accelerate's optimizer
        # holds the one that steps.
        steps = getattr(self._optimizer, "optimizer", self._optimizer)
        self._hook = steps.register_step_pre_hook(lambda *args: self.rewrite())
        return self._note_groups(stated)

    def release(self) -> None:
        """Leave the optimizer to itself."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def begin_epoch(self, net: NeuralNet, rate: Rate, momentum: Rate | None) -> None:
        """Bind what each step touches: the groups and this epoch's row of the history."""
        self._step_rate, self._step_momentum = rate, momentum
        # Runs are kept by net: a run that held its net would keep both for ever.
        self._net = weakref.ref(net)
        self._n_epochs = len(net.history)
        self._history = net.history
        # Recording through the history copies the list of its epochs once a batch.
        self._row = net.history[-1] if isinstance(net.history, list) else None
        self.steps_in_epoch = 0
        self._bind_writers()

    def _note_groups(self, stated: Collection[float] = ()) -> float:
        self._groups: Groups = self._optimizer.param_groups
        self._n_groups = len(self._groups)
        return note_ratios(self._groups, self._own_lr, stated)

    def _bind_writers(self) -> None:
        ratios = [group[RATIO] for group in self._groups]
        self._write_rate = rate_writer(self._groups, ratios)
        if self._step_momentum is not None:
            self._write_momentum = momentum_writer(self._groups)

    def _write(self, step: float, lr: float) -> None:
        self._write_rate(lr)
        self._groups[0][WRITTEN] = lr
        if self._step_momentum is not None:
            self._write_momentum(self._step_momentum(step))

    def begin_step(self) -> None:
        """Write the rate of the step that begins, and record it."""
        self.follow_groups()
        self.begun = step = self.step
        self.lr = lr = self._step_rate(step)
        self._write(step, lr)
        # The epoch's rate is its last batch's, there before any callback's on_epoch_end.
        if self._row is not None:
            self._row["batches"][-1]["lr"] = self._row["lr"] = lr
        else:
            self._history.record_batch("lr", lr)
            self._history.record("lr", lr)

    def follow_groups(self) -> bool:
        """Take in groups that were added since the last step; return whether there are any."""
        if not self._has_new_groups():
            return False
        self._note_groups()
        self._bind_writers()
        return True

    def _has_new_groups(self) -> bool:
        groups = self._optimizer.param_groups
        return groups is not self._groups or len(groups) != self._n_groups

    def rewrite(self) -> None:
        """Write the step's rate to groups that were added after it had begun."""
        if self._has_new_groups() and self._is_training():
            self.follow_groups()
            self._write(self.begun, self.lr)

    def _is_training(self) -> bool:
        """Return whether the step is one of this training; if it has ended, leave the optimizer.

        skorch tells its callbacks nothing of an exception that ends a training. The optimizer may
        then be stepped by a loop of the user's, or by a training without a schedule.
        """
        net = self._net()
        if net is not None and len(net.history) == self._n_epochs:
            frame = inspect.currentframe()
            while frame is not None:
                if frame.f_code.co_name in FITS and frame.f_locals.get("self") is net:
                    return True
                frame = frame.f_back
        self.release()
        return False

    def start_watch(self) -> None:
        """Begin to watch for Ctrl-C."""
        self._watch.start()

    def stop_watch(self) -> bool:
        """Stop to watch, and return whether Ctrl-C was pressed meanwhile."""
        self._watch.stop()
        return self._watch.interrupted

    def step_is_done(self) -> bool:
        """Return whether the batch that just ended moved the weights (accelerate may skip it)."""
        if self.accelerator is None:
            return True
        if self.own_optimizer is not None:
            skipped = self.own_optimizer.step_was_skipped
        else:
            skipped = self.accelerator.optimizer_step_was_skipped
        return self.accelerator.sync_gradients and not skipped

    def due_snapshot(self) -> int | None:
        """Return the count of steps whose snapshot is due now that the last step has ended.

        After an interruption and a changed batch size steps need not be whole: one may pass it.
        """
        steps = self.snapshot_steps or ()
        coming = bisect_right(steps, self.begun)
        if coming < len(steps) and steps[coming] <= self.begun + 1 and self.step_is_done():
            return steps[coming]
        return None

    def end_step(self) -> None:
        """Go on to the next step."""
        if self.step_is_done():
            self.step += 1
            self.steps_in_epoch += 1


runs: WeakKeyDictionary[NeuralNet, Run] = WeakKeyDictionary()
"""The trainings under way, by net."""


def net_optimizer(net: NeuralNet) -> Any:
    """Return the net's optimizer; raise a TypeError if it has none."""
    optimizer = getattr(net, "optimizer_", None)
    if optimizer is None:
        requirement = "give the net an 'optimizer_' whose rate can be set"
        raise ParameterTypeError(type(net).__name__, "optimizer", requirement, optimizer)
    return optimizer
