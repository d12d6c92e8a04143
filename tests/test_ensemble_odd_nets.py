"""Nets and data that are unlike most."""

import copy
import pickle
import signal
import tracemalloc
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier, make_regressor, weights
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, log_loss
from sklearn.preprocessing import scale
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback, InputShapeSetter, LRScheduler
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn

from sklr import SGDR, SnapshotCosine, SnapshotEnsemble, SnapshotEnsembleRegressor
from sklr._checkpoint._files import CheckpointError
from sklr.ensemble._diversity import diversity

WORDS = np.array(list("jihgfedcba"))[Y_DIGITS]
CYCLES = SnapshotCosine(n_cycles=2)


def fit(net, X=X_DIGITS, y=Y_DIGITS, **params):
    params = {"schedule": CYCLES, "random_state": 0} | params
    return SnapshotEnsemble(net, **params).fit(X, y)


def of_class(cls, like, **params):
    defaults = like.get_params(deep=False)
    defaults = {name: value for name, value in defaults.items() if not name.startswith("_")}
    return cls(**(defaults | params))


class TwoModules(NeuralNetClassifier):
    def initialize_module(self):
        super().initialize_module()
        self.head_ = nn.Linear(10, 10)
        return self


def test_a_net_of_several_modules_is_refused():
    with pytest.raises(TypeError, match=r"'module' parameter of TwoModules .* Got module_, head_"):
        fit(of_class(TwoModules, make_classifier()))


def test_a_torch_data_set_has_labels_of_its_own():
    ensemble = fit(make_classifier(), Dataset(X_DIGITS, Y_DIGITS))
    arrays = fit(make_classifier(), X_DIGITS)
    np.testing.assert_allclose(
        ensemble.predict_proba(Dataset(X_DIGITS)), arrays.predict_proba(X_DIGITS), rtol=1e-5
    )
    for labels in (WORDS, Y_DIGITS + 1):
        with pytest.raises(ValueError, match=r"'y' parameter of SnapshotEnsemble must be 0, 1, .*"):
            fit(make_classifier(), Dataset(X_DIGITS, Y_DIGITS), labels)


def test_a_torch_data_set_is_held_out_from_as_arrays_are():
    split = ValidSplit(5, stratified=True)
    net = make_classifier(train_split=split, max_epochs=12)
    arrays = fit(net, weights="greedy")
    data_set = fit(net, Dataset(X_DIGITS, Y_DIGITS), weights="greedy")
    np.testing.assert_allclose(data_set.member_scores_, arrays.member_scores_)
    np.testing.assert_allclose(data_set.weights_, arrays.weights_)


class Pictures(torch.utils.data.Dataset):
    """One of the user's own, without attributes that skorch knows."""

    n_read = 0

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        Pictures.n_read += 1
        return X_DIGITS[self.rows[i]], Y_DIGITS[self.rows[i]]


def test_a_data_set_brings_its_labels():
    rows = np.arange(500)
    for net in (
        make_classifier(train_split=predefined_split(Pictures(rows[:100])), max_epochs=12),
        make_classifier(train_split=ValidSplit(5, stratified=True), max_epochs=12),
    ):
        with_y = fit(net, Pictures(rows), Y_DIGITS, weights="greedy")
        Pictures.n_read = 0
        without = fit(net, Pictures(rows), None, weights="greedy")
        np.testing.assert_array_equal(
            without.predict_proba(X_DIGITS), with_y.predict_proba(X_DIGITS)
        )
        np.testing.assert_array_equal(without.member_scores_, with_y.member_scores_)
        assert list(without.classes_) == list(range(10))
    with pytest.raises(ValueError, match="requires y to be passed"):
        fit(make_classifier(), Dataset(X_DIGITS), None)
    X, y = (scale(part).astype(np.float32) for part in load_diabetes(return_X_y=True))
    regressor = SnapshotEnsembleRegressor(make_regressor(), schedule=CYCLES, random_state=0)
    column = Dataset(X, y.reshape(-1, 1))
    with pytest.warns(UserWarning, match="column-vector"):
        by_itself = clone(regressor).fit(column).predict(X)
    np.testing.assert_array_equal(by_itself, clone(regressor).fit(column, y).predict(X))


