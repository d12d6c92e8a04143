"""Whole trainings as trials: they are the user's own, and rates are climbed until bracketed."""

import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, KFold, TimeSeriesSplit
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn

from sklr import SGDR, CyclicalLR, LRRangeSearch, OneCycle, StepDecay
from sklr._training._target import find_target
from sklr.range_search import _trials, _verification
from sklr.range_search._estimate import grid_rate, nearest_index
from sklr.range_search._preparation import Prepared, Request, prepare
from sklr.range_search._request import Seeds, draw_seeds

# The rates that are tried first, and all that are, from the least loss of the ramps at 10 ** 0.
FIRST, ALLOWED = [-3, -2, -1], range(-9, 3)


class Scripted:
    """Gives losses by a function of split and index in place of trainings."""

    verbose = False
    owner = SimpleNamespace(n_jobs=1)

    def __init__(self, loss, averaged=None):
        self.loss, self.averaged = loss, averaged or loss
        self.trained = []

    def run(self, name, function, arguments):
        assert function is _trials.run_whole
        done = []
        for prepared, lr, split, seed in arguments:
            index = nearest_index(lr)
            self.trained.append((split, index, seed, prepared.trial_steps))
            losses = [self.loss(split, index)], self.averaged(split, index)
            steps = prepared.trial_steps
            done.append(_trials.Trial(lr, split, steps=steps, losses=losses[0]))
            done[-1].averaged_loss = losses[1]
        return done

    @property
    def tried(self):
        """Indices by split."""
        splits = {}
        for split, index, _, _ in self.trained:
            splits.setdefault(split, []).append(index)
        return [sorted(splits[split]) for split in sorted(splits)]


def prepared_of(steps, schedule=None):
    return Prepared(None, {}, "evaluation", steps, steps, schedule, False, {}, 0.1, None)


def climb(tasks, left=10_000, schedule=None, costs=(10,) * 5):
    first, seeds = prepared_of(costs[0], schedule), Seeds(7, 2**32 - 2, 9, [])
    with pytest.MonkeyPatch.context() as patch:
        others = lambda request, seed, split: (prepared_of(costs[split]), ())  # noqa: E731
        patch.setattr(_verification, "prepare", others)
        found = _verification._Climb(tasks, None, first, (), seeds, left).verify(FIRST)
    assert sum(steps for *_, steps in tasks.trained) <= left
    # Nothing is trained twice; all trainings of a split have one seed, and each split its own.
    assert max(Counter(tasks.trained).values(), default=1) == 1
    assert {(split, seed) for split, _, seed, _ in tasks.trained} == {
        (split, (2**32 - 2 + split) % 2**32) for split in range(len(tasks.tried))
    }
    assert len(found.trials) == len(tasks.trained)
    assert found.n_splits == max(1, len(tasks.tried))
    return found


@pytest.mark.parametrize("best", ALLOWED)
def test_the_least_of_a_valley_is_bracketed_on_every_split(best):
    tasks = Scripted(lambda split, index: 1.0 + abs(index - best))
    found = climb(tasks, schedule=OneCycle())
    assert nearest_index(found.trials[0].lr) == best
    around = [index for index in (best - 1, best, best + 1) if index in ALLOWED]
    assert len(tasks.tried) == 5
    assert set(tasks.tried[0]) == set(FIRST) | set(
        range(min(best - 1, -1), max(best + 1, -3) + 1)
    ) & set(ALLOWED)
    for split in range(1, 5):
        assert tasks.tried[split] == around
    assert found.peak.lr == pytest.approx(grid_rate(best), rel=1e-6)
    assert found.constant is None
    assert not found.is_open


@pytest.mark.parametrize(
    ("loss", "lowest", "highest"),
    [
        pytest.param(lambda index: 10.0 - index, -3, 2, id="falls to the highest"),
        pytest.param(lambda index: 10.0 + index, -9, -1, id="falls to the lowest"),
        pytest.param(lambda index: 1.0, -9, -1, id="flat: of equals the lowest"),
        pytest.param(lambda index: np.inf, -9, -1, id="diverges everywhere"),
        pytest.param(lambda index: np.inf if index > -7 else 1.0 - index, -8, -1, id="too high"),
    ],
)
def test_rates_without_a_least_between_others_end_at_an_edge(loss, lowest, highest):
    tasks = Scripted(lambda split, index: loss(index))
    found = climb(tasks, schedule=OneCycle())
    assert tasks.tried[0] == list(range(lowest, highest + 1))
    assert (found.peak is None) == np.isinf(loss(lowest))


