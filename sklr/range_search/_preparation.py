"""Preparation of a split: validation data chosen, preprocessing fitted, the net alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from sklearn import get_config
from sklearn.base import clone
from sklearn.utils import assert_all_finite
from sklearn.utils.metadata_routing import get_routing_for_object
from skorch import NeuralNet
from skorch.dataset import unpack_data
from skorch.utils import data_from_dataset
from torch.utils.data import IterableDataset

from sklr._curves import BASE_FRACTION
from sklr._training._data import frame_as_array
from sklr._training._dry_run import DryRun, dry_run
from sklr._training._evaluation import (
    Evaluation,
    TrainingData,
    ValidationLoss,
    ValidationScore,
)
from sklr._training._holdout import (
    FixedSplit,
    Holdout,
    further_holdout,
    own_holdout,
    random_holdout,
)
from sklr._training._inputs import take_rows, take_rows_of_params
from sklr._training._labels import Labels
from sklr._training._placeholder import NetPlaceholder
from sklr._training._plan import plan_training
from sklr._training._sample_weight import relative_weights, set_relative_weights
from sklr._training._seeding import seeded, seeded_without_turn
from sklr._training._target import Target, fitted_part, make_silent
from sklr._validation import ParameterValueError
from sklr.callbacks import Schedule
from sklr.callbacks._base import ScheduleCallback

ORDER = ("shuffle", "sampler", "batch_sampler")
"""Parameters of a DataLoader that set the order in which samples come."""


@dataclass(frozen=True)
class Request:
    """The estimator and the data of a search.

    Attributes
    ----------
    owner : object
        The search.
    estimator : estimator
        Holds the net.
    target : Target
        The net in it.
    X, y : object
        Data; labels are encoded.
    labels : Labels or None
        The labels of a classifier.
    fit_params : dict
        For the estimator's fit, without sample weights.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights of the samples in the loss.
    verify : bool
        Whether validation data is wanted for trials.
    scorer : callable or None
        What to judge by in place of the loss.
    score_params : dict
        For the scorer.
    """

    owner: Any
    estimator: Any
    target: Target
    X: Any
    y: Any
    labels: Labels | None = None
    fit_params: dict[str, Any] = field(default_factory=dict)
    sample_weight: Any = None
    verify: bool = True
    scorer: Callable[..., float] | None = None
    score_params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """Everything but the data that the ramps and trials of a search have in common.

    Attributes
    ----------
    net : NeuralNet
        The net, silent and not initialized; to be cloned.
    fit_params : dict
        Passed to the net's fit.
    evaluation : ValidationLoss, ValidationScore or None
        How nets are judged on validation data; None if there is none.
    training_steps : int or None
        Steps of the estimator's own whole training; None if the data has no length.
    trial_steps : int or None
        Steps of a whole training on the training rows, which are fewer if the net has no split.
    schedule : schedule callback or None
        What the rate is found for, if it has a peak to set; None is a constant rate.
    shuffles_ramps : bool
        Whether ramps are shuffled though trainings are not: else all ramps of a net that begins
        with given weights would be the same.
    adapted : dict
        Parameters with which the net takes the data.
    reference_lr : float
        The rate of the net's groups that a suggestion takes the place of, others in proportion.
    preprocessing : estimator
        The fitted estimator with a placeholder for the net; the placeholder alone for a bare net.
    """

    net: NeuralNet
    fit_params: dict[str, Any]
    evaluation: Evaluation | None
    training_steps: int | None
    trial_steps: int | None
    schedule: ScheduleCallback | None
    shuffles_ramps: bool
    adapted: dict[str, Any]
    reference_lr: float
    preprocessing: Any

    @property
    def is_scored(self) -> bool:
        """Whether nets are judged by a scorer."""
        return isinstance(self.evaluation, ValidationScore)


def at_rate(schedule: ScheduleCallback, lr: float) -> ScheduleCallback:
    """Return a copy of a schedule that has a rate for its peak."""
    copy: ScheduleCallback = clone(schedule, safe=False)
    copy.set_params(**schedule_params(copy, lr))
    return copy


def schedule_params(schedule: ScheduleCallback, lr: float) -> dict[str, float]:
    """Return the parameters that give a schedule a rate for its peak, and a base below it."""
    rates = {"lr": lr, "base_lr": lr * BASE_FRACTION, "max_lr": lr}
    return {name: rate for name, rate in rates.items() if name in schedule.get_params()}


def prepare(request: Request, seed: int, split: int = 0) -> tuple[Prepared, TrainingData]:
    """Choose validation data, fit the preprocessing on the rest, and see what reaches the net.

    Parameters
    ----------
    request : Request
        What is asked.
    seed : int
        For everything random.
    split : int, default=0
        Number of the split. The first is the net's own, if it has one.

    Returns
    -------
    prepared : Prepared
    data : TrainingData
        What reaches the net, all rows of it if nothing is preprocessed, else training rows and
        validation rows apart.
    """
    target, net = request.target, request.target.net
    own = own_holdout(net, request.X, request.y, _params_of_net(request), seed=seed)
    steps = plan_training(net, request.X, own).n_steps
    holdout = own if steps is None else _holdout(request, own, seed, split)
    trial_steps = steps if holdout is own else plan_training(net, request.X, holdout).n_steps

    rows = holdout.train_rows if target.prefix else None
    # The preprocessing is the user's code, which may train in threads of its own.
    with seeded_without_turn(seed):
        shell, placeholder = fit_preprocessing(request, rows)
    X, y, params = placeholder.X_, placeholder.y_, placeholder.fit_params_
    placeholder.forget()
    if target.prefix:
        _check_finite(request, X)
    dry = _dry_run(net, X, y)
    if dry.params.get("dataset__frames"):
        X = frame_as_array(X)
    if request.labels is not None:
        dry.check_outputs(request.owner, int(request.labels.codes.max()) + 1)
    weights = relative_weights(request.sample_weight)
    silent = _silent_net(request, dry, holdout, None if weights is None else _rows(weights, rows))
    evaluation, validation = _evaluation(request, holdout, shell, placeholder, weights)
    prepared = Prepared(
        silent,
        params,
        evaluation,
        steps,
        trial_steps,
        peaking_schedule(target),
        _has_no_order(request),
        dry.params,
        dry.reference_lr,
        shell,
    )
    return prepared, TrainingData(X, y, *validation)


def peaking_schedule(target: Target) -> ScheduleCallback | None:
    """Return the schedule that a rate is found for, if it has a peak of its own to set."""
    return None if isinstance(target.schedule, Schedule) else target.schedule


def _holdout(request: Request, own: Holdout, seed: int, split: int) -> Holdout:
    """Return the rows of a split: the net's own for the first, if it has validation data."""
    net, X, y, seed = request.target.net, request.X, request.y, (seed + split) % 2**32
    if own.is_whole:
        wanted = request.verify or request.scorer is not None
        return random_holdout(net, X, y, seed=seed) if wanted else own
    if split == 0:
        return own
    return further_holdout(net, X, y, own, _params_of_net(request), seed=seed)


