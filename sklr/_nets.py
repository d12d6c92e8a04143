"""The skorch net inside an estimator: finding it, its schedule, running it without a trace."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import skorch.callbacks
import torch
from sklearn.pipeline import Pipeline
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler

from sklr._validation import ParameterTypeError, ParameterValueError
from sklr.callbacks import Snapshots
from sklr.callbacks._base import ScheduleCallback

SIDE_EFFECTS = tuple(
    getattr(skorch.callbacks, name)
    for name in (
        "BatchScoring",
        "Checkpoint",
        "EarlyStopping",
        "EpochScoring",
        "EpochTimer",
        "LoadInitState",
        "MlflowLogger",
        "NeptuneLogger",
        "PassthroughScoring",
        "PrintLog",
        "ProgressBar",
        "SacredLogger",
        "TensorBoard",
        "TrainEndCheckpoint",
        "WandbLogger",
    )
)
"""Callbacks that stop, save, print or log, and leave the training itself as it is."""


def find_net(owner: object, estimator: Any) -> tuple[str, NeuralNet]:
    """Find the one net in an estimator: itself, or in a (nested) Pipeline or meta-estimator.

    Parameters
    ----------
    owner : object
        Whose `estimator` parameter it is, for messages.
    estimator : estimator
        What to look through.

    Returns
    -------
    prefix : str
        What the names of the net's parameters begin with: '' or such as 'net__'.
    net : NeuralNet
        The net itself, no copy.

    Raises
    ------
    TypeError
        If it is no estimator.
    ValueError
        If it holds no net, or several.
    """
    if isinstance(estimator, NeuralNet):
        return "", estimator
    if isinstance(estimator, type) or not hasattr(estimator, "get_params"):
        requirement = "be a skorch net, or an estimator that holds one"
        raise ParameterTypeError(owner, "estimator", requirement, estimator)
    params = estimator.get_params(deep=True)
    nets = {name: value for name, value in params.items() if isinstance(value, NeuralNet)}
    if len(nets) != 1:
        requirement = f"hold exactly one skorch net, where there are {len(nets)}"
        raise ParameterValueError(owner, "estimator", requirement, estimator)
    name, net = nets.popitem()
    return f"{name}__", net


def fitted_nets(estimator: Any) -> list[NeuralNet]:
    """Find the nets that a fit has trained; meta-estimators fit clones of their parameters."""
    if isinstance(estimator, NeuralNet):
        return [estimator] if estimator.initialized_ else []
    if isinstance(estimator, Pipeline):
        parts = [step for _, step in estimator.steps]
    else:
        parts = [value for name, value in vars(estimator).items() if name.endswith("_")]
    return [net for part in parts if hasattr(part, "get_params") for net in fitted_nets(part)]


def named_callbacks(net: NeuralNet) -> list[tuple[str, Callback]]:
    """Give the user's callbacks with the names that parameters reach them by, before any fit."""
    if net.callbacks is None or isinstance(net.callbacks, str):
        return []
    items = [
        item if isinstance(item, tuple | list) else (_class_of(item).__name__, item)
        for item in net.callbacks
    ]
    # A callback that was swapped by set_params stands beside the list.
    named = [(name, getattr(net, f"callbacks__{name}", callback)) for name, callback in items]
    return [(name, callback) for name, callback in named if callback is not None]


def find_schedule(net: NeuralNet) -> tuple[str, ScheduleCallback] | None:
    """Give the net's schedule of this package with its name, or None."""
    for name, callback in named_callbacks(net):
        if issubclass(_class_of(callback), ScheduleCallback):
            instance = callback() if isinstance(callback, type) else callback
            return name, instance
    return None


def replace_schedule(net: NeuralNet, new: list[tuple[str, Callback]]) -> None:
    """Take schedules and snapshots out of a clone's callbacks, in favour of others."""
    _replace(net, (ScheduleCallback, LRScheduler, Snapshots), new)


def make_silent(net: NeuralNet, new: list[tuple[str, Callback]]) -> None:
    """Take everything but what changes training out of a clone's callbacks, and add others."""
    _replace(net, (ScheduleCallback, LRScheduler, Snapshots, *SIDE_EFFECTS), new)
    net.set_params(verbose=0, warm_start=False)


def _replace(net: NeuralNet, classes: tuple[type, ...], new: list[tuple[str, Callback]]) -> None:
    """Put callbacks in place of those of some classes, in an uninitialized clone."""
    kept = named_callbacks(net)
    dropped = [name for name, callback in kept if issubclass(_class_of(callback), classes)]
    for key in [key for key in vars(net) if key.startswith("callbacks__")]:
        # Parameters of what is no longer there would be an error when the net is initialized.
        if key.split("__")[1] in dropped:
            delattr(net, key)
    net.callbacks = [item for item in kept if item[0] not in dropped] + new


def _class_of(callback: Any) -> type:
    return callback if isinstance(callback, type) else type(callback)


_turn = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch, numpy and random within, and leave them as they were found.

    The generators are global: trainings in threads take turns.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1.
    """
    with _turn, torch.random.fork_rng():
        # The generators of those who have no generator of their own, such as a net's split.
        numpy_state = np.random.get_state()  # noqa: NPY002
        python_state = random.getstate()
        try:
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)
