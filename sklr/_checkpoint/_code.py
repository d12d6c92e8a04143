"""Collect the source code that classes and functions are made of."""

from __future__ import annotations

import ast
import linecache
import os
import sys
import sysconfig
from collections.abc import Iterator
from functools import cached_property, lru_cache
from hashlib import blake2b
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

LIBRARIES = tuple(
    f"{folder}{os.sep}" for folder in (sysconfig.get_path("stdlib"), Path(__file__).parents[1])
)
"""Folders, beside every site-packages, of code that only a new version changes."""


class Sources:
    """Digests of the user's source code that classes and functions are made of.

    They are those of the whole files that define the classes, their bases, and the functions and
    classes that they name, and of the files that those import; code of installed packages is left
    out. For code without a file, such as that of a notebook or a prompt, the text is used that
    Python keeps. If it keeps none, or the file was edited after it was imported, the compiled code
    is added, which may differ between versions of Python.
    """

    def __init__(self) -> None:
        self.digests: set[str] = set()
        # Keyed by identity, since a metaclass of the user's may define equality in its own way.
        self._seen: dict[int, Any] = {}

    def add(self, value: Any) -> None:
        """Add the code of a class, function or module; anything else has none."""
        if id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, type):
            # A method may be inherited, and its base class may lie in another file.
            for base in value.__mro__:
                self.add(sys.modules.get(base.__module__))
                for item in vars(base).values():
                    self.add(item)
        elif isinstance(value, property | cached_property | staticmethod | classmethod):
            for name in ("fget", "fset", "fdel", "func", "__func__"):
                self.add(getattr(value, name, None))
        elif isinstance(value, FunctionType):
            # functools.wraps leaves the function that a decorator has wrapped there.
            self.add(getattr(value, "__wrapped__", None))
            self._add_function(value)
        elif isinstance(value, ModuleType):
            self._add_file(getattr(value, "__file__", None) or "", vars(value))

    def _add_function(self, function: FunctionType) -> None:
        code = function.__code__
        if is_library(code.co_filename):
            return
        text = self._add_file(code.co_filename, function.__globals__)
        # Code that the file does not compile to has no file (as the methods of a dataclass), was
        # changed as it was imported (as by pytest), or the file was edited since. What runs must
        # count: under the name of the text alone a later process, which runs the code that is in
        # the file by then, would take it up.
        if code not in _codes(text):
            for part in _parts(code):
                constants = [c for c in part.co_consts if not isinstance(c, CodeType)]
                self._add_text(str([function.__qualname__, part.co_code, part.co_names, constants]))
        # Helpers that it calls may have been imported one by one, or defined at a prompt.
        for name in {name for part in _parts(code) for name in part.co_names}:
            self.add(function.__globals__.get(name))

    def _add_file(self, filename: str, namespace: dict[str, Any]) -> str:
        """Add a file of the user's and those that it imports; return its text."""
        if not filename or is_library(filename):
            return ""
        # Forget the text of a file that has changed since it was last read.
        linecache.checkcache(filename)
        text = "".join(linecache.getlines(filename, namespace))
        # Not twice, since files may import each other.
        if text and self._add_text(text):
            for name in _imports(text, str(namespace.get("__package__") or "")):
                self.add(sys.modules.get(name))
        return text

    def _add_text(self, text: str) -> bool:
        """Add a piece of text, and return whether it is new."""
        digest = blake2b(text.encode(), digest_size=16).hexdigest()
        is_new = digest not in self.digests
        self.digests.add(digest)
        return is_new


@lru_cache(maxsize=4096)
def is_library(filename: str) -> bool:
    """Return whether a file belongs to an installed package, or to Python itself."""
    parts = {"site-packages", "dist-packages"} & set(Path(filename).parts)
    return bool(parts) or filename.startswith(("<frozen", *LIBRARIES))


def _imports(text: str, package: str) -> Iterator[str]:
    """Yield the names of the modules that a text, of a module of a package, imports."""
    for node in ast.walk(_parsed(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # Each dot after the first leads one package up.
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            name = ".".join(filter(None, (base, node.module)))
            # What is imported from a package may be a module of it, or a name in one.
            yield from (name, *(f"{name}.{alias.name}" for alias in node.names))


@lru_cache(maxsize=64)
def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError:  # a file that is being edited
        return ast.Module([], [])


@lru_cache(maxsize=64)
def _codes(text: str) -> set[CodeType]:
    """Return the code that a text compiles to."""
    # Code is compared by what it does and by its lines, whatever the name of its file.
    return set(_parts(compile(_parsed(text), "", "exec", dont_inherit=True)))


def _parts(code: CodeType) -> Iterator[CodeType]:
    """Yield code, and that of the functions within."""
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _parts(part)
