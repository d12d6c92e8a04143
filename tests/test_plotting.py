"""The displays hold arrays, draw what they hold, and never call show."""

import builtins

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sklr import schedules
from sklr.callbacks import CyclicalLR, SnapshotCosine
from sklr.plotting import LRRangeDisplay, ScheduleDisplay


@pytest.fixture
def shown(monkeypatch):
    calls = []
    monkeypatch.setattr(plt, "show", lambda *args: calls.append(args))
    return calls


def test_schedule_display_draws_the_rates(shown):
    value = schedules.Triangular(base_lr=0.1, max_lr=1.0, step_size=5)
    display = ScheduleDisplay.from_schedule(value, 20)
    assert display.plot() is display
    line = display.ax_.get_lines()[0]
    np.testing.assert_array_equal(line.get_xdata(), np.arange(20))
    np.testing.assert_array_equal(line.get_ydata(), value(np.arange(20)))
    # The ends of both cycles are marked.
    marks = [mark.get_xdata()[0] for mark in display.ax_.get_lines()[1:]]
    assert marks == [10, 20]
    assert display.figure_ is display.ax_.figure
    assert display.ax_.get_title() == repr(value)
    assert not shown


def test_a_schedule_without_cycles_has_no_marks():
    display = ScheduleDisplay.from_schedule(schedules.Constant(lr=0.1), 5).plot()
    assert len(display.ax_.get_lines()) == 1


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
    assert display.ax_.get_xscale() == "log"
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert "lr = 0.01" in labels
    assert display.ax_.get_title() == "a title"


def test_a_flat_loss_of_any_size_can_be_drawn():
    display = LRRangeDisplay(lrs=[0.1, 1.0], losses=[1e5, 1e5], marks={"lr": 0.1}).plot()
    low, high = display.ax_.get_ylim()
    assert low < 1e5 < high


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    original = builtins.__import__

    def no_matplotlib(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(ImportError, match=r"sklr\[plot\]"):
        ScheduleDisplay(steps=[0], rates=[1.0]).plot()
