"""Export an ensemble: as one of scikit-learn's voting ensembles, or as one torch module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Bunch
from sklearn.utils.validation import check_array, check_is_fitted
from skorch import NeuralNet
from torch import nn

from sklr._module_state import module_state, original
from sklr._training._bfloat16 import InFloat32, Nonlinearity, nonlinearity
from sklr._training._inputs import is_for_nets
from sklr._training._labels import Labels, chosen_indices, flat
from sklr._validation import ParameterTypeError
from sklr.ensemble._prediction import make_member, predicts_by_module
from sklr.ensemble._selection import Array

if TYPE_CHECKING:
    from sklr.ensemble._base import BaseSnapshotEnsemble


class Member(BaseEstimator):
    """A fitted net as a plain estimator, which scikit-learn's ensembles take.

    Parameters
    ----------
    net : NeuralNet
        The net, already fitted.
    n_features : int or None
        Columns of what it was fitted on, if it has columns.
    """

    def __init__(self, net: NeuralNet, n_features: int | None) -> None:
        self.net = net
        self.n_features = n_features

    @property
    def n_features_in_(self) -> int:
        """Number of features, which scikit-learn asks the first member for."""
        if self.n_features is None:
            raise AttributeError("It was fitted on data without columns.")
        return self.n_features

    def fit(self, X: Any, y: Any = None) -> Self:
        """Do nothing: the net is fitted."""
        return self

    def __sklearn_clone__(self) -> Self:
        # A clone of the net would not be fitted, and fit would not fit it.
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True


class ClassifierMember(ClassifierMixin, Member):
    """A fitted net as a plain classifier of encoded labels.

    Parameters
    ----------
    net : NeuralNet
        The net, already fitted.
    n_features : int or None
        Columns of what it was fitted on, if it has columns.
    labels : Labels
        The outputs that stand for labels; others are dropped.
    """

    def __init__(self, net: NeuralNet, n_features: int | None, labels: Labels) -> None:
        super().__init__(net, n_features)
        self.labels = labels

    @property
    def classes_(self) -> Array:
        """The labels as VotingClassifier encodes them: 0, 1, ... in sorted order."""
        return np.arange(len(self.labels.classes))

    def predict_proba(self, X: Any) -> Array:
        """Return the net's probabilities."""
        return self.labels.select(np.asarray(self.net.predict_proba(_as_array(X))))

    def predict(self, X: Any) -> Array:
        """Return encoded labels."""
        return chosen_indices(self.net, self.predict_proba(X))


class RegressorMember(RegressorMixin, Member):
    """A fitted net as a plain regressor."""

    def predict(self, X: Any) -> Array:
        """Return values of shape (n_samples,)."""
        return flat(self.net.predict(_as_array(X)))


def fitted_voting(
    kind: Any,
    ensemble: BaseSnapshotEnsemble,
    wrap: Callable[[NeuralNet, int | None], Member],
    **params: Any,
) -> Any:
    """Return a voting ensemble with the attributes that scikit-learn's fit would set."""
    check_is_fitted(ensemble)
    n_features = getattr(ensemble, "n_features_in_", None)
    members = {name: wrap(net, n_features) for name, net in ensemble.named_estimators_.items()}
    voting = kind(list(members.items()), weights=ensemble._weights_of_members(), **params)
    voting.estimators_ = list(members.values())
    voting.named_estimators_ = Bunch(**members)
    if hasattr(ensemble, "feature_names_in_"):
        voting.feature_names_in_ = ensemble.feature_names_in_
    return voting


def _as_array(X: Any) -> Any:
    """Return frames, lists and sparse matrices as the ensemble gave them to the net."""
    if isinstance(X, np.ndarray) or is_for_nets(X):
        return X
    return check_array(X, dtype="numeric", allow_nd=True, accept_sparse="csr")


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
        nonlinearities: Sequence[Nonlinearity],
        weights: Array,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(modules)
        self.nonlinearities = list(nonlinearities)
        # A buffer, so that they are saved with the members and move to a device with them.
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float64))

    def forward(self, X: Any) -> torch.Tensor:
        """Return the mean for a batch.

        Parameters
        ----------
        X : Tensor or dict
            What the members' modules take; a dict is passed on as keyword arguments.
        """
        terms = []
        weights = self.get_buffer("weights")
        for i, (member, function) in enumerate(zip(self.members, self.nonlinearities, strict=True)):
            output = member(**X) if isinstance(X, Mapping) else member(X)
            # skorch takes the first output of several for the prediction.
            output = function(output[0] if isinstance(output, tuple) else output)
            # The weights are kept in float64; the mean has the dtype of the members' outputs.
            terms.append(output * weights[i].to(output.dtype))
        return torch.stack(terms).sum(dim=0)


def ensemble_module(ensemble: BaseSnapshotEnsemble) -> EnsembleModule:
    """Return one module of an ensemble's members, for prediction.

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
    # Made anew: a module that has predicted may hold tensors that cannot be copied, as that of
    # torch's old weight_norm does.
    copies = [make_member(net, module_state(net.module_)) for net in nets]
    module = EnsembleModule(
        [original(net.module_) for net in copies],
        [_in_own_dtype(nonlinearity(net)) for net in nets],
        np.full(len(nets), 1 / len(nets)) if weights is None else weights,
    )
    return module.eval().requires_grad_(False)


def _in_own_dtype(function: Nonlinearity) -> Nonlinearity:
    # Only numpy lacks bfloat16; in torch the outputs stay as they are.
    return function.nonlinearity if isinstance(function, InFloat32) else function
