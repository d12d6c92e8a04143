"""Names of trainings: what differs in code, parameters or data has another one."""

import functools
import importlib
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import sklearn
import skorch
import torch
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier
from sklearn.base import clone
from skorch.callbacks import EpochScoring
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

import sklr
from sklr import SGDR
from sklr._checkpoint._fingerprint import fingerprint
from sklr.data import ArrayDataset


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

    def get(self):
        return self.value

    def double(self):
        return 2 * self.value


def linear(seed):
    torch.manual_seed(seed)
    return nn.Linear(3, 2)


def memory_map(folder, array):
    np.save(folder / "array.npy", array)
    return np.load(folder / "array.npy", mmap_mode="r")


def scaled(factor):
    return lambda x: x * factor


def with_default(factor):
    def scale(x, factor=factor):
        return x * factor

    return scale


def net_of(factor):
    class Net(nn.Module):
        def forward(self, X):
            return X * factor

    return Net


def with_attribute(value):
    module = linear(0)
    module.scale = value
    return module


def with_buffer(value):
    module = linear(0)
    module.register_buffer("scale", torch.tensor(value), persistent=False)
    return module


class Shifted(skorch.dataset.Dataset):
    def __init__(self, X, y, by):
        super().__init__(X, y)
        self.by = by

    def __getitem__(self, i):
        X, y = super().__getitem__(i)
        return X + self.by, y


class Stream(IterableDataset):
    def __init__(self, at):
        self.at = at

    def __iter__(self):
        return (int(i == self.at) for i in range(12))


other = X_DIGITS.copy()
other[333, 7] += 1
DATA = [(X_DIGITS, Y_DIGITS), (other, Y_DIGITS), (X_DIGITS, None), (X_DIGITS, Y_DIGITS + 1)]

DIFFERENT = {
    "float": (0.1, 0.2),
    "type": (1, 1.0, True, "1", b"1", None),
    "nesting": ([1, [2]], [[1], 2], [1, 2], (1, 2), {1, 2}),
    "text": (["ab", "c"], ["a", "bc"]),
    "keys": ({1: 2}, {"1": 2}, {1: 3}),
    "set": ({"a"}, {"b"}, frozenset({"a"})),
    "partial": (functools.partial(max, 1), functools.partial(max, 2), functools.partial(min, 1)),
    "lambda": (lambda x: x, lambda x: x + 1, lambda x: x + 2),
    "closure": (scaled(1), scaled(2), scaled([1]), scaled([2])),
    "default": (with_default(1), with_default(2)),
    "class in a function": (net_of(1), net_of(2)),
    "its instance": (net_of(1)(), net_of(2)()),
    "method": (Slots(1).get, Slots(2).get, Slots(1).double),
    "partial of a function": tuple(functools.partial(scaled(k), x=1) for k in (1, 2)),
    "path": (Path("a"), Path("b")),
    "range": (range(1), range(2)),
    "slots": (Slots(1), Slots(2)),
    "random": (np.random.RandomState(1), np.random.RandomState(2)),
    "generator": (torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)),
    "numpy generator": (np.random.default_rng(1), np.random.default_rng(2)),
    "dtype": (torch.float32, torch.float64, np.dtype("f4"), np.dtype("f8")),
    "class": (nn.ReLU, nn.Tanh, nn.ReLU(), nn.Tanh(), nn.Dropout(0.1), nn.Dropout(0.2)),
    "module": (linear(0), linear(1)),
    "attribute of a module": tuple(with_attribute(value) for value in (1, 2, "2", [1])),
    "buffer of a module": tuple(with_buffer(value) for value in (1.0, 2.0)),
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
    "Dataset": (*(Items(at, 1000) for at in (None, 0, 101, 777, 999)), Items(n_items=1001)),
    "skorch's Dataset": tuple(skorch.dataset.Dataset(*data) for data in DATA),
    "a subclass of it": tuple(Shifted(X_DIGITS, Y_DIGITS, by=by) for by in (0, 1)),
    "ArrayDataset": tuple(ArrayDataset(*data) for data in DATA),
    "IterableDataset": (Stream(None), Stream(3), Stream(11)),
    "ConcatDataset": tuple(ConcatDataset([Items(), Items(at, 1000)]) for at in (None, 0, 777)),
    "TensorDataset": tuple(TensorDataset(torch.arange(n)) for n in (3, 4)),
    "Subset": (Subset(Items(), [1]), Subset(Items(), [2]), Subset(Items(77), [1])),
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


def test_another_version_of_a_package_is_another_training(monkeypatch):
    seen = {fingerprint(MLP)}
    for package in (np, sklearn, skorch, sklr, torch):
        monkeypatch.setattr(package, "__version__", "0.0")
        seen.add(fingerprint(MLP))
    assert len(seen) == 6


# --- code ---

