"""LRFinder: one ramp, each loss beside the rate that produced it."""

import copy
import math
import pickle
import signal

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier
from sklearn.base import clone
from skorch.callbacks import Callback
from skorch.dataset import Dataset, ValidSplit
from skorch.exceptions import NotInitializedError
from skorch.hf import AccelerateMixin
from torch import nn

from sklr import RangeTestError, _curves, schedules
from sklr.callbacks import CyclicalLR, LRFinder


def fit(finder, **params):
    torch.manual_seed(0)
    net = make_classifier(callbacks=[("finder", finder)], max_epochs=20, **params)
    return net.fit(X_DIGITS, Y_DIGITS)


def plain_ramp(rates):
    """The same ramp in a plain torch loop, without shuffling."""
    torch.manual_seed(0)
    module = MLP()
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    X, y = torch.from_numpy(X_DIGITS), torch.from_numpy(Y_DIGITS)
    losses = []
    for step, rate in enumerate(rates):
        rows = slice(50 * (step % 10), 50 * (step % 10) + 50)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(X[rows]), y[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


class FirstOutput(nn.Module):
    """The mean of the first output as a loss."""

    def forward(self, outputs, y):
        return outputs[:, 0].mean()


class Negative(FirstOutput):
    def forward(self, outputs, y):
        return -super().forward(outputs, y)


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_rates_are_the_ramp_and_losses_those_of_a_plain_loop(scale):
    finder = LRFinder(min_lr=1e-5, max_lr=0.5, n_steps=37, scale=scale)
    fit(finder, iterator_train__shuffle=False)
    ramp = schedules.RangeTest(min_lr=1e-5, max_lr=0.5, n_steps=37, scale=scale)
    assert finder.lrs_ == [ramp(step) for step in range(37)]
    assert finder.lrs_[0] == 1e-5
    assert finder.lrs_[-1] == 0.5
    assert finder.ended_ == "complete"
    assert finder.losses_ == plain_ramp(finder.lrs_)


def test_it_stops_where_the_loss_diverges():
    finder = LRFinder(max_lr=1e4, n_steps=200)
    fit(finder)
    assert finder.ended_ == "diverged"
    assert 10 < len(finder.lrs_) == len(finder.losses_) < 200
    assert 0.01 < finder.suggest() < 1


class NaNFrom(MLP):
    def __init__(self, step=20):
        super().__init__()
        self.left = step

    def forward(self, X):
        self.left -= 1
        return super().forward(X) * (math.nan if self.left < 0 else 1)


def test_nan_ends_the_ramp_and_is_noted():
    finder = LRFinder(n_steps=100)
    fit(finder, module=NaNFrom)
    assert finder.ended_ == "not finite"
    assert len(finder.losses_) == 21
    assert math.isnan(finder.losses_[-1])


class InfiniteFrom(MLP):
    """The log of a probability of 0."""

    def __init__(self, step=20):
        super().__init__()
        self.left = step

    def forward(self, X):
        self.left -= 1
        outputs = super().forward(X)
        return outputs if self.left >= 0 else outputs * 0 + torch.tensor([math.inf] + [0.0] * 9)


@pytest.mark.parametrize(("criterion", "value"), [(FirstOutput, math.inf), (Negative, -math.inf)])
def test_infinity_ends_the_ramp_and_is_noted(criterion, value):
    finder = LRFinder(min_lr=1e-9, max_lr=1e-6, n_steps=100)
    fit(finder, module=InfiniteFrom, criterion=criterion)
    assert finder.ended_ == "not finite"
    assert len(finder.losses_) == 21
    assert finder.losses_[-1] == value


def test_without_an_answer_the_end_says_why():
    finder = LRFinder(n_steps=100)
    fit(finder, module=NaNFrom, module__step=0)
    with pytest.raises(RangeTestError, match="failed: Check the data, and whether"):
        finder.suggest()
    assert finder.ended_ == "not finite"


def test_a_ramp_that_shows_nothing_says_what_to_do():
    finder = LRFinder(min_lr=1e-9, max_lr=1e-7)
    fit(finder)
    with pytest.raises(RangeTestError, match=r"flat: .*Raise max_lr"):
        finder.suggest()


def test_a_refit_begins_anew():
    finder = LRFinder(n_steps=20)
    net = fit(finder)
    first = finder.lrs_
    net.partial_fit(X_DIGITS, Y_DIGITS)
    assert finder.lrs_ == first
    assert finder.lrs_ is not first


def test_training_shorter_than_the_ramp_is_refused_before_a_step():
    net = make_classifier(callbacks=[LRFinder(n_steps=100)], max_epochs=3)
    with pytest.raises(ValueError, match="The 'n_steps' parameter of LRFinder must be at most 30"):
        net.fit(X_DIGITS, Y_DIGITS)
    assert not net.optimizer_.state
    assert net.history[-1, "batches"] == []


class InForward(MLP):
    """Interrupts the given call, counted from 0; in training or in evaluation."""

    def __init__(self, call=3, training=True):
        super().__init__()
        self.left, self.where = call, training

    def forward(self, X):
        if self.training == self.where:
            if self.left == 0:
                signal.raise_signal(signal.SIGINT)
            self.left -= 1
        return super().forward(X)


class InLoading(Dataset):
    """Interrupts when the first element of the given call is loaded."""

    left = math.inf

    def __getitem__(self, index):
        InLoading.left -= 1
        if InLoading.left < 0:
            signal.raise_signal(signal.SIGINT)
        return super().__getitem__(index)


class InHook(Callback):
    """Interrupts in one hook, when the history has so many epochs and batches."""

    def __init__(self, hook, epochs=1, batches=3):
        self.hook, self.epochs, self.batches = hook, epochs, batches

    def interrupt(self):
        signal.raise_signal(signal.SIGINT)

    def notify(self, hook, net):
        batches = net.history[-1, "batches"]
        due = hook.startswith("on_epoch") or len(batches) == self.batches
        if hook == self.hook and len(net.history) == self.epochs and due:
            self.interrupt()

    def on_epoch_begin(self, net, **kwargs):
        self.notify("on_epoch_begin", net)

    def on_epoch_end(self, net, **kwargs):
        self.notify("on_epoch_end", net)

    def on_batch_begin(self, net, **kwargs):
        self.notify("on_batch_begin", net)

    def on_batch_end(self, net, **kwargs):
        self.notify("on_batch_end", net)


VALIDATING = {"train_split": ValidSplit(5)}  # 8 training batches and 2 of validation
IN_VALIDATION = VALIDATING | {"module": InForward, "module__training": False}
INTERRUPTIONS = {
    "forward": ({"module": InForward}, None),
    "first forward": ({"module": InForward, "module__call": 0}, None),
    "first validation": (IN_VALIDATION | {"module__call": 0}, None),
    "second validation": (IN_VALIDATION | {"module__call": 1}, None),
    "begin of an epoch": ({}, InHook("on_epoch_begin")),
    "begin of a batch": ({}, InHook("on_batch_begin")),
    "end of a batch": ({}, InHook("on_batch_end")),
    "end of the last batch": ({}, InHook("on_batch_end", batches=10)),
    "begin of a validation batch": (VALIDATING, InHook("on_batch_begin", batches=9)),
    "end of a validation batch": (VALIDATING, InHook("on_batch_end", batches=9)),
    "end of the last validation batch": (VALIDATING, InHook("on_batch_end", batches=10)),
    "second epoch": ({}, InHook("on_batch_end", epochs=2)),
}


class Stop(InHook):
    """Ends the training as callbacks do, which is nobody's Ctrl-C."""

    def interrupt(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", ["forward", "end of a batch", "begin of a validation batch"])
def test_who_has_a_handler_of_ones_own_is_left_with_it(name, first):
    params, other = INTERRUPTIONS[name]
    callbacks = [LRFinder(n_steps=50)] if other is None else [LRFinder(n_steps=50), other]
    before = signal.getsignal(signal.SIGINT)
    net = make_classifier(callbacks=callbacks[:: 1 if first else -1], max_epochs=20, **params)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X_DIGITS, Y_DIGITS)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("hook", ["on_batch_begin", "on_batch_end", "on_epoch_begin"])
@pytest.mark.parametrize("split", [None, ValidSplit(5)])
def test_a_callback_that_ends_the_training_is_not_taken_for_ctrl_c(hook, split):
    finder = LRFinder(n_steps=50)
    net = make_classifier(callbacks=[finder, Stop(hook)], max_epochs=20, train_split=split)
    net.fit(X_DIGITS, Y_DIGITS)
    assert finder.ended_ is None


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_an_interruption_reaches_the_user(name, first):
    params, other = INTERRUPTIONS[name]
    finder = LRFinder(n_steps=50)
    callbacks = [finder] if other is None else [finder, other]
    net = make_classifier(callbacks=callbacks[:: 1 if first else -1], max_epochs=20, **params)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X_DIGITS, Y_DIGITS)
    assert finder.ended_ is None
    assert len(finder.lrs_) == len(finder.losses_) < 20


