"""ScheduleLR and RangeTestLR in plain training loops: rates, groups, states, pickles."""

import copy
import gc
import io
import math
import pickle
import re
import warnings
import weakref
from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier
from torch import nn
from torch.optim import lr_scheduler

from sklr import LRFinder, RangeTestError
from sklr.lr_scheduler import RangeTestLR, ScheduleLR
from sklr.plotting import LRRangeDisplay
from sklr.schedules import (
    SGDR,
    Constant,
    CosineDecay,
    CyclicalLR,
    FastGeometric,
    OneCycle,
    RangeTest,
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


# RangeTestLR: its rates and losses.


class Normed(nn.Module):
    """All kinds of state: parameters, running statistics, a buffer that no file holds, a number."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)
        )
        self.register_buffer("mean", torch.zeros(64), persistent=False)
        self.n_calls = 0

    def forward(self, X):
        self.n_calls += 1
        self.mean = 0.9 * self.mean + 0.1 * X.mean(0)
        return self.layers(X - self.mean)


def batches(n_steps, size=50):
    X, y = torch.from_numpy(X_DIGITS), torch.from_numpy(Y_DIGITS)
    for step in range(n_steps):
        rows = torch.arange(step * size, (step + 1) * size) % len(X)
        yield X[rows], y[rows]


def learn(module, optimizer, X, y):
    """Take one step of training, and return the batch's loss."""

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(X), y)
        loss.backward()
        return loss

    return optimizer.step(closure)


def run_ramp(module, optimizer, **settings):
    """Run a ramp to its end."""
    ramp = RangeTestLR(optimizer, module=module, **settings)
    assert any(ramp.step(learn(module, optimizer, X, y)) for X, y in batches(ramp.n_steps))
    return ramp


def with_groups(module, make=torch.optim.SGD, **settings):
    """Return an optimizer of two groups, the second at a tenth of the first one's rate."""
    *body, weight, bias = module.parameters()
    groups = [{"params": body}, {"params": [weight, bias], "lr": 0.01}]
    return make(groups, lr=0.1, **settings)


def bits(module, optimizer):
    """Return all that restore() promises, as plain objects that compare bit for bit."""

    def plain(value):
        if torch.is_tensor(value):
            return value.dtype, value.shape, value.detach().numpy().tobytes()
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items() if key != "params"}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    parameters = list(module.parameters())
    return {
        "module": plain(dict(module.state_dict())),
        "rest": plain([getattr(module, name, None) for name in ("mean", "n_calls")]),
        "grads": plain([p.grad for p in parameters]),
        "state": [plain(optimizer.state.get(p)) for p in parameters],
        "groups": [plain(group) for group in optimizer.param_groups],
        "params": [[id(p) for p in group["params"]] for group in optimizer.param_groups],
        "hooks": list(optimizer._optimizer_step_post_hooks.values()),
    }


@pytest.mark.parametrize(
    ("settings", "ended"),
    [
        ({}, "complete"),
        ({"scale": "linear", "min_lr": 0.0, "max_lr": 2.0, "n_steps": 30}, "complete"),
        ({"max_lr": 1e4, "n_steps": 60}, "diverged"),
        ({"max_lr": 1e30, "n_steps": 12}, "not finite"),
    ],
    ids=["log", "linear", "diverged", "not finite"],
)
@pytest.mark.parametrize("groups", [1, 2])
def test_a_ramp_is_that_of_the_callback(groups, settings, ended):
    own = [("layers.2.*", {"lr": 0.01})] if groups == 2 else []
    params = {"lr": 0.1, "optimizer__momentum": 0.5, "optimizer__param_groups": own}
    finder = LRFinder(**settings)
    torch.manual_seed(3)
    net = make_classifier(
        **params, callbacks=[("finder", finder)], max_epochs=10, iterator_train__shuffle=False
    )
    net.fit(X_DIGITS, Y_DIGITS)
    finder = dict(net.callbacks_)["finder"]

    torch.manual_seed(3)
    module = MLP()
    make = with_groups if groups == 2 else lambda module, **kw: make_sgd_of(module, **kw)
    ramp = run_ramp(module, make(module, momentum=0.5), **settings)
    assert ramp.ended_ == finder.ended_ == ended
    assert ramp.lrs_ == finder.lrs_
    np.testing.assert_array_equal(ramp.losses_, finder.losses_)
    for mine, theirs in zip(module.parameters(), net.module_.parameters(), strict=True):
        np.testing.assert_array_equal(mine.detach(), theirs.detach())
    try:
        expected_lr = finder.suggest()
    except RangeTestError as error:
        with pytest.raises(RangeTestError, match=f"^{re.escape(str(error))}$"):
            ramp.suggest()
    else:
        assert ramp.suggest() == expected_lr


