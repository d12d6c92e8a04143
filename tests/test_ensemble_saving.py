"""A fitted ensemble goes through files, pickle and joblib, and says the same."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from nets import X_DIGITS, Y_DIGITS, make_classifier, make_regressor
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import scale
from skorch.dataset import ValidSplit

from sklr import SnapshotEnsemble, SnapshotEnsembleRegressor
from sklr.ensemble._files import CheckpointError

WORDS = np.array(list("jihgfedcba"))[Y_DIGITS]
COLUMNS = [f"pixel {i}" for i in range(64)]
FRAME = pd.DataFrame(X_DIGITS.astype(float), columns=COLUMNS)


def make(**params):
    net = make_classifier(train_split=ValidSplit(5, stratified=True), **params)
    return SnapshotEnsemble(net, n_snapshots=3, weights="greedy", random_state=0)


@pytest.fixture(scope="module")
def fitted():
    return make().fit(FRAME, WORDS)


@pytest.mark.parametrize("labels", [WORDS, Y_DIGITS + 3, Y_DIGITS % 2 == 0], ids=lambda y: y.dtype)
def test_what_is_loaded_says_the_same(labels, tmp_path):
    saved = make().fit(FRAME, labels)
    saved.save(tmp_path)
    loaded = make().load(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(FRAME), saved.predict_proba(FRAME))
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
    np.testing.assert_array_equal(ensemble.load(tmp_path).predict(X), saved.predict(X))
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


@pytest.mark.parametrize("through", [pickle, joblib])
def test_pickle_and_joblib(fitted, through, tmp_path):
    path = tmp_path / "ensemble"
    if through is pickle:
        again = pickle.loads(pickle.dumps(fitted))
    else:
        joblib.dump(fitted, path)
        again = joblib.load(path)
    np.testing.assert_array_equal(again.predict_proba(FRAME), fitted.predict_proba(FRAME))