@pytest.mark.parametrize("call", [0, 120, 400, 450])
def test_an_interruption_of_the_loading_reaches_the_user(call, monkeypatch):
    # 400 elements are of training, the rest of validation.
    monkeypatch.setattr(InLoading, "left", call)
    finder = LRFinder(n_steps=50)
    net = make_classifier(callbacks=[finder], max_epochs=20, dataset=InLoading, **VALIDATING)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X_DIGITS, Y_DIGITS)
    assert finder.ended_ is None
    assert len(finder.lrs_) == min(call, 400) // 50


def test_an_interruption_before_the_first_epoch_reaches_the_user():
    def interrupt(dataset, y=None, **kwargs):
        signal.raise_signal(signal.SIGINT)

    finder = LRFinder(n_steps=20)
    net = make_classifier(callbacks=[("finder", finder)], max_epochs=20)
    net.fit(X_DIGITS, Y_DIGITS)
    for refit in (net.partial_fit, net.fit):
        net.set_params(train_split=interrupt)
        with pytest.raises(KeyboardInterrupt):
            refit(X_DIGITS, Y_DIGITS)
        assert finder.lrs_ == []


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("split", [None, ValidSplit(5)])
def test_a_training_that_ends_between_epochs_raises_nothing(split, first):
    finder, stopping = LRFinder(n_steps=100), Stop("on_epoch_end", epochs=3)
    callbacks = [finder, stopping][:: 1 if first else -1]
    net = make_classifier(callbacks=callbacks, max_epochs=20, train_split=split)
    net.fit(X_DIGITS, Y_DIGITS)
    assert finder.ended_ is None
    assert len(net.history) == 3
    assert "cut short after" in finder.plot(kind="rate").ax_.get_legend().get_texts()[0].get_text()


