"""Training that goes on: each way of going on against a training that was never cut."""

import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from callback_helpers import (
    BATCH,
    EPOCHS,
    EVERY_IN_UNITS,
    LR,
    NAMED,
    NAMED_IN_UNITS,
    SCHEDULES,
    SOME,
    SOME_IN_UNITS,
    SOME_NAMED,
    SOME_NAMED_IN_UNITS,
    STEPS,
    Interrupt,
    X,
    Y,
    assert_same_training,
    batch_rows,
    fit,
    interrupted,
    make,
    make_net,
    planned,
    rates,
    straight,
    valid_split,
    weights,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from skorch.callbacks import Callback, Checkpoint, LoadInitState, TrainEndCheckpoint

from sklr import schedules
from sklr.callbacks import (
    SGDR,
    CosineDecay,
    CyclicalLR,
    OneCycle,
    Schedule,
    SnapshotCosine,
    StepDecay,
)

MOMENTUM = {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9}


# --- partial_fit, warm_start, pickle, load_params ---


@EVERY_IN_UNITS
def test_fit_and_partial_fit(name, unit):
    net = fit(planned(name, unit), epochs=2).partial_fit(X, Y, epochs=3)
    assert_same_training(net, straight(name, unit))
    assert net.history[:, "lr"] == straight(name, unit).history[:, "lr"]


@SOME_NAMED_IN_UNITS
def test_max_epochs_of_each_part_and_n_epochs_of_the_whole(name, unit):
    net = fit(planned(name, unit), max_epochs=2).set_params(max_epochs=3).partial_fit(X, Y)
    assert_same_training(net, straight(name, unit))


@SOME
def test_the_first_fits_max_epochs_is_the_plan(name):
    net = fit(make(name, "fraction"), epochs=2)
    net.set_params(max_epochs=3).partial_fit(X, Y)
    assert_same_training(net, straight(name, "fraction"))


@SOME
def test_epoch_by_epoch_shuffled_with_momentum(name):
    nets = []
    for parts in ([5], [1, 1, 1, 1, 1], [3, 2]):
        torch.manual_seed(3)
        net = make_net(planned(name), iterator_train__shuffle=True, **MOMENTUM)
        for epochs in parts:
            net.partial_fit(X, Y, epochs=epochs)
        nets.append(net)
    assert_same_training(nets[0], nets[1])
    assert_same_training(nets[0], nets[2])


@SOME_IN_UNITS
def test_warm_start(name, unit):
    net = fit(planned(name, unit), epochs=2, warm_start=True).fit(X, Y, epochs=3)
    assert_same_training(net, straight(name, unit))


@SOME
def test_a_new_fit_begins_anew(name):
    net = fit(planned(name), epochs=3).fit(X, Y)
    assert_same_training(net, straight(name))


@SOME_IN_UNITS
def test_pickle_between_epochs(name, unit):
    net = pickle.loads(pickle.dumps(fit(planned(name, unit), epochs=2)))
    net.partial_fit(X, Y, epochs=3)
    assert_same_training(net, straight(name, unit))
    # The rates reached the net's own optimizer, not another copy of it.
    assert [[lr] for lr in rates(net)[2 * STEPS :]] == net.optimizer_.used


class PickleInMidEpoch(Callback):
    """Pickle the net after so many batches."""

    def __init__(self, after):
        self.after = after

    def on_batch_end(self, net, **kwargs):
        if len(batch_rows(net)) == self.after:
            net.pickled_ = pickle.dumps(net)


@SOME_IN_UNITS
def test_pickle_in_mid_epoch(name, unit):
    pickler = ("pickle", PickleInMidEpoch(7))
    net = make_net(callbacks=[("lr", planned(name, unit)), pickler]).fit(X, Y, epochs=2)
    again = pickle.loads(net.pickled_).partial_fit(X, Y, epochs=3)
    assert rates(again) == rates(straight(name, unit))[: 7 + 3 * STEPS]


@SOME
def test_a_pickle_holds_no_second_copy_of_the_weights(name):
    sizes = []
    for callbacks in ([], [("lr", planned(name))]):
        net = fit(callbacks=callbacks, module=torch.nn.Linear, module__in_features=4,
                  module__out_features=5_000, optimizer=torch.optim.SGD, epochs=1)  # fmt: skip
        sizes.append(len(pickle.dumps(net)))
    assert sizes[0] > 100_000
    assert sizes[1] - sizes[0] < 3_000


@pytest.mark.parametrize("with_optimizer", [True, False])
@SOME_IN_UNITS
def test_save_and_load(name, unit, with_optimizer, tmp_path):
    """The plan, n_epochs=None, comes from the loaded history too."""
    files = {"f_params": tmp_path / "params.pt", "f_history": tmp_path / "history.json"}
    if with_optimizer:
        files["f_optimizer"] = tmp_path / "optimizer.pt"
    fit(make(name, unit), epochs=2).save_params(**files)

    net = make_net(make(name, unit), max_epochs=3).initialize()
    net.load_params(**files)
    net.partial_fit(X, Y)
    assert_same_training(net, straight(name, unit))


@SOME
def test_save_and_load_with_momentum(name, tmp_path):
    files = {f"f_{part}": tmp_path / part for part in ("params", "history", "optimizer")}
    fit(planned(name), epochs=2, **MOMENTUM).save_params(**files)
    net = make_net(planned(name), **MOMENTUM).initialize()
    net.load_params(**files)
    assert_same_training(net.partial_fit(X, Y, epochs=3), fit(planned(name), **MOMENTUM))


@SOME
def test_loaded_weights_without_history_begin_the_schedule_anew(name, tmp_path):
    fit(planned(name), epochs=2).save_params(f_params=tmp_path / "params.pt")
    net = make_net(planned(name)).initialize()
    net.load_params(f_params=tmp_path / "params.pt")
    assert rates(net.partial_fit(X, Y)) == rates(straight(name))


# --- skorch's own ways of resuming ---


@pytest.mark.parametrize(
    ("kind", "checkpoint_first"),
    [("Checkpoint", True), ("Checkpoint", False), ("TrainEndCheckpoint", True)],
)
@SOME
def test_load_init_state(name, kind, checkpoint_first, tmp_path):
    def build(max_epochs):
        if kind == "Checkpoint":
            checkpoint = Checkpoint(monitor=None, dirname=str(tmp_path))
        else:
            checkpoint = TrainEndCheckpoint(dirname=str(tmp_path))
        named = [("cp", checkpoint), ("lr", make(name)), ("load", LoadInitState(checkpoint))]
        if not checkpoint_first:
            named = [named[1], named[2], named[0]]
        return make_net(callbacks=named, max_epochs=max_epochs)

    build(EPOCHS).fit(X, Y, epochs=2)
    net = build(3).fit(X, Y)
    assert_same_training(net, straight(name))
    assert net.history[:, "lr"] == straight(name).history[:, "lr"]


@SOME
def test_checkpoint_of_the_whole_net(name, tmp_path):
    file = tmp_path / "net.pkl"
    checkpoint = Checkpoint(monitor=None, f_pickle=str(file), f_params=None, f_optimizer=None,
                            f_criterion=None, f_history=None)  # fmt: skip
    make_net(callbacks=[("lr", planned(name)), ("cp", checkpoint)]).fit(X, Y, epochs=2)
    net = pickle.loads(file.read_bytes()).partial_fit(X, Y, epochs=3)
    assert_same_training(net, straight(name))


# --- interruption ---

# hook -> training batches done when its n-th call (from 0) raises
DONE = {
    "on_epoch_begin": lambda n: n * STEPS,
    "on_batch_begin": lambda n: n,
    "on_grad_computed": lambda n: n,
    "on_batch_end": lambda n: n + 1,
    "on_epoch_end": lambda n: (n + 1) * STEPS,
}


@pytest.mark.parametrize(
    ("hook", "first"), [*zip(DONE, [True] * 5, strict=True), ("on_batch_end", False)]
)
@SOME
def test_interrupt_and_go_on(name, hook, first):
    """The position goes on from the batches really done, wherever the interruption strikes."""
    stop = ("stop", Interrupt(hook))
    schedule = ("lr", planned(name))
    at = 1 if "epoch" in hook else 7
    net = make_net(callbacks=[stop, schedule] if first else [schedule, stop])
    interrupted(net, at)
    assert rates(net) == rates(straight(name))[: DONE[hook](at)]
    net.partial_fit(X, Y, epochs=2)
    assert rates(net) == rates(straight(name))[: DONE[hook](at) + 2 * STEPS]


@SOME_IN_UNITS
def test_interrupt_in_mid_epoch_in_every_unit(name, unit):
    net = make_net(callbacks=[("lr", planned(name, unit)), ("stop", Interrupt())])
    interrupted(net, 7)
    net.partial_fit(X, Y, epochs=3)
    assert rates(net) == rates(straight(name, unit))[: 7 + 3 * STEPS]


@settings(max_examples=30)
@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    unit=st.sampled_from(["epoch", "batch", "fraction"]),
    cuts=st.lists(st.integers(0, 9), max_size=4),
    copy=st.booleans(),
)
def test_many_interruptions(name, unit, cuts, copy):
    net = make_net(callbacks=[("lr", planned(name, unit)), ("stop", Interrupt())])
    done = 0
    for cut in cuts:
        if done + cut > STEPS * (EPOCHS - 1):
            break
        interrupted(net, cut)
        done += cut
        if copy:
            net = pickle.loads(pickle.dumps(net))
    left = (STEPS * EPOCHS - done) // STEPS
    net.partial_fit(X, Y, epochs=left)
    assert rates(net) == rates(straight(name, unit))[: done + left * STEPS]


