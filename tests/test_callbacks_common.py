"""Properties of every schedule callback: parameters, recording, isolation from the net."""

import copy
import gc
import json
import pickle
import weakref

import numpy as np
import pytest
import torch
from callback_helpers import (
    EPOCHS,
    EVERY,
    EVERY_IN_UNITS,
    EVERY_NAMED,
    LR,
    NAMED,
    NAMED_IN_UNITS,
    SCHEDULES,
    SOME,
    SOME_IN_UNITS,
    SOME_NAMED,
    STEPS,
    NoOptimizer,
    SpySGD,
    X,
    Y,
    assert_same_training,
    fit,
    make,
    make_net,
    parameters,
    planned,
    rates,
    straight,
    valid_split,
    wave,
    weights,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from skorch.callbacks import Callback, LRScheduler

import sklr.callbacks as package
from sklr import schedules
from sklr.callbacks import SGDR, CosineDecay, CyclicalLR, OneCycle, Schedule
from sklr.callbacks._base import runs

# --- parameters ---


def test_all_schedules_are_discovered():
    assert set(SCHEDULES) >= {
        "CosineDecay", "CyclicalLR", "ExponentialDecay", "FastGeometric", "InverseTimeDecay",
        "OneCycle", "SGDR", "Schedule", "SnapshotCosine", "StepDecay",
    }  # fmt: skip
    assert sorted(package.__all__) == sorted(set(package.__all__))


@EVERY
def test_is_a_skorch_callback_with_keywords_only(name):
    assert isinstance(make(name), Callback)
    required = {"schedule": wave} if name == "Schedule" else {}
    with pytest.raises(TypeError, match="unexpected keyword argument 'max_rate'"):
        SCHEDULES[name](max_rate=1.0, **required)
    if name in NAMED:
        with pytest.raises(TypeError, match="positional"):
            SCHEDULES[name]("batch")


def test_schedule_needs_its_schedule():
    with pytest.raises(TypeError, match="missing 1 required"):
        Schedule()


@EVERY
def test_get_params_gives_what_was_passed(name):
    cls = SCHEDULES[name]
    if name in NAMED:
        assert cls().get_params() == parameters(cls)
    # The constructor only assigns, whatever it is given.
    odd = {param: object() for param in parameters(cls)}
    assert cls(**odd).get_params() == odd


@SOME
def test_set_params(name):
    callback = make(name)
    for param in parameters(type(callback)):
        callback.set_params(**{param: "new"})
        assert getattr(callback, param) == "new"
    with pytest.raises(ValueError, match="Invalid parameter 'max_rate'"):
        callback.set_params(max_rate=1)


@EVERY
def test_clone_and_pickle_of_the_callback(name):
    callback = make(name, unit="batch")
    copies = [clone(callback), copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))]
    for other in copies:
        assert other is not callback
        assert type(other) is type(callback)
        assert other.get_params() == callback.get_params()
        assert_same_training(fit(other), fit(callback))


def test_clone_of_a_schedule_value():
    value = schedules.warmup(schedules.CyclicalLR(base_lr=0.1, max_lr=1.0, step_size=3), 2)
    assert clone(Schedule(value)).schedule == value


@SOME
def test_repr_shows_changed_parameters_only(name):
    if name in NAMED:
        assert repr(SCHEDULES[name]()) == f"{name}()"
        assert repr(SCHEDULES[name](unit="batch", warmup=3)) == f"{name}(unit='batch', warmup=3)"
        assert repr(SCHEDULES[name](unit="epoch", warmup=0)) == f"{name}()"
    else:
        assert repr(make(name, unit="batch")) == f"Schedule(schedule={wave!r})"
        assert repr(make(name, unit="epoch")) == f"Schedule(schedule={wave!r}, unit='epoch')"


@EVERY_NAMED
def test_repr_makes_an_equal_callback(name):
    callback = make(name, unit="batch", warmup=2, n_epochs=7)
    again = eval(repr(callback), dict(NAMED))
    assert again.get_params() == callback.get_params()


# --- what is recorded is what was used ---


@EVERY_IN_UNITS
def test_recorded_rate_is_the_rate_used(name, unit):
    net = fit(planned(name, unit))
    assert [[lr] for lr in rates(net)] == net.optimizer_.used
    assert len(rates(net)) == EPOCHS * STEPS
    assert len(set(rates(net))) > 2


@SOME
def test_lr_of_an_epoch_is_its_last_batchs(name):
    net = fit(planned(name))
    assert net.history[:, "lr"] == [rows[-1]["lr"] for rows in net.history[:, "batches"]]


@NAMED_IN_UNITS
def test_schedule_gives_what_a_net_records(name, unit):
    for callback in (make(name, unit), make(name, unit, warmup=unit_length(unit, 4))):
        value = callback.schedule(STEPS, EPOCHS, LR)
        assert rates(fit(callback)) == [value(step) for step in range(EPOCHS * STEPS)]


def unit_length(unit, steps):
    return {"epoch": steps / STEPS, "batch": steps, "fraction": steps / STEPS / EPOCHS}[unit]


