"""What both ensembles share: trainings, their snapshots as members, the members' average."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    TransformerMixin,
    clone,
    is_regressor,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.parallel import Parallel
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from skorch import NeuralNet
from skorch.callbacks import LRScheduler
from skorch.dataset import get_len
from torch import nn
from torch.utils.data import Subset

from sklr._averaging import averaged_state, reestimate_batch_norm
from sklr._checkpoint._durable import seed_of
from sklr._checkpoint._fingerprint import fingerprint
from sklr._training._dry_run import Rehearsal
from sklr._training._evaluation import mean_loss
from sklr._training._inputs import check_inputs, check_targets_are_there
from sklr._training._parallel import Tasks
from sklr._training._target import find_schedule, named_callbacks, replace_schedule
from sklr._validation import (
    ParameterError,
    ParameterTypeError,
    ParameterValueError,
    check_integer,
    check_option,
    check_sequence,
    check_verbose,
)
from sklr.callbacks import FastGeometric, Schedule
from sklr.callbacks._named import NamedSchedule
from sklr.ensemble import _persistence as persistence
from sklr.ensemble._diversity import diversity
from sklr.ensemble._export import EnsembleModule, ensemble_module
from sklr.ensemble._greedy import greedy_weights
from sklr.ensemble._members import (
    Training,
    held_out_data,
    holds_out_alike,
    rows_trained_on,
    train,
)
from sklr.ensemble._plot_data import snapshot_plot_data
from sklr.ensemble._prediction import (
    StateDict,
    count_samples,
    joined,
    make_member,
    member_outputs,
)
from sklr.ensemble._stages import better_stage, staged_means, weighted_mean

COMBINE = ("predictions", "parameters")
DEFAULT_SNAPSHOTS = 5
DEFAULT_PRETRAINING = 0.5
"""Of fast geometric ensembling: with five members the recipe of one training that did best on
validation data (benchmarks/results_ensemble_choice.md)."""

Array = npt.NDArray[Any]


class BaseSnapshotEnsemble(
    CallbackSupportMixin, TransformerMixin, MetaEstimatorMixin, BaseEstimator
):
    """What both ensembles share: trainings, their snapshots as members, the members' average."""

    estimator: Any
    n_snapshots: int | None
    schedule: Any
    n_members: int | None
    weights: Any
    combine: str
    n_runs: int
    n_jobs: int | None
    checkpoint_dir: Any
    random_state: Any
    verbose: int

    _method = "predict_proba"
    """What members of a kind of their own are asked for."""
    _regressor: bool
    """Of which kind of net it is the ensemble."""
    _other: str
    """The ensemble of the other kind."""

    def _fit_members(self, X: Any, y: Any, rehearsal: Rehearsal, sample_weight: Any) -> None:
        """Train, and make a member of each snapshot."""
        net = clone(self.estimator).set_params(warm_start=False, **rehearsal.params)
        if sample_weight is not None:
            samples = np.broadcast_to(0.0, (get_len(X), 1))  # of whatever kind X is
            sample_weight = _check_sample_weight(sample_weight, samples, ensure_non_negative=True)
        context = self._init_callback_context(max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        # None draws one seed from numpy's global state; it is the first run's own.
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        folder = self._folder(X, y, sample_weight, seed)
        if folder is not None:
            seed = seed_of(folder, seed)
        seeds = [seed, *map(int, np.random.SeedSequence(seed).generate_state(self.n_runs)[1:])]
        same_split = holds_out_alike(net, X, y, seeds)
        self._check_runs(net, same_split)
        folders = [folder and folder / f"run_{run + 1}" for run in range(self.n_runs)]
        with self._in_terms_of_snapshots(), Parallel(n_jobs=self.n_jobs) as parallel:
            trainings = Tasks(self, context, parallel).run(
                "runs",
                train,
                [
                    (net, self._schedule(net), self._check_count, X, y, seed, sample_weight, folder)
                    for seed, folder in zip(seeds, folders, strict=True)
                ],
                verbose=self.verbose,
                n_epochs=net.max_epochs,
            )
        self._adapted = rehearsal.params | trainings[0].module_params
        net.set_params(**trainings[0].module_params)
        kept = list(map(self._kept, trainings))
        replace_schedule(net, [])
        self.estimators_ = [make_member(net, state) for states in kept for state in states]
        self._members_of_runs = [len(states) for states in kept]
        self.histories_ = [training.history for training in trainings]
        self.history_ = self.histories_[0]
        self.snapshot_steps_ = trainings[0].steps
        held_out = held_out_data(trainings[0].held_out, X, y)
        self._know_members(held_out, same_split=same_split)
        names = self._names()
        if self.combine == "parameters":
            train_rows = rows_trained_on(trainings[0].held_out, X)
            self._average_parameters(net, kept[0], X, y, train_rows, held_out)
            names = ["average"]
        self.named_estimators_ = Bunch(**dict(zip(names, self.estimators_, strict=True)))
        context.call_on_fit_task_end(estimator=self, X=X, y=y)

    def _folder(self, X: Any, y: Any, sample_weight: Any, seed: int) -> Path | None:
        """Give the folder of this fit's checkpoints: one for each estimator, data and seed."""
        if self.checkpoint_dir is None:
            return None
        schedule = self._schedule(self.estimator)
        # Without a seed given, the one of the fit that was interrupted is taken up.
        given = None if self.random_state is None else seed
        name = fingerprint(self.estimator, schedule, X, y, sample_weight, given)
        # Absolute: a callback may change the working directory.
        return Path(self.checkpoint_dir).absolute() / name

    def _names(self) -> list[str]:
        """Give the members' names."""
        if self.n_runs == 1:
            return [f"snapshot_{i + 1}" for i in range(self._members_of_runs[0])]
        return [
            f"run_{run + 1}_snapshot_{i + 1}"
            for run, count in enumerate(self._members_of_runs)
            for i in range(count)
        ]

    def _check_runs(self, net: NeuralNet, same_split: bool) -> None:
        """Refuse or tell what keeps several runs from being what was asked for."""
        if isinstance(self.weights, str) and not same_split:
            requirement = (
                "not be 'greedy' where runs hold out different samples: give the net's train_split "
                "a random_state"
            )
            raise ParameterValueError(self, "weights", requirement, self.weights)
        if self.n_runs > 1 and isinstance(net.module, nn.Module):
            warnings.warn(
                "All runs begin with the same weights, since the net's module is an instance. Give "
                "its class to make them independent.",
                stacklevel=5,
            )

    def _know_members(self, held_out: tuple[Any, Any] | None, *, same_split: bool) -> None:
        """Learn weights, and how good and how different the members are, from held-out data."""
        self.diversity_, self.member_scores_ = None, None
        n_members = len(self.estimators_)
        weights = np.ones(n_members)
        # What one run holds out another may be trained on.
        if held_out is not None and same_split:
            X, y = held_out
            parts = member_outputs(self.estimators_, X, self._finish, self._method)
            outputs = joined(parts, len(y), axis=1)
            y = np.asarray(y).reshape(len(y))
            self.diversity_ = diversity(outputs, self._decisions(outputs))
            self.member_scores_ = np.array([self._score_of(output, y) for output in outputs])
            if isinstance(self.weights, str):
                weights = greedy_weights(outputs, lambda mean: self._losses_of(mean, y).mean())
            elif self.weights is None and self.combine == "predictions":
                self._warn_of_poor_members(outputs, y)
        if self._has_given_weights():
            weights = np.asarray(self.weights, dtype=float)
        self.weights_ = weights / weights.sum()

    def _score_of(self, output: Array, y: Array) -> float:
        """Give the score of an output in the form that it is averaged in."""
        raise NotImplementedError

    def _losses_of(self, output: Array, y: Array) -> Array:
        """Give its loss for each sample."""
        raise NotImplementedError

    def _decisions(self, outputs: Array) -> Array | None:
        """Give what each output decides for, as encoded labels; None where it decides nothing."""
        return None

    def _warn_of_poor_members(self, outputs: Array, y: Array) -> None:
        """Say so where the last members do better without the earlier ones, on held-out data."""
        stages = staged_means(outputs, None, self._members_of_runs)
        losses = [self._losses_of(mean, y) for mean in stages]
        best = better_stage(losses)
        if best is not None:
            each = " of each run" if self.n_runs > 1 else ""
            warnings.warn(
                f"The last {best} of {len(losses)} members{each} have a held-out loss of "
                f"{losses[best - 1].mean():.3g}, all together one of {losses[-1].mean():.3g}: the "
                "earlier ones are poor. A higher learning rate (see LRRangeSearch) or a longer "
                f"training makes better ones; else use weights='greedy' or n_members={best}.",
                stacklevel=5,
            )

    def _average_parameters(
        self,
        net: NeuralNet,
        states: list[StateDict],
        X: Any,
        y: Any,
        train_rows: Any,
        held_out: tuple[Any, Any] | None,
    ) -> None:
        """Put one net of averaged weights in the place of the members."""
        average = make_member(net, averaged_state(states, self.weights_))
        dataset = average.get_dataset(X, y)
        if train_rows is not None:
            dataset = Subset(dataset, train_rows)
        reestimate_batch_norm(average, average.get_iterator(dataset, training=False))
        judged = dataset if held_out is None else average.get_dataset(*held_out)
        losses = [mean_loss(member, judged) for member in self.estimators_]
        loss = mean_loss(average, judged)
        self.loss_barrier_ = loss - float(np.average(losses, weights=self.weights_))
        if self.loss_barrier_ > 0:
            data = "training" if held_out is None else "held-out"
            warnings.warn(
                f"The averaged weights have a {data} loss of {loss:.3g}, where the snapshots have "
                f"{np.average(losses, weights=self.weights_):.3g} in the mean: they lie in "
                "different basins. Use combine='predictions', or shorter cycles at a lower rate.",
                stacklevel=5,
            )
        self.estimators_ = [average]
        self._members_of_runs = [1]
        self.weights_ = np.ones(1)

    @contextmanager
    def _in_terms_of_snapshots(self) -> Iterator[None]:
        """Raise an error about the default schedule's cycles as one about `n_snapshots`."""
        try:
            yield
        except ParameterError as error:
            given = self.schedule is not None or find_schedule(self.estimator)[1] is not None
            if error.name != "n_cycles" or given:
                raise
            requirement = f"{error.requirement} (training batches)"
            raise type(error)(self, "n_snapshots", requirement, error.value) from None

    def _forget(self) -> None:
        """Leave nothing of an earlier fit, whatever comes of this one."""
        for name in [name for name in vars(self) if name.endswith("_") and name[0] != "_"]:
            delattr(self, name)

    def _check_estimator(self) -> None:
        net = self.estimator
        if not isinstance(net, NeuralNet):
            requirement = (
                "be a skorch net; preprocessing goes before the ensemble in a Pipeline, not into it"
            )
            raise ParameterTypeError(self, "estimator", requirement, net)
        if is_regressor(net) != self._regressor:
            kind = "regressor" if self._regressor else "classifier"
            requirement = f"be a {kind} net; use {self._other} for this one"
            raise ParameterTypeError(self, "estimator", requirement, net)

    def _check_params(self) -> None:
        """Check what can be checked before the data is looked at."""
        net = self.estimator
        self._check_estimator()
        check_integer(net, "max_epochs", net.max_epochs, at_least=1)
        check_verbose(self, self.verbose)
        check_integer(self, "n_runs", self.n_runs, at_least=1)
        check_option(self, "combine", self.combine, COMBINE)
        if self.combine == "parameters" and self.n_runs > 1:
            requirement = "be 1 with combine='parameters': runs end in different basins"
            raise ParameterValueError(self, "n_runs", requirement, self.n_runs)
        if isinstance(self.weights, str):
            check_option(self, "weights", self.weights, ("greedy",))
            if not net.train_split:
                requirement = (
                    "not be 'greedy' where the net holds nothing out to learn them on: give it a "
                    "train_split"
                )
                raise ParameterValueError(self, "weights", requirement, self.weights)
        if not (self.checkpoint_dir is None or isinstance(self.checkpoint_dir, str | PathLike)):
            requirement = "be a path or None"
            raise ParameterTypeError(self, "checkpoint_dir", requirement, self.checkpoint_dir)
        for name in ("n_snapshots", "n_members"):
            if getattr(self, name) is not None:
                check_integer(self, name, getattr(self, name), at_least=1)
        if self.schedule is not None and not isinstance(self.schedule, NamedSchedule | Schedule):
            requirement = "be a schedule callback of sklr.callbacks or None"
            raise ParameterTypeError(self, "schedule", requirement, self.schedule)

    def _schedule(self, net: NeuralNet) -> Any:
        """Give the schedule: the ensemble's, else the net's own, else the best measured."""
        if self.schedule is not None:
            return clone(self.schedule, safe=False)
        _, own = find_schedule(net)
        named = named_callbacks(net)
        if own is None and any(isinstance(callback, LRScheduler) for _, callback in named):
            requirement = (
                "hold a schedule of sklr.callbacks, or none, in place of skorch's LRScheduler, "
                "which does not say when snapshots are due"
            )
            raise ParameterTypeError(net, "callbacks", requirement, [name for name, _ in named])
        if own is None:
            n_cycles = self.n_snapshots or DEFAULT_SNAPSHOTS
            return FastGeometric(pretrain_fraction=DEFAULT_PRETRAINING, n_cycles=n_cycles)
        return own

    def _check_count(self, count: int) -> None:
        """Check what depends on the number of snapshots of the whole training, before it begins."""
        if count == 0:
            requirement = "have a cycle that ends within the training"
            if self.schedule is not None:
                raise ParameterValueError(self, "schedule", requirement, self.schedule)
            name, own = find_schedule(self.estimator)
            raise ParameterValueError(self.estimator, f"callbacks__{name}", requirement, own)
        if self.n_snapshots not in (None, count):
            requirement = f"be None or the {count} cycles that the schedule ends"
            raise ParameterValueError(self, "n_snapshots", requirement, self.n_snapshots)
        n_members = count
        if self.n_members is not None:
            n_members = check_integer(self, "n_members", self.n_members, at_least=1, at_most=count)
        if self._has_given_weights():
            self._check_weights(n_members * self.n_runs)

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

    def _kept(self, training: Training) -> list[StateDict]:
        """Give the snapshots that become members: the last ones, all of them finite."""
        states, planned = training.states, training.planned
        self._check_count(planned)
        good = training.finite.index(False) if False in training.finite else len(states)
        if good < len(states):
            ended = (
                f"The training diverged: from snapshot {good + 1} of {planned} on the weights or "
                "losses are not finite. Scale inputs and targets, and lower the learning rate, for "
                "instance by LRRangeSearch"
            )
            if good == 0 or self._has_given_weights():
                raise FloatingPointError(f"{ended}.")
            warnings.warn(f"{ended}; the ensemble has the {good} before.", stacklevel=5)
        elif len(states) < planned:
            ended = (
                f"The training was stopped after {len(states)} of {planned} snapshots"
                f" (epoch {len(training.history)})"
            )
            if not states:
                raise RuntimeError(f"{ended}: there is nothing to make members of.")
            if self._has_given_weights():
                raise RuntimeError(f"{ended}, fewer than there are weights.")
            warnings.warn(f"{ended}; the ensemble is that much smaller.", stacklevel=5)
        return states[:good] if self.n_members is None else states[:good][-self.n_members :]

    def _finish(self, output: Array) -> Array:
        """Give a member's output in the form that it is averaged in."""
        raise NotImplementedError

    def _over_slices(self, X: Any, function: Callable[[Array], Array], axis: int = 0) -> Array:
        """Apply a function to the members' outputs for each slice of X, and join what it gives.

        Outputs are of shape (n_members, n_rows, ...); samples are the given axis of the result.
        """
        check_is_fitted(self)
        X = self._checked(X)
        slices = member_outputs(self.estimators_, X, self._finish, self._method)
        n_samples = count_samples(self.estimators_[0], X)
        return joined(map(function, slices), n_samples, axis)

    def _outputs(self, X: Any) -> Array:
        """Give each member's output, shape (n_members, n_samples, ...)."""
        return self._over_slices(X, lambda outputs: outputs, axis=1)

    def _average(self, X: Any) -> Array:
        """Give the weighted mean of the members' outputs, without keeping them."""
        weights = self._weights_of_members()
        return self._over_slices(X, lambda outputs: weighted_mean(outputs, weights))

    def _has_given_weights(self) -> bool:
        return self.weights is not None and not isinstance(self.weights, str)

    def _weights_of_members(self) -> Array | None:
        """Give the weights: what was learned, or the parameter as it is now."""
        check_is_fitted(self)
        if len(self.estimators_) == 1 or self.weights is None:
            return None
        if isinstance(self.weights, str):
            return np.asarray(self.weights_)
        self._check_weights(len(self.estimators_))
        return np.asarray(self.weights, dtype=float)

    def _staged_average(self, X: Any) -> Iterator[Array]:
        """Yield the weighted mean of the outputs of each run's last 1, 2, ... members."""
        yield from staged_means(self._outputs(X), self._weights_of_members(), self._members_of_runs)

    def _plot_data(self, X: Any, y: Any) -> dict[str, Any]:
        check_is_fitted(self)
        return snapshot_plot_data(self, X, y)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted ensemble into a folder: safetensors and a manifest, nothing pickled.

        Parameters
        ----------
        path : path
            The folder; what it held before is replaced, and stays where writing fails.

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
        self

        Raises
        ------
        CheckpointError
            If a file is missing or damaged, the weights do not fit the estimator's module, or
            parameters are others.
        """
        self._check_estimator()
        persistence.load(self, path)
        return self

    def to_module(self) -> EnsembleModule:
        """Give the whole ensemble as one torch module, for prediction.

        Returns
        -------
        EnsembleModule
            Gives the weighted mean of the members' probabilities (of a regressor: values), of
            all outputs that the net has. The members stay as they are.

        Raises
        ------
        TypeError
            If the net's class predicts in a way of its own, which the module would not.
        """
        return ensemble_module(self)

    def _checked_data(self, X: Any, y: Any) -> Any:
        """Give validated X, which y belongs to."""
        X = check_inputs(self, X, reset=True)
        check_targets_are_there(self, X, y, required=True)
        return X

    def _checked(self, X: Any) -> Any:
        return check_inputs(self, X, reset=False)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimators_")
