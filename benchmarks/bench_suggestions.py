"""Measure how good suggested rates are: python benchmarks/bench_suggestions.py [--jobs 2].

A suggestion's regret is the final loss of a training at that rate over the best of a grid, both
from `range_truth.csv` (3 trainings a rate; between rates of the grid the log of the loss is
interpolated; a loss worse than an untrained net's counts as that), on test data that no search
sees. sklr's constants were chosen on `range_tasks.TUNING`; `range_tasks.REPORT` are test tasks.

The noise floor is the regret of the grid's own best rate, run again: for each of the 3 trainings,
of the rate that is best by the other two. A finder's spread on a task is the distance, in decades,
between the lowest and the highest constant rate that it suggests from different random states.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import range_rivals
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from range_scores import geometric_mean, log_losses, paired_interval, regret, run_again, spread
from range_tasks import REPORT, TASKS, Task, parts
from range_truth import SCHEDULES
from report import Claim, Report, Table, summary

from sklr import LRRangeSearch

RESULTS = Path(__file__).with_name("results_suggestions.md")
OURS = "sklr LRRangeSearch"
FLOOR = "best of the grid, run again"
FINDERS = (OURS, *range_rivals.NAMES)
WITHIN = 1.1
"""A regret up to this is within a tenth of the best."""
MOST_TRAININGS = 1.5
MOST_SPREAD = 0.2

READING = (
    "A suggestion's regret is the loss at its rate over the best of the grid; no suggestion counts "
    "as the worst rate of the grid.",
    "`times sklr's` is a finder's geometric mean over sklr's: a 95% interval by bootstrap over the "
    "tasks, paired.",
    f"`{FLOOR}` is the noise floor: 3 trainings a task, each at the rate that is best by the other "
    "two.",
    "A spread is the decades between the lowest and the highest constant rate on a task: the "
    "median and the highest over the tasks.",
)

Array = NDArray[np.float64]


class Goal(NamedTuple):
    """What the regrets with one schedule should reach."""

    mean: float
    within: float
    worst: float | None


GOALS = {
    "constant": Goal(1.10, 0.75, 1.6),
    "1cycle": Goal(1.05, 0.85, None),
    "snapshot": Goal(1.05, 0.85, None),
}


class Found(NamedTuple):
    """The suggestions from one random state on one task.

    Attributes
    ----------
    rates : dict
        By finder and schedule.
    cost : float
        Of sklr's suggestion, in whole trainings.
    """

    rates: dict[str, dict[str, float]]
    cost: float


def find(name: str, seed: int) -> Found:
    """Return the suggestions of all finders."""
    torch.set_num_threads(1)
    task = next(task for task in TASKS if task.name == name)
    seen = parts(task.data)
    ours = LRRangeSearch(task.net(), random_state=seed).fit(seen.X, seen.y).suggestion_
    steps = task.max_epochs * math.ceil(0.8 * len(seen.X) / task.batch_size)
    rates = {OURS: {"constant": ours.lr, "1cycle": ours.max_lr, "snapshot": ours.max_lr}}
    for rival, lr in range_rivals.rates(task, seed).items():
        rates[rival] = dict.fromkeys(SCHEDULES, lr)
    return Found(rates, ours.cost_steps / steps)


def find_all(tasks: Sequence[Task], seeds: range, jobs: int) -> dict[str, list[Found]]:
    """Return the suggestions of all finders on all tasks, from all random states."""
    keys = [(task.name, seed) for task in tasks for seed in seeds]
    found = Parallel(n_jobs=jobs)(delayed(find)(*key) for key in keys)
    n = len(seeds)
    return {task.name: found[i * n : (i + 1) * n] for i, task in enumerate(tasks)}


def regrets_of(
    tasks: Sequence[Task], found: Mapping[str, list[Found]], schedule: str
) -> dict[str, Array]:
    """Return the regrets of all finders and of the noise floor: a row a task, a column a run."""
    logs = [log_losses(task, schedule) for task in tasks]
    curves = {task.name: log.mean(axis=1) for task, log in zip(tasks, logs, strict=True)}
    by_finder = {
        finder: np.array(
            [
                [regret(curve, run.rates[finder][schedule]) for run in found[name]]
                for name, curve in curves.items()
            ]
        )
        for finder in FINDERS
    }
    return by_finder | {FLOOR: np.array([run_again(log) for log in logs])}


def regret_rows(schedule: str, regrets: Mapping[str, Array]) -> list[tuple[str, ...]]:
    """Return a row for each finder and one for the noise floor."""
    rows = []
    for name, values in regrets.items():
        low, high = paired_interval(regrets[OURS], values)
        rows.append(
            (
                schedule,
                name,
                f"{geometric_mean(values):.3f}",
                f"{np.mean(values <= WITHIN):.0%}",
                f"{values.max():.2f}",
                "" if name == OURS else f"{low:.2f} to {high:.2f}",
            )
        )
    return rows


def regret_claims(schedule: str, regrets: Mapping[str, Array], tasks: str) -> list[Claim]:
    """Compare sklr's regrets with the goals, and with every rival's on the same tasks."""
    goal, ours = GOALS[schedule], regrets[OURS]
    rivals = {name: regrets[name] for name in range_rivals.NAMES}
    means = {name: geometric_mean(values) for name, values in rivals.items()}
    best = min(means, key=means.__getitem__)
    mean, within = geometric_mean(ours), float(np.mean(ours <= WITHIN))
    claims = [
        Claim(
            f"regret of the suggestion, {schedule}, {tasks}",
            f"best of the others, {best}: {means[best]:.3f}",
            f"at most {goal.mean:.2f}, {goal.within:.0%} within a tenth",
            f"{mean:.3f}, {within:.0%}",
            mean <= goal.mean and within >= goal.within,
        )
    ]
    if goal.worst is not None:
        safest = min(rivals, key=lambda name: rivals[name].max())
        claims.append(
            Claim(
                f"worst regret, {schedule}, {tasks}",
                f"best of the others, {safest}: {rivals[safest].max():.2f}",
                f"at most {goal.worst:.1f}",
                f"{ours.max():.2f}",
                bool(ours.max() <= goal.worst),
            )
        )
    lows = {name: paired_interval(ours, values)[0] for name, values in rivals.items()}
    closest = min(lows, key=lows.__getitem__)
    beaten = sum(low > 1 for low in lows.values())
    claims.append(
        Claim(
            f"better than every rival, {schedule}, {tasks}",
            f"closest: {closest}",
            f"95% intervals of all {len(lows)} ratios above 1",
            f"{beaten} of {len(lows)}, the lowest from {lows[closest]:.2f}",
            beaten == len(lows),
        )
    )
    return claims


def constant_rates(found: Mapping[str, list[Found]], finder: str) -> Array:
    """Return a finder's constant rates: a row a task, a column a random state."""
    return np.array([[run.rates[finder]["constant"] for run in runs] for runs in found.values()])


