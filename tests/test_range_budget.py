"""The budget of a range search: what it is shared into, and that it is kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklr.range_search import _budget

SHARED = {
    "training_steps": st.integers(1, 5_000),
    "budget": st.one_of(st.floats(0.01, 1_000), st.just("auto")),
    "n_repeats": st.integers(1, 10),
    "n_steps": st.integers(10, 300),
    "verify": st.booleans(),
}


@given(**SHARED)
def test_ramps_and_trials_never_cost_more_than_allowed(**asked):
    shared = _budget.share(**asked)
    ramps = shared.n_repeats * shared.n_steps
    assert 1 <= shared.n_repeats <= asked["n_repeats"]
    assert shared.n_steps <= asked["n_steps"]
    # One ramp of the fewest steps that say anything is always run.
    assert ramps <= max(shared.steps, 10)
    if shared.verify:
        assert asked["verify"]
        left, cost, before = shared.steps - ramps, 0, 0
        for count, steps in _budget.rungs(left, asked["training_steps"]):
            # No trial is longer than the training that it stands for.
            assert before <= steps <= asked["training_steps"]
            cost += count * (steps - before)
            before = steps
        assert ramps + cost <= shared.steps
        first = _budget.rungs(left, asked["training_steps"])[0][1]
        assert left >= 5 * asked["training_steps"] or first >= 10
    whole = shared.n_repeats == asked["n_repeats"] and shared.n_steps == asked["n_steps"]
    # Nobody who leaves the budget to the search asks for ramps at the cost of trials.
    told = not (shared.verify and asked["budget"] == "auto")
    assert bool(shared.message) == (told and (not whole or asked["verify"] != shared.verify))


@pytest.mark.parametrize(
    ("training_steps", "expected"),
    [
        pytest.param(1_200, (4, 100, True, ""), id="enough for all"),
        pytest.param(600, (2, 100, True, "2 of 4 ramps were run"), id="fewer"),
        pytest.param(
            120,
            (1, 100, False, "no candidate was verified and 1 of 4 ramps were run"),
            id="no trials",
        ),
        pytest.param(
            20,
            (
                1,
                30,
                False,
                "no candidate was verified, 1 of 4 ramps were run and ramps had 30 of 100 steps",
            ),
            id="short ramp",
        ),
    ],
)
def test_what_is_left_out_is_said_after_what_the_user_can_do(training_steps, expected):
    *numbers, words = expected
    shared = _budget.share(training_steps, 1.5, 4, 100, True)
    assert [shared.n_repeats, shared.n_steps, shared.verify] == numbers
    steps = int(1.5 * training_steps)
    said = f"Raise budget for more: within {steps} steps {words}." if words else ""
    assert shared.message == said


def test_rungs_spend_nearly_all_that_is_left():
    # A rung goes on from the one before, so each of its candidates costs the difference only.
    rungs = _budget.rungs(10_000, 5_000)
    steps = np.array([steps for _, steps in rungs])
    spent = np.array([count for count, _ in rungs]) @ np.diff(steps, prepend=0)
    assert 9_600 < spent <= 10_000
    # Steps grow from rung to rung as fast as candidates grow fewer, or faster.
    assert np.all(steps[1:] / steps[:-1] > 2)
    assert [count for count, _ in rungs] == [8, 4, 2]
    np.testing.assert_allclose(steps, [420, 1_020, 2_970], atol=1)


def test_a_quarter_of_the_budget_is_for_ramps_if_trials_follow():
    assert _budget.share(4_000, 1.0, 100, 100, True).n_repeats == 10
    assert _budget.share(4_000, 1.0, 100, 100, False).n_repeats == 40


def test_without_a_known_length_all_ramps_are_run_and_nothing_is_verified():
    shared = _budget.share(None, 1.5, 4, 100, True)
    assert (shared.n_repeats, shared.n_steps, shared.verify) == (4, 100, False)
    assert "no length" in shared.message
    assert _budget.more_ramps(shared, 1_000_000) == 4


@given(**SHARED, part=st.floats(0, 1.2))
def test_ramps_over_another_range_stay_within_what_is_left(part, **asked):
    shared = _budget.share(**asked)
    spent = int(part * shared.steps)
    more = _budget.more_ramps(shared, spent)
    assert 0 <= more <= shared.n_repeats
    assert more * shared.n_steps <= max(0, shared.steps - spent)
    # One is run whenever it can be paid for.
    assert (more == 0) == (shared.steps - spent < shared.n_steps)


@given(training_steps=st.integers(1, 10_000))
def test_auto_is_more_for_short_trainings_and_never_less_than_a_training_and_a_half(training_steps):
    steps = _budget.allowed_steps(training_steps, "auto")
    assert steps >= int(1.5 * training_steps)
    if training_steps >= 600:
        assert steps == int(1.5 * training_steps)
    else:
        # Trials of the training's whole length.
        assert _budget.share(training_steps, "auto", 4, 100, True).verify
        assert _budget.are_whole(steps - 100, training_steps)


@pytest.mark.parametrize("budget", [0.01, 1, 1.5, 1_000])
def test_a_number_is_whole_trainings(budget):
    assert _budget.allowed_steps(600, budget) == int(budget * 600)
