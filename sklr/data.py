"""A dataset that fetches whole batches, which makes a skorch net train faster.

skorch's own Dataset hands the DataLoader one row after the other, and torch stacks the rows
into a batch; on small models that costs more than the training itself. Data that lies in memory
(or in a memory map) can be indexed once per batch instead. `ArrayDataset` does so, and yields the
same batches.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from numbers import Integral, Number
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from skorch.dataset import Dataset
from torch.utils.data._utils.collate import default_collate_fn_map

from sklr._validation import Description, ParameterTypeError, ParameterValueError

__all__ = ["ArrayDataset"]

_CONTAINERS = (
    "be a numpy array, a torch tensor, a DataFrame, a Series, a scipy sparse matrix or a list of "
    "numbers, each with samples as its first axis, or a dict or a list of these"
)


class _Batch:
    """A finished batch, marked so that torch's default collate function passes it on."""

    __slots__ = ("values",)

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def _refuse(self, *args: object) -> None:
        raise TypeError(
            "The 'collate_fn' parameter of the DataLoader must be torch's default: ArrayDataset "
            "yields whole batches, not samples. Use skorch.dataset.Dataset instead."
        )

    # A user's own collate_fn would loop over its samples: say what is wrong.
    __iter__ = __getitem__ = _refuse


def _unwrap(batch: list[_Batch], *, collate_fn_map: object = None) -> list[Any]:
    return batch[0].values


# torch's documented way to teach its default collate function a type. It holds for every
# DataLoader of the process, and touches none that does not yield a _Batch.
default_collate_fn_map[_Batch] = _unwrap


def _wrong_type(parameter: str, requirement: str, got: str) -> ParameterTypeError:
    return ParameterTypeError("ArrayDataset", parameter, requirement, Description(got))


def _wrong_value(parameter: str, requirement: str, got: str) -> ParameterValueError:
    return ParameterValueError("ArrayDataset", parameter, requirement, Description(got))


def _is_frame(data: object) -> bool:
    # The type is asked: a pandas Series has a `columns` attribute if its index has such a label.
    return hasattr(type(data), "columns") and hasattr(type(data), "to_numpy")


def _is_numbers(data: object) -> bool:
    return isinstance(data, (list, tuple)) and all(isinstance(value, Number) for value in data)


def _torch_has(dtype: np.dtype[Any]) -> bool:
    try:
        torch.from_numpy(np.empty(0, dtype))
    except (TypeError, ValueError):  # unknown to torch; not in native byte order
        return False
    return True


def _leaf(data: Any, parameter: str, place: str) -> Any:
    """Return `data` as a numpy array, CSR array or tensor; memory is shared where it can be."""
    leaf: Any = data
    if isinstance(data, torch.Tensor):
        if data.is_nested or data.layout is not torch.strided:
            raise _wrong_type(parameter, "hold dense tensors", f"{data.layout} in {place}")
        # numpy has no view of a tensor that is bfloat16, off the CPU or part of a graph.
        with suppress(TypeError, RuntimeError):
            leaf = data.numpy()
    elif sparse.issparse(data):
        leaf = sparse.csr_array(leaf)
    elif isinstance(data, np.ndarray) or _is_numbers(data):
        leaf = np.asarray(data)  # also sees a memory map as a plain array, without reading it
    elif hasattr(type(data), "to_numpy") and not _is_frame(data):
        leaf = data.to_numpy()
    else:
        raise _wrong_type(parameter, _CONTAINERS, f"{type(data).__name__} in {place}")

    if not isinstance(leaf, torch.Tensor) and not _torch_has(leaf.dtype):
        requirement = "hold numbers of a dtype (and byte order) that torch has"
        raise _wrong_type(parameter, requirement, f"{leaf.dtype} in {place}")
    if leaf.ndim < (2 if sparse.issparse(leaf) else 1):
        raise _wrong_value(parameter, _CONTAINERS, f"{leaf.ndim} dimensions in {place}")
    return leaf


