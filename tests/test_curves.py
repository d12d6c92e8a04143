"""Analysis of range-test curves whose answers are known."""

import math
import time

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


def summarize(*ramps, lrs=LRS):
    return _curves.summarize(_curves.average(lrs, ramps))


@pytest.mark.parametrize("minimum", [1e-3, 0.1, 1.0])
def test_u_curve_gives_fixed_fractions_of_the_rate_of_least_loss(minimum):
    curve = u_curve(minimum)
    summary = summarize(curve)
    assert summary.status == "ok"
    # The smoothing may move the least loss by a step or two.
    assert abs(np.searchsorted(LRS, summary.best_lr) - np.argmin(curve)) <= 2
    assert summary.lr == pytest.approx(summary.best_lr / 10, rel=1e-12)
    assert summary.max_lr == pytest.approx(summary.best_lr / 3, rel=1e-12)
    assert summary.base_lr == pytest.approx(summary.best_lr / 12, rel=1e-12)
    # The fall is steepest a decade below the minimum in the loss, somewhat above in its log.
    steepest = LRS[np.argmin(np.gradient(np.log(curve), np.log(LRS)))]
    assert abs(math.log10(summary.steepest_lr / steepest)) < 0.2


@given(minimum=st.floats(1e-3, 1), seed=st.integers(0, 99))
def test_noisy_repeats_stay_near_the_answer(minimum, seed):
    ramps = [u_curve(minimum, noise=0.03, seed=seed + 100 * i) for i in range(4)]
    summary = summarize(*ramps)
    assert summary.status == "ok"
    assert abs(math.log10(summary.lr / summarize(u_curve(minimum)).lr)) < 0.3


@pytest.mark.parametrize(
    ("losses", "status", "remedy"),
    [
        pytest.param(np.full(100, 2.3), "flat", "Raise max_lr", id="flat"),
        pytest.param(
            np.linspace(2.3, 0.5, 100), "no_divergence", "higher max_lr", id="monotone falling"
        ),
        pytest.param(
            np.linspace(0.5, 5, 100), "diverged_at_start", "Lower min_lr", id="monotone rising"
        ),
        pytest.param([2.3, 9.0, np.inf], "diverged_at_start", "Lower min_lr", id="at once"),
        pytest.param([2.3] * 9, "diverged_at_start", "Lower min_lr", id="nine losses"),
        pytest.param([2.3] * 10, "flat", "Raise max_lr", id="ten losses"),
        pytest.param([np.nan] * 5, "failed", "Check the data", id="all NaN"),
        pytest.param([2.3], "failed", "check the data", id="one loss"),
    ],
)
def test_a_curve_without_a_usual_answer_has_a_status_and_a_remedy(losses, status, remedy):
    summary = summarize(losses)
    assert summary.status == status
    assert remedy in summary.remedy
    assert summary.message == f"{summary.remedy} {summary.finding}"
    assert math.isfinite(summary.lr) == (status == "no_divergence")


def test_messages_speak_of_what_the_curve_shows():
    for ramp in (u_curve(), np.full(100, 2.3), np.linspace(0.5, 5, 100), [np.nan]):
        curve = _curves.average(LRS, [ramp])
        finding = _curves.summarize(curve).finding
        assert "loss" in finding
        score = _curves.summarize(curve, what="score").finding
        assert score == finding.replace("loss", "score")
        # A score that gets better rises, a loss falls.
        assert not any(word in finding for word in ("fell", "fall", "rose", "rise"))


def correlated(rng, shape):
    """Normal deviations of which each takes 0.3 of the one before."""
    values = rng.standard_normal(shape)
    for i in range(1, shape[-1]):
        values[..., i] = 0.3 * values[..., i - 1] + math.sqrt(1 - 0.3**2) * values[..., i]
    return values


