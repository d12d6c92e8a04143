"""What goes wrong in a range test reaches the user, and leaves nothing behind."""

import math
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier, make_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sklr import CyclicalLR, LRRangeSearch, RangeTestError
from sklr.range_search._budget import allowed_steps

# Two ramps, and a few whole trainings.
PARAMS = {"n_repeats": 2, "n_steps": 40, "random_state": 0, "budget": 11}


def search(estimator=None, X=X_DIGITS, y=Y_DIGITS, **params):
    estimator = make_classifier(max_epochs=3) if estimator is None else estimator
    return LRRangeSearch(estimator, **(PARAMS | params)).fit(X, y)


class Broken(MLP):
    """Raises an error in some step of a training."""

    error: BaseException

    def __init__(self):
        super().__init__()
        self.steps = 0

    def forward(self, X):
        self.steps += self.training
        if self.steps == 37:
            raise self.error
        return super().forward(X)


class RaisesAt37(Broken):
    error = RuntimeError("step 37")


class InterruptedAt37(Broken):
    error = KeyboardInterrupt()


class NaNAt37(Broken):
    def forward(self, X):
        self.steps += self.training
        return MLP.forward(self, X) * (math.nan if self.steps >= 37 else 1)


class RaisesAtOnce(MLP):
    def forward(self, X):
        raise RuntimeError("no forward")


def state():
    """Give everything global that a search might move."""
    return (
        torch.get_rng_state().numpy().tobytes(),
        pickle.dumps(np.random.get_state()),  # noqa: NPY002
        pickle.dumps(random.getstate()),
        torch.get_num_threads(),
        threading.active_count(),
        os.getcwd(),
        sorted(os.listdir()),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
    )


