"""The networks of the benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn


def mlp(
    sizes: Sequence[int],
    activation: Callable[[], nn.Module] = nn.ReLU,
    batch_norm: bool = False,
) -> nn.Sequential:
    """Make a multilayer perceptron with activations between its layers."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers.append(nn.Linear(n_in, n_out))
        if batch_norm:
            layers.append(nn.BatchNorm1d(n_out))
        layers.append(activation())
    return nn.Sequential(*layers[: -2 if batch_norm else -1])


def cnn(side: int, n_channels: int, n_outputs: int, batch_norm: bool = False) -> nn.Sequential:
    """Make a network of two convolutions, each halving the side of a square grey image."""
    layers: list[nn.Module] = [nn.Unflatten(1, (1, side, side))]
    for n_in, n_out in pairwise((1, n_channels, 2 * n_channels)):
        layers.append(nn.Conv2d(n_in, n_out, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(n_out))
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(2 * n_channels * (side // 4) ** 2, n_outputs)
    )
