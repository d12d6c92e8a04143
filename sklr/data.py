"""Provide a dataset that fetches whole batches, which makes a skorch net train faster.

skorch's own Dataset hands the DataLoader one row after the other, and torch stacks the rows
into a batch; on small models that costs more than the training itself. Data that lies in memory
(or in a memory map) can be indexed once per batch instead. `ArrayDataset` does so, and yields the
same batches.

What X and y hold is kept as a tree: a single leaf, or a dict or list of leaves, where each leaf is
a numpy array, a CSR array or a tensor with samples as its first axis. A batch is the same tree of
tensors.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from numbers import Integral, Number
from operator import itemgetter
from typing import Any, NoReturn, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from skorch.dataset import Dataset
from torch.utils.data._utils.collate import default_collate_fn_map

from sklr._validation import (
    Description,
    ParameterTypeError,
    ParameterValueError,
    check_integer,
)

__all__ = ["ArrayDataset"]

Index: TypeAlias = NDArray[np.intp]
Leaf: TypeAlias = NDArray[Any] | sparse.csr_array | torch.Tensor
Tree: TypeAlias = "Leaf | dict[Hashable, Tree] | list[Tree]"

_CONTAINERS = (
    "be a numpy array, a torch tensor, a DataFrame, a Series, a scipy sparse matrix or a list of "
    "numbers, each with samples as its first axis, or a dict or a list of these"
)


class _Batch:
    """A finished batch, marked so that torch's default collate function passes it on."""

    __slots__ = ("values",)

    def __init__(self, values: list[Tree]) -> None:
        self.values = values

    def _raise(self, *args: object) -> NoReturn:
        raise TypeError(
            "The 'collate_fn' parameter of the DataLoader must be torch's default: ArrayDataset "
            "yields whole batches, not samples. Use skorch.dataset.Dataset instead."
        )

    # A user's own collate_fn would loop over the samples, and fail with an unrelated message.
    __iter__ = __getitem__ = _raise


def _unwrap(batch: list[_Batch], *, collate_fn_map: object = None) -> list[Tree]:
    return batch[0].values


# torch documents this dict as the way to teach its default collate function a type, though the
# module that holds it is private. It applies to every DataLoader of the process, and changes
# nothing for those that yield no _Batch.
default_collate_fn_map[_Batch] = _unwrap


def _wrong_type(parameter: str, requirement: str, got: str) -> ParameterTypeError:
    return ParameterTypeError("ArrayDataset", parameter, requirement, Description(got))


def _wrong_value(parameter: str, requirement: str, got: str) -> ParameterValueError:
    return ParameterValueError("ArrayDataset", parameter, requirement, Description(got))


def _is_frame(data: object) -> bool:
    # A pandas Series itself has an attribute `columns` if its index has such a label.
    return hasattr(type(data), "columns") and hasattr(type(data), "to_numpy")


def _is_numbers(data: object) -> bool:
    return isinstance(data, (list, tuple)) and all(isinstance(value, Number) for value in data)


def _torch_has(dtype: np.dtype[Any]) -> bool:
    try:
        torch.from_numpy(np.empty(0, dtype.newbyteorder("=")))
    except TypeError:
        return False
    return True


def _leaf(data: Any, parameter: str, place: str) -> Leaf:
    """Return `data` as a leaf, which shares its memory if possible."""
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
        requirement = "hold numbers of a dtype that torch has"
        raise _wrong_type(parameter, requirement, f"{leaf.dtype} in {place}")
    if leaf.ndim < (2 if sparse.issparse(leaf) else 1):
        raise _wrong_value(parameter, _CONTAINERS, f"{leaf.ndim} dimensions in {place}")
    checked: Leaf = leaf
    return checked


def _columns(frame: Any, parameter: str, place: str) -> Tree:
    """Return one (n, 1) array per column, as skorch does with a pandas DataFrame."""
    names = list(frame.columns)
    if len(set(names)) < len(names):
        raise _wrong_value(parameter, "have unique column names", reprlib.repr(names))
    # Vector columns, as polars has them, keep their width.
    return {name: as_column(_leaf(frame[name], parameter, f"{place}[{name!r}]")) for name in names}


def _parse(data: Any, parameter: str, place: str) -> Tree:
    """Return `data` as a tree of leaves."""
    if _is_frame(data):
        return _columns(data, parameter, place)
    if isinstance(data, Mapping):
        return {key: _leaf(data[key], parameter, f"{place}[{key!r}]") for key in data}
    if isinstance(data, (list, tuple)) and not _is_numbers(data):
        return [_parse(part, parameter, f"{place}[{i}]") for i, part in enumerate(data)]
    return _leaf(data, parameter, place)


def map_leaves(function: Callable[[Any], Any], tree: Tree) -> Tree:
    """Return a tree with `function` applied to each leaf."""
    if isinstance(tree, dict):
        return {key: map_leaves(function, part) for key, part in tree.items()}
    if isinstance(tree, list):
        return [map_leaves(function, part) for part in tree]
    mapped: Tree = function(tree)
    return mapped


def as_column(leaf: Leaf) -> Leaf:
    """Return a leaf of shape (n_samples,) with shape (n_samples, 1), and any other as it is."""
    # A CSR array always has two dimensions.
    if isinstance(leaf, sparse.csr_array) or leaf.ndim > 1:
        return leaf
    return leaf.reshape(-1, 1)


