"""A fit with checkpoints that is interrupted goes on, and ends as if it had not been."""

import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import X_DIGITS, Y_DIGITS, make_classifier, make_regressor
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochScoring,
    Freezer,
    GradientNormClipping,
)
from skorch.dataset import ValidSplit
from torch import nn
from torch.optim import SGD, Adam
from torch.utils.data import Dataset

from sklr import SGDR, SnapshotEnsemble, SnapshotEnsembleRegressor
from sklr._checkpoint import CheckpointError, _files

# Trainings of a few epochs: their first members are poor, and that is not what is looked at.
pytestmark = pytest.mark.filterwarnings("ignore:The last . of . members")


class Breaking(nn.Module):
    """BatchNorm and dropout; Ctrl-C, or another signal, comes in some training step."""

    step = 0
    breaks_at = None
    signal = signal.SIGINT

    def __init__(self, n_outputs=10):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 10)
        )

    def forward(self, X):
        Breaking.step += self.training
        if Breaking.step == Breaking.breaks_at:
            signal.raise_signal(Breaking.signal)
        return self.layers(X)


def make(folder, optimizer=SGD, schedule=None, **params):
    momentum = {"optimizer__momentum": 0.9} if optimizer is SGD else {}
    net = make_classifier(
        Breaking,
        optimizer=optimizer,
        lr=0.05,
        **{"train_split": ValidSplit(5, stratified=True), **momentum, **params},
    )
    return SnapshotEnsemble(
        net, n_snapshots=3, schedule=schedule, checkpoint_dir=folder, random_state=0
    )


def fit(ensemble, breaks_at=None):
    Breaking.step, Breaking.breaks_at = 0, breaks_at
    try:
        return ensemble.fit(X_DIGITS, Y_DIGITS)
    finally:
        Breaking.breaks_at = None


def vectors(ensemble):
    return [
        {name: value.clone() for name, value in member.module_.state_dict().items()}
        for member in ensemble.estimators_
    ]


def assert_same(first, second):
    for one, two in zip(vectors(first), vectors(second), strict=True):
        for name, value in one.items():
            assert torch.equal(value, two[name]), name
    assert [row["train_loss"] for row in first.history_] == [
        row["train_loss"] for row in second.history_
    ]
    assert first.snapshot_steps_ == second.snapshot_steps_


@pytest.mark.parametrize(
    ("optimizer", "schedule"), [(SGD, None), (Adam, SGDR(cycle_length=2))], ids=["default", "SGDR"]
)
def test_a_fit_interrupted_in_any_epoch_ends_as_if_it_had_not_been(optimizer, schedule, tmp_path):
    whole = fit(make(None, optimizer, schedule))
    # 8 batches an epoch, 6 epochs; the last interruption is in the last batch.
    for breaks_at in (3, 12, 24, 33, 48):
        folder = tmp_path / str(breaks_at)
        with pytest.raises(KeyboardInterrupt):
            fit(make(folder, optimizer, schedule), breaks_at)
        again = make(folder, optimizer, schedule)
        fit(again)
        # No epoch before the one that was interrupted is trained again.
        assert Breaking.step == 48 - (breaks_at - 1) // 8 * 8
        assert_same(whole, again)


def test_several_interruptions_and_a_finished_fit(tmp_path):
    whole = fit(make(None))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            fit(make(tmp_path), breaks_at=11)
    assert_same(whole, fit(make(tmp_path)))
    assert_same(whole, fit(make(tmp_path)))
    assert Breaking.step == 0


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [2])
def test_loading_in_other_processes(n_workers, tmp_path):
    params = {"iterator_train__num_workers": n_workers}
    whole = fit(make(None, **params))
    with pytest.raises(KeyboardInterrupt):
        fit(make(tmp_path, **params), breaks_at=20)
    assert_same(whole, fit(make(tmp_path, **params)))


