"""What the trainings of a search train on: the net alone, behind preprocessing fitted once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.base import clone, is_classifier
from sklearn.utils import _safe_indexing, assert_all_finite
from sklearn.utils.validation import _check_method_params
from skorch import NeuralNet
from skorch.dataset import Dataset, ValidSplit, get_len
from skorch.utils import data_from_dataset
from torch.utils.data import IterableDataset, Subset

from sklr._training._dry_run import Rehearsal, rehearse
from sklr._training._evaluation import DatasetLoss, Judge, MinusScore, RowsLoss
from sklr._training._placeholder import NetSlot
from sklr._training._target import find_net, fitted_part, make_silent
from sklr._validation import ParameterValueError
from sklr.callbacks._base import steps_per_epoch

ORDER = ("shuffle", "sampler", "batch_sampler")
"""Parameters of a DataLoader that say in which order samples come."""
HELD_OUT = 0.2
"""Part of the data that is held out where the net has no split of its own."""


@dataclass(frozen=True)
class Task:
    """What a search is asked about.

    Attributes
    ----------
    owner : object
        The search, for messages.
    estimator : estimator
        Holds the net.
    X, y : object
        Data; labels are encoded.
    classes : ndarray of shape (n_classes,) or None
        The labels, of a classifier.
    fit_params : dict
        For the estimator's fit.
    probe : bool
        Whether data is to be held out for probes.
    scorer : callable or None
        What to judge by in place of the loss.
    score_params : dict
        For the scorer.
    """

    owner: object
    estimator: Any
    X: Any
    y: Any
    classes: Any = None
    fit_params: dict[str, Any] = field(default_factory=dict)
    probe: bool = True
    scorer: Callable[..., float] | None = None
    score_params: dict[str, Any] = field(default_factory=dict)


class TrainingPart:
    """A `train_split` that keeps the samples held out, if any, and validates nothing.

    Parameters
    ----------
    indices : ndarray or None
        Samples to train on; None is all.
    """

    def __init__(self, indices: Any = None) -> None:
        self.indices = indices

    def __call__(self, dataset: Any, y: Any = None, **kwargs: Any) -> tuple[Any, None]:
        """Give the training data, and nothing to validate on."""
        return (dataset if self.indices is None else Subset(dataset, self.indices)), None


@dataclass(frozen=True)
class Material:
    """What every ramp and probe of a search gets.

    Attributes
    ----------
    net : NeuralNet
        The net, silent and not initialized; to be cloned.
    X, y : object
        What the net is trained on.
    fit_params : dict
        Passed to the net's fit.
    loss : callable or None
        Gives a net's held-out loss; None where nothing is held out.
    minus_score : callable or None
        Gives minus a net's held-out score, where there is a scorer.
    training_steps : int or None
        Steps of the estimator's own whole training; None where the data has no length.
    adapted : dict
        Parameters of the net with which it takes the data.
    takes_nan : bool
        Whether the preprocessing lets no NaN through to the net.
    """

    net: NeuralNet
    X: Any
    y: Any
    fit_params: dict[str, Any]
    loss: Judge | None
    minus_score: Judge | None
    training_steps: int | None
    adapted: dict[str, Any]
    takes_nan: bool

    @property
    def judge(self) -> Judge | None:
        """What probes are judged by."""
        return self.minus_score or self.loss


@dataclass(frozen=True)
class _Split:
    """Rows to train on and rows held out, None for all and for none, or a given validation set."""

    train: Any = None
    valid: Any = None
    given: Any = None


def prepare(task: Task) -> Material:
    """Hold data out, fit the preprocessing on the rest, and give what the net is trained on.

    Random choices are made from the global generators.
    """
    prefix, net = find_net(task.owner, task.estimator)
    split = _own_split(net, task.X, task.y)
    n_batches = steps_per_epoch(net, _own_part(task.X, split.train))
    training_steps = None if n_batches is None else n_batches * int(net.max_epochs)
    wanted = task.probe or task.scorer is not None
    if wanted and split.train is None and split.given is None and n_batches is not None:
        split = _random_split(net, task.X, task.y)

    shell = NetSlot(net, task.classes)
    if prefix:
        shell = clone(task.estimator).set_params(**{prefix.removesuffix("__"): shell})
    rows = split.train if prefix else None
    X, y, params = _taken(task, rows)
    shell.fit(X, y, **params)
    slot = fitted_part(shell, NetSlot)
    X, y, params = slot.X_, slot.y_, slot.fit_params_
    if prefix:
        _check_finite(task, X)
    rehearsal = rehearse(net, X, y)
    if task.classes is not None:
        rehearsal.check_outputs(task.owner, len(task.classes))
    loss = _loss(task, split, shell, X, y, in_place=not prefix)
    takes_nan = bool(prefix) and _takes_nan(shell, slot, task.X)
    slot.forget()
    minus_score = None if task.scorer is None else _minus_score(task, split, shell, slot)
    silent = _silent(net, rehearsal, task.X, None if prefix else split.train)
    return Material(
        silent, X, y, params, loss, minus_score, training_steps, rehearsal.params, takes_nan
    )


def _silent(net: NeuralNet, rehearsal: Rehearsal, X: Any, train: Any) -> NeuralNet:
    """Give a clone that takes the data, trains on the training part, and does nothing else."""
    silent = clone(net)
    make_silent(silent)
    silent.set_params(train_split=TrainingPart(train), **rehearsal.params)
    ordered = any(hasattr(net, f"iterator_train__{name}") for name in ORDER)
    if not ordered and not isinstance(X, IterableDataset):
        # Else the ramps of a net that begins with given weights would all be one.
        silent.set_params(iterator_train__shuffle=True)
    return silent


def _taken(task: Task, rows: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Give data and fit parameters, or some rows of them."""
    if rows is None:
        return task.X, task.y, task.fit_params
    y = None if task.y is None else _safe_indexing(task.y, rows)
    return (
        _safe_indexing(task.X, rows),
        y,
        _check_method_params(task.X, task.fit_params, rows),
    )


