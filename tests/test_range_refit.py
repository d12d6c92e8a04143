"""refit=True: the search trains the estimator with its suggestion and predicts, as GridSearchCV."""

import warnings

import numpy as np
import pytest
import torch
from nets import MLP, X_DIGITS, Y_DIGITS, Still, make_classifier, make_regressor, weights
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetBinaryClassifier
from torch import nn

from sklr import CyclicalLR, LRRangeSearch

PARAMS = {"n_repeats": 2, "n_steps": 60, "random_state": 0, "verify": False, "budget": 2}
NAMES = np.array([f"digit {label}" for label in range(10)])


def search(estimator, **params):
    return LRRangeSearch(estimator, **(PARAMS | {"refit": True} | params))


def test_the_estimator_is_trained_with_the_suggestion():
    net = make_classifier(callbacks=[("lr", CyclicalLR(step_size=1))])
    fitted = search(net).fit(X_DIGITS, Y_DIGITS)
    assert fitted.best_params_ == fitted.suggestion_.params
    best = fitted.best_estimator_
    assert best.callbacks__lr__max_lr == fitted.suggestion_.max_lr
    assert len(best.history) == net.max_epochs
    assert fitted.refit_time_ > 0
    # As by hand, from the same seed.
    torch.manual_seed(0)
    by_hand = clone(net).set_params(**fitted.best_params_).fit(X_DIGITS, Y_DIGITS)
    assert by_hand.score(X_DIGITS, Y_DIGITS) == pytest.approx(
        fitted.score(X_DIGITS, Y_DIGITS), abs=0.1
    )
    assert not hasattr(net, "module_")


def test_the_same_seed_gives_the_same_weights():
    first, second = (search(make_classifier()).fit(X_DIGITS, Y_DIGITS) for _ in range(2))
    assert torch.equal(weights(first.best_estimator_), weights(second.best_estimator_))


@pytest.mark.parametrize("scaled", [False, True])
def test_labels_of_any_kind_come_back(scaled):
    net = make_classifier(max_epochs=10)
    estimator = make_pipeline(StandardScaler(), net) if scaled else net
    fitted = search(estimator).fit(X_DIGITS.astype(float), NAMES[Y_DIGITS])
    assert list(fitted.classes_) == list(NAMES)
    predicted = fitted.predict(X_DIGITS.astype(float))
    assert fitted.score(X_DIGITS.astype(float), NAMES[Y_DIGITS]) == accuracy_score(
        NAMES[Y_DIGITS], predicted
    )
    assert accuracy_score(NAMES[Y_DIGITS], predicted) > 0.7
    proba = fitted.predict_proba(X_DIGITS.astype(float))
    np.testing.assert_array_equal(fitted.classes_[proba.argmax(axis=1)], predicted)


def test_surplus_outputs_are_dropped_and_too_few_are_refused():
    fitted = search(make_classifier(module__n_outputs=14)).fit(X_DIGITS, Y_DIGITS)
    proba = fitted.predict_proba(X_DIGITS)
    assert proba.shape == (500, 10)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match=r"The 'estimator' .* an output for each of the 10 class"):
        search(make_classifier(module__n_outputs=9)).fit(X_DIGITS, Y_DIGITS)


class Single(MLP):
    def forward(self, X):
        return super().forward(X).squeeze(1)


def test_a_binary_net_keeps_its_threshold():
    X, y = load_breast_cancer(return_X_y=True)
    y = np.where(y == 1, "benign", "malignant")
    net = NeuralNetBinaryClassifier(
        Single, module__n_inputs=30, module__n_outputs=1, train_split=None, verbose=0
    )
    estimator = make_pipeline(StandardScaler(), net)
    fitted = search(estimator).fit(X, y)
    assert fitted.score(X, y) > 0.9
    never = search(clone(estimator).set_params(neuralnetbinaryclassifier__threshold=2.0))
    assert set(never.fit(X, y).predict(X)) == {"benign"}


@pytest.mark.parametrize("kind", ["net", "pipeline", "target"])
def test_flat_targets_train_rightly_and_come_back_flat(kind):
    X, y = load_diabetes(return_X_y=True)
    y = (y - y.mean()) / y.std()
    net = make_regressor(max_epochs=40)
    estimator = {
        "net": net,
        "pipeline": make_pipeline(StandardScaler(), net),
        "target": TransformedTargetRegressor(
            make_pipeline(StandardScaler(), net), transformer=StandardScaler()
        ),
    }[kind]
    X = StandardScaler().fit_transform(X) if kind == "net" else X
    fitted = search(estimator, budget=1.5).fit(X, y)
    assert "as a column" in fitted.suggestion_.message
    predicted = fitted.predict(X)
    assert predicted.shape == y.shape
    assert r2_score(y, predicted) > 0.4
    assert fitted.score(X, y) == r2_score(y, predicted)


