"""Training the estimator with what was found, and predicting with it, as GridSearchCV does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.utils import assert_all_finite
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet

from sklr._training._inputs import check_inputs
from sklr._training._labels import chosen_labels, default_score, flat, matching_columns
from sklr._training._seeding import seeded
from sklr._training._target import find_net, fitted_part
from sklr.callbacks._progress import was_interrupted


def refit(
    owner: object,
    estimator: Any,
    X: Any,
    y: Any,
    fit_params: dict[str, Any],
    suggested: dict[str, float],
    adapted: dict[str, Any],
    seed: int,
) -> Any:
    """Train a clone with the suggested rate on all data.

    Parameters
    ----------
    owner : object
        The search, for messages.
    estimator : estimator
        To clone.
    X, y : object
        Data; labels are encoded.
    fit_params : dict
        For its fit.
    suggested : dict
        Parameters of the estimator.
    adapted : dict
        Parameters of the net in it.
    seed : int
        For everything random.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupts.
    """
    prefix, _ = find_net(owner, estimator)
    best = clone(estimator).set_params(**{f"{prefix}{name}": v for name, v in adapted.items()})
    best.set_params(**suggested)
    with seeded(seed):
        best.fit(X, y, **fit_params)
    if was_interrupted(fitted_part(best, NeuralNet)):
        raise KeyboardInterrupt
    return best


def _refits(method: str, needs: str = "predict") -> Callable[[Any], bool]:
    """Tell whether a search has a method: it refits, and its estimator has what that needs."""

    def check(search: Any) -> bool:
        if not search.refit:
            raise AttributeError(
                f"This {type(search).__name__} was made with refit={search.refit!r}; {method} is "
                "there only with refit=True."
            )
        getattr(search.estimator, needs)
        return method != "predict_proba" or is_classifier(search.estimator)

    return check


class RefittedMixin:
    """What a search that refits its estimator offers."""

    estimator: Any
    scoring: Any
    refit: bool
    _classes: Any
    _flat_targets: bool
    best_estimator_: Any

    @property
    def classes_(self) -> Any:
        """The labels; of a classifier with ``refit=True``."""
        _refits("classes_")(self)
        check_is_fitted(self)
        if self._classes is None:
            raise AttributeError("An estimator that is no classifier has no classes_.")
        return self._classes

    @available_if(_refits("predict"))
    def predict(self, X: Any) -> Any:
        """Predict with the refitted estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Labels as they were given to fit; a regressor's values in the shape of its y.
        """
        X = self._checked(X)
        if self._classes is not None:
            net = fitted_part(self.best_estimator_, NeuralNet)
            return chosen_labels(net, self._proba(X), self._classes)
        values = self.best_estimator_.predict(X)
        self._check_finite(values, X)
        return flat(values) if self._flat_targets else values

    @available_if(_refits("predict_proba", "predict_proba"))
    def predict_proba(self, X: Any) -> Any:
        """Give probabilities with the refitted estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Outputs that no label stands for are dropped, and the rows sum to 1 again.
        """
        return self._proba(self._checked(X))

    @available_if(_refits("score"))
    def score(self, X: Any, y: Any = None, **params: Any) -> float:
        """Score the refitted estimator: by `scoring`, else its accuracy or R².

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels or targets.
        **params
            Such as sample_weight, for the metric.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        if self.scoring is not None:
            if get_config()["enable_metadata_routing"]:
                params = process_routing(self, "score", **params).scorer.score
            return float(check_scoring(self.estimator, self.scoring)(self, X, y, **params))
        return default_score(self.estimator, y, self.predict(X), **params)

    def _proba(self, X: Any) -> Any:
        proba = np.asarray(self.best_estimator_.predict_proba(X))
        self._check_finite(proba, X)
        return matching_columns(proba, len(self._classes))

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self)
        raw = isinstance(self.estimator, NeuralNet)
        return check_inputs(self, X, reset=False, preprocessed=not raw)

    def _check_finite(self, answers: Any, X: Any) -> None:
        """Refuse samples that are not finite where the preprocessing let them through."""
        if isinstance(X, np.ndarray) and not np.isfinite(answers).all():
            assert_all_finite(X, estimator_name=type(self).__name__, input_name="X")
