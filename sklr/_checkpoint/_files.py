"""Read and write a folder of tensors and values, which is whole at every moment.

Tensors are safetensors files. The manifest is JSON: it names each file with its size and checksum,
and is replaced last, so that whatever interrupts the writing, the files that it names are there.
Nothing is unpickled. A file may come from somebody else: all of it is checked before it is used.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sklr._checkpoint._shapes import fits

MANIFEST = "manifest.json"
LOCK = ".lock"
FORMAT = 1
"""Version of the files' format; a folder of a newer one cannot be read."""
LARGEST_MANIFEST = 2**30
"""Most bytes of a manifest that are read into memory: the history of some ten million batches."""

TENSOR_FILE = re.compile(r"[\w-]+-[0-9a-f]{16}\.safetensors")
"""Names of files of tensors: none leads out of the folder."""
BEGUN_FILE = re.compile(rf"({TENSOR_FILE.pattern}|{re.escape(MANIFEST)})\.\d+\.tmp")

FILES = {str: {"file": str, "sha256": str}}

Tensors = dict[str, torch.Tensor]


class CheckpointError(ValueError):
    """Files that cannot be read or written as they should; the message names them."""


def write(folder: Path, parts: dict[str, Any], values: dict[str, Any]) -> None:
    """Replace the contents of a folder.

    Parameters
    ----------
    folder : Path
        Is made if it is not there.
    parts : dict
        Nested dicts, lists and tuples of tensors, arrays, numbers and text. The tensors of each
        part are a file, which is named after it and written only if they have changed; a tensor
        that is there twice is written once.
    values : dict
        Anything else that JSON takes.

    Raises
    ------
    CheckpointError
        If something cannot be written, as on a full disk, or is of a type that files do not keep.
        The folder can still be read as it was.
    ImportError
        If safetensors is not installed.
    """
    content: dict[str, Any] = {"files": {}, "parts": {}, "values": values}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The manifest comes last: until it is replaced, the folder is what it was before.
        for name, part in parts.items():
            tensors: dict[Any, tuple[str, torch.Tensor]] = {}
            content["parts"][name] = _packed(part, "", tensors)
            if tensors:
                content["files"][name] = _write_tensors(folder, name, dict(tensors.values()))
        manifest = {"format": FORMAT, "sha256": _digest(content), **content}
        data = json.dumps(manifest, default=_plain).encode()
        _replace(folder / MANIFEST, data)
    except TypeError as error:
        raise CheckpointError(
            f"{folder} cannot keep what is neither numbers nor text ({error}); its files are as "
            "they were."
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"{folder} could not be written ({error}); its files are as they were."
        ) from error
    named = {entry["file"] for entry in content["files"].values()}
    # Remove files that the manifest before named, or that a killed process began to write. Other
    # files in the folder are the user's.
    for path in folder.iterdir():
        ours = TENSOR_FILE.fullmatch(path.name) or BEGUN_FILE.fullmatch(path.name)
        if ours and path.name not in named:
            # On Windows a file cannot be removed while a process has it mapped.
            with suppress(OSError):
                path.unlink()


