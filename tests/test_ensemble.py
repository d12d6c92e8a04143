"""SnapshotEnsemble and its regressor: one training, used as scikit-learn's voting ensembles."""

import math
import pickle
import random

import numpy as np
import pandas as pd
import pytest
import torch
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier, make_regressor
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, StandardScaler, scale
from skorch import NeuralNetBinaryClassifier
from skorch.callbacks import Callback, EarlyStopping, Freezer, GradientNormClipping
from torch.utils.data import default_collate

from sklr import (
    SGDR,
    CosineDecay,
    CyclicalLR,
    FastGeometric,
    Schedule,
    SnapshotCosine,
    SnapshotEnsemble,
    SnapshotEnsembleRegressor,
    schedules,
)

WORDS = np.array(list("jihgfedcba"))[Y_DIGITS]


def fit(y=Y_DIGITS, *, net=None, **params):
    ensemble = SnapshotEnsemble(net or make_classifier(), **({"random_state": 0} | params))
    return ensemble.fit(X_DIGITS, y)


def voting(ensemble, how, weights=None, **params):
    """scikit-learn's VotingClassifier of the same members: the oracle."""
    members = [(name, FrozenEstimator(m)) for name, m in ensemble.named_estimators_.items()]
    oracle = VotingClassifier(members, voting=how, weights=weights, **params)
    oracle.estimators_ = [member for _, member in members]
    oracle.le_ = LabelEncoder().fit(ensemble.le_.classes_)
    oracle.classes_ = oracle.le_.classes_
    return oracle


class Counting(MLP):
    n_training_steps = 0

    def forward(self, X):
        Counting.n_training_steps += self.training
        return super().forward(X)


WORDS_OF = np.unique(WORDS)


@pytest.fixture(scope="module")
def soft():
    return fit(WORDS, n_snapshots=3)


@pytest.fixture(scope="module")
def hard():
    return fit(WORDS, n_snapshots=3, voting="hard")


@pytest.mark.parametrize("weights", [None, [1, 2, 0.5]], ids=["even", "weighted"])
def test_soft_voting_is_that_of_votingclassifier(soft, weights):
    ensemble = pickle.loads(pickle.dumps(soft)).set_params(weights=weights)
    oracle = voting(ensemble, "soft", weights)
    np.testing.assert_allclose(
        ensemble.predict_proba(X_DIGITS), oracle.predict_proba(X_DIGITS), atol=1e-7
    )
    np.testing.assert_array_equal(ensemble.predict(X_DIGITS), oracle.predict(X_DIGITS))
    assert ensemble.score(X_DIGITS, WORDS) == oracle.score(X_DIGITS, WORDS)


@pytest.mark.parametrize("weights", [None, [1, 2, 0.5]], ids=["even", "weighted"])
def test_hard_voting_is_that_of_votingclassifier(hard, weights):
    ensemble = pickle.loads(pickle.dumps(hard)).set_params(weights=weights)
    oracle = voting(ensemble, "hard", weights)
    np.testing.assert_array_equal(ensemble.predict(X_DIGITS), oracle.predict(X_DIGITS))
    np.testing.assert_array_equal(ensemble.transform(X_DIGITS), oracle.transform(X_DIGITS))
    for name in ("predict_proba", "staged_predict_proba"):
        assert not hasattr(ensemble, name)
    stages = list(ensemble.staged_predict(X_DIGITS))
    np.testing.assert_array_equal(stages[0], WORDS_OF[ensemble.transform(X_DIGITS)[:, -1]])
    np.testing.assert_array_equal(stages[-1], ensemble.predict(X_DIGITS))


def test_transform_and_names_are_those_of_votingclassifier(soft, hard):
    oracle = voting(soft, "soft")
    np.testing.assert_array_equal(soft.transform(X_DIGITS), oracle.transform(X_DIGITS))
    deep = pickle.loads(pickle.dumps(soft)).set_params(flatten_transform=False)
    assert deep.transform(X_DIGITS).shape == (3, 500, 10)
    with pytest.raises(ValueError, match="flatten_transform=False"):
        deep.get_feature_names_out()
    names = soft.get_feature_names_out()
    assert names.shape == (30,)
    assert names[0] == "snapshotensemble_snapshot_10"
    assert list(hard.get_feature_names_out()) == [
        f"snapshotensemble_snapshot_{i}" for i in (1, 2, 3)
    ]
    frame = pickle.loads(pickle.dumps(soft)).set_output(transform="pandas").transform(X_DIGITS)
    assert list(frame.columns) == list(names)


