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
"""Folders of code that versions tell apart, beside every site-packages."""


class Sources:
    """The user's source code that classes and functions are made of, each piece once.

    Counted are the whole files that define them, their bases, and the functions and classes that
    they name, and the files that those import. Code of installed packages is not. Code without a
    file, as that of a notebook or a prompt, counts by what Python keeps of its text; where it keeps
    none, or the file was edited after it was imported, the compiled code counts too, which another
    version of Python may compile otherwise.
    """

    def __init__(self) -> None:
        self.digests: set[str] = set()
        # By identity: classes and functions may compare as they like.
        self._seen: dict[int, Any] = {}

    def take(self, value: Any) -> None:
        """Take in a class, function or module; anything else has no code."""
        if id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, type):
            for base in value.__mro__:
                self.take(sys.modules.get(base.__module__))
                for item in vars(base).values():
                    self.take(item)
        elif isinstance(value, property | cached_property | staticmethod | classmethod):
            for name in ("fget", "fset", "fdel", "func", "__func__"):
                self.take(getattr(value, name, None))
        elif isinstance(value, FunctionType):
            self.take(getattr(value, "__wrapped__", None))
            self._take_function(value)
        elif isinstance(value, ModuleType):
            self._take_file(getattr(value, "__file__", None) or "", vars(value))

    def _take_function(self, function: FunctionType) -> None:
        code = function.__code__
        if is_library(code.co_filename):
            return
        text = self._take_file(code.co_filename, function.__globals__)
        if code not in _codes(text):
            for part in _parts(code):
                constants = [c for c in part.co_consts if not isinstance(c, CodeType)]
                self._add(str([function.__qualname__, part.co_code, part.co_names, constants]))
        for name in {name for part in _parts(code) for name in part.co_names}:
            self.take(function.__globals__.get(name))

    def _take_file(self, filename: str, namespace: dict[str, Any]) -> str:
        """Take in a file of the user's, and those that it imports; return its text."""
        if not filename or is_library(filename):
            return ""
        linecache.checkcache(filename)
        text = "".join(linecache.getlines(filename, namespace))
        if text and self._add(text):
            for name in _imports(text, str(namespace.get("__package__") or "")):
                self.take(sys.modules.get(name))
        return text

    def _add(self, text: str) -> bool:
        """Add a piece, and return whether it is new."""
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
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            name = ".".join(filter(None, (base, node.module)))
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
    return set(_parts(compile(_parsed(text), "", "exec", dont_inherit=True)))


def _parts(code: CodeType) -> Iterator[CodeType]:
    """Yield code, and that of the functions within."""
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _parts(part)
