"""Ensembles inside scikit-learn's other estimators, its containers and views, and on odd labels."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from nets import X_DIGITS, Y_DIGITS, make_classifier, make_regressor
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.ensemble import BaggingClassifier, StackingClassifier, StackingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from sklr import SnapshotCosine, SnapshotEnsemble, SnapshotEnsembleRegressor

WORDS = np.array(list("jihgfedcba"))[Y_DIGITS]


def make(net=None, **params):
    params = {"n_snapshots": 2, "random_state": 0} | params
    return SnapshotEnsemble(net or make_classifier(), **params)


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda e: CalibratedClassifierCV(e, cv=2), id="calibrated, cv"),
        pytest.param(
            lambda e: CalibratedClassifierCV(e, cv=2, ensemble=False), id="calibrated, one"
        ),
        pytest.param(
            lambda e: StackingClassifier(
                [("snapshots", e), ("linear", LogisticRegression(max_iter=500))], cv=2
            ),
            id="stacking",
        ),
        pytest.param(lambda e: BaggingClassifier(e, n_estimators=2, random_state=0), id="bagging"),
        pytest.param(OneVsRestClassifier, id="one against the rest"),
    ],
)
def test_inside_scikit_learns_meta_estimators(wrap):
    model = wrap(make_pipeline(StandardScaler(), make())).fit(X_DIGITS[:300], WORDS[:300])
    assert set(model.classes_) == set(WORDS)
    assert model.score(X_DIGITS[300:], WORDS[300:]) > 0.7
    assert model.predict_proba(X_DIGITS[300:]).shape == (200, 10)


def test_a_regressor_inside_meta_estimators():
    X, y = load_diabetes(return_X_y=True)
    ensemble = SnapshotEnsembleRegressor(make_regressor(), n_snapshots=2, random_state=0)
    scaled = TransformedTargetRegressor(ensemble, transformer=StandardScaler())
    stack = StackingRegressor([("snapshots", scaled), ("ridge", Ridge())], cv=2)
    assert stack.fit(scale(X), y).score(scale(X), y) > 0.4


def test_cross_validated_probabilities_are_in_the_order_of_the_labels():
    pipe = make_pipeline(StandardScaler(), make())
    proba = cross_val_predict(pipe, X_DIGITS, WORDS, cv=2, method="predict_proba")
    assert np.mean(np.unique(WORDS)[proba.argmax(axis=1)] == WORDS) > 0.7


@pytest.mark.parametrize("how", ["soft", "hard"])
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output(container, how):
    frame = {"pandas": pd.DataFrame, "polars": pl.DataFrame}[container]
    X = frame({f"pixel {i}": X_DIGITS[:, i] for i in range(64)})
    fitted = make(voting=how).fit(X, WORDS).set_output(transform=container)
    out = fitted.transform(X)
    assert type(out) is frame
    assert list(out.columns) == list(fitted.get_feature_names_out())
    np.testing.assert_array_equal(
        np.asarray(out), fitted.set_output(transform="default").transform(X)
    )


def test_html_view():
    unfitted = make()
    for ensemble in (unfitted, clone(unfitted).fit(X_DIGITS, WORDS)):
        html = ensemble._repr_html_()
        assert "SnapshotEnsemble" in html
        assert "NeuralNetClassifier" in html


def test_samples_in_another_order_get_the_same_answers():
    fitted = make().fit(X_DIGITS, WORDS)
    order = np.random.default_rng(0).permutation(len(X_DIGITS))
    np.testing.assert_allclose(
        fitted.predict_proba(X_DIGITS[order]),
        fitted.predict_proba(X_DIGITS)[order],
        rtol=1e-5,
        atol=1e-7,
    )


def test_parameters_set_after_fit_act_at_once_as_votingclassifiers_do():
    fitted = make().fit(X_DIGITS, WORDS)
    newest = fitted.estimators_[-1].predict_proba(X_DIGITS)
    np.testing.assert_allclose(
        fitted.set_params(weights=[0, 1]).predict_proba(X_DIGITS), newest, rtol=1e-5, atol=1e-7
    )
    fitted.set_params(voting="hard", estimator__lr=0.1)
    assert not hasattr(fitted, "predict_proba")
    np.testing.assert_array_equal(fitted.predict(X_DIGITS), fitted.classes_[newest.argmax(axis=1)])


def test_a_refit_with_fewer_classes_knows_no_more_of_the_others():
    ensemble = make().fit(X_DIGITS, WORDS)
    few = Y_DIGITS < 4
    ensemble.fit(X_DIGITS[few], WORDS[few])
    assert list(ensemble.classes_) == list("ghij")
    proba = ensemble.predict_proba(X_DIGITS)
    assert proba.shape == (500, 4)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    assert ensemble.score(X_DIGITS[few], WORDS[few]) > 0.8
    np.testing.assert_array_equal(
        proba, make().fit(X_DIGITS[few], WORDS[few]).predict_proba(X_DIGITS)
    )


def test_a_class_that_is_in_no_batch_of_a_cycle():
    """Sorted labels in order, and a cycle of a batch: no cycle sees all classes."""
    order = np.argsort(Y_DIGITS, kind="stable")
    net = make_classifier(iterator_train__shuffle=False, max_epochs=1, batch_size=50)
    ensemble = make(net, n_snapshots=None, schedule=SnapshotCosine(n_cycles=10)).fit(
        X_DIGITS[order], WORDS[order]
    )
    assert ensemble.snapshot_steps_ == list(range(1, 11))
    assert list(ensemble.classes_) == list("abcdefghij")
    assert np.isfinite(ensemble.predict_proba(X_DIGITS)).all()


@pytest.mark.parametrize("labels", ["indicators", "lists"])
def test_multilabel_is_refused_as_votingclassifier_does(labels):
    y = np.eye(10, dtype=int)[Y_DIGITS] | np.eye(10, dtype=int)[0]
    y = y if labels == "indicators" else y.tolist()
    with pytest.raises(NotImplementedError, match="Multilabel"):
        make().fit(X_DIGITS, y)