def test_without_a_schedule_the_best_at_averaged_weights_is_bracketed_too():
    tasks = Scripted(lambda _, i: 1.0 + abs(i + 5), lambda _, i: 1.0 + abs(i - 0))
    found = climb(tasks)
    assert (found.constant.lr, found.peak.lr) == pytest.approx((grid_rate(-5), 1), rel=1e-6)
    assert tasks.tried[0] == list(range(-6, 2))
    assert tasks.tried[1:] == [[-6, -5, -4, -1, 0, 1]] * 4


def test_splits_that_disagree_are_decided_by_their_mean():
    # The first split alone says -2; with the others -1 is better, and then 0.
    least = {0: -2, 1: 1, 2: 1, 3: 1, 4: 1}
    tasks = Scripted(lambda split, i: 1.0 + (i - least[split]) ** 2)
    found = climb(tasks, schedule=OneCycle())
    means = {i: np.mean([1 + (i - b) ** 2 for b in least.values()]) for i in ALLOWED}
    best = min(means, key=means.get)
    assert nearest_index(found.trials[0].lr) == best == 0
    for tried in tasks.tried:
        assert {best - 1, best, best + 1} <= set(tried)
    assert not found.is_open


@pytest.mark.parametrize(("n", "is_open"), [(3, True), (4, True), (5, False)])
def test_a_best_rate_at_the_edge_for_want_of_budget_is_told(n, is_open):
    tasks = Scripted(lambda split, i: 1.0 + abs(i + 4))
    found = climb(tasks, left=10 * n + 9, schedule=OneCycle())
    assert tasks.tried == [list(range(-2 - n + 2, 0))]
    assert found.is_open == is_open


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(0, 2_000), st.booleans())
def test_whatever_the_losses_are_the_best_is_bracketed_or_the_budget_is_spent(
    seed, diverged, left, has_schedule
):
    rng = np.random.default_rng(seed)
    table, costs = rng.uniform(0.1, 10, (5, 24)), rng.integers(1, 31, 5).tolist()
    table[rng.random((5, 24)) < diverged * rng.random()] = np.inf
    tasks = Scripted(lambda s, i: table[s][i + 9], lambda s, i: table[s][i + 9 + 12])
    left += 3 * costs[0]
    found = climb(tasks, left, OneCycle() if has_schedule else None, costs)
    common = sorted(set.intersection(*map(set, tasks.tried)))
    tables = [0] if has_schedule else [0, 12]
    missing = set()
    for offset in tables:

        def mean(index, offset=offset):
            losses = [
                table[s][index + 9]
                if np.isinf(table[s][index + 9])
                else table[s][index + 9 + offset]
                for s in range(len(tasks.tried))
            ]
            return np.mean(losses)

        best = min(common, key=mean)
        missing |= {i for i in (best - 1, best + 1) if i in ALLOWED and i not in common}
    assert found.is_open == bool(missing)
    if missing:
        spent = sum(steps for *_, steps in tasks.trained)
        needed = [costs[s] for s, tried in enumerate(tasks.tried) for i in missing - set(tried)]
        assert left - spent < (costs[0] if len(tasks.tried) == 1 else sum(needed))


