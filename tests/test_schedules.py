"""The formulas of the schedules, against torch where it is right and the papers where it is not.

The oracles are torch's schedulers, stepped one by one, and plain loops that follow the papers and
share nothing with our code. Each fault that is known of another implementation has its test here.
"""

import math
import re
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from sklr.schedules import (
    SGDR,
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
)

# A rounding or two; pytest.approx alone would let 1e-12 through.
exactly = partial(pytest.approx, rel=1e-15, abs=0)

# Of the peak: far below what a training could notice, far above the drift of torch's recursions.
CLOSE = 1e-12
# Of the peak: a few roundings of a formula written in another order.
EXACT = 1e-14

drawn = settings(max_examples=100, deadline=None, derandomize=True)
N_STEPS = 100
"""Of the step-by-step comparisons."""

peaks = st.floats(1e-3, 10.0)
floors = st.one_of(st.just(0.0), st.floats(0.01, 0.9))
"""As a part of the peak."""
lengths = st.integers(1, 40)


def torch_rates(lr, n_steps, make):
    """Return the rates of real steps under the torch scheduler that `make(optimizer)` gives."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    optimizer.step()
    rates = []
    for step in range(n_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        if step < n_steps - 1:
            scheduler.step()
    return rates


def rates_of(schedule, n_steps):
    return [schedule(step) for step in range(n_steps)]


def assert_close(rates, expected, peak, of_peak=CLOSE):
    np.testing.assert_allclose(rates, expected, rtol=0, atol=of_peak * peak)


def fall(low, high, x):
    """Return the papers' half cosine from high at x=0 to low at x=1."""
    return low + (high - low) / 2 * (1 + math.cos(math.pi * x))


def plain_triangular(t, base, peak, s, mode, gamma):
    cycle = math.floor(1 + t / (2 * s))
    x = abs(t / s - 2 * cycle + 1)
    amplitude = {"triangular": 1.0, "triangular2": 1 / 2 ** (cycle - 1), "exp_range": gamma**t}
    return base + (peak - base) * max(0, 1 - x) * amplitude[mode]


def plain_cycles(length, mult, last):
    """Return (start, end) of the cycles up to step `last`, their cumulated lengths in fractions."""
    length, mult, exact, start, cycles = Fraction(length), Fraction(mult), Fraction(0), 0, []
    while length >= 1 and start <= last:
        exact += length
        # Of the cycles whose end rounding errors decide, no oracle can say where they end.
        from_tie = abs(exact % 1 - Fraction(1, 2))
        assume(from_tie == 0 or from_tie > 1e-9)
        cycles.append((start, round(exact)))
        start, length = round(exact), length * mult
        assume(length == 1 or abs(length - 1) > 1e-9)
    return cycles


def plain_restarts(steps, cycles, low, high, low_decay, high_decay):
    """Return the rates of ascending steps in the cycles, the last minimum past them."""
    rates, i = [], 0
    for t in steps:
        while i < len(cycles) and t >= cycles[i][1]:
            i += 1
        if i == len(cycles):
            rates.append(low * low_decay ** (i - 1))
        else:
            start, end = cycles[i]
            x = (t - start) / (end - start)
            rates.append(fall(low * low_decay**i, high * high_decay**i, x))
    return rates


def plain_snapshot(t, peak, n_steps, n_cycles):
    for k in range(n_cycles):
        start, end = round(k * n_steps / n_cycles), round((k + 1) * n_steps / n_cycles)
        if start <= t < end:
            return peak / 2 * (math.cos(math.pi * (t - start) / (end - start)) + 1)
    raise AssertionError(f"step {t} is in no cycle")


def plain_fge(t, lr1, lr2, c):
    """Return Garipov's rate in step t of cycles of even length c: lr1 to lr2 and back."""
    x = (t % c) / c
    return (1 - 2 * x) * lr1 + 2 * x * lr2 if x < 0.5 else (2 - 2 * x) * lr2 + (2 * x - 1) * lr1


def restarts(rates):
    """Return the steps at which the rate rises."""
    return [step for step in range(1, len(rates)) if rates[step] > rates[step - 1]]


# CyclicalLR.


