"""The network that the trainings share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Make a multilayer perceptron with ReLUs between its layers."""
    layers = [nn.Sequential(nn.Linear(n_in, n_out), nn.ReLU()) for n_in, n_out in pairwise(sizes)]
    return nn.Sequential(*layers[:-1], layers[-1][0])
