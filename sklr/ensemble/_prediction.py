"""Predict with all members in one pass over the data, in slices that suit the processor."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.utils import to_numpy, to_tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Dataset

from sklr._module_state import ModuleState, load_module_state, original
from sklr._training._bfloat16 import nonlinearity, predict_in_float32
from sklr._training._seeding import seeded
from sklr._validation import ParameterValueError
from sklr.data import ArrayDataset
from sklr.ensemble._selection import Array

ROWS = 2_048
"""Samples in a slice at most: more gain nothing on a CPU, and need more memory."""
FIRST_ROWS = 32
"""Samples in the first slice, which shows how large the layers' outputs are; others have no fewer.
"""
CACHE_BYTES = 2**22
"""Most bytes of the largest layer's output for a slice, for each thread. Outputs that stay in the
processor's caches halve the time of a small CNN, whose layers have 8 times as many values as its
input; with much smaller slices an MLP does not use its threads."""
GPU_ROWS, GPU_BYTES = 2**14, 2**28
"""The same on a GPU, which needs large slices to be busy."""

ANSWERING = ("forward_iter", "predict_proba", "_get_predict_nonlinearity")
"""Overriding any of these changes predictions beyond `evaluation_step`."""
INFERRING = ("evaluation_step", "get_dataset", "get_iterator", "infer")
"""Overriding any of these makes predictions other than the module's outputs for slices."""
CHOOSING = ("batch_sampler", "collate_fn", "drop_last", "sampler", "shuffle")
"""Parameters of a DataLoader that choose, order or change samples."""
SKORCHS = (NeuralNet, NeuralNetClassifier, NeuralNetBinaryClassifier, NeuralNetRegressor)


def make_member(net: NeuralNet, state: ModuleState, *, share: bool = False) -> NeuralNet:
    """Return a fitted net with the weights of a snapshot, ready to predict.

    Parameters
    ----------
    net : NeuralNet
        To clone; global random states stay.
    state : dict
        Of its module.
    share : bool, default=False
        Whether the module uses the state's tensors themselves, if it can, and no copies.
    """
    # The initial weights are drawn, and then replaced.
    with seeded(0):
        member = clone(net).initialize()
    predict_in_float32(member)
    load_module_state(member.module_, state)
    if share:
        for name, tensor in original(member.module_).state_dict(keep_vars=True).items():
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
    """Yield, slice after slice of the samples, what each member's `predict_proba` returns.

    One pass serves all members: over large slices if the module alone makes the predictions, else
    over the net's own batches. Nets that predict in a way of their own are asked themselves, for
    all samples at once.

    Parameters
    ----------
    members : sequence of NeuralNet
        Clones of one net with weights of their own.
    X : object
        Samples, as the net takes them.
    finish : callable
        Applied to each member's output.
    method : {'predict_proba', 'predict'}, default='predict_proba'
        The method of a net that predicts in a way of its own.

    Yields
    ------
    ndarray of shape (n_members, n_rows, ...)

    Raises
    ------
    ValueError
        If finite values of X are infinite in the net's dtype.
    """
    if not is_skorchs(members[0], (*ANSWERING, method)):
        yield np.stack([finish(np.asarray(getattr(member, method)(X))) for member in members])
        return
    nonlinearities = [nonlinearity(member) for member in members]
    sliced = not isinstance(X, Dataset) and _takes_slices(members[0])
    for outputs in (_of_slices if sliced else _of_batches)(members, X):
        predictions = []
        for output, function in zip(outputs, nonlinearities, strict=True):
            predicted = function(output[0] if isinstance(output, tuple) else output)
            predictions.append(finish(to_numpy(predicted)))
        yield np.stack(predictions)


def count_samples(net: NeuralNet, X: Any) -> int | None:
    """Count the samples in X; None for an iterable data set, which has no length."""
    try:
        return len(net.get_dataset(X))
    except TypeError:
        return None


def joined(parts: Iterator[Array], n_samples: int | None, axis: int = 0) -> Array:
    """Return arrays for slices of the samples as one, never holding a second copy of all.

    Parameters
    ----------
    parts : iterator of ndarray
        Slice after slice.
    n_samples : int or None
        Number of samples in all slices together; None if it is not known.
    axis : int, default=0
        Axis of the samples.

    Raises
    ------
    ValueError
        If the slices have another number of samples.
    """
    if n_samples is None:
        return np.concatenate(list(parts), axis=axis)
    end = 0
    # All slices are used up even if there are too many, for the message, and for `finite_only`.
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


def finite_only(parts: Iterator[Array]) -> Iterator[Array]:
    """Yield the members' predictions, and raise after the last if any were not finite.

    Raises
    ------
    ValueError
        If any were not finite. The message has the number of such samples.
    """
    n_samples = n_bad = 0
    for part in parts:
        finite = np.isfinite(part)
        if not finite.all():
            rows = finite.all(axis=0).reshape(finite.shape[1], -1)
            n_bad += int((~rows.all(axis=1)).sum())
        n_samples += part.shape[1]
        yield part
    if n_bad:
        raise ValueError(
            f"Predictions are not finite for {n_bad} of {n_samples} samples: X holds NaN, "
            "infinity or values too large for the net's dtype."
        )


def _of_batches(members: Sequence[NeuralNet], X: Any) -> Iterator[Iterator[Any]]:
    """Yield the members' outputs for each of the net's own batches."""
    for batch in members[0].get_iterator(members[0].get_dataset(X), training=False):
        # Each member gets a copy, since its module may change its input in place.
        yield (member.evaluation_step(copy.deepcopy(batch), training=False) for member in members)


