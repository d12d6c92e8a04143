"""Write a fitted ensemble into files and read it back: weights and a manifest, nothing pickled."""

from __future__ import annotations

from copy import copy
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import Bunch
from skorch import NeuralNet
from skorch.history import History

from sklr._checkpoint import CheckpointError, _files
from sklr._checkpoint._shapes import HISTORY, NUMBER
from sklr._module_state import module_state
from sklr._training._data import AdaptedDataset
from sklr._training._target import replace_schedule
from sklr.ensemble._prediction import make_member
from sklr.ensemble._selection import Array

if TYPE_CHECKING:
    from sklr.ensemble._base import BaseSnapshotEnsemble

ADAPTED = {"dataset__dtype": str, "dataset__floats": bool, "dataset__columns": bool}
"""Parameters of the net that a fit may set, beside those of the module."""

PLAIN = {
    "n_features_in_": (None, int),
    "snapshot_steps_": [int],
    "loss_barrier_": (None, *NUMBER),
    "_members_of_runs": [int],
}
"""Attributes that JSON keeps as they are; None if the ensemble does not have one."""

SHAPE: dict[str, Any] = {
    "kind": str,
    "params": {"weights": (None, str, [NUMBER]), "combine": str},
    "members": [str],
    "fetches_batches": bool,
    "adapted": {str: (None, str, bool, *NUMBER, [NUMBER])},
    "histories": [HISTORY],
    "diversity": (None, {key: [[NUMBER]] for key in ("correlation", "disagreement")}),
    "weights": [NUMBER],
    "scores": (None, [NUMBER]),
    "features": (None, [str]),
    "classes": (None, {"dtype": str, "items": list}),
    "plain": PLAIN,
}
"""What a manifest holds of an ensemble beside its members' weights."""


def save(ensemble: BaseSnapshotEnsemble, path: str | PathLike[str]) -> None:
    """Write a fitted ensemble into a folder.

    Raises
    ------
    CheckpointError
        If it cannot be written; the folder can still be read as it was.
    """
    classes = getattr(ensemble, "classes_", None)
    values = {
        "kind": type(ensemble).__name__,
        "params": _params(ensemble),
        "members": list(ensemble.named_estimators_),
        # The class itself is not written: a file should not say what to import.
        "fetches_batches": "dataset" in ensemble._adapted,
        "adapted": {key: item for key, item in ensemble._adapted.items() if key != "dataset"},
        "histories": [history.to_list() for history in ensemble.histories_],
        "diversity": ensemble.diversity_,
        "weights": ensemble.weights_,
        "scores": ensemble.member_scores_,
        "features": getattr(ensemble, "feature_names_in_", None),
        "classes": None if classes is None else {"dtype": classes.dtype.str, "items": classes},
        "plain": {name: getattr(ensemble, name, None) for name in PLAIN},
    }
    parts = {name: module_state(net.module_) for name, net in ensemble.named_estimators_.items()}
    _files.write(Path(path), parts, values)


def load(ensemble: BaseSnapshotEnsemble, path: str | PathLike[str]) -> None:
    """Fit an ensemble with the contents of a folder.

    Parameters
    ----------
    ensemble : SnapshotEnsemble or SnapshotEnsembleRegressor
        With the estimator that the saved one had; if the files do not fit, it stays as it is.
    path : path
        The folder.

    Raises
    ------
    CheckpointError
        If a file is missing, damaged, of a newer format or of another kind of ensemble, if the
        weights do not fit the estimator's module, or if the parameters that decide how the members
        are averaged are others.
    """
    folder = Path(path)
    parts, values = _files.read(folder, SHAPE, mapped=True)
    if values["kind"] != type(ensemble).__name__:
        raise CheckpointError(
            f"{folder} holds no {type(ensemble).__name__} but a {values['kind']}."
        )
    # Learned weights would be taken for given ones, or an average for a member.
    if values["params"] != _params(ensemble):
        saved = ", ".join(f"{name}={value!r}" for name, value in values["params"].items())
        raise CheckpointError(
            f"{folder} holds an ensemble with {saved}: load it into one with the same."
        )
    with _files.must_fit(folder, "ensemble"):
        attributes = _attributes(ensemble, folder, parts, values)
    # Only now, since nothing can fail any more.
    ensemble._forget()
    ensemble.__dict__.update(attributes)