@pytest.mark.parametrize(("hook", "unit"), [("on_valid_begin", "epoch"), ("on_valid_end", "batch")])
@SOME
def test_interrupt_in_validation(name, unit, hook):
    """The epoch's training was done, and counts as a whole."""
    stop = ("stop", Interrupt(hook))
    net = make_net(callbacks=[("lr", planned(name, unit)), stop], train_split=valid_split())
    interrupted(net, 1)
    net.partial_fit(X, Y, epochs=1)
    assert rates(net) == rates(fit(planned(name, unit), epochs=3, train_split=valid_split()))


@SOME
def test_interrupted_history_through_a_file(name, tmp_path):
    files = {f"f_{part}": tmp_path / part for part in ("params", "history", "optimizer")}
    net = make_net(callbacks=[("lr", make(name)), ("stop", Interrupt())])
    interrupted(net, 7).save_params(**files)
    again = make_net(make(name), max_epochs=3).initialize()
    again.load_params(**files)
    assert rates(again.partial_fit(X, Y)) == rates(straight(name))[: 7 + 3 * STEPS]


@SOME
def test_the_plan_is_noted_after_an_interruption_before_the_first_epoch(name):
    stop = ("stop", Interrupt("on_epoch_begin"))
    net = make_net(callbacks=[stop, ("lr", make(name, "fraction"))])
    interrupted(net, 0)
    net.partial_fit(X, Y, epochs=2)
    net.set_params(max_epochs=3).partial_fit(X, Y)
    assert rates(net) == rates(straight(name, "fraction"))


