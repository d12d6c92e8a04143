"""The pairs of data set and net on which ensembles are compared.

Data is in three parts: one for training, a fifth of which each net uses for validation, one on
which recipes are chosen, and one that is read once, for the report.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Data, digits, fashion_mnist
from models import cnn, mlp
from numpy.typing import NDArray
from range_tasks import table
from sklearn.datasets import make_classification, make_gaussian_quantiles
from skorch import NeuralNetClassifier
from torch import nn
from torch.optim import SGD, AdamW

from sklr.callbacks import CosineDecay
from sklr.data import ArrayDataset


class Parts(NamedTuple):
    """Training data, validation data for the choice of recipes, and test data, read once."""

    X_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    X_valid: NDArray[np.float32]
    y_valid: NDArray[np.int64]
    X_test: NDArray[np.float32]
    y_test: NDArray[np.int64]


def pooled_fashion(data_dir: Path | None) -> Data:
    """Load Fashion-MNIST, each 2 x 2 pixels averaged into one, standardized."""
    X, y = fashion_mnist(data_dir)
    X = X.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196)
    return (X - X.mean()) / X.std(), y


DATA: dict[str, Callable[[Path | None], Data]] = {
    "digits": lambda _: digits(),
    "fashion": pooled_fashion,
    "clusters": lambda _: table(
        partial(
            make_classification,
            20_000,
            n_features=20,
            n_informative=10,
            n_classes=5,
            n_clusters_per_class=3,
            flip_y=0,
            class_sep=1.5,
            random_state=0,
        )
    ),
    "shells": lambda _: table(
        partial(
            make_gaussian_quantiles, n_samples=20_000, n_features=8, n_classes=4, random_state=0
        )
    ),
}

SIZES = {
    "digits": (700, 400),
    "fashion": (4_000, 8_000),
    "clusters": (2_500, 8_000),
    "shells": (2_500, 8_000),
}
"""Numbers of training and validation samples; up to `MOST_TEST` of the rest are test samples."""
MOST_TEST = 8_000


@cache
def parts(data: str, noise: float = 0.0, data_dir: Path | None = None) -> Parts:
    """Split a data set, the same way in every run.

    Parameters
    ----------
    data : str
        Of `DATA`.
    noise : float
        Fraction of the training labels that are replaced by another, drawn evenly; the other
        parts' labels stay.
    data_dir : Path, default=None
        Folder of Fashion-MNIST.
    """
    X, y = DATA[data](data_dir)
    rng = np.random.default_rng(2)
    order = rng.permutation(len(X))
    n_train, n_valid = SIZES[data]
    train, valid, test = np.split(order, [n_train, n_train + n_valid])
    test = test[:MOST_TEST]
    y_train = y[train]
    n_classes = int(y.max()) + 1
    wrong = rng.random(n_train) < noise
    y_train[wrong] = (y_train[wrong] + rng.integers(1, n_classes, wrong.sum())) % n_classes
    return Parts(X[train], y_train, X[valid], y[valid], X[test], y[test])


@dataclass(frozen=True)
class Task:
    """A net to be trained on a data set.

    Attributes
    ----------
    name : str
        Data, net and optimizer.
    data : str
        Of `DATA`.
    noise : float
        Fraction of the training labels that are wrong.
    module : callable
        Makes the module.
    max_epochs, batch_size : int
        Of a whole training.
    params : dict
        Further parameters of the net: the optimizer's.
    short : bool
        Whether the training is too short to converge, so that early members are weak.
    """

    name: str
    data: str
    noise: float
    module: Callable[[], nn.Module]
    max_epochs: int
    batch_size: int
    params: dict[str, Any] = field(default_factory=dict)
    short: bool = False

    def parts(self, data_dir: Path | None = None) -> Parts:
        return parts(self.data, self.noise, data_dir)

    @property
    def n_steps(self) -> int:
        """Training batches of the whole training: skorch validates on a fifth of the samples."""
        return self.max_epochs * math.ceil(0.8 * SIZES[self.data][0] / self.batch_size)

    def shortened(self) -> Task:
        """Return the task with a twentieth of the epochs, to show that everything runs."""
        return replace(self, max_epochs=max(6, self.max_epochs // 20))

    def net(self, **params: Any) -> NeuralNetClassifier:
        """Return the net, with skorch's own split of its training data and a cosine schedule."""
        defaults: dict[str, Any] = {
            "criterion": nn.CrossEntropyLoss,
            "max_epochs": self.max_epochs,
            "batch_size": self.batch_size,
            "callbacks": [("lr", CosineDecay())],
            "dataset": ArrayDataset,
            "iterator_train__shuffle": True,
            "iterator_valid__batch_size": 1_000,
            "verbose": 0,
        }
        return NeuralNetClassifier(self.module, **(defaults | self.params | params))


def _mlp(*sizes: int, **options: Any) -> Callable[[], nn.Module]:
    return partial(mlp, sizes, **options)


def _cnn(side: int, n_channels: int, **options: Any) -> Callable[[], nn.Module]:
    return partial(cnn, side, n_channels, 10, **options)


def _momentum(decay: float) -> dict[str, Any]:
    return {"optimizer": SGD, "optimizer__momentum": 0.9, "optimizer__weight_decay": decay}


NORM: dict[str, Any] = {"batch_norm": True}
ADAMW: dict[str, Any] = {"optimizer": AdamW, "optimizer__weight_decay": 0.1}

TASKS = (
    Task("fashion CNN BN momentum", "fashion", 0.0, _cnn(14, 8, **NORM), 40, 64, _momentum(2e-3)),
    Task("fashion MLP momentum", "fashion", 0.0, _mlp(196, 128, 10), 70, 64, _momentum(2e-3)),
    Task("fashion 10% wrong, CNN AdamW", "fashion", 0.1, _cnn(14, 8), 40, 64, ADAMW),
    Task(
        "digits 10% wrong, CNN BN momentum",
        "digits",
        0.1,
        _cnn(8, 12, **NORM),
        80,
        32,
        _momentum(5e-3),
    ),
    Task(
        "digits 10% wrong, MLP momentum",
        "digits",
        0.1,
        _mlp(64, 64, 64, 10),
        120,
        32,
        _momentum(5e-3),
    ),
    Task("shells MLP momentum", "shells", 0.0, _mlp(8, 128, 128, 4), 100, 64, _momentum(1e-3)),
    Task(
        "clusters 5% wrong, MLP BN AdamW",
        "clusters",
        0.05,
        _mlp(20, 128, 128, 5, **NORM),
        80,
        64,
        ADAMW,
    ),
    Task("digits MLP SGD, short", "digits", 0.0, _mlp(64, 64, 10), 30, 32, short=True),
    Task("fashion CNN BN AdamW, short", "fashion", 0.0, _cnn(14, 8, **NORM), 8, 64, ADAMW, True),
)
