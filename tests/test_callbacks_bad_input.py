"""Every parameter of every schedule callback, out of range: one form of error, no step done."""

import itertools
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from callback_helpers import (
    EPOCHS,
    LR,
    NAMED,
    SCHEDULES,
    STEPS,
    TwoLayers,
    X,
    Y,
    fit,
    make_net,
    parameters,
    rates,
    wave,
    weights,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sklr._validation import ParameterError
from sklr.callbacks import SGDR, CosineDecay, CyclicalLR, FastGeometric, OneCycle, StepDecay

NAN, INF = math.nan, math.inf
# What is no number: TypeError.
NO_NUMBERS = ["0.1", True, [0.1], 0.1j, np.array([0.1]), object()]
NOT_FINITE = [NAN, INF, -INF, np.float32("nan")]


def number(*out_of_range, none=True):
    """Bad values of a number; None is one of them unless it is the default."""
    return [*NO_NUMBERS, *([None] if none else []), *NOT_FINITE, *out_of_range]


# A peak of 0.1 comes from the net's own rate where there is no other.
RATE = number(0, -0.1, none=False)
FLOOR = number(-0.1, -1e-300, LR, 0.2, 1e9, none=False)
LENGTH = number(0, -1, 0.05, 1e-300)  # 0.05 epochs round to 0 of 5 batches
DECAY = number(0, -0.5, 1.0001, 2)
MOMENTUM = number(-0.1, 1, 1.5, none=False)
COUNT = ["2", True, 2.0, None, [2], NAN, 0, -1, 10**6]
WORDS = [None, 1, True, "", "Cos", "triangular3", "linear ", ["cos"]]

# parameter -> bad values. What else must be set is in NEEDS.
BAD = {
    "unit": [*WORDS, "epochs", "step", "Batch"],
    "warmup": number(-1, -0.2, 0.05),
    "n_epochs": ["5", True, 5.0, [5], NAN, 0, -1],
    "lr": RATE,
    "max_lr": RATE,
    "base_lr": FLOOR,
    "min_lr": FLOOR,
    "factor": DECAY,
    "gamma": DECAY,
    "decay_rate": number(-0.1),
    "every": number(0, -1, 0.05, none=False),
    "milestones": [
        "12", b"12", 3, 3.0, True, {1, 2}, {1: 2}, iter([1, 2]), ["1"], [None], [True], [[1]],
        np.array([[1.0, 2.0]]), np.float64(2.0),  # of the wrong type
        [], (), [0], [0, 1], [-1, 1], [2, 1], [1, 1], [1, NAN], [1, INF], [NAN], [0.05, 1],
        np.array([]),
    ],
    "step_size": LENGTH,
    "mode": [*WORDS, "cos"],
    "cycle_length": LENGTH,
    "cycle_mult": number(0, -1),
    "max_decay": DECAY,
    "min_decay": DECAY,
    "n_cycles": COUNT,
    "pct_start": number(-0.1, 1.1),
    "div_factor": number(0, 0.5, -1),
    "final_div_factor": number(0, 0.5, -1),
    "anneal": [*WORDS, "triangular"],
    "pretrain_fraction": number(-0.1, 1, 1.5),
    "min_momentum": [*MOMENTUM, 0.9, 0.95],
    "max_momentum": [*MOMENTUM, 0.8, 0.7, 0],
    "schedule": [None, 0.1, "StepLR", [wave], CosineDecay],
}  # fmt: skip
NEEDS = {
    "min_momentum": {"max_momentum": 0.9},
    "max_momentum": {"min_momentum": 0.8},
    "gamma": {"mode": "exp_range"},
    "min_decay": {"max_decay": 0.5, "min_lr": 0.01},
}
# A bound that is out of range with the other one: the error names the one that is to be above.
NAMES_THE_OTHER = {("base_lr", "max_lr"), ("min_lr", "max_lr"), ("min_momentum", "max_momentum")}


def bad_callback(name, parameter, value):
    """Return a callback with one bad value, by the constructor alone."""
    cls = SCHEDULES[name]
    needs = NEEDS.get(parameter, {})
    params = {key: needed for key, needed in needs.items() if key in parameters(cls)}
    if name == "Schedule":
        params["schedule"] = wave
    return cls(**params | {parameter: value})


# The base class checks these for all.
OF_ALL = {"unit", "warmup", "n_epochs"}
ROWS = [
    pytest.param(name, parameter, id=f"{name}-{parameter}")
    for name in sorted(SCHEDULES)
    for parameter in parameters(SCHEDULES[name])
    if parameter not in OF_ALL or name == "CosineDecay"
]


def test_every_parameter_has_its_row():
    public = {parameter for cls in SCHEDULES.values() for parameter in parameters(cls)}
    assert public == set(BAD)


def assert_one_form(error, name, parameter, value):
    """The message names the callback and its own parameter, and shows what the user gave."""
    form = rf"^The '(\w+)' parameter of {name} must .+\. Got (.+) instead\.$"
    match = re.match(form, str(error), re.DOTALL)
    assert match, str(error)
    named, shown = match.groups()
    if named == parameter:
        assert shown == repr(value)
    else:
        assert (parameter, named) in NAMES_THE_OTHER
        assert f"{parameter}=" in str(error)
    wrong_type = isinstance(error, TypeError)
    assert wrong_type != isinstance(error, ValueError)
    return wrong_type


def is_wrong_type(parameter, value):
    """Return whether a value cannot be right whatever it holds."""
    if parameter in {"unit", "mode", "anneal"}:
        return not isinstance(value, str)
    if parameter == "schedule":
        return True
    if parameter == "milestones":
        if isinstance(value, np.ndarray):
            return value.ndim != 1
        return not isinstance(value, list | tuple) or any(
            isinstance(item, bool) or not isinstance(item, int | float) for item in value
        )
    if isinstance(value, bool):
        return True
    return not isinstance(value, int if parameter.startswith("n_") else int | float | np.number)


# One net for all rows: errors come before any step, so it stays as it is made.
UNTOUCHED = weights(make_net(module=TwoLayers).initialize())


@pytest.mark.parametrize(("name", "parameter"), ROWS)
def test_bad_input(name, parameter):
    for value in BAD[parameter]:
        callback = bad_callback(name, parameter, value)
        net = make_net(callback, module=TwoLayers, optimizer__momentum=0.9)
        with pytest.raises((TypeError, ValueError)) as caught:
            net.fit(X, Y)
        wrong_type = assert_one_form(caught.value, name, parameter, value)
        assert wrong_type == is_wrong_type(parameter, value)
        assert net.optimizer_.used == []
        np.testing.assert_array_equal(weights(net), UNTOUCHED)

        # Without a net it is the same error; momentum is the optimizer's affair.
        if name in NAMED and "momentum" not in parameter:
            with pytest.raises(type(caught.value)) as without:
                callback.schedule(STEPS, None if parameter == "n_epochs" else EPOCHS, LR)
            assert str(without.value) == str(caught.value)


def test_bad_unit_with_data_in_mid_training():
    """A parameter that is set between fits is looked at again, before any step."""
    net = fit(CosineDecay(n_epochs=5), epochs=1)
    before = weights(net)
    net.set_params(callbacks__lr__unit="epochs")
    form = "^The 'unit' parameter of CosineDecay must be one of 'epoch', 'batch', 'fraction'. Got"
    with pytest.raises(ValueError, match=form):
        net.partial_fit(X, Y)
    np.testing.assert_array_equal(weights(net), before)


# --- what only shows together ---

TOGETHER = [
    (CyclicalLR(base_lr=0.3, max_lr=0.2), ValueError,
     "The 'max_lr' parameter of CyclicalLR must be greater than base_lr=0.3. Got 0.2 instead."),
    (CyclicalLR(base_lr=0.3), ValueError,
     "The 'max_lr' parameter of CyclicalLR must be greater than base_lr=0.3. "
     "Got None, which stands for 0.1, instead."),
    (SGDR(min_lr=0.2, max_lr=0.2), ValueError,
     "The 'max_lr' parameter of SGDR must be greater than min_lr=0.2. Got 0.2 instead."),
    (StepDecay(every=2, milestones=[1, 2]), ValueError,
     "The 'every' parameter of StepDecay must be None if 'milestones' is given. Got 2 instead."),
    (OneCycle(min_momentum=0.8), TypeError,
     "The 'max_momentum' parameter of OneCycle must be a number if the other bound is one. "
     "Got None instead."),
    (OneCycle(max_momentum=0.8), TypeError,
     "The 'min_momentum' parameter of OneCycle must be a number if the other bound is one. "
     "Got None instead."),
    (OneCycle(min_momentum=0.9, max_momentum=0.8), ValueError,
     "The 'max_momentum' parameter of OneCycle must be greater than min_momentum=0.9 and less than "
     "1. Got 0.8 instead."),
    (CosineDecay(warmup=5), ValueError,
     "The 'warmup' parameter of CosineDecay must be shorter than the training of 25 steps. "
     "Got 5 instead."),
    (CosineDecay(warmup=1e308), ValueError,
     "The 'warmup' parameter of CosineDecay must be a finite number of training batches. "
     "Got 1e+308 instead."),
    (FastGeometric(n_cycles=6), ValueError,
     "The 'n_cycles' parameter of FastGeometric must be at most 5, the steps that are left of 25 "
     "after the pre-training of pretrain_fraction=0.8. Got 6 instead."),
    (CyclicalLR(step_size=0.03, unit="fraction", n_epochs=3), ValueError,
     "The 'step_size' parameter of CyclicalLR must be at least one training batch: unit 'fraction' "
     "has 15 of them. Got 0.03 instead."),
    (CyclicalLR(step_size=0.4, unit="batch"), ValueError,
     "The 'step_size' parameter of CyclicalLR must be at least one training batch: unit 'batch' "
     "has 1 of them. Got 0.4 instead."),
]  # fmt: skip


@pytest.mark.parametrize(("callback", "error", "text"), TOGETHER, ids=lambda row: repr(row)[:40])
def test_together(callback, error, text):
    net = make_net(callback, optimizer__momentum=0.9)
    with pytest.raises(error) as caught:
        net.fit(X, Y)
    assert str(caught.value) == text
    assert net.optimizer_.used == []


@pytest.mark.parametrize(
    ("name", "lr"), list(zip(sorted(NAMED), itertools.cycle([0.0, NAN, INF]), strict=False))
)
def test_a_net_whose_own_rate_is_none(name, lr):
    """The rate that a peak of None stands for is checked as the peak."""
    net = make_net(NAMED[name](), lr=lr)
    form = rf"^The '(max_)?lr' parameter of {name} must .+ instead\.$"
    with pytest.raises(ValueError, match=form):
        net.fit(X, Y)
    assert net.optimizer_.used == []


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(NAMED)),
    data=st.data(),
)
def test_any_value_is_taken_or_refused_in_the_one_form(name, data):
    """Whatever number goes in, rates are finite and at least 0, or the error has the one form."""
    no_numbers = {"unit", "mode", "anneal", "milestones", "n_epochs"}
    own = sorted(set(parameters(NAMED[name])) - no_numbers)
    parameter = data.draw(st.sampled_from(own))
    value = data.draw(st.floats() | st.integers(-3, 30) | st.none() | st.text(max_size=3))
    callback = NAMED[name](**{parameter: value})
    try:
        given_rates = callback.schedule(STEPS, EPOCHS, LR)(range(EPOCHS * STEPS))
    except ParameterError as error:
        refusal = error
    else:
        assert np.isfinite(given_rates).all()
        assert (given_rates >= 0).all()
        return
    assert isinstance(refusal, TypeError | ValueError)
    assert str(refusal).startswith(f"The {refusal.name!r} parameter of {name} must ")
    assert refusal.name in parameters(NAMED[name])


@pytest.mark.parametrize("name", sorted(NAMED))
def test_numbers_of_any_kind_are_taken(name):
    """numpy's scalars and Python's fractions are numbers."""
    peak = "max_lr" if "max_lr" in parameters(NAMED[name]) else "lr"
    expected = NAMED[name](**{peak: 0.25}).schedule(STEPS, EPOCHS)
    for value in (np.float32(0.25), np.float64(0.25), Fraction(1, 4)):
        callback = NAMED[name](**{peak: value})
        assert callback.schedule(STEPS, EPOCHS) == expected
        assert rates(fit(callback, max_epochs=EPOCHS, epochs=1)) == [
            expected(i) for i in range(STEPS)
        ]
