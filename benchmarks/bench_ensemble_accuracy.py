"""Measure what ensembles gain at equal budget: bench_ensemble_accuracy.py [--choose].

With --choose, recipes are trained from seeds of their own and compared on the validation part: the
table by which `DEFAULT` and `STATED` are chosen. Without it, from other seeds, the test part is
read. Every recipe trains as many epochs as the single net, at the rate that `LRRangeSearch`
suggests for the single cosine net; only the ceiling costs three times that. torch runs on one
thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ensemble_tasks import TASKS, Task
from numpy.typing import NDArray
from report import Claim, Report, Table, summary

from sklr import LRRangeSearch, SnapshotEnsemble, schedules
from sklr.callbacks import SGDR, CosineDecay, FastGeometric, Schedule, SnapshotCosine, StepDecay

RESULTS = Path(__file__).with_name("results_ensemble_accuracy.md")
CHOICE = Path(__file__).with_name("results_ensemble_choice.md")
SEEDS = (0, 1, 2, 3, 4)
TUNING_SEEDS = (100, 101)
"""Seeds of --choose: none of those reported."""
N_BINS = 15
N_DRAWS = 10_000

MOST_WORSE = 1.02
LEAST_BETTER = 0.92
WORTH_WINNING = 0.05
SHARE = 0.5

STEP = "single, step decay"
COSINE = "single, cosine"
CEILING = "3 cosine nets, 3x the cost"
SNAPSHOTS = "snapshots, M=5"
LENGTHENING = "SGDR 1:2:4"
FGE = "FGE"
HALF = "FGE, half pre-training"
LENGTHENING_GREEDY = "SGDR 1:2:4, greedy weights"
GREEDY = "FGE, greedy weights"
SWA = "FGE, SWA"
RESTARTS = "long cosine, 4 short restarts"
SPLIT = "3 cosine nets of a third each"

Array = NDArray[np.float64]


class Scores(NamedTuple):
    error: float
    log_loss: float
    ece: float


@dataclass(frozen=True)
class Fit:
    """A fit of an ensemble, and the ways in which its members are combined.

    Attributes
    ----------
    ways : dict
        By name, a function from the members' probabilities, of shape (members, samples, classes),
        and the ensemble's weights to its probabilities.
    schedule : callable
        Returns the callback for a task and a rate.
    params : dict
        Further parameters of the ensemble.
    share : int
        Number of trainings that share the budget.
    """

    ways: Mapping[str, Callable[[Array, Array], Array]]
    schedule: Callable[[Task, float], Any]
    params: Mapping[str, Any]
    share: int = 1


def _mean(members: Array, weights: Array) -> Array:
    return members.mean(axis=0)


def _first(members: Array, weights: Array) -> Array:
    return members[0]


def _weighted(members: Array, weights: Array) -> Array:
    return np.average(members, axis=0, weights=weights)


def _restarts(task: Task, lr: float, long: float = 0.6, n_short: int = 4) -> Schedule:
    """Return a composition of one long fall and short ones from half the peak."""
    n_steps = task.n_steps
    begin = round(long * n_steps)
    fall = schedules.CosineDecay(min_lr=0.0, max_lr=lr, n_steps=begin)
    short = schedules.SGDR(max_lr=lr / 2, cycle_length=(n_steps - begin) / n_short)
    return Schedule(schedules.join([fall, short], [begin]))


def _fit(name: str, callback: Any, share: int = 1, **params: Any) -> Fit:
    return Fit({name: _mean}, lambda task, lr: callback, params, share)


BASELINES = (
    _fit(STEP, StepDecay()),
    Fit({COSINE: _first, CEILING: _mean}, lambda task, lr: CosineDecay(), {"n_runs": 3}),
)
REPORTED = (
    _fit(SNAPSHOTS, SnapshotCosine(n_cycles=5)),
    Fit(
        {LENGTHENING: _mean, LENGTHENING_GREEDY: _weighted},
        lambda task, lr: SGDR(unit="fraction", cycle_length=1 / 7, cycle_mult=2),
        {"weights": "greedy"},
    ),
    Fit(
        {FGE: _mean, GREEDY: _weighted},
        lambda task, lr: FastGeometric(),
        {"weights": "greedy"},
    ),
    _fit(HALF, FastGeometric(pretrain_fraction=0.5)),
    _fit(SWA, FastGeometric(), combine="parameters"),
    Fit({RESTARTS: _mean}, _restarts, {}),
    _fit(SPLIT, CosineDecay(), share=3, n_runs=3),
)
CANDIDATES = (
    *(fit for fit in REPORTED if SWA not in fit.ways),
    _fit("snapshots, M=3", SnapshotCosine(n_cycles=3)),
    _fit("snapshots, M=8", SnapshotCosine(n_cycles=8)),
    _fit("SGDR 1:2:4:8", SGDR(unit="fraction", cycle_length=1 / 15, cycle_mult=2)),
    _fit("SGDR times 1.5, M=5", SGDR(unit="fraction", cycle_length=16 / 211, cycle_mult=1.5)),
    _fit("FGE, 0.65", FastGeometric(pretrain_fraction=0.65)),
    _fit("FGE, 0.5, n_cycles=10", FastGeometric(pretrain_fraction=0.5, n_cycles=10)),
)

DEFAULT = HALF
"""By --choose (results_ensemble_choice.md), over all pairs: of the recipes that train once, learn
nothing from validation data, are not worse than the single cosine net by over 2% (95% interval) and
have a lower log-loss and ECE than it, the one of least error. It is what `schedule=None` does."""
STATED = SPLIT
"""By the same table: of all recipes the one of least error over the pairs whose trainings are not
short. It is recommended for such trainings, if a third of their epochs is nearly enough."""


def scores(proba: Array, y: NDArray[np.int64], noise: float = 0.0) -> Scores:
    """Return error, log-loss, and expected calibration error over 15 even bins of confidence.

    Parameters
    ----------
    proba : array of shape (n_samples, n_classes)
        The probabilities.
    y : array of shape (n_samples,)
        The true labels, which the error is measured on.
    noise : float, default=0.0
        Fraction of the training labels that are wrong. A net learns to expect them, so its
        probabilities are compared with labels that are wrong as often: log-loss and calibration
        are their expected values over such labels.
    """
    odds = np.full_like(proba, noise / (proba.shape[1] - 1))
    odds[np.arange(len(y)), y] = 1 - noise
    chosen = proba.argmax(axis=1)
    confidence, right = proba.max(axis=1), odds[np.arange(len(y)), chosen]
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    gaps = [abs(confidence[bins == b].sum() - right[bins == b].sum()) for b in range(N_BINS)]
    log_loss = -(odds * np.log(np.maximum(proba, 1e-12))).sum(axis=1).mean()
    return Scores(float((chosen != y).mean()), float(log_loss), float(sum(gaps) / len(y)))


def _identity(task: Task) -> tuple[str, ...]:
    return task.name, str(task.max_epochs), str(task.batch_size)


class Runs:
    """Fits and scores, each run once; with a file, once over several runs of the script."""

    def __init__(self, data_dir: Path | None, cache: Path | None, on_test: bool) -> None:
        self.data_dir, self.cache = data_dir, cache
        self.part = "test" if on_test else "valid"
        self.known: dict[tuple[str, ...], Any] = {}
        if cache is not None and cache.is_file():
            for line in cache.read_text(encoding="utf-8").splitlines():
                key, value = json.loads(line)
                self.known[tuple(key)] = value

    def _keep(self, key: tuple[str, ...], value: Any) -> None:
        self.known[key] = value
        if self.cache is not None:
            with self.cache.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, value]) + "\n")

    def rate(self, task: Task) -> float:
        """Return the rate that a search on the training part suggests for the single cosine net."""
        key = ("rate", *_identity(task))
        if key not in self.known:
            parts = task.parts(self.data_dir)
            search = LRRangeSearch(task.net(), random_state=0).fit(parts.X_train, parts.y_train)
            self._keep(key, search.suggest().lr)
        return float(self.known[key])

    def scores(self, task: Task, fit: Fit, seed: int) -> dict[str, Scores]:
        """Train, and return the scores of each way of combining the members."""
        keys = {
            way: (self.part, *_identity(task), way, repr(fit.schedule(task, 1.0)), str(seed))
            for way in fit.ways
        }
        if not all(key in self.known for key in keys.values()):
            for way, value in self._scored(task, fit, seed).items():
                self._keep(keys[way], value)
        return {way: Scores(*self.known[key]) for way, key in keys.items()}

    def _scored(self, task: Task, fit: Fit, seed: int) -> dict[str, Scores]:
        parts, lr = task.parts(self.data_dir), self.rate(task)
        X, y = getattr(parts, f"X_{self.part}"), getattr(parts, f"y_{self.part}")
        net = task.net(
            lr=lr,
            max_epochs=task.max_epochs // fit.share,
            callbacks=[("lr", fit.schedule(task, lr))],
        )
        ensemble = SnapshotEnsemble(net, flatten_transform=False, random_state=seed, **fit.params)
        with warnings.catch_warnings():
            # What averages and weak members cost is in the figures.
            warnings.filterwarnings("ignore", message="The averaged weights have")
            warnings.filterwarnings("ignore", message=r"The last \d+ of \d+ members")
            ensemble.fit(parts.X_train, parts.y_train)
        members = ensemble.transform(X).astype(np.float64)
        return {
            way: scores(use(members, ensemble.weights_), y, task.noise)
            for way, use in fit.ways.items()
        }


Results = dict[str, NDArray[np.float64]]
"""By way: an array of shape (pairs, seeds, 3), the last axis that of `Scores`."""


def run(runs: Runs, tasks: Sequence[Task], fits: Sequence[Fit], seeds: Sequence[int]) -> Results:
    found: dict[str, dict[tuple[str, int], Scores]] = {}
    for seed in seeds:
        for task in tasks:
            for fit in fits:
                for way, value in runs.scores(task, fit, seed).items():
                    found.setdefault(way, {})[task.name, seed] = value
    return {
        way: np.array([[values[task.name, seed] for seed in seeds] for task in tasks])
        for way, values in found.items()
    }


def log_ratios(results: Results, way: str, rival: str) -> Array:
    """Return the log ratio of errors, shape (pairs, seeds); no error counts as half a one."""
    least = 0.5 / 8_000
    ours, theirs = results[way][..., 0], results[rival][..., 0]
    return np.log(np.maximum(ours, least)) - np.log(np.maximum(theirs, least))


def ratio(logs: Array) -> float:
    return float(np.exp(logs.mean()))


def interval(logs: Array) -> tuple[float, float]:
    """Return the 95% bootstrap interval of the ratio; pairs are drawn, with their seeds."""
    rng = np.random.default_rng(0)
    draws = rng.choice(logs.mean(axis=1), (N_DRAWS, len(logs))).mean(axis=1)
    low, high = np.exp(np.percentile(draws, [2.5, 97.5]))
    return float(low), float(high)


def shares(results: Results, way: str) -> tuple[Array, Array]:
    """Return the ceiling's relative gain over the single cosine net, and the share reached."""
    single, ceiling, ours = (results[name][..., 0].mean(axis=1) for name in (COSINE, CEILING, way))
    # If the ceiling gains nothing there is no share, and none is printed.
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - ceiling / single, (single - ours) / (single - ceiling)


