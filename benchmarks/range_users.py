"""Run what users do without a finder: a fixed rate, a grid, halving, Optuna; each names one rate.

What they cost is counted in whole trainings of the net on the data that it is given, validation
left out: a search with cv=3 trains on two thirds of the rows, and once more on all of them.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from range_tasks import Task
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_score,
)
from torch.optim import SGD

LOWEST, HIGHEST = 1e-4, 1.0
"""The rates that users would search."""


class Choice(NamedTuple):
    """A rate, and what it took to find, in whole trainings."""

    lr: float
    cost: float


def scoring_of(task: Task) -> str:
    """Return the metric that is the net's loss."""
    return "neg_mean_squared_error" if task.is_regression else "neg_log_loss"


def folds_of(task: Task, n: int, seed: int) -> Any:
    """Return shuffled folds."""
    kind = KFold if task.is_regression else StratifiedKFold
    return kind(n, shuffle=True, random_state=seed)


def fixed(task: Task, seed: int) -> Choice:
    """Take the rate that tutorials take: 1e-2 for SGD, 1e-3 for others."""
    return Choice(1e-2 if task.params.get("optimizer", SGD) is SGD else 1e-3, 0.0)


def _named(task: Task) -> str:
    return "lr" if task.preprocessing() is None else "net__lr"


def grid(task: Task, seed: int, n_rates: int, cv: int) -> Choice:
    """Run GridSearchCV."""
    rates = [float(lr) for lr in np.geomspace(LOWEST, HIGHEST, n_rates)]
    search = GridSearchCV(
        task.estimator(train_split=None),
        {_named(task): rates},
        cv=folds_of(task, cv, seed),
        scoring=scoring_of(task),
        refit=False,
        error_score=-math.inf,
    )
    return Choice(_best(task, search, seed), n_rates * (cv - 1))


def halving(task: Task, seed: int) -> Choice:
    """Run HalvingGridSearchCV over epochs."""
    rates = [float(lr) for lr in np.geomspace(LOWEST, HIGHEST, 8)]
    epochs = "max_epochs" if _named(task) == "lr" else "net__max_epochs"
    search = HalvingGridSearchCV(
        task.estimator(train_split=None),
        {_named(task): rates},
        cv=folds_of(task, 3, seed),
        scoring=scoring_of(task),
        refit=False,
        factor=2,
        resource=epochs,
        max_resources=task.max_epochs,
        min_resources=max(1, task.max_epochs // 8),
        error_score=-1e9,
        random_state=seed,
    )
    lr = _best(task, search, seed)
    rounds = zip(search.n_candidates_, search.n_resources_, strict=True)
    return Choice(lr, 2 * sum(n * epochs / task.max_epochs for n, epochs in rounds))


def _best(task: Task, search: Any, seed: int) -> float:
    torch.manual_seed(seed)
    seen = task.parts()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(seen.X, seen.y)
    scores = np.nan_to_num(search.cv_results_["mean_test_score"], nan=-np.inf, neginf=-np.inf)
    if isinstance(search, HalvingGridSearchCV):
        last = search.cv_results_["iter"] == max(search.cv_results_["iter"])
        scores = np.where(last, scores, -np.inf)
    return float(search.cv_results_["params"][int(np.argmax(scores))][_named(task)])


def optuna_trials(task: Task, seed: int, n_trials: int) -> Choice:
    """Run Optuna's default sampler on the mean score of three folds."""
    import optuna

    optuna.logging.set_verbosity(logging.ERROR)
    seen, folds = task.parts(), folds_of(task, 3, seed)

    def objective(trial: Any) -> float:
        lr = trial.suggest_float("lr", LOWEST, HIGHEST, log=True)
        torch.manual_seed(seed)
        net = task.estimator(train_split=None, lr=lr)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores = cross_val_score(
                net, seen.X, seen.y, cv=folds, scoring=scoring_of(task), error_score=-1e9
            )
        return float(np.nan_to_num(scores, nan=-1e9).mean())

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=n_trials)
    return Choice(float(study.best_params["lr"]), 2.0 * n_trials)


WAYS: dict[str, Callable[[Task, int], Choice]] = {
    "a fixed rate": fixed,
    "GridSearchCV, 5 rates, cv 3": partial(grid, n_rates=5, cv=3),
    "GridSearchCV, 8 rates, cv 3": partial(grid, n_rates=8, cv=3),
    "GridSearchCV, 8 rates, cv 5": partial(grid, n_rates=8, cv=5),
    "HalvingGridSearchCV, 8 rates, cv 3": halving,
    "Optuna, 10 trials, cv 3": partial(optuna_trials, n_trials=10),
    "Optuna, 20 trials, cv 3": partial(optuna_trials, n_trials=20),
}
GRID = "GridSearchCV, 8 rates, cv 3"