@drawn
@given(
    peak=peaks,
    floor=floors,
    step_size=st.one_of(lengths, st.floats(0.5, 40.0)),
    mode=st.sampled_from(["triangular", "triangular2", "exp_range"]),
    gamma=st.floats(0.9, 1.0),
)
def test_triangular_equals_torch_and_the_paper(peak, floor, step_size, mode, gamma):
    base = floor * peak
    rates = rates_of(
        CyclicalLR(base_lr=base, max_lr=peak, step_size=step_size, mode=mode, gamma=gamma), N_STEPS
    )
    expected = torch_rates(
        base,
        N_STEPS,
        lambda optimizer: lr_scheduler.CyclicLR(
            optimizer, base, peak, step_size, mode=mode, gamma=gamma, cycle_momentum=False
        ),
    )
    assert_close(rates, expected, peak)
    plain = [plain_triangular(t, base, peak, step_size, mode, gamma) for t in range(N_STEPS)]
    assert_close(rates, plain, peak, EXACT)


def test_triangular_is_not_the_misprint():
    # The popular misprint floor((1+t)/(2s)) stays at the base or falls to -1.4 here.
    rates = rates_of(CyclicalLR(base_lr=0.1, max_lr=1.1, step_size=4), 80)
    assert min(rates) == 0.1
    assert rates[:9] == exactly([0.1, 0.35, 0.6, 0.85, 1.1, 0.85, 0.6, 0.35, 0.1])
    assert rates == rates[:8] * 10


@pytest.mark.parametrize(
    ("mode", "peaks"),
    [
        ("triangular", [1.0, 1.0, 1.0]),
        ("triangular2", [1.0, 0.5, 0.25]),
        # t counts from the start of the training, not of the cycle.
        ("exp_range", [0.9**4, 0.9**12, 0.9**20]),
    ],
)
def test_triangular_peaks(mode, peaks):
    schedule = CyclicalLR(base_lr=0.0, max_lr=1.0, step_size=4, mode=mode, gamma=0.9)
    assert [schedule(t) for t in (4, 12, 20)] == peaks
    assert [schedule(t) for t in (0, 8, 16)] == [0.0, 0.0, 0.0]


def test_triangular_between_whole_steps():
    schedule = CyclicalLR(base_lr=0.0, max_lr=1.0, step_size=2)
    assert [schedule(t) for t in (0.5, 1.5, 2.5, 3.5)] == [0.25, 0.75, 0.75, 0.25]


@pytest.mark.parametrize("mode", ["triangular", "triangular2"])
def test_triangular_ignores_gamma_in_other_modes(mode):
    bounds = {"base_lr": 0.1, "max_lr": 1.0, "step_size": 3, "mode": mode}
    steps = np.arange(30)
    with_gamma, without = CyclicalLR(**bounds, gamma=0.5), CyclicalLR(**bounds)
    assert (with_gamma(steps) == without(steps)).all()


def test_triangular_snapshots_are_at_the_ends_of_cycles():
    assert CyclicalLR(base_lr=0.0, max_lr=1.0, step_size=4).snapshot_steps(25) == (8, 16, 24)
    # A cycle of 3.5 steps: the first whole step at or after each end.
    assert CyclicalLR(base_lr=0.0, max_lr=1.0, step_size=1.75).snapshot_steps(11) == (4, 7, 11)
    assert CyclicalLR(base_lr=0.0, max_lr=1.0, step_size=4).snapshot_steps(7) == ()
    # 50 cycles of 1.1 steps end at 55, though 50 * 1.1 is a rounding error more.
    assert CyclicalLR(base_lr=0.0, max_lr=1.0, step_size=0.55).snapshot_steps(57)[-3:] == (
        54,
        55,
        57,
    )


# Cosine decay.


@drawn
@given(peak=peaks, floor=floors, n_steps=st.integers(1, N_STEPS))
def test_cosine_decay_equals_torch_until_its_end(peak, floor, n_steps):
    low = floor * peak
    schedule = CosineDecay(min_lr=low, max_lr=peak, n_steps=n_steps)
    expected = torch_rates(
        peak,
        n_steps + 1,
        lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, n_steps, eta_min=low),
    )
    rates = rates_of(schedule, n_steps + 1)
    assert_close(rates, expected, peak)
    assert_close(rates, [fall(low, peak, t / n_steps) for t in range(n_steps + 1)], peak, EXACT)
    # Past the end torch and transformers rise again, to the full rate at 2T; the floor is due.
    assert {schedule(t) for t in (n_steps, n_steps + 1, 2 * n_steps, 10**6)} == {low}


