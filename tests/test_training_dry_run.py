"""Dry runs: what they find out about a net and its data, before anything is trained."""

import numpy as np
import pytest
import torch
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier, make_regressor
from torch import nn

from sklr._training._dry_run import dry_run


class Brain(MLP):
    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.bfloat16()


class Words(nn.Module):
    """Takes integers alone."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Embedding(17, 2), nn.Flatten(), nn.Linear(128, 10))

    def forward(self, X):
        return self.layers(X)


def test_a_module_in_bfloat16_predicts_and_its_targets_are_shaped():
    dry = dry_run(make_regressor(Brain), X_DIGITS[:, :10], Y_DIGITS.astype(np.float32))
    assert dry.output_shape == (2, 1)
    assert dry.output.dtype == np.float32
    assert dry.params["dataset__dtype"] == "bfloat16"
    assert dry.params["dataset__columns"]


@pytest.mark.parametrize(
    ("module", "X", "floats"),
    [
        (MLP, X_DIGITS.astype(np.float32), True),
        (MLP, (X_DIGITS * 16).astype(int), True),
        (Words, (X_DIGITS * 16).astype(int), False),
    ],
)
def test_inputs_become_floats_if_the_net_takes_no_others(module, X, floats):
    dry = dry_run(make_classifier(module), X, Y_DIGITS)
    assert dry.params["dataset__floats"] is floats
    dry.check_prediction(X)


def test_what_torch_cannot_predict_is_an_error_with_the_shape_of_the_data():
    for X, text in (
        (X_DIGITS[:, :7], r"X of shape \(500, 7\): mat1 and mat2 shapes"),
        (torch.ones(500, 7, dtype=torch.int64), r"X of shape \(500, 7\): mat1 and mat2 shapes"),
    ):
        dry = dry_run(make_classifier(), X, Y_DIGITS)
        assert dry.output is None
        with pytest.raises(ValueError, match=text):
            dry.check_prediction(X)


def test_an_error_that_is_not_torchs_is_left_to_the_training():
    class Odd(MLP):
        def forward(self, X):
            if not self.training:
                raise KeyError("no prediction yet")
            return super().forward(X)

    dry = dry_run(make_classifier(Odd), X_DIGITS, Y_DIGITS)
    assert dry.output is None
    dry.check_prediction(X_DIGITS)
