"""A name for a training: equal where estimator, data and seed are equal."""

from __future__ import annotations

import inspect
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import Dataset


def fingerprint(*parts: Any) -> str:
    """Give a hash of estimators, data and numbers, the same in every process.

    Parameters
    ----------
    *parts : object
        Estimators count by their classes and parameters, modules by their classes and weights,
        functions by their names, arrays by their contents. Of a torch Dataset of a class of its
        own the length and the first and last sample count.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    return str(joblib.hash([_described(part) for part in parts]))


def _described(value: Any) -> Any:
    """Give something as plain values that joblib hashes alike in every process."""
    if isinstance(value, type) or inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, torch.Tensor):
        return ["tensor", str(value.dtype), value.detach().cpu().float().numpy()]
    if isinstance(value, nn.Module):
        state = {name: _described(tensor) for name, tensor in value.state_dict().items()}
        return [_described(type(value)), repr(value), state]
    if isinstance(value, BaseEstimator | Callback):
        return [_described(type(value)), _described(value.get_params(deep=False))]
    if isinstance(value, dict):
        return {str(name): _described(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_described(part) for part in value]
    if isinstance(value, Dataset):
        return _described_dataset(value)
    plain = value is None or isinstance(value, str | bytes | int | float | np.generic | np.ndarray)
    if plain or hasattr(value, "to_numpy") or hasattr(value, "tocsr"):
        return value
    if isinstance(value, torch.dtype | torch.device):
        return str(value)
    return [_described(type(value)), _described(dict(getattr(value, "__dict__", {})))]


def _described_dataset(dataset: Any) -> Any:
    kind = [_described(type(dataset))]
    if hasattr(dataset, "X"):
        return [*kind, _described(dataset.X), _described(dataset.y)]
    if hasattr(dataset, "tensors"):
        return [*kind, _described(list(dataset.tensors))]
    if hasattr(dataset, "__len__") and len(dataset):
        return [*kind, len(dataset), _described(dataset[0]), _described(dataset[len(dataset) - 1])]
    return kind