def test_staged_answers_end_with_the_whole(soft):
    stages = list(soft.staged_predict_proba(X_DIGITS))
    assert len(stages) == 3
    last = soft.estimators_[-1].predict_proba(X_DIGITS)
    np.testing.assert_allclose(stages[0], last, atol=1e-7)
    np.testing.assert_allclose(stages[-1], soft.predict_proba(X_DIGITS), atol=1e-7)
    np.testing.assert_array_equal(list(soft.staged_predict(X_DIGITS))[-1], soft.predict(X_DIGITS))


def test_attributes_are_those_of_votingclassifier(soft):
    assert list(soft.named_estimators_) == ["snapshot_1", "snapshot_2", "snapshot_3"]
    assert soft.named_estimators_.snapshot_2 is soft.estimators_[1]
    np.testing.assert_array_equal(soft.classes_, sorted(set(WORDS)))
    assert soft.n_features_in_ == 64
    assert len(soft.history_) == 6


CYCLES = schedules.SGDR(max_lr=0.5, cycle_length=15)


@pytest.mark.parametrize(
    ("params", "count"),
    [
        pytest.param({}, 5, id="default"),
        pytest.param({"n_snapshots": 4}, 4, id="n_snapshots"),
        pytest.param({"n_snapshots": 4, "n_members": 2}, 2, id="n_members"),
        pytest.param({"schedule": SnapshotCosine(n_cycles=2)}, 2, id="schedule"),
        pytest.param({"schedule": SnapshotCosine(n_cycles=2), "n_snapshots": 2}, 2, id="both"),
        pytest.param({"schedule": SGDR(cycle_length=1, cycle_mult=2)}, 2, id="SGDR"),
        pytest.param({"schedule": CyclicalLR(step_size=1)}, 3, id="cyclical"),
        pytest.param({"schedule": CosineDecay()}, 1, id="no cycles"),
        pytest.param({"schedule": Schedule(CYCLES)}, 4, id="a value"),
    ],
)
def test_number_of_members(params, count):
    assert len(fit(**params).estimators_) == count


def test_the_default_is_the_recipe_that_was_measured():
    same = FastGeometric(pretrain_fraction=0.5, n_cycles=5)
    ours, theirs = fit(), fit(schedule=same)
    assert ours.snapshot_steps_ == theirs.snapshot_steps_ == [33, 39, 45, 51, 57]
    np.testing.assert_array_equal(ours.transform(X_DIGITS), theirs.transform(X_DIGITS))


def test_the_nets_own_schedule_is_used():
    callbacks = [("lr", SnapshotCosine(n_cycles=5))]
    net = make_classifier(callbacks=callbacks, callbacks__lr__n_cycles=2)
    assert len(fit(net=net).estimators_) == 2
    assert callbacks[0][1].n_cycles == 5  # the user's own object


def test_members_are_the_last_snapshots():
    three, two = fit(n_snapshots=3), fit(n_snapshots=3, n_members=2)
    for kept, whole in zip(two.estimators_, three.estimators_[1:], strict=True):
        np.testing.assert_array_equal(kept.predict_proba(X_DIGITS), whole.predict_proba(X_DIGITS))


def test_seeds_repeat_and_global_states_stay():
    states = torch.get_rng_state(), random.getstate()
    first, second = fit(n_snapshots=2), fit(n_snapshots=2)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    np.testing.assert_array_equal(first.predict_proba(X_DIGITS), second.predict_proba(X_DIGITS))
    other = fit(n_snapshots=2, random_state=1)
    assert not np.allclose(first.predict_proba(X_DIGITS), other.predict_proba(X_DIGITS))


def test_a_refit_replaces_the_members():
    ensemble = fit(n_snapshots=2)
    ensemble.fit(X_DIGITS[Y_DIGITS < 4], WORDS[Y_DIGITS < 4])
    assert len(ensemble.estimators_) == 2
    assert len(ensemble.classes_) == 4
    proba = ensemble.predict_proba(X_DIGITS)
    # The net has more outputs than there are classes now.
    assert proba.shape == (500, 4)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "X",
    [
        pytest.param(X_DIGITS.astype(np.float64), id="float64"),
        pytest.param(X_DIGITS.tolist(), id="lists"),
        pytest.param(pd.DataFrame(X_DIGITS).add_prefix("pixel"), id="frame"),
        pytest.param(torch.from_numpy(X_DIGITS), id="tensor"),
    ],
)
def test_containers_give_the_same_answer(X):
    expected = fit(n_snapshots=2).predict_proba(X_DIGITS)
    ensemble = SnapshotEnsemble(make_classifier(), n_snapshots=2, random_state=0).fit(X, Y_DIGITS)
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, atol=1e-6)


