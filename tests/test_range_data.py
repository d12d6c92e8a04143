"""Every kind of data that a net takes goes through a range test."""

import tracemalloc
from collections import UserDict
from types import MappingProxyType

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier, make_regressor
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset, ValidSplit
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

from sklr import LRRangeSearch, OneCycle
from sklr.data import ArrayDataset

# One ramp, and whole trainings on two splits.
PARAMS = {"n_repeats": 1, "n_steps": 40, "random_state": 0, "budget": 8}


def small(module=MLP, **params):
    """Give a net that trains for 30 steps on all rows, and for 24 on the rows that trials get."""
    return make_classifier(module, **({"max_epochs": 3} | params))


def search(X, y, estimator=None, **params):
    estimator = small() if estimator is None else estimator
    return LRRangeSearch(estimator, **(PARAMS | params)).fit(X, y)


@pytest.fixture(scope="module")
def expected():
    return search(X_DIGITS, Y_DIGITS)


FRAME = {f"pixel {i}": X_DIGITS[:, i] for i in range(64)}


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda X: X.tolist(), id="lists"),
        pytest.param(lambda X: X.astype(np.float64), id="float64"),
        pytest.param(np.asfortranarray, id="fortran"),
        pytest.param(torch.from_numpy, id="tensor"),
        pytest.param(sparse.csr_array, id="csr"),
        pytest.param(sparse.coo_matrix, id="coo"),
        pytest.param(lambda X: pd.DataFrame(FRAME), id="pandas"),
        pytest.param(lambda X: pl.DataFrame(FRAME), id="polars"),
    ],
)
def test_any_container_gives_the_same_answer(convert, expected):
    found = search(convert(X_DIGITS), Y_DIGITS)
    np.testing.assert_allclose(found.results_["loss"], expected.results_["loss"], rtol=1e-5)
    np.testing.assert_allclose(found.suggestion_.lr, expected.suggestion_.lr, rtol=1e-6)
    np.testing.assert_array_equal(found.trials_["lr"], expected.trials_["lr"])
    np.testing.assert_allclose(found.trials_["loss"], expected.trials_["loss"], rtol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: (Dataset(X_DIGITS, Y_DIGITS), None), id="skorch"),
        pytest.param(lambda: (ArrayDataset(X_DIGITS, Y_DIGITS), None), id="sklr"),
        pytest.param(
            lambda: (TensorDataset(torch.tensor(X_DIGITS), torch.tensor(Y_DIGITS)), None),
            id="torch",
        ),
    ],
)
def test_data_sets(make, expected):
    found = search(*make())
    assert found.suggest().status == "ok"
    assert found.trials_["lr"].size > 3
    assert set(found.trials_["steps"]) == {24}
    assert found.suggestion_.cost_steps <= 8 * 30
    assert not hasattr(found, "n_features_in_")


def test_a_dict_of_inputs():
    class Two(MLP):
        def forward(self, left, right):
            return super().forward(torch.cat([left, right], dim=1))

    X = {"left": X_DIGITS[:, :32], "right": X_DIGITS[:, 32:]}
    found = search(X, Y_DIGITS, small(Two))
    assert found.suggest().status == "ok"


def test_images():
    class CNN(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))

    X = X_DIGITS.reshape(-1, 1, 8, 8)
    found = search(X, Y_DIGITS, small(CNN), refit=True)
    assert found.predict(X).shape == Y_DIGITS.shape


class Endless(IterableDataset):
    """Random batches without a length."""

    def __iter__(self):
        rng = np.random.default_rng(torch.initial_seed())
        while True:
            i = rng.integers(len(X_DIGITS))
            yield X_DIGITS[i], Y_DIGITS[i]


def test_an_iterable_data_set_gets_its_stated_steps_and_no_trials():
    net = small(iterator_train__shuffle=False)
    found = search(Endless(), None, net, n_repeats=3)
    assert found.suggest().status == "ok"
    assert set(found.results_["repeat"]) == {0, 1, 2}
    assert "no length" in found.suggestion_.message
    assert found.trials_["lr"].size == 0
    with pytest.raises(ValueError, match=r"The 'scoring' parameter .* no rows of the data can be"):
        search(Endless(), None, net, scoring="accuracy")


