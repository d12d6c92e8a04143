"""Train at every rate of a grid, and keep the test losses: the ground truth for suggestions.

`python benchmarks/range_truth.py` runs the trainings that `range_truth.csv` lacks; all of them take
hours. If a task changes, delete its rows and run the script again. Short tasks are trained in a
plain torch loop, with more seeds and up to 4,000 test rows, so that the truth has little noise of
its own. Another machine or release of torch gives other bits.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed
from range_tasks import SHORT, TASKS, Task
from sklearn.base import clone
from skorch.callbacks import Callback
from skorch.dataset import Dataset

from sklr import OneCycle, SnapshotCosine

PATH = Path(__file__).with_name("range_truth.csv")
LRS = [float(f"{lr:.6g}") for lr in np.geomspace(1e-5, 10, 19)]
SEEDS, SHORT_SEEDS = (0, 1, 2), (0, 1, 2, 3, 4)
SCHEDULES: dict[str, list[tuple[str, Callback]]] = {
    "constant": [],
    "1cycle": [("lr", OneCycle())],
    "snapshot": [("lr", SnapshotCosine())],
}
"""A constant rate, and the peak of 1cycle and of the default snapshot schedule."""


class Key(NamedTuple):
    """One training."""

    task: str
    schedule: str
    lr: float
    seed: int


class StopAtNaN(Callback):
    """Ends a training whose loss is not finite."""

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if not math.isfinite(net.history[-1, "train_loss"]):
            raise KeyboardInterrupt


def trained(task: Task, schedule: str, lr: float, seed: int, **params: Any) -> Any:
    """Return the task's net trained at a constant rate, or at the peak of a schedule."""
    callbacks = [*SCHEDULES[schedule], ("nan", StopAtNaN())]
    net = task.net(callbacks, lr=lr, **params)
    seen = task.parts()
    torch.manual_seed(seed)
    return net.fit(seen.X, seen.y)


def final_loss(task: Task, net: Any) -> float:
    """Return the loss on the data that no search sees, infinite if the training failed."""
    test = task.parts()
    with torch.no_grad():
        loss = net.criterion_(net.forward(test.X_test), torch.from_numpy(test.y_test)).item()
    return loss if math.isfinite(loss) else math.inf


def plain_final_loss(task: Task, schedule: str, lr: float, seed: int) -> float:
    """Return the loss on the test data after a training in a plain loop, infinite if it failed."""
    torch.manual_seed(seed)
    arrays, net = task.arrays(), task.net(lr=lr).initialize()
    whole = Dataset(np.arange(len(arrays.y)), arrays.y)
    train, _ = net.train_split(whole, **({} if arrays.y.ndim == 2 else {"y": arrays.y}))
    rows = torch.as_tensor(train.indices)
    X, y = torch.from_numpy(np.ascontiguousarray(arrays.X)), torch.from_numpy(arrays.y)
    per_epoch = -(-len(rows) // task.batch_size)
    rates = _rates(schedule, lr, per_epoch, task.max_epochs)
    module, optimizer = net.module_.train(), net.optimizer_
    for epoch in range(task.max_epochs):
        order = rows[torch.randperm(len(rows))]
        for number, batch in enumerate(order.split(task.batch_size)):
            for group in optimizer.param_groups:
                group["lr"] = rates[epoch * per_epoch + number]
            optimizer.zero_grad()
            loss = net.criterion_(module(X[batch]), y[batch])
            loss.backward()
            optimizer.step()
            if not math.isfinite(loss.item()):
                return math.inf
    module.eval()
    with torch.no_grad():
        X_test = torch.from_numpy(np.ascontiguousarray(arrays.X_test))
        loss = net.criterion_(module(X_test), torch.from_numpy(arrays.y_test))
    return loss.item() if math.isfinite(loss.item()) else math.inf


def _rates(schedule: str, lr: float, per_epoch: int, n_epochs: int) -> list[float]:
    """Return the rate of each step of a training."""
    steps = np.arange(per_epoch * n_epochs)
    if not SCHEDULES[schedule]:
        return [lr] * len(steps)
    ((_, callback),) = SCHEDULES[schedule]
    value = clone(callback, safe=False).set_params(max_lr=lr).schedule(per_epoch, n_epochs, lr)
    return [float(rate) for rate in value(steps)]


def measure(key: Key) -> float:
    """Return the final loss of one training."""
    torch.set_num_threads(1)
    task = next(task for task in TASKS if task.name == key.task)
    if task in SHORT:
        return plain_final_loss(task, key.schedule, key.lr, key.seed)
    return final_loss(task, trained(task, key.schedule, key.lr, key.seed))


def all_keys() -> list[Key]:
    """Return the keys of all trainings, task by task."""
    return [
        Key(task.name, *key)
        for task in TASKS
        for key in itertools.product(schedules_of(task), LRS, seeds_of(task))
    ]


def schedules_of(task: Task) -> tuple[str, ...]:
    """Return the schedules that a task is trained with."""
    return ("constant", "1cycle") if task in SHORT else tuple(SCHEDULES)


def seeds_of(task: Task) -> tuple[int, ...]:
    """Return the seeds of a task's trainings."""
    return SHORT_SEEDS if task in SHORT else SEEDS


def load() -> dict[Key, float]:
    """Return the losses of the trainings that were run."""
    if not PATH.exists():
        return {}
    with PATH.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return {
        Key(task, sched, float(lr), int(seed)): float(loss) for task, sched, lr, seed, loss in rows
    }


def save(truth: dict[Key, float]) -> None:
    """Write the losses in the order of the tasks."""
    with PATH.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*Key._fields, "loss"])
        writer.writerows([*key, f"{truth[key]:.6g}"] for key in all_keys() if key in truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once")
    jobs = parser.parse_args().jobs
    truth = load()
    missing = [key for key in all_keys() if key not in truth]
    block = len(LRS) * len(SEEDS)
    for start in range(0, len(missing), block):
        keys = missing[start : start + block]
        losses = Parallel(n_jobs=jobs)(delayed(measure)(key) for key in keys)
        truth |= dict(zip(keys, losses, strict=True))
        save(truth)
        print(f"{start + len(keys)} of {len(missing)}: {keys[-1].task}, {keys[-1].schedule}")


if __name__ == "__main__":
    main()
