"""The range is widened where a phase was not seen, within the budget, and that is said."""

import math

import numpy as np
import pytest
import torch
from nets import X_DIGITS, Y_DIGITS, Still, make_classifier
from skorch import NeuralNetRegressor
from torch import nn

from sklr import LRFinder, LRRangeSearch
from sklr._curves import CurveSummary
from sklr.range_search import _budget
from sklr.range_search._preparation import Prepared
from sklr.range_search._ramps import Ramp, run_test, wider_range
from sklr.range_search._request import Settings

PARAMS = {"n_repeats": 2, "n_steps": 60, "random_state": 0, "verify": False, "budget": 30}


def search(estimator=None, **params):
    estimator = make_classifier() if estimator is None else estimator
    return LRRangeSearch(estimator, **(PARAMS | params)).fit(X_DIGITS, Y_DIGITS)


def summary(status, descent_lr=1e-3, divergence_lr=math.nan):
    return CurveSummary(status, "", descent_lr=descent_lr, divergence_lr=divergence_lr)


@pytest.mark.parametrize(
    ("scale", "found", "expected"),
    [
        pytest.param("log", summary("ok"), None, id="all seen"),
        pytest.param("log", summary("no_divergence"), (1e-4, 100), id="no divergence"),
        pytest.param("linear", summary("no_divergence"), (1e-4, 10), id="no divergence, linear"),
        pytest.param("log", summary("flat"), (1e-4, 100), id="flat"),
        pytest.param("log", summary("diverged_at_start"), (1e-7, 1), id="diverged at start"),
        pytest.param(
            "linear", summary("diverged_at_start"), (1e-4, 0.01), id="diverged at start, linear"
        ),
        pytest.param("log", summary("ok", math.nan), (1e-6, 1), id="no plateau"),
        pytest.param("linear", summary("ok", math.nan), (0, 1), id="no plateau, linear"),
        pytest.param("log", summary("failed"), None, id="failed"),
        pytest.param("log", summary("flat", divergence_lr=0.1), None, id="flat, then diverged"),
        pytest.param(
            "log", summary("flat", divergence_lr=5e-3), (1e-7, 1), id="flat, diverged soon"
        ),
    ],
)
def test_where_the_phase_that_was_not_seen_may_be(scale, found, expected):
    wider = wider_range(1e-4, 1.0, scale, found)
    assert wider == (None if expected is None else pytest.approx(expected))


def test_a_range_without_end_is_not_extended_for_ever():
    assert wider_range(1e-4, 1e5, "log", summary("flat")) is None
    assert wider_range(0.0, 1.0, "linear", summary("ok", math.nan)) is None
    assert wider_range(0.05, 1.0, "linear", summary("diverged_at_start")) is None


def test_a_range_that_ends_too_low_is_extended_upwards():
    plain = search(max_lr=0.3, extend=False)
    assert plain.suggestion_.status == "no_divergence"
    assert set(plain.results_["round"]) == {0}
    found = search(max_lr=0.3)
    assert found.suggestion_.status == "ok"
    assert "extended to [1e-07, 30]" in found.suggestion_.message
    assert set(found.results_["round"]) == {0, 1}
    last = found.results_["round"] == 1
    assert found.results_["lr"][last].max() > 0.3 >= found.results_["lr"][~last].max()
    assert found.suggestion_.cost_steps == len(found.results_["step"])
    # An end of the range is never the answer.
    assert found.suggestion_.lr != 0.3


class Level(nn.Module):
    """Learns the mean of its targets, from 0, and diverges at every rate above 1.

    A step multiplies the distance to the mean by 1 - 2 * lr, whatever the random state.
    """

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.zeros(1))

    def forward(self, X):
        return self.level.expand(len(X), 1)


def test_a_range_that_begins_too_high_is_extended_downwards():
    net = NeuralNetRegressor(Level, max_epochs=6, batch_size=50, train_split=None, verbose=0)
    params = PARAMS | {"min_lr": 1.1, "max_lr": 11.0}
    targets = Y_DIGITS.astype(np.float32).reshape(-1, 1)
    found = LRRangeSearch(net, **params).fit(X_DIGITS, targets)
    assert found.suggestion_.status == "ok"
    assert "extended to [" in found.suggestion_.message
    assert found.suggestion_.lr < 1
    alone = LRRangeSearch(net, extend=False, **params).fit(X_DIGITS, targets).suggestion_
    assert alone.status == "diverged_at_start"
    assert math.isnan(alone.lr)


def test_the_budget_bounds_the_extensions():
    # 60 steps in all: two ramps, and nothing for a third.
    found = search(max_lr=0.3, budget=2, n_repeats=2)
    assert found.suggestion_.status == "no_divergence"
    assert found.suggestion_.cost_steps == 120
    # One ramp of the wider range can be paid for.
    found = search(max_lr=0.3, budget=3.5, n_repeats=2)
    assert np.bincount(found.results_["round"]).tolist()[0] == 120
    assert set(found.results_["repeat"][found.results_["round"] == 1]) == {0}
    assert found.suggestion_.cost_steps <= 210


def test_three_extensions_at_most_and_flat_stays_flat():
    found = search(make_classifier(module=Still), max_lr=1e-3, budget=100)
    assert found.suggestion_.status == "flat"
    assert found.results_["round"].max() == 3


def test_extensions_are_the_same_for_every_n_jobs():
    first, second = search(max_lr=0.3), search(max_lr=0.3, n_jobs=2)
    for name, column in first.results_.items():
        np.testing.assert_array_equal(column, second.results_[name])


class Scripted:
    """Gives prepared curves in place of ramps."""

    def __init__(self, *rounds):
        self.rounds = list(rounds)

    def run(self, name, function, arguments):
        losses = self.rounds.pop(0)
        finder = arguments[0][1]
        lrs = finder.ramp()(np.arange(len(losses)))
        return [Ramp(list(lrs), list(losses), None) for _ in arguments]


PREPARED = Prepared(None, {}, None, None, None, None, False, {}, 0.1, None)


def test_an_answer_is_kept_where_a_wider_range_has_none():
    falling, flat = np.linspace(2.3, 0.5, 60), np.full(60, 2.3)
    tasks = Scripted(falling, flat, flat, flat)
    finder = LRFinder(max_lr=1.0, n_steps=60)
    budget = _budget.share(None, 1.5, 1, 60, False)
    settings = Settings(finder, 1, 1.5, extend=True, verify=False, verbose=False)
    test = run_test(tasks, PREPARED, (), settings, budget, iter(range(9)))
    assert test.summary.status == "no_divergence"
    assert test.chosen == 0
    assert "A wider range had no answer." in test.message
    assert test.lrs.max() == pytest.approx(1.0)
    assert test.steps == 240
    assert len(test.rounds) == 4
