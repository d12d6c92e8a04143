"""The snapshot ensemble as a VotingRegressor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from sklr._targets import flat_targets
from sklr._validation import ParameterValueError
from sklr.ensemble._base import Array, BaseSnapshotEnsemble, checked, output_of


class SnapshotEnsembleRegressor(RegressorMixin, BaseSnapshotEnsemble):
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
        X = checked(self, X, reset=True)
        y = flat_targets(y)
        net, untrained = self._nets()
        # The shape that the loss compares with the net's output row by row.
        flat = self._is_flat(output_of(untrained, X))
        self._fit_members(net, X, y if flat else y.reshape(-1, 1))
        return self

    def _is_flat(self, output: Array | None) -> bool:
        """Tell whether the net's output is of shape (n,) and not (n, 1); refuse any other."""
        if output is None:
            return False
        if output.ndim > 1 and output.shape[1:] != (1,):
            requirement = "have one output, of shape (n,) or (n, 1)"
            raise ParameterValueError(self, "estimator", requirement, output.shape)
        return output.ndim == 1

    def _outputs(self, X: Any) -> Array:
        check_is_fitted(self)
        X = checked(self, X, reset=False)
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