def test_the_ramps_own_end_raises_nothing():
    finder = LRFinder(n_steps=24)
    fit(finder, train_split=ValidSplit(5))
    assert finder.ended_ == "complete"


@pytest.mark.parametrize(
    ("params", "error", "text"),
    [
        ({"min_lr": 0}, ValueError, "'min_lr' parameter of LRFinder must be greater than 0"),
        ({"min_lr": 1, "max_lr": 1}, ValueError, "'max_lr' parameter of LRFinder must be greater"),
        ({"n_steps": 9}, ValueError, "'n_steps' parameter of LRFinder must be at least 10"),
        ({"n_steps": 50.0}, TypeError, "'n_steps' parameter of LRFinder must be an integer"),
        ({"scale": "cubic"}, ValueError, "'scale' parameter of LRFinder must be one of"),
        ({"max_lr": math.nan}, ValueError, "'max_lr' parameter of LRFinder must be a finite"),
    ],
)
def test_bad_parameters_raise_in_the_one_form(params, error, text):
    net = make_classifier(callbacks=[LRFinder(**params)], max_epochs=20)
    with pytest.raises(error, match=text):
        net.fit(X_DIGITS, Y_DIGITS)
    assert not net.optimizer_.state


def test_without_an_epoch_the_ramp_is_refused():
    net = make_classifier(callbacks=[LRFinder()], max_epochs=0)
    with pytest.raises(ValueError, match="'n_steps' parameter of LRFinder must be at most 0"):
        net.fit(X_DIGITS, Y_DIGITS)


