"""A small seeded net, and each schedule callback in each unit, for the tests of the callbacks."""

import functools
import inspect

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from torch import nn

from sklr import callbacks

BATCH = 10
STEPS = 5  # training batches of an epoch
EPOCHS = 5
LR = 0.1
N_ROWS = BATCH * STEPS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(N_ROWS, 4)).astype(np.float32)
Y = (X @ RNG.normal(size=4) > 0).astype(np.int64)

# The other callbacks of the package have tests of their own.
SCHEDULES = {
    name: getattr(callbacks, name)
    for name in callbacks.__all__
    if name not in {"LRFinder", "Snapshots"}
}
NAMED = {name: cls for name, cls in SCHEDULES.items() if name != "Schedule"}
UNITS = ("epoch", "batch", "fraction")
UNIT_STEPS = {"epoch": STEPS, "batch": 1, "fraction": STEPS * EPOCHS}

# In batches; chosen so that much happens in 25 of them, and not only at the ends of epochs.
LENGTHS = {
    "StepDecay": {"every": 7},
    "CyclicalLR": {"step_size": 3},
    "SGDR": {"cycle_length": 6},
}
OTHERS = {
    "StepDecay": {"factor": 0.5},
    "ExponentialDecay": {"gamma": 0.7},
    "InverseTimeDecay": {"decay_rate": 0.3},
    "CyclicalLR": {"mode": "triangular2"},
    "SGDR": {"cycle_mult": 1.5, "max_decay": 0.8},
    "SnapshotCosine": {"n_cycles": 3},
    "FastGeometric": {"n_cycles": 2, "pretrain_fraction": 0.5},
}


def wave(position):
    """A rate for `Schedule` that pickles and moves with every batch, whatever the unit."""
    return LR / (1 + position)


def make(name, unit="epoch", **params):
    """Return a schedule callback whose lengths suit the small net."""
    cls = SCHEDULES[name]
    if name == "Schedule":
        return cls(**{"schedule": wave, "unit": unit} | params)
    lengths = {key: steps / UNIT_STEPS[unit] for key, steps in LENGTHS.get(name, {}).items()}
    return cls(**{"unit": unit} | lengths | OTHERS.get(name, {}) | params)


def planned(name, unit="epoch", **params):
    """Return a callback that knows how long the whole training is, if it has one to know."""
    if name in NAMED:
        params = {"n_epochs": EPOCHS} | params
    return make(name, unit, **params)


# Every schedule in every unit; those with lengths of their own also after a warm-up.
EVERY = pytest.mark.parametrize("name", sorted(SCHEDULES))
EVERY_NAMED = pytest.mark.parametrize("name", sorted(NAMED))
EVERY_UNIT = pytest.mark.parametrize("unit", UNITS)


def in_units(names):
    """Each of the names in one unit, and one of those with lengths in all three."""
    pairs = [(name, UNITS[i % 3]) for i, name in enumerate(sorted(names))]
    pairs += [("CyclicalLR", unit) for unit in UNITS]
    return pytest.mark.parametrize(("name", "unit"), list(dict.fromkeys(pairs)))


EVERY_IN_UNITS = in_units(SCHEDULES)
NAMED_IN_UNITS = in_units(NAMED)

# For what the base class does alike for all: a schedule that needs the length of the training, one
# that goes on for ever, and a bare function. Every schedule goes one such way at least.
SOME_NAMED = pytest.mark.parametrize("name", ["CyclicalLR", "SnapshotCosine"])
SOME = pytest.mark.parametrize("name", ["CyclicalLR", "Schedule", "SnapshotCosine"])
PAIRS = [("CyclicalLR", "batch"), ("SnapshotCosine", "epoch"), ("SGDR", "fraction")]
SOME_NAMED_IN_UNITS = pytest.mark.parametrize(("name", "unit"), PAIRS)
SOME_IN_UNITS = pytest.mark.parametrize(
    ("name", "unit"),
    [("CyclicalLR", "batch"), ("SnapshotCosine", "epoch"), ("Schedule", "fraction")],
)