def _length(leaf: Leaf) -> int:
    return int(leaf.shape[0])


def _n_samples(tree: Tree, parameter: str) -> int:
    lengths: set[int] = set()
    map_leaves(lambda leaf: lengths.add(_length(leaf)), tree)
    if len(lengths) > 1:
        got = reprlib.repr(map_leaves(_length, tree))
        raise _wrong_value(parameter, "have one number of samples in all its parts", got)
    if not any(lengths):
        raise _wrong_value(parameter, "have at least one sample", "none")
    return lengths.pop()


def _rows(leaf: Leaf, index: Index, dtype: torch.dtype) -> torch.Tensor:
    """Copy the rows of a leaf, and nothing else of it, into a new tensor; cast float64."""
    rows: torch.Tensor
    if isinstance(leaf, torch.Tensor):
        rows = leaf[torch.from_numpy(index)]
    else:
        # numpy's indexing is faster than torch's, and takes read-only arrays without a warning.
        values = _dense_rows(leaf, index) if sparse.issparse(leaf) else _array_rows(leaf, index)
        # torch takes native byte order only.
        rows = torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=False))
    return rows.to(dtype) if rows.dtype == torch.float64 else rows


def _array_rows(array: NDArray[Any], index: Index) -> NDArray[Any]:
    # take is faster than indexing, but first copies an array whole that is not contiguous or not
    # aligned, as dask, memory maps and fields of structured arrays may be.
    if array.flags.c_contiguous and array.flags.aligned:
        return array.take(index, axis=0)
    rows: NDArray[Any] = array[index]
    return rows


def _dense_rows(matrix: sparse.csr_array, index: Index) -> NDArray[Any]:
    # scipy's own indexing first copies the parts of a matrix whole if they are not contiguous, not
    # in native byte order, or of two integer types.
    begins, ends = matrix.indptr[:-1][index], matrix.indptr[1:][index]
    counts = ends - begins
    indptr = np.concatenate([[0], np.cumsum(counts)])
    places = np.arange(indptr[-1]) + np.repeat(begins - indptr[:-1], counts)
    parts = (matrix.data[places], matrix.indices[places], indptr)
    rows: NDArray[Any] = sparse.csr_array(parts, (len(index), matrix.shape[1])).toarray()
    return rows


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
    A batch is always a copy: a module that works in place does not change the data. Nothing but
    the rows of a batch is ever copied: memory maps are read batch by batch, and arrays that are
    read-only, not contiguous, not aligned or not in native byte order are taken as they are.

    Indexing, ``dataset[i]``, returns tensors, even if skorch's Dataset returns numpy rows.

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
        # skorch's __init__ is not called: it only finds out how to index single rows, which is
        # not needed here, and raises for some data that is accepted here.
        self._check_overrides()
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise _wrong_type("dtype", "be a floating torch.dtype or None", repr(dtype))
        self.X = X
        self.y = y
        self.dtype = dtype
        self._float64_to = torch.get_default_dtype() if dtype is None else dtype
        self._parse_data()

        n_samples = _n_samples(self._X, "X")
        if self._y is not None and (n_targets := _n_samples(self._y, "y")) != n_samples:
            requirement = f"have as many samples as X ({n_samples})"
            raise _wrong_value("y", requirement, f"{n_targets}")
        if length is not None:
            bound = ("n_samples", n_samples)
            n_samples = check_integer("ArrayDataset", "length", length, at_least=1, at_most=bound)
        self._len = n_samples

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
        self._X: Tree = _parse(self.X, "X", "X")
        self._y: Tree | None = None if self.y is None else _parse(self.y, "y", "y")

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without its views of the data."""
        # What _parse_data makes are views of X and y; pickle would store them as second copies.
        return {name: value for name, value in vars(self).items() if name not in ("_X", "_y")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state, and view the data anew."""
        self.__dict__.update(state)
        self._parse_data()

    def _fetch(self, index: Index) -> list[Tree]:
        """Return the batch of the samples at `index`: inputs and targets."""
        rows = partial(_rows, index=index, dtype=self._float64_to)
        X = map_leaves(rows, self._X)
        if self._y is None:
            # skorch's placeholder, since a DataLoader cannot yield None.
            return [X, torch.zeros(len(index), 1)]
        return [X, map_leaves(rows, self._y)]

    def __getitems__(self, indices: Iterable[int]) -> list[_Batch]:
        """Return the samples at `indices`, as one batch in a list of one."""
        # A DataLoader sends a list of ints, which fromiter converts faster than np.array does.
        return [_Batch(self._fetch(np.fromiter(indices, np.intp)))]

    def __getitem__(self, i: Any) -> tuple[Any, Any]:
        """Return sample `i`, or the samples of a slice, list or array of indices, as tensors."""
        if isinstance(i, slice):
            index = np.arange(*i.indices(self._len), dtype=np.intp)
        else:
            index = np.asarray(i if isinstance(i, Integral) else np.arange(self._len)[i])
        X, y = self._fetch(np.atleast_1d(index))
        if index.ndim == 0:
            X, y = map_leaves(itemgetter(0), X), map_leaves(itemgetter(0), y)
        return X, y