# Warm restarts.


@drawn
@given(
    peak=peaks,
    floor=floors,
    cycle_length=st.integers(1, 20),
    cycle_mult=st.integers(1, 3),
)
def test_restarts_equal_torch_for_whole_multiples(peak, floor, cycle_length, cycle_mult):
    low = floor * peak
    schedule = SGDR(min_lr=low, max_lr=peak, cycle_length=cycle_length, cycle_mult=cycle_mult)
    expected = torch_rates(
        peak,
        N_STEPS,
        lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(
            optimizer, cycle_length, cycle_mult, eta_min=low
        ),
    )
    assert_close(rates_of(schedule, N_STEPS), expected, peak)


# torch takes whole multiples only and cannot decay the bounds (pytorch #62640, #95122, #195009):
# the oracle of everything else is the paper's formula in a loop.
multiples = st.one_of(
    st.sampled_from([0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0]),
    st.floats(0.3, 0.999),
    st.floats(1.001, 3.0),
)


@settings(drawn, max_examples=200)
@given(
    peak=peaks,
    floor=floors,
    cycle_length=st.one_of(st.integers(1, 40), st.floats(1.0, 40.0)),
    cycle_mult=multiples,
    max_decay=st.floats(0.5, 1.0),
    min_decay=st.floats(0.1, 1.0),
)
def test_restarts_equal_the_paper(peak, floor, cycle_length, cycle_mult, max_decay, min_decay):
    low = floor * peak
    min_decay *= max_decay
    schedule = SGDR(
        min_lr=low,
        max_lr=peak,
        cycle_length=cycle_length,
        cycle_mult=cycle_mult,
        max_decay=max_decay,
        min_decay=min_decay,
    )
    cycles = plain_cycles(cycle_length, cycle_mult, last=N_STEPS)
    steps = [t / 2 for t in range(2 * N_STEPS)]
    expected = plain_restarts(steps, cycles, low, peak, min_decay, max_decay)
    assert_close(schedule(steps), expected, peak)
    assert_close([schedule(t) for t in steps], expected, peak)
    ends = dict.fromkeys(end for _, end in cycles if end <= N_STEPS)
    assert schedule.snapshot_steps(N_STEPS) == tuple(ends)


@drawn
@given(cycle_length=st.integers(1, 50), cycle_mult=st.integers(1, 7))
def test_restarts_are_exact_however_far(cycle_length, cycle_mult):
    # floor(log()) in timm and in torch's step(epoch) misses exact restarts; whole numbers tell.
    schedule = SGDR(max_lr=0.3, cycle_length=cycle_length, cycle_mult=cycle_mult)
    end, length, ends = 0, cycle_length, []
    while end < 10**9 and len(ends) < 40:
        end += length
        length *= cycle_mult
        ends.append(end)
    assert [schedule(end) for end in ends] == [0.3] * len(ends)
    assert schedule(ends).tolist() == [0.3] * len(ends)
    # The last step of a cycle is as far down as its length allows.
    lasts = [fall(0, 0.3, 1 - 1 / (b - a)) for a, b in zip([0, *ends], ends, strict=False)]
    assert_close([schedule(end - 1) for end in ends], lasts, 0.3)
    assert schedule.snapshot_steps(ends[-1]) == tuple(ends)


def test_restarts_hit_the_one_that_timm_misses():
    # timm's floor(log()) gives lr_min at step 121 = 1 + 3 + 9 + 27 + 81.
    schedule = SGDR(max_lr=0.5, cycle_length=1, cycle_mult=3)
    assert [schedule(t) for t in (0, 1, 4, 13, 40, 121, 364)] == [0.5] * 7


def test_restarts_round_the_ends_and_not_the_lengths():
    # composer truncates each length and restarts at 5, 12, 22, 37; 5, 12.5, 23.75, 40.6 are due.
    schedule = SGDR(max_lr=1.0, cycle_length=5, cycle_mult=1.5)
    assert restarts(rates_of(schedule, 60)) == [5, 12, 24, 41]
    assert [schedule(t) for t in (5, 12, 24, 41)] == [1.0] * 4
    assert schedule.snapshot_steps(60) == (5, 12, 24, 41)


