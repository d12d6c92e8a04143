"""The whole state of a module: its state_dict, and what that leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

ModuleState = dict[str, Any]
"""Tensors by their names in the state_dict; what it leaves out under `ATTRIBUTE` and a name."""

ATTRIBUTE = "attribute:"
"""What the keys of buffers that are not persistent, and of plain attributes, begin with."""

Plain = torch.Tensor | np.ndarray | bool | int | float
"""Kinds of plain attributes that a forward pass may change."""


def module_state(module: nn.Module) -> ModuleState:
    """Return a copy, on the CPU, of all numbers that a module holds.

    Beside parameters and persistent buffers these are buffers that are not persistent, and plain
    attributes of submodules: tensors, arrays and numbers. A running statistic may be any of them.

    Parameters
    ----------
    module : Module
        A module; of a compiled one the state is that of the module inside, under its own names.
    """
    module = original(module)
    state = {key: _copied(value) for key, value in module.state_dict().items()}
    for name, value in _left_out(module, state):
        state[ATTRIBUTE + name] = _copied(value)
    return state


def load_module_state(module: nn.Module, state: ModuleState) -> None:
    """Set a module's state to one of `module_state`.

    Parameters
    ----------
    module : Module
        A module of the same class and sizes, on any device.
    state : dict
        The state.

    Raises
    ------
    AttributeError, RuntimeError, ValueError
        If the state is not one of such a module: only numbers are set, and never in the place of
        something else, such as a method.
    """
    module = original(module)
    module.load_state_dict(state_dict_of(state))
    for key, value in state.items():
        if not key.startswith(ATTRIBUTE):
            continue
        path, _, name = key.removeprefix(ATTRIBUTE).rpartition(".")
        owner = module.get_submodule(path)
        before = getattr(owner, name, None)
        # States may have been read from a file that somebody else wrote.
        if not _is_state(name, value) or not (before is None or isinstance(before, Plain)):
            raise ValueError(f"{name!r} of {type(owner).__name__} is no number that it holds")
        if isinstance(value, torch.Tensor):
            device = before.device if isinstance(before, torch.Tensor) else None
            value = value.detach().to(device, copy=True)
        elif isinstance(value, np.ndarray):
            value = value.copy()
        setattr(owner, name, value)


def state_dict_of(state: ModuleState) -> dict[str, torch.Tensor]:
    """Return the part of a state that is the module's `state_dict`."""
    return {key: value for key, value in state.items() if not key.startswith(ATTRIBUTE)}


def original(module: nn.Module) -> nn.Module:
    """Return the module that torch.compile made a compiled one of; any other one as it is."""
    # Private, but the only way back; it would also be in the names of the state_dict.
    inner = getattr(module, "_orig_mod", module)
    return inner if isinstance(inner, nn.Module) else module


def _left_out(module: nn.Module, state: ModuleState) -> Iterator[tuple[str, Any]]:
    """Yield what no state_dict has, under dotted names."""
    for path, submodule in module.named_modules():
        prefix = f"{path}." if path else ""
        for name, buffer in submodule.named_buffers(recurse=False):
            if prefix + name not in state:
                yield prefix + name, buffer
        for name, value in vars(submodule).items():
            if _is_state(name, value):
                yield prefix + name, value


def _is_state(name: str, value: Any) -> bool:
    """Return whether a plain attribute of a module belongs to its state."""
    # `training` is a mode; what begins with an underscore is torch's own.
    return isinstance(value, Plain) and name != "training" and not name.startswith("_")


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    return value.copy() if isinstance(value, np.ndarray) else value
