"""Check values that were read from JSON against the shape that they must have."""

from __future__ import annotations

from typing import Any

NUMBER = (int, float)
HISTORY = [{"batches": [{str: object}], str: object}]
"""Shape of skorch's History: a list of epochs, each a dict that has a list of batches."""


def fits(value: object, shape: Any) -> bool:
    """Return whether a value has a shape.

    Parameters
    ----------
    value : object
        Nested dicts, lists, numbers and text.
    shape : type, list, tuple or dict
        A type is that of the value, and `object` any; None is itself. A list is a list of items of
        one shape, a tuple a choice of shapes. A dict has the value's keys with the shapes of their
        items; under `str` stands the shape of all further items, of which there may be any number.
    """
    if isinstance(shape, tuple):
        return any(fits(value, choice) for choice in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    if isinstance(shape, dict):
        known = shape.keys() - {str}
        return (
            isinstance(value, dict)
            and known <= value.keys()
            and (str in shape or value.keys() == known)
            and all(fits(item, shape.get(key, shape.get(str))) for key, item in value.items())
        )
    # A bool is an int to isinstance, and no number in JSON.
    return value is None if shape is None else shape is object or type(value) is shape
