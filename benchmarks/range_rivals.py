"""Run the finders that sklr is compared with; each suggests one rate, or NaN for none.

torch-lr-finder, Lightning's and ignite's are the installed ones, with their defaults: a ramp of 100
steps, but for ignite's, which takes as many as the whole training. fastai's three rules are written
anew from its formulas and share one ramp.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from range_tasks import Task
from torch.utils.data import DataLoader, TensorDataset

with warnings.catch_warnings():
    # tqdm warns of its notebook form, which torch-lr-finder imports.
    warnings.simplefilter("ignore")
    import torch_lr_finder
    from ignite.engine import Engine
    from ignite.handlers import FastaiLRFinder
    from pytorch_lightning import LightningModule, Trainer
    from pytorch_lightning.tuner import Tuner

N_STEPS = 100
START, END = 1e-7, 10.0

Array = NDArray[np.float64]


@contextmanager
def silence() -> Iterator[None]:
    """Suppress progress bars, logs and warnings."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def begin(task: Task, seed: int) -> tuple[Any, DataLoader[Any]]:
    """Return the task's initialized net at the lowest rate, and its shuffled batches."""
    torch.manual_seed(seed)
    net, seen = task.net(lr=START).initialize(), task.arrays()
    data = TensorDataset(torch.from_numpy(np.ascontiguousarray(seen.X)), torch.from_numpy(seen.y))
    return net, DataLoader(data, task.batch_size, shuffle=True)


def torch_lr_finder_rate(task: Task, seed: int) -> float:
    """Run the installed torch-lr-finder."""
    with silence():
        net, loader = begin(task, seed)
        finder = torch_lr_finder.LRFinder(net.module_, net.optimizer_, net.criterion_)
        finder.range_test(loader, end_lr=END, num_iter=N_STEPS)
        try:
            _, lr = finder.plot(ax=Figure().subplots(), suggest_lr=True)
        except (ValueError, RuntimeError):
            return math.nan
    return float(lr)


class _Wrapped(LightningModule):
    """A net's module, criterion and optimizer, as Lightning takes them."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.module, self.criterion, self.made = net.module_, net.criterion_, net.optimizer_
        self.lr = START

    def training_step(self, batch: Any) -> torch.Tensor:
        X, y = batch
        return self.criterion(self.module(X), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.made


def lightning_rate(task: Task, seed: int) -> float:
    """Run the installed Lightning's finder."""
    with silence(), TemporaryDirectory() as folder:
        net, loader = begin(task, seed)
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            default_root_dir=folder,
        )
        lr = Tuner(trainer).lr_find(_Wrapped(net), loader).suggestion()
    return math.nan if lr is None else float(lr)


def ignite_rate(task: Task, seed: int) -> float:
    """Run the installed ignite's finder over a whole training."""
    with silence():
        net, loader = begin(task, seed)

        def step(engine: Engine, batch: Any) -> float:
            X, y = batch
            net.module_.train()
            net.optimizer_.zero_grad()
            loss = net.criterion_(net.module_(X), y)
            loss.backward()
            net.optimizer_.step()
            return loss.item()

        finder = FastaiLRFinder()
        kept = {"model": net.module_, "optimizer": net.optimizer_}
        with finder.attach(Engine(step), to_save=kept) as trainer:
            trainer.run(loader, max_epochs=task.max_epochs)
        try:
            return float(finder.lr_suggestion())
        except RuntimeError:
            return math.nan


def fastai_ramp(task: Task, seed: int) -> tuple[Array, Array]:
    """Run fastai's ramp in a plain loop: rates and smoothed losses, trimmed as it trims them."""
    torch.manual_seed(seed)
    net, seen = task.net(lr=START).initialize(), task.arrays()
    X, y = torch.from_numpy(np.ascontiguousarray(seen.X)), torch.from_numpy(seen.y)
    lrs: list[float] = []
    losses: list[float] = []
    mean, order = 0.0, torch.empty(0, dtype=torch.long)
    for step in range(N_STEPS):
        if len(order) < 2:  # BatchNorm takes no single sample
            order = torch.randperm(len(X))
        rows, order = order[: task.batch_size], order[task.batch_size :]
        lr = START * (END / START) ** (step / N_STEPS)
        for group in net.optimizer_.param_groups:
            group["lr"] = lr
        net.optimizer_.zero_grad()
        loss = net.criterion_(net.module_(X[rows]), y[rows])
        loss.backward()
        net.optimizer_.step()
        mean = 0.98 * mean + 0.02 * loss.item()
        lrs.append(lr)
        losses.append(mean / (1 - 0.98 ** (step + 1)))
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
    return np.array(lrs)[N_STEPS // 10 : -5], np.array(losses)[N_STEPS // 10 : -5]


def valley(lrs: Array, losses: Array) -> float:
    """Return a point halfway down the longest run of falling losses."""
    n = len(losses)
    lengths = [1] * n
    for i in range(1, n):
        for j in range(i):
            if losses[i] < losses[j]:
                lengths[i] = max(lengths[i], lengths[j] + 1)
    end = int(np.argmax(lengths))
    start = end - lengths[end]
    third = (end - start) / 3
    return float(lrs[start + int(third) + int(third / 2)])


def slide(lrs: Array, losses: Array) -> float:
    """Slide an interval down from the end while the slopes at its ends differ."""
    slopes = np.gradient(losses)
    right, left, lr = -1, -16, math.nan
    while left >= -len(losses) and abs(slopes[right] - slopes[left]) > 0.005:
        lr, right, left = float(lrs[left]), right - 1, left - 1
    return lr


def minimum(lrs: Array, losses: Array) -> float:
    """Return a tenth of the rate of least loss."""
    return float(lrs[np.argmin(losses)]) / 10


FASTAI: dict[str, Callable[[Array, Array], float]] = {
    "fastai valley": valley,
    "fastai slide": slide,
    "fastai minimum": minimum,
}
FASTAI_NEEDS = 17
"""Least number of points that fastai's rules need."""

INSTALLED: dict[str, Callable[[Task, int], float]] = {
    "torch-lr-finder": torch_lr_finder_rate,
    "Lightning": lightning_rate,
    "ignite": ignite_rate,
}
NAMES = (*INSTALLED, *FASTAI)


def rates(task: Task, seed: int) -> dict[str, float]:
    """Return the rate of each rival, NaN if it has none."""
    lrs, losses = fastai_ramp(task, seed)
    enough = len(lrs) >= FASTAI_NEEDS
    return {name: find(task, seed) for name, find in INSTALLED.items()} | {
        name: rule(lrs, losses) if enough else math.nan for name, rule in FASTAI.items()
    }
