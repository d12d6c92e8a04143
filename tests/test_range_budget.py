"""The budget of a range search: what it is shared into, and that it is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklr.range_search import _budget


@given(
    training_steps=st.integers(1, 5_000),
    budget=st.floats(0.1, 20),
    n_repeats=st.integers(1, 10),
    n_steps=st.integers(10, 300),
    probe=st.booleans(),
)
def test_ramps_and_probes_never_cost_more_than_allowed(
    training_steps, budget, n_repeats, n_steps, probe
):
    shared = _budget.share(training_steps, budget, n_repeats, n_steps, probe)
    ramps = shared.n_repeats * shared.n_steps
    assert 1 <= shared.n_repeats <= n_repeats
    assert shared.n_steps <= n_steps
    # One ramp of the fewest steps that say anything is always run.
    assert ramps <= max(shared.steps, 10)
    if shared.probes:
        assert probe
        left, cost, before = shared.steps - ramps, 0, 0
        for count, steps in _budget.rounds(left):
            cost += count * (steps - before)
            before = steps
        assert ramps + cost <= shared.steps
        assert _budget.can_probe(left)
        assert _budget.rounds(left)[0][1] >= 10
    whole = shared.n_repeats == n_repeats and shared.n_steps == n_steps
    assert bool(shared.message) == (not whole or probe != shared.probes)


@pytest.mark.parametrize(
    ("training_steps", "expected"),
    [
        pytest.param(1_200, (4, 100, True, ""), id="enough for all"),
        pytest.param(
            600, (2, 100, True, "For a budget of 900 steps 2 of 4 ramps were run."), id="fewer"
        ),
        pytest.param(
            120,
            (
                1,
                100,
                False,
                "For a budget of 180 steps no candidate was probed and 1 of 4 ramps were run.",
            ),
            id="no probes",
        ),
        pytest.param(
            20,
            (
                1,
                30,
                False,
                "For a budget of 30 steps no candidate was probed and 1 of 4 ramps were run and "
                "ramps had 30 of 100 steps.",
            ),
            id="short ramp",
        ),
    ],
)
def test_what_is_left_out_is_said(training_steps, expected):
    shared = _budget.share(training_steps, 1.5, 4, 100, True)
    assert (shared.n_repeats, shared.n_steps, shared.probes, shared.message) == expected


def test_without_a_known_length_all_ramps_are_run_and_nothing_is_probed():
    shared = _budget.share(None, 1.5, 4, 100, True)
    assert (shared.n_repeats, shared.n_steps, shared.probes) == (4, 100, False)
    assert "no length" in shared.message


@given(
    training_steps=st.integers(1, 5_000),
    budget=st.floats(0.1, 20),
    n_repeats=st.integers(1, 10),
    n_steps=st.integers(10, 300),
    probe=st.booleans(),
    part=st.floats(0, 1.2),
)
def test_ramps_over_another_range_stay_within_what_is_left(
    training_steps, budget, n_repeats, n_steps, probe, part
):
    shared = _budget.share(training_steps, budget, n_repeats, n_steps, probe)
    spent = int(part * shared.steps)
    more = _budget.more_ramps(shared, spent)
    assert 0 <= more <= shared.n_repeats
    assert more * shared.n_steps <= max(0, shared.steps - spent)
    # One is run wherever it can be paid for.
    assert (more == 0) == (shared.steps - spent < shared.n_steps)


def test_without_a_known_length_another_range_gets_as_many_ramps():
    shared = _budget.share(None, 1.5, 4, 100, True)
    assert _budget.more_ramps(shared, 1_000_000) == 4
