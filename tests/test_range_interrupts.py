"""Ctrl-C always reaches the user of a search, and what nobody pressed never does."""

import signal
from collections import Counter
from typing import ClassVar

import numpy as np
import pytest
from nets import X_DIGITS, Y_DIGITS, make_classifier
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit

from sklr import LRRangeSearch
from sklr._training._seeding import generator_states
from sklr.range_search import _budget

X, Y = X_DIGITS[:60], Y_DIGITS[:60]
HOOKS = ("on_train_begin", "on_epoch_begin", "on_batch_end", "on_epoch_end", "on_train_end")


class Press(Callback):
    """Presses Ctrl-C when a hook is called for the n-th time, of all trainings together."""

    at: tuple[str, int] | None = None
    calls: ClassVar = Counter()

    def notify(self, hook, *args, **kwargs):
        Press.calls[hook] += 1
        if Press.at == (hook, Press.calls[hook]):
            signal.raise_signal(signal.SIGINT)


for hook in HOOKS:
    setattr(Press, hook, lambda self, *args, hook=hook, **kwargs: self.notify(hook))


def make_search():
    net = make_classifier(max_epochs=27, batch_size=20, callbacks=[Press()])
    small = {"n_repeats": 1, "n_steps": 20, "budget": 4, "extend": False, "random_state": 0}
    return LRRangeSearch(make_pipeline(StandardScaler(), net), refit=True, **small)


@pytest.fixture(autouse=True)
def _handler():
    # A shell's background jobs ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def calls():
    Press.at, Press.calls = None, Counter()
    fitted = make_search().fit(X, Y)
    assert fitted.trials_["lr"].size == 8
    # One ramp, trials in three rungs, one refit, and a dry run that only begins.
    assert Press.calls["on_train_end"] == 1 + 14 + 1
    return Press.calls


# At 0.02 the ramp is under way, at 0.5 trials, at 1 the refit comes to its end.
@pytest.mark.parametrize("part", [0.02, 0.5, 1])
@pytest.mark.parametrize("hook", HOOKS)
def test_ctrl_c_reaches_the_user_whenever_it_comes(hook, part, calls):
    search = make_search()
    states = generator_states()
    Press.at, Press.calls = (hook, max(1, round(part * calls[hook]))), Counter()
    try:
        with pytest.raises(KeyboardInterrupt):
            search.fit(X, Y)
    finally:
        Press.at = None
    assert not hasattr(search, "best_estimator_")
    after = generator_states()
    assert states.torch.equal(after.torch)
    np.testing.assert_array_equal(states.numpy[1], after.numpy[1])
    assert states.python == after.python


def test_a_handler_of_the_users_own_that_swallows_ctrl_c_is_asked():
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *args: pressed.append(args))
    Press.at, Press.calls = ("on_batch_end", 5), Counter()
    try:
        fitted = make_search().fit(X, Y)
    finally:
        Press.at = None
        signal.signal(signal.SIGINT, before)
    assert len(pressed) == 1
    Press.calls = Counter()
    np.testing.assert_array_equal(make_search().fit(X, Y).results_["loss"], fitted.results_["loss"])


# One is enough of workers.
@pytest.mark.parametrize(("n_batches", "n_jobs"), [(1, 1), (2, 1), (3, 1), (4, 1), (1, 2)])
@pytest.mark.parametrize("budget", [4.9, 8])
def test_few_batches_an_epoch(n_batches, n_jobs, budget):
    split = ValidSplit(5, stratified=True)
    net = make_classifier(max_epochs=80, batch_size=-(-400 // n_batches), train_split=split)
    params = {"n_repeats": 1, "n_steps": 30, "random_state": 0, "extend": False}
    fitted = LRRangeSearch(net, budget=budget, n_jobs=n_jobs, **params).fit(X_DIGITS, Y_DIGITS)
    assert fitted.suggestion_.verified
    # Each rung trains its candidates as long as was planned; or each is a whole training.
    allowed, planned = int(budget * 80 * n_batches), [80 * n_batches]
    if budget < 5:
        left = allowed - len(fitted.results_["step"])
        planned = [steps for _, steps in _budget.rungs(left, 80 * n_batches)]
    finite = np.isfinite(fitted.trials_["loss"])
    assert set(fitted.trials_["steps"][finite]) <= set(planned)
    assert fitted.trials_["steps"][0] == planned[-1]
    assert fitted.suggestion_.cost_steps <= allowed


def test_the_same_search_is_fitted_again_after_an_interruption():
    search = make_search()
    Press.at, Press.calls = ("on_batch_end", 50), Counter()
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    Press.at = None
    again = search.fit(X, Y)
    np.testing.assert_array_equal(again.trials_["loss"], clone(search).fit(X, Y).trials_["loss"])
