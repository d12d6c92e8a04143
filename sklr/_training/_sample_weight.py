"""Sample weights for any net: they come with the batches of inputs, and weigh the loss."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.validation import check_array
from skorch import NeuralNet
from skorch.utils import to_tensor

from sklr._training._data import INPUT, SAMPLE_WEIGHT, AdaptedDataset
from sklr._training._inputs import n_samples
from sklr._validation import Description, ParameterTypeError, ParameterValueError


def weigh_samples(net: NeuralNet, sample_weight: npt.NDArray[Any]) -> None:
    """Make an uninitialized clone weigh the loss of each sample.

    Relative to their mean, weights leave the loss of a batch the weighted mean of its samples'.

    Parameters
    ----------
    net : NeuralNet
        The clone; its class becomes a subclass of its own.
    sample_weight : ndarray of shape (n_samples,)
        The weights, not all 0. They are divided by their mean, so that equal ones change nothing.

    Raises
    ------
    TypeError
        If the net has a data set of its own, whose batches cannot hold weights.
    """
    set_relative_weights(net, relative_weights(sample_weight))


def relative_weights(sample_weight: Any) -> npt.NDArray[np.float32] | None:
    """Return weights divided by their mean, as float32; None for None."""
    return None if sample_weight is None else (sample_weight / sample_weight.mean()).astype("f4")


def set_relative_weights(net: NeuralNet, weights: Any) -> None:
    """Make an uninitialized clone weigh the loss by weights relative to the mean of all data."""
    if net.dataset is not AdaptedDataset:
        requirement = (
            "be skorch's own, with X no torch Dataset and torch's own collate function, if "
            "samples are weighted: the weights come with the batches"
        )
        raise ParameterTypeError(net, "dataset", requirement, net.dataset)
    net.__class__ = _weighted(type(net))
    vars(net)["dataset__sample_weight"] = weights


def unweigh_samples(net: NeuralNet) -> None:
    """Undo `weigh_samples`: the net keeps what it learned, without the data's weights."""
    net.__class__ = type(net).__bases__[0]
    del vars(net)["dataset__sample_weight"]


def _weighted(cls: type[NeuralNet]) -> type[NeuralNet]:
    """Return a subclass that takes the weights out of its inputs and into its loss."""

    class Weighted(cls):
        def infer(self, x: Any, **fit_params: Any) -> Any:
            return super().infer(_inputs(x), **fit_params)

        def get_loss(
            self, y_pred: Any, y_true: Any, X: Any = None, training: bool = False
        ) -> torch.Tensor:
            if not (isinstance(X, dict) and SAMPLE_WEIGHT in X):
                loss: torch.Tensor = super().get_loss(y_pred, y_true, X=X, training=training)
                return loss
            losses = self._losses(y_pred, y_true, _inputs(X), training)
            weights = to_tensor(X[SAMPLE_WEIGHT], device=losses.device).to(losses.dtype)
            finite = _are_finite(losses)
            if ((weights == 0) & ~finite).any():
                # 0 times infinity is NaN, in the loss and in its gradients.
                if not (finite | (weights > 0)).any():
                    nothing: torch.Tensor = sum(part.mul(0).sum() for part in _parts(y_pred))
                    return nothing
                y_pred, y_true = _replaced(y_pred, y_true, (weights == 0) & ~finite)
                losses = self._losses(y_pred, y_true, _inputs(X), training)
            loss = super().get_loss(y_pred, y_true, X=_inputs(X), training=training)
            weights = weights.reshape(-1, *[1] * (losses.ndim - 1))
            # What the criterion divides the sum by: the samples, the weights of their classes, 1.
            total = losses.detach().sum()
            scale = loss.detach() / total if total != 0 else 1 / losses.numel()
            return losses.mul(weights).sum() * scale

        def _losses(self, y_pred: Any, y_true: Any, X: Any, training: bool) -> torch.Tensor:
            """Return the loss of each sample."""
            criterion = self.criterion_
            if not hasattr(criterion, "reduction"):
                requirement = "have a 'reduction', as torch's losses do, if samples are weighted"
                raise ParameterTypeError(self, "criterion", requirement, criterion)
            reduction, criterion.reduction = criterion.reduction, "none"
            try:
                losses: torch.Tensor = super().get_loss(y_pred, y_true, X=X, training=training)
            finally:
                criterion.reduction = reduction
            return losses

    Weighted.__name__, Weighted.__qualname__ = cls.__name__, cls.__qualname__
    return Weighted


def _inputs(X: Any) -> Any:
    return X[INPUT] if isinstance(X, dict) and INPUT in X else X


def _are_finite(losses: torch.Tensor) -> torch.Tensor:
    """Return for each sample whether its loss, or all losses of its outputs, are finite."""
    return torch.isfinite(losses.detach()).reshape(len(losses), -1).all(dim=1)


def _parts(y_pred: Any) -> Any:
    """Return the outputs of a module as a tuple or list."""
    return y_pred if isinstance(y_pred, tuple | list) else (y_pred,)


def _replaced(y_pred: Any, y_true: Any, ignored: torch.Tensor) -> tuple[Any, Any]:
    """Return predictions and targets with those of ignored samples replaced by another sample's.

    A label stays: the weight of its class is part of what a criterion divides by.
    """
    rows = torch.arange(len(ignored), device=ignored.device)
    rows = torch.where(ignored, (~ignored).int().argmax(), rows)
    predicted = tuple(part[rows] for part in _parts(y_pred))
    is_value = isinstance(y_true, torch.Tensor) and torch.is_floating_point(y_true)
    targets = y_true[rows.to(y_true.device)] if is_value else y_true
    return predicted if isinstance(y_pred, tuple | list) else predicted[0], targets


def check_weights(X: Any, sample_weight: Any) -> npt.NDArray[Any]:
    """Return weights of samples as an array, one a sample of X.

    Raises
    ------
    ValueError
        If they are negative, not finite, all 0, or not as many as there are samples.
    """
    n = n_samples(X)
    weights = check_array(
        np.full(n, sample_weight) if isinstance(sample_weight, Real) else sample_weight,
        ensure_2d=False,
        dtype=np.float64,
        input_name="sample_weight",
    )
    if weights.shape != (n,):
        requirement = f"have one value for each of the {n} samples"
        got = Description(f"an array of shape {weights.shape}")
        raise ParameterValueError("fit", "sample_weight", requirement, got)
    if (weights < 0).any() or not weights.any():
        requirement = "be at least 0, and not all zero"
        got = Description(f"weights from {weights.min():g} to {weights.max():g}")
        raise ParameterValueError("fit", "sample_weight", requirement, got)
    return np.asarray(weights)
