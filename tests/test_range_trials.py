"""Trials: candidates are trained briefly on the training rows; validation data decides."""

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import X_DIGITS, Y_DIGITS, Recorder, make_classifier, make_regressor, weights
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split

from sklr import CyclicalLR, LRRangeSearch
from sklr._training._target import find_target
from sklr.range_search import _trials, _verification
from sklr.range_search._preparation import Request, prepare

# A budget for whole trainings, and one for shorter trials.
TRIED = {"budget": 8, "n_steps": 40, "n_repeats": 1, "random_state": 0}
SHORT = {"budget": 4}


def search(estimator, X=X_DIGITS, y=Y_DIGITS, **params):
    return LRRangeSearch(estimator, **(TRIED | params)).fit(X, y)


def prepared_for(net, X=X_DIGITS, y=Y_DIGITS):
    owner = LRRangeSearch(net)
    return prepare(Request(owner, net, find_target(owner, net), X, y), 0)


def trial(prepared, data, *rungs, lr=0.5):
    state = _trials.Trial(lr)
    for number, steps in enumerate(rungs):
        state = _trials.run_trial(prepared, state, steps, number, *data)
    return state


def test_losses_are_those_of_the_validation_rows_and_training_goes_on():
    net = make_classifier(train_split=ValidSplit(5, stratified=True))
    prepared, data = prepared_for(net)
    state = trial(prepared, data, (4, 8), (10, 12))
    assert state.steps == 12
    assert len(state.losses) == 4
    _, valid = net.train_split(Dataset(X_DIGITS, Y_DIGITS), Y_DIGITS)
    rows = valid.indices
    with torch.no_grad():
        output = state.net.module_(torch.from_numpy(X_DIGITS[rows]))
    expected = torch.nn.functional.cross_entropy(output, torch.from_numpy(Y_DIGITS[rows]))
    assert state.losses[-1] == pytest.approx(expected.item(), rel=1e-5)
    used = [batch["lr"] for epoch in state.net.history for batch in epoch["batches"]]
    assert used == [0.5] * 12
    again = trial(prepared, data, (4, 8), (10, 12))
    assert torch.equal(weights(state.net), weights(again.net))


def test_a_rate_that_diverges_ends_at_once_and_stays_as_it_is():
    prepared, data = prepared_for(make_classifier())
    state = trial(prepared, data, (20, 40), lr=1e30)
    assert state.losses[-1] == math.inf
    assert state.steps < 20
    assert _trials.run_trial(prepared, state, (60,), 0, *data) is state


def test_a_trial_travels_without_the_data():
    X, y = np.resize(X_DIGITS, (5_000, 64)), np.resize(Y_DIGITS, 5_000)
    prepared, data = prepared_for(make_classifier(), X, y)
    assert len(pickle.dumps(trial(prepared, data, (5,)))) < X.nbytes / 10


@pytest.mark.parametrize(
    ("losses", "part"),
    [
        pytest.param(np.linspace(2, 1, 14), 1.0, id="falls to the end"),
        pytest.param([2.0, 1.5, 1.2, 1.0, *np.linspace(1.2, 2, 10)], 80 / 1_000, id="turns"),
        pytest.param([2, 1.5, *[1] * 8, *[1.0045] * 4], 1.0, id="rises by its noise"),
        pytest.param([2, 1.5, *[1] * 8, *[1.0055] * 4], 80 / 1_000, id="rises by more"),
    ],
)
def test_rate_is_lower_if_the_validation_loss_turns_up(losses, part):
    tried = _trials.Trial(1.0, steps=280, losses=list(losses))
    found = _verification.horizon(tried, 1_000)
    assert found == pytest.approx(part)


@pytest.mark.parametrize("best_lr", [0.1, 0.12, 0.09])
def test_candidates_of_the_grid_lie_from_two_decades_below_to_a_third_above(best_lr):
    rates = _verification.candidates(best_lr, 8)
    np.testing.assert_allclose(rates, 10 ** (np.arange(-9, -1) / 3), rtol=1e-12)


@given(last=st.integers(10, 5_000))
def test_validations_are_spread_over_the_training(last):
    due = _verification.validation_steps(last)
    assert due == tuple(sorted(set(due)))
    assert (due[0] >= 1, due[-1]) == (True, last)
    assert len(due) == min(14, last)
    assert max(np.diff((0, *due))) <= math.ceil(last / 14)


@pytest.mark.parametrize(
    ("params", "epochs"), [(SHORT, 10), ({"budget": 12}, 3)], ids=["short", "whole"]
)
def test_search_verifies_and_keeps_its_budget_for_every_n_jobs(params, epochs):
    net = make_classifier(train_split=ValidSplit(5, stratified=True), max_epochs=epochs)
    first, second = search(net, **params), search(net, n_jobs=2, **params)
    for name, column in first.trials_.items():
        np.testing.assert_array_equal(column, second.trials_[name])
    found = first.suggest()
    assert found.lr == second.suggest().lr
    # 400 training rows in batches of 50.
    assert found.cost_steps <= params["budget"] * 8 * epochs
    assert found.cost_steps == len(first.results_["step"]) + first.trials_["steps"].sum()
    assert first.trials_["steps"][0] == first.trials_["steps"].max()
    low, high = found.interval
    assert low <= found.lr <= high
    assert "did best" in found.message