def percent(value: float) -> str:
    return f"{100 * (value - 1):+.1f}%"


def overview(what: str, results: Results) -> Table:
    rows = []
    for way in results:
        logs = log_ratios(results, way, COSINE)
        low, high = interval(logs)
        worst = float(np.exp(logs.mean(axis=1).max()))
        relative = results[way].mean(axis=(0, 1)) / results[COSINE].mean(axis=(0, 1))
        rows.append(
            (
                way,
                percent(ratio(logs)),
                f"{percent(low)} to {percent(high)}",
                percent(worst),
                percent(ratio(log_ratios(results, way, STEP))),
                f"{relative[1]:.3f}",
                f"{relative[2]:.3f}",
            )
        )
    header = (what, "error vs cosine", "95%", "worst pair", "error vs step decay")
    return Table((*header, "log-loss / cosine's", "ECE / cosine's"), rows)


def of_pairs(results: Results, tasks: Sequence[Task], *, short: bool) -> Results:
    chosen = [task.short == short for task in tasks]
    return {way: values[chosen] for way, values in results.items()}


def overviews(results: Results, tasks: Sequence[Task]) -> list[Table]:
    tables = [overview("all pairs", results)]
    for name, short in (("trainings that converge", False), ("short trainings", True)):
        part = of_pairs(results, tasks, short=short)
        if 0 < len(part[COSINE]) < len(tasks):
            tables.append(overview(f"{name}: {len(part[COSINE])} pairs", part))
    return tables


