"""Properties of every schedule; the schedules are discovered, only examples of them are listed."""

import copy
import math
import pickle
import re
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from fractions import Fraction
from inspect import isabstract, isclass

import numpy as np
import pytest

from sklr import schedules
from sklr.schedules import (
    SGDR,
    BaseSchedule,
    Constant,
    CosineDecay,
    CyclicalLR,
    ExponentialDecay,
    FastGeometric,
    InverseTimeDecay,
    OneCycle,
    RangeTest,
    SnapshotCosine,
    StepDecay,
    join,
    scale,
    warmup,
)

PUBLIC = {name: getattr(schedules, name) for name in schedules.__all__ if name != "BaseSchedule"}


@dataclass(frozen=True)
class Example:
    """A schedule, the bounds of its rates, and the step from which on it holds, if it does."""

    schedule: BaseSchedule
    low: float
    high: float
    end: int | None = None


fall = CosineDecay(min_lr=0.01, max_lr=0.3, n_steps=13)
saw = CyclicalLR(base_lr=0.01, max_lr=0.1, step_size=4)

EXAMPLES = {
    "Constant": [Example(Constant(lr=0.1), 0.1, 0.1, end=0)],
    "CosineDecay": [
        Example(fall, 0.01, 0.3, end=13),
        Example(CosineDecay(max_lr=0.3, n_steps=1), 0, 0.3, end=1),
    ],
    "SGDR": [
        Example(SGDR(max_lr=0.3, cycle_length=5), 0, 0.3),
        Example(SGDR(min_lr=0.1, max_lr=0.3, cycle_length=5, cycle_mult=2), 0.1, 0.3),
        Example(
            SGDR(
                min_lr=0.1,
                max_lr=0.3,
                cycle_length=2.5,
                cycle_mult=1.3,
                max_decay=0.9,
                min_decay=0.8,
            ),
            0,
            0.3,
        ),
        Example(SGDR(min_lr=0.1, max_lr=0.3, cycle_length=9, cycle_mult=0.7), 0.1, 0.3, end=28),
    ],
    "ExponentialDecay": [Example(ExponentialDecay(lr=0.1, gamma=0.97), 0, 0.1)],
    "FastGeometric": [
        Example(FastGeometric(min_lr=0.01, max_lr=0.3, n_steps=50, n_cycles=3), 0.01, 0.3, end=49),
        Example(
            FastGeometric(min_lr=0, max_lr=0.3, n_steps=17, pretrain_fraction=0, n_cycles=4),
            0,
            0.3,
            end=16,
        ),
    ],
    "InverseTimeDecay": [Example(InverseTimeDecay(lr=0.1, decay_rate=0.3), 0, 0.1)],
    "OneCycle": [
        Example(OneCycle(max_lr=0.3, n_steps=30), 0.3 / 25e4, 0.3, end=29),
        Example(OneCycle(max_lr=0.3, n_steps=30, anneal="linear"), 0.3 / 25e4, 0.3, end=29),
        Example(
            OneCycle(max_lr=0.3, n_steps=31, pct_start=0.45, div_factor=3, final_div_factor=7),
            0.3 / 21,
            0.3,
            end=30,
        ),
        Example(OneCycle(max_lr=0.3, n_steps=2), 0.3 / 25e4, 0.3, end=1),
    ],
    "RangeTest": [
        Example(RangeTest(min_lr=1e-5, max_lr=3, n_steps=20), 1e-5, 3, end=19),
        Example(RangeTest(min_lr=0, max_lr=3, n_steps=20, scale="linear"), 0, 3, end=19),
    ],
    "SnapshotCosine": [
        Example(SnapshotCosine(max_lr=0.3, n_steps=23, n_cycles=4), 0, 0.3, end=22),
        Example(SnapshotCosine(max_lr=0.3, n_steps=20, n_cycles=1), 0, 0.3, end=19),
    ],
    "StepDecay": [
        Example(StepDecay(lr=0.1, every=7), 0, 0.1),
        Example(StepDecay(lr=0.1, factor=0.5, milestones=(3, 4.5, 20)), 0.0125, 0.1, end=20),
    ],
    "CyclicalLR": [
        Example(saw, 0.01, 0.1),
        Example(CyclicalLR(base_lr=0, max_lr=0.1, step_size=3.5, mode="triangular2"), 0, 0.1),
        Example(
            CyclicalLR(base_lr=0, max_lr=0.1, step_size=4, mode="exp_range", gamma=0.98), 0, 0.1
        ),
    ],
    "join": [
        Example(join([saw, fall, Constant(lr=0.05)], [9, 20]), 0.01, 0.3, end=20),
        Example(join([saw], []), 0.01, 0.1),
    ],
    "scale": [Example(scale(fall, 2), 0.02, 0.6, end=13)],
    "warmup": [
        Example(warmup(fall, 5), 0, 0.3, end=18),
        Example(warmup(scale(saw, 0.5), 5, start_factor=0.1), 0.0005, 0.05),
        Example(warmup(join([saw, warmup(fall, 3)], [8]), 2), 0, 0.3, end=26),
    ],
}

