"""Trainings with a state in unusual places, interrupted after each epoch and gone on with."""

import os
import random
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import X_DIGITS, Y_DIGITS
from sklearn.base import clone
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EpochScoring, Freezer, ParamMapper, Unfreezer
from skorch.dataset import Dataset, ValidSplit
from torch import nn
from torch.utils.data import RandomSampler

from sklr import SGDR
from sklr._checkpoint import CheckpointError, _files
from sklr._checkpoint._durable import Checkpoints, check_resumable, fit_durably
from sklr._module_state import module_state
from sklr._training._seeding import seeded
from sklr.callbacks import SnapshotCosine, Snapshots

EPOCHS = 5
SKIPPED = EPOCHS + 1
"""An epoch that a finished training does not come to."""


class Net(nn.Module):
    """BatchNorm, dropout and tied weights."""

    def __init__(self, n_hidden=16):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(64, n_hidden), nn.BatchNorm1d(n_hidden), nn.Tanh())
        self.middle = nn.Linear(n_hidden, n_hidden)
        self.again = nn.Linear(n_hidden, n_hidden)
        self.again.weight = self.middle.weight
        self.last = nn.Sequential(nn.Dropout(0.2), nn.Linear(n_hidden, 10))

    def forward(self, X):
        return self.last(self.again(torch.tanh(self.middle(self.first(X)))))


class Breaks(Callback):
    """The user's Ctrl-C, in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, training=None, **kwargs):
        if training and len(net.history) == self.epoch and len(net.history[-1, "batches"]) == 3:
            signal.raise_signal(signal.SIGINT)


class Notes(Callback):
    """All the states as the training ends."""

    def on_epoch_end(self, net, **kwargs):
        self.states_ = {
            "torch": torch.get_rng_state(),
            "numpy": torch.from_numpy(np.random.get_state()[1].astype(np.int64)),  # noqa: NPY002
        }


Notes.__module__ = "sklr.tests"  # a state that is for the test's own eyes


def train(folder=None, breaks_in=None, schedule=None, kind=NeuralNetClassifier, **params):
    schedule = schedule or SnapshotCosine(n_cycles=2)
    snapshots, notes = Snapshots(), Notes()
    callbacks = [*params.pop("callbacks", []), ("lr", clone(schedule, safe=False))]
    callbacks += [("snapshots", snapshots), ("notes", notes)]
    if folder is not None:
        callbacks.append(("checkpoints", Checkpoints(folder, snapshots)))
    if breaks_in is not None:
        callbacks.insert(0, ("breaks", Breaks(breaks_in)))
    defaults = {
        "criterion": nn.CrossEntropyLoss,
        "max_epochs": EPOCHS,
        "batch_size": 50,
        "lr": 0.05,
        "train_split": ValidSplit(5, stratified=True),
        "iterator_train__shuffle": True,
        "verbose": 0,
    }
    net = kind(params.pop("module", Net), callbacks=callbacks, **(defaults | params))
    with seeded(3):
        if folder is None:
            net.fit(X_DIGITS, Y_DIGITS)
        else:
            breaks = breaks_in is not None and breaks_in != SKIPPED
            with pytest.raises(KeyboardInterrupt) if breaks else nullcontext():
                fit_durably(net, X_DIGITS, Y_DIGITS, callbacks[-1][1])
    return net, snapshots, notes


def assert_equal(one, two, path=""):
    """Compare nested values, tensors bit for bit."""
    assert type(one) is type(two), path
    if isinstance(one, torch.Tensor):
        assert one.dtype == two.dtype, path
        assert torch.equal(one, two), path
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, two, err_msg=path)
    elif isinstance(one, dict):
        assert list(one) == list(two), path
        for key in one:
            assert_equal(one[key], two[key], f"{path}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), path
        for i, (first, second) in enumerate(zip(one, two, strict=True)):
            assert_equal(first, second, f"{path}/{i}")
    else:
        assert one == two, path


def without_times(net):
    return [{key: v for key, v in row.items() if key != "dur"} for row in net.history.to_list()]


def assert_same(whole, again):
    for name in (*whole[0]._modules, *whole[0]._criteria, *whole[0]._optimizers):
        first, second = (getattr(net, f"{name}_") for net in (whole[0], again[0]))
        states = [
            module_state(part) if isinstance(part, nn.Module) else dict(part.state_dict())
            for part in (first, second)
        ]
        assert_equal(*states, name)
    flags = [[p.requires_grad for p in net.module_.parameters()] for net in (whole[0], again[0])]
    assert flags[0] == flags[1]
    assert without_times(whole[0]) == without_times(again[0])
    assert whole[1].steps_ == again[1].steps_
    assert_equal([dict(s) for s in whole[1].states_], [dict(s) for s in again[1].states_])
    assert_equal(whole[2].states_, again[2].states_)


def check(folder, **params):
    """Break off in each epoch and go on."""
    whole = train(**params)
    for epoch in range(1, EPOCHS + 1):
        at = folder / str(epoch)
        train(at, epoch, **params)
        assert _files.exists(at) == (epoch > 1)
        assert_same(whole, train(at, **params))


OPTIMIZERS = {
    "momentum": {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
    "Adam": {"optimizer": torch.optim.Adam, "lr": 0.002},
    "LBFGS": {"optimizer": torch.optim.LBFGS, "optimizer__max_iter": 3},
    "Rprop": {"optimizer": torch.optim.Rprop, "lr": 0.002},
    "Adafactor": {"optimizer": torch.optim.Adafactor},
    "plain": {},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(optimizer, tmp_path):
    check(tmp_path, **OPTIMIZERS[optimizer])


def test_cycles_of_another_length(tmp_path):
    check(tmp_path, schedule=SGDR(cycle_length=2))


def test_an_interruption_after_each_epoch_of_one_training(tmp_path):
    for epoch in range(1, EPOCHS + 1):
        train(tmp_path, epoch)
    assert_same(train(), train(tmp_path))


def test_a_finished_training_is_not_trained_on(tmp_path):
    whole = train(tmp_path)
    again = train(tmp_path, breaks_in=SKIPPED)
    assert_equal(dict(whole[0].module_.state_dict()), dict(again[0].module_.state_dict()))
    assert_equal(whole[0].optimizer_.state_dict(), again[0].optimizer_.state_dict())
    assert whole[0].history.to_list() == again[0].history.to_list()


def add_noise(parameter):
    with torch.no_grad():
        parameter.add_(0.01 * torch.randn_like(parameter))


def always_noise(net):
    return add_noise


class Prelu(nn.Module):
    """A criterion that learns."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, output, target):
        return nn.functional.cross_entropy(self.scale * output, target)