def test_members_hold_no_validation_data():
    big = np.random.default_rng(0).random((2_000, 64), dtype=np.float32)
    split = predefined_split(Dataset(big, np.zeros(2_000, int)))
    ensemble = fit(make_classifier(train_split=split), n_runs=2)
    assert all(member.train_split is None for member in ensemble.estimators_)
    ensemble.set_params(estimator=None)
    assert len(pickle.dumps(ensemble)) < big.nbytes / 2
    # The user's own keeps its data, which is not copied.
    assert split.keywords["valid_ds"].X is big


def test_the_nets_own_classes_keep_their_places():
    kept = Y_DIGITS != 3
    weight = torch.tensor([1.0] * 9 + [50.0])
    net = make_classifier(criterion__weight=weight, classes=list(range(10)))
    ensemble = fit(net, X_DIGITS[kept], Y_DIGITS[kept], n_members=1)
    assert list(ensemble.classes_) == list(range(10))
    proba = ensemble.predict_proba(X_DIGITS)
    assert proba.shape == (500, 10)
    nines = (ensemble.predict(X_DIGITS[kept]) == 9).mean()
    # Without classes, weights for more labels than there are leave each its place.
    net = clone(net).set_params(classes=None)
    by_place = fit(net, X_DIGITS[kept], Y_DIGITS[kept], n_members=1)
    assert list(by_place.classes_) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    expected = proba[:, [0, 1, 2, 4, 5, 6, 7, 8, 9]]
    expected = expected / expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(by_place.predict_proba(X_DIGITS), expected, rtol=1e-4, atol=1e-7)
    assert nines > 2 * (Y_DIGITS[kept] == 9).mean()
    voting = by_place.to_voting()
    np.testing.assert_array_equal(voting.predict(X_DIGITS), by_place.predict(X_DIGITS))


class Running(MLP):
    """Has state that its state_dict leaves out."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(64), persistent=False)
        self.shift = 0.0

    def forward(self, X):
        if self.training:
            self.scale = 0.9 * self.scale + 0.1 * (1 + X.std(0))
            self.shift = 0.9 * self.shift + 0.1 * float(X.mean())
        return super().forward((X - self.shift) / self.scale)


class Keeps(Callback):
    kept = ()

    def on_train_end(self, net, **kwargs):
        Keeps.kept = [copy.deepcopy(net.module_).eval()]


def test_state_outside_the_state_dict_is_kept():
    ensemble = fit(make_classifier(Running, callbacks=[Keeps()]), n_members=1)
    with torch.no_grad():
        expected = Keeps.kept[0](torch.from_numpy(X_DIGITS)).softmax(1).numpy()
    np.testing.assert_allclose(ensemble.predict_proba(X_DIGITS), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("unit", ["D", "s"])
def test_times_are_no_targets(unit):
    y = np.arange(442).astype(f"datetime64[{unit}]")
    X = load_diabetes().data
    with pytest.raises(TypeError, match=r"'y' parameter .* must hold numbers"):
        SnapshotEnsembleRegressor(make_regressor()).fit(X, y)


@pytest.mark.parametrize(
    "criterion",
    [
        {"criterion__weight": torch.linspace(1, 20, 10)},
        {"criterion__reduction": "sum", "lr": 0.01},
        {"criterion__label_smoothing": 0.1},
        {"criterion__ignore_index": 3},
    ],
    ids=lambda criterion: next(iter(criterion)).removeprefix("criterion__"),
)
def test_equal_weights_leave_the_criterion_what_it_is(criterion):
    net = make_classifier(batch_size=-1, **criterion)
    without = fit(net)
    equal = SnapshotEnsemble(net, schedule=CYCLES, random_state=0)
    equal.fit(X_DIGITS, Y_DIGITS, sample_weight=np.full(500, 3.0))
    np.testing.assert_allclose(
        equal.predict_proba(X_DIGITS), without.predict_proba(X_DIGITS), rtol=1e-3, atol=1e-5
    )


@pytest.mark.filterwarnings("ignore:The last . of . members")
def test_what_is_loaded_is_averaged_as_it_was(tmp_path):
    net = make_classifier(train_split=ValidSplit(5, stratified=True))
    greedy = fit(net, weights="greedy")
    greedy.save(tmp_path)
    assert clone(greedy).load(tmp_path).weights_ == pytest.approx(greedy.weights_)
    for other in ({"weights": None}, {"weights": [1, 2]}, {"combine": "parameters"}):
        with pytest.raises(CheckpointError, match="holds an ensemble with weights='greedy'"):
            clone(greedy).set_params(**other).load(tmp_path)
    weighted = fit(net, weights=[1, 2])
    weighted.save(tmp_path)
    assert clone(weighted).load(tmp_path).weights.__class__ is list


def test_weights_that_do_not_fit_the_members_are_named_in_prediction():
    ensemble = fit(make_classifier()).set_params(weights=[1, 2, 3])
    with pytest.raises(ValueError, match=r"'weights' parameter .* a sequence of 2 numbers"):
        ensemble.predict(X_DIGITS)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "transform", "to_module"])
def test_before_fit_with_learned_weights(method):
    ensemble = SnapshotEnsemble(make_classifier(train_split=ValidSplit(5)), weights="greedy")
    with pytest.raises(NotFittedError):
        getattr(ensemble, method)(*([] if method == "to_module" else [X_DIGITS]))


def test_runs_that_hold_out_different_samples_judge_no_members():
    net = make_classifier(train_split=ValidSplit(0.2))
    ensemble = fit(net, n_runs=2)
    assert ensemble.member_scores_ is None
    assert ensemble.diversity_ is None
    given = make_classifier(train_split=predefined_split(Dataset(X_DIGITS[:50], Y_DIGITS[:50])))
    assert fit(given.set_params(max_epochs=12), n_runs=2, weights="greedy").weights_.sum() == 1


class Counting(MLP):
    n_batches = 0

    def forward(self, X):
        Counting.n_batches += self.training
        return super().forward(X)


def test_greedy_weights_of_different_splits_are_refused_before_training():
    Counting.n_batches = 0
    net = make_classifier(Counting, train_split=ValidSplit(0.2))
    with pytest.raises(ValueError, match=r"'weights' parameter .* validate on different samples"):
        fit(net, n_runs=2, weights="greedy")
    assert Counting.n_batches == 0


def test_runs_of_a_module_that_is_an_instance_are_told_to_begin_alike():
    with pytest.warns(UserWarning, match="All runs begin with the same weights") as seen:
        fit(make_classifier(MLP()), n_runs=2)
    # It points at the user's line.
    assert seen[0].filename == __file__


def test_losses_that_are_no_longer_finite_are_reported():
    X, y = (scale(part) for part in load_diabetes(return_X_y=True))
    # The weights stay finite far beyond the losses.
    net = NeuralNetRegressor(nn.Linear(10, 1), lr=1.0, max_epochs=8, train_split=None, verbose=0)
    ensemble = SnapshotEnsembleRegressor(net, schedule=SGDR(cycle_length=1), random_state=0)
    with pytest.warns(UserWarning, match="weights or losses are not finite") as seen:
        ensemble.fit(X, y * 1e16)
    losses = ensemble.history_[:, "train_loss"]
    assert len(ensemble.estimators_) == np.isfinite(losses).sum()
    assert seen[0].filename == __file__


class Masked(MLP):
    """Has a constant that is not finite, as a causal mask."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.tensor([-torch.inf, 0.0]))