ALL = [
    pytest.param(example, id=f"{name}-{i}")
    for name, examples in EXAMPLES.items()
    for i, example in enumerate(examples)
]
every_kind = pytest.mark.parametrize("examples", EXAMPLES.values(), ids=EXAMPLES)

every_class = pytest.mark.parametrize(
    "schedule", [pytest.param(rows[0].schedule, id=name) for name, rows in EXAMPLES.items()]
)

N_STEPS = 60
STEPS = [t / 4 for t in range(4 * N_STEPS)]


def concrete_classes(base=BaseSchedule):
    """Return all schedule classes of the package, public or not."""
    found = {base} if base.__module__.startswith("sklr.") and not isabstract(base) else set()
    return found.union(*(concrete_classes(derived) for derived in base.__subclasses__()))


def assert_one_form(error, owner, parameter):
    """Assert the package's one form of message, in this process and after a trip to another."""
    text = str(error)
    form = rf"The '{parameter}' parameter of {owner} must \S.*\. Got .+ instead\."
    assert re.fullmatch(form, text, re.DOTALL), text
    travelled = pickle.loads(pickle.dumps(error))
    assert (type(travelled), str(travelled)) == (type(error), text)


def test_every_public_schedule_has_an_example():
    assert set(EXAMPLES) == set(PUBLIC)
    assert all(EXAMPLES.values())
    assert {type(param.values[0].schedule) for param in ALL} == concrete_classes()
    for name, public in PUBLIC.items():
        assert not isclass(public) or {type(e.schedule) for e in EXAMPLES[name]} == {public}


# A value.


@every_class
def test_is_frozen_and_keyword_only(schedule):
    for field in fields(schedule):
        with pytest.raises(FrozenInstanceError):
            setattr(schedule, field.name, getattr(schedule, field.name))
        with pytest.raises(FrozenInstanceError):
            delattr(schedule, field.name)
    with pytest.raises(FrozenInstanceError):
        schedule.another = 1
    assert all(field.kw_only for field in fields(schedule))
    with pytest.raises(TypeError, match="positional argument"):
        type(schedule)(*(getattr(schedule, field.name) for field in fields(schedule)))


def test_different_schedules_differ():
    values = [param.values[0].schedule for param in ALL]
    assert len(set(values)) == len(values)
    assert len({repr(value) for value in values}) == len(values)


@every_kind
def test_differs_where_a_field_differs(examples):
    for schedule, field in ((e.schedule, field) for e in examples for field in fields(e.schedule)):
        value = getattr(schedule, field.name)
        # A floor's decay is bounded by its peak's, which so cannot be lowered alone.
        if type(value) in (int, float) and field.name != "max_decay":
            # A little lower is within bounds, or at zero a little higher.
            other = value + (1 if isinstance(value, int) else -value / 1000 or 0.001)
            assert replace(schedule, **{field.name: other}) != schedule


def use(schedule):
    """Fill whatever a schedule caches."""
    schedule(3), schedule(STEPS), schedule.snapshot_steps(N_STEPS)


TRAVELS = [
    *(
        lambda value, protocol=protocol: pickle.loads(pickle.dumps(value, protocol))
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    ),
    copy.copy,
    copy.deepcopy,
]


