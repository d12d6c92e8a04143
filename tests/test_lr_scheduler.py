"""ScheduleLR in plain training loops: rates, groups, states, pickles and torch's own schedulers."""

import copy
import io
import pickle
import re
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from sklr.lr_scheduler import ScheduleLR
from sklr.schedules import (
    SGDR,
    Constant,
    CosineDecay,
    CyclicalLR,
    FastGeometric,
    OneCycle,
    SnapshotCosine,
    StepDecay,
    join,
    warmup,
)

drawn = settings(max_examples=60, deadline=None, derandomize=True)
N_STEPS = 30

saw = CyclicalLR(base_lr=0.1, max_lr=1.0, step_size=4)
fall = CosineDecay(min_lr=0.01, max_lr=0.5, n_steps=20)
SCHEDULES = [
    Constant(lr=0.2),
    fall,
    # The settings at which skorch's LRScheduler is wrong after a resume.
    SGDR(max_lr=0.3, cycle_length=2, cycle_mult=2),
    StepDecay(lr=0.3, every=5),
    FastGeometric(min_lr=0.01, max_lr=0.3, n_steps=25, n_cycles=2),
    OneCycle(max_lr=0.3, n_steps=20),
    SnapshotCosine(max_lr=0.3, n_steps=25, n_cycles=3),
    saw,
    warmup(join([saw, fall], [9]), 3),
]
every_schedule = pytest.mark.parametrize(
    "schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__
)
# ScheduleLR does the same with all: one that goes on for ever, one that ends, a composition.
some_schedules = pytest.mark.parametrize(
    "schedule", [saw, fall, SCHEDULES[-1]], ids=lambda schedule: type(schedule).__name__
)


def parameter():
    return torch.nn.Parameter(torch.ones(2))


def make_sgd(lr=0.1, group_lrs=(None,), **settings):
    """Return an SGD with a group for each of `group_lrs`, None for one that names no rate."""
    groups = [
        {"params": [parameter()]} | ({} if group_lr is None else {"lr": group_lr})
        for group_lr in group_lrs
    ]
    return torch.optim.SGD(groups, lr=lr, **settings)


def lrs(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def train(optimizer, scheduler, n_steps):
    """Train for some steps and give the rates that each used, a tuple of the groups'."""
    used = []
    for _ in range(n_steps):
        used.append(tuple(lrs(optimizer)))
        optimizer.zero_grad()
        sum((p**2).sum() for group in optimizer.param_groups for p in group["params"]).backward()
        optimizer.step()
        scheduler.step()
    return used


def weights(optimizer):
    return [p.tolist() for group in optimizer.param_groups for p in group["params"]]


def expected(schedule, start=0, stop=N_STEPS, ratios=(1.0,)):
    return [tuple(schedule(step) * ratio for ratio in ratios) for step in range(start, stop)]


# Rates.


@every_schedule
def test_each_step_uses_the_rate_of_the_schedule(schedule):
    optimizer = make_sgd()
    scheduler = ScheduleLR(optimizer, schedule)
    assert train(optimizer, scheduler, N_STEPS) == expected(schedule)


@drawn
@given(
    base=st.floats(0.001, 0.1),
    ratio=st.floats(1.5, 100),
    step_size=st.integers(1, 15),
    mode=st.sampled_from(["triangular", "triangular2", "exp_range"]),
)
def test_equals_torch_cyclic_lr(base, ratio, step_size, mode):
    peak = base * ratio
    ours, theirs = make_sgd(), make_sgd()
    schedule = CyclicalLR(base_lr=base, max_lr=peak, step_size=step_size, mode=mode, gamma=0.95)
    settings = {"mode": mode, "gamma": 0.95, "cycle_momentum": False}
    cyclic = lr_scheduler.CyclicLR(theirs, base, peak, step_size, **settings)
    np.testing.assert_allclose(
        train(ours, ScheduleLR(ours, schedule), N_STEPS),
        train(theirs, cyclic, N_STEPS),
        rtol=0,
        atol=1e-12 * peak,
    )
    np.testing.assert_allclose(weights(ours), weights(theirs), rtol=1e-5)


def test_writes_the_first_rate_when_made():
    optimizer = make_sgd(lr=0.7)
    ScheduleLR(optimizer, saw)
    assert lrs(optimizer) == [0.1]


@pytest.mark.parametrize(
    "settings",
    [{}, {"momentum": 0.0}, {"momentum": 0.5, "nesterov": True}],
    ids=["none", "zero", "nesterov"],
)
def test_leaves_everything_but_the_rate_alone(settings):
    # torch's CyclicLR and OneCycleLR turn a momentum of 0 silently into .9 and .95.
    optimizer = make_sgd(**settings)
    before = [{**group} for group in optimizer.param_groups]
    scheduler = ScheduleLR(optimizer, OneCycle(max_lr=1.0, n_steps=10))
    train(optimizer, scheduler, 8)
    for old, new in zip(before, optimizer.param_groups, strict=True):
        assert {**old, "lr": None, "initial_lr": None} == {**new, "lr": None, "initial_lr": None}


def test_leaves_the_first_beta_of_adam_alone():
    optimizer = torch.optim.Adam([parameter()], betas=(0.8, 0.99))
    scheduler = ScheduleLR(optimizer, OneCycle(max_lr=1.0, n_steps=10))
    train(optimizer, scheduler, 8)
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.99)