def test_constants_may_be_infinite():
    assert len(fit(make_classifier(Masked)).estimators_) == 2


def test_a_binary_nets_threshold_holds_for_soft_votes():
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X).astype(np.float32)

    class Single(MLP):
        def forward(self, X):
            return super().forward(X).squeeze(1)

    net = NeuralNetBinaryClassifier(
        Single, module__n_inputs=30, module__n_outputs=1, train_split=None, verbose=0, lr=0.1
    )
    words = np.array(["bad", "good"])[y]
    one = fit(net.set_params(threshold=0.9), X, words, n_members=1)
    (member,) = one.estimators_
    expected = np.array(["bad", "good"])[member.predict(X)]
    np.testing.assert_array_equal(one.predict(X), expected)
    np.testing.assert_array_equal(next(iter(one.staged_predict(X))), expected)
    assert not np.array_equal(
        expected, clone(one).set_params(estimator__threshold=0.5).fit(X, words).predict(X)
    )


class Exponential(NeuralNetRegressor):
    def predict(self, X):
        return np.exp(super().predict(X))


class Zero(NeuralNetClassifier):
    def predict(self, X):
        return np.zeros(len(X), int)


def test_predictions_of_a_nets_own_are_those_that_count():
    X, y = (scale(part).astype(np.float32) for part in load_diabetes(return_X_y=True))
    net = of_class(Exponential, make_regressor())
    ensemble = SnapshotEnsembleRegressor(net, schedule=CYCLES, random_state=0).fit(X, y)
    expected = np.mean([np.exp(m.predict_proba(X)).ravel() for m in ensemble.estimators_], axis=0)
    np.testing.assert_allclose(ensemble.predict(X), expected, rtol=1e-5)
    np.testing.assert_allclose(ensemble.to_voting().predict(X), expected, rtol=1e-5)
    hard = fit(of_class(Zero, make_classifier()), voting="hard")
    assert set(hard.predict(X_DIGITS)) == {0}