@pytest.mark.parametrize("module", [RaisesAt37, InterruptedAt37, NaNAt37, RaisesAtOnce, MLP])
@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.filterwarnings("ignore:The range test has no answer")
def test_nothing_is_left_behind_however_it_ends(module, refit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    callbacks = [("lr", CyclicalLR(step_size=1))]
    estimator = make_pipeline(StandardScaler(), make_classifier(module, callbacks=callbacks))
    before, pickled = state(), pickle.dumps(estimator)
    fitted = LRRangeSearch(estimator, refit=refit, **(PARAMS | {"budget": 7}))
    # An exception after some steps is a divergence in ramps and trials, but not in the refit.
    if module in (MLP, NaNAt37) or (module is RaisesAt37 and not refit):
        fitted.fit(X_DIGITS, Y_DIGITS)
    else:
        # The dry run tells of what torch raises at once, with the shape of the data.
        kind = ValueError if module is RaisesAtOnce else RuntimeError
        text = r"step 37|before the ramp\. It has|cannot predict X of shape .*: no forward"
        with pytest.raises(kind, match=text):
            fitted.fit(X_DIGITS, Y_DIGITS)
        assert not hasattr(fitted, "best_estimator_")
    assert pickle.dumps(estimator) == pickled
    assert state() == before


def test_a_loss_that_turns_nan_ends_the_ramp_and_is_reported():
    found = search(make_classifier(NaNAt37), verify=False, extend=False, n_steps=60).suggestion_
    # The 37th loss is the first that is none.
    assert found.cost_steps == 2 * 37
    assert "not a finite number" in found.message


def test_trials_that_turn_nan_are_never_the_answer():
    fitted = search(make_classifier(NaNAt37), extend=False, n_steps=30, max_lr=1.0, budget=7)
    assert fitted.trials_["lr"].size
    assert np.isinf(fitted.trials_["loss"]).any()
    assert fitted.suggestion_.status == "failed"
    assert math.isnan(fitted.suggestion_.lr)
    assert fitted.suggestion_.params == {}
    assert "Every trial diverged" in fitted.suggestion_.message


class KilledWorker(MLP):
    def __init__(self, parent):
        super().__init__()
        self.parent = parent

    def forward(self, X):
        if self.training and os.getpid() != self.parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(X)


@pytest.mark.slow
def test_a_killed_worker_is_reported_and_the_next_search_works(tmp_path, monkeypatch):
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    monkeypatch.chdir(tmp_path)
    estimator = make_classifier(KilledWorker, module__parent=os.getpid())
    before, pickled = state()[:4], pickle.dumps(estimator)
    with pytest.raises(TerminatedWorkerError):
        search(estimator, n_jobs=2)
    assert state()[:4] == before
    assert pickle.dumps(estimator) == pickled
    assert os.listdir() == []
    assert search(n_jobs=2).suggest().status == "ok"


def test_two_searches_at_once_in_one_process_do_not_meet():
    def run(seed):
        return search(random_state=seed).results_["loss"]

    alone = [run(seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(run, range(3)))
    for expected, found in zip(alone, together, strict=True):
        np.testing.assert_array_equal(found, expected)


IN_ANOTHER_PROCESS = """
import sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from nets import X_DIGITS, Y_DIGITS, make_classifier
from sklr import LRRangeSearch
search = LRRangeSearch(make_classifier(max_epochs=3), **{params!r}).fit(X_DIGITS, Y_DIGITS)
print(search.results_["loss"].tobytes().hex())
"""


@pytest.mark.slow
def test_two_searches_at_once_in_two_processes_do_not_meet(tmp_path):
    code = IN_ANOTHER_PROCESS.format(tests=os.path.dirname(__file__), params=PARAMS)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    expected = search().results_["loss"].tobytes().hex()
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert out.strip() == expected
    assert os.listdir(tmp_path) == []


def test_one_class():
    with pytest.raises(ValueError, match="only one class"):
        search(y=np.zeros_like(Y_DIGITS))


@pytest.mark.parametrize("steps", [[], [StandardScaler()]], ids=["net", "pipeline"])
def test_five_samples(steps):
    X, y = load_diabetes(return_X_y=True)
    estimator = make_pipeline(*steps, make_regressor()) if steps else make_regressor()
    found = LRRangeSearch(estimator, budget=1.5, random_state=0).fit(X[:5], y[:5]).suggestion_
    assert "no candidate was verified" in found.message
    assert found.cost_steps <= 1.5 * 10
    if steps:
        return
    # Ten epochs of one batch: as many steps as a short training gets buy trials on five splits.
    fitted = LRRangeSearch(estimator, random_state=0).fit(X[:5], y[:5])
    assert set(fitted.trials_["split"]) == {0, 1, 2, 3, 4}
    assert fitted.trials_["steps"].max() == 10
    assert fitted.suggestion_.cost_steps <= allowed_steps(10, "auto")


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_five_samples_of_four_classes():
    net, params = make_classifier(), {"n_steps": 60, "budget": 20}
    found = search(net, X_DIGITS[:5], np.array([0, 1, 2, 3, 3]), **params).suggestion_
    # Six epochs of one batch each: the budget is 120 steps.
    assert (found.status, found.cost_steps) == ("ok", 120)


@pytest.mark.parametrize("scaled", [False, True])
def test_constant_data(scaled):
    net = make_classifier(max_epochs=3)
    estimator = make_pipeline(StandardScaler(), net) if scaled else net
    found = search(estimator, X=np.ones_like(X_DIGITS)).suggestion_
    assert found.message
    assert math.isfinite(found.lr) == (found.status in ("ok", "no_divergence"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["net", "pipeline", "target"])
def test_data_that_are_not_finite(value, where):
    X, y = (array.astype(np.float32) for array in load_diabetes(return_X_y=True))
    X[3, 4] = value
    estimator = {
        "net": make_regressor(),
        "pipeline": make_pipeline(StandardScaler(), make_regressor()),
        "target": TransformedTargetRegressor(make_regressor()),
    }[where]
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        LRRangeSearch(estimator).fit(X, y)


def test_targets_that_are_not_finite():
    X, y = load_diabetes(return_X_y=True)
    y[3] = math.nan
    with pytest.raises(ValueError, match="Input y contains NaN"):
        LRRangeSearch(make_regressor()).fit(X, y)


def test_lengths_that_differ():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        search(X=X_DIGITS[:-1])


def test_missing_targets():
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        search(y=None)


def test_no_samples():
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        search(X=X_DIGITS[:0], y=Y_DIGITS[:0])


class StopsAfterAnEpoch(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def test_a_callback_that_ends_a_ramp_is_named_in_workers_too():
    with pytest.raises(RangeTestError, match=r"ended the training before the ramp.*stops"):
        search(make_classifier(callbacks=[("stops", StopsAfterAnEpoch())]), n_jobs=2)


def test_a_fit_that_fails_leaves_nothing_of_the_fit_before():
    fitted = search(refit=True)
    with pytest.raises(ValueError, match="only one class"):
        fitted.fit(X_DIGITS, np.zeros_like(Y_DIGITS))
    for name in ("suggestion_", "best_estimator_", "best_params_"):
        assert not hasattr(fitted, name)


def test_what_the_net_would_not_take_itself_is_said():
    names = np.array([f"digit {label}" for label in Y_DIGITS])
    found = search(X=X_DIGITS.astype(float), y=names).suggestion_
    assert "labels as 0, 1, ..." in found.message
    assert "X of float64 in the net's dtype" in found.message
    assert "refit=True" in found.message
    assert "The net was given" not in search().suggestion_.message


@pytest.mark.parametrize("row", [0, 499])
def test_a_nan_among_the_held_out_rows_is_found_too(row):
    X = X_DIGITS.astype(float)
    X[row, 3] = math.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        search(make_pipeline(StandardScaler(), make_classifier()), X=X)


def test_two_schedules():
    net = make_classifier(callbacks=[("a", CyclicalLR()), ("b", CyclicalLR())])
    with pytest.raises(ValueError, match="hold at most one schedule"):
        search(net)


def test_a_suggestion_prints_in_lines():
    found = search().suggestion_
    lines = str(found).splitlines()
    assert lines[0] == f"ok: {found.message}"
    assert lines[-2] == f"lr={found.lr:.3g}"
    assert lines[-1].startswith(f"{found.cost_steps} steps, ")
