"""From curve and trials to the suggestion: in closed form."""

import math

import numpy as np
import pytest

from sklr._curves import CurveSummary
from sklr.range_search import _result
from sklr.range_search._trials import Trial

FALLING = [2.0, 1.8, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5]
TURNING = [2.0, 1.5, 1.2, 1.0, *np.linspace(1.2, 2, 10)]


def verified(best_lr, trial):
    summary = CurveSummary("ok", "It fell.", lr=best_lr / 10, best_lr=best_lr)
    return _result._verified(summary, [trial], 1_000)


@pytest.mark.parametrize(
    ("best_lr", "peak"),
    [
        pytest.param(5.0, 2 * 10**-0.1, id="twice the constant rate"),
        pytest.param(1.3, 1.3, id="at most the least loss of the ramps"),
        pytest.param(0.2, 1.0, id="or the best trial's own rate"),
    ],
)
def test_peak_of_a_cycle(best_lr, peak):
    found = verified(best_lr, Trial(1.0, 300, FALLING))
    assert found.lr == pytest.approx(10**-0.1)
    assert found.max_lr == pytest.approx(peak)
    assert found.base_lr == pytest.approx(peak / 4)
    assert "Of 1 rates tried, 1 did best." in found.finding


def test_a_loss_that_turns_up_lowers_the_rate_and_says_so():
    found = verified(5.0, Trial(1.0, 280, TURNING))
    assert found.lr == pytest.approx(10**-0.1 * math.sqrt(80 / 1_000))
    assert found.max_lr == pytest.approx(2 * found.lr)
    assert "turned upwards" in found.finding


def test_trials_that_all_diverge_are_no_answer():
    found = verified(5.0, Trial(1.0, 3, [2.0, math.inf], error="ValueError: too high"))
    assert found.status == "failed"
    assert math.isnan(found.lr)
    assert "Every trial diverged (ValueError: too high)" in found.finding
