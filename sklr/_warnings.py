"""Warnings that name the user's own line."""

from __future__ import annotations

import inspect
import os
import warnings
from types import FrameType

import joblib
import sklearn
import skorch
import torch

INNER = tuple(
    os.path.dirname(path) + os.sep
    for path in (__file__, joblib.__file__, sklearn.__file__, skorch.__file__, torch.__file__)
)
"""Folders of the packages through which a call of the user's comes to the line that warns."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, in the name of the line of the user's that led here.

    A fixed `stacklevel` would be wrong as soon as a Pipeline, a search or a decorator stands
    between the user and the line that warns.

    Parameters
    ----------
    message : str
        What to say.
    category : type, default=UserWarning
        Class of the warning.
    """
    level, frame = 1, inspect.currentframe()
    while frame is not None and _is_inner(frame):
        level, frame = level + 1, frame.f_back
    # `frame` is None if there is no line of the user's, as in a worker process.
    warnings.warn(message, category, stacklevel=level if frame is not None else 2)


def _is_inner(frame: FrameType) -> bool:
    # contextlib's frames stand between a function and the decorated or managed call of it.
    name = frame.f_code.co_filename
    return name.startswith(INNER) or os.path.basename(name) == "contextlib.py"
