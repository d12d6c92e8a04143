"""The skorch net inside an estimator, the callbacks that it has, and its schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import skorch.callbacks
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler

from sklr._validation import ParameterTypeError, ParameterValueError
from sklr.callbacks import Schedule, Snapshots
from sklr.callbacks._base import ScheduleCallback
from sklr.callbacks._named import NamedSchedule

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
    """Find the one net in an estimator: itself, or in (nested) Pipelines or regressors of targets.

    Parameters
    ----------
    owner : object
        Whose `estimator` parameter it is, for messages.
    estimator : NeuralNet, Pipeline or TransformedTargetRegressor
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
        If it is another kind of estimator.
    ValueError
        If it holds no net, or several.
    """
    if not isinstance(estimator, NeuralNet | Pipeline | TransformedTargetRegressor):
        requirement = (
            "be a skorch net, or a Pipeline or TransformedTargetRegressor that holds exactly one"
        )
        raise ParameterTypeError(owner, "estimator", requirement, estimator)
    nets = list(_parts_in(estimator, NeuralNet, fitted=False))
    if len(nets) != 1:
        requirement = f"hold exactly one skorch net, where there are {len(nets)}"
        raise ParameterValueError(owner, "estimator", requirement, estimator)
    return nets[0]


def fitted_part(estimator: Any, kind: type) -> Any:
    """Give the one part of a class in a fitted estimator."""
    ((_, part),) = _parts_in(estimator, kind, fitted=True)
    return part


def _parts_in(
    estimator: Any, kind: type, *, fitted: bool, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    if isinstance(estimator, kind):
        yield prefix, estimator
    elif isinstance(estimator, Pipeline):
        for name, step in estimator.steps:
            yield from _parts_in(step, kind, fitted=fitted, prefix=f"{prefix}{name}__")
    elif isinstance(estimator, TransformedTargetRegressor):
        # It fits a clone of its parameter.
        inner = estimator.regressor_ if fitted else estimator.regressor
        yield from _parts_in(inner, kind, fitted=fitted, prefix=f"{prefix}regressor__")


def named_callbacks(net: NeuralNet) -> list[tuple[str, Callback]]:
    """Give the user's callbacks with the names that parameters reach them by, before any fit."""
    if net.callbacks is None or isinstance(net.callbacks, str):
        return []
    given = [item if isinstance(item, tuple | list) else (None, item) for item in net.callbacks]
    classes = Counter(_class_of(callback).__name__ for name, callback in given if name is None)
    seen: Counter[str] = Counter()
    named = []
    for given_name, callback in given:
        name = given_name
        if name is None:
            # skorch's own rule: the class's name, with a number where several share it.
            name = _class_of(callback).__name__
            seen[name] += 1
            if classes[name] > 1:
                name = f"{name}_{seen[name]}"
        # A callback that was swapped by set_params stands beside the list.
        named.append((name, getattr(net, f"callbacks__{name}", callback)))
    return [(name, callback) for name, callback in named if callback is not None]


def find_schedule(net: NeuralNet) -> tuple[str, ScheduleCallback] | None:
    """Give the net's schedule of this package with its name, or None."""
    found = [
        (name, callback)
        for name, callback in named_callbacks(net)
        if issubclass(_class_of(callback), NamedSchedule | Schedule)
    ]
    if len(found) > 1:
        requirement = "hold at most one schedule, since the last to write the rate wins"
        raise ParameterValueError(net, "callbacks", requirement, [name for name, _ in found])
    for name, callback in found:
        return name, callback() if isinstance(callback, type) else callback
    return None


def replace_schedule(net: NeuralNet, new: list[tuple[str, Callback]]) -> None:
    """Take schedules and snapshots out of a clone's callbacks, in favour of others."""
    _replace(net, (ScheduleCallback, LRScheduler, Snapshots), new)


def make_silent(net: NeuralNet) -> None:
    """Take everything but what changes training out of a clone's callbacks."""
    _replace(net, (ScheduleCallback, LRScheduler, Snapshots, *SIDE_EFFECTS), [])
    _drop_defaults(net)
    net.set_params(verbose=0, warm_start=False)


def _replace(net: NeuralNet, classes: tuple[type, ...], new: list[tuple[str, Callback]]) -> None:
    """Put callbacks in place of those of some classes, in an uninitialized clone."""
    if net.callbacks == "disable":
        _drop_defaults(net)
    kept = named_callbacks(net)
    dropped = [name for name, callback in kept if issubclass(_class_of(callback), classes)]
    for key in [key for key in vars(net) if key.startswith("callbacks__")]:
        # Parameters of what is no longer there would be an error when the net is initialized.
        if key.split("__")[1] in dropped:
            delattr(net, key)
    net.callbacks = [item for item in kept if item[0] not in dropped] + new


def _drop_defaults(net: NeuralNet) -> None:
    """Take skorch's own callbacks, which score, time and print, out of an uninitialized clone."""
    own = {name for name, _ in named_callbacks(net)}
    for name, _ in net.get_default_callbacks():
        key = f"callbacks__{name}"
        if name in own or getattr(net, key, None) is not None:
            continue
        for parameter in [other for other in vars(net) if other.startswith(f"{key}__")]:
            delattr(net, parameter)
        setattr(net, key, None)


def _class_of(callback: Any) -> type:
    return callback if isinstance(callback, type) else type(callback)
