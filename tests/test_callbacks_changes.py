"""Changes between and within trainings: the user's rates, groups, units, length."""

import math

import numpy as np
import pytest
import torch
from callback_helpers import (
    BATCH,
    EPOCHS,
    LR,
    SOME_NAMED,
    STEPS,
    TwoLayers,
    X,
    Y,
    fit,
    make,
    make_net,
    rates,
    wave,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback

from sklr import callbacks, schedules
from sklr.callbacks import CosineDecay, CyclicalLR, ExponentialDecay, Schedule, Snapshots, StepDecay

TOTAL = EPOCHS * STEPS

# --- rates that the user sets ---


@pytest.mark.parametrize(
    ("made", "then", "factors"),
    [
        ({}, {"lr": 0.02}, [0.2]),
        ({}, {"optimizer__lr": 0.02}, [0.2]),
        ({"optimizer__lr": LR, "lr": 1.0}, {"lr": 0.02}, [0.2]),
        (
            {"lr": 1e-4, "optimizer__param_groups": [("head*", {"lr": 2e-4})]},
            {"optimizer__param_groups__0__lr": 3e-4},
            [3e-4 / LR, 1e-4 / LR],
        ),
        # The highest group's rate was the reference, as no group had the net's own.
        (
            {"optimizer__param_groups": [("head*", {"lr": 0.02}), ("body*", {"lr": 0.04})]},
            {"lr": 0.08},
            [0.4, 0.8],
        ),
        ({"optimizer__param_groups": [("head*", {"lr": 0.02})]}, {"lr": 0.05}, [0.1, 0.5]),
        (
            {"optimizer__param_groups": [("head*", {"lr": 0.02})]},
            {"optimizer__param_groups__0__lr": 0.04},
            [0.4, 1],
        ),
        (
            {"optimizer__param_groups": [("head*", {"lr": 0.0})]},
            {"optimizer__param_groups__0__lr": 0.1},
            [1, 1],
        ),
        (
            {"optimizer__param_groups": [("head*", {"lr": 0.02})]},
            {"optimizer__param_groups__0__lr": 0.03, "optimizer__param_groups__1__lr": 0.06},
            [0.3, 0.6],
        ),
    ],
)
@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_a_rate_set_between_fits_is_followed(made, then, factors, gamma):
    net = make_net(ExponentialDecay(gamma=gamma), module=TwoLayers, max_epochs=1, **made)
    net.fit(X, Y).set_params(**then).partial_fit(X, Y).partial_fit(X, Y)
    decay = LR * gamma ** (np.arange(STEPS, 3 * STEPS) / STEPS)
    expected = decay[:, None] * np.array(factors)
    np.testing.assert_allclose(net.optimizer_.used[STEPS:], expected, rtol=1e-12)


class HeadFirst(NeuralNetClassifier):
    """Trains the head alone, until its other group is added."""

    def initialize_optimizer(self):
        self.optimizer_ = self.optimizer(self.module_.head.parameters(), lr=self.lr)
        return self


class Unfreeze(Callback):
    """Adds the body, in one hook, when so many batches were begun."""

    def __init__(self, hook, batches, lr=None):
        self.hook, self.batches, self.lr = hook, batches, lr

    def _act(self, hook, net):
        begun = sum(len(row["batches"]) for row in net.history)
        groups = net.optimizer_.param_groups
        if hook == self.hook and begun == self.batches and len(groups) == 1:
            lr = groups[0]["lr"] if self.lr is None else self.lr
            net.optimizer_.add_param_group({"params": [*net.module_.body.parameters()], "lr": lr})

    def on_epoch_begin(self, net, **kwargs):
        self._act("on_epoch_begin", net)

    def on_batch_begin(self, net, training=None, **kwargs):
        self._act("on_batch_begin", net)

    def on_batch_end(self, net, training=None, **kwargs):
        self._act("on_batch_end", net)

    def on_epoch_end(self, net, **kwargs):
        self._act("on_epoch_end", net)


ADDED = [("on_epoch_begin", 10), ("on_batch_begin", 13), ("on_batch_end", 12), ("on_epoch_end", 10)]


@pytest.mark.parametrize(
    ("hook", "batches", "first", "lr"),
    [
        *((*added, first, LR / 10) for added in ADDED for first in (True, False)),
        *((*added, False, None) for added in ADDED),
        ("on_batch_begin", 13, True, 2 * LR),
    ],
)
def test_a_group_added_in_training_keeps_its_proportion(hook, batches, first, lr):
    """To the net's own initial rate; at the present scheduled rate it is scheduled like that."""
    pair = [("lr", CosineDecay()), ("unfreeze", Unfreeze(hook, batches, lr))]
    net = make_net(callbacks=pair[:: 1 if first else -1], cls=HeadFirst, module=TwoLayers)
    used = net.fit(X, Y).optimizer_.used
    ratio = 1 if lr is None else lr / LR
    begins = batches - (hook == "on_batch_begin")
    cosine = [LR * (1 + math.cos(math.pi * step / TOTAL)) / 2 for step in range(TOTAL)]
    assert [len(row) for row in used] == [1] * begins + [2] * (TOTAL - begins)
    np.testing.assert_allclose([row[0] for row in used], cosine, rtol=1e-12)
    added = [row[1] for row in used[begins:]]
    np.testing.assert_allclose(added, np.multiply(cosine[begins:], ratio), rtol=1e-12)


def test_a_group_of_a_loaded_state_above_the_schedule_is_warned_of():
    """Groups of 1 : 0.1, whose lower one has the new net's rate."""
    groups = {"module": TwoLayers, "optimizer__param_groups": [("head*", {"lr": LR / 10})]}
    state = make_net(callbacks=None, **groups).fit(X, Y).optimizer_.state_dict()
    groups["optimizer__param_groups"] = [("head*", {"lr": LR / 100})]
    net = make_net(CosineDecay(), lr=LR / 10, **groups).initialize()
    net.optimizer_.load_state_dict(state)
    with pytest.warns(UserWarning, match=r"Parameter group 1 trains at 10 times the schedule's"):
        net.partial_fit(X, Y)


# --- values in other units ---

VALUES = [
    schedules.SnapshotCosine(max_lr=0.1, n_steps=5, n_cycles=2),
    schedules.OneCycle(max_lr=0.1, n_steps=5),
    schedules.warmup(schedules.CosineDecay(max_lr=0.1, n_steps=3), 2),
    schedules.join([schedules.Constant(lr=0.1), schedules.ExponentialDecay(lr=1, gamma=0.5)], [2]),
    schedules.CyclicalLR(base_lr=0.01, max_lr=0.1, step_size=1, mode="exp_range", gamma=0.5),
]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_in_epochs_is_rescaled(value):
    callback = Schedule(value, unit="epoch")
    scaled = value.rescale(STEPS)
    assert callback.value(STEPS, EPOCHS) == scaled
    snapshots = Snapshots()
    net = make_net(callbacks=[("lr", callback), ("snapshots", snapshots)]).fit(X, Y)
    assert rates(net) == [scaled(step) for step in range(TOTAL)]
    assert snapshots.steps_ == list(scaled.snapshot_steps(TOTAL))
    assert callback.planned_snapshots(STEPS, EPOCHS) == scaled.snapshot_steps(TOTAL)


def test_a_value_in_fractions_is_rescaled():
    value = schedules.OneCycle(max_lr=0.1, n_steps=1)
    net = fit(Schedule(value, unit="fraction"))
    expected = schedules.OneCycle(max_lr=0.1, n_steps=TOTAL)
    assert rates(net) == [expected(step) for step in range(TOTAL)]


def test_a_function_says_that_it_has_no_value():
    for call in (Schedule(wave).value, Schedule(wave).planned_snapshots):
        with pytest.raises(TypeError, match="'schedule' parameter of Schedule must be a schedule"):
            call(STEPS, EPOCHS)


def test_any_schedule_is_drawn():
    for schedule in (wave, VALUES[0]):
        for unit in ("batch", "epoch", "fraction"):
            callback = Schedule(schedule, unit)
            net = fit(callback)
            line, *_ = callback.plot(steps_per_epoch=STEPS, n_epochs=EPOCHS).ax_.get_lines()
            assert list(line.get_ydata()) == rates(net)


@settings(max_examples=40)
@given(
    name=st.sampled_from(["CyclicalLR", "SGDR", "SnapshotCosine", "FastGeometric", "StepDecay"]),
    unit=st.sampled_from(["epoch", "batch", "fraction"]),
    epochs=st.integers(1, 7),
    n_epochs=st.none() | st.integers(4, 8),
)
def test_planned_snapshots_are_those_of_the_run(name, unit, epochs, n_epochs):
    callback = make(name, unit, n_epochs=n_epochs)
    plan = n_epochs or epochs
    if name in {"SnapshotCosine", "FastGeometric"} and plan < 3:
        return
    if n_epochs and n_epochs < epochs:
        epochs = n_epochs
    snapshots = Snapshots()
    net = make_net(callbacks=[("lr", callback), ("snapshots", snapshots)], max_epochs=epochs)
    assert tuple(net.fit(X, Y) and snapshots.steps_) == callback.planned_snapshots(
        STEPS, epochs, LR
    )


def test_snapshots_go_on_past_the_epochs_of_a_schedule_without_an_end():
    callback = CyclicalLR(step_size=1, n_epochs=2)
    assert callback.planned_snapshots(STEPS, 6, LR) == (10, 20, 30)
    snapshots = Snapshots()
    make_net(callbacks=[("lr", callback), ("snapshots", snapshots)], max_epochs=6).fit(X, Y)
    assert snapshots.steps_ == [10, 20, 30]


def test_snapshots_are_counted_once_and_only_if_somebody_takes_them(monkeypatch):
    counted = []
    count = schedules.BaseSchedule.snapshot_steps
    monkeypatch.setattr(
        schedules.BaseSchedule,
        "snapshot_steps",
        lambda self, n_steps: counted.append(n_steps) or count(self, n_steps),
    )
    make_net(CyclicalLR(step_size=1), max_epochs=10**6).fit(X, Y, epochs=3)
    assert counted == []
    taken = [("lr", CyclicalLR(step_size=1)), ("snapshots", Snapshots())]
    make_net(callbacks=taken, max_epochs=10**4).fit(X, Y, epochs=3)
    assert counted == [10**4 * STEPS]


# --- lengths ---


@SOME_NAMED
def test_no_batch_at_all(name):
    net = make_net(make(name), batch_size=10 * BATCH, iterator_train__drop_last=True)
    with pytest.raises(ValueError, match=r"'batch_size' parameter of .* iterator_train__drop_last"):
        net.fit(X, Y)


def test_a_fit_of_no_epochs_plans_nothing():
    with pytest.raises(ValueError, match="'n_epochs' parameter of CosineDecay must be the epochs"):
        make_net(CosineDecay(), max_epochs=0).fit(X, Y).partial_fit(X, Y, epochs=3)
    net = make_net(CosineDecay(n_epochs=3), max_epochs=0).fit(X, Y).partial_fit(X, Y, epochs=3)
    assert rates(net) == [CosineDecay().schedule(STEPS, 3, LR)(step) for step in range(3 * STEPS)]
    net = make_net(StepDecay(every=1), max_epochs=0).fit(X, Y).partial_fit(X, Y, epochs=2)
    np.testing.assert_allclose(rates(net), [LR] * STEPS + [LR / 10] * STEPS)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.uint64, np.longdouble])
