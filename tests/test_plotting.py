"""Displays hold numbers, draw what they hold, and never call show."""

import builtins
import math
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle, StepPatch
from nets import X_DIGITS, Y_DIGITS, make_classifier, make_regressor
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.preprocessing import scale
from skorch.dataset import ValidSplit

from sklr import LRRangeSearch, SnapshotEnsemble, SnapshotEnsembleRegressor, schedules
from sklr.callbacks import CyclicalLR, SnapshotCosine
from sklr.plotting import LRRangeDisplay, ScheduleDisplay, SnapshotDisplay
from sklr.range_search._plot_data import range_plot_data


@pytest.fixture
def shown(monkeypatch):
    calls = []
    monkeypatch.setattr(plt, "show", lambda *args: calls.append(args))
    return calls


def test_schedule_display_draws_the_rates(shown):
    value = schedules.CyclicalLR(base_lr=0.1, max_lr=1.0, step_size=5)
    display = ScheduleDisplay.from_schedule(value, 20)
    assert display.plot() is display
    line = display.ax_.get_lines()[0]
    np.testing.assert_array_equal(line.get_xdata(), np.arange(20))
    np.testing.assert_array_equal(line.get_ydata(), value(np.arange(20)))
    # The ends of both cycles are marked.
    marks = [mark.get_xdata()[0] for mark in display.ax_.get_lines()[1:]]
    assert marks == [10, 20]
    assert display.figure_ is display.ax_.figure
    assert display.ax_.get_title().replace("\n", " ") == repr(value)
    assert not shown


def test_a_long_title_is_wrapped_to_the_figure():
    value = schedules.SGDR(min_lr=0.0, max_lr=0.1, cycle_length=30, cycle_mult=1.5)
    display = ScheduleDisplay.from_schedule(value, 100, name=f"{value} and {value}").plot()
    display.figure_.canvas.draw()
    title = display.ax_.title.get_window_extent()
    assert title.x0 >= 0
    assert title.x1 <= display.figure_.bbox.x1
    assert " ".join(display.ax_.get_title().split()) == f"{value} and {value}"


def test_a_schedule_without_cycles_has_no_marks():
    display = ScheduleDisplay.from_schedule(schedules.Constant(lr=0.1), 5).plot()
    assert len(display.ax_.get_lines()) == 1


def takes_no_arrays(step):
    return 0.5 if step < 2 else 0.25


class Decay:
    """A schedule of a user's own, without snapshots."""

    def __call__(self, step):
        return torch.tensor(1.0) / (1 + step)

    def __repr__(self):
        return "Decay()"


@pytest.mark.parametrize(
    ("function", "rates", "name"),
    [
        pytest.param(takes_no_arrays, [0.5, 0.5, 0.25], "takes_no_arrays", id="function"),
        pytest.param(lambda step: 0.5**step, [1, 0.5, 0.25], "<lambda>", id="lambda"),
        pytest.param(Decay(), np.float32([1, 0.5, 1 / 3]), "Decay()", id="object"),
        pytest.param(
            schedules.Constant(lr=0.5), [0.5] * 3, repr(schedules.Constant(lr=0.5)), id="value"
        ),
    ],
)
def test_any_function_of_the_step_can_be_drawn(function, rates, name):
    display = ScheduleDisplay.from_schedule(function, n_steps=3)
    np.testing.assert_array_equal(display.rates, rates)
    np.testing.assert_array_equal(display.steps, [0, 1, 2])
    assert display.snapshot_steps.size == 0
    assert display.name == name
    assert display.plot().ax_.get_title() == name
    assert ScheduleDisplay.from_schedule(function, n_steps=3, name="mine").name == "mine"


@pytest.mark.parametrize(
    ("schedule", "n_steps", "error", "name"),
    [(0.1, 3, TypeError, "schedule"), (takes_no_arrays, 0, ValueError, "n_steps"),
     (takes_no_arrays, 2.0, TypeError, "n_steps")],
)  # fmt: skip
def test_what_is_no_schedule_or_length_raises(schedule, n_steps, error, name):
    with pytest.raises(error, match=f"The '{name}' parameter of ScheduleDisplay.from_schedule"):
        ScheduleDisplay.from_schedule(schedule, n_steps)


def test_plot_draws_where_it_is_told():
    _, ax = plt.subplots()
    display = ScheduleDisplay(steps=[0, 1], rates=[1.0, 0.5]).plot(ax=ax, color="red")
    assert display.ax_ is ax
    assert ax.get_lines()[0].get_color() == "red"


