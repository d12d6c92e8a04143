"""The skorch net inside an estimator, its callbacks, and its schedule of the learning rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Any, Protocol, runtime_checkable

from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler

from sklr._validation import ParameterTypeError, ParameterValueError
from sklr.callbacks import Schedule, Snapshots
from sklr.callbacks._base import ScheduleCallback
from sklr.callbacks._named import NamedSchedule

SIDE_EFFECTS = frozenset(
    (
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
"""skorch's callbacks that stop, save, print or log, and leave the training itself as it is. They
are known by name, so that one that a release of skorch lacks is no error."""

SCHEDULES = (ScheduleCallback, LRScheduler, Snapshots)
"""Callbacks that set the learning rate, or follow its schedule."""


@dataclass(frozen=True)
class Target:
    """The net that an estimator trains.

    Attributes
    ----------
    net : NeuralNet
        The net itself, no copy.
    estimator : estimator
        The net, or what holds it; if the user's holds an ensemble, a copy with its net instead.
    prefix : str
        What the names of parameters of the net in `estimator` begin with: '' or such as 'net__'.
    net_params : str
        What they begin with in the user's estimator.
    schedule : schedule callback or None
        A copy of what sets the net's rate, with the parameters that the net sets for it; None is a
        constant rate.
    schedule_params : str or None
        What the names of its parameters in the user's estimator begin with; None if it is not
        there, but chosen by the ensemble, and takes its peak from the net's own rate.
    is_ensemble : bool
        Whether the user's estimator is or holds an ensemble of the net.
    """

    net: NeuralNet
    estimator: Any
    prefix: str
    net_params: str
    schedule: ScheduleCallback | None
    schedule_params: str | None
    is_ensemble: bool = False


@runtime_checkable
class EnsembleOfNet(Protocol):
    """An ensemble that trains one net by a schedule, and whose rate can be searched."""

    estimator: NeuralNet

    def _searched_schedule(self) -> tuple[ScheduleCallback, str | None]:
        """Return a copy of the schedule, and what its parameters' names begin with, if with any."""


def find_target(owner: object, estimator: Any) -> Target:
    """Find the one net in an estimator: itself, or in (nested) Pipelines or regressors of targets.

    Parameters
    ----------
    owner : object
        Whose `estimator` parameter it is, for messages.
    estimator : NeuralNet, ensemble of one, Pipeline or TransformedTargetRegressor
        The estimator.

    Raises
    ------
    TypeError
        If it is another kind of estimator.
    ValueError
        If it holds no net, or several, or the net has several schedules.
    """
    kinds = NeuralNet | EnsembleOfNet
    if not isinstance(estimator, kinds | Pipeline | TransformedTargetRegressor):
        requirement = (
            "be a skorch net or a snapshot ensemble, or a Pipeline or TransformedTargetRegressor "
            "that holds exactly one"
        )
        raise ParameterTypeError(owner, "estimator", requirement, estimator)
    parts = list(_parts_in(estimator, kinds, fitted=False))
    # A net is never a transformer, and so any ensembles beside it are steps before it.
    nets = [(prefix, part) for prefix, part in parts if isinstance(part, NeuralNet)]
    parts = nets if len(nets) == 1 else parts
    if len(parts) != 1:
        requirement = f"hold exactly one skorch net, and it holds {len(parts)}"
        raise ParameterValueError(owner, "estimator", requirement, estimator)
    prefix, part = parts[0]
    if isinstance(part, NeuralNet):
        name, schedule = find_schedule(part)
        params = None if schedule is None else f"{prefix}callbacks__{name}__"
        return Target(part, estimator, prefix, prefix, schedule, params)
    chosen, params = part._searched_schedule()
    net = part.estimator
    inner = clone(estimator).set_params(**{prefix.removesuffix("__"): net}) if prefix else net
    params = None if params is None else prefix + params
    return Target(net, inner, prefix, f"{prefix}estimator__", chosen, params, is_ensemble=True)


def fitted_part(estimator: Any, kind: type) -> Any:
    """Return the one part of a class in a fitted estimator."""
    ((_, part),) = _parts_in(estimator, kind, fitted=True)
    return part


def replace_fitted(estimator: Any, old: object, new: NeuralNet) -> None:
    """Put a fitted net in the place of another fitted part of a fitted estimator."""
    if isinstance(estimator, Pipeline):
        steps = [(name, new if step is old else step) for name, step in estimator.steps]
        estimator.steps = steps
        for _, step in steps:
            replace_fitted(step, old, new)
    elif isinstance(estimator, TransformedTargetRegressor):
        if estimator.regressor_ is old:
            # Its parameter is cloned in each fit, and stays unfitted.
            estimator.regressor, estimator.regressor_ = clone(new), new
        else:
            replace_fitted(estimator.regressor_, old, new)


