"""Schedules in scikit-learn's and Optuna's searches: bounds, whole schedules, none."""

import numpy as np
import pytest
from callback_helpers import (
    EVERY,
    LR,
    NAMED,
    SCHEDULES,
    STEPS,
    X,
    Y,
    fit,
    make,
    make_net,
    rates,
    wave,
)
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklr.callbacks import SGDR, CyclicalLR, OneCycle, StepDecay


def pipeline(*schedules, **params):
    """The net behind a scaler."""
    net = make_net(*schedules, **{"max_epochs": 2} | params)
    return Pipeline([("scale", StandardScaler()), ("net", net)])


def search(estimator, grid, **params):
    return GridSearchCV(estimator, grid, cv=2, **params).fit(X, Y)


def test_grid_over_bounds():
    rates_of = {}
    grid = {"net__callbacks__lr__max_lr": [0.02, 0.5], "net__callbacks__lr__step_size": [1, 2]}
    found = search(pipeline(CyclicalLR()), grid)
    for params in found.cv_results_["params"]:
        net = clone(found.estimator).set_params(**params).fit(X, Y)["net"]
        rates_of[tuple(params.values())] = tuple(rates(net))
        max_lr = params["net__callbacks__lr__max_lr"]
        step_size = params["net__callbacks__lr__step_size"]
        expected = CyclicalLR(max_lr=max_lr, step_size=step_size)
        assert rates(net) == rates(fit(expected, max_epochs=2))
    assert len(set(rates_of.values())) == 4
    best = tuple(found.best_params_.values())
    assert tuple(rates(found.best_estimator_["net"])) == rates_of[best]
    # The rates matter to the scores, so the search did set them.
    assert len(set(found.cv_results_["mean_test_score"])) > 1


def test_grid_over_whole_schedules_and_none():
    candidates = [*(make(name) for name in sorted(NAMED)), None]
    before = [None if c is None else dict(vars(c)) for c in candidates]
    found = search(pipeline(CyclicalLR()), {"net__callbacks__lr": candidates}, error_score="raise")
    assert [None if c is None else vars(c) for c in candidates] == before
    assert len(found.cv_results_["params"]) == len(candidates)
    for params in found.cv_results_["params"]:
        net = clone(found.estimator).set_params(**params).fit(X, Y)["net"]
        schedule = params["net__callbacks__lr"]
        if schedule is None:
            assert net.optimizer_.used == [[LR]] * 2 * STEPS
        else:
            assert rates(net) == rates(fit(schedule, max_epochs=2))


def test_grid_over_lists_of_callbacks_and_the_nets_rate():
    grid = [
        {"callbacks": [[("lr", SGDR())], [("lr", OneCycle())], []]},
        {"lr": [0.01, 0.2], "callbacks__lr__cycle_length": [1, 2]},
    ]
    found = search(make_net(SGDR(), max_epochs=2), grid, error_score="raise")
    assert len(found.cv_results_["params"]) == 7
    net = clone(found.estimator).set_params(lr=0.2, callbacks__lr__cycle_length=1).fit(X, Y)
    assert rates(net) == rates(fit(SGDR(cycle_length=1), lr=0.2, max_epochs=2))


@EVERY
def test_each_parameter_of_every_schedule_is_reached(name):
    """Through a Pipeline, by one level of names, as a search does it."""
    wanted = make(name, "batch")
    params = {f"net__callbacks__lr__{key}": value for key, value in wanted.get_params().items()}
    first = SCHEDULES[name](schedule=wave) if name == "Schedule" else SCHEDULES[name]()
    net = clone(pipeline(first)).set_params(**params).fit(X, Y)["net"]
    assert dict(net.callbacks_)["lr"].get_params() == wanted.get_params()
    assert rates(net) == rates(fit(wanted, max_epochs=2))


def test_a_bad_value_in_a_grid_is_an_error_of_its_fit():
    net = make_net(CyclicalLR(), max_epochs=1)
    with (
        pytest.warns(FitFailedWarning, match="'max_lr' parameter of CyclicalLR must be greater"),
        pytest.warns(UserWarning, match="scores are non-finite"),
    ):
        result = search(net, {"callbacks__lr__max_lr": [-1.0, 0.1]})
    assert np.isnan(result.cv_results_["mean_test_score"]).tolist() == [True, False]
    assert result.best_params_ == {"callbacks__lr__max_lr": 0.1}


