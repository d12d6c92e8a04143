"""Input data: checked as scikit-learn does, and split by rows whatever it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse

# Private, but the only function that takes rows of lists, frames of any library and sparse
# matrices alike; scikit-learn's own meta-estimators split by it.
from sklearn.utils import _safe_indexing, check_consistent_length
from sklearn.utils.validation import validate_data
from skorch.dataset import get_len
from skorch.utils import multi_indexing
from torch.utils.data import Dataset, Subset


def is_for_nets(X: Any) -> bool:
    """Return whether only a net takes X: a tensor, a mapping of inputs or a torch Dataset."""
    # A sparse matrix of scipy's dok format is a dict; a frame is none of these.
    return isinstance(X, torch.Tensor | Mapping | Dataset) and not issparse(X)


def n_samples(X: Any) -> int:
    """Return the number of samples of anything that an estimator or a net takes."""
    if isinstance(X, Dataset):
        return len(X)  # type: ignore[arg-type]
    if isinstance(X, Mapping):
        return int(get_len(X))
    # skorch would take a list of texts for a list of inputs, each as long as its text.
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def take_rows(X: Any, rows: Any) -> Any:
    """Return some rows of anything that an estimator or a net takes.

    Parameters
    ----------
    X : object
        Array, frame, sparse matrix, list, tensor, mapping of these, or torch Dataset.
    rows : ndarray of int
        Which.
    """
    if isinstance(X, Dataset):
        return Subset(X, np.asarray(rows).tolist())
    return multi_indexing(X, rows) if is_for_nets(X) else _safe_indexing(X, rows)


def take_rows_of_params(X: Any, params: Mapping[str, Any], rows: Any) -> dict[str, Any]:
    """Return fit parameters with rows taken of those that have a value for each sample of X."""
    n = n_samples(X)
    return {
        name: take_rows(value, rows) if _is_per_sample(value, n) else value
        for name, value in params.items()
    }


def _is_per_sample(value: Any, n: int) -> bool:
    if isinstance(value, str | bytes | Mapping):
        return False
    try:
        return n_samples(value) == n
    except (TypeError, IndexError):  # a number, or an array without dimensions
        return False


def check_inputs(owner: Any, X: Any, *, reset: bool, preprocessed: bool = False) -> Any:
    """Validate arrays, frames and sparse matrices; leave whatever else a net may take.

    Dtypes stay, since the net's data set casts batch by batch, and so do further axes. A memory
    map is not read.

    Parameters
    ----------
    owner : estimator
        Gets `n_features_in_` and `feature_names_in_`, or is asked for them.
    X : object
        The data.
    reset : bool
        Whether the owner is being fitted.
    preprocessed : bool, default=False
        Whether preprocessing comes before the net: then frames, text and other objects are left
        to it, and so are values that are not finite.

    Returns
    -------
    X : object
        An array, or what was given; a mapping as a dict.

    Raises
    ------
    ValueError
        As scikit-learn's `validate_data`.
    """
    if is_for_nets(X):
        # Tokenizers give mappings that are no dicts, which torch's default collate does not take.
        return dict(X) if isinstance(X, Mapping) and not preprocessed else X
    if isinstance(X, np.memmap) or (preprocessed and not _holds_numbers(X)):
        return validate_data(owner, X, reset=reset, skip_check_array=True)
    return validate_data(
        owner,
        X,
        reset=reset,
        dtype=None if preprocessed else "numeric",
        ensure_all_finite=not preprocessed,
        allow_nd=True,
        accept_sparse="csr",
    )


def _holds_numbers(X: Any) -> bool:
    """Return whether X is an array, sparse matrix or list of numbers, and no frame."""
    if issparse(X):
        return True
    if hasattr(X, "columns") or not (hasattr(X, "__array__") or isinstance(X, list | tuple)):
        return False
    try:
        return np.asarray(X).dtype.kind in "biuf"
    except ValueError:  # lists of unequal lengths
        return False


def check_targets_given(owner: Any, X: Any, y: Any, *, required: bool) -> None:
    """Check that targets are given if they have to be, as many as there are samples.

    Parameters
    ----------
    owner : estimator
        For the message.
    X, y : object
        The data.
    required : bool
        Whether there must be targets.

    Raises
    ------
    ValueError
        If there are none, or not as many as samples.
    """
    if y is None and required:
        raise ValueError(
            f"This {type(owner).__name__} estimator requires y to be passed, but the target y is "
            "None."
        )
    # The net finds out how long inputs are that only it takes.
    if y is not None and not is_for_nets(X):
        check_consistent_length(X, y)
