"""Several runs of an ensemble, and what scikit-learn's callbacks are told of them."""

import numpy as np
import pytest
import torch
from nets import X_DIGITS, Y_DIGITS, make_classifier, weights
from sklearn.base import clone
from sklearn.callback import ProgressBar
from test_range_manners import Told

from sklr import SnapshotEnsemble


def ensemble(**params):
    defaults = {"n_snapshots": 2, "n_runs": 3, "random_state": 0}
    return SnapshotEnsemble(make_classifier(), **(defaults | params))


def test_the_first_run_is_that_of_one_run_and_the_others_differ():
    several = ensemble().fit(X_DIGITS, Y_DIGITS)
    one = ensemble(n_runs=1).fit(X_DIGITS, Y_DIGITS)
    assert list(several.named_estimators_) == [
        f"run_{run}_snapshot_{i}" for run in (1, 2, 3) for i in (1, 2)
    ]
    vectors = [weights(member) for member in several.estimators_]
    for vector, member in zip(vectors, one.estimators_, strict=False):
        assert torch.equal(vector, weights(member))
    assert len({vector.sum().item() for vector in vectors}) == 6
    assert len(several.histories_) == 3
    assert several.history_ is several.histories_[0]


@pytest.mark.parametrize("n_jobs", [2])
def test_runs_are_the_same_for_every_n_jobs(n_jobs):
    one = ensemble().fit(X_DIGITS, Y_DIGITS)
    two = ensemble(n_jobs=n_jobs).fit(X_DIGITS, Y_DIGITS)
    np.testing.assert_array_equal(one.predict_proba(X_DIGITS), two.predict_proba(X_DIGITS))


def test_members_of_each_run_and_weights_of_all():
    fitted = ensemble(n_members=1, weights=[1, 2, 3]).fit(X_DIGITS, Y_DIGITS)
    outputs = fitted.set_params(flatten_transform=False).transform(X_DIGITS)
    assert outputs.shape == (3, 500, 10)
    np.testing.assert_allclose(
        fitted.predict_proba(X_DIGITS), np.average(outputs, axis=0, weights=[1, 2, 3]), rtol=1e-6
    )
    with pytest.raises(ValueError, match="a sequence of 3 numbers"):
        ensemble(n_members=1, weights=[1]).fit(X_DIGITS, Y_DIGITS)


def test_staged_answers_take_the_last_members_of_every_run():
    fitted = ensemble().fit(X_DIGITS, Y_DIGITS)
    outputs = clone(fitted).set_params(flatten_transform=False).fit(X_DIGITS, Y_DIGITS)
    outputs = outputs.transform(X_DIGITS)
    stages = list(fitted.staged_predict_proba(X_DIGITS))
    assert len(stages) == 2
    np.testing.assert_allclose(stages[0], outputs[[1, 3, 5]].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(stages[1], fitted.predict_proba(X_DIGITS), rtol=1e-6)


@pytest.mark.parametrize("n_runs", [0, 1.0, True, None])
def test_impossible_numbers_of_runs(n_runs):
    with pytest.raises((TypeError, ValueError), match="The 'n_runs' parameter of SnapshotEnsemble"):
        ensemble(n_runs=n_runs).fit(X_DIGITS, Y_DIGITS)


def test_callbacks_are_told_of_runs_and_epochs():
    told = Told()
    ensemble(n_runs=2).set_callbacks(told).fit(X_DIGITS, Y_DIGITS)
    assert told.tasks.count("begin runs, each") == told.tasks.count("end runs, each") == 2
    assert told.tasks.count("begin epoch") == told.tasks.count("end epoch") == 2 * 6


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_scikit_learns_progress_bar(n_jobs, capsys):
    with_bar = ensemble(n_jobs=n_jobs).set_callbacks(ProgressBar()).fit(X_DIGITS, Y_DIGITS)
    assert "SnapshotEnsemble" in capsys.readouterr().out
    plain = ensemble().fit(X_DIGITS, Y_DIGITS)
    np.testing.assert_array_equal(with_bar.predict_proba(X_DIGITS), plain.predict_proba(X_DIGITS))
    # What was told of the epochs stays behind.
    assert not any("sklr" in name for name, _ in with_bar.estimators_[0].callbacks or [])