def test_beside_a_schedule_it_is_refused():
    net = make_classifier(callbacks=[LRFinder(), CyclicalLR()], max_epochs=20)
    with pytest.raises(ValueError, match="must hold at most one schedule"):
        net.fit(X_DIGITS, Y_DIGITS)


def test_plot_shows_the_ramp():
    finder = LRFinder(max_lr=100.0, n_steps=60)
    fit(finder)
    display = finder.plot()
    ramp = display.ax_.get_lines()[0]
    np.testing.assert_array_equal(ramp.get_xdata(), finder.lrs_)
    np.testing.assert_array_equal(ramp.get_ydata(), finder.losses_)


def test_plot_of_the_rate_marks_the_end():
    finder = LRFinder(max_lr=1e4, n_steps=200)
    fit(finder)
    ax = finder.plot(kind="rate").ax_
    rate, end = ax.get_lines()
    np.testing.assert_array_equal(rate.get_xdata(), np.arange(len(finder.lrs_)))
    np.testing.assert_array_equal(rate.get_ydata(), finder.lrs_)
    assert end.get_xydata().tolist() == [[len(finder.lrs_) - 1, finder.lrs_[-1]]]
    assert end.get_label() == f"diverged after {len(finder.lrs_)} steps"
    assert ax.get_xlabel() == "iteration (training batch)"
    assert ax.get_ylabel() == "learning rate"
    assert ax.get_yscale() == "log"
    assert ax.get_ylim()[0] > 0


def test_plot_of_a_linear_rate_draws_where_it_is_told():
    finder = LRFinder(min_lr=0, max_lr=0.5, n_steps=20, scale="linear")
    fit(finder)
    _, ax = plt.subplots()
    assert finder.plot(ax, kind="rate").ax_ is ax
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim()[0] == 0


def test_plot_without_an_answer_says_why():
    finder = LRFinder()
    fit(finder, module=NaNFrom, module__step=0)
    ax = finder.plot().ax_
    assert "loss not finite after 1 steps" in ax.get_title()
    message = " ".join(ax.texts[0].get_text().split())
    assert (
        message
        == _curves.summarize(_curves.average(np.array(finder.lrs_), [finder.losses_])).message
    )


@pytest.mark.parametrize(("kind", "error"), [("losses", ValueError), (1, TypeError)])
def test_plot_of_another_kind_is_refused(kind, error):
    finder = LRFinder()
    with pytest.raises(error, match="'kind' parameter of LRFinder must be one of 'loss', 'rate'"):
        finder.plot(kind=kind)


def test_unknown_keyword():
    with pytest.raises(TypeError, match="learning_rate"):
        LRFinder(learning_rate=0.1)


def test_before_fit_there_is_nothing_to_suggest():
    with pytest.raises(NotInitializedError, match="fit its net first"):
        LRFinder().suggest()


class AcceleratedNet(AccelerateMixin, type(make_classifier())):
    pass


def fit_accumulating(finder, module=MLP, **params):
    net = AcceleratedNet(
        module,
        accelerator=Accelerator(cpu=True, gradient_accumulation_steps=4),
        criterion=nn.CrossEntropyLoss,
        callbacks=[finder],
        max_epochs=20,
        batch_size=50,
        train_split=None,
        verbose=0,
        **params,
    )
    return net.fit(X_DIGITS, Y_DIGITS)


