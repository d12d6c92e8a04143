"""Every public object has a docstring with its parameters and an example; names agree."""

import inspect
import re
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import sklr
from sklr import callbacks, data, lr_scheduler, schedules

README = Path(__file__).parents[1] / "README.md"
MODULES = [
    import_module(f"sklr{name}")
    for name in ("", ".callbacks", ".ensemble", ".plotting", ".range_search", ".schedules")
]
OBJECTS = {name: getattr(module, name) for module in MODULES[1:] for name in module.__all__}
# A callback has the name of its value.
OBJECTS |= {f"callbacks.{name}": getattr(callbacks, name) for name in callbacks.__all__}
OBJECTS |= {name: getattr(sklr, name) for name in set(sklr.__all__) - set(callbacks.__all__)}
OBJECTS |= {"ArrayDataset": data.ArrayDataset, "ScheduleLR": lr_scheduler.ScheduleLR}
OBJECTS = dict(sorted(OBJECTS.items()))
# What users receive or catch, and never make.
RECEIVED = {"BaseSchedule", "CheckpointError", "Curve", "LRSuggestion", "RangeTestError"}
RECEIVED |= {"Uncertainty"}


@pytest.mark.parametrize("public", OBJECTS.values(), ids=OBJECTS)
def test_public_objects_and_their_methods_are_documented(public):
    doc = inspect.getdoc(public)
    assert doc
    if inspect.isclass(public):
        for name, member in vars(public).items():
            if callable(member) and not name.startswith("_"):
                assert inspect.getdoc(member), f"{public.__name__}.{name}"
    if public.__name__ in RECEIVED:
        return
    assert ">>> " in doc
    for name in inspect.signature(public).parameters:
        assert re.search(rf"^(\w+, )*{name}(, \w+)* : ", doc, re.M), f"{name} is not documented"


def test_exported_names_are_there_once():
    for module in MODULES:
        assert sorted(set(module.__all__)) == sorted(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)
    assert set(callbacks.__all__) <= set(sklr.__all__)


def test_a_schedule_has_one_name_as_value_and_as_callback_and_a_row_in_the_readme():
    values = set(schedules.__all__) - {"BaseSchedule", "join", "scale", "warmup"}
    named = set(callbacks.__all__) - {"LRFinder", "Schedule", "Snapshots"}
    assert named == values - {"Constant", "RangeTest"}
    readme = README.read_text(encoding="utf-8")
    table = readme.split("| schedule | rate of step t | paper |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.M)) == values


def test_version_is_that_of_the_distribution():
    assert sklr.__version__ == version("sklr")
