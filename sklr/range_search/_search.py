"""The learning-rate range test as a scikit-learn estimator."""

from __future__ import annotations

import time
import warnings
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
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.parallel import Parallel
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet

from sklr import _curves
from sklr._training._inputs import check_inputs, check_targets_are_there, is_for_nets
from sklr._training._labels import encode_labels, regression_targets
from sklr._training._parallel import Tasks
from sklr._training._seeding import seeded
from sklr._training._target import find_net, find_schedule
from sklr._validation import (
    ParameterTypeError,
    check_flag,
    check_integer,
    check_number,
    check_verbose,
    in_name_of,
)
from sklr.callbacks import LRFinder
from sklr.plotting import LRRangeDisplay
from sklr.range_search import _budget, _trials
from sklr.range_search._budget import Budget
from sklr.range_search._preparation import Material, Task, prepare
from sklr.range_search._ramps import EXTENSIONS, RangeTest, run_test
from sklr.range_search._refit import RefittedMixin, refit
from sklr.range_search._result import suggestion
from sklr.range_search._suggestion import LRSuggestion, RangeTestError

FITTED = ("suggestion_", "best_estimator_", "best_params_", "refit_time_")
"""What a fit that fails, or does not refit, has not of the fit before."""


class LRRangeSearch(
    RefittedMixin,
    CallbackSupportMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
    MetaEstimatorMixin,
    BaseEstimator,
):
    """Find a learning rate by Smith's range test, repeated and averaged, and verified by probes.

    Clones of the net are trained while the rate rises from `min_lr` to `max_lr`, on shuffled data
    unless the net orders it; the training loss is averaged over the repeats, in log loss. Where
    the plateau before the fall or the divergence after it was not seen, the range is widened and
    run again. Then rates around that of the least loss are probed: each trains from fresh weights,
    ever fewer go on, and the loss on held-out data decides. A Pipeline's preprocessing is fitted
    once, on the training part. The estimator itself, and every global random state, stays as it
    was.

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
        budget, where a phase was not seen: a hundredfold `max_lr` (tenfold on the linear scale)
        where the loss did not rise, a hundredth or a thousandth of `min_lr` where it fell or rose
        from the first step on (on the linear scale `min_lr=0`, or a hundredth of `max_lr`). The
        message says so.
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
    scoring : str or callable, default=None
        A metric of scikit-learn's, or a callable ``scorer(estimator, X, y)``: read, in the place
        of the training loss, after each step of a ramp, and judging the probes, both on the
        held-out data. None is the loss. Smith used the accuracy.
    n_jobs : int, default=None
        Ramps or probes at once, as in joblib. Under threads they take turns.
    random_state : int, RandomState instance or None, default=None
        Seeds the search; None draws one seed from numpy's global state. The same seed gives the
        same answer for every `n_jobs` at equal numbers of torch threads.
    refit : bool, default=False
        Whether to train a clone with the suggestion on all data in the end, and to predict with
        it. Without an answer its own rate is used, with a warning.
    verbose : int, default=0
        1 prints a line a ramp and a round of probes. For a progress bar:
        ``search.set_callbacks(sklearn.callback.ProgressBar())``.

    Attributes
    ----------
    suggestion_ : LRSuggestion
        What the test came to; there after every fit.
    results_ : dict of ndarray
        Equal-length arrays 'round', 'repeat', 'step', 'lr' and 'loss', and 'score' with `scoring`;
        one row a step of a ramp. Each extension of the range is another round.
    probes_ : dict of ndarray
        Equal-length arrays 'lr', 'steps' and 'loss' (on held-out data; 'score' with `scoring`),
        one row a candidate, the best first; empty where none was probed.
    curve_ : Curve
        The averaged ramps of the range that answers: `lrs`, `loss` (minus the score with
        `scoring`), `band`.
    phases_ : tuple of (float, float)
        The rates at which the loss begins to fall and to diverge; NaN where that was not seen.
    best_estimator_ : estimator
        The refitted estimator, which sees encoded labels. Only with ``refit=True``, as the next.
    best_params_ : dict
        What it was given: the suggestion's `params`.
    refit_time_ : float
        Seconds that it took to train.
    classes_ : ndarray of shape (n_classes,)
        The labels. Only of a classifier with ``refit=True``.
    n_features_in_ : int
        Number of features seen in fit, where X is an array or a frame.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where they are strings.

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
        probe: bool = True,
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
        self.probe = probe
        self.budget = budget
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.refit = refit
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any = None, **params: Any) -> LRRangeSearch:
        """Run the ramps, read the averaged curve and probe the rates around its least loss.

        Parameters
        ----------
        X : array-like
            Whatever the estimator takes.
        y : array-like, default=None
            Likewise; labels of any kind.
        **params
            Passed to the estimator's fit, or routed where scikit-learn's metadata routing is
            enabled.

        Returns
        -------
        self : LRRangeSearch

        Raises
        ------
        TypeError, ValueError
            If a parameter is out of range, or the data is wrong.
        RangeTestError
            If one of the net's callbacks ends a ramp before its end.
        KeyboardInterrupt
            If the user interrupts.
        """
        start = time.perf_counter()
        finder = self._check_params()
        _, net = find_net(self, self.estimator)
        find_schedule(net)  # refuses several
        for name in FITTED:
            self.__dict__.pop(name, None)
        X, y = self._check_data(net, X, y)
        fit_params, score_params = self._routed(params)
        context = self._init_callback_context(max_subtasks=None)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)

        split_seed, probe_seed, refit_seed, *ramp_seeds = self._seeds()
        task = Task(
            self,
            self.estimator,
            X,
            y,
            classes=self._classes,
            fit_params=fit_params,
            probe=self.probe,
            scorer=self._scorer(),
            score_params=score_params,
        )
        with seeded(split_seed):
            material = prepare(task)
        budget = _budget.share(
            material.training_steps,
            self.budget,
            self.n_repeats,
            self.n_steps,
            self.probe and (material.judge is not None or material.training_steps is None),
        )
        with Parallel(n_jobs=self.n_jobs) as parallel:
            tasks = Tasks(self, context, parallel)
            test = run_test(
                tasks,
                material,
                finder,
                budget,
                iter(ramp_seeds),
                extend=self.extend,
                verbose=bool(self.verbose),
            )
            probes = self._probe(tasks, material, budget, test, probe_seed)
        # Of ramps with an answer nobody asks.
        unclear = bool(probes) and not test.answered
        learned = unclear and _trials.have_learned(material, probes, probe_seed)
        self._takes_nan = material.takes_nan
        self.curve_ = test.curve
        self.phases_ = (test.summary.descent_lr, test.summary.divergence_lr)
        self.results_ = test.table()
        self.probes_ = _trials.table(probes, scored=self.scoring is not None)
        self.suggestion_ = suggestion(
            self,
            self.estimator,
            test,
            probes,
            learned,
            material.training_steps,
            self._notes(budget, material, probes, answered=test.answered),
            time.perf_counter() - start,
        )
        if self.refit:
            self._refit(context, X, y, fit_params, material, refit_seed)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _seeds(self) -> list[int]:
        """Give a seed for the split, one for the probes, one for the refit, and one a ramp."""
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        n_ramps = (1 + EXTENSIONS) * self.n_repeats
        return list(map(int, np.random.SeedSequence(seed).generate_state(3 + n_ramps)))

    def _probe(
        self, tasks: Tasks, material: Material, budget: Budget, test: RangeTest, seed: int
    ) -> list[_trials.Probe]:
        """Probe the rates around the one of least loss, where there is one and steps are left."""
        best_lr = test.summary.best_lr
        if not test.answered and self.scoring is None:
            # The ramps may be too noisy for what probes will see.
            best_lr = test.summary.guess_lr
        left = 0 if budget.steps is None else budget.steps - test.spent
        if not (np.isfinite(best_lr) and budget.probes and _budget.can_probe(left)):
            return []
        return _trials.run_probes(tasks, material, best_lr, left, seed, verbose=bool(self.verbose))

    def _check_params(self) -> LRFinder:
        """Check the parameters; give the first ramp's callback."""
        finder = LRFinder(
            min_lr=self.min_lr, max_lr=self.max_lr, n_steps=self.n_steps, scale=self.scale
        )
        with in_name_of(self):
            finder.ramp()
        check_integer(self, "n_repeats", self.n_repeats, at_least=1)
        for name in ("extend", "probe", "refit"):
            check_flag(self, name, getattr(self, name))
        check_number(self, "budget", self.budget, above=0)
        check_verbose(self, self.verbose)
        if not (self.scoring is None or isinstance(self.scoring, str) or callable(self.scoring)):
            requirement = "be the name of a metric, a scorer or None"
            raise ParameterTypeError(self, "scoring", requirement, self.scoring)
        return finder

    def _check_data(self, net: NeuralNet, X: Any, y: Any) -> tuple[Any, Any]:
        """Validate data; give it with labels encoded."""
        X = check_inputs(self, X, reset=True, preprocessed=net is not self.estimator)
        self._classes, self._flat_targets = None, False
        required = get_tags(net).target_tags.required and not is_for_nets(X)
        check_targets_are_there(self, X, y, required=required)
        if y is None:
            return X, None
        if is_classifier(net):
            encoder, y = encode_labels(net, y)
            self._classes = encoder.classes_
        elif is_regressor(net):
            y = regression_targets(y, flatten=self.refit)
            self._flat_targets = np.ndim(y) == 1
        return X, y

    def _routed(self, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Give what is for the estimator's fit, and what is for the scorer."""
        if not get_config()["enable_metadata_routing"]:
            return params, {}
        routed = process_routing(self, "fit", **params)
        return routed.estimator.fit, {} if self.scoring is None else routed.scorer.score

    def _scorer(self) -> Any:
        return None if self.scoring is None else check_scoring(self.estimator, self.scoring)

    def _notes(
        self, budget: Budget, material: Material, probes: list[_trials.Probe], *, answered: bool
    ) -> str:
        """Say what was adjusted, and what was left out and why."""
        notes = [budget.message]
        if self.probe and material.judge is None and material.training_steps is not None:
            notes.insert(0, "No candidate was probed: nothing could be held out.")
        elif budget.probes and answered and not probes:
            notes.append("No candidate was probed: the extended range took the budget.")
        notes += self._adjustments(material)
        return " ".join(note for note in notes if note)

    def _adjustments(self, material: Material) -> list[str]:
        """Say what of the data the net would not take from the user itself."""
        notes = []
        if material.adapted.get("dataset__columns"):
            notes.append("y of shape (n_samples,) as a column (give it y.reshape(-1, 1))")
        if getattr(material.X, "dtype", None) == np.float64 and not hasattr(material.X, "numpy"):
            notes.append("X of float64 in the net's dtype (dataset=sklr.data.ArrayDataset does so)")
        labels = self._classes
        if labels is not None and not np.array_equal(labels, np.arange(len(labels))):
            notes.append("labels as 0, 1, ... (LabelEncoder does so)")
        if not notes:
            return []
        remedy = "" if self.refit else ": refit=True does that for you"
        return [f"The net was given {'; '.join(notes)}{remedy}."]

    def _refit(
        self,
        context: Any,
        X: Any,
        y: Any,
        fit_params: dict[str, Any],
        material: Material,
        seed: int,
    ) -> None:
        """Train a clone with the suggestion."""
        start = time.perf_counter()
        if self.suggestion_.status not in _curves.ANSWERED:
            warnings.warn(
                f"The range test has no answer, and the estimator was trained with its own rate. "
                f"{self.suggestion_.status}: {self.suggestion_.message}",
                stacklevel=4,
            )
        self.best_params_ = dict(self.suggestion_.params)
        task = context.subcontext("refit").call_on_fit_task_begin(estimator=self, X=X, y=y)
        self.best_estimator_ = refit(
            self, self.estimator, X, y, fit_params, self.best_params_, material.adapted, seed
        )
        task.call_on_fit_task_end(estimator=self, X=X, y=y)
        self.refit_time_ = time.perf_counter() - start

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
        check_is_fitted(self)
        if self.suggestion_.status not in _curves.ANSWERED:
            raise RangeTestError(f"{self.suggestion_.status}: {self.suggestion_.message}")
        return self.suggestion_

    def transform(self, X: Any) -> Any:
        """Give X back: in mid-Pipeline the suggestion reaches no later step.

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
        checked = check_inputs(self, X, reset=False, preprocessed=self._takes_nan)
        # A list, or what only can become an array, becomes one, as in other transformers.
        return X if hasattr(X, "shape") or is_for_nets(X) else checked

    def plot(self, ax: Any = None) -> LRRangeDisplay:
        """Draw the averaged loss against the rate, its phases, the suggestion and the probes.

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

    def get_metadata_routing(self) -> MetadataRouter:
        """Give the routing: `fit` to the estimator's fit, and to the scorer if there is one.

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
