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
        By the name of their file. A file that holds the same already is kept.
    values : dict
        Everything else, as JSON takes it.

    Raises
    ------
    CheckpointError
        If something cannot be written, such as on a full disk; what the folder held before can
        still be read.
    ImportError
        If safetensors is not installed.
    """
    dumps = _safetensors().save
    files = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, parts in tensors.items():
            data = dumps(*_untied(parts))
            digest = hashlib.sha256(data).hexdigest()
            # Another content has another name: what the old manifest names stays as it is.
            file = f"{name}-{digest[:16]}.safetensors"
            files[name] = {"file": file, "size": len(data), "sha256": digest}
            if not (folder / file).exists():
                _replace(folder / file, data)
        manifest = {"format": FORMAT, "files": files, "values": values}
        _replace(folder / MANIFEST, json.dumps(manifest, default=_plain).encode())
    except OSError as error:
        raise CheckpointError(
            f"{folder} could not be written ({error}); what it held before is as it was."
        ) from error
    named = {entry["file"] for entry in files.values()}
    for path in folder.glob("*.safetensors"):
        if path.name not in named:
            path.unlink()


def read(folder: Path) -> tuple[dict[str, Tensors], dict[str, Any]]:
    """Give what a folder holds: tensors by the name of their file, and the values.

    Raises
    ------
    CheckpointError
        If a file is missing, truncated or altered, or the format is newer than this version's.
    ImportError
        If safetensors is not installed.
    """
    loads = _safetensors().load
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
        tensors[name] = loads(data)
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
        If another training uses the folder.
    """
    import fcntl  # not there on Windows, where sklr without checkpoints is to be imported

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CheckpointError(f"{folder} is in use by another training.") from error
        yield


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing.") from error
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
    return manifest


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError(
            "Checkpoints need safetensors. Install it with: pip install 'sklr[checkpoint]'"
        ) from error
    return safetensors.torch


def _untied(tensors: Tensors) -> tuple[Tensors]:
    """Give tensors that share no memory, which is what safetensors takes."""
    return ({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},)


def _plain(value: Any) -> Any:
    """Give a numpy scalar or array as plain numbers."""
    return value.tolist()


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
