"""Snapshot ensembles: the members of one training, used as a VotingClassifier."""

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
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    RegressorMixin,
    TransformerMixin,
    clone,
)
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_array,
    check_is_fitted,
    column_or_1d,
    validate_data,
)
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetRegressor
from skorch.callbacks import Callback

from sklr._nets import find_schedule, make_silent, replace_schedule, seeded, was_interrupted
from sklr._validation import (
    ParameterError,
    ParameterTypeError,
    ParameterValueError,
    check_flag,
    check_integer,
    check_option,
    check_sequence,
)
from sklr.callbacks import SnapshotCosine, Snapshots
from sklr.callbacks._base import runs
from sklr.callbacks._named import NamedSchedule
from sklr.data import ArrayDataset

DEFAULT_SNAPSHOTS = 5
VOTING = ("soft", "hard")

SNAPSHOTS = "sklr_snapshots"
"""Name of the callback, which no callback of the user's is likely to have."""

Array = npt.NDArray[Any]
StateDict = dict[str, torch.Tensor]


class _Planned(Callback):
    """Checks, before the first batch moves a weight, how many snapshots there will be."""

    def __init__(self, check: Callable[[int], None]) -> None:
        self.check = check

    def initialize(self) -> _Planned:
        self.count_: int | None = None
        return self

    def on_batch_begin(self, net: NeuralNet, training: bool | None = None, **kwargs: Any) -> None:
        steps = runs[net].snapshot_steps
        if training and self.count_ is None and steps is not None:
            self.count_ = len(steps)
            self.check(self.count_)


