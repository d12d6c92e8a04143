"""The few checkers of parameters, and the one form of message that they raise.

Every message reads "The 'NAME' parameter of OWNER must REQUIREMENT. Got VALUE instead.", so that a
user who has met one knows how to read them all. A value of the wrong type is a TypeError, a value
of the right type that is out of range a ValueError.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

Bound = float | tuple[str, float]
"""A limit, or the (name, value) of another parameter that sets it."""


class Description(str):
    """A received value in words, which a message shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class ParameterError(Exception):
    """A parameter that cannot be: its text says parameter, owner, requirement and received value.

    Parameters
    ----------
    owner : object or str
        Whose parameter it is: a name, or an object whose class gives the name.
    name : str
        The parameter.
    requirement : str
        What it must do, and the remedy if there is one: "be greater than base_lr=0.1".
    value : object
        What was received.
    """

    def __init__(self, owner: object, name: str, requirement: str, value: object) -> None:
        owner_name = owner if isinstance(owner, str) else type(owner).__name__
        # The arguments are what pickle needs to build the error anew in another process.
        super().__init__(owner_name, name, requirement, value)
        self.name = name
        self.requirement = requirement
        self.value = value

    def __str__(self) -> str:
        owner, name, requirement, value = self.args
        return f"The {name!r} parameter of {owner} must {requirement}. Got {value!r} instead."


class ParameterTypeError(ParameterError, TypeError):
    """A parameter of the wrong type."""


class ParameterValueError(ParameterError, ValueError):
    """A parameter of the right type that is out of range."""


@contextmanager
def in_name_of(owner: object) -> Iterator[None]:
    """Raise the parameter errors of something that `owner` makes as errors of the owner's own.

    The owner's parameters have the same names. The value shown is the owner's, as the user gave
    it, with what it stands for if it is None.
    """
    try:
        yield
    except ParameterError as error:
        shown = getattr(owner, error.name, error.value)
        if shown is None and error.value is not None:
            shown = Description(f"None, which stands for {error.value!r},")
        raise type(error)(owner, error.name, error.requirement, shown) from None


def check_number(
    owner: object,
    name: str,
    value: object,
    *,
    above: Bound | None = None,
    at_least: Bound | None = None,
    below: Bound | None = None,
    at_most: Bound | None = None,
) -> float:
    """Check that a value is a finite real number within bounds.

    Parameters
    ----------
    owner : object or str
        Whose parameter it is: a name, or an object whose class gives the name.
    name : str
        The parameter.
    value : object
        What was received.
    above, at_least, below, at_most : float or (str, float), default=None
        The bounds; a pair names the parameter that sets the bound.

    Returns
    -------
    float
        The value as a plain float, whatever numeric type it came in.

    Raises
    ------
    TypeError
        If the value is no real number (a bool is none).
    ValueError
        If it is NaN, infinite or out of bounds.
    """
    requirement = "be a finite number"
    limits = _describe_bounds(above, at_least, below, at_most)
    if limits:
        requirement += " " + limits
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        if (
            name.endswith("lr")
            and isinstance(value, list | tuple | np.ndarray)
            and np.size(value) > 1
        ):
            requirement += ", of which each parameter group keeps its proportion: give a group a "
            requirement += "rate of its own in the optimizer's parameter groups"
        raise ParameterTypeError(owner, name, requirement, value)
    try:
        number = float(value)
    except OverflowError:  # an int beyond the range of floats
        number = math.inf
    if not math.isfinite(number):
        raise ParameterValueError(owner, name, requirement, value)
    if not _within(number, above, at_least, below, at_most):
        raise ParameterValueError(owner, name, "be " + limits, value)
    return number


