"""Collect the source code that classes and functions are made of."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import linecache
import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
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
                    for part in _unwrapped(item):
                        self.take(part)
        elif isinstance(value, FunctionType):
            self._take_function(value)
        elif isinstance(value, ModuleType):
            self._take_file(getattr(value, "__file__", None) or "", vars(value))

    def _take_function(self, function: FunctionType) -> None:
        code = function.__code__
        if is_library(code.co_filename):
            return
        text = self._take_file(code.co_filename, function.__globals__)
        if not (text and _holds(_compiled(text, code.co_filename), code)):
            self._add(function.__qualname__, *map(repr, _described(code)))
        for name in _names(code):
            value = function.__globals__.get(name)
            if isinstance(value, type | FunctionType | ModuleType):
                self.take(value)

    def _take_file(self, filename: str, namespace: dict[str, Any]) -> str:
        """Take in a file of the user's, and those that it imports; return its text."""
        if not filename or is_library(filename):
            return ""
        linecache.checkcache(filename)
        text = "".join(linecache.getlines(filename, namespace))
        if text and self._add(text):
            for name in _imports(text, filename, str(namespace.get("__package__") or "")):
                self.take(sys.modules.get(name))
        return text

    def _add(self, *texts: str) -> bool:
        """Add a piece, and return whether it is new."""
        digest = blake2b("\0".join(texts).encode(), digest_size=16).hexdigest()
        is_new = digest not in self.digests
        self.digests.add(digest)
        return is_new


def _unwrapped(item: Any) -> Iterator[Any]:
    """Yield the functions that an item of a class is made of."""
    if isinstance(item, property):
        yield from (item.fget, item.fset, item.fdel)
    elif isinstance(item, cached_property):
        yield item.func
    elif isinstance(item, FunctionType | type | staticmethod | classmethod):
        function: Any = getattr(item, "__func__", item)
        yield from (function, inspect.unwrap(function))


@lru_cache(maxsize=4096)
def is_library(filename: str) -> bool:
    """Return whether a file belongs to an installed package, or to Python itself."""
    parts = {"site-packages", "dist-packages"} & set(Path(filename).parts)
    return bool(parts) or filename.startswith(("<frozen", *LIBRARIES))


def _imports(text: str, filename: str, package: str) -> Iterator[str]:
    """Yield the names of the modules that a text imports."""
    try:
        tree = ast.parse(text, filename)
    except SyntaxError:  # of a cell of a notebook, such as %timeit
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (package or not node.level):
            with suppress(ImportError):  # beyond the package, in a branch that never runs
                name = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                yield name
                yield from (f"{name}.{alias.name}" for alias in node.names)


@lru_cache(maxsize=64)
def _compiled(text: str, filename: str) -> CodeType | None:
    try:
        return compile(text, filename, "exec", dont_inherit=True)
    except SyntaxError:
        return None


def _holds(whole: CodeType | None, code: CodeType) -> bool:
    """Return whether code is a part of what a text compiles to."""
    return whole is not None and (
        whole == code
        or any(_holds(part, code) for part in whole.co_consts if isinstance(part, CodeType))
    )


def _parts(code: CodeType) -> Iterator[CodeType]:
    """Yield code, and that of the functions within."""
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _parts(part)


def _names(code: CodeType) -> set[str]:
    return {name for part in _parts(code) for name in part.co_names}


def _described(code: CodeType) -> Iterator[tuple[Any, ...]]:
    """Yield code without its place in a file, and without addresses in memory."""
    for part in _parts(code):
        constants = [item for item in part.co_consts if not isinstance(item, CodeType)]
        # A frozenset of text is in another order in each process.
        ordered = [sorted(map(repr, c)) if isinstance(c, frozenset) else repr(c) for c in constants]
        yield part.co_code, part.co_names, part.co_varnames, tuple(map(str, ordered))
