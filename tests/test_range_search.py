"""LRRangeSearch: a suggestion in scikit-learn's grammar, and nothing left behind."""

import math
import pickle
import random
import sys
import warnings

import numpy as np
import pytest
import torch
from nets import MLP, X_DIGITS, Y_DIGITS, Still, make_classifier, make_regressor
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback, EarlyStopping, Freezer, GradientNormClipping, LRScheduler
from skorch.dataset import Dataset

from sklr import (
    SGDR,
    CyclicalLR,
    LRFinder,
    LRRangeSearch,
    OneCycle,
    RangeTestError,
    Schedule,
    StepDecay,
    schedules,
)

# The nets here have 60 steps in all: the budget lets two ramps of as many run.
FAST = {"n_repeats": 2, "n_steps": 60, "random_state": 0, "verify": False, "budget": 10}


def search(estimator=None, **params):
    estimator = make_classifier() if estimator is None else estimator
    return LRRangeSearch(estimator, **(FAST | params)).fit(X_DIGITS, Y_DIGITS)


def test_suggestion_on_digits_trains_well():
    found = search(n_steps=100, verify=True, budget=14).suggest()
    assert found.status == "ok"
    low, high = found.interval
    assert low / 2 <= found.lr <= high * 2
    assert low < high
    assert found.base_lr == found.max_lr / 4
    assert found.lr < found.max_lr
    assert "Whole trainings at " in found.message
    # Within a factor of three of the best of a grid, and its validation loss near the least.
    train, valid = slice(0, 400), slice(400, 500)
    losses = {}
    for lr in (found.lr, *np.geomspace(1e-3, 30, 10)):
        torch.manual_seed(0)
        net = make_classifier(lr=float(lr)).fit(X_DIGITS[train], Y_DIGITS[train])
        proba = np.maximum(net.predict_proba(X_DIGITS[valid]), 1e-12)
        losses[lr] = -np.log(proba[np.arange(100), Y_DIGITS[valid]]).mean()
    best = min(losses, key=losses.get)
    assert 1 / 4 < found.lr / best < 4
    assert losses[found.lr] < 1.25 * losses[best]


def test_results_are_one_row_a_repeat_and_step():
    fitted = search()
    results = fitted.results_
    assert set(results) == {"round", "repeat", "step", "lr", "loss"}
    assert len({len(column) for column in results.values()}) == 1
    assert fitted.suggestion_.cost_steps == len(results["step"])
    ramp = schedules.RangeTest(min_lr=1e-7, max_lr=10, n_steps=60)
    assert results["lr"].tolist() == [ramp(int(step)) for step in results["step"]]
    assert set(results["repeat"]) == {0, 1}


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_same_seed_same_answer(n_jobs):
    first, second = search(n_jobs=1), search(n_jobs=n_jobs)
    for column, values in first.results_.items():
        np.testing.assert_array_equal(values, second.results_[column])
    assert first.suggestion_.lr == second.suggestion_.lr
    other = search(random_state=1)
    assert not np.array_equal(other.results_["loss"][:20], first.results_["loss"][:20])


def test_everything_is_left_as_it_was():
    callbacks = [("lr", CyclicalLR())]
    estimator = make_pipeline(StandardScaler(), make_classifier(MLP(), callbacks=callbacks))
    estimator.fit(X_DIGITS, Y_DIGITS)
    before = pickle.dumps(estimator)
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    search(estimator)
    assert pickle.dumps(estimator) == before
    assert torch.equal(states[0], torch.get_rng_state())
    np.testing.assert_array_equal(states[1][1], np.random.get_state()[1])  # noqa: NPY002
    assert states[2] == random.getstate()


def test_without_a_seed_only_numpys_state_moves():
    torch_state = torch.get_rng_state()
    np.random.seed(3)  # noqa: NPY002
    first = search(random_state=None).suggestion_.lr
    np.random.seed(3)  # noqa: NPY002
    assert search(random_state=None).suggestion_.lr == first
    assert torch.equal(torch_state, torch.get_rng_state())


class Failing(MLP):
    def forward(self, X):
        raise RuntimeError("no forward")


