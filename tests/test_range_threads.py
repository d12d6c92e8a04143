"""Under threads nothing hangs that trains within the user's own code."""

import threading

import numpy as np
import pytest
from joblib import parallel_config
from nets import X_DIGITS, Y_DIGITS, make_classifier
from sklearn.pipeline import make_pipeline
from skorch.dataset import ValidSplit

from sklr import LRRangeSearch, SnapshotEnsemble

PARAMS = {"n_repeats": 2, "n_steps": 20, "random_state": 0, "verify": False, "budget": 2}
X, Y = X_DIGITS[:200], Y_DIGITS[:200]


def ensemble():
    net = make_classifier(max_epochs=2)
    return SnapshotEnsemble(net, n_snapshots=1, n_runs=2, n_jobs=2, random_state=0)


def as_scorer(estimator, X, y):
    # A scorer may train whatever it likes.
    ensemble().fit(X_DIGITS[:50], Y_DIGITS[:50])
    return float((estimator.predict(X) == y).mean())


def as_split(dataset, y=None):
    ensemble().fit(X_DIGITS[:50], Y_DIGITS[:50])
    return ValidSplit(5)(dataset, y)


SEARCHES = {
    "preprocessing": lambda: LRRangeSearch(
        make_pipeline(ensemble(), make_classifier(module__n_inputs=20)), refit=True, **PARAMS
    ),
    "scorer": lambda: LRRangeSearch(
        make_classifier(max_epochs=2), scoring=as_scorer, **(PARAMS | {"n_steps": 10})
    ),
    "split": lambda: LRRangeSearch(make_classifier(train_split=as_split), **PARAMS),
    "search": lambda: LRRangeSearch(
        make_pipeline(LRRangeSearch(make_classifier(), n_jobs=2, **PARAMS), make_classifier()),
        **PARAMS,
    ),
}


@pytest.mark.filterwarnings("ignore:The range test has no answer")
@pytest.mark.parametrize("kind", SEARCHES)
def test_trainings_within_have_their_turn(kind):
    results = []

    def run(n_jobs):
        with parallel_config(backend="threading", n_jobs=n_jobs):
            results.append(SEARCHES[kind]().fit(X, Y).results_["loss"])

    for n_jobs in (1, 2):
        # Of a daemon thread a hang is a failure, and not the end of all tests.
        thread = threading.Thread(target=run, args=(n_jobs,), daemon=True)
        thread.start()
        thread.join(timeout=300)
        assert not thread.is_alive()
    np.testing.assert_array_equal(*results)