@every_class
def test_equals_its_like_and_travels(schedule):
    like = schedule
    schedule = replace(schedule)
    assert schedule is not like
    assert schedule == like
    assert hash(schedule) == hash(like)
    assert schedule != repr(schedule)
    for used in (False, True):
        if used:
            use(schedule)
        for travel in TRAVELS:
            arrived = travel(schedule)
            assert arrived == schedule
            assert hash(arrived) == hash(schedule)
            assert repr(arrived) == repr(schedule)
            assert (arrived(STEPS) == schedule(STEPS)).all()
            assert arrived.snapshot_steps(N_STEPS) == schedule.snapshot_steps(N_STEPS)


@every_kind
def test_repr_evaluates_to_an_equal_value(examples):
    for schedule in (example.schedule for example in examples):
        use(schedule)
        evaluated = eval(repr(schedule), dict(PUBLIC))
        assert evaluated == schedule
        assert repr(evaluated) == repr(schedule)


def similar_values(value):
    """Return values that a caller may pass for a field, with what must be stored of them."""
    if isinstance(value, float):
        yield from ((make(value), float(make(value))) for make in (np.float64, np.float32))
        yield Fraction(value), value
        if value.is_integer():
            yield from ((make(value), value) for make in (int, np.int32))
    elif isinstance(value, int):
        yield from ((make(value), value) for make in (np.int64, np.int8))
    elif isinstance(value, str):
        yield np.str_(value), value
    elif isinstance(value, tuple):
        yield list(value), value
        if not any(isinstance(item, BaseSchedule) for item in value):
            yield np.array(value), value


@every_class
def test_fields_are_plain(schedule):
    for field in fields(schedule):
        for given, stored in similar_values(getattr(schedule, field.name)):
            made = getattr(replace(schedule, **{field.name: given}), field.name)
            assert repr(made) == repr(stored), field.name
            assert type(made) in (int, float, str, tuple)


# A function of the step.


@every_kind
def test_array_equals_scalars(examples):
    far = [10**6, 10**6 + 0.5, 123_456_789]
    for schedule in (example.schedule for example in examples):
        # Of the peak, since numpy's cosine may differ from libm's in its last bit.
        peak = schedule(STEPS).max()
        for steps in (STEPS, far):
            # Backwards, since a rate does not depend on what was asked before.
            scalars = [schedule(step) for step in reversed(steps)][::-1]
            np.testing.assert_allclose(schedule(steps), scalars, rtol=0, atol=1e-14 * peak)
            assert scalars == [schedule(step) for step in steps]


@every_class
def test_array_keeps_its_shape(schedule):
    for shape in [(0,), (1,), (24,), (2, 3, 4), (2, 0), (4, 1, 6)]:
        steps = np.arange(math.prod(shape)).reshape(shape)
        before = steps.copy()
        rates = schedule(steps)
        assert rates.shape == shape
        assert rates.dtype == np.float64
        assert (rates.ravel() == schedule(steps.ravel())).all()
        # The rates are the caller's own, and the steps are left alone.
        rates[...] = -1
        assert (steps == before).all()
        assert (schedule(steps) >= 0).all()


@every_class
def test_steps_may_be_of_any_real_type(schedule):
    expected = schedule(np.arange(N_STEPS))
    for dtype in ("i1", "u1", "i4", "u8", "f2", "f4", "f8", "g"):
        rates = schedule(np.arange(N_STEPS).astype(dtype))
        assert rates.dtype == np.float64
        assert (rates == expected).all()
    for steps in (list(range(N_STEPS)), tuple(range(N_STEPS)), range(N_STEPS)):
        assert (schedule(steps) == expected).all()
    scalars = (int, float, Fraction, np.int64, np.int8, np.uint8, np.uint64, np.array)
    for make in (*scalars, np.float64, np.float32, np.float16, np.longdouble):
        for step in (0, 1, 3, N_STEPS):
            rate = schedule(make(step))
            assert type(rate) is float
            assert rate == schedule(step)


@every_kind
def test_steps_without_bound(examples):
    """Of any size, up to what a float holds; beyond is an error, not an overflow."""
    for example in examples:
        for step in (2**53, 10**18, 10**40, 1e300, 1.7e308):
            for rate in (example.schedule(step), *example.schedule([float(step)])):
                assert example.low * (1 - 1e-15) <= rate <= example.high * (1 + 1e-15)
        with pytest.raises(ValueError, match="'step' parameter"):
            example.schedule(10**400)


