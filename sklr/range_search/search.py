"""The learning-rate range test as a scikit-learn estimator."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier

from sklr import _curves
from sklr._nets import find_net, find_schedule, seeded, was_interrupted
from sklr._targets import encode_labels
from sklr._validation import (
    Description,
    ParameterValueError,
    check_flag,
    check_integer,
    check_number,
    in_name_of,
)
from sklr.callbacks import LRFinder, Schedule
from sklr.plotting import LRRangeDisplay
from sklr.range_search import _budget, _probes
from sklr.range_search._material import Material, prepare
from sklr.range_search.suggestion import LRSuggestion, RangeTestError


class LRRangeSearch(TransformerMixin, MetaEstimatorMixin, BaseEstimator):
    """Find a learning rate by Smith's range test, repeated and averaged, and verified by probes.

    Clones of the net are trained while the rate rises from `min_lr` to `max_lr`, on shuffled data
    unless the net orders it; the training loss is averaged over the repeats, in log loss. Then
    rates around that of the least loss are probed: each trains from fresh weights, ever fewer go
    on, and the loss on held-out data decides. A Pipeline's preprocessing is fitted once, on the
    training part. The estimator itself, and every global random state, stays as it was.

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
        Ramps at most (see `budget`), each with its own seed for the order of the data and, where
        the net's module is a class, for its weights. A module that is an instance keeps its
        weights; a net that should begin anew has a class for a module.
    probe : bool, default=True
        Whether to verify candidates by short trainings at constant rates, on held-out data: the
        net's own split, else a random fifth, stratified by labels. Without probes fixed parts of
        the rate of least loss are suggested.
    budget : float, default=1.5
        Ramps and probes together cost at most so many whole trainings of the estimator's own
        `max_epochs`, or 10 steps where that is less. A quarter goes to ramps where probes follow;
        where the training is too short for that, all of it. What is left out is in the message.
    n_jobs : int, default=None
        Ramps or probes at once, as in joblib. Under threads they take turns.
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
    probes_ : dict of ndarray
        Equal-length arrays 'lr', 'steps' and 'loss' (on held-out data), one row a candidate; empty
        where none was probed.
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
        probe: bool = True,
        budget: float = 1.5,
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
        self.probe = probe
        self.budget = budget
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> LRRangeSearch:
        """Run the ramps, read the averaged curve and probe the rates around its least loss.

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
            finder.ramp()
        check_integer(self, "n_repeats", self.n_repeats, at_least=1)
        check_flag(self, "probe", self.probe)
        check_number(self, "budget", self.budget, above=0)
        prefix, net = find_net(self, self.estimator)
        if y is not None and isinstance(net, NeuralNetClassifier | NeuralNetBinaryClassifier):
            _, y = encode_labels(net, y)
        schedule = find_schedule(net)

        seed = check_random_state(self.random_state).randint(2**31 - 1)
        *seeds, probe_seed = np.random.SeedSequence(seed).generate_state(self.n_repeats + 1)
        with seeded(int(probe_seed)):
            material = prepare(self, self.estimator, X, y, fit_params, self.probe)
        budget = _budget.share(
            material.training_steps,
            self.budget,
            self.n_repeats,
            self.n_steps,
            self.probe and material.held_out is not None,
        )
        finder.n_steps = budget.n_steps
        notes = budget.message
        if self.probe and material.held_out is None and material.training_steps is not None:
            notes = f"No candidate was probed: nothing could be held out. {notes}"
        with Parallel(n_jobs=self.n_jobs) as parallel:
            ramps = parallel(
                delayed(_run_ramp)(material, finder, int(seed), self._label(repeat, budget))
                for repeat, seed in enumerate(seeds[: budget.n_repeats])
            )
            lrs = finder.ramp()(np.arange(finder.n_steps))
            losses = [losses for _, losses in ramps]
            self.curve_ = _curves.average(lrs, losses)
            self.results_ = _table(ramps)
            reading = _curves.read(self.curve_)
            answered = reading.status in _curves.ANSWERED
            spent = len(self.results_["step"])
            probes: list[_probes.Probe] = []
            if answered and budget.probes:
                assert budget.steps is not None
                probes = self._probe(
                    parallel, material, reading, budget.steps - spent, int(probe_seed)
                )
        self.probes_ = {
            "lr": np.array([probe.lr for probe in probes]),
            "steps": np.array([probe.steps for probe in probes], dtype=int),
            "loss": np.array([_probes.recent(probe) for probe in probes]),
        }
        low, high = _curves.interval(lrs, losses)
        if probes:
            assert material.training_steps is not None
            reading = _verified(reading, probes, material.training_steps)
        if answered:
            if schedule is not None and not isinstance(schedule[1], Schedule):
                # A schedule begins or peaks at a rate that it leaves again.
                reading = replace(reading, lr=reading.max_lr)
            low, high = np.nanmin([low, reading.lr]), np.nanmax([high, reading.lr])
        self.suggestion_ = LRSuggestion(
            lr=reading.lr,
            base_lr=reading.base_lr,
            max_lr=reading.max_lr,
            steepest_lr=reading.steepest_lr,
            interval=(float(low), float(high)),
            status=reading.status,
            message=f"{reading.message} {notes}".rstrip(),
            params=_params(prefix, net, schedule, reading) if answered else {},
            cost_steps=spent + int(self.probes_["steps"].sum()),
            seconds=time.perf_counter() - start,
        )
        return self

    def _probe(
        self, parallel: Any, material: Material, reading: _curves.Reading, left: int, seed: int
    ) -> list[_probes.Probe]:
        """Train the candidates, ever fewer of them; the best of the last round comes first."""
        rounds = _budget.rounds(left)
        marks = _probes.checkpoints(rounds[-1][1])
        going = [_probes.Probe(lr, 0, [], None) for lr in _probes.candidates(reading.best_lr)]
        ended: list[_probes.Probe] = []
        for number, (count, steps) in enumerate(rounds):
            ended = [*going[count:], *ended]
            # The same seed for all: they differ by their rates only.
            now = tuple(sorted({mark for mark in marks if mark < steps} | {steps}))
            going = parallel(
                delayed(_probes.train_on)(material, probe, now, (seed + number) % 2**32)
                for probe in going[:count]
            )
            going.sort(key=_probes.recent)
            if self.verbose:
                best = going[0]
                print(
                    f"LRRangeSearch: probes, round {number + 1} of {len(rounds)}: of {len(going)} "
                    f"rates {best.lr:.2g} is best after {best.steps} steps"
                )
        return [*going, *ended]

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

    def _label(self, repeat: int, budget: _budget.Budget) -> str | None:
        return f"LRRangeSearch: ramp {repeat + 1} of {budget.n_repeats}" if self.verbose else None


FINDER = "sklr_lr_finder"
"""Name of the ramp's callback, which no callback of the user's is likely to have."""

Ramp = tuple[list[float], list[float]]
"""Rates and losses of one ramp."""


def _run_ramp(material: Material, finder: LRFinder, seed: int, label: str | None) -> Ramp:
    """Train a clone while the rate rises, and give rates and losses."""
    with seeded(seed):
        net = clone(material.net)
        net.callbacks = [*(net.callbacks or []), (FINDER, clone(finder, safe=False))]
        # However short the data, this many epochs hold the ramp, which ends them itself.
        net.set_params(max_epochs=finder.n_steps)
        with _no_broadcast_loss():
            net.fit(material.X, material.y, **material.fit_params)
    done = dict(net.callbacks_)[FINDER]
    if done.ended_ is None:
        if was_interrupted(net):
            raise KeyboardInterrupt
        kept = [name for name, _ in net.callbacks_]
        raise RangeTestError(f"A callback ended the training before the ramp. It has {kept}.")
    if label is not None:
        print(f"{label}: {done.ended_} after {len(done.lrs_)} steps")
    return done.lrs_, done.losses_


def _verified(
    reading: _curves.Reading, probes: list[_probes.Probe], training_steps: int
) -> _curves.Reading:
    """Put what the best probe says in the place of what the curve says."""
    if not np.isfinite(_probes.recent(probes[0])):
        return replace(reading, message=f"{reading.message} Every probe diverged.")
    lr = _probes.verdict(probes[0], training_steps)
    # Never beyond both the best probe and the least loss: there the loss soon explodes.
    peak = max(lr, min(lr * _probes.PEAK, max(probes[0].lr, reading.best_lr)))
    message = f"{reading.message} Of {len(probes)} rates probed, {probes[0].lr:.2g} did best."
    base = peak * _curves.BASE_PART
    return replace(reading, lr=lr, base_lr=base, max_lr=peak, message=message)


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