def test_an_exception_reaches_the_user_and_leaves_the_state():
    states = torch.get_rng_state(), random.getstate()
    with pytest.raises(ValueError, match=r"cannot predict X of .*: no forward") as raised:
        search(make_classifier(module=Failing))
    assert type(raised.value.__cause__) is RuntimeError
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()


@pytest.mark.parametrize(
    ("callbacks", "names"),
    [
        pytest.param(None, {"lr"}, id="no schedule"),
        pytest.param(
            [("lr", CyclicalLR())], {"callbacks__lr__base_lr", "callbacks__lr__max_lr"}, id="cycle"
        ),
        pytest.param([("s", SGDR())], {"callbacks__s__max_lr"}, id="SGDR"),
        pytest.param([OneCycle()], {"callbacks__OneCycle__max_lr"}, id="unnamed"),
        pytest.param([OneCycle], {"callbacks__OneCycle__max_lr"}, id="class"),
        pytest.param([("lr", StepDecay(every=3))], {"callbacks__lr__lr"}, id="decay"),
        pytest.param([Schedule(schedules.Constant(lr=0.1))], {"lr"}, id="any schedule"),
        pytest.param([LRScheduler(policy="StepLR", step_size=5)], {"lr"}, id="skorch's own"),
        pytest.param([Freezer("a"), Freezer("b")], {"lr"}, id="two of a class"),
    ],
)
def test_params_fit_the_schedule_that_the_net_has(callbacks, names):
    estimator = make_pipeline(StandardScaler(), make_classifier(callbacks=callbacks))
    found = search(estimator).suggest()
    assert set(found.params) == {f"neuralnetclassifier__{name}" for name in names}
    estimator.set_params(**found.params).fit(X_DIGITS, Y_DIGITS)
    assert estimator.score(X_DIGITS, Y_DIGITS) > 0.5


def test_parameters_of_a_schedule_set_on_the_net_do_not_disturb():
    net = make_classifier(callbacks=[("lr", CyclicalLR())], callbacks__lr__max_lr=0.3)
    assert search(net).suggest().status == "ok"


def test_optimizer_lr_is_what_is_suggested_where_it_is_set():
    assert set(search(make_classifier(optimizer__lr=0.1)).suggest().params) == {"optimizer__lr"}


def test_grid_and_distributions_are_searched():
    estimator = make_pipeline(
        StandardScaler(), make_classifier(callbacks=[("lr", CyclicalLR(step_size=1))])
    )
    found = search(estimator).suggest()
    estimator.set_params(**found.params)
    (name,) = found.param_grid()
    assert name == "neuralnetclassifier__callbacks__lr__max_lr"
    rates = found.param_grid(n=3)[name]
    np.testing.assert_allclose(
        rates, [found.max_lr / 10**0.5, found.max_lr, found.max_lr * 10**0.5]
    )
    assert found.param_grid(n=1)[name] == [found.max_lr]
    grid = GridSearchCV(estimator, found.param_grid(n=2), cv=2).fit(X_DIGITS, Y_DIGITS)
    assert grid.best_params_[name] in found.param_grid(n=2)[name]
    distributions = found.param_distributions()
    assert distributions[name].support() == pytest.approx((rates[0], rates[-1]))
    chosen = RandomizedSearchCV(estimator, distributions, n_iter=2, cv=2, random_state=0)
    best = chosen.fit(X_DIGITS, Y_DIGITS).best_params_[name]
    assert rates[0] <= best <= rates[-1]


