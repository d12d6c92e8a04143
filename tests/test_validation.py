"""One form of message, from every checker, through pickles and in another's name."""

import math
import pickle
import re

import numpy as np
import pytest

from sklr._validation import (
    ParameterValueError,
    check_increasing,
    check_integer,
    check_number,
    check_option,
    in_name_of,
)

FORM = re.compile(r"^The '\w+' parameter of \w+ must .+\. Got .+ instead\.$")


class Owner:
    max_lr = 0.01
    gone = None


CASES = [
    (check_number, {"above": 0}, ["a", None, True, 1j, [1]], [math.nan, math.inf, 10**400, -1, 0]),
    (check_number, {"at_least": 0, "below": 1}, [b"1"], [1, -1e-9]),
    (check_number, {"at_most": ("max_lr", 0.5)}, [()], [0.6]),
    (check_integer, {"at_least": 1}, [1.0, "1", True, None], [0, -5]),
    (check_integer, {"at_least": 1, "at_most": 3}, [np.float64(2)], [4]),
    (check_option, {"options": ("log", "linear")}, [None, 1], ["Log", ""]),
    (check_increasing, {}, ["abc", 3, None, [True], ["1"]], [[], [2, 1], [0, 1], [1, math.inf]]),
]
WRONG = [
    pytest.param(check, kwargs, value, error, id=f"{check.__name__}-{value!r}")
    for check, kwargs, types, values in CASES
    for error, received in ((TypeError, types), (ValueError, values))
    for value in received
]


@pytest.mark.parametrize(("check", "kwargs", "value", "error"), WRONG)
def test_wrong_values_raise_in_the_one_form(check, kwargs, value, error):
    with pytest.raises(error) as caught:
        check(Owner(), "max_lr", value, **kwargs)
    assert FORM.match(str(caught.value))
    assert str(caught.value).startswith("The 'max_lr' parameter of Owner must ")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert type(copy) is type(caught.value)


def test_the_example_of_the_design():
    with pytest.raises(ValueError, match="The") as caught:
        check_number("CyclicalLR", "max_lr", 0.01, above=("base_lr", 0.1))
    assert str(caught.value) == (
        "The 'max_lr' parameter of CyclicalLR must be greater than base_lr=0.1. Got 0.01 instead."
    )


@pytest.mark.parametrize("value", [2, np.int8(2), np.float32(2), 2.0])
def test_numbers_come_back_plain(value):
    assert type(check_number(Owner(), "max_lr", value)) is float
    assert check_number(Owner(), "max_lr", value) == 2.0


def test_sequences_come_back_as_tuples():
    assert check_increasing(Owner(), "milestones", np.array([1, 2])) == (1.0, 2.0)
    assert type(check_integer(Owner(), "n", np.int64(3))) is int


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        pytest.param("max_lr", "0.01", id="the owner's value"),
        pytest.param("gone", "None, which stands for 7,", id="what None stands for"),
        pytest.param("absent", "7", id="a parameter that the owner lacks"),
    ],
)
def test_errors_of_a_part_are_raised_in_the_owners_name(name, shown):
    with pytest.raises(ParameterValueError) as caught, in_name_of(Owner()):
        raise ParameterValueError("Part", name, "be right", 7)
    expected = f"The {name!r} parameter of Owner must be right. Got {shown} instead."
    assert str(caught.value) == expected