@pytest.mark.parametrize(
    ("noise", "at_most"),
    [
        pytest.param(lambda rng, shape: rng.standard_normal(shape), 0.01, id="normal"),
        pytest.param(lambda rng, shape: rng.standard_t(3, shape), 0.02, id="heavy tails"),
        # Batches of one epoch do not depend on each other; what does is judged less strictly.
        pytest.param(correlated, 0.05, id="correlated"),
    ],
)
@pytest.mark.parametrize("n_steps", [60, 100])
def test_hardly_a_flat_curve_gets_an_answer(noise, at_most, n_steps):
    rng = np.random.default_rng(0)
    lrs = np.geomspace(1e-7, 10, n_steps)
    answered = 0
    for trial in range(300):
        n_ramps, size = (1, 2, 4)[trial % 3], (0.02, 0.3, 1.0)[trial // 3 % 3]
        ramps = np.exp(size * noise(rng, (n_ramps, n_steps)))
        summary = summarize(*ramps, lrs=lrs)
        answered += summary.status in _curves.ANSWERED
    assert answered <= 300 * at_most


def test_noise_before_an_explosion_is_no_fall():
    rng = np.random.default_rng(0)
    explosion = 10 * np.clip(np.arange(100) - 90, 0, None)
    statuses = [
        summarize(np.exp(0.3 * rng.standard_normal(100) + explosion)).status for _ in range(100)
    ]
    assert statuses.count("flat") >= 99


def test_a_rise_without_a_clear_fall_leaves_a_guess():
    rng = np.random.default_rng(0)
    explosion = 10 * np.clip(np.arange(100) - 90, 0, None)
    summary = summarize(np.exp(0.3 * rng.standard_normal(100) + explosion))
    assert math.isnan(summary.best_lr)
    assert LRS[80] < summary.divergence_lr < LRS[95]
    assert summary.divergence_lr / 11 < summary.guess_lr <= summary.divergence_lr
    at_once = summarize(np.linspace(0.5, 5, 100))
    assert at_once.status == "diverged_at_start"
    assert at_once.guess_lr == LRS[0]
    assert at_once.divergence_lr < LRS[30]
    assert math.isnan(summarize(np.full(100, 2.3)).guess_lr)


@pytest.mark.parametrize(
    ("fall", "noise", "n_ramps", "least"),
    [
        pytest.param(0.5, 0.2, 4, 0.95, id="half, four ramps"),
        pytest.param(0.7, 0.2, 2, 0.95, id="more, two ramps"),
        pytest.param(0.7, 0.2, 1, 0.7, id="more, one ramp"),
    ],
)
def test_a_decade_of_fall_before_an_explosion_is_seen_through_noise(fall, noise, n_ramps, least):
    rng = np.random.default_rng(0)
    x = np.log10(LRS)[:82]  # The loss explodes from 0.1 on.
    level = -fall * np.clip(x + 2, 0, 1) + 6 * np.clip(x + 1, 0, None)
    summaries = [
        summarize(*np.exp(level + noise * rng.standard_normal((n_ramps, 82)))) for _ in range(100)
    ]
    best = np.array([r.best_lr for r in summaries if r.status == "ok"])
    assert len(best) >= 100 * least
    # Averaging over neighbours takes in the explosion, so the rate is a little lower.
    np.testing.assert_array_less(np.abs(np.log10(best / 0.05)), 0.5)


@given(size=st.floats(1e-3, 0.3), seed=st.integers(0, 99))
def test_an_answer_does_not_depend_on_the_size_of_the_loss(size, seed):
    ramp = u_curve(noise=size, seed=seed)
    one, other = summarize(ramp), summarize(1000 * ramp)
    assert one.status == other.status
    assert one.best_lr == other.best_lr


def test_the_deeper_of_two_minima_is_taken():
    x = np.log10(LRS)
    for depths in [(0.4, 1.0), (1.0, 0.4)]:
        level = sum(
            -depth * np.exp(-((x - at) ** 2) / 0.3)
            for depth, at in zip(depths, (-5, -2), strict=True)
        )
        summary = summarize(np.exp(level + 5 * np.clip(x, 0, None)))
        assert math.log10(summary.best_lr) == pytest.approx(
            (-5, -2)[int(np.argmax(depths))], abs=0.05
        )


@pytest.mark.parametrize("n_steps", [16, 30, 60, 100, 300])
def test_short_and_long_ramps_of_a_clean_curve_give_an_answer(n_steps):
    lrs = np.geomspace(1e-7, 10, n_steps)
    ramp = np.interp(np.log(lrs), np.log(LRS), u_curve())
    summary = summarize(ramp, lrs=lrs)
    assert summary.status == "ok"
    assert abs(math.log10(summary.best_lr / summarize(u_curve()).best_lr)) < 0.6


def phased(x):
    """A plateau to 1e-4, a straight fall by 2 to 1e-2, a floor to 0.1 and a rise by 3 a decade."""
    return -np.clip(x + 4, 0, 2) + 3 * np.clip(x + 1, 0, None)


@pytest.mark.parametrize("offset", [0.0, -10.0], ids=["positive", "negative"])
def test_phases_of_a_curve_with_known_ones(offset):
    x = np.log10(LRS)
    ramp = np.exp(phased(x)) if offset == 0 else phased(x) + offset
    curve = _curves.average(LRS, [ramp])
    summary = _curves.summarize(curve)
    assert curve.is_log == (offset == 0)
    # A tenth of the fall takes 0.2 decades, of the rise 0.07; the smoothing reaches 0.4 far.
    assert -4 <= math.log10(summary.descent_lr) <= -3.6
    assert -2 <= math.log10(summary.best_lr) <= -1
    assert -1.4 <= math.log10(summary.divergence_lr) <= -0.8
    assert summary.descent_lr < summary.steepest_lr < summary.best_lr < summary.divergence_lr


@given(seed=st.integers(0, 199), size=st.floats(0.01, 0.3))
def test_noise_hides_no_plateau(seed, size):
    rng = np.random.default_rng(seed)
    x = np.log10(LRS)
    summary = summarize(*np.exp(phased(x) + size * rng.standard_normal((2, 100))))
    assert summary.status == "ok"
    assert math.log10(summary.descent_lr) < -2.5
    assert summary.descent_lr < summary.best_lr < summary.divergence_lr


def test_phases_that_are_not_there_are_nan():
    falling = summarize(np.exp(np.linspace(1, -1, 100)))
    assert falling.status == "no_divergence"
    assert math.isnan(falling.descent_lr)
    assert math.isnan(falling.divergence_lr)
    no_plateau = summarize(np.exp(np.abs(np.linspace(-2, 1, 100))))
    assert no_plateau.status == "ok"
    assert math.isnan(no_plateau.descent_lr)
    assert no_plateau.divergence_lr > no_plateau.best_lr
    flat = summarize(np.full(100, 2.3))
    assert math.isnan(flat.descent_lr)
    assert math.isnan(flat.divergence_lr)


@given(n_values=st.sampled_from([10, 32, 100]), minimum=st.floats(1e-2, 1))
def test_quantised_scores_without_noise_are_treated_like_losses(n_values, minimum):
    x = np.log10(LRS / minimum)
    score = -0.1 - 0.8 / (1 + np.exp(-4 * (x + 2))) + 0.8 / (1 + np.exp(-8 * (x - 1)))
    curve = _curves.average(LRS, [np.round(score * n_values) / n_values])
    summary = _curves.summarize(curve)
    assert not curve.is_log
    assert summary.status == "ok"
    assert -3 < math.log10(summary.descent_lr / minimum) < -1.5
    assert -2 < math.log10(summary.best_lr / minimum) < 1
    assert 0 < math.log10(summary.divergence_lr / minimum) < 1.5
    assert summarize(np.full(100, -0.1)).status == "flat"


def test_ramps_that_ended_at_no_finite_number_are_counted_and_named():
    fell = np.linspace(2.3, 0.5, 50)
    nan, inf = np.append(fell, math.nan), np.append(fell, math.inf)
    curve = _curves.average(LRS, [nan, fell, inf])
    assert (curve.n_ramps, curve.n_nonfinite) == (3, 2)
    note = "2 of 3 ramps ended at a loss that is not a finite number."
    summary = _curves.summarize(curve)
    # Such a loss is a divergence: no higher max_lr is asked for.
    assert summary.status == "ok"
    assert summary.message.endswith(note)
    flat = summarize(np.append(np.full(50, 2.3), math.nan))
    assert flat.status == "flat"
    assert "1 of 1 ramps" in flat.message
    finite = _curves.average(LRS, [fell, fell])
    assert finite.n_nonfinite == 0
    assert "finite" not in _curves.summarize(finite).message


def test_a_first_spike_does_not_fool():
    spiked = u_curve()
    spiked[0] = 50.0
    clean = summarize(u_curve())
    assert summarize(spiked, u_curve(), u_curve()).best_lr == clean.best_lr


def test_negative_losses_are_averaged_as_they_are():
    curve = _curves.average(LRS, [u_curve() - 10, u_curve() - 10])
    assert not curve.is_log
    assert _curves.summarize(curve).status == "ok"
    np.testing.assert_allclose(curve.mean, u_curve() - 10)
    least = LRS[np.argmin(_curves.smooth(u_curve()))]
    assert abs(math.log10(_curves.summarize(curve).best_lr / least)) < 0.1


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
        pytest.param([50.0] + [2.3] * 15 + [9.0] * 5, True, id="first spike, exploded"),
        pytest.param([1, 3, 1, 6, 1, 7, 4, 5, 7, 1, 3, 1, 5, 1, 5, 5], False, id="noisy"),
        pytest.param([-1.0] * 5 + [-5.0] * 10, False, id="negative and falling"),
        pytest.param([-1.0] * 5 + [-5.0] * 10 + [-4.0] * 5, False, id="negative, a little up"),
        pytest.param([-1.0] * 5 + [-5.0] * 10 + [9.0] * 5, True, id="negative, exploded"),
    ],
)
def test_divergence(losses, diverged):
    monitor = _curves.DivergenceMonitor()
    *before, last = [monitor.update(loss) for loss in losses]
    assert not any(before[:15])
    assert last is diverged