def test_warns_of_nothing_but_of_the_wrong_order():
    optimizer = make_sgd()
    scheduler = ScheduleLR(optimizer, saw)
    with pytest.warns(UserWarning, match=re.escape("before `optimizer.step()`")):
        scheduler.step()


def test_jumps_to_a_step():
    # torch's own schedulers drift or land elsewhere; the rate is a function of the step.
    optimizer = make_sgd()
    scheduler = ScheduleLR(optimizer, SGDR(max_lr=0.3, cycle_length=1, cycle_mult=3))
    optimizer.step()
    with pytest.warns(UserWarning, match="epoch parameter"):
        scheduler.step(121)
    assert lrs(optimizer) == [0.3]
    assert scheduler.get_last_lr() == [0.3]


@pytest.mark.parametrize("group_lrs", [(None,), (None, 0.01)], ids=["one", "two"])
def test_last_lr_is_what_was_written(group_lrs):
    optimizer = make_sgd(group_lrs=group_lrs)
    scheduler = ScheduleLR(optimizer, saw)
    for _ in range(10):
        assert scheduler.get_last_lr() == lrs(optimizer) == scheduler.get_lr()
        train(optimizer, scheduler, 1)


# Groups.


@pytest.mark.parametrize(
    ("group_lrs", "ratios"),
    [
        ((None, None), (1.0, 1.0)),
        ((None, 0.01), (1.0, 0.01 / 0.1)),
        ((0.02, None, 0.04), (0.02 / 0.1, 1.0, 0.04 / 0.1)),
        # Where all groups have one rate there is no proportion to keep, whatever it is.
        ((0.7,), (1.0,)),
        ((0.7, 0.7), (1.0, 1.0)),
        # Where none has the optimizer's, torch's default perhaps, it is nothing to go by.
        ((0.5, 0.05), (1.0, 0.05 / 0.5)),
        # A frozen group stays frozen.
        ((None, 0.0), (1.0, 0.0)),
    ],
)
def test_groups_keep_their_proportion_to_the_rate_of_the_optimizer(group_lrs, ratios):
    optimizer = make_sgd(group_lrs=group_lrs)
    scheduler = ScheduleLR(optimizer, saw)
    assert train(optimizer, scheduler, N_STEPS) == expected(saw, ratios=ratios)


def test_a_group_above_the_schedule_is_warned_of():
    """Groups of 1 : 0.1 whose state was loaded, where the lower has the optimizer's new rate."""
    optimizer = make_sgd(lr=0.01, group_lrs=(0.1, None))
    with pytest.warns(UserWarning, match=r"Parameter group 0 trains at 10 times .* reference_lr"):
        scheduler = ScheduleLR(optimizer, saw)
    assert scheduler.get_last_lr() == [saw(0) * (0.1 / 0.01), saw(0)]
    with pytest.warns(UserWarning, match=r"Parameter group 1 trains at 1\.1 times"):
        ScheduleLR(make_sgd(lr=0.1, group_lrs=(None, 0.11)), saw)
    optimizer = make_sgd(lr=0.01, group_lrs=(0.1, None))
    scheduler = ScheduleLR(optimizer, saw, reference_lr=0.1)
    assert train(optimizer, scheduler, N_STEPS) == expected(saw, ratios=(1.0, 0.01 / 0.1))


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of its deprecated argument
@pytest.mark.parametrize("epoch", [[1, 2], 1.5, "1", -1, True])
def test_a_step_to_no_epoch(epoch):
    scheduler = ScheduleLR(make_sgd(), saw)
    with pytest.raises((TypeError, ValueError), match="'epoch' parameter of ScheduleLR must be"):
        scheduler.step(epoch)
    assert scheduler.last_epoch == 0