def test_callback_preview_is_in_epochs():
    callback = CyclicalLR(max_lr=1.0, step_size=2)
    display = callback.plot(steps_per_epoch=10, n_epochs=4)
    line = display.ax_.get_lines()[0]
    assert display.ax_.get_xlabel() == "epoch"
    np.testing.assert_allclose(line.get_xdata(), np.arange(40) / 10)
    np.testing.assert_array_equal(line.get_ydata(), callback.schedule(10)(np.arange(40)))


def test_callback_preview_uses_its_own_length_of_training():
    display = SnapshotCosine(n_cycles=2, n_epochs=6).plot(steps_per_epoch=10, n_epochs=6, lr=0.5)
    np.testing.assert_array_equal(display.snapshot_steps, [30, 60])
    assert display.rates[0] == 0.5


def test_range_display_draws_curve_band_repeats_and_marks():
    lrs = np.geomspace(1e-4, 1, 9)
    display = LRRangeDisplay(
        lrs=lrs,
        losses=np.linspace(2, 1, 9),
        band=(np.linspace(1.9, 0.9, 9), np.linspace(2.1, 1.1, 9)),
        repeats=[(lrs, np.linspace(2, 1, 9))] * 3,
        marks={"lr": 0.01},
        title="a title",
    )
    assert display.plot() is display
    assert len(display.ax_.get_lines()) == 3 + 1 + 1
    assert len(display.ax_.collections) == 1
    assert display.ax_trials_ is None
    assert display.figure_ is display.ax_.figure
    assert display.ax_.get_xscale() == "log"
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert "lr = 0.01" in labels
    assert display.ax_.get_title() == "a title"


def test_a_flat_loss_of_any_size_can_be_drawn():
    display = LRRangeDisplay(lrs=[0.1, 1.0], losses=[1e5, 1e5], marks={"lr": 0.1}).plot()
    low, high = display.ax_.get_ylim()
    assert low < 1e5 < high


LRS = np.geomspace(1e-6, 10, 50)
FALL = 2.3 - 1.5 / (1 + (0.05 / LRS) ** 2)
"""From 2.3 to 0.8, half of it at 0.05."""
DIVERGING = np.where(LRS > 2, FALL + 1000 * (LRS - 2), FALL)
MARKS = {"lr": 0.1, "base_lr": 0.05, "max_lr": 0.2, "steepest_lr": 0.04}
TRIALS = (
    [0.1, 0.2, 0.05, 0.02, 0.4, 0.8],
    [0.3, 0.35, 0.25, 0.9, 40.0, math.inf],
    [90, 90, 30, 30, 30, 7],
)


def full(**params):
    defaults = {"lrs": LRS, "losses": DIVERGING, "marks": MARKS, "trials": TRIALS, "best_trial": 0}
    defaults |= {"phases": (1e-3, 2.0), "interval": (0.05, 0.3)}
    defaults |= {"repeats": [(LRS, DIVERGING * part) for part in (0.99, 1.01)]}
    return LRRangeDisplay(**(defaults | params))


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def drawn(ax):
    """Return the points of each scatter by its label; off the scale as fractions of the height."""
    return {points.get_label(): points.get_offsets().tolist() for points in ax.collections}


def spans(ax):
    """Return the shaded phases as pairs of rates."""
    boxes = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    return [(box.get_x(), box.get_x() + box.get_width()) for box in boxes]


def names(ax):
    return [text.get_text() for text in ax.texts]


def test_a_whole_search_is_drawn_in_two_panels(shown):
    display = full().plot()
    ax, below = display.ax_, display.ax_trials_
    assert display.figure_.axes == [ax, below]
    assert ax.get_shared_x_axes().joined(ax, below)
    assert below.get_xscale() == "log"
    assert (ax.get_xlabel(), below.get_xlabel()) == ("", "learning rate")
    assert (ax.get_ylabel(), below.get_ylabel()) == ("training loss", "validation loss")
    assert ax.get_position().y0 > below.get_position().y1
    assert ax.get_position().x0 == below.get_position().x0
    assert not shown


def test_marks_have_their_numbers_in_the_legend():
    display = full().plot()
    assert legend(display.ax_) == [
        "single ramps",
        "mean, smoothed",
        "lr = 0.1",
        "cycle: base_lr = 0.05, max_lr = 0.2",
        "steepest descent = 0.04",
        "interval of lr: 0.05 to 0.3",
    ]
    for ax in (display.ax_, display.ax_trials_):
        verticals = [line for line in ax.get_lines() if len(set(line.get_xdata())) == 1]
        assert [line.get_xdata()[0] for line in verticals] == list(MARKS.values())
    base, high = (line for line in display.ax_.get_lines() if line.get_linestyle() == "--")
    assert base.get_color() == high.get_color()


