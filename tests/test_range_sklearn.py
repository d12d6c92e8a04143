"""LRRangeSearch keeps scikit-learn's contract, by scikit-learn's own checks."""

import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sklr import LRRangeSearch


def lazy_classifier():
    # More outputs than the checks have classes.
    return NeuralNetClassifier(
        nn.LazyLinear,
        module__out_features=5,
        criterion=nn.CrossEntropyLoss,
        train_split=None,
        batch_size=20,
        max_epochs=4,
        verbose=0,
    )


def lazy_regressor():
    return NeuralNetRegressor(
        nn.LazyLinear,
        module__out_features=1,
        train_split=None,
        batch_size=20,
        max_epochs=4,
        verbose=0,
    )


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
@pytest.mark.filterwarnings("ignore:The range test has no answer:UserWarning")
@parametrize_with_checks(
    [
        LRRangeSearch(estimator, n_repeats=1, n_steps=20, budget=7, refit=refit, random_state=0)
        for estimator, refit in (
            (lazy_classifier(), True),
            (lazy_regressor(), False),
            (make_pipeline(StandardScaler(), lazy_classifier()), False),
            (make_pipeline(StandardScaler(), lazy_regressor()), True),
        )
    ]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