def test_optunas_distributions_are_searched():
    optuna = pytest.importorskip("optuna", reason="Optuna is no requirement")
    integration = pytest.importorskip("optuna_integration", reason="nor is its search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = search().suggest()
    distributions = found.param_distributions(library="optuna")
    (name,) = distributions
    assert distributions[name].log
    assert distributions[name].low == pytest.approx(found.lr / 10**0.5)
    assert distributions[name].high == pytest.approx(found.lr * 10**0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        chosen = integration.OptunaSearchCV(
            make_classifier(), distributions, n_trials=2, cv=2, random_state=0
        )
    best = chosen.fit(X_DIGITS, Y_DIGITS).best_params_[name]
    assert distributions[name].low <= best <= distributions[name].high
    with pytest.raises(ValueError, match="The 'library' parameter of LRSuggestion must be one of"):
        found.param_distributions(library="hyperopt")


def test_without_optuna_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna.distributions", None)
    with pytest.raises(ImportError, match="pip install optuna"):
        search().suggest().param_distributions(library="optuna")


@pytest.mark.parametrize("n", [0, -1, 2.0])
def test_param_grid_refuses_other_sizes(n):
    with pytest.raises((TypeError, ValueError), match="The 'n' parameter of LRSuggestion must"):
        search().suggest().param_grid(n=n)


def test_callbacks_that_change_training_are_kept_and_others_dropped():
    stopped = make_classifier(callbacks=[EarlyStopping(monitor="train_loss", patience=1)])
    assert search(stopped).suggestion_.cost_steps == search().suggestion_.cost_steps
    clipped = make_classifier(callbacks=[GradientNormClipping(1e-6)])
    assert not np.array_equal(search(clipped).results_["loss"], search().results_["loss"])
    assert search(make_classifier(callbacks="disable")).suggest().status == "ok"


def test_a_net_that_cannot_learn_gives_no_answer():
    fitted = search(make_classifier(module=Still))
    assert fitted.suggestion_.status == "flat"
    assert fitted.suggestion_.params == {}
    assert math.isnan(fitted.suggestion_.lr)
    with pytest.raises(RangeTestError, match=r"flat: .*Raise max_lr"):
        fitted.suggest()


class Flat(MLP):
    def forward(self, X):
        return super().forward(X).squeeze(1)


def test_regression_and_nested_estimators():
    X, y = load_diabetes(return_X_y=True)
    X, y = X.astype(np.float32), y.astype(np.float32)
    # The target that TransformedTargetRegressor passes on is flat, and so is this net's output.
    net = make_regressor(module=Flat)
    estimator = make_pipeline(
        TransformedTargetRegressor(
            make_pipeline(StandardScaler(), net), transformer=StandardScaler()
        )
    )
    name = "transformedtargetregressor__regressor__neuralnetregressor__lr"
    # So small and noisy a set needs more repeats.
    found = LRRangeSearch(estimator, n_steps=60, budget=10, random_state=0).fit(X, y).suggest()
    assert set(found.params) == {name}
    assert found.lr > 0


@pytest.mark.parametrize(
    ("estimator", "error", "text"),
    [
        pytest.param(
            LogisticRegression(),
            TypeError,
            "be a skorch net or a snapshot ensemble, or a Pipeline",
            id="no net",
        ),
        pytest.param(
            VotingClassifier([("net", make_classifier())]), TypeError, "or a Pipeline", id="voting"
        ),
        pytest.param(
            GridSearchCV(make_classifier(), {"lr": [1]}), TypeError, "or a Pipeline", id="search"
        ),
        pytest.param(make_pipeline(StandardScaler()), ValueError, "exactly one", id="pipeline"),
        pytest.param(
            make_pipeline(StandardScaler(), make_classifier(), make_classifier()),
            ValueError,
            "exactly one skorch net, and it holds 2",
            id="two nets",
        ),
        pytest.param(
            "net", TypeError, "be a skorch net or a snapshot ensemble, or a Pipeline", id="string"
        ),
        pytest.param(
            None, TypeError, "be a skorch net or a snapshot ensemble, or a Pipeline", id="none"
        ),
    ],
)
def test_estimators_that_hold_no_single_net(estimator, error, text):
    with pytest.raises(error, match=rf"The 'estimator' parameter of LRRangeSearch must .*{text}"):
        LRRangeSearch(estimator).fit(X_DIGITS, Y_DIGITS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_lr", 0),
        ("min_lr", "a"),
        ("max_lr", 1e-8),
        ("max_lr", math.inf),
        ("n_steps", 9),
        ("n_steps", 20.0),
        ("scale", "cubic"),
        ("scale", None),
        ("n_repeats", 0),
        ("n_repeats", True),
    ],
)
def test_bad_parameters_raise_in_the_one_form(name, value):
    with pytest.raises((TypeError, ValueError)) as caught:
        search(**{name: value})
    assert str(caught.value).startswith(f"The '{name}' parameter of LRRangeSearch must ")
    assert str(caught.value).endswith(f"Got {value!r} instead.")


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.uint64, np.longdouble])
def test_numbers_of_numpys_are_as_pythons(kind):
    whole = np.int16 if kind is np.longdouble else kind
    net = make_classifier(max_epochs=whole(3))
    params = {"n_steps": whole(40), "n_repeats": whole(1), "random_state": whole(0)}
    found = search(net, max_lr=kind(10), budget=kind(8), **params, verify=True)
    plain = {"n_steps": 40, "n_repeats": 1, "budget": 8}
    expected = search(make_classifier(max_epochs=3), **plain, verify=True)
    assert expected.trials_["lr"].size > 3
    np.testing.assert_array_equal(found.trials_["loss"], expected.trials_["loss"])
    assert found.suggestion_.lr == expected.suggestion_.lr
    assert len(found.suggestion_.param_grid(whole(3))["lr"]) == 3