def test_without_a_seed_that_of_the_interrupted_fit_is_taken_up(tmp_path):
    ensemble = make(tmp_path).set_params(random_state=None)
    np.random.seed(5)  # noqa: NPY002
    with pytest.raises(KeyboardInterrupt):
        fit(clone(ensemble), breaks_at=20)
    np.random.seed(6)  # noqa: NPY002
    again = fit(clone(ensemble))
    np.random.seed(5)  # noqa: NPY002
    assert_same(fit(clone(ensemble).set_params(checkpoint_dir=None)), again)


def test_a_regressor_and_several_runs(tmp_path):
    X, y = (scale(part) for part in load_diabetes(return_X_y=True))
    ensemble = SnapshotEnsembleRegressor(
        make_regressor(), n_snapshots=2, n_runs=2, checkpoint_dir=tmp_path, random_state=0
    )
    first = clone(ensemble).fit(X, y).predict(X)
    plain = clone(ensemble).set_params(checkpoint_dir=None).fit(X, y).predict(X)
    np.testing.assert_array_equal(first, plain)
    np.testing.assert_array_equal(clone(ensemble).set_params(n_jobs=2).fit(X, y).predict(X), plain)


def test_fits_of_other_data_seeds_and_nets_do_not_meet(tmp_path):
    fit(make(tmp_path))
    for other in (
        make(tmp_path).set_params(random_state=1),
        make(tmp_path, batch_size=40),
        make(tmp_path, Adam),
        make(tmp_path).set_params(n_snapshots=2),
    ):
        fit(other)
        assert Breaking.step > 0
    make(tmp_path).fit(X_DIGITS + 1, Y_DIGITS)
    make(tmp_path).fit(X_DIGITS, Y_DIGITS[::-1].copy())
    make(tmp_path).fit(X_DIGITS, Y_DIGITS, sample_weight=np.arange(500.0))
    assert len(list(tmp_path.iterdir())) == 8
    fit(make(tmp_path))
    assert Breaking.step == 0


def test_another_default_schedule_is_another_training(tmp_path, monkeypatch):
    """As it would be in another version of sklr."""
    before = fit(make(tmp_path)).snapshot_steps_
    monkeypatch.setattr("sklr.ensemble._parameters.DEFAULT_PRETRAINING", 0.3)
    again = fit(make(tmp_path))
    assert Breaking.step > 0
    assert again.snapshot_steps_ != before
    assert_same(again, fit(make(None)))


class Items(Dataset):
    """A Dataset of the user's own."""

    def __init__(self, X, y):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i], self.y[i]


def test_other_items_of_a_dataset_of_ones_own_are_another_training(tmp_path):
    changed = X_DIGITS.copy()
    changed[333, 33] += 1
    for X, is_new in ((X_DIGITS, True), (X_DIGITS, False), (changed, True), (changed, False)):
        Breaking.step = 0
        make(tmp_path, train_split=None).fit(Items(X, Y_DIGITS), Y_DIGITS)
        assert (Breaking.step > 0) == is_new


class Moves(Callback):
    """A callback that changes the working directory."""

    def __init__(self, to):
        self.to = to

    def on_epoch_begin(self, net, **kwargs):
        os.chdir(self.to)


def test_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    away = tmp_path / "away"
    away.mkdir()
    for breaks_at in (20, None):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(KeyboardInterrupt) if breaks_at else nullcontext():
            fit(make("runs", callbacks=[Moves(str(away))]), breaks_at)
    assert Breaking.step == 48 - 16
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert not list(away.iterdir())


class Counts(Callback):
    def initialize(self):
        self.count_ = 0
        return self