# The last rate of these belongs to their last step, or cycles are rounded to whole steps: a
# rescaled one passes the rate of a step somewhere in the k steps that stand for it.
WITHIN_THE_STEP = {"OneCycle", "RangeTest", "warmup"}
ROUNDED = {"FastGeometric-0", "FastGeometric-1", "SGDR-2", "SGDR-3"}
ROUNDED |= {"SnapshotCosine-0", "SnapshotCosine-1"}


@pytest.mark.parametrize("k", [7, np.uint8(100)])
@pytest.mark.parametrize("name", [param.id for param in ALL if param.id not in ROUNDED])
def test_rescaled_agrees(name, k):
    kind, i = name.split("-")
    example = EXAMPLES[kind][int(i)]
    schedule = example.schedule
    scaled = schedule.rescale(k)
    assert type(scaled) is type(schedule)
    steps = np.arange(example.end or N_STEPS)
    if kind not in WITHIN_THE_STEP:
        np.testing.assert_allclose(scaled(int(k) * steps), schedule(steps), rtol=1e-12, atol=1e-15)
    elif name != "OneCycle-3":  # of two steps, which are no shape
        within = scaled(int(k) * steps[:, None] + np.arange(k))
        assert (within.min(axis=1) <= schedule(steps) * (1 + 1e-12)).all()
        assert (within.max(axis=1) >= schedule(steps) * (1 - 1e-12)).all()


def test_rescaled_cycles():
    cosine = SnapshotCosine(max_lr=0.3, n_steps=5, n_cycles=2).rescale(10)
    assert cosine == SnapshotCosine(max_lr=0.3, n_steps=50, n_cycles=2)
    assert cosine.snapshot_steps(50) == (25, 50)
    geometric = FastGeometric(min_lr=0, max_lr=0.3, n_steps=10, pretrain_fraction=0.6, n_cycles=2)
    np.testing.assert_allclose(geometric.rescale(10)(np.arange(0, 100, 10)), geometric(range(10)))
    assert geometric.rescale(10).snapshot_steps(100) == (70, 90)
    grown = SGDR(max_lr=0.3, cycle_length=2.5, cycle_mult=1.5).rescale(4)
    assert grown == SGDR(max_lr=0.3, cycle_length=10, cycle_mult=1.5)


@every_kind
def test_rescaled_there_and_back(examples):
    for schedule in (example.schedule for example in examples):
        assert schedule.rescale(1) == schedule
        back = schedule.rescale(8).rescale(1 / 8)
        np.testing.assert_allclose(back(STEPS), schedule(STEPS), rtol=1e-12)


@pytest.mark.parametrize(
    ("k", "error"), [(0, ValueError), (-1, ValueError), (0.05, ValueError), ("2", TypeError)]
)
def test_rescale_keeps_steps_whole(k, error):
    with pytest.raises(error) as caught:
        fall.rescale(k)
    assert_one_form(caught.value, "CosineDecay", "k")


@dataclass(frozen=True, kw_only=True)
class Unnamed(BaseSchedule):
    n_steps: int = 3

    def _rate(self, t, xp):
        return 0.1 + 0.0 * t


def test_rescale_of_a_class_that_names_no_lengths():
    with pytest.raises(TypeError, match="'_lengths' parameter of Unnamed must name the fields"):
        Unnamed().rescale(2)


@pytest.mark.parametrize("batches", [1, 3, 7, 10, 49, 391])
def test_drops_are_on_time(batches):
    """Lengths in hundredths, sixths and sevenths of an epoch, by exact fractions."""
    lengths = {Fraction(n, d) for d in (100, 6, 7) for n in range(1, 3 * d)}
    steps = np.arange(400)
    for length in lengths:
        exact = length * batches
        schedule = StepDecay(lr=1.0, factor=0.5, every=float(length) * batches)
        drops = [math.floor(step / exact) for step in range(400)]
        late = np.array(drops) < 900  # 0.5**900 is still above 0
        np.testing.assert_array_equal(schedule(steps)[late], (0.5 ** np.array(drops))[late])
        assert [schedule(step) for step in range(0, 400, 7)] == [0.5**n for n in drops[::7]]


@every_kind
def test_stays_within_its_bounds(examples):
    for example in examples:
        rates = example.schedule(np.append(np.arange(0, 5_000, 0.25), [10**6, 10**9]))
        assert rates.max() <= example.high * (1 + 1e-15)
        assert rates.min() >= example.low * (1 - 1e-15)
        assert rates[0] > 0 or example.low == 0