BLOCKS = """
from scaling import FACTOR
from . import deeper

def scaled(X):
    return X * FACTOR
"""
CODE = """
import functools
import torch
from package.blocks import scaled
import tables as t

WIDTH = 16

def helper(X):
    return X + 1

class Base(torch.nn.Module):
    def forward(self, X):
        return self.step(helper(X))

class Net(Base):
    def step(self, X):
        return scaled(X) * t.TABLE["a"] + len(str(WIDTH))

    @property
    def doubled(self):
        return 2

    @staticmethod
    def plain():
        return 3

def weigh(X):
    return helper(X)

def make(value):
    def inner(X):
        return X + value
    return inner

closure = make(1)
partial = functools.partial(weigh, X=1)
twice = lambda X: 2 * X
"""
FILES = {
    "edited.py": CODE,
    "package/__init__.py": "",
    "package/blocks.py": BLOCKS,
    "package/deeper.py": "D = 1",
    "scaling.py": "FACTOR = 2",
    "tables.py": "TABLE = {'a': 1}",
}
EDITS = {
    "method": ("edited.py", "scaled(X) *", "scaled(-X) *"),
    "base class": ("edited.py", "self.step(helper", "-self.step(helper"),
    "helper": ("edited.py", "X + 1", "X + 2"),
    "constant": ("edited.py", "WIDTH = 16", "WIDTH = 160"),
    "property": ("edited.py", "return 2", "return 4"),
    "staticmethod": ("edited.py", "return 3", "return 4"),
    "helper in another file": ("package/blocks.py", "X * FACTOR", "X / FACTOR"),
    "constant in a third file": ("scaling.py", "2", "3"),
    "module of a package": ("package/deeper.py", "1", "2"),
    "module under another name": ("tables.py", "1", "2"),
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Files of a user's, imported."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "package").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    yield tmp_path
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."), None)


def imported():
    for name in ("scaling", "tables", "package.deeper", "package.blocks", "package", "edited"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    return importlib.import_module("edited")


def edit(folder, name, old, new):
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


USES = {
    "class": lambda m: m.Net,
    "instance": lambda m: m.Net(),
    "net": lambda m: make_classifier(m.Net),
    "parameter": lambda m: {"a": [m.weigh]},
    "closure": lambda m: m.closure,
    "partial": lambda m: m.partial,
    "lambda": lambda m: m.twice,
    "method": lambda m: m.Net().step,
}


@pytest.mark.parametrize(
    ("what", "use"), [*((what, "net") for what in EDITS), *(("method", use) for use in USES)]
)
def test_edited_code_is_another_training(what, use, project):
    before = fingerprint(USES[use](imported()))
    assert fingerprint(USES[use](imported())) == before
    edit(project, *EDITS[what])
    assert fingerprint(USES[use](imported())) != before


def test_a_base_class_of_the_users_own_in_a_callback_counts(project):
    (project / "base.py").write_text("class Base:\n    factor = 1\n")
    text = "import base, skorch\nclass Own(base.Base, skorch.callbacks.Callback):\n    pass\n"
    (project / "edited.py").write_text(text)
    before = fingerprint(imported().Own())
    edit(project, "base.py", "1", "2")
    sys.modules.pop("base")
    assert fingerprint(imported().Own()) != before
    sys.modules.pop("base")


def test_a_file_that_was_edited_but_not_imported_anew_is_no_other_files(project):
    """The code that runs counts: a later process, which imports the new file, must not go on."""
    module = imported()
    edit(project, *EDITS["method"])
    stale = fingerprint(module.Net)
    assert fingerprint(imported().Net) != stale


def test_a_method_that_was_replaced_counts(project, monkeypatch):
    module = imported()
    before = fingerprint(module.Net)
    monkeypatch.setattr(module.Net, "step", lambda self, X: X)
    assert fingerprint(module.Net) != before


def typed(text):
    """Return what a prompt defines, for which there is no file."""
    module = types.ModuleType("typed")
    exec(compile(text, "<typed>", "exec"), vars(module))
    return module


def test_code_without_a_file_counts_with_the_helpers_that_it_names():
    text = "def helper(X):\n    return X + 1\n"
    text += "class Net:\n    def forward(self, X):\n        return helper(X)\n"
    first = fingerprint(typed(text).Net)
    assert fingerprint(typed(text).Net) == first
    assert fingerprint(typed(text.replace("+ 1", "+ 2")).Net) != first
    assert fingerprint(typed(text.replace("helper(X)\n", "-helper(X)\n")).Net) != first


def test_code_that_is_not_the_nets_does_not_count(project):
    before = fingerprint(imported().Net)
    (project / "script.py").write_text("from edited import Net\n")
    edit(project, "package/__init__.py", "", "")
    assert fingerprint(imported().Net) == before


IN_ANOTHER_PROCESS = """
import sys
sys.path.insert(0, {tests!r})
import test_checkpoint_fingerprint as tests
from sklr._checkpoint._fingerprint import fingerprint
print(fingerprint(tests.make_classifier().get_params(deep=False), tests.X_DIGITS, 3))
for kind in sorted(tests.DIFFERENT):
    print(*[fingerprint(value) for value in tests.DIFFERENT[kind]])
"""


def test_fingerprints_are_the_same_in_every_process():
    code = IN_ANOTHER_PROCESS.format(tests=str(Path(__file__).parent))
    seen = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert seen[0] == seen[1]
    assert len(seen[0].splitlines()) == 1 + len(DIFFERENT)
