"""Any schedule as a torch scheduler, for people with plain training loops."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sklr._param_groups import (
    Groups,
    guessed_reference,
    initial_rates,
    initial_ratios,
    rate_writer,
    warn_of_excess,
)
from sklr._validation import ParameterTypeError, ParameterValueError, check_integer, check_number
from sklr.schedules import BaseSchedule


class ScheduleLR(LRScheduler):
    """A schedule of `sklr.schedules` as a `torch.optim.lr_scheduler.LRScheduler`.

    The rate is the schedule's, a pure function of the step; groups with an initial rate of their
    own keep their proportion to `reference_lr`. Unlike torch's schedulers it holds no running state
    that could drift, leaves momentum alone, and loading a state sets the rate. In a SequentialLR
    before a scheduler of torch's, load the optimizer's state after the scheduler's. In a
    ChainedScheduler the factors of schedulers that stand before it are lost, since it sets the rate
    anew at each step: use `sklr.schedules.warmup`, `scale` and `join` on the schedule instead.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its rates are written when the scheduler is made and at each `step`.
    schedule : schedule
        A value of `sklr.schedules`.
    last_epoch : int, default=-1
        Index of the last step done, as in torch; -1 begins anew.
    reference_lr : float, default=None
        The initial rate that the schedule's takes the place of: a group trains at the schedule's
        rate times its own initial rate over this one. None is the optimizer's default rate, or the
        highest group's if no group has that. In an optimizer whose state was loaded the default may
        be another group's rate; a warning tells of a group that would train above the schedule.

    Raises
    ------
    TypeError, ValueError
        If `optimizer` is no optimizer, `schedule` no schedule, `last_epoch` no integer from -1, or
        `reference_lr` no number above 0.

    Examples
    --------
    >>> import torch
    >>> from sklr.lr_scheduler import ScheduleLR
    >>> from sklr.schedules import CyclicalLR
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    >>> scheduler = ScheduleLR(optimizer, CyclicalLR(base_lr=0.1, max_lr=1.0, step_size=2))
    >>> for step in range(2):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    1.0
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: BaseSchedule,
        last_epoch: int = -1,
        *,
        reference_lr: float | None = None,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ParameterTypeError(self, "optimizer", "be a torch Optimizer", optimizer)
        if not isinstance(schedule, BaseSchedule):
            requirement = "be a schedule of sklr.schedules"
            raise ParameterTypeError(self, "schedule", requirement, schedule)
        self.schedule = schedule
        last_epoch = check_integer(self, "last_epoch", last_epoch, at_least=-1)
        groups = optimizer.param_groups
        if reference_lr is None:
            rates = initial_rates(groups)
            reference = guessed_reference(rates, float(optimizer.defaults["lr"]))
            warn_of_excess(rates, reference, "pass reference_lr, that group's initial rate")
        else:
            reference = check_number(self, "reference_lr", reference_lr, above=0)
        self._ratios = initial_ratios(groups, reference)
        self._groups: Groups | None = None
        if last_epoch != -1:
            # torch insists on this key when resuming; nothing here depends on it.
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Return the rates of the current step, one a group."""
        rate = self.schedule(max(self.last_epoch, 0))
        return [rate * ratio for ratio in self._ratios]

    def get_last_lr(self) -> list[Any]:
        """Return the rates that were written last, one a group."""
        return self.get_lr()

    def _update_lr(self, epoch: int | None = None) -> None:
        if epoch is not None:
            epoch = check_integer(self, "epoch", epoch, at_least=0)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._apply()

    def _apply(self) -> None:
        groups = self.optimizer.param_groups
        # Loading its state gives the optimizer new groups.
        if groups is not self._groups:
            self._groups = groups
            self._write = rate_writer(groups, self._ratios)
        if len(groups) != len(self._ratios):
            requirement = (
                f"keep its {len(self._ratios)} parameter groups: for more, make a new ScheduleLR, "
                f"with last_epoch={self.last_epoch - 1} to go on from here"
            )
            raise ParameterValueError(self, "optimizer", requirement, len(groups))
        self._write(self.schedule(self.last_epoch))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_write"} | {
            "_groups": None
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state: the step and the schedule that it belongs to, plain Python objects."""
        return {"step": self.last_epoch, "schedule": repr(self.schedule)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the step of a saved state, and set the optimizer's rates for it.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` returned.

        Raises
        ------
        TypeError, ValueError
            If the state is another schedule's, or no state of a ScheduleLR.
        """
        requirement = "be the state of a ScheduleLR, with keys 'step' and 'schedule'"
        if not isinstance(state_dict, dict):
            raise ParameterTypeError(self, "state_dict", requirement, state_dict)
        if set(state_dict) != {"step", "schedule"}:
            raise ParameterValueError(self, "state_dict", requirement, list(state_dict))
        if state_dict["schedule"] != repr(self.schedule):
            requirement = f"be the state of {self.schedule!r}"
            raise ParameterValueError(self, "state_dict", requirement, state_dict["schedule"])
        self.last_epoch = check_integer(self, "step", state_dict["step"], at_least=-1)
        # Within a SequentialLR the schedulers whose turn has not come stand at step -1.
        if self.last_epoch >= 0:
            self._apply()
