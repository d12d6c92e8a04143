"""Name a training: the same for the same code, parameters, data and seed."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from types import FunctionType
from typing import Any

import numpy as np
import numpy.typing as npt
import skorch.dataset
import torch
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

from sklr._checkpoint._code import Sources, is_library
from sklr._training._seeding import seeded

PACKAGES = ("numpy", "sklearn", "skorch", "sklr", "torch")
"""Packages whose version counts: with another one a training may not end bit for bit alike."""

N_BYTES = 2**24
"""Bytes of an array that are hashed at a time, so that a memory map is never read whole."""

CONTENTS = {
    skorch.dataset.Dataset: ("X", "y"),
    TensorDataset: ("tensors",),
    Subset: ("dataset", "indices"),
    ConcatDataset: ("datasets",),
}
"""Attributes that the items of these Datasets are made of, which are faster to hash than the items.
Subclasses are not among them, since they may change the items."""


def fingerprint(*parts: Any) -> str:
    """Return a hash of estimators, data and numbers, the same in every process.

    Parameters
    ----------
    *parts : object
        Estimators count by their parameters, modules by their weights and attributes, arrays by
        their contents, which are not copied, and other objects by what pickle would keep of them.
        All classes and functions count by their source code (see `Sources`). A torch Dataset of a
        class of the user's own is read once, all items of it, as an epoch reads them.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    whole = _Hash(Sources())
    whole.add([sys.modules[name].__version__ for name in PACKAGES])
    whole.add(list(parts))
    return whole.add(sorted(whole.sources.digests)).hex()


