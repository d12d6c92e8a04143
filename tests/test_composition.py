"""Warm-ups, joined and scaled schedules: against torch, and against plain definitions."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from sklr.schedules import (
    SGDR,
    Constant,
    CosineDecay,
    CyclicalLR,
    ExponentialDecay,
    FastGeometric,
    OneCycle,
    SnapshotCosine,
    StepDecay,
    join,
    scale,
    warmup,
)

drawn = settings(max_examples=100, deadline=None, derandomize=True)
N_STEPS = 60
STEPS = np.arange(N_STEPS)

PARTS = [
    Constant(lr=0.2),
    CosineDecay(min_lr=0.01, max_lr=0.3, n_steps=20),
    SGDR(min_lr=0.01, max_lr=0.3, cycle_length=3, cycle_mult=1.5),
    ExponentialDecay(lr=0.3, gamma=0.9),
    FastGeometric(min_lr=0.01, max_lr=0.3, n_steps=25, n_cycles=2),
    OneCycle(max_lr=0.3, n_steps=15),
    SnapshotCosine(max_lr=0.3, n_steps=17, n_cycles=3),
    StepDecay(lr=0.3, every=4),
    CyclicalLR(base_lr=0.05, max_lr=0.3, step_size=3),
]
start_factors = st.one_of(st.just(0.0), st.floats(1e-6, 1.0))
parts = st.sampled_from(PARTS)
every_part = pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)


def torch_rates(lr, n_steps, make):
    """Return the rates of real steps under the torch scheduler that `make(optimizer)` gives."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    optimizer.step()
    rates = []
    for _ in range(n_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    return rates


def rates_of(schedule, n_steps=N_STEPS):
    return [schedule(step) for step in range(n_steps)]


# Warm-up.


@drawn
@given(peak=st.floats(1e-3, 10.0), start_factor=st.floats(1e-3, 1.0), n_steps=st.integers(1, 50))
def test_warmup_equals_torch(peak, start_factor, n_steps):
    schedule = warmup(Constant(lr=peak), n_steps, start_factor)
    expected = torch_rates(
        peak,
        N_STEPS,
        lambda optimizer: lr_scheduler.LinearLR(
            optimizer, start_factor=start_factor, total_iters=n_steps
        ),
    )
    np.testing.assert_allclose(rates_of(schedule), expected, rtol=0, atol=1e-12 * peak)


@drawn
@given(
    start_factor=st.floats(1e-3, 1.0), n_steps=st.integers(1, 30), fall_steps=st.integers(30, 60)
)
def test_warmup_before_a_fall_equals_torch(start_factor, n_steps, fall_steps):
    schedule = warmup(CosineDecay(max_lr=0.3, n_steps=fall_steps), n_steps, start_factor)
    expected = torch_rates(
        0.3,
        n_steps + 30,
        lambda optimizer: lr_scheduler.SequentialLR(
            optimizer,
            [
                lr_scheduler.LinearLR(optimizer, start_factor, total_iters=n_steps),
                lr_scheduler.CosineAnnealingLR(optimizer, fall_steps),
            ],
            [n_steps],
        ),
    )
    np.testing.assert_allclose(rates_of(schedule, n_steps + 30), expected, rtol=0, atol=1e-12)


@drawn
@given(part=parts, n_steps=st.integers(1, 20), start_factor=start_factors)
def test_warmup_is_a_line_to_the_first_rate_and_then_the_schedule(part, n_steps, start_factor):
    first = part(0)
    rates = rates_of(warmup(part, n_steps, start_factor), n_steps + N_STEPS)
    assert rates[n_steps:] == rates_of(part)
    if start_factor:
        line = [
            first * (start_factor + (1 - start_factor) * t / n_steps) for t in range(n_steps + 1)
        ]
    else:
        # From zero the line leaves one step before the first: none is spent at rate 0.
        line = [first * (t + 1) / (n_steps + 1) for t in range(n_steps + 1)]
    np.testing.assert_allclose(rates[: n_steps + 1], line, rtol=1e-14)
    assert min(rates[: n_steps + 1]) > 0


def test_warmup_rises_from_the_first_step_on():
    rates = rates_of(warmup(Constant(lr=1.0), 4), 7)
    np.testing.assert_allclose(rates, [0.2, 0.4, 0.6, 0.8, 1, 1, 1], rtol=1e-15)
    # Its default is the same as a start_factor of 0, of whatever type.
    assert warmup(Constant(lr=1.0), 4) == warmup(Constant(lr=1.0), 4, start_factor=0)
    assert rates_of(warmup(Constant(lr=1.0), 4, start_factor=1)) == [1.0] * N_STEPS


def test_warmup_of_no_steps_is_the_schedule():
    for part in PARTS:
        assert warmup(part, 0) is part
        assert warmup(part, 0, start_factor=0.5) is part


def test_warmup_of_a_schedule_that_begins_at_zero_is_zero():
    # A warm-up leads to the first rate, not to the peak.
    rates = rates_of(warmup(CyclicalLR(base_lr=0, max_lr=1, step_size=2), 3))
    assert rates[:6] == [0, 0, 0, 0, 0.5, 1]


@every_part
def test_warmup_puts_snapshots_off(part):
    warmed = warmup(part, 7)
    for n_steps in range(1, 8):
        assert warmed.snapshot_steps(n_steps) == ()
    for n_steps in range(8, N_STEPS):
        later = tuple(7 + step for step in part.snapshot_steps(n_steps - 7))
        assert warmed.snapshot_steps(n_steps) == later


# Join.


@drawn
@given(
    schedules=st.lists(parts, min_size=1, max_size=4),
    data=st.data(),
)
def test_join_gives_each_schedule_its_own_clock(schedules, data):
    n = len(schedules) - 1
    boundaries = sorted(
        data.draw(st.lists(st.integers(1, 50), min_size=n, max_size=n, unique=True))
    )
    joined = join(schedules, boundaries)
    rates, snapshots = [], []
    for schedule, (start, end) in zip(schedules, pairwise([0, *boundaries, N_STEPS]), strict=True):
        rates += rates_of(schedule, end - start)
        snapshots += [start + step for step in schedule.snapshot_steps(end - start)]
    assert rates_of(joined) == rates
    np.testing.assert_allclose(joined(STEPS), rates, rtol=0, atol=1e-14)
    assert joined.snapshot_steps(N_STEPS) == tuple(snapshots)


@drawn
@given(gamma=st.floats(0.8, 1.0), start=st.integers(1, 40))
def test_join_equals_torch(gamma, start):
    first, second = StepDecay(lr=0.3, factor=0.5, every=4), ExponentialDecay(lr=0.3, gamma=gamma)
    expected = torch_rates(
        0.3,
        N_STEPS,
        lambda optimizer: lr_scheduler.SequentialLR(
            optimizer,
            [
                lr_scheduler.StepLR(optimizer, 4, gamma=0.5),
                lr_scheduler.ExponentialLR(optimizer, gamma),
            ],
            [start],
        ),
    )
    np.testing.assert_allclose(
        rates_of(join([first, second], [start])), expected, rtol=0, atol=1e-12
    )


def test_join_changes_exactly_at_its_boundaries():
    joined = join([Constant(lr=0.1), Constant(lr=0.2), Constant(lr=0.3)], [2, 5])
    assert rates_of(joined, 7) == [0.1, 0.1, 0.2, 0.2, 0.2, 0.3, 0.3]
    assert [joined(math.nextafter(step, 0)) for step in (2, 5)] == [0.1, 0.2]


@pytest.mark.parametrize("boundaries", [[10], (10,), [10.0], np.array([10]), np.array([10.0])])
def test_join_takes_any_sequence_of_whole_steps(boundaries):
    fall, hold = CosineDecay(max_lr=0.3, n_steps=10), Constant(lr=0.1)
    joined = join([fall, hold], boundaries)
    assert joined == join((fall, hold), [10])
    assert repr(joined).endswith("boundaries=(10,))")


def test_join_does_not_share_the_lists_it_was_given():
    schedules, boundaries = [Constant(lr=0.1), Constant(lr=0.2)], [5]
    joined = join(schedules, boundaries)
    before = hash(joined)
    schedules.reverse()
    boundaries[0] = 1
    assert hash(joined) == before
    assert rates_of(joined, 6) == [0.1] * 5 + [0.2]


def test_join_of_one_is_that_one():
    for part in PARTS:
        joined = join([part], [])
        assert rates_of(joined) == rates_of(part)
        assert joined.snapshot_steps(N_STEPS) == part.snapshot_steps(N_STEPS)


def test_join_takes_the_snapshots_of_each_part():
    # A constant rate has one, at the end of its part.
    cycles = SnapshotCosine(max_lr=0.3, n_steps=20, n_cycles=2)
    joined = join([Constant(lr=0.1), cycles], [10])
    assert joined.snapshot_steps(5) == (5,)
    assert joined.snapshot_steps(10) == (10,)
    assert joined.snapshot_steps(19) == (10,)
    assert joined.snapshot_steps(30) == (10, 20, 30)


# Scale.


@drawn
@given(part=parts, factor=st.floats(1e-6, 1e6))
def test_scale_multiplies_every_rate(part, factor):
    scaled = scale(part, factor)
    assert rates_of(scaled) == [factor * rate for rate in rates_of(part)]
    assert (scaled(STEPS) == factor * part(STEPS)).all()
    assert scaled.snapshot_steps(N_STEPS) == part.snapshot_steps(N_STEPS)


# Compositions of compositions.


@drawn
@given(part=parts, other=parts, factor=st.floats(0.1, 10), start=st.integers(1, 40))
def test_compositions_commute_where_they_should(part, other, factor, start):
    def same(left, right):
        np.testing.assert_allclose(left(STEPS), right(STEPS), rtol=1e-14)
        np.testing.assert_allclose(rates_of(left), rates_of(right), rtol=1e-14)
        assert left.snapshot_steps(N_STEPS) == right.snapshot_steps(N_STEPS)

    same(scale(warmup(part, 5), factor), warmup(scale(part, factor), 5))
    same(
        scale(join([part, other], [start]), factor),
        join([scale(part, factor), scale(other, factor)], [start]),
    )
    same(warmup(join([part, other], [start]), 3), join([warmup(part, 3), other], [start + 3]))
    same(scale(scale(part, factor), 2), scale(part, 2 * factor))
    same(join([join([part, other], [start]), part], [45]), join([part, other, part], [start, 45]))


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (
            warmup(Constant(lr=0.1), 5),
            "warmup(schedule=Constant(lr=0.1), n_steps=5, start_factor=0.0)",
        ),
        (
            join([Constant(lr=0.1), scale(Constant(lr=0.1), 2)], [3]),
            "join(schedules=(Constant(lr=0.1), scale(schedule=Constant(lr=0.1), factor=2.0)), "
            "boundaries=(3,))",
        ),
    ],
    ids=["warmup", "join"],
)
def test_repr_is_the_call_that_makes_it(schedule, text):
    assert repr(schedule) == text


def test_far_past_the_end_each_composition_holds():
    fall = CosineDecay(min_lr=0.1, max_lr=0.3, n_steps=10)
    whole = scale(warmup(join([fall, fall], [5]), 3), 0.5)
    assert {whole(step) for step in (18, 19, 100, 10**6)} == {0.05}
