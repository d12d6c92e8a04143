"""The learning-rate range test as a scikit-learn estimator."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
    is_classifier,
    is_regressor,
)
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.metrics import check_scoring
from sklearn.utils import assert_all_finite, check_random_state, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.parallel import Parallel
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet

from sklr import _curves
from sklr._training._evaluation import TrainingData
from sklr._training._inputs import check_inputs, check_targets_given, is_for_nets
from sklr._training._labels import Labels, regression_targets
from sklr._training._parallel import Tasks
from sklr._training._placeholder import NetPlaceholder
from sklr._training._sample_weight import check_weights
from sklr._training._seeding import seeded_without_turn
from sklr._training._target import Target, find_target, fitted_part
from sklr._validation import (
    ParameterTypeError,
    check_flag,
    check_integer,
    check_number,
    check_verbose,
    in_name_of,
)
from sklr._warnings import warn
from sklr.callbacks import LRFinder
from sklr.plotting import LRRangeDisplay
from sklr.range_search import _budget, _trials
from sklr.range_search._budget import Budget
from sklr.range_search._plot_data import range_plot_data
from sklr.range_search._preparation import Prepared, Request, prepare
from sklr.range_search._ramps import MAX_EXTENSIONS, RangeTest, run_test
from sklr.range_search._refit import RefittedMixin, refit
from sklr.range_search._result import make_suggestion
from sklr.range_search._suggestion import LRSuggestion, RangeTestError
from sklr.range_search._trials import Trial, have_learned, run_trials

RESET = ("suggestion_", "best_estimator_", "best_params_", "refit_time_")
"""Attributes cleared at the start of fit, for a fit that fails or does not refit."""


@dataclass(frozen=True)
class Settings:
    """The numbers that a search was asked with, checked, as plain Python numbers."""

    finder: LRFinder
    n_repeats: int
    budget: float
    extend: bool
    verify: bool
    verbose: bool


@dataclass(frozen=True)
class Seeds:
    """A seed for each random part of a search."""

    split: int
    trials: int
    refit: int
    ramps: list[int]


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
    again. Then rates around that of the least loss are tried: each trains from fresh weights, ever
    fewer go on, and the loss on validation data decides. A Pipeline's preprocessing is fitted once,
    on the training rows. The estimator itself, and every global random state, stays as it was.

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
    verify : bool, default=True
        Whether to verify candidates by trials, short trainings at constant rates that validation
        data decides between: the net's own split, else a random fifth, stratified by labels.
        Without trials fixed fractions of the rate of least loss are suggested.
    budget : float, default=1.5
        Ramps and trials together cost at most so many whole trainings of the estimator's own
        `max_epochs`, or 10 steps if that is less. A quarter goes to ramps if trials follow; if the
        training is too short for that, all of it. What is left out is in the message.
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
        Equal-length arrays 'lr', 'steps' and 'loss' (on validation data; 'score' with `scoring`),
        one row a candidate, the best first; empty if none was tried.
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
        extend: bool = True,
        n_repeats: int = 4,
        verify: bool = True,
        budget: float = 1.5,
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
        settings, target = self._settings(), find_target(self, self.estimator)
        request = self._request(target, X, y, params)
        context = self._init_callback_context(max_subtasks=None)
        context.call_on_fit_task_begin(estimator=self, X=request.X, y=request.y)
        seeds = self._seeds(settings)
        # Preprocessing and split are the user's code, which may train in threads of its own.
        with seeded_without_turn(seeds.split):
            prepared, data = prepare(request)
        budget = self._shared_budget(settings, prepared)
        with Parallel(n_jobs=self.n_jobs) as parallel:
            tasks = Tasks(self, context, parallel)
            test = run_test(
                tasks,
                prepared,
                data,
                settings.finder,
                budget,
                iter(seeds.ramps),
                extend=settings.extend,
                verbose=settings.verbose,
            )
            trials = self._try_candidates(tasks, prepared, data, budget, test, seeds.trials)
        learned = self._have_learned(prepared, data, test, trials, seeds.trials)
        notes = self._notes(request, prepared, budget, test, trials)
        seconds = time.perf_counter() - start
        self._keep(prepared, test, trials)
        self.suggestion_ = make_suggestion(
            target, test, trials, learned, prepared.training_steps, notes, seconds
        )
        if self.refit:
            self._refit(context, request, prepared, seeds.refit)
        context.call_on_fit_task_end(estimator=self, X=request.X, y=request.y)
        return self

    def _reset(self) -> None:
        for name in RESET:
            self.__dict__.pop(name, None)

    def _settings(self) -> Settings:
        """Return the parameters, checked, as plain numbers."""
        finder = LRFinder(
            min_lr=self.min_lr, max_lr=self.max_lr, n_steps=self.n_steps, scale=self.scale
        )
        with in_name_of(self):
            ramp = finder.ramp()
        finder.set_params(min_lr=ramp.min_lr, max_lr=ramp.max_lr, n_steps=ramp.n_steps)
        n_repeats = check_integer(self, "n_repeats", self.n_repeats, at_least=1)
        for name in ("extend", "verify", "refit"):
            check_flag(self, name, getattr(self, name))
        budget = check_number(self, "budget", self.budget, above=0)
        check_verbose(self, self.verbose)
        if not (self.scoring is None or isinstance(self.scoring, str) or callable(self.scoring)):
            requirement = "be the name of a metric, a scorer or None"
            raise ParameterTypeError(self, "scoring", requirement, self.scoring)
        return Settings(finder, n_repeats, budget, self.extend, self.verify, bool(self.verbose))

    def _request(self, target: Target, X: Any, y: Any, params: dict[str, Any]) -> Request:
        """Validate data, and return it with everything that is asked of it."""
        net = target.net
        X = check_inputs(self, X, reset=True, preprocessed=bool(target.prefix))
        self._labels, self._flat_targets = None, False
        required = get_tags(net).target_tags.required and not is_for_nets(X)
        check_targets_given(self, X, y, required=required)
        if y is not None and is_classifier(net):
            self._labels = Labels.of(net, y)
            y = self._labels.encode(y)
        elif y is not None and is_regressor(net):
            y = regression_targets(y, flatten=self.refit)
            self._flat_targets = np.ndim(y) == 1
        fit_params, score_params = self._routed(params)
        # Under its own name, or under that of the net in the estimator.
        names = {"sample_weight", f"{target.prefix}sample_weight"} & fit_params.keys()
        weights = [fit_params.pop(name) for name in names]
        return Request(
            self,
            self.estimator,
            target,
            X,
            y,
            labels=self._labels,
            fit_params=fit_params,
            sample_weight=check_weights(X, weights[0]) if weights else None,
            verify=self.verify,
            scorer=self._scorer(),
            score_params=score_params,
        )

    def _routed(self, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what is for the estimator's fit, and what is for the scorer."""
        if not get_config()["enable_metadata_routing"]:
            return dict(params), {}
        routed = process_routing(self, "fit", **params)
        scored = {} if self.scoring is None else dict(routed.scorer.score)
        return dict(routed.estimator.fit), scored

    def _scorer(self) -> Any:
        return None if self.scoring is None else check_scoring(self.estimator, self.scoring)

    def _seeds(self, settings: Settings) -> Seeds:
        """Draw a seed for each random part; None draws one number from numpy's global state."""
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        n_ramps = (1 + MAX_EXTENSIONS) * settings.n_repeats
        split, trials, refit_, *ramps = np.random.SeedSequence(seed).generate_state(3 + n_ramps)
        return Seeds(int(split), int(trials), int(refit_), list(map(int, ramps)))

    def _shared_budget(self, settings: Settings, prepared: Prepared) -> Budget:
        steps = prepared.training_steps
        # Without validation data nothing can be verified; without a length that is what is told.
        verify = settings.verify and (prepared.evaluation is not None or steps is None)
        finder = settings.finder
        return _budget.share(steps, settings.budget, settings.n_repeats, finder.n_steps, verify)

    def _try_candidates(
        self,
        tasks: Tasks,
        prepared: Prepared,
        data: TrainingData,
        budget: Budget,
        test: RangeTest,
        seed: int,
    ) -> list[Trial]:
        """Try the rates around the one of least loss, if there is one and steps are left."""
        best_lr = test.summary.best_lr
        if not test.answered and not prepared.is_scored:
            # The ramps may be too noisy for what trials will see.
            best_lr = test.summary.guess_lr
        left = 0 if budget.steps is None else budget.steps - test.steps
        if not (np.isfinite(best_lr) and budget.verify and _budget.can_verify(left)):
            return []
        verbose = bool(self.verbose)
        return run_trials(tasks, prepared, data, best_lr, left, seed, verbose=verbose)

    def _have_learned(
        self,
        prepared: Prepared,
        data: TrainingData,
        test: RangeTest,
        trials: list[Trial],
        seed: int,
    ) -> bool:
        # Only needed when the ramps are inconclusive.
        return bool(trials) and not test.answered and have_learned(prepared, data, trials, seed)

    def _keep(self, prepared: Prepared, test: RangeTest, trials: list[Trial]) -> None:
        """Set the fitted attributes that hold the search's measurements."""
        self._preprocessing = prepared.preprocessing
        self.curve_ = test.curve
        self.phases_ = (test.summary.descent_lr, test.summary.divergence_lr)
        self.results_ = test.table()
        self.trials_ = _trials.table(trials, scored=prepared.is_scored)

    def _notes(
        self,
        request: Request,
        prepared: Prepared,
        budget: Budget,
        test: RangeTest,
        trials: list[Trial],
    ) -> str:
        """Return what was adjusted, and what was left out and why."""
        notes = [budget.message]
        has_length = prepared.training_steps is not None
        if self.verify and prepared.evaluation is None and has_length:
            notes.insert(0, "No candidate was verified: there is no validation data.")
        elif budget.verify and test.answered and not trials:
            notes.append("No candidate was verified: the extended range took the budget.")
        notes.append(self._adjustments(request, prepared))
        return " ".join(note for note in notes if note)

    def _adjustments(self, request: Request, prepared: Prepared) -> str:
        """Return what of the data the net would not take from the user itself."""
        notes = []
        if prepared.adapted.get("dataset__columns"):
            notes.append("y of shape (n_samples,) as a column (give it y.reshape(-1, 1))")
        X = request.X
        if isinstance(X, np.ndarray) and X.dtype == np.float64 and not request.target.prefix:
            notes.append("X of float64 in the net's dtype (dataset=sklr.data.ArrayDataset does so)")
        labels = request.labels
        if labels is not None and not np.array_equal(labels.classes, labels.codes):
            notes.append("labels as 0, 1, ... (LabelEncoder does so)")
        if not notes:
            return ""
        remedy = "" if self.refit else ": refit=True does that for you"
        return f"The net was given {'; '.join(notes)}{remedy}."

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
            raise RangeTestError(f"{self.suggestion_.status}: {self.suggestion_.message}")
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
            router.add(scorer=self._scorer(), method_mapping=mapping)
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