def test_a_single_bound_is_named_by_itself():
    assert legend(LRRangeDisplay(lrs=LRS, losses=FALL, marks={"max_lr": 0.2}).plot().ax_)[-1] == (
        "max_lr = 0.2"
    )


def test_the_interval_is_a_bar():
    (bar,) = [line for line in full().plot().ax_.get_lines() if "interval" in str(line.get_label())]
    np.testing.assert_array_equal(bar.get_xdata(), [0.05, 0.3])
    assert len(set(bar.get_ydata())) == 1


def test_an_unknown_interval_is_left_out():
    ax = full(interval=(math.nan, math.nan)).plot().ax_
    assert not any("interval" in label for label in legend(ax))


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ((1e-3, 2.0), {"too low": (None, 1e-3), "descent": (1e-3, 2.0), "divergence": (2.0, None)}),
        ((1e-3, math.nan), {"too low": (None, 1e-3), "descent": (1e-3, None)}),
        ((math.nan, 2.0), {"divergence": (2.0, None)}),
        ((math.nan, math.nan), {}),
        (None, {}),
        ((1e-9, 2.0), {"descent": (None, 2.0), "divergence": (2.0, None)}),
    ],
)
def test_phases_that_were_seen_are_shaded_and_named(phases, expected):
    ax = full(phases=phases).plot().ax_
    left, right = LRS[0], LRS[-1]
    ends = [(low or left, high or right) for low, high in expected.values()]
    np.testing.assert_allclose(spans(ax), np.reshape(ends, (-1, 2)) if ends else [])
    assert names(ax) == list(expected)


def test_names_of_phases_stay_within_the_axes():
    ax = full(phases=(1e-3, 9.0)).plot().ax_
    for text in ax.texts:
        assert text.get_window_extent().x1 <= ax.get_window_extent().x1


def test_trials_are_sized_by_their_steps_and_the_best_is_ringed():
    ax = full().plot().ax_trials_
    points = drawn(ax)
    assert points["30 steps"] == [[0.05, 0.25], [0.02, 0.9]]
    assert points["90 steps"] == [[0.1, 0.3], [0.2, 0.35]]
    assert points["best"] == [[0.1, 0.3]]
    sizes = {group.get_label(): group.get_sizes()[0] for group in ax.collections}
    assert sizes["30 steps"] < sizes["90 steps"] < sizes["best"]
    assert set(legend(ax)) == set(points)


def test_diverged_and_outlying_trials_stand_at_the_top():
    ax = full().plot().ax_trials_
    points = drawn(ax)
    assert points["diverged"] == [[0.8, 0.9]]
    assert points["off the scale"] == [[0.4, 0.9]]
    low, high = ax.get_ylim()
    assert low < 0.25
    assert 0.9 < high < 2


def test_without_a_finite_trial_none_is_best():
    trials = ([0.1, 1.0], [math.inf, math.nan], [3, 5])
    points = drawn(full(trials=trials, best_trial=None).plot().ax_trials_)
    assert list(points) == ["diverged"]
    assert len(points["diverged"]) == 2


def test_empty_trials_have_no_panel():
    display = full(trials=([], [], [])).plot()
    assert display.ax_trials_ is None
    assert display.ax_.get_xlabel() == "learning rate"


@pytest.mark.parametrize("layout", ["constrained", "tight", None])
def test_in_a_grid_it_stays_in_its_cell(layout):
    figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout=layout)
    cell = axes[0, 1].get_position()
    display = full().plot(ax=axes[0, 1])
    assert display.ax_ is axes[0, 1]
    assert display.figure_ is figure
    assert len(figure.axes) == 5
    upper, lower = display.ax_.get_position(), display.ax_trials_.get_position()
    np.testing.assert_allclose([upper.x0, upper.x1, upper.y1], [cell.x0, cell.x1, cell.y1])
    np.testing.assert_allclose([lower.x0, lower.x1, lower.y0], [cell.x0, cell.x1, cell.y0])
    assert lower.y1 < upper.y0
    figure.canvas.draw()
    assert display.ax_trials_.get_position().y1 < display.ax_.get_position().y0
    tops = [axes[1, 1].get_tightbbox().y1, display.ax_trials_.get_tightbbox().y0]
    assert layout is None or tops[0] <= tops[1]


