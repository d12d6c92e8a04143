"""Plan and run the trainings of an ensemble, and choose the snapshots that become members."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.history import History

from sklr._checkpoint._durable import Checkpoints, fit_durably, seed_of
from sklr._checkpoint._fingerprint import fingerprint
from sklr._module_state import ModuleState, original
from sklr._training._bfloat16 import predict_in_float32
from sklr._training._fit import fit_net
from sklr._training._holdout import FixedSplit, Holdout, own_holdout
from sklr._training._plan import TrainingPlan, plan_training
from sklr._training._sample_weight import weigh_samples
from sklr._training._seeding import seeded
from sklr._training._target import named_callbacks, replace_schedule
from sklr._validation import Description, ParameterTypeError
from sklr._warnings import warn
from sklr.callbacks import Snapshots
from sklr.callbacks._base import ScheduleCallback
from sklr.ensemble._parameters import (
    check_count,
    check_holdouts,
    choose_schedule,
    has_given_weights,
    in_terms_of_snapshots,
    optional_integer,
)
from sklr.ensemble._selection import Array

if TYPE_CHECKING:
    from sklr.ensemble._base import BaseSnapshotEnsemble

CHECK, SCHEDULE, SNAPSHOTS = "sklr_check", "sklr_schedule", "sklr_snapshots"
PROGRESS, CHECKPOINTS = "sklr_progress", "sklr_checkpoints"
"""Names of the training's callbacks, which no callback of the user's is likely to have."""


class Data(NamedTuple):
    """What an ensemble is fitted on.

    Attributes
    ----------
    X : object
        Samples, as the net takes them.
    y : ndarray of shape (n_samples,)
        Targets, as the net's loss takes them.
    weights : ndarray of shape (n_samples,) or None
        Weights of the samples in the loss.
    """

    X: Any
    y: Array
    weights: Array | None


@dataclass(frozen=True)
class Run:
    """One training of an ensemble, planned.

    Attributes
    ----------
    seed : int
        Seed of the split and of the training.
    schedule : schedule callback
        The schedule of the rate, which defines the snapshots.
    holdout : Holdout
        Training and validation rows.
    plan : TrainingPlan
        Numbers of steps, and steps of the snapshots.
    folder : Path or None
        Folder of its checkpoints, if there are to be any.
    """

    seed: int
    schedule: ScheduleCallback
    holdout: Holdout
    plan: TrainingPlan
    folder: Path | None


@dataclass(frozen=True)
class Training:
    """The result of one training.

    Attributes
    ----------
    states : list of dict
        States of the module at the snapshots, oldest first.
    steps : list of int
        The counts of completed steps after which they were taken.
    finite : list of bool
        For each snapshot, whether its parameters and the training loss of its epoch are finite.
    history : History
        skorch's history.
    module_params : dict
        Parameters of the module that callbacks of the net set when the training began, such as the
        number of features. Members need them too.
    """

    states: list[ModuleState]
    steps: list[int]
    finite: list[bool]
    history: History
    module_params: dict[str, Any]


class ModuleCheck(Callback):
    """Raise before the first step if members would lack a part of the net, or could not predict."""

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Check that the net has one module, which predicts."""
        # Private, but the only list of what a net's subclass may have added.
        if net._modules != ["module"]:
            requirement = "be all that the net trains: members are made of it alone"
            got = Description(", ".join(f"{name}_" for name in net._modules))
            raise ParameterTypeError(net, "module", requirement, got)
        predict_in_float32(net)


def plan_runs(ensemble: BaseSnapshotEnsemble, data: Data) -> list[Run]:
    """Choose the seed, the rows and the schedule of each run, and check them.

    Parameters
    ----------
    ensemble : SnapshotEnsemble or SnapshotEnsembleRegressor
        The ensemble, not fitted.
    data : Data
        What it is to be fitted on.

    Raises
    ------
    TypeError, ValueError
        If a parameter does not fit the data, the schedule or the validation data.
    """
    net, schedule = ensemble.estimator, choose_schedule(ensemble)
    # None draws one seed from numpy's global state. The first run uses the seed itself, so that
    # further runs leave its result as it is.
    seed = check_random_state(ensemble.random_state).randint(2**31 - 1)
    folder = None
    if ensemble.checkpoint_dir is not None:
        # If no seed is given, the folder must not depend on the one drawn: the seed of the fit that
        # was interrupted is used.
        given = None if ensemble.random_state is None else seed
        name = fingerprint(net, schedule, *data, given)
        # Absolute: a callback may change the working directory.
        folder = Path(ensemble.checkpoint_dir).absolute() / name
        seed = seed_of(folder, seed)
    more = np.random.SeedSequence(seed).generate_state(int(ensemble.n_runs))[1:]
    runs = []
    for i, run_seed in enumerate([seed, *map(int, more)]):
        holdout = own_holdout(net, data.X, data.y, seed=run_seed)
        with in_terms_of_snapshots(ensemble):
            plan = plan_training(net, data.X, holdout, schedule)
        run_folder = None if folder is None else folder / f"run_{i + 1}"
        runs.append(Run(run_seed, schedule, holdout, plan, run_folder))
    check_count(ensemble, len(runs[0].plan.snapshot_steps))
    check_holdouts(ensemble, [run.holdout for run in runs], data.weights)
    return runs