def read(
    folder: Path, shape: dict[str, Any], *, mapped: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the contents of a folder.

    Parameters
    ----------
    folder : Path
        The folder.
    shape : dict
        What `fits` requires of the values.
    mapped : bool, default=False
        Whether the tensors lie in the files, mapped into memory, instead of in copies of them.
        What is written to such a tensor does not reach its file.

    Returns
    -------
    parts, values : dict
        As they were written.

    Raises
    ------
    CheckpointError
        If a file is missing, damaged, or no plain file, or if the format is newer than this
        version's.
    ImportError
        If safetensors is not installed.
    """
    manifest = _read_manifest(folder, shape)
    parts = {}
    for name, packed in manifest["parts"].items():
        entry = manifest["files"].get(name)
        tensors = {} if entry is None else _read_tensors(folder, entry, mapped)
        try:
            parts[name] = _unpacked(packed, tensors)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise _altered(folder / MANIFEST, f"its part {name!r} is not as one is") from error
    return parts, manifest["values"]


def exists(folder: Path) -> bool:
    """Return whether something was written into a folder."""
    return (folder / MANIFEST).exists()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a folder; the system unlocks it when the process ends.

    Raises
    ------
    CheckpointError
        If another training uses the folder, or it cannot be made.
    ImportError
        If filelock is not installed.
    """
    filelock = _extra("filelock")
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        acquired = lock.acquire()
    except filelock.Timeout as error:
        raise CheckpointError(f"{folder} is in use by another training.") from error
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be used for checkpoints ({error}).") from error
    with acquired:
        yield


@contextmanager
def must_fit(folder: Path, what: str) -> Iterator[None]:
    """Raise an error of any kind as a CheckpointError, while contents of a folder are used.

    Undamaged files may be those of another net, and they may have been edited in more ways than
    could be checked one by one.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"What {folder} holds does not fit the {what}: {error}") from error


def _packed(value: object, path: str, tensors: dict[Any, tuple[str, torch.Tensor]]) -> Any:
    """Return nested values as JSON takes them, with their tensors put aside.

    Dicts, lists and tuples become {type: items}, since JSON has no tuples and no keys but text.

    Parameters
    ----------
    value : object
        The values.
    path : str
        Where they are in the part: the names of tensors begin with it.
    tensors : dict
        Gets the tensors and their names, by their places in memory: equal ones are written once.
    """
    if isinstance(value, np.ndarray):
        # A copy, since torch warns of arrays that cannot be written to.
        return {"array": _packed(torch.from_numpy(value.copy()), path, tensors)["tensor"]}
    if isinstance(value, torch.Tensor):
        tensor = value.detach()
        if tensor.layout != torch.strided:
            raise TypeError(f"a tensor of layout {tensor.layout}")
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        # All empty tensors have one address.
        key = place if tensor.numel() else path
        name, _ = tensors.setdefault(key, (path, tensor))
        return {"tensor": name}
    if isinstance(value, dict):
        items = [[key, _packed(item, f"{path}/{key}", tensors)] for key, item in value.items()]
        return {"dict": items}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_packed(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]}
    return value


def _unpacked(value: Any, tensors: Tensors) -> Any:
    """Return the values that `_packed` was given."""
    if not isinstance(value, dict):
        return value
    # This and what follows raises an error of Python's own for what is packed in another way.
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].numpy()
    if kind == "dict":
        return {key: _unpacked(item, tensors) for key, item in content}
    items = [_unpacked(item, tensors) for item in content]
    return {"tuple": tuple, "list": list}[kind](items)


def _write_tensors(folder: Path, name: str, tensors: Tensors) -> dict[str, Any]:
    """Write a file of tensors, and return its entry in the manifest."""
    # safetensors takes no tensors that share memory, or have another order than C's.
    own = {key: tensor.cpu().contiguous().clone() for key, tensor in tensors.items()}
    try:
        data = _extra("safetensors.torch").save(own)
    except (KeyError, ValueError) as error:
        raise TypeError(f"tensors of a dtype that safetensors does not know: {error}") from error
    digest = hashlib.sha256(data).hexdigest()
    # The name changes with the content: until the new manifest is there, the old one's files stay.
    path = folder / f"{name}-{digest[:16]}.safetensors"
    if not (path.is_file() and _checksum(path) == digest):
        _replace(path, data)
    return {"file": path.name, "sha256": digest}


def _read_tensors(folder: Path, entry: dict[str, Any], mapped: bool) -> Tensors:
    if not TENSOR_FILE.fullmatch(entry["file"]):
        raise _altered(folder / MANIFEST, f"{entry['file']!r} names none of its files")
    path = folder / entry["file"]
    _size(path)  # only to raise if it is no plain file
    try:
        if _checksum(path) != entry["sha256"]:
            raise _altered(path, "its checksum is another")
        tensors: Tensors = _extra("safetensors.torch").load_file(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error}).") from error
    except _extra("safetensors").SafetensorError as error:
        raise _altered(path, str(error)) from error
    # A copy outlives the file, which the next epoch removes.
    return tensors if mapped else {name: tensor.clone() for name, tensor in tensors.items()}


def _read_manifest(folder: Path, shape: dict[str, Any]) -> dict[str, Any]:
    path = folder / MANIFEST
    size = _size(path)
    if size > LARGEST_MANIFEST:
        raise _altered(path, f"it has {size} bytes, more than any that sklr writes")
    try:
        manifest: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error}).") from error
    except (ValueError, RecursionError) as error:
        raise _altered(path, "it is no JSON of sklr's") from error
    if not fits(manifest, {"format": int, str: object}):
        raise _altered(path, "it has no format")
    if manifest["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has format {manifest['format']}, of a newer version of sklr; this one reads "
            f"up to {FORMAT}."
        )
    # A newer format may have any other contents, so they are checked only now.
    whole = {"format": int, "sha256": str, "files": FILES, "parts": {str: object}, "values": shape}
    if not fits(manifest, whole):
        raise _altered(path, "its contents are not those that are looked for")
    content: dict[str, Any] = {name: manifest[name] for name in ("files", "parts", "values")}
    if manifest["sha256"] != _digest(content):
        raise _altered(path, "its checksum is another")
    return content


def _altered(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is truncated or altered: {reason}. Remove its folder, or name another."
    )


def _size(path: Path) -> int:
    """Return a file's size, if it is a plain file: a pipe would make the reader wait for ever."""
    try:
        status = path.lstat()
    except OSError as error:
        raise CheckpointError(f"{path} is missing or cannot be read ({error}).") from error
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path} is no plain file but a link, pipe, device or folder.")
    return status.st_size


def _checksum(path: Path) -> str:
    # Read in pieces, since the file may be larger than the memory.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, default=_plain).encode()).hexdigest()


def _extra(name: str) -> Any:
    """Import a package that only checkpoints need."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(
            f"Checkpoints need {package}. Install it with: pip install 'sklr[checkpoint]'"
        ) from error


def _plain(value: object) -> Any:
    """Return a numpy scalar or array as plain numbers."""
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
            # Otherwise a power cut may leave the new name with none of the contents.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    # A new name survives a power cut only once its folder is on the disk. On Windows folders cannot
    # be opened.
    if os.name == "posix":
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
