"""Under accelerate: a micro-batch is no step, and neither is one that the optimizer skipped."""

import pytest
from callback_helpers import (
    EPOCHS,
    LR,
    SOME,
    SOME_IN_UNITS,
    STEPS,
    Interrupt,
    TwoLayers,
    X,
    Y,
    batch_rows,
    fit,
    interrupted,
    make,
    make_net,
    planned,
    rates,
    straight,
    valid_split,
    wave,
)
from skorch import NeuralNetClassifier
from skorch.hf import AccelerateMixin

from sklr.callbacks import (
    CosineDecay,
    CyclicalLR,
    Schedule,
    SnapshotCosine,
    Snapshots,
    StepDecay,
)

accelerate = pytest.importorskip("accelerate")


class AcceleratedNet(AccelerateMixin, NeuralNetClassifier):
    """A classifier under accelerate."""


class SkippingAccelerator(accelerate.Accelerator):
    """Reports of some batches, counted from 0, that their step was skipped."""

    skipped = frozenset()
    batch = -1

    def backward(self, loss, **kwargs):
        self.batch += 1
        super().backward(loss, **kwargs)

    @property
    def optimizer_step_was_skipped(self):
        return self.batch in self.skipped


class Scaler:
    """Stands for the scaler of half precision, and skips some steps, counted from 0."""

    def __init__(self, skipped):
        self.skipped = skipped
        self.calls = -1

    def scale(self, loss):
        return loss

    def step(self, optimizer, closure=None):
        self.calls += 1
        if self.calls not in self.skipped:
            optimizer.step(closure)

    def update(self):
        pass


@pytest.fixture(autouse=True)
def fresh_state():
    """Each test has accelerate's process-wide state to itself."""
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


def accelerated(*schedules, cls=accelerate.Accelerator, accumulate=1, skipped=(), **params):
    accelerator = cls(cpu=True, gradient_accumulation_steps=accumulate)
    if cls is SkippingAccelerator:
        accelerator.skipped = frozenset(skipped)
    return make_net(*schedules, cls=AcceleratedNet, accelerator=accelerator, **params)


def steps_done(net):
    return [row["optimizer_batch_count"] for row in net.history]


@SOME
def test_plain_training_is_the_same(name):
    net = accelerated(planned(name)).fit(X, Y)
    assert rates(net) == rates(straight(name))
    assert [[lr] for lr in rates(net)] == net.optimizer_.optimizer.used


# 5 batches an epoch, two to a step: the last of an epoch is a step of its own.
ACCUMULATED = [0, 0, 1, 1, 2]


@SOME_IN_UNITS
def test_micro_batches_do_not_advance(name, unit):
    net = accelerated(planned(name, unit), accumulate=2).fit(X, Y)
    steps = [3 * epoch + step for epoch in range(EPOCHS) for step in ACCUMULATED]
    if name == "Schedule":
        length = {"epoch": 3, "batch": 1, "fraction": 15}[unit]
        assert rates(net) == [wave(step / length) for step in steps]
    else:
        value = make(name, unit).schedule(3, EPOCHS, LR)
        assert rates(net) == [value(step) for step in steps]
    assert steps_done(net) == [3] * EPOCHS
    # What the optimizer used is what is recorded for the batch that completes a step.
    used = [lr for (lr,) in net.optimizer_.optimizer.used]
    assert used == [lr for i, lr in enumerate(rates(net)) if i % STEPS in {1, 3, 4}]


