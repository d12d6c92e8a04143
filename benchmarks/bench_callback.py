"""Measure what a schedule's callback costs per training batch, in a loop that does nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from report import Claim, Report, Table
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback, LRScheduler
from timing import Spread, clock, interleave, ratios
from torch.optim.lr_scheduler import CyclicLR

from sklr.callbacks import CyclicalLR
from sklr.data import ArrayDataset

ALONE = "no callback"
OURS = "sklr CyclicalLR"
RIVAL = "skorch LRScheduler(CyclicLR, step_every='batch')"

MAX_GROWTH = 1.25
"""Cost in epochs of 10,000 batches over that in epochs of 100, up to which it counts as flat."""


class Cost(NamedTuple):
    """Seconds per batch of the training loop, and per epoch of the hooks around it."""

    batch: float
    epoch: float


LENGTHS = (10, 100, 10_000)
"""Batches of an epoch; the claims are about the last two."""


def measure(quick: bool = False) -> Report:
    rounds, n_batches = (5, 10_000) if quick else (31, 10_000)
    rivals = {ALONE: [], OURS: [_ours()], RIVAL: [_rival()]}
    costs = interleave(
        {
            (name, length): _Loop(callbacks, length, n_batches // length)
            for length, (name, callbacks) in product(LENGTHS, rivals.items())
        },
        rounds,
    )

    def added(name: str, length: int, hooks: str) -> list[float]:
        """Return what a callback adds to the loop, round by round."""
        pairs = zip(costs[name, length], costs[ALONE, length], strict=True)
        return [getattr(cost, hooks) - getattr(alone, hooks) for cost, alone in pairs]

    rows, claims = [], []
    for length in LENGTHS:
        alone = [cost.batch for cost in costs[ALONE, length]]
        ours, rival = added(OURS, length, "batch"), added(RIVAL, length, "batch")
        faster = ratios(rival, ours)
        spreads = [Spread.of(values, unit=1e-6) for values in (alone, ours, rival)]
        hooks = Spread.of(added(OURS, length, "epoch"), unit=1e-6)
        rows.append((f"{length:,}", f"{n_batches // length:,}", *spreads, faster, hooks))
        if length >= 100:
            what = f"callback per training batch, epochs of {length:,} batches"
            measured = f"{faster.median:.1f}x faster"
            claims.append(Claim(what, RIVAL, "not slower", measured, faster.median >= 1))

    growth = ratios(added(OURS, 10_000, "batch"), added(OURS, 100, "batch")).median
    what = "callback per training batch, epochs of 10,000 batches"
    to_reach = f"flat: at most {MAX_GROWTH}x"
    rival = "itself, epochs of 100 batches"
    claims.append(Claim(what, rival, to_reach, f"{growth:.2f}x", growth <= MAX_GROWTH))
    notes = [
        "Claim: `on_batch_begin` and `on_batch_end` of `sklr.callbacks.CyclicalLR` take no longer "
        "than the rival's, whatever the epoch's length.",
        f"Rival: `{RIVAL}`.",
        "A net notifies its callbacks of every batch as in training, without any training between; "
        "once without callbacks and once with each, and what the callback adds is printed. All of "
        "skorch's default callbacks are off.",
        "The last column is what sklr's `on_epoch_begin` and `on_epoch_end` add, once an epoch.",
        f"Rounds: {rounds} of {n_batches:,} batches, interleaved, after one that is dropped. "
        "Median (lowest-highest); differences and ratios are taken round by round.",
    ]
    header = (
        "batches an epoch",
        "epochs",
        "loop alone, us a batch",
        "sklr adds",
        "skorch adds",
        "times faster",
        "sklr's epoch hooks, us an epoch",
    )
    return Report("Cost of the callback", notes, [Table(header, rows)], claims)


def _ours() -> CyclicalLR:
    return CyclicalLR(base_lr=0.1, max_lr=1.0, step_size=1_000, unit="batch")


def _rival() -> LRScheduler:
    return LRScheduler(
        CyclicLR,
        base_lr=0.1,
        max_lr=1.0,
        step_size_up=1_000,
        cycle_momentum=False,
        step_every="batch",
    )


class _Loop:
    """The notifications of a net's callbacks in skorch's training loop, without the training."""

    def __init__(self, callbacks: Sequence[Callback], length: int, n_epochs: int) -> None:
        self.net = NeuralNetRegressor(
            torch.nn.Linear,
            module__in_features=1,
            module__out_features=1,
            lr=0.1,
            batch_size=1,
            dataset=ArrayDataset,
            callbacks=list(callbacks),
            callbacks__epoch_timer=None,
            callbacks__train_loss=None,
            callbacks__valid_loss=None,
            callbacks__print_log=None,
            verbose=0,
        ).initialize()
        self.n_epochs = n_epochs
        X = np.zeros((length, 1), dtype=np.float32)
        self.data = {"dataset_train": self.net.get_dataset(X, X), "dataset_valid": None}
        self.length = length

    def __call__(self) -> Cost:
        net, batch = self.net, (torch.zeros(1, 1), torch.zeros(1, 1))
        step = {"loss": torch.zeros(()), "y_pred": torch.zeros(1, 1)}
        net.history.clear()
        net.notify("on_train_begin")
        net.optimizer_.step()  # torch warns of a scheduler that steps first
        in_batches = in_hooks = 0.0
        for _ in range(self.n_epochs):
            begun = clock()
            net.notify("on_epoch_begin", **self.data)
            ready = clock()
            for _ in range(self.length):
                net.notify("on_batch_begin", batch=batch, training=True)
                net.notify("on_batch_end", batch=batch, training=True, **step)
            done = clock()
            net.history.record("train_batch_count", self.length)
            net.notify("on_epoch_end", **self.data)
            in_batches += done - ready
            in_hooks += clock() - done + ready - begun
        return Cost(in_batches / (self.n_epochs * self.length), in_hooks / self.n_epochs)