def _loss(task: Task, split: _Split, shell: Any, X: Any, y: Any, *, in_place: bool) -> Judge | None:
    """Give what tells a net's loss on the held-out data."""
    if split.given is not None:
        return DatasetLoss(split.given)
    if split.valid is None:
        return None
    if in_place:
        return RowsLoss(X, y, split.valid)
    # What the slot is given to predict from is preprocessed.
    shell.predict(_safe_indexing(task.X, split.valid))
    X = fitted_part(shell, NetSlot).X_
    _check_finite(task, X)
    y_valid = None if task.y is None else _safe_indexing(task.y, split.valid)
    return RowsLoss(X, None if y is None else transformed_target(shell, y_valid))


def _check_finite(task: Task, X: Any) -> None:
    """Refuse what is not finite behind the preprocessing."""
    if isinstance(X, np.ndarray) and X.dtype.kind == "f":
        assert_all_finite(X, estimator_name=type(task.owner).__name__, input_name="X")


def _minus_score(task: Task, split: _Split, shell: Any, slot: NetSlot) -> Judge:
    """Give what tells minus a net's score on the held-out data."""
    assert task.scorer is not None
    if split.given is not None:
        # As the net takes it: preprocessed, if the estimator preprocesses.
        X, y = data_from_dataset(split.given)
        return MinusScore(task.scorer, slot, X, _decoded(task, y), {})
    if split.valid is None:
        requirement = "be None where no data can be held out: the training data has no length"
        raise ParameterValueError(task.owner, "scoring", requirement, task.scorer)
    if isinstance(task.X, torch.utils.data.Dataset):
        X = Subset(task.X, split.valid)
    else:
        X = _safe_indexing(task.X, split.valid)
    y = None if task.y is None else _safe_indexing(task.y, split.valid)
    params = _check_method_params(task.X, task.score_params, split.valid)
    return MinusScore(task.scorer, shell, X, _decoded(task, y), params)


def _decoded(task: Task, y: Any) -> Any:
    """Give labels as the user knows them."""
    if y is None or task.classes is None:
        return y
    return task.classes[np.asarray(y).astype(int)]


def _takes_nan(shell: Any, slot: NetSlot, X: Any) -> bool:
    """Tell whether a row of NaN comes to the net without one."""
    if not isinstance(X, np.ndarray):
        return True
    try:
        shell.predict(np.full((1, *X.shape[1:]), np.nan))
    except ValueError:
        return False
    return isinstance(slot.X_, np.ndarray) and bool(np.isfinite(slot.X_).all())


def transformed_target(estimator: Any, y: Any) -> Any:
    """Give targets as the net in a fitted estimator gets them."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    if not hasattr(estimator, "transformer_"):
        return y
    one_d = np.ndim(y) == 1
    changed = estimator.transformer_.transform(np.reshape(y, (-1, 1)) if one_d else np.asarray(y))
    if one_d and changed.ndim == 2 and changed.shape[1] == 1:
        changed = changed.squeeze(axis=1)
    return transformed_target(estimator.regressor_, changed)


def _own_part(X: Any, train: Any) -> Any:
    """Give something as long as what the net's own fit would train on."""
    if isinstance(X, torch.utils.data.Dataset) and train is None:
        return X
    return range(get_len(X) if train is None else len(train))


def _own_split(net: NeuralNet, X: Any, y: Any) -> _Split:
    """Split as the net's own fit would."""
    if not net.train_split or isinstance(X, IterableDataset):
        return _Split()
    whole = X if isinstance(X, torch.utils.data.Dataset) else Dataset(np.arange(get_len(X)), y)
    targets = {} if y is None else {"y": y}
    train, valid = net.train_split(whole, **targets)
    if isinstance(train, Subset) and isinstance(valid, Subset) and valid.dataset is whole:
        return _Split(np.asarray(train.indices), np.asarray(valid.indices))
    return _Split(given=valid)


def _random_split(net: NeuralNet, X: Any, y: Any) -> _Split:
    """Hold a fifth out, stratified by the labels where every label has enough samples."""
    whole = Dataset(np.arange(get_len(X)), None)
    for stratified in (True, False) if is_classifier(net) and y is not None else (False,):
        try:
            train, valid = ValidSplit(HELD_OUT, stratified=stratified)(whole, y)
        except ValueError:  # a label with one sample, or fewer samples than labels
            continue
        return _Split(np.asarray(train.indices), np.asarray(valid.indices))
    return _Split()