@SOME_NAMED
def test_n_epochs_as_parameter_and_as_argument(name):
    told = make(name, "fraction", n_epochs=3).schedule(STEPS, lr=LR)
    assert told == make(name, "fraction").schedule(STEPS, n_epochs=3, lr=LR)
    # The argument goes before the parameter.
    argument = make(name, "fraction", n_epochs=3).schedule(STEPS, n_epochs=4, lr=LR)
    assert argument == make(name, "fraction", n_epochs=4).schedule(STEPS, lr=LR)


@EVERY_NAMED
def test_schedule_says_what_it_needs(name):
    form = rf"The '\w+' parameter of {name} must .* Got None instead\."
    with pytest.raises(TypeError, match=form) as error:
        make(name, "fraction").schedule(STEPS, lr=LR)
    assert "'n_epochs'" in str(error.value)
    with pytest.raises(TypeError, match=form) as error:
        make(name).schedule(STEPS, EPOCHS)
    assert "lr be given" in str(error.value)


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("steps_per_epoch", 0, ValueError),
        ("steps_per_epoch", 2.0, TypeError),
        ("steps_per_epoch", None, TypeError),
        ("n_epochs", 0, ValueError),
        ("n_epochs", 2.5, TypeError),
        ("lr", 0, ValueError),
        ("lr", float("nan"), ValueError),
        ("lr", "0.1", TypeError),
    ],
)
def test_arguments_of_schedule(argument, value, error):
    arguments = {"steps_per_epoch": STEPS, "n_epochs": EPOCHS, "lr": LR, argument: value}
    with pytest.raises(error) as caught:
        make("CosineDecay").schedule(**arguments)
    text = str(caught.value)
    assert text.startswith(f"The '{argument}' parameter of CosineDecay must be ")
    assert text.endswith(f"Got {value!r} instead.")


@settings(max_examples=25)
@given(
    steps=st.integers(1, 7),
    epochs=st.integers(1, 4),
    warmup=st.integers(0, 3),
    name=st.sampled_from(["CosineDecay", "CyclicalLR", "SGDR", "StepDecay", "ExponentialDecay"]),
)
def test_schedule_gives_what_a_net_records_at_any_size(steps, epochs, warmup, name):
    warmup = min(warmup, steps * epochs - 1)
    callback = make(name, "batch", warmup=warmup)
    net = make_net(callback, max_epochs=epochs, batch_size=3).fit(X[: 3 * steps], Y[: 3 * steps])
    value = callback.schedule(steps, epochs, LR)
    assert rates(net) == [value(step) for step in range(steps * epochs)]


@SOME
def test_print_log_shows_the_rate_and_no_bookkeeping(name):
    lines = []
    net = fit(planned(name), verbose=1, callbacks__print_log__sink=lines.append)
    header, _, *rows = "\n".join(lines).splitlines()
    assert header.split() == ["epoch", "lr", "train_loss", "dur"]
    assert [row.split()[1] for row in rows] == [f"{lr:.4f}" for lr in net.history[:, "lr"]]


@SOME
def test_history_is_json(name, tmp_path):
    net = fit(make(name), epochs=2, max_epochs=np.int64(EPOCHS))
    net.save_params(f_history=tmp_path / "history.json")
    again = json.loads((tmp_path / "history.json").read_text())
    assert again == net.history.to_list()


@SOME
def test_rates_are_plain_floats(name):
    """Whatever numeric types the parameters come in."""
    if name == "Schedule":
        net = fit(Schedule(lambda step: np.float32(0.1)))
    else:
        net = fit(planned(name, warmup=np.float32(0.4), n_epochs=np.int64(EPOCHS)))
    assert {type(lr) for lr in rates(net)} == {float}
    assert type(net.history[-1, "lr"]) is float


@SOME_IN_UNITS
def test_validation_batches_do_not_advance(name, unit):
    net = fit(planned(name, unit), train_split=valid_split())
    n_valid = sum("valid_loss" in row for epoch in net.history for row in epoch["batches"])
    assert n_valid == EPOCHS
    assert len(rates(net)) == EPOCHS * 4
    alone = make_net(planned(name, unit)).fit(X[10:], Y[10:])
    assert_same_training(net, alone)
    assert not any(
        "lr" in row for epoch in net.history for row in epoch["batches"] if "valid_loss" in row
    )


# --- isolation ---


@SOME
def test_fit_leaves_the_users_callback_alone(name):
    callback = make(name, "fraction", **({} if name == "Schedule" else {"warmup": 0.1}))
    before = dict(vars(callback))
    net = make_net(callbacks=[callback])
    net.fit(X, Y, epochs=2)
    (used,) = [used for _, used in net.callbacks_ if isinstance(used, type(callback))]
    assert vars(used) == before
    net.partial_fit(X, Y, epochs=1)
    assert vars(callback) == before


