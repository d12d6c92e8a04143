"""Each module imports only from the layers above it; read from the imports themselves."""

import ast
from pathlib import Path

import pytest

import sklr

PACKAGE = Path(sklr.__file__).parent

# From the foundation up: what each module may import of sklr, and of the packages beside it.
LAYERS = {
    "_validation": (set(), {"numpy"}),
    "_param_groups": (set(), {"torch"}),
    "schedules": ({"_validation"}, {"numpy"}),
    "_curves": ({"_validation"}, {"numpy"}),
    "data": ({"_validation"}, {"numpy", "scipy", "torch", "skorch"}),
    "lr_scheduler": ({"_validation", "_param_groups", "schedules"}, {"torch"}),
    "plotting": ({"_validation"}, {"numpy", "matplotlib"}),
    "callbacks": (
        {"_validation", "_param_groups", "schedules", "_curves", "plotting"},
        {"numpy", "skorch", "torch"},
    ),
    "_nets": ({"_validation", "callbacks"}, {"numpy", "sklearn", "skorch", "torch"}),
    "_inputs": (set(), {"numpy", "scipy", "sklearn", "torch"}),
    "_targets": (set(), {"numpy", "sklearn", "skorch", "torch"}),
    "_tasks": (set(), {"sklearn", "skorch"}),
    "_rehearsal": (
        {"_validation", "_nets", "data"},
        {"numpy", "sklearn", "skorch", "torch"},
    ),
    "range_search": (
        {
            "_validation",
            "_curves",
            "_inputs",
            "_nets",
            "_rehearsal",
            "_targets",
            "_tasks",
            "callbacks",
            "plotting",
            "schedules",
        },
        {"numpy", "optuna", "scipy", "sklearn", "skorch", "torch"},
    ),
    "ensemble": (
        {
            "_validation",
            "_inputs",
            "_nets",
            "_rehearsal",
            "_targets",
            "_tasks",
            "callbacks",
            "data",
        },
        {"joblib", "numpy", "safetensors", "sklearn", "skorch", "torch"},
    ),
}
STANDARD = {"__future__", "typing", "dataclasses", "collections", "abc", "functools", "itertools"}
STANDARD |= {"math", "numbers", "bisect", "contextlib", "inspect", "operator", "random"}
STANDARD |= {"copy", "dis", "fcntl", "hashlib", "json", "os", "pathlib"}
STANDARD |= {"reprlib", "statistics", "textwrap", "threading", "time", "warnings", "weakref"}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if layer != "__init__":
            yield layer, path


def imports(path, top_level_only):
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "sklr":
                yield from (f"sklr.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_every_module_has_a_layer():
    assert {layer for layer, _ in modules()} == set(LAYERS)


@pytest.mark.parametrize(
    ("layer", "path"), [pytest.param(*m, id=str(m[1].relative_to(PACKAGE))) for m in modules()]
)
def test_imports_only_from_the_layers_above(layer, path):
    own, packages = LAYERS[layer]
    for name in imports(path, top_level_only=False):
        top, *rest = name.split(".")
        if top == "sklr":
            assert rest[0] in own | {layer}, f"{path.name} imports {name}"
        else:
            assert top in packages | STANDARD, f"{path.name} imports {name}"


def test_matplotlib_is_imported_only_inside_plot():
    for _, path in modules():
        tops = {name.split(".")[0] for name in imports(path, top_level_only=True)}
        assert "matplotlib" not in tops, path.name


def test_the_layers_have_no_circle():
    seen = set()
    for layer, (own, _) in LAYERS.items():
        assert own <= seen, f"{layer} stands above what it imports"
        seen.add(layer)
