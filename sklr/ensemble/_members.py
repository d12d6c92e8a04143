"""One training of an ensemble: from a net and a seed to the weights of its snapshots."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.dataset import get_len
from skorch.history import History
from skorch.utils import data_from_dataset, multi_indexing
from torch.utils.data import Dataset, Subset

from sklr._checkpoint._durable import Checkpoints, fit_durably
from sklr._training._fit import run
from sklr._training._sample_weight import weigh_samples
from sklr._training._seeding import seeded
from sklr._training._target import replace_schedule
from sklr._validation import Description, ParameterTypeError
from sklr.callbacks import Snapshots
from sklr.callbacks._base import runs
from sklr.callbacks._progress import PLANNED_STEPS

SCHEDULE, PLAN, SNAPSHOTS = "sklr_schedule", "sklr_plan", "sklr_snapshots"
TELLS, CHECKPOINTS = "sklr_tells", "sklr_checkpoints"
"""Names of the training's callbacks, which no callback of the user's is likely to have."""

StateDict = dict[str, torch.Tensor]


class Planned(Callback):
    """Checks the net, and before the first batch moves a weight how many snapshots there will be.

    Parameters
    ----------
    check : callable
        Called with the number.
    """

    def __init__(self, check: Callable[[int], None]) -> None:
        self.check = check

    def initialize(self) -> Planned:
        """Forget the training before."""
        self.count_: int | None = None
        return self

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Refuse a net whose members would lack a part."""
        if net._modules != ["module"]:
            requirement = "be all that the net trains: members are made of it alone"
            got = Description(", ".join(f"{name}_" for name in net._modules))
            raise ParameterTypeError(net, "module", requirement, got)

    def on_batch_begin(self, net: NeuralNet, training: bool | None = None, **kwargs: Any) -> None:
        """Check once, when the schedule has said how many snapshots are due."""
        if training and self.count_ is None:
            steps = runs[net].snapshot_steps
            if steps is not None:
                self.count_ = len(steps)
                self.check(self.count_)


