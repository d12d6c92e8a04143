"""A name for a training: equal where estimator, data and seed are equal."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import numpy as np
import skorch
import torch
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

from sklr._training._seeding import seeded

N_ITEMS = 64
"""Items that are looked at of a Dataset of a class of its own."""

N_BYTES = 2**24
"""Of an array, at a time."""


def fingerprint(*parts: Any) -> str:
    """Give a hash of estimators, data and numbers, the same in every process.

    The releases of torch and skorch count, since another one need not end bit for bit alike.

    Parameters
    ----------
    *parts : object
        Estimators count by their classes and parameters, modules by their classes and weights,
        functions by their code, arrays by their contents, which are not copied, and other objects
        by what pickle would keep of them. Of a torch Dataset of a class of its own the length and
        64 items count, spread evenly.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    versions = [torch.__version__, skorch.__version__]
    return _Hash().add([versions, list(parts)]).hex()


class _Hash:
    """A hash of values of any kind; each goes in with its kind and length, so none run together."""

    def __init__(self, within: tuple[Any, ...] = ()) -> None:
        self.hash = blake2b(digest_size=16)
        # What is being described: an object may hold itself.
        self.within = within

    def hex(self) -> str:
        """Give it as hexadecimal digits."""
        return self.hash.hexdigest()

    def add(self, value: Any) -> _Hash:
        """Take in a value."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return self._text(type(value).__name__, repr(value))
        if any(value is other for other in self.within):
            return self._text("again", type(value).__qualname__)
        before, self.within = self.within, (*self.within, value)
        try:
            self._add_object(value)
        finally:
            self.within = before
        return self

    def _add_object(self, value: Any) -> None:
        if isinstance(value, type | np.dtype | torch.dtype | torch.device):
            self._text("class", _name(value) if isinstance(value, type) else str(value))
        elif isinstance(value, np.ndarray):
            self._array(value)
        elif isinstance(value, torch.Tensor):
            self._tensor(value)
        elif hasattr(value, "tocsr"):
            rows: Any = value
            self._text("sparse", str(rows.shape))
            rows = rows.tocsr()
            self.add([rows.data, rows.indices, rows.indptr])
        elif hasattr(value, "columns") and hasattr(value, "to_numpy"):
            self._text("frame", _name(type(value)))
            self.add([str(name) for name in value.columns])
            self.add([str(value[name].dtype) for name in value.columns])
            self.add([value[name].to_numpy() for name in value.columns])
        elif isinstance(value, nn.Module):
            self._text("module", _name(type(value)), repr(value))
            self.add(dict(value.state_dict()))
        elif isinstance(value, BaseEstimator | Callback) and not isinstance(value, type):
            params = value.get_params(deep=False)
            self._text("estimator", _name(type(value)))
            # What scikit-learn's callbacks leave in a net is none of its parameters.
            self.add({name: params[name] for name in params if not name.startswith("_")})
        elif isinstance(value, Dataset):
            self._dataset(value)
        elif isinstance(value, dict):
            self._unordered(_name(type(value)), ([key, item] for key, item in value.items()))
        elif isinstance(value, set | frozenset):
            self._unordered(_name(type(value)), value)
        elif isinstance(value, list | tuple):
            self._text(_name(type(value)), str(len(value)))
            for item in value:
                self.add(item)
        elif inspect.ismethod(value):
            self._text("method", value.__func__.__qualname__)
            self.add(value.__self__)
        elif inspect.isfunction(value):
            self._function(value)
        elif inspect.iscode(value):
            self.add([value.co_code, list(value.co_consts), list(value.co_names)])
        elif isinstance(value, torch.Generator):
            self.add(value.get_state())
        else:
            self._other(value)

    def _text(self, *texts: str) -> _Hash:
        for text in texts:
            data = text.encode()
            self.hash.update(b"%d:" % len(data) + data)
        return self

    def _unordered(self, kind: str, items: Iterable[Any]) -> None:
        hashes = sorted(_Hash(self.within).add(item).hex() for item in items)
        self._text(kind, *hashes, str(len(hashes)))

    def _array(self, array: Any) -> None:
        self._text("array", str(array.dtype), str(array.shape))
        if array.dtype.hasobject:
            self.add(array.ravel().tolist())
        elif array.size:
            rows = np.atleast_1d(array).view(np.ndarray)
            step = max(1, N_BYTES * len(rows) // rows.nbytes) if rows.nbytes else len(rows)
            for start in range(0, len(rows), step):
                # A copy only where memory is in another order.
                part = np.ascontiguousarray(rows[start : start + step])
                self.hash.update(part.reshape(-1).view(np.uint8).data)

    def _tensor(self, tensor: torch.Tensor) -> None:
        tensor = tensor.detach()
        self._text("tensor", str(tensor.dtype), str(tuple(tensor.shape)))
        if tensor.layout != torch.strided:
            tensor = tensor.to_dense()
        if tensor.numel():
            plain = tensor.cpu().resolve_conj().resolve_neg().contiguous()
            self._array(plain.reshape(-1).view(torch.uint8).numpy())

    def _function(self, function: Any) -> None:
        """Take in a function's code: lambdas all have one name."""
        cells = []
        for cell in function.__closure__ or ():
            try:
                cells.append(cell.cell_contents)
            except ValueError:  # not bound yet
                cells.append(None)
        self._text("function", _name(function))
        self.add([function.__code__, function.__defaults__, function.__kwdefaults__, cells])

    def _dataset(self, dataset: Any) -> None:
        self._text("dataset", _name(type(dataset)))
        if isinstance(dataset, skorch.dataset.Dataset):
            self.add([dataset.X, dataset.y])
        elif isinstance(dataset, TensorDataset):
            self.add(list(dataset.tensors))
        elif isinstance(dataset, Subset):
            self.add([dataset.dataset, list(dataset.indices)])
        elif isinstance(dataset, ConcatDataset):
            self.add(list(dataset.datasets))
        elif isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            self._other(dataset)
        else:
            n_items = len(dataset)
            self.add(n_items)
            for i in np.unique(np.linspace(0, n_items - 1, min(N_ITEMS, n_items), dtype=int)):
                # Random changes of an item come out the same each time.
                with seeded(0):
                    item = dataset[int(i)]
                self.add(item)

    def _other(self, value: Any) -> None:
        """Take in what pickle would keep."""
        self._text("object", _name(type(value)))
        try:
            kept = value.__reduce_ex__(4)
        except Exception:  # nothing that can be pickled
            self.add(dict(getattr(value, "__dict__", {})))
            return
        if isinstance(kept, str):
            self._text(kept)
            return
        _, arguments, *rest = kept
        state, items, pairs = [*rest[:3], None, None, None][:3]
        self.add([arguments, state, list(items or ()), list(pairs or ())])


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