class LogitLoss(nn.Module):
    """A loss that skorch does not know to take logits."""

    def __init__(self):
        super().__init__()
        self.loss = nn.CrossEntropyLoss()

    def forward(self, output, target):
        return self.loss(output, target)


def test_outputs_that_are_no_probabilities_are_told():
    net = make_classifier(criterion=LogitLoss)
    with pytest.warns(UserWarning, match=r"gives no probabilities.* predict_nonlinearity") as seen:
        fit(net)
    assert seen[0].filename.endswith("odd_nets.py")
    fit(net.set_params(predict_nonlinearity=partial(torch.softmax, dim=-1)))


def test_surplus_outputs_are_reported(capsys):
    fit(make_classifier(module__n_outputs=12), verbose=1)
    assert "has 12 outputs for 10 classes: the others are dropped" in capsys.readouterr().out


class Frozen(nn.Module):
    """Keeps the statistics of its BatchNorm, as in fine-tuning; names its layer's input."""

    def __init__(self):
        super().__init__()
        self.norm, self.out = nn.BatchNorm1d(64), nn.Linear(64, 10)
        self.norm.running_mean.fill_(0.25)

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, X):
        return self.out(self.norm(input=X))


class Named(Frozen):
    """The same, but it trains its statistics."""

    def train(self, mode=True):
        return nn.Module.train(self, mode)


def test_averaged_parameters_keep_frozen_statistics():
    params = {"combine": "parameters", "schedule": SGDR(cycle_length=3)}
    (net,) = fit(make_classifier(Frozen, lr=0.01), **params).estimators_
    assert (net.module_.norm.running_mean == 0.25).all()
    (net,) = fit(make_classifier(Named, lr=0.01), **params).estimators_
    np.testing.assert_allclose(net.module_.norm.running_mean, X_DIGITS.mean(axis=0), atol=1e-6)


class Untracked(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(64, track_running_stats=False), nn.Linear(64, 10)
        )

    def forward(self, X):
        return self.layers(X)


def test_norms_without_statistics_see_the_nets_own_batches():
    ensemble = fit(make_classifier(Untracked), n_members=1)
    np.testing.assert_array_equal(
        ensemble.predict_proba(X_DIGITS), ensemble.estimators_[0].predict_proba(X_DIGITS)
    )


def test_a_module_whose_inputs_are_counted_when_training_begins(tmp_path):
    net = make_classifier(
        nn.Linear,
        module__in_features=1,
        module__out_features=10,
        callbacks=[InputShapeSetter(param_name="in_features")],
    )
    ensemble = fit(net)
    wide = fit(make_classifier(nn.Linear, module__in_features=64, module__out_features=10))
    assert ensemble.score(X_DIGITS, Y_DIGITS) == pytest.approx(
        wide.score(X_DIGITS, Y_DIGITS), abs=0.05
    )
    ensemble.save(tmp_path)
    again = clone(ensemble).load(tmp_path)
    np.testing.assert_allclose(
        again.predict_proba(X_DIGITS), ensemble.predict_proba(X_DIGITS), rtol=1e-5, atol=1e-8
    )


class Double(MLP):
    def __init__(self):
        super().__init__()
        self.double()


@pytest.mark.parametrize("module", [MLP, Double])
def test_any_dtype_in_fit_and_in_prediction(module):
    bits = X_DIGITS > 0.5
    for dtype in (np.float16, np.float32, np.float64, np.int64, bool):
        ensemble = fit(make_classifier(module), bits.astype(dtype))
        expected = ensemble.predict_proba(bits.astype(dtype))
        for other in (np.float16, np.float64, np.int32):
            np.testing.assert_array_equal(ensemble.predict_proba(bits.astype(other)), expected)


@pytest.mark.parametrize(
    "X",
    [torch.zeros(500, 63), np.zeros((500, 65)), np.zeros((500, 65), int)],
    ids=["tensor", "array", "integers"],
)
def test_a_wrong_number_of_features_is_told_before_training(X):
    Counting.n_batches = 0
    with pytest.raises(ValueError, match=r"cannot predict .*shape \(500, 6\d\).*multiplied"):
        fit(make_classifier(Counting), X)
    assert Counting.n_batches == 0


