"""The plan of a training, known before its first step: how long it is, when snapshots are due."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any

from skorch import NeuralNet
from torch.utils.data import Dataset

from sklr._training._holdout import Holdout
from sklr._training._inputs import n_samples
from sklr._validation import ParameterTypeError, ParameterValueError, check_integer
from sklr.callbacks._base import ScheduleCallback, own_lr, steps_per_epoch


@dataclass(frozen=True)
class TrainingPlan:
    """How long a training is.

    Attributes
    ----------
    steps_per_epoch : int or None
        Training batches of an epoch; None if the data has no length.
    n_steps : int or None
        Steps of the whole training; None likewise.
    snapshot_steps : tuple of int
        The counts of completed steps after which snapshots are due; empty without a schedule.
    """

    steps_per_epoch: int | None
    n_steps: int | None
    snapshot_steps: tuple[int, ...] = ()


def plan_training(
    net: NeuralNet, X: Any, holdout: Holdout, schedule: ScheduleCallback | None = None
) -> TrainingPlan:
    """Count the steps of a net's training from its first to its last epoch.

    Parameters
    ----------
    net : NeuralNet
        The net; it need not be initialized.
    X : object
        All data.
    holdout : Holdout
        Which of it is trained on.
    schedule : schedule callback, default=None
        Says when snapshots are due.

    Returns
    -------
    TrainingPlan

    Raises
    ------
    ValueError
        If an epoch would have no batch.
    TypeError
        If the schedule cannot say when snapshots are due.
    """
    per_epoch = steps_per_epoch(net, _training_part(X, holdout))
    if per_epoch == 0:
        requirement = (
            "leave at least one training batch: with iterator_train__drop_last=True there is none "
            "if the training data has fewer rows than one batch"
        )
        raise ParameterValueError(net, "batch_size", requirement, net.batch_size)
    epochs = check_integer(net, "max_epochs", net.max_epochs, at_least=1)
    n_steps = None if per_epoch is None else per_epoch * epochs
    if schedule is None:
        return TrainingPlan(per_epoch, n_steps)
    if per_epoch is None:
        requirement = "have a length, so that the schedule can say when snapshots are due"
        raise ParameterTypeError("fit", "X", requirement, X)
    due = schedule.planned_snapshots(per_epoch, epochs, own_lr(net))
    return TrainingPlan(per_epoch, n_steps, due)


def _training_part(X: Any, holdout: Holdout) -> Sized | Dataset[Any]:
    """Return something of the length of the training data, for which batches can be counted."""
    if holdout.train_rows is not None:
        return range(len(holdout.train_rows))
    if holdout.n_train is not None:
        return range(holdout.n_train)
    return X if isinstance(X, Dataset) else range(n_samples(X))
