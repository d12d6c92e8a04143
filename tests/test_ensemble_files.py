"""Files of checkpoints, and the names of their folders, by themselves."""

import functools
import json
import os
import subprocess
import sys
import warnings
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from nets import MLP, X_DIGITS, make_classifier
from sklearn.base import clone
from skorch.callbacks import EpochScoring
from torch import nn
from torch.utils.data import Dataset, Subset, TensorDataset

from sklr import SGDR
from sklr._checkpoint import _files
from sklr._checkpoint._files import CheckpointError
from sklr._checkpoint._fingerprint import fingerprint

# --- files ---


def test_tied_tensors_are_written_once_and_tied_again(tmp_path):
    tensor, empty = torch.randn(1000, 10), torch.zeros(0)
    parts = {"a": tensor, "b": tensor, "view": tensor[0], "e": empty, "f": empty.clone()}
    _files.write(tmp_path, {"part": parts}, {})
    (path,) = tmp_path.glob("*.safetensors")
    assert 40_000 < path.stat().st_size < 41_000
    tensors, _ = _files.read(tmp_path)
    assert tensors["part"]["a"] is tensors["part"]["b"]
    assert all(torch.equal(tensors["part"][name], value) for name, value in parts.items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_of_every_order_and_kind_come_back(dtype, tmp_path):
    tensor = torch.arange(24).reshape(2, 3, 4).to(dtype)
    parts = {"whole": tensor, "turned": tensor.permute(2, 0, 1), "strided": tensor[:, ::2],
             "number": tensor[1, 2, 3], "spread": tensor[:1].expand(5, 3, 4)}  # fmt: skip
    _files.write(tmp_path, {"part": parts}, {})
    read = _files.read(tmp_path)[0]["part"]
    for name, value in parts.items():
        assert read[name].dtype == dtype
        assert torch.equal(read[name], value)


def test_only_what_is_ours_is_removed(tmp_path):
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
    tensors, values = _files.read(tmp_path)
    # Where only the sync of the folder failed, the new manifest may stand: then it is whole too.
    expected = before if values == {"n": 1} else after
    assert all(torch.equal(tensors[name]["w"], expected[name]["w"]) for name in "ab")
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["values"].update(n=2),
        lambda manifest: manifest["values"].update(more=1),
        lambda manifest: manifest.pop("values"),
        lambda manifest: manifest.pop("files"),
        lambda manifest: manifest["files"].pop("part"),
        lambda manifest: manifest.pop("sha256"),
    ],
)
def test_an_altered_manifest_that_is_still_json_is_named(change, tmp_path):
    values = {"n": 1, "loss": [0.1, float("nan"), float("inf"), np.float32(0.1)], "none": None}
    _files.write(tmp_path, {"part": {"a": torch.zeros(3)}}, values)
    assert _files.read(tmp_path)[1]["loss"][3] == np.float32(0.1)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"manifest\.json was altered"):
        _files.read(tmp_path)


def test_what_json_does_not_take_is_named_and_what_was_there_stays(tmp_path):
    _files.write(tmp_path, {}, {"n": 1})
    with pytest.raises(CheckpointError, match=r"neither numbers nor text .*datetime"):
        _files.write(tmp_path, {}, {"when": datetime(2020, 1, 1)})
    assert _files.read(tmp_path)[1] == {"n": 1}


def test_an_empty_folder_and_one_that_cannot_be_made_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"manifest\.json is missing"):
        _files.read(tmp_path)
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CheckpointError, match="folder cannot be used"),
        _files.locked(tmp_path / "file" / "folder"),
    ):
        pass  # pragma: no cover


