"""Training the estimator with the suggestion, and predicting with it, as GridSearchCV does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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

from sklr._training._fit import fit_net
from sklr._training._inputs import check_inputs
from sklr._training._labels import Labels, default_score, flat
from sklr._training._sample_weight import unweigh_samples, weigh_samples
from sklr._training._seeding import seeded, seeded_without_turn
from sklr._training._target import find_target, fitted_part, replace_fitted, replace_schedule
from sklr.range_search._preparation import Request, fit_preprocessing


def refit(request: Request, adapted: dict[str, Any], suggested: dict[str, Any], seed: int) -> Any:
    """Train a clone of the estimator with the suggested rate on all data.

    Parameters
    ----------
    request : Request
        The estimator and the data.
    adapted : dict
        Parameters with which the net takes the data.
    suggested : dict
        Parameters of the estimator.
    seed : int
        For everything random.

    Returns
    -------
    estimator
        The fitted clone.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupts.
    """
    best = clone(request.owner.estimator).set_params(**suggested)
    if request.target.is_ensemble:
        return _fitted_ensemble(request, best, seed)
    target = find_target(request.owner, best)
    net = target.net.set_params(**adapted)
    if request.owner.schedule is not None:
        replace_schedule(net, [("lr", clone(request.owner.schedule, safe=False))])
    X, y, params, shell, placeholder = request.X, request.y, request.fit_params, None, None
    if target.prefix:
        # The preprocessing may train in threads of its own, so the net waits for its turn.
        with seeded_without_turn(seed):
            again = replace(request, estimator=best, target=target)
            shell, placeholder = fit_preprocessing(again, None)
        X, y, params = placeholder.X_, placeholder.y_, placeholder.fit_params_
        net = clone(net)
    if request.sample_weight is not None:
        weigh_samples(net, request.sample_weight)
    with seeded(seed):
        fit_net(net, X, y, **params)
    if request.sample_weight is not None:
        unweigh_samples(net)
    if shell is None:
        return net
    replace_fitted(shell, placeholder, net)
    return shell


def _fitted_ensemble(request: Request, best: Any, seed: int) -> Any:
    """Fit an estimator that holds an ensemble, which takes data as the user has it."""
    params = dict(request.fit_params)
    if request.sample_weight is not None:
        params[f"{request.target.prefix}sample_weight"] = request.sample_weight
    # It takes turns by itself, and draws a seed if it has none.
    with seeded_without_turn(seed):
        return best.fit(request.X, request.y, **params)


def _refits(method: str, needs: str = "predict") -> Callable[[Any], bool]:
    """Return a check of whether a search has a method: it refits, and its estimator can do it."""

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
    """Methods of a search that refits its estimator."""

    estimator: Any
    scoring: Any
    refit: bool
    _labels: Labels | None
    _flat_targets: bool
    _holds_ensemble: bool
    best_estimator_: Any

    def _is_preprocessed(self) -> bool:
        """Return whether something stands before the net."""
        raise NotImplementedError

    @property
    def classes_(self) -> Any:
        """The labels; of a classifier with ``refit=True``."""
        _refits("classes_")(self)
        check_is_fitted(self)
        if self._labels is None:
            raise AttributeError("An estimator that is no classifier has no classes_.")
        return self._labels.classes

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
        if self._labels is not None and self._holds_ensemble:
            return self._labels.decode(self.best_estimator_.predict(X))
        if self._labels is not None:
            net = fitted_part(self.best_estimator_, NeuralNet)
            return self._labels.choose(net, self._proba(X))
        values = self.best_estimator_.predict(X)
        self._check_predictions(values, X)
        return flat(values) if self._flat_targets else values

    @available_if(_refits("predict_proba", "predict_proba"))
    def predict_proba(self, X: Any) -> Any:
        """Predict probabilities with the refitted estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Outputs that stand for no label are dropped, and the rows sum to 1 again.
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
        self._check_predictions(proba, X)
        if self._labels is None or self._holds_ensemble:
            return proba
        return self._labels.select(proba)

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self)
        return check_inputs(self, X, reset=False, preprocessed=self._is_preprocessed())

    def _check_predictions(self, predicted: Any, X: Any) -> None:
        """Raise if predictions are not finite, so that NaN never becomes a label."""
        finite = np.isfinite(predicted).reshape(len(predicted), -1).all(axis=1)
        if finite.all():
            return
        if isinstance(X, np.ndarray):
            assert_all_finite(X, estimator_name=type(self).__name__, input_name="X")
        raise ValueError(
            f"Predictions are not finite for {int((~finite).sum())} of {len(finite)} samples: X "
            "holds NaN, infinity or values too large for the net's dtype."
        )
