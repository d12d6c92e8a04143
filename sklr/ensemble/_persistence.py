"""Write a fitted ensemble into files and read it back: weights and a manifest, nothing pickled."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.utils import Bunch
from skorch import NeuralNet
from skorch.history import History
from torch import nn

from sklr._checkpoint import CheckpointError, _files
from sklr._checkpoint._shapes import HISTORY, NUMBER
from sklr._module_state import ATTRIBUTE, ModuleState, Plain, module_state, original
from sklr._training._data import AdaptedDataset
from sklr._training._seeding import seeded
from sklr._training._target import replace_schedule
from sklr.ensemble._prediction import make_member

ARRAYS = ("weights_", "member_scores_", "feature_names_in_", "classes_")
PLAIN = ("n_features_in_", "snapshot_steps_", "loss_barrier_", "_members_of_runs")
DIVERSITY = ("correlation", "disagreement")

ADAPTED = {"dataset__dtype": str, "dataset__floats": bool, "dataset__columns": bool}
"""Parameters of the net that a fit may set, beside those of the module."""

ARRAY = {"dtype": str, "items": list}
SHAPE: dict[str, Any] = {
    "kind": str,
    "params": {"weights": (None, str, [NUMBER]), "combine": str},
    "members": [str],
    "fetches_batches": bool,
    "adapted": {str: (None, str, bool, *NUMBER, [NUMBER])},
    "histories": [HISTORY],
    "diversity": (None, dict.fromkeys(DIVERSITY, (None, list))),
    "arrays": dict.fromkeys(ARRAYS, (None, ARRAY)),
    "plain": {
        "n_features_in_": (None, int),
        "snapshot_steps_": [int],
        "loss_barrier_": (None, *NUMBER),
        "_members_of_runs": [int],
    },
}
"""What a manifest holds of an ensemble beside its members' weights."""


def save(ensemble: Any, path: str | PathLike[str]) -> None:
    """Write a fitted ensemble into a folder.

    Raises
    ------
    CheckpointError
        If it cannot be written; the folder can still be read as it was.
    """
    found = ensemble.diversity_
    values = {
        "kind": type(ensemble).__name__,
        "params": _params(ensemble),
        "members": list(ensemble.named_estimators_),
        "fetches_batches": "dataset" in ensemble._adapted,
        "adapted": {key: item for key, item in ensemble._adapted.items() if key != "dataset"},
        "histories": [history.to_list() for history in ensemble.histories_],
        "diversity": found and {key: found[key] for key in DIVERSITY},
        "arrays": {name: _array(getattr(ensemble, name, None)) for name in ARRAYS},
        "plain": {name: getattr(ensemble, name, None) for name in PLAIN},
    }
    parts = {name: module_state(net.module_) for name, net in ensemble.named_estimators_.items()}
    _files.write(Path(path), parts, values)


def load(ensemble: Any, path: str | PathLike[str]) -> None:
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
    if values["params"] != _params(ensemble):
        saved = ", ".join(f"{name}={value!r}" for name, value in values["params"].items())
        raise CheckpointError(
            f"{folder} holds an ensemble with {saved}: load it into one with the same."
        )
    with _files.must_fit(folder, "ensemble"):
        attributes = _attributes(ensemble, folder, parts, values)
    ensemble._forget()
    vars(ensemble).update(attributes)


def _attributes(
    ensemble: Any, folder: Path, parts: dict[str, Any], values: dict[str, Any]
) -> dict[str, Any]:
    """Return the attributes of a fitted ensemble; whatever does not fit raises an error."""
    found, names = values["diversity"], values["members"]
    arrays = {name: item and _as_array(item) for name, item in values["arrays"].items()}
    _check_sizes(ensemble, values, arrays)
    net, adapted = _net(ensemble, values)
    with _files.must_fit(folder, "module"):
        members = {name: _member(net, parts[name]) for name in names}
    histories = [History(rows) for rows in values["histories"]]
    optional = {name: item for name, item in values["plain"].items() if item is not None}
    optional |= {name: item for name, item in arrays.items() if item is not None}
    if (classes := arrays["classes_"]) is not None:
        optional |= ensemble._labels_restored(classes, list(members.values()))
    return {
        "member_scores_": None,
        "diversity_": found and Bunch(**{key: np.array(rows) for key, rows in found.items()}),
        "histories_": histories,
        "history_": histories[0],
        "estimators_": list(members.values()),
        "named_estimators_": Bunch(**members),
        "_adapted": adapted,
    } | optional


