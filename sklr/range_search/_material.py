"""What the trainings of a search train on: the net alone, behind preprocessing fitted once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import _check_method_params
from skorch import NeuralNet
from skorch.dataset import Dataset, ValidSplit, get_len
from torch.utils.data import IterableDataset, Subset

from sklr._nets import find_net, fitted_part, make_silent
from sklr.callbacks._base import steps_per_epoch

ORDER = ("shuffle", "sampler", "batch_sampler")
"""Parameters of a DataLoader that say in which order samples come."""
HELD_OUT = 0.2
"""Part of the data that is held out where the net has no split of its own."""


class NetSlot(BaseEstimator):
    """Stands in the net's place in an estimator, and notes what the net would be trained on.

    Parameters
    ----------
    net : NeuralNet
        Whose place it takes; its tags and metadata requests are the slot's.
    """

    def __init__(self, net: NeuralNet) -> None:
        self.net = net

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> NetSlot:
        """Note what is given."""
        self.X_, self.y_, self.fit_params_ = X, y, fit_params
        return self

    def predict(self, X: Any) -> Any:
        """Note what is given; the answer has the shape of the targets and says nothing."""
        self.X_ = X
        return np.zeros((get_len(X), *np.shape(self.y_)[1:]))

    def get_metadata_routing(self) -> Any:
        """Ask for what the net asks for."""
        return get_routing_for_object(self.net)

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.net)


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
    held_out : callable or None
        Gives a net's data set to validate on.
    training_steps : int or None
        Steps of the estimator's own whole training; None where the data has no length.
    """

    net: NeuralNet
    X: Any
    y: Any
    fit_params: dict[str, Any]
    held_out: Callable[[NeuralNet], Any] | None
    training_steps: int | None


@dataclass(frozen=True)
class _Rows:
    """Held-out rows of what a net is trained on."""

    X: Any
    y: Any
    indices: Any

    def __call__(self, net: NeuralNet) -> Any:
        dataset = net.get_dataset(self.X, self.y)
        return dataset if self.indices is None else Subset(dataset, self.indices)


@dataclass(frozen=True)
class _Given:
    """A validation set of the user's own, as the net takes it."""

    dataset: Any

    def __call__(self, net: NeuralNet) -> Any:
        return self.dataset


def prepare(
    owner: object, estimator: Any, X: Any, y: Any, fit_params: dict[str, Any], probe: bool
) -> Material:
    """Hold data out, fit the preprocessing on the rest, and give what the net is trained on.

    Random choices are made from the global generators.
    """
    prefix, net = find_net(owner, estimator)
    silent = clone(net)
    make_silent(silent, [])
    ordered = any(hasattr(net, f"iterator_train__{name}") for name in ORDER)
    if not ordered and not isinstance(X, IterableDataset):
        # Else the ramps of a net that begins with given weights would all be one.
        silent.set_params(iterator_train__shuffle=True)
    train, valid, given = _split(net, X, y)
    n_own = steps_per_epoch(net, _own_part(X, train))
    training_steps = None if n_own is None else n_own * int(net.max_epochs)
    if train is None and given is None and probe and n_own is not None:
        train, valid = _random_split(net, X, y)
    held_out: Any = None if given is None else _Given(given)

    if prefix:
        shell = clone(estimator).set_params(**{prefix.removesuffix("__"): NetSlot(net)})
        rest, rest_params, rows = (X, y), fit_params, valid if probe else None
        if train is not None:
            rest = (_safe_indexing(X, train), None if y is None else _safe_indexing(y, train))
            rest_params = _check_method_params(X, fit_params, train)
        shell.fit(*rest, **rest_params)
        slot = fitted_part(shell, NetSlot)
        X_net, y_net, fit_params = slot.X_, slot.y_, slot.fit_params_
        if rows is not None:
            shell.predict(_safe_indexing(X, rows))
            y_valid = None if y is None else transformed_target(shell, _safe_indexing(y, rows))
            held_out = _Rows(slot.X_, y_valid, None)
        train = None
    else:
        X_net, y_net = X, y
        if valid is not None:
            held_out = _Rows(X, y, valid)
    silent.set_params(train_split=TrainingPart(train))
    return Material(silent, X_net, y_net, fit_params, held_out, training_steps)


def transformed_target(estimator: Any, y: Any) -> Any:
    """Give targets as the net in a fitted estimator gets them."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    if not hasattr(estimator, "transformer_"):
        return y
    column = np.reshape(y, (-1, 1)) if np.ndim(y) == 1 else np.asarray(y)
    changed = estimator.transformer_.transform(column)
    if changed.ndim == 2 and changed.shape[1] == 1:
        changed = changed.squeeze(axis=1)
    return transformed_target(estimator.regressor_, changed)


def _own_part(X: Any, train: Any) -> Any:
    """Give something as long as what the net's own fit would train on."""
    if isinstance(X, torch.utils.data.Dataset) and train is None:
        return X
    return range(get_len(X) if train is None else len(train))


def _split(net: NeuralNet, X: Any, y: Any) -> tuple[Any, Any, Any]:
    """Give the net's own split: indices of both parts, or a validation set that was given."""
    if not net.train_split or isinstance(X, IterableDataset):
        return None, None, None
    whole = X if isinstance(X, torch.utils.data.Dataset) else Dataset(np.arange(get_len(X)), y)
    targets = {} if y is None else {"y": y}
    train, valid = net.train_split(whole, **targets)
    if isinstance(train, Subset) and isinstance(valid, Subset) and valid.dataset is whole:
        return np.asarray(train.indices), np.asarray(valid.indices), None
    return None, None, valid


def _random_split(net: NeuralNet, X: Any, y: Any) -> tuple[Any, Any]:
    """Hold a fifth out, stratified by the labels where every label has enough samples."""
    whole = Dataset(np.arange(get_len(X)), None)
    classifies = get_tags(net).estimator_type == "classifier" and y is not None
    for stratified in (True, False) if classifies else (False,):
        try:
            train, valid = ValidSplit(HELD_OUT, stratified=stratified)(whole, y)
        except ValueError:  # a label with one sample, or fewer samples than labels
            continue
        return np.asarray(train.indices), np.asarray(valid.indices)
    return None, None