@pytest.mark.parametrize("period", [1, 2, 7])
def test_restarts_of_equal_cycles_are_a_period_apart(period):
    # skorch's WarmRestartLR needs period + 1 steps a cycle; fastai's fit_sgdr divides by zero.
    schedule = SGDR(max_lr=1.0, cycle_length=period, cycle_mult=1)
    rates = rates_of(schedule, 10 * period)
    assert [t for t, rate in enumerate(rates) if rate == 1.0] == list(range(0, 10 * period, period))


@pytest.mark.parametrize("period", [2.5, 3.3, 7.75])
def test_restarts_of_equal_fractional_cycles_do_not_drift(period):
    schedule = SGDR(max_lr=1.0, cycle_length=period)
    due = [round(k * period) for k in range(200)]
    assert [t for t, rate in enumerate(rates_of(schedule, due[-1] + 1)) if rate == 1.0] == due
    assert schedule(round(300_000 * period)) == 1.0


def test_restarts_decay_the_whole_peak():
    # Keras' m_mul scales the cosine part alone: its second peak is .55.
    schedule = SGDR(min_lr=0.1, max_lr=1.0, cycle_length=4, max_decay=0.5, min_decay=0.5)
    assert [schedule(t) for t in (0, 4, 8)] == [1.0, 0.5, 0.25]
    assert schedule(2) == exactly(0.55)
    assert schedule(6) == exactly(0.275)


def test_shrinking_restarts_end_at_their_minimum():
    schedule = SGDR(min_lr=0.1, max_lr=1.0, cycle_length=4, cycle_mult=0.5)
    # Cycles of 4, 2 and 1 steps; the next would be half a step long.
    assert restarts(rates_of(schedule, 50)) == [4, 6]
    assert schedule(6) == 1.0
    assert {schedule(t) for t in (7, 8, 1000, 10**6)} == {0.1}
    assert schedule.snapshot_steps(1000) == (4, 6, 7)


def test_shrinking_restarts_have_a_last_cycle_of_exactly_one_step():
    # Cycles of 4/3 and 1 steps, of which a rounded logarithm gives only the first.
    schedule = SGDR(max_lr=1.0, cycle_length=4 / 3, cycle_mult=0.75)
    assert [schedule(t) for t in (0, 1, 2, 10**6)] == [1.0, 1.0, 0.0, 0.0]
    assert schedule.snapshot_steps(10) == (1, 2)


def test_shrinking_restarts_hold_the_decayed_minimum():
    schedule = SGDR(
        min_lr=0.1, max_lr=1.0, cycle_length=4, cycle_mult=0.5, max_decay=0.8, min_decay=0.5
    )
    assert {schedule(t) for t in (7, 8, 10**6)} == {0.1 * 0.5**2}


@pytest.mark.parametrize("near", [1 - 1e-9, 1 + 1e-9, 1 - 2**-53, 1 + 2**-52])
def test_restarts_of_a_multiple_beside_one_are_those_of_one(near):
    # 0.1 * 3 / 0.3 is 1 + 2**-52: nobody who types it means another schedule.
    steps = np.arange(5_000)
    beside = SGDR(max_lr=1.0, cycle_length=7, cycle_mult=near)
    equal = SGDR(max_lr=1.0, cycle_length=7)
    assert_close(beside(steps), equal(steps), 1.0)
    assert beside.snapshot_steps(5_000) == equal.snapshot_steps(5_000)


@pytest.mark.parametrize(
    ("settings", "cycle"),
    [
        # Floor and peak: 0.5, 1 / 0.5, 0.5: equal in the second cycle.
        ({"min_lr": 0.5, "max_decay": 0.5}, 2),
        ({"min_lr": 0.1, "max_decay": 0.5}, 5),
        ({"min_lr": 0.1, "max_decay": 0.5, "min_decay": 0.9}, 5),
        ({"min_lr": 0.1, "max_decay": 0.5, "min_decay": 0.9, "cycle_mult": 2.0}, 5),
    ],
)
def test_restarts_refuse_a_floor_that_would_pass_its_peak(settings, cycle):
    # timm lets the curve rise there.
    with pytest.raises(ValueError, match=re.escape(f"would pass its peak in cycle {cycle}.")):
        SGDR(max_lr=1.0, cycle_length=8, **settings)