class Random(nn.Module):
    """Draws in every step."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 10)
        )

    def forward(self, X):
        return self.layers(X)


def request_for(estimator, X=X_DIGITS, y=Y_DIGITS, **params):
    owner = LRRangeSearch(estimator)
    return Request(owner, estimator, find_target(owner, estimator), X, y, fit_params=params)


def seed_all(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


def loss_of(net, rows):
    """The mean cross entropy, by numpy."""
    net.module_.eval()
    with torch.no_grad():
        logits = net.module_(torch.from_numpy(X_DIGITS[rows])).numpy().astype(float)
    logits -= logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -logs[np.arange(len(rows)), Y_DIGITS[rows]].mean()


@pytest.mark.parametrize(
    ("schedule", "names"),
    [
        pytest.param(None, ["lr"], id="constant"),
        pytest.param(OneCycle(), ["callbacks__lr__max_lr"], id="one cycle"),
        pytest.param(
            CyclicalLR(step_size=1), ["callbacks__lr__max_lr", "callbacks__lr__base_lr"], id="cycle"
        ),
        pytest.param(SGDR(), ["callbacks__lr__max_lr"], id="restarts"),
        pytest.param(StepDecay(every=2), ["callbacks__lr__lr"], id="decay"),
    ],
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_trial_is_the_users_own_training_bit_for_bit(schedule, names, shuffle, monkeypatch):
    lr = 0.3
    callbacks = None if schedule is None else [("lr", schedule)]
    split = ValidSplit(5, stratified=True)
    net = make_classifier(Random, callbacks=callbacks, train_split=split, max_epochs=5)
    if not shuffle:
        # As skorch's nets are by default: samples come in order.
        del net.iterator_train__shuffle
    request = request_for(net)
    trained, real = [], _trials._trained

    def watched(*args, **kwargs):
        done = real(*args, **kwargs)
        trained.append(done.net)
        return done

    monkeypatch.setattr(_trials, "_trained", watched)
    prepared, data = prepare(request, 3)
    trial = _trials.run_whole(prepared, lr, 0, 11, *data)

    values = {name: lr / 4 if name.endswith("base_lr") else lr for name in names}
    own = clone(net).set_params(**values, train_split=None)
    rows, valid = (part.indices for part in split(Dataset(X_DIGITS, Y_DIGITS), Y_DIGITS))
    seed_all(11)
    average, losses = [], []

    def keep(net, _, batch=None, training=False, **kwargs):
        if training:
            average.append([p.detach().double().clone() for p in net.module_.parameters()])
            states, step = torch.get_rng_state(), len(average)
            if step in (36, 38, 40):
                losses.append(loss_of(net, valid))
            torch.set_rng_state(states)

    monkeypatch.setattr(type(own), "on_batch_end", keep)
    own.fit(X_DIGITS[rows], Y_DIGITS[rows])
    for name, value in own.module_.state_dict().items():
        assert torch.equal(value, trained[0].module_.state_dict()[name]), name
    # The rate of each batch.
    rates = [[b["lr"] for e in n.history for b in e["batches"]] for n in trained]
    if schedule is None:
        assert rates[0] == [lr] * 40
    else:
        assert rates[0] == [b["lr"] for e in own.history for b in e["batches"]]
        assert len(set(rates[0])) > 1
        assert max(rates[0]) == pytest.approx(lr, rel=0.2)
    assert (trial.steps, trial.net) == (40, None)
    # At a constant rate the mean of validations a twentieth of the training apart.
    expected = np.mean(losses) if schedule is None else losses[-1]
    assert trial.loss == pytest.approx(expected, rel=1e-5)
    if schedule is not None:
        assert np.isnan(trial.averaged_loss)


def test_trials_of_a_search_share_rows_and_seed_by_split():
    net = make_classifier(callbacks=[("lr", OneCycle())], max_epochs=3, batch_size=100)
    search = LRRangeSearch(net, n_repeats=1, n_steps=20, budget=16, random_state=5)
    trials = search.fit(X_DIGITS, Y_DIGITS).trials_
    seeds, request = draw_seeds(5, 4), request_for(net)
    assert len(set(trials["split"])) > 2
    for lr, split, loss in zip(trials["lr"], trials["split"], trials["loss"], strict=True):
        prepared, _ = prepare(request, seeds.split, int(split))
        holdout = prepared.net.train_split.holdout
        own = clone(net).set_params(callbacks__lr__max_lr=lr)
        seed_all(int(seeds.trials + split) % 2**32)
        own.fit(X_DIGITS[holdout.train_rows], Y_DIGITS[holdout.train_rows])
        assert loss == pytest.approx(loss_of(own, holdout.valid_rows), rel=1e-5)


GROUPS = np.arange(500) // 25


def holdouts(train_split, n=5, **params):
    class Grouped(MLP):
        def forward(self, X, groups=None):
            return super().forward(X)

    net = make_classifier(Grouped, train_split=train_split)
    request = request_for(net, **params)
    splits = [prepare(request, 2**32 - 2, split)[0] for split in range(n)]
    return [prepared.net.train_split.holdout for prepared in splits], splits


def test_groups_are_never_on_both_sides():
    split = ValidSplit(GroupShuffleSplit(3, test_size=0.3))
    found, _ = holdouts(split, groups=GROUPS)
    for holdout in found:
        assert not set(GROUPS[holdout.train_rows]) & set(GROUPS[holdout.valid_rows])
    # It draws: each split has other rows.
    assert len({tuple(holdout.valid_rows) for holdout in found}) == 5


@pytest.mark.parametrize("cv", [GroupKFold(5), KFold(5), TimeSeriesSplit(4)])
def test_a_splitter_that_draws_nothing_has_its_own_rows_in_every_split(cv):
    params = {"groups": GROUPS} if isinstance(cv, GroupKFold) else {}
    found, _ = holdouts(ValidSplit(cv), **params)
    train, valid = next(iter(cv.split(X_DIGITS, Y_DIGITS, **params)))
    for holdout in found:
        np.testing.assert_array_equal(holdout.train_rows, train)
        np.testing.assert_array_equal(holdout.valid_rows, valid)


@pytest.mark.parametrize(
    ("split", "n_train"),
    [
        (None, 400),
        (ValidSplit(10), 450),
        (ValidSplit(0.5, stratified=True), 250),
        (ValidSplit(2), 250),
    ],
)
def test_random_splits_have_other_rows_as_many_as_the_nets_own(split, n_train):
    found, prepared = holdouts(split)
    assert len({tuple(sorted(holdout.valid_rows)) for holdout in found}) == 5
    for holdout in found:
        rows = [*holdout.train_rows, *holdout.valid_rows]
        assert sorted(rows) == list(range(500))
        assert len(holdout.train_rows) == n_train
    assert {one.trial_steps for one in prepared} == {n_train // 50 * 6}


def test_a_validation_set_of_the_users_own_judges_all_splits_which_differ_by_their_seeds():
    given = Dataset(X_DIGITS[400:], Y_DIGITS[400:])
    callbacks = [("lr", OneCycle())]
    net = make_classifier(train_split=predefined_split(given), max_epochs=2, callbacks=callbacks)
    search = LRRangeSearch(net, n_repeats=1, n_steps=20, budget=25, random_state=0)
    trials = search.fit(X_DIGITS[:400], Y_DIGITS[:400]).trials_
    best = trials["lr"] == trials["lr"][0]
    assert sum(best) > 1
    assert len(set(trials["loss"][best])) == sum(best)
    # All rows are trained on.
    assert set(trials["steps"]) == {16}


@pytest.mark.parametrize("split", [None, ValidSplit(0.5), ValidSplit(GroupShuffleSplit(1))])
@pytest.mark.parametrize("budget", [0.01, 0.7, 3, 7.3, 1_000])
def test_no_search_costs_more_than_its_budget_and_no_trial_more_than_the_training(split, budget):
    class Grouped(MLP):
        def forward(self, X, groups=None):
            return super().forward(X)

    net = make_classifier(Grouped, train_split=split, max_epochs=3)
    search = LRRangeSearch(net, n_repeats=2, n_steps=20, budget=budget, random_state=0)
    groups = {} if split is None else {"groups": np.repeat([0, 1, 2, 3, 4], [10, 40, 90, 160, 200])}
    if isinstance(split, ValidSplit) and split.cv == 0.5:
        groups = {}
    found = search.fit(X_DIGITS, Y_DIGITS, **groups)
    own = prepare(request_for(net, **groups), draw_seeds(0, 8).split)[0].training_steps
    cost = found.suggestion_.cost_steps
    assert cost == len(found.results_["step"]) + found.trials_["steps"].sum()
    assert cost <= max(10, int(budget * own))
    # The groups of other splits have other numbers of rows.
    assert found.trials_["steps"].max(initial=0) <= (own if not groups else 30)
    if budget == 1_000:
        # Enough is enough: five splits.
        assert set(found.trials_["split"]) == set(range(5))
        assert cost < 100 * own
