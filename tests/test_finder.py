"""LRFinder: one ramp, each loss beside the rate that produced it."""

import math

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier
from skorch.callbacks import Callback
from skorch.exceptions import NotInitializedError
from skorch.hf import AccelerateMixin
from torch import nn

from sklr import schedules
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
    assert finder.ended_ == "diverged"
    assert len(finder.losses_) == 21
    assert math.isnan(finder.losses_[-1])


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


class Interrupt(Callback):
    def on_batch_end(self, net, training=None, **kwargs):
        if len(net.history[-1, "batches"]) == 3:
            raise KeyboardInterrupt


def test_an_interrupted_ramp_says_so():
    finder = LRFinder(n_steps=20)
    net = make_classifier(callbacks=[finder, Interrupt()], max_epochs=20)
    net.fit(X_DIGITS, Y_DIGITS)  # skorch swallows the interrupt
    assert finder.ended_ is None
    assert len(finder.lrs_) == 3


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


def test_unknown_keyword():
    with pytest.raises(TypeError, match="learning_rate"):
        LRFinder(learning_rate=0.1)


def test_before_fit_there_is_nothing_to_suggest():
    with pytest.raises(NotInitializedError, match="fit its net first"):
        LRFinder().suggest()


def test_with_gradient_accumulation_a_point_is_a_step():
    class AcceleratedNet(AccelerateMixin, type(make_classifier())):
        pass

    finder = LRFinder(min_lr=1e-4, max_lr=0.1, n_steps=20)
    net = AcceleratedNet(
        MLP,
        accelerator=Accelerator(cpu=True, gradient_accumulation_steps=4),
        criterion=nn.CrossEntropyLoss,
        callbacks=[finder],
        max_epochs=20,
        batch_size=50,
        train_split=None,
        verbose=0,
    )
    net.fit(X_DIGITS, Y_DIGITS)
    ramp = schedules.RangeTest(min_lr=1e-4, max_lr=0.1, n_steps=20)
    assert finder.lrs_ == [ramp(step) for step in range(20)]
    assert finder.ended_ == "complete"
    # 10 batches an epoch are steps of 4, 4 and 2 batches, whose losses are averaged.
    batches = [batch for epoch in net.history for batch in epoch["batches"]]
    losses = [batch["train_loss"] for batch in batches]
    expected = [np.mean(losses[:4]), np.mean(losses[4:8]), np.mean(losses[8:10])]
    np.testing.assert_allclose(finder.losses_[:3], expected, rtol=1e-6)
