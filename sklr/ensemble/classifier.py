"""The snapshot ensemble as a VotingClassifier."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted
from skorch import NeuralNet, NeuralNetBinaryClassifier

from sklr._targets import encode_labels, matching_columns
from sklr._validation import ParameterValueError, check_flag, check_option
from sklr.ensemble._base import Array, BaseSnapshotEnsemble, checked, output_of

VOTING = ("soft", "hard")


class SnapshotEnsemble(ClassifierMixin, BaseSnapshotEnsemble):
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
        X = checked(self, X, reset=True)
        self.le_, encoded = encode_labels(self.estimator, y)
        self.classes_ = self.le_.classes_
        net, untrained = self._nets()
        self._check_outputs(output_of(untrained, X))
        self._fit_members(net, X, encoded)
        return self

    def _check_outputs(self, output: Array | None) -> None:
        """Refuse a net with fewer outputs than classes before it is trained."""
        if output is not None and output.shape[-1] < len(self.classes_):
            requirement = f"have an output for each of the {len(self.classes_)} classes"
            raise ParameterValueError(self, "estimator", requirement, output.shape[-1])

    def _outputs(self, X: Any) -> Array:
        check_is_fitted(self)
        X = checked(self, X, reset=False)
        return np.stack([self._proba(member, X) for member in self.estimators_])

    def _proba(self, member: NeuralNet, X: Any) -> Array:
        return matching_columns(np.asarray(member.predict_proba(X)), len(self.classes_))

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
            X = checked(self, X, reset=False)
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


def _is_soft(ensemble: SnapshotEnsemble) -> bool:
    if ensemble.voting == "hard":
        raise AttributeError(f"predict_proba is not available when voting={ensemble.voting!r}")
    return True
