"""The tasks on which suggested rates are compared: data, net, optimizer, batch size.

The constants of sklr's rules were chosen on half of them, `TUNING`; the other half, `REPORT`, are
test tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import digits, fashion_mnist
from models import cnn, mlp
from numpy.typing import NDArray
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    make_classification,
    make_friedman1,
    make_gaussian_quantiles,
)
from sklearn.preprocessing import scale
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback
from torch import nn
from torch.optim import SGD, Adam, AdamW, RMSprop

from sklr.data import ArrayDataset

MOMENTUM = {"optimizer": SGD, "optimizer__momentum": 0.9}

Arrays = tuple[NDArray[np.float32], NDArray[Any]]


class Parts(NamedTuple):
    """The data that a search sees, and the test data that scores its suggestion."""

    X: NDArray[np.float32]
    y: NDArray[Any]
    X_test: NDArray[np.float32]
    y_test: NDArray[Any]


def small_fashion(data_dir: Path | None) -> Arrays:
    """Load 9,000 images of Fashion-MNIST, each 2 x 2 pixels averaged into one, standardized."""
    X, y = fashion_mnist(data_dir)
    chosen = np.random.default_rng(0).permutation(len(X))[:9_000]
    X = X[chosen].reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196)
    return ((X - X.mean()) / X.std()).astype(np.float32), y[chosen]


def table(load: Callable[[], tuple[Any, Any]], regression: bool = False) -> Arrays:
    """Make a table of standardized columns; a regression's target is standardized too."""
    X, y = load()
    y = scale(y).reshape(-1, 1).astype(np.float32) if regression else y.astype(np.int64)
    return scale(X).astype(np.float32), y


DATA: dict[str, Callable[[Path | None], Arrays]] = {
    "digits": lambda _: digits(),
    "fashion": small_fashion,
    "cancer": lambda _: table(partial(load_breast_cancer, return_X_y=True)),
    "diabetes": lambda _: table(partial(load_diabetes, return_X_y=True), regression=True),
    "friedman": lambda _: table(
        partial(make_friedman1, 6_000, n_features=10, noise=1.0, random_state=0), regression=True
    ),
    "clusters": lambda _: table(
        partial(
            make_classification,
            6_000,
            n_features=20,
            n_informative=10,
            n_classes=5,
            flip_y=0.05,
            class_sep=1.5,
            random_state=0,
        )
    ),
    "shells": lambda _: table(
        partial(make_gaussian_quantiles, n_samples=6_000, n_features=8, n_classes=4, random_state=0)
    ),
}

N_SEEN = {"digits": 1_200, "fashion": 5_000, "cancer": 380, "diabetes": 300}
"""Samples that a search may see; of other data sets, half of all."""


@cache
def parts(data: str, data_dir: Path | None = None) -> Parts:
    """Split a data set, the same way in every run."""
    X, y = DATA[data](data_dir)
    order = np.random.default_rng(1).permutation(len(X))
    n_seen = N_SEEN.get(data, len(X) // 2)
    seen, test = order[:n_seen], order[n_seen:]
    return Parts(X[seen], y[seen], X[test], y[test])


@dataclass(frozen=True)
class Task:
    """A net to be trained on a data set.

    Attributes
    ----------
    name : str
        Data, net and optimizer.
    data : str
        Of `DATA`.
    module : callable
        Makes the module.
    max_epochs, batch_size : int
        Of a whole training.
    params : dict
        Further parameters of the net: the optimizer's.
    """

    name: str
    data: str
    module: Callable[[], nn.Module]
    max_epochs: int
    batch_size: int
    params: dict[str, Any] = field(default_factory=dict)

    def net(self, callbacks: list[tuple[str, Callback]] | None = None, **params: Any) -> NeuralNet:
        """Return the net, with skorch's own split of its training data."""
        regression = self.data in ("diabetes", "friedman")
        defaults: dict[str, Any] = {} if regression else {"criterion": nn.CrossEntropyLoss}
        return (NeuralNetRegressor if regression else NeuralNetClassifier)(
            self.module,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            callbacks=callbacks,
            dataset=ArrayDataset,
            iterator_train__shuffle=True,
            verbose=0,
            **(defaults | self.params | params),
        )


def _mlp(*sizes: int, **options: Any) -> Callable[[], nn.Module]:
    return partial(mlp, sizes, **options)


TANH: dict[str, Any] = {"activation": nn.Tanh}
NORM: dict[str, Any] = {"batch_norm": True}

TUNING = (
    Task("digits MLP SGD", "digits", _mlp(64, 64, 10), 40, 32),
    Task(
        "digits deep tanh RMSprop",
        "digits",
        _mlp(64, 48, 48, 48, 48, 10, **TANH),
        40,
        32,
        {"optimizer": RMSprop},
    ),
    Task("fashion MLP Adam", "fashion", _mlp(196, 96, 10), 20, 64, {"optimizer": Adam}),
    Task(
        "fashion CNN BN momentum",
        "fashion",
        partial(cnn, 14, 6, 10, batch_norm=True),
        10,
        64,
        MOMENTUM,
    ),
    Task("friedman MLP Adam", "friedman", _mlp(10, 64, 64, 1), 30, 64, {"optimizer": Adam}),
    Task("clusters MLP RMSprop", "clusters", _mlp(20, 64, 5), 50, 64, {"optimizer": RMSprop}),
    Task("cancer MLP momentum", "cancer", _mlp(30, 32, 2), 100, 16, MOMENTUM),
    Task("shells MLP SGD", "shells", _mlp(8, 64, 64, 4), 40, 64),
)
REPORT = (
    Task("digits MLP BN Adam", "digits", _mlp(64, 64, 10, **NORM), 60, 64, {"optimizer": Adam}),
    Task("digits CNN momentum", "digits", partial(cnn, 8, 8, 10), 40, 64, MOMENTUM),
    Task("fashion MLP momentum", "fashion", _mlp(196, 96, 10), 16, 64, MOMENTUM),
    Task("fashion CNN AdamW", "fashion", partial(cnn, 14, 6, 10), 10, 64, {"optimizer": AdamW}),
    Task(
        "fashion deep tanh Adam",
        "fashion",
        _mlp(196, 64, 64, 64, 64, 10, **TANH),
        16,
        64,
        {"optimizer": Adam},
    ),
    Task(
        "friedman deep tanh momentum",
        "friedman",
        _mlp(10, 48, 48, 48, 48, 1, **TANH),
        40,
        64,
        MOMENTUM,
    ),
    Task("diabetes MLP SGD", "diabetes", _mlp(10, 32, 1), 120, 16),
    Task("shells MLP SGD batch 16", "shells", _mlp(8, 64, 4), 16, 16),
)
TASKS = TUNING + REPORT