class _BaseSnapshotEnsemble(TransformerMixin, MetaEstimatorMixin, BaseEstimator):
    """What both ensembles share: one training, its snapshots as members, their average."""

    estimator: Any
    n_snapshots: int | None
    schedule: Any
    n_members: int | None
    weights: Any
    random_state: Any
    verbose: int

    def _fit_members(self, X: Any, y: Any) -> None:
        """Train one net and make a member of each snapshot."""
        # A refit that fails leaves no members of the fit before.
        self.__dict__.pop("estimators_", None)
        net = self._net()
        schedule = self._schedule(net)
        callbacks = [
            ("sklr_schedule", schedule),
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

    def _net(self) -> NeuralNet:
        """Give a clone of the net, its data fetched by whole batches and cast to its dtype."""
        net = clone(self.estimator).set_params(warm_start=False)
        collates = any(hasattr(net, f"iterator_{part}__collate_fn") for part in ("train", "valid"))
        if net.dataset is skorch.dataset.Dataset and not collates:
            net.set_params(dataset=ArrayDataset)
        return net

    def _untrained_output(self, X: Any) -> Array | None:
        """Give what the net predicts for two samples before training, where X has rows."""
        if not isinstance(X, np.ndarray | torch.Tensor):
            return None
        with seeded(0):
            net = self._net()
            make_silent(net, [])
            net.initialize()
            return np.asarray(net.predict_proba(X[:2]))

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


class SnapshotEnsemble(ClassifierMixin, _BaseSnapshotEnsemble):
    """Train one net, get M members for free, and let them vote.

    The net is trained once, with a cyclic schedule; the weights at the moments that the schedule
    names (the ends of its cycles; for FastGeometric their middles) make the members. The interface
    is that of scikit-learn's VotingClassifier, with soft voting by default.

    Parameters
    ----------
    estimator : NeuralNetClassifier or NeuralNetBinaryClassifier
        The net to train; it is cloned.
    n_snapshots : int, default=None
        Number of cycles of the default schedule; None is 5. With a schedule that has its own
        number of cycles it must be None or equal.
    schedule : schedule callback, default=None
        Any callback of `sklr.callbacks` with a schedule of its own; None is the net's own schedule
        if it has one, else `SnapshotCosine`.
    n_members : int, default=None
        Keep the last so many snapshots; None keeps all.
    voting : {'soft', 'hard'}, default='soft'
        Average the probabilities, or count the votes.
    weights : array-like of shape (n_members,), default=None
        Weights of the members; None weighs all alike.
    flatten_transform : bool, default=True
        Shape of `transform` with soft voting: (n_samples, n_members * n_classes), else
        (n_members, n_samples, n_classes).
    random_state : int, RandomState instance or None, default=None
        Seeds the training; None draws one seed from numpy's global state.
    verbose : int, default=0
        1 prints a line a snapshot.

    Attributes
    ----------
    estimators_ : list of NeuralNet
        The members, oldest first; they see integer-encoded labels.
    named_estimators_ : Bunch
        The members as snapshot_1, snapshot_2, ...
    le_ : LabelEncoder
        Of the labels.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    n_features_in_ : int
        Number of features seen in fit.
    history_ : History
        skorch's history of the training.

    Raises
    ------
    TypeError, ValueError
        At the start of fit, if a parameter is out of range.

    References
    ----------
    Huang, Li, Pleiss, Liu, Hopcroft, Weinberger: Snapshot ensembles: train 1, get M for free.
    ICLR 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skorch import NeuralNetClassifier
    >>> from torch import nn
    >>> from sklr import SnapshotEnsemble
    >>> X, y = load_digits(return_X_y=True)
    >>> net = NeuralNetClassifier(
    ...     nn.Linear(64, 10), criterion=nn.CrossEntropyLoss, max_epochs=10, lr=0.5, verbose=0
    ... )
    >>> ensemble = SnapshotEnsemble(net, random_state=0).fit(X / 16, y)
    >>> len(ensemble.estimators_)
    5
    >>> ensemble.score(X / 16, y) > 0.9
    True
    """

    def __init__(
        self,
        estimator: Any,
        *,
        n_snapshots: int | None = None,
        schedule: Any = None,
        n_members: int | None = None,
        voting: str = "soft",
        weights: Any = None,
        flatten_transform: bool = True,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_snapshots = n_snapshots
        self.schedule = schedule
        self.n_members = n_members
        self.voting = voting
        self.weights = weights
        self.flatten_transform = flatten_transform
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> SnapshotEnsemble:
        """Train the net once and keep its snapshots; a refit replaces the members.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.
        y : array-like of shape (n_samples,)
            Labels of any kind.

        Returns
        -------
        self : SnapshotEnsemble

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data is wrong.
        FloatingPointError
            If the training diverged.
        NotImplementedError
            If y is multilabel.
        """
        self._check_params(regressor=False, other="SnapshotEnsembleRegressor")
        check_option(self, "voting", self.voting, VOTING)
        check_flag(self, "flatten_transform", self.flatten_transform)
        X = _checked(self, X, reset=True)
        check_classification_targets(y)
        if type_of_target(y).startswith("multilabel"):
            raise NotImplementedError(
                "Multilabel and multi-output classification is not supported."
            )
        self.le_ = LabelEncoder().fit(column_or_1d(y, warn=True))
        self.classes_ = self.le_.classes_
        if len(self.classes_) < 2:
            raise ValueError(
                "Classifier can't train when only one class is present: y holds only "
                f"{self.classes_[0]!r}."
            )
        self._check_outputs(X)
        binary = isinstance(self.estimator, NeuralNetBinaryClassifier)
        encoded = self.le_.transform(y).astype(np.float32 if binary else np.int64)
        self._fit_members(X, encoded)
        return self

    def _check_outputs(self, X: Any) -> None:
        """Refuse a net with fewer outputs than classes before it is trained."""
        untrained = self._untrained_output(X)
        if untrained is not None and untrained.shape[-1] < len(self.classes_):
            requirement = f"have an output for each of the {len(self.classes_)} classes"
            raise ParameterValueError(self, "estimator", requirement, untrained.shape[-1])

    def _outputs(self, X: Any) -> Array:
        check_is_fitted(self)
        X = _checked(self, X, reset=False)
        return np.stack([self._proba(member, X) for member in self.estimators_])

    def _proba(self, member: NeuralNet, X: Any) -> Array:
        proba = np.asarray(member.predict_proba(X))
        n_classes = len(self.classes_)
        if proba.shape[1] == n_classes:
            return proba
        # Outputs that no label stands for: the data set lacks some of the net's classes.
        proba = proba[:, :n_classes]
        total = proba.sum(axis=1, keepdims=True)
        return np.where(total > 0, proba / np.where(total > 0, total, 1), 1 / n_classes)

    def predict(self, X: Any) -> Array:
        """Give the label that most votes, or the highest mean probability, speak for.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels. Ties go to the first class.
        """
        scores = self._average(X) if self.voting == "soft" else self._votes(X)
        return np.asarray(self.classes_[scores.argmax(axis=1)])

    def _choices(self, X: Any) -> Array:
        """Give the encoded label that each member predicts, shape (n_members, n_samples)."""
        if isinstance(self.estimator, NeuralNetBinaryClassifier):  # it has a threshold of its own
            check_is_fitted(self)
            X = _checked(self, X, reset=False)
            return np.stack([member.predict(X).astype(int) for member in self.estimators_])
        return np.asarray(self._outputs(X).argmax(axis=2))

    def _votes(self, X: Any) -> Array:
        """Give the weight of the votes for each class, shape (n_samples, n_classes)."""
        chosen = self._choices(X)
        weights = np.ones(len(chosen)) if self.weights is None else np.asarray(self.weights)
        return np.tensordot(weights, np.eye(len(self.classes_))[chosen], axes=1)

    @available_if(lambda self: _is_soft(self))
    def predict_proba(self, X: Any) -> Array:
        """Give the mean of the members' probabilities; only with soft voting.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return self._average(X)

    @available_if(lambda self: _is_soft(self))
    def staged_predict_proba(self, X: Any) -> Iterator[Array]:
        """Yield the probabilities of the last 1, 2, ... members.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Yields
        ------
        ndarray of shape (n_samples, n_classes)
        """
        yield from self._staged_average(X)

    @available_if(lambda self: _is_soft(self))
    def staged_predict(self, X: Any) -> Iterator[Array]:
        """Yield the labels that the last 1, 2, ... members give.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Yields
        ------
        ndarray of shape (n_samples,)
        """
        for proba in self._staged_average(X):
            yield self.classes_[proba.argmax(axis=1)]

    def transform(self, X: Any) -> Array:
        """Give what each member says of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        ndarray
            Soft voting: probabilities of shape (n_samples, n_members * n_classes), or (n_members,
            n_samples, n_classes) with ``flatten_transform=False``. Hard voting: encoded labels of
            shape (n_samples, n_members).
        """
        if self.voting == "hard":
            return np.asarray(self._choices(X).T)
        outputs = self._outputs(X)
        return np.hstack(list(outputs)) if self.flatten_transform else outputs

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Give the names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Not used, but checked.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        if self.voting == "soft" and not self.flatten_transform:
            raise ValueError(
                "get_feature_names_out is not supported when voting='soft' and "
                "flatten_transform=False."
            )
        _check_feature_names_in(self, input_features, generate_names=False)
        base = type(self).__name__.lower()
        names = list(self.named_estimators_)
        if self.voting == "soft":
            names = [f"{name}{i}" for name in names for i in range(len(self.classes_))]
        return np.asarray([f"{base}_{name}" for name in names], dtype=object)


class SnapshotEnsembleRegressor(RegressorMixin, _BaseSnapshotEnsemble):
    """Train one regressor net, get M members for free, and average them.

    The interface is that of scikit-learn's VotingRegressor.

    Parameters
    ----------
    estimator : NeuralNetRegressor
        The net to train; it is cloned.
    n_snapshots : int, default=None
        Number of cycles of the default schedule; None is 5. With a schedule that has its own
        number of cycles it must be None or equal.
    schedule : schedule callback, default=None
        Any callback of `sklr.callbacks` with a schedule of its own; None is the net's own schedule
        if it has one, else `SnapshotCosine`.
    n_members : int, default=None
        Keep the last so many snapshots; None keeps all.
    weights : array-like of shape (n_members,), default=None
        Weights of the members; None weighs all alike.
    random_state : int, RandomState instance or None, default=None
        Seeds the training; None draws one seed from numpy's global state.
    verbose : int, default=0
        1 prints a line a snapshot.

    Attributes
    ----------
    estimators_ : list of NeuralNet
        The members, oldest first.
    named_estimators_ : Bunch
        The members as snapshot_1, snapshot_2, ...
    n_features_in_ : int
        Number of features seen in fit.
    history_ : History
        skorch's history of the training.

    Raises
    ------
    TypeError, ValueError
        At the start of fit, if a parameter is out of range.

    References
    ----------
    Huang, Li, Pleiss, Liu, Hopcroft, Weinberger: Snapshot ensembles: train 1, get M for free.
    ICLR 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from skorch import NeuralNetRegressor
    >>> from torch import nn
    >>> from sklr import SnapshotEnsembleRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = NeuralNetRegressor(nn.Linear(10, 1), max_epochs=20, lr=0.1, verbose=0)
    >>> ensemble = SnapshotEnsembleRegressor(net, random_state=0).fit(scale(X), scale(y))
    >>> ensemble.score(scale(X), scale(y)) > 0.4
    True
    """

    def __init__(
        self,
        estimator: Any,
        *,
        n_snapshots: int | None = None,
        schedule: Any = None,
        n_members: int | None = None,
        weights: Any = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_snapshots = n_snapshots
        self.schedule = schedule
        self.n_members = n_members
        self.weights = weights
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> SnapshotEnsembleRegressor:
        """Train the net once and keep its snapshots; a refit replaces the members.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.
        y : array-like of shape (n_samples,)
            Targets.

        Returns
        -------
        self : SnapshotEnsembleRegressor

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data is wrong.
        FloatingPointError
            If the training diverged.
        """
        self._check_params(regressor=True, other="SnapshotEnsemble")
        X = _checked(self, X, reset=True)
        y = check_array(
            column_or_1d(y, warn=True), ensure_2d=False, dtype=np.float32, input_name="y"
        )
        # The shape that the loss compares with the net's output row by row.
        self._fit_members(X, y if self._has_flat_output(X) else y.reshape(-1, 1))
        return self

    def _has_flat_output(self, X: Any) -> bool:
        """Tell whether the net's output is of shape (n,) and not (n, 1); refuse any other."""
        untrained = self._untrained_output(X)
        if untrained is None or untrained.ndim == 1:
            return untrained is not None
        if untrained.shape[1:] != (1,):
            requirement = "have one output, of shape (n,) or (n, 1)"
            raise ParameterValueError(self, "estimator", requirement, untrained.shape)
        return False

    def _outputs(self, X: Any) -> Array:
        check_is_fitted(self)
        X = _checked(self, X, reset=False)
        return np.stack([np.asarray(member.predict(X)).ravel() for member in self.estimators_])

    def predict(self, X: Any) -> Array:
        """Give the mean of the members' predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._average(X)

    def staged_predict(self, X: Any) -> Iterator[Array]:
        """Yield the mean prediction of the last 1, 2, ... members.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Yields
        ------
        ndarray of shape (n_samples,)
        """
        yield from self._staged_average(X)

    def transform(self, X: Any) -> Array:
        """Give each member's prediction for each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_members)
        """
        return self._outputs(X).T

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Give the names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Not used, but checked.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features, generate_names=False)
        base = type(self).__name__.lower()
        return np.asarray([f"{base}_{name}" for name in self.named_estimators_], dtype=object)


def _is_soft(ensemble: SnapshotEnsemble) -> bool:
    if ensemble.voting == "hard":
        raise AttributeError(f"predict_proba is not available when voting={ensemble.voting!r}")
    return True


def _checked(ensemble: Any, X: Any, *, reset: bool) -> Any:
    """Validate arrays and frames; dtypes other than float64, which the data set casts, stay."""
    if isinstance(X, torch.Tensor | dict | torch.utils.data.Dataset):
        return X
    return validate_data(ensemble, X, reset=reset, dtype="numeric", allow_nd=True)


def _member(net: NeuralNet, state: dict[str, torch.Tensor]) -> NeuralNet:
    """Give a fitted net with the weights of a snapshot, ready to predict."""
    member = clone(net).initialize()
    member.module_.load_state_dict(state)
    if hasattr(net, "classes_inferred_"):
        member.classes_inferred_ = net.classes_inferred_
    return member