ENDING = [e for examples in EXAMPLES.values() for e in examples if e.end is not None]


@pytest.mark.parametrize("example", ENDING, ids=lambda example: type(example.schedule).__name__)
def test_holds_its_last_rate_past_the_end(example):
    schedule, end = example.schedule, example.end
    past = [end, end + 0.5, end + 1, 2 * end, 3 * end + 1, 10**6]
    assert {schedule(step) for step in past} == {schedule(end)}
    assert (schedule(past) == schedule([end] * len(past))).all()
    # It ends there and not before.
    assert end == 0 or schedule(end - 1) != schedule(end)


BAD_STEPS = [
    (-1, ValueError),
    (-1e-300, ValueError),
    (math.inf, ValueError),
    (np.int64(-3), ValueError),
    (np.float32("nan"), ValueError),
    ([3, -1], ValueError),
    (np.array([[0.0, math.nan]]), ValueError),
    (np.array([math.inf]), ValueError),
    ("3", TypeError),
    (None, TypeError),
    (1j, TypeError),
    (True, TypeError),
    (np.bool_(True), TypeError),
    ([None], TypeError),
    (np.array([1j]), TypeError),
    (np.array([True]), TypeError),
    (np.datetime64("2020-01-01"), TypeError),
    ({3}, TypeError),
]


@pytest.mark.parametrize(("step", "error"), BAD_STEPS, ids=[repr(bad) for bad, _ in BAD_STEPS])
def test_bad_steps_raise(step, error):
    with pytest.raises(error) as caught:
        fall(step)
    assert_one_form(caught.value, "CosineDecay", "step")


# Snapshots.


@every_kind
def test_snapshot_steps_are_in_order_and_within_the_training(examples):
    for schedule in (example.schedule for example in examples):
        for n_steps in [*range(1, 2 * N_STEPS), np.int32(5_000)]:
            steps = schedule.snapshot_steps(n_steps)
            assert type(steps) is tuple
            assert all(type(step) is int for step in steps)
            assert all(a < b for a, b in zip((0, *steps), steps, strict=False))
            assert not steps or steps[-1] <= n_steps
        assert steps, "no snapshot in 5,000 steps"


WITHOUT_RESTARTS = [
    "Constant", "CosineDecay", "ExponentialDecay", "InverseTimeDecay", "OneCycle", "RangeTest",
    "StepDecay",
]  # fmt: skip


@pytest.mark.parametrize("name", WITHOUT_RESTARTS)
def test_without_restarts_the_snapshot_is_at_the_end(name):
    schedule = EXAMPLES[name][0].schedule
    assert [schedule.snapshot_steps(n) for n in (1, 2, 40)] == [(1,), (2,), (40,)]


BAD_INTEGERS = [
    (math.nan, TypeError),
    (3.0, TypeError),
    ("3", TypeError),
    (None, TypeError),
    ([3], TypeError),
    (True, TypeError),
    (-1, ValueError),
]


@pytest.mark.parametrize(
    ("n_steps", "error"), [(3.0, TypeError), (True, TypeError), (0, ValueError)], ids=repr
)
def test_bad_snapshot_n_steps_raise(n_steps, error):
    with pytest.raises(error) as caught:
        fall.snapshot_steps(n_steps)
    assert_one_form(caught.value, "CosineDecay", "n_steps")


# Bad parameters.

BAD_NUMBERS = [
    ("0.1", TypeError),
    (None, TypeError),
    ([0.1], TypeError),
    ((), TypeError),
    (True, TypeError),
    (np.bool_(True), TypeError),
    (1j, TypeError),
    (np.array(0.1), TypeError),
    (math.nan, ValueError),
    (np.float32("nan"), ValueError),
    (math.inf, ValueError),
    (-math.inf, ValueError),
    (-0.1, ValueError),
    (-1, ValueError),
]
BAD_WORDS = [
    (None, TypeError),
    (1, TypeError),
    (True, TypeError),
    (math.nan, TypeError),
    (["log"], TypeError),
    (b"log", TypeError),
    ("", ValueError),
    ("Linear", ValueError),
    ("cosine", ValueError),
]
BAD_SEQUENCES = [
    ("12", TypeError),
    (b"12", TypeError),
    (3, TypeError),
    (np.float64(3), TypeError),
    (np.array(3), TypeError),
    ({1, 2}, TypeError),
    (["1"], TypeError),
    ([None], TypeError),
    ([True], TypeError),
    ([[1, 2]], TypeError),
    (np.array([[1, 2]]), TypeError),
    ([], ValueError),
    (np.array([]), ValueError),
    ([math.nan], ValueError),
    ([1, math.inf], ValueError),
    ([-1], ValueError),
    ([0], ValueError),
    ([2, 1], ValueError),
    ([1, 1], ValueError),
]
BAD_SCHEDULES = [
    (bad, TypeError) for bad in (None, "Constant", 0.1, True, [fall], Constant, math.cos)
]


