"""A stand-in for the net in an estimator, so that preprocessing is fitted once for all."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.metaestimators import available_if
from skorch import NeuralNet
from skorch.dataset import get_len

from sklr._training._labels import chosen_labels, default_score, flat, matching_columns


class NetSlot(BaseEstimator):
    """Stands in the net's place in an estimator, and notes what the net would be given.

    With a fitted net in it, `live_`, it answers in that net's stead.

    Parameters
    ----------
    net : NeuralNet
        Whose place it takes; its tags and metadata requests are the slot's.
    classes : ndarray of shape (n_classes,), default=None
        The labels that the net sees encoded.
    """

    def __init__(self, net: NeuralNet, classes: Any = None) -> None:
        self.net = net
        self.classes = classes

    @property
    def classes_(self) -> Any:
        """The labels, as scorers ask for them."""
        if self.classes is None:
            raise AttributeError("A net that is no classifier has no classes_.")
        return self.classes

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> NetSlot:
        """Note what is given."""
        self.X_, self.y_, self.fit_params_ = X, y, fit_params
        self.target_shape_ = np.shape(y)[1:]
        self.live_: NeuralNet | None = None
        return self

    def predict(self, X: Any) -> Any:
        """Answer as the net does, in the user's labels; without one note X, and give zeros."""
        if self.live_ is None:
            self.X_ = X
            return np.zeros((get_len(X), *self.target_shape_))
        if self.classes is not None:
            return chosen_labels(self.live_, self.predict_proba(X), self.classes)
        values = self.live_.predict(X)
        return values if self.target_shape_ else flat(values)

    @available_if(lambda self: is_classifier(self.net))
    def predict_proba(self, X: Any) -> Any:
        """Give the probabilities of the net in it."""
        assert self.live_ is not None
        return matching_columns(np.asarray(self.live_.predict_proba(X)), len(self.classes))

    def score(self, X: Any, y: Any) -> float:
        """Give the accuracy or R² of the net in it."""
        return default_score(self.net, y, self.predict(X))

    def forget(self) -> None:
        """Let go of the data that was noted."""
        del self.X_, self.y_, self.fit_params_

    def get_metadata_routing(self) -> Any:
        """Ask for what the net asks for."""
        return get_routing_for_object(self.net)

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.net)
