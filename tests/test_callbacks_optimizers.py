"""Parameter groups, kinds of optimizers, momentum, and the rates that follow the net's own."""

import pickle

import numpy as np
import pytest
import torch
from callback_helpers import (
    EPOCHS,
    EVERY,
    LR,
    NAMED,
    SOME,
    STEPS,
    SpySGD,
    TwoLayers,
    X,
    Y,
    assert_same_training,
    fit,
    make,
    make_net,
    planned,
    rates,
    straight,
    weights,
)
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    Unfreezer,
)

from sklr.callbacks import SGDR, CosineDecay, CyclicalLR, FastGeometric, StepDecay

TOTAL = EPOCHS * STEPS


class Watch(Callback):
    """Records the settings of all groups in each closure."""

    def on_train_begin(self, net, **kwargs):
        self.seen_ = []

    def on_grad_computed(self, net, **kwargs):
        groups = net.optimizer_.param_groups
        self.seen_.append([{k: v for k, v in g.items() if k != "params"} for g in groups])


def watched(callback, *, epochs=None, **params):
    """Return a fitted net and what its first group was set to in each closure."""
    watch = Watch()
    net = make_net(callbacks=[("lr", callback), ("watch", watch)], **params)
    net.fit(X, Y, epochs=epochs)
    return net, [groups[0] for groups in watch.seen_]


# --- groups ---

GROUPS = {
    "a layer": ([("head.*", {"lr": LR / 10})], [0.1, 1]),
    "wildcards": ([("b*y.*", {"lr": LR / 4}), ("*.bias", {"lr": LR * 3})], [0.25, 3, 1]),
    "no rate of its own": ([("head.*", {"momentum": 0.5})], [1, 1]),
    "standing still": ([("body.*", {"lr": 0.0})], [0, 1]),
}


@pytest.mark.parametrize("groups", GROUPS)
def test_groups_keep_their_proportion(groups):
    """Each step, every group; recorded is the rate of a group without one of its own."""
    groups, ratios = GROUPS[groups]
    net = fit(planned("SGDR"), module=TwoLayers, optimizer__param_groups=groups)
    expected = [[lr * ratio for ratio in ratios] for lr in rates(net)]
    np.testing.assert_allclose(net.optimizer_.used, expected, rtol=1e-12)
    # Groups that have no rate of their own get the recorded one to the last bit.
    assert [used[-1] for used in net.optimizer_.used] == rates(net)
    assert rates(net) == rates(straight("SGDR"))


@SOME
def test_groups_through_partial_fit_and_pickle(name):
    params = {"module": TwoLayers, "optimizer__param_groups": GROUPS["wildcards"][0]}
    whole = fit(planned(name), **params)
    net = fit(planned(name), epochs=2, **params)
    net = pickle.loads(pickle.dumps(net)).partial_fit(X, Y, epochs=3)
    assert_same_training(net, whole)
    assert net.optimizer_.used == whole.optimizer_.used[2 * STEPS :]


@pytest.mark.parametrize("parts", [("params", "history"), ("params", "history", "optimizer")])
@SOME
def test_groups_through_load_params(name, parts, tmp_path):
    files = {f"f_{part}": tmp_path / part for part in parts}
    params = {"module": TwoLayers, "optimizer__param_groups": GROUPS["wildcards"][0]}
    fit(planned(name), epochs=2, **params).save_params(**files)
    net = make_net(planned(name), **params).initialize()
    net.load_params(**files)
    assert_same_training(net.partial_fit(X, Y, epochs=3), fit(planned(name), **params))


def test_groups_keep_their_proportion_when_the_nets_rate_is_set():
    """skorch then writes the new rate to all groups."""
    params = {"module": TwoLayers, "optimizer__param_groups": GROUPS["a layer"][0]}
    net = fit(StepDecay(every=1), epochs=1, **params).set_params(lr=0.5)
    net.partial_fit(X, Y, epochs=1)
    np.testing.assert_allclose(net.optimizer_.used[STEPS:], [[0.005, 0.05]] * STEPS)


def test_groups_with_a_schedule_of_its_own_peak():
    """max_lr is for the optimizer's own rate; a group of a tenth of it gets a tenth."""
    net = fit(CyclicalLR(base_lr=0.2, max_lr=0.8, step_size=1), module=TwoLayers,
              optimizer__param_groups=GROUPS["a layer"][0])  # fmt: skip
    np.testing.assert_allclose(np.max(net.optimizer_.used, axis=0), [0.08, 0.8])


# --- the net's own rate ---