def test_a_schedule_gets_its_peak():
    found = search(make_classifier(max_epochs=3, callbacks=[("lr", CyclicalLR())])).suggest()
    assert found.lr == found.max_lr == found.params["callbacks__lr__max_lr"]
    assert found.base_lr == found.max_lr / 4


@pytest.mark.parametrize(
    ("params", "epochs"), [(SHORT, 10), ({"budget": 9}, 5)], ids=["short", "whole"]
)
def test_preprocessing_is_fitted_once_a_split_and_never_on_validation_rows(params, epochs):
    Recorder.fitted_on = []
    net = make_classifier(train_split=ValidSplit(5, stratified=True), max_epochs=epochs)
    fitted = search(make_pipeline(Recorder(), net), **params)
    assert Recorder.fitted_on == [400] * len(set(fitted.trials_["split"]))


def test_labels_of_any_kind_give_the_same_answer():
    names = np.array([f"digit {label}" for label in range(10)])
    net = make_classifier(max_epochs=3)
    expected = search(net).suggest().lr
    assert search(net, y=names[Y_DIGITS]).suggest().lr == expected
    assert search(net, y=Y_DIGITS + 3).suggest().lr == expected
    with pytest.raises(ValueError, match="only one class"):
        search(net, y=np.zeros(len(Y_DIGITS), dtype=int))


def test_a_validation_set_of_the_users_own_is_used():
    given = Dataset(X_DIGITS[:100], Y_DIGITS[:100])
    prepared, data = prepared_for(make_classifier(train_split=predefined_split(given)))
    assert prepared.evaluation.dataset is given
    state = trial(prepared, data, (5,))
    with torch.no_grad():
        output = state.net.module_(torch.from_numpy(X_DIGITS[:100]))
    expected = torch.nn.functional.cross_entropy(output, torch.from_numpy(Y_DIGITS[:100]))
    assert state.losses == [pytest.approx(expected.item(), rel=1e-5)]


def test_targets_are_transformed_for_the_trials_too():
    X, y = load_diabetes(return_X_y=True)
    X, y = X.astype(np.float32), y.reshape(-1, 1).astype(np.float32)
    two = np.hstack([y, 2 * y])
    net = make_regressor(module__n_outputs=2, train_split=ValidSplit(5))
    estimator = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), net), transformer=StandardScaler()
    )
    prepared, data = prepared_for(estimator, X, two)
    losses = trial(prepared, data, (1,), lr=1e-9).losses
    # Of untransformed targets the squared error is in the tens of thousands.
    assert losses[0] < 10


def test_verifying_can_be_left_out():
    fitted = search(make_classifier(), verify=False)
    assert fitted.trials_["lr"].size == 0
    assert fitted.suggestion_.cost_steps == len(fitted.results_["step"])


@pytest.mark.parametrize(("name", "value"), [("verify", 1), ("budget", 0), ("budget", "a")])
def test_bad_parameters_raise_in_the_one_form(name, value):
    with pytest.raises((TypeError, ValueError)) as caught:
        search(make_classifier(), **{name: value})
    assert str(caught.value).startswith(f"The '{name}' parameter of LRRangeSearch must ")
    assert str(caught.value).endswith(f"Got {value!r} instead.")


def test_data_too_small_to_hold_any_out_is_said():
    X, y = np.ones((1, 10), np.float32), np.ones((1, 1), np.float32)
    found = search(make_regressor(), X, y).suggestion_
    assert "there is no validation data" in found.message


def noisy_regression(signal):
    """Targets of which most is noise, for batches of two: no fall of a ramp is clear."""
    X, y = make_friedman1(300, noise=4.0, random_state=0)
    if not signal:
        y = np.random.default_rng(0).permutation(y)
    return scale(X).astype(np.float32), scale(y).reshape(-1, 1).astype(np.float32)


@pytest.mark.parametrize("signal", [True, False])
def test_trials_have_an_answer_if_ramps_are_too_noisy_for_one(signal):
    X, y = noisy_regression(signal)
    net = make_regressor(batch_size=2, max_epochs=4)
    params = {"n_repeats": 1, "random_state": 0, "budget": 2.5}
    fitted = LRRangeSearch(net, **params).fit(X, y)
    assert math.isnan(LRRangeSearch(net, verify=False, **params).fit(X, y).suggestion_.lr)
    assert fitted.trials_["lr"].size > 3
    found = fitted.suggestion_
    if signal:
        assert found.status == "ok"
        assert "the trials learned" in found.message
        assert 1e-3 < found.lr < 0.1
        assert found.verified
        low, high = found.interval
        assert low <= found.lr <= high
    else:
        assert found.status == "flat"
        assert math.isnan(found.lr)
        assert found.params == {}