def test_numbers_of_numpy_are_parameters(kind):
    whole = int if kind is np.longdouble else kind
    for name in ("CosineDecay", "SnapshotCosine", "CyclicalLR", "StepDecay"):
        lengths = {"CyclicalLR": {"step_size": kind(2)}, "StepDecay": {"every": kind(1)}}
        params = {"SnapshotCosine": {"n_cycles": whole(2)}, **lengths}.get(name, {})
        plain = {key: int(value) for key, value in params.items()}
        cls = getattr(callbacks, name)
        net = fit(cls(n_epochs=whole(100), **params), max_epochs=whole(3))
        assert rates(net) == rates(fit(cls(n_epochs=100, **plain), max_epochs=3))
        assert cls(**params).planned_snapshots(whole(100), whole(100), LR) == cls(
            **plain
        ).planned_snapshots(100, 100, LR)


@pytest.mark.parametrize("verbose", ["yes", -1, 1.5, None])
def test_snapshots_check_verbose(verbose):
    net = make_net(callbacks=[CosineDecay(), Snapshots(verbose=verbose)])
    with pytest.raises((TypeError, ValueError), match="'verbose' parameter of Snapshots must be"):
        net.fit(X, Y)


def test_a_list_of_rates_is_answered_with_groups():
    with pytest.raises(TypeError, match="a rate of its own in the optimizer's parameter groups"):
        fit(CosineDecay(max_lr=[0.1, 0.01]))


