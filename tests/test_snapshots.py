"""Snapshots: the weights after the last step of each cycle, bit for bit."""

import pytest
import torch
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier
from skorch.callbacks import Callback
from torch import nn

from sklr import schedules
from sklr.callbacks import (
    SGDR,
    CosineDecay,
    CyclicalLR,
    FastGeometric,
    Schedule,
    SnapshotCosine,
    Snapshots,
)

# 500 rows in batches of 50, 6 epochs: 60 steps.
CASES = [
    pytest.param(SnapshotCosine(n_cycles=3), [20, 40, 60], id="snapshot cosine"),
    pytest.param(SnapshotCosine(n_cycles=7), [9, 17, 26, 34, 43, 51, 60], id="7 in 60"),
    pytest.param(SGDR(cycle_length=1, cycle_mult=2), [10, 30], id="SGDR"),
    pytest.param(CyclicalLR(step_size=1), [20, 40, 60], id="triangular"),
    pytest.param(FastGeometric(pretrain_fraction=0.5, n_cycles=3), [35, 45, 55], id="FGE"),
    pytest.param(CosineDecay(), [60], id="no restarts"),
    pytest.param(SnapshotCosine(n_cycles=2, warmup=1), [35, 60], id="after a warm-up"),
]


def plain_snapshots(rates, steps):
    """Train in a plain torch loop, and copy the weights after the given numbers of steps."""
    torch.manual_seed(0)
    module = MLP()
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0, momentum=0.9)
    X, y = torch.from_numpy(X_DIGITS), torch.from_numpy(Y_DIGITS)
    snapshots = []
    for step, rate in enumerate(rates):
        rows = slice(50 * (step % 10), 50 * (step % 10) + 50)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(X[rows]), y[rows]).backward()
        optimizer.step()
        if step + 1 in steps:
            snapshots.append({k: v.clone() for k, v in module.state_dict().items()})
    return snapshots


def fit(schedule, *more, snapshots_first=False, **params):
    snapshots = Snapshots()
    callbacks = [snapshots, schedule] if snapshots_first else [schedule, snapshots]
    torch.manual_seed(0)
    net = make_classifier(
        callbacks=[*callbacks, *more],
        optimizer__momentum=0.9,
        iterator_train__shuffle=False,
        lr=0.2,
        **params,
    )
    return net.fit(X_DIGITS, Y_DIGITS), snapshots


@pytest.mark.parametrize("snapshots_first", [False, True], ids=["after", "before"])
@pytest.mark.parametrize(("schedule", "steps"), CASES)
def test_weights_are_those_of_a_plain_loop_bit_for_bit(schedule, steps, snapshots_first):
    net, snapshots = fit(schedule, snapshots_first=snapshots_first)
    assert snapshots.steps_ == steps
    value = schedule.schedule(steps_per_epoch=10, n_epochs=6, lr=0.2)
    assert value.snapshot_steps(60) == tuple(steps)
    expected = plain_snapshots([value(step) for step in range(60)], steps)
    assert len(snapshots.snapshots_) == len(expected) == len(steps)
    for taken, plain in zip(snapshots.snapshots_, expected, strict=True):
        assert all(torch.equal(taken[name.replace("module.", "")], plain[name]) for name in plain)
    if steps[-1] == 60:
        final = net.module_.state_dict()
        assert all(torch.equal(snapshots.snapshots_[-1][name], final[name]) for name in final)


def test_snapshots_go_on_after_partial_fit_and_begin_anew_after_fit():
    net, snapshots = fit(CyclicalLR(step_size=1), max_epochs=2)
    net.partial_fit(X_DIGITS, Y_DIGITS)
    assert snapshots.steps_ == [20, 40]
    net.fit(X_DIGITS, Y_DIGITS)
    assert snapshots.steps_ == [20]


def test_buffers_are_kept_and_copies_share_nothing():
    class WithNorm(MLP):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(64)

        def forward(self, X):
            return super().forward(self.norm(X))

    net, snapshots = fit(SnapshotCosine(n_cycles=2), module=WithNorm)
    first, last = snapshots.snapshots_
    assert not torch.equal(first["norm.running_mean"], last["norm.running_mean"])
    with torch.no_grad():
        net.module_.layers[0].weight.zero_()
    assert last["layers.0.weight"].any()


@pytest.mark.parametrize(
    "callbacks",
    [
        pytest.param([Snapshots()], id="no schedule"),
        pytest.param([Snapshots(), Schedule(lambda step: 0.1)], id="a bare function"),
    ],
)
def test_without_a_schedule_that_can_tell_it_is_refused(callbacks):
    net = make_classifier(callbacks=callbacks)
    with pytest.raises(TypeError, match=r"The 'callbacks' parameter .* must hold a schedule"):
        net.fit(X_DIGITS, Y_DIGITS)
    assert not net.optimizer_.state


def test_any_schedule_value_tells():
    value = schedules.SGDR(max_lr=0.2, cycle_length=25)
    _, snapshots = fit(Schedule(value))
    assert snapshots.steps_ == [25, 50]


def test_verbose_prints_a_line_a_snapshot(capsys):
    net = make_classifier(callbacks=[SnapshotCosine(n_cycles=2), Snapshots(verbose=1)])
    net.fit(X_DIGITS, Y_DIGITS)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "Snapshot 1 taken after step 30 (epoch 3).",
        "Snapshot 2 taken after step 60 (epoch 6).",
    ]


class CutAfter(Callback):
    def __init__(self, n_batches):
        self.n_batches = n_batches

    def on_batch_end(self, net, **kwargs):
        if len(net.history) == 1 and len(net.history[-1, "batches"]) == self.n_batches:
            raise KeyboardInterrupt


def test_none_is_lost_after_an_interruption_and_a_changed_batch_size():
    snapshots = Snapshots()
    callbacks = [SnapshotCosine(n_cycles=2, n_epochs=6), snapshots, CutAfter(3)]
    net = make_classifier(callbacks=callbacks).fit(X_DIGITS, Y_DIGITS)
    net.set_params(batch_size=100)
    with pytest.warns(UserWarning, match="past the 30 steps"):
        net.partial_fit(X_DIGITS, Y_DIGITS)
    # Of 3/10 of an epoch and six epochs of 5 steps; steps stand at halves.
    assert net.history[-1, "lr"] > 0
    assert snapshots.steps_ == [15, 30]