@EVERY
def test_no_rate_follows_the_optimizers_own(name):
    if name == "Schedule":
        assert rates(fit(make(name), lr=5.0)) == rates(fit(make(name)))
        return
    schedules = [make(name).schedule(STEPS, EPOCHS, lr) for lr in (0.02, 0.3)]
    # Step by step: numpy's vectorized powers may round otherwise.
    expected = [[schedule(step) for step in range(TOTAL)] for schedule in schedules]
    assert rates(fit(make(name), lr=0.02)) == expected[0]
    assert rates(fit(make(name), lr=0.02, optimizer__lr=0.3)) == expected[1]


@SOME
def test_the_nets_rate_is_set_between_fits(name):
    net = fit(planned(name), lr=0.02)
    net.set_params(lr=0.3)
    assert rates(net.fit(X, Y)) == rates(fit(planned(name), lr=0.3))
    net = fit(planned(name), lr=0.02, epochs=2).set_params(lr=0.3).partial_fit(X, Y, epochs=3)
    expected = rates(fit(planned(name), lr=0.02))[:10] + rates(fit(planned(name), lr=0.3))[10:]
    assert rates(net) == expected


def test_a_group_of_all_parameters():
    """One group has no proportion to keep: the schedule's rates are its rates."""
    net = fit(CyclicalLR(max_lr=0.5), optimizer__param_groups=[("*", {"lr": 0.01})])
    assert [[lr] for lr in rates(net)] == net.optimizer_.used
    assert rates(net) == rates(fit(CyclicalLR(max_lr=0.5)))


