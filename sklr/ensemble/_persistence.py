"""A fitted ensemble as files, and back: weights and a manifest, nothing pickled."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import Bunch
from skorch.history import History

from sklr._checkpoint import _files
from sklr._checkpoint._files import CheckpointError
from sklr._training._data import AdaptedDataset
from sklr._training._target import replace_schedule
from sklr.ensemble._prediction import make_member

ARRAYS = ("weights_", "member_scores_", "feature_names_in_", "classes_")
PLAIN = ("n_features_in_", "snapshot_steps_", "loss_barrier_", "_members_of_runs")


def save(ensemble: Any, path: str | PathLike[str]) -> None:
    """Write a fitted ensemble into a folder.

    Raises
    ------
    CheckpointError
        If it cannot be written; what the folder held before is as it was.
    """
    members = ensemble.named_estimators_
    diversity = ensemble.diversity_
    adapted = {name: value for name, value in ensemble._adapted.items() if name != "dataset"}
    values = {
        "kind": type(ensemble).__name__,
        "params": _params(ensemble),
        "members": list(members),
        "fetches_batches": "dataset" in ensemble._adapted,
        "adapted": adapted,
        "histories": [history.to_list() for history in ensemble.histories_],
        "diversity": None if diversity is None else {k: v.tolist() for k, v in diversity.items()},
        "arrays": {
            name: _array(getattr(ensemble, name))
            for name in ARRAYS
            if getattr(ensemble, name, None) is not None
        },
        "plain": {name: getattr(ensemble, name) for name in PLAIN if hasattr(ensemble, name)},
    }
    tensors = {name: net.module_.state_dict() for name, net in members.items()}
    _files.write(Path(path), tensors, values)


def load(ensemble: Any, path: str | PathLike[str]) -> None:
    """Fit an ensemble with what a folder holds.

    Parameters
    ----------
    ensemble : SnapshotEnsemble or SnapshotEnsembleRegressor
        With the estimator that the saved one had.
    path : path
        The folder.

    Raises
    ------
    CheckpointError
        If a file is missing, truncated or altered, of a newer format or of another kind of
        ensemble, if the weights do not fit the estimator's module, or other parameters decide how
        the members are averaged.
    """
    tensors, values = _files.read(Path(path), mapped=True)
    if values.get("kind") != type(ensemble).__name__:
        raise CheckpointError(
            f"{path} holds no {type(ensemble).__name__} but a {values.get('kind', 'checkpoint')}."
        )
    if values["params"] != _params(ensemble):
        saved = ", ".join(f"{name}={value!r}" for name, value in values["params"].items())
        raise CheckpointError(
            f"{path} holds an ensemble with {saved}: load it into one with the same."
        )
    adapted = dict(values["adapted"])
    if values["fetches_batches"]:
        adapted["dataset"] = AdaptedDataset
    net = clone(ensemble.estimator).set_params(warm_start=False, **adapted)
    replace_schedule(net, [])
    try:
        members = {name: make_member(net, tensors[name], share=True) for name in values["members"]}
    except RuntimeError as error:
        raise CheckpointError(f"The weights in {path} do not fit the module: {error}") from error
    ensemble._forget()
    for name, value in values["plain"].items():
        setattr(ensemble, name, value)
    ensemble.member_scores_ = None
    for name, (dtype, items) in values["arrays"].items():
        setattr(ensemble, name, np.array(items, dtype=dtype))
    found = values["diversity"]
    ensemble.diversity_ = found and Bunch(**{k: np.array(v) for k, v in found.items()})
    ensemble.histories_ = [History(rows) for rows in values["histories"]]
    ensemble.history_ = ensemble.histories_[0]
    ensemble._adapted = adapted
    ensemble.estimators_ = list(members.values())
    ensemble.named_estimators_ = Bunch(**members)
    if hasattr(ensemble, "classes_"):
        ensemble.le_ = LabelEncoder().fit(ensemble.classes_)
        for member in ensemble.estimators_:
            member.classes_inferred_ = np.arange(len(ensemble.classes_))


def _params(ensemble: Any) -> dict[str, Any]:
    """Give the parameters that decide how members are averaged, as JSON has them."""
    weights = ensemble.weights
    if not (weights is None or isinstance(weights, str)):
        weights = np.asarray(weights, dtype=float).tolist()
    return {"weights": weights, "combine": ensemble.combine}


def _array(values: Any) -> list[Any]:
    array = np.asarray(values)
    return [array.dtype.str if array.dtype != object else "object", array.tolist()]