def _parts_in(
    estimator: Any, kind: type | UnionType, *, fitted: bool, prefix: str = ""
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
    """Return the user's callbacks with the names that parameters reach them by, before any fit."""
    if net.callbacks is None or isinstance(net.callbacks, str):
        return []
    given = [item if isinstance(item, tuple | list) else (None, item) for item in net.callbacks]
    classes = Counter(_class_of(callback).__name__ for name, callback in given if name is None)
    seen: Counter[str] = Counter()
    named = []
    for given_name, callback in given:
        name = given_name
        if name is None:
            # skorch's own rule: the class's name, with a number if several share it.
            name = _class_of(callback).__name__
            seen[name] += 1
            if classes[name] > 1:
                name = f"{name}_{seen[name]}"
        # A callback that was swapped by set_params stands beside the list.
        named.append((name, getattr(net, f"callbacks__{name}", callback)))
    return [(name, callback) for name, callback in named if callback is not None]


def find_schedule(net: NeuralNet) -> tuple[str | None, ScheduleCallback | None]:
    """Return the name and a copy of the net's schedule of this package, or (None, None).

    Raises
    ------
    ValueError
        If there are several.
    """
    found = [
        (name, callback)
        for name, callback in named_callbacks(net)
        if issubclass(_class_of(callback), NamedSchedule | Schedule)
    ]
    if len(found) > 1:
        requirement = "hold at most one schedule, since the last to write the rate wins"
        raise ParameterValueError(net, "callbacks", requirement, [name for name, _ in found])
    if not found:
        return None, None
    name, callback = found[0]
    schedule = callback() if isinstance(callback, type) else clone(callback, safe=False)
    schedule.set_params(**net.get_params_for(f"callbacks__{name}"))
    return name, schedule


def replace_schedule(net: NeuralNet, new: list[tuple[str, Callback]]) -> None:
    """Put callbacks in place of the schedules and snapshots of an uninitialized clone."""
    _replace(net, new, silent=False)


def make_silent(net: NeuralNet) -> None:
    """Leave an uninitialized clone only the callbacks that change its training."""
    _replace(net, [], silent=True)
    _drop_defaults(net)
    # A sink that is not print prints without verbosity too, as AccelerateMixin's does.
    if hasattr(net, "callbacks__print_log__sink"):
        net.callbacks__print_log__sink = _discard
    net.set_params(verbose=0, warm_start=False)


def _discard(text: str) -> None:
    """Print nothing; a function that pickle finds by its name."""


def _replace(net: NeuralNet, new: list[tuple[str, Callback]], *, silent: bool) -> None:
    """Put callbacks in place of schedules and, if silent, of those with side effects."""
    if net.callbacks == "disable":
        _drop_defaults(net)
    kept = named_callbacks(net)
    dropped = {
        name
        for name, callback in kept
        if issubclass(_class_of(callback), SCHEDULES) or (silent and _is_side_effect(callback))
    }
    for key in [key for key in vars(net) if key.startswith("callbacks__")]:
        # Parameters of what is no longer there would be an error when the net is initialized.
        if key.split("__")[1] in dropped:
            delattr(net, key)
    net.callbacks = [item for item in kept if item[0] not in dropped] + new


def _drop_defaults(net: NeuralNet) -> None:
    """Take skorch's own callbacks, which score, time and print, out of an uninitialized clone.

    One that has parameters stays: a net's class may read them, as AccelerateMixin reads those of
    print_log.
    """
    own = {name for name, _ in named_callbacks(net)}
    for name, _ in net.get_default_callbacks():
        key = f"callbacks__{name}"
        has_params = any(other.startswith(f"{key}__") for other in vars(net))
        if name not in own and not has_params and getattr(net, key, None) is None:
            setattr(net, key, None)


def _is_side_effect(callback: Any) -> bool:
    return any(
        cls.__name__ in SIDE_EFFECTS and cls.__module__.startswith("skorch.")
        for cls in _class_of(callback).__mro__
    )


def _class_of(callback: Any) -> type:
    return callback if isinstance(callback, type) else type(callback)


def group_params(net: NeuralNet) -> list[Any] | None:
    """Return the net's `optimizer__param_groups` if any group has a rate of its own."""
    groups = getattr(net, "optimizer__param_groups", None)
    if groups and any("lr" in options for _, options in groups):
        return list(groups)
    return None
