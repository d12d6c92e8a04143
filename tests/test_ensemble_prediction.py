"""All members in one pass: the numbers that each gives alone, whatever the net and the data."""

import tracemalloc

import numpy as np
import pytest
import torch
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier, make_regressor
from scipy import sparse
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset
from torch import nn
from torch.utils.data import IterableDataset

from sklr import SnapshotEnsemble, SnapshotEnsembleRegressor
from sklr.ensemble import _prediction


def fit(net=None, X=X_DIGITS, **params):
    ensemble = SnapshotEnsemble(net or make_classifier(), n_snapshots=3, random_state=0, **params)
    return ensemble.fit(X, Y_DIGITS)


def alone(ensemble, X):
    return np.stack([member.predict_proba(X) for member in ensemble.estimators_])


def slices(ensemble, X):
    return list(_prediction.member_outputs(ensemble.estimators_, X, np.asarray))


def together(ensemble, X):
    return np.concatenate(slices(ensemble, X), axis=1)


class Noisy(nn.Module):
    """BatchNorm and dropout, which behave otherwise in training."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 10)
        )

    def forward(self, X):
        return self.layers(X)


class Pair(MLP):
    """Gives a tuple, of which the first counts."""

    def forward(self, X):
        out = super().forward(X)
        return out, X


class PairLoss(nn.CrossEntropyLoss):
    def forward(self, outputs, target):
        return super().forward(outputs[0], target)


class Codes(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.EmbeddingBag(17, 10)

    def forward(self, X):
        return self.embed(X)


@pytest.mark.parametrize(
    ("net", "X"),
    [
        pytest.param(make_classifier(), X_DIGITS, id="MLP"),
        pytest.param(make_classifier(), X_DIGITS.astype(float), id="float64"),
        pytest.param(make_classifier(Noisy), X_DIGITS, id="BatchNorm and dropout"),
        pytest.param(make_classifier(), torch.from_numpy(X_DIGITS), id="tensor"),
        pytest.param(make_classifier(), sparse.csr_array(X_DIGITS), id="sparse"),
        pytest.param(make_classifier(Codes), (X_DIGITS * 16).astype(int), id="embedding"),
        pytest.param(
            make_classifier(
                Pair, criterion=PairLoss, predict_nonlinearity=lambda out: out.softmax(1)
            ),
            X_DIGITS,
            id="tuple",
        ),
        pytest.param(
            make_classifier(predict_nonlinearity=lambda out: (2 * out).softmax(1)),
            X_DIGITS,
            id="nonlinearity",
        ),
    ],
)
def test_slices_give_what_each_member_gives_alone(net, X, monkeypatch):
    ensemble = fit(net, X)
    monkeypatch.setattr(_prediction, "ROWS", 150)
    assert [part.shape[1] for part in slices(ensemble, X)] == [32, 117, 117, 117, 117]
    # Batches of other sizes may round otherwise.
    np.testing.assert_allclose(together(ensemble, X), alone(ensemble, X), rtol=2e-5, atol=1e-7)
    monkeypatch.setattr(_prediction, "FIRST_ROWS", 50)
    monkeypatch.setattr(_prediction, "ROWS", 50)
    np.testing.assert_array_equal(together(ensemble, X), alone(ensemble, X))


class OwnInference(NeuralNetClassifier):
    def infer(self, x, **fit_params):
        return super().infer(x * 2, **fit_params)


class OwnStep(NeuralNetClassifier):
    def evaluation_step(self, batch, training=False):
        return super().evaluation_step(batch, training).flip(1)


class OwnProba(NeuralNetClassifier):
    def predict_proba(self, X):
        return np.roll(super().predict_proba(X), 1, axis=1)


class OwnDataset(Dataset):
    def transform(self, X, y):
        return super().transform(X / 2, y)


def of_class(cls, **params):
    """Return the small classifier as a net of another class."""
    defaults = make_classifier().get_params(deep=False)
    defaults = {name: value for name, value in defaults.items() if not name.startswith("_")}
    return cls(**(defaults | params))


@pytest.mark.parametrize(
    ("net", "lengths"),
    [
        pytest.param(of_class(OwnProba), [500], id="predict_proba"),
        pytest.param(of_class(OwnInference), [50] * 10, id="infer"),
        pytest.param(of_class(OwnStep), [50] * 10, id="evaluation_step"),
        pytest.param(of_class(NeuralNetClassifier, dataset=OwnDataset), [50] * 10, id="dataset"),
    ],
)
def test_nets_that_predict_in_their_own_way_are_asked(net, lengths):
    ensemble = fit(net)
    assert [part.shape[1] for part in slices(ensemble, X_DIGITS)] == lengths
    np.testing.assert_array_equal(together(ensemble, X_DIGITS), alone(ensemble, X_DIGITS))
    np.testing.assert_allclose(
        ensemble.predict_proba(X_DIGITS), alone(ensemble, X_DIGITS).mean(axis=0), rtol=1e-6
    )


class Counted(Dataset):
    """Counts how often a sample is fetched."""

    n_fetched = 0

    def __getitem__(self, i):
        Counted.n_fetched += 1
        return super().__getitem__(i)


def test_torch_data_sets_are_read_once_for_all_members():
    ensemble = fit()
    Counted.n_fetched = 0
    np.testing.assert_allclose(
        ensemble.predict_proba(Counted(X_DIGITS, Y_DIGITS)),
        ensemble.predict_proba(X_DIGITS),
        rtol=1e-5,
    )
    assert Counted.n_fetched == len(X_DIGITS)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X_DIGITS, Y_DIGITS, strict=True))


def test_a_data_set_without_a_length():
    ensemble = fit()
    np.testing.assert_allclose(
        ensemble.predict_proba(Stream()), ensemble.predict_proba(X_DIGITS), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("own", "n_given"),
    [({"drop_last": True, "batch_size": 150}, 450), ({"sampler": range(0, 500, 2)}, 250)],
    ids=["fewer", "some"],
)
def test_predictions_that_are_not_of_every_sample_are_refused(own, n_given):
    own = {f"iterator_valid__{name}": value for name, value in own.items()}
    ensemble = fit(make_classifier(**own))
    with pytest.raises(ValueError, match=f"give each of the 500 samples once .* Got {n_given}"):
        ensemble.predict(X_DIGITS)


def test_prediction_moves_no_random_state_and_needs_no_gradient():
    ensemble = fit(make_classifier(Noisy))
    state = torch.get_rng_state()
    first = ensemble.predict_proba(X_DIGITS)
    np.testing.assert_array_equal(first, ensemble.predict_proba(X_DIGITS))
    assert torch.equal(state, torch.get_rng_state())
    assert not ensemble.estimators_[0].module_.training
    assert torch.is_grad_enabled()


def test_a_memory_map_is_read_slice_by_slice(tmp_path):
    ensemble = fit()
    shape = (100_000, 64)
    X = np.memmap(tmp_path / "X.dat", np.float32, "w+", shape=shape)
    X[:500] = X_DIGITS
    X.flush()
    X = np.memmap(tmp_path / "X.dat", np.float32, "r", shape=shape)
    tracemalloc.start()
    proba = ensemble.predict_proba(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(proba[:500], ensemble.predict_proba(X_DIGITS), rtol=1e-5)
    assert peak < X.nbytes / 2


class InPlace(MLP):
    """Changes its inputs, as a first ReLU(inplace=True) does."""

    def forward(self, X):
        return super().forward(X.sub_(0.5))


class Two(MLP):
    def forward(self, left, right):
        return super().forward(torch.cat([left.mul_(2), right], dim=1))


def test_a_module_that_works_in_place_changes_nothing_for_the_next_member():
    ensemble = fit(make_classifier(InPlace))
    before = X_DIGITS.copy()
    np.testing.assert_allclose(
        together(ensemble, X_DIGITS), alone(ensemble, X_DIGITS), rtol=2e-5, atol=1e-7
    )
    np.testing.assert_array_equal(X_DIGITS, before)
    X = {"left": X_DIGITS[:, :32].copy(), "right": X_DIGITS[:, 32:].copy()}
    ensemble = fit(make_classifier(Two), X)
    np.testing.assert_allclose(together(ensemble, X), alone(ensemble, X), rtol=2e-5, atol=1e-7)
    # Batch by batch too.
    batches = fit(make_classifier(InPlace, iterator_valid__shuffle=False))
    np.testing.assert_array_equal(together(batches, X_DIGITS), alone(batches, X_DIGITS))


def test_an_order_of_its_own_in_prediction_is_kept():
    ensemble = fit(make_classifier(iterator_valid__sampler=range(499, -1, -1)))
    assert [part.shape[1] for part in slices(ensemble, X_DIGITS)] == [50] * 10
    np.testing.assert_array_equal(together(ensemble, X_DIGITS), alone(ensemble, X_DIGITS))


class Widening(MLP):
    """Makes 500 times as many values as it is given."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Linear(64, 32_000)

    def forward(self, X):
        return super().forward(X) + self.wide(X).sum(1, keepdim=True)