def test_a_rate_of_zero_is_nothing_to_be_in_proportion_to():
    optimizer = make_sgd(lr=0.0, group_lrs=(None, 0.1))
    assert train(optimizer, ScheduleLR(optimizer, saw), 9) == expected(saw, 0, 9, (0.0, 1.0))


@pytest.mark.parametrize("other", ["exponential", "onecycle", "ours"])
def test_proportions_are_those_from_before_another_scheduler(other):
    # torch's schedulers start from the stale initial_lr that an earlier one left, and OneCycleLR
    # leaves one of its own.
    optimizer = make_sgd(group_lrs=(None, 0.01))
    earlier = {
        "exponential": lambda: lr_scheduler.ExponentialLR(optimizer, 0.5),
        "onecycle": lambda: lr_scheduler.OneCycleLR(
            optimizer, [0.1, 0.01], total_steps=20, div_factor=7, cycle_momentum=False
        ),
        "ours": lambda: ScheduleLR(optimizer, fall),
    }[other]()
    train(optimizer, earlier, 3)
    scheduler = ScheduleLR(optimizer, saw)
    rates = train(optimizer, scheduler, N_STEPS)
    np.testing.assert_allclose(rates, expected(saw, ratios=(1.0, 0.1)), rtol=1e-15)


def test_a_stale_initial_rate_does_not_matter_to_one_group():
    optimizer = make_sgd(lr=0.7)
    train(optimizer, lr_scheduler.ExponentialLR(optimizer, 0.5), 3)
    optimizer.param_groups[0]["lr"] = 123.0
    scheduler = ScheduleLR(optimizer, saw)
    assert train(optimizer, scheduler, N_STEPS) == expected(saw)


def test_more_groups_need_a_new_scheduler():
    # A clear failure, since no rule for the new group's proportion would suit everyone.
    optimizer = make_sgd()
    scheduler = ScheduleLR(optimizer, saw)
    train(optimizer, scheduler, 3)
    optimizer.add_param_group({"params": [parameter()], "lr": 0.01})
    optimizer.step()
    before = lrs(optimizer)
    with pytest.raises(ValueError, match=r"must keep its 1 .* with last_epoch=3 .* Got 2 instead"):
        scheduler.step()
    assert lrs(optimizer) == before
    # What the message says: the rates go on from the step at which it was raised.
    scheduler = ScheduleLR(optimizer, saw, last_epoch=3)
    rates = train(optimizer, scheduler, N_STEPS)
    np.testing.assert_allclose(rates, expected(saw, 4, 4 + N_STEPS, (1.0, 0.1)), rtol=1e-15)


# Rates in tensors, as a capturable optimizer needs them.


def make_adam(lr, *more):
    groups = [{"params": [parameter()]}, *({"params": [parameter()], "lr": lr} for lr in more)]
    return torch.optim.Adam(groups, lr=lr, foreach=False)


def test_a_rate_in_a_tensor_stays_in_that_tensor():
    lr = torch.tensor(0.1, dtype=torch.float64)
    optimizer = make_adam(lr)
    scheduler = ScheduleLR(optimizer, saw)
    for step in range(N_STEPS):
        assert optimizer.param_groups[0]["lr"] is lr
        assert lr.item() == saw(step)
        train(optimizer, scheduler, 1)