def test_integers_in_a_tensor_become_floats():
    whole = (X_DIGITS * 16).astype(np.int64)
    tensor = fit(make_classifier(lr=0.02), torch.from_numpy(whole))
    floats = fit(make_classifier(lr=0.02), whole.astype(np.float32))
    np.testing.assert_array_equal(
        tensor.predict_proba(torch.from_numpy(whole)), floats.predict_proba(whole)
    )


class Brain(MLP):
    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.bfloat16()


@pytest.mark.parametrize("split", [None, ValidSplit(5, stratified=True)])
def test_bfloat16(split):
    ensemble = fit(make_classifier(Brain, train_split=split), weights=[1, 2])
    outputs = [
        member.module_(torch.from_numpy(X_DIGITS).bfloat16()).softmax(1).float().detach().numpy()
        for member in ensemble.estimators_
    ]
    proba = ensemble.predict_proba(X_DIGITS)
    np.testing.assert_allclose(proba, np.average(outputs, axis=0, weights=[1, 2]), atol=0.01)
    module = ensemble.to_module()
    out = module(torch.from_numpy(X_DIGITS).bfloat16())
    assert out.dtype == torch.bfloat16
    np.testing.assert_allclose(out.float(), proba, atol=0.02)
    alone = ensemble.estimators_[0].predict_proba(torch.from_numpy(X_DIGITS))
    np.testing.assert_allclose(alone, outputs[0], atol=0.01)


def test_a_regressor_in_bfloat16():
    X, y = (scale(part) for part in load_diabetes(return_X_y=True))
    for dtype in (np.float32, np.float64):
        fitted = [
            SnapshotEnsembleRegressor(make_regressor(module), schedule=CYCLES, random_state=0)
            .fit(X.astype(dtype), y)
            .predict(X.astype(dtype))
            for module in (MLP, Brain)
        ]
        assert np.corrcoef(*fitted)[0, 1] > 0.99


class Halves(MLP):
    def forward(self, left, right):
        return super().forward(torch.cat([left, right], dim=1))


def test_samples_of_a_dict_are_weighted():
    X = {"left": X_DIGITS[:, :32], "right": X_DIGITS[:, 32:]}
    few = np.repeat([1.0, 0.0], 250)
    ensemble = SnapshotEnsemble(make_classifier(Halves), schedule=CYCLES, random_state=0)
    ensemble.fit(X, Y_DIGITS, sample_weight=few)
    array = SnapshotEnsemble(make_classifier(), schedule=CYCLES, random_state=0)
    array.fit(X_DIGITS, Y_DIGITS, sample_weight=few)
    np.testing.assert_allclose(weights(ensemble.estimators_[0]), weights(array.estimators_[0]))


@pytest.mark.filterwarnings("ignore:The averaged weights have")
def test_nothing_of_an_earlier_fit_stays(tmp_path):
    frame = pd.DataFrame(X_DIGITS).add_prefix("pixel ")
    ensemble = fit(make_classifier(), frame, combine="parameters")
    assert {"feature_names_in_", "loss_barrier_"} <= set(vars(ensemble))
    ensemble.set_params(combine="predictions").fit(torch.from_numpy(X_DIGITS), Y_DIGITS)
    assert not {"feature_names_in_", "loss_barrier_", "n_features_in_"} & set(vars(ensemble))
    ensemble.save(tmp_path)
    named = fit(make_classifier(), frame).load(tmp_path)
    assert not hasattr(named, "feature_names_in_")


@pytest.mark.parametrize(
    "X",
    [
        pd.DataFrame(X_DIGITS > 0.5).add_prefix("pixel "),
        pd.DataFrame((X_DIGITS * 16).astype(int)).astype("Int64").add_prefix("pixel "),
        sparse.dok_array(X_DIGITS),
        X_DIGITS.tolist(),
    ],
    ids=["bool", "Int64", "dok", "list"],
)
def test_members_of_a_votingclassifier_take_what_the_ensemble_takes(X):
    ensemble = fit(make_classifier(), X, WORDS)
    np.testing.assert_array_equal(ensemble.to_voting().predict(X), ensemble.predict(X))


def test_a_schedule_of_skorchs_is_refused_where_the_nets_own_is_to_be_used():
    net = make_classifier(callbacks=[("lr", LRScheduler("StepLR", step_size=2))])
    with pytest.raises(TypeError, match=r"'callbacks' parameter .* in place of skorch's LRSched"):
        fit(net, schedule=None)
    # One that is given takes its place.
    assert len(fit(net).estimators_) == 2


