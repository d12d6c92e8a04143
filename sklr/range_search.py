"""The learning-rate range test as a scikit-learn estimator."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted
from torch.utils.data import IterableDataset

from sklr import _curves
from sklr._nets import find_net, find_schedule, fitted_net, make_silent, seeded, was_interrupted
from sklr._validation import Description, ParameterValueError, check_integer, in_name_of
from sklr.callbacks import LRFinder, Schedule
from sklr.plotting import LRRangeDisplay


class RangeTestError(RuntimeError):
    """A range test without an answer; the message says what happened and what to do."""


@dataclass(frozen=True, kw_only=True)
class LRSuggestion:
    """What a range test suggests.

    Attributes
    ----------
    lr : float
        For a constant rate.
    base_lr, max_lr : float
        Bounds for a cycle.
    steepest_lr : float
        The rate at the steepest fall of the loss, which other finders suggest; to compare.
    interval : tuple of (float, float)
        Lowest and highest `lr` that the repeats suggest one by one.
    status : {'ok', 'no_divergence', 'flat', 'diverged_at_start', 'failed'}
        What the test came to; the rates are NaN unless it is one of the first two.
    message : str
        What happened and what to do.
    params : dict
        Ready for ``estimator.set_params(**params)``; empty without an answer.
    cost_steps : int
        Training batches that the test took.
    seconds : float
        Wall time that the test took.
    """

    lr: float
    base_lr: float
    max_lr: float
    steepest_lr: float
    interval: tuple[float, float]
    status: str
    message: str
    params: dict[str, float] = field(default_factory=dict)
    cost_steps: int
    seconds: float

    def param_grid(self, n: int = 5) -> dict[str, list[float]]:
        """Give a grid around the suggestion, for GridSearchCV.

        Parameters
        ----------
        n : int, default=5
            Number of rates, evenly spaced on the log scale over half a decade to each side.

        Returns
        -------
        dict of str to list of float
            By the name of the estimator's parameter.
        """
        check_integer(self, "n", n, at_least=1)
        steps = np.linspace(-0.5, 0.5, n) if n > 1 else np.zeros(1)
        return {
            name: [float(lr * 10**step) for step in steps] for name, lr in self._searched().items()
        }

    def param_distributions(self) -> dict[str, Any]:
        """Give log-uniform distributions around the suggestion, for RandomizedSearchCV.

        Returns
        -------
        dict of str to scipy distribution
            By the name of the estimator's parameter; half a decade to each side.
        """
        return {
            name: loguniform(lr / 10**0.5, lr * 10**0.5) for name, lr in self._searched().items()
        }

    def _searched(self) -> dict[str, float]:
        """Give the parameters to search: the peak of a cycle, while its base stays as suggested."""
        return {name: lr for name, lr in self.params.items() if not name.endswith("__base_lr")}


class LRRangeSearch(TransformerMixin, MetaEstimatorMixin, BaseEstimator):
    """Find a learning rate by Smith's range test, repeated and averaged.

    Clones of the estimator are trained while the rate rises from `min_lr` to `max_lr`, on shuffled
    data unless the net orders it; the training loss is averaged over the repeats, in log loss. The
    estimator itself, and every global random state, stays as it was.

    Parameters
    ----------
    estimator : estimator
        A skorch net, or a (nested) Pipeline or TransformedTargetRegressor that holds exactly one.
    min_lr : float, default=1e-7
        The first rate, above 0 on the log scale.
    max_lr : float, default=10.0
        The last rate.
    n_steps : int, default=100
        Length of a ramp in training batches, at least 10; a ramp goes over short data again.
    scale : {'log', 'linear'}, default='log'
        Whether steps multiply the rate or add to it.
    n_repeats : int, default=4
        Ramps, each with its own seed for the order of the data and, where the net's module is a
        class, for its weights. A module that is an instance keeps its weights; a net that should
        begin anew has a class for a module.
    n_jobs : int, default=None
        Ramps at once, as in joblib. Under threads they take turns.
    random_state : int, RandomState instance or None, default=None
        Seeds the ramps; None draws one seed from numpy's global state.
    verbose : int, default=0
        1 prints a line a ramp.

    Attributes
    ----------
    suggestion_ : LRSuggestion
        What the test came to; there after every fit.
    results_ : dict of ndarray
        Equal-length arrays 'repeat', 'step', 'lr' and 'loss', one row a ramp and step.
    curve_ : Curve
        The averaged ramps: `lrs`, `loss`, `band`.

    Raises
    ------
    TypeError, ValueError
        At the start of fit, if a parameter is out of range.

    References
    ----------
    Smith: Cyclical learning rates for training neural networks. WACV 2017. Section 3.3.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skorch import NeuralNetClassifier
    >>> from torch import nn
    >>> from sklr import LRRangeSearch
    >>> X, y = load_digits(return_X_y=True)
    >>> net = NeuralNetClassifier(
    ...     nn.Linear,
    ...     module__in_features=64,
    ...     module__out_features=10,
    ...     criterion=nn.CrossEntropyLoss,
    ... )
    >>> search = LRRangeSearch(net, n_repeats=2, random_state=0)
    >>> suggestion = search.fit((X / 16).astype("float32"), y).suggest()
    >>> suggestion.status
    'ok'
    >>> 0.01 < suggestion.lr < 1
    True
    """

    def __init__(
        self,
        estimator: Any,
        *,
        min_lr: float = 1e-7,
        max_lr: float = 10.0,
        n_steps: int = 100,
        scale: str = "log",
        n_repeats: int = 4,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.min_lr = min_lr
        self.max_lr = max_lr
        self.n_steps = n_steps
        self.scale = scale
        self.n_repeats = n_repeats
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> LRRangeSearch:
        """Run the ramps and read the averaged curve.

        Parameters
        ----------
        X : array-like
            Whatever the estimator takes.
        y : array-like, default=None
            Likewise.
        **fit_params
            Passed to the estimator's fit.

        Returns
        -------
        self : LRRangeSearch

        Raises
        ------
        TypeError, ValueError
            If a parameter is out of range.
        RangeTestError
            If one of the net's callbacks ends a ramp before its end.
        KeyboardInterrupt
            If the user interrupts.
        """
        start = time.perf_counter()
        finder = LRFinder(
            min_lr=self.min_lr, max_lr=self.max_lr, n_steps=self.n_steps, scale=self.scale
        )
        with in_name_of(self):
            ramp = finder.ramp()
        check_integer(self, "n_repeats", self.n_repeats, at_least=1)
        prefix, net = find_net(self, self.estimator)
        schedule = find_schedule(net)

        seed = check_random_state(self.random_state).randint(2**31 - 1)
        seeds = np.random.SeedSequence(seed).generate_state(self.n_repeats)
        ramps = Parallel(n_jobs=self.n_jobs)(
            delayed(_run_ramp)(
                self.estimator, finder, X, y, fit_params, int(seed), self._label(repeat)
            )
            for repeat, seed in enumerate(seeds)
        )

        lrs = ramp(np.arange(ramp.n_steps))
        losses = [losses for _, losses in ramps]
        self.curve_ = _curves.average(lrs, losses)
        self.results_ = _table(ramps)
        reading = _curves.read(self.curve_)
        answered = reading.status in _curves.ANSWERED
        params = _params(prefix, net, schedule, reading) if answered else {}
        self.suggestion_ = LRSuggestion(
            lr=reading.lr,
            base_lr=reading.base_lr,
            max_lr=reading.max_lr,
            steepest_lr=reading.steepest_lr,
            interval=_curves.interval(lrs, losses),
            status=reading.status,
            message=reading.message,
            params=params,
            cost_steps=len(self.results_["step"]),
            seconds=time.perf_counter() - start,
        )
        return self

    def suggest(self) -> LRSuggestion:
        """Give the suggestion.

        Returns
        -------
        LRSuggestion

        Raises
        ------
        RangeTestError
            If the test has no answer: the status is neither 'ok' nor 'no_divergence'.
        NotFittedError
            Before fit.
        """
        check_is_fitted(self, "suggestion_")
        if self.suggestion_.status not in _curves.ANSWERED:
            raise RangeTestError(f"{self.suggestion_.status}: {self.suggestion_.message}")
        return self.suggestion_

    def transform(self, X: Any) -> Any:
        """Give X back: in mid-Pipeline the suggestion reaches no later step.

        Parameters
        ----------
        X : array-like
            Anything.

        Returns
        -------
        X : array-like
            The same object.
        """
        check_is_fitted(self, "suggestion_")
        return X

    def plot(self, ax: Any = None) -> LRRangeDisplay:
        """Draw the averaged loss against the rate, with the suggestion marked.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        LRRangeDisplay
            With `ax_` and `figure_`.
        """
        check_is_fitted(self, "suggestion_")
        return LRRangeDisplay.from_search(self).plot(ax=ax)

    def _label(self, repeat: int) -> str | None:
        return f"LRRangeSearch: ramp {repeat + 1} of {self.n_repeats}" if self.verbose else None


FINDER = "sklr_lr_finder"
"""Name of the ramp's callback, which no callback of the user's is likely to have."""

ORDER = ("shuffle", "sampler", "batch_sampler")
"""Parameters of a DataLoader that say in which order samples come."""

Ramp = tuple[list[float], list[float]]
"""Rates and losses of one ramp."""


def _run_ramp(
    estimator: Any,
    finder: LRFinder,
    X: Any,
    y: Any,
    fit_params: dict[str, Any],
    seed: int,
    label: str | None,
) -> Ramp:
    """Train a clone while the rate rises, and give rates and losses."""
    with seeded(seed):
        trained = clone(estimator)
        _, net = find_net(trained, trained)
        make_silent(net, [(FINDER, clone(finder, safe=False))])
        # However short the data, this many epochs hold the ramp, which ends them itself.
        net.set_params(max_epochs=finder.n_steps, train_split=None)
        if not any(hasattr(net, f"iterator_train__{name}") for name in ORDER):
            # Else the ramps of a net that begins with given weights would all be one.
            net.set_params(iterator_train__shuffle=not isinstance(X, IterableDataset))
        with _no_broadcast_loss():
            trained.fit(X, y, **fit_params)
    net = fitted_net(trained)
    done = dict(net.callbacks_)[FINDER]
    if done.ended_ is None:
        if was_interrupted(net):
            raise KeyboardInterrupt
        kept = [name for name, _ in net.callbacks_]
        raise RangeTestError(f"A callback ended the training before the ramp. It has {kept}.")
    if label is not None:
        print(f"{label}: {done.ended_} after {len(done.lrs_)} steps")
    return done.lrs_, done.losses_


@contextmanager
def _no_broadcast_loss() -> Iterator[None]:
    """Turn torch's warning of a loss over all pairs of outputs and targets into an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Using a target size")
        try:
            yield
        except UserWarning as warning:
            if "Using a target size" not in str(warning):
                raise
            requirement = (
                "have the shape of the net's output, as y.reshape(-1, 1) has (or squeeze the "
                "output, inside a TransformedTargetRegressor)"
            )
            raise ParameterValueError(
                LRRangeSearch.__name__, "y", requirement, Description(f"torch's {str(warning)!r}")
            ) from None


def _table(ramps: list[Ramp]) -> dict[str, npt.NDArray[Any]]:
    return {
        "repeat": np.concatenate([np.full(len(lrs), i) for i, (lrs, _) in enumerate(ramps)]),
        "step": np.concatenate([np.arange(len(lrs)) for lrs, _ in ramps]),
        "lr": np.concatenate([lrs for lrs, _ in ramps]),
        "loss": np.concatenate([losses for _, losses in ramps]),
    }


def _params(
    prefix: str, net: Any, schedule: tuple[str, Any] | None, reading: _curves.Reading
) -> dict[str, float]:
    """Give the suggestion as parameters of the estimator: those of its schedule, or the rate."""
    if schedule is not None and not isinstance(schedule[1], Schedule):
        name, callback = schedule
        suggested = {"lr": reading.lr, "base_lr": reading.base_lr, "max_lr": reading.max_lr}
        own = callback.get_params()
        return {f"{prefix}callbacks__{name}__{k}": v for k, v in suggested.items() if k in own}
    return {f"{prefix}{'optimizer__lr' if hasattr(net, 'optimizer__lr') else 'lr'}": reading.lr}