@pytest.mark.parametrize(
    ("lr", "more"),
    [
        (torch.tensor(0.1).double(), torch.tensor(0.01).double()),
        (0.1, torch.tensor(0.01).double()),
        (torch.tensor(0.1).double(), 0.01),
    ],
    ids=["both", "second", "first"],
)
@pytest.mark.parametrize("stale", [False, True], ids=["fresh", "stale"])
def test_tensors_keep_their_proportion(lr, more, stale):
    # Of a group that names no rate the tensor is the optimizer's default itself: a scheduler that
    # writes to it changes what the proportions are taken of.
    lr, more = (copy.deepcopy(value) for value in (lr, more))
    optimizer = make_adam(lr, more)
    if stale:
        train(optimizer, lr_scheduler.ExponentialLR(optimizer, 0.5), 2)
    scheduler = ScheduleLR(optimizer, saw)
    # The rates that were given in single precision are a tenth of each other but for rounding.
    rates = train(optimizer, scheduler, N_STEPS)
    np.testing.assert_allclose(rates, expected(saw, ratios=(1.0, 0.1)), rtol=1e-6)
    for group, rate in zip(optimizer.param_groups, (lr, more), strict=True):
        assert group["lr"] is rate if torch.is_tensor(rate) else type(group["lr"]) is float


def test_a_tensor_of_single_precision_holds_the_rounded_rate():
    optimizer = make_adam(torch.tensor(0.1))
    scheduler = ScheduleLR(optimizer, saw)
    rates = [rate for (rate,) in train(optimizer, scheduler, N_STEPS)]
    assert rates == [float(np.float32(saw(step))) for step in range(N_STEPS)]


# States.


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_state_is_the_step_and_the_schedule():
    optimizer = make_sgd()
    scheduler = ScheduleLR(optimizer, saw)
    assert scheduler.state_dict() == {"step": 0, "schedule": repr(saw)}
    train(optimizer, scheduler, 7)
    state = scheduler.state_dict()
    assert state == {"step": 7, "schedule": repr(saw)}
    assert {type(value) for value in state.values()} == {int, str}
    assert through_a_file(state) == state


@some_schedules
@pytest.mark.parametrize("optimizer_too", [False, True], ids=["alone", "with the optimizer"])
def test_a_loaded_state_goes_on_as_if_never_stopped(schedule, optimizer_too):
    for stop in range(0, N_STEPS, 3):
        first = make_sgd(momentum=0.5)
        scheduler = ScheduleLR(first, schedule)
        train(first, scheduler, stop)
        states = through_a_file([scheduler.state_dict(), first.state_dict()])

        second = make_sgd(momentum=0.5)
        resumed = ScheduleLR(second, schedule)
        resumed.load_state_dict(states[0])
        # Loading sets the rate; torch's schedulers wait for the next step.
        assert lrs(second) == lrs(first) == [schedule(stop)]
        if optimizer_too:
            second.load_state_dict(states[1])
        assert resumed.get_last_lr() == [schedule(stop)]
        assert train(second, resumed, N_STEPS - stop) == expected(schedule, stop)


def test_a_loaded_state_leaves_the_schedule_alone():
    # torch's load_state_dict overwrites hyper-parameters.
    optimizer = make_sgd()
    scheduler = ScheduleLR(optimizer, saw)
    scheduler.load_state_dict({"step": 5, "schedule": repr(saw)})
    assert scheduler.schedule is saw
    assert scheduler.last_epoch == 5


def test_a_loaded_state_keeps_the_proportions():
    optimizer = make_sgd(group_lrs=(None, 0.01))
    scheduler = ScheduleLR(optimizer, saw)
    scheduler.load_state_dict({"step": 4, "schedule": repr(saw)})
    assert lrs(optimizer) == [1.0, 0.01 / 0.1]


def garbage():
    schedule = repr(saw)
    cyclic = lr_scheduler.CyclicLR(make_sgd(), 0.1, 1.0, 4, cycle_momentum=False)
    yield "list", [3], TypeError
    yield "part", {"step": 3}, ValueError
    yield "more", {"step": 3, "schedule": schedule, 4: None}, ValueError
    yield "torch's", cyclic.state_dict(), ValueError
    yield "another's", {"step": 3, "schedule": repr(fall)}, ValueError
    yield "no schedule", {"step": 3, "schedule": None}, ValueError
    yield "text step", {"step": "3", "schedule": schedule}, TypeError
    yield "bool step", {"step": True, "schedule": schedule}, TypeError
    yield "part step", {"step": 2.5, "schedule": schedule}, TypeError
    yield "negative step", {"step": -2, "schedule": schedule}, ValueError


