"""The trailing average of weights, against its closed form, and what it leaves as it was."""

import copy
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier
from torch import nn

from sklr._averaging import TrailingAverage


class Point(nn.Module):
    """Parameters that a test moves by hand."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.at = nn.Parameter(torch.zeros(3, dtype=dtype))


def averaged(path, module=None):
    module = Point() if module is None else module
    average = TrailingAverage()
    for at in path:
        with torch.no_grad():
            module.at.copy_(torch.as_tensor(at))
        average.update(module)
    return average.parameters[0].numpy()


def closed_form(n):
    """Weights of the steps of polynomial decay averaging with power 9."""
    return np.array([comb(t + 8, 9) / comb(n + 9, 10) for t in range(1, n + 1)])


@given(st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_each_step_has_the_weight_of_the_closed_form(n, seed):
    path = np.random.default_rng(seed).normal(size=(n, 3))
    weights = closed_form(n)
    assert weights.sum() == pytest.approx(1, rel=1e-12)
    np.testing.assert_allclose(averaged(path), weights @ path, rtol=1e-9, atol=1e-12)


def test_about_the_last_tenth_of_the_steps_counts():
    weights = closed_form(1_000)
    steps = np.arange(1, 1_001)
    # The mean age of the weights that are averaged, in steps.
    assert weights @ (1_000 - steps) == pytest.approx(1_000 / 11, rel=0.01)


def test_weights_that_do_not_move_are_their_own_average():
    np.testing.assert_array_equal(averaged([[1.0, 2.0, 3.0]] * 50), [1.0, 2.0, 3.0])


class Normed(MLP):
    def __init__(self):
        super().__init__()
        self.layers.insert(1, nn.BatchNorm1d(16))
        self.layers.append(nn.Dropout(0.5))


def trained(steps=5, module=Normed):
    net = make_classifier(module).initialize()
    average, parameters = TrailingAverage(), []
    for i in range(steps):
        rows = slice(50 * i, 50 * i + 50)
        net.train_step((torch.tensor(X_DIGITS[rows]), torch.tensor(Y_DIGITS[rows])))
        average.update(net.module_)
        parameters.append([p.detach().double().clone() for p in net.module_.parameters()])
    return net, average, parameters


def batches(net):
    return net.get_iterator(net.get_dataset(X_DIGITS, Y_DIGITS), training=False)


def looked_into(net, average, error=None):
    before = copy.deepcopy(net.module_.state_dict())
    with average.applied(net, batches(net)):
        inside = net.module_.state_dict()
        assert not torch.equal(inside["layers.0.weight"], before["layers.0.weight"])
        assert not torch.equal(inside["layers.1.running_mean"], before["layers.1.running_mean"])
        if error is not None:
            raise error


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_put_back_bit_for_bit(fails):
    net, average, _ = trained()
    before = copy.deepcopy(net.module_.state_dict())
    kept = copy.deepcopy(average.parameters)
    identity = [id(tensor) for tensor in net.module_.state_dict(keep_vars=True).values()]
    if fails:
        with pytest.raises(RuntimeError, match="in an evaluation"):
            looked_into(net, average, RuntimeError("in an evaluation"))
    else:
        looked_into(net, average)
    for name, value in net.module_.state_dict().items():
        assert torch.equal(value, before[name]), name
    # The optimizer holds the same tensors as before.
    assert [id(t) for t in net.module_.state_dict(keep_vars=True).values()] == identity
    for first, second in zip(average.parameters, kept, strict=True):
        assert torch.equal(first, second)


def test_the_average_has_its_own_statistics_of_batch_norm():
    net, average, parameters = trained()
    weights = closed_form(len(parameters))
    expected = [
        sum(w * p for w, p in zip(weights, ps, strict=True)) for ps in zip(*parameters, strict=True)
    ]
    with average.applied(net, batches(net)):
        assert not net.module_.training
        for found, value in zip(net.module_.parameters(), expected, strict=True):
            np.testing.assert_allclose(found.detach(), value, rtol=1e-4, atol=1e-6)
        mean = net.module_.layers[1].running_mean.numpy().copy()
        variance = net.module_.layers[1].running_var.numpy().copy()
    hidden = X_DIGITS.astype(float) @ expected[0].numpy().T + expected[1].numpy()
    np.testing.assert_allclose(mean, hidden.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variance, hidden.var(axis=0, ddof=1), rtol=1e-4)


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_lazy_layers_and_shared_parameters():
    class Lazy(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.LazyLinear(10), nn.Linear(10, 10)
            self.again = self.last

        def forward(self, X):
            return self.again(self.last(self.first(X)))

    net, average, parameters = trained(module=Lazy)
    assert [tuple(p.shape) for p in average.parameters] == [(10, 64), (10,), (10, 10), (10,)]
    with average.applied(net, batches(net)):
        assert torch.equal(net.module_.first.weight, average.parameters[0])
        assert net.module_.again.weight is net.module_.last.weight
    assert torch.equal(net.module_.first.weight.double(), parameters[-1][0])


def test_parameters_that_are_no_floats_are_kept():
    class Indexed(Point):
        def __init__(self):
            super().__init__()
            self.index = nn.Parameter(torch.arange(3), requires_grad=False)

    module = Indexed()
    average = TrailingAverage()
    for _ in range(3):
        average.update(module)
    assert torch.equal(average.parameters[1], torch.arange(3))
