"""Each room of sklr imports only from those above it in CONTRIBUTING's table."""

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

import sklr

PACKAGE = Path(sklr.__file__).parent
CONTRIBUTING = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")

# The packages beside sklr that a room may import; rooms that are not named import any of them.
PACKAGES = {"numpy", "scipy", "sklearn", "skorch", "torch", "joblib"}
NARROW = {
    "_validation": {"numpy"},
    "_interrupts": set(),
    "_param_groups": {"torch"},
    "_curves": {"numpy"},
    "plotting": {"numpy", "matplotlib"},
    "schedules": {"numpy"},
    "lr_scheduler": {"torch"},
    "_checkpoint": PACKAGES | {"filelock", "safetensors"},
    "range_search": PACKAGES | {"optuna"},
}
# Imported where they are used and nowhere else, since they are not required.
EXTRAS = {"filelock", "matplotlib", "optuna", "safetensors"}


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if room_of(path) != "__init__"]


def documented_rooms():
    """Return the rooms of CONTRIBUTING's table, from the top."""
    rows = re.findall(r"^\| (`[^|]*`) \|", CONTRIBUTING, re.M)
    names = [name for row in rows for name in re.findall(r"`([\w/.]+)`", row)]
    return [name.strip("/").removesuffix(".py") for name in names]


def imports(path, *, top_level_only=False):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "sklr":
                yield from (f"sklr.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_the_table_has_every_room_once():
    documented = [name for name in documented_rooms() if name != "__init__"]
    assert sorted(documented) == sorted({room_of(path) for path in MODULES})


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_from_above(path):
    rooms = documented_rooms()
    room = room_of(path)
    above = rooms[: rooms.index(room) + 1]
    allowed = NARROW.get(room, PACKAGES)
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "sklr":
            assert rest[0] in above, f"{room} imports {name}, which is not above it"
        else:
            assert top in allowed or top in sys.stdlib_module_names, f"{room} imports {name}"


def test_extras_are_imported_only_where_they_are_used():
    for path in MODULES:
        tops = {name.split(".")[0] for name in imports(path, top_level_only=True)}
        assert not tops & EXTRAS, path.name


def test_modules_are_private_and_packages_name_what_is_public():
    for path in MODULES:
        inside = path.relative_to(PACKAGE).parts[1:]
        assert all(part.startswith("_") for part in inside), path
    for package in ("callbacks", "ensemble", "plotting", "range_search", "schedules"):
        module = importlib.import_module(f"sklr.{package}")
        assert all(hasattr(module, name) for name in module.__all__)