def by_pair(results: Results, tasks: Sequence[Task]) -> Table:
    rows = []
    for i, task in enumerate(tasks):
        for way, values in results.items():
            errors, means = 100 * values[i, :, 0], values[i].mean(axis=0)
            rows.append(
                (
                    task.name,
                    way,
                    f"{errors.mean():.2f} ({errors.min():.2f}-{errors.max():.2f})",
                    percent(ratio(log_ratios(results, way, COSINE)[i])),
                    f"{means[1]:.4f}",
                    f"{100 * means[2]:.2f}",
                )
            )
    return Table(("pair", "recipe", "error, %", "vs cosine", "log-loss", "ECE, %"), rows)


def ceiling_table(results: Results, tasks: Sequence[Task]) -> Table:
    ways = [way for way in results if way not in (STEP, COSINE, CEILING)]
    gains = shares(results, CEILING)[0]
    columns = [shares(results, way)[1] for way in ways]
    rows = [
        (
            task.name,
            f"{100 * gains[i]:.1f}%",
            *(f"{c[i]:.2f}" if gains[i] >= WORTH_WINNING else "-" for c in columns),
        )
        for i, task in enumerate(tasks)
    ]
    return Table(("share of the ceiling's gain", "ceiling's gain", *ways), rows)


def claims(results: Results, tasks: Sequence[Task]) -> list[Claim]:
    low, high = interval(log_ratios(results, DEFAULT, COSINE))
    found = [
        Claim(
            f"test error of the default ({DEFAULT}), all pairs",
            COSINE,
            f"not worse by over {percent(MOST_WORSE)}, 95% over pairs",
            f"{percent(low)} to {percent(high)}",
            high <= MOST_WORSE,
        ),
        *_calibration(results, DEFAULT, "default", "all pairs"),
    ]
    long = of_pairs(results, tasks, short=False)
    where = f"{len(long[COSINE])} pairs"
    better = ratio(log_ratios(long, STATED, STEP))
    found.append(
        Claim(
            f"test error of the recommended recipe ({STATED}), {where}",
            STEP,
            f"{percent(LEAST_BETTER)}, geometric mean",
            percent(better),
            better <= LEAST_BETTER,
        )
    )
    gains, won = shares(long, STATED)
    worth = gains >= WORTH_WINNING
    enough = int((won[worth] >= SHARE).sum())
    found.append(
        Claim(
            f"share of the ceiling's gain, recommended recipe ({STATED}), {where}",
            CEILING,
            f"at least {SHARE:g} in each pair with {WORTH_WINNING:.0%} to be won",
            f"{enough} of {worth.sum()} pairs, median {np.median(won[worth]):.2f}"
            if worth.any()
            else "nothing to be won",
            bool(worth.any()) and enough == worth.sum(),
        )
    )
    return [*found, *_calibration(long, STATED, "recommended recipe", where)]