def test_no_epochs_at_all_are_refused():
    with pytest.raises(ValueError, match="'max_epochs' parameter of NeuralNetClassifier must be"):
        fit(make_classifier(max_epochs=0))


def test_other_estimators_cannot_be_loaded_into(tmp_path):
    fit(make_classifier()).save(tmp_path)
    with pytest.raises(TypeError, match="be a classifier net; use SnapshotEnsembleRegressor"):
        SnapshotEnsemble(make_regressor()).load(tmp_path)


def test_a_finished_fit_is_checked_too(tmp_path):
    ensemble = SnapshotEnsemble(
        make_classifier(), schedule=CYCLES, checkpoint_dir=tmp_path, random_state=0
    )
    whole = clone(ensemble).fit(X_DIGITS, Y_DIGITS)
    for other, text in (({"weights": [1, 2, 3]}, "of 2 numbers"), ({"n_members": 3}, "at most 2")):
        with pytest.raises(ValueError, match=text):
            clone(ensemble).set_params(**other).fit(X_DIGITS, Y_DIGITS)
    again = clone(ensemble).fit(X_DIGITS, Y_DIGITS)
    np.testing.assert_array_equal(again.transform(X_DIGITS), whole.transform(X_DIGITS))


class Signals(Callback):
    """Sends the user's Ctrl-C while a method of a callback runs."""

    n_epochs = 0

    def __init__(self, method):
        self.method = method

    def _send(self, net, method):
        if method == self.method and len(net.history) == 3:
            signal.raise_signal(signal.SIGINT)

    def on_epoch_begin(self, net, **kwargs):
        Signals.n_epochs += 1
        self._send(net, "on_epoch_begin")

    def on_batch_end(self, net, **kwargs):
        self._send(net, "on_batch_end")

    def on_grad_computed(self, net, *args, **kwargs):
        self._send(net, "on_grad_computed")

    def on_epoch_end(self, net, **kwargs):
        self._send(net, "on_epoch_end")


@pytest.mark.parametrize("durable", [False, True], ids=["", "durable"])
@pytest.mark.parametrize(
    "method", ["on_epoch_begin", "on_batch_end", "on_grad_computed", "on_epoch_end"]
)
def test_ctrl_c_reaches_the_user_wherever_it_comes(method, durable, tmp_path):
    ensemble = SnapshotEnsemble(
        make_classifier(callbacks=[Signals(method)]),
        schedule=SGDR(cycle_length=1),
        checkpoint_dir=tmp_path if durable else None,
        n_runs=2,
        random_state=0,
    )
    Signals.n_epochs = 0
    with pytest.raises(KeyboardInterrupt):
        ensemble.fit(X_DIGITS, Y_DIGITS)
    # The second run does not begin.
    assert 3 <= Signals.n_epochs <= 4


class Doubling(NeuralNetClassifier):
    """Fits in a way of its own."""

    def fit(self, X, y, **fit_params):
        return super().fit(X * 2, y, **fit_params)


def test_a_fit_of_the_nets_own_is_kept():
    own = fit(of_class(Doubling, make_classifier()))
    doubled = fit(make_classifier(), X_DIGITS * 2)
    for one, other in zip(own.estimators_, doubled.estimators_, strict=True):
        np.testing.assert_array_equal(weights(one), weights(other))


def test_disagreement_of_many_members_needs_little_memory():
    outputs = np.random.default_rng(0).dirichlet(np.ones(3), (20, 5_000)).astype(np.float32)
    tracemalloc.start()
    found = diversity(outputs, outputs.argmax(axis=2))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * outputs.nbytes
    labels = outputs.argmax(axis=2)
    assert found.disagreement[3, 7] == pytest.approx(1 - accuracy_score(labels[3], labels[7]))


@pytest.mark.parametrize("weights", [None, [1, 2]])
def test_probabilities_keep_the_nets_dtype_and_sum_to_one_in_it(weights):
    proba = fit(make_classifier(), weights=weights).predict_proba(X_DIGITS)
    assert proba.dtype == np.float32
    # Warns where they do not.
    assert log_loss(Y_DIGITS, proba) < 2
    proba = fit(make_classifier(Double), weights=weights).predict_proba(X_DIGITS)
    assert proba.dtype == np.float64
