"""Base of both ensembles: trainings, their snapshots as members, the members' average."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from os import PathLike
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin, clone
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import Bunch
from sklearn.utils.parallel import Parallel
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted
from skorch import NeuralNet
from skorch.history import History
from torch.utils.data import Dataset

from sklr._module_state import ModuleState
from sklr._training._dry_run import DryRun, dry_run
from sklr._training._holdout import all_agree
from sklr._training._inputs import check_inputs, check_targets_given
from sklr._training._parallel import Tasks
from sklr._training._sample_weight import check_weights
from sklr._training._target import find_schedule, replace_schedule
from sklr.callbacks._base import ScheduleCallback
from sklr.ensemble import _persistence as persistence
from sklr.ensemble._assessment import (
    Sample,
    assess_average,
    assess_members,
    read_targets,
    sample_of_rows,
    validation_sample,
)
from sklr.ensemble._export import EnsembleModule, ensemble_module
from sklr.ensemble._members import Data, Run, Training, kept_states, plan_runs, train
from sklr.ensemble._parameter_average import average_parameters
from sklr.ensemble._parameters import (
    check_estimator,
    check_params,
    choose_schedule,
    given_weights,
)
from sklr.ensemble._plot_data import snapshot_plot_data
from sklr.ensemble._prediction import (
    count_samples,
    finite_only,
    joined,
    make_member,
    member_outputs,
)
from sklr.ensemble._selection import Array, staged_means, weighted_mean


class BaseSnapshotEnsemble(
    CallbackSupportMixin, TransformerMixin, MetaEstimatorMixin, BaseEstimator
):
    """Base of both ensembles: trainings, their snapshots as members, the members' average."""

    estimators_: list[NeuralNet]
    weights_: Array
    member_scores_: Array | None
    diversity_: Bunch | None
    loss_barrier_: float
    histories_: list[History]

    _method = "predict_proba"
    """The method to call on members whose class predicts in a way of its own."""
    _regressor: bool
    """Whether the members are regressor nets."""

    def __init__(
        self,
        estimator: NeuralNet,
        *,
        n_snapshots: int | None = None,
        schedule: ScheduleCallback | None = None,
        n_members: int | None = None,
        weights: npt.ArrayLike | str | None = None,
        combine: str = "predictions",
        n_runs: int = 1,
        n_jobs: int | None = None,
        checkpoint_dir: str | PathLike[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_snapshots = n_snapshots
        self.schedule = schedule
        self.n_members = n_members
        self.weights = weights
        self.combine = combine
        self.n_runs = n_runs
        self.n_jobs = n_jobs
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any = None, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Train the net once and keep its snapshots; a refit replaces the members.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.
        y : array-like of shape (n_samples,), default=None
            Labels of any kind, or targets. A torch Dataset may bring its own.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss.

        Returns
        -------
        self : object

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data is wrong.
        FloatingPointError
            If the training diverged.
        RuntimeError
            If a callback stopped the training before its first snapshot.
        NotImplementedError
            If y is multilabel.
        KeyboardInterrupt
            If the user interrupts.
        """
        # First of all: a fit that fails must not leave the members of an earlier one.
        self._forget()
        self._check_params()
        X, y = self._checked_data(X, y)
        if sample_weight is not None:
            sample_weight = check_weights(X, sample_weight)
        net, y = self._adapted_net(X, y)
        context = self._init_callback_context(max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        data = Data(X, y, sample_weight)
        runs = plan_runs(self, data)
        trainings = self._train(context, net, runs, data)
        states = [kept_states(self, *pair) for pair in zip(runs, trainings, strict=True)]
        self._make_members(net, trainings, states)
        # What one run validates on, another may have been trained on.
        agree = all_agree([run.holdout for run in runs])
        sample = validation_sample(self, runs[0].holdout, data) if agree else None
        assess_members(self, sample)
        if self.combine == "parameters":
            # The snapshots are assessed before they are averaged: the loss barrier compares both.
            rows = runs[0].holdout.train_rows
            if sample is None:
                sample = sample_of_rows("training", self, rows, data)
            average = average_parameters(net, states[0], self.weights_, data, rows)
            self._replace_members(average, sample)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _forget(self) -> None:
        """Remove the attributes of an earlier fit."""
        # Private ones may stay: they are only read if the ensemble is fitted.
        for name in [name for name in vars(self) if name.endswith("_") and name[0] != "_"]:
            delattr(self, name)

    def _check_params(self) -> None:
        check_params(self)

    def _searched_schedule(self) -> tuple[ScheduleCallback, str | None]:
        """Return a copy of the schedule, and what its parameters' names begin with, if with any.

        What a search for the learning rate asks for; the default schedule has no parameters here.
        """
        check_params(self)
        schedule = choose_schedule(self)
        if self.schedule is not None:
            return schedule, "schedule__"
        name, own = find_schedule(self.estimator)
        return schedule, None if own is None else f"estimator__callbacks__{name}__"

    def _checked_data(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Return validated X, and the y that belongs to it as the net's loss takes it."""
        X = check_inputs(self, X, reset=True)
        # skorch's Dataset without targets would give zeros for them.
        # A Dataset without such an attribute is read to see whether it has targets.
        if y is None and isinstance(X, Dataset) and getattr(X, "y", X) is not None:
            y = read_targets(self.estimator, X)
        check_targets_given(self, X, y, required=True)
        return X, self._encoded(X, y)

    def _encoded(self, X: Any, y: Any) -> Array:
        """Return checked targets as the net's loss takes them, of shape (n_samples,)."""
        raise NotImplementedError

    def _adapted_net(self, X: Any, y: Array) -> tuple[NeuralNet, Array]:
        """Return a clone of the net that takes the data, and y as it takes it."""
        # Without the split, which may hold a validation set that each clone would copy, and without
        # the attributes that skorch and scikit-learn's callbacks keep among a net's parameters.
        parameters = self.estimator.get_params(deep=False)
        stripped = {**parameters, "train_split": None, "warm_start": False}
        stripped = {key: value for key, value in stripped.items() if not key.startswith("_")}
        net = clone(type(self.estimator)(**stripped))
        dry = dry_run(net, X, y)
        dry.check_prediction(X)
        self._check_outputs(dry)
        # `save` writes them, for `load` to set them in the net that it is given.
        self._adapted = dry.params
        return net.set_params(**dry.params), self._shaped(y, dry)

    def _check_outputs(self, dry: DryRun) -> None:
        """Check that the net's outputs fit the targets."""
        raise NotImplementedError

    def _shaped(self, y: Array, dry: DryRun) -> Array:
        """Return targets in the shape that the net takes."""
        return y

    def _train(self, context: Any, net: NeuralNet, runs: list[Run], data: Data) -> list[Training]:
        """Train each run, as many at once as `n_jobs` says."""
        with Parallel(n_jobs=self.n_jobs) as parallel:
            trainings: list[Training] = Tasks(self, context, parallel).run(
                "runs",
                train,
                [(net, run, *data) for run in runs],
                verbose=self.verbose,
                n_epochs=net.max_epochs,
            )
        return trainings

    def _make_members(
        self, net: NeuralNet, trainings: list[Training], states: list[list[ModuleState]]
    ) -> None:
        """Make a member of each state, and give the members names."""
        params = trainings[0].module_params
        self._adapted = self._adapted | params
        # `load` sets the same parameters in its net, from `_adapted`.
        net.set_params(**params)
        # The schedule has ended, and shall not act if the user trains a member further.
        replace_schedule(net, [])
        self.estimators_ = [
            self._finished(make_member(net, state)) for of_run in states for state in of_run
        ]
        self._members_of_runs = [len(of_run) for of_run in states]
        self.histories_ = [training.history for training in trainings]
        self.history_ = self.histories_[0]
        self.snapshot_steps_ = trainings[0].steps
        self._name_members(
            [
                f"snapshot_{i + 1}" if len(states) == 1 else f"run_{run + 1}_snapshot_{i + 1}"
                for run, of_run in enumerate(states)
                for i in range(len(of_run))
            ]
        )

    def _finished(self, member: NeuralNet) -> NeuralNet:
        """Return a member with what skorch's fit would have set."""
        return member

    def _name_members(self, names: list[str]) -> None:
        self.named_estimators_ = Bunch(**dict(zip(names, self.estimators_, strict=True)))

    def _replace_members(self, average: NeuralNet, sample: Sample | None) -> None:
        """Put one net of averaged weights in the place of the members."""
        self.loss_barrier_ = np.nan
        if sample is not None:
            assess_average(self, average, sample)
        self.estimators_ = [self._finished(average)]
        self._members_of_runs = [1]
        self.weights_ = np.ones(1)
        self._name_members(["average"])

    def _finish(self, output: Array) -> Array:
        """Return a member's output in the form that it is averaged in."""
        raise NotImplementedError

    def _comparable(self, y: Array) -> Array:
        """Return targets, as the net takes them, in the form that predictions are compared with."""
        raise NotImplementedError

    def _score_of(self, output: Array, y: Array, weights: Array | None) -> float:
        """Return the score of a finished output."""
        raise NotImplementedError

    def _losses_of(self, output: Array, y: Array) -> Array:
        """Return the loss of each sample."""
        raise NotImplementedError

    def _loss_weights(self, y: Array, weights: Array | None) -> Array | None:
        """Return the weights that samples have in the net's loss, or None if all are equal."""
        return weights

    def _decisions(self, outputs: Array) -> Array | None:
        """Return the classes that outputs decide for, as indices; None if they are values."""
        return None

    def _over_slices(self, X: Any, function: Callable[[Array], Array], axis: int = 0) -> Array:
        """Apply a function to the members' outputs for each slice of X, and join its results.

        Outputs are of shape (n_members, n_rows, ...); samples are the given axis of the result.
        """
        check_is_fitted(self)
        X = check_inputs(self, X, reset=False)
        slices = member_outputs(self.estimators_, X, self._finish, self._method)
        return joined(
            map(function, finite_only(slices)), count_samples(self.estimators_[0], X), axis
        )

    def _outputs(self, X: Any) -> Array:
        """Return each member's output, shape (n_members, n_samples, ...)."""
        return self._over_slices(X, lambda outputs: outputs, axis=1)

    def _average(self, X: Any) -> Array:
        """Return the weighted mean of the members' outputs, without keeping them."""
        weights = self._weights_of_members()
        return self._over_slices(X, lambda outputs: weighted_mean(outputs, weights))

    def _staged(self, outputs: Array) -> Iterator[Array]:
        """Yield the weighted mean of the outputs of each run's last 1, 2, ... members."""
        return staged_means(outputs, self._weights_of_members(), self._members_of_runs)

    def _weights_of_members(self) -> Array | None:
        """Return the learned weights, or the parameter as it is now; None weighs all equally."""
        check_is_fitted(self)
        # The one member may be an average, in which the weights are already.
        if len(self.estimators_) == 1 or self.weights is None:
            return None
        if isinstance(self.weights, str):
            return np.asarray(self.weights_)
        return given_weights(self, len(self.estimators_))

    def _column_names(self) -> list[str]:
        """Return the names of the columns of `transform`, without the ensemble's own."""
        return list(self.named_estimators_)

    def get_feature_names_out(self, input_features: npt.ArrayLike | None = None) -> Array:
        """Return the names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Not used, but checked.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        names = self._column_names()
        # Private, but scikit-learn's voting ensembles check the argument by it too.
        _check_feature_names_in(self, input_features, generate_names=False)
        return np.asarray([f"{type(self).__name__.lower()}_{name}" for name in names], dtype=object)

    def _plot_data(self, X: Any, y: Any) -> dict[str, Any]:
        check_is_fitted(self)
        return snapshot_plot_data(self, X, y)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted ensemble into a folder: safetensors and a manifest, nothing pickled.

        Parameters
        ----------
        path : path
            The folder; what it held before is replaced, and stays if writing fails.

        Raises
        ------
        CheckpointError
            If it cannot be written.
        """
        check_is_fitted(self)
        persistence.save(self, path)

    def load(self, path: str | PathLike[str]) -> Self:
        """Become the fitted ensemble that a folder holds.

        The members' weights lie in the files, mapped into memory: processes that load the same
        folder share them. Training a member further leaves the files as they are.

        Parameters
        ----------
        path : path
            The folder. `estimator`, `weights` and `combine` must be those that the saved ensemble
            had.

        Returns
        -------
        self : object

        Raises
        ------
        CheckpointError
            If a file is missing or damaged, the weights do not fit the estimator's module, or
            parameters are others; the ensemble then stays as it is.
        """
        check_estimator(self)
        persistence.load(self, path)
        return self

    def to_module(self) -> EnsembleModule:
        """Return the whole ensemble as one torch module, for prediction.

        Returns
        -------
        EnsembleModule
            Its forward pass takes what the net's module takes (a dict as keyword arguments), and
            returns the weighted mean of the members' probabilities (of a regressor: values), of
            all outputs that the net has. The members stay as they are.

        Raises
        ------
        TypeError
            If the net's class predicts in a way of its own, which the module would not.
        """
        return ensemble_module(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Sparse matrices become dense batch by batch; what comes out has the dtype of the net.
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        # Other attributes that end in "_" are set before the training, which may fail.
        return hasattr(self, "estimators_")
