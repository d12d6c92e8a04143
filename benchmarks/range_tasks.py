"""The tasks on which suggested rates are compared: data, estimator, optimizer, batch size.

The constants of sklr's rules were chosen on `TUNING` and `SHORT_TUNING`, halves that were drawn
before any constant was touched; `REPORT` and `SHORT_REPORT` are test tasks. The short ones are what
users of scikit-learn bring: 100 to 600 steps, tables with categories and missing values, imbalance,
targets that are not scaled, text, embeddings and fine-tuning.
"""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from datasets import digits, fashion_mnist
from models import CharCNN, Names, cnn, mlp
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    make_classification,
    make_friedman1,
    make_gaussian_quantiles,
    make_regression,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler, scale
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback
from torch import nn
from torch.optim import SGD, Adam, AdamW, RMSprop

from sklr.data import ArrayDataset

MOMENTUM: dict[str, Any] = {"optimizer": SGD, "optimizer__momentum": 0.9}
ADAM: dict[str, Any] = {"optimizer": Adam}
ADAMW: dict[str, Any] = {"optimizer": AdamW}
RMSPROP: dict[str, Any] = {"optimizer": RMSprop}

Data = tuple[Any, NDArray[Any]]
"""All inputs and all targets."""


class Parts(NamedTuple):
    """The data that a search sees, and the test data that scores its suggestion."""

    X: Any
    y: NDArray[Any]
    X_test: Any
    y_test: NDArray[Any]


def small_fashion(data_dir: Path | None = None) -> Data:
    """Load 9,000 images of Fashion-MNIST, each 2 x 2 pixels averaged into one, standardized."""
    X, y = fashion_mnist(data_dir)
    chosen = np.random.default_rng(0).permutation(len(X))[:9_000]
    X = X[chosen].reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196)
    return ((X - X.mean()) / X.std()).astype(np.float32), y[chosen]


def half_of(load: Callable[[], Data], upper: bool) -> Data:
    """Load the upper or lower half of ten classes, as 0 to 4."""
    X, y = load()
    rows = (y >= 5) == upper
    return X[rows], y[rows] % 5


def table(load: Callable[[], Data], *, regression: bool = False, scaled: bool = True) -> Data:
    """Make a table of standardized columns; a regression's target is standardized if asked for."""
    X, y = load()
    if regression:
        y = (scale(y) if scaled else y).reshape(-1, 1).astype(np.float32)
    else:
        y = y.astype(np.int64)
    return scale(X).astype(np.float32), y


def weather() -> Data:
    """Load the weather of Seattle: its kind by month and measurements, a tenth of them missing."""
    from vega_datasets import local_data

    frame = local_data.seattle_weather()
    X = frame[["precipitation", "temp_max", "temp_min", "wind"]].astype(float)
    X = X.mask(np.random.default_rng(0).random(X.shape) < 0.1)
    X["month"] = pd.to_datetime(frame["date"]).dt.month_name()
    return X, pd.factorize(frame["weather"], sort=True)[0].astype(np.int64)


def cars() -> Data:
    """Load cars: their consumption, standardized, by categories and numbers, some missing."""
    from vega_datasets import local_data

    frame = local_data.cars().dropna(subset=["Miles_per_Gallon"]).reset_index(drop=True)
    X = frame[["Displacement", "Horsepower", "Weight_in_lbs", "Acceleration"]].astype(float)
    X["Origin"], X["Cylinders"] = frame["Origin"], frame["Cylinders"].astype(str)
    y = scale(frame["Miles_per_Gallon"]).reshape(-1, 1)
    return X, y.astype(np.float32)


def survey(name: str, target: str, categories: tuple[str, ...]) -> Data:
    """Load a survey of statsmodels: whether or which `target`, with some columns as categories."""
    import statsmodels.api as sm

    frame = getattr(sm.datasets, name).load_pandas().data
    X = frame.drop(columns=target).astype(float)
    X = X.assign(**{column: X[column].astype(int).astype(str) for column in categories})
    y = frame[target].to_numpy()
    return X, (y > 0 if target == "affairs" else y).astype(np.int64)


