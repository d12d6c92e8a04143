"""Labels and targets in the form that a net's loss takes them in, and back again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import is_classifier
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array, column_or_1d
from skorch import NeuralNet, NeuralNetBinaryClassifier

from sklr._validation import Description, ParameterTypeError, ParameterValueError
from sklr._warnings import warn

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of a classifier, and the outputs of its net that stand for them.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The labels, sorted, as the user knows them.
    codes : ndarray of int of shape (n_classes,)
        For each label, what the net is trained on: the index of its output.
    dtype : dtype
        Of encoded labels, as the net's loss needs them.
    """

    classes: Array
    codes: npt.NDArray[np.int64]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, net: NeuralNet, y: Any) -> Self:
        """Find the labels in y, and those that the net's `classes` names, as `of_seen` does.

        Parameters
        ----------
        net : NeuralNet
            The classifier.
        y : array-like of shape (n_samples,)
            Labels of any kind.

        Raises
        ------
        ValueError
            As `of_seen`.
        NotImplementedError
            If y is multilabel.
        """
        return cls.of_seen(net, np.unique(_checked_labels(y, warn_of_column=True)))

    @classmethod
    def of_seen(cls, net: NeuralNet, seen: Array) -> Self:
        """Encode the labels of y, and those that the net's `classes` names.

        Labels become 0, 1, ... in sorted order, unless something of the net already stands for
        them by position: skorch's `classes`, or class weights of the criterion for more labels
        than y holds (as in a fold that lacks one). Then each label keeps its place.

        Parameters
        ----------
        net : NeuralNet
            The classifier.
        seen : ndarray of shape (n_labels,)
            The labels in y, sorted, each once.

        Raises
        ------
        ValueError
            If there is one label only, or one that `classes` lacks, or class weights cannot be
            matched with labels.
        """
        binary = isinstance(net, NeuralNetBinaryClassifier)
        # Losses of one output, such as BCEWithLogitsLoss, take floats.
        dtype = np.dtype(np.float32 if binary else np.int64)
        if getattr(net, "classes", None) is not None:
            return cls(*_of_classes(net, seen), dtype)
        if len(seen) < 2:
            raise ValueError(
                "Classifier can't train when only one class is present: y holds only "
                f"{seen.tolist()[0]!r}."
            )
        n_weights = _n_class_weights(net)
        if n_weights <= len(seen):
            return cls(seen, np.arange(len(seen), dtype=np.int64), dtype)
        codes = _own_places(seen, n_weights)
        if codes is None:
            requirement = (
                f"have one weight for each of the {len(seen)} labels in y; if y lacks a label, as "
                "a fold may, name all labels by the net's 'classes' parameter"
            )
            raise ParameterValueError(net, "criterion__weight", requirement, n_weights)
        return cls(seen, codes, dtype)

    @property
    def encoder(self) -> LabelEncoder:
        """scikit-learn's encoder of these labels."""
        return LabelEncoder().fit(self.classes)

    def encode(self, y: Any) -> Array:
        """Return labels as the net is trained on them, shape (n_samples,)."""
        return self.codes[np.searchsorted(self.classes, _checked_labels(y))].astype(self.dtype)

    def indices(self, encoded: Any) -> npt.NDArray[np.intp]:
        """Return the index in `classes` of each encoded label."""
        # Codes are sorted only if no label was named out of order.
        order = np.argsort(self.codes)
        places = np.searchsorted(self.codes[order], np.asarray(encoded).astype(np.int64))
        return np.asarray(order[places])

    def decode(self, encoded: Any) -> Array:
        """Return encoded labels as the user knows them."""
        return np.asarray(self.classes[self.indices(encoded)])

    def select(self, proba: Array) -> Array:
        """Return the columns of a net's outputs that stand for labels, their rows summing to 1.

        Parameters
        ----------
        proba : ndarray of shape (n_samples, n_outputs)
            What the net's `predict_proba` gives; returned as it is if its columns are the labels.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        if np.array_equal(self.codes, np.arange(proba.shape[1])):
            return proba
        chosen = proba[:, self.codes]
        total = chosen.sum(axis=1, keepdims=True)
        # NaN stays NaN; a row without any probability for a label says nothing of them.
        even = np.full((), 1 / len(self.codes), chosen.dtype)
        return np.where(total == 0, even, chosen / np.where(total == 0, 1, total))

    def choose(self, net: NeuralNet, proba: Array) -> Array:
        """Return the labels that selected probabilities decide for.

        Parameters
        ----------
        net : NeuralNet
            A NeuralNetBinaryClassifier decides by its threshold, others by the highest.
        proba : ndarray of shape (n_samples, n_classes)
            Probabilities, of `select`.
        """
        return np.asarray(self.classes[chosen_indices(net, proba)])


def chosen_indices(net: NeuralNet, proba: Array) -> npt.NDArray[np.intp]:
    """Return the index of the class that each row of probabilities decides for."""
    if isinstance(net, NeuralNetBinaryClassifier):
        return np.asarray(proba[:, 1] > net.threshold, dtype=np.intp)
    return np.asarray(proba.argmax(axis=1))


def _flattened(y: Any, *, warn_of_column: bool) -> Array:
    """Return a column as a flat array, with scikit-learn's warning, in the user's line."""
    # What is no array itself may refuse numpy's functions, but not to become one.
    if warn_of_column and np.asarray(y).shape[1:] == (1,):
        warn(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of "
            "y to (n_samples,), for example using ravel().",
            DataConversionWarning,
        )
    return np.asarray(column_or_1d(y))


def _checked_labels(y: Any, *, warn_of_column: bool = False) -> Array:
    y = check_array(y, ensure_2d=False, dtype=None, allow_nd=True, input_name="y")
    check_classification_targets(y)
    if type_of_target(y).startswith("multilabel"):
        raise NotImplementedError(
            "Multilabel and multi-output classification is not supported. Use a plain "
            "skorch.NeuralNet with a loss for it, such as torch.nn.BCEWithLogitsLoss."
        )
    return _flattened(y, warn_of_column=warn_of_column)


def _of_classes(net: NeuralNet, seen: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return the labels that a net names, sorted, and the place of each among its outputs."""
    named = np.asarray(net.classes)
    classes = np.unique(named)
    unknown = np.setdiff1d(seen, classes)
    if unknown.size or len(classes) < 2 or named.ndim != 1:
        requirement = f"name each label once, those of y ({seen.tolist()}) among them"
        raise ParameterValueError(net, "classes", requirement, net.classes)
    own = _own_places(classes, len(classes))
    if own is not None:  # skorch itself trains on integers as they are, in whatever order named
        return classes, own
    return classes, np.array([int(np.flatnonzero(named == label)[0]) for label in classes])


