"""Reading range-test curves whose answers are known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklr import _curves

LRS = np.geomspace(1e-7, 10, 100)


def u_curve(minimum=0.1, noise=0.0, seed=0):
    """A loss that falls from 2.3 to its least at `minimum`, and explodes above it."""
    x = np.log10(LRS / minimum)
    loss = 2.3 - 2.0 / (1 + np.exp(-3 * (x + 1))) + 10 ** np.clip(3 * x - 1, -30, 4)
    return loss * np.exp(noise * np.random.default_rng(seed).standard_normal(len(LRS)))


def read(*ramps):
    return _curves.read(_curves.average(LRS, ramps))


def test_u_curve_gives_fixed_parts_of_the_rate_of_least_loss():
    reading = read(u_curve())
    best = LRS[np.argmin(u_curve())]
    assert reading.status == "ok"
    assert reading.lr == pytest.approx(best / 10, rel=0.3)
    assert reading.max_lr == pytest.approx(best / 3, rel=0.3)
    assert reading.base_lr == reading.max_lr / 4
    assert reading.lr < reading.max_lr
    # The steepest fall lies a decade below the minimum, by construction.
    assert 0.003 < reading.steepest_lr < 0.03


@given(minimum=st.floats(1e-3, 1), seed=st.integers(0, 99))
def test_noisy_repeats_stay_near_the_answer(minimum, seed):
    ramps = [u_curve(minimum, noise=0.03, seed=seed + 100 * i) for i in range(4)]
    reading = read(*ramps)
    assert reading.status == "ok"
    assert abs(math.log10(reading.lr / read(u_curve(minimum)).lr)) < 0.3


@pytest.mark.parametrize(
    ("losses", "status"),
    [
        pytest.param(np.full(100, 2.3), "flat", id="flat"),
        pytest.param(np.linspace(2.3, 0.5, 100), "no_divergence", id="monotone falling"),
        pytest.param(np.linspace(0.5, 5, 100), "diverged_at_start", id="monotone rising"),
        pytest.param([2.3, 9.0, np.inf], "diverged_at_start", id="diverged at once"),
        pytest.param([np.nan] * 5, "failed", id="all NaN"),
        pytest.param([2.3], "failed", id="one point"),
        pytest.param([2.3, 2.2, 2.1], "diverged_at_start", id="three points"),
    ],
)
def test_curves_without_a_usual_answer_say_so(losses, status):
    reading = read(losses)
    assert reading.status == status
    assert reading.message
    assert math.isfinite(reading.lr) == (status == "no_divergence")


def test_flat_with_noise_is_flat():
    noise = np.random.default_rng(0).standard_normal((4, 100)) * 0.02
    assert read(*(2.3 + noise)).status == "flat"


def test_a_first_spike_does_not_fool():
    spiked = u_curve()
    spiked[0] = 50.0
    clean = read(u_curve())
    assert read(spiked, u_curve(), u_curve()).max_lr == pytest.approx(clean.max_lr, rel=0.3)


def test_negative_losses_are_averaged_as_they_are():
    curve = _curves.average(LRS, [u_curve() - 10, u_curve() - 10])
    assert not curve.is_log
    assert _curves.read(curve).status == "ok"
    assert _curves.read(curve).lr == pytest.approx(read(u_curve()).lr, rel=0.5)


def test_average_is_the_mean_of_the_logs_up_to_the_shortest_ramp():
    curve = _curves.average(LRS[:3], [[1.0, 4.0, 2.0], [4.0, 1.0]])
    np.testing.assert_array_equal(curve.lrs, LRS[:2])
    np.testing.assert_allclose(curve.loss, [2.0, 2.0])
    np.testing.assert_allclose(curve.spread, [math.log(2)] * 2)
    low, high = curve.band
    np.testing.assert_allclose(low * high, curve.loss**2)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60))
def test_smoothing_keeps_constants_bounds_and_ends(values):
    values = np.array(values)
    smoothed = _curves.smooth(values)
    assert smoothed.shape == values.shape
    assert smoothed.min() >= values.min() - 1e-9
    assert smoothed.max() <= values.max() + 1e-9
    np.testing.assert_allclose(smoothed[[0, -1]], values[[0, -1]], atol=1e-9)
    np.testing.assert_allclose(_curves.smooth(np.full(len(values), 3.0)), 3.0)


def test_smoothing_shifts_nothing():
    line = np.linspace(0, 1, 50)
    np.testing.assert_allclose(_curves.smooth(line), line, atol=1e-12)


@pytest.mark.parametrize(
    ("losses", "diverged"),
    [
        pytest.param([1.0] * 20, False, id="flat"),
        pytest.param([math.nan], True, id="NaN"),
        pytest.param([2.0] * 12 + [math.inf], True, id="infinite"),
        pytest.param([2.3] * 5 + [1.0] * 10 + [9.0], False, id="one spike"),
        pytest.param([50.0] + [2.3] * 20, False, id="first spike"),
        pytest.param([2.3] * 5 + [1.0] * 10 + [9.0] * 5, True, id="exploded"),
        pytest.param([-1.0] * 5 + [-5.0] * 10, False, id="negative and falling"),
        pytest.param([-1.0] * 5 + [-5.0] * 10 + [-4.0] * 5, False, id="negative, a little up"),
        pytest.param([-1.0] * 5 + [-5.0] * 10 + [9.0] * 5, True, id="negative, exploded"),
    ],
)
def test_divergence(losses, diverged):
    assert _curves.has_diverged(losses) is diverged


def test_interval_holds_the_suggestions_of_the_single_ramps():
    ramps = [u_curve(0.05), u_curve(0.2)]
    low, high = _curves.interval(LRS, ramps)
    assert low == read(ramps[0]).lr
    assert high == read(ramps[1]).lr
    assert all(map(math.isnan, _curves.interval(LRS, [np.full(100, 2.3)])))