def test_going_on_after_an_error_at_the_start():
    net = make_net(CyclicalLR(max_lr=-1.0, step_size=1))
    with pytest.raises(ValueError, match="'max_lr' parameter of CyclicalLR"):
        net.fit(X, Y)
    net.set_params(callbacks__lr__max_lr=None)
    assert_same_training(net.partial_fit(X, Y), fit(CyclicalLR(step_size=1)))


# --- another batch size ---


@NAMED_IN_UNITS
def test_changed_batch_size(name, unit):
    """Twice the batches: an epoch is as long as before, a batch half as long."""
    net = fit(make(name, unit), epochs=2)
    net.set_params(batch_size=BATCH // 2).partial_fit(X, Y, epochs=3)
    before = make(name, unit).schedule(STEPS, EPOCHS, LR)(range(2 * STEPS))
    if unit == "batch":
        # 10 batches done and 30 to come.
        after = make(name, unit).schedule(8, EPOCHS, LR)(range(10, 40))
    else:
        after = make(name, unit).schedule(2 * STEPS, EPOCHS, LR)(range(20, 50))
    np.testing.assert_allclose(rates(net), [*before, *after], rtol=1e-12, atol=1e-17)


@SOME_NAMED_IN_UNITS
def test_changed_batch_size_in_mid_epoch(name, unit):
    """7 of 25 batches of 10 rows are done, then come batches of 3 rows, 17 in an epoch."""
    net = make_net(callbacks=[("lr", make(name, unit)), ("stop", Interrupt())])
    interrupted(net, 7)
    net.set_params(batch_size=3).partial_fit(X, Y, epochs=3)
    value = make(name, unit).schedule(17, EPOCHS, LR)
    if unit == "batch":
        # 3.6 epochs of 17 batches to come, after 7: a multiple of 4 that stands for the total.
        total = round(7 + 3.6 * 17)
        assert total == 68
        steps, value = np.arange(7, 7 + 51), make(name, unit).schedule(total // 4, 4, LR)
    else:
        steps = 7 * 17 / 5 + np.arange(51)
    np.testing.assert_allclose(rates(net)[7:], value(steps), rtol=1e-12, atol=1e-17)


def test_changed_batch_size_past_the_plan():
    """Ten epochs of one batch, three of them planned; the rate is held on in smaller batches."""
    net = make_net(CosineDecay(unit="batch", n_epochs=3), batch_size=len(X))
    with pytest.warns(UserWarning, match="past the 3 steps"):
        net.partial_fit(X, Y, epochs=10)
    net.set_params(batch_size=BATCH).partial_fit(X, Y, epochs=1)
    value = schedules.CosineDecay(max_lr=LR, n_steps=3)
    assert rates(net) == [value(min(step, 2)) for step in range(10 + STEPS)]


def test_changed_batch_size_of_functions():
    seen = {}
    for unit in ("epoch", "batch", "fraction"):
        seen[unit] = []

        def spy(position, seen=seen[unit]):
            seen.append(position)
            return 0.1

        net = fit(Schedule(spy, unit), epochs=2)
        seen[unit].clear()
        net.set_params(batch_size=5).partial_fit(X, Y, epochs=1)
    assert seen["epoch"] == [2 + i / 10 for i in range(10)]
    assert seen["batch"] == list(range(10, 20))
    np.testing.assert_allclose(seen["fraction"], (2 + np.arange(10) / 10) / 5, rtol=1e-15)


@pytest.mark.parametrize("parts", [9, 11, 13, 49])
def test_parts_of_epochs_that_make_whole_ones_are_whole(parts):
    """A drop at an epoch's start is not missed by a rounding error of the fractions."""
    net = make_net(StepDecay(factor=0.5, every=1)).initialize()
    part = {"batches": [{"train_loss": 1.0}], "planned_batch_count": parts}
    net.history.extend(dict(part) for _ in range(parts))
    net.partial_fit(X, Y, epochs=1)
    assert [row["lr"] for row in net.history[-1]["batches"]] == [LR / 2] * STEPS


# --- past the plan ---


def past_the_plan(parts, schedule, **params):
    """Return the net and the warnings of training in parts."""
    net = make_net(schedule, **params)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epochs in parts:
            net.partial_fit(X, Y, epochs=epochs)
    return net, [w for w in caught if w.category is UserWarning]


@pytest.mark.parametrize("parts", [[5], [3, 2], [2, 1, 1, 1]], ids=str)
@pytest.mark.parametrize("unit", ["batch", "fraction"])
@SOME_NAMED
def test_more_training_than_planned(name, unit, parts):
    callback = make(name, unit, n_epochs=3)
    net, caught = past_the_plan(parts, callback)
    value = callback.schedule(STEPS, lr=LR)
    if not callback._needs_total():
        assert rates(net) == [value(step) for step in range(EPOCHS * STEPS)]
        assert caught == []
        return
    assert rates(net) == [value(min(step, 3 * STEPS - 1)) for step in range(EPOCHS * STEPS)]
    (warning,) = caught
    assert str(warning.message) == (
        f"The training goes on past the 15 steps that {name} was planned for; the rate is held "
        f"at {value(14):g}. Pass n_epochs to plan the whole training."
    )


def test_which_schedules_need_the_length_of_the_training():
    need = {name for name in NAMED if make(name)._needs_total()}
    assert need == {"CosineDecay", "FastGeometric", "OneCycle", "SnapshotCosine"}
    assert StepDecay()._needs_total()
    assert all(make(name, "fraction")._needs_total() for name in SCHEDULES)


@pytest.mark.parametrize("parts", [[5], [3, 2], [1, 1, 1, 1, 1]], ids=str)
@SOME
def test_more_training_than_the_first_fits_max_epochs(name, parts):
    net, caught = past_the_plan(parts, make(name, "fraction"), max_epochs=3)
    assert len(caught) == 1
    assert set(rates(net)[3 * STEPS - 1 :]) == {rates(net)[3 * STEPS - 1]}


def test_a_function_is_not_asked_for_positions_past_the_plan():
    net = fit(Schedule(lambda part: LR * math.sqrt(1 - part), "fraction"), max_epochs=2)
    with pytest.warns(UserWarning, match="past the 10 steps that Schedule was planned for"):
        net.partial_fit(X, Y)
    net.partial_fit(X, Y)
    assert rates(net)[9:] == [LR * math.sqrt(1 - 9 / 10)] * 21


@SOME_NAMED
def test_the_warning_comes_once_in_a_net_that_travels(name):
    net = fit(make(name, "fraction", n_epochs=1), max_epochs=1)
    with pytest.warns(UserWarning, match="goes on past the 5 steps"):
        net.partial_fit(X, Y)
    # Warnings are errors here.
    pickle.loads(pickle.dumps(net)).partial_fit(X, Y)
    net.partial_fit(X, Y)


def test_warm_start_past_the_plan():
    net = fit(CosineDecay(), warm_start=True, max_epochs=2)
    with pytest.warns(UserWarning, match="past the 10 steps"):
        net.fit(X, Y)
    assert set(rates(net)[9:]) == {schedules.CosineDecay(max_lr=LR, n_steps=10)(9)}


def test_the_plan_ends_in_mid_epoch():
    """Interrupted after 2 of 5 batches, the last planned epoch goes 2 batches past the end."""
    net = make_net(callbacks=[("lr", CosineDecay(n_epochs=2)), ("stop", Interrupt())])
    interrupted(net, 2, epochs=2)
    net.partial_fit(X, Y, epochs=1)
    with pytest.warns(UserWarning, match="past the 10 steps"):
        net.partial_fit(X, Y, epochs=1)
    net.partial_fit(X, Y, epochs=1)
    value = schedules.CosineDecay(max_lr=LR, n_steps=10)
    assert rates(net) == [value(min(step, 9)) for step in range(17)]


# --- the faults of skorch's LRScheduler, one by one ---


def resumed_rate(callback, first, then, **params):
    """The rate of the first batch of the second part."""
    net = fit(callback, epochs=first, **params).partial_fit(X, Y, epochs=then)
    return rates(net)[first * STEPS]


def test_batch_cyclic_resumes_at_its_batch():
    callback = CyclicalLR(base_lr=0.0, max_lr=0.3, step_size=12, unit="batch")
    assert resumed_rate(callback, 2, 3) == schedules.CyclicalLR(
        base_lr=0.0, max_lr=0.3, step_size=12
    )(10)


def test_one_cycle_resumes_at_its_batch():
    """skorch goes on at .0372 where .0891 is due: OneCycleLR(max_lr=.1) at step 8 of 20."""
    net = fit(OneCycle(max_lr=0.1, n_epochs=5), epochs=2, train_split=valid_split())
    net.partial_fit(X, Y, epochs=3)
    assert rates(net)[8] == pytest.approx(0.0891, abs=5e-5)


def test_step_decay_resumed_on_a_drop_decays_once():
    assert resumed_rate(StepDecay(every=2, factor=0.1), 2, 2) == pytest.approx(LR * 0.1)
    assert resumed_rate(StepDecay(every=2, factor=0.1), 4, 1) == pytest.approx(LR * 0.01)


def test_restarts_resume_in_their_cycle():
    """skorch goes on at .0085 where .0015 is due."""
    callback = SGDR(max_lr=0.01, cycle_length=2, cycle_mult=2)
    net = fit(callback, epochs=5).partial_fit(X, Y, epochs=7)
    assert rates(net)[5 * STEPS] == pytest.approx(0.0015, abs=5e-5)


def test_snapshot_cycles_restart_on_time_after_resuming():
    net = fit(SnapshotCosine(n_cycles=5, n_epochs=5), epochs=2).partial_fit(X, Y, epochs=3)
    assert [i for i, lr in enumerate(rates(net)) if lr == LR] == [0, 5, 10, 15, 20]


def test_unpickled_optimizer_is_the_nets_own():
    net = pickle.loads(pickle.dumps(fit(CyclicalLR(), epochs=2)))
    before = weights(net)
    net.partial_fit(X, Y, epochs=1)
    assert not np.array_equal(before, weights(net))
    assert net.optimizer_.param_groups[0]["lr"] == rates(net)[-1]


def test_a_net_trained_past_the_plan_without_a_schedule_is_warned_too():
    plain = make_net(None, max_epochs=6).fit(X, Y)
    net = make_net(OneCycle(n_epochs=4)).initialize()
    net.history = plain.history
    with pytest.warns(UserWarning, match="past the 20 steps") as caught:
        net.partial_fit(X, Y)
    assert len(caught) == 1
