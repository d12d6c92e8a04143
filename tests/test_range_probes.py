"""Probes: candidates trained briefly on the training part, judged on what is held out."""

import math

import numpy as np
import pytest
import torch
from nets import X_DIGITS, Y_DIGITS, Recorder, make_classifier, make_regressor, weights
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split

from sklr import CyclicalLR, LRRangeSearch
from sklr.range_search import _trials
from sklr.range_search._preparation import Task, prepare

PROBED = {"budget": 20, "n_steps": 60, "n_repeats": 2, "random_state": 0}


def search(estimator, X=X_DIGITS, y=Y_DIGITS, **params):
    return LRRangeSearch(estimator, **(PROBED | params)).fit(X, y)


def probe(material, *rounds, lr=0.5):
    state = _trials.Probe(lr, 0, [], None)
    for number, marks in enumerate(rounds):
        state = _trials.train_on(material, state, marks, seed=number)
    return state


def held_out_material(net):
    return prepare(Task("test", net, X_DIGITS, Y_DIGITS))


def test_losses_are_those_of_the_held_out_rows_and_training_goes_on():
    net = make_classifier(train_split=ValidSplit(5, stratified=True))
    material = held_out_material(net)
    state = probe(material, (4, 8), (10, 12))
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
    again = probe(material, (4, 8), (10, 12))
    assert torch.equal(weights(state.net), weights(again.net))


def test_a_rate_that_diverges_ends_at_once():
    state = probe(held_out_material(make_classifier()), (20, 40), lr=1e30)
    assert state.losses[-1] == math.inf
    assert state.steps < 20


def test_verdict_is_lower_where_the_held_out_loss_turns_up():
    falling = _trials.Probe(1.0, 300, list(np.linspace(2, 1, 14)), None)
    assert _trials.verdict(falling, 1_000) == pytest.approx(10**-0.1)
    turning = _trials.Probe(1.0, 280, [2.0, 1.5, 1.2, 1.0, *np.linspace(1.2, 2, 10)], None)
    assert _trials.verdict(turning, 1_000) == pytest.approx(10**-0.1 * math.sqrt(80 / 1_000))


@pytest.mark.parametrize("n_jobs", [2])
def test_search_verifies_and_keeps_its_budget_for_every_n_jobs(n_jobs):
    net = make_classifier(train_split=ValidSplit(5, stratified=True))
    first, second = search(net), search(net, n_jobs=n_jobs)
    for name, column in first.probes_.items():
        np.testing.assert_array_equal(column, second.probes_[name])
    found = first.suggest()
    assert found.lr == second.suggest().lr
    # 400 training rows in batches of 50, for 6 epochs.
    assert found.cost_steps <= 20 * 8 * 6
    assert found.cost_steps == len(first.results_["step"]) + first.probes_["steps"].sum()
    assert len(first.probes_["lr"]) == 8
    assert first.probes_["steps"][0] == first.probes_["steps"].max()
    low, high = found.interval
    assert low <= found.lr <= high
    assert "did best" in found.message


def test_a_schedule_gets_its_peak():
    found = search(make_classifier(callbacks=[("lr", CyclicalLR())])).suggest()
    assert found.lr == found.max_lr == found.params["callbacks__lr__max_lr"]
    assert found.base_lr == found.max_lr / 4


def test_preprocessing_is_fitted_once_and_never_on_held_out_rows():
    Recorder.fitted_on = []
    net = make_classifier(train_split=ValidSplit(5, stratified=True))
    search(make_pipeline(Recorder(), net))
    assert Recorder.fitted_on == [400]


def test_labels_of_any_kind_give_the_same_answer():
    names = np.array([f"digit {label}" for label in range(10)])
    net = make_classifier()
    expected = search(net).suggest().lr
    assert search(net, y=names[Y_DIGITS]).suggest().lr == expected
    assert search(net, y=Y_DIGITS + 3).suggest().lr == expected
    with pytest.raises(ValueError, match="only one class"):
        search(net, y=np.zeros(len(Y_DIGITS), dtype=int))


def test_a_validation_set_of_the_users_own_is_used():
    given = Dataset(X_DIGITS[:100], Y_DIGITS[:100])
    material = held_out_material(make_classifier(train_split=predefined_split(given)))
    assert material.loss.dataset is given
    assert probe(material, (5,)).steps == 5


def test_targets_are_transformed_for_the_probes_too():
    X, y = load_diabetes(return_X_y=True)
    X, y = X.astype(np.float32), y.reshape(-1, 1).astype(np.float32)
    two = np.hstack([y, 2 * y])
    net = make_regressor(module__n_outputs=2, train_split=ValidSplit(5))
    estimator = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), net), transformer=StandardScaler()
    )
    material = prepare(Task("test", estimator, X, two))
    losses = probe(material, (1,), lr=1e-9).losses
    # Of untransformed targets the squared error is in the tens of thousands.
    assert losses[0] < 10


def test_probing_can_be_left_out():
    fitted = search(make_classifier(), probe=False)
    assert fitted.probes_["lr"].size == 0
    assert fitted.suggestion_.cost_steps == len(fitted.results_["step"])


@pytest.mark.parametrize(
    ("name", "value"), [("probe", 1), ("probe", None), ("budget", 0), ("budget", "a")]
)
def test_bad_parameters_raise_in_the_one_form(name, value):
    with pytest.raises((TypeError, ValueError)) as caught:
        search(make_classifier(), **{name: value})
    assert str(caught.value).startswith(f"The '{name}' parameter of LRRangeSearch must ")
    assert str(caught.value).endswith(f"Got {value!r} instead.")


def test_data_too_small_to_hold_any_out_is_said():
    X, y = np.ones((1, 10), np.float32), np.ones((1, 1), np.float32)
    found = search(make_regressor(), X, y).suggestion_
    assert "nothing could be held out" in found.message


def noisy_regression(signal):
    """Targets of which most is noise, for batches of two: no fall of a ramp is clear."""
    X, y = make_friedman1(600, noise=6.0, random_state=0)
    if not signal:
        y = np.random.default_rng(0).permutation(y)
    return scale(X).astype(np.float32), scale(y).reshape(-1, 1).astype(np.float32)


@pytest.mark.parametrize("signal", [True, False])
def test_probes_have_an_answer_where_ramps_are_too_noisy_for_one(signal):
    X, y = noisy_regression(signal)
    net = make_regressor(batch_size=2, max_epochs=8)
    fitted = LRRangeSearch(net, n_repeats=1, random_state=0).fit(X, y)
    assert math.isnan(
        LRRangeSearch(net, n_repeats=1, random_state=0, probe=False).fit(X, y).suggestion_.lr
    )
    assert fitted.probes_["lr"].size == 8
    found = fitted.suggestion_
    if signal:
        assert found.status == "ok"
        assert "the probes learned" in found.message
        assert 1e-3 < found.lr < 0.1
        # One ramp has none.
        assert all(map(math.isnan, found.interval))
    else:
        assert found.status == "flat"
        assert math.isnan(found.lr)
        assert found.params == {}
