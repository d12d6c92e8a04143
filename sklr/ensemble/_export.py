"""An ensemble as something else: scikit-learn's voting ensembles, or one torch module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import Bunch
from sklearn.utils.validation import check_array, check_is_fitted
from skorch import NeuralNet
from torch import nn

from sklr._training._inputs import is_for_nets
from sklr._training._labels import chosen_labels, flat, matching_columns
from sklr._validation import ParameterTypeError
from sklr.ensemble._prediction import predicts_by_module

Array = npt.NDArray[Any]


class ClassifierMember(ClassifierMixin, BaseEstimator):
    """A fitted net as a plain classifier of encoded labels.

    Parameters
    ----------
    net : NeuralNet
        The net, already fitted.
    n_classes : int
        Outputs that stand for labels; others are dropped.
    n_features : int or None
        Columns of what it was fitted on, where it has columns.
    """

    def __init__(self, net: NeuralNet, n_classes: int, n_features: int | None) -> None:
        self.net = net
        self.n_classes = n_classes
        self.n_features = n_features

    @property
    def n_features_in_(self) -> int:
        """Number of features, which scikit-learn asks the first member for."""
        return _known(self.n_features)

    @property
    def classes_(self) -> Array:
        """The encoded labels."""
        return np.arange(self.n_classes)

    def fit(self, X: Any, y: Any = None) -> ClassifierMember:
        """Do nothing: the net is fitted."""
        return self

    def __sklearn_clone__(self) -> ClassifierMember:
        # A clone of the net would not be fitted, and fit would not fit it.
        return self

    def predict_proba(self, X: Any) -> Array:
        """Give the net's probabilities."""
        return matching_columns(np.asarray(self.net.predict_proba(_as_array(X))), self.n_classes)

    def predict(self, X: Any) -> Array:
        """Give encoded labels."""
        return chosen_labels(self.net, self.predict_proba(X), self.classes_)

    def __sklearn_is_fitted__(self) -> bool:
        return True


class RegressorMember(RegressorMixin, BaseEstimator):
    """A fitted net as a plain regressor.

    Parameters
    ----------
    net : NeuralNet
        The net, already fitted.
    n_features : int or None
        Columns of what it was fitted on, where it has columns.
    """

    def __init__(self, net: NeuralNet, n_features: int | None) -> None:
        self.net = net
        self.n_features = n_features

    @property
    def n_features_in_(self) -> int:
        """Number of features, which scikit-learn asks the first member for."""
        return _known(self.n_features)

    def fit(self, X: Any, y: Any = None) -> RegressorMember:
        """Do nothing: the net is fitted."""
        return self

    def __sklearn_clone__(self) -> RegressorMember:
        return self

    def predict(self, X: Any) -> Array:
        """Give values of shape (n_samples,)."""
        return flat(self.net.predict(_as_array(X)))

    def __sklearn_is_fitted__(self) -> bool:
        return True


def voting_classifier(ensemble: Any) -> VotingClassifier:
    """Give a fitted VotingClassifier of a classifier's members."""
    check_is_fitted(ensemble)
    more = len(ensemble.classes_), getattr(ensemble, "n_features_in_", None)
    members = [
        (name, ClassifierMember(net, *more)) for name, net in ensemble.named_estimators_.items()
    ]
    voting = VotingClassifier(
        members,
        voting=ensemble.voting,
        weights=_weights(ensemble),
        flatten_transform=ensemble.flatten_transform,
    )
    voting.le_ = LabelEncoder().fit(ensemble.classes_)
    voting.classes_ = voting.le_.classes_
    return _fitted(voting, members, ensemble)


def voting_regressor(ensemble: Any) -> VotingRegressor:
    """Give a fitted VotingRegressor of a regressor's members."""
    check_is_fitted(ensemble)
    n_features = getattr(ensemble, "n_features_in_", None)
    members = [
        (name, RegressorMember(net, n_features)) for name, net in ensemble.named_estimators_.items()
    ]
    return _fitted(VotingRegressor(members, weights=_weights(ensemble)), members, ensemble)


def _as_array(X: Any) -> Any:
    """Give frames, lists and sparse matrices as the ensemble gave them to the net."""
    if isinstance(X, np.ndarray) or is_for_nets(X):
        return X
    return check_array(X, dtype="numeric", allow_nd=True, accept_sparse="csr")


def _known(n_features: int | None) -> int:
    if n_features is None:
        raise AttributeError("It was fitted on data without columns.")
    return n_features


def _weights(ensemble: Any) -> list[float] | None:
    weights = ensemble._weights_of_members()
    return None if weights is None else list(weights)


def _fitted(voting: Any, members: list[tuple[str, Any]], ensemble: Any) -> Any:
    """Set what scikit-learn's fit sets."""
    voting.estimators_ = [member for _, member in members]
    voting.named_estimators_ = Bunch(**dict(members))
    if hasattr(ensemble, "feature_names_in_"):
        voting.feature_names_in_ = ensemble.feature_names_in_
    return voting


class EnsembleModule(nn.Module):
    """The weighted mean of several modules' outputs, each through its nonlinearity.

    Parameters
    ----------
    modules : sequence of Module
        The members.
    nonlinearities : sequence of callable
        One a member: from outputs to probabilities.
    weights : array-like of shape (n_members,)
        Which sum to 1.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        nonlinearities: Sequence[Callable[[torch.Tensor], torch.Tensor]],
        weights: Array,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(modules)
        self.nonlinearities = list(nonlinearities)
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float64))

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Give the mean for a batch of what the members take."""
        total: Any = 0.0
        weights = list(self.get_buffer("weights"))
        for member, nonlinearity, weight in zip(
            self.members, self.nonlinearities, weights, strict=True
        ):
            output = member(*args, **kwargs)
            output = output[0] if isinstance(output, tuple) else output
            total = total + nonlinearity(output) * weight.to(output.dtype)
        assert isinstance(total, torch.Tensor)
        return total


def ensemble_module(ensemble: Any) -> EnsembleModule:
    """Give one module of an ensemble's members, for prediction.

    Raises
    ------
    TypeError
        If the net predicts in a way of its own, which the module would not.
    """
    check_is_fitted(ensemble)
    nets = ensemble.estimators_
    if not predicts_by_module(nets[0]):
        requirement = (
            "predict by its module alone for to_module, with skorch's own infer, evaluation_step "
            "and predict_proba"
        )
        raise ParameterTypeError(ensemble, "estimator", requirement, ensemble.estimator)
    weights = ensemble._weights_of_members()
    weights = np.ones(len(nets)) if weights is None else weights
    module = EnsembleModule(
        [copy.deepcopy(net.module_) for net in nets],
        [net._get_predict_nonlinearity() for net in nets],
        weights / weights.sum(),
    )
    return module.eval().requires_grad_(False)
