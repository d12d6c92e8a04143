"""Files of checkpoints: whole after every failure, and read with suspicion."""

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import datetime

import numpy as np
import pytest
import torch

from sklr._checkpoint import CheckpointError, _files
from sklr._checkpoint._shapes import HISTORY, NUMBER, fits

ANY = {str: object}


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in {*one, *two})


def test_equal_tensors_are_written_once_and_tied_again(tmp_path):
    tensor, empty = torch.randn(1000, 10), torch.zeros(0)
    part = {"a": tensor, "b": tensor, "view": tensor[0], "e": empty, "f": empty.clone()}
    _files.write(tmp_path, {"part": part}, {})
    (path,) = tmp_path.glob("*.safetensors")
    assert 40_000 < path.stat().st_size < 41_000
    read = _files.read(tmp_path, ANY)[0]["part"]
    assert read["a"] is read["b"]
    assert same(read, part)


def test_tensors_of_every_order_and_kind_come_back(tmp_path):
    for dtype in (torch.float64, torch.bfloat16, torch.int64, torch.bool):
        tensor = torch.arange(24).reshape(2, 3, 4).to(dtype)
        part = {"whole": tensor, "turned": tensor.permute(2, 0, 1), "strided": tensor[:, ::2],
                "number": tensor[1, 2, 3], "spread": tensor[:1].expand(5, 3, 4)}  # fmt: skip
        _files.write(tmp_path, {"part": part}, {})
        read = _files.read(tmp_path, ANY)[0]["part"]
        assert {value.dtype for value in read.values()} == {dtype}
        assert same(read, part)


