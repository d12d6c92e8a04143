"""Measure what a snapshot ensemble costs: python benchmarks/bench_ensemble_speed.py [--quick].

Time and memory of its prediction, and time of its fit, each beside rivals in the same run. The data
is random, since speed does not depend on it. torch runs on one thread throughout.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Data
from models import cnn, mlp
from report import Claim, Report, Table, summary
from sklearn.ensemble import VotingClassifier
from skorch import NeuralNetClassifier
from timing import Spread, interleave, ratios, seconds
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sklr import SnapshotCosine, SnapshotEnsemble
from sklr.data import ArrayDataset

RESULTS = Path(__file__).with_name("results_ensemble_speed.md")
N_MEMBERS = 5
N_CLASSES = 10
BATCH_SIZE = 128
BIG_SLICE = 2_048
SMALL_SLICE = 256

MOST_OF_BARE = 1.25
LEAST_OF_VOTING_PREDICTION = 10
MOST_OF_MEMBER_MEMORY = 1.1
MOST_OF_SINGLE_FIT = 1.05
LEAST_OF_VOTING_FIT = 4.5

OURS = f"SnapshotEnsemble, {N_MEMBERS} members"
BARE = f"bare torch loop over {N_MEMBERS} modules, slices of {BIG_SLICE:,} rows"
SMALL_BARE = f"bare torch loop over {N_MEMBERS} modules, slices of {SMALL_SLICE:,} rows"
VOTING = f"VotingClassifier of {N_MEMBERS} skorch nets"
SINGLE = "one net, no schedule, ArrayDataset"
VOTING_FIT = f"VotingClassifier of {N_MEMBERS} such nets"
TORCHENSEMBLE = "torchensemble's SnapshotEnsembleClassifier, DataLoader"
MEMBER = "one member's predict_proba"


@dataclass(frozen=True)
class Model:
    """A module, its number of features, and how many samples are predicted."""

    module: Callable[[], nn.Module]
    n_features: int
    n_samples: int
    bound_of_voting: float | None = None

    def data(self, n_samples: int) -> Data:
        rng = np.random.default_rng(0)
        X = rng.random((n_samples, self.n_features), dtype=np.float32)
        return X, rng.integers(0, N_CLASSES, n_samples)

    def net(self, **params: Any) -> NeuralNetClassifier:
        defaults = {"criterion": nn.CrossEntropyLoss, "lr": 0.01, "max_epochs": N_MEMBERS}
        defaults |= {"batch_size": BATCH_SIZE, "train_split": None, "verbose": 0}
        return NeuralNetClassifier(self.module, **(defaults | params))

    def ensemble(self, **params: Any) -> SnapshotEnsemble:
        cycles = SnapshotCosine(n_cycles=N_MEMBERS)
        return SnapshotEnsemble(self.net(**params), schedule=cycles, random_state=0)

    def voting(self, **params: Any) -> VotingClassifier:
        nets = [(f"net_{i + 1}", self.net(**params)) for i in range(N_MEMBERS)]
        return VotingClassifier(nets, voting="soft")


SMALL_MLP = "64-64-10 MLP"
MLP = "784-256-10 MLP"
CNN = "CNN, 28 x 28 pixels"
MODELS = {
    SMALL_MLP: Model(partial(mlp, (64, 64, N_CLASSES)), 64, 20_000, LEAST_OF_VOTING_PREDICTION),
    MLP: Model(partial(mlp, (784, 256, N_CLASSES)), 784, 20_000, LEAST_OF_VOTING_PREDICTION),
    CNN: Model(partial(cnn, 28, 8, N_CLASSES), 784, 10_000),
}


def measure(quick: bool = False) -> list[Report]:
    return [_prediction(quick), _memory(quick), _fit(quick)]


def _prediction(quick: bool) -> Report:
    rounds = 2 if quick else 9
    rows: list[tuple[object, ...]] = []
    claims = []
    for name, model in MODELS.items():
        n_samples = model.n_samples // 40 if quick else model.n_samples
        times = _prediction_times(model, n_samples, rounds)
        rows += _rows(f"{name}, {n_samples:,} rows", times, 1e-3)
        what = f"predict_proba, {name}"
        claims.append(_at_most(what, BARE, MOST_OF_BARE, times))
        if model.bound_of_voting is not None:
            claims.append(_faster(what, VOTING, model.bound_of_voting, times))
    notes = [
        f"Claim: {N_MEMBERS} members predict in at most {MOST_OF_BARE}x the time of a bare loop "
        f"over big slices, and an MLP's at least {LEAST_OF_VOTING_PREDICTION}x faster than "
        "VotingClassifier.",
        f"The bare loops take the members' own modules, softmax and mean included; slices of "
        f"{SMALL_SLICE} rows, which stay in the processor's caches, are shown beside the big ones. "
        f"VotingClassifier has nets with skorch's own Dataset and batches of {BATCH_SIZE}.",
        "The ensemble gets a float32 array; validating it counts.",
        _rounds_note(rounds),
    ]
    header = ("data", "way", "ms", "x ours")
    return Report("Prediction: time", notes, [Table(header, rows)], claims)


def _prediction_times(model: Model, n_samples: int, rounds: int) -> dict[str, list[float]]:
    X, _ = model.data(n_samples)
    ensemble = model.ensemble().fit(*model.data(BATCH_SIZE))
    voting = model.voting(max_epochs=1).fit(*model.data(BATCH_SIZE))
    modules = [member.module_ for member in ensemble.estimators_]
    tensor = torch.from_numpy(X)
    np.testing.assert_allclose(
        ensemble.predict_proba(X), _bare(modules, tensor, BIG_SLICE), rtol=1e-4
    )
    ways = {
        OURS: lambda: ensemble.predict_proba(X),
        BARE: lambda: _bare(modules, tensor, BIG_SLICE),
        SMALL_BARE: lambda: _bare(modules, tensor, SMALL_SLICE),
        VOTING: lambda: voting.predict_proba(X),
    }
    return interleave({name: partial(seconds, way) for name, way in ways.items()}, rounds)


def _bare(modules: list[nn.Module], X: torch.Tensor, n_rows: int) -> np.ndarray:
    with torch.no_grad():
        probas = [
            torch.cat([module(rows).softmax(dim=1) for rows in X.split(n_rows)])
            for module in modules
        ]
        return torch.stack(probas).mean(dim=0).numpy()


def _memory(quick: bool) -> Report:
    rounds = 1 if quick else 5
    rows: list[tuple[object, ...]] = []
    claims = []
    for name in MODELS:
        extra = {
            way: [_extra_memory(name, way, quick) for _ in range(rounds)] for way in (OURS, MEMBER)
        }
        rows += _rows(name, extra, 2**20)
        what = f"extra peak memory, {name}"
        claims.append(_at_most(what, MEMBER, MOST_OF_MEMBER_MEMORY, extra, unit="its memory"))
    notes = [
        f"Claim: predict_proba of {N_MEMBERS} members needs at most {MOST_OF_MEMBER_MEMORY}x the "
        "extra memory of one member's, which skorch feeds by batches.",
        "Extra memory is the highest resident size of the process during the call, over its size "
        "right before; members and data are loaded, and a prediction of few rows was made. Linux "
        "keeps that high-water mark (VmHWM, set back by /proc/self/clear_refs): all allocators "
        "count, and nothing is sampled. Each measurement has a process of its own.",
        f"Processes: {rounds} a way. Median (lowest-highest).",
    ]
    header = ("data", "way", "MiB", "x ours")
    return Report("Prediction: memory", notes, [Table(header, rows)], claims)


def _extra_memory(name: str, way: str, quick: bool) -> float:
    """Measure in a fresh process, whose heap holds no freed memory to reuse."""
    command = [sys.executable, *(f"-W{option}" for option in sys.warnoptions), __file__]
    command += ["--measure-memory", name, way, *(["--quick"] if quick else [])]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _print_extra_memory(name: str, way: str, quick: bool) -> None:
    model = MODELS[name]
    ensemble = model.ensemble().fit(*model.data(BATCH_SIZE))
    X, _ = model.data(model.n_samples // 40 if quick else model.n_samples)
    predict = (ensemble if way == OURS else ensemble.estimators_[0]).predict_proba
    predict(X[:10])
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    resting = _status("VmRSS")
    predict(X)
    print(_status("VmHWM") - resting)


def _status(field: str) -> int:
    """Return a field of the process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _fit(quick: bool) -> Report:
    rounds, n_samples, n_epochs = (2, 500, 5) if quick else (9, 5_000, 10)
    model = MODELS[MLP]
    data = model.data(n_samples)
    params = {"dataset": ArrayDataset, "max_epochs": n_epochs}
    ways: dict[str, Callable[[], object]] = {
        OURS: lambda: model.ensemble(**params).fit(*data),
        SINGLE: lambda: model.net(**params).fit(*data),
        VOTING_FIT: lambda: model.voting(**params).fit(*data),
    }
    if find_spec("torchensemble") is not None:
        ways[TORCHENSEMBLE] = lambda: _fit_torchensemble(model, data, n_epochs)
    times = interleave({name: partial(seconds, way) for name, way in ways.items()}, rounds)
    what = f"fit, {MLP}"
    claims = [
        _at_most(what, SINGLE, MOST_OF_SINGLE_FIT, times),
        _faster(what, VOTING_FIT, LEAST_OF_VOTING_FIT, times),
        _faster(what, TORCHENSEMBLE, 1, times)
        if TORCHENSEMBLE in times
        else Claim(what, TORCHENSEMBLE, "faster", "not installed", False),
    ]
    notes = [
        f"Claim: a fit that gives {N_MEMBERS} members takes at most {MOST_OF_SINGLE_FIT}x the time "
        f"of the single net, is at least {LEAST_OF_VOTING_FIT}x faster than VotingClassifier, and "
        "faster than torchensemble.",
        f"{n_samples:,} rows, {n_epochs} epochs, batch size {BATCH_SIZE}, plain SGD, no validation "
        "split, nothing printed. All skorch nets fetch whole batches; the single net has no "
        "schedule at all. torchensemble 0.2.0 gets torch's DataLoader, and saves nothing; "
        "`pip install --no-deps torchensemble==0.2.0` installs it.",
        _rounds_note(rounds),
    ]
    header = ("data", "way", "s", "x ours")
    rows = _rows(f"{MLP}, {n_samples:,} rows", times, 1)
    return Report("Fit: time", notes, [Table(header, rows)], claims)


