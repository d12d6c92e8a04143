"""Measure what a whole training costs, in a skorch net with sklr and in a bare torch loop."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from datasets import Data, digits
from models import mlp
from report import Claim, Report, Table
from skorch import NeuralNetClassifier
from timing import Spread, interleave, ratios, seconds
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sklr.callbacks import CyclicalLR
from sklr.data import ArrayDataset

SIZES = (64, 64, 10)
BATCH_SIZE = 64
CALLBACK = CyclicalLR(base_lr=0.05, max_lr=0.2, step_size=2)
MOST_OF_BARE = 1.3
LEAST_OF_SKORCH = 1.6

NO_SCORING = {f"callbacks__{name}": None for name in ("train_loss", "valid_loss", "valid_acc")}

BARE = "bare torch loop, tensor slices"
LOADER = "bare torch loop, DataLoader"
OURS = "skorch, CyclicalLR, ArrayDataset"
UNSCORED = "skorch, CyclicalLR, ArrayDataset, no scoring"
THEIRS = "skorch, CyclicalLR, skorch's Dataset"
DEFAULTS = "skorch, all defaults"


def measure(quick: bool = False) -> Report:
    rounds, n_epochs = (3, 5) if quick else (15, 20)
    data = digits()
    _check_same_training(data)
    times = interleave(
        {
            BARE: lambda: seconds(lambda: _train(data, _slices(data), n_epochs)),
            LOADER: lambda: seconds(lambda: _train(data, _loader(data), n_epochs)),
            OURS: lambda: seconds(lambda: _net(n_epochs, dataset=ArrayDataset).fit(*data)),
            UNSCORED: lambda: seconds(
                lambda: _net(n_epochs, dataset=ArrayDataset, **NO_SCORING).fit(*data)
            ),
            THEIRS: lambda: seconds(lambda: _net(n_epochs).fit(*data)),
            DEFAULTS: lambda: seconds(lambda: _fit_with_defaults(data, n_epochs)),
        },
        rounds,
    )
    n_steps = dict.fromkeys(times, n_epochs * math.ceil(len(data[0]) / BATCH_SIZE))
    n_steps[DEFAULTS] = n_epochs * math.ceil(0.8 * len(data[0]) / BATCH_SIZE)
    per_step = {name: [value / n_steps[name] for value in times[name]] for name in times}
    rows = [
        (name, Spread.of(values, unit=1e-6), ratios(values, per_step[BARE]))
        for name, values in per_step.items()
    ]
    of_bare = ratios(per_step[OURS], per_step[BARE]).median
    unscored_of_bare = ratios(per_step[UNSCORED], per_step[BARE]).median
    of_skorch = ratios(per_step[THEIRS], per_step[OURS]).median
    claims = [
        Claim(
            "training a 64-64-10 MLP",
            BARE,
            f"at most {MOST_OF_BARE}x its time",
            f"{of_bare:.2f}x",
            of_bare <= MOST_OF_BARE,
        ),
        Claim(
            "training a 64-64-10 MLP, without skorch's scoring callbacks too",
            BARE,
            f"at most {MOST_OF_BARE}x its time",
            f"{unscored_of_bare:.2f}x",
            unscored_of_bare <= MOST_OF_BARE,
        ),
        Claim(
            "training a 64-64-10 MLP",
            "the same net with skorch's Dataset",
            f"at least {LEAST_OF_SKORCH}x faster",
            f"{of_skorch:.2f}x faster",
            of_skorch >= LEAST_OF_SKORCH,
        ),
    ]
    notes = [
        "Claim: a skorch net with `dataset=ArrayDataset` and `CyclicalLR` trains in at most "
        f"{MOST_OF_BARE}x the time of a bare loop, and {LEAST_OF_SKORCH}x faster than with "
        "skorch's own Dataset.",
        "Rivals: a bare torch loop over slices of tensors that sets the same rates, keeps the "
        "batches' losses and ends in the same weights, bit for bit (checked in this run); the "
        "same net with skorch's Dataset.",
        f"Digits (1,797 rows), a 64-64-10 MLP, batch size {BATCH_SIZE}, plain SGD, {n_epochs} "
        "epochs; making the net counts on both sides.",
        "The two nets have `train_split=None`, `verbose=0` and `callbacks__print_log=None`; "
        "skorch's other default callbacks are on (epoch timer, train loss; valid loss and accuracy "
        "find nothing to score), but for `no scoring`, which leaves the timer. `all defaults` has "
        "the validation split, scoring and printing (into memory), and no schedule.",
        f"Rounds: {rounds}, interleaved, after one that is dropped. Median (lowest-highest); "
        "ratios are taken round by round.",
    ]
    header = ("way", "us a training batch", "x bare loop")
    return Report("Speed of training", notes, [Table(header, rows)], claims)


Batches = Callable[[], Iterable[tuple[torch.Tensor, torch.Tensor]]]


def _slices(data: Data) -> Batches:
    X, y = map(torch.from_numpy, data)
    starts = range(0, len(X), BATCH_SIZE)
    return lambda: ((X[i : i + BATCH_SIZE], y[i : i + BATCH_SIZE]) for i in starts)


def _loader(data: Data) -> Batches:
    loader = DataLoader(TensorDataset(*map(torch.from_numpy, data)), batch_size=BATCH_SIZE)
    return lambda: loader


def _train(data: Data, batches: Batches, n_epochs: int) -> nn.Module:
    """Train as the nets do, in a bare loop that only keeps the losses."""
    module = mlp(SIZES)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    rate = CALLBACK.schedule(steps_per_epoch=math.ceil(len(data[0]) / BATCH_SIZE))
    losses = []
    step = 0
    for _ in range(n_epochs):
        for X, y in batches():
            optimizer.param_groups[0]["lr"] = rate(step)
            optimizer.zero_grad()
            loss = criterion(module(X), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            step += 1
    return module


def _net(n_epochs: int, **params: Any) -> NeuralNetClassifier:
    return NeuralNetClassifier(
        mlp,
        module__sizes=SIZES,
        criterion=nn.CrossEntropyLoss,
        lr=0.1,
        batch_size=BATCH_SIZE,
        max_epochs=n_epochs,
        train_split=None,
        callbacks=[CALLBACK],
        callbacks__print_log=None,
        verbose=0,
        **params,
    )


def _fit_with_defaults(data: Data, n_epochs: int) -> None:
    net = NeuralNetClassifier(
        mlp,
        module__sizes=SIZES,
        criterion=nn.CrossEntropyLoss,
        lr=0.1,
        batch_size=BATCH_SIZE,
        max_epochs=n_epochs,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        net.fit(*data)


def _check_same_training(data: Data) -> None:
    torch.manual_seed(0)
    bare = _train(data, _slices(data), n_epochs=2)
    torch.manual_seed(0)
    net = _net(2, dataset=ArrayDataset).fit(*data)
    pairs = zip(bare.parameters(), net.module_.parameters(), strict=True)
    if not all(torch.equal(ours, theirs) for ours, theirs in pairs):
        raise RuntimeError("The net and the bare loop do not end in the same weights.")