def has_diverged(losses, window):
    """The rule of DivergenceMonitor, written out over all losses so far."""
    if not math.isfinite(losses[-1]):
        return True
    if len(losses) < 3 * window:
        return False
    first, last = np.median(losses[:window]), np.median(losses[-window:])
    before = np.array(losses[:-window])
    middle = np.median(before)
    noise = 1.4826 * np.median(np.abs(before - middle))
    far = last > first + max(first - min(losses), abs(first))
    return bool(far and last > max(first, middle) + 4 * noise)


LOSSES = st.one_of(
    st.floats(-1e300, 1e300),
    st.integers(-3, 12).map(float),  # ties, and jumps that count
    st.floats(0.5, 3),
)


@given(st.lists(LOSSES, min_size=1, max_size=60), st.integers(1, 6), st.booleans())
def test_the_monitor_is_the_rule_over_all_losses(losses, window, ends_nonfinite):
    monitor = _curves.DivergenceMonitor(window)
    for i, loss in enumerate(losses):
        assert monitor.update(loss) == has_diverged(losses[: i + 1], window)
    if ends_nonfinite:
        assert monitor.update(math.nan)


def test_the_monitor_of_a_long_ramp_takes_microseconds_a_step():
    # So noisy that the last losses are far above the first again and again.
    losses = np.random.default_rng(0).lognormal(sigma=2, size=20_000).tolist()
    losses[:5] = [0.01] * 5
    monitor = _curves.DivergenceMonitor()
    begin = time.process_time()
    for loss in losses:
        monitor.update(loss)
    # 0.2 s; the rule over all losses so far takes 20 s.
    assert time.process_time() - begin < 4