class Linear(nn.Module):
    """4 to 2, with the same weights each time and in each process; global seeds stay alone."""

    def __init__(self, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Linear(4, 2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(self, X):
        return self.first(X)


class TwoLayers(nn.Module):
    """Two layers, for groups of parameters."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(4, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, X):
        return self.head(torch.tanh(self.body(X)))


class NoOptimizer(NeuralNetClassifier):
    """A net that trains without an optimizer."""

    def initialize_optimizer(self):
        return self

    def train_step(self, batch, **fit_params):
        return self.train_step_single(batch, **fit_params)


class SpySGD(torch.optim.SGD):
    """Records the rate and the momentum that each step of each group is done with."""

    used: list
    momenta: list

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.used = []
        self.momenta = []

    def __setstate__(self, state):  # unpickling and load_state_dict
        super().__setstate__(state)
        vars(self).setdefault("used", [])
        vars(self).setdefault("momenta", [])

    def step(self, closure=None):
        self.used.append([float(group["lr"]) for group in self.param_groups])
        self.momenta.append([group["momentum"] for group in self.param_groups])
        return super().step(closure)


def make_net(*schedules, cls=NeuralNetClassifier, module=Linear, **params):
    """Return a net with one schedule, named 'lr', or with the callbacks as they are given."""
    named = [(f"lr{i or ''}", schedule) for i, schedule in enumerate(schedules)]
    defaults = {
        "module": module,
        "criterion": nn.CrossEntropyLoss,
        "callbacks": named,
        "optimizer": SpySGD,
        "lr": LR,
        "batch_size": BATCH,
        "max_epochs": EPOCHS,
        "train_split": None,
        "verbose": 0,
    }
    if "verbose" not in params and "accelerator" not in params:
        defaults["callbacks__print_log"] = None  # half of the callbacks' time
    return cls(**defaults | params)


def fit(*schedules, epochs=None, **params):
    """Return a fitted net."""
    return make_net(*schedules, **params).fit(X, Y, epochs=epochs)


@functools.cache
def straight(name, unit="epoch"):
    """Return the net of a training that is never cut, to compare with."""
    return fit(make(name, unit))


def valid_split():
    """Keep the first 10 rows out: 4 training batches are left and one for validation."""
    return ValidSplit(5, stratified=False)


def batch_rows(net):
    """Return the history's rows of the training batches that were done."""
    return [row for epoch in net.history for row in epoch["batches"] if "train_loss" in row]


def rates(net):
    """Return the rate of each training batch that was done."""
    return [row["lr"] for row in batch_rows(net)]


def weights(net):
    """Return all weights in one array."""
    return np.concatenate([p.detach().numpy().ravel() for p in net.module_.parameters()])


def assert_same_training(net, other):
    """Two nets went the same way: every rate and every weight bit for bit."""
    assert rates(net) == rates(other)
    np.testing.assert_array_equal(weights(net), weights(other))


def parameters(cls):
    """Return a callback's parameters as its constructor names them, with their defaults."""
    signature = inspect.signature(cls).parameters
    return {name: parameter.default for name, parameter in signature.items()}


class Interrupt(Callback):
    """Raise KeyboardInterrupt when a hook is called for the n-th time, n from 0, after `arm(n)`."""

    def __init__(self, hook="on_batch_begin"):
        self.hook = hook

    def initialize(self):
        self.left_ = None
        return self

    def arm(self, at):
        self.left_ = at

    def _count(self, hook):
        if hook != self.hook or self.left_ is None:
            return
        if self.left_ == 0:
            self.left_ = None
            raise KeyboardInterrupt
        self.left_ -= 1

    def on_epoch_begin(self, net, **kwargs):
        self._count("on_epoch_begin")

    def on_epoch_end(self, net, **kwargs):
        self._count("on_epoch_end")

    def on_batch_begin(self, net, training=None, **kwargs):
        self._count("on_batch_begin" if training else "on_valid_begin")

    def on_batch_end(self, net, training=None, **kwargs):
        self._count("on_batch_end" if training else "on_valid_end")

    def on_grad_computed(self, net, **kwargs):
        self._count("on_grad_computed")


def interrupted(net, at, epochs=EPOCHS):
    """Train on and be interrupted by the net's callback 'stop' when its hook is called again."""
    if not net.initialized_:
        net.initialize()
    dict(net.callbacks_)["stop"].arm(at)
    net.partial_fit(X, Y, epochs=epochs)
    assert dict(net.callbacks_)["stop"].left_ is None
    return net