@pytest.mark.parametrize(
    ("epochs", "budget", "steps"),
    [
        pytest.param(5, 4, 80, id="shorter trials"),
        pytest.param(1, 10, 16, id="whole trainings on several splits"),
    ],
)
def test_a_memory_map_is_not_copied(epochs, budget, steps, tmp_path):
    shape = (8_000, 256)
    X = np.memmap(tmp_path / "X.dat", np.float32, "w+", shape=shape)
    X[:] = np.tile(np.resize(X_DIGITS, (8_000, 64)), 4)
    X.flush()
    X = np.memmap(tmp_path / "X.dat", np.float32, "r", shape=shape)
    y = np.resize(Y_DIGITS, len(X))
    net = small(module__n_inputs=256, max_epochs=epochs, batch_size=400, train_split=ValidSplit(5))
    search(X_DIGITS, Y_DIGITS)  # what is imported in a first training is not what is measured
    tracemalloc.start()
    found = search(X, y, net, budget=budget, n_steps=20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.trials_["steps"].max() == steps
    assert found.n_features_in_ == 256
    # numpy's arrays are traced: a copy of the training part would be four fifths.
    assert peak < X.nbytes / 2


def test_frames_of_mixed_columns_go_through_the_preprocessing():
    columns = {"number": X_DIGITS.sum(axis=1), "kind": np.where(Y_DIGITS % 2, "a", "b")}
    frame = pd.DataFrame(columns)
    estimator = make_pipeline(
        make_column_transformer((StandardScaler(), ["number"]), (OneHotEncoder(), ["kind"])),
        small(module__n_inputs=3, module__n_outputs=2),
    )
    found = search(frame, Y_DIGITS % 2, estimator, refit=True)
    assert found.suggest().status == "ok"
    assert found.score(frame, Y_DIGITS % 2) > 0.9
    assert list(found.feature_names_in_) == ["number", "kind"]
    polars = search(pl.DataFrame(columns), Y_DIGITS % 2, estimator)
    assert polars.suggestion_.lr == found.suggestion_.lr


@pytest.mark.parametrize(
    ("plain", "framed", "dtype"),
    [
        (StandardScaler(), StandardScaler().set_output(transform="pandas"), np.float32),
        (StandardScaler(), StandardScaler().set_output(transform="polars"), np.float64),
        (FunctionTransformer(), FunctionTransformer(pd.DataFrame), int),
    ],
)
def test_frames_that_the_preprocessing_makes_reach_the_net_as_arrays(plain, framed, dtype):
    X = (X_DIGITS * 16).astype(dtype)
    plain, frames = (make_pipeline(step, small()) for step in (plain, framed))
    short = {"verify": False, "n_steps": 20, "budget": 1}
    for params in ({}, short | {"scoring": "accuracy"}):
        expected = search(X, Y_DIGITS, plain, refit=True, **params)
        found = search(X, Y_DIGITS, frames, refit=True, **params)
        assert found.suggestion_.lr == expected.suggestion_.lr
        for name, column in expected.trials_.items():
            np.testing.assert_array_equal(found.trials_[name], column)
        np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))
    assert (
        "a frame as an array (set_output(transform='default')"
        in search(X, Y_DIGITS, frames, **short).suggestion_.message
    )
    X = X.astype(float)
    X[3, 5] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        search(X, Y_DIGITS, frames)


def test_a_net_that_takes_the_columns_of_a_frame_by_name_gets_them():
    class Columns(MLP):
        def forward(self, total, first):
            return super().forward(torch.cat([total, first], dim=1))

    X = np.stack([X_DIGITS.sum(axis=1), X_DIGITS[:, 20]], axis=1)
    step = FunctionTransformer(pd.DataFrame, kw_args={"columns": ["total", "first"]})
    estimator = make_pipeline(step, small(Columns, module__n_inputs=2, lr=0.01))
    found = search(X, Y_DIGITS, estimator, refit=True)
    assert "frame" not in found.suggestion_.message
    assert found.predict(X).shape == Y_DIGITS.shape