def visits() -> Data:
    """Load visits to doctors of statsmodels: the log of their number, standardized."""
    import statsmodels.api as sm

    frame = sm.datasets.randhie.load_pandas().data
    y = scale(np.log1p(frame["mdvis"])).reshape(-1, 1).astype(np.float32)
    return frame.drop(columns="mdvis").astype(float), y


KINDS = ("Lo", "So", "Ll", "Lu", "Mn", "Sm", "Po", "Nd")


def names(form: str) -> Data:
    """Load the names of Unicode's characters, as text, words or letters, and their kinds."""
    known = [chr(i) for i in range(32, 0x3000) if unicodedata.name(chr(i), "")]
    chosen = [char for char in known if unicodedata.category(char) in KINDS]
    y = np.array([KINDS.index(unicodedata.category(char)) for char in chosen])
    # The words that say the kind outright would make it too easy.
    telling = ("SMALL", "CAPITAL", "DIGIT", "SIGN", "SYMBOL", "COMBINING", "VOWEL")
    texts = [
        " ".join(word for word in unicodedata.name(char).split() if word not in telling)
        for char in chosen
    ]
    if form == "text":
        return np.array(texts, dtype=object), y
    if form == "words":
        vocabulary = {word: i + 1 for i, word in enumerate(sorted(set(" ".join(texts).split())))}
        rows = [[vocabulary[word] % 1_000 for word in text.split()][:8] for text in texts]
        width = 8
    else:
        rows, width = [[ord(letter) % 64 for letter in text][:32] for text in texts], 32
    return np.array([row + [0] * (width - len(row)) for row in rows], dtype=np.int64), y


def imbalanced(share: float) -> Data:
    """Make two classes, the second with a small share."""
    return table(
        partial(
            make_classification,
            6_000,
            n_features=20,
            n_informative=8,
            weights=[1 - share],
            flip_y=0.02,
            random_state=0,
        )
    )


def clusters() -> Data:
    """Make five classes of 20 columns."""
    return table(
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
    )


def linear() -> Data:
    """Make a regression on 15 columns whose target has a deviation over a hundred."""
    return table(
        partial(make_regression, 4_000, 15, n_informative=8, noise=40.0, random_state=0),
        regression=True,
        scaled=False,
    )


DIABETES = partial(load_diabetes, return_X_y=True)
FRIEDMAN = partial(make_friedman1, 6_000, n_features=10, noise=1.0, random_state=0)
SHELLS = partial(
    make_gaussian_quantiles, n_samples=6_000, n_features=8, n_classes=4, random_state=0
)

DATA: dict[str, Callable[[], Data]] = {
    "digits": digits,
    "digits, upper": partial(half_of, digits, True),
    "fashion": small_fashion,
    "fashion, upper": partial(half_of, small_fashion, True),
    "cancer": partial(table, partial(load_breast_cancer, return_X_y=True)),
    "diabetes": partial(table, DIABETES, regression=True),
    "diabetes, unscaled": partial(table, DIABETES, regression=True, scaled=False),
    "friedman": partial(table, FRIEDMAN, regression=True),
    "friedman, unscaled": partial(table, FRIEDMAN, regression=True, scaled=False),
    "clusters": clusters,
    "shells": partial(table, SHELLS),
    "linear": linear,
    "imbalance 5%": partial(imbalanced, 0.05),
    "imbalance 10%": partial(imbalanced, 0.1),
    "weather": weather,
    "cars": cars,
    "parties": partial(survey, "anes96", "PID", ("educ", "income")),
    "affairs": partial(survey, "fair", "affairs", ("occupation", "occupation_husb")),
    "travel": partial(survey, "modechoice", "choice", ("mode",)),
    "visits": visits,
    "names": partial(names, "text"),
    "names, words": partial(names, "words"),
    "names, letters": partial(names, "letters"),
}
REGRESSIONS = ("diabetes", "friedman", "linear", "cars", "visits")

N_SEEN = {"digits": 1_200, "fashion": 5_000, "cancer": 380, "diabetes": 300}
"""Samples that a search may see, if the task does not say so; of other data sets, half of all."""