class Counting(Net):
    """State that no state_dict has: a buffer, a number, an array and a tensor."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(64), persistent=False)
        self.n = 0
        self.counts = np.zeros(2)
        self.last[0].seen = torch.zeros(64)

    def forward(self, X):
        if self.training:
            self.n += 1
            self.counts[self.n % 2] += 1
            self.mean = 0.9 * self.mean + 0.1 * X.mean(0)
            self.last[0].seen = self.last[0].seen + X.sum(0)
        return super().forward(X - self.mean / self.n + self.counts[0] * self.last[0].seen * 1e-6)


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.utils.weight_norm(nn.Linear(64, 10))

    def forward(self, X):
        return self.layer(X)


class TwoModules(NeuralNetClassifier):
    def initialize_module(self):
        super().initialize_module()
        self.head_ = nn.Linear(10, 10)
        return self

    def infer(self, x, **fit_params):
        return self.head_(self.module_(x))


@pytest.mark.parametrize(
    "params",
    [
        {"callbacks": [Freezer("first.*")]},
        {"callbacks": [Freezer("first.*"), Unfreezer("first.*", at=3)]},
        {"callbacks": [ParamMapper("last.*", schedule=always_noise)]},
        {"criterion": Prelu},
        {"kind": TwoModules},
        {"train_split": None},
        {"module": Counting},
        pytest.param(
            {"module": Normed},
            marks=pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
        ),
    ],
    ids=[
        "frozen",
        "unfrozen",
        "drawn as an epoch begins",
        "criterion",
        "two modules",
        "no split",
        "no state_dict",
        "weight_norm",
    ],
)
def test_states_in_unusual_places(params, tmp_path):
    check(tmp_path, **params)


def test_a_generator_of_the_iterators_own(tmp_path):
    def params():
        return {"iterator_train__generator": torch.Generator().manual_seed(5)}

    whole = train(**params())
    train(tmp_path, 4, **params())
    assert_same(whole, train(tmp_path, **params()))


def test_a_generator_of_a_sampler(tmp_path):
    def params():
        generator = torch.Generator().manual_seed(5)
        sampler = RandomSampler(range(400), generator=generator)
        return {"iterator_train__sampler": sampler, "iterator_train__shuffle": False}

    whole = train(**params())
    train(tmp_path, 4, **params())
    assert_same(whole, train(tmp_path, **params()))


class Wrapped(torch.utils.data.Sampler):
    """A sampler around another, which has the generator."""

    def __init__(self, sampler):
        self.samplers = [sampler]

    def __len__(self):
        return len(self.samplers[0])

    def __iter__(self):
        return iter(self.samplers[0])


class Noise:
    def __init__(self, generator):
        self.generator = generator

    def __call__(self, X):
        return X + 0.1 * torch.randn(X.shape, generator=self.generator).numpy()


class Noisy(Dataset):
    """A Dataset with a transform, which has the generator."""

    def __init__(self, X, y=None, transforms=()):
        super().__init__(X, y)
        self.transforms = transforms

    def transform(self, X, y):
        for transform in self.transforms:
            X = transform(X)
        return super().transform(X, y)


@pytest.mark.parametrize("where", ["sampler", "transform"])
def test_a_generator_deep_inside(where, tmp_path):
    def params():
        generator = torch.Generator().manual_seed(5)
        if where == "transform":
            return {"dataset": Noisy, "dataset__transforms": [Noise(generator)]}
        sampler = Wrapped(RandomSampler(range(400), generator=generator))
        return {"iterator_train__sampler": sampler, "iterator_train__shuffle": False}

    whole = train(**params())
    train(tmp_path, 4, **params())
    assert_same(whole, train(tmp_path, **params()))


@pytest.mark.slow
def test_loading_in_other_processes(tmp_path):
    check(tmp_path, iterator_train__num_workers=2)


class Lazy(Callback):
    def on_epoch_end(self, net, **kwargs):
        self.n_ = getattr(self, "n_", 0) + 1


class Hidden(Callback):
    def __init__(self):
        self.n = 0

    def on_batch_end(self, net, **kwargs):
        self.n += 1


class Scores(EpochScoring):
    def initialize(self):
        self.count_ = 0
        return super().initialize()


class PlainScores(EpochScoring):
    pass


@pytest.mark.parametrize(
    "callback", [Lazy(), Hidden(), Scores("accuracy", name="own")], ids=lambda c: type(c).__name__
)
def test_a_callback_whose_state_shows_later_is_refused_before_anything_is_written(
    callback, tmp_path
):
    with pytest.raises(ValueError, match=r"no callback with a state of its own.*\['users'\]"):
        train(tmp_path, callbacks=[("users", callback)])
    assert not _files.exists(tmp_path)


def test_a_subclass_without_a_state_is_welcome(tmp_path):
    check(tmp_path, callbacks=[("users", PlainScores("accuracy", name="own"))])


class NumpySampler(torch.utils.data.Sampler):
    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __len__(self):
        return 400

    def __iter__(self):
        return iter(self.rng.permutation(400).tolist())


class NumpyNoise(Noise):
    def __call__(self, X):
        return X + self.generator.normal(size=X.shape).astype("float32")


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            {
                "dataset": Noisy,
                "dataset__transforms": [NumpyNoise(np.random.RandomState(0))],
            },
            "'dataset__transforms' parameter .* a generator of torch's",
        ),
        (
            {"iterator_train__sampler": NumpySampler(), "iterator_train__shuffle": False},
            "'iterator_train__sampler' parameter .* a generator of torch's",
        ),
        (
            {"iterator_valid__persistent_workers": True, "iterator_valid__num_workers": 1},
            "'iterator_valid__persistent_workers' parameter .* False",
        ),
    ],
)
def test_what_could_not_go_on_is_refused(params, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        train(tmp_path, **params)
    assert not _files.exists(tmp_path)


@pytest.mark.parametrize(
    "generator",
    [np.random.default_rng(0), random.Random(0), torch.Generator()],
    ids=lambda value: type(value).__module__,
)
def test_data_with_a_generator_of_its_own_is_refused(generator, tmp_path):
    dataset = Noisy(X_DIGITS, Y_DIGITS, [Noise(generator)])
    net, *_ = train()
    with pytest.raises(ValueError, match=r"'X' parameter of fit must draw from .*global"):
        check_resumable(net, dataset)
    check_resumable(net, Dataset(X_DIGITS, Y_DIGITS))


def test_weights_that_do_not_fit_are_named(tmp_path):
    train(tmp_path, 3)
    with pytest.raises(CheckpointError, match=f"{tmp_path.name} holds does not fit the module"):
        train(tmp_path, module__n_hidden=8)
    assert_same(train(), train(tmp_path))


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
import test_checkpoint_training as tests
forward, count = tests.Net.forward, 0
def dies(self, X):
    global count
    count += 1
    if count == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return forward(self, X)
tests.Net.forward = dies
tests.train(Path({folder!r}), iterator_train__num_workers={n_workers})
"""


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [0, 2])
def test_killed_and_gone_on_with_at_once(n_workers, tmp_path):
    """Though the workers of the killed training may still live."""
    whole = train(iterator_train__num_workers=n_workers)
    rng = np.random.default_rng(1)
    for step in rng.choice(np.arange(1, 51), 20 if n_workers == 0 else 4, replace=False):
        folder = tmp_path / str(step)
        code = KILLED.format(
            tests=str(Path(__file__).parent), folder=str(folder), step=step, n_workers=n_workers
        )
        done = subprocess.run(
            [sys.executable, "-c", code], check=False, timeout=120, env=os.environ
        )
        assert done.returncode == -signal.SIGKILL
        assert_same(whole, train(folder, iterator_train__num_workers=n_workers))
