"""Train a net so that an interrupted training goes on, and ends as if it had not been."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.history import History
from torch import nn
from torch.utils.data import Dataset

from sklr._checkpoint import _files
from sklr._checkpoint._shapes import HISTORY
from sklr._module_state import load_module_state, module_state
from sklr._training._fit import fit_net
from sklr._training._seeding import GeneratorStates, generator_states, set_generator_states
from sklr._validation import ParameterValueError
from sklr.callbacks import Snapshots

RESUMABLE = frozenset(
    (
        "BatchScoring",
        "EpochScoring",
        "EpochTimer",
        "Freezer",
        "GradientNormClipping",
        "Initializer",
        "ParamMapper",
        "PassthroughScoring",
        "PrintLog",
        "Unfreezer",
    )
)
"""skorch's callbacks whose only state from one epoch to the next is in the history. They are known
by name, so that one that a release of skorch lacks is no error."""
REBUILT = frozenset(
    (
        "X_indexing_",
        "best_score_",
        "epoch_start_time_",
        "first_iteration_",
        "keys_ignored_",
        "name_",
        "scoring_",
        "y_indexing_",
        "y_preds_",
        "y_trues_",
    )
)
"""Attributes of these callbacks, and of subclasses, that are made anew as a training goes on."""

N_PARTS = 100
"""Longer lists and dicts are data, and are not searched for generators."""
PLAIN = bool | int | float | str | None
"""Types of attributes that are compared to see whether a callback counts something."""
GENERATORS = torch.Generator | np.random.Generator | np.random.RandomState | random.Random

SHAPE = {"frozen": {str: [str]}, "history": HISTORY, "snapshot_steps": [int]}
"""What is written beside the parts."""

RESTORE = "sklr_restore"


class Checkpoints(Callback):
    """Write at the end of each epoch what the training needs to go on from there.

    It is the last of the callbacks, so that nothing random is drawn between what it writes and the
    next epoch.

    Parameters
    ----------
    folder : Path
        The folder to write into.
    snapshots : Snapshots
        The callback beside it whose snapshots are kept too.
    """

    def __init__(self, folder: Path, snapshots: Snapshots) -> None:
        self.folder = folder
        self.snapshots = snapshots

    def initialize(self) -> Checkpoints:
        """Forget what an earlier training went on from."""
        self.before_: tuple[dict[str, Any], dict[str, Any]] | None = None
        return self

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Check that the training can be resumed, and restore weights and snapshots."""
        check_resumable(net, X)
        # What changes from here to the end of the first epoch is a state that would be lost.
        self.at_begin_ = {name: _state(callback) for name, callback in _others(net)}
        if self.before_ is not None:
            # Not in `initialize`, after which other callbacks may still make the module anew.
            with _files.must_fit(self.folder, "module, criterion and optimizer"):
                self._take_up(net, *self.before_)
            self.before_ = None

    def _take_up(self, net: NeuralNet, parts: dict[str, Any], values: dict[str, Any]) -> None:
        for name, part in _stateful_parts(net):
            if isinstance(part, nn.Module):
                load_module_state(part, parts[name])
                # A callback may have frozen them in an epoch that is not trained again.
                for key, parameter in part.named_parameters():
                    parameter.requires_grad_(key not in values["frozen"][name])
            else:
                part.load_state_dict(parts[name])
        self.snapshots.steps_ = values["snapshot_steps"]
        n_snapshots = len(values["snapshot_steps"])
        self.snapshots.states_ = [parts[f"snapshot_{i + 1}"] for i in range(n_snapshots)]

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Write all that the next epoch depends on."""
        states = {name: _state(callback) for name, callback in _others(net)}
        changed = [name for name, state in states.items() if state != self.at_begin_[name]]
        if changed:
            # Only now is it seen that the callback counts something.
            raise _stateful(net, changed)
        parts: dict[str, Any] = {}
        frozen = {}
        for name, part in _stateful_parts(net):
            if isinstance(part, nn.Module):
                parts[name] = module_state(part)
                frozen[name] = [k for k, p in part.named_parameters() if not p.requires_grad]
            else:
                parts[name] = part.state_dict()
        parts["random"] = [generator_states(), [g.get_state() for _, g in _generators(net)]]
        # A part each: those of earlier epochs have not changed, and are not written again.
        for i, state in enumerate(self.snapshots.states_):
            parts[f"snapshot_{i + 1}"] = state
        values = {
            "frozen": frozen,
            "history": net.history.to_list(),
            "snapshot_steps": self.snapshots.steps_,
        }
        _files.write(self.folder, parts, values)


class Restore(Callback):
    """Set the states of random generators to those at the interruption.

    They are set as the first epoch begins, after the data is split anew, which draws from them. It
    is the first of the callbacks, so that what others draw in this epoch is drawn from them too.

    Parameters
    ----------
    checkpoints : Checkpoints
        The callback that knows what was written.
    states : object
        The states.
    """

    def __init__(self, checkpoints: Checkpoints, states: Any) -> None:
        self.checkpoints = checkpoints
        self.states = states

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Set them in the first epoch."""
        if self.states is None:
            return
        with _files.must_fit(self.checkpoints.folder, "generators of the net"):
            globals_, own = self.states
            set_generator_states(GeneratorStates(*globals_))
            for (_, generator), state in zip(_generators(net), own, strict=True):
                generator.set_state(state)
        self.states = None