@pytest.mark.parametrize(
    ("callback", "default", "lowest_at"),
    [
        (CyclicalLR(step_size=1), LR / 4, 0),
        (SGDR(cycle_length=1), 0.0, None),
        (CosineDecay(), 0.0, None),
        (FastGeometric(n_cycles=1, pretrain_fraction=0.6), LR / 100, 20),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_explicit_zero_floor_is_kept(callback, default, lowest_at):
    floor = "base_lr" if isinstance(callback, CyclicalLR) else "min_lr"
    value = callback.schedule(STEPS, EPOCHS, LR)
    assert getattr(value, floor) == pytest.approx(default, abs=0)
    callback.set_params(**{floor: 0})
    value = callback.schedule(STEPS, EPOCHS, LR)
    assert getattr(value, floor) == 0
    if lowest_at is not None:
        assert rates(fit(callback))[lowest_at] == 0


# --- kinds of optimizers ---

OPTIMIZERS = {
    "SGD": (torch.optim.SGD, {}),
    "SGD with momentum": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "Adam": (torch.optim.Adam, {"betas": (0.8, 0.99)}),
    "AdamW": (torch.optim.AdamW, {"weight_decay": 0.1}),
    "RMSprop": (torch.optim.RMSprop, {}),
    "RMSprop with momentum": (torch.optim.RMSprop, {"momentum": 0.7}),
    "Adagrad": (torch.optim.Adagrad, {}),
    "foreach": (torch.optim.SGD, {"foreach": True}),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers(optimizer):
    """Each step's rate is the recorded one, and nothing else of the group is touched."""
    cls, settings = OPTIMIZERS[optimizer]
    params = {"optimizer": cls} | {f"optimizer__{k}": v for k, v in settings.items()}
    net, seen = watched(planned("SGDR", "batch"), epochs=1, **params)
    assert [group["lr"] for group in seen] == rates(net)
    assert rates(net) == rates(straight("SGDR", "batch"))[:STEPS]
    before = make_net(**params).initialize().optimizer_.param_groups[0]
    for key in set(before) - {"params", "lr"}:
        assert {repr(group[key]) for group in seen} == {repr(before[key])}


@SOME
def test_lbfgs(name):
    """It asks for the loss several times a step: one step all the same."""
    net, seen = watched(planned(name), epochs=2, optimizer=torch.optim.LBFGS,
                        optimizer__max_iter=4)  # fmt: skip
    assert rates(net) == rates(straight(name))[: 2 * STEPS]
    assert len(seen) > 2 * len(rates(net))
    used = [group["lr"] for group in seen]
    assert sorted(set(used), key=used.index) == sorted(set(rates(net)), key=rates(net).index)


@SOME
def test_a_rate_in_a_tensor(name):
    """A capturable optimizer needs it to stay one tensor; the net's parameter is not written to."""
    lr = torch.tensor(LR, dtype=torch.float64)
    params = {"optimizer": torch.optim.Adam, "optimizer__foreach": False}
    net, seen = watched(planned(name), epochs=2, optimizer__lr=lr, **params)
    assert len({id(group["lr"]) for group in seen}) == 1
    net.partial_fit(X, Y, epochs=3)
    assert net.optimizer_.param_groups[0]["lr"] is seen[0]["lr"]
    assert seen[0]["lr"].item() == rates(net)[-1]
    assert lr.item() == LR
    assert rates(net) == rates(fit(planned(name), **params))
    assert_same_training(net.fit(X, Y), fit(planned(name), optimizer__lr=lr, **params))


# --- momentum ---

CYCLES = {
    "CyclicalLR": {"step_size": 1, "min_momentum": 0.6, "max_momentum": 0.9},
    "OneCycle": {"min_momentum": 0.6, "max_momentum": 0.9},
}
EVERY_CYCLE = pytest.mark.parametrize("name", sorted(CYCLES))


def test_which_callbacks_cycle_momentum():
    assert {name for name in NAMED if hasattr(make(name), "max_momentum")} == set(CYCLES)


@pytest.mark.parametrize("name", ["CosineDecay", *CYCLES])
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_momentum_is_left_alone(name, momentum):
    net = fit(planned(name), optimizer__momentum=momentum)
    assert {m for step in net.optimizer_.momenta for m in step} == {momentum}


NO_MOMENTUM = {
    "SGD": (torch.optim.SGD, {}),
    "RMSprop": (torch.optim.RMSprop, {}),
    "Adagrad": (torch.optim.Adagrad, {}),
    "groups": (SpySGD, {"module": TwoLayers, "optimizer__param_groups": [("head.*", {"lr": 0.2})]}),
}


@pytest.mark.parametrize("optimizer", NO_MOMENTUM)
def test_momentum_is_never_switched_on(optimizer):
    cls, params = NO_MOMENTUM[optimizer]
    watch = Watch()
    callback = make("OneCycle", **CYCLES["OneCycle"])
    net = make_net(callbacks=[("lr", callback), ("watch", watch)], optimizer=cls, **params)
    with pytest.raises(ValueError, match="instead") as error:
        net.fit(X, Y)
    assert str(error.value) == (
        f"The 'max_momentum' parameter of OneCycle must be None for an optimizer that has no "
        f"momentum, as {cls.__name__} here. Got 0.9 instead."
    )
    assert watch.seen_ == []
    assert not any(group.get("momentum") for group in net.optimizer_.param_groups)


@EVERY_CYCLE
def test_momentum_moves_against_the_rate(name):
    net = fit(make(name, **CYCLES[name]), optimizer__momentum=0.9)
    momenta = [m for (m,) in net.optimizer_.momenta]
    order = np.argsort(rates(net), kind="stable")
    assert (np.diff(np.array(momenta)[order]) <= 1e-12).all() or name == "OneCycle"
    peak = int(np.argmax(rates(net)))
    assert momenta[peak] == pytest.approx(0.6, abs=0.02)
    assert momenta[0] == 0.9
    assert 0.6 <= min(momenta) <= max(momenta) <= 0.9


@EVERY_CYCLE
def test_momentum_of_a_group_without_is_not_switched_on(name):
    """skorch's own example of groups has one with momentum 0."""
    groups = [("head.*", {"momentum": 0})]
    callback = make(name, n_epochs=5, **CYCLES[name])
    net = fit(callback, module=TwoLayers, optimizer__momentum=0.9, optimizer__param_groups=groups)
    assert {head for head, _ in net.optimizer_.momenta} == {0}
    assert len({body for _, body in net.optimizer_.momenta}) > 5


@EVERY_CYCLE
def test_momentum_of_one_group_only(name):
    """Momentum that is set for a group and not for the optimizer is momentum all the same."""
    groups = [("head.*", {"momentum": 0.9})]
    net = fit(make(name, **CYCLES[name]), module=TwoLayers, optimizer__param_groups=groups)
    assert {body for _, body in net.optimizer_.momenta} == {0}
    assert len({head for head, _ in net.optimizer_.momenta}) > 5


@EVERY_CYCLE
def test_momentum_down_to_zero_and_up_again(name):
    """A momentum that the schedule itself brought to 0 is still one."""
    callback = make(name, n_epochs=5, **CYCLES[name] | {"min_momentum": 0})
    whole = fit(callback, optimizer__momentum=0.9)
    momenta = [m for (m,) in whole.optimizer_.momenta]
    assert min(momenta) == pytest.approx(0, abs=0.03)
    at = momenta.index(min(momenta)) // STEPS + 1
    net = fit(callback, optimizer__momentum=0.9, epochs=at).partial_fit(X, Y, epochs=EPOCHS - at)
    assert net.optimizer_.momenta == whole.optimizer_.momenta


def test_momentum_at_zero_when_resumed():
    """The last step before the pause had momentum 0, in the only group."""
    callback = CyclicalLR(step_size=4, unit="batch", min_momentum=0, max_momentum=0.9)
    whole = fit(callback, optimizer__momentum=0.9)
    assert whole.optimizer_.momenta[4] == [0]
    net = fit(callback, optimizer__momentum=0.9, epochs=1)
    assert net.optimizer_.momenta[-1] == [0]
    net = pickle.loads(pickle.dumps(net)).partial_fit(X, Y, epochs=4)
    assert net.optimizer_.momenta == whole.optimizer_.momenta[STEPS:]


def test_momentum_switched_on_by_the_user_between_fits():
    callback = CyclicalLR(**CYCLES["CyclicalLR"])
    net = make_net(callback)
    with pytest.raises(ValueError, match="'max_momentum' parameter of CyclicalLR"):
        net.fit(X, Y)
    net.set_params(optimizer__momentum=0.9).partial_fit(X, Y)
    assert net.optimizer_.momenta == fit(callback, optimizer__momentum=0.9).optimizer_.momenta


@EVERY_CYCLE
def test_momentum_on_resuming(name, tmp_path):
    callback = make(name, n_epochs=5, **CYCLES[name])
    whole = fit(callback, optimizer__momentum=0.9)
    net = fit(callback, optimizer__momentum=0.9, epochs=2)
    again = pickle.loads(pickle.dumps(net)).partial_fit(X, Y, epochs=3)
    assert again.optimizer_.momenta == whole.optimizer_.momenta[2 * STEPS :]
    np.testing.assert_array_equal(weights(again), weights(whole))


@EVERY_CYCLE
def test_momentum_waits_out_the_warmup(name):
    net = fit(make(name, warmup=1, **CYCLES[name]), optimizer__momentum=0.9)
    assert net.optimizer_.momenta[: STEPS + 1] == [[0.9]] * (STEPS + 1)
    assert net.optimizer_.momenta[STEPS + 1][0] < 0.9


def test_momentum_past_the_plan_is_held():
    """Where the plan ends in mid-cycle, as the rate is."""
    cycle = {"step_size": 0.6, "unit": "fraction", "min_momentum": 0.6, "max_momentum": 0.9}
    with pytest.warns(UserWarning, match="past the 10 steps"):
        net = fit(CyclicalLR(n_epochs=2, **cycle), optimizer__momentum=0.85)
    assert net.optimizer_.momenta[9:] == [[pytest.approx(0.75)]] * 16
    assert net.optimizer_.momenta[8][0] < 0.74


# --- skorch's callbacks beside it ---


@SOME
def test_freezing_and_clipping_beside_it(name):
    """They change the training, never the rates."""
    beside = [
        ("freeze", Freezer("body.*")),
        ("unfreeze", Unfreezer("body.*", at=3)),
        ("clip", GradientNormClipping(0.01)),
        ("accuracy", EpochScoring("accuracy", on_train=True)),
        ("stop", EarlyStopping("train_loss", patience=10)),
    ]
    named = [*beside[:2], ("lr", planned(name)), *beside[2:]]
    net = make_net(callbacks=named, module=TwoLayers).fit(X, Y)
    assert rates(net) == rates(straight(name))
    assert [[lr] for lr in rates(net)] == net.optimizer_.used
    assert not np.array_equal(weights(net), weights(fit(planned(name), module=TwoLayers)))


def test_early_stopping_and_going_on():
    """The fit that was stopped early had the whole training for its plan."""
    stop = ("stop", EarlyStopping("train_loss", patience=1, threshold=1e9))
    net = make_net(callbacks=[("lr", CosineDecay()), stop]).fit(X, Y)
    done = len(net.history)
    assert done < EPOCHS
    net.set_params(callbacks__stop=None)
    net.callbacks_ = [(name, callback) for name, callback in net.callbacks_ if callback]
    net.partial_fit(X, Y, epochs=EPOCHS - done)
    assert rates(net) == rates(fit(CosineDecay()))


@pytest.mark.parametrize("max_lr", [None, 0.5])
def test_groups_that_all_name_rates_never_go_above_the_schedule(max_lr):
    """The net's own rate is nobody's then: the highest group stands for it, also on resume."""
    groups = [("*weight", {"lr": 0.2}), ("*bias", {"lr": 0.1})]
    cosine = CosineDecay(max_lr=max_lr, n_epochs=4)
    net = make_net(cosine, optimizer__param_groups=groups, lr=0.01, max_epochs=2).fit(X, Y)
    pickle.loads(pickle.dumps(net)).partial_fit(X, Y)
    net.partial_fit(X, Y)
    expected = cosine.schedule(STEPS, lr=0.2)
    assert rates(net) == [expected(step) for step in range(4 * STEPS)]
    weight, bias = net.optimizer_.param_groups
    assert weight["lr"] == expected(4 * STEPS - 1)
    assert bias["lr"] == pytest.approx(weight["lr"] / 2, rel=1e-15)


def test_one_rate_named_for_all_is_the_optimizers_own():
    net = make_net(CosineDecay(), optimizer__param_groups=[("*", {"lr": 0.05})]).fit(X, Y)
    assert rates(net)[0] == 0.05