def test_restarts_refuse_a_floor_that_grows_even_from_zero():
    with pytest.raises(
        ValueError, match=re.escape("must be greater than 0 and at most 1. Got 1.01")
    ):
        SGDR(max_lr=1.0, cycle_length=8, min_decay=1.01)


def test_restarts_that_end_before_the_floor_passes_are_fine():
    # Cycles of 8, 4, 2 and 1 steps: the fifth, whose floor would pass its peak, never comes.
    bounds = {"min_lr": 0.1, "max_lr": 1.0, "max_decay": 0.5}
    schedule = SGDR(**bounds, cycle_length=8, cycle_mult=0.5)
    assert schedule(14) == 0.125
    assert schedule(15) == 0.1
    with pytest.raises(ValueError, match="would pass its peak in cycle 5"):
        SGDR(**bounds, cycle_length=16, cycle_mult=0.5)


@drawn
@given(
    floor=st.floats(0.01, 0.9),
    max_decay=st.floats(0.5, 1.0),
    min_decay=st.floats(0.5, 1.0),
    cycle_length=st.integers(1, 100),
    cycle_mult=st.sampled_from([0.5, 0.75, 1.0, 2.0]),
)
def test_restarts_refuse_exactly_the_floors_that_pass(
    floor, max_decay, min_decay, cycle_length, cycle_mult
):
    # Rounding errors decide where the two decays are all but equal.
    assume(min_decay == max_decay or abs(min_decay / max_decay - 1) > 0.01)
    lengths = [cycle_length * cycle_mult**i for i in range(1000)]
    passing = [
        i + 1
        for i, length in enumerate(lengths)
        if length >= 1 and floor * min_decay**i >= max_decay**i > 0
    ]
    made = {
        "min_lr": floor,
        "max_lr": 1.0,
        "max_decay": max_decay,
        "min_decay": min_decay,
        "cycle_length": cycle_length,
        "cycle_mult": cycle_mult,
    }
    if passing:
        with pytest.raises(ValueError, match=rf"in cycle {passing[0]}\. Got"):
            SGDR(**made)
    else:
        assert SGDR(**made)(0) == 1.0


# Snapshot cycles.


