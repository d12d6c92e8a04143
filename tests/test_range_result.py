"""From curve and trials to the suggestion: in closed form."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from sklr._curves import CurveSummary
from sklr.range_search import _result, _verification
from sklr.range_search._estimate import Estimate
from sklr.range_search._trials import Trial
from sklr.range_search._verification import Verification

FALLING = [2.0, 1.8, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5]
TURNING = [2.0, 1.5, 1.2, 1.0, *np.linspace(1.2, 2, 10)]


def around(lr):
    return Estimate(lr, (lr / 2, lr * 3), (lr / 1.5, lr * 2))


def verified(trials=None, status="ok", **found):
    summary = CurveSummary(status, "It fell.", "Raise max_lr.", lr=0.5, best_lr=5.0)
    trials = [Trial(1.0, steps=100, losses=[0.5])] if trials is None else trials
    return _result._verified(summary, Verification(trials, **found))


@pytest.mark.parametrize(
    ("constant", "peak", "expected"),
    [
        pytest.param(0.1, 0.3, (0.1, 0.3), id="each by its own trials"),
        pytest.param(0.3, 0.1, (0.3, 0.3), id="a cycle bears no less than a rate that is held"),
        pytest.param(None, 0.3, (0.3, 0.3), id="with a schedule there is no constant rate"),
    ],
)
def test_constant_rate_and_peak_of_a_cycle(constant, peak, expected):
    found = verified(constant=constant and around(constant), peak=around(peak))
    assert (found.lr, found.max_lr) == expected
    assert found.base_lr == found.max_lr / 4


def test_what_was_tried_is_said():
    trials = [Trial(lr, split, steps=9, losses=[lr]) for lr in (0.1, 1, 10) for split in (0, 1)]
    found = verified(trials, are_whole=True, n_splits=2, peak=around(0.1))
    words = "It fell. Whole trainings at 3 rates, the best on 2 splits, did best around 0.1."
    assert found.finding == words
    assert verified(trials[:1], peak=around(0.1)).finding == (
        "It fell. Of 1 rates tried, 0.1 did best."
    )


def test_whole_trainings_need_no_wider_range_and_open_ones_more_budget():
    tried = {"peak": around(0.1), "status": "no_divergence"}
    assert verified(**tried).remedy == "Raise max_lr."
    assert verified(**tried, are_whole=True).remedy == ""
    assert "Raise budget" in verified(**tried, are_whole=True, is_open=True).remedy


def test_a_loss_that_turns_up_lowers_the_constant_rate_and_says_so():
    best = Trial(1.0, steps=280, losses=TURNING)
    other = Trial(0.1, steps=280, losses=[9.0] * 14)
    part = _verification.horizon(best, 1_000)
    found = _verification._constant([other, best], best, part)
    lr = 10**-0.1 * math.sqrt(80 / 1_000)
    assert found.lr == pytest.approx(lr)
    # What is left open around the best rate is lowered with it.
    half = 10 ** (1 / 6)
    assert found.interval == pytest.approx((lr / half, lr * half), rel=1e-6)
    for is_lowered in (True, False):
        said = verified([best], constant=found, peak=around(1.0), is_lowered=is_lowered).finding
        assert ("turned upwards" in said) == is_lowered
    falling = Trial(1.0, steps=280, losses=FALLING)
    part = _verification.horizon(falling, 1_000)
    assert _verification._constant([other, falling], falling, part).lr == pytest.approx(10**-0.1)


@pytest.mark.parametrize(("losses", "is_lowered"), [(FALLING, False), (TURNING, True)])
def test_a_verification_says_whether_it_lowered_the_constant_rate(losses, is_lowered):
    class Tasks:
        verbose = False

        def run(self, name, function, arguments):
            return [
                Trial(trial.lr, steps=280, losses=losses, averaged_loss=1.0)
                for _, trial, *_ in arguments
            ]

    prepared = SimpleNamespace(schedule=None, training_steps=1_000)
    found = _verification.halve(Tasks(), prepared, (), 1.0, [(2, 280)], 0)
    assert found.is_lowered == is_lowered
    prepared.schedule = "some"
    assert not _verification.halve(Tasks(), prepared, (), 1.0, [(2, 280)], 0).is_lowered


def test_trials_that_all_diverge_are_no_answer():
    diverged = Trial(1.0, steps=3, losses=[2.0, math.inf], error="ValueError: too high")
    found = verified([diverged])
    assert found.status == "failed"
    assert math.isnan(found.lr)
    assert "Every trial diverged (ValueError: too high)" in found.finding