def test_several_targets():
    X, y = load_diabetes(return_X_y=True)
    two = StandardScaler().fit_transform(np.column_stack([y, -y]))
    net = make_regressor(module__n_outputs=2)
    fitted = search(make_pipeline(StandardScaler(), net)).fit(X, two)
    assert fitted.predict(X).shape == two.shape


def test_a_column_is_made_flat_with_scikit_learns_warning():
    X, y = load_diabetes(return_X_y=True)
    y = (y - y.mean()) / y.std()
    estimator = make_pipeline(StandardScaler(), make_regressor(max_epochs=40))
    with pytest.warns(DataConversionWarning, match="column-vector"):
        assert search(estimator).fit(X, y.reshape(-1, 1)).predict(X).shape == y.shape
    plain = search(estimator, refit=False).fit(X, y.reshape(-1, 1))
    assert "as a column" not in plain.suggestion_.message


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.EmbeddingBag(17, 10)

    def forward(self, X):
        assert not X.is_floating_point()
        return self.embed(X)


@pytest.mark.filterwarnings("ignore:The range test has no answer")
def test_integers_become_floats_only_where_the_net_refuses_them():
    X = (X_DIGITS * 16).astype(int)
    assert search(make_classifier()).fit(X, Y_DIGITS).score(X, Y_DIGITS) > 0.5
    fitted = search(make_classifier(module=Embedded)).fit(X, Y_DIGITS)
    assert fitted.predict(X).shape == Y_DIGITS.shape


def test_without_an_answer_the_estimator_keeps_its_own_rate():
    with pytest.warns(UserWarning, match="no answer, and the estimator was trained with its own"):
        fitted = search(make_classifier(module=Still), extend=False).fit(X_DIGITS, Y_DIGITS)
    assert fitted.best_params_ == {}
    assert fitted.best_estimator_.lr == 0.5
    assert fitted.predict(X_DIGITS).shape == Y_DIGITS.shape


def test_methods_are_there_only_where_they_can_be():
    plain = search(make_classifier(), refit=False).fit(X_DIGITS, Y_DIGITS)
    for name in ("predict", "predict_proba", "score", "classes_"):
        assert not hasattr(plain, name)
    assert not is_classifier(plain)
    assert not hasattr(plain, "best_estimator_")
    with pytest.raises(AttributeError) as caught:
        plain.predict(X_DIGITS)
    assert "refit=True" in str(caught.value.__cause__)
    assert is_classifier(search(make_classifier()))
    assert is_regressor(search(make_pipeline(StandardScaler(), make_regressor())))
    regressor = search(make_regressor())
    assert hasattr(regressor, "predict")
    assert not hasattr(regressor, "predict_proba")
    with pytest.raises(NotFittedError):
        search(make_classifier()).predict(X_DIGITS)


def test_a_fit_without_refit_forgets_the_estimator_of_the_fit_before():
    fitted = search(make_classifier()).fit(X_DIGITS, Y_DIGITS)
    fitted.set_params(refit=False).fit(X_DIGITS, Y_DIGITS)
    for name in ("best_estimator_", "best_params_", "refit_time_"):
        assert not hasattr(fitted, name)


def test_scoring_scores_the_refitted_estimator_too():
    fitted = search(make_classifier(), scoring="neg_log_loss").fit(X_DIGITS, NAMES[Y_DIGITS])
    assert fitted.score(X_DIGITS, NAMES[Y_DIGITS]) < 0


def test_nested_in_a_grid_search_and_cross_validation():
    estimator = make_pipeline(StandardScaler(), search(make_classifier()))
    grid = GridSearchCV(
        estimator,
        {"lrrangesearch__estimator__module__n_hidden": [4, 32]},
        cv=2,
        error_score="raise",
    )
    grid.fit(X_DIGITS, NAMES[Y_DIGITS])
    assert grid.best_params_["lrrangesearch__estimator__module__n_hidden"] == 32
    scores = cross_val_score(estimator, X_DIGITS, Y_DIGITS, cv=2, error_score="raise")
    assert scores.mean() > 0.7


def test_no_warning_by_the_way():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search(make_pipeline(StandardScaler(), make_classifier())).fit(X_DIGITS, Y_DIGITS)
    assert caught == []