def test_axes_outside_of_a_grid_are_divided_too():
    figure = plt.figure()
    ax = figure.add_axes([0.2, 0.3, 0.6, 0.5])
    display = full().plot(ax=ax)
    assert display.ax_.get_position().y1 == pytest.approx(0.8)
    assert display.ax_trials_.get_position().bounds[:3] == pytest.approx((0.2, 0.3, 0.6))
    assert display.ax_trials_.get_position().y1 < display.ax_.get_position().y0


def test_in_a_subfigure():
    left, right = plt.figure(figsize=(12, 5)).subfigures(1, 2)
    display = full().plot(ax=right.subplots())
    assert display.figure_ is right
    assert not left.axes


def test_in_tiny_axes_a_legend_would_hide_the_curve():
    display = full().plot(ax=plt.subplots(3, 3)[1][1, 1])
    assert display.ax_.get_legend() is None
    assert display.ax_trials_.get_legend() is None


@pytest.mark.parametrize("shift", [0, -3, -20])
def test_a_diverging_end_does_not_flatten_the_fall(shift):
    display = full(losses=DIVERGING + shift, repeats=(), trials=None).plot()
    low, high = display.ax_.get_ylim()
    assert low < 0.8 + shift
    assert 2.3 + shift < high
    assert high - low < 3


def test_losses_that_are_not_finite_leave_a_gap():
    losses = FALL.copy()
    losses[[0, 30, -1]] = math.nan, math.inf, math.nan
    low, high = full(losses=losses, repeats=[(LRS, losses)]).plot().ax_.get_ylim()
    assert low < 0.9 < 2.2 < high < 4


def test_a_small_fall_is_seen():
    diverging = np.where(LRS > 2, 9, 2.3 - 0.07 * (2.3 - FALL) / 1.5)
    low, high = LRRangeDisplay(lrs=LRS, losses=diverging).plot().ax_.get_ylim()
    assert low < 2.23 < 2.3 < high < 2.4


def test_a_spike_in_a_single_ramp_does_not_flatten_the_fall():
    spiked = FALL.copy()
    spiked[5] = 500
    low, high = full(repeats=[(LRS, spiked)]).plot().ax_.get_ylim()
    assert high - low < 3


def test_of_a_rising_loss_the_rise_is_seen():
    low, high = LRRangeDisplay(lrs=LRS, losses=2.3 + LRS**2).plot().ax_.get_ylim()
    assert low < 2.3
    assert 4 < high < 10


def test_noise_does_not_look_like_a_fall():
    noise = np.random.default_rng(0).normal(2.3, 0.001, 50)
    low, high = LRRangeDisplay(lrs=LRS, losses=noise).plot().ax_.get_ylim()
    assert high - low > 0.1


def test_all_rates_are_seen():
    trials = ([1e-7, 50.0], [1.0, 1.0], [5, 5])
    left, right = full(trials=trials).plot().ax_.get_xlim()
    assert 1e-8 < left < 1e-7
    assert 50 < right < 500
    lrs = np.linspace(0, 1, 20)
    linear = LRRangeDisplay(lrs=lrs, losses=2 - lrs, scale="linear", phases=(0.1, 0.9)).plot()
    assert linear.ax_.get_xlim() == pytest.approx((-0.02, 1.02))
    np.testing.assert_allclose(spans(linear.ax_), [(0, 0.1), (0.1, 0.9), (0.9, 1)])


def test_without_an_answer_the_message_is_written():
    message = "The loss did not change over the whole range. Raise max_lr."
    display = LRRangeDisplay(lrs=LRS, losses=np.full(50, 2.3), message=message).plot()
    assert " ".join(names(display.ax_)[0].split()) == message
    assert "\n" in names(display.ax_)[0]


def test_without_a_finite_loss_there_is_still_a_picture():
    display = LRRangeDisplay(
        lrs=[],
        losses=[],
        band=([], []),
        repeats=[([0.1], [math.nan])],
        message="No loss was finite.",
    ).plot()
    display.figure_.canvas.draw()
    assert names(display.ax_) == ["No loss was finite."]


class MadeUp(SimpleNamespace):
    """The attributes of a fitted search that are drawn."""

    def _plot_data(self):
        return range_plot_data(self)