class Prints(Callback):
    def on_epoch_end(self, net, **kwargs):
        pass


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"callbacks": [("stop", EarlyStopping())]}, "no callback with a state.*'stop'"),
        ({"callbacks": [("counts", Counts())]}, "no callback with a state.*'counts'"),
        (
            {"iterator_train__num_workers": 1, "iterator_train__persistent_workers": True},
            "'iterator_train__persistent_workers' parameter .* False",
        ),
    ],
)
def test_what_could_not_go_on_is_refused_by_name_before_training(params, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        fit(make(tmp_path, **params))
    assert Breaking.step == 0


def test_callbacks_without_a_state_are_welcome(tmp_path):
    callbacks = [
        Freezer("layers.0.*"),
        GradientNormClipping(1.0),
        Prints(),
        EpochScoring("accuracy", name="own"),
    ]
    with pytest.raises(KeyboardInterrupt):
        fit(make(tmp_path, callbacks=callbacks), breaks_at=20)
    assert_same(fit(make(None, callbacks=callbacks)), fit(make(tmp_path, callbacks=callbacks)))


@pytest.fixture
def interrupted(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(make(tmp_path), breaks_at=40)
    (run,) = tmp_path.glob("*/run_1")
    return tmp_path, run


@pytest.mark.parametrize(
    ("part", "damage"),
    [("module", "truncated"), ("optimizer", "altered"), ("snapshot_1", "missing")],
)
def test_a_damaged_file_is_named_and_never_loaded(interrupted, damage, part):
    folder, run = interrupted
    (path,) = run.glob(f"{part}-*.safetensors")
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if damage == "truncated" else data[:-1] + b"x")
    with pytest.raises(CheckpointError, match=f"{path.name}.*{damage}"):
        fit(make(folder))
    assert Breaking.step == 0


def test_a_folder_in_use_is_refused(interrupted):
    folder, run = interrupted
    with _files.locked(run), pytest.raises(CheckpointError, match="in use by another training"):
        fit(make(folder))
    assert_same(fit(make(None)), fit(make(folder)))


def test_nothing_is_unpickled_and_what_is_not_ours_stays(interrupted):
    folder, run = interrupted
    names = {path.suffix for path in run.iterdir()}
    assert names == {".json", ".safetensors", ""}
    (run / "notes.txt").write_text("mine")
    fit(make(folder))
    assert (run / "notes.txt").read_text() == "mine"
    manifest = json.loads((run / "manifest.json").read_text())
    kept = {entry["file"] for entry in manifest["files"].values()}
    assert {path.name for path in run.glob("*.safetensors")} == kept


FULL_DISK = """
import resource, signal, sys
sys.path.insert(0, {tests!r})
from test_ensemble_durable import fit, make
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
fit(make({folder!r}))
"""


def test_a_full_disk_is_told_and_what_was_written_stays(interrupted):
    folder, run = interrupted
    limit = 2_000  # smaller than the weights
    code = FULL_DISK.format(tests=str(Path(__file__).parent), limit=limit, folder=str(folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "could not be written" in done.stderr
    assert not list(run.glob("*.tmp"))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != limit
    assert_same(fit(make(None)), fit(make(folder)))


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
import test_ensemble_durable as tests
tests.Breaking.signal = signal.SIGKILL
writes = 0
from sklr._checkpoint import _files
replace = _files._replace
def dies_writing(path, data):
    global writes
    writes += 1
    if writes == {write}:
        path.with_name(path.name + ".tmp").write_bytes(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    replace(path, data)
_files._replace = dies_writing
tests.fit(tests.make({folder!r}), breaks_at={step})
"""


@pytest.mark.slow
def test_killed_at_twenty_moments_it_ends_as_if_it_had_not_been(tmp_path):
    whole = fit(make(None))
    rng = np.random.default_rng(0)
    for trial in range(20):
        folder = tmp_path / str(trial)
        # In a training step, or while a file is being written.
        step, write = (rng.integers(1, 49), -1) if trial % 2 else (-1, rng.integers(2, 25))
        code = KILLED.format(
            tests=str(Path(__file__).parent), folder=str(folder), step=step, write=write
        )
        done = subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
        assert done.returncode == -signal.SIGKILL
        assert_same(whole, fit(make(folder)))
        # Of 48 steps, those of the epochs before are not done again.
        assert Breaking.step <= 48 - (max(step, 0) - 1) // 8 * 8


@pytest.mark.parametrize("where", [3, b"x"])
def test_checkpoint_dir_is_a_path(where):
    with pytest.raises(TypeError, match="The 'checkpoint_dir' parameter of SnapshotEnsemble must"):
        fit(make(where))
