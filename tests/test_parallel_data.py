"""Data travels to workers once: as plain arguments of tasks, which joblib's backends know."""

import pickle

import cloudpickle
import numpy as np
import pytest
from joblib import parallel_config
from nets import make_classifier
from skorch.dataset import ValidSplit

from sklr import LRRangeSearch, SnapshotCosine, SnapshotEnsemble
from sklr._training import _parallel

rng = np.random.default_rng(0)
X = rng.normal(size=(4_000, 64)).astype(np.float32)
Y = rng.integers(0, 10, len(X))


def estimators(**params):
    net = make_classifier(batch_size=200, max_epochs=4, train_split=ValidSplit(5))
    yield LRRangeSearch(net, n_repeats=2, budget=20, n_steps=20, random_state=0, **params)
    schedule = SnapshotCosine(n_cycles=2)
    yield SnapshotEnsemble(net, schedule=schedule, n_runs=2, random_state=0, **params)


@pytest.mark.parametrize("estimator", list(estimators()), ids=lambda e: type(e).__name__)
@pytest.mark.filterwarnings("ignore:The last")
# The labels are random.
@pytest.mark.filterwarnings("ignore:None of the")
def test_what_goes_to_a_worker_beside_the_data_is_small(estimator, monkeypatch):
    run, calls = _parallel.Tasks.run, []

    def recorded(self, name, function, arguments, **options):
        calls.extend(arguments)
        return run(self, name, function, arguments, **options)

    monkeypatch.setattr(_parallel.Tasks, "run", recorded)
    estimator.fit(X, Y)
    assert calls
    for arguments in calls:
        plain = [a for a in arguments if isinstance(a, np.ndarray)]
        assert any(np.shares_memory(a, X) for a in plain)
        rest = [a for a in arguments if not isinstance(a, np.ndarray)]
        # Rows and, after a first rung, a trained net; never the data.
        assert len(cloudpickle.dumps(rest)) < X.nbytes / 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The last")
@pytest.mark.filterwarnings("ignore:None of the")
def test_dask_sends_the_data_once_to_each_worker(monkeypatch):
    distributed = pytest.importorskip("distributed", reason="dask's cluster is an extra")
    dask = pytest.importorskip("dask", reason="it comes with it")
    sent = []
    scatter = distributed.Client.scatter

    def counted(self, data, **options):
        sent.append(len(pickle.dumps(data, protocol=5)))
        return scatter(self, data, **options)

    monkeypatch.setattr(distributed.Client, "scatter", counted)
    # dask's memory manager takes copies away from workers that are idle for seconds.
    kept = dask.config.set({"distributed.scheduler.active-memory-manager.start": False})
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with (
        kept,
        distributed.LocalCluster(n_workers=2, **options) as cluster,
        distributed.Client(cluster) as client,
        parallel_config(backend="dask"),
    ):
        for estimator in estimators():
            before = total_outgoing(client)
            sent.clear()
            estimator.fit(X, Y)
            between_workers = total_outgoing(client) - before
            assert sum(sent) + between_workers <= 1.2 * 2 * (X.nbytes + Y.nbytes)


def total_outgoing(client):
    """Return how many bytes workers have sent to each other."""
    return sum(client.run(lambda dask_worker: dask_worker.transfer_outgoing_bytes_total).values())