def _calibration(results: Results, way: str, name: str, where: str) -> list[Claim]:
    relative = results[way].mean(axis=(0, 1)) / results[COSINE].mean(axis=(0, 1))
    return [
        Claim(
            f"{what} of the {name} ({way}), {where}",
            COSINE,
            "under 1x, in the mean",
            f"{relative[i]:.3f}x",
            bool(relative[i] < 1),
        )
        for i, what in ((1, "log-loss"), (2, "ECE"))
    ]


NOTES = (
    "Errors are on the true labels; log-loss and ECE are expected values over labels that are "
    "wrong as often as the training's. `vs` is the ratio of errors, geometric mean over "
    "pairs and seeds. The 95% interval is by bootstrap over the pairs, paired by seed.",
    f"`{SPLIT}` is `SnapshotEnsemble(net with a third of max_epochs, schedule=CosineDecay(), "
    "n_runs=3)`: no snapshots, but independent nets, at the cost of one.",
    f"`{RESTARTS}` falls over 60% of the steps, then 4 times from half the peak.",
    "ECE has 15 even bins of the highest probability.",
)


def choose(runs: Runs, tasks: Sequence[Task], seeds: Sequence[int]) -> Report:
    results = run(runs, tasks, (*BASELINES, *CANDIDATES), seeds)
    notes = (f"Validation data, seeds {seeds}; the test part is not read.", *NOTES)
    tables = [*overviews(results, tasks), ceiling_table(results, tasks), by_pair(results, tasks)]
    return Report("Choosing a recipe", notes, tables, [])