def fit_durably(net: NeuralNet, X: Any, y: Any, checkpoints: Checkpoints) -> None:
    """Fit a net, or resume the fit that a folder holds, with the same result bit for bit.

    Parameters
    ----------
    net : NeuralNet
        Not initialized; `checkpoints` is the last of its callbacks. Everything random is seeded
        as it was when the fit began.
    X, y : object
        The same data as then.
    checkpoints : Checkpoints
        Knows the folder.

    Raises
    ------
    CheckpointError
        If a file cannot be read or written or does not fit the net, or another training uses the
        folder.
    ValueError
        If the net has callbacks, workers or generators with a state that checkpoints do not keep.
    """
    with _files.locked(checkpoints.folder):
        if not _files.exists(checkpoints.folder):
            fit_net(net, X, y)
            return
        # The net is initialized as in the first fit, and the state restored at `on_train_begin`.
        parts, values = _files.read(checkpoints.folder, SHAPE)
        net.initialize()
        checkpoints.before_ = parts, values
        restore = Restore(checkpoints, parts.get("random"))
        # Directly: as a parameter it would initialize all callbacks again.
        net.callbacks_.insert(0, (RESTORE, restore))
        net.history = History(values["history"])
        if checkpoints.snapshots.verbose:
            print(f"The training goes on after epoch {len(net.history)} ({checkpoints.folder}).")
        fit_net(net, X, y, epochs=net.max_epochs - len(net.history))
        # A fit that was not interrupted has no such callback.
        net.callbacks_.remove((RESTORE, restore))


def seed_of(folder: Path, seed: int) -> int:
    """Return the seed that a folder's fit began with; if it is the first, write this one."""
    with _files.locked(folder):
        if not _files.exists(folder):
            _files.write(folder, {}, {"seed": seed})
            return seed
        _, values = _files.read(folder, {"seed": int})
        return int(values["seed"])


def check_resumable(net: NeuralNet, X: Any) -> None:
    """Check that checkpoints hold all of the state of a training.

    Raises
    ------
    ValueError
        If the net has persistent workers, if its samplers or data draw from generators of their
        own that checkpoints do not keep, or if callbacks have attributes of a state of their own.
    """
    # Workers that outlive an epoch have generators and data sets of their own, out of reach here.
    for part in ("train", "valid"):
        name = f"iterator_{part}__persistent_workers"
        if getattr(net, name, False):
            requirement = "be False with checkpoints, which do not keep what these workers hold"
            raise ParameterValueError(net, name, requirement, True)
    for name, generator in _generators(net):
        if not isinstance(generator, torch.Generator):
            requirement = "draw from a generator of torch's: checkpoints keep no other's state"
            raise ParameterValueError(net, name, requirement, generator)
    for generator in _held_generators(X) if isinstance(X, Dataset) else ():
        requirement = (
            "draw from torch's, numpy's or Python's global generator with checkpoints, which keep "
            "no other's state"
        )
        raise ParameterValueError("fit", "X", requirement, generator)
    stateful = [
        name
        for name, callback in _others(net)
        # Those of skorch's that are known to have none are not among the others.
        if type(callback).__module__.startswith("skorch.")
        or any(key.endswith("_") for key in _state(callback))
    ]
    if stateful:
        raise _stateful(net, stateful)


def _stateful(net: NeuralNet, names: list[str]) -> ParameterValueError:
    requirement = "hold no callback with a state of its own, which checkpoints do not keep"
    return ParameterValueError(net, "callbacks", requirement, names)


def _others(net: NeuralNet) -> Iterator[tuple[str, Callback]]:
    """Yield the callbacks that may have a state: all but sklr's own, and skorch's without one."""
    for name, callback in net.callbacks_:
        own = type(callback).__module__.startswith("sklr.")
        if not own and not _is_resumable(type(callback)):
            yield name, callback


def _is_resumable(cls: type) -> bool:
    return cls.__module__.startswith("skorch.") and cls.__name__ in RESUMABLE


def _state(callback: Callback) -> dict[str, Any]:
    """Return what may be the state of a callback: fitted attributes, and numbers of any name.

    Of fitted attributes that are neither numbers nor text only the name counts; others of that kind
    are parameters. What skorch's callbacks, and subclasses of them, make anew is left out.
    """
    inherits = any(_is_resumable(cls) for cls in type(callback).__mro__)
    return {
        name: value if isinstance(value, PLAIN) else None
        for name, value in vars(callback).items()
        if (name.endswith("_") or isinstance(value, PLAIN)) and not (inherits and name in REBUILT)
    }


def _stateful_parts(net: NeuralNet) -> Iterator[tuple[str, Any]]:
    """Yield the modules, criteria and optimizers that have a state, by name."""
    # Private, but the only lists of what a net's subclass may have added.
    for name in (*net._modules, *net._criteria, *net._optimizers):
        part = getattr(net, f"{name}_", None)
        if hasattr(part, "load_state_dict"):
            yield name, part


def _generators(net: NeuralNet) -> Iterator[tuple[str, Any]]:
    """Yield the generators of their own that the net's data is drawn with, by parameter."""
    for part in ("dataset", "iterator_train", "iterator_valid"):
        for key, value in net.get_params_for(part).items():
            for generator in _held_generators(value):
                yield f"{part}__{key}", generator


def _held_generators(root: object) -> Iterator[Any]:
    """Yield the generators that a value is or holds, as samplers, data sets and transforms do."""
    todo, seen = [root], set()
    while todo:
        value = todo.pop()
        # By identity: objects may hold each other, and need not be hashable.
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, GENERATORS):
            yield value
        elif isinstance(value, dict | list | tuple):
            items = value.values() if isinstance(value, dict) else value
            todo.extend(items if len(value) < N_PARTS else ())
        elif not isinstance(value, type | FunctionType | ModuleType):
            todo.extend(getattr(value, "__dict__", {}).values())
