"""A training that goes on where it was interrupted, and ends as if it had not been."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skorch.callbacks
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.history import History
from torch.utils.data import Sampler

from sklr._checkpoint import _files
from sklr._checkpoint._files import CheckpointError
from sklr._training._fit import run
from sklr._validation import ParameterValueError
from sklr.callbacks import Snapshots

STATELESS = tuple(
    getattr(skorch.callbacks, name)
    for name in (
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
"""Callbacks of skorch's whose state is nothing, or comes from the history."""

THEIR_STATE = frozenset(
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
"""What that is."""

RESTORE = "sklr_restore"

Before = tuple[dict[str, _files.Tensors], dict[str, Any]]
"""What a folder held: tensors and values."""


class Checkpoints(Callback):
    """Writes at the end of each epoch what the training needs to go on from there.

    It comes last among the callbacks, so that nothing random is drawn between what it writes and
    the next epoch.

    Parameters
    ----------
    folder : Path
        Where.
    snapshots : Snapshots
        The callback beside it whose snapshots are kept too.
    """

    def __init__(self, folder: Path, snapshots: Snapshots) -> None:
        self.folder = folder
        self.snapshots = snapshots

    def initialize(self) -> Checkpoints:
        """Begin with nothing to go on from."""
        self.before_: Before | None = None
        return self

    def go_on_from(self, before: Before) -> None:
        """Say what was written before the interruption."""
        self.before_ = before

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Refuse what could not go on, and take up weights and snapshots."""
        check_can_go_on(net)
        self.noted_ = {name: _noted(callback) for name, callback in _users(net)}
        if self.before_ is None:
            return
        # Not before: other callbacks may have made the module anew.
        tensors, values = self.before_
        for name, part in _parts(net):
            try:
                part.load_state_dict(_unpacked(values["states"][name], tensors.get(name, {})))
            except (KeyError, RuntimeError, ValueError) as error:
                raise CheckpointError(
                    f"What {self.folder} holds does not fit the {name} of the net ({error})."
                ) from error
            frozen = values["frozen"].get(name, ())
            for key, parameter in _parameters(part):
                parameter.requires_grad_(key not in frozen)
        self.snapshots.steps_ = list(values["snapshot_steps"])
        self.snapshots.snapshots_ = [
            tensors[f"snapshot_{i + 1}"] for i in range(len(self.snapshots.steps_))
        ]
        self.before_ = None

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Write."""
        self._check_is_stateless(net)
        tensors: dict[str, _files.Tensors] = {"random": {}}
        states, frozen = {}, {}
        for name, part in _parts(net):
            tensors[name] = {}
            states[name] = _packed(part.state_dict(), tensors[name])
            frozen[name] = [key for key, p in _parameters(part) if not p.requires_grad]
        for i, state in enumerate(self.snapshots.snapshots_):
            tensors[f"snapshot_{i + 1}"] = state
        values = {
            "states": states,
            "frozen": frozen,
            "random": _packed(_random_states(net), tensors["random"]),
            "history": net.history.to_list(),
            "snapshot_steps": self.snapshots.steps_,
        }
        _files.write(self.folder, {k: v for k, v in tensors.items() if v}, values)

    def _check_is_stateless(self, net: NeuralNet) -> None:
        """Refuse callbacks whose state only shows in training."""
        changed = [name for name, callback in _users(net) if _noted(callback) != self.noted_[name]]
        if changed:
            raise _stateful(net, changed)


class Restore(Callback):
    """Sets the random states of the interruption, once the data was split anew.

    It comes first among the callbacks, so that what others draw as the epoch begins is drawn from
    these states too.

    Parameters
    ----------
    tensors, values : dict
        What was written.
    """

    def __init__(self, tensors: _files.Tensors, values: Any) -> None:
        self.tensors = tensors
        self.values = values
        self.is_done_ = False

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Set them once."""
        if not self.is_done_:
            _set_random_states(net, _unpacked(self.values, self.tensors))
            self.is_done_ = True


def fit_durably(net: NeuralNet, X: Any, y: Any, checkpoints: Checkpoints) -> None:
    """Fit a net, or go on with the fit that a folder holds, to the same end bit for bit.

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
        If the net has callbacks or workers with a state that cannot be taken up.
    """
    with _files.locked(checkpoints.folder):
        if not _files.exists(checkpoints.folder):
            run(net, X, y)
            return
        tensors, values = _files.read(checkpoints.folder)
        net.initialize()
        checkpoints.go_on_from((tensors, values))
        restore = Restore(tensors["random"], values["random"])
        net.callbacks_.insert(0, (RESTORE, restore))
        net.history = History(values["history"])
        if checkpoints.snapshots.verbose:
            print(f"The training goes on after epoch {len(net.history)} ({checkpoints.folder}).")
        run(net, X, y, epochs=net.max_epochs - len(net.history))
        net.callbacks_.remove((RESTORE, restore))


def seed_of(folder: Path, seed: int) -> int:
    """Give the seed that a folder's fit began with, or note that it begins with this one."""
    with _files.locked(folder):
        if _files.exists(folder):
            return int(_files.read(folder)[1]["seed"])
        _files.write(folder, {}, {"seed": seed})
        return seed


def check_can_go_on(net: NeuralNet) -> None:
    """Refuse a net whose training has a state that no checkpoint holds.

    Raises
    ------
    ValueError
        If it has persistent workers, samplers with a generator of numpy's, or callbacks with
        attributes of a state of their own.
    """
    for part in ("train", "valid"):
        name = f"iterator_{part}__persistent_workers"
        if getattr(net, name, False):
            requirement = "be False with checkpoints: what persistent workers hold is lost"
            raise ParameterValueError(net, name, requirement, True)
    for name, generator in _generators(net):
        if not isinstance(generator, torch.Generator):
            requirement = "draw from a generator of torch's: checkpoints keep no other's state"
            raise ParameterValueError(net, name.split(".")[0], requirement, generator)
    stateful = [
        name
        for name, callback in net.callbacks_
        if not _is_known(callback)
        and (type(callback).__module__.startswith("skorch.") or _state(callback))
    ]
    if stateful:
        raise _stateful(net, stateful)


def _stateful(net: NeuralNet, names: list[str]) -> ParameterValueError:
    requirement = "hold no callback with a state of its own, which checkpoints do not keep"
    return ParameterValueError(net, "callbacks", requirement, names)


def _is_known(callback: Callback) -> bool:
    return type(callback) in STATELESS or type(callback).__module__.startswith("sklr.")


def _users(net: NeuralNet) -> Iterator[tuple[str, Callback]]:
    return ((name, callback) for name, callback in net.callbacks_ if not _is_known(callback))


def _state(callback: Callback) -> list[str]:
    known: frozenset[str] = THEIR_STATE if isinstance(callback, STATELESS) else frozenset()
    return [name for name in vars(callback) if name.endswith("_") and name not in known]


def _noted(callback: Callback) -> dict[str, Any]:
    """Give what would change in a callback that counts something."""
    simple = {
        name: value
        for name, value in vars(callback).items()
        if name not in THEIR_STATE and isinstance(value, bool | int | float | str | None)
    }
    return dict.fromkeys(_state(callback)) | simple


def _parts(net: NeuralNet) -> Iterator[tuple[str, Any]]:
    """Give the modules, criteria and optimizers that have a state, by name."""
    for name in (*net._modules, *net._criteria, *net._optimizers):
        part = getattr(net, f"{name}_", None)
        if hasattr(part, "load_state_dict"):
            yield name, part


def _parameters(part: Any) -> list[tuple[str, torch.Tensor]]:
    """Give a module's parameters by name; an optimizer has them from the modules."""
    return list(part.named_parameters()) if hasattr(part, "named_parameters") else []


def _packed(value: Any, tensors: _files.Tensors, path: str = "") -> Any:
    """Give nested values as JSON takes them, with their tensors put aside under their paths."""
    if isinstance(value, torch.Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, dict):
        items = [
            [key, _packed(item, tensors, f"{path}/{key}" if path else str(key))]
            for key, item in value.items()
        ]
        return {"dict": items}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_packed(item, tensors, f"{path}/{i}") for i, item in enumerate(value)]}
    return value


def _unpacked(value: Any, tensors: _files.Tensors) -> Any:
    """Undo `_packed`."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unpacked(item, tensors) for key, item in content}
    items = [_unpacked(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


def _generators(net: NeuralNet) -> Iterator[tuple[str, Any]]:
    """Give the generators of their own that the net's iterators draw from, by parameter."""
    kinds = torch.Generator | np.random.Generator | np.random.RandomState | random.Random
    for part in ("iterator_train", "iterator_valid"):
        for key, value in net.get_params_for(part).items():
            held = vars(value) if isinstance(value, Sampler) else {}
            for name, item in [("", value), *held.items()]:
                if isinstance(item, kinds):
                    yield f"{part}__{key}.{name}".rstrip("."), item


def _random_states(net: NeuralNet) -> dict[str, Any]:
    """Give the states of the generators: torch's, numpy's, Python's, and the net's own."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    version, numbers, gauss = random.getstate()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "torch": torch.get_rng_state(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": [version, torch.tensor(numbers, dtype=torch.int64), gauss],
        "cuda": cuda,
        "own": {name: generator.get_state() for name, generator in _generators(net)},
    }


def _set_random_states(net: NeuralNet, states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
    for name, generator in _generators(net):
        generator.set_state(states["own"][name])
