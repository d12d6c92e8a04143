"""A dry run: what an untrained net makes of the data, seen before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import skorch.dataset
import torch
from sklearn.base import clone, is_classifier
from skorch import NeuralNet
from skorch.utils import multi_indexing
from torch.utils.data import Dataset

from sklr._param_groups import guessed_reference, initial_rates
from sklr._training._bfloat16 import predict_in_float32
from sklr._training._data import AdaptedDataset
from sklr._training._inputs import n_samples
from sklr._training._seeding import seeded
from sklr._training._target import make_silent
from sklr._validation import ParameterValueError
from sklr.callbacks._base import own_lr
from sklr.data import ArrayDataset, map_leaves

FLOATS = {"f": (True, False), "i": (False, True)}
"""Whether inputs are tried in the dtype of the net's weights, by their kind: integers are meant as
they are for an Embedding, and as floats for most other nets."""


@dataclass(frozen=True)
class DryRun:
    """What a net makes of its data.

    Attributes
    ----------
    params : dict
        Parameters with which the net is fed whole batches in the dtype of its weights, and flat
        targets as a column if its output is one; empty if it has its own way to be fed.
    output : ndarray or None
        Its prediction for two samples; None if it could not make one.
    reference_lr : float
        The initial rate that a schedule's rate takes the place of: the optimizer's own, or the
        highest group's if no group has that.
    error : Exception or None
        Why torch could not predict; None if it could, or if the reason was not torch's.
    """

    params: dict[str, Any]
    output: npt.NDArray[Any] | None
    reference_lr: float
    error: Exception | None = None

    @property
    def output_shape(self) -> tuple[int, ...] | None:
        """Shape of the output."""
        return None if self.output is None else self.output.shape

    def check_outputs(self, owner: object, n_outputs: int) -> None:
        """Check that there is an output for each class.

        Raises
        ------
        ValueError
            If there are fewer, in the name of the owner's `estimator` parameter.
        """
        if self.output_shape is not None and self.output_shape[-1] < n_outputs:
            requirement = f"have an output for each of the {n_outputs} classes"
            if n_outputs == 2:
                requirement += "; skorch's NeuralNetBinaryClassifier is the net for a single one"
            raise ParameterValueError(owner, "estimator", requirement, self.output_shape[-1])

    def check_prediction(self, X: Any) -> None:
        """Check that torch can predict X.

        Raises
        ------
        ValueError
            If it cannot, as with a wrong number of features.
        """
        if self.error is not None:
            shape = map_leaves(lambda leaf: tuple(leaf.shape), X)
            raise ValueError(
                f"The net cannot predict X of shape {shape}: {self.error}"
            ) from self.error


def dry_run(net: NeuralNet, X: Any, y: Any) -> DryRun:
    """Begin the training of a clone, and predict two samples with it.

    Parameters
    ----------
    net : NeuralNet
        The net; it stays as it is, as does every global random state.
    X, y : object
        What it is to be trained on.
    """
    untrained = clone(net)
    make_silent(untrained)
    with seeded(0):
        begin_training(untrained, X, y)
        reference = _reference_lr(untrained)
        # A Dataset gives what it gives: nothing can be set in it.
        if isinstance(X, Dataset):
            return DryRun({}, None, reference)
        params: dict[str, Any] = {}
        if _takes_adapted_data(net):
            params["dataset"] = AdaptedDataset
            dtypes = [p.dtype for p in untrained.module_.parameters() if p.is_floating_point()]
            if dtypes and not hasattr(net, "dataset__dtype"):
                params["dataset__dtype"] = str(dtypes[0]).removeprefix("torch.")
        errors: dict[bool, Exception] = {}
        for floats in FLOATS.get(_kind(X), (False,)) if params else (False,):
            tried = params | {"dataset__floats": floats} if params else {}
            # Not by set_params, which makes parts of an initialized net anew.
            vars(untrained).update(tried)
            try:
                output = _output(untrained, X)
            except Exception as error:  # whatever is wrong, training raises it in its own words
                errors[floats] = error
                continue
            is_column = output.shape[1:] == (1,) and np.ndim(y) == 1 and not is_classifier(net)
            if params and is_column:
                tried["dataset__columns"] = True
            return DryRun(tried, output, reference)
    is_torchs = all(isinstance(error, RuntimeError) for error in errors.values())
    # In the dtype of the weights an error is most likely about the shape, and not the dtype.
    return DryRun(params, None, reference, errors[max(errors)] if is_torchs else None)


def _reference_lr(net: NeuralNet) -> float:
    # A net's class may keep its optimizer elsewhere, under a name of its own.
    optimizer = getattr(net, "optimizer_", None)
    if optimizer is None:
        return own_lr(net)
    return guessed_reference(initial_rates(optimizer.param_groups), own_lr(net))


def begin_training(net: NeuralNet, X: Any, y: Any) -> NeuralNet:
    """Bring an uninitialized clone to where its training begins, with nothing trained."""
    net.initialize()
    # Callbacks may fit the module to the data there, as skorch's InputShapeSetter does.
    net.notify("on_train_begin", X=X, y=y)
    return net


def _kind(X: Any) -> str:
    """Return 'f' for data of floats, 'i' for integers or bools, '' for what has no such dtype."""
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, torch.dtype):
        return "f" if dtype.is_floating_point else "i"
    kind = getattr(dtype, "kind", "")
    return "i" if kind in "iub" else kind


def _takes_adapted_data(net: NeuralNet) -> bool:
    """Return whether a net has neither a data set nor a collate function of its own."""
    parts = ("iterator_train", "iterator_valid")
    collates = any(hasattr(net, f"{part}__collate_fn") for part in parts)
    return net.dataset in (skorch.dataset.Dataset, ArrayDataset) and not collates


def _output(net: NeuralNet, X: Any) -> npt.NDArray[Any]:
    """Return what a net predicts for two samples."""
    predict_in_float32(net)
    rows = multi_indexing(X, slice(0, min(2, n_samples(X))))
    return np.asarray(net.predict_proba(rows))