def test_a_frame_for_a_bare_net_is_told_of():
    # ArrayDataset, which would cast float64 too, makes a dict of columns of a frame.
    frame = pd.DataFrame(X_DIGITS).add_prefix("pixel")
    message = search(frame, Y_DIGITS).suggestion_.message
    assert "The net was given a frame as an array (give it X.to_numpy())" in message


@pytest.mark.parametrize("steps", [[], [StandardScaler()]])
def test_a_net_for_another_number_of_features_is_refused_with_the_shape(steps):
    estimator = make_pipeline(*steps, small()) if steps else small()
    n_train = 400 if steps else 500
    shape = rf"cannot predict X of shape \({n_train}, 63\).*shapes cannot be multiplied"
    with pytest.raises(ValueError, match=shape) as raised:
        search(X_DIGITS[:, 1:], Y_DIGITS, estimator)
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_missing_values_that_the_preprocessing_fills():
    X = X_DIGITS.astype(float)
    X[::7, 5] = np.nan
    estimator = make_pipeline(SimpleImputer(), small())
    found = search(X, Y_DIGITS, estimator, refit=True)
    assert found.predict(X).shape == Y_DIGITS.shape
    np.testing.assert_array_equal(found.transform(X), X)


def test_a_float64_net_is_fed_in_its_own_dtype():
    class Double(MLP):
        def __init__(self):
            super().__init__()
            self.double()

    found = search(X_DIGITS.astype(float), Y_DIGITS, small(Double), refit=True)
    assert found.predict_proba(X_DIGITS.astype(float)).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64, int])
def test_regression_targets_of_any_dtype_and_shape(dtype):
    X, y = load_diabetes(return_X_y=True)
    y = (y / 10).astype(dtype)
    estimator = make_pipeline(StandardScaler(), make_regressor(max_epochs=4))
    flat = search(X, y, estimator)
    column = search(X, y.reshape(-1, 1), estimator)
    np.testing.assert_allclose(flat.results_["loss"], column.results_["loss"], rtol=1e-5)
    assert flat.trials_["lr"].size > 3
    np.testing.assert_allclose(flat.trials_["loss"], column.trials_["loss"], rtol=1e-4)


class Stream(IterableDataset):
    """Samples in their order, and how many."""

    def __len__(self):
        return len(X_DIGITS)

    def __iter__(self):
        return zip(X_DIGITS, Y_DIGITS, strict=True)


def test_an_iterable_data_set_with_a_length_has_a_budget():
    net = small(iterator_train__shuffle=False)
    del net.iterator_train__shuffle
    found = search(Stream(), None, net, budget=3)
    assert found.suggest().status in ("ok", "no_divergence")
    # 10 batches in each of 3 epochs.
    assert found.suggestion_.cost_steps <= 3 * 30
    assert "there is no validation data" in found.suggestion_.message