class NotedSplit:
    """A net's `train_split` that notes what is held out.

    Parameters
    ----------
    split : callable
        The net's own.
    """

    def __init__(self, split: Any) -> None:
        self.split = split
        self.held_out: Any = None

    def __call__(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Split, and note the rows that are held out, or the validation set that is given."""
        train, valid = self.split(dataset, *args, **kwargs)
        rows = isinstance(valid, Subset) and valid.dataset is dataset
        self.held_out = valid.indices if rows else valid
        return train, valid


@dataclass(frozen=True)
class Training:
    """What a training comes to.

    Attributes
    ----------
    states : list of dict
        The weights of the snapshots, oldest first.
    steps : list of int
        The counts of completed steps after which they were taken.
    planned : int
        Snapshots that the schedule had in mind.
    history : History
        skorch's.
    held_out : sequence of int, Dataset or None
        Rows that the net's own split held out, or the validation set that it gave.
    finite : list of bool
        Of each snapshot: whether its parameters, and the training loss of its epoch, are finite.
    module_params : dict
        Parameters of the module that callbacks of the net set when the training began.
    """

    states: list[StateDict]
    steps: list[int]
    planned: int
    history: History
    held_out: Any
    finite: list[bool]
    module_params: dict[str, Any]


def train(
    net: NeuralNet,
    schedule: Callback,
    check: Callable[[int], None],
    X: Any,
    y: Any,
    seed: int,
    sample_weight: Any,
    folder: Path | None,
    *,
    callback: Callback | None = None,
    verbose: int = 0,
) -> Training:
    """Train a clone of a net with a schedule.

    Parameters
    ----------
    net : NeuralNet
        The net, not initialized; it is cloned.
    schedule : schedule callback
        Says when snapshots are due.
    check : callable
        Called with the number of snapshots before the first step.
    X, y : object
        What the net takes.
    seed : int
        For everything random.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights of the samples' losses.
    folder : Path or None
        Of checkpoints, to write and to go on from.
    callback : Callback, default=None
        A further one.
    verbose : int
        1 prints a line a snapshot.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupted, which skorch swallows.
    """
    net = clone(net)
    given = _module_params(net)
    if sample_weight is not None:
        weigh_samples(net, sample_weight)
    plan, snapshots = Planned(check), Snapshots(verbose=verbose)
    new = [(SCHEDULE, clone(schedule, safe=False)), (PLAN, plan), (SNAPSHOTS, snapshots)]
    checkpoints = None if folder is None else Checkpoints(folder, snapshots)
    more = [(TELLS, callback), (CHECKPOINTS, checkpoints)]
    replace_schedule(net, [*new, *(item for item in more if item[1] is not None)])
    split = None
    if net.train_split:
        split = net.train_split = NotedSplit(net.train_split)
    with seeded(seed):
        if checkpoints is None:
            run(net, X, y)
        else:
            fit_durably(net, X, y, checkpoints)
    # A finished training that was only taken up again began no batch.
    planned = len(snapshots.steps_) if plan.count_ is None else plan.count_
    return Training(
        snapshots.snapshots_,
        snapshots.steps_,
        planned,
        net.history,
        None if split is None else split.held_out,
        _are_finite(net, snapshots),
        {key: value for key, value in _module_params(net).items() if value is not given.get(key)},
    )


def _module_params(net: NeuralNet) -> dict[str, Any]:
    return {key: value for key, value in vars(net).items() if key.startswith("module__")}


def _are_finite(net: NeuralNet, snapshots: Snapshots) -> list[bool]:
    """Tell of each snapshot whether its parameters and the loss of its epoch are finite numbers.

    Buffers may hold what is not finite, such as the mask of an attention.
    """
    names = [name for name, _ in net.module_.named_parameters()]
    ends = np.cumsum([row.get(PLANNED_STEPS, math.inf) for row in net.history])
    epochs = np.searchsorted(ends, snapshots.steps_)
    return [
        math.isfinite(net.history[int(epoch)].get("train_loss", 0.0))
        and all(bool(torch.isfinite(state[name]).all()) for name in names)
        for epoch, state in zip(epochs, snapshots.snapshots_, strict=True)
    ]


def held_out_data(held_out: Any, X: Any, y: Any) -> tuple[Any, Any] | None:
    """Give what a training held out, as the net takes it; None where that is nothing.

    Parameters
    ----------
    held_out : sequence of int, Dataset or None
        Of a `Training`.
    X, y : object
        What the net was given.
    """
    if held_out is None:
        return None
    if isinstance(held_out, Dataset):
        X, y = data_from_dataset(held_out)
        return X, y
    rows = np.asarray(held_out)
    if isinstance(X, Dataset):
        return Subset(X, rows.tolist()), multi_indexing(y, rows)
    return multi_indexing(X, rows), multi_indexing(y, rows)


def holds_out_alike(net: NeuralNet, X: Any, y: Any, seeds: Sequence[int]) -> bool:
    """Tell whether trainings with other seeds hold the same samples out.

    Parameters
    ----------
    net : NeuralNet
        Not initialized.
    X, y : object
        What it is to be trained on.
    seeds : sequence of int
        Of the trainings.
    """
    if not net.train_split or len(seeds) < 2:
        return True
    held_out = []
    for seed in seeds[:2]:
        with seeded(seed):
            untrained = clone(net).initialize()
            split = untrained.train_split = NotedSplit(untrained.train_split)
            untrained.get_split_datasets(X, y)
        held_out.append(split.held_out)
    first, second = held_out
    # A validation set that is given is one for all.
    return isinstance(first, Dataset) or np.array_equal(first, second)


def rows_trained_on(held_out: Any, X: Any) -> Any:
    """Give the rows of X that were not held out; None for all of it."""
    if held_out is None or isinstance(held_out, Dataset):
        return None
    return np.setdiff1d(np.arange(get_len(X)), held_out)
