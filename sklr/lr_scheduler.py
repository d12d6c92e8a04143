"""Schedules and the learning-rate range test, for people with plain training loops."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sklr import _curves, _ramp
from sklr._module_state import load_module_state, module_state
from sklr._param_groups import (
    Groups,
    guessed_reference,
    initial_rates,
    initial_ratios,
    rate_writer,
    warn_of_excess,
)
from sklr._validation import (
    Description,
    ParameterTypeError,
    ParameterValueError,
    check_integer,
    check_number,
    in_name_of,
)
from sklr.plotting import LRRangeDisplay
from sklr.schedules import BaseSchedule, RangeTest


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


class RangeTestLR:
    """The learning-rate range test for a plain torch loop: the rate rises, each loss is noted.

    The first rate is set when it is made; `step`, called after each step of the optimizer, notes
    the loss, sets the next rate and returns whether to stop. Then `suggest` returns a rate, and
    `restore` undoes the ramp, as leaving a `with` block does, whether or not by an exception.
    `LRFinder` is its like for skorch, and gives the same rates, losses and suggestion for the same
    batches. Parameter groups keep the proportion of their initial rates: the ramp takes the place
    of the optimizer's default rate, or of the highest group's if no group has that.

    An exception in the loop, as some losses raise at a rate too high, is left to the loop; what was
    recorded before it can still be asked for a suggestion.

    Nothing is hooked into the optimizer. What `restore` needs is copied to the CPU's memory when
    the test is made: one copy of the module (of the optimizer's parameters if there is no
    `module`), and of the optimizer's state and gradients if it has any by then. Random generators,
    data loaders and the module's training mode are not restored.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its rates are written when the test is made and at each `step`.
    module : torch.nn.Module, default=None
        What the optimizer trains, whose whole state `restore` puts back, such as the running
        statistics of BatchNorm. With None these are the parameters in the optimizer's groups.
    min_lr : float, default=1e-7
        The first rate, above 0 on the log scale.
    max_lr : float, default=10.0
        The last rate.
    n_steps : int, default=100
        Length of the ramp in steps of the optimizer, at least 10.
    scale : {'log', 'linear'}, default='log'
        Whether steps multiply the rate or add to it.

    Attributes
    ----------
    lrs_ : list of float
        The rates so far.
    losses_ : list of float
        The training loss that each rate produced.
    ended_ : {None, 'complete', 'diverged', 'not finite'}
        How the ramp ended: after all its steps, as the loss rose far above its beginning, or as it
        was NaN or infinite (the last of `losses_`). None if it has not ended.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range, `optimizer` no optimizer or without rates, or `module` no
        module or one of which the optimizer trains no parameter.

    References
    ----------
    Smith: Cyclical learning rates for training neural networks. WACV 2017. Section 3.3.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_digits
    >>> from sklr.lr_scheduler import RangeTestLR
    >>> X, y = (torch.tensor(array) for array in load_digits(return_X_y=True))
    >>> _ = torch.manual_seed(0)
    >>> module = torch.nn.Linear(64, 10)
    >>> optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    >>> with RangeTestLR(optimizer, module=module) as ramp:
    ...     stop = False
    ...     while not stop:
    ...         rows = torch.randint(len(X), (64,))
    ...         loss = torch.nn.functional.cross_entropy(module(X[rows].float() / 16), y[rows])
    ...         optimizer.zero_grad()
    ...         loss.backward()
    ...         optimizer.step()
    ...         stop = ramp.step(loss)
    >>> 0.01 < ramp.suggest() < 1
    True
    >>> optimizer.param_groups[0]["lr"]
    0.1
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        module: nn.Module | None = None,
        min_lr: float = 1e-7,
        max_lr: float = 10.0,
        n_steps: int = 100,
        scale: str = "log",
    ) -> None:
        self.optimizer = optimizer
        self.module = module
        self.min_lr = min_lr
        self.max_lr = max_lr
        self.n_steps = n_steps
        self.scale = scale
        self._check_parts()
        check_integer(self, "n_steps", n_steps, at_least=_curves.MIN_POINTS)
        with in_name_of(self):
            self._value = RangeTest(min_lr=min_lr, max_lr=max_lr, n_steps=n_steps, scale=scale)
        groups = optimizer.param_groups
        rates = initial_rates(groups)
        reference = guessed_reference(rates, float(optimizer.defaults.get("lr", 0.0)))
        warn_of_excess(rates, reference, "make the optimizer with lr set to that group's rate")
        self._ratios = initial_ratios(groups, reference)
        self._groups: Groups | None = None
        self._write: Callable[[float], None]
        self._monitor = _curves.DivergenceMonitor()
        self._restored = False
        self.lrs_: list[float] = []
        self.losses_: list[float] = []
        self.ended_: str | None = None
        self._start = _Start(optimizer, module)
        self._set_rate(self._value(0))

    def step(self, loss: torch.Tensor | float) -> bool:
        """Record the loss of the current rate, set the next one, and return whether to stop.

        Parameters
        ----------
        loss : float or Tensor of no dimension
            The loss of the batch on which the optimizer has just taken its step; the mean loss of
            the batches, if several make a step. Neither the tensor nor its graph is kept.

        Returns
        -------
        bool
            Whether the ramp has ended: after `n_steps` steps, if it has diverged, or at a loss that
            is NaN or infinite. Then the rate stays as it is, until `restore`.

        Raises
        ------
        TypeError, ValueError
            If the loss is no single number, the ramp has ended or been undone, or the optimizer has
            got another number of parameter groups.
        """
        value = self._check_loss(loss)
        if self.ended_ is not None or self._restored:
            ended = _ramp.ending_in_words(self.ended_, len(self.lrs_))
            requirement = (
                f"be given before the end of the ramp ({ended}): for another one, make a new "
                "RangeTestLR"
            )
            raise ParameterValueError(self, "loss", requirement, value)
        if len(self.optimizer.param_groups) != len(self._ratios):
            requirement = f"keep its {len(self._ratios)} parameter groups until the ramp has ended"
            found = len(self.optimizer.param_groups)
            raise ParameterValueError(self, "optimizer", requirement, found)
        self.lrs_.append(self._lr)
        self.losses_.append(value)
        n_done = len(self.lrs_)
        self.ended_ = _ramp.ending(value, self._monitor, is_last=n_done == self.n_steps)
        if self.ended_ is None:
            self._set_rate(self._value(n_done))
        return self.ended_ is not None

    @property
    def status(self) -> str | None:
        """The outcome so far, one of those of `LRSuggestion`; None before the first step."""
        if not self.losses_:
            return None
        return _curves.summarize(_ramp.curve_of(self.lrs_, self.losses_)).status

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
        """
        self._check_begun()
        return _ramp.suggested_lr(_ramp.curve_of(self.lrs_, self.losses_))

    def plot(self, ax: Any = None) -> LRRangeDisplay:
        """Draw the loss of each rate, with the suggested rate if there is one.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        LRRangeDisplay
            With `ax_` and `figure_`.

        Raises
        ------
        RangeTestError
            Before the first step.
        """
        self._check_begun()
        return _ramp.draw(self.lrs_, self.losses_, self.ended_, self.scale, ax)

    def restore(self) -> None:
        """Put module and optimizer back to what they were when the test was made, bit for bit.

        That is the module's whole state (without a module the optimizer's parameters), gradients,
        and the optimizer's state, groups and rates. It may be called again; what was recorded
        stays, and the ramp cannot go on.
        """
        self._start.restore()
        self._restored = True

    def __enter__(self) -> RangeTestLR:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.restore()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_write"} | {
            "_groups": None
        }

    def _check_parts(self) -> None:
        optimizer, module = self.optimizer, self.module
        if not isinstance(optimizer, Optimizer):
            raise ParameterTypeError(self, "optimizer", "be a torch Optimizer", optimizer)
        if not all("lr" in group for group in optimizer.param_groups):
            requirement = "have a rate, 'lr', in each of its parameter groups"
            found = Description(type(optimizer).__name__)
            raise ParameterValueError(self, "optimizer", requirement, found)
        if module is None:
            return
        if not isinstance(module, nn.Module):
            raise ParameterTypeError(self, "module", "be a torch Module or None", module)
        held = {id(p) for p in module.parameters()}
        if not any(id(p) in held for group in optimizer.param_groups for p in group["params"]):
            # Another module would be put back, and the one that was trained not.
            requirement = "hold parameters that the optimizer trains"
            raise ParameterValueError(self, "module", requirement, module)

    def _check_loss(self, loss: Any) -> float:
        requirement = "be a number or a tensor of no dimension"
        if isinstance(loss, torch.Tensor):
            if loss.ndim:
                found = Description(f"a tensor of shape {tuple(loss.shape)}")
                raise ParameterValueError(self, "loss", requirement, found)
            loss = loss.item()
        if isinstance(loss, bool) or not isinstance(loss, numbers.Real):
            raise ParameterTypeError(self, "loss", requirement, loss)
        return float(loss)

    def _set_rate(self, rate: float) -> None:
        groups = self.optimizer.param_groups
        # Loading its state gives the optimizer new groups.
        if groups is not self._groups:
            self._groups = groups
            self._write = rate_writer(groups, self._ratios)
        self._write(rate)
        self._lr = rate

    def _check_begun(self) -> None:
        if not self.losses_:
            raise _curves.RangeTestError(
                "This RangeTestLR has seen no loss yet: call step(loss) after each step of the "
                "optimizer."
            )


class _Start:
    """What an optimizer and a module were at the start of a ramp, and the way back to it.

    The optimizer's own `load_state_dict` would not do: it runs hooks, casts states to the dtype of
    their parameters, and gives the optimizer new groups, to which others may hold references.
    """

    def __init__(self, optimizer: Optimizer, module: nn.Module | None) -> None:
        self.optimizer = optimizer
        self.module = module
        trained = {id(p): p for group in optimizer.param_groups for p in group["params"]}
        held = {} if module is None else {id(p): p for p in module.parameters()}
        self.module_state = None if module is None else module_state(module)
        # The optimizer may train more than the module, such as parameters of the criterion.
        self.others = [_keep(p) for key, p in trained.items() if key not in held]
        self.grads = [(p, _keep(p.grad)) for p in (held | trained).values()]
        self.state = [(p, _keep(state)) for p, state in optimizer.state.items()]
        self.groups = [
            (group, group["params"], _keep({k: v for k, v in group.items() if k != "params"}))
            for group in optimizer.param_groups
        ]

    def restore(self) -> None:
        if self.module is not None and self.module_state is not None:
            load_module_state(self.module, self.module_state)
        _put_back(self.others)
        for p, grad in self.grads:
            p.grad = _put_back(grad)
        self.optimizer.state.clear()
        self.optimizer.state.update({p: _put_back(state) for p, state in self.state})
        for group, params, settings in self.groups:
            group.clear()
            group.update({"params": params} | _put_back(settings))
        self.optimizer.param_groups[:] = [group for group, _, _ in self.groups]


@dataclass(frozen=True)
class _Kept:
    """A tensor and a copy of its values on the CPU.

    They are put back into the same tensor: a CUDA graph, or the user, may hold on to it.
    """

    tensor: torch.Tensor
    values: torch.Tensor


def _keep(value: Any) -> Any:
    """Return a copy of a nested value, in which tensors are kept with their values."""
    if isinstance(value, torch.Tensor):
        return _Kept(value, value.detach().to("cpu", copy=True))
    if type(value) is dict:
        return {key: _keep(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_keep(item) for item in value)
    return copy.deepcopy(value)


@torch.no_grad()
def _put_back(kept: Any) -> Any:
    """Return the nested value that `_keep` was given, with its tensors' values of then."""
    if isinstance(kept, _Kept):
        kept.tensor.copy_(kept.values)
        return kept.tensor
    if type(kept) is dict:
        return {key: _put_back(item) for key, item in kept.items()}
    if type(kept) in (list, tuple):
        return type(kept)(_put_back(item) for item in kept)
    # Another copy, since what is restored may be trained and restored again.
    return copy.deepcopy(kept)