@drawn
@given(peak=peaks, n_steps=st.integers(1, 200), data=st.data())
def test_snapshot_cosine_shares_the_steps_evenly(peak, n_steps, data):
    n_cycles = data.draw(st.integers(1, min(n_steps, 20)))
    schedule = SnapshotCosine(max_lr=peak, n_steps=n_steps, n_cycles=n_cycles)
    rates = rates_of(schedule, n_steps)
    plain = [plain_snapshot(t, peak, n_steps, n_cycles) for t in range(n_steps)]
    assert_close(rates, plain, peak, EXACT)
    # The paper's ceil(T/M) gives too few cycles, floor(T/M) (titu1994) a stray one at the end.
    ends = schedule.snapshot_steps(n_steps)
    assert len(ends) == n_cycles
    assert ends[-1] == n_steps
    assert {end - start for start, end in zip((0, *ends), ends, strict=False)} <= {
        n_steps // n_cycles,
        -(-n_steps // n_cycles),
    }
    assert [t for t, rate in enumerate(rates) if rate == peak] == [0, *ends[:-1]]
    assert min(rates) > 0


def test_snapshot_cosine_equals_the_paper_where_the_cycles_divide_the_steps():
    n_steps, n_cycles, lr = 60, 5, 0.1
    cycle = math.ceil(n_steps / n_cycles)
    paper = [lr / 2 * (math.cos(math.pi * (t % cycle) / cycle) + 1) for t in range(n_steps)]
    schedule = SnapshotCosine(max_lr=lr, n_steps=n_steps, n_cycles=n_cycles)
    assert_close(rates_of(schedule, n_steps), paper, lr, EXACT)


def test_snapshot_cosine_has_all_its_cycles():
    # The paper's C = ceil(12/5) = 3 makes 4 cycles.
    schedule = SnapshotCosine(max_lr=1.0, n_steps=12, n_cycles=5)
    assert schedule.snapshot_steps(12) == (2, 5, 7, 10, 12)
    assert restarts(rates_of(schedule, 12)) == [2, 5, 7, 10]


@pytest.mark.parametrize(("n_steps", "n_cycles"), [(164, 5), (100, 8)])
def test_snapshot_cosine_ends_low(n_steps, n_cycles):
    # The official code takes its last snapshot at .41 of the rate here, the paper's C at .32.
    schedule = SnapshotCosine(max_lr=1.0, n_steps=n_steps, n_cycles=n_cycles)
    assert 0 < schedule(n_steps - 1) < 0.02
    for end in schedule.snapshot_steps(n_steps):
        assert schedule(end - 1) < 0.02


def test_snapshot_cosine_of_more_or_less_training_than_planned():
    schedule = SnapshotCosine(max_lr=1.0, n_steps=12, n_cycles=3)
    assert schedule.snapshot_steps(100) == (4, 8, 12)
    assert schedule.snapshot_steps(11) == (4, 8)


# 1cycle.


@drawn
@given(
    peak=peaks,
    n_steps=st.integers(2, N_STEPS),
    pct_start=st.floats(0.01, 1.0),
    div_factor=st.floats(1.0, 100.0),
    final_div_factor=st.floats(1.0, 1e5),
    anneal=st.sampled_from(["cos", "linear"]),
)
def test_one_cycle_equals_torch(peak, n_steps, pct_start, div_factor, final_div_factor, anneal):
    # At pct_start * T = 1 torch divides by zero, below it has no rise; at pct_start = 1 its last
    # step divides by zero or not as rounding goes.
    assume(pct_start * n_steps > 1 + 1e-6)
    assume(pct_start < 1 - 1e-6)
    schedule = OneCycle(
        max_lr=peak,
        n_steps=n_steps,
        pct_start=pct_start,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        anneal=anneal,
    )
    expected = torch_rates(
        peak,
        n_steps,
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer,
            peak,
            total_steps=n_steps,
            pct_start=pct_start,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
            anneal_strategy=anneal,
            cycle_momentum=False,
        ),
    )
    assert_close(rates_of(schedule, n_steps), expected, peak)


@pytest.mark.parametrize(
    ("n_steps", "rates"),
    [
        (1, [1.0]),
        (2, [1.0, 0.05]),
        (3, [0.1, 1.0, 0.05]),
        # The peak is at the real step .4 * 4 - 1 = .6, as in torch, and then at .4 * 5 - 1 = 1.
        (4, [0.1, 1 - 0.95 / 6, 1 - 0.95 * 3.5 / 6, 0.05]),
        (5, [0.1, 1.0, 1 - 0.95 / 3, 1 - 1.9 / 3, 0.05]),
    ],
)
def test_one_cycle_of_a_few_steps(n_steps, rates):
    # torch has no rise at 2 steps and at pct_start * T < 1, nor at 3 steps by default.
    schedule = OneCycle(
        max_lr=1.0,
        n_steps=n_steps,
        pct_start=0.4 if n_steps > 3 else 0.3,
        div_factor=10,
        final_div_factor=2,
        anneal="linear",
    )
    assert rates_of(schedule, n_steps) == exactly(rates)
    assert {schedule(t) for t in (n_steps, n_steps + 1, 10**6)} == {schedule(n_steps - 1)}


@pytest.mark.parametrize("anneal", ["cos", "linear"])
@pytest.mark.parametrize("n_steps", [3, 4, 10, 100])
def test_one_cycle_rises_where_torch_divides_by_zero(n_steps, anneal):
    # pct_start * T = 1 and less: the peak has nowhere to be in torch.
    for pct_start in (1 / n_steps, 0.5 / n_steps, 1e-9):
        schedule = OneCycle(max_lr=1.0, n_steps=n_steps, pct_start=pct_start, anneal=anneal)
        assert schedule(0) == 1 / 25
        assert schedule(1) == 1.0
        assert schedule(n_steps - 1) == exactly(1 / 25e4)