def test_feature_names_are_checked():
    X = pd.DataFrame(X_DIGITS).add_prefix("pixel")
    ensemble = SnapshotEnsemble(make_classifier(), n_snapshots=2, random_state=0).fit(X, Y_DIGITS)
    assert ensemble.feature_names_in_[0] == "pixel0"
    with pytest.raises(ValueError, match="feature names"):
        ensemble.predict(X.add_prefix("other"))


class Flatten(MLP):
    def forward(self, X):
        assert X.ndim == 3
        return super().forward(X.flatten(1))


def test_images_keep_their_shape():
    images = X_DIGITS.reshape(-1, 8, 8)
    ensemble = SnapshotEnsemble(make_classifier(Flatten), n_snapshots=2, random_state=0)
    flat = fit(n_snapshots=2).predict_proba(X_DIGITS)
    np.testing.assert_allclose(
        ensemble.fit(images, Y_DIGITS).predict_proba(images), flat, rtol=1e-5
    )


def test_binary_nets():
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    net = NeuralNetBinaryClassifier(
        MLP,
        module__n_inputs=30,
        module__n_outputs=1,
        lr=0.5,
        max_epochs=10,
        train_split=None,
        verbose=0,
    )
    words = np.array(["bad", "good"])[y]
    ensemble = SnapshotEnsemble(net, n_snapshots=2, random_state=0).fit(X, words)
    proba = np.mean([member.predict_proba(X) for member in ensemble.estimators_], axis=0)
    np.testing.assert_allclose(ensemble.predict_proba(X), proba, rtol=1e-5)
    np.testing.assert_array_equal(ensemble.predict(X), np.where(proba[:, 1] > 0.5, "good", "bad"))


def test_in_pipelines_searches_and_beside_others():
    pipe = make_pipeline(
        StandardScaler(), SnapshotEnsemble(make_classifier(), n_snapshots=2, random_state=0)
    )
    assert cross_val_score(pipe, X_DIGITS, WORDS, cv=2).min() > 0.6
    grid = GridSearchCV(pipe, {"snapshotensemble__estimator__lr": [1e-5, 0.2]}, cv=2)
    assert grid.fit(X_DIGITS, WORDS).best_params_ == {"snapshotensemble__estimator__lr": 0.2}
    mixed = VotingClassifier(
        [("snapshots", pipe), ("linear", LogisticRegression(max_iter=500))], voting="soft"
    )
    assert mixed.fit(X_DIGITS, WORDS).score(X_DIGITS, WORDS) > 0.7


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return scale(X), scale(y)


def test_regressor_is_votingregressor(diabetes):
    X, y = diabetes
    ensemble = SnapshotEnsembleRegressor(
        make_regressor(), n_snapshots=3, weights=[1, 2, 3], random_state=0
    ).fit(X, y)
    oracle = VotingRegressor([("a", LogisticRegression())], weights=[1, 2, 3])
    columns = ensemble.transform(X)
    oracle._predict = lambda X: columns
    oracle.estimators_ = ensemble.estimators_
    oracle.estimators = list(ensemble.named_estimators_.items())
    np.testing.assert_allclose(ensemble.predict(X), oracle.predict(X), rtol=1e-6)
    assert columns.shape == (len(X), 3)
    assert list(ensemble.get_feature_names_out()) == [
        f"snapshotensembleregressor_snapshot_{i}" for i in (1, 2, 3)
    ]
    np.testing.assert_allclose(list(ensemble.staged_predict(X))[-1], ensemble.predict(X), rtol=1e-6)
    # A column gives the same, with scikit-learn's own warning.
    with pytest.warns(UserWarning, match="column-vector"):
        column = clone(ensemble).fit(X, y.reshape(-1, 1))
    np.testing.assert_array_equal(column.predict(X), ensemble.predict(X))


