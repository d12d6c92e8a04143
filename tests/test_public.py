"""What every public object owes its users: a docstring with its parameters and an example."""

import inspect
import re

import pytest

import sklr
from sklr import callbacks, data, lr_scheduler, plotting, schedules

MODULES = [sklr, callbacks, schedules]
OBJECTS = {
    f"{module.__name__}.{n}": getattr(module, n) for module in MODULES for n in module.__all__
}
OBJECTS |= {
    "ArrayDataset": data.ArrayDataset,
    "LRRangeDisplay": plotting.LRRangeDisplay,
    "SnapshotDisplay": plotting.SnapshotDisplay,
    "ScheduleDisplay": plotting.ScheduleDisplay,
    "ScheduleLR": lr_scheduler.ScheduleLR,
}
# What users receive and never make.
RECEIVED = {"BaseSchedule", "LRSuggestion", "RangeTestError"}


@pytest.mark.parametrize("public", OBJECTS.values(), ids=OBJECTS)
def test_docstring_has_parameters_and_a_doctest(public):
    doc = inspect.getdoc(public)
    assert doc
    if public.__name__ in RECEIVED:
        return
    assert ">>> " in doc
    for name in inspect.signature(public).parameters:
        assert re.search(rf"^(\w+, )*{name}(, \w+)* : ", doc, re.M), f"{name} is not documented"


@pytest.mark.parametrize("public", OBJECTS.values(), ids=OBJECTS)
def test_public_methods_are_documented(public):
    if not inspect.isclass(public):
        return
    for name, member in vars(public).items():
        if callable(member) and not name.startswith("_"):
            assert inspect.getdoc(member), f"{public.__name__}.{name}"


def test_everything_exported_is_there():
    for module in MODULES:
        assert sorted(set(module.__all__)) == sorted(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)
    # The callbacks are re-exported whole.
    assert set(callbacks.__all__) <= set(sklr.__all__)


def test_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert sklr.__version__ == version("sklr")