@SOME
def test_a_list_of_callbacks_serves_two_nets(name):
    shared = [("lr", planned(name))]
    one, two = make_net(callbacks=shared), make_net(callbacks=shared, batch_size=5, lr=0.02)
    for _ in range(EPOCHS):  # interleaved
        one.partial_fit(X, Y, epochs=1)
        two.partial_fit(X, Y, epochs=1)
    assert_same_training(one, straight(name))
    assert_same_training(two, fit(planned(name), batch_size=5, lr=0.02))


class TrainAnother(Callback):
    """Train another net in the middle of a batch of the first."""

    def __init__(self, other):
        self.other = other

    def on_grad_computed(self, net, **kwargs):
        self.other.partial_fit(X, Y, epochs=1)


@SOME
def test_a_net_trained_within_the_training_of_another(name):
    shared = planned(name)
    inner = make_net(shared, max_epochs=STEPS)
    outer = make_net(callbacks=[("lr", shared), TrainAnother(inner)]).fit(X, Y, epochs=1)
    assert rates(outer) == rates(fit(planned(name), epochs=1))
    assert rates(inner) == rates(straight(name))


@SOME
def test_clone_of_the_net_trains_alike(name):
    net = fit(planned(name))
    assert_same_training(clone(net).fit(X, Y), net)


def test_a_trained_net_is_let_go():
    net = fit(CyclicalLR())
    assert net in runs
    last = weakref.ref(net)
    del net
    gc.collect()
    assert last() is None


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_constant_schedule_changes_nothing(shuffle):
    """Bit for bit, the draws of torch's global generator included."""
    nets = []
    for callbacks in ([], [Schedule(schedules.Constant(lr=LR))]):
        torch.manual_seed(1)
        net = make_net(callbacks=callbacks, iterator_train__shuffle=shuffle).fit(X, Y)
        nets.append((weights(net), torch.rand(3)))
    np.testing.assert_array_equal(nets[0][0], nets[1][0])
    assert torch.equal(nets[0][1], nets[1][1])


@SOME
def test_none_switches_it_off(name):
    net = make_net(planned(name)).set_params(callbacks__lr=None).fit(X, Y)
    assert net.optimizer_.used == [[LR]] * EPOCHS * STEPS
    assert "lr" not in net.history[-1]
    assert all("lr" not in row for row in net.history[-1, "batches"])


def test_parameters_are_set_through_the_net():
    net = make_net(CyclicalLR(max_lr=0.3, step_size=1), callbacks__lr__max_lr=0.7)
    net.set_params(callbacks__lr__step_size=2)
    assert net.get_params()["callbacks__lr__max_lr"] == 0.7
    assert rates(net.fit(X, Y)) == rates(fit(CyclicalLR(max_lr=0.7, step_size=2)))


def test_a_class_is_made_with_the_nets_parameters():
    net = make_net(callbacks=[("lr", CyclicalLR)], callbacks__lr__step_size=2).fit(X, Y)
    assert rates(net) == rates(fit(CyclicalLR(step_size=2)))


# --- what cannot be ---


@pytest.mark.parametrize(
    ("second", "first"),
    [
        (CosineDecay(), True),
        (Schedule(wave), False),
        (LRScheduler(policy="StepLR", step_size=1), True),
        (LRScheduler(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_two_schedules_on_one_net(second, first):
    both = [("a", CosineDecay()), ("b", second)]
    net = make_net(callbacks=both if first else both[::-1])
    message = r"'callbacks' parameter of NeuralNetClassifier must hold at most one schedule"
    with pytest.raises(ValueError, match=message) as error:
        net.fit(X, Y)
    assert "a (CosineDecay)" in str(error.value)
    assert f"b ({type(second).__name__})" in str(error.value)
    assert net.optimizer_.used == []
    np.testing.assert_array_equal(weights(net), weights(make_net().initialize()))


def test_one_of_two_schedules_switched_off():
    net = make_net(callbacks=[("a", CosineDecay()), ("b", SGDR())]).set_params(callbacks__b=None)
    assert rates(net.fit(X, Y)) == rates(fit(CosineDecay()))


@SOME
def test_a_net_without_optimizer(name):
    net = make_net(planned(name), cls=NoOptimizer)
    with pytest.raises(TypeError) as error:
        net.fit(X, Y)
    assert str(error.value) == (
        "The 'optimizer' parameter of NoOptimizer must give the net an 'optimizer_' whose rate "
        "can be set. Got None instead."
    )
    assert net.history[:, "batches"] == [[]]


def test_momentum_of_a_net_without_optimizer():
    net = make_net(OneCycle(min_momentum=0.8, max_momentum=0.9), cls=NoOptimizer)
    with pytest.raises(TypeError, match="parameter of NoOptimizer"):
        net.fit(X, Y)


def test_the_spy_sees_what_torch_uses():
    """The tests' own instrument: weights move by rate times gradient."""
    net = make_net(callbacks=[], optimizer=SpySGD, lr=0.3).initialize()
    before = weights(net)
    net.partial_fit(X[:10], Y[:10], epochs=1)
    gradient = np.concatenate([p.grad.numpy().ravel() for p in net.module_.parameters()])
    assert net.optimizer_.used == [[0.3]]
    np.testing.assert_allclose(weights(net), before - 0.3 * gradient, rtol=1e-6)