BAD_PARAMS = [
    ({"n_snapshots": 0}, ValueError, "'n_snapshots' parameter of SnapshotEnsemble must be at"),
    ({"n_snapshots": 2.0}, TypeError, "'n_snapshots' parameter of SnapshotEnsemble must be an"),
    ({"n_snapshots": 31}, ValueError, "'n_snapshots' parameter .* at most 30, .* of 60 .* Got 31"),
    (
        {"n_members": 0},
        ValueError,
        "'n_members' parameter of SnapshotEnsemble must be at least",
    ),
    ({"n_members": 6}, ValueError, "'n_members' parameter .* at most 5. Got 6"),
    ({"voting": "loud"}, ValueError, "'voting' parameter of SnapshotEnsemble must be one of"),
    ({"voting": None}, TypeError, "'voting' parameter of SnapshotEnsemble must be one of"),
    ({"weights": [1, 2]}, ValueError, "'weights' parameter .* a sequence of 5 numbers"),
    (
        {"weights": "best"},
        ValueError,
        "'weights' parameter .* 'greedy', a sequence of numbers, one a member, or None\\.",
    ),
    ({"weights": [1, 2, 3, 4, "5"]}, TypeError, "'weights' parameter .* of 5 numbers"),
    ({"weights": [1, 2, 3, 4, np.nan]}, ValueError, "'weights' parameter .* be finite"),
    ({"flatten_transform": "x"}, TypeError, "'flatten_transform' parameter .* True or False"),
    ({"verbose": "a"}, TypeError, "'verbose' parameter of SnapshotEnsemble must be an integer"),
    (
        {"schedule": SGDR(cycle_length=2), "n_snapshots": 5},
        ValueError,
        "'n_snapshots' parameter .* None or the 3 cycles",
    ),
    ({"weights": [1, 2, 3, 4, -1]}, ValueError, "'weights' parameter .* at least 0"),
    ({"weights": [0] * 5}, ValueError, "'weights' parameter .* not all 0"),
    ({"schedule": "cosine"}, TypeError, "'schedule' parameter .* schedule callback"),
    (
        {"schedule": SnapshotCosine(n_cycles=2), "n_snapshots": 3},
        ValueError,
        "'n_snapshots' parameter .* None or the 2 cycles that the schedule ends. Got 3",
    ),
    (
        {"schedule": SGDR(cycle_length=20)},
        ValueError,
        "'schedule' parameter .* a cycle that ends within the training",
    ),
]


def test_bad_parameters_raise_in_the_one_form_before_training():
    Counting.n_training_steps = 0
    for params, error, text in BAD_PARAMS:
        with pytest.raises(error, match=f"The {text}"):
            fit(net=make_classifier(Counting), **params)
    assert Counting.n_training_steps == 0


@pytest.mark.parametrize(
    ("cls", "net", "other"),
    [
        (SnapshotEnsemble, make_regressor(), "SnapshotEnsembleRegressor"),
        (SnapshotEnsembleRegressor, make_classifier(), "SnapshotEnsemble"),
        (SnapshotEnsemble, LogisticRegression(), "skorch net"),
        (SnapshotEnsemble, make_pipeline(StandardScaler(), make_classifier()), "Pipeline"),
    ],
)
def test_other_estimators_are_refused_by_name(cls, net, other):
    with pytest.raises(TypeError, match=f"The 'estimator' parameter of {cls.__name__}.*{other}"):
        cls(net).fit(X_DIGITS, Y_DIGITS)


def test_bad_data_is_refused_as_scikit_learn_does():
    with pytest.raises(NotFittedError):
        SnapshotEnsemble(make_classifier()).predict(X_DIGITS)
    with pytest.raises(ValueError, match="Unknown label type"):
        fit(np.linspace(0, 1, 500))
    with pytest.raises(ValueError, match="only one class"):
        fit(np.zeros(500))
    with pytest.raises(NotImplementedError, match="Multilabel"):
        fit(np.eye(2, dtype=int)[Y_DIGITS % 2])
    wrong = X_DIGITS.copy()
    wrong[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        SnapshotEnsemble(make_classifier()).fit(wrong, Y_DIGITS)
    single = make_classifier(module__n_outputs=1)
    text = r"each of the 2 classes; skorch's NeuralNetBinaryClassifier is .*\. Got 1 instead"
    with pytest.raises(ValueError, match=text):
        SnapshotEnsemble(single).fit(X_DIGITS, Y_DIGITS % 2)
    with pytest.raises(ValueError, match=r"each of the 10 classes\. Got 2 instead"):
        fit(net=make_classifier(module__n_outputs=2))


def test_a_diverged_training_is_no_silent_ensemble():
    with pytest.raises(FloatingPointError, match="diverged: from snapshot 1 of 2"):
        fit(net=make_classifier(lr=1e20), n_snapshots=2)


def test_verbose_prints_a_line_a_snapshot(capsys):
    fit(n_snapshots=2, verbose=1)
    assert len(capsys.readouterr().out.splitlines()) == 2
    fit(n_snapshots=2)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "callbacks",
    [
        pytest.param("disable", id="disabled"),
        pytest.param([Freezer("nothing*"), Freezer("none*")], id="two of a class"),
        pytest.param([("snapshots", GradientNormClipping(1.0))], id="a name like ours"),
    ],
)
def test_the_users_callbacks_stand_beside_ours(callbacks):
    assert len(fit(net=make_classifier(callbacks=callbacks), n_snapshots=2).estimators_) == 2