def spread_row(finder: str, lrs: Array) -> tuple[str, ...]:
    """Return a finder's spread over random states, and how often it had no answer."""
    spreads = spread(lrs)
    return (
        finder,
        f"{np.nanmedian(spreads):.2f}",
        f"{np.nanmax(spreads):.2f}",
        f"{np.isnan(lrs).sum()} of {lrs.size}",
    )


def measure(tasks: Sequence[Task], found: Mapping[str, list[Found]], which: str) -> Report:
    """Compare all finders on some tasks."""
    found = {task.name: found[task.name] for task in tasks}
    n_states = len(found[tasks[0].name])
    label = f"{which} tasks"
    rows: list[tuple[str, ...]] = []
    claims: list[Claim] = []
    for schedule in SCHEDULES:
        regrets = regrets_of(tasks, found, schedule)
        rows += regret_rows(schedule, regrets)
        claims += regret_claims(schedule, regrets, label)
    cost = max(run.cost for runs in found.values() for run in runs)
    lrs = {finder: constant_rates(found, finder) for finder in FINDERS}
    medians = {finder: float(np.nanmedian(spread(values))) for finder, values in lrs.items()}
    steadiest = min(range_rivals.NAMES, key=medians.__getitem__)
    claims += [
        Claim(
            f"cost of a suggestion, {label}",
            "19 trainings of a grid",
            f"at most {MOST_TRAININGS} trainings",
            f"{cost:.2f} at most",
            cost <= MOST_TRAININGS,
        ),
        Claim(
            f"spread over {n_states} random states, {label}",
            f"best of the others, {steadiest}: {medians[steadiest]:.2f}",
            f"median at most {MOST_SPREAD} decades",
            f"{medians[OURS]:.2f}",
            medians[OURS] <= MOST_SPREAD,
        ),
    ]
    notes = [
        f"{len(tasks)} tasks, {n_states} random states each.",
        f"{int(np.isnan(lrs[OURS]).sum())} of sklr's {lrs[OURS].size} searches gave no answer.",
    ]
    tables = [
        Table(("schedule", "finder", "regret", "within 10%", "worst", "times sklr's, 95%"), rows),
        Table(
            ("finder", "spread", "highest", "no answer"),
            [spread_row(finder, values) for finder, values in lrs.items()],
        ),
    ]
    return Report(f"Suggestions: {label}", notes, tables, claims)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, help="random states a task, at least 2")
    parser.add_argument("--jobs", type=int, default=2, help="searches at once, one thread each")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the tasks on digits and at most 2 random states: shows that all runs, not how good",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help=f"file to write, by default {RESULTS.name} beside this script for a full run and "
        "none with --quick",
    )
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds must be at least 2, for a spread.")
    tasks = [task for task in TASKS if not arguments.quick or task.data == "digits"]
    seeds = range(min(arguments.seeds, 2) if arguments.quick else arguments.seeds)
    output = arguments.output or (None if arguments.quick else RESULTS)

    found = find_all(tasks, seeds, arguments.jobs)
    test = [task for task in tasks if task in REPORT]
    tuning = [task for task in tasks if task not in REPORT]
    reports = [
        measure(tasks, found, f"all {len(tasks)}"),
        measure(test, found, f"{len(test)} test"),
        measure(tuning, found, f"{len(tuning)} tuning"),
    ]
    claims = [claim for report in reports for claim in report.claims]
    reading = "\n".join(f"- {line}" for line in READING)
    text = "\n\n".join(
        ["# How good suggested rates are", reading, *map(str, reports), summary(claims)]
    )
    print(text)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