def _attributes(
    ensemble: BaseSnapshotEnsemble, folder: Path, parts: dict[str, Any], values: dict[str, Any]
) -> dict[str, Any]:
    """Return the attributes of a fitted ensemble, or raise an error if the files hold none."""
    _check_sizes(ensemble, values)
    # A copy, since the ensemble must stay as it is if anything fails.
    loaded: Any = copy(ensemble)
    loaded._forget()
    net, loaded._adapted = _net(ensemble, values)
    if values["classes"] is not None:
        loaded._restore_labels(_classes(**values["classes"]))
    with _files.must_fit(folder, "module"):
        loaded.estimators_ = [
            loaded._finished(make_member(net, parts[name], share=True))
            for name in values["members"]
        ]
    loaded._name_members(values["members"])
    loaded.weights_ = np.array(values["weights"], dtype=float)
    scores, found, features = (values[name] for name in ("scores", "diversity", "features"))
    loaded.member_scores_ = None if scores is None else np.array(scores, dtype=float)
    loaded.diversity_ = found and Bunch(**{name: np.array(rows) for name, rows in found.items()})
    loaded.histories_ = [History(rows) for rows in values["histories"]]
    loaded.history_ = loaded.histories_[0]
    if features is not None:
        loaded.feature_names_in_ = np.array(features, dtype=object)
    vars(loaded).update((name, item) for name, item in values["plain"].items() if item is not None)
    return dict(vars(loaded))


def _check_sizes(ensemble: BaseSnapshotEnsemble, values: dict[str, Any]) -> None:
    """Check that a manifest holds as many weights, histories and names as there are members."""
    names, runs = values["members"], values["plain"]["_members_of_runs"]
    weights, features = np.array(values["weights"], dtype=float), values["features"]
    checks = {
        "members": 0 < len(set(names)) == len(names) == sum(runs),
        "histories": len(values["histories"]) == len(runs),
        "weights": len(weights) == len(names)
        and bool((weights >= 0).all())
        and bool(np.isclose(weights.sum(), 1)),
        "classes": (values["classes"] is None) == ensemble._regressor,
        "features": features is None or len(features) == values["plain"]["n_features_in_"],
    }
    wrong = [name for name, is_right in checks.items() if not is_right]
    if wrong:
        raise ValueError(f"its {', '.join(wrong)} are not an ensemble's")


def _net(
    ensemble: BaseSnapshotEnsemble, values: dict[str, Any]
) -> tuple[NeuralNet, dict[str, Any]]:
    """Return the net that the members are clones of, and the parameters that fit had set in it."""
    adapted: dict[str, Any] = dict(values["adapted"])
    for key, value in adapted.items():
        # Others could make the net do anything, such as import a class.
        if not (key.startswith("module__") or ADAPTED.get(key) is type(value)):
            raise ValueError(f"{key!r} is no parameter that a fit sets")
    if values["fetches_batches"]:
        adapted["dataset"] = AdaptedDataset
    # A member needs no validation set, which may be a part of the split.
    net = clone(ensemble.estimator).set_params(warm_start=False, train_split=None, **adapted)
    replace_schedule(net, [])
    return net, adapted


def _params(ensemble: BaseSnapshotEnsemble) -> dict[str, Any]:
    """Return the parameters that decide how members are averaged, as JSON has them."""
    weights = ensemble.weights
    if not (weights is None or isinstance(weights, str)):
        weights = np.asarray(weights, dtype=float).tolist()
    return {"weights": weights, "combine": ensemble.combine}


def _classes(dtype: str, items: list[Any]) -> Array:
    """Return labels that were read from a manifest, checked before memory is taken for them."""
    kind = np.dtype(dtype)
    # Each item takes as much memory as the dtype says, which need not be what the text does.
    if kind.kind not in "biufUO" or kind.itemsize * len(items) > _files.LARGEST_MANIFEST:
        raise ValueError(f"{dtype!r} is no dtype of labels")
    return np.array(items, dtype=kind)
