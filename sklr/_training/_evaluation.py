"""What a net is judged by on held-out data: its loss, or minus a score. Lower is better."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from skorch import NeuralNet
from skorch.dataset import get_len
from torch.utils.data import Subset

from sklr._training._placeholder import NetSlot
from sklr._training._target import fitted_part


def mean_loss(net: NeuralNet, dataset: Any) -> float:
    """Give the mean loss on a data set; infinite where it is no finite number."""
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in net.get_iterator(dataset, training=False):
            n = get_len(batch[0])
            total += net.validation_step(batch)["loss"].item() * n
            count += n
    return total / count if math.isfinite(total) else math.inf


Judge = Callable[[NeuralNet], float]


@dataclass(frozen=True)
class RowsLoss:
    """The mean loss on rows of what nets are trained on.

    Attributes
    ----------
    X, y : object
        Data, as the net takes it.
    indices : ndarray or None
        The rows; None is all.
    """

    X: Any
    y: Any
    indices: Any = None

    def __call__(self, net: NeuralNet) -> float:
        """Give the loss; infinite where it is no finite number."""
        dataset = net.get_dataset(self.X, self.y)
        return mean_loss(net, dataset if self.indices is None else Subset(dataset, self.indices))


@dataclass(frozen=True)
class DatasetLoss:
    """The mean loss on a data set."""

    dataset: Any

    def __call__(self, net: NeuralNet) -> float:
        """Give the loss; infinite where it is no finite number."""
        return mean_loss(net, self.dataset)


@dataclass(frozen=True)
class MinusScore:
    """Minus what a scorer says of an estimator with the net in it.

    Attributes
    ----------
    scorer : callable
        Called as ``scorer(estimator, X, y, **params)``.
    estimator : NetSlot, or a fitted Pipeline or TransformedTargetRegressor that holds one
        Preprocesses, and answers in the user's labels.
    X, y : object
        Held-out data, as the estimator takes it.
    params : dict
        Metadata for the scorer.
    """

    scorer: Callable[..., float]
    estimator: Any
    X: Any
    y: Any
    params: dict[str, Any] = field(default_factory=dict)

    def __call__(self, net: NeuralNet) -> float:
        """Give minus the score; infinite where the net's answers are no finite numbers."""
        slot = fitted_part(self.estimator, NetSlot)
        slot.live_ = net
        try:
            score = float(self.scorer(self.estimator, self.X, self.y, **self.params))
        except ValueError:
            # A metric refuses the answers of a net that has diverged.
            answers = self.estimator.predict_proba if is_classifier(net) else self.estimator.predict
            if np.isfinite(answers(self.X)).all():
                raise
            return math.inf
        finally:
            slot.live_ = None
        return -score if math.isfinite(score) else math.inf
