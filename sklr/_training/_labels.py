"""Labels and targets in the form that a net's loss takes them in, and back again."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array, column_or_1d
from skorch import NeuralNet, NeuralNetBinaryClassifier

Array = npt.NDArray[Any]


def encode_labels(net: NeuralNet, y: Any) -> tuple[LabelEncoder, Array]:
    """Encode labels of any kind as 0, 1, ... in the dtype that the net's loss needs.

    Parameters
    ----------
    net : NeuralNet
        The classifier.
    y : array-like of shape (n_samples,)
        Labels.

    Returns
    -------
    encoder : LabelEncoder
        Knows the labels.
    encoded : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If y holds no labels, or one label only.
    NotImplementedError
        If y is multilabel.
    """
    y = check_array(y, ensure_2d=False, dtype=None, allow_nd=True, input_name="y")
    check_classification_targets(y)
    if type_of_target(y).startswith("multilabel"):
        raise NotImplementedError("Multilabel and multi-output classification is not supported.")
    y = column_or_1d(y, warn=True)
    encoder = LabelEncoder().fit(y)
    if len(encoder.classes_) < 2:
        raise ValueError(
            "Classifier can't train when only one class is present: y holds only "
            f"{encoder.classes_[0]!r}."
        )
    binary = isinstance(net, NeuralNetBinaryClassifier)
    return encoder, encoder.transform(y).astype(np.float32 if binary else np.int64)


def flat_targets(y: Any) -> Array:
    """Give a regression's targets as float32 of shape (n_samples,).

    Raises
    ------
    ValueError
        If y is not finite numbers of that shape, or a column.
    """
    return np.asarray(
        check_array(column_or_1d(y, warn=True), ensure_2d=False, dtype=np.float32, input_name="y")
    )


def regression_targets(y: Any, *, flatten: bool) -> Any:
    """Give a regression's targets as floats of the shape they have.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets; tensors stay as they are.
    flatten : bool
        Whether a column becomes flat, with scikit-learn's warning.

    Raises
    ------
    ValueError
        If y is not finite numbers.
    """
    if isinstance(y, torch.Tensor):
        return y
    y = check_array(y, ensure_2d=False, dtype="numeric", input_name="y", allow_nd=True)
    if y.dtype.kind != "f":
        y = y.astype(np.float32)
    if flatten and y.shape[1:] == (1,):
        return np.asarray(column_or_1d(y, warn=True))
    return y


def matching_columns(proba: Array, n_classes: int) -> Array:
    """Drop outputs that no label stands for, and let the rows sum to 1 again."""
    if proba.shape[1] == n_classes:
        return proba
    proba = proba[:, :n_classes]
    total = proba.sum(axis=1, keepdims=True)
    return np.where(total > 0, proba / np.where(total > 0, total, 1), 1 / n_classes)


def chosen_labels(net: NeuralNet, proba: Array, classes: Array) -> Array:
    """Give the labels that a net decides for, as the user knows them.

    Parameters
    ----------
    net : NeuralNet
        The classifier; NeuralNetBinaryClassifier has a threshold.
    proba : ndarray of shape (n_samples, n_classes)
        Its probabilities; else the highest decides.
    classes : ndarray of shape (n_classes,)
        The labels.

    Returns
    -------
    ndarray of shape (n_samples,)
    """
    if isinstance(net, NeuralNetBinaryClassifier):
        return np.asarray(classes[(proba[:, 1] > net.threshold).astype(int)])
    return np.asarray(classes[proba.argmax(axis=1)])


def flat(values: Any) -> Array:
    """Give predictions of shape (n_samples, 1) as (n_samples,), and any others as they are."""
    array: Array = np.asarray(values)
    return array[:, 0] if array.shape[1:] == (1,) else array


def default_score(estimator: Any, y: Any, predicted: Any, **params: Any) -> float:
    """Give what scikit-learn's estimators score by themselves: accuracy or R²."""
    metric = accuracy_score if is_classifier(estimator) else r2_score
    return float(metric(y, predicted, **params))
