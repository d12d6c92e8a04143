"""Meta-estimator manners of LRRangeSearch: routing, callbacks, output containers, HTML."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from joblib import parallel_config
from nets import X_DIGITS, Y_DIGITS, make_classifier
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.callback import ProgressBar
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier

from sklr import LRRangeSearch

PARAMS = {"n_repeats": 2, "n_steps": 60, "random_state": 0, "verify": False, "budget": 2}
WEIGHT = np.linspace(0.1, 2, len(X_DIGITS))


def search(estimator=None, **params):
    estimator = make_classifier() if estimator is None else estimator
    return LRRangeSearch(estimator, **(PARAMS | params))


class Weighted(TransformerMixin, BaseEstimator):
    seen: list

    def fit(self, X, y=None, sample_weight=None):
        Weighted.seen.append(sample_weight)
        self.fitted_ = True
        return self

    def transform(self, X):
        return X


@pytest.mark.filterwarnings("ignore:The range test has no answer")
@pytest.mark.parametrize("refit", [False, True])
def test_metadata_reaches_the_preprocessing(refit):
    Weighted.seen = []
    with config_context(enable_metadata_routing=True):
        step = Weighted().set_fit_request(sample_weight=True)
        estimator = make_pipeline(step, make_classifier())
        fitted = search(estimator, refit=refit)
        fitted.fit(X_DIGITS, Y_DIGITS, sample_weight=WEIGHT)
    assert len(Weighted.seen) == 1 + refit
    np.testing.assert_array_equal(Weighted.seen[0], WEIGHT)


def test_metadata_of_the_training_part_only():
    Weighted.seen = []
    with config_context(enable_metadata_routing=True):
        step = Weighted().set_fit_request(sample_weight=True)
        estimator = make_pipeline(step, make_classifier())
        search(estimator, verify=True).fit(X_DIGITS, Y_DIGITS, sample_weight=WEIGHT)
    assert len(Weighted.seen[0]) == 400
    assert set(Weighted.seen[0]) < set(WEIGHT)


def test_metadata_reaches_the_scorer():
    seen = []

    def weighted(y, predicted, sample_weight=None):
        seen.append(sample_weight)
        return accuracy_score(y, predicted, sample_weight=sample_weight)

    with config_context(enable_metadata_routing=True):
        scorer = make_scorer(weighted).set_score_request(sample_weight=True)
        fitted = search(scoring=scorer, refit=True)
        fitted.fit(X_DIGITS, Y_DIGITS, sample_weight=WEIGHT)
        assert {len(weight) for weight in seen} == {100}
        fitted.score(X_DIGITS, Y_DIGITS, sample_weight=WEIGHT)
    np.testing.assert_array_equal(seen[-1], WEIGHT)


class WeightedNet(NeuralNetClassifier):
    __metadata_request__fit = {"sample_weight": True}  # noqa: RUF012


def test_weights_go_to_all_that_request_them():
    Weighted.seen = []
    net = WeightedNet(**make_classifier().get_params(deep=False))
    with config_context(enable_metadata_routing=True):
        step = Weighted().set_fit_request(sample_weight=True)
        both = search(make_pipeline(step, net)).fit(X_DIGITS, Y_DIGITS, sample_weight=WEIGHT)
        one = search(make_pipeline(step, make_classifier()))
        one.fit(X_DIGITS, Y_DIGITS, sample_weight=WEIGHT)
    assert len(Weighted.seen) == 2
    alone = search().fit(X_DIGITS, Y_DIGITS, sample_weight=WEIGHT)
    np.testing.assert_allclose(both.results_["loss"][:20], alone.results_["loss"][:20], rtol=1e-4)
    plain = search().fit(X_DIGITS, Y_DIGITS).results_["loss"][:20]
    np.testing.assert_allclose(one.results_["loss"][:20], plain, rtol=1e-4)


def test_metadata_that_nobody_asked_for_is_refused():
    estimator = make_pipeline(Weighted(), make_classifier())
    with (
        config_context(enable_metadata_routing=True),
        pytest.raises(ValueError, match="not explicitly set as requested or not"),
    ):
        search(estimator).fit(X_DIGITS, Y_DIGITS, sample_weight=WEIGHT)


def test_without_routing_fit_parameters_go_to_the_estimator():
    Weighted.seen = []
    estimator = make_pipeline(Weighted(), make_classifier())
    search(estimator).fit(X_DIGITS, Y_DIGITS, weighted__sample_weight=WEIGHT)
    np.testing.assert_array_equal(Weighted.seen[0], WEIGHT)


class Told:
    """A callback of scikit-learn's that notes the tasks."""

    def __init__(self):
        self.tasks = []

    def setup(self, estimator, context):
        self.tasks.append("setup")

    def on_fit_task_begin(self, estimator, context):
        self.tasks.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context):
        self.tasks.append(f"end {context.task_name}")

    def teardown(self, estimator, context):
        self.tasks.append("teardown")


