"""Losses on validation data in closed form, weighted as in the training."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier, make_regressor, weights
from skorch.dataset import Dataset
from torch import nn

from sklr._training._data import INPUT, SAMPLE_WEIGHT
from sklr._training._dry_run import begin_training, dry_run
from sklr._training._evaluation import (
    TrainingData,
    ValidationLoss,
    ValidationScore,
    class_weights,
    mean_loss,
    weighted_mean,
)
from sklr._training._labels import Labels
from sklr._training._placeholder import NetPlaceholder
from sklr._training._sample_weight import set_relative_weights

X, Y = X_DIGITS[:103], Y_DIGITS[:103]  # batches of 50, 50 and 3


def begun(module=MLP, **params):
    net = make_classifier(module, **params)
    net.set_params(**dry_run(net, X, Y).params)
    return net


def losses_of(net, X, y):
    with torch.no_grad():
        output = net.module_(torch.from_numpy(X))
    return nn.functional.cross_entropy(output, torch.from_numpy(y), reduction="none").numpy()


def test_loss_is_the_mean_over_samples_and_not_over_batches():
    net = begin_training(begun(), X, Y)
    expected = losses_of(net, X, Y).mean()
    assert mean_loss(net, Dataset(X, Y)) == pytest.approx(expected, rel=1e-6)
    data = TrainingData(X, Y)
    rows = np.arange(3, 90, 2)
    by_rows = ValidationLoss(rows=rows)(net, data)
    assert by_rows == pytest.approx(losses_of(net, X[rows], Y[rows]).mean(), rel=1e-6)
    apart = ValidationLoss()(net, TrainingData(None, None, X[rows], Y[rows]))
    assert apart == pytest.approx(by_rows, rel=1e-12)
    given = ValidationLoss(dataset=Dataset(X[rows], Y[rows]))(net, data)
    assert given == pytest.approx(by_rows, rel=1e-12)


@pytest.mark.parametrize("where", ["rows", "apart"])
def test_weights_of_samples_count_as_in_the_training(where):
    sample_weight = np.random.default_rng(0).uniform(0, 3, len(X)).astype(np.float32)
    sample_weight[::4] = 0
    net = begun()
    set_relative_weights(net, sample_weight)
    net = begin_training(net, X, Y)
    rows = np.arange(50)
    expected = (sample_weight[rows] * losses_of(net, X[rows], Y[rows])).mean()
    if where == "rows":
        found = ValidationLoss(rows=rows)(net, TrainingData(X, Y))
    else:
        data = TrainingData(X, Y, X[rows], Y[rows])
        found = ValidationLoss(sample_weight=sample_weight[rows])(net, data)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 20, 103])
def test_an_infinite_loss_of_no_weight_counts_for_nothing(batch_size):
    targets = X[:, :1].copy()
    sample_weight = np.ones(len(X), np.float32)
    sample_weight[[0, 7]] = 0

    def trained(target):
        y = targets.copy()
        y[[0, 7]] = target  # the square of 1e30 is beyond float32
        net = make_regressor(module__n_inputs=64, batch_size=batch_size, max_epochs=2)
        net.set_params(**dry_run(net, X, y).params)
        set_relative_weights(net, sample_weight)
        torch.manual_seed(0)
        return net.fit(X, y)

    fine, infinite = trained(0.0), trained(1e30)
    assert np.isfinite(infinite.history[:, "train_loss"]).all()
    # Up to float32's rounding: the factor of the mean is computed from another total.
    np.testing.assert_allclose(weights(infinite), weights(fine), rtol=1e-5, atol=1e-7)
    # The label of such a sample still has its share in the mean that the criterion takes.
    net = begun(criterion__weight=torch.arange(1.0, 11.0))
    set_relative_weights(net, np.array([0, 1, 1], np.float32))
    net = begin_training(net, X, Y)
    batch = {INPUT: torch.from_numpy(X[:3]), SAMPLE_WEIGHT: torch.tensor([0.0, 1, 1])}
    outputs, y = torch.zeros(3, 10), torch.tensor([4, 5, 6])
    expected = net.get_loss(outputs, y, X=batch).item()
    outputs[0, 3] = math.inf
    # Its loss is infinite, or NaN: -inf + inf.
    assert net.get_loss(outputs, y, X=batch).item() == pytest.approx(expected, rel=1e-6)


def test_losses_that_are_no_numbers_are_without_end():
    net = begin_training(begun(), X, Y)
    broken = X.copy()
    broken[102] = np.nan
    assert mean_loss(net, Dataset(broken, Y)) == math.inf
    assert mean_loss(net, Dataset(X[:0], Y[:0])) == math.inf


@pytest.mark.parametrize(
    ("score", "expected"), [(0.75, -0.75), (math.nan, math.inf), (-math.inf, math.inf)]
)
def test_a_score_changes_its_sign(score, expected):
    net = begin_training(begun(), X, Y)
    placeholder = NetPlaceholder(net, Labels.of(net, Y)).fit(X, Y)
    seen = []

    def scorer(estimator, X, y):
        seen.append(estimator.predict_proba(X).shape)
        return score

    found = ValidationScore(scorer, placeholder)(net, TrainingData(X, Y, X[:9], Y[:9]))
    assert (found, seen) == (expected, [(9, 10)])
    assert placeholder.net_ is None


def test_weighted_mean_leaves_out_samples_of_no_weight():
    losses = np.array([1.0, 2.0, math.inf, 5.0])
    assert weighted_mean(losses, np.array([1, 3, 0, 0])) == 1.75
    assert weighted_mean(losses[:2], None) == 1.5


@pytest.mark.parametrize(
    ("criterion", "codes", "expected"),
    [
        (nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0])), [0, 2], [1, 3]),
        (nn.BCEWithLogitsLoss(pos_weight=torch.tensor(4.0)), [0, 1], [1, 4]),
        (nn.BCEWithLogitsLoss(pos_weight=torch.tensor([4.0])), [0, 1], [1, 4]),
        (nn.CrossEntropyLoss(), [0, 1], None),
    ],
)
def test_the_criterions_weights_of_the_classes(criterion, codes, expected):
    found = class_weights(SimpleNamespace(criterion_=criterion), np.array(codes))
    assert (found is None) if expected is None else found.tolist() == expected