class FailsOnce(Callback):
    """Raises at the end of one batch, so that no callback hears of the end of the training."""

    left = 1

    def on_batch_end(self, net, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("of a callback")


@pytest.mark.parametrize("fails", [False, True])
def test_steps_by_hand_after_a_fit_are_the_users(fails):
    net = make_net(callbacks=[("lr", CosineDecay()), ("fails", FailsOnce())], module=TwoLayers)
    if fails:
        with pytest.raises(RuntimeError, match="of a callback"):
            net.fit(X, Y)
    else:
        net.set_params(callbacks__fails=None).initialize()
    net.partial_fit(X, Y, epochs=2)
    net.optimizer_.param_groups[0]["lr"] = 0.7
    net.optimizer_.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.3})
    net.train_step((torch.from_numpy(X[:BATCH]), torch.from_numpy(Y[:BATCH])))
    assert net.optimizer_.used[-1] == [0.7, 0.3]


@pytest.mark.parametrize("how", ["in a loop of the user's", "in a training without a schedule"])
def test_what_follows_a_training_that_failed_is_the_users(how):
    net = make_net(callbacks=[("lr", CosineDecay()), ("fails", FailsOnce())], module=TwoLayers)
    with pytest.raises(RuntimeError, match="of a callback"):
        net.fit(X, Y)
    net.callbacks_ = []
    groups = net.optimizer_.param_groups
    groups[0]["lr"] = 0.7
    net.optimizer_.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.3})
    if how == "in a loop of the user's":
        net.train_step((torch.from_numpy(X[:BATCH]), torch.from_numpy(Y[:BATCH])))
    else:
        net.partial_fit(X, Y, epochs=1)
    assert net.optimizer_.used[-1] == [0.7, 0.3]