def test_a_net_with_a_collate_function_keeps_its_dataset():
    net = make_classifier(iterator_train__collate_fn=default_collate)
    np.testing.assert_allclose(
        fit(net=net, n_snapshots=2).predict_proba(X_DIGITS),
        fit(n_snapshots=2).predict_proba(X_DIGITS),
        rtol=1e-5,
    )


def stop():
    raise KeyboardInterrupt


class StopAfter(Callback):
    """Stops a training as EarlyStopping does: from a helper, after an epoch or within one."""

    def __init__(self, n_epochs, within_epoch=False):
        self.n_epochs = n_epochs
        self.within_epoch = within_epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.n_epochs and not self.within_epoch:
            stop()

    def on_batch_end(self, net, **kwargs):
        if len(net.history) > self.n_epochs and self.within_epoch:
            stop()


EVEN = SnapshotCosine(n_cycles=3)


@pytest.mark.parametrize("within_epoch", [False, True])
def test_a_training_that_a_callback_stops_is_no_ctrl_c(within_epoch):
    net = make_classifier(callbacks=[StopAfter(4, within_epoch)])
    with pytest.warns(UserWarning, match="stopped after 2 of 3 snapshots .*'StopAfter'"):
        ensemble = fit(net=net, schedule=EVEN)
    whole = fit(schedule=EVEN)
    np.testing.assert_array_equal(
        ensemble.estimators_[1].predict_proba(X_DIGITS),
        whole.estimators_[1].predict_proba(X_DIGITS),
    )
    with pytest.raises(RuntimeError, match="fewer than there are weights"):
        fit(net=net, schedule=EVEN, weights=[1, 1, 1])


@pytest.mark.parametrize(
    "stops",
    [
        StopAfter(1),
        EarlyStopping(monitor="train_loss", patience=1, threshold=10, threshold_mode="abs"),
    ],
)
def test_a_training_stopped_before_the_first_snapshot_names_who_and_the_cure(stops):
    net = make_classifier(callbacks=[Freezer("none*"), ("stop", stops)])
    name = type(stops).__name__
    text = rf"stopped after 0 of 2 snapshots \(epoch \d\) by .*callbacks: {name} \('stop'\): .*SGDR"
    with pytest.raises(RuntimeError, match=text):
        fit(net=net, schedule=SnapshotCosine(n_cycles=2))


def test_a_failed_refit_leaves_no_members():
    ensemble = fit(n_snapshots=2)
    with pytest.raises(ValueError, match="Got 1000"):
        ensemble.set_params(n_snapshots=1000).fit(X_DIGITS, Y_DIGITS)
    with pytest.raises(NotFittedError):
        ensemble.predict(X_DIGITS)


def test_hard_votes_respect_the_threshold_of_binary_nets():
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X).astype(np.float32)
    net = NeuralNetBinaryClassifier(
        MLP, module__n_inputs=30, module__n_outputs=1, threshold=0.95, train_split=None, verbose=0
    )
    ensemble = SnapshotEnsemble(net, n_snapshots=3, voting="hard", random_state=0).fit(X, y)
    votes = ensemble.transform(X)
    for column, member in zip(votes.T, ensemble.estimators_, strict=True):
        np.testing.assert_array_equal(column, member.predict(X))
    np.testing.assert_array_equal(ensemble.predict(X), votes.sum(axis=1) >= 2)


class SureOfTheLast(MLP):
    def forward(self, X):
        return super().forward(X) + torch.tensor([0.0] * 9 + [1e4])


def test_a_net_sure_of_a_class_that_is_not_there_gives_no_nan():
    kept = Y_DIGITS < 9
    ensemble = SnapshotEnsemble(make_classifier(SureOfTheLast, lr=1e-6), n_snapshots=2)
    proba = ensemble.fit(X_DIGITS[kept], Y_DIGITS[kept]).predict_proba(X_DIGITS)
    np.testing.assert_allclose(proba, 1 / 9)