def test_interval_holds_the_rates_of_least_loss_of_the_single_ramps():
    ramps = [u_curve(0.2), np.full(100, 2.3), u_curve(0.05)]
    low, high = _curves.interval(LRS, ramps)
    assert low == summarize(ramps[2]).best_lr
    assert high == summarize(ramps[0]).best_lr
    assert all(map(math.isnan, _curves.interval(LRS, [np.full(100, 2.3)])))


@given(size=st.floats(0, 0.5), seed=st.integers(0, 199), n_ramps=st.integers(1, 3))
def test_an_answer_has_rates_around_it(size, seed, n_ramps):
    ramps = [u_curve(noise=size, seed=seed + 1000 * i) for i in range(n_ramps)]
    summary = summarize(*ramps)
    rates = (summary.low_lr, summary.high_lr)
    if summary.status in _curves.ANSWERED:
        assert summary.low_lr <= summary.best_lr <= summary.high_lr
        assert not summary.high_lr > summary.divergence_lr
    elif not math.isnan(summary.guess_lr):
        assert summary.low_lr <= summary.guess_lr <= summary.high_lr
    else:
        assert all(map(math.isnan, rates))


def test_the_rates_around_the_answer_are_as_far_as_the_noise_hides_the_least_loss():
    clean = summarize(u_curve())
    assert clean.low_lr == clean.best_lr == clean.high_lr or clean.high_lr / clean.low_lr < 2
    # A floor from 1e-2 to 0.1, over which the loss is the same but for the noise.
    x = np.log10(LRS)
    for seed in range(20):
        noise = 0.05 * np.random.default_rng(seed).standard_normal(100)
        summary = summarize(np.exp(phased(x) + noise))
        # The smoothing takes in 0.4 decades of either side.
        assert -2.4 < math.log10(summary.low_lr) <= math.log10(summary.best_lr)
        assert math.log10(summary.best_lr) <= math.log10(summary.high_lr) < -0.6
    wide = [summarize(u_curve(noise=size)) for size in (0.01, 0.1, 0.5)]
    widths = [math.log10(s.high_lr / s.low_lr) for s in wide]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


def test_a_guess_has_rates_around_it():
    rng = np.random.default_rng(0)
    explosion = 10 * np.clip(np.arange(100) - 90, 0, None)
    summary = summarize(np.exp(0.3 * rng.standard_normal(100) + explosion))
    assert summary.low_lr < summary.guess_lr <= summary.high_lr < summary.divergence_lr