@pytest.mark.parametrize("anneal", ["cos", "linear"])
@pytest.mark.parametrize("n_steps", [1, 2, 3, 50])
def test_one_cycle_of_one_phase(n_steps, anneal):
    made = {"max_lr": 1.0, "n_steps": n_steps, "anneal": anneal}
    fall_only = OneCycle(**made, pct_start=0)
    assert fall_only(0) == 1.0
    assert restarts(rates_of(fall_only, n_steps)) == []
    rise_only = OneCycle(**made, pct_start=1)
    assert rise_only(n_steps - 1) == 1.0
    assert restarts(rates_of(rise_only, n_steps)) == list(range(1, n_steps))


def test_one_cycle_is_not_negative_past_the_end():
    # torch lets one extra step through, where the linear fall goes on to -0.14.
    schedule = OneCycle(max_lr=1.0, n_steps=10, anneal="linear")
    last = 1 / (25 * 1e4)
    assert [schedule(t) for t in (9, 10, 11, 10**6)] == [last] * 4


# Fast geometric ensembling.


@drawn
@given(
    peak=peaks,
    floor=floors,
    half=st.integers(1, 20),
    n_cycles=st.integers(1, 8),
    pretrain=st.integers(0, 100),
)
def test_fast_geometric_cycles_equal_garipov(peak, floor, half, n_cycles, pretrain):
    low, cycle = floor * peak, 2 * half
    n_steps = pretrain + n_cycles * cycle
    schedule = FastGeometric(
        min_lr=low,
        max_lr=peak,
        n_steps=n_steps,
        pretrain_fraction=pretrain / n_steps,
        n_cycles=n_cycles,
    )
    before = [fall(low, peak, t / pretrain) for t in range(pretrain)]
    cycles = [plain_fge(t, peak, low, cycle) for t in range(n_cycles * cycle)]
    assert_close(rates_of(schedule, n_steps), before + cycles, peak, EXACT)
    # The snapshot is due at the minimum, in mid-cycle.
    middles = tuple(pretrain + half + k * cycle for k in range(n_cycles))
    assert schedule.snapshot_steps(n_steps) == middles
    assert [schedule(step) for step in middles] == [low] * n_cycles


@drawn
@given(n_steps=st.integers(1, 200), fraction=st.floats(0, 0.99), data=st.data())
def test_fast_geometric_shares_the_rest_evenly(n_steps, fraction, data):
    pretrain = round(fraction * n_steps)
    rest = n_steps - pretrain
    assume(rest > 0)
    n_cycles = data.draw(st.integers(1, min(rest, 10)))
    schedule = FastGeometric(
        min_lr=0.1, max_lr=1.0, n_steps=n_steps, pretrain_fraction=fraction, n_cycles=n_cycles
    )
    rates = [fall(0.1, 1.0, t / pretrain) for t in range(pretrain)]
    middles = []
    for k in range(n_cycles):
        start, end = round(k * rest / n_cycles), round((k + 1) * rest / n_cycles)
        rates += [plain_fge(t, 1.0, 0.1, end - start) for t in range(end - start)]
        middles.append(pretrain + math.ceil((start + end) / 2))
    assert_close(rates_of(schedule, n_steps), rates, 1.0, EXACT)
    assert schedule.snapshot_steps(n_steps) == tuple(middles)
    assert schedule(10**6) == schedule(n_steps - 1)


# Decays.


