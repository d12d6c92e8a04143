"""Check the parameters of the ensembles, and choose the schedule."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from numbers import Real
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import clone, is_regressor
from skorch import NeuralNet
from skorch.callbacks import LRScheduler
from torch import nn

from sklr._training._holdout import Holdout, all_agree
from sklr._training._target import find_schedule, named_callbacks
from sklr._validation import (
    ParameterError,
    ParameterTypeError,
    ParameterValueError,
    check_integer,
    check_option,
    check_sequence,
    check_verbose,
)
from sklr._warnings import warn
from sklr.callbacks import FastGeometric, Schedule
from sklr.callbacks._base import ScheduleCallback
from sklr.callbacks._named import NamedSchedule
from sklr.ensemble._selection import Array, normalized

if TYPE_CHECKING:
    from sklr.ensemble._base import BaseSnapshotEnsemble

COMBINE = ("predictions", "parameters")
DEFAULT_SNAPSHOTS = 5
DEFAULT_PRETRAINING = 0.5
"""Of fast geometric ensembling: with five members the recipe of one training that did best on
validation data (benchmarks/results_ensemble_choice.md)."""


def check_params(ensemble: BaseSnapshotEnsemble) -> None:
    """Check the parameters as far as that needs no data."""
    check_estimator(ensemble)
    net = ensemble.estimator
    check_integer(net, "max_epochs", net.max_epochs, at_least=1)
    check_verbose(ensemble, ensemble.verbose)
    n_runs = check_integer(ensemble, "n_runs", ensemble.n_runs, at_least=1)
    for name in ("n_snapshots", "n_members"):
        optional_integer(ensemble, name)
    check_option(ensemble, "combine", ensemble.combine, COMBINE)
    if ensemble.combine == "parameters" and n_runs > 1:
        requirement = "be 1 with combine='parameters': runs end in different basins"
        raise ParameterValueError(ensemble, "n_runs", requirement, n_runs)
    if isinstance(ensemble.weights, str):
        if ensemble.weights != "greedy":
            requirement = "be 'greedy', a sequence of numbers, one a member, or None"
            raise ParameterValueError(ensemble, "weights", requirement, ensemble.weights)
        # Whether a split leaves rows to validate on is checked later, when there is data.
        if not net.train_split:
            raise _nothing_to_learn_from(ensemble)
    folder, schedule = ensemble.checkpoint_dir, ensemble.schedule
    if not (folder is None or isinstance(folder, str | PathLike)):
        raise ParameterTypeError(ensemble, "checkpoint_dir", "be a path or None", folder)
    if schedule is not None and not isinstance(schedule, NamedSchedule | Schedule):
        requirement = "be a schedule callback of sklr.callbacks or None"
        raise ParameterTypeError(ensemble, "schedule", requirement, schedule)


def check_estimator(ensemble: BaseSnapshotEnsemble) -> None:
    """Check that the estimator is a net of the ensemble's kind."""
    net = ensemble.estimator
    if not isinstance(net, NeuralNet):
        requirement = (
            "be a skorch net; preprocessing goes before the ensemble in a Pipeline, not into it"
        )
        raise ParameterTypeError(ensemble, "estimator", requirement, net)
    # Its loss and labels would not be those that the ensemble assumes.
    if is_regressor(net) != ensemble._regressor:
        requirement = (
            "be a regressor net; use SnapshotEnsemble for this one"
            if ensemble._regressor
            else "be a classifier net; use SnapshotEnsembleRegressor for this one"
        )
        raise ParameterTypeError(ensemble, "estimator", requirement, net)


def optional_integer(
    ensemble: BaseSnapshotEnsemble, name: str, *, at_most: int | None = None
) -> int | None:
    """Return a parameter that is None or an integer from 1 on, as a plain int."""
    value = getattr(ensemble, name)
    if value is None:
        return None
    return check_integer(ensemble, name, value, at_least=1, at_most=at_most)


def choose_schedule(ensemble: BaseSnapshotEnsemble) -> ScheduleCallback:
    """Return the schedule: the ensemble's, else the net's own, else the best measured.

    Raises
    ------
    TypeError
        If the net has a schedule that cannot say when snapshots are due.
    """
    if ensemble.schedule is not None:
        # A clone, so that the parameter stays as the user gave it.
        given: ScheduleCallback = clone(ensemble.schedule, safe=False)
        return given
    _, own = find_schedule(ensemble.estimator)
    if own is not None:
        return own
    named = named_callbacks(ensemble.estimator)
    # Two schedules would write the rate in turn.
    if any(isinstance(callback, LRScheduler) for _, callback in named):
        requirement = (
            "hold a schedule of sklr.callbacks, or none, in place of skorch's LRScheduler, which "
            "does not say when snapshots are due"
        )
        names = [name for name, _ in named]
        raise ParameterTypeError(ensemble.estimator, "callbacks", requirement, names)
    n_cycles = optional_integer(ensemble, "n_snapshots") or DEFAULT_SNAPSHOTS
    return FastGeometric(pretrain_fraction=DEFAULT_PRETRAINING, n_cycles=n_cycles)


