"""Training rows and validation rows: chosen here, once, for searches and ensembles alike."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import is_classifier
from skorch import NeuralNet
from skorch.dataset import Dataset, ValidSplit
from skorch.utils import data_from_dataset
from torch.utils.data import IterableDataset, Subset

from sklr._training._inputs import n_samples, take_rows
from sklr._training._seeding import seeded, seeded_without_turn
from sklr._validation import Description, ParameterValueError

Rows = npt.NDArray[np.intp]

VALIDATION_PART = 0.2
"""Part of the rows that are kept for validation if the net has no split of its own."""


@dataclass(frozen=True, eq=False)
class Holdout:
    """The rows that a net is trained on, and the validation data.

    Attributes
    ----------
    train_rows : ndarray of int or None
        Rows to train on; None is all of them.
    valid_rows : ndarray of int or None
        Rows to validate on; None if there are none, or a `dataset`.
    dataset : Dataset or None
        A validation set that the net's split gives, such as `predefined_split`, instead of rows.
    split : callable or None
        The net's own split, to be asked again in the training, if its training data is no part of
        the data that it is given.
    n_train : int or None
        Length of the training data if only `split` knows it.
    """

    train_rows: Rows | None = None
    valid_rows: Rows | None = None
    dataset: Any = None
    split: Any = None
    n_train: int | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Holdout:
        # Rows are never written to: the clones of a net share them instead of copying them.
        return self

    @property
    def has_validation(self) -> bool:
        """Whether there is validation data."""
        return self.valid_rows is not None or self.dataset is not None

    @property
    def is_whole(self) -> bool:
        """Whether all rows are trained on, and there is no validation data."""
        return self.train_rows is None and self.dataset is None and self.split is None

    def validation_data(self, X: Any, y: Any) -> tuple[Any, Any] | None:
        """Return the validation data as (X, y), or None if there is none.

        Parameters
        ----------
        X, y : object
            All data, of which rows are taken.
        """
        if self.dataset is not None:
            X_valid, y_valid = data_from_dataset(self.dataset)
            return X_valid, y_valid
        if self.valid_rows is None:
            return None
        return take_rows(X, self.valid_rows), None if y is None else take_rows(y, self.valid_rows)

    def same_validation_as(self, other: Holdout) -> bool:
        """Return whether the other holdout validates on the same data."""
        if self.valid_rows is None or other.valid_rows is None:
            # A validation set that is given is the same for all trainings.
            return self.valid_rows is other.valid_rows
        return np.array_equal(self.valid_rows, other.valid_rows)


class FixedSplit:
    """A `train_split` for skorch that splits as a holdout says, whatever it is asked with.

    Parameters
    ----------
    holdout : Holdout
        The rows.
    validate : bool
        Whether the training validates on the validation data at the end of each epoch.
    """

    def __init__(self, holdout: Holdout, validate: bool) -> None:
        self.holdout = holdout
        self.validate = validate

    def __call__(self, dataset: Any, y: Any = None, **kwargs: Any) -> tuple[Any, Any]:
        """Return the training part of a data set, and the validation part or None."""
        rows, valid = self.holdout.train_rows, None
        if self.holdout.split is not None:
            params = kwargs if y is None else {**kwargs, "y": y}
            train, valid = self.holdout.split(dataset, **params)
            return train, valid if self.validate else None
        if self.validate:
            valid = self.holdout.dataset
            if self.holdout.valid_rows is not None:
                valid = Subset(dataset, self.holdout.valid_rows)  # type: ignore[arg-type]
        return (dataset if rows is None else Subset(dataset, rows)), valid  # type: ignore[arg-type]


def own_holdout(
    net: NeuralNet, X: Any, y: Any, fit_params: Mapping[str, Any] | None = None, *, seed: int
) -> Holdout:
    """Split as the net's own fit would, after the generators are seeded.

    Parameters
    ----------
    net : NeuralNet
        The net; it need not be initialized.
    X, y : object
        The data. The split is asked with row numbers in place of an array, since preprocessing
        may still stand between the data and the net.
    fit_params : mapping, default=None
        What skorch passes from `fit` to the split, such as groups.
    seed : int
        Random splits draw from the global generators, as they do in a fit.

    Returns
    -------
    Holdout
        Without validation data if the net has no split.
    """
    if not net.train_split:
        return Holdout()
    is_dataset = isinstance(X, torch.utils.data.Dataset)
    whole = X if is_dataset else Dataset(np.arange(n_samples(X)), y)
    params = dict(fit_params or {}) if y is None else {**(fit_params or {}), "y": y}
    # Another callable is code of the user's, which may train in threads of its own.
    is_known = isinstance(net.train_split, ValidSplit)
    with (seeded if is_known else seeded_without_turn)(seed):
        try:
            train, valid = net.train_split(whole, **params)
        except ValueError as error:
            # What another callable raises is in its author's words.
            if not is_known:
                raise
            raise _cannot_split(net, error) from error
    if isinstance(train, Subset) and train.dataset is whole:
        rows = np.asarray(train.indices)
        if isinstance(valid, Subset) and valid.dataset is whole:
            return Holdout(rows, np.asarray(valid.indices))
        return Holdout(rows, dataset=valid)
    if train is whole:
        return Holdout(dataset=valid)
    return Holdout(dataset=valid, split=net.train_split, n_train=len(train))


def _cannot_split(net: NeuralNet, error: ValueError) -> ParameterValueError:
    """Return the error of scikit-learn's splitters as one that names the net's parameter."""
    requirement = (
        f"be able to split the data ({str(error).strip().rstrip('.')}): give it more samples, or "
        "the net a ValidSplit with fewer folds or without stratification, or train_split=None"
    )
    split = net.train_split
    got = Description(f"ValidSplit(cv={split.cv!r}, stratified={split.stratified!r})")
    return ParameterValueError(net, "train_split", requirement, got)


def further_holdout(
    net: NeuralNet,
    X: Any,
    y: Any,
    own: Holdout,
    fit_params: Mapping[str, Any] | None = None,
    *,
    seed: int,
) -> Holdout:
    """Split anew, in the way of the net's own split.

    Parameters
    ----------
    net, X, y, fit_params
        As in `own_holdout`.
    own : Holdout
        The net's own split.
    seed : int
        Says which rows, if the split draws them.

    Returns
    -------
    Holdout
        Random rows, as many, if skorch splits by a number of folds or a part; else what the split
        gives if it is asked again, which may be the same rows.
    """
    split = net.train_split
    is_number = isinstance(split, ValidSplit) and isinstance(split.cv, Number)
    if is_number and own.train_rows is not None:
        return random_holdout(net, X, y, seed=seed, n_train=len(own.train_rows))
    # It may keep groups or times apart.
    return own_holdout(net, X, y, fit_params, seed=seed)


def random_holdout(
    net: NeuralNet, X: Any, y: Any, *, seed: int, n_train: int | None = None
) -> Holdout:
    """Keep a random fifth for validation, stratified by the labels if each has enough samples.

    The training rows never end in a batch of one sample, in which BatchNorm cannot normalize, and
    fill at least one batch if the net drops incomplete ones.

    Parameters
    ----------
    net : NeuralNet
        The net, whose batch size counts.
    X, y : object
        The data.
    seed : int
        Says which rows.
    n_train : int, default=None
        Number of training rows; None is four fifths, or close to it.

    Returns
    -------
    Holdout
        Without validation data if there are no rows to choose, or too few.
    """
    if isinstance(X, IterableDataset):
        return Holdout()
    n = n_samples(X)
    if n_train is None:
        n_train = _trainable(net, n - round(n * VALIDATION_PART), n)
    n_valid = n - n_train
    if n_valid < 1 or n_valid == n:
        return Holdout()
    whole = Dataset(np.arange(n), None)
    for stratified in (True, False) if is_classifier(net) and y is not None else (False,):
        split = ValidSplit(n_valid / n, stratified=stratified)
        try:
            with seeded(seed), warnings.catch_warnings():
                # Of labels with fewer samples than folds; the next split is not stratified.
                warnings.simplefilter("ignore", UserWarning)
                train, valid = split(whole, y)
        except ValueError:  # a label with one sample, or fewer samples than labels
            continue
        return _moved(np.asarray(train.indices), np.asarray(valid.indices), n - n_valid)
    return Holdout()


def _trainable(net: NeuralNet, n_train: int, n: int) -> int:
    """Return how many of n rows to train on, close to `n_train`, so that each batch is usable."""
    size = getattr(net, "iterator_train__batch_size", net.batch_size)
    if not isinstance(size, int | np.integer) or size < 1:  # -1 is all rows in one batch
        return n_train
    if getattr(net, "iterator_train__drop_last", False):
        return min(n, max(n_train, int(size)))
    if size > 1 and n_train % size == 1:
        return n_train - 1 if n_train > 1 else n
    return n_train


def _moved(train: Rows, valid: Rows, n_train: int) -> Holdout:
    """Return the split with exactly `n_train` training rows; rounding may miss it by one."""
    rows = np.concatenate([train, valid])
    return Holdout(rows[:n_train], rows[n_train:])


def all_agree(holdouts: Sequence[Holdout]) -> bool:
    """Return whether all validate on the same data."""
    return all(holdouts[0].same_validation_as(other) for other in holdouts[1:])
