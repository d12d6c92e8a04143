"""ArrayDataset against skorch's own Dataset, which is the oracle for every batch."""

import copy
import pickle
import sys
import tracemalloc
import warnings
from contextlib import contextmanager
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import EpochScoring
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import SliceDataset
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Subset, default_collate, random_split

from sklr.data import ArrayDataset

N = 13
RNG = np.random.default_rng(0)
F32 = RNG.normal(size=(N, 5)).astype(np.float32)
F64 = RNG.normal(size=(N, 5))
LABELS = RNG.permutation(np.arange(N) % 3)
IMAGES = RNG.integers(0, 255, size=(N, 3, 4, 2)).astype(np.uint8)
DTYPES = ["bool", "uint8", "uint16", "uint32", "int8", "int16", "int32", "int64"]
DTYPES += ["float16", "float32", "float64", "complex64", "complex128"]
PANDAS = pd.DataFrame({"a": F64[:, 0], "b": LABELS, "c": F32[:, 0], "d": LABELS > 1})
CSR = sparse.csr_matrix(F64 * (F64 > 0))

# name -> (X, y), all of which skorch's Dataset takes
CONTAINERS = {
    "arrays": (F32, LABELS),
    "float64 arrays": (F64, F64[:, 0]),
    "one dimension": (F64[:, 0], F32[:, :1]),
    "images": (IMAGES, LABELS.astype(np.int32)),
    "no y": (F32, None),
    "strided": (F32[:, ::2], F64.T[0]),
    "fortran": (np.asfortranarray(F64), LABELS[::-1]),
    "tensors": (torch.from_numpy(F32.copy()), torch.from_numpy(LABELS.copy())),
    "float64 tensors": (torch.from_numpy(F64.copy()), torch.from_numpy(F64[:, 0].copy())),
    "bfloat16": (torch.ones(N, 2, dtype=torch.bfloat16), LABELS),
    "gradient": (torch.tensor(F64, requires_grad=True), LABELS),
    "DataFrame": (PANDAS, LABELS),
    "series y": (F32, PANDAS["b"]),
    "float64 series y": (F32, PANDAS["a"]),
    "series of another index": (F32, pd.Series(LABELS, index=range(100, 100 + N))),
    "nullable series y": (F32, pd.Series(LABELS, dtype="Int64")),
    "csr": (CSR, LABELS),
    "csr float32": (CSR.astype(np.float32), None),
    "csc": (CSR.tocsc(), LABELS),
    "dict": ({"a": F32, "b": torch.from_numpy(F64.copy()), "c": LABELS.tolist()}, LABELS),
    "dict y": (F32, {"a": F64, "b": PANDAS["a"]}),
    "list": ([F32, torch.from_numpy(F64.copy()), IMAGES], [LABELS, F64]),
    "tuple": ((F32, F64), (LABELS,)),
    "nested": ([{"a": F32, "b": F64}, (F32, [F64, LABELS])], None),
    "numbers": (LABELS.tolist(), F64[:, 0].tolist()),
    "tuple of bools": (tuple((F64[:, 0] > 0).tolist()), LABELS),
    "list of lists": (F64.T.tolist(), LABELS.tolist()),
    **{f"dtype {d}": ((10 * F64).round().astype(d), LABELS.astype(d)) for d in DTYPES},
}
LOADERS = [
    {"batch_size": 4},
    {"batch_size": 4, "shuffle": True},
    {"batch_size": 4, "shuffle": True, "drop_last": True},
    {"batch_size": 1},
    {"batch_size": 100},
    {"batch_size": None, "shuffle": True},
    {"batch_sampler": [[0, 0, 7], [12], range(5), np.arange(3)]},
]