def measure(runs: Runs, tasks: Sequence[Task], seeds: Sequence[int]) -> Report:
    results = run(runs, tasks, (*BASELINES, *REPORTED), seeds)
    part = "Test" if runs.part == "test" else "Validation"
    notes = (
        f"{part} data, seeds {seeds}; the recipes were fixed by --choose, on validation data from "
        f"seeds {TUNING_SEEDS}.",
        *NOTES,
    )
    tables = [*overviews(results, tasks), ceiling_table(results, tasks), by_pair(results, tasks)]
    return Report("Test error at equal budget", notes, tables, claims(results, tasks))


def main() -> None:
    arguments = _parse()
    torch.set_num_threads(1)
    tasks: Sequence[Task] = TASKS
    seeds = TUNING_SEEDS if arguments.choose else SEEDS
    if arguments.quick:
        tasks = [task.shortened() for task in TASKS if task.data == "digits"]
        seeds = seeds[:1]
    if arguments.seeds is not None:
        seeds = seeds[: arguments.seeds]
    # Only the full report reads the test part.
    on_test = not (arguments.choose or arguments.quick)
    runs = Runs(arguments.data_dir, arguments.cache, on_test=on_test)
    try:
        for task in {task.data: task for task in tasks}.values():
            task.parts(arguments.data_dir)
    except FileNotFoundError as error:
        sys.exit(str(error))
    report = (choose if arguments.choose else measure)(runs, tasks, seeds)
    written = str(report)
    if report.claims:
        written += f"\n\n{summary(report.claims)}"
    print(written)
    full = not (arguments.quick or arguments.seeds)
    output = arguments.output or (full and (CHOICE if arguments.choose else RESULTS))
    if output:
        output.write_text(written + "\n", encoding="utf-8")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--choose", action="store_true", help="compare recipes on validation data")
    parser.add_argument("--quick", action="store_true", help="short trainings on digits, one seed")
    parser.add_argument("--seeds", type=int, help="only the first so many seeds")
    parser.add_argument("--data-dir", type=Path, help="folder of Fashion-MNIST's .gz files")
    parser.add_argument("--cache", type=Path, help="file of finished trainings, to resume from")
    parser.add_argument("--output", type=Path, help="file to write; a full run has its own")
    return parser.parse_args()


if __name__ == "__main__":
    main()
