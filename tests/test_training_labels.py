"""Labels of any kind, and the outputs of a net that stand for them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import MLP, make_classifier
from skorch import NeuralNetBinaryClassifier
from torch import nn

from sklr._training._labels import Labels, chosen_indices

KINDS = {
    "texts": np.array(["b", "a", "d", "c"]),
    "objects": np.array(["b", "a", "d", "c"], dtype=object),
    "with gaps": np.array([7, -3, 100, 12]),
    "as they are": np.array([3, 0, 2, 1]),
    "small": np.array([3, 0, 2, 1], dtype=np.uint8),
    "floats": np.array([3.0, 0.0, 2.0, 1.0]),
}


@given(kind=st.sampled_from(list(KINDS)), seed=st.integers(0, 20), n_outputs=st.integers(4, 6))
def test_encoded_labels_come_back_and_probabilities_stand_by_them(kind, seed, n_outputs):
    rng = np.random.default_rng(seed)
    y = KINDS[kind][np.concatenate([[0, 1, 2, 3], rng.integers(4, size=20)])]
    labels = Labels.of(make_classifier(), y)
    np.testing.assert_array_equal(labels.classes, np.unique(y))
    encoded = labels.encode(y)
    assert encoded.dtype == np.int64
    np.testing.assert_array_equal(labels.decode(encoded), y)
    np.testing.assert_array_equal(labels.indices(encoded), np.searchsorted(labels.classes, y))
    proba = rng.dirichlet(np.ones(n_outputs), size=24)
    selected = labels.select(proba)
    assert selected.shape == (24, 4)
    np.testing.assert_allclose(selected.sum(axis=1), 1)
    expected = labels.decode(labels.codes[proba[:, labels.codes].argmax(axis=1)])
    np.testing.assert_array_equal(labels.choose(make_classifier(), selected), expected)


@pytest.mark.parametrize(
    ("params", "y", "classes", "codes"),
    [
        pytest.param({}, ["b", "c"], ["b", "c"], [0, 1], id="sorted"),
        pytest.param(
            {"classes": ["c", "a", "b"]}, ["b", "c"], ["a", "b", "c"], [1, 2, 0], id="texts"
        ),
        pytest.param({"classes": [2, 1, 0]}, [0, 2], [0, 1, 2], [0, 1, 2], id="indices"),
        pytest.param({"classes": [30, 10]}, [10, 30], [10, 30], [1, 0], id="numbers with gaps"),
        pytest.param({"criterion__weight": torch.ones(3)}, [0, 2], [0, 2], [0, 2], id="a gap"),
        pytest.param({"criterion__weight": torch.ones(2)}, [4, 9], [4, 9], [0, 1], id="no gap"),
        pytest.param(
            {"criterion": nn.CrossEntropyLoss(torch.ones(3))}, [1, 2], [1, 2], [1, 2], id="instance"
        ),
    ],
)
def test_what_the_net_says_of_its_outputs_is_kept(params, y, classes, codes):
    labels = Labels.of(make_classifier(**params), np.array(y))
    assert labels.classes.tolist() == classes
    assert labels.codes.tolist() == codes


@pytest.mark.parametrize(
    ("params", "y", "error", "text"),
    [
        ({}, [1, 1], ValueError, "only one class is present"),
        ({"classes": ["a", "b"]}, ["a", "c"], ValueError, "The 'classes' parameter of NeuralNet"),
        ({"classes": ["a"]}, ["a", "a"], ValueError, "The 'classes' parameter of NeuralNet"),
        (
            {"criterion__weight": torch.ones(3)},
            ["a", "b"],
            ValueError,
            "name all labels by the net's 'classes'",
        ),
        ({}, [[0, 1], [1, 1]], NotImplementedError, "Use a plain skorch.NeuralNet"),
        ({}, [0.5, 1.5], ValueError, "continuous"),
    ],
)
def test_labels_that_cannot_be_trained_on(params, y, error, text):
    with pytest.raises(error, match=text):
        Labels.of(make_classifier(**params), np.array(y))


def test_a_row_without_probability_for_any_label_is_even_and_nan_stays_nan():
    labels = Labels.of(make_classifier(), np.array([0, 1]))
    proba = np.array([[0, 0, 1], [np.nan, 0, 1], [0.1, 0.3, 0.6]])
    expected = [[0.5, 0.5], [np.nan, np.nan], [0.25, 0.75]]
    np.testing.assert_allclose(labels.select(proba), expected)


def test_a_binary_net_is_trained_on_floats_and_decides_by_its_threshold():
    net = NeuralNetBinaryClassifier(MLP, threshold=0.7)
    labels = Labels.of(net, np.array(["no", "yes"]))
    assert labels.encode(["yes", "no"]).dtype == np.float32
    proba = np.array([[0.35, 0.65], [0.25, 0.75]])
    assert chosen_indices(net, proba).tolist() == [0, 1]
    assert labels.choose(net, proba).tolist() == ["no", "yes"]