def _own_places(labels: Array, n_outputs: int) -> npt.NDArray[np.int64] | None:
    """Return labels that are themselves indices of outputs; None if they are not."""
    # They are sorted, so that the first and the last are the extremes.
    if labels.dtype.kind not in "biu" or labels[0] < 0 or labels[-1] >= n_outputs:
        return None
    return labels.astype(np.int64)


def _n_class_weights(net: NeuralNet) -> int:
    """Return for how many classes the net's criterion has weights; 0 for none."""
    # A criterion that is an instance has its own, and takes no parameters.
    weights = getattr(net, "criterion__weight", getattr(net.criterion, "weight", None))
    return len(weights) if isinstance(weights, torch.Tensor) and weights.ndim == 1 else 0


def flat_targets(y: Any) -> Array:
    """Return a regression's targets as float32 of shape (n_samples,).

    Raises
    ------
    TypeError, ValueError
        If y is not finite numbers of that shape, or a column.
    """
    _check_are_numbers(y)
    y = _flattened(y, warn_of_column=True)
    return np.asarray(check_array(y, ensure_2d=False, dtype=np.float32, input_name="y"))


def regression_targets(y: Any, *, flatten: bool) -> Any:
    """Return a regression's targets as floats of the shape that they have.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets; tensors stay as they are.
    flatten : bool
        Whether a column becomes flat, with scikit-learn's warning.

    Raises
    ------
    TypeError, ValueError
        If y is not finite numbers.
    """
    if isinstance(y, torch.Tensor):
        return y
    _check_are_numbers(y)
    y = check_array(y, ensure_2d=False, dtype="numeric", input_name="y", allow_nd=True)
    if y.dtype.kind != "f":
        y = y.astype(np.float32)
    if flatten and y.shape[1:] == (1,):
        return _flattened(y, warn_of_column=True)
    return y


def _check_are_numbers(y: Any) -> None:
    """Raise if targets are times, which scikit-learn's checks would take for numbers."""
    dtype = getattr(y, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "mM":
        raise ParameterTypeError("fit", "y", "hold numbers", Description(f"dtype {dtype}"))


def flat(values: Any) -> Array:
    """Return predictions of shape (n_samples, 1) as (n_samples,), and any others as they are."""
    array: Array = np.asarray(values)
    return array[:, 0] if array.shape[1:] == (1,) else array


def default_score(estimator: Any, y: Any, predicted: Any, **params: Any) -> float:
    """Return what scikit-learn's estimators score by themselves: accuracy or R²."""
    metric = accuracy_score if is_classifier(estimator) else r2_score
    return float(metric(y, predicted, **params))