@pytest.mark.parametrize("accumulate", [1, 3, 5, 7])
def test_any_accumulation(accumulate):
    net = accelerated(Schedule(wave), accumulate=accumulate).fit(X, Y)
    per_epoch = -(-STEPS // accumulate)
    assert steps_done(net) == [per_epoch] * EPOCHS
    used = [lr for (lr,) in net.optimizer_.optimizer.used]
    assert used == [wave(step) for step in range(per_epoch * EPOCHS)]


@SOME_IN_UNITS
def test_accumulation_on_resuming(name, unit):
    whole = accelerated(planned(name, unit), accumulate=2).fit(X, Y, epochs=2)
    net = accelerated(planned(name, unit), accumulate=2).fit(X, Y, epochs=1)
    assert rates(net.partial_fit(X, Y, epochs=1)) == rates(whole)


@pytest.mark.parametrize("hook", ["on_batch_begin", "on_grad_computed", "on_batch_end"])
@pytest.mark.parametrize("batches", [6, 7, 8])
def test_accumulation_after_an_interruption(hook, batches):
    """The steps are counted, not the batches; accelerate goes on with the batches it has."""
    stop = ("stop", Interrupt(hook))
    net = accelerated(callbacks=[("lr", Schedule(wave)), stop], accumulate=2)
    interrupted(net, batches - (hook == "on_batch_end"))
    assert len(batch_rows(net)) == batches
    net.partial_fit(X, Y, epochs=1)
    used = [lr for (lr,) in net.optimizer_.optimizer.used]
    assert used == [wave(step) for step in range(sum(steps_done(net)))]
    assert rates(net)[-1] == used[-1]


@SOME
def test_accumulation_through_load_params(name, tmp_path):
    files = {f"f_{part}": tmp_path / part for part in ("params", "history")}
    net = accelerated(make(name), accumulate=2).fit(X, Y, epochs=2)
    net.save_params(**files)
    again = accelerated(make(name), accumulate=2, max_epochs=3).initialize()
    again.load_params(**files)
    whole = accelerated(make(name), accumulate=2).fit(X, Y)
    assert rates(again.partial_fit(X, Y)) == rates(whole)


def test_snapshots_of_accumulated_batches():
    """One a cycle, after the batch that completes its last step: 3 steps of 5 batches an epoch."""
    snapshots = Snapshots()
    named = [("lr", SnapshotCosine(n_cycles=3)), ("snapshots", snapshots)]
    accelerated(callbacks=named, accumulate=2).fit(X, Y)
    assert snapshots.steps_ == [5, 10, 15]


# --- skipped steps ---


def test_a_skipped_step_does_not_advance():
    """Batches 1, 2 and 7 are skipped, the next ones get the rates that these had."""
    net = accelerated(Schedule(wave), cls=SkippingAccelerator, skipped=(1, 2, 7))
    net.fit(X, Y, epochs=2)
    assert rates(net) == [wave(step) for step in (0, 1, 1, 1, 2, 3, 4, 5, 5, 6)]
    assert steps_done(net) == [3, 4]
    net.partial_fit(X, Y, epochs=1)
    assert rates(net)[10:] == [wave(step) for step in range(7, 12)]


@pytest.mark.parametrize(
    ("name", "unit"), [("CyclicalLR", "epoch"), ("CosineDecay", "epoch"), ("Schedule", "fraction")]
)
def test_a_skipped_step_does_not_advance_within_its_epoch(name, unit):
    """With epochs for a clock, an epoch that is over is over."""
    net = accelerated(planned(name, unit), cls=SkippingAccelerator, skipped=(1, 2, 7))
    net.fit(X, Y, epochs=3)
    steps = [0, 1, 1, 1, 2, 5, 6, 7, 7, 8, 10, 11, 12, 13, 14]
    assert rates(net) == [rates(straight(name, unit))[step] for step in steps]


def test_a_skipped_step_of_accumulated_batches():
    """Batch 3 would have completed the second step."""
    net = accelerated(Schedule(wave), cls=SkippingAccelerator, skipped=(3,), accumulate=2)
    net.fit(X, Y, epochs=2)
    assert rates(net) == [wave(step) for step in (0, 0, 1, 1, 1, 2, 2, 3, 3, 4)]
    assert steps_done(net) == [2, 3]


def test_every_step_skipped():
    net = accelerated(CyclicalLR(), cls=SkippingAccelerator, skipped=range(100))
    net.fit(X, Y, epochs=1)
    assert set(rates(net)) == {LR / 4}


def test_every_step_of_a_whole_plan_skipped():
    """With batches for a clock nothing is done yet, and nothing is left either."""
    callback = CosineDecay(unit="batch", n_epochs=1)
    net = accelerated(callback, cls=SkippingAccelerator, skipped=range(100))
    with pytest.warns(UserWarning, match="goes on past the 1 steps"):
        net.fit(X, Y, epochs=2)
    assert set(rates(net)) == {LR}


def test_a_scaler_that_skips():
    """accelerate's own way of telling, from the scaler to the accelerator."""
    net = accelerated(Schedule(wave))
    net.accelerator.scaler = Scaler({1, 2})
    net.fit(X, Y, epochs=1)
    assert rates(net) == [wave(step) for step in (0, 1, 1, 1, 2)]
    assert net.optimizer_.optimizer.used == [[wave(step)] for step in (0, 1, 2)]


def test_a_fit_after_one_that_ended_with_a_skipped_step():
    """The accelerator goes on saying so for the optimizer of the first, which steps no more."""
    net = accelerated(Schedule(wave))
    net.accelerator.scaler = Scaler({4, 6})
    net.fit(X, Y, epochs=1)
    assert net.accelerator.optimizer_step_was_skipped
    net.fit(X, Y, epochs=1)
    assert rates(net) == [wave(step) for step in (0, 1, 1, 2, 3)]


def test_skips_and_interruptions():
    stop = ("stop", Interrupt("on_batch_begin"))
    net = accelerated(
        callbacks=[("lr", Schedule(wave)), stop], cls=SkippingAccelerator, skipped=(1,)
    )
    interrupted(net, 3)
    net.partial_fit(X, Y, epochs=1)
    assert rates(net) == [wave(step) for step in (0, 1, 1, 2, 3, 4, 5, 6)]


# --- the rest ---


def test_validation_and_log():
    lines = []
    net = accelerated(StepDecay(every=1), accumulate=2, train_split=valid_split(), verbose=1,
                      callbacks__print_log__sink=lines.append).fit(X, Y)  # fmt: skip
    assert net.history[:, "lr"] == pytest.approx([LR * 0.1**epoch for epoch in range(EPOCHS)])
    header = "\n".join(lines).splitlines()[0].split()
    assert header == ["epoch", "lr", "train_loss", "valid_acc", "valid_loss", "dur"]


def test_momentum_and_groups():
    callback = CyclicalLR(step_size=1, min_momentum=0.6, max_momentum=0.9)
    params = {
        "module": TwoLayers,
        "optimizer__momentum": 0.9,
        "optimizer__param_groups": [("head.*", {"lr": LR / 10})],
    }
    net = accelerated(callback, **params).fit(X, Y)
    plain = fit(callback, **params)
    assert net.optimizer_.optimizer.used == plain.optimizer_.used
    assert net.optimizer_.optimizer.momenta == plain.optimizer_.momenta


def test_two_nets_one_after_the_other_with_one_accelerator():
    net = accelerated(Schedule(wave), accumulate=2)
    first = rates(net.fit(X, Y))
    assert rates(net.fit(X, Y)) == first