def _columns(frame: Any, parameter: str, place: str) -> dict[Any, Any]:
    """Return one (n, 1) array per column, as skorch does with a pandas DataFrame."""
    names = list(frame.columns)
    if len(set(names)) < len(names):
        raise _wrong_value(parameter, "have unique column names", reprlib.repr(names))
    leaves = {name: _leaf(frame[name], parameter, f"{place}[{name!r}]") for name in names}
    return {name: leaf.reshape(-1, 1) if leaf.ndim == 1 else leaf for name, leaf in leaves.items()}


def _parse(data: Any, parameter: str, place: str) -> Any:
    """Return `data` as one leaf, or as the dict or list of leaves that its batches will be."""
    if _is_frame(data):
        return _columns(data, parameter, place)
    if isinstance(data, Mapping):
        return {key: _leaf(data[key], parameter, f"{place}[{key!r}]") for key in data}
    if isinstance(data, (list, tuple)) and not _is_numbers(data):
        return [_parse(part, parameter, f"{place}[{i}]") for i, part in enumerate(data)]
    return _leaf(data, parameter, place)


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return the dict or list of leaves with `function` applied to each leaf."""
    if isinstance(tree, dict):
        return {key: _map(function, part) for key, part in tree.items()}
    if isinstance(tree, list):
        return [_map(function, part) for part in tree]
    return function(tree)


def _n_samples(tree: Any, parameter: str) -> int:
    leaves: list[Any] = []
    _map(leaves.append, tree)
    lengths = {int(leaf.shape[0]) for leaf in leaves}
    if len(lengths) > 1:
        got = reprlib.repr(_map(lambda leaf: int(leaf.shape[0]), tree))
        raise _wrong_value(parameter, "have one number of samples in all its parts", got)
    if not any(lengths):
        raise _wrong_value(parameter, "have at least one sample", "none")
    return lengths.pop()


def _rows(leaf: Any, index: NDArray[np.intp], dtype: torch.dtype) -> torch.Tensor:
    """Copy the rows of a leaf into a new tensor; float64 becomes `dtype`."""
    # numpy's indexing is faster than torch's, and takes read-only arrays without a warning.
    rows: torch.Tensor
    if isinstance(leaf, np.ndarray):
        # take is faster still, but copies an array whole that is not contiguous.
        contiguous = leaf.flags.c_contiguous
        rows = torch.from_numpy(leaf.take(index, axis=0) if contiguous else leaf[index])
    elif isinstance(leaf, torch.Tensor):
        rows = leaf[torch.from_numpy(index)]
    else:
        rows = torch.from_numpy(leaf[index].toarray())
    return rows.to(dtype) if rows.dtype == torch.float64 else rows


class ArrayDataset(Dataset):
    """Dataset of in-memory data that fetches a whole batch at a time.

    Takes the place of skorch's own Dataset in any skorch net (``dataset=ArrayDataset``) and
    yields the same batches several times faster, with one difference: float64 data comes in the
    dtype of the net.

    Parameters
    ----------
    X : array, tensor, DataFrame, Series, sparse matrix, list of numbers, or dict or list of these
        The inputs, with samples as the first axis of every part. A DataFrame (pandas or polars)
        becomes a dict of columns of shape (n_samples, 1). A sparse matrix is kept as CSR, and the
        rows of a batch become dense. In a list of lists, each inner list is one input.
    y : same as X, or None, default=None
        The targets. With None, batches hold zeros of shape (batch_size, 1), as skorch's do.
    length : int or None, default=None
        Number of samples to use, from the first on. None uses all.
    dtype : torch.dtype or None, default=None
        Floating dtype in which float64 data arrives, cast batch by batch. None is torch's default
        dtype. Data of any other dtype is left as it is. Set ``dataset__dtype=torch.float64`` on a
        net of that dtype.

    Attributes
    ----------
    X, y : object
        The data as given.

    Raises
    ------
    TypeError
        If X or y is not such data or holds a dtype that torch lacks (strings, objects), if
        `dtype` is not a floating dtype, or if a subclass overrides a method of single samples.
    ValueError
        If X and y, or parts of one, differ in length or are empty, or `length` is out of range.

    Notes
    -----
    A batch is always a copy: a module that works in place does not change the data. Memory maps
    are read batch by batch, and read-only arrays are welcome.

    Indexing, ``dataset[i]``, gives tensors, also where skorch's Dataset gives numpy rows.

    The DataLoader must keep torch's default `collate_fn`. For one's own, and for data that is
    transformed or loaded sample by sample, use `skorch.dataset.Dataset`.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_digits
    >>> from skorch import NeuralNetClassifier
    >>> from sklr.data import ArrayDataset
    >>> X, y = load_digits(return_X_y=True)  # float64
    >>> net = NeuralNetClassifier(
    ...     torch.nn.Linear,
    ...     module__in_features=64,
    ...     module__out_features=10,
    ...     criterion=torch.nn.CrossEntropyLoss,
    ...     dataset=ArrayDataset,
    ...     verbose=0,
    ... )
    >>> net.fit(X, y).predict(X).shape
    (1797,)
    """

    def __init__(
        self,
        X: Any,
        y: Any = None,
        length: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        # skorch's __init__ is not called: it finds out how to index one row, which is not used
        # here, by trying, and fails on data that is welcome here.
        self._check_overrides()
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise _wrong_type("dtype", "be a floating torch.dtype or None", repr(dtype))
        self.X = X
        self.y = y
        self.dtype = dtype
        self._float64_to = torch.get_default_dtype() if dtype is None else dtype
        self._parse_data()

        n_samples = _n_samples(self._X, "X")
        if y is not None and (n_targets := _n_samples(self._y, "y")) != n_samples:
            requirement = f"have as many samples as X ({n_samples})"
            raise _wrong_value("y", requirement, f"{n_targets}")
        if length is not None and not (isinstance(length, Integral) and 0 < length <= n_samples):
            requirement = f"be an int from 1 to {n_samples}, the number of samples, or None"
            raise _wrong_value("length", requirement, repr(length))
        self._len = n_samples if length is None else int(length)

    def _check_overrides(self) -> None:
        cls = type(self)
        names = ["transform"]
        if cls.__getitems__ is ArrayDataset.__getitems__:
            names.append("__getitem__")
        for name in names:
            if getattr(cls, name) is not getattr(ArrayDataset, name):
                raise TypeError(
                    f"The {name!r} method of {cls.__name__} must not be overridden: ArrayDataset "
                    "fetches whole batches and would not call it. Subclass skorch.dataset.Dataset "
                    "instead."
                )

    def _parse_data(self) -> None:
        self._X = _parse(self.X, "X", "X")
        self._y = None if self.y is None else _parse(self.y, "y", "y")

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without its views of the data."""
        # What _parse_data makes are views of X and y; pickle would store them as second copies.
        return {name: value for name, value in vars(self).items() if name not in ("_X", "_y")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state, and view the data anew."""
        self.__dict__.update(state)
        self._parse_data()

    def _fetch(self, index: NDArray[np.intp]) -> list[Any]:
        rows = partial(_rows, index=index, dtype=self._float64_to)
        X = _map(rows, self._X)
        # skorch's placeholder, since a DataLoader cannot yield None.
        y = torch.zeros(len(index), 1) if self._y is None else _map(rows, self._y)
        return [X, y]

    def __getitems__(self, indices: Iterable[int]) -> list[_Batch]:
        """Return the samples at `indices`, as one batch in a list of one."""
        # fromiter is the fastest way from the list of ints that a DataLoader sends.
        return [_Batch(self._fetch(np.fromiter(indices, np.intp)))]

    def __getitem__(self, i: Any) -> tuple[Any, Any]:
        """Return sample `i`, or the samples of a slice, list or array of indices, as tensors."""
        if isinstance(i, slice):
            index = np.arange(*i.indices(self._len), dtype=np.intp)
        else:
            index = np.asarray(i if isinstance(i, Integral) else np.arange(self._len)[i])
        X, y = self._fetch(np.atleast_1d(index))
        if index.ndim == 0:
            X, y = _map(itemgetter(0), X), _map(itemgetter(0), y)
        return X, y