def test_nested_parts_come_back_with_their_types(tmp_path):
    part = {0: (1, [2.5, None]), "a/b": {"x": torch.ones(2)}, "text": "t", "flag": True, "d": {}}
    arrays = [np.arange(3, dtype="uint32"), np.array(0.5)]
    _files.write(tmp_path, {"part": part, "arrays": arrays}, {})
    parts, values = _files.read(tmp_path, {})
    read = parts["part"]
    assert torch.equal(read.pop("a/b")["x"], part.pop("a/b")["x"])
    assert read == part
    assert type(read[0]) is tuple
    for array, again in zip(arrays, parts["arrays"], strict=True):
        assert (again.dtype, again.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(again, array)
    assert values == {}


def test_only_files_of_sklr_are_removed(tmp_path):
    mine = {"mine.safetensors", "notes.tmp", "manifest.json.bak"}
    for name in mine:
        (tmp_path / name).write_text("mine")
    _files.write(tmp_path, {"part": {"a": torch.zeros(3)}}, {})
    (old,) = (path for path in tmp_path.glob("part-*"))
    # What a process that was killed had begun to write.
    for name in (f"{old.name}.123.tmp", "manifest.json.123.tmp"):
        (tmp_path / name).write_text("half")
    _files.write(tmp_path, {"part": {"a": torch.ones(3)}}, {})
    (new,) = tmp_path.glob("part-*")
    assert new.name != old.name
    assert {path.name for path in tmp_path.iterdir()} == mine | {"manifest.json", new.name}


def test_a_damaged_file_is_not_taken_for_one_already_written(tmp_path):
    parts = {"part": {"a": torch.zeros(3)}}
    _files.write(tmp_path, parts, {})
    (path,) = tmp_path.glob("part-*")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    _files.write(tmp_path, parts, {})
    assert same(_files.read(tmp_path, ANY)[0]["part"], parts["part"])


@pytest.mark.parametrize("failing", range(1, 4))
@pytest.mark.parametrize("call", ["replace", "fsync", "open"])
def test_a_disk_that_fails_leaves_what_was_there(call, failing, tmp_path, monkeypatch):
    """Two files and a manifest: whichever cannot be written, the generation before can be read."""
    before = {"a": {"w": torch.zeros(3)}, "b": {"w": torch.zeros(2)}}
    _files.write(tmp_path, before, {"n": 1})
    real, calls = getattr(_files.os, call), []

    def fails(*args, **kwargs):
        calls.append(args)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(_files.os, call, fails)
    after = {"a": {"w": torch.ones(3)}, "b": {"w": torch.ones(2)}}
    with pytest.raises(CheckpointError, match=r"could not be written .*No space left"):
        _files.write(tmp_path, after, {"n": 2})
    monkeypatch.undo()
    parts, values = _files.read(tmp_path, {"n": int})
    # If only the sync of the folder failed, the new manifest may stand: then it is whole too.
    expected = before if values == {"n": 1} else after
    assert all(same(parts[name], expected[name]) for name in "ab")
    assert not list(tmp_path.glob("*.tmp"))


def test_what_files_do_not_keep_is_named_and_what_was_there_stays(tmp_path):
    _files.write(tmp_path, {}, {"n": 1})
    for parts, values in (
        ({}, {"when": datetime(2020, 1, 1)}),
        ({"part": {"f": len}}, {}),
        ({"part": {"a": torch.zeros(2).to_sparse()}}, {}),
        ({"part": {"a": torch.zeros(2, dtype=torch.complex128)}}, {}),
        ({"part": {"a": np.array(["text"])}}, {}),
    ):
        with pytest.raises(CheckpointError, match="neither numbers nor text"):
            _files.write(tmp_path, parts, values)
        assert _files.read(tmp_path, ANY)[1] == {"n": 1}


# --- files that somebody else may have written ---


def forge(folder, change):
    """Edit a manifest, and set its checksum as sklr would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    changed = change(manifest)
    manifest = changed if isinstance(changed, list) else manifest
    if "sha256" in manifest:
        content = {name: manifest.get(name) for name in ("files", "parts", "values")}
        manifest["sha256"] = _files._digest(content)
    path.write_text(json.dumps(manifest))


def entry(manifest):
    return manifest["files"]["part"]


@pytest.fixture
def written(tmp_path):
    values = {"n": 1, "loss": [0.1, float("nan"), float("inf"), np.float32(0.1)], "none": None}
    folder = tmp_path / "folder"
    _files.write(folder, {"part": {"a": torch.zeros(3)}}, values)
    return folder


SHAPE = {"n": int, "loss": [NUMBER], "none": None}


def test_values_come_back(written):
    assert _files.read(written, SHAPE)[1]["loss"][3] == np.float32(0.1)


def test_a_manifest_with_another_checksum_is_named(written):
    path = written / "manifest.json"
    text = path.read_text()
    for change in (
        lambda m: m["values"].update(n=2),
        lambda m: m["parts"].update(more={"dict": []}),
        lambda m: m["files"].pop("part"),
    ):
        manifest = json.loads(text)
        change(manifest)
        path.write_text(json.dumps(manifest))
        with pytest.raises(CheckpointError, match=r"manifest\.json is .*altered: its checksum"):
            _files.read(written, SHAPE)


FORGED = {
    "no contents": [
        lambda m: m.pop("values"),
        lambda m: m.pop("files"),
        lambda m: m.pop("parts"),
        lambda m: m.pop("sha256"),
        lambda m: m.pop("format"),
    ],
    "other contents": [
        lambda m: m.update(format="1"),
        lambda m: [m],
        lambda m: m.update(more=1),
        lambda m: m["values"].update(n="1"),
        lambda m: m["values"].update(n=True),
    ],
    "other files": [
        lambda m: m["files"].pop("part"),
        lambda m: entry(m).update(file=3),
        lambda m: entry(m).update(sha256="0" * 64),
        lambda m: entry(m).update(sha256=None),
    ],
    "other parts": [
        lambda m: m["parts"].update(part={"tensor": 3}),
        lambda m: m["parts"].update(part={"object": "os.system"}),
        lambda m: m["parts"].update(part={"tensor": "/a", "dict": []}),
        lambda m: m["parts"].update(part={}),
        lambda m: m["parts"].update(part={"dict": [[[1], 2]]}),
        lambda m: m["parts"].update(part={"dict": [[1, 2, 3]]}),
        lambda m: m["parts"].update(part={"list": 7}),
    ],
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_manifest_is_named(kind, written):
    text = (written / "manifest.json").read_text()
    for change in FORGED[kind]:
        (written / "manifest.json").write_text(text)
        forge(written, change)
        with pytest.raises(CheckpointError, match="is truncated or altered"):
            _files.read(written, SHAPE)


def test_a_manifest_that_is_none_is_named(written):
    for text in ("", "{", "[1]", "null", "[" * 100_000, "\0", '{"format": 1' + "}"):
        (written / "manifest.json").write_text(text)
        text = r"manifest\.json is truncated or altered: .*\. Remove its folder, or name another\.$"
        with pytest.raises(CheckpointError, match=text):
            _files.read(written, SHAPE)


def test_parts_in_parts_without_end_are_named(written):
    path = written / "manifest.json"
    text = path.read_text().replace('{"dict": [["a", {"tensor": "/a"}]]}', '{"list": [' * 20_000)
    path.write_text(text + "]}" * 20_000)
    with pytest.raises(CheckpointError, match=r"altered"):
        _files.read(written, SHAPE)


def test_a_newer_format_is_named(written):
    forge(written, lambda m: m.update(format=2))
    with pytest.raises(CheckpointError, match="a newer version of sklr; this one reads up to 1"):
        _files.read(written, SHAPE)


def test_no_name_leads_out_of_the_folder(written):
    (path,) = written.glob("part-*")
    (written.parent / path.name).write_bytes(path.read_bytes())
    for name in (f"../{path.name}", "/etc/passwd", "sub/x", "..", "", "a\0", "manifest.json"):
        forge(written, lambda m, name=name: entry(m).update(file=name))
        with pytest.raises(CheckpointError, match="names none of its files"):
            _files.read(written, SHAPE)


def put(kind, path):
    data = path.read_bytes()
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        other = path.parents[1] / "other"
        other.write_bytes(data)
        path.symlink_to(other)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as listening:
            # A socket's path may be no longer than some hundred characters.
            here = os.getcwd()
            os.chdir(path.parent)
            try:
                listening.bind(path.name)
            finally:
                os.chdir(here)


@pytest.mark.parametrize("name", ["manifest.json", "part-*"])
def test_only_plain_files_are_read(name, written):
    (path,) = written.glob(name)
    data = path.read_bytes()
    for kind in ("pipe", "link", "device", "socket", "folder"):
        put(kind, path)
        with pytest.raises(CheckpointError, match=f"{path.name} is no plain file"):
            _files.read(written, SHAPE)
        path.rmdir() if kind == "folder" else path.unlink()
        with pytest.raises(CheckpointError, match=f"{path.name} is missing"):
            _files.read(written, SHAPE)
        path.write_bytes(data)


def test_a_manifest_of_many_gigabytes_is_not_read(written):
    with (written / "manifest.json").open("r+b") as file:
        file.truncate(2**34)  # takes no place on the disk
    with pytest.raises(
        CheckpointError, match=r"json is truncated or altered: it has 17179869184 bytes"
    ):
        _files.read(written, SHAPE)


def test_a_forged_file_of_tensors_is_named(written):
    """A header that claims more than the file holds, with a manifest that agrees."""
    (path,) = written.glob("part-*")
    for header in (
        {"/a": {"dtype": "F32", "shape": [2**32], "data_offsets": [0, 2**34]}},
        {"/a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12_000]}},
        {"/a": {"dtype": "F99", "shape": [3], "data_offsets": [0, 12]}},
        {"/a": {"shape": [3], "data_offsets": [0, 12]}},
        {},
    ):
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(12 if header else 0))
        forge(written, lambda m: entry(m).update(sha256=_files._checksum(path)))
        with pytest.raises(CheckpointError, match="altered"):
            _files.read(written, SHAPE)


def test_shapes():
    for value, shape, expected in [
        (1, int, True),
        (True, int, False),
        (1, NUMBER, True),
        (None, (None, str), True),
        (None, str, False),
        ([1, 2], [int], True),
        ([1, "2"], [int], False),
        ((1, 2), [int], False),
        ({"a": 1}, {"a": int}, True),
        ({"a": 1, "b": 1}, {"a": int}, False),
        ({"a": 1, "b": 1}, {"a": int, str: int}, True),
        ({"b": 1}, {"a": int, str: int}, False),
        ({}, {str: int}, True),
        ([{"batches": [{"loss": 1}], "dur": 1}], HISTORY, True),
        ([{"batches": 3}], HISTORY, False),
        ([{"dur": 1}], HISTORY, False),
    ]:
        assert fits(value, shape) is expected, (value, shape)


# --- locks ---


def test_a_folder_is_for_one_training_at_a_time(tmp_path):
    with (
        _files.locked(tmp_path / "new"),
        pytest.raises(CheckpointError, match="new is in use by another training"),
        _files.locked(tmp_path / "new"),
    ):
        pass  # pragma: no cover
    with _files.locked(tmp_path / "new"):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CheckpointError, match="folder cannot be used for checkpoints"),
        _files.locked(tmp_path / "file" / "folder"),
    ):
        pass  # pragma: no cover


DIES_LOCKING = """
import os, pathlib, signal, sys, time
from sklr._checkpoint import _files
with _files.locked(pathlib.Path(sys.argv[1])):
    child = os.fork()
    if child == 0:
        os.close(1)
        os.close(2)
        os.read(0, 1)
        os._exit(0)
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_training_holds_no_lock_though_its_workers_live_on(tmp_path):
    """As a DataLoader's do for seconds after a training was killed."""
    code = [sys.executable, "-W", "ignore", "-c", DIES_LOCKING, str(tmp_path)]
    end, is_end = os.pipe()
    done = subprocess.run(code, stdin=end, check=False, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    with _files.locked(tmp_path):
        pass
    os.close(is_end)
    os.close(end)


@pytest.mark.parametrize("package", ["safetensors.torch", "filelock"])
def test_without_the_extra_the_error_names_it(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    text = rf"{package.split('.')[0]}\. Install it with: pip install 'sklr\[checkpoint\]'"
    with pytest.raises(ImportError, match=text), _files.locked(tmp_path):
        _files.write(tmp_path, {"part": {"a": torch.zeros(1)}}, {})


def test_sklr_is_imported_without_the_extra():
    code = "import sys; sys.modules['filelock'] = sys.modules['safetensors'] = None; import sklr"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
