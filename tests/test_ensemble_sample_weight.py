"""sample_weight of the ensembles weighs the losses."""

from functools import partial

import numpy as np
import pytest
import torch
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier, make_regressor, weights
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import VotingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from skorch.dataset import Dataset
from torch import nn

from sklr import SnapshotEnsemble, SnapshotEnsembleRegressor

COUNTS = np.random.default_rng(0).integers(0, 4, len(X_DIGITS))


class Zeros(nn.Linear):
    """Begins at zero, so that nothing is random but the data."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__(n_inputs, n_outputs)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


def full_batch(**params):
    defaults = {"module__n_inputs": 64, "module__n_outputs": 10, "batch_size": -1}
    return make_classifier(Zeros, **(defaults | {"iterator_train__shuffle": False} | params))


def largest_difference(first, second):
    pairs = zip(first.estimators_, second.estimators_, strict=True)
    return max((weights(a) - weights(b)).abs().max().item() for a, b in pairs)


def test_a_weight_is_as_many_samples_on_full_batches():
    ensemble = SnapshotEnsemble(full_batch(), n_snapshots=2, random_state=0)
    weighted = clone(ensemble).fit(X_DIGITS, Y_DIGITS, sample_weight=COUNTS)
    repeated = clone(ensemble).fit(X_DIGITS.repeat(COUNTS, axis=0), Y_DIGITS.repeat(COUNTS))
    assert largest_difference(weighted, repeated) < 1e-5
    plain = clone(ensemble).fit(X_DIGITS, Y_DIGITS)
    assert largest_difference(weighted, plain) > 1e-3


def test_equal_weights_are_none():
    ensemble = SnapshotEnsemble(make_classifier(), n_snapshots=2, random_state=0)
    plain = clone(ensemble).fit(X_DIGITS, Y_DIGITS)
    for weight in (np.full(len(X_DIGITS), 3.0), 1.0):
        weighted = clone(ensemble).fit(X_DIGITS, Y_DIGITS, sample_weight=weight)
        assert largest_difference(plain, weighted) < 1e-5


def test_a_regressor_and_its_column():
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X), scale(y)
    counts = np.random.default_rng(0).integers(0, 3, len(X))
    net = make_regressor(Zeros, batch_size=-1)
    ensemble = SnapshotEnsembleRegressor(net, n_snapshots=2, random_state=0)
    weighted = clone(ensemble).fit(X, y, sample_weight=counts)
    repeated = clone(ensemble).fit(X.repeat(counts, axis=0), y.repeat(counts))
    assert largest_difference(weighted, repeated) < 1e-5


class Single(MLP):
    def forward(self, X):
        return super().forward(X).squeeze(1)


@pytest.mark.filterwarnings("ignore:The last 1 of 2 members")
@pytest.mark.parametrize("kind", ["binary", "nll"])
def test_every_kind_of_net_learns_from_what_has_weight(kind):
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    if kind == "binary":
        net = NeuralNetBinaryClassifier(
            Single, module__n_inputs=30, module__n_outputs=1, verbose=0, lr=0.1
        )
    else:
        net = NeuralNetClassifier(
            nn.Sequential(nn.Linear(30, 2), nn.Softmax(dim=1)), verbose=0, lr=0.1
        )
    wrong = np.arange(len(X)) % 3 == 0
    flipped = np.where(wrong, 1 - y, y)
    ensemble = SnapshotEnsemble(net, n_snapshots=2, random_state=0)
    ensemble.fit(X, flipped, sample_weight=np.where(wrong, 0.0, 1.0))
    assert ensemble.score(X, y) > 0.9
    # The members are nets of the user's own class, whom no weight follows.
    assert type(ensemble.estimators_[0]) is type(net)
    assert ensemble.predict(X[:7]).shape == (7,)


def test_through_a_pipeline_with_routing():
    with config_context(enable_metadata_routing=True):
        ensemble = SnapshotEnsemble(full_batch(), n_snapshots=2, random_state=0)
        ensemble.set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), ensemble)
        routed = pipeline.fit(X_DIGITS, Y_DIGITS, sample_weight=COUNTS)
    direct = clone(ensemble).fit(routed[0].transform(X_DIGITS), Y_DIGITS, sample_weight=COUNTS)
    assert largest_difference(routed[1], direct) == 0


def test_inside_a_real_votingclassifier():
    ensemble = SnapshotEnsemble(full_batch(), n_snapshots=2, random_state=0)
    with config_context(enable_metadata_routing=True):
        voting = VotingClassifier(
            [("snapshots", ensemble.set_fit_request(sample_weight=True))], voting="soft"
        )
        voting.fit(X_DIGITS, Y_DIGITS, sample_weight=COUNTS)
    alone = clone(ensemble).fit(X_DIGITS, Y_DIGITS, sample_weight=COUNTS)
    np.testing.assert_array_equal(voting.predict_proba(X_DIGITS), alone.predict_proba(X_DIGITS))


@pytest.mark.parametrize(
    "weight", [-np.ones(500), np.full(500, np.nan), np.ones(499), np.ones((500, 2))]
)
def test_impossible_weights(weight):
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        SnapshotEnsemble(make_classifier()).fit(X_DIGITS, Y_DIGITS, sample_weight=weight)


def test_weights_that_are_all_zero():
    with pytest.raises(ValueError, match="at least 0, and not all zero"):
        SnapshotEnsemble(make_classifier()).fit(X_DIGITS, Y_DIGITS, sample_weight=np.zeros(500))


class OwnDataset(Dataset):
    """What its batches hold is its own business."""


def test_a_data_set_of_the_nets_own_cannot_be_weighted():
    net = make_classifier(dataset=OwnDataset)
    with pytest.raises(TypeError, match=r"The 'dataset' parameter of NeuralNetClassifier must be"):
        SnapshotEnsemble(net).fit(X_DIGITS, Y_DIGITS, sample_weight=COUNTS)


def mean_loss(output, target):
    return nn.functional.cross_entropy(output, target)


def test_a_loss_that_only_gives_means_cannot_be_weighted():
    class Mean(nn.Module):
        def forward(self, output, target):
            return mean_loss(output, target)

    net = make_classifier(criterion=Mean, predict_nonlinearity=partial(torch.softmax, dim=1))
    with pytest.raises(TypeError, match=r"The 'criterion' parameter .* have a 'reduction'"):
        SnapshotEnsemble(net).fit(X_DIGITS, Y_DIGITS, sample_weight=COUNTS)


def test_weights_reach_parallel_runs():
    ensemble = SnapshotEnsemble(make_classifier(), n_snapshots=2, n_runs=2, random_state=0)
    one = clone(ensemble).fit(X_DIGITS, Y_DIGITS, sample_weight=COUNTS)
    two = clone(ensemble).set_params(n_jobs=2).fit(X_DIGITS, Y_DIGITS, sample_weight=COUNTS)
    for first, second in zip(one.estimators_, two.estimators_, strict=True):
        assert torch.equal(weights(first), weights(second))
