"""What both ensembles share: one training, its snapshots as members, their average."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import skorch.dataset
import torch
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin, clone
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.validation import validate_data
from skorch import NeuralNet, NeuralNetRegressor
from skorch.callbacks import Callback

from sklr._nets import find_schedule, make_silent, replace_schedule, seeded, was_interrupted
from sklr._validation import (
    ParameterError,
    ParameterTypeError,
    ParameterValueError,
    check_integer,
    check_sequence,
)
from sklr.callbacks import SnapshotCosine, Snapshots
from sklr.callbacks._base import runs
from sklr.callbacks._named import NamedSchedule
from sklr.data import ArrayDataset

DEFAULT_SNAPSHOTS = 5

SNAPSHOTS = "sklr_snapshots"
"""Name of the callback, which no callback of the user's is likely to have."""

Array = npt.NDArray[Any]
StateDict = dict[str, torch.Tensor]


class _Planned(Callback):
    """Checks, before the first batch moves a weight, how many snapshots there will be."""

    def __init__(self, check: Callable[[int], None]) -> None:
        self.check = check

    def initialize(self) -> _Planned:
        """Forget the training before."""
        self.count_: int | None = None
        return self

    def on_batch_begin(self, net: NeuralNet, training: bool | None = None, **kwargs: Any) -> None:
        """Check once, when the schedule has said how many snapshots are due."""
        steps = runs[net].snapshot_steps
        if training and self.count_ is None and steps is not None:
            self.count_ = len(steps)
            self.check(self.count_)