@pytest.mark.parametrize(
    ("module", "largest"), [(MLP, 64), (Widening, 32_000)], ids=["inputs", "outputs"]
)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_largest_output_of_a_layer_decides_the_length(module, largest, n_threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    monkeypatch.setattr(_prediction, "CACHE_BYTES", 4 * largest * 40)
    ensemble = fit(make_classifier(module, max_epochs=3))
    first, *others = (part.shape[1] for part in slices(ensemble, X_DIGITS))
    assert first == 32
    assert max(others) == {1: 39, 2: 78}[n_threads]
    assert sum(others) == 468
    assert max(others) - min(others) <= 1
    # Hooks measured only the first slice.
    assert not any(layer._forward_hooks for layer in ensemble.estimators_[0].module_.modules())


def test_few_samples_are_one_slice():
    ensemble = fit()
    assert [part.shape[1] for part in slices(ensemble, X_DIGITS[:64])] == [64]
    assert [part.shape[1] for part in slices(ensemble, X_DIGITS[:1])] == [1]
    assert [part.shape[1] for part in slices(ensemble, X_DIGITS[:65])] == [32, 33]


class Hides(MLP):
    """Makes finite values of infinite ones."""

    def forward(self, X):
        return super().forward(X.tanh())


class HalvesOf(MLP):
    def forward(self, left, right):
        return super().forward(torch.cat([left, right], dim=1).tanh())


def spoilt(kind, value):
    X = np.tile(X_DIGITS.astype(float), (3, 1))
    X[7, 5] = X[1234, 0] = value
    if kind == "tensor":
        return torch.from_numpy(X)
    if kind == "dict":
        return {"left": X[:, :32], "right": torch.from_numpy(X[:, 32:])}
    return sparse.csr_array(X) if kind == "sparse" else X


METHODS = ("predict", "predict_proba", "transform", "staged_predict", "predict_uncertainty")


def call(ensemble, method, X):
    found = getattr(ensemble, method)(X)
    return list(found) if method.startswith("staged") else found


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        pytest.param("array", 1e300, r"infinite in torch.float32.* such as 1e\+300", id="array"),
        pytest.param("array", -4e38, "infinite in torch.float32", id="just too large"),
        pytest.param("sparse", 1e300, "infinite in torch.float32", id="sparse"),
        pytest.param("tensor", 1e300, "infinite in torch.float32", id="tensor"),
        pytest.param("dict", 1e300, "infinite in torch.float32", id="dict"),
        pytest.param("array", np.nan, "contains NaN", id="array NaN"),
        pytest.param("tensor", np.nan, "not finite for 2 of 1500 samples", id="tensor NaN"),
        pytest.param("dict", np.nan, "not finite for 2 of 1500 samples", id="dict NaN"),
    ],
)
def test_what_is_not_finite_is_never_made_a_label(kind, value, text):
    module = HalvesOf if kind == "dict" else Hides
    X = {"left": X_DIGITS[:, :32], "right": X_DIGITS[:, 32:]} if kind == "dict" else X_DIGITS
    for how in ("soft", "hard"):
        ensemble = fit(make_classifier(module, max_epochs=3), X, voting=how)
        for method in METHODS:
            if how == "hard" and method == "predict_proba":
                continue
            with pytest.raises(ValueError, match=text):
                call(ensemble, method, spoilt(kind, value))


def test_nor_a_regressors_prediction():
    X = torch.from_numpy(np.random.default_rng(0).normal(size=(300, 10)))
    net = make_regressor(max_epochs=3)
    ensemble = SnapshotEnsembleRegressor(net, n_snapshots=2, random_state=0)
    ensemble.fit(X, np.zeros(300))
    X[3, 2] = np.inf
    for method in ("predict", "transform", "staged_predict"):
        with pytest.raises(ValueError, match="not finite for 1 of 300 samples"):
            call(ensemble, method, X)


def test_infinite_inputs_that_the_net_takes_are_no_fault():
    ensemble = fit(make_classifier(Hides, max_epochs=3))
    X = torch.from_numpy(X_DIGITS.copy())
    X[0, 0] = np.inf
    assert np.isfinite(ensemble.predict_proba(X)).all()
