"""Input data as an estimator around a net takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import validate_data
from torch.utils.data import Dataset


def is_for_nets(X: Any) -> bool:
    """Tell whether X is what only a net takes: a tensor, a dict of inputs or a torch Dataset."""
    # A sparse matrix of scipy's dok format is a dict.
    return isinstance(X, torch.Tensor | dict | Dataset) and not issparse(X)


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
        An array, or what was given.

    Raises
    ------
    ValueError
        As scikit-learn's `validate_data`.
    """
    if is_for_nets(X):
        return X
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
    """Tell whether X is an array or a sparse matrix of numbers or lists of them, and no frame."""
    if issparse(X):
        return True
    if hasattr(X, "columns") or not (hasattr(X, "__array__") or isinstance(X, list | tuple)):
        return False
    try:
        return np.asarray(X).dtype.kind in "biuf"
    except ValueError:  # lists of unequal lengths
        return False


def check_targets_are_there(owner: Any, X: Any, y: Any, *, required: bool) -> None:
    """Check that targets are given where they have to be, as many as there are samples.

    Parameters
    ----------
    owner : estimator
        For the message.
    X, y : object
        The data; how long what only a net takes is, the net finds out.
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
    if y is not None and not is_for_nets(X):
        check_consistent_length(X, y)