def test_several_labels_a_sample_name_the_way_out():
    y = np.eye(10, dtype=int)[Y_DIGITS]
    y[:, 0] = 1
    with pytest.raises(NotImplementedError, match=r"Use a plain skorch\.NeuralNet"):
        LRRangeSearch(make_classifier(), **FAST).fit(X_DIGITS, y)


def test_transformer_and_display():
    fitted = search()
    assert fitted.transform(X_DIGITS) is X_DIGITS
    display = fitted.plot()
    assert "ok" in display.ax_.get_title()
    np.testing.assert_array_equal(display.losses, fitted.curve_.loss)
    assert len(display.repeats) == 2


def test_before_fit_and_clone():
    unfitted = LRRangeSearch(make_classifier())
    with pytest.raises(NotFittedError):
        unfitted.suggest()
    assert not hasattr(clone(search()), "suggestion_")


def test_verbose_prints_a_line_a_ramp(capsys):
    search(verbose=1)
    lines = capsys.readouterr().out.splitlines()
    start = "LRRangeSearch: 1e-07 to 10, ramp "
    assert [line[: len(start) + 6] for line in lines] == [f"{start}1 of 2", f"{start}2 of 2"]
    search(make_classifier(verbose=1))
    assert capsys.readouterr().out == ""


def test_ramps_of_given_weights_differ_by_the_order_of_the_data():
    net = make_classifier(MLP())
    del net.iterator_train__shuffle
    results = search(net).results_
    first, second = (results["loss"][results["repeat"] == i] for i in range(2))
    assert not np.array_equal(first[:20], second[:20])
    ordered = search(make_classifier(MLP(), iterator_train__shuffle=False)).results_
    first, second = (ordered["loss"][ordered["repeat"] == i] for i in range(2))
    np.testing.assert_array_equal(first[:20], second[:20])


def test_a_finder_on_the_net_is_no_schedule():
    assert set(search(make_classifier(callbacks=[LRFinder()])).suggest().params) == {"lr"}


class StopsAfterAnEpoch(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def test_a_callback_that_ends_a_ramp_is_named():
    with pytest.raises(RangeTestError, match=r"ended the training before the ramp.*stops"):
        search(make_classifier(callbacks=[("stops", StopsAfterAnEpoch())]))


class OwnDataset(Dataset):
    """A net's own data set is its own business."""


@pytest.mark.parametrize("wrap", [make_pipeline, TransformedTargetRegressor], ids=["net", "target"])
def test_targets_that_the_loss_would_broadcast_are_refused(wrap):
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(ValueError, match=r"The 'y' parameter of LRRangeSearch .*reshape\(-1, 1\)"):
        LRRangeSearch(wrap(make_regressor(dataset=OwnDataset))).fit(
            X.astype(np.float32), y.astype(np.float32)
        )


def test_skorchs_own_callbacks_do_not_run_in_ramps_and_may_have_parameters():
    net = make_classifier(callbacks__print_log__sink=pytest.fail, callbacks__train_loss=None)
    np.testing.assert_array_equal(search(net).results_["loss"], search().results_["loss"])
    seen = []

    class Looks(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append([name for name, _ in net.callbacks_])

    search(make_classifier(callbacks=[("looks", Looks())]))
    assert seen[0] == ["looks", "sklr_lr_finder"]