def fit_preprocessing(request: Request, rows: Any) -> tuple[Any, NetPlaceholder]:
    """Fit a clone of the estimator with a placeholder for the net.

    Parameters
    ----------
    request : Request
        What is asked.
    rows : ndarray of int or None
        Rows of the data; None is all.

    Returns
    -------
    shell : estimator
        The fitted clone.
    placeholder : NetPlaceholder
        The placeholder in it, which kept what reaches the net.
    """
    shell: Any = NetPlaceholder(request.target.net, request.labels)
    if request.target.prefix:
        place = request.target.prefix.removesuffix("__")
        shell = clone(request.estimator).set_params(**{place: shell})
    X, y, params = request.X, request.y, request.fit_params
    if rows is not None:
        params = take_rows_of_params(X, params, rows)
        X, y = take_rows(X, rows), None if y is None else take_rows(y, rows)
    shell.fit(X, y, **params)
    return shell, fitted_part(shell, NetPlaceholder)


def _dry_run(net: NeuralNet, X: Any, y: Any) -> DryRun:
    """Return a dry run; if the net does not take a frame by its columns, that of an array.

    Raises
    ------
    ValueError
        If torch cannot predict X, as with a wrong number of features.
    """
    dry, values = dry_run(net, X, y), frame_as_array(X)
    if dry.output is None and dry.params and values is not X:
        # As in a Pipeline with set_output(transform="pandas").
        dry = dry_run(net, values, y)
        dry = replace(dry, params=dry.params | {"dataset__frames": True})
    parts = values.values() if isinstance(values, dict) else [values]
    if all(hasattr(part, "shape") for part in parts):
        dry.check_prediction(values)
    return dry


def _params_of_net(request: Request) -> Mapping[str, Any]:
    """Return the fit parameters that reach the net, and so its split."""
    params, prefix = request.fit_params, request.target.prefix
    if not prefix:
        return params
    if get_config()["enable_metadata_routing"]:
        wanted = get_routing_for_object(request.target.net).consumes("fit", params.keys())
        return {name: params[name] for name in wanted}
    return {k.removeprefix(prefix): v for k, v in params.items() if k.startswith(prefix)}