@pytest.mark.parametrize("budget", [4, 8])
def test_callbacks_are_told_of_every_task(budget):
    told = Told()
    net = make_classifier(max_epochs=8)
    fitted = search(net, verify=True, budget=budget, n_steps=40, refit=True).set_callbacks(told)
    fitted.fit(X_DIGITS, Y_DIGITS)
    counts = {name: told.tasks.count(name) for name in told.tasks}
    assert (told.tasks[0], told.tasks[-1]) == ("setup", "teardown")
    assert counts["begin ramps, each"] == counts["end ramps, each"] == 2
    if budget < 5:
        trials = [counts[f"begin trials, rung {i} of 3, each"] for i in (1, 2, 3)]
        assert trials == [8, 4, 2]
    else:
        for split, number in enumerate(np.bincount(fitted.trials_["split"])):
            assert counts[f"begin whole trainings, split {split + 1}, each"] == number
    assert counts["begin refit"] == counts["end refit"] == 1
    begun = sum(name.startswith("begin") for name in told.tasks)
    assert begun == sum(name.startswith("end") for name in told.tasks)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_scikit_learns_progress_bar(n_jobs, capsys):
    fitted = search(n_jobs=n_jobs).set_callbacks(ProgressBar())
    plain = search().fit(X_DIGITS, Y_DIGITS)
    assert fitted.fit(X_DIGITS, Y_DIGITS).suggestion_.lr == plain.suggestion_.lr
    assert "LRRangeSearch" in capsys.readouterr().out


def test_a_search_without_callbacks_of_an_outer_one_runs_too():
    estimator = make_pipeline(StandardScaler(), search(refit=True))
    assert estimator.fit(X_DIGITS, Y_DIGITS).predict(X_DIGITS).shape == Y_DIGITS.shape


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_output_containers_and_feature_names(container):
    frame = {"pandas": pd.DataFrame, "polars": pl.DataFrame}[container](
        {f"pixel {i}": X_DIGITS[:, i] for i in range(64)}
    )
    fitted = search().set_output(transform=container).fit(frame, Y_DIGITS)
    assert list(fitted.feature_names_in_) == [f"pixel {i}" for i in range(64)]
    assert list(fitted.get_feature_names_out()) == list(fitted.feature_names_in_)
    assert type(fitted.transform(frame)) is type(frame)
    assert list(fitted.transform(frame).columns) == list(fitted.feature_names_in_)
    assert fitted.suggestion_.lr == search().fit(X_DIGITS, Y_DIGITS).suggestion_.lr


def test_in_mid_pipeline_data_pass_through():
    pipeline = make_pipeline(StandardScaler(), search(), LogisticRegression(max_iter=2_000))
    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000))
    X, y = X_DIGITS.astype(float), Y_DIGITS
    np.testing.assert_array_equal(pipeline.fit(X, y).predict(X), plain.fit(X, y).predict(X))


def test_html_shows_the_net():
    html = search(make_pipeline(StandardScaler(), make_classifier()))._repr_html_()
    assert "StandardScaler" in html
    assert "NeuralNetClassifier" in html


@pytest.mark.parametrize("backend", ["loky", "threading", "sequential"])
def test_backends_by_parallel_config(backend):
    params = {"verify": True, "budget": 12, "n_steps": 40}
    net = make_classifier(max_epochs=3)
    expected = search(net, **params).fit(X_DIGITS, Y_DIGITS)
    with parallel_config(backend=backend, n_jobs=2):
        found = search(net, **params).fit(X_DIGITS, Y_DIGITS)
    np.testing.assert_array_equal(found.results_["loss"], expected.results_["loss"])
    # Whole trainings on several splits.
    assert len(set(found.trials_["split"])) > 1
    for name, column in expected.trials_.items():
        np.testing.assert_array_equal(found.trials_[name], column)


@pytest.mark.slow
def test_dask_as_a_backend():
    distributed = pytest.importorskip("distributed", reason="dask's cluster is an extra")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    expected = search(verify=True, budget=8, n_steps=40).fit(X_DIGITS, Y_DIGITS)
    with cluster, distributed.Client(cluster), parallel_config(backend="dask"):
        found = search(verify=True, budget=8, n_steps=40).fit(X_DIGITS, Y_DIGITS)
    np.testing.assert_array_equal(found.results_["loss"], expected.results_["loss"])
    np.testing.assert_array_equal(found.trials_["loss"], expected.trials_["loss"])


def test_clone_and_set_params():
    estimator = search(make_pipeline(StandardScaler(), make_classifier()))
    estimator.set_params(estimator__neuralnetclassifier__lr=0.3, n_repeats=1)
    assert clone(estimator).estimator[-1].lr == 0.3
    assert clone(estimator).get_params()["n_repeats"] == 1
