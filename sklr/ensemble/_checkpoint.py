"""A training that goes on where it was interrupted, and ends as if it had not been."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skorch.callbacks
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.history import History

from sklr._validation import ParameterValueError
from sklr.callbacks import Snapshots
from sklr.ensemble import _files

STATELESS = tuple(
    getattr(skorch.callbacks, name)
    for name in (
        "BatchScoring",
        "EpochScoring",
        "EpochTimer",
        "GradientNormClipping",
        "PassthroughScoring",
        "PrintLog",
    )
)
"""Callbacks of skorch's whose state is nothing, or comes from the history."""


class Checkpoints(Callback):
    """Writes at the end of each epoch what the training needs to go on from there.

    It comes last among the callbacks.

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
        self.before_: tuple[dict[str, _files.Tensors], dict[str, Any]] | None = None
        return self

    def go_on_from(self, before: tuple[dict[str, _files.Tensors], dict[str, Any]]) -> None:
        """Say what was written before the interruption."""
        self.before_ = before

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Refuse what could not go on, and take up weights and snapshots."""
        check_can_go_on(net)
        if self.before_ is None:
            return
        # Not before: other callbacks may have made the module anew.
        tensors, values = self.before_
        net.module_.load_state_dict(tensors["module"])
        if "criterion" in tensors:
            net.criterion_.load_state_dict(tensors["criterion"])
        net.optimizer_.load_state_dict(_joined(tensors.get("optimizer", {}), values["optimizer"]))
        self.snapshots.steps_ = list(values["snapshot_steps"])
        self.snapshots.snapshots_ = [
            tensors[f"snapshot_{i + 1}"] for i in range(len(self.snapshots.steps_))
        ]

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Set the random states of the interruption, once the data was split anew."""
        if self.before_ is not None:
            _set_random_states(self.before_[0]["random"], self.before_[1]["random"])
            self.before_ = None

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Write."""
        random_tensors, random_values = _random_states()
        optimizer_tensors, optimizer_values = _split(net.optimizer_.state_dict())
        tensors = {
            "module": net.module_.state_dict(),
            "optimizer": optimizer_tensors,
            "random": random_tensors,
        }
        criterion: _files.Tensors = getattr(net.criterion_, "state_dict", dict)()
        if criterion:
            tensors["criterion"] = criterion
        for i, state in enumerate(self.snapshots.snapshots_):
            tensors[f"snapshot_{i + 1}"] = state
        values = {
            "optimizer": optimizer_values,
            "random": random_values,
            "history": net.history.to_list(),
            "snapshot_steps": self.snapshots.steps_,
        }
        _files.write(self.folder, {k: v for k, v in tensors.items() if v}, values)


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
        If a file cannot be read or written, or another training uses the folder.
    ValueError
        If the net has callbacks or workers with a state that cannot be taken up.
    """
    with _files.locked(checkpoints.folder):
        if not _files.exists(checkpoints.folder):
            net.fit(X, y)
            return
        before = _files.read(checkpoints.folder)
        net.initialize()
        checkpoints.go_on_from(before)
        net.history = History(before[1]["history"])
        net.partial_fit(X, y, epochs=net.max_epochs - len(net.history))


def seed_of(folder: Path, seed: int) -> int:
    """Give the seed that a folder's fit began with, or note that it begins with this one."""
    if _files.exists(folder):
        return int(_files.read(folder)[1]["seed"])
    _files.write(folder, {}, {"seed": seed})
    return seed


def check_can_go_on(net: NeuralNet) -> None:
    """Refuse a net whose training has a state that no checkpoint holds.

    Raises
    ------
    ValueError
        If it has persistent workers, or callbacks with attributes of a state of their own.
    """
    if getattr(net, "iterator_train__persistent_workers", False):
        requirement = "be False with checkpoints: what persistent workers hold is lost"
        raise ParameterValueError(net, "iterator_train__persistent_workers", requirement, True)
    if getattr(net, "iterator_train__generator", None) is not None:
        requirement = "be None with checkpoints, which do not keep the state of a generator"
        raise ParameterValueError(
            net, "iterator_train__generator", requirement, net.iterator_train__generator
        )
    stateful = [
        name
        for name, callback in net.callbacks_
        if not isinstance(callback, STATELESS)
        and not type(callback).__module__.startswith("sklr.")
        and (type(callback).__module__.startswith("skorch.") or _state(callback))
    ]
    if stateful:
        requirement = "hold no callback with a state of its own, which checkpoints do not keep"
        raise ParameterValueError(net, "callbacks", requirement, stateful)


def _state(callback: Callback) -> list[str]:
    return [name for name in vars(callback) if name.endswith("_")]


def _split(state: dict[str, Any]) -> tuple[_files.Tensors, dict[str, Any]]:
    """Give an optimizer's state as tensors and as what JSON takes."""
    tensors: _files.Tensors = {}
    rest: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        rest[str(index)] = {}
        for name, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}/{name}"] = value
            else:
                rest[str(index)][name] = value
    return tensors, {"state": rest, "param_groups": state["param_groups"]}


def _joined(tensors: _files.Tensors, values: dict[str, Any]) -> dict[str, Any]:
    """Undo `_split`."""
    state: dict[int, dict[str, Any]] = {int(i): dict(v) for i, v in values["state"].items()}
    for key, tensor in tensors.items():
        index, name = key.split("/", 1)
        state[int(index)][name] = tensor
    groups = [
        {name: tuple(v) if name == "betas" else v for name, v in group.items()}
        for group in values["param_groups"]
    ]
    return {"state": state, "param_groups": groups}


def _random_states() -> tuple[_files.Tensors, dict[str, Any]]:
    """Give the states of torch's, numpy's and Python's global generators."""
    kind, keys, *numpy_rest = np.random.get_state()  # noqa: NPY002
    version, numbers, gauss = random.getstate()
    tensors = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "python": torch.tensor(numbers, dtype=torch.int64),
    }
    for i, state in enumerate(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ()):
        tensors[f"cuda_{i}"] = state
    return tensors, {"numpy": [kind, *numpy_rest], "python": [version, gauss]}


def _set_random_states(tensors: _files.Tensors, values: dict[str, Any]) -> None:
    torch.set_rng_state(tensors["torch"])
    kind, *numpy_rest = values["numpy"]
    keys = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state((kind, keys, *numpy_rest))  # noqa: NPY002
    version, gauss = values["python"]
    random.setstate((version, tuple(tensors["python"].tolist()), gauss))
    cuda: Sequence[torch.Tensor] = [
        tensors[name] for name in sorted(tensors) if name.startswith("cuda_")
    ]
    if cuda and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(list(cuda))
