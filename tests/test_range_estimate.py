"""The rate that losses of trials speak for, against closed forms and properties."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sklr.range_search._estimate import estimate, grid_rate, nearest_index, relative_excess

E = math.exp(-1)


@st.composite
def tried(draw, finite=False):
    """Draw rates of the grid, ascending, and losses of each on one to three splits."""
    n, n_splits = draw(st.integers(1, 8)), draw(st.integers(1, 3))
    lowest = draw(st.integers(-20, 3))
    loss = st.floats(0.01, 100)
    if not finite:
        loss = st.one_of(loss, st.just(math.inf))
    rows = st.lists(loss, min_size=n, max_size=n)
    losses = np.array(draw(st.lists(rows, min_size=n_splits, max_size=n_splits)))
    return np.array([grid_rate(lowest + i) for i in range(n)]), losses


def as_numbers(found):
    return np.array([found.lr, *found.interval, *found.good_range])


def test_two_rates_weigh_as_their_losses_say():
    # A twentieth more than the least counts 1/e.
    found = estimate([0.1, 1.0], [[2.1, 2.0]])
    assert found.lr == pytest.approx(10 ** (-E / (1 + E)), rel=1e-12)
    # Both are open, and as good; what lies half a step beyond may be the best.
    assert found.interval == pytest.approx((0.1 / 10 ** (1 / 6), 10 ** (1 / 6)), rel=1e-12)
    assert found.good_range == pytest.approx((0.1, 1.0), rel=1e-12)


def test_a_rate_that_is_far_worse_counts_for_nothing():
    found = estimate([0.01, 0.1, 1.0], [[4.0, 2.0, 4.0]])
    assert found.lr == pytest.approx(0.1, rel=1e-8)
    assert found.interval == pytest.approx((0.1 / 10 ** (1 / 6), 0.1 * 10 ** (1 / 6)), rel=1e-8)
    # The loss doubles in a decade, and so is 5% more after a twentieth of one.
    assert found.good_range == pytest.approx((0.1 / 10**0.05, 0.1 * 10**0.05), rel=1e-8)


def test_equal_losses_give_the_middle_of_the_rates_and_leave_all_open():
    found = estimate([0.01, 0.1, 1.0], [[0.7, 0.7, 0.7]])
    assert found.lr == pytest.approx(0.1, rel=1e-12)
    assert found.good_range == pytest.approx((0.01, 1.0), rel=1e-12)
    assert found.interval[0] < 0.01 < 1 < found.interval[1]


def test_splits_count_by_their_mean_loss():
    losses = np.array([[1.0, 2.0, 9.0], [3.0, 1.0, math.inf]])
    np.testing.assert_allclose(relative_excess(losses), [0.5 / 1.5, 0, math.inf])


def test_scores_that_are_negative_losses_have_an_excess_too():
    # Of accuracies 0.8 and 0.76 the second is a twentieth below the first.
    np.testing.assert_allclose(relative_excess([-0.76, -0.8]), [0.05, 0], atol=1e-15)


def test_a_least_loss_of_0_leaves_others_out():
    found = estimate([0.1, 1.0], [[0.0, 1e-6]])
    assert found.lr == pytest.approx(0.1, rel=1e-12)


@pytest.mark.parametrize("losses", [[[math.inf]], [[math.inf, 1.0], [1.0, math.inf]]])
def test_without_a_rate_of_finite_losses_there_is_no_estimate(losses):
    assert estimate(np.geomspace(0.1, 1, len(losses[0])), losses) is None


@given(tried())
def test_the_rate_lies_among_those_that_did_not_diverge(data):
    lrs, losses = data
    finite = np.isfinite(losses).all(axis=0)
    found = estimate(lrs, losses)
    if not finite.any():
        assert found is None
        return
    few = 1 + 1e-9
    assert lrs[finite].min() / few <= found.lr <= lrs[finite].max() * few
    assert found.interval[0] <= found.lr <= found.interval[1]
    assert found.good_range[0] <= found.lr <= found.good_range[1]
    best = lrs[finite][np.argmin(losses[:, finite].mean(axis=0))]
    assert found.interval[0] < best < found.interval[1]
    assert found.good_range[0] <= best * few
    assert best / few <= found.good_range[1]


@given(tried(), st.floats(1e-3, 1e3))
def test_the_unit_of_the_loss_does_not_matter(data, factor):
    lrs, losses = data
    assume(np.isfinite(losses).all(axis=0).any())
    excess = relative_excess(losses)
    # Not at an edge of what is open or good, where rounding decides.
    assume(np.abs(excess - 0.05).min() > 1e-9)
    assume(np.abs(excess - 0.1).min() > 1e-9)
    first, second = estimate(lrs, losses), estimate(lrs, losses * factor)
    np.testing.assert_allclose(as_numbers(second), as_numbers(first), rtol=1e-6)


@given(tried(finite=True), st.data())
def test_rates_that_diverged_count_for_nothing(data, draw):
    lrs, losses = data
    # In one split only: that is enough.
    diverged = np.array(draw.draw(st.lists(st.booleans(), min_size=len(lrs), max_size=len(lrs))))
    assume(not diverged.all())
    with_them = losses.copy()
    with_them[0, diverged] = math.inf
    found = estimate(lrs, with_them)
    without = estimate(lrs[~diverged], losses[:, ~diverged])
    assert found.lr == pytest.approx(without.lr, rel=1e-12)
    assert found.interval == pytest.approx(without.interval, rel=1e-12)


@given(tried())
def test_good_rates_are_those_of_the_interpolated_loss(data):
    lrs, losses = data
    means = losses.mean(axis=0)
    assume(np.isfinite(means).any())
    found = estimate(lrs, losses)
    # On a fine grid: all points around the best up to the first whose loss is not good.
    x, best = np.log10(lrs), int(np.argmin(means))
    step = 1e-3
    fine = np.arange(x[0] - step, x[-1] + 1.5 * step, step)
    known = np.interp(fine, x, np.where(np.isfinite(means), means, 0))
    # Between a rate that diverged and another the loss is not known.
    unknown = np.interp(fine, x, np.where(np.isfinite(means), 0, 1)) > 0
    bad = unknown | (known > 1.05 * means[best]) | (fine < x[0]) | (fine > x[-1])
    ends = [
        max([at for at in fine[bad] if at < x[best]], default=x[0]),
        min([at for at in fine[bad] if at > x[best]], default=x[-1]),
    ]
    low, high = np.log10(found.good_range)
    assert low == pytest.approx(min(ends[0], np.log10(found.lr)), abs=2 * step)
    assert high == pytest.approx(max(ends[1], np.log10(found.lr)), abs=2 * step)


@given(st.integers(-30, 18), st.floats(-0.49, 0.49))
def test_the_nearest_rate_of_the_grid(index, off):
    assert nearest_index(grid_rate(index) * 10 ** (off / 3)) == index
    assert grid_rate(index + 3) == pytest.approx(10 * grid_rate(index), rel=1e-12)
