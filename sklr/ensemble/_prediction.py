"""Members, and what they all say of data in one pass over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import clone
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.utils import to_numpy, to_tensor
from torch.utils.data import DataLoader, Dataset

from sklr._nets import seeded
from sklr.data import ArrayDataset

Array = npt.NDArray[Any]
StateDict = dict[str, torch.Tensor]

ROWS = 2_048
"""Samples in a slice at most: more gain nothing, and need more memory."""
LEAST_ROWS = 128
SLICE_BYTES = 2**17
"""Of inputs in a slice: what a layer makes of them should stay in the processor's caches, which
halves the time of a small CNN."""

INFERENCE = (
    "evaluation_step",
    "forward_iter",
    "get_dataset",
    "get_iterator",
    "infer",
    "predict",
    "predict_proba",
    "_get_predict_nonlinearity",
)
"""What a net's class would have to override for its answers to be others than the module's."""
CHOOSING = ("batch_sampler", "collate_fn", "drop_last", "sampler", "shuffle")
"""Parameters of a DataLoader that choose, order or change samples."""
SKORCHS = (NeuralNet, NeuralNetClassifier, NeuralNetBinaryClassifier, NeuralNetRegressor)


def make_member(net: NeuralNet, state: StateDict) -> NeuralNet:
    """Give a fitted net with the weights of a snapshot, ready to predict.

    Parameters
    ----------
    net : NeuralNet
        To clone; global random states stay.
    state : dict
        Of its module.
    """
    with seeded(0):
        member = clone(net).initialize()
    member.module_.load_state_dict(state)
    return member


def member_outputs(
    members: Sequence[NeuralNet], X: Any, finish: Callable[[Array], Array]
) -> Iterator[Array]:
    """Yield, slice after slice of the samples, what each member's `predict_proba` gives.

    One pass serves all members. Nets that make predictions in a way of their own are asked
    themselves, for all samples at once.

    Parameters
    ----------
    members : sequence of NeuralNet
        Clones of one net with weights of their own.
    X : object
        What the net takes.
    finish : callable
        Applied to each member's output.

    Yields
    ------
    ndarray of shape (n_members, n_rows, ...)
    """
    if isinstance(X, Dataset) or not _infers_as_skorch(members[0]):
        yield np.stack([finish(np.asarray(member.predict_proba(X))) for member in members])
        return
    nonlinearities = [member._get_predict_nonlinearity() for member in members]
    for member in members:
        member._set_training(False)
    dataset = members[0].get_dataset(X)

    def fetch(part: slice) -> tuple[Any, list[int]]:
        rows = to_tensor(dataset[part][0], device=members[0].device)
        return rows, _versions(rows)

    n_bytes = sum(leaf.nbytes for leaf in _leaves(fetch(slice(0, 1))[0]))
    length = min(ROWS, max(LEAST_ROWS, SLICE_BYTES // n_bytes))
    for start in range(0, len(dataset), length):
        part = slice(start, start + length)
        # Onto the device once, for all members.
        rows, versions = fetch(part)
        answers = []
        for member, nonlinearity in zip(members, nonlinearities, strict=True):
            if _versions(rows) != versions:
                # The member before works in place.
                rows, versions = fetch(part)
            with torch.no_grad():
                output = member.infer(rows)
                output = output[0] if isinstance(output, tuple) else output
                answers.append(finish(to_numpy(nonlinearity(output))))
        yield np.stack(answers)


def _leaves(rows: Any) -> list[torch.Tensor]:
    """Give the tensors of a batch of inputs."""
    if isinstance(rows, torch.Tensor):
        return [rows]
    parts = rows.values() if isinstance(rows, dict) else rows
    return [leaf for part in parts for leaf in _leaves(part)]


def _versions(rows: Any) -> list[int]:
    """Give torch's counts of changes in place."""
    return [leaf._version for leaf in _leaves(rows)]


def _infers_as_skorch(net: NeuralNet) -> bool:
    """Tell whether a net's predictions are its module's outputs, of slices of any size."""
    cls = type(net)
    skorchs = all(
        getattr(cls, name) in {getattr(base, name) for base in SKORCHS} for name in INFERENCE
    )
    ordered = not any(hasattr(net, f"iterator_valid__{name}") for name in CHOOSING)
    arrays = isinstance(net.dataset, type) and issubclass(net.dataset, ArrayDataset)
    return skorchs and arrays and net.iterator_valid is DataLoader and ordered
