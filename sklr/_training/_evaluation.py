"""Evaluate a net on validation data, by its loss or a scorer; lower is better."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import is_classifier
from skorch import NeuralNet
from skorch.dataset import get_len
from torch.utils.data import Subset

from sklr._training._data import AdaptedDataset
from sklr._training._placeholder import NetPlaceholder
from sklr._training._seeding import without_turn
from sklr._training._target import fitted_part

Array = npt.NDArray[Any]


class TrainingData(NamedTuple):
    """The data of a training and of its validation.

    It goes to worker processes as plain arguments, ``*data``: so joblib's backends know its size,
    and send it to each worker once and not with each task.

    Attributes
    ----------
    X, y : object
        What the net takes in fit.
    X_valid, y_valid : object
        Validation data that is no part of X and y.
    """

    X: Any
    y: Any
    X_valid: Any = None
    y_valid: Any = None


def mean_loss(net: NeuralNet, dataset: Any) -> float:
    """Return the mean loss on a data set; infinite if it is not a finite number.

    Weights of samples and of classes count as they do in the net's training. In a training its
    DataLoader draws from the same generators, as that of skorch's own validation does.
    """
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in net.get_iterator(dataset, training=False):
            n = get_len(batch[0])
            total += net.validation_step(batch)["loss"].item() * n
            count += n
    return total / count if count and math.isfinite(total) else math.inf


@dataclass(frozen=True)
class ValidationLoss:
    """Evaluation by the mean loss on validation data.

    Attributes
    ----------
    rows : ndarray of int or None
        Validation rows of the training's X; None if the data is apart.
    dataset : Dataset or None
        A validation set that the net's split gives.
    sample_weight : ndarray of shape (n_valid,) or None
        Weights of the samples in `X_valid`, relative to the same mean as those in training.
    """

    rows: Any = None
    dataset: Any = None
    sample_weight: Any = None

    def __call__(self, net: NeuralNet, data: TrainingData) -> float:
        """Return the loss of a fitted net; infinite if it is not a finite number."""
        if self.dataset is not None:
            return mean_loss(net, self.dataset)
        if self.rows is not None:
            return mean_loss(net, Subset(net.get_dataset(data.X, data.y), self.rows))
        if self.sample_weight is None:
            return mean_loss(net, net.get_dataset(data.X_valid, data.y_valid))
        params = net.get_params_for("dataset") | {"sample_weight": self.sample_weight}
        return mean_loss(net, AdaptedDataset(data.X_valid, data.y_valid, **params))


@dataclass(frozen=True)
class ValidationScore:
    """Evaluation by a scorer on validation data, with its sign changed so that lower is better.

    Attributes
    ----------
    scorer : callable
        Called as ``scorer(estimator, X, y, **params)``.
    estimator : NetPlaceholder, or a fitted estimator that holds one
        Preprocesses, and predicts in the user's labels.
    params : dict
        Metadata for the scorer.
    """

    scorer: Callable[..., float]
    estimator: Any
    params: dict[str, Any] = field(default_factory=dict)

    def __call__(self, net: NeuralNet, data: TrainingData) -> float:
        """Return minus the score of a fitted net; infinite if its predictions are not finite."""
        placeholder = fitted_part(self.estimator, NetPlaceholder)
        placeholder.net_ = net
        try:
            # The scorer is code of the user's: it may train, in threads of its own.
            with without_turn():
                score = float(
                    self.scorer(self.estimator, data.X_valid, data.y_valid, **self.params)
                )
        except ValueError:
            # Metrics raise on the predictions of a net that has diverged.
            if self._predicts_finite(net, data):
                raise
            return math.inf
        finally:
            placeholder.net_ = None
        return -float(score) if math.isfinite(score) else math.inf

    def _predicts_finite(self, net: NeuralNet, data: TrainingData) -> bool:
        method = "predict_proba" if is_classifier(net) else "predict"
        return bool(np.isfinite(getattr(self.estimator, method)(data.X_valid)).all())


Evaluation = ValidationLoss | ValidationScore


def log_losses(proba: Array, indices: Array) -> Array:
    """Return the negative log of the probability of each sample's true class, given by index."""
    true = proba[np.arange(len(indices)), indices]
    losses: Array = -np.log(np.maximum(true, np.finfo(np.float64).tiny))
    return losses


def squared_errors(values: Array, y: Array) -> Array:
    """Return the squared error of each sample."""
    errors: Array = (values - y) ** 2
    return errors


def class_weights(net: NeuralNet, codes: Array) -> Array | None:
    """Return the criterion's weight of each class, or None if it has none.

    Parameters
    ----------
    net : NeuralNet
        A fitted classifier.
    codes : ndarray of int of shape (n_classes,)
        The net's output that stands for each class.
    """
    weight = getattr(net.criterion_, "weight", None)
    if isinstance(weight, torch.Tensor) and weight.ndim == 1 and len(weight) > max(codes):
        return np.asarray(weight.detach().cpu().double())[codes]
    positive = getattr(net.criterion_, "pos_weight", None)
    if isinstance(positive, torch.Tensor) and positive.numel() == 1 and len(codes) == 2:
        return np.array([1.0, float(positive)])[codes]
    return None


def weighted_mean(losses: Array, weights: Array | None) -> float:
    """Return the weighted mean over samples; those of weight 0 count for nothing."""
    if weights is None:
        return float(losses.mean())
    counted = weights > 0
    return float(np.average(losses[counted], weights=weights[counted]))
