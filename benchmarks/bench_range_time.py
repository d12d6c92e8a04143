"""Measure how long range tests take: python benchmarks/bench_range_time.py [--quick].

One ramp of 100 steps, beside a bare torch loop and torch-lr-finder; 8 ramps on two processes,
beside one. torch runs on one thread throughout.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Data, digits
from joblib import parallel_config
from joblib.externals.loky import get_reusable_executor
from models import mlp
from report import Claim, Report, Table, summary
from skorch import NeuralNetClassifier
from timing import Spread, interleave, ratios, seconds
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sklr import LRRangeSearch
from sklr.callbacks import LRFinder
from sklr.data import ArrayDataset

with warnings.catch_warnings():
    # tqdm warns of its notebook form, which torch-lr-finder imports.
    warnings.simplefilter("ignore")
    import torch_lr_finder

RESULTS = Path(__file__).with_name("results_range_time.md")
N_STEPS = 100
START, END = 1e-7, 0.1
"""No net here diverges before the last rate, so that every ramp has all its steps."""
AMPLE = 1e6
"""A budget that does not limit the ramps."""

BARE = "bare torch loop, tensor slices"
RIVAL = "torch-lr-finder, DataLoader"
CALLBACK = "net.fit with LRFinder, ArrayDataset"
SEARCH = "LRRangeSearch, one ramp, no trials"
OURS = (CALLBACK, SEARCH)
ONE = "n_jobs=1"
TWO = "n_jobs=2"
WARM = "n_jobs=2, processes running already"
MOST_OF_BARE = 1.3
LEAST_OF_SERIAL = 1.5
LEAST_SECONDS = 2.0


class Case(NamedTuple):
    """A net and its training data."""

    name: str
    sizes: tuple[int, ...]
    batch_size: int
    data: Data


def random_data(n: int, n_features: int) -> Data:
    """Make rows of ten classes without a pattern."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, n_features), dtype=np.float32)
    return X, rng.integers(10, size=n)


def net(case: Case, **params: Any) -> NeuralNetClassifier:
    """Return a net that trains on all its data, with plain SGD."""
    return NeuralNetClassifier(
        mlp,
        module__sizes=case.sizes,
        criterion=nn.CrossEntropyLoss,
        lr=START,
        batch_size=case.batch_size,
        max_epochs=N_STEPS,
        train_split=None,
        iterator_train__shuffle=True,
        callbacks__print_log=None,
        verbose=0,
        **params,
    )


