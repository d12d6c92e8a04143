"""What a net makes of its data, seen before it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import skorch.dataset
import torch
from sklearn.base import clone, is_classifier
from skorch import NeuralNet
from skorch.dataset import get_len
from skorch.utils import multi_indexing
from torch.utils.data import Dataset

from sklr._training._data import AdaptedDataset
from sklr._training._seeding import seeded
from sklr._training._target import make_silent
from sklr._validation import ParameterValueError
from sklr.data import ArrayDataset


@dataclass(frozen=True)
class Rehearsal:
    """What a net makes of its data.

    Attributes
    ----------
    params : dict
        Parameters of the net with which it is fed whole batches in the dtype of its weights, flat
        targets as a column where its output is one; empty where the net feeds itself.
    output : ndarray or None
        What it predicts for two samples; None where that could not be seen.
    """

    params: dict[str, Any]
    output: npt.NDArray[Any] | None

    @property
    def output_shape(self) -> tuple[int, ...] | None:
        """Shape of the output."""
        return None if self.output is None else self.output.shape

    def check_outputs(self, owner: object, n_classes: int) -> None:
        """Refuse a net with fewer outputs than classes.

        Raises
        ------
        ValueError
            In the name of the owner's `estimator` parameter.
        """
        if self.output_shape is not None and self.output_shape[-1] < n_classes:
            requirement = f"have an output for each of the {n_classes} classes"
            raise ParameterValueError(owner, "estimator", requirement, self.output_shape[-1])


def begin(net: NeuralNet, X: Any, y: Any) -> NeuralNet:
    """Give a net as it is when its training begins, with nothing trained.

    Parameters
    ----------
    net : NeuralNet
        A clone, not initialized.
    X, y : object
        What it would be trained on.
    """
    net.initialize()
    # Callbacks may fit the module to the data there, as skorch's InputShapeSetter does.
    net.notify("on_train_begin", X=X, y=y)
    return net


def rehearse(net: NeuralNet, X: Any, y: Any) -> Rehearsal:
    """Let an untrained clone look at the data, and predict two samples of it.

    Parameters
    ----------
    net : NeuralNet
        The net; it stays as it is, as does every global random state.
    X, y : object
        What it is to be trained on.
    """
    untrained = clone(net)
    make_silent(untrained)
    feeds_itself = not _takes_adapted_data(net)
    with seeded(0):
        begin(untrained, X, y)
        if isinstance(X, Dataset):
            return Rehearsal({}, None)
        if feeds_itself:
            return Rehearsal({}, _output(untrained, X))
        params: dict[str, Any] = {"dataset": AdaptedDataset}
        dtypes = [p.dtype for p in untrained.module_.parameters() if p.is_floating_point()]
        if dtypes and not hasattr(net, "dataset__dtype"):
            params["dataset__dtype"] = str(dtypes[0]).removeprefix("torch.")
        # Not by set_params, which makes parts of an initialized net anew.
        vars(untrained).update(params)
        kind = _kind(X)
        output = None if kind == "f" else _output(untrained, X)
        if output is None and kind in ("f", "i"):
            untrained.dataset__floats = True
            output = _output(untrained, X)
            if output is not None:
                params["dataset__floats"] = True
    rehearsal = Rehearsal(params, output)
    shape = rehearsal.output_shape or ()
    if shape[1:] == (1,) and np.ndim(y) == 1 and not is_classifier(net):
        params["dataset__columns"] = True
    return rehearsal


def _kind(X: Any) -> str:
    """Give 'f' for what holds floats, 'i' for integers or bools, '' for what has no such dtype."""
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, torch.dtype):
        return "f" if dtype.is_floating_point else "i"
    kind = getattr(dtype, "kind", "")
    return "i" if kind in "iub" else kind


def _takes_adapted_data(net: NeuralNet) -> bool:
    """Tell whether a net has neither a data set nor a collate function of its own."""
    parts = ("iterator_train", "iterator_valid")
    collates = any(hasattr(net, f"{part}__collate_fn") for part in parts)
    return net.dataset in (skorch.dataset.Dataset, ArrayDataset) and not collates


def _output(net: NeuralNet, X: Any) -> npt.NDArray[Any] | None:
    """Give what a net predicts for two samples; None where it cannot."""
    try:
        rows = multi_indexing(X, slice(0, min(2, get_len(X))))
        return np.asarray(net.predict_proba(rows))
    except Exception:  # whatever is wrong, training will say it in its own words
        return None