def values(*bad):
    return [(value, ValueError) for value in bad]


# The parameter, a good value of it, and all its bad ones, beside good values of the others.
BAD_PARAMETERS = {
    "Constant": {"lr": (0.1, BAD_NUMBERS + values(0, 0.0))},
    "CosineDecay": {
        "min_lr": (0.1, BAD_NUMBERS),
        "max_lr": (0.3, BAD_NUMBERS + values(0, 0.1, 0.05)),
        "n_steps": (10, BAD_INTEGERS + values(0)),
    },
    "SGDR": {
        "min_lr": (0.1, BAD_NUMBERS),
        "max_lr": (0.3, BAD_NUMBERS + values(0, 0.1, 0.05)),
        "cycle_length": (10, BAD_NUMBERS + values(0, 0.99)),
        "cycle_mult": (1.5, BAD_NUMBERS + values(0)),
        "max_decay": (0.9, BAD_NUMBERS + values(0, 1.01)),
        "min_decay": (0.8, BAD_NUMBERS + values(0, 1.01, 0.95)),
    },
    "ExponentialDecay": {
        "lr": (0.1, BAD_NUMBERS + values(0)),
        "gamma": (0.9, BAD_NUMBERS + values(0, 1.01)),
    },
    "FastGeometric": {
        "min_lr": (0.1, BAD_NUMBERS),
        "max_lr": (0.3, BAD_NUMBERS + values(0, 0.1, 0.05)),
        "n_steps": (10, BAD_INTEGERS + values(0)),
        "pretrain_fraction": (0.5, BAD_NUMBERS + values(1, 1.5)),
        "n_cycles": (2, BAD_INTEGERS + values(0, 6, 11)),
    },
    "InverseTimeDecay": {
        "lr": (0.1, BAD_NUMBERS + values(0)),
        "decay_rate": (0.1, BAD_NUMBERS),
    },
    "OneCycle": {
        "max_lr": (0.1, BAD_NUMBERS + values(0)),
        "n_steps": (10, BAD_INTEGERS + values(0)),
        "pct_start": (0.3, BAD_NUMBERS + values(1.01)),
        "div_factor": (25, BAD_NUMBERS + values(0, 0.99)),
        "final_div_factor": (1e4, BAD_NUMBERS + values(0, 0.99)),
        "anneal": ("cos", BAD_WORDS),
    },
    "RangeTest": {
        "min_lr": (0.1, BAD_NUMBERS + values(0)),
        "max_lr": (0.3, BAD_NUMBERS + values(0, 0.1, 0.05)),
        "n_steps": (10, BAD_INTEGERS + values(0, 1)),
        "scale": ("log", BAD_WORDS),
    },
    "SnapshotCosine": {
        "max_lr": (0.1, BAD_NUMBERS + values(0)),
        "n_steps": (10, BAD_INTEGERS + values(0)),
        "n_cycles": (2, BAD_INTEGERS + values(0, 11)),
    },
    "StepDecay": {
        "lr": (0.1, BAD_NUMBERS + values(0)),
        "factor": (0.1, BAD_NUMBERS + values(0, 1.01)),
        # None is how one of these two is left out.
        "every": (2, [bad for bad in BAD_NUMBERS if bad[0] is not None] + values(0)),
        "milestones": ((2, 5), BAD_SEQUENCES),
    },
    "CyclicalLR": {
        "base_lr": (0.1, BAD_NUMBERS),
        "max_lr": (0.3, BAD_NUMBERS + values(0, 0.1, 0.05)),
        "step_size": (4, BAD_NUMBERS + values(0, 0.49)),
        "mode": ("triangular", BAD_WORDS),
        "gamma": (0.9, BAD_NUMBERS + values(0, 1.01)),
    },
    "warmup": {
        "schedule": (fall, BAD_SCHEDULES),
        "n_steps": (5, BAD_INTEGERS),
        "start_factor": (0.1, BAD_NUMBERS + values(1.01)),
    },
    "join": {
        "schedules": (
            [saw, fall],
            [(bad, TypeError) for bad in (None, 3, "ab", saw, [saw, None], [saw, 1], {1: saw})]
            + values([]),
        ),
        "boundaries": (
            [9],
            [*BAD_SEQUENCES, (None, TypeError), *values([1.5], [5, 6])],
        ),
    },
    "scale": {
        "schedule": (fall, BAD_SCHEDULES),
        "factor": (0.5, BAD_NUMBERS + values(0)),
    },
}
EXCLUSIVE = {"every": "milestones", "milestones": "every"}