def bare_ramp(case: Case) -> list[float]:
    """Run a ramp in a bare loop that only keeps the losses."""
    X, y = map(torch.from_numpy, case.data)
    module = mlp(case.sizes)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(module.parameters(), lr=START)
    losses: list[float] = []
    while True:
        for rows in torch.randperm(len(X)).split(case.batch_size):
            optimizer.param_groups[0]["lr"] = START * (END / START) ** (len(losses) / (N_STEPS - 1))
            optimizer.zero_grad()
            loss = criterion(module(X[rows]), y[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == N_STEPS:
                return losses


def rival_ramp(case: Case) -> list[float]:
    """Run torch-lr-finder's ramp, its progress bar written to memory."""
    module = mlp(case.sizes)
    optimizer = torch.optim.SGD(module.parameters(), lr=START)
    data = TensorDataset(*map(torch.from_numpy, case.data))
    loader = DataLoader(data, case.batch_size, shuffle=True)
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        finder = torch_lr_finder.LRFinder(module, optimizer, nn.CrossEntropyLoss())
        finder.range_test(loader, end_lr=END, num_iter=N_STEPS)
    return finder.history["loss"]


def callback_ramp(case: Case) -> list[float]:
    """Run a ramp in a net's own fit."""
    finder = LRFinder(min_lr=START, max_lr=END, n_steps=N_STEPS)
    fitted = net(case, dataset=ArrayDataset, callbacks=[("finder", finder)]).fit(*case.data)
    return dict(fitted.callbacks_)["finder"].losses_


def search(case: Case, n_repeats: int, n_jobs: int = 1) -> LRRangeSearch:
    """Run a search without trials; the net has skorch's own Dataset."""
    return LRRangeSearch(
        net(case),
        min_lr=START,
        max_lr=END,
        n_steps=N_STEPS,
        n_repeats=n_repeats,
        extend=False,
        verify=False,
        budget=AMPLE,
        n_jobs=n_jobs,
        random_state=0,
    ).fit(*case.data)


def search_ramp(case: Case) -> list[float]:
    """Run a whole search of one ramp."""
    return list(search(case, 1).results_["loss"])


RAMPS: dict[str, Callable[[Case], list[float]]] = {
    BARE: bare_ramp,
    CALLBACK: callback_ramp,
    SEARCH: search_ramp,
    RIVAL: rival_ramp,
}


def check_lengths(case: Case) -> None:
    """Raise if the ramps are not all of the same length."""
    lengths = {name: len(ramp(case)) for name, ramp in RAMPS.items()}
    if set(lengths.values()) != {N_STEPS}:
        raise RuntimeError(f"Every ramp must have {N_STEPS} steps. Got {lengths}.")


def measure_ramps(case: Case, rounds: int) -> tuple[list[tuple[object, ...]], list[Claim]]:
    """Time one ramp of every kind."""
    check_lengths(case)
    timed = {name: partial(seconds, partial(ramp, case)) for name, ramp in RAMPS.items()}
    times = interleave(timed, rounds)
    rows = [
        (
            case.name,
            name,
            Spread.of(values, unit=1e-3),
            ratios(values, times[BARE]),
            ratios(values, times[RIVAL]),
        )
        for name, values in times.items()
    ]
    claims = []
    for name in OURS:
        of_bare = ratios(times[name], times[BARE]).median
        of_rival = ratios(times[name], times[RIVAL]).median
        what = f"one ramp, {case.name}: {name}"
        claims += [
            Claim(
                what,
                BARE,
                f"at most {MOST_OF_BARE}x its time",
                f"{of_bare:.2f}x",
                of_bare <= MOST_OF_BARE,
            ),
            Claim(what, RIVAL, "faster", f"{of_rival:.2f}x its time", of_rival < 1),
        ]
    return rows, claims


def measure_jobs(
    case: Case, n_repeats: int, rounds: int
) -> tuple[list[tuple[object, ...]], list[Claim]]:
    """Time a search on one process and on two."""

    def wall(n_jobs: int, anew: bool = False) -> float:
        if anew:
            get_reusable_executor().shutdown(wait=True)
        with parallel_config(backend="loky", inner_max_num_threads=1):
            return seconds(lambda: search(case, n_repeats, n_jobs), clock=perf_counter)

    # In this order: the last finds the processes that the one before it has started.
    ways = {ONE: partial(wall, 1), TWO: partial(wall, 2, anew=True), WARM: partial(wall, 2)}
    times = interleave(ways, rounds)
    rows = [(name, Spread.of(values), ratios(times[ONE], values)) for name, values in times.items()]
    a_repeat = median(times[ONE]) / n_repeats
    faster = ratios(times[ONE], times[TWO]).median
    claim = Claim(
        f"{n_repeats} ramps at n_jobs=2, {case.name}",
        ONE,
        f"at least {LEAST_OF_SERIAL}x faster, with over {LEAST_SECONDS:.0f} s a ramp",
        f"{faster:.2f}x, with {a_repeat:.1f} s a ramp",
        faster >= LEAST_OF_SERIAL and a_repeat > LEAST_SECONDS,
    )
    return rows, [claim]


def measure(quick: bool = False) -> list[Report]:
    """Measure both parts."""
    ramp_rounds, job_rounds, n_repeats = (3, 1, 2) if quick else (25, 3, 8)
    cases = [
        Case("64-64-10 MLP", (64, 64, 10), 64, digits()),
        Case("784-256-10 MLP", (784, 256, 10), 64, random_data(6_400, 784)),
    ]
    ramps = [measure_ramps(case, ramp_rounds) for case in cases]
    ramp_notes = [
        f"A ramp of {N_STEPS} steps, batch size 64, plain SGD; the 64-64-10 MLP on digits, the "
        "784-256-10 MLP on 6,400 random rows. Making the net counts on all sides.",
        "Rivals: a bare torch loop over slices of shuffled tensors that sets the rate and keeps "
        "the loss of each step; the installed torch-lr-finder's `range_test` on a DataLoader, its "
        "progress bar written to memory.",
        "`net.fit` keeps skorch's default callbacks but for the printed log; `LRRangeSearch` "
        "is timed whole, and gets a net with skorch's own Dataset.",
        f"Processor times. Rounds: {ramp_rounds}, interleaved, after one that is dropped. Median "
        "(lowest-highest); ratios are taken round by round.",
    ]
    ramp_header = ("net", "way", "ms a ramp", "x bare loop", "x torch-lr-finder")
    sizes = (784, 256, 10) if quick else (784, 1024, 1024, 10)
    big = Case(f"{'-'.join(map(str, sizes))} MLP", sizes, 256, random_data(6_400, 784))
    job_rows, job_claims = measure_jobs(big, n_repeats, job_rounds)
    job_notes = [
        f"`LRRangeSearch` of {n_repeats} ramps of {N_STEPS} steps without trials, a {big.name}, "
        "batch size 256, 6,400 random rows, one torch thread a process.",
        "Wall times. The two processes start anew in every round, which counts, with their "
        "imports, but in the row that says otherwise.",
        f"Rounds: {job_rounds}, interleaved, after one that is dropped.",
    ]
    return [
        Report(
            "Time of one ramp",
            ramp_notes,
            [Table(ramp_header, [row for rows, _ in ramps for row in rows])],
            [claim for _, claims in ramps for claim in claims],
        ),
        Report(
            "Ramps on two processes",
            job_notes,
            [Table(("way", "seconds", "x faster than n_jobs=1"), job_rows)],
            job_claims,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few rounds and a small net: shows that all runs, not how fast",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help=f"file to write, by default {RESULTS.name} beside this script for a full run and "
        "none with --quick",
    )
    arguments = parser.parse_args()
    output = arguments.output or (None if arguments.quick else RESULTS)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    reports = measure(arguments.quick)
    claims = [claim for report in reports for claim in report.claims]
    text = "\n\n".join(["# How long range tests take", *map(str, reports), summary(claims)])
    print(text)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