def made_up_search(**changes):
    n = len(LRS)
    fields = {
        "curve_": SimpleNamespace(lrs=LRS, loss=FALL, band=(FALL - 0.1, FALL + 0.2)),
        "results_": {
            "repeat": np.tile(np.repeat([0, 1], n), 2),
            "round": np.repeat([0, 1], 2 * n),
            "step": np.tile(np.arange(n), 4),
            "lr": np.concatenate([LRS / 10, LRS / 10, LRS, LRS]),
            "loss": np.concatenate([FALL, FALL, FALL - 0.05, FALL + 0.05]),
        },
        "suggestion_": SimpleNamespace(
            **MARKS, interval=(0.05, 0.3), status="no_divergence", message="What happened."
        ),
        # A trial of another schedule is no point of the same curve, and not drawn.
        "trials_": {
            name: np.array([*values, 1.0])
            for name, values in zip(("lr", "loss", "steps"), TRIALS, strict=True)
        }
        | {"schedule": np.array(["Constant"] * len(TRIALS[0]) + ["OneCycle"])},
        "phases_": (1e-3, math.nan),
        "scale": "log",
        "scoring": None,
    }
    return MadeUp(**(fields | changes))


def test_from_search_takes_all_that_a_search_found():
    display = LRRangeDisplay.from_search(made_up_search())
    # Of a search that extended its range only the round counts that the curve averages.
    assert len(display.repeats) == 2
    for (lrs, losses), shift in zip(display.repeats, (-0.05, 0.05), strict=True):
        np.testing.assert_array_equal(lrs, LRS)
        np.testing.assert_array_equal(losses, FALL + shift)
    np.testing.assert_array_equal(display.losses, FALL)
    np.testing.assert_array_equal(display.band, (FALL - 0.1, FALL + 0.2))
    np.testing.assert_array_equal(display.trials, TRIALS)
    assert display.best_trial == 0
    assert display.marks == MARKS
    assert display.interval == (0.05, 0.3)
    assert display.phases == (1e-3, math.nan)
    ax = display.plot().ax_
    assert ax.get_title() == "learning-rate range test: no divergence, lr = 0.1"
    assert names(ax) == ["too low", "descent"]


def test_from_search_draws_the_ramps_of_the_round_that_answered():
    search = made_up_search()
    search.curve_ = SimpleNamespace(lrs=LRS / 10, loss=FALL, band=(FALL, FALL))
    display = LRRangeDisplay.from_search(search)
    for lrs, losses in display.repeats:
        np.testing.assert_array_equal(lrs, LRS / 10)
        np.testing.assert_array_equal(losses, FALL)


def test_from_search_without_an_answer_marks_nothing():
    unknown = dict.fromkeys(MARKS, math.nan) | {"steepest_lr": 0.1}
    suggestion = SimpleNamespace(
        **unknown, interval=(0.1, 0.2), status="flat", message="Raise max_lr."
    )
    nothing = {name: np.array([]) for name in ("lr", "loss", "steps", "schedule")}
    display = LRRangeDisplay.from_search(
        made_up_search(suggestion_=suggestion, trials_=nothing, phases_=(math.nan, math.nan))
    ).plot()
    assert display.ax_.get_title() == "learning-rate range test: flat"
    assert names(display.ax_) == ["Raise max_lr."]
    assert display.marks == {}
    assert display.ax_trials_ is display.best_trial is None
    assert legend(display.ax_) == ["single ramps", "± 1 standard deviation", "mean, smoothed"]


def test_from_search_of_one_ramp_has_no_band():
    search = made_up_search()
    search.results_ = {name: column[-50:] for name, column in search.results_.items()}
    display = LRRangeDisplay.from_search(search)
    assert display.band is None
    assert legend(display.plot().ax_)[:2] == ["single ramp", "smoothed"]


@pytest.mark.parametrize(
    ("scoring", "name"),
    [
        ("balanced_accuracy", "balanced accuracy"),
        (test_schedule_display_draws_the_rates, "test schedule display..."),
    ],
)
def test_from_search_with_scores_draws_them_upwards(scoring, name):
    score = 1 - FALL / 2.5
    search = made_up_search(scoring=scoring)
    search.curve_ = SimpleNamespace(lrs=LRS, loss=-score, band=(-score - 0.02, -score + 0.01))
    scores = np.concatenate([score, score, score, np.where(LRS > 5, np.nan, score)])
    search.results_["score"] = scores
    trials = {"lr": np.array([0.2, 0.1, 0.4]), "steps": np.array([9, 9, 5])}
    trials["schedule"] = np.array(["Constant"] * 3)
    search.trials_ = trials | {"score": np.array([0.7, 0.6, -math.inf])}
    display = LRRangeDisplay.from_search(search).plot()
    np.testing.assert_array_equal(display.losses, score)
    np.testing.assert_array_equal(display.band, (score - 0.01, score + 0.02))
    np.testing.assert_array_equal(display.repeats[0][1], score)
    assert display.ax_.get_ylabel() == f"validation score ({name}),\nhigher is better"
    assert display.ax_trials_.get_ylabel() == "validation score"
    assert drawn(display.ax_trials_)["best"] == [[0.2, 0.7]]
    assert drawn(display.ax_trials_)["diverged"] == [[0.4, 0.1]]
    assert "ascent" in names(display.ax_)
    assert "steepest ascent = 0.04" in legend(display.ax_)
    low, high = display.ax_.get_ylim()
    assert low < score.min() < score.max() < high


