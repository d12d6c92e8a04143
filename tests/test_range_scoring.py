"""A metric in place of the loss: read after each step of a ramp, and after trials."""

import math

import numpy as np
import pytest
from nets import X_DIGITS, Y_DIGITS, Recorder, Still, make_classifier, make_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split

from sklr import LRRangeSearch

PARAMS = {"n_repeats": 1, "n_steps": 60, "random_state": 0, "verify": False, "budget": 2}
NAMES = np.array([f"digit {label}" for label in range(10)])


def search(estimator, X=X_DIGITS, y=Y_DIGITS, **params):
    return LRRangeSearch(estimator, **(PARAMS | {"extend": False} | params)).fit(X, y)


def split_net(**params):
    return make_classifier(train_split=ValidSplit(5, stratified=True), **params)


def test_accuracy_on_held_out_rows_is_read():
    plain, scored = search(split_net()), search(split_net(), scoring="accuracy")
    assert set(scored.results_) == {"round", "repeat", "step", "lr", "loss", "score"}
    score = scored.results_["score"]
    # A share of 100 held-out rows, from chance to most of them.
    np.testing.assert_allclose(score * 100, np.round(score * 100), atol=1e-9)
    assert score.max() > 2 * score[:10].max()
    np.testing.assert_allclose(scored.curve_.loss.min(), -score.max(), atol=0.1)
    found = scored.suggest()
    assert abs(math.log10(found.lr / plain.suggest().lr)) < 1


@pytest.mark.parametrize("steps", [[], [StandardScaler()]], ids=["net", "pipeline"])
def test_scorers_see_the_users_labels_and_the_held_out_rows(steps):
    seen = []

    def scorer(estimator, X, y):
        seen.append((X, y, list(estimator.classes_)))
        assert set(estimator.predict(X)) <= set(NAMES)
        np.testing.assert_allclose(estimator.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
        return accuracy_score(y, estimator.predict(X))

    net = split_net()
    search(make_pipeline(*steps, net) if steps else net, y=NAMES[Y_DIGITS], scoring=scorer)
    _, valid = net.train_split(Dataset(X_DIGITS, Y_DIGITS), Y_DIGITS)
    assert len(seen) > 20
    np.testing.assert_array_equal(seen[0][0], X_DIGITS[valid.indices])
    np.testing.assert_array_equal(seen[0][1], NAMES[Y_DIGITS[valid.indices]])
    assert seen[0][2] == list(NAMES)


@pytest.mark.parametrize("scoring", ["neg_log_loss", "roc_auc_ovr", "f1_macro"])
def test_metrics_of_probabilities(scoring):
    assert search(split_net(), scoring=scoring).suggest().status in ("ok", "no_divergence")


@pytest.mark.parametrize("budget", [4, 8])
def test_trials_are_judged_by_the_score(budget):
    net = split_net(max_epochs=10)
    found = search(net, scoring="accuracy", verify=True, n_steps=40, budget=budget)
    assert "loss" not in found.trials_
    scores = found.trials_["score"]
    assert 0.7 < scores[0] <= 1
    last = found.trials_["steps"] == found.trials_["steps"].max()
    if budget < 5:
        assert scores[0] == scores[last].max()
    else:
        # The mean over splits counts, and those of the best rate come first.
        lrs, splits = found.trials_["lr"], found.trials_["split"]
        means = [scores[lrs == lr].mean() for lr in np.unique(lrs) if sum(lrs == lr) > splits.max()]
        assert scores[lrs == lrs[0]].mean() == max(means)
    assert found.suggest().status == "ok"
    assert "did best" in found.suggestion_.message


def test_scores_are_the_same_for_every_n_jobs():
    params = {"scoring": "accuracy", "verify": True, "budget": 9, "n_steps": 40}
    net = split_net(max_epochs=3)
    first, second = search(net, **params), search(net, n_jobs=2, **params)
    np.testing.assert_array_equal(first.results_["score"], second.results_["score"])
    np.testing.assert_array_equal(first.trials_["score"], second.trials_["score"])


def test_a_random_fifth_is_held_out_where_the_net_holds_out_nothing():
    scored = search(make_classifier(), scoring="accuracy")
    scores = scored.results_["score"] * 100
    np.testing.assert_allclose(scores, np.round(scores), atol=1e-9)


def test_a_given_validation_set_is_scored():
    given = Dataset(X_DIGITS[:50], Y_DIGITS[:50])
    net = make_classifier(train_split=predefined_split(given))
    scores = search(net, scoring="accuracy").results_["score"] * 50
    np.testing.assert_allclose(scores, np.round(scores), atol=1e-9)


def test_preprocessing_is_fitted_once_for_scores_too():
    Recorder.fitted_on = []
    search(make_pipeline(Recorder(), split_net()), scoring="accuracy")
    assert Recorder.fitted_on == [400]


def test_regression_is_scored_in_the_units_of_its_targets():
    X, y = load_diabetes(return_X_y=True)
    net = make_regressor(train_split=ValidSplit(5))
    estimator = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), net), transformer=StandardScaler()
    )
    scored = search(estimator, X, y, scoring="neg_root_mean_squared_error")
    best = scored.results_["score"].max()
    # The targets' standard deviation is 77.
    assert -77 < best < -50


def test_answers_that_are_no_numbers_end_the_ramp_and_not_the_search():
    X, y = load_diabetes(return_X_y=True)
    net = make_regressor(train_split=ValidSplit(5))
    scored = search(net, X * 1e6, y, scoring="r2", max_lr=1e6)
    assert scored.suggestion_.status in ("diverged_at_start", "failed")


def test_an_error_of_the_scorer_reaches_the_user():
    def scorer(estimator, X, y):
        raise ValueError("my own")

    with pytest.raises(ValueError, match="my own"):
        search(split_net(), scoring=scorer)


@pytest.mark.parametrize("scoring", [["accuracy"], {"a": "accuracy"}, 1])
def test_only_one_metric(scoring):
    with pytest.raises(TypeError, match="The 'scoring' parameter of LRRangeSearch must be"):
        search(split_net(), scoring=scoring)


def test_an_unknown_metric():
    with pytest.raises(ValueError, match="scoring"):
        search(split_net(), scoring="accurracy")


def test_a_score_that_does_not_move_is_flat():
    assert search(split_net(module=Still), scoring="accuracy").suggestion_.status == "flat"


def test_a_scorer_made_of_a_function():
    scorer = make_scorer(accuracy_score)
    first = search(split_net(), scoring=scorer)
    np.testing.assert_array_equal(
        first.results_["score"], search(split_net(), scoring="accuracy").results_["score"]
    )


def test_the_estimators_own_score_can_be_the_scorer():
    def own(estimator, X, y):
        return estimator.score(X, y)

    for steps in ([], [StandardScaler()]):
        estimator = make_pipeline(*steps, split_net()) if steps else split_net()
        first = search(estimator, scoring=own)
        second = search(estimator, scoring="accuracy")
        np.testing.assert_array_equal(first.results_["score"], second.results_["score"])


def test_scores_that_are_no_numbers_are_named():
    found = search(split_net(), scoring=lambda estimator, X, y: math.nan).suggestion_
    assert found.status == "failed"
    assert "Look at 'scoring'" in found.message
