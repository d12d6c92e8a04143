"""Check the parameters and data of a search before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.metrics import check_scoring
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.metadata_routing import get_routing_for_object, process_routing

from sklr._training._inputs import check_inputs, check_targets_given, is_for_nets
from sklr._training._labels import Labels, regression_targets
from sklr._training._sample_weight import check_weights
from sklr._training._target import Target
from sklr._validation import (
    ParameterTypeError,
    ParameterValueError,
    check_flag,
    check_integer,
    check_number,
    check_verbose,
    in_name_of,
)
from sklr.callbacks import LRFinder
from sklr.callbacks._named import NamedSchedule
from sklr.range_search._budget import AUTO
from sklr.range_search._preparation import Request


@dataclass(frozen=True)
class Settings:
    """The parameters of a search, checked, as plain Python numbers."""

    finder: LRFinder
    n_repeats: int
    budget: float | str
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


def check_settings(search: Any) -> Settings:
    """Return a search's parameters, checked.

    Raises
    ------
    TypeError, ValueError
        If one is out of range.
    """
    finder = LRFinder(
        min_lr=search.min_lr, max_lr=search.max_lr, n_steps=search.n_steps, scale=search.scale
    )
    with in_name_of(search):
        ramp = finder.ramp()
    finder.set_params(min_lr=ramp.min_lr, max_lr=ramp.max_lr, n_steps=ramp.n_steps)
    n_repeats = check_integer(search, "n_repeats", search.n_repeats, at_least=1)
    for name in ("extend", "verify", "refit"):
        check_flag(search, name, getattr(search, name))
    budget: float | str = search.budget
    if not isinstance(budget, str):
        budget = check_number(search, "budget", budget, above=0)
    elif budget != AUTO:
        raise ParameterValueError(search, "budget", "be a number or 'auto'", budget)
    check_verbose(search, search.verbose)
    scoring = search.scoring
    if not (scoring is None or isinstance(scoring, str) or callable(scoring)):
        requirement = "be the name of a metric, a scorer or None"
        raise ParameterTypeError(search, "scoring", requirement, scoring)
    return Settings(finder, n_repeats, budget, search.extend, search.verify, bool(search.verbose))


def with_schedule(search: Any, target: Target) -> Target:
    """Return the target with the schedule that a rate is asked for, if the user gives one.

    Raises
    ------
    TypeError
        If it is no schedule with a peak to set.
    """
    if search.schedule is None:
        return target
    if not isinstance(search.schedule, NamedSchedule):
        requirement = "be a schedule callback with a rate to set, such as OneCycle(), or None"
        raise ParameterTypeError(search, "schedule", requirement, search.schedule)
    if target.is_ensemble:
        requirement = "be None for an ensemble, which has a 'schedule' parameter of its own"
        raise ParameterValueError(search, "schedule", requirement, search.schedule)
    given = clone(search.schedule, safe=False)
    return replace(target, schedule=given, schedule_params=None)


def draw_seeds(random_state: Any, n_ramps: int) -> Seeds:
    """Draw a seed for each random part; None draws one number from numpy's global state."""
    seed = check_random_state(random_state).randint(2**31 - 1)
    split, trials, refit, *ramps = np.random.SeedSequence(seed).generate_state(3 + n_ramps)
    return Seeds(int(split), int(trials), int(refit), list(map(int, ramps)))


def make_request(search: Any, target: Target, X: Any, y: Any, params: dict[str, Any]) -> Request:
    """Validate the data of a fit, and return it with everything that is asked of it.

    Parameters
    ----------
    search : LRRangeSearch
        Gets `n_features_in_` and `feature_names_in_`.
    target : Target
        The net in its estimator.
    X, y : object
        The data.
    params : dict
        Further parameters of fit.

    Raises
    ------
    TypeError, ValueError
        If the data or sample weights are wrong.
    """
    net = target.net
    X = check_inputs(search, X, reset=True, preprocessed=bool(target.prefix))
    labels = None
    required = get_tags(net).target_tags.required and not is_for_nets(X)
    check_targets_given(search, X, y, required=required)
    if y is not None and is_classifier(net):
        labels = Labels.of(net, y)
        y = labels.encode(y)
    elif y is not None and is_regressor(net):
        y = regression_targets(y, flatten=search.refit)
    fit_params, score_params = _routed(search, params)
    weights = _take_weights(target, fit_params)
    return Request(
        search,
        target.estimator,
        target,
        X,
        y,
        labels=labels,
        fit_params=fit_params,
        sample_weight=None if weights is None else check_weights(X, weights),
        verify=search.verify,
        scorer=find_scorer(search),
        score_params=score_params,
    )


def _take_weights(target: Target, fit_params: dict[str, Any]) -> Any:
    """Take the weights of the net's samples out of the fit parameters; return None without any."""
    if target.prefix and get_config()["enable_metadata_routing"]:
        # They stay there for the preprocessing that has requested them; has the net?
        requests = get_routing_for_object(target.net)
        consumed = requests.consumes("fit", {"sample_weight"} & fit_params.keys())
        return fit_params["sample_weight"] if consumed else None
    # Under their own name, or under that of the net in the estimator.
    names = {"sample_weight", f"{target.prefix}sample_weight"} & fit_params.keys()
    weights = [fit_params.pop(name) for name in names]
    return weights[0] if weights else None


def find_scorer(search: Any) -> Any:
    """Return the scorer that `scoring` names, or None."""
    return None if search.scoring is None else check_scoring(search.estimator, search.scoring)


def _routed(search: Any, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is for the estimator's fit, and what is for the scorer."""
    if not get_config()["enable_metadata_routing"]:
        return dict(params), {}
    routed = process_routing(search, "fit", **params)
    scored = {} if search.scoring is None else dict(routed.scorer.score)
    return dict(routed.estimator.fit), scored
