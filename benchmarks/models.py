"""The networks of the benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn


def mlp(
    sizes: Sequence[int],
    activation: Callable[[], nn.Module] = nn.ReLU,
    batch_norm: bool = False,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Make a multilayer perceptron with activations between its layers."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers.append(nn.Linear(n_in, n_out))
        if batch_norm:
            layers.append(nn.BatchNorm1d(n_out))
        layers.append(activation())
        if dropout:
            layers.append(nn.Dropout(dropout))
    # Nothing but the linear layer is left of the last.
    return nn.Sequential(*layers[: -1 - bool(batch_norm) - bool(dropout)])


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


class Names(nn.Module):
    """The mean of words' embeddings, and a hidden layer."""

    def __init__(self, n_words: int, n_outputs: int, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(n_words, width, padding_idx=0)
        self.head = nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, n_outputs))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(X))


class CharCNN(nn.Module):
    """A convolution over the embeddings of letters, and the largest answer to each filter."""

    def __init__(self, n_letters: int, n_outputs: int, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_letters, 16, padding_idx=0)
        self.convolution = nn.Conv1d(16, width, 5, padding=2)
        self.head = nn.Linear(width, n_outputs)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        letters = self.convolution(self.embedding(X).transpose(1, 2)).relu()
        return self.head(letters.amax(dim=2))