def _silent_net(request: Request, dry: DryRun, holdout: Holdout, weights: Any) -> NeuralNet:
    """Return a clone that takes the data, trains on the training rows, and does nothing else."""
    net = request.target.net
    silent = clone(net)
    make_silent(silent)
    # Behind preprocessing the data is that of the training rows already.
    split = FixedSplit(Holdout() if request.target.prefix else holdout, validate=False)
    silent.set_params(train_split=split, **dry.params)
    if weights is not None:
        set_relative_weights(silent, weights)
    return silent


def _has_no_order(request: Request) -> bool:
    """Return whether the net leaves it to the DataLoader in which order samples come."""
    ordered = any(hasattr(request.target.net, f"iterator_train__{name}") for name in ORDER)
    return not ordered and not isinstance(request.X, IterableDataset)


def _evaluation(
    request: Request, holdout: Holdout, shell: Any, placeholder: NetPlaceholder, weights: Any
) -> tuple[Evaluation | None, tuple[Any, Any]]:
    """Return how nets are judged, and validation data that is apart from the training data."""
    if request.scorer is not None:
        return _score(request, request.scorer, holdout, shell, placeholder)
    if holdout.dataset is not None:
        return ValidationLoss(dataset=holdout.dataset), (None, None)
    if holdout.valid_rows is None:
        return None, (None, None)
    rows = holdout.valid_rows
    if not request.target.prefix:
        return ValidationLoss(rows=rows), (None, None)
    # What a placeholder without a net is given to predict from is preprocessed.
    with seeded_without_turn(0):
        shell.predict(take_rows(request.X, rows))
    X = fitted_part(shell, NetPlaceholder).X_
    del placeholder.X_
    _check_finite(request, X)
    y = None if request.y is None else _transformed_target(shell, take_rows(request.y, rows))
    return ValidationLoss(sample_weight=_rows(weights, rows)), (X, y)


def _score(
    request: Request,
    scorer: Callable[..., float],
    holdout: Holdout,
    shell: Any,
    placeholder: NetPlaceholder,
) -> tuple[ValidationScore, tuple[Any, Any]]:
    """Return the evaluation by the scorer, and its data as the user gave it."""
    if not holdout.has_validation:
        requirement = "be None if no rows of the data can be chosen for validation"
        raise ParameterValueError(request.owner, "scoring", requirement, scorer)
    if holdout.dataset is not None:
        # As the net takes it: preprocessed, if the estimator preprocesses.
        X, y = data_from_dataset(holdout.dataset)
        return ValidationScore(scorer, placeholder), (X, _decoded(request, y))
    rows = holdout.valid_rows
    params = take_rows_of_params(request.X, request.score_params, rows)
    y = None if request.y is None else take_rows(request.y, rows)
    data = take_rows(request.X, rows), _decoded(request, y)
    return ValidationScore(scorer, shell, params), data


def _decoded(request: Request, y: Any) -> Any:
    """Return labels as the user knows them."""
    return y if y is None or request.labels is None else request.labels.decode(y)


def _rows(values: Any, rows: Any) -> Any:
    return values if values is None or rows is None else values[rows]


def _check_finite(request: Request, X: Any) -> None:
    """Raise if values that reach the net are not finite."""
    X = frame_as_array(X)
    if isinstance(X, np.ndarray) and X.dtype.kind == "f":
        assert_all_finite(X, estimator_name=type(request.owner).__name__, input_name="X")


def _transformed_target(estimator: Any, y: Any) -> Any:
    """Return targets as the net in a fitted estimator gets them."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    if not hasattr(estimator, "transformer_"):
        return y
    one_d = np.ndim(y) == 1
    changed = estimator.transformer_.transform(np.reshape(y, (-1, 1)) if one_d else np.asarray(y))
    if one_d and changed.ndim == 2 and changed.shape[1] == 1:
        changed = changed.squeeze(axis=1)
    return _transformed_target(estimator.regressor_, changed)


def count_nonfinite(net: NeuralNet, data: TrainingData) -> int:
    """Return how many training samples hold a value, in X or y, that is not finite.

    Parameters
    ----------
    net : NeuralNet
        The silent net, whose batches are read once.
    data : TrainingData
        What it trains on.
    """
    count = 0
    with seeded(0):
        for batch in net.get_iterator(net.get_dataset(data.X, data.y), training=False):
            finite = [
                torch.isfinite(leaf).reshape(len(leaf), -1).all(dim=1)
                for leaf in _leaves(unpack_data(batch))
                if leaf.is_floating_point() and leaf.ndim
            ]
            count += int((~torch.stack(finite).all(dim=0)).sum()) if finite else 0
    return count


def _leaves(batch: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in a batch."""
    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        yield from _leaves(list(batch.values()))
    elif isinstance(batch, list | tuple):
        for part in batch:
            yield from _leaves(part)
