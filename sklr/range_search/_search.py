"""The learning-rate range test as a scikit-learn estimator."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
)
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import assert_all_finite, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.parallel import Parallel
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet

from sklr import _curves
from sklr._training._inputs import check_inputs, is_for_nets
from sklr._training._parallel import Tasks, sent_once
from sklr._training._placeholder import NetPlaceholder
from sklr._training._target import find_target, fitted_part
from sklr._warnings import warn
from sklr.plotting import LRRangeDisplay
from sklr.range_search import _trials
from sklr.range_search._budget import Budget, share
from sklr.range_search._plot_data import range_plot_data
from sklr.range_search._preparation import Prepared, Request, prepare
from sklr.range_search._ramps import MAX_EXTENSIONS, RangeTest, run_test
from sklr.range_search._refit import RefittedMixin, refit
from sklr.range_search._request import (
    Settings,
    check_settings,
    draw_seeds,
    find_scorer,
    make_request,
    with_schedule,
)
from sklr.range_search._result import make_suggestion, notes_on
from sklr.range_search._suggestion import LRSuggestion
from sklr.range_search._trials import have_learned
from sklr.range_search._verification import Verification, verify

RESET = ("suggestion_", "best_estimator_", "best_params_", "refit_time_")
"""Attributes cleared at the start of fit, for a fit that fails or does not refit."""


class LRRangeSearch(
    RefittedMixin,
    CallbackSupportMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
    MetaEstimatorMixin,
    BaseEstimator,
):
    """Find a learning rate by Smith's range test, repeated and averaged, and verified by trials.

    Clones of the net are trained while the rate rises from `min_lr` to `max_lr`, on shuffled data
    unless the net orders it; the training loss is averaged over the repeats, in log loss. If the
    plateau before the fall or the divergence after it was not seen, the range is widened and run
    again. Then rates around that of the least loss are tried, and the loss on validation data
    decides. If the budget allows, each trial is the training that the user will run, to its end and
    with its schedule, and the best are run on several splits of the data; else ever fewer
    candidates go on, at constant rates. Preprocessing in a Pipeline is fitted once a split, on its
    training rows. The estimator itself, and every global random state, stays as it was.

    Parameters
    ----------
    estimator : estimator
        A skorch net, a SnapshotEnsemble or SnapshotEnsembleRegressor of one, or a (nested) Pipeline
        or TransformedTargetRegressor that holds exactly one of these.
    min_lr : float, default=1e-7
        The first rate, above 0 on the log scale.
    max_lr : float, default=10.0
        The last rate.
    n_steps : int, default=100
        Length of a ramp in training batches, at least 10; a ramp goes over short data again.
    scale : {'log', 'linear'}, default='log'
        Whether steps multiply the rate or add to it.
    extend : bool, default=True
        Whether to run the ramps again over a wider range, three times at most and within the
        budget, if a phase was not seen: a hundredfold `max_lr` (tenfold on the linear scale) if
        the loss did not rise, a hundredth or a thousandth of `min_lr` if it fell or rose from the
        first step on (on the linear scale `min_lr=0`, or a hundredth of `max_lr`). The message
        says so.
    n_repeats : int, default=4
        Ramps at most (see `budget`), each with its own seed for the order of the data and, if the
        net's module is a class, for its weights. A module that is an instance keeps its weights; a
        net that should begin anew has a class for a module.
    schedule : schedule callback, default=None
        What the rate is found for: None is the schedule that the net (or the ensemble) has, else a
        constant rate. Given one, such as ``OneCycle()``, `lr` is its peak, for a net that gets this
        schedule; with ``refit=True`` the net that is trained in the end has it.
    verify : bool, default=True
        Whether to verify candidates by trials that validation data decides between: the net's own
        split, else a random fifth, stratified by labels. Without trials fixed fractions of the rate
        of least loss are suggested.
    budget : float or 'auto', default='auto'
        Ramps and trials together cost at most so many whole trainings of the estimator's own
        `max_epochs`, or 10 steps if that is less. 'auto' is 1.5 trainings of 600 steps or more, and
        6 shorter ones, or 2,500 steps if that is more. If at least five whole trainings are left
        after the ramps, trials are whole trainings, with the schedule that the net has; with less,
        they are shorter, at constant rates. A quarter at most goes to ramps if trials follow; if
        the budget is too small for that, all of it. What is left out is in the message.
    scoring : str or callable, default=None
        A metric of scikit-learn's, or a callable ``scorer(estimator, X, y)``: read, in the place
        of the training loss, after each step of a ramp, and judging the trials, both on validation
        data. None is the loss. Smith used the accuracy.
    n_jobs : int, default=None
        Ramps or trials at once, as in joblib. Under threads they take turns.
    random_state : int, RandomState instance or None, default=None
        Seeds the search; None draws one seed from numpy's global state. The same seed gives the
        same answer for every `n_jobs` at equal numbers of torch threads.
    refit : bool, default=False
        Whether to train a clone with the suggestion on all data in the end, and to predict with
        it. Without an answer its own rate is used, with a warning.
    verbose : int, default=0
        1 prints a line a ramp and a rung of trials. For a progress bar:
        ``search.set_callbacks(sklearn.callback.ProgressBar())``.

    Attributes
    ----------
    suggestion_ : LRSuggestion
        The suggestion; there after every fit.
    results_ : dict of ndarray
        Equal-length arrays 'round', 'repeat', 'step', 'lr' and 'loss', and 'score' with `scoring`;
        one row a step of a ramp. Each extension of the range is another round.
    trials_ : dict of ndarray
        Equal-length arrays 'lr', 'schedule' ('Constant', or the callback's class), 'split',
        'steps', 'loss' (on validation data; 'score' with `scoring`) and 'averaged_loss' (at weights
        averaged over the last tenth of the steps, which speak for the peak of a schedule; NaN if a
        schedule was tried); one row a trial, those at the best rate first; empty if none was tried.
    curve_ : Curve
        The averaged ramps of the range that answers: `lrs`, `loss` (minus the score with
        `scoring`), `band`.
    phases_ : tuple of (float, float)
        The rates at which the loss begins to fall and to diverge; NaN if that was not seen.
    best_estimator_ : estimator
        The refitted estimator, which sees encoded labels. Only with ``refit=True``, as the next.
    best_params_ : dict
        What it was given: the suggestion's `params`.
    refit_time_ : float
        Seconds that it took to train.
    classes_ : ndarray of shape (n_classes,)
        The labels. Only of a classifier with ``refit=True``.
    n_features_in_ : int
        Number of features seen in fit, if X is an array or a frame.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they are strings.

    Raises
    ------
    TypeError, ValueError
        At the start of fit, if a parameter or the data is wrong.

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
    >>> suggestion.status, suggestion.verified
    ('ok', True)
    >>> low, high = suggestion.interval
    >>> low < suggestion.lr < high
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
        extend: bool = True,
        n_repeats: int = 4,
        schedule: Any = None,
        verify: bool = True,
        budget: float | str = "auto",
        scoring: Any = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        refit: bool = False,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.min_lr = min_lr
        self.max_lr = max_lr
        self.n_steps = n_steps
        self.scale = scale
        self.extend = extend
        self.n_repeats = n_repeats
        self.schedule = schedule
        self.verify = verify
        self.budget = budget
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.refit = refit
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any = None, **params: Any) -> LRRangeSearch:
        """Run the ramps, average them, and try the rates around the least loss.

        Parameters
        ----------
        X : array-like
            Whatever the estimator takes.
        y : array-like, default=None
            Likewise; labels of any kind.
        **params
            Passed to the estimator's fit, or routed if scikit-learn's metadata routing is enabled:
            each reaches the net's split and forward pass as in skorch's own fit, split by rows.
            `sample_weight`, of shape (n_samples,), weighs the loss.

        Returns
        -------
        self : LRRangeSearch

        Raises
        ------
        TypeError, ValueError
            If a parameter is out of range, or the data is wrong.
        RangeTestError
            If one of the net's callbacks ends a ramp or a trial before its end.
        KeyboardInterrupt
            If the user interrupts.
        """
        start = time.perf_counter()
        self._reset()
        settings = check_settings(self)
        target = with_schedule(self, find_target(self, self.estimator))
        request = make_request(self, target, X, y, params)
        context = self._init_callback_context(max_subtasks=None)
        context.call_on_fit_task_begin(estimator=self, X=request.X, y=request.y)
        seeds = draw_seeds(self.random_state, (1 + MAX_EXTENSIONS) * settings.n_repeats)
        prepared, data = prepare(request, seeds.split)
        budget = self._share_budget(settings, prepared)
        with sent_once(data), Parallel(n_jobs=self.n_jobs) as parallel:
            tasks = Tasks(self, context, parallel)
            test = run_test(tasks, prepared, data, settings, budget, iter(seeds.ramps))
            found = verify(tasks, request, prepared, data, budget, test, seeds)
        self._keep(request, prepared, test, found)
        learned = not test.answered and have_learned(prepared, data, found.trials, seeds.trials)
        notes = notes_on(self, request, prepared, data, budget, test, found)
        seconds = time.perf_counter() - start
        self.suggestion_ = make_suggestion(
            target, prepared, data, test, found, learned, notes, seconds
        )
        if self.refit:
            self._refit(context, request, prepared, seeds.refit)
        context.call_on_fit_task_end(estimator=self, X=request.X, y=request.y)
        return self

    def _reset(self) -> None:
        for name in RESET:
            self.__dict__.pop(name, None)

    def _share_budget(self, settings: Settings, prepared: Prepared) -> Budget:
        steps = prepared.training_steps
        # Without validation data nothing can be verified; without a length that is what is told.
        wanted = settings.verify and (prepared.evaluation is not None or steps is None)
        n_steps = settings.finder.n_steps
        return share(steps, settings.budget, settings.n_repeats, n_steps, wanted)

    def _keep(
        self, request: Request, prepared: Prepared, test: RangeTest, found: Verification
    ) -> None:
        """Set the fitted attributes that hold the search's measurements."""
        self._labels = request.labels
        self._holds_ensemble = request.target.is_ensemble
        self._flat_targets = request.labels is None and np.ndim(request.y) == 1
        self._preprocessing = prepared.preprocessing
        self.curve_ = test.curve
        self.phases_ = (test.summary.descent_lr, test.summary.divergence_lr)
        self.results_ = test.table()
        self.trials_ = _trials.table(found.trials, scored=prepared.is_scored)

    def _refit(self, context: Any, request: Request, prepared: Prepared, seed: int) -> None:
        """Train a clone with the suggestion."""
        start = time.perf_counter()
        found = self.suggestion_
        if found.status not in _curves.ANSWERED:
            warn(
                "The range test has no answer, and the estimator was trained with its own rate. "
                f"{found.status}: {found.message}"
            )
        self.best_params_ = dict(found.params)
        X, y = request.X, request.y
        task = context.subcontext("refit").call_on_fit_task_begin(estimator=self, X=X, y=y)
        self.best_estimator_ = refit(request, prepared.adapted, self.best_params_, seed)
        task.call_on_fit_task_end(estimator=self, X=X, y=y)
        self.refit_time_ = time.perf_counter() - start

    def suggest(self) -> LRSuggestion:
        """Return the suggestion.

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
        check_is_fitted(self)
        if self.suggestion_.status not in _curves.ANSWERED:
            raise _curves.RangeTestError(f"{self.suggestion_.status}: {self.suggestion_.message}")
        return self.suggestion_

    def transform(self, X: Any) -> Any:
        """Return X: in mid-Pipeline the suggestion reaches no later step.

        Parameters
        ----------
        X : array-like
            As in fit.

        Returns
        -------
        X : array-like
            The same object.
        """
        check_is_fitted(self)
        checked = check_inputs(self, X, reset=False, preprocessed=self._is_preprocessed())
        if self._is_preprocessed():
            self._check_reaches_net_finite(X)
        # A list, or what only can become an array, becomes one, as in other transformers.
        return X if hasattr(X, "shape") or is_for_nets(X) else checked

    def plot(self, ax: Any = None) -> LRRangeDisplay:
        """Draw the averaged loss against the rate, its phases, the suggestion and the trials.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        LRRangeDisplay
            With `ax_` and `figure_`.
        """
        check_is_fitted(self)
        return LRRangeDisplay.from_search(self).plot(ax=ax)

    def _is_preprocessed(self) -> bool:
        return not isinstance(self._preprocessing, NetPlaceholder)

    def _check_reaches_net_finite(self, X: Any) -> None:
        """Raise if NaN or infinite values in X pass the preprocessing."""
        if not isinstance(X, np.ndarray) or X.dtype.kind != "f" or np.isfinite(X).all():
            return
        placeholder = fitted_part(self._preprocessing, NetPlaceholder)
        self._preprocessing.predict(X)
        assert_all_finite(placeholder.X_, estimator_name=type(self).__name__, input_name="X")
        del placeholder.X_

    def _plot_data(self) -> dict[str, Any]:
        check_is_fitted(self)
        return range_plot_data(self)

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the routing: `fit` to the estimator's fit, and to the scorer if there is one.

        Returns
        -------
        MetadataRouter
        """
        router = MetadataRouter(owner=self).add(
            estimator=self.estimator,
            method_mapping=MethodMapping().add(caller="fit", callee="fit"),
        )
        if self.scoring is not None:
            mapping = MethodMapping().add(caller="fit", callee="score")
            mapping.add(caller="score", callee="score")
            router.add(scorer=find_scorer(self), method_mapping=mapping)
        return router

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "suggestion_")

    def __sklearn_tags__(self) -> Any:
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.input_tags, tags.target_tags = inner.input_tags, inner.target_tags
        if isinstance(self.estimator, NeuralNet):
            tags.input_tags.sparse = True
        tags.estimator_type = None
        if self.refit:
            tags.estimator_type = inner.estimator_type
            tags.classifier_tags = inner.classifier_tags
            tags.regressor_tags = inner.regressor_tags
        return tags