def test_with_gradient_accumulation_a_point_is_a_step():
    finder = LRFinder(min_lr=1e-4, max_lr=0.1, n_steps=20)
    net = fit_accumulating(finder)
    ramp = schedules.RangeTest(min_lr=1e-4, max_lr=0.1, n_steps=20)
    assert finder.lrs_ == [ramp(step) for step in range(20)]
    assert finder.ended_ == "complete"
    # 10 batches an epoch are steps of 4, 4 and 2 batches, whose losses are averaged.
    batches = [batch for epoch in net.history for batch in epoch["batches"]]
    losses = [batch["train_loss"] for batch in batches]
    expected = [np.mean(losses[:4]), np.mean(losses[4:8]), np.mean(losses[8:10])]
    np.testing.assert_allclose(finder.losses_[:3], expected, rtol=1e-6)


def test_with_gradient_accumulation_nan_ends_the_ramp_at_its_batch():
    finder = LRFinder(min_lr=1e-4, max_lr=0.1, n_steps=20)
    net = fit_accumulating(finder, module=NaNFrom, module__step=5)
    assert finder.ended_ == "not finite"
    assert len(finder.lrs_) == 2
    assert len(net.history[-1, "batches"]) == 6


def test_negative_losses_do_not_end_the_ramp():
    finder = LRFinder(min_lr=1e-5, max_lr=1e-2, n_steps=100)
    fit(finder, criterion=Negative)
    assert finder.ended_ == "complete"
    # A rule of loss > 4 * best is true of every negative loss.
    assert 4 * min(finder.losses_) < finder.losses_[-1] < 0


class Spiked(nn.CrossEntropyLoss):
    """A loss a hundred times as large in a few early batches."""

    seen = 0

    def forward(self, outputs, y):
        self.seen += 1
        return super().forward(outputs, y) * (100 if self.seen in (1, 4, 12, 13) else 1)


def test_early_spikes_do_not_end_the_ramp():
    finder, plain = LRFinder(max_lr=1.0), LRFinder(max_lr=1.0)
    fit(finder, criterion=Spiked)
    fit(plain)
    assert finder.ended_ == "complete"
    assert plain.suggest() / 2 <= finder.suggest() <= plain.suggest() * 2


def test_parameter_groups_keep_their_ratio():
    finder = LRFinder(min_lr=1e-4, max_lr=0.1, n_steps=20)
    groups = [("layers.0.*", {"lr": 0.05})]
    net = fit(finder, lr=0.5, optimizer__param_groups=groups)
    rates = [group["lr"] for group in net.optimizer_.param_groups]
    assert finder.lrs_[-1] == max(rates) == 0.1
    assert min(rates) == pytest.approx(0.01, rel=1e-12)


class Normed(MLP):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(64)

    def forward(self, X):
        return super().forward(self.norm(X))


def test_batch_norm_counts_the_batches_of_the_ramp():
    finder = LRFinder(min_lr=1e-4, max_lr=1.0, n_steps=30)
    net = fit(finder, module=Normed)
    assert net.module_.norm.num_batches_tracked == 30
    assert finder.ended_ == "complete"
    assert np.isfinite(finder.losses_).all()


@pytest.mark.parametrize(("scale", "min_lr"), [("log", 1e-7), ("linear", 0), ("linear", 0.1)])
def test_the_ends_of_the_ramp_are_exact(scale, min_lr):
    finder = LRFinder(min_lr=min_lr, max_lr=0.3, n_steps=13, scale=scale)
    net = fit(finder)
    assert (finder.lrs_[0], finder.lrs_[-1]) == (min_lr, 0.3)
    recorded = [batch["lr"] for epoch in net.history for batch in epoch["batches"]]
    assert recorded == finder.lrs_
    assert math.isfinite(finder.losses_[-1])