@pytest.mark.parametrize(
    ("state", "error"), [pytest.param(state, error, id=name) for name, state, error in garbage()]
)
def test_refuses_what_is_not_its_state(state, error):
    optimizer = make_sgd()
    scheduler = ScheduleLR(optimizer, saw)
    train(optimizer, scheduler, 3)
    with pytest.raises(error) as caught:
        scheduler.load_state_dict(state)
    form = r"The '(state_dict|step)' parameter of ScheduleLR must .* Got .* instead\."
    assert re.fullmatch(form, str(caught.value), re.DOTALL)
    # Nothing has changed.
    assert scheduler.last_epoch == 3
    assert train(optimizer, scheduler, N_STEPS) == expected(saw, 3, 3 + N_STEPS)


@pytest.mark.parametrize("step", [1, 4, 9])
def test_an_optimizer_loaded_in_mid_run_is_still_written_to(step):
    # Loading gives the optimizer new groups: a writer that kept the old ones would lose it.
    optimizer = make_sgd(group_lrs=(None, 0.01))
    scheduler = ScheduleLR(optimizer, saw)
    train(optimizer, scheduler, step)
    groups = optimizer.param_groups
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert optimizer.param_groups is not groups
    rates = train(optimizer, scheduler, N_STEPS)
    assert rates == expected(saw, step, step + N_STEPS, (1.0, 0.01 / 0.1))


def test_an_optimizer_loaded_from_elsewhere_gets_the_rate_at_the_next_step():
    optimizer, elsewhere = make_sgd(), make_sgd(lr=7.0)
    scheduler = ScheduleLR(optimizer, saw)
    train(optimizer, scheduler, 2)
    optimizer.load_state_dict(elsewhere.state_dict())
    assert train(optimizer, scheduler, 5) == [(7.0,), *expected(saw, 3, 7)]


@some_schedules
def test_last_epoch_begins_where_torch_would(schedule):
    # An optimizer that no scheduler has touched will do: torch raises a KeyError there.
    for last_epoch in (0, 4, 11):
        optimizer = make_sgd()
        scheduler = ScheduleLR(optimizer, schedule, last_epoch=last_epoch)
        start = last_epoch + 1
        assert scheduler.last_epoch == start
        assert train(optimizer, scheduler, 9) == expected(schedule, start, start + 9)


# Pickles and copies.


@pytest.mark.parametrize(
    "travel",
    [lambda pair: pickle.loads(pickle.dumps(pair)), copy.deepcopy],
    ids=["pickle", "deepcopy"],
)
@some_schedules
def test_travels_in_mid_run(schedule, travel):
    optimizer = make_sgd(group_lrs=(None, 0.01), momentum=0.5)
    scheduler = ScheduleLR(optimizer, schedule)
    train(optimizer, scheduler, 5)
    other_optimizer, other = travel((optimizer, scheduler))
    assert other.optimizer is other_optimizer
    assert other.schedule == schedule
    assert other.get_last_lr() == scheduler.get_last_lr()
    # The two go on alike, and apart from each other.
    rates = train(other_optimizer, other, 10)
    assert scheduler.last_epoch == 5
    assert train(optimizer, scheduler, 10) == rates
    assert rates == expected(schedule, 5, 15, (1.0, 0.01 / 0.1))
    assert weights(optimizer) == weights(other_optimizer)
    assert other.state_dict() == scheduler.state_dict()


# Within torch's SequentialLR.


def linear_then_ours(optimizer):
    linear = lr_scheduler.LinearLR(optimizer, 0.25, total_iters=4)
    return lr_scheduler.SequentialLR(optimizer, [linear, ScheduleLR(optimizer, saw)], [4])


def ours_then_ours(optimizer):
    pair = [ScheduleLR(optimizer, fall), ScheduleLR(optimizer, saw)]
    return lr_scheduler.SequentialLR(optimizer, pair, [4])