def train(
    net: NeuralNet,
    run: Run,
    X: Any,
    y: Array,
    weights: Array | None,
    *,
    callback: Callback | None = None,
    verbose: int = 0,
) -> Training:
    """Train a clone of a net as planned, and keep its snapshots.

    Parameters
    ----------
    net : NeuralNet
        The net, not initialized and without a split; it is cloned.
    run : Run
        The seed, rows, schedule and steps.
    X, y, weights : object
        The fields of Data, each a parameter: what brings large arrays to other processes, such as
        dask, does not look for them inside an object.
    callback : Callback, default=None
        Callback to add, which reports progress.
    verbose : int, default=0
        1 prints a line for each snapshot.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupts.
    """
    # A clone, since several runs train the one net, in threads perhaps.
    net = clone(net)
    given = _module_params(net)
    if weights is not None:
        weigh_samples(net, weights)
    if not run.holdout.is_whole:
        net.train_split = FixedSplit(run.holdout, validate=True)
    snapshots = Snapshots(verbose=verbose)
    new: list[tuple[str, Any]] = [
        (CHECK, ModuleCheck()),
        (SCHEDULE, clone(run.schedule, safe=False)),
        (SNAPSHOTS, snapshots),
    ]
    if callback is not None:
        new.append((PROGRESS, callback))
    if run.folder is not None:
        new.append((CHECKPOINTS, Checkpoints(run.folder, snapshots)))
    # In this order: checkpoints are written after all other callbacks have acted.
    replace_schedule(net, new)
    with seeded(run.seed):
        if run.folder is None:
            fit_net(net, X, y)
        else:
            fit_durably(net, X, y, new[-1][1])
    return Training(
        snapshots.states_,
        snapshots.steps_,
        _are_finite(net, snapshots, run.plan),
        net.history,
        {key: value for key, value in _module_params(net).items() if value is not given.get(key)},
    )


def _module_params(net: NeuralNet) -> dict[str, Any]:
    return {key: value for key, value in vars(net).items() if key.startswith("module__")}


def _are_finite(net: NeuralNet, snapshots: Snapshots, plan: TrainingPlan) -> list[bool]:
    """Return for each snapshot whether its parameters and the loss of its epoch are finite.

    Buffers may hold what is not finite, such as the mask of an attention.
    """
    names = [name for name, _ in original(net.module_).named_parameters()]
    return [
        _loss_is_finite(net.history, step, plan)
        and all(bool(torch.isfinite(state[name]).all()) for name in names)
        for step, state in zip(snapshots.steps_, snapshots.states_, strict=True)
    ]


def _loss_is_finite(history: History, step: int, plan: TrainingPlan) -> bool:
    # Without a length the epoch of a step is not known.
    if not plan.steps_per_epoch:
        return True
    epoch = min((step - 1) // plan.steps_per_epoch, len(history) - 1)
    # skorch writes no mean loss for an epoch that a callback ended early.
    return math.isfinite(history[epoch].get("train_loss", 0.0))


def kept_states(ensemble: BaseSnapshotEnsemble, run: Run, training: Training) -> list[ModuleState]:
    """Return the states that become members: the last ones of those before any divergence.

    Warns if there are fewer snapshots than planned.

    Raises
    ------
    FloatingPointError
        If the training diverged before the first snapshot, or before the last one and the user
        gave a weight for each.
    RuntimeError
        If a callback stopped it then.
    """
    states, planned = training.states, len(run.plan.snapshot_steps)
    # All from the first such snapshot on: weights that are NaN stay so.
    n_finite = training.finite.index(False) if False in training.finite else len(states)
    if n_finite < len(states):
        ended = (
            f"The training diverged: from snapshot {n_finite + 1} of {planned} on the weights or "
            "losses are not finite. Scale inputs and targets, and lower the learning rate, for "
            "instance by LRRangeSearch"
        )
        if n_finite == 0 or has_given_weights(ensemble):
            raise FloatingPointError(f"{ended}.")
        warn(f"{ended}; the ensemble has the {n_finite} before.")
    elif len(states) < planned:
        ended = (
            f"The training was stopped after {len(states)} of {planned} snapshots "
            f"(epoch {len(training.history)}){_by_whom(ensemble)}"
        )
        cure = (
            "Give it more patience, or use a schedule with snapshots from the start, such as "
            "SGDR(unit='fraction', cycle_length=1 / 7, cycle_mult=2)."
        )
        if not states:
            raise RuntimeError(f"{ended}: there is nothing to make members of. {cure}")
        if has_given_weights(ensemble):
            raise RuntimeError(f"{ended}, fewer than there are weights. {cure}")
        warn(f"{ended}; the ensemble is that much smaller.")
    n_members = optional_integer(ensemble, "n_members")
    return states[:n_finite] if n_members is None else states[:n_finite][-n_members:]


def _by_whom(ensemble: BaseSnapshotEnsemble) -> str:
    """Return the end of a sentence, which names the net's callbacks that may stop a training."""
    able = [
        f"{type(callback).__name__} ({name!r})"
        for name, callback in named_callbacks(ensemble.estimator)
        if any(cls.__name__ == "EarlyStopping" for cls in type(callback).__mro__)
        or type(callback).__module__.partition(".")[0] not in ("skorch", "sklr")
    ]
    return f" by one of the net's callbacks: {', '.join(able)}" if able else ""