def _check_sizes(ensemble: Any, values: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Check that what a manifest holds is of as many members, classes and features."""
    names, classes, weights = values["members"], arrays["classes_"], arrays["weights_"]
    scores, features = arrays["member_scores_"], arrays["feature_names_in_"]
    n_columns = values["plain"]["n_features_in_"]
    checks = {
        "members": 0 < len(set(names)) == len(names) == sum(values["plain"]["_members_of_runs"]),
        "histories": len(values["histories"]) == len(values["plain"]["_members_of_runs"]),
        "weights": weights is not None
        and weights.shape == (len(names),)
        and weights.dtype.kind == "f"
        and bool((weights >= 0).all())
        and bool(np.isclose(weights.sum(), 1)),
        "scores": scores is None or (scores.dtype.kind == "f" and scores.ndim == 1),
        "classes": (classes is None) == ensemble._regressor
        and (classes is None or np.array_equal(np.unique(classes), classes)),
        "features": features is None or features.shape == (n_columns,),
    }
    wrong = [name for name, is_right in checks.items() if not is_right]
    if wrong:
        raise ValueError(f"its {', '.join(wrong)} are not an ensemble's")


def _net(ensemble: Any, values: dict[str, Any]) -> tuple[NeuralNet, dict[str, Any]]:
    """Return the net that the members are clones of, and what it takes beyond the user's."""
    adapted: dict[str, Any] = dict(values["adapted"])
    for key, value in adapted.items():
        if not (key.startswith("module__") or ADAPTED.get(key) is type(value)):
            raise ValueError(f"{key!r} is no parameter that a fit sets")
    if values["fetches_batches"]:
        adapted["dataset"] = AdaptedDataset
    # A member needs no validation set, which may be a part of the split.
    net = clone(ensemble.estimator).set_params(warm_start=False, train_split=None, **adapted)
    replace_schedule(net, [])
    return net, adapted


def _member(net: NeuralNet, state: ModuleState) -> NeuralNet:
    """Return a member with weights that lie in the files."""
    with seeded(0):
        module = original(clone(net).initialize().module_)
    for key, value in state.items():
        path, _, name = key.removeprefix(ATTRIBUTE).rpartition(".")
        if key.startswith(ATTRIBUTE) and not (
            isinstance(value, Plain) and _may_hold(module.get_submodule(path), name)
        ):
            raise ValueError(f"{key!r} is no number of the module's")
    return make_member(net, state, share=True)


def _may_hold(module: nn.Module, name: str) -> bool:
    """Return whether an attribute of a module is a number, or one that training may bring."""
    own = vars(module) | dict(module.named_buffers(recurse=False))
    is_plain = isinstance(own[name], Plain) if name in own else not hasattr(module, name)
    return is_plain and name != "training" and not name.startswith("_")


def _params(ensemble: Any) -> dict[str, Any]:
    """Return the parameters that decide how members are averaged, as JSON has them."""
    weights = ensemble.weights
    if not (weights is None or isinstance(weights, str)):
        weights = np.asarray(weights, dtype=float).tolist()
    return {"weights": weights, "combine": ensemble.combine}


def _array(values: Any) -> dict[str, Any] | None:
    if values is None:
        return None
    array = np.asarray(values)
    return {"dtype": array.dtype.str, "items": array.tolist()}


def _as_array(entry: dict[str, Any]) -> npt.NDArray[Any]:
    """Return what `_array` wrote."""
    dtype = np.dtype(entry["dtype"])
    size = dtype.itemsize * len(entry["items"])
    # Each item of text takes as much memory as the dtype says.
    if dtype.kind not in "biufUO" or size > _files.LARGEST_MANIFEST:
        raise ValueError(f"{entry['dtype']!r} is no dtype of labels or weights")
    return np.array(entry["items"], dtype=dtype)
