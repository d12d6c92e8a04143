"""Members, and what they all say of data in one pass over it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import clone
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.utils import to_numpy, to_tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Dataset

from sklr._training._seeding import seeded
from sklr._validation import ParameterValueError
from sklr.data import ArrayDataset

Array = npt.NDArray[Any]
StateDict = dict[str, torch.Tensor]

ROWS = 2_048
"""Samples in a slice at most: more gain nothing, and need more memory."""
LEAST_ROWS = 128
SLICE_BYTES = 2**17
"""Of inputs in a slice: what a layer makes of them should stay in the processor's caches, which
halves the time of a small CNN."""

ANSWERING = (
    "forward_iter",
    "predict_proba",
    "_get_predict_nonlinearity",
)
"""What a net's class would have to override for its answers to be others than those that
`evaluation_step` gives for batches."""
INFERRING = ("evaluation_step", "get_dataset", "get_iterator", "infer")
"""What it would have to override for those to be others than the module's, of any slices."""
CHOOSING = ("batch_sampler", "collate_fn", "drop_last", "sampler", "shuffle")
"""Parameters of a DataLoader that choose, order or change samples."""
SKORCHS = (NeuralNet, NeuralNetClassifier, NeuralNetBinaryClassifier, NeuralNetRegressor)


def make_member(net: NeuralNet, state: StateDict, *, share: bool = False) -> NeuralNet:
    """Give a fitted net with the weights of a snapshot, ready to predict.

    Parameters
    ----------
    net : NeuralNet
        To clone; global random states stay.
    state : dict
        Of its module.
    share : bool, default=False
        Whether the module's tensors lie where the state's do, if they can, and not in copies.
    """
    with seeded(0):
        member = clone(net).initialize()
    member.module_.load_state_dict(state)
    if share:
        for name, tensor in member.module_.state_dict(keep_vars=True).items():
            if (tensor.device, tensor.dtype) == (state[name].device, state[name].dtype):
                # The parameter stays the one that the optimizer and tied modules have.
                tensor.data = state[name]
    return member


def member_outputs(
    members: Sequence[NeuralNet],
    X: Any,
    finish: Callable[[Array], Array],
    method: str = "predict_proba",
) -> Iterator[Array]:
    """Yield, slice after slice of the samples, what each member's `predict_proba` gives.

    One pass serves all members: over big slices where the module alone gives the answers, else over
    the net's own batches. Nets that answer in a way of their own are asked themselves, for all
    samples at once.

    Parameters
    ----------
    members : sequence of NeuralNet
        Clones of one net with weights of their own.
    X : object
        What the net takes.
    finish : callable
        Applied to each member's output.
    method : {'predict_proba', 'predict'}, default='predict_proba'
        What to ask a net for that answers in a way of its own.

    Yields
    ------
    ndarray of shape (n_members, n_rows, ...)
    """
    if not is_skorchs(members[0], (*ANSWERING, method)):
        yield np.stack([finish(np.asarray(getattr(member, method)(X))) for member in members])
        return
    nonlinearities = [member._get_predict_nonlinearity() for member in members]
    sliced = not isinstance(X, Dataset) and _takes_slices(members[0])
    for outputs in (_of_slices if sliced else _of_batches)(members, X):
        answers = []
        for output, nonlinearity in zip(outputs, nonlinearities, strict=True):
            first = output[0] if isinstance(output, tuple) else output
            answers.append(finish(to_numpy(nonlinearity(first))))
        yield np.stack(answers)


def count_samples(net: NeuralNet, X: Any) -> int | None:
    """Count what a net makes of X; None for an iterable data set, which has no length."""
    try:
        return len(net.get_dataset(X))
    except TypeError:
        return None


def joined(parts: Iterator[Array], n_samples: int | None, axis: int = 0) -> Array:
    """Give arrays for slices of the samples as one, of which there is no second copy meanwhile.

    Parameters
    ----------
    parts : iterator of ndarray
        Slice after slice.
    n_samples : int or None
        Of all slices together; None where it is not known.
    axis : int, default=0
        That of the samples.

    Raises
    ------
    ValueError
        If the slices are not of all samples.
    """
    if n_samples is None:
        return np.concatenate(list(parts), axis=axis)
    end = 0
    for part in parts:
        if end == 0:
            whole = np.empty((*part.shape[:axis], n_samples, *part.shape[axis + 1 :]), part.dtype)
        begin, end = end, end + part.shape[axis]
        if end <= n_samples:
            whole[(slice(None),) * axis + (slice(begin, end),)] = part
    if end != n_samples:
        requirement = f"give each of the {n_samples} samples once in prediction"
        raise ParameterValueError("the net", "iterator_valid", requirement, end)
    return whole


def _of_batches(members: Sequence[NeuralNet], X: Any) -> Iterator[Iterator[Any]]:
    """Yield the members' outputs for each of the net's own batches."""
    for batch in members[0].get_iterator(members[0].get_dataset(X), training=False):
        # A member may work in place.
        yield (member.evaluation_step(copy.deepcopy(batch), training=False) for member in members)


def _of_slices(members: Sequence[NeuralNet], X: Any) -> Iterator[Iterator[Any]]:
    """Yield the members' outputs for each slice of the samples."""
    for member in members:
        member._set_training(False)
    dataset = members[0].get_dataset(X)

    def fetch(part: slice) -> tuple[Any, list[int]]:
        rows = to_tensor(dataset[part][0], device=members[0].device)
        return rows, [leaf._version for leaf in _leaves(rows)]

    def outputs(part: slice) -> Iterator[Any]:
        # Onto the device once, for all members.
        rows, versions = fetch(part)
        for member in members:
            if [leaf._version for leaf in _leaves(rows)] != versions:
                # The member before works in place.
                rows, versions = fetch(part)
            with torch.no_grad():
                yield member.infer(rows)

    n_bytes = sum(leaf.nbytes for leaf in _leaves(fetch(slice(0, 1))[0]))
    length = min(ROWS, max(LEAST_ROWS, SLICE_BYTES // n_bytes))
    for start in range(0, len(dataset), length):
        yield outputs(slice(start, start + length))


def _leaves(rows: Any) -> list[torch.Tensor]:
    """Give the tensors of a batch of inputs."""
    if isinstance(rows, torch.Tensor):
        return [rows]
    parts = rows.values() if isinstance(rows, dict) else rows
    return [leaf for part in parts for leaf in _leaves(part)]


def is_skorchs(net: NeuralNet, names: Sequence[str]) -> bool:
    """Tell whether methods of a net are those of skorch's own classes."""
    return all(
        getattr(type(net), name) in {getattr(base, name) for base in SKORCHS} for name in names
    )


def predicts_by_module(net: NeuralNet) -> bool:
    """Tell whether a net's predictions are its module's outputs, through its nonlinearity."""
    return is_skorchs(net, (*ANSWERING, "predict", "evaluation_step", "infer"))


def _takes_slices(net: NeuralNet) -> bool:
    """Tell whether a net's predictions are its module's outputs, of slices of any size."""
    ordered = not any(hasattr(net, f"iterator_valid__{name}") for name in CHOOSING)
    arrays = isinstance(net.dataset, type) and issubclass(net.dataset, ArrayDataset)
    plain = arrays and ordered and net.iterator_valid is DataLoader
    # Without running statistics BatchNorm makes a sample's output depend on its batch.
    norms = [layer for layer in net.module_.modules() if isinstance(layer, _BatchNorm)]
    alone = all(layer.track_running_stats for layer in norms)
    return plain and alone and is_skorchs(net, INFERRING)