class Flat(MLP):
    def forward(self, X):
        return super().forward(X).squeeze(1)


def test_flat_outputs_train_as_columns_do(diabetes):
    X, y = diabetes
    columns, flat = (
        SnapshotEnsembleRegressor(make_regressor(module), n_snapshots=2, random_state=0)
        .fit(X, y)
        .predict(X)
        for module in (MLP, Flat)
    )
    np.testing.assert_array_equal(columns, flat)


def test_regressor_refuses_bad_targets_and_outputs(diabetes):
    X, y = diabetes
    with pytest.raises(ValueError, match="Input y contains NaN"):
        SnapshotEnsembleRegressor(make_regressor()).fit(X, np.where(y > 0, y, np.nan))
    with pytest.raises(ValueError, match=r"have one output, of shape \(n,\) or \(n, 1\)"):
        SnapshotEnsembleRegressor(make_regressor(module__n_outputs=2)).fit(X, y)
    for params in ({"n_snapshots": 0}, {"n_members": 6}, {"weights": [1]}, {"schedule": "cosine"}):
        name = next(iter(params))
        with pytest.raises(
            (TypeError, ValueError),
            match=f"The '{name}' parameter of SnapshotEnsembleRegressor must",
        ):
            SnapshotEnsembleRegressor(make_regressor(), **params).fit(X, y)


def test_a_net_of_doubles_keeps_float64():
    class Double(MLP):
        def __init__(self):
            super().__init__()
            self.double()

        def forward(self, X):
            assert X.dtype == torch.float64
            return super().forward(X)

    X = X_DIGITS.astype(np.float64)
    ensemble = SnapshotEnsemble(make_classifier(Double), n_snapshots=2, random_state=0)
    assert ensemble.fit(X, Y_DIGITS).predict_proba(X).dtype == np.float64


@pytest.mark.parametrize("dtype", [int, np.int8, np.uint8, np.uint64])
def test_any_integer_type_will_do(dtype):
    params = {"n_snapshots": dtype(3), "n_members": dtype(2), "n_runs": dtype(2)}
    fitted = fit(**params, weights=[1, 2, 3, 4])
    expected = fit(n_snapshots=3, n_members=2, n_runs=2, weights=[1, 2, 3, 4])
    np.testing.assert_array_equal(fitted.transform(X_DIGITS), expected.transform(X_DIGITS))


@pytest.mark.parametrize(
    ("weights", "parts"),
    [
        ([1e308] * 3, [1 / 3] * 3),
        ([5e-324, 0, 0], [1, 0, 0]),
        ([5e-324, 1e-323, 5e-324], [0.25, 0.5, 0.25]),
        ([0, 1.7e308, 1.7e308], [0, 0.5, 0.5]),
        ([1e308, 1e-308, 0], [1, 0, 0]),
        (np.array([1, 1, 2], dtype=np.uint8), [0.25, 0.25, 0.5]),
        ([2**1023, 2**1023, 2**1023], [1 / 3] * 3),
    ],
)
@pytest.mark.parametrize("how", ["soft", "hard"])
def test_weights_of_any_size_average(soft, hard, how, weights, parts):
    ensemble = pickle.loads(pickle.dumps({"soft": soft, "hard": hard}[how]))
    expected = voting(ensemble, how, parts)
    ensemble.set_params(weights=weights)
    np.testing.assert_array_equal(ensemble.predict(X_DIGITS), expected.predict(X_DIGITS))
    *_, last = ensemble.staged_predict(X_DIGITS)
    np.testing.assert_array_equal(last, expected.predict(X_DIGITS))
    np.testing.assert_array_equal(
        ensemble.to_voting().predict(X_DIGITS), expected.predict(X_DIGITS)
    )
    if how == "soft":
        proba = expected.predict_proba(X_DIGITS)
        np.testing.assert_allclose(ensemble.predict_proba(X_DIGITS), proba, atol=1e-6)
        uncertainty = ensemble.predict_uncertainty(X_DIGITS)
        assert np.isfinite(uncertainty.total).all()


@pytest.mark.parametrize("weight", [math.inf, 10**400, -1e-320, math.nan])
def test_a_weight_that_is_no_finite_number_from_0_on(soft, weight):
    ensemble = pickle.loads(pickle.dumps(soft)).set_params(weights=[1, 1, weight])
    with pytest.raises(ValueError, match=r"'weights' parameter .* be finite, at least 0"):
        ensemble.predict(X_DIGITS)