@drawn
@given(peak=peaks, gamma=st.floats(0.5, 1.0), every=lengths)
def test_step_decay_equals_torch(peak, gamma, every):
    schedule = StepDecay(lr=peak, factor=gamma, every=every)
    expected = torch_rates(peak, N_STEPS, lambda o: lr_scheduler.StepLR(o, every, gamma=gamma))
    assert_close(rates_of(schedule, N_STEPS), expected, peak)
    assert_close(
        rates_of(schedule, N_STEPS), [peak * gamma ** (t // every) for t in range(N_STEPS)], peak
    )


@drawn
@given(
    peak=peaks,
    gamma=st.floats(0.5, 1.0),
    milestones=st.lists(st.integers(1, N_STEPS), min_size=1, max_size=6, unique=True).map(sorted),
)
def test_step_decay_by_milestones_equals_torch(peak, gamma, milestones):
    schedule = StepDecay(lr=peak, factor=gamma, milestones=milestones)
    expected = torch_rates(
        peak, N_STEPS, lambda o: lr_scheduler.MultiStepLR(o, milestones, gamma=gamma)
    )
    assert_close(rates_of(schedule, N_STEPS), expected, peak)


def test_step_decay_between_whole_steps():
    schedule = StepDecay(lr=1.0, factor=0.5, milestones=[1.5, 3])
    assert [schedule(t) for t in (0, 1, 1.49, 1.5, 2, 2.99, 3)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    schedule = StepDecay(lr=1.0, factor=0.5, every=1.5)
    assert [schedule(t) for t in (0, 1, 1.5, 2, 3, 4, 5)] == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]


@drawn
@given(peak=peaks, gamma=st.floats(0.9, 1.0))
def test_exponential_decay_equals_torch(peak, gamma):
    schedule = ExponentialDecay(lr=peak, gamma=gamma)
    expected = torch_rates(peak, N_STEPS, lambda o: lr_scheduler.ExponentialLR(o, gamma))
    assert_close(rates_of(schedule, N_STEPS), expected, peak)


@drawn
@given(peak=peaks, rate=st.floats(0.0, 10.0))
def test_inverse_time_decay_equals_its_formula(peak, rate):
    schedule = InverseTimeDecay(lr=peak, decay_rate=rate)
    assert rates_of(schedule, N_STEPS) == [peak / (1 + rate * t) for t in range(N_STEPS)]
    assert schedule(0) == peak


@given(peak=peaks, step=st.one_of(st.integers(0, 10**9), st.floats(0, 1e9)))
@drawn
def test_constant_is_constant(peak, step):
    assert Constant(lr=peak)(step) == peak


# Range test.


@drawn
@given(low=st.floats(1e-8, 1e-2), ratio=st.floats(1.5, 1e9), n_steps=st.integers(2, 200))
@pytest.mark.parametrize(("scale", "space"), [("log", np.geomspace), ("linear", np.linspace)])
def test_range_test_equals_numpy(scale, space, low, ratio, n_steps):
    high = low * ratio
    schedule = RangeTest(min_lr=low, max_lr=high, n_steps=n_steps, scale=scale)
    rates = rates_of(schedule, n_steps)
    np.testing.assert_allclose(rates, space(low, high, n_steps), rtol=CLOSE)
    assert (rates[0], rates[-1], schedule(10**6)) == (low, high, high)
    assert restarts(rates) == list(range(1, n_steps))


def test_linear_range_test_may_begin_at_zero():
    assert rates_of(RangeTest(min_lr=0, max_lr=1, n_steps=3, scale="linear"), 3) == [0, 0.5, 1]


# Trainings of a few steps.


@pytest.mark.parametrize("n_steps", [1, 2, 3, 4, 5])
def test_trainings_of_a_few_steps(n_steps):
    steps = range(n_steps)
    decay = CosineDecay(min_lr=0.1, max_lr=1.0, n_steps=n_steps)
    assert_close(rates_of(decay, n_steps), [fall(0.1, 1, t / n_steps) for t in steps], 1, EXACT)
    for n_cycles in range(1, n_steps + 1):
        snapshot = SnapshotCosine(max_lr=1.0, n_steps=n_steps, n_cycles=n_cycles)
        plain = [plain_snapshot(t, 1.0, n_steps, n_cycles) for t in steps]
        assert_close(rates_of(snapshot, n_steps), plain, 1, EXACT)
        fge = FastGeometric(
            min_lr=0.1, max_lr=1.0, n_steps=n_steps, pretrain_fraction=0, n_cycles=n_cycles
        )
        assert len(fge.snapshot_steps(n_steps)) == n_cycles
        assert fge(0) == 1.0
    if n_steps > 1:
        ramp = RangeTest(min_lr=0.5, max_lr=1.0, n_steps=n_steps, scale="linear")
        assert_close(rates_of(ramp, n_steps), np.linspace(0.5, 1, n_steps), 1, EXACT)


@pytest.mark.parametrize("n_steps", [1, 2, 5])
def test_a_cycle_for_each_step_stays_at_the_peak(n_steps):
    schedule = SnapshotCosine(max_lr=0.3, n_steps=n_steps, n_cycles=n_steps)
    assert rates_of(schedule, n_steps + 3) == [0.3] * (n_steps + 3)