containers = pytest.mark.parametrize("name", CONTAINERS)
# One of each way in which data is kept, indexed and copied.
KINDS = [
    "arrays",
    "strided",
    "tensors",
    "bfloat16",
    "dtype complex128",
    "DataFrame",
    "csr",
    "nested",
]
KINDS += ["list of lists", "no y"]
kinds = pytest.mark.parametrize("name", KINDS)
loads_in_workers = pytest.mark.filterwarnings(
    "ignore:.*fork:DeprecationWarning", "ignore:This DataLoader will create:UserWarning"
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Keep the threads of torch from waiting for each other where the cores are busy."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def load(dataset, **kwargs):
    torch.manual_seed(0)
    return list(DataLoader(dataset, **kwargs))


def as_net(values, dtype=torch.float32):
    """Return a batch of skorch's with float64 cast: the one wanted difference."""
    if isinstance(values, dict):
        return {key: as_net(value, dtype) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return type(values)(as_net(value, dtype) for value in values)
    # Without batches, skorch leaves a number of a list, and a numpy row, what it is.
    values = torch.as_tensor(values, dtype=torch.float64 if isinstance(values, float) else None)
    return values.to(dtype) if values.dtype == torch.float64 else values


def assert_same(actual, expected):
    assert type(actual) is type(expected)
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key in expected:
            assert_same(actual[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert_same(a, e)
    else:
        assert actual.dtype == expected.dtype
        assert actual.requires_grad == expected.requires_grad
        assert torch.equal(actual, expected)  # shapes too


def oracle(dataset, dtype=torch.float32, **kwargs):
    """Return the batches of a dataset of skorch's."""
    with skorch_warns():
        return as_net(load(dataset, **kwargs), dtype)


@contextmanager
def skorch_warns():
    """Let torch warn of the read-only columns that skorch's Dataset takes from a DataFrame."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        yield


def fill(values):
    """Overwrite a batch in place, as a module may."""
    if isinstance(values, torch.Tensor):
        values.detach().fill_(1)
    else:
        for value in values.values() if isinstance(values, dict) else values:
            fill(value)


class Sum(nn.Module):
    """A weighted sum of everything that one sample holds, of any container."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dtype=dtype))

    def forward(self, *args, **kwargs):
        return sum(self.total(x) for x in (*args, *kwargs.values())) * self.weight

    def total(self, x):
        if isinstance(x, torch.Tensor):
            return x.to(self.weight.dtype).reshape(len(x), -1).sum(1, keepdim=True)
        return sum(self.total(part) for part in (x.values() if isinstance(x, dict) else x))


def mlp(n_features, n_out, dropout=0.2):
    return nn.Sequential(
        nn.ReLU(inplace=True),  # overwrites its input
        nn.Linear(n_features, 8),
        nn.Dropout(dropout),
        nn.Linear(8, n_out),
    )


def digits(dtype=np.float32):
    X, y = load_digits(return_X_y=True)
    return (X[:300] / 16 - 0.2).astype(dtype), y[:300]


def classifier(dataset, **kwargs):
    torch.manual_seed(0)
    params = {
        "criterion": nn.CrossEntropyLoss,
        "dataset": dataset,
        "max_epochs": 3,
        "lr": 0.1,
        "batch_size": 32,
        "iterator_train__shuffle": True,
        "verbose": 0,
    }
    return NeuralNetClassifier(partial(mlp, 64, 10), **(params | kwargs))


def assert_same_nets(actual, expected):
    assert_same(dict(actual.module_.state_dict()), dict(expected.module_.state_dict()))
    for key in "train_loss", "valid_loss", "valid_acc", "train_acc":
        if key in expected.history[-1]:
            assert actual.history[:, key] == expected.history[:, key]


# Batches


@containers
def test_batches_are_those_of_skorch(name):
    X, y = CONTAINERS[name]
    for kwargs in LOADERS:
        assert_same(load(ArrayDataset(X, y), **kwargs), oracle(Dataset(X, y), **kwargs))


@kinds
def test_batches_through_subsets_are_those_of_skorch(name):
    X, y = CONTAINERS[name]
    kwargs = {"batch_size": 4, "shuffle": True}
    split = ValidSplit(3, stratified=True)
    for actual, expected in zip(
        split(ArrayDataset(X, y), LABELS), split(Dataset(X, y), LABELS), strict=True
    ):
        assert_same(load(actual, **kwargs), oracle(expected, **kwargs))
        actual, expected = (Subset(subset, [1, 0, -1]) for subset in (actual, expected))
        assert_same(load(actual, **kwargs), oracle(expected, **kwargs))


def test_batches_through_other_wrappers_are_those_of_skorch():
    ours, theirs = ArrayDataset(F32, LABELS), Dataset(F32, LABELS)
    assert_same(load(ConcatDataset([ours, ours]), batch_size=4),
                load(ConcatDataset([theirs, theirs]), batch_size=4))  # fmt: skip
    generators = (torch.Generator().manual_seed(0) for _ in range(2))
    (actual, _), (expected, _) = (
        random_split(dataset, [0.6, 0.4], generator)
        for dataset, generator in zip((ours, theirs), generators, strict=True)
    )
    assert_same(load(actual, batch_size=4), load(expected, batch_size=4))


@given(
    name=st.sampled_from(sorted(CONTAINERS)),
    index=st.lists(st.integers(0, N - 1), min_size=1, max_size=2 * N),
)
@settings(deadline=None, max_examples=100)
def test_any_index_set_gives_the_stacked_samples(name, index):
    X, y = CONTAINERS[name]
    theirs = Dataset(X, y)
    with skorch_warns():
        expected = as_net(default_collate([theirs[i] for i in index]))
    ours = ArrayDataset(X, y)
    assert_same(default_collate(ours.__getitems__(index)), expected)
    assert_same(default_collate([ours[i] for i in index]), expected)


SAME_AS = {
    "polars": (pl.DataFrame(PANDAS.to_dict("list")).with_columns(pl.col("c").cast(pl.Float32)),
               LABELS, "DataFrame"),
    "polars series y": (F32, pl.Series(PANDAS["b"].tolist()), "series y"),
    "csr array": (sparse.csr_array(CSR), LABELS, "csr"),
    "coo array": (sparse.coo_array(CSR), LABELS, "csr"),
    "backward": (F64[::-1, ::-1].copy()[::-1, ::-1], F64[:, 0], "float64 arrays"),
    "series": (PANDAS["a"], F32[:, :1], "one dimension"),
    "numpy scalars": (list(F64[:, 0]), F32[:, :1], "one dimension"),
    "list of csr and frame": ([CSR, PANDAS], None, None),
    "big-endian": (F64.astype(">f8"), F64[:, 0].astype(">f8"), "float64 arrays"),
    "little-endian labels": (F32, LABELS.astype("<i8"), "arrays"),
    "big-endian labels": (F32, LABELS.astype(">i8"), "arrays"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME_AS)
def test_containers_that_skorch_refuses(name):
    X, y, twin = SAME_AS[name]
    if twin is None:
        X_twin = [CSR.toarray(), {key: PANDAS[[key]].to_numpy(copy=True) for key in PANDAS}]
        expected = oracle(Dataset(X_twin, y), batch_size=4)
    else:
        expected = oracle(Dataset(*CONTAINERS[twin]), batch_size=4)
    assert_same(load(ArrayDataset(X, y), batch_size=4), expected)


def test_a_frame_as_y_becomes_columns():
    ((_, y),) = load(ArrayDataset(F32, PANDAS[["a", "b"]]), batch_size=N)
    expected = {"a": torch.tensor(F64[:, :1]).float(), "b": torch.tensor(LABELS[:, None])}
    assert_same(y, expected)


def test_a_vector_column_of_polars_keeps_its_width():
    frame = pl.DataFrame({"v": F32}, schema={"v": pl.Array(pl.Float32, 5)})
    ((X, _),) = load(ArrayDataset(frame), batch_size=N)
    assert_same(X, {"v": torch.from_numpy(F32)})


def test_indexing():
    for i in (slice(2, 9, 3), [0, 0, 5], F64[:, 0] > 0, np.array([3]), -1):
        X, y = ArrayDataset({"a": F64}, LABELS)[i]
        assert_same(X, {"a": torch.tensor(F64[i]).float()})
        assert_same(y, torch.tensor(LABELS[i]))


def test_iteration_ends_and_indices_are_checked():
    dataset = ArrayDataset(F32, LABELS)
    assert len(list(dataset)) == len(dataset) == N
    for wrong in ([N], [-N - 1]):
        for X in (F32, torch.ones(N, 1, dtype=torch.bfloat16), CSR):
            with pytest.raises(IndexError):
                ArrayDataset(X).__getitems__(wrong)


@loads_in_workers
def test_workers():
    X, y = CONTAINERS["nested"][0], LABELS
    kwargs = {"batch_size": 4, "shuffle": True}
    assert_same(load(ArrayDataset(X, y), num_workers=2, **kwargs), oracle(Dataset(X, y), **kwargs))


@pytest.mark.slow  # a new interpreter that imports torch: 5 s
@loads_in_workers
def test_a_spawned_worker_knows_the_batch_type():
    kwargs = {"num_workers": 1, "multiprocessing_context": "spawn"}
    expected = load(Dataset(F32, LABELS), batch_size=4)
    assert_same(load(ArrayDataset(F32, LABELS), batch_size=4, **kwargs), expected)


def test_memory_is_pinned_leaf_by_leaf(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t: pinned.append(t) or t)
    (batch,) = load(ArrayDataset([F32, {"a": F32}], LABELS), batch_size=N)
    assert_same(torch.utils.data._utils.pin_memory.pin_memory(batch), batch)
    assert len(pinned) == 3


# The dtype of float64 data


@kinds
def test_only_float64_is_cast(name):
    X, y = CONTAINERS[name]
    for dtype in torch.bfloat16, torch.float64:
        dataset = ArrayDataset(X, y, dtype=dtype)
        for kwargs in {"batch_size": 4}, {"batch_size": None}:
            assert_same(load(dataset, **kwargs), oracle(Dataset(X, y), dtype, **kwargs))


def test_default_dtype_is_that_of_torch():
    torch.set_default_dtype(torch.float64)
    try:
        for y in (F64, None):
            expected = oracle(Dataset(F64, y), torch.float64, batch_size=4)
            assert_same(load(ArrayDataset(F64, y), batch_size=4), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_dtype_is_a_parameter_of_the_net():
    X, y = digits(np.float64)
    double = partial(NeuralNetRegressor, Sum, module__dtype=torch.float64, verbose=0, lr=1e-4)
    ours = double(dataset=ArrayDataset, dataset__dtype=torch.float64)
    expected = double().fit(X, y[:, None].astype(float))
    assert_same_nets(ours.fit(X, y[:, None].astype(float)), expected)
    assert ours.predict(X).dtype == np.float64


def test_a_value_beyond_float32_becomes_infinite_without_a_warning():
    X, _ = ArrayDataset([1e300, -1e300])[:]
    assert_same(X, torch.tensor([torch.inf, -torch.inf]))


# Memory


@kinds
def test_batches_do_not_share_memory_with_the_data(name):
    X, y = CONTAINERS[name]
    dataset = ArrayDataset(X, y)
    before = oracle(Dataset(X, y), batch_size=4)
    fill([*load(dataset, batch_size=4), *load(dataset, batch_size=None)])
    assert_same(load(dataset, batch_size=4), before)
    assert_same(oracle(Dataset(X, y), batch_size=4), before)


def test_read_only_arrays_give_writable_batches_without_a_warning():
    X, y = F64.copy(), LABELS.copy()
    X.flags.writeable = y.flags.writeable = False
    was_always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # torch warns of read-only arrays once only
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            batches = load(ArrayDataset({"a": X}, y), batch_size=4)
            batches += load(ArrayDataset(PANDAS, y), batch_size=None)
    finally:
        torch.set_warn_always(was_always)
    fill(batches)
    np.testing.assert_array_equal(X, F64)


def unaligned(array):
    """Return a copy whose numbers begin at odd addresses."""
    copied = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    copied[...] = array
    assert not copied.flags.aligned
    return copied


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def field(array):
    """Return a copy inside a structured array, neither contiguous nor aligned."""
    records = np.zeros(len(array), [("id", "u1"), ("x", array.dtype, array.shape[1:])])
    records["x"] = array
    return records["x"]


VIEWS = {
    "as it is": lambda a: a,
    "unaligned": unaligned,
    "unaligned, read-only": lambda a: (v := unaligned(a)).setflags(write=False) or v,
    "unaligned, strided": lambda a: unaligned(np.repeat(a, 2, axis=0))[::2],
    "unaligned, big-endian": lambda a: unaligned(a.astype(a.dtype.newbyteorder(">"))),
    "read-only": read_only,
    "fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "backward": lambda a: a[::-1].copy()[::-1],
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "field": field,
}
IN = {
    "array": lambda X, view: view(X),
    "float64 array": lambda X, view: view(X.astype(np.float64)),
    "dict and list": lambda X, view: [{"a": view(X)}, [view(X)]],
    "DataFrame": lambda X, view: pd.DataFrame(view(X), copy=False),
    "vector": lambda X, view: view(X[:, 0]),
}


def csr_with(X, view):
    """Return a sparse X with its parts as views, which scipy would copy to make a matrix."""
    X = sparse.csr_array(X * (X > 0.9))
    for part in "data", "indices", "indptr":
        setattr(X, part, view(getattr(X, part)))
    return X


def allocated(function):
    """Return the most bytes that numpy had allocated at once during a call."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("view", VIEWS)
def test_a_batch_copies_no_more_than_its_rows(view):
    for container in (*IN, "csr", "csr of two integer types"):
        check_copies(container, view)


def check_copies(container, view):
    X = np.random.default_rng(0).random((20_000, 50)).astype(np.float32)
    if container == "csr":
        data, expected = csr_with(X, VIEWS[view]), X * (X > 0.9)
    elif container == "csr of two integer types":
        data, expected = csr_with(X, VIEWS[view]), X * (X > 0.9)
        data.indptr = data.indptr.astype(np.int64)
    else:
        data, expected = IN[container](X, VIEWS[view]), X
    index = [7, 19_999, 0, -2, 7]
    dataset = ArrayDataset(data)
    (batch,) = dataset.__getitems__(index)
    # All of X, sparse too, is far more.
    assert allocated(lambda: dataset.__getitems__(index)) < 32_000 < X[:, 0].nbytes
    values = batch.values[0]
    if container == "dict and list":
        assert_same(values[0]["a"], values[1][0])
        values = values[0]["a"]
    elif container == "DataFrame":
        values = torch.cat(list(values.values()), dim=1)
    elif container == "vector":
        values, expected = values[:, None], expected[:, :1]
    assert_same(values, torch.from_numpy(expected[index]))


def peak_memory():
    """Return the most memory that this process ever held, in bytes."""
    resource = pytest.importorskip("resource")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def test_a_memory_map_is_not_read_whole(tmp_path):
    n_bytes = 2**32  # a sparse file: it takes no room on the disk, but would in memory
    shape = (2**20, n_bytes // 2**20 // 8)
    X = np.memmap(tmp_path / "X", dtype=np.float64, mode="w+", shape=shape)
    X[:N, :5] = F64
    X.flush()
    X = np.memmap(tmp_path / "X", dtype=np.float64, mode="r", shape=shape)
    before = peak_memory()
    dataset = ArrayDataset(X, {"target": X[:, 0]})
    rows, target = default_collate(dataset.__getitems__([0, 5, 12, len(X) - 1]))
    dataset[-1]
    assert peak_memory() - before < n_bytes / 20
    expected = torch.zeros(4, shape[1])
    expected[:3, :5] = torch.tensor(F64[[0, 5, 12]])
    assert_same([rows, target], [expected, {"target": expected[:, 0]}])


@kinds
def test_pickle(name):
    X, y = CONTAINERS[name]
    dataset = ArrayDataset(X, y, dtype=torch.float16)
    for twin in pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset), copy.copy(dataset):
        assert_same(load(twin, batch_size=4), load(dataset, batch_size=4))


def test_pickle_stores_the_data_once():
    for X in F32, PANDAS, torch.from_numpy(F32):
        X = pickle.loads(pickle.dumps(X))
        room_for_names = 500
        assert len(pickle.dumps(ArrayDataset(X))) < len(pickle.dumps(X)) + room_for_names


# In a net


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"train_split": None},
        {"train_split": ValidSplit(0.2, random_state=0), "iterator_train__drop_last": True},
        {"callbacks": "disable"},
        {"callbacks": [EpochScoring("accuracy", name="train_acc", on_train=True,
                                    lower_is_better=False, use_caching=False)]},
        {"batch_size": -1},
    ],
    ids=["default", "no split", "split, drop_last", "no callbacks", "scored", "one batch"],
)  # fmt: skip
def test_training_is_bit_for_bit_that_of_skorch(kwargs):
    X, y = digits()
    expected = classifier(Dataset, **kwargs).fit(X, y)
    actual = classifier(ArrayDataset, **kwargs).fit(X, y)
    assert_same_nets(actual, expected)
    np.testing.assert_array_equal(actual.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_array_equal(X, digits()[0])  # though the module overwrites its input


@loads_in_workers
def test_training_with_workers():
    X, y = digits()
    actual = classifier(ArrayDataset, iterator_train__num_workers=2, max_epochs=1).fit(X, y)
    assert_same_nets(actual, classifier(Dataset, max_epochs=1).fit(X, y))


def test_float64_trains_as_its_float32_copy():
    X, y = digits(np.float64)
    expected = classifier(Dataset).fit(X.astype(np.float32), y)
    actual = classifier(ArrayDataset).fit(X, y)
    assert_same_nets(actual, expected)
    np.testing.assert_array_equal(actual.predict(X), expected.predict(X.astype(np.float32)))


@pytest.mark.parametrize(
    "name", ["arrays", "tensors", "DataFrame", "csr float32", "dict", "list", "nested", "no y"]
)
def test_fit_and_predict_with_every_container(name):
    X, y = CONTAINERS[name][0], F32[:, :1]
    params = {"lr": 1e-5, "criterion": nn.MSELoss, "batch_size": 4, "verbose": 0, "max_epochs": 3}
    with skorch_warns():
        expected = NeuralNet(Sum, **params).fit(as_net_input(X), y)
        expected_pred = expected.predict(as_net_input(X))
    actual = NeuralNet(Sum, dataset=ArrayDataset, **params).fit(X, y)
    assert_same_nets(actual, expected)
    np.testing.assert_array_equal(actual.predict(X), expected_pred)


def as_net_input(X):
    """Return X with its float64 arrays in float32, for skorch's Dataset."""
    if isinstance(X, pd.DataFrame):
        return X.astype({"a": np.float32})
    if isinstance(X, dict):
        return {key: as_net_input(value) for key, value in X.items()}
    if isinstance(X, (list, tuple)):
        return X if isinstance(X[0], int) else [as_net_input(value) for value in X]
    if isinstance(X, torch.Tensor):
        return X.float()
    return X.astype(np.float32) if X.dtype == np.float64 else X


def test_polars_in_a_net():
    names = [f"p{i}" for i in range(5)]
    X = pl.DataFrame(F64, schema=names)
    params = {"lr": 1e-3, "verbose": 0, "batch_size": 4}
    expected = NeuralNetRegressor(Sum, **params)
    expected.fit({name: F32_of(X[name]) for name in names}, F32[:, :1])
    actual = NeuralNetRegressor(Sum, dataset=ArrayDataset, **params).fit(X, F32[:, :1])
    assert_same_nets(actual, expected)


def F32_of(series):  # noqa: N802
    return series.to_numpy().astype(np.float32)[:, None]


def test_clone_and_search_are_those_of_skorch():
    X, y = digits(np.float64)

    def search(dataset, X):
        torch.manual_seed(0)
        net = clone(classifier(dataset, max_epochs=1, train_split=None))
        return GridSearchCV(net, {"lr": [0.01, 0.5]}, cv=2, scoring="neg_log_loss").fit(X, y)

    actual, expected = search(ArrayDataset, X), search(Dataset, X.astype(np.float32))
    assert actual.best_params_ == expected.best_params_
    for key in "split0_test_score", "split1_test_score":
        np.testing.assert_array_equal(actual.cv_results_[key], expected.cv_results_[key])
    assert_same_nets(actual.best_estimator_, expected.best_estimator_)


def test_a_dataset_can_be_given_to_fit():
    X, y = digits()
    expected = classifier(Dataset).fit(X, y)
    actual = classifier(Dataset).fit(ArrayDataset(X, y), y)
    assert_same_nets(actual, expected)
    actual = classifier(Dataset, train_split=None).fit(ArrayDataset(X, y), None)
    np.testing.assert_array_equal(actual.classes_, expected.classes_)


def test_a_slice_dataset_can_hold_it():
    dataset = ArrayDataset(F64, LABELS)
    np.testing.assert_array_equal(np.asarray(SliceDataset(dataset)), F64.astype(np.float32))
    np.testing.assert_array_equal(np.asarray(SliceDataset(dataset, idx=1)), LABELS)


def test_attributes_are_the_data_as_given():
    dataset = ArrayDataset(PANDAS, LABELS, length=5)
    assert dataset.X is PANDAS
    assert dataset.y is LABELS
    assert len(dataset) == 5
    assert [len(y) for _, y in load(dataset, batch_size=3)] == [3, 2]


# Bad input

X_MUST = "The 'X' parameter of ArrayDataset must "
Y_MUST = "The 'y' parameter of ArrayDataset must "
BE_DATA = (
    "be a numpy array, a torch tensor, a DataFrame, a Series, a scipy sparse matrix or a list of "
    "numbers, each with samples as its first axis, or a dict or a list of these. Got "
)
HOLD = "hold numbers of a dtype that torch has. Got "
SAME_LENGTH = "have one number of samples in all its parts. Got "
NOT_EMPTY = "have at least one sample. Got none instead."
DTYPE = "The 'dtype' parameter of ArrayDataset must be a floating torch.dtype or None. Got "
OBJECTS = np.array([1, None] * 3, dtype=object)
NAMES = pd.DataFrame({"a": [1.0, 2.0], "name": ["x", "y"]})
ERRORS = [
    (5, None, TypeError, X_MUST + BE_DATA + "int in X instead."),
    (["a", "b"], None, TypeError, X_MUST + BE_DATA + "str in X[0] instead."),
    ([F32, None], None, TypeError, X_MUST + BE_DATA + "NoneType in X[1] instead."),
    ({"a": {"b": F32}}, None, TypeError, X_MUST + BE_DATA + "dict in X['a'] instead."),
    ({"a": [F32]}, None, TypeError, X_MUST + BE_DATA + "list in X['a'] instead."),
    (pl.LazyFrame({"a": [1]}), None, TypeError, X_MUST + BE_DATA + "LazyFrame in X instead."),
    (F32, 1.0, TypeError, Y_MUST + BE_DATA + "float in y instead."),
    (np.array(1.0), None, ValueError, X_MUST + BE_DATA + "0 dimensions in X instead."),
    (F32, sparse.coo_array(LABELS), ValueError, Y_MUST + BE_DATA + "1 dimensions in y instead."),
    (OBJECTS, None, TypeError, X_MUST + HOLD + "object in X instead."),
    (F32, np.array(["a"] * N), TypeError, Y_MUST + HOLD + "<U1 in y instead."),
    (pl.from_dict(NAMES.to_dict("list")), None, TypeError,
     X_MUST + HOLD + "object in X['name'] instead."),
    (F32.astype(np.longdouble), None, TypeError, X_MUST + HOLD + "float128 in X instead."),
    (pd.DataFrame({"t": pd.to_datetime(["2020-01-01"])}), None, TypeError,
     X_MUST + HOLD + "datetime64[us] in X['t'] instead."),
    ([2**70], None, TypeError, X_MUST + HOLD + "object in X instead."),
    (torch.eye(3).to_sparse(), None, TypeError,
     X_MUST + "hold dense tensors. Got torch.sparse_coo in X instead."),
    (pd.DataFrame(F32[:, :2], columns=["a", "a"]), None, ValueError,
     X_MUST + "have unique column names. Got ['a', 'a'] instead."),
    (F32, LABELS[:5], ValueError, Y_MUST + "have as many samples as X (13). Got 5 instead."),
    ({"a": F32, "b": F32[:5]}, None, ValueError,
     X_MUST + SAME_LENGTH + "{'a': 13, 'b': 5} instead."),
    (F32, [LABELS, LABELS[:5]], ValueError, Y_MUST + SAME_LENGTH + "[13, 5] instead."),
    (F32[:0], LABELS[:0], ValueError, X_MUST + NOT_EMPTY),
    ({}, None, ValueError, X_MUST + NOT_EMPTY),
    (F32, [], ValueError, Y_MUST + NOT_EMPTY),
]  # fmt: skip


@pytest.mark.parametrize("cls", [TypeError, ValueError])
def test_bad_data(cls):
    for X, y, error, message in ERRORS:
        if error is not cls:
            continue
        # On some platforms a long double is no float128.
        expected = message.replace("float128", np.dtype(np.longdouble).name)
        if "float64" in expected:
            continue
        with pytest.raises(error) as info:
            ArrayDataset(X, y)
        assert str(info.value) == expected


def test_bad_dtype():
    for dtype in ("float32", torch.int64):
        with pytest.raises(TypeError) as info:
            ArrayDataset(F32, dtype=dtype)
        assert str(info.value) == f"{DTYPE}{dtype!r} instead."


def test_a_length_is_an_integer_within_the_data():
    text = "The 'length' parameter of ArrayDataset must be an int"
    for length in (True, np.True_, 2.0, "3"):
        with pytest.raises(TypeError, match=text):
            ArrayDataset(F32, length=length)
    for length in (0, -1, N + 1, np.int8(-1)):
        with pytest.raises(ValueError, match="be at least 1 and at most n_samples=13"):
            ArrayDataset(F32, length=length)
    for dtype in (np.uint8, np.int64, np.uint64):
        assert len(ArrayDataset(F32, length=dtype(5))) == 5


def test_bad_data_raises_before_anything_trains():
    net = classifier(ArrayDataset).initialize()
    before = copy.deepcopy(net.module_.state_dict())
    with pytest.raises(TypeError, match="object in X"):
        net.partial_fit(F32.astype(object), LABELS)
    assert_same(dict(net.module_.state_dict()), dict(before))
    assert len(net.history) == 0


class Transforms(ArrayDataset):
    def transform(self, X, y):
        return X, y


class Items(ArrayDataset):
    def __getitem__(self, i):
        return 0, 0


class Batches(Items):
    def __getitems__(self, indices):
        return [self[i] for i in indices]


@pytest.mark.parametrize(("cls", "method"), [(Transforms, "transform"), (Items, "__getitem__")])
def test_a_bypassed_override_raises(cls, method):
    with pytest.raises(TypeError) as info:
        cls(F32)
    assert str(info.value) == (
        f"The '{method}' method of {cls.__name__} must not be overridden: ArrayDataset fetches "
        "whole batches and would not call it. Subclass skorch.dataset.Dataset instead."
    )


def test_other_overrides_are_called():
    assert_same(load(Batches(F32), batch_size=2)[0], [torch.zeros(2).long(), torch.zeros(2).long()])


def test_another_collate_function_raises():
    text = "'collate_fn' parameter of the DataLoader must be torch's"
    for collate in (lambda b: list(zip(*b, strict=True)), lambda b: b[0][0]):
        with pytest.raises(TypeError, match=text):
            load(ArrayDataset(F32), batch_size=4, collate_fn=collate)