class _Module(nn.Module):
    """The module as a class, from which torchensemble makes its modules."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.module = make()

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.module(X)


def _fit_torchensemble(model: Model, data: Data, n_epochs: int) -> None:
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        from torchensemble import SnapshotEnsembleClassifier

        ensemble = SnapshotEnsembleClassifier(
            estimator=_Module,
            estimator_args={"make": model.module},
            n_estimators=N_MEMBERS,
            cuda=False,
        )
        ensemble.set_optimizer("SGD", lr=0.01)
        loader = DataLoader(TensorDataset(*map(torch.from_numpy, data)), batch_size=BATCH_SIZE)
        ensemble.fit(loader, epochs=n_epochs, save_model=False)


Measured = Mapping[str, list[float]]


def _rows(data: str, measured: Measured, unit: float) -> list[tuple[object, ...]]:
    return [
        (data, way, Spread.of(values, unit), ratios(values, measured[OURS]))
        for way, values in measured.items()
    ]


def _at_most(
    what: str, rival: str, bound: float, measured: Measured, unit: str = "its time"
) -> Claim:
    ratio = ratios(measured[OURS], measured[rival]).median
    return Claim(what, rival, f"at most {bound}x {unit}", f"{ratio:.2f}x", ratio <= bound)


def _faster(what: str, rival: str, bound: float, times: Measured) -> Claim:
    ratio = ratios(times[rival], times[OURS]).median
    to_reach = "faster" if bound == 1 else f"at least {bound}x faster"
    return Claim(what, rival, to_reach, f"{ratio:.2f}x faster", ratio >= bound)


def _rounds_note(rounds: int) -> str:
    return (
        f"Rounds: {rounds}, interleaved, after one that is dropped. Median (lowest-highest); "
        "ratios are taken round by round."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few rows and rounds: shows that all runs, not how fast",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help=f"file to write, by default {RESULTS.name} beside this script for a full run and "
        "none with --quick",
    )
    parser.add_argument("--measure-memory", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if arguments.measure_memory is not None:
        _print_extra_memory(*arguments.measure_memory, arguments.quick)
        return
    output = arguments.output or (None if arguments.quick else RESULTS)
    reports = measure(arguments.quick)
    claims = [claim for report in reports for claim in report.claims]
    text = "\n\n".join(["# What a snapshot ensemble costs", *map(str, reports), summary(claims)])
    print(text)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