def owner_of(name):
    """Return the class that a public name makes, and that its errors name."""
    return type(EXAMPLES[name][0].schedule).__name__


def bad_calls(name):
    parameters = BAD_PARAMETERS[name]
    for parameter, (_, bad) in parameters.items():
        others = {
            other: good
            for other, (good, _) in parameters.items()
            if other not in (parameter, EXCLUSIVE.get(parameter))
        }
        if not {"every", "milestones"}.isdisjoint(others) and parameter not in EXCLUSIVE:
            del others["milestones"]
        for value, error in bad:
            yield parameter, {**others, parameter: value}, error


def test_every_parameter_has_a_row_of_bad_values():
    assert set(BAD_PARAMETERS) == set(PUBLIC)
    for name, parameters in BAD_PARAMETERS.items():
        assert set(parameters) == {field.name for field in fields(EXAMPLES[name][0].schedule)}


@pytest.mark.parametrize("name", BAD_PARAMETERS)
def test_bad_parameters_raise(name):
    # The good values of the table are good.
    good = {parameter: value for parameter, (value, _) in BAD_PARAMETERS[name].items()}
    if name == "StepDecay":
        del good["milestones"]
    assert type(PUBLIC[name](**good)).__name__ == owner_of(name)
    for parameter, given, error in bad_calls(name):
        with pytest.raises(error) as caught:
            PUBLIC[name](**given)
        assert_one_form(caught.value, owner_of(name), parameter)


@pytest.mark.parametrize("given", [{}, {"every": 3, "milestones": (2,)}], ids=["neither", "both"])
def test_step_decay_takes_exactly_one_of_its_two_ways(given):
    with pytest.raises(ValueError, match="'milestones'") as caught:
        StepDecay(lr=0.1, **given)
    assert_one_form(caught.value, "StepDecay", "every")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: CyclicalLR(base_lr=0.1, max_lr=0.01, step_size=4),
            "The 'max_lr' parameter of CyclicalLR must be greater than base_lr=0.1."
            " Got 0.01 instead.",
        ),
        (
            lambda: SnapshotCosine(max_lr=0.1, n_steps=3, n_cycles=4),
            "The 'n_cycles' parameter of SnapshotCosine must be at least 1 and at most n_steps=3."
            " Got 4 instead.",
        ),
        (
            lambda: RangeTest(min_lr=0.1, max_lr=1, n_steps=10, scale="lin"),
            "The 'scale' parameter of RangeTest must be one of 'log', 'linear'. Got 'lin' instead.",
        ),
        (
            lambda: Constant(lr="0.1"),
            "The 'lr' parameter of Constant must be a finite number greater than 0."
            " Got '0.1' instead.",
        ),
        (
            lambda: Constant(lr=0.1)(-1),
            "The 'step' parameter of Constant must be at least 0. Got -1 instead.",
        ),
    ],
    ids=["bound", "bounds", "option", "type", "step"],
)
def test_messages_say_what_is_wrong(make, message):
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert str(caught.value) == message


def test_unknown_parameters_raise():
    for name, parameters in BAD_PARAMETERS.items():
        with pytest.raises(TypeError, match="unexpected keyword argument 'period'"):
            PUBLIC[name](**{p: good for p, (good, _) in parameters.items()}, period=3)