def test_two_jobs_give_what_one_gives():
    """Under loky, with a net whose weights are seeded; all schedules travel to the workers."""
    candidates = [make(name, "batch") for name in sorted(NAMED) if not make(name)._needs_total()]
    grid = {"net__callbacks__lr": [*candidates, None], "net__lr": [0.01, 0.2]}
    results = [search(pipeline(SGDR()), grid, n_jobs=n_jobs) for n_jobs in (1, 2)]
    for key in ("split0_test_score", "split1_test_score"):
        one, two = (result.cv_results_[key] for result in results)
        np.testing.assert_array_equal(one, two)
    assert repr(results[0].best_params_) == repr(results[1].best_params_)
    one, two = (result.best_estimator_.predict_proba(X) for result in results)
    np.testing.assert_array_equal(one, two)


def test_cross_validation_leaves_the_net_alone():
    net = make_net(CyclicalLR(step_size=1), max_epochs=2)
    assert len(cross_val_score(net, X, Y, cv=3, error_score="raise")) == 3
    assert not net.initialized_


def test_halving_over_epochs():
    """Each round is a fit of its own, whose max_epochs are the plan; numpy's integers included."""
    distributions = {"net__callbacks__lr__max_lr": loguniform(0.01, 1.0),
                     "net__callbacks__lr": [OneCycle(), SGDR()]}  # fmt: skip
    found = HalvingRandomSearchCV(
        pipeline(OneCycle()), distributions, resource="net__max_epochs", min_resources=1,
        max_resources=4, factor=2, n_candidates=4, cv=2, random_state=0, error_score="raise",
    ).fit(X, Y)  # fmt: skip
    assert found.n_resources_ == [1, 2, 4]
    net = found.best_estimator_["net"]
    schedule = dict(net.callbacks_)["lr"]
    assert net.max_epochs == 4
    assert schedule.max_lr == found.best_params_["net__callbacks__lr__max_lr"]
    assert rates(net) == schedule.schedule(STEPS, 4)(range(4 * STEPS)).tolist()


@pytest.mark.filterwarnings("ignore:OptunaSearchCV is experimental")
# The integration calls a module that Optuna has deprecated.
@pytest.mark.filterwarnings("ignore:`optuna.terminator` module has been deprecated:FutureWarning")
# Optuna says so of every object in a categorical distribution; in memory it is no harm.
@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution should be")
def test_optuna():
    optuna = pytest.importorskip("optuna")
    integration = pytest.importorskip("optuna_integration")
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    schedules = (CyclicalLR(step_size=1), SGDR(cycle_length=1), None)
    try:
        bounds = integration.OptunaSearchCV(
            pipeline(StepDecay(every=1)),
            {
                "net__callbacks__lr__lr": optuna.distributions.FloatDistribution(0.01, 1, log=True),
                "net__callbacks__lr__factor": optuna.distributions.FloatDistribution(0.1, 0.9),
            },
            n_trials=3, cv=2, random_state=0, error_score="raise",
        ).fit(X, Y)  # fmt: skip
        whole = integration.OptunaSearchCV(
            pipeline(StepDecay(every=1)),
            {"net__callbacks__lr": optuna.distributions.CategoricalDistribution(schedules)},
            n_trials=4, cv=2, random_state=0, error_score="raise",
        ).fit(X, Y)  # fmt: skip
    finally:
        optuna.logging.set_verbosity(verbosity)
    lr, factor = (bounds.best_params_[f"net__callbacks__lr__{name}"] for name in ("lr", "factor"))
    expected = StepDecay(lr=lr, factor=factor, every=1)
    assert rates(bounds.best_estimator_["net"]) == rates(fit(expected, max_epochs=2))
    best = whole.best_params_["net__callbacks__lr"]
    used = whole.best_estimator_["net"].optimizer_.used
    assert best in schedules
    assert used == fit(callbacks=[best] if best else [], max_epochs=2).optimizer_.used
