"""Lengths in epochs, batches and fractions; functions of the position; data without a length."""

import math

import numpy as np
import pytest
import torch
from callback_helpers import (
    EPOCHS,
    EVERY_NAMED,
    LR,
    NAMED_IN_UNITS,
    OTHERS,
    PAIRS,
    SOME,
    SOME_NAMED,
    STEPS,
    UNIT_STEPS,
    Interrupt,
    X,
    Y,
    fit,
    interrupted,
    make,
    make_net,
    planned,
    rates,
    straight,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import IterableDataset

from sklr import schedules
from sklr.callbacks import CosineDecay, CyclicalLR, Schedule, StepDecay

ALL = range(EPOCHS * STEPS)

# --- the same schedule in each unit ---


def in_unit(name, unit, **params):
    """A callback whose rates are those of all other units: what is per unit is converted."""
    steps = UNIT_STEPS[unit]
    if name == "ExponentialDecay":
        params["gamma"] = OTHERS[name]["gamma"] ** (steps / STEPS)
    if name == "InverseTimeDecay":
        params["decay_rate"] = OTHERS[name]["decay_rate"] * steps / STEPS
    if name == "CyclicalLR":
        params |= {"mode": "exp_range", "gamma": 0.8 ** (steps / STEPS)}
    if name == "StepDecay":
        params |= {"every": None, "milestones": [7 / steps, 12 / steps, 13 / steps]}
    return make(name, unit, **params)


@EVERY_NAMED
def test_units_agree(name):
    trained = [rates(fit(in_unit(name, unit, warmup=4 / UNIT_STEPS[unit])))
               for unit in UNIT_STEPS]  # fmt: skip
    assert len(set(trained[0])) > 3
    np.testing.assert_allclose(trained[1], trained[0], rtol=1e-12)
    np.testing.assert_allclose(trained[2], trained[0], rtol=1e-12)


@NAMED_IN_UNITS
def test_warmup_in_every_unit(name, unit):
    """A line from zero, left one step early, to the schedule's first rate; then the schedule."""
    net = fit(make(name, unit, warmup=5 / UNIT_STEPS[unit]))
    after = rates(net)[5]
    np.testing.assert_allclose(rates(net)[:5], [after * (i + 1) / 6 for i in range(5)], rtol=1e-12)
    if make(name)._needs_total():
        # The schedule has the four epochs that are left to itself.
        assert rates(net)[5:] == rates(fit(make(name), max_epochs=4))
    else:
        assert rates(net)[5:] == rates(fit(make(name, unit), max_epochs=EPOCHS))[:20]


@pytest.mark.parametrize(("warmup", "steps"), [(0.1, None), (0.2, 1), (0.3, 2), (0.5, 2), (0.7, 4)])
def test_warmup_is_rounded_to_whole_steps(warmup, steps):
    callback = CosineDecay(warmup=warmup)
    if steps is None:  # half a step rounds to none at all
        with pytest.raises(ValueError, match="'warmup' parameter of CosineDecay must be at least"):
            callback.schedule(STEPS, 1, LR)
    else:
        assert callback.schedule(STEPS, EPOCHS, LR).n_steps == steps


@SOME_NAMED
def test_warmup_must_leave_something(name):
    callback = make(name, "fraction", warmup=1.0)
    with pytest.raises(ValueError, match=f"'warmup' parameter of {name} must be shorter than the "
                                         "training of 25 steps. Got 1.0 instead."):  # fmt: skip
        callback.schedule(STEPS, EPOCHS, LR)


@pytest.mark.parametrize(
    ("name", "length", "shortest"),
    [("CyclicalLR", "step_size", 0.6), ("SGDR", "cycle_length", 0.6), ("StepDecay", "every", 0.6)],
)
def test_a_length_of_almost_a_step(name, length, shortest):
    """What rounds to one step is taken; what rounds to none is refused in the user's own unit."""
    value = make(name, "epoch", **{length: shortest / STEPS}).schedule(STEPS, EPOCHS, LR)
    assert np.isfinite(value(ALL)).all()
    with pytest.raises(ValueError, match=f"'{length}' parameter of {name} must be at least one "
                                         "training batch: unit 'epoch' has 5 of them. "
                                         "Got 0.05 instead."):  # fmt: skip
        make(name, "epoch", **{length: 0.05}).schedule(STEPS, EPOCHS, LR)


@settings(max_examples=200)
@given(steps=st.integers(1, 1000), epochs=st.integers(1, 100), cycle=st.integers(1, 1000))
def test_whole_lengths_are_whole_in_every_unit(steps, epochs, cycle):
    """A length of so many steps is not missed by a rounding error of the unit."""
    for unit, length in {"epoch": steps, "fraction": steps * epochs, "batch": 1}.items():
        callback = StepDecay(every=cycle / length, unit=unit)
        every = callback.schedule(steps, epochs, LR).every
        assert every == cycle
        value = CyclicalLR(step_size=cycle / length, unit=unit).schedule(steps, epochs, LR)
        assert value(cycle) == LR


# --- Schedule ---


def test_schedule_of_a_value():
    value = schedules.warmup(schedules.CyclicalLR(base_lr=0.01, max_lr=0.2, step_size=3), 4)
    assert rates(fit(Schedule(value))) == [value(step) for step in ALL]


def test_schedule_of_a_value_past_its_end_holds():
    value = schedules.CosineDecay(min_lr=0.01, max_lr=0.2, n_steps=7)
    net = fit(Schedule(value))
    assert rates(net) == [value(step) for step in ALL]
    assert set(rates(net)[7:]) == {0.01}


def test_schedule_of_a_value_in_epochs_and_fractions():
    value = schedules.StepDecay(lr=0.1, factor=0.5, every=2)
    assert rates(fit(Schedule(value, "epoch"))) == [0.1] * 10 + [0.05] * 10 + [0.025] * 5
    value = schedules.StepDecay(lr=0.1, factor=0.5, milestones=[0.4])
    assert rates(fit(Schedule(value, "fraction"))) == [0.1] * 10 + [0.05] * 15


def test_schedule_of_a_lambda():
    assert rates(fit(Schedule(lambda step: 0.1 / (1 + step)))) == [0.1 / (1 + i) for i in ALL]


def test_positions_that_a_function_gets():
    for unit, length in UNIT_STEPS.items():
        seen = []
        fit(Schedule(lambda position, seen=seen: seen.append(position) or 0.1, unit))
        assert seen == [i / length for i in ALL]


@pytest.mark.parametrize(
    "rate",
    [0, 0.0, 1, 0.1, np.float32(0.25), np.int64(1), np.array(0.1), torch.tensor(0.5)],
    ids=repr,
)
def test_rates_that_a_function_may_give(rate):
    assert rates(fit(Schedule(lambda step: rate), epochs=1)) == [float(rate)] * STEPS


NO_RATES = [
    (-1e-300, ValueError),
    (math.inf, ValueError),
    (np.float32("nan"), ValueError),
    (None, TypeError),
    ("0.1", TypeError),
    (True, TypeError),
    (0.1j, TypeError),
    (torch.ones(2), TypeError),
]


@pytest.mark.parametrize(("rate", "error"), NO_RATES, ids=repr)
def test_rates_that_a_function_may_not_give(rate, error):
    at = 7
    function = Schedule(lambda p: rate if p * STEPS * EPOCHS >= at - 1e-9 else 0.1, "fraction")
    net = make_net(function)
    with pytest.raises(error) as caught:
        net.fit(X, Y)
    assert str(caught.value) == (
        f"The 'schedule' parameter of Schedule must return a finite rate at least 0. "
        f"Got {rate!r} instead."
    )
    # No step was done with it.
    assert net.optimizer_.used == [[0.1]] * at


def test_an_error_of_the_users_function_is_the_users():
    with pytest.raises(ZeroDivisionError):
        fit(Schedule(lambda step: 1 / step))


@pytest.mark.parametrize("schedule", [None, 0.1, "StepLR", schedules.CyclicalLR], ids=repr)
def test_what_is_no_schedule(schedule):
    net = make_net(Schedule(schedule))
    form = r"The 'schedule' parameter of Schedule must .+\. Got .+ instead\."
    with pytest.raises(TypeError, match=form):
        net.fit(X, Y)
    assert net.optimizer_.used == []


# --- data without a length ---


class Stream(IterableDataset):
    """The rows in order, without a length."""

    def __iter__(self):
        return zip(X, Y, strict=True)


class Counted(Stream):
    """The rows in order, with a length."""

    def __len__(self):
        return len(X)


@pytest.mark.parametrize(
    ("name", "unit"),
    [*PAIRS, ("CyclicalLR", "epoch"), ("Schedule", "batch"), ("OneCycle", "batch")],
)
def test_data_without_a_length(name, unit):
    """What counts batches works; the rest says what to pass instead."""
    callback = make(name, unit)
    net = make_net(callback)
    if unit == "batch" and not callback._needs_total():
        net.fit(Stream(), None)
        assert rates(net) == rates(straight(name, unit))
        return
    with pytest.raises(ValueError, match="instead") as error:
        net.fit(Stream(), None)
    text = str(error.value)
    if callback._needs_total():
        assert text.startswith(f"The 'n_epochs' parameter of {name} must be a length in steps")
        assert "pass Schedule(schedule) with a schedule of sklr.schedules and its n_steps" in text
    else:
        assert text.startswith(f"The 'unit' parameter of {name} must be 'batch' if the training")
        assert text.endswith(f"Got {unit!r} instead.")
    assert net.optimizer_.used == []


def test_the_error_without_a_length_names_a_way_out():
    """What the message says to pass does work."""
    value = schedules.CosineDecay(max_lr=LR, n_steps=len(ALL))
    net = make_net(Schedule(value)).fit(Stream(), None)
    assert rates(net) == rates(fit(CosineDecay()))


@pytest.mark.parametrize("name", ["CyclicalLR", "Schedule"])
def test_resuming_without_a_length(name):
    callback = make(name, "batch")
    net = make_net(callbacks=[("lr", callback), ("stop", Interrupt())]).fit(
        Stream(), None, epochs=1
    )
    dict(net.callbacks_)["stop"].arm(2)
    net.partial_fit(Stream(), None, epochs=1)
    net.partial_fit(Stream(), None, epochs=2)
    assert rates(net) == rates(fit(callback))[: 5 + 2 + 10]


@SOME
def test_a_stream_with_a_length(name):
    net = make_net(make(name, "fraction")).fit(Counted(), None)
    assert rates(net) == rates(straight(name, "fraction"))


def test_from_a_stream_to_arrays():
    callback = CyclicalLR(step_size=7, unit="batch")
    net = make_net(callback).fit(Stream(), None, epochs=2).partial_fit(X, Y, epochs=3)
    assert rates(net) == rates(fit(callback))


# --- sizes at the edge ---


@SOME
def test_a_last_batch_that_is_smaller(name):
    net = make_net(planned(name)).fit(X[:45], Y[:45])
    assert rates(net) == rates(straight(name))


@EVERY_NAMED
def test_one_batch_an_epoch(name):
    params = {"n_cycles": 1} if name in {"SnapshotCosine", "FastGeometric"} else {}
    callback = make(name, "batch", **params)
    net = fit(callback, batch_size=len(X))
    value = callback.schedule(1, EPOCHS, LR)
    assert rates(net) == [value(step) for step in range(EPOCHS)]


def test_another_iterator_sets_the_number_of_batches():
    """drop_last is the loader's own affair."""
    net = make_net(CosineDecay(), iterator_train__drop_last=True).fit(X[:45], Y[:45])
    assert len(rates(net)) == EPOCHS * 4
    assert rates(net) == [CosineDecay().schedule(4, EPOCHS, LR)(step) for step in range(20)]


def test_batches_are_counted_without_touching_the_random_state():
    stop = ("stop", Interrupt("on_epoch_begin"))
    net = make_net(callbacks=[("lr", CosineDecay()), stop], iterator_train__shuffle=True)
    net.initialize()
    before = torch.get_rng_state()
    interrupted(net, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert net.history[-1, "planned_batch_count"] == STEPS
