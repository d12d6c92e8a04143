"""The callback that keeps the weights of the moments that a schedule names."""

from __future__ import annotations

from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback

from sklr._module_state import ModuleState, module_state, state_dict_of
from sklr._validation import ParameterTypeError, check_verbose
from sklr.callbacks._base import ScheduleCallback
from sklr.callbacks._run import runs

StateDict = dict[str, torch.Tensor]


class Snapshots(Callback):
    """Copies of the weights at the moments that the net's schedule names, the ends of its cycles.

    The schedule is the callback of this package that the net has beside this one; it says when a
    snapshot is due. Only `state_dict`s are kept, on the CPU.

    Parameters
    ----------
    verbose : int, default=0
        1 prints a line a snapshot.

    Attributes
    ----------
    snapshots_ : list of dict
        The module's `state_dict` at each snapshot, oldest first.
    states_ : list of dict
        The same with what a `state_dict` leaves out: buffers that are not persistent, and tensors
        and numbers that are plain attributes of modules.
    steps_ : list of int
        The counts of completed steps after which they were taken.

    Raises
    ------
    TypeError
        At the start of fit, if the net has no schedule that says when snapshots are due.

    References
    ----------
    Huang, Li, Pleiss, Liu, Hopcroft, Weinberger: Snapshot ensembles: train 1, get M for free.
    ICLR 2017.

    Examples
    --------
    >>> from sklr.callbacks import Snapshots
    >>> Snapshots().get_params()
    {'verbose': 0}
    """

    def __init__(self, verbose: int = 0) -> None:
        self.verbose = verbose

    def initialize(self) -> Snapshots:
        """Forget earlier snapshots."""
        self.states_: list[ModuleState] = []
        self.steps_: list[int] = []
        return self

    @property
    def snapshots_(self) -> list[StateDict]:
        """The module's `state_dict` at each snapshot."""
        return [state_dict_of(state) for state in self.states_]

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Raise if the net has no schedule."""
        check_verbose(self, self.verbose)
        if not any(isinstance(callback, ScheduleCallback) for _, callback in net.callbacks_):
            requirement = "hold a schedule of sklr.callbacks, which says when snapshots are due"
            raise _callbacks_error(net, requirement)

    def on_batch_begin(
        self, net: NeuralNet, batch: Any = None, training: bool | None = None, **kwargs: Any
    ) -> None:
        """Raise if the schedule cannot say when snapshots are due."""
        if training and runs[net].snapshot_steps is None:
            requirement = (
                "hold a schedule that says when snapshots are due: no bare function of the step, "
                "and training data that has a length"
            )
            raise _callbacks_error(net, requirement)

    def on_batch_end(
        self, net: NeuralNet, batch: Any = None, training: bool | None = None, **kwargs: Any
    ) -> None:
        """Copy the weights if a cycle has ended with this step."""
        due = runs[net].due_snapshot() if training else None
        if due is not None:
            self.states_.append(module_state(net.module_))
            self.steps_.append(due)
            if self.verbose:
                epoch, count = len(net.history), len(self.states_)
                print(f"Snapshot {count} taken after step {due} (epoch {epoch}).")


def _callbacks_error(net: NeuralNet, requirement: str) -> ParameterTypeError:
    names = [name for name, _ in net.callbacks_]
    return ParameterTypeError(net, "callbacks", requirement, names)