def test_a_lock_is_freed_though_a_forked_child_lives_on(tmp_path):
    """As a DataLoader's workers do for seconds after a training was killed."""
    ready, is_ready = os.pipe()
    end, is_end = os.pipe()
    with _files.locked(tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
            child = os.fork()
        if child == 0:  # pragma: no cover
            os.write(is_ready, b"1")
            os.close(is_end)
            os.read(end, 1)
            os._exit(0)
        os.read(ready, 1)
        with pytest.raises(CheckpointError, match="in use by another"), _files.locked(tmp_path):
            pass  # pragma: no cover
        # What the system does to the parent's own as it is killed.
        os.close(_files._held.pop())
        with _files.locked(tmp_path):
            pass
    os.close(is_end)
    os.waitpid(child, 0)
    for descriptor in (ready, is_ready, end):
        os.close(descriptor)


def test_sklr_is_imported_where_there_are_no_locks():
    code = "import sys; sys.modules['fcntl'] = None; import sklr; print(sklr.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "sklr", "")


# --- fingerprints ---


class Items(Dataset):
    def __init__(self, at=None, n_items=100, noise=0):
        self.at, self.n_items, self.noise = at, n_items, noise

    def __len__(self):
        return self.n_items

    def __getitem__(self, i):
        return np.random.normal() * self.noise, int(i == self.at)  # noqa: NPY002


class Slots:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


def linear(seed):
    torch.manual_seed(seed)
    return nn.Linear(3, 2)


def memory_map(folder, array):
    np.save(folder / "array.npy", array)
    return np.load(folder / "array.npy", mmap_mode="r")


def scaled(factor):
    return lambda x: x * factor


DIFFERENT = {
    "float": (0.1, 0.2),
    "type": (1, 1.0, True, "1", b"1", None),
    "nesting": ([1, [2]], [[1], 2], [1, 2], (1, 2), {1, 2}),
    "text": (["ab", "c"], ["a", "bc"]),
    "keys": ({1: 2}, {"1": 2}, {1: 3}),
    "set": ({"a"}, {"b"}, frozenset({"a"})),
    "partial": (functools.partial(max, 1), functools.partial(max, 2), functools.partial(min, 1)),
    "lambda": (lambda x: x, lambda x: x + 1, lambda x: x + 2),
    "closure": (scaled(1), scaled(2)),
    "path": (Path("a"), Path("b")),
    "range": (range(1), range(2)),
    "slots": (Slots(1), Slots(2)),
    "random": (np.random.RandomState(1), np.random.RandomState(2)),
    "generator": (torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)),
    "numpy generator": (np.random.default_rng(1), np.random.default_rng(2)),
    "dtype": (torch.float32, torch.float64, np.dtype("f4"), np.dtype("f8")),
    "class": (nn.ReLU, nn.Tanh, nn.ReLU(), nn.Tanh(), nn.Dropout(0.1), nn.Dropout(0.2)),
    "module": (linear(0), linear(1)),
    "array": (np.arange(4), np.arange(4.0), np.arange(4).reshape(2, 2), np.arange(4)[::-1]),
    "object array": (np.array(["a", 1], dtype=object), np.array(["a", 2], dtype=object)),
    "dates": (np.array(["2020"], "M8[D]"), np.array(["2021"], "M8[D]")),
    "int64 tensor": (torch.tensor([2**24]), torch.tensor([2**24 + 1])),
    "float64 tensor": (torch.ones(1).double(), torch.ones(1).double() + 1e-12),
    "complex tensor": (torch.tensor([1j]), torch.tensor([2j]), torch.tensor([2j]).conj()),
    "sparse": tuple(scipy.sparse.csr_array(np.diag([1.0, value])) for value in (2, 3)),
    "dok": tuple(scipy.sparse.dok_array(np.diag([1.0, value])) for value in (2, 3)),
    "pandas": tuple(pd.DataFrame({name: [1, v], "b": ["x", "y"]}) for name in "ac" for v in (2, 3)),
    "polars": tuple(pl.DataFrame({name: [1, v], "b": ["x", "y"]}) for name in "ac" for v in (2, 3)),
    "series": (pd.Series([1, 2]), pd.Series([1, 3])),
    "Dataset": (Items(), Items(0), Items(99), Items(n_items=101)),
    "small Dataset": tuple(Items(at, n_items=60) for at in (None, 0, 31, 59)),
    "TensorDataset": tuple(TensorDataset(torch.arange(n)) for n in (3, 4)),
    "Subset": (Subset(Items(), [1]), Subset(Items(), [2])),
    "net": (
        make_classifier(),
        make_classifier(lr=0.1),
        make_classifier(module__n_hidden=8),
        make_classifier(optimizer__momentum=0.9),
        make_classifier(callbacks=[("lr", SGDR())]),
        make_classifier(callbacks=[("lr", SGDR(max_lr=0.1))]),
        make_classifier(callbacks=[("lr", SGDR())], callbacks__lr__max_lr=0.1),
        make_classifier(callbacks=[EpochScoring("accuracy")]),
        make_classifier(callbacks=[EpochScoring("f1")]),
        make_classifier(nn.ReLU()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_differs_has_another_fingerprint(kind):
    values = DIFFERENT[kind]
    prints = [fingerprint(value) for value in values]
    assert len(set(prints)) == len(values)
    assert [fingerprint(value) for value in values] == prints


def test_equal_things_have_equal_fingerprints(tmp_path):
    net = make_classifier(callbacks=[("lr", SGDR(max_lr=0.1))], module__n_hidden=8)
    assert fingerprint(net) == fingerprint(clone(net))
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    same = fingerprint(X_DIGITS)
    assert fingerprint(X_DIGITS.copy(order="F")) == same
    assert fingerprint(memory_map(tmp_path, X_DIGITS)) == same
    frame = pd.DataFrame(X_DIGITS)
    assert fingerprint(frame) == fingerprint(frame.copy())
    loop = [1]
    loop.append(loop)
    assert fingerprint(loop) == fingerprint(loop)


def test_big_arrays_are_read_in_slices(monkeypatch):
    whole = fingerprint(X_DIGITS), fingerprint(X_DIGITS.T), fingerprint(np.float32(X_DIGITS[0, 0]))
    monkeypatch.setattr("sklr._checkpoint._fingerprint.N_BYTES", 100)
    assert whole == (
        fingerprint(X_DIGITS),
        fingerprint(X_DIGITS.T),
        fingerprint(np.float32(X_DIGITS[0, 0])),
    )


def test_a_random_dataset_has_a_fingerprint_and_moves_no_global_state():
    state = np.random.get_state()[2]  # noqa: NPY002
    first = fingerprint(Items(noise=1))
    assert np.random.get_state()[2] == state  # noqa: NPY002
    np.random.normal()  # noqa: NPY002
    assert fingerprint(Items(noise=1)) == first


IN_ANOTHER_PROCESS = """
import sys
sys.path.insert(0, {tests!r})
import test_ensemble_files as tests
from sklr._checkpoint._fingerprint import fingerprint
for kind in sorted(tests.DIFFERENT):
    print(*[fingerprint(value) for value in tests.DIFFERENT[kind]])
"""


def test_fingerprints_are_the_same_in_every_process():
    code = IN_ANOTHER_PROCESS.format(tests=str(Path(__file__).parent))
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_the_release_of_torch_counts(monkeypatch):
    before = fingerprint(MLP)
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert fingerprint(MLP) != before
