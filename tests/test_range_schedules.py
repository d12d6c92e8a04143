"""The rate of a schedule that is asked for, and of an ensemble of snapshots."""

import math

import numpy as np
import pytest
from nets import X_DIGITS, Y_DIGITS, make_classifier, make_regressor
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from sklr import (
    CyclicalLR,
    FastGeometric,
    LRRangeSearch,
    OneCycle,
    SnapshotCosine,
    SnapshotEnsemble,
    SnapshotEnsembleRegressor,
)
from sklr.ensemble._parameters import DEFAULT_PRETRAINING, DEFAULT_SNAPSHOTS

QUICK = {"n_steps": 40, "n_repeats": 1, "budget": 8, "random_state": 0}
DEFAULT = FastGeometric(pretrain_fraction=DEFAULT_PRETRAINING, n_cycles=DEFAULT_SNAPSHOTS)


def make_net(**params):
    return make_classifier(**({"max_epochs": 6} | params))


def found(estimator, X=X_DIGITS, y=Y_DIGITS, **params):
    return LRRangeSearch(estimator, **(QUICK | params)).fit(X, y).suggestion_


@pytest.mark.parametrize(
    ("make", "callback", "names"),
    [
        pytest.param(SnapshotEnsemble, DEFAULT, ["estimator__lr"], id="its default"),
        pytest.param(
            lambda net: SnapshotEnsemble(net, schedule=CyclicalLR(step_size=1)),
            CyclicalLR(step_size=1),
            ["schedule__base_lr", "schedule__max_lr"],
            id="its parameter",
        ),
        pytest.param(
            lambda net: SnapshotEnsemble(
                net.set_params(callbacks=[("cosine", SnapshotCosine(n_cycles=3))])
            ),
            SnapshotCosine(n_cycles=3),
            ["estimator__callbacks__cosine__max_lr"],
            id="the net's own",
        ),
    ],
)
def test_an_ensemble_gets_the_peak_that_its_net_gets_with_the_schedule(make, callback, names):
    ensemble = make(make_net())
    before = repr(ensemble)
    answer = found(ensemble)
    alone = found(make_net(callbacks=[("lr", callback)]))
    assert (answer.lr, answer.verified) == (alone.lr, True)
    assert sorted(answer.params) == names
    assert answer.params[names[-1]] == answer.lr == answer.max_lr
    assert repr(ensemble) == before
    ensemble.set_params(**answer.params)


def test_trials_of_an_ensemble_run_its_schedule():
    search = LRRangeSearch(SnapshotEnsemble(make_net()), **QUICK).fit(X_DIGITS, Y_DIGITS)
    assert set(search.trials_["schedule"]) == {"FastGeometric"}
    assert np.isnan(search.trials_["averaged_loss"]).all()


def test_an_ensemble_in_a_pipeline_is_refitted_and_predicts_the_users_labels():
    y = np.array(list("abcdefghij"))[Y_DIGITS]
    model = make_pipeline(StandardScaler(), SnapshotEnsemble(make_net(), random_state=0))
    search = LRRangeSearch(model, refit=True, **QUICK).fit(X_DIGITS, y)
    (name,) = search.suggestion_.params
    assert name == "snapshotensemble__estimator__lr"
    best = search.best_estimator_
    assert best[-1].get_params()["estimator__lr"] == search.suggestion_.lr
    codes = best.predict(X_DIGITS)
    np.testing.assert_array_equal(search.predict(X_DIGITS), search.classes_[codes])
    np.testing.assert_array_equal(search.predict_proba(X_DIGITS), best.predict_proba(X_DIGITS))
    # The same ensemble that the user would fit with the answer.
    again = clone(model).set_params(**search.suggestion_.params).fit(X_DIGITS, y)
    np.testing.assert_array_equal(again.predict(X_DIGITS), search.predict(X_DIGITS))
    np.testing.assert_array_equal(again.predict_proba(X_DIGITS), search.predict_proba(X_DIGITS))


def test_an_ensemble_of_regressors_behind_scaled_targets():
    X, y = load_diabetes(return_X_y=True)
    X = scale(X).astype(np.float32)
    inner = SnapshotEnsembleRegressor(make_regressor(max_epochs=6), random_state=0)
    model = TransformedTargetRegressor(inner, transformer=StandardScaler())
    search = LRRangeSearch(model, refit=True, n_repeats=2, budget=12, random_state=0).fit(X, y)
    assert list(search.suggestion_.params) == ["regressor__estimator__lr"]
    assert search.suggestion_.verified
    assert search.predict(X).shape == y.shape
    assert search.score(X, y) > 0


def test_the_schedule_that_is_asked_for_is_that_of_a_net_which_has_it():
    search = LRRangeSearch(make_net(), schedule=OneCycle(), refit=True, **QUICK)
    answer = search.fit(X_DIGITS, Y_DIGITS).suggestion_
    assert answer.lr == answer.max_lr == found(make_net(callbacks=[("lr", OneCycle())])).lr
    # The net has no callback to set: its own rate is the peak of a schedule that it gets.
    assert answer.params == {"lr": answer.lr}
    rates = [rate for row in search.best_estimator_.history[:, "batches", :, "lr"] for rate in row]
    assert math.isclose(max(rates), answer.lr, rel_tol=0.05)
    assert rates[-1] < answer.lr / 1_000


@pytest.mark.parametrize(
    ("estimator", "schedule", "error"),
    [
        (make_net(), 0.1, TypeError),
        (make_net(), OneCycle, TypeError),
        (SnapshotEnsemble(make_net()), OneCycle(), ValueError),
    ],
    ids=["a number", "a class", "an ensemble has its own"],
)
def test_a_schedule_that_cannot_be_asked_for_raises(estimator, schedule, error):
    with pytest.raises(error, match="The 'schedule' parameter of LRRangeSearch must be"):
        found(estimator, schedule=schedule)


def test_a_net_without_a_schedule_has_its_peak_measured_with_onecycle():
    search = LRRangeSearch(make_net(), **(QUICK | {"budget": 20})).fit(X_DIGITS, Y_DIGITS)
    trials = search.trials_
    assert set(trials["schedule"]) == {"Constant", "OneCycle"}
    cycles = trials["schedule"] == "OneCycle"
    assert trials["lr"][cycles].min() <= search.suggestion_.max_lr <= trials["lr"][cycles].max()


def test_a_score_that_tells_no_rates_apart_is_said_and_ramps_are_read_by_the_loss():
    answer = found(make_net(), scoring=lambda estimator, X, y: 0.5)
    assert answer.status == "ok"
    assert "read by the loss" in answer.message
    assert "All trials did equally well" in answer.message


@pytest.mark.parametrize(
    ("factor", "of_y", "named"),
    [(1, 1, ""), (1_000, 1, "Scale X"), (1, 1_000, "Scale y"), (1_000, 1_000, "Scale X")],
)
def test_inputs_and_targets_that_are_not_scaled_are_named_first(factor, of_y, named):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 10)).astype(np.float32)
    y = (X[:, :1] * of_y).astype(np.float32)
    message = found(make_regressor(max_epochs=6), X * np.float32(factor), y).message
    assert message.startswith(named)
    assert ("Scale" in message) == bool(named)
    assert (" y (by a TransformedTargetRegressor" in message) == (of_y > 1)