def test_a_collapsing_score_does_not_flatten_its_rise():
    score = 1 - FALL / 2.5
    score[LRS > 5] = -1000
    low, high = LRRangeDisplay(lrs=LRS, losses=score, higher_is_better=True).plot().ax_.get_ylim()
    assert -1 < low < 0.1
    assert 0.6 < high < 2


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    original = builtins.__import__

    def no_matplotlib(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(ImportError, match=r"sklr\[plot\]"):
        ScheduleDisplay(steps=[0], rates=[1.0]).plot()


def test_names_of_narrow_phases_do_not_run_into_each_other():
    lrs = np.geomspace(1e-7, 10, 100)
    display = LRRangeDisplay(lrs=lrs, losses=np.ones(100), phases=(0.5, 0.8)).plot()
    texts = {text.get_text(): text.get_window_extent() for text in display.ax_.texts}
    assert {"descent", "divergence"} <= set(texts)
    assert not texts["descent"].overlaps(texts["divergence"])
    assert texts["descent"].y0 > texts["divergence"].y0


def test_an_interval_of_no_width_is_not_drawn():
    lrs = np.geomspace(1e-7, 10, 100)
    display = LRRangeDisplay(lrs=lrs, losses=np.ones(100), interval=(0.1, 0.1)).plot()
    assert not any("interval" in line.get_label() for line in display.ax_.lines)


CORRELATION = np.array([[1.0, 0.9, 0.8], [0.9, 1.0, 0.95], [0.8, 0.95, 1.0]])
WORDS = np.array(list("jihgfedcba"))[Y_DIGITS]


def snapshots(**params):
    defaults = {
        "epochs": [1, 2, 3, 4],
        "rates": [0.5, 0.1, 0.5, 0.1, 0.5, 0.1, 0.5, 0.0],
        "losses": [2.0, 1.0, 0.7, 0.5],
        "valid_losses": [2.1, 1.2, 0.9, 0.8],
        "snapshot_epochs": [1.5, 2.5, 4.0],
        "member_errors": [0.3, 0.2, 0.1],
        "staged_errors": [0.1, 0.08, 0.09],
        "correlation": CORRELATION,
    }
    return SnapshotDisplay(**(defaults | params))


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_snapshots_are_drawn_in_three_panels_side_by_side(shown):
    display = snapshots().plot()
    assert display.plot().figure_ is display.ax_.figure
    training, errors, matrix = display.axes_
    assert display.ax_ is training
    assert [ax.get_xlabel() for ax in display.axes_] == [
        "epoch",
        "number of members, from the last",
        "member",
    ]
    display.figure_.canvas.draw()
    places = [ax.get_position() for ax in (training, errors, matrix)]
    assert places[0].x1 < places[1].x0 < places[1].x1 < places[2].x0
    assert not shown


def test_the_training_has_losses_rates_and_snapshots():
    display = snapshots().plot()
    found = lines(display.ax_)
    np.testing.assert_array_equal(found["training loss"].get_xydata()[:, 0], [1, 2, 3, 4])
    np.testing.assert_array_equal(found["training loss"].get_ydata(), display.losses)
    np.testing.assert_array_equal(found["validation loss"].get_ydata(), display.valid_losses)
    marks = [line.get_xdata()[0] for line in display.ax_.get_lines() if line.get_color() == "C3"]
    assert marks == [1.5, 2.5, 4.0]
    (rates,) = [patch for patch in display.ax_rate_.patches if isinstance(patch, StepPatch)]
    # Each rate holds over its half of an epoch.
    np.testing.assert_array_equal(rates.get_data().values, display.rates)
    np.testing.assert_array_equal(rates.get_data().edges, np.arange(9) / 2)
    assert legend(display.ax_) == ["learning rate", "snapshots", "training loss", "validation loss"]
    assert display.ax_.get_zorder() > display.ax_rate_.get_zorder()


def test_the_legend_of_the_training_has_room_above_the_curves():
    display = snapshots().plot()
    display.figure_.canvas.draw()
    box = display.ax_.get_legend().get_window_extent()
    for ax, highest in ((display.ax_, 2.1), (display.ax_rate_, 0.5)):
        assert ax.transData.transform([0, highest])[1] < box.y0


def test_members_stand_where_they_join():
    ax = snapshots().plot().axes_[1]
    # The last member, the best here, is alone the ensemble of one.
    assert drawn(ax) == {"each member alone": [[3, 0.3], [2, 0.2], [1, 0.1]]}
    together = lines(ax)["last members together"]
    np.testing.assert_array_equal(together.get_xydata(), [[1, 0.1], [2, 0.08], [3, 0.09]])
    several = snapshots(member_places=[2, 1, 1]).plot().axes_[1]
    assert drawn(several)["each member alone"] == [[2, 0.3], [1, 0.2], [1, 0.1]]


def test_correlations_are_an_annotated_image():
    ax = snapshots().plot().axes_[2]
    (image,) = ax.get_images()
    np.testing.assert_array_equal(image.get_array(), CORRELATION)
    assert image.get_clim() == (0.8, 1)
    written = {text.get_position(): text.get_text() for text in ax.texts}
    assert len(written) == 9
    assert written[1, 3] == written[3, 1] == "0.80"
    alike = snapshots(correlation=1 - (1 - CORRELATION) / 10).plot().axes_[2]
    assert {text.get_text() for text in alike.texts} == {"1.000", "0.990", "0.980", "0.995"}
    assert ax.get_ylim() == (3.5, 0.5)


def test_many_correlations_are_not_written():
    ax = snapshots(correlation=np.ones((11, 11))).plot().axes_[2]
    assert not ax.texts
    assert min(ax.get_xlim()) == 0.5


@pytest.mark.parametrize(
    ("missing", "labels"),
    [
        (["correlation"], ["epoch", "number of members, from the last"]),
        (["staged_errors"], ["epoch", "number of members, from the last", "member"]),
        (["member_errors", "staged_errors"], ["epoch", "member"]),
        (["member_errors", "staged_errors", "correlation"], ["epoch"]),
    ],
)
def test_panels_without_data_are_left_out(missing, labels):
    display = snapshots(**dict.fromkeys(missing)).plot()
    assert [ax.get_xlabel() for ax in display.axes_] == labels
    display.figure_.canvas.draw()


def test_the_least_training_can_be_drawn():
    display = SnapshotDisplay(epochs=[1], rates=[], losses=[math.nan]).plot()
    display.figure_.canvas.draw()
    assert display.ax_rate_ is None
    assert legend(display.ax_) == ["training loss"]


def test_into_given_axes_only_the_training_is_drawn():
    figure, axes = plt.subplots(1, 2)
    display = snapshots().plot(ax=axes[1])
    assert display.axes_.tolist() == [axes[1]]
    assert display.figure_ is figure
    assert figure.axes == [*axes, display.ax_rate_]


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"epochs": []}, r"'epochs' .* at least one epoch. Got an array of shape \(0,\)"),
        ({"losses": [1.0]}, r"'losses' .* each of the 4 epochs. Got an array of shape \(1,\)"),
        ({"valid_losses": [1.0]}, "'valid_losses' .* each of the 4 epochs"),
        ({"correlation": np.ones((2, 3))}, "'correlation' .* a square matrix"),
        ({"member_places": [1]}, "'member_places' .* each of member_errors"),
    ],
)
def test_arrays_that_do_not_belong_together_raise(params, text):
    with pytest.raises(ValueError, match=f"The {text.replace(' .*', ' parameter of Snap.*', 1)}"):
        snapshots(**params)