class _Hash:
    """A hash of values of any kind, each with its kind and length, so that none run together."""

    def __init__(self, sources: Sources, within: tuple[Any, ...] = ()) -> None:
        self.hash = blake2b(digest_size=16)
        self.sources = sources
        # The objects that the value is a part of: one of them may be the value itself.
        self.within = within

    def hex(self) -> str:
        """Return it as hexadecimal digits."""
        return self.hash.hexdigest()

    def add(self, value: Any) -> _Hash:
        """Add a value, and return self."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            # 1, 1.0 and True are equal, and must differ here; repr gives floats exactly.
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
        if isinstance(value, type):
            self._class("class", value)
        elif isinstance(value, np.dtype | torch.dtype | torch.device):
            self._text("dtype", str(value))
        elif isinstance(value, np.ndarray):
            self._array(value)
        elif isinstance(value, torch.Tensor):
            self._tensor(value)
        # Of pandas, polars or any other package, which need not be installed.
        elif hasattr(type(value), "columns") and hasattr(value, "to_numpy"):
            self._class("frame", type(value))
            for name in value.columns:
                self.add([str(name), str(value[name].dtype), value[name].to_numpy()])
        elif isinstance(value, nn.Module):
            self._module(value)
        elif isinstance(value, BaseEstimator | Callback):
            params = value.get_params(deep=False)
            self._class("estimator", type(value))
            # scikit-learn's callbacks leave attributes in a net, which skorch takes for parameters.
            self.add({name: params[name] for name in params if not name.startswith("_")})
        elif isinstance(value, Dataset):
            self._dataset(value)
        elif isinstance(value, dict):
            self._unordered(type(value), ([key, item] for key, item in value.items()))
        elif isinstance(value, set | frozenset):
            self._unordered(type(value), value)
        elif isinstance(value, list | tuple):
            self._class(str(len(value)), type(value))
            for item in value:
                self.add(item)
        elif inspect.isfunction(value):
            self.sources.add(value)
            # All lambdas have one name; those of one file differ in their place.
            self._text("function", _name(value), str([*value.__code__.co_positions()]))
            self.add([value.__defaults__, value.__kwdefaults__, _closure(value), vars(value)])
        elif inspect.ismethod(value):
            self.add([value.__func__, value.__self__])
        elif isinstance(value, torch.Generator):
            self.add(value.get_state())
        else:
            self._other(value)

    def _text(self, *texts: str) -> _Hash:
        for text in texts:
            data = text.encode()
            # With its length, so that "ab", "c" is not "a", "bc".
            self.hash.update(b"%d:" % len(data) + data)
        return self

    def _class(self, kind: str, cls: type) -> None:
        self._text(kind, _name(cls))
        if cls.__module__ != "builtins":
            self.sources.add(cls)
            # Two classes that one function made differ in the variables around their methods alone.
            for function in _enclosed(cls):
                self.add(_closure(function))

    def _unordered(self, kind: type, items: Iterable[Any]) -> None:
        # Sets and dicts are in another order in each process; keys of mixed types have none.
        hashes = sorted(_Hash(self.sources, self.within).add(item).hex() for item in items)
        self._class(str(len(hashes)), kind)
        self._text(*hashes)

    def _array(self, array: npt.NDArray[Any]) -> None:
        self._text("array", str(array.dtype), str(array.shape))
        if array.dtype.hasobject:
            # The bytes of objects are their addresses.
            self.add(array.ravel().tolist())
        elif array.size:
            rows = np.atleast_1d(array).view(np.ndarray)
            # Items may have no bytes, as those of an empty struct.
            step = max(1, N_BYTES * len(rows) // max(1, rows.nbytes))
            for start in range(0, len(rows), step):
                # This copies the rows only if their memory is in another order.
                part = np.ascontiguousarray(rows[start : start + step])
                self.hash.update(part.reshape(-1).view(np.uint8).data)

    def _tensor(self, tensor: torch.Tensor) -> None:
        tensor = tensor.detach()
        self._text("tensor", str(tensor.dtype), str(tuple(tensor.shape)))
        if tensor.layout != torch.strided:
            tensor = tensor.to_dense()
        if tensor.numel():
            # numpy has neither bfloat16 nor torch's lazy conjugates: it is given bytes.
            plain = tensor.cpu().resolve_conj().resolve_neg().contiguous()
            self._array(plain.reshape(-1).view(torch.uint8).numpy())

    def _module(self, module: nn.Module) -> None:
        for name, part in module.named_modules():
            self._class(f"module {name}", type(part))
            self.add(dict(part.named_parameters(recurse=False)))
            self.add(dict(part.named_buffers(recurse=False)))
            # `training` is a mode; what begins with an underscore is torch's own.
            own = {key: item for key, item in vars(part).items() if key[0] != "_"}
            self.add({key: item for key, item in own.items() if key != "training"})

    def _dataset(self, dataset: Any) -> None:
        self._class("dataset", type(dataset))
        if type(dataset) in CONTENTS:
            self.add([getattr(dataset, name) for name in CONTENTS[type(dataset)]])
            return
        # Items that are changed at random are then the same each time.
        with seeded(0):
            streams = isinstance(dataset, IterableDataset)
            for item in dataset if streams else (dataset[i] for i in range(len(dataset))):
                self.add(item)

    def _other(self, value: object) -> None:
        """Add what pickle would keep of an object."""
        self._class("object", type(value))
        try:
            kept = value.__reduce_ex__(4)
        except Exception:  # nothing that can be pickled
            self.add(dict(getattr(value, "__dict__", {})))
            return
        if isinstance(kept, str):
            self._text(kept)
            return
        # First is a function that makes the object; then come its arguments, the state, and
        # iterators of the items of lists and dicts. The last, if any, sets the state.
        self.add([list(part) if isinstance(part, Iterator) else part for part in kept[1:5]])


@lru_cache(maxsize=256)
def _enclosed(cls: type) -> list[FunctionType]:
    """Return the methods of a class, but those of libraries, that use variables around it."""
    items = [item for base in cls.__mro__ for item in vars(base).values()]
    functions = [item for item in items if inspect.isfunction(item) and item.__closure__]
    return [item for item in functions if not is_library(item.__code__.co_filename)]


def _closure(function: FunctionType) -> list[Any]:
    """Return the values of the variables around a function."""
    values = []
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # not bound yet
            values.append(None)
    return values


def _name(value: type | FunctionType) -> str:
    return f"{value.__module__}.{value.__qualname__}"
