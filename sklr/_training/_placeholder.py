"""A placeholder for the net in its estimator, so that preprocessing is fitted once for all."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.metaestimators import available_if
from skorch import NeuralNet

from sklr._training._inputs import n_samples
from sklr._training._labels import Labels, default_score, flat
from sklr._training._seeding import seeded


class NetPlaceholder(BaseEstimator):
    """Stands in the net's place in an estimator, and keeps what the net would be given.

    With a fitted net in it, `net_`, it predicts as that net does.

    Parameters
    ----------
    net : NeuralNet
        Whose place it takes; its tags and metadata requests are the placeholder's.
    labels : Labels, default=None
        Of a classifier, the labels that the net sees encoded.
    """

    def __init__(self, net: NeuralNet, labels: Labels | None = None) -> None:
        self.net = net
        self.labels = labels

    @property
    def classes_(self) -> Any:
        """The labels, as scorers ask for them."""
        if self.labels is None:
            raise AttributeError("A net that is no classifier has no classes_.")
        return self.labels.classes

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> NetPlaceholder:
        """Keep what is given."""
        # Weights of samples come with the batches instead.
        fit_params.pop("sample_weight", None)
        self.X_, self.y_, self.fit_params_ = X, y, fit_params
        self.target_shape_ = np.shape(y)[1:]
        self.net_: NeuralNet | None = None
        return self

    def predict(self, X: Any) -> Any:
        """Predict as the net does, in the user's labels; without a net keep X, and return zeros."""
        if self.net_ is None:
            self.X_ = X
            return np.zeros((n_samples(X), *self.target_shape_))
        if self.labels is not None:
            return self.labels.choose(self.net_, self.predict_proba(X))
        # Its DataLoader draws from the global generators, as a training in another thread does.
        with seeded(0):
            values = self.net_.predict(X)
        return values if self.target_shape_ else flat(values)

    @available_if(lambda self: is_classifier(self.net))
    def predict_proba(self, X: Any) -> Any:
        """Return the probabilities of the net in it."""
        if self.net_ is None or self.labels is None:
            raise RuntimeError("The placeholder holds no fitted classifier.")
        with seeded(0):
            proba = np.asarray(self.net_.predict_proba(X))
        return self.labels.select(proba)

    def score(self, X: Any, y: Any) -> float:
        """Return the accuracy or R² of the net in it."""
        return default_score(self.net, y, self.predict(X))

    def forget(self) -> None:
        """Let go of the data that was kept."""
        del self.X_, self.y_, self.fit_params_

    def get_metadata_routing(self) -> Any:
        """Request the metadata that the net requests."""
        return get_routing_for_object(self.net)

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.net)