@contextmanager
def in_terms_of_snapshots(ensemble: BaseSnapshotEnsemble) -> Iterator[None]:
    """Raise an error about the default schedule's cycles as one about `n_snapshots`."""
    try:
        yield
    except ParameterError as error:
        _, own = find_schedule(ensemble.estimator)
        # The cycles of any other schedule are a parameter of its own.
        if error.name != "n_cycles" or ensemble.schedule is not None or own is not None:
            raise
        requirement = f"{error.requirement} (training batches)"
        raise type(error)(ensemble, "n_snapshots", requirement, error.value) from None


def check_count(ensemble: BaseSnapshotEnsemble, count: int) -> None:
    """Check `n_snapshots`, `n_members` and `weights` against the number of snapshots planned."""
    if count == 0:
        requirement = "have a cycle that ends within the training"
        if ensemble.schedule is not None:
            raise ParameterValueError(ensemble, "schedule", requirement, ensemble.schedule)
        name, own = find_schedule(ensemble.estimator)
        raise ParameterValueError(ensemble.estimator, f"callbacks__{name}", requirement, own)
    if ensemble.n_snapshots not in (None, count):
        requirement = f"be None or the {count} cycles that the schedule ends"
        raise ParameterValueError(ensemble, "n_snapshots", requirement, ensemble.n_snapshots)
    n_members = optional_integer(ensemble, "n_members", at_most=count) or count
    if has_given_weights(ensemble):
        given_weights(ensemble, n_members * int(ensemble.n_runs))


def check_holdouts(
    ensemble: BaseSnapshotEnsemble, holdouts: list[Holdout], sample_weight: Array | None
) -> None:
    """Check `weights` and `n_runs` against the validation data of each run."""
    if isinstance(ensemble.weights, str):
        # Validation samples of weight 0 count for nothing: all of them together are none.
        rows = holdouts[0].valid_rows
        counting = None if rows is None or sample_weight is None else sample_weight[rows]
        if not holdouts[0].has_validation or (counting is not None and not counting.any()):
            raise _nothing_to_learn_from(ensemble)
        if not all_agree(holdouts):
            requirement = (
                "not be 'greedy' if runs validate on different samples: give the net's "
                "train_split a random_state"
            )
            raise ParameterValueError(ensemble, "weights", requirement, ensemble.weights)
    if len(holdouts) > 1 and isinstance(ensemble.estimator.module, nn.Module):
        warn(
            "All runs begin with the same weights, since the net's module is an instance. Give "
            "its class to make them independent."
        )


def _nothing_to_learn_from(ensemble: BaseSnapshotEnsemble) -> ParameterValueError:
    requirement = (
        "not be 'greedy' if the net has no validation data to learn them on: give it a train_split"
    )
    return ParameterValueError(ensemble, "weights", requirement, ensemble.weights)


def has_given_weights(ensemble: BaseSnapshotEnsemble) -> bool:
    """Return whether the user gave the members' weights."""
    return ensemble.weights is not None and not isinstance(ensemble.weights, str)


def given_weights(ensemble: BaseSnapshotEnsemble, n_members: int) -> Array:
    """Return the weights that the user gave the members, checked, so that they sum to 1.

    Raises
    ------
    TypeError, ValueError
        If they are not one number a member, finite, at least 0 and not all 0.
    """
    requirement = f"be a sequence of {n_members} numbers, one a member, or None"
    items = check_sequence(ensemble, "weights", ensemble.weights, requirement)
    if not all(isinstance(weight, Real) for weight in items):
        raise ParameterTypeError(ensemble, "weights", requirement, ensemble.weights)
    if len(items) != n_members:
        raise ParameterValueError(ensemble, "weights", requirement, ensemble.weights)
    with suppress(OverflowError):  # an int beyond the range of floats
        weights = np.array(items, dtype=float)
        if np.isfinite(weights).all() and (weights >= 0).all() and weights.any():
            return normalized(weights)
    requirement = "be finite, at least 0 and not all 0"
    raise ParameterValueError(ensemble, "weights", requirement, ensemble.weights)
