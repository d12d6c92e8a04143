"""The snapshot ensemble of regressor nets, with the interface of a VotingRegressor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.ensemble import VotingRegressor
from sklearn.metrics import r2_score

from sklr._training._dry_run import DryRun
from sklr._training._evaluation import squared_errors
from sklr._training._labels import flat_targets
from sklr._validation import ParameterValueError
from sklr.ensemble._base import BaseSnapshotEnsemble
from sklr.ensemble._diversity import Uncertainty, spread
from sklr.ensemble._export import RegressorMember, fitted_voting
from sklr.ensemble._selection import Array


class SnapshotEnsembleRegressor(RegressorMixin, BaseSnapshotEnsemble):
    """Train one regressor net, get M members for free, and average them.

    The interface is that of scikit-learn's VotingRegressor.

    Parameters
    ----------
    estimator : NeuralNetRegressor
        The net to train; it is cloned.
    n_snapshots : int, default=None
        Number of cycles of the default schedule; None is 5. With any other schedule it must be
        None or equal to the number of its cycles.
    schedule : schedule callback, default=None
        Any callback of `sklr.callbacks` with a schedule of its own; None is the net's own schedule
        if it has one, else ``FastGeometric(pretrain_fraction=0.5)``, which did best on validation
        data.
    n_members : int, default=None
        Keep the last so many snapshots; None keeps all.
    weights : array-like of shape (n_members,) or 'greedy', default=None
        Weights of the members; None weighs all equally. 'greedy' learns them by ensemble selection
        (Caruana et al. 2004) on the net's validation data, where samples and classes count as they
        do in the loss.
    combine : {'predictions', 'parameters'}, default='predictions'
        Average the members' predictions, or their weights (stochastic weight averaging) into one
        net, whose BatchNorm statistics are estimated anew; warns if that is materially worse than
        the members are on average.
    n_runs : int, default=1
        Independent trainings, each from a seed of its own; their snapshots are members together.
    n_jobs : int, default=None
        Trainings at once, as in joblib.
    checkpoint_dir : path, default=None
        Folder for what a training needs to go on, written at the end of each epoch. A fit of the
        same estimator, data and `random_state` that was interrupted goes on from there, and ends
        bit for bit as if it had not been; with ``random_state=None`` it takes up the seed.
        Needs safetensors (``pip install 'sklr[checkpoint]'``). Callbacks with a state of their
        own, which could not be restored, raise an error.
    random_state : int, RandomState instance or None, default=None
        Seeds the training; None draws one seed from numpy's global state.
    verbose : int, default=0
        1 prints a line a snapshot.

    Attributes
    ----------
    estimators_ : list of NeuralNet
        The members, oldest first: the nets, which take arrays.
    named_estimators_ : Bunch
        The members as snapshot_1, snapshot_2, ...; with several runs as run_1_snapshot_1, ...; with
        ``combine='parameters'`` the one net as average.
    n_features_in_ : int
        Number of features seen in fit.
    weights_ : ndarray of shape (n_members,)
        The members' weights in fit, which sum to 1; `weights` set anew acts at once.
    member_scores_ : ndarray of shape (n_members,) or None
        Each member's R² on the net's validation data (its `train_split`), weighted by
        `sample_weight`; None if there is none, or several runs validate on different samples. With
        ``combine='parameters'`` those of the snapshots that were averaged.
    diversity_ : Bunch or None
        `correlation` and `disagreement` of pairs of them on the same data, each of shape
        (n_members, n_members); None likewise.
    snapshot_steps_ : list of int
        The counts of completed steps after which the snapshots of the (first) run were taken.
    loss_barrier_ : float
        With ``combine='parameters'``: by how much the loss (log-loss, or squared error) of the
        averaged weights exceeds the mean of the snapshots', on validation data if there is some,
        else on the training data.
    history_ : History
        skorch's history of the (first) training.
    histories_ : list of History
        Of each run.

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

    _method = "predict"
    _regressor = True

    def _encoded(self, X: Any, y: Any) -> Array:
        return flat_targets(y)

    def _check_outputs(self, dry: DryRun) -> None:
        shape = dry.output_shape
        if shape is not None and shape[1:] not in ((), (1,)):
            requirement = "have one output, of shape (n,) or (n, 1)"
            raise ParameterValueError(self, "estimator", requirement, shape)

    def _shaped(self, y: Array, dry: DryRun) -> Array:
        # A net with a Dataset of its own gets a column if its output is one: torch's losses would
        # compare (n,) with (n, 1) by broadcasting.
        column = not dry.params and (dry.output_shape is None or len(dry.output_shape) > 1)
        y = y.reshape(-1, 1) if column else y
        # numpy lacks bfloat16, but float64 becomes the net's dtype, batch by batch.
        return y.astype(np.float64) if dry.params.get("dataset__dtype") == "bfloat16" else y

    def _finish(self, output: Array) -> Array:
        return output.reshape(len(output))

    def _comparable(self, y: Array) -> Array:
        return np.asarray(y).reshape(len(y))

    def _score_of(self, output: Array, y: Array, weights: Array | None) -> float:
        # r2_score would raise for the predictions of a member that has diverged.
        if not np.isfinite(output).all():
            return math.nan
        return float(r2_score(y, output, sample_weight=weights))

    def _losses_of(self, output: Array, y: Array) -> Array:
        return squared_errors(output, y)

    def predict(self, X: Any) -> Array:
        """Return the mean of the members' predictions.

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
        yield from self._staged(self._outputs(X))

    def predict_uncertainty(self, X: Any) -> Uncertainty:
        """Return how much the members differ on each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        Uncertainty
            `epistemic`, of shape (n_samples,): the standard deviation among the members; `total`
            is the same, and `aleatoric`, which values alone do not show, NaN.
        """
        return spread(self._outputs(X), self._weights_of_members())

    def transform(self, X: Any) -> Array:
        """Return each member's prediction for each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_members)
        """
        return self._outputs(X).T

    def to_voting(self) -> VotingRegressor:
        """Return scikit-learn's own ensemble of the members.

        Returns
        -------
        VotingRegressor
            Fitted; it makes the same predictions.
        """
        return fitted_voting(VotingRegressor, self, RegressorMember)