def make_sgd_of(module, **settings):
    return torch.optim.SGD(module.parameters(), lr=0.1, **settings)


def test_groups_of_a_ramp_keep_their_proportion():
    module = MLP()
    optimizer = with_groups(module)
    ramp = RangeTestLR(optimizer, min_lr=1e-4, max_lr=1.0, n_steps=20)
    schedule = RangeTest(min_lr=1e-4, max_lr=1.0, n_steps=20)
    for step in range(20):
        assert lrs(optimizer) == [schedule(step), schedule(step) * (0.01 / 0.1)]
        ramp.step(1.0)
    with pytest.warns(UserWarning, match=r"group 0 trains at 10 times .* make the optimizer with"):
        RangeTestLR(make_sgd(lr=0.01, group_lrs=(0.1, None)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_ends_a_ramp(bad):
    ramp = RangeTestLR(make_sgd())
    assert not ramp.step(1.0)
    assert not ramp.step(2.0)
    assert ramp.step(torch.tensor(bad))
    assert ramp.ended_ == "not finite"
    np.testing.assert_array_equal(ramp.losses_, [1.0, 2.0, bad])
    assert ramp.status == "diverged_at_start"


def test_no_step_follows_the_end_of_a_ramp():
    optimizer = make_sgd()
    ramp = RangeTestLR(optimizer, n_steps=10)
    assert [ramp.step(1.0) for _ in range(10)] == [False] * 9 + [True]
    assert lrs(optimizer) == [10.0]
    ended = RangeTestLR(make_sgd())
    ended.step(math.nan)
    undone = RangeTestLR(make_sgd())
    undone.restore()
    for over, why in ((ramp, "complete after 10"), (ended, "not finite after 1"), (undone, "cut")):
        n_steps = len(over.lrs_)
        with pytest.raises(ValueError, match=rf"'loss' parameter of RangeTestLR must .*{why}"):
            over.step(0.5)
        assert len(over.lrs_) == len(over.losses_) == n_steps


def test_the_graph_of_a_loss_is_not_kept():
    module = MLP()
    ramp = RangeTestLR(make_sgd_of(module))
    X, y = next(batches(1))
    loss = nn.functional.cross_entropy(module(X), y)
    number, tensor = loss.item(), weakref.ref(loss)
    ramp.step(loss)
    del loss
    gc.collect()
    assert tensor() is None
    assert ramp.losses_ == [number]
    assert type(ramp.losses_[0]) is float


def test_a_ramp_runs_with_an_optimizer_of_closures():
    module = MLP()
    optimizer = torch.optim.LBFGS(module.parameters(), lr=0.5, max_iter=3)
    for X, y in batches(2):
        learn(module, optimizer, X, y)
    before = bits(module, optimizer)
    ramp = run_ramp(module, optimizer, min_lr=1e-4, n_steps=20)
    assert bits(module, optimizer) != before
    ramp.restore()
    assert bits(module, optimizer) == before


def test_the_rate_of_a_ramp_stays_in_its_tensor():
    lr = torch.tensor(0.1, dtype=torch.float64)
    optimizer = make_adam(lr)
    with RangeTestLR(optimizer, min_lr=1e-4) as ramp:
        assert lr.item() == 1e-4
        ramp.step(1.0)
        assert optimizer.param_groups[0]["lr"] is lr
        assert lr.item() == RangeTest(min_lr=1e-4, max_lr=10.0, n_steps=100)(1)
    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == 0.1


@pytest.mark.parametrize("condition", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("sharpness", [0.3, 40.0])
def test_the_suggestion_for_a_quadratic_is_below_its_edge_of_stability(sharpness, condition):
    """Gradient descent on half a curvature times x**2 diverges at rates above 2 / curvature."""
    curvatures = torch.logspace(0, -math.log10(condition), 5).double() * sharpness
    x = nn.Parameter(torch.ones(5).double())
    optimizer = torch.optim.SGD([x], lr=0.1)
    with RangeTestLR(optimizer, min_lr=1e-5, max_lr=1e3, n_steps=200) as ramp:
        stop = False
        while not stop:
            optimizer.zero_grad()
            loss = (curvatures * x**2).sum() / 2 + 1
            loss.backward()
            optimizer.step()
            stop = ramp.step(loss)
    assert ramp.ended_ == "diverged"
    assert ramp.lrs_[-1] > 2 / sharpness
    assert ramp.status == "ok"
    # Far above the rates that do nothing in as many steps.
    assert 0.02 / sharpness < ramp.suggest() < 2 / sharpness


def test_a_ramp_without_an_answer_says_why():
    ramp = RangeTestLR(make_sgd(), n_steps=20)
    assert ramp.status is None
    for ask in (ramp.suggest, ramp.plot):
        with pytest.raises(RangeTestError, match=r"has seen no loss yet: call step\(loss\)"):
            ask()
    while not ramp.step(1.0):
        pass
    assert ramp.status == "flat"
    with pytest.raises(RangeTestError, match=r"^flat: Raise max_lr"):
        ramp.suggest()


def test_the_plot_of_a_ramp_is_that_of_the_callback():
    import matplotlib.pyplot as plt

    net = make_classifier(callbacks=[("finder", LRFinder())], max_epochs=10)
    net.fit(X_DIGITS, Y_DIGITS)
    finder = dict(net.callbacks_)["finder"]
    ramp = RangeTestLR(make_sgd())
    assert [ramp.step(loss) for loss in finder.losses_][-1]
    axes = plt.subplots(2)[1]
    mine = ramp.plot(ax=axes[0])
    finder.plot(ax=axes[1])
    assert type(mine) is LRRangeDisplay
    assert mine.ax_ is axes[0]
    assert axes[0].get_title() == axes[1].get_title() != ""
    assert axes[0].get_xscale() == axes[1].get_xscale() == "log"
    assert len(axes[0].lines) == len(axes[1].lines) > 2
    for line, other in zip(axes[0].lines, axes[1].lines, strict=True):
        np.testing.assert_array_equal(line.get_xydata(), other.get_xydata())


# RangeTestLR: everything as it was.


@pytest.mark.parametrize("trained_before", [False, True], ids=["fresh", "trained"])
@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (torch.optim.Adam, {"amsgrad": True}),
        (torch.optim.Rprop, {}),
    ],
    ids=["SGD", "Adam", "Rprop"],
)
def test_restore_is_bit_for_bit(make, settings, trained_before):
    module = Normed()
    optimizer = with_groups(module, make, **settings)
    optimizer.register_step_post_hook(lambda *args: None)
    if trained_before:
        for X, y in batches(3):
            learn(module, optimizer, X, y)
    before = bits(module, optimizer)
    step, groups = optimizer.step, list(optimizer.param_groups)
    ramp = run_ramp(module, optimizer, n_steps=20)
    after = bits(module, optimizer)
    assert all(before[part] != after[part] for part in ("module", "rest", "grads", "state"))
    for _ in range(2):
        ramp.restore()
        assert bits(module, optimizer) == before
        # A training that follows is that of a module on which no ramp was run.
        assert optimizer.step == step
        assert all(a is b for a, b in zip(optimizer.param_groups, groups, strict=True))
        twin, twin_optimizer = copy.deepcopy((module, optimizer))
        for X, y in batches(4):
            assert torch.equal(learn(module, optimizer, X, y), learn(twin, twin_optimizer, X, y))
        assert bits(module, optimizer)["module"] == bits(twin, twin_optimizer)["module"]


def test_restore_without_a_module_is_of_the_parameters_in_the_groups():
    module = Normed()
    optimizer = torch.optim.SGD(module.layers[3].parameters(), lr=0.1)
    before = [p.detach().clone() for p in module.layers[3].parameters()]
    ramp = RangeTestLR(optimizer, min_lr=0.1)
    for X, y in batches(3):
        ramp.step(learn(module, optimizer, X, y))
    assert not torch.equal(module.layers[3].bias, before[1])
    ramp.restore()
    assert all(map(torch.equal, module.layers[3].parameters(), before))
    assert lrs(optimizer) == [0.1]
    assert module.n_calls == 3


def test_restore_has_the_parameters_that_are_not_the_modules():
    module, offset = MLP(), nn.Parameter(torch.zeros(10))
    optimizer = torch.optim.SGD([*module.parameters(), offset], lr=0.1)
    with RangeTestLR(optimizer, module=module, min_lr=0.1) as ramp:
        X, y = next(batches(1))
        loss = nn.functional.cross_entropy(module(X) + offset, y)
        loss.backward()
        optimizer.step()
        ramp.step(loss)
        assert offset.abs().sum() > 0
    assert torch.equal(offset, torch.zeros(10))


def test_restore_undoes_groups_that_were_loaded_or_added():
    module = Normed()
    optimizer = with_groups(module, momentum=0.9)
    before = bits(module, optimizer)
    ramp = RangeTestLR(optimizer, module=module, min_lr=1e-3)
    X, y = next(batches(1))
    ramp.step(learn(module, optimizer, X, y))
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    ramp.step(learn(module, optimizer, X, y))
    schedule = RangeTest(min_lr=1e-3, max_lr=10.0, n_steps=100)
    assert lrs(optimizer) == [schedule(2), schedule(2) * (0.01 / 0.1)]
    optimizer.add_param_group({"params": [parameter()]})
    with pytest.raises(ValueError, match=r"'optimizer' parameter .* keep its 2 .* Got 3 instead"):
        ramp.step(1.0)
    assert len(ramp.lrs_) == 2
    ramp.restore()
    assert bits(module, optimizer) == before


def test_restore_copies_states_of_any_kind():
    optimizer = make_sgd()
    (p,) = optimizer.param_groups[0]["params"]
    optimizer.state[p] = {"recent": deque([torch.ones(2)]), "nested": [(1, {"sums": [2.0]})]}
    ramp = RangeTestLR(optimizer)
    for _ in range(3):
        state = optimizer.state[p]
        assert state["nested"] == [(1, {"sums": [2.0]})]
        assert [values.tolist() for values in state["recent"]] == [[1.0, 1.0]]
        state["recent"].append(torch.zeros(2))
        state["recent"][0].zero_()
        state["nested"][0][1]["sums"].append(3.0)
        ramp.restore()


def test_a_ramp_is_undone_where_its_block_ends():
    module = Normed()
    optimizer = make_sgd_of(module)
    before = bits(module, optimizer)

    def fail_on_the_way():
        X, y = next(batches(1))
        with RangeTestLR(optimizer, module=module, min_lr=0.1) as ramp:
            ramp.step(learn(module, optimizer, X, y))
            assert bits(module, optimizer) != before
            # As a scheduler of torch's would.
            optimizer.param_groups[0]["initial_lr"] = 0.3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_on_the_way()
    assert bits(module, optimizer) == before


@pytest.mark.parametrize(
    "travel",
    [lambda parts: pickle.loads(pickle.dumps(parts)), copy.deepcopy],
    ids=["pickle", "deepcopy"],
)
def test_a_ramp_travels_on_its_way(travel):
    module = Normed()
    optimizer = with_groups(module, torch.optim.Adam)
    before = bits(module, optimizer)
    ramp = RangeTestLR(optimizer, module=module, n_steps=20)
    data = list(batches(20))
    for X, y in data[:5]:
        ramp.step(learn(module, optimizer, X, y))
    others = travel((module, optimizer, ramp))
    for X, y in data[5:]:
        assert ramp.step(learn(module, optimizer, X, y)) == others[2].step(learn(*others[:2], X, y))
    assert (ramp.lrs_, ramp.losses_) == (others[2].lrs_, others[2].losses_)
    trained = bits(module, optimizer)
    others[2].restore()
    assert bits(module, optimizer) == trained
    del before["params"]
    assert {key: value for key, value in bits(*others[:2]).items() if key != "params"} == before


# RangeTestLR: bad input.


class Rateless(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {})


@pytest.mark.parametrize(
    ("parameter_name", "given", "error"),
    [
        ("optimizer", None, TypeError),
        ("optimizer", Rateless([parameter()]), ValueError),
        ("module", MLP, TypeError),
        ("module", MLP(), ValueError),
        ("min_lr", "0.1", TypeError),
        ("min_lr", 0.0, ValueError),
        ("max_lr", 1e-7, ValueError),
        ("n_steps", 20.0, TypeError),
        ("n_steps", 9, ValueError),
        ("scale", "cube", ValueError),
    ],
)
def test_bad_parameters_of_a_ramp_raise(parameter_name, given, error):
    optimizer = make_sgd()
    with pytest.raises(error) as caught:
        RangeTestLR(**{"optimizer": optimizer, parameter_name: given})
    form = rf"The '{parameter_name}' parameter of RangeTestLR must .+ Got .+ instead\."
    assert re.fullmatch(form, str(caught.value), re.DOTALL)
    assert lrs(optimizer) == [0.1]


@pytest.mark.parametrize(
    ("loss", "error"),
    [
        (None, TypeError),
        ("1", TypeError),
        (True, TypeError),
        (torch.tensor(True), TypeError),
        (torch.tensor(1j), TypeError),
        ([1.0], TypeError),
        (torch.ones(1), ValueError),
        (torch.ones(64), ValueError),
    ],
    ids=str,
)
def test_a_loss_that_is_no_number_raises(loss, error):
    optimizer = make_sgd()
    ramp = RangeTestLR(optimizer)
    with pytest.raises(error) as caught:
        ramp.step(loss)
    form = r"The 'loss' parameter of RangeTestLR must .+ Got .+ instead\."
    assert re.fullmatch(form, str(caught.value))
    assert ramp.lrs_ == ramp.losses_ == []
    assert lrs(optimizer) == [1e-7]
    for number in (1, 1.0, np.float32(1), torch.tensor(1.0), torch.tensor(1)):
        assert not ramp.step(number)
    assert ramp.losses_ == [1.0] * 5
