"""Weights and a manifest in a folder, which is whole at every moment; nothing is unpickled.

Weights are safetensors files. The manifest is JSON: it names each file with its size and checksum,
and is replaced last, so that what it names is there, whatever interrupts the writing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

MANIFEST = "manifest.json"
LOCK = ".lock"
FORMAT = 1
"""Version of the files' format; a folder of a newer one is refused."""

Tensors = dict[str, torch.Tensor]


class CheckpointError(ValueError):
    """Files that cannot be read or written as they should; the text names them."""


def write(folder: Path, tensors: dict[str, Tensors], values: dict[str, Any]) -> None:
    """Replace what a folder holds.

    Parameters
    ----------
    folder : Path
        Is made where it is not there.
    tensors : dict of str to dict of str to Tensor
        By the name of their file; those that are one and the same are written once. A file that
        holds the same already is kept.
    values : dict
        Everything else, as JSON takes it.

    Raises
    ------
    CheckpointError
        If something cannot be written, such as on a full disk, or is nothing that JSON takes;
        what the folder held before can still be read.
    ImportError
        If safetensors is not installed.
    """
    dumps = _safetensors().save
    files: dict[str, dict[str, Any]] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, parts in tensors.items():
            own, ties = _untied(parts)
            data = dumps(own)
            digest = hashlib.sha256(data).hexdigest()
            # Another content has another name: what the old manifest names stays as it is.
            file = f"{name}-{digest[:16]}.safetensors"
            files[name] = {"file": file, "size": len(data), "sha256": digest}
            # safetensors sorts them.
            files[name] |= {"names": list(parts), "ties": ties}
            if not (folder / file).exists():
                _replace(folder / file, data)
        content = {"files": files, "values": values}
        manifest = {"format": FORMAT, "sha256": _digest(content), **content}
        _replace(folder / MANIFEST, json.dumps(manifest, default=_plain).encode())
    except TypeError as error:
        raise CheckpointError(
            f"{folder} cannot keep what is neither numbers nor text ({error}); what it held before "
            "is as it was."
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"{folder} could not be written ({error}); what it held before is as it was."
        ) from error
    named = {entry["file"] for entry in files.values()}
    # Of the generation before, and what a killed process was writing; the user's files stay.
    for path in folder.iterdir():
        if _is_ours(path.name) and path.name not in named:
            with suppress(OSError):
                path.unlink()


def read(folder: Path, *, mapped: bool = False) -> tuple[dict[str, Tensors], dict[str, Any]]:
    """Give what a folder holds: tensors by the name of their file, and the values.

    Parameters
    ----------
    folder : Path
        Where to read.
    mapped : bool, default=False
        Whether the tensors lie in the files, mapped into memory, and not in copies of them. What
        is written to such a tensor stays out of its file.

    Raises
    ------
    CheckpointError
        If a file is missing, truncated or altered, or the format is newer than this version's.
    ImportError
        If safetensors is not installed.
    """
    safetensors = _safetensors()
    manifest = _read_manifest(folder)
    tensors = {}
    for name, entry in manifest["files"].items():
        path = folder / entry["file"]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path} is missing or cannot be read ({error}).") from error
        if len(data) != entry["size"]:
            raise CheckpointError(
                f"{path} is truncated: it has {len(data)} of {entry['size']} bytes."
            )
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise CheckpointError(f"{path} was altered: its checksum is another.")
        parts = safetensors.load_file(path) if mapped else safetensors.load(data)
        ties = entry["ties"]
        tensors[name] = {part: parts[ties.get(part, part)] for part in entry["names"]}
    return tensors, manifest["values"]


def exists(folder: Path) -> bool:
    """Tell whether a folder holds something."""
    return (folder / MANIFEST).exists()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep others out of a folder; the system frees it when the process ends, however it does.

    Raises
    ------
    CheckpointError
        If another training uses the folder, or it cannot be made.
    ImportError
        If the system is none of POSIX's.
    """
    try:
        import fcntl
    except ImportError as error:  # Windows, where everything else of sklr works
        raise ImportError("Checkpoints need a POSIX system, such as Linux or macOS.") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be used for checkpoints ({error}).") from error
    _held.add(lock)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CheckpointError(f"{folder} is in use by another training.") from error
        yield
    finally:
        if lock in _held:
            _held.discard(lock)
            # For a child too that was forked a moment ago and did not yet let go.
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)


_held: set[int] = set()
"""The locks of this process."""


def _let_go() -> None:
    """Close a parent's locks: workers of a DataLoader live on for seconds after its death."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing.") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error}).") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is truncated or altered: it is no JSON.") from error
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(version, int):
        raise CheckpointError(f"{path} was altered: it has no format.")
    if version > FORMAT:
        raise CheckpointError(
            f"{path} has format {version}, of a newer version of sklr; this one reads up to "
            f"{FORMAT}."
        )
    content = {name: manifest.get(name) for name in ("files", "values")}
    if manifest.get("sha256") != _digest(content):
        raise CheckpointError(f"{path} was altered: its checksum is another.")
    return manifest


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, default=_plain).encode()).hexdigest()


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError(
            "Checkpoints need safetensors. Install it with: pip install 'sklr[checkpoint]'"
        ) from error
    return safetensors.torch


def _untied(tensors: Tensors) -> tuple[Tensors, dict[str, str]]:
    """Give tensors that share no memory, which is what safetensors takes, and who is whom.

    A tensor that is another one under a second name is left out, and named with the first.
    """
    own: Tensors = {}
    ties: dict[str, str] = {}
    seen: dict[Any, str] = {}
    for name, tensor in tensors.items():
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        first = seen.setdefault(place, name) if tensor.numel() else name
        if first != name:
            ties[name] = first
        else:
            own[name] = tensor.detach().cpu().contiguous().clone()
    return own, ties


def _is_ours(name: str) -> bool:
    """Tell whether a file that no manifest names may be removed."""
    stem, _, begun = name.partition(".safetensors")
    digest = stem.rpartition("-")[2]
    if begun != name[len(stem) :] and len(digest) == 16 and set(digest) <= set("0123456789abcdef"):
        return not begun or begun.endswith(".tmp")
    return name.startswith(f"{MANIFEST}.") and name.endswith(".tmp")


def _plain(value: Any) -> Any:
    """Give a numpy scalar or array as plain numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} of type {type(value).__name__}")


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