@pytest.fixture(scope="module")
def ensemble():
    net = make_classifier(train_split=ValidSplit(5, stratified=True))
    ensemble = SnapshotEnsemble(net, n_snapshots=3, random_state=0)
    with pytest.warns(UserWarning, match="the earlier ones are weak"):
        return ensemble.fit(X_DIGITS, WORDS)


def test_from_ensemble_takes_what_fit_found(ensemble):
    display = SnapshotDisplay.from_ensemble(ensemble)
    history = ensemble.history_
    np.testing.assert_array_equal(display.epochs, np.arange(1, 7))
    np.testing.assert_array_equal(display.losses, history[:, "train_loss"])
    np.testing.assert_array_equal(display.valid_losses, history[:, "valid_loss"])
    # 400 samples in batches of 50.
    assert display.rates.shape == (48,)
    np.testing.assert_array_equal(display.rates[7::8], history[:, "lr"])
    np.testing.assert_array_equal(display.snapshot_epochs, np.array(ensemble.snapshot_steps_) / 8)
    np.testing.assert_allclose(display.member_errors, 1 - ensemble.member_scores_)
    np.testing.assert_array_equal(display.correlation, ensemble.diversity_.correlation)
    assert display.staged_errors is None
    assert len(display.plot().axes_) == 3