class BaseSnapshotEnsemble(TransformerMixin, MetaEstimatorMixin, BaseEstimator):
    """What both ensembles share: one training, its snapshots as members, their average."""

    estimator: Any
    n_snapshots: int | None
    schedule: Any
    n_members: int | None
    weights: Any
    random_state: Any
    verbose: int

    def _fit_members(self, net: NeuralNet, X: Any, y: Any) -> None:
        """Train the net and make a member of each snapshot."""
        callbacks = [
            ("sklr_schedule", self._schedule(net)),
            ("sklr_plan", _Planned(self._check_count)),
            (SNAPSHOTS, Snapshots(verbose=self.verbose)),
        ]
        replace_schedule(net, callbacks)

        # None draws one seed from numpy's global state.
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        with seeded(seed):
            with self._in_terms_of_snapshots():
                net.fit(X, y)
            fitted = dict(net.callbacks_)
            states = self._kept(net, fitted[SNAPSHOTS].snapshots_, fitted["sklr_plan"].count_)
            replace_schedule(net, [])
            self.estimators_ = [_member(net, state) for state in states]
        names = [f"snapshot_{i + 1}" for i in range(len(states))]
        self.named_estimators_ = Bunch(**dict(zip(names, self.estimators_, strict=True)))
        self.history_ = net.history

    def _nets(self) -> tuple[NeuralNet, NeuralNet]:
        """Give a clone of the net to train, and one that is initialized and stays untrained.

        They fetch data by whole batches and cast it to the dtype of the net's weights, unless the
        net has a data set or a collate function of its own.
        """
        net = clone(self.estimator).set_params(warm_start=False)
        collates = any(hasattr(net, f"iterator_{part}__collate_fn") for part in ("train", "valid"))
        fetches_batches = net.dataset is skorch.dataset.Dataset and not collates
        if fetches_batches:
            net.set_params(dataset=ArrayDataset)
        with seeded(0):
            untrained = clone(net)
            make_silent(untrained, [])
            untrained.initialize()
        floats = [p.dtype for p in untrained.module_.parameters() if p.is_floating_point()]
        if fetches_batches and floats:
            # Not by set_params, which asks for a part of an initialized net to make anew.
            net.dataset__dtype = untrained.dataset__dtype = floats[0]
        return net, untrained

    @contextmanager
    def _in_terms_of_snapshots(self) -> Iterator[None]:
        """Raise an error about the default schedule's cycles as one about `n_snapshots`."""
        try:
            yield
        except ParameterError as error:
            if error.name != "n_cycles" or self.n_snapshots is None or self.schedule is not None:
                raise
            requirement = f"{error.requirement} (training batches)"
            raise type(error)(self, "n_snapshots", requirement, self.n_snapshots) from None

    def _check_params(self, *, regressor: bool, other: str) -> None:
        """Check what can be checked before the data is looked at."""
        # A refit that fails leaves no members of the fit before.
        self.__dict__.pop("estimators_", None)
        net = self.estimator
        if not isinstance(net, NeuralNet):
            requirement = (
                "be a skorch net; preprocessing goes before the ensemble in a Pipeline, not into it"
            )
            raise ParameterTypeError(self, "estimator", requirement, net)
        if isinstance(net, NeuralNetRegressor) != regressor:
            kind = "regressor" if regressor else "classifier"
            requirement = f"be a {kind} net; use {other} for this one"
            raise ParameterTypeError(self, "estimator", requirement, net)
        if not isinstance(self.verbose, bool):
            check_integer(self, "verbose", self.verbose, at_least=0)
        for name in ("n_snapshots", "n_members"):
            if getattr(self, name) is not None:
                check_integer(self, name, getattr(self, name), at_least=1)
        if self.schedule is not None and not isinstance(self.schedule, NamedSchedule):
            requirement = "be a schedule callback of sklr.callbacks or None"
            raise ParameterTypeError(self, "schedule", requirement, self.schedule)

    def _schedule(self, net: NeuralNet) -> Any:
        """Give the schedule: the ensemble's, else the net's own, else cosine cycles."""
        if self.schedule is not None:
            return clone(self.schedule, safe=False)
        own = find_schedule(net)
        if own is None:
            return SnapshotCosine(n_cycles=self.n_snapshots or DEFAULT_SNAPSHOTS)
        name, schedule = own
        schedule.set_params(**net.get_params_for(f"callbacks__{name}"))
        return schedule

    def _check_count(self, count: int) -> None:
        """Check what depends on the number of snapshots of the whole training, before it begins."""
        if count == 0:
            requirement = "have a cycle that ends within the training"
            raise ParameterValueError(self, "schedule", requirement, self.schedule)
        if self.n_snapshots not in (None, count):
            requirement = f"be None or the {count} cycles that the schedule ends"
            raise ParameterValueError(self, "n_snapshots", requirement, self.n_snapshots)
        n_members = count
        if self.n_members is not None:
            n_members = check_integer(self, "n_members", self.n_members, at_least=1, at_most=count)
        if self.weights is not None:
            self._check_weights(n_members)

    def _check_weights(self, n_members: int) -> None:
        requirement = f"be a sequence of {n_members} numbers, one a member, or None"
        items = check_sequence(self, "weights", self.weights, requirement)
        if not all(isinstance(weight, Real) for weight in items):
            raise ParameterTypeError(self, "weights", requirement, self.weights)
        if len(items) != n_members:
            raise ParameterValueError(self, "weights", requirement, self.weights)
        weights = np.asarray(items, dtype=float)
        if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
            requirement = "be finite, at least 0 and not all 0"
            raise ParameterValueError(self, "weights", requirement, self.weights)

    def _kept(self, net: NeuralNet, states: list[StateDict], planned: int) -> list[StateDict]:
        """Give the snapshots that become members: the last ones, all of them finite."""
        if len(states) < planned:
            # skorch swallows the user's Ctrl-C.
            if was_interrupted(net):
                raise KeyboardInterrupt
            stopped = (
                f"The training was stopped after {len(states)} of {planned} snapshots"
                f" (epoch {len(net.history)})"
            )
            if not states:
                raise RuntimeError(f"{stopped}: there is nothing to make members of.")
            if self.weights is not None and len(states) < len(self.weights):
                raise RuntimeError(f"{stopped}, fewer than there are weights.")
            warnings.warn(f"{stopped}; the ensemble is that much smaller.", stacklevel=4)
        finite = [all(bool(torch.isfinite(v).all()) for v in state.values()) for state in states]
        if not all(finite):
            first = finite.index(False) + 1
            raise FloatingPointError(
                f"The training diverged: from snapshot {first} of {len(states)} on the weights "
                "are not finite. Lower the learning rate, for instance by LRRangeSearch."
            )
        return states if self.n_members is None else states[-self.n_members :]

    def _outputs(self, X: Any) -> Array:
        """Give each member's output, shape (n_members, n_samples, ...)."""
        raise NotImplementedError

    def _staged_average(self, X: Any) -> Iterator[Array]:
        """Yield the weighted mean of the last 1, 2, ... members' outputs."""
        outputs = self._outputs(X)
        weights = np.ones(len(outputs)) if self.weights is None else np.asarray(self.weights, float)
        for count in range(1, len(outputs) + 1):
            last = weights[-count:]
            if last.any():
                yield np.average(outputs[-count:], axis=0, weights=last)
            else:
                yield outputs[-count:].mean(axis=0)

    def _average(self, X: Any) -> Array:
        return np.average(self._outputs(X), axis=0, weights=self.weights)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimators_")


def checked(ensemble: Any, X: Any, *, reset: bool) -> Any:
    """Validate arrays and frames; dtypes other than float64, which the data set casts, stay."""
    if isinstance(X, torch.Tensor | dict | torch.utils.data.Dataset):
        return X
    return validate_data(ensemble, X, reset=reset, dtype="numeric", allow_nd=True)


def output_of(untrained: NeuralNet, X: Any) -> Array | None:
    """Give what a net predicts for two samples, where X has rows."""
    if not isinstance(X, np.ndarray | torch.Tensor):
        return None
    # A DataLoader draws a seed from torch's generator, whatever it loads.
    with seeded(0):
        return np.asarray(untrained.predict_proba(X[:2]))


def _member(net: NeuralNet, state: dict[str, torch.Tensor]) -> NeuralNet:
    """Give a fitted net with the weights of a snapshot, ready to predict."""
    member = clone(net).initialize()
    member.module_.load_state_dict(state)
    if hasattr(net, "classes_inferred_"):
        member.classes_inferred_ = net.classes_inferred_
    return member