class Untouched(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return X


@pytest.mark.parametrize("make", [UserDict, MappingProxyType, dict])
@pytest.mark.parametrize("steps", [[], [Untouched()]], ids=["net", "pipeline"])
def test_mappings_of_any_kind(make, steps, expected):
    net = small()
    found = search(make({"X": X_DIGITS}), Y_DIGITS, make_pipeline(*steps, net) if steps else net)
    assert found.trials_["lr"].size > 3
    assert set(found.trials_["steps"]) == {24}
    if not steps:  # else ramps are of the training rows only
        np.testing.assert_allclose(found.results_["loss"], expected.results_["loss"], rtol=1e-5)
        np.testing.assert_array_equal(found.trials_["lr"], expected.trials_["lr"])


@pytest.mark.parametrize("make", [list, np.array, pd.Series, lambda t: np.array(t, dtype=object)])
def test_texts_of_any_kind_into_a_vectorizer(make):
    texts = [f"word{label} and other words" for label in Y_DIGITS]
    estimator = make_pipeline(TfidfVectorizer(), small(module__n_inputs=13))
    found = search(make(texts), Y_DIGITS, estimator, refit=True)
    # Each text names its label.
    assert found.suggestion_.verified
    assert found.score(make(texts), Y_DIGITS) == 1


class TakesGroups(MLP):
    def forward(self, X, groups=None):
        return super().forward(X)


class RoutedNet(NeuralNetClassifier):
    __metadata_request__fit = {"groups": True}  # noqa: RUF012


GROUPS = np.arange(len(X_DIGITS)) % 10


@pytest.mark.parametrize("how", ["net", "pipeline", "routed", "routed pipeline"])
def test_groups_reach_the_nets_own_split(how):
    seen = []

    class Watched(GroupKFold):
        def split(self, X, y=None, groups=None):
            seen.append(groups)
            return super().split(X, y, groups)

    callbacks = [("lr", OneCycle())]  # tried alone, on more splits
    net = small(TakesGroups, train_split=ValidSplit(Watched(5)), callbacks=callbacks)
    if "routed" in how:
        net = RoutedNet(**net.get_params(deep=False))
    estimator = make_pipeline(StandardScaler(), net) if "pipeline" in how else net
    name = f"{estimator.steps[-1][0]}__groups" if how == "pipeline" else "groups"
    with config_context(enable_metadata_routing="routed" in how):
        fitted = LRRangeSearch(estimator, **(PARAMS | {"budget": 10}))
        fitted.fit(X_DIGITS, Y_DIGITS, **{name: GROUPS})
    # Also to further splits of the trials.
    assert len(seen) >= len(set(fitted.trials_["split"])) > 1
    for groups in seen:
        np.testing.assert_array_equal(groups, GROUPS)
    assert fitted.suggest().status == "ok"


@pytest.mark.parametrize(
    ("n", "params", "batches"),
    [(81, {}, 1), (401, {"batch_size": 80}, 4), (70, {"iterator_train__drop_last": True}, 1)],
)
def test_what_is_left_to_train_on_has_no_batch_that_cannot_be_trained_on(n, params, batches):
    class Normed(MLP):
        def __init__(self):
            super().__init__()
            self.layers.insert(1, nn.BatchNorm1d(16))

    net = small(Normed, **({"batch_size": 64} | params))
    found = search(X_DIGITS[:n], Y_DIGITS[:n], net, budget=60, n_steps=10)
    assert len(set(found.trials_["split"])) > 1
    # Four fifths of the rows would leave one for a batch of its own.
    finite = np.isfinite(found.trials_["loss"])
    assert set(found.trials_["steps"][finite]) == {batches * 3}
    constant = finite & (found.trials_["schedule"] == "Constant")
    assert np.isfinite(found.trials_["averaged_loss"][constant]).all()


def test_preprocessing_sees_the_users_rows_only():
    rows, seen = set(map(tuple, X_DIGITS.tolist())), []

    def strict(X):
        assert set(map(tuple, np.asarray(X).tolist())) <= rows
        seen.append(len(X))
        return X

    estimator = make_pipeline(FunctionTransformer(strict), small())
    for params in ({}, {"scoring": "accuracy", "verify": False, "n_repeats": 1, "budget": 1}):
        found = search(X_DIGITS, Y_DIGITS, estimator, refit=True, **params)
        assert found.suggestion_.status in ("ok", "no_divergence")
        if not params:
            # The training rows and validation rows of each split, and all of them for the refit.
            assert seen == [400, 100] * len(set(found.trials_["split"])) + [500]
    found.transform(X_DIGITS)


def test_a_net_with_accelerate(expected, capsys):
    accelerate = pytest.importorskip("accelerate", reason="accelerate is an extra")
    from skorch.hf import AccelerateMixin

    class Accelerated(AccelerateMixin, NeuralNetClassifier):
        pass

    params = small(device=None).get_params(deep=False)
    net = Accelerated(**params, accelerator=accelerate.Accelerator(cpu=True))
    found = search(X_DIGITS, Y_DIGITS, net)
    np.testing.assert_allclose(found.results_["loss"], expected.results_["loss"], rtol=1e-5)
    np.testing.assert_array_equal(found.trials_["lr"], expected.trials_["lr"])
    assert capsys.readouterr().out == ""
    found.set_params(refit=True, verify=False).fit(X_DIGITS, Y_DIGITS)
    assert found.best_estimator_.lr == found.suggestion_.lr