def test_from_ensemble_computes_errors_on_given_data(ensemble):
    X, y = X_DIGITS[:90], WORDS[:90]
    display = SnapshotDisplay.from_ensemble(ensemble, X, y)
    probas = [member.predict_proba(X) for member in ensemble.estimators_]
    errors = [np.mean(ensemble.classes_[proba.argmax(axis=1)] != y) for proba in probas]
    np.testing.assert_allclose(display.member_errors, errors)
    staged = [np.mean(labels != y) for labels in ensemble.staged_predict(X)]
    np.testing.assert_allclose(display.staged_errors, staged)
    assert staged[-1] == pytest.approx(1 - ensemble.score(X, y))
    expected = np.corrcoef([proba.ravel() for proba in probas])
    np.testing.assert_allclose(display.correlation, expected, rtol=1e-5)
    unlabelled = SnapshotDisplay.from_ensemble(ensemble, X)
    np.testing.assert_array_equal(unlabelled.correlation, display.correlation)
    assert unlabelled.member_errors is unlabelled.staged_errors is None
    with pytest.raises(TypeError, match=r"The 'X' parameter of SnapshotDisplay.from_ensemble"):
        SnapshotDisplay.from_ensemble(ensemble, y=y)
    with pytest.raises(ValueError, match=r"'y' parameter .* each of the 90 samples of X"):
        SnapshotDisplay.from_ensemble(ensemble, X, y[:5])


def test_what_is_not_fitted_has_no_picture():
    for display, estimator in [
        (SnapshotDisplay.from_ensemble, SnapshotEnsemble(make_classifier())),
        (LRRangeDisplay.from_search, LRRangeSearch(make_classifier())),
    ]:
        with pytest.raises(NotFittedError):
            display(estimator)


def test_from_ensemble_without_validation_data_or_with_hard_voting():
    hard = SnapshotEnsemble(make_classifier(), n_snapshots=2, voting="hard", random_state=0)
    hard.fit(X_DIGITS, WORDS)
    display = SnapshotDisplay.from_ensemble(hard)
    assert display.valid_losses is display.member_errors is display.correlation is None
    display = SnapshotDisplay.from_ensemble(hard, X_DIGITS, WORDS)
    assert display.member_errors.shape == (2,)
    assert display.staged_errors.shape == (2,)
    assert display.staged_errors[-1] == pytest.approx(1 - hard.score(X_DIGITS, WORDS))


def test_from_ensemble_of_several_runs_has_members_at_each_place():
    runs = SnapshotEnsemble(make_classifier(), n_snapshots=2, n_runs=2, random_state=0)
    display = SnapshotDisplay.from_ensemble(runs.fit(X_DIGITS, WORDS), X_DIGITS, WORDS)
    np.testing.assert_array_equal(display.member_places, [2, 1, 2, 1])
    assert len(display.staged_errors) == 2
    assert display.correlation.shape == (4, 4)


@pytest.mark.filterwarnings("ignore:The averaged weights")
def test_from_ensemble_of_averaged_parameters_shows_those_that_were_averaged():
    net = make_classifier(train_split=ValidSplit(5, stratified=True))
    averaged = SnapshotEnsemble(net, n_snapshots=3, combine="parameters", random_state=0)
    display = SnapshotDisplay.from_ensemble(averaged.fit(X_DIGITS, WORDS))
    np.testing.assert_array_equal(display.member_places, [3, 2, 1])
    assert display.correlation.shape == (3, 3)
    alone = SnapshotDisplay.from_ensemble(averaged, X_DIGITS, WORDS)
    assert alone.correlation is None
    np.testing.assert_array_equal(alone.member_errors, alone.staged_errors)


def test_from_a_regressor_the_error_is_the_variance_left():
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X), scale(y)
    fitted = SnapshotEnsembleRegressor(make_regressor(), n_snapshots=2, random_state=0).fit(X, y)
    display = SnapshotDisplay.from_ensemble(fitted, X, y)
    assert display.staged_errors[-1] == pytest.approx(1 - fitted.score(X, y), rel=1e-5)
    singles = [1 - r2_score(y, member.predict(X)) for member in fitted.estimators_]
    np.testing.assert_allclose(display.member_errors, singles, rtol=1e-4)
    assert display.plot().axes_[1].get_ylabel() == "validation error (1 - R²)"