def column_preprocessing(X: pd.DataFrame) -> Any:
    """Make the preprocessing of a frame: categories as one-hot columns, numbers imputed, scaled."""
    words = [name for name in X.columns if not pd.api.types.is_numeric_dtype(X[name])]
    known = [np.unique(X[name]) for name in words]
    numbers = [name for name in X.columns if name not in words]
    columns = make_column_transformer(
        (OneHotEncoder(categories=known, sparse_output=False), words),
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
    )
    return make_pipeline(columns, FunctionTransformer(np.asarray, kw_args={"dtype": np.float32}))


def text_preprocessing() -> Any:
    """Make the preprocessing of text: weights of its 300 most frequent words."""
    return make_pipeline(
        TfidfVectorizer(max_features=300, token_pattern=r"\S+", dtype=np.float32),
        FunctionTransformer(lambda X: X.toarray(), accept_sparse=True),
    )


@cache
def whole(data: str) -> Data:
    """Load a data set, once."""
    return DATA[data]()


@cache
def parts(data: str, n_seen: int | None = None) -> Parts:
    """Split a data set, the same way in every run."""
    X, y = whole(data)
    order = np.random.default_rng(1).permutation(len(y))
    n_seen = n_seen or N_SEEN.get(data, len(y) // 2)
    seen, test = order[:n_seen], order[n_seen : n_seen + 4_000]
    if isinstance(X, pd.DataFrame):
        return Parts(X.iloc[seen], y[seen], X.iloc[test], y[test])
    return Parts(X[seen], y[seen], X[test], y[test])


@dataclass(frozen=True)
class Task:
    """An estimator to be trained on a data set.

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
    n_seen : int or None
        Samples that a search may see; None is as `N_SEEN` says.
    """

    name: str
    data: str
    module: Callable[[], nn.Module]
    max_epochs: int
    batch_size: int
    params: dict[str, Any] = field(default_factory=dict)
    n_seen: int | None = None

    @property
    def is_regression(self) -> bool:
        """Whether targets are numbers."""
        return self.data.startswith(REGRESSIONS)

    def parts(self) -> Parts:
        """Return the data as the estimator takes it."""
        return parts(self.data, self.n_seen)

    @property
    def n_steps(self) -> int:
        """Steps of a whole training, with skorch's own split."""
        n_seen = self.n_seen or N_SEEN.get(self.data) or len(self.parts().y)
        return self.max_epochs * -(-int(0.8 * n_seen) // self.batch_size)

    def preprocessing(self) -> Any:
        """Return the preprocessing before the net; None if there is none."""
        X, _ = whole(self.data)
        if isinstance(X, pd.DataFrame):
            return column_preprocessing(X)
        return text_preprocessing() if X.dtype == object else None

    def arrays(self) -> Parts:
        """Return the data as the net takes it, with the preprocessing fitted on what is seen."""
        given, steps = self.parts(), self.preprocessing()
        if steps is None:
            return given
        return Parts(
            steps.fit_transform(given.X), given.y, steps.transform(given.X_test), given.y_test
        )

    def net(self, callbacks: list[tuple[str, Callback]] | None = None, **params: Any) -> NeuralNet:
        """Return the net, with skorch's own split of its training data."""
        defaults: dict[str, Any] = {} if self.is_regression else {"criterion": nn.CrossEntropyLoss}
        return (NeuralNetRegressor if self.is_regression else NeuralNetClassifier)(
            self.module,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            callbacks=callbacks,
            dataset=ArrayDataset,
            iterator_train__shuffle=True,
            verbose=0,
            **(defaults | self.params | params),
        )

    def estimator(self, callbacks: list[tuple[str, Callback]] | None = None, **params: Any) -> Any:
        """Return the net, in a Pipeline if there is preprocessing."""
        net, steps = self.net(callbacks, **params), self.preprocessing()
        return net if steps is None else Pipeline([("preprocess", steps), ("net", net)])


def _mlp(*sizes: int, **options: Any) -> Callable[[], nn.Module]:
    return partial(mlp, sizes, **options)


@cache
def _pretrained(data: str, make: Callable[[], nn.Module]) -> nn.Module:
    """Train a module on the other half of the classes."""
    load = digits if data == "digits" else small_fashion
    X, y = half_of(load, False)
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        make,
        criterion=nn.CrossEntropyLoss,
        optimizer=Adam,
        lr=2e-3,
        max_epochs=15,
        batch_size=64,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
    )
    module: nn.Module = net.fit(X[:3_000], y[:3_000]).module_
    return module


class Pretrained:
    """Makes a module that was trained on the other half of the classes, but for its last layer.

    Parameters
    ----------
    data : {'digits', 'fashion'}
        The data set.
    make : callable
        Makes the module.
    """

    def __init__(self, data: str, make: Callable[[], nn.Module]) -> None:
        self.data = data
        self.make = make

    def __call__(self) -> nn.Module:
        """Return a copy whose last layer is new."""
        # Training it must not move the generators of whoever asks.
        with torch.random.fork_rng():
            module = copy.deepcopy(_pretrained(self.data, self.make))
        module[-1].reset_parameters()
        return module


TANH: dict[str, Any] = {"activation": nn.Tanh}
NORM: dict[str, Any] = {"batch_norm": True}

TUNING = (
    Task("digits MLP SGD", "digits", _mlp(64, 64, 10), 40, 32),
    Task("digits deep tanh RMSprop", "digits", _mlp(64, *[48] * 4, 10, **TANH), 40, 32, RMSPROP),
    Task("fashion MLP Adam", "fashion", _mlp(196, 96, 10), 20, 64, ADAM),
    Task("fashion CNN BN momentum", "fashion", partial(cnn, 14, 6, 10, **NORM), 10, 64, MOMENTUM),
    Task("friedman MLP Adam", "friedman", _mlp(10, 64, 64, 1), 30, 64, ADAM),
    Task("clusters MLP RMSprop", "clusters", _mlp(20, 64, 5), 50, 64, RMSPROP),
    Task("cancer MLP momentum", "cancer", _mlp(30, 32, 2), 100, 16, MOMENTUM),
    Task("shells MLP SGD", "shells", _mlp(8, 64, 64, 4), 40, 64),
)
REPORT = (
    Task("digits MLP BN Adam", "digits", _mlp(64, 64, 10, **NORM), 60, 64, ADAM),
    Task("digits CNN momentum", "digits", partial(cnn, 8, 8, 10), 40, 64, MOMENTUM),
    Task("fashion MLP momentum", "fashion", _mlp(196, 96, 10), 16, 64, MOMENTUM),
    Task("fashion CNN AdamW", "fashion", partial(cnn, 14, 6, 10), 10, 64, ADAMW),
    Task("fashion deep tanh Adam", "fashion", _mlp(196, *[64] * 4, 10, **TANH), 16, 64, ADAM),
    Task(
        "friedman deep tanh momentum", "friedman", _mlp(10, *[48] * 4, 1, **TANH), 40, 64, MOMENTUM
    ),
    Task("diabetes MLP SGD", "diabetes", _mlp(10, 32, 1), 120, 16),
    Task("shells MLP SGD batch 16", "shells", _mlp(8, 64, 4), 16, 16),
)
SMALL_CNN = partial(cnn, 8, 8, 5)
FASHION_CNN = partial(cnn, 14, 6, 5)
SHORT_TUNING = (
    Task("digits 500 MLP Adam", "digits", _mlp(64, 64, 10), 15, 32, ADAM, 500),
    Task("digits 800 CNN Adam", "digits", partial(cnn, 8, 8, 10), 20, 64, ADAM, 800),
    Task("cancer 200 MLP Adam", "cancer", _mlp(30, 32, 2), 20, 16, ADAM, 200),
    Task("diabetes 200 MLP Adam", "diabetes", _mlp(10, 32, 1), 30, 16, ADAM, 200),
    Task(
        "friedman unscaled momentum", "friedman, unscaled", _mlp(10, 64, 1), 16, 32, MOMENTUM, 1_000
    ),
    Task("weather table Adam", "weather", _mlp(16, 32, 5), 15, 32, ADAM, 730),
    Task("parties table momentum", "parties", _mlp(39, 32, 7), 15, 32, MOMENTUM, 470),
    Task("travel table RMSprop", "travel", _mlp(11, 32, 2), 20, 32, RMSPROP, 420),
    Task("imbalance 5% MLP Adam", "imbalance 5%", _mlp(20, 32, 2), 15, 64, ADAM, 1_500),
    Task("names text MLP Adam", "names", _mlp(300, 64, 8), 8, 64, ADAM, 2_000),
    Task("names words SGD", "names, words", partial(Names, 1_000, 8), 8, 32, {}, 2_000),
    Task(
        "digits fine-tuned MLP SGD",
        "digits, upper",
        Pretrained("digits", _mlp(64, 64, 5)),
        12,
        32,
        {},
        400,
    ),
    Task(
        "fashion fine-tuned MLP AdamW",
        "fashion, upper",
        Pretrained("fashion", _mlp(196, 96, 5)),
        10,
        64,
        ADAMW,
        1_500,
    ),
    Task(
        "clusters 300 tanh RMSprop", "clusters", _mlp(20, 48, 48, 5, **TANH), 20, 16, RMSPROP, 300
    ),
    Task("clusters 150 logistic SGD", "clusters", _mlp(20, 5), 20, 16, {}, 150),
    Task(
        "fashion 2500 dropout Adam", "fashion", _mlp(196, 96, 10, dropout=0.3), 8, 64, ADAM, 2_500
    ),
)
SHORT_REPORT = (
    Task("digits 500 MLP momentum", "digits", _mlp(64, 64, 10), 20, 32, MOMENTUM, 500),
    Task("digits 800 MLP BN momentum", "digits", _mlp(64, 64, 10, **NORM), 30, 64, MOMENTUM, 800),
    Task("cancer 200 MLP SGD", "cancer", _mlp(30, 32, 2), 30, 16, {}, 200),
    Task("diabetes unscaled Adam", "diabetes, unscaled", _mlp(10, 32, 1), 40, 32, ADAM, 200),
    Task("friedman 600 MLP RMSprop", "friedman", _mlp(10, 64, 1), 20, 32, RMSPROP, 600),
    Task("cars table Adam", "cars", _mlp(12, 32, 1), 25, 16, ADAM, 200),
    Task("affairs table AdamW", "affairs", _mlp(18, 32, 2), 12, 64, ADAMW, 2_000),
    Task("visits table SGD", "visits", _mlp(9, 48, 1), 15, 128, {}, 3_000),
    Task(
        "imbalance 10% weighted momentum",
        "imbalance 10%",
        _mlp(20, 32, 2),
        10,
        32,
        MOMENTUM | {"criterion__weight": torch.tensor([1.0, 5.0])},
        800,
    ),
    Task("names words AdamW", "names, words", partial(Names, 1_000, 8), 10, 64, ADAMW, 2_000),
    Task("names letters CNN Adam", "names, letters", partial(CharCNN, 64, 8), 10, 64, ADAM, 2_000),
    Task(
        "fashion fine-tuned CNN Adam",
        "fashion, upper",
        Pretrained("fashion", FASHION_CNN),
        10,
        64,
        ADAM,
        1_500,
    ),
    Task(
        "digits fine-tuned CNN momentum",
        "digits, upper",
        Pretrained("digits", SMALL_CNN),
        20,
        32,
        MOMENTUM,
        400,
    ),
    Task("shells 600 MLP Adam", "shells", _mlp(8, 64, 4), 30, 32, ADAM, 600),
    Task("linear unscaled Adam", "linear", _mlp(15, 32, 1), 30, 16, ADAM, 200),
    Task(
        "fashion 3000 CNN BN AdamW", "fashion", partial(cnn, 14, 6, 10, **NORM), 8, 64, ADAMW, 3_000
    ),
)
LONG = TUNING + REPORT
SHORT = SHORT_TUNING + SHORT_REPORT
TASKS = LONG + SHORT