def test_a_ramp_after_a_diverged_one_is_as_on_a_fresh_net():
    finder = LRFinder(max_lr=1e4, n_steps=200)
    net = fit(finder)
    first = finder.lrs_, finder.losses_, finder.ended_
    torch.manual_seed(0)
    net.fit(X_DIGITS, Y_DIGITS)
    assert (finder.lrs_, finder.losses_, finder.ended_) == first
    assert first[2] == "diverged"


def without(net, *names):
    net.callbacks_ = [(name, callback) for name, callback in net.callbacks_ if name not in names]


class Raises(nn.Module):
    """A module that raises from a call on, as distributions do at NaN."""

    def __init__(self, call, error=ValueError):
        super().__init__()
        self.left, self.error = call, error
        self.inner = MLP()

    def forward(self, X):
        if self.training and self.left == 0:
            raise self.error("of the module")
        self.left -= self.training
        return self.inner(X)


def test_an_exception_after_a_step_is_a_divergence():
    finder = LRFinder(n_steps=50)
    net = fit(finder, module=Raises, module__call=30)
    assert (finder.ended_, finder.error_) == ("raised", "ValueError: of the module")
    assert len(finder.lrs_) == len(finder.losses_) == 31
    assert finder.losses_[-1] == math.inf
    assert finder.lrs_ == [finder.ramp()(step) for step in range(31)]
    assert np.isfinite(finder.losses_[:-1]).all()
    assert "exception after 31 steps" in finder.plot().ax_.get_title()
    # Nothing of the guard is left: the next exception is the user's again.
    without(net, "finder")
    with pytest.raises(ValueError, match="of the module"):
        net.partial_fit(X_DIGITS, Y_DIGITS)


@pytest.mark.parametrize("error", [ValueError, RuntimeError, ZeroDivisionError])
def test_an_exception_in_the_first_step_is_the_users(error):
    before = signal.getsignal(signal.SIGINT)
    finder = LRFinder(n_steps=50)
    with pytest.raises(error, match="of the module"):
        fit(finder, module=Raises, module__call=0, module__error=error)
    assert finder.ended_ is None
    assert signal.getsignal(signal.SIGINT) is before


class CopiesInTraining(Callback):
    """Pickles, copies and clones the net within a step."""

    def on_grad_computed(self, net, **kwargs):
        if not hasattr(self, "copies_"):
            self.copies_ = [pickle.loads(pickle.dumps(net)), copy.deepcopy(net), clone(net)]


def test_a_net_can_be_copied_while_its_steps_are_guarded():
    copies = CopiesInTraining()
    net = make_classifier(
        callbacks=[("finder", LRFinder(n_steps=20)), ("copies", copies)], max_epochs=20
    )
    params = set(net.get_params(deep=False))
    kind = type(net)
    net.fit(X_DIGITS, Y_DIGITS)
    assert type(net) is kind
    pickled, copied, cloned = copies.copies_
    assert type(pickled) is type(copied) is kind
    for other in (pickled, copied, cloned):
        assert set(other.get_params(deep=False)) == params
        assert len(other.partial_fit(X_DIGITS, Y_DIGITS).history) > 0


def test_an_exception_elsewhere_leaves_no_guard_to_the_next_training():
    net = make_classifier(
        callbacks=[("finder", LRFinder(n_steps=50)), ("other", FailsAfter(3))],
        max_epochs=20,
        module=Raises,
        module__call=5,
    )
    with pytest.raises(RuntimeError, match="of a callback"):
        net.fit(X_DIGITS, Y_DIGITS)
    without(net, "finder", "other")
    with pytest.raises(ValueError, match="of the module"):
        net.partial_fit(X_DIGITS, Y_DIGITS)


class FailsAfter(Callback):
    """Raises after some batches, outside of the step."""

    def __init__(self, n_batches):
        self.n_batches = n_batches

    def on_batch_end(self, net, **kwargs):
        if len(net.history[-1, "batches"]) == self.n_batches:
            raise RuntimeError("of a callback")
