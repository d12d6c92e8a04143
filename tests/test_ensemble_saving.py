"""A fitted ensemble goes through files, pickle, joblib and skops, and says the same."""

import pickle
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from nets import X_DIGITS, Y_DIGITS, make_classifier, make_regressor
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import scale
from skorch.dataset import ValidSplit
from torch import nn

from sklr import SnapshotEnsemble, SnapshotEnsembleRegressor
from sklr._checkpoint._files import CheckpointError

WORDS = np.array(list("jihgfedcba"))[Y_DIGITS]
COLUMNS = [f"pixel {i}" for i in range(64)]
FRAME = pd.DataFrame(X_DIGITS.astype(float), columns=COLUMNS)


def make(**params):
    net = make_classifier(train_split=ValidSplit(5, stratified=True), **params)
    return SnapshotEnsemble(net, n_snapshots=3, weights="greedy", random_state=0)


def check_members(loaded, saved):
    """Require the same weights; where they lie in memory may change how products are rounded."""
    pairs = zip(loaded.estimators_, saved.estimators_, strict=True)
    for new, old in pairs:
        torch.testing.assert_close(
            new.module_.state_dict(), old.module_.state_dict(), rtol=0, atol=0
        )


@pytest.fixture(scope="module")
def fitted():
    return make().fit(FRAME, WORDS)


@pytest.mark.parametrize("labels", [WORDS, Y_DIGITS + 3, Y_DIGITS % 2 == 0], ids=lambda y: y.dtype)
def test_what_is_loaded_says_the_same(labels, tmp_path):
    saved = make().fit(FRAME, labels)
    saved.save(tmp_path)
    loaded = make().load(tmp_path)
    check_members(loaded, saved)
    np.testing.assert_allclose(
        loaded.predict_proba(FRAME), saved.predict_proba(FRAME), rtol=1e-5, atol=1e-8
    )
    np.testing.assert_array_equal(loaded.predict(FRAME), saved.predict(FRAME))
    assert loaded.predict(FRAME).dtype == saved.predict(FRAME).dtype
    assert list(loaded.feature_names_in_) == COLUMNS
    assert list(loaded.named_estimators_) == list(saved.named_estimators_)
    for name in ("weights_", "member_scores_", "classes_"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(saved, name))
    np.testing.assert_array_equal(loaded.diversity_.correlation, saved.diversity_.correlation)
    assert loaded.history_ == saved.history_
    assert loaded.snapshot_steps_ == saved.snapshot_steps_
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    assert loaded.to_voting().score(FRAME, labels) == saved.score(FRAME, labels)


def test_a_regressor(tmp_path):
    X, y = (scale(part) for part in load_diabetes(return_X_y=True))
    ensemble = SnapshotEnsembleRegressor(make_regressor(), n_snapshots=2, random_state=0)
    saved = clone(ensemble).fit(X, y)
    saved.save(tmp_path)
    check_members(ensemble.load(tmp_path), saved)
    np.testing.assert_allclose(ensemble.predict(X), saved.predict(X), rtol=1e-5, atol=1e-6)
    assert ensemble.member_scores_ is None


def test_weights_of_another_module_and_ensembles_of_another_kind_are_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    with pytest.raises(CheckpointError, match="do not fit the module"):
        make(module__n_hidden=17).load(tmp_path)
    with pytest.raises(CheckpointError, match="holds no SnapshotEnsembleRegressor but a Snapshot"):
        SnapshotEnsembleRegressor(make_regressor()).load(tmp_path)
    with pytest.raises(CheckpointError, match=r"manifest.json is missing"):
        make().load(tmp_path / "elsewhere")
    with pytest.raises(NotFittedError):
        make().save(tmp_path)


def files_of(ensemble):
    """Give what each parameter of the first member lies in: the name of a file, if it is one."""
    places = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    ranges = [
        (*(int(end, 16) for end in p[0].split("-")), p[5] if len(p) > 5 else "") for p in places
    ]

    def file_of(address):
        return next(Path(file).name for low, high, file in ranges if low <= address < high)

    return [file_of(p.data_ptr()) for p in ensemble.estimators_[0].module_.parameters()]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="shows mappings as Linux does")
def test_loaded_weights_lie_in_the_files(fitted, tmp_path):
    fitted.save(tmp_path)
    loaded = make().load(tmp_path)
    (file,) = {path.name for path in tmp_path.glob("snapshot_1-*.safetensors")}
    assert files_of(loaded) == [file] * 4
    assert file not in files_of(fitted)


class Tied(nn.Module):
    """Reads and writes with the same weights."""

    def __init__(self):
        super().__init__()
        self.write = nn.Linear(10, 64, bias=False)
        self.read = nn.Linear(10, 64, bias=False)
        self.read.weight = self.write.weight
        self.norm = nn.BatchNorm1d(10)

    def forward(self, X):
        return self.norm(X @ self.read.weight) @ self.write.weight.T[:, :10]


def test_a_loaded_member_trains_on_and_leaves_the_files(tmp_path):
    saved = SnapshotEnsemble(make_classifier(Tied, lr=0.1), n_snapshots=2, random_state=0)
    saved.fit(X_DIGITS, Y_DIGITS).save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    loaded = clone(saved).load(tmp_path)
    old, new = (ensemble.estimators_[0] for ensemble in (saved, loaded))
    for member in (old, new):
        torch.manual_seed(0)
        member.partial_fit(X_DIGITS, Y_DIGITS)
    module = new.module_
    assert module.read.weight is module.write.weight
    torch.testing.assert_close(module.state_dict(), old.module_.state_dict(), rtol=0, atol=0)
    assert not torch.equal(module.read.weight, loaded.estimators_[1].module_.read.weight)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    again = clone(saved).load(tmp_path)
    assert not torch.equal(again.estimators_[0].module_.read.weight, module.read.weight)


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_skops(fitted, kind):
    ensemble, X = fitted, FRAME
    if kind == "regressor":
        X, y = (scale(part) for part in load_diabetes(return_X_y=True))
        net = make_regressor()
        ensemble = SnapshotEnsembleRegressor(net, n_snapshots=2, random_state=0).fit(X, y)
    written = skops.io.dumps(ensemble)
    again = skops.io.loads(written, trusted=skops.io.get_untrusted_types(data=written))
    np.testing.assert_array_equal(again.predict(X), ensemble.predict(X))
    np.testing.assert_array_equal(again.transform(X), ensemble.transform(X))


@pytest.mark.parametrize("through", [pickle, joblib])
def test_pickle_and_joblib(fitted, through, tmp_path):
    path = tmp_path / "ensemble"
    if through is pickle:
        again = pickle.loads(pickle.dumps(fitted))
    else:
        joblib.dump(fitted, path)
        again = joblib.load(path)
    np.testing.assert_array_equal(again.predict_proba(FRAME), fitted.predict_proba(FRAME))