def ours_then_exponential(optimizer):
    pair = [ScheduleLR(optimizer, saw), lr_scheduler.ExponentialLR(optimizer, 0.5)]
    return lr_scheduler.SequentialLR(optimizer, pair, [4])


SEQUENCES = [
    # LinearLR starts at a quarter of the optimizer's rate, 0.1.
    (linear_then_ours, [0.1 * (0.25 + 0.75 * t / 4) for t in range(4)] + [*map(saw, range(16))]),
    (ours_then_ours, [*map(fall, range(4)), *map(saw, range(16))]),
    # ExponentialLR begins anew from the optimizer's own rate.
    (ours_then_exponential, [*map(saw, range(4)), *(0.1 * 0.5**t for t in range(16))]),
]
every_sequence = pytest.mark.parametrize(
    ("make", "rates"), SEQUENCES, ids=[make.__name__ for make, _ in SEQUENCES]
)


def train_sequence(optimizer, scheduler, n_steps):
    with warnings.catch_warnings():
        # The SequentialLR of older torch itself calls step(0), which it deprecates.
        warnings.filterwarnings("ignore", message=".*epoch parameter.*", category=UserWarning)
        return [rate for (rate,) in train(optimizer, scheduler, n_steps)]


@every_sequence
def test_takes_its_turn_in_a_sequence(make, rates):
    optimizer = make_sgd()
    scheduler = make(optimizer)
    np.testing.assert_allclose(train_sequence(optimizer, scheduler, 20), rates, rtol=1e-14)


def test_says_its_first_rate_while_it_waits_for_its_turn():
    optimizer = make_sgd()
    waiting = ours_then_ours(optimizer)._schedulers[1]
    assert lrs(optimizer) == [fall(0)]
    assert waiting.last_epoch == -1
    assert waiting.get_last_lr() == [saw(0)]
    assert waiting.state_dict()["step"] == -1


@every_sequence
@pytest.mark.parametrize("stop", [0, 3, 4, 9])
def test_a_sequence_goes_on_from_its_state(make, rates, stop):
    first = make_sgd()
    scheduler = make(first)
    train_sequence(first, scheduler, stop)
    states = through_a_file([scheduler.state_dict(), first.state_dict()])

    second = make_sgd()
    resumed = make(second)
    # The scheduler first: SequentialLR also loads those whose turn is over, and a ScheduleLR
    # cannot know that its is. What a torch scheduler after it goes on from is the optimizer's.
    resumed.load_state_dict(states[0])
    second.load_state_dict(states[1])
    rest = train_sequence(second, resumed, 20 - stop)
    np.testing.assert_allclose(rest, rates[stop:], rtol=1e-14)


@pytest.mark.parametrize("stop", [0, 4, 5])
@pytest.mark.parametrize(("make", "rates"), SEQUENCES[:2], ids=["linear", "ours"])
def test_a_sequence_that_ends_in_ours_may_be_loaded_in_any_order(make, rates, stop):
    first = make_sgd()
    scheduler = make(first)
    train_sequence(first, scheduler, stop)
    second = make_sgd()
    resumed = make(second)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    rest = train_sequence(second, resumed, 20 - stop)
    np.testing.assert_allclose(rest, rates[stop:], rtol=1e-14)


# Bad input.


@pytest.mark.parametrize(
    ("parameter_name", "given", "error"),
    [
        ("optimizer", None, TypeError),
        ("optimizer", torch.optim.SGD, TypeError),
        ("schedule", None, TypeError),
        ("schedule", CyclicalLR, TypeError),
        ("schedule", lambda step: 0.1, TypeError),
        ("last_epoch", 3.0, TypeError),
        ("last_epoch", True, TypeError),
        ("last_epoch", -2, ValueError),
    ],
)
def test_bad_parameters_raise(parameter_name, given, error):
    optimizer = make_sgd()
    good = {"optimizer": optimizer, "schedule": saw, "last_epoch": -1}
    with pytest.raises(error) as caught:
        ScheduleLR(**{**good, parameter_name: given})
    form = rf"The '{parameter_name}' parameter of ScheduleLR must .+ Got .+ instead\."
    assert re.fullmatch(form, str(caught.value), re.DOTALL)
    # Nothing was written.
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert "initial_lr" not in optimizer.param_groups[0]