def _of_slices(members: Sequence[NeuralNet], X: Any) -> Iterator[Iterator[Any]]:
    """Yield the members' outputs for each slice of the samples."""
    # As skorch's evaluation_step, which is not called here, does for each batch.
    for member in members:
        member.module_.eval()
    slices = _Slices(members, X)
    n_samples = len(slices.dataset)
    if n_samples <= 2 * FIRST_ROWS:
        yield slices.outputs(slice(0, n_samples))
        return
    # The first slice is small: the size of its layers' outputs says how long others can be.
    with _largest_output(members[0]) as largest:
        yield slices.outputs(slice(0, FIRST_ROWS))
    length = _slice_length(members[0], largest[0] / FIRST_ROWS)
    # Equal lengths: a last slice of few rows is slow, and of one row squeezed by some modules.
    n_slices = -(-(n_samples - FIRST_ROWS) // length)
    ends = np.linspace(FIRST_ROWS, n_samples, n_slices + 1).astype(int).tolist()
    for start, stop in pairwise(ends):
        yield slices.outputs(slice(start, stop))


class _Slices:
    """The members' outputs for slices of X, which go to the device once for all members."""

    def __init__(self, members: Sequence[NeuralNet], X: Any) -> None:
        self.members = members
        self.X = X
        self.dataset = members[0].get_dataset(X)

    def outputs(self, part: slice) -> Iterator[Any]:
        """Yield each member's outputs for some rows."""
        rows, versions = self._fetch(part)
        for member in self.members:
            # The member before may have changed its input in place. torch counts such changes, in
            # a private attribute.
            if [leaf._version for leaf in _leaves(rows)] != versions:
                rows, versions = self._fetch(part)
            with torch.no_grad():
                yield member.infer(rows)

    def _fetch(self, part: slice) -> tuple[Any, list[int]]:
        rows = self.dataset[part][0]
        # A sum is not finite if a value is not, and takes the least time.
        cast = [leaf for leaf in _leaves(rows) if leaf.is_floating_point() and self._is_cast(leaf)]
        if not all(leaf.sum().isfinite() for leaf in cast):
            self._check_cast(part, rows)
        rows = to_tensor(rows, device=self.members[0].device)
        return rows, [leaf._version for leaf in _leaves(rows)]

    def _is_cast(self, leaf: torch.Tensor) -> bool:
        """Return whether a leaf may have another dtype than X has."""
        given = str(getattr(self.X, "dtype", "")).removeprefix("torch.")
        return given != str(leaf.dtype).removeprefix("torch.")

    def _check_cast(self, part: slice, rows: Any) -> None:
        """Raise if finite values became infinite in the net's dtype: layers may hide it."""
        exact = ArrayDataset(self.X, dtype=torch.float64)[part][0]
        for cast, given in zip(_leaves(rows), _leaves(exact), strict=True):
            lost = cast.isinf() & given.isfinite()
            if lost.any():
                raise ValueError(
                    f"X holds values that are infinite in {cast.dtype}, the net's dtype, such as "
                    f"{given[lost][0].item():.3g}. Scale X."
                )


@contextmanager
def _largest_output(net: NeuralNet) -> Iterator[list[int]]:
    """Measure the bytes of the largest input or output of a net's layers, while it predicts."""
    largest = [1]

    def measure(layer: Any, inputs: Any, output: Any) -> None:
        sizes = [leaf.nbytes for leaf in (*_leaves(inputs), *_leaves(output))]
        largest[0] = max([largest[0], *sizes])

    # Hooks on the layers of a compiled module would compile it anew.
    is_compiled = original(net.module_) is not net.module_
    layers = [net.module_] if is_compiled else list(net.module_.modules())
    handles = [layer.register_forward_hook(measure) for layer in layers]
    try:
        yield largest
    finally:
        for handle in handles:
            handle.remove()


def _slice_length(net: NeuralNet, bytes_of_row: float) -> int:
    """Return how many samples a slice can have."""
    on_cpu = torch.device(net.device or "cpu").type == "cpu"
    rows = ROWS if on_cpu else GPU_ROWS
    budget = CACHE_BYTES * torch.get_num_threads() if on_cpu else GPU_BYTES
    return int(min(rows, max(FIRST_ROWS, budget // bytes_of_row)))


def _leaves(values: Any) -> list[torch.Tensor]:
    """Return the tensors in (nested) dicts and sequences."""
    if isinstance(values, torch.Tensor):
        return [values]
    if isinstance(values, Mapping):
        values = list(values.values())
    elif not isinstance(values, list | tuple):
        return []
    return [leaf for value in values for leaf in _leaves(value)]


def is_skorchs(net: NeuralNet, names: Sequence[str]) -> bool:
    """Return whether methods of a net are those of skorch's own classes."""
    return all(
        getattr(type(net), name) in {getattr(base, name) for base in SKORCHS} for name in names
    )


def predicts_by_module(net: NeuralNet) -> bool:
    """Return whether a net's predictions are its module's outputs, through its nonlinearity."""
    return is_skorchs(net, (*ANSWERING, "predict", "evaluation_step", "infer"))


def _takes_slices(net: NeuralNet) -> bool:
    """Return whether a net's predictions are its module's outputs, for slices of any size."""
    ordered = not any(hasattr(net, f"iterator_valid__{name}") for name in CHOOSING)
    arrays = isinstance(net.dataset, type) and issubclass(net.dataset, ArrayDataset)
    plain = arrays and ordered and net.iterator_valid is DataLoader
    # Without running statistics BatchNorm makes a sample's output depend on its batch.
    norms = [layer for layer in net.module_.modules() if isinstance(layer, _BatchNorm)]
    alone = all(layer.track_running_stats for layer in norms)
    return plain and alone and is_skorchs(net, INFERRING)