def check_integer(
    owner: object,
    name: str,
    value: object,
    *,
    at_least: Bound | None = None,
    at_most: Bound | None = None,
) -> int:
    """Check that a value is an integer within bounds and return it as an int.

    Raises
    ------
    TypeError
        If the value is no integer (a bool is none, nor is 3.0).
    ValueError
        If it is out of bounds.
    """
    limits = _describe_bounds(None, at_least, None, at_most)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        requirement = f"be an integer {limits}".rstrip()
        raise ParameterTypeError(owner, name, requirement, value)
    if not _within(int(value), None, at_least, None, at_most):
        raise ParameterValueError(owner, name, "be " + limits, value)
    return int(value)


def check_option(owner: object, name: str, value: object, options: Collection[str]) -> str:
    """Check that a value is one of a few words.

    Raises
    ------
    TypeError
        If the value is no string.
    ValueError
        If it is another word.
    """
    requirement = "be one of " + ", ".join(repr(option) for option in options)
    if not isinstance(value, str):
        raise ParameterTypeError(owner, name, requirement, value)
    if value not in options:
        raise ParameterValueError(owner, name, requirement, value)
    return value


def check_flag(owner: object, name: str, value: object) -> bool:
    """Check that a value is True or False.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if not isinstance(value, bool):
        raise ParameterTypeError(owner, name, "be True or False", value)
    return value


def check_verbose(owner: object, value: object) -> None:
    """Check that a value says how much to print: an integer from 0 on, or a flag.

    Raises
    ------
    TypeError, ValueError
        If it is anything else.
    """
    if not isinstance(value, bool):
        check_integer(owner, "verbose", value, at_least=0)


def check_sequence(owner: object, name: str, value: Any, requirement: str) -> tuple[Any, ...]:
    """Check that a value is a sequence or an array, and no text, and return it as a tuple.

    Raises
    ------
    TypeError
        If it is none, with the given requirement.
    """
    items = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(items, str | bytes) or not isinstance(items, Sequence):
        raise ParameterTypeError(owner, name, requirement, value)
    return tuple(items)


def check_increasing(
    owner: object, name: str, value: object, *, above: float = 0
) -> tuple[float, ...]:
    """Check that a value is a sequence of strictly increasing finite numbers.

    Parameters
    ----------
    owner : object or str
        Whose parameter it is: a name, or an object whose class gives the name.
    name : str
        The parameter.
    value : object
        What was received.
    above : float, default=0
        What the first number must be greater than.

    Raises
    ------
    TypeError
        If the value is no sequence of real numbers.
    ValueError
        If it is empty, not strictly increasing, or holds a number that is not finite or not above
        the bound.
    """
    requirement = f"be a sequence of strictly increasing numbers greater than {above:g}"
    items = check_sequence(owner, name, value, requirement)
    if any(isinstance(v, bool) or not isinstance(v, numbers.Real) for v in items):
        raise ParameterTypeError(owner, name, requirement, value)
    numbers_ = tuple(float(v) for v in items)
    ascending = all(a < b for a, b in zip((above, *numbers_), numbers_, strict=False))
    if not numbers_ or not ascending or not math.isfinite(numbers_[-1]):
        raise ParameterValueError(owner, name, requirement, value)
    return numbers_


def _within(
    number: float,
    above: Bound | None,
    at_least: Bound | None,
    below: Bound | None,
    at_most: Bound | None,
) -> bool:
    return (
        (above is None or number > _limit(above))
        and (at_least is None or number >= _limit(at_least))
        and (below is None or number < _limit(below))
        and (at_most is None or number <= _limit(at_most))
    )


def _limit(bound: Bound) -> float:
    return bound[1] if isinstance(bound, tuple) else bound


def _describe_bounds(
    above: Bound | None, at_least: Bound | None, below: Bound | None, at_most: Bound | None
) -> str:
    words = [
        f"{relation} {_describe(bound)}"
        for relation, bound in (
            ("greater than", above),
            ("at least", at_least),
            ("less than", below),
            ("at most", at_most),
        )
        if bound is not None
    ]
    return " and ".join(words)


def _describe(bound: Bound) -> str:
    if isinstance(bound, tuple):
        name, value = bound
        return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
    return f"{bound:g}"
