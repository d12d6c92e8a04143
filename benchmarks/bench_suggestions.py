"""Measure how good suggested rates are: python benchmarks/bench_suggestions.py [--jobs 2].

A suggestion's regret is the final loss of a training at that rate over the best of a grid, both
from `range_truth.csv` (3 trainings a rate, 5 on short tasks; between rates of the grid the log of
the loss is interpolated; a loss worse than an untrained net's counts as that), on test data that no
search sees. sklr's constants were chosen on the tuning halves of `range_tasks`; the others are test
tasks.

sklr searches with the schedule in the net; the other finders know none. On the short tasks it is
also compared with what users do without a finder, over several budgets.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import range_rivals
import torch
from joblib import Parallel, delayed
from matplotlib.figure import Figure
from numpy.typing import NDArray
from range_scores import geometric_mean, log_losses, paired_interval, regret, run_again, spread
from range_tasks import REPORT, SHORT_REPORT, SHORT_TUNING, TASKS, TUNING, Task
from range_truth import SCHEDULES, schedules_of
from range_users import GRID, WAYS, Choice
from report import Claim, Report, Table, summary

from sklr import LRRangeSearch

FOLDER = Path(__file__).parent
RESULTS, PICTURE = FOLDER / "results_suggestions.md", FOLDER / "regret_against_cost.png"
OURS = "sklr LRRangeSearch"
FLOOR = "best of the grid, run again"
WITHIN = 1.1
"""A regret up to this is within a tenth of the best."""
BUDGETS = (0.5, 1.0, 1.5, 3.0, 6.0, 12.0)
MOST_TRAININGS = 1.5
MOST_SPREAD = 0.25
MOST_OF_GRID, PART_OF_COST = 1.02, 1 / 5

READING = (
    "A suggestion's regret is the loss at its rate over the best of the grid; no suggestion counts "
    "as the worst rate of the grid.",
    "`times sklr's` is the geometric mean over sklr's: a 95% interval by bootstrap over the tasks, "
    "paired.",
    f"`{FLOOR}` is the noise floor: each training of the truth, at the rate that is best by the "
    "others.",
    "A spread is the decades between the lowest and the highest rate on a task over the random "
    "states: the median and the highest over the tasks.",
    "Costs are whole trainings.",
)

Array = NDArray[np.float64]


class Goal(NamedTuple):
    """What the regrets with one schedule should reach."""

    mean: float
    within: float
    worst: float | None


GOALS = {
    ("long", "constant"): Goal(1.05, 0.85, 1.4),
    ("long", "1cycle"): Goal(1.03, 0.92, 1.2),
    ("long", "snapshot"): Goal(1.03, 0.92, 1.2),
    ("short", "constant"): Goal(1.10, 0.75, None),
    ("short", "1cycle"): Goal(1.05, 0.85, None),
}


class Found(NamedTuple):
    """One suggestion of sklr's.

    Attributes
    ----------
    lr : float
        The rate.
    cost : float
        In whole trainings.
    seconds : float
        Wall time.
    verified : bool
        Whether trials confirmed it.
    """

    lr: float
    cost: float
    seconds: float
    verified: bool


def find(name: str, schedule: str, seed: int, budget: float | str = "auto") -> Found:
    """Return sklr's suggestion for a task's net with a schedule."""
    torch.set_num_threads(1)
    task = next(task for task in TASKS if task.name == name)
    seen, start = task.parts(), perf_counter()
    search = LRRangeSearch(task.estimator(SCHEDULES[schedule]), budget=budget, random_state=seed)
    with warnings.catch_warnings():
        # Rare classes are the tasks' own.
        warnings.simplefilter("ignore")
        ours = search.fit(seen.X, seen.y).suggestion_
    seconds = perf_counter() - start
    return Found(ours.lr, ours.cost_steps / task.n_steps, seconds, ours.verified)


def find_otherwise(name: str, seed: int) -> dict[str, float]:
    """Return the rates of the other finders."""
    torch.set_num_threads(1)
    return range_rivals.rates(next(task for task in TASKS if task.name == name), seed)


def choose(name: str, way: str, seed: int) -> Choice:
    """Return the rate that a user's way of searching names."""
    torch.set_num_threads(1)
    return WAYS[way](next(task for task in TASKS if task.name == name), seed)


def over(
    jobs: int, function: Callable[..., Any], tasks: Sequence[Task], *choices: Iterable[Any]
) -> dict[tuple[Any, ...], Any]:
    """Call a function for each task's name and combination of choices; return results by these."""
    keys = list(itertools.product([task.name for task in tasks], *choices))
    return dict(
        zip(keys, Parallel(n_jobs=jobs)(delayed(function)(*key) for key in keys), strict=True)
    )


def curves_of(tasks: Sequence[Task], schedule: str) -> dict[str, Array]:
    """Return the mean log loss at each rate of the grid."""
    return {task.name: log_losses(task, schedule).mean(axis=1) for task in tasks}


def compare(kind: str, tasks: Sequence[Task], seeds: range, jobs: int) -> Report:
    """Compare sklr with all finders on some tasks."""
    schedules = schedules_of(tasks[0])
    ours = over(jobs, find, tasks, schedules, seeds)
    others = over(jobs, find_otherwise, tasks, seeds)
    rows: list[tuple[str, ...]] = []
    claims: list[Claim] = []
    for schedule in schedules:
        regrets = {
            finder: np.array(
                [
                    [
                        regret(curve, _rate(ours, others, finder, name, schedule, seed))
                        for seed in seeds
                    ]
                    for name, curve in curves_of(tasks, schedule).items()
                ]
            )
            for finder in (OURS, *range_rivals.NAMES)
        }
        rows += regret_rows(schedule, regrets, tasks)
        claims += regret_claims(kind, schedule, regrets, len(tasks))
    lrs = {
        finder: np.array(
            [
                [_rate(ours, others, finder, task.name, "constant", seed) for seed in seeds]
                for task in tasks
            ]
        )
        for finder in (OURS, *range_rivals.NAMES)
    }
    claims += cost_claims(kind, ours, lrs)
    notes = [f"{len(tasks)} {kind} tasks, {len(seeds)} random states each."]
    tables = [
        Table(("schedule", "finder", "regret", "within 10%", "worst", "times sklr's, 95%"), rows),
        Table(
            ("finder", "spread", "highest", "no answer"),
            [spread_row(finder, values) for finder, values in lrs.items()],
        ),
    ]
    return Report(f"Suggestions: {len(tasks)} {kind} test tasks", notes, tables, claims)


def _rate(
    ours: Mapping[tuple[str, str, int], Found],
    others: Mapping[tuple[str, int], Mapping[str, float]],
    finder: str,
    name: str,
    schedule: str,
    seed: int,
) -> float:
    if finder == OURS:
        return ours[name, schedule, seed].lr
    return others[name, seed][finder]


def regret_rows(
    schedule: str, regrets: Mapping[str, Array], tasks: Sequence[Task]
) -> list[tuple[str, ...]]:
    """Return a row for each finder and one for the noise floor."""
    # Trainings of the truth differ in number from task to task, so each counts by its mean.
    floor = np.array([[geometric_mean(run_again(log_losses(task, schedule)))] for task in tasks])
    rows = []
    for name, values in (regrets | {FLOOR: floor}).items():
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


def regret_claims(
    kind: str, schedule: str, regrets: Mapping[str, Array], n_tasks: int
) -> list[Claim]:
    """Compare sklr's regrets with the goals, and with every rival's on the same tasks."""
    goal, ours = GOALS[kind, schedule], regrets[OURS]
    rivals = {name: regrets[name] for name in range_rivals.NAMES}
    means = {name: geometric_mean(values) for name, values in rivals.items()}
    best = min(means, key=means.__getitem__)
    mean, within = geometric_mean(ours), float(np.mean(ours <= WITHIN))
    label = f"{schedule}, {n_tasks} {kind} test tasks"
    claims = [
        Claim(
            f"regret of the suggestion, {label}",
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
                f"worst regret, {label}",
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
            f"better than every rival, {label}",
            f"closest: {closest}",
            f"95% intervals of all {len(lows)} ratios above 1",
            f"{beaten} of {len(lows)}, the lowest from {lows[closest]:.2f}",
            beaten == len(lows),
        )
    )
    return claims


def cost_claims(
    kind: str, ours: Mapping[tuple[str, str, int], Found], lrs: Mapping[str, Array]
) -> list[Claim]:
    """State what suggestions cost, how far they spread, and how many are verified."""
    costs = [found.cost for found in ours.values()]
    seconds = [found.seconds for found in ours.values()]
    medians = {name: _known(np.nanmedian, spread(values)) for name, values in lrs.items()}
    steadiest = min(range_rivals.NAMES, key=medians.__getitem__)
    unverified = sum(not found.verified for found in ours.values())
    median = float(np.median(costs))
    return [
        Claim(
            f"cost of a suggestion, {kind} test tasks",
            "19 trainings of a grid",
            f"at most {MOST_TRAININGS}" if kind == "long" else "as measured",
            f"{median:.1f} trainings, {np.median(seconds):.1f} s in the median; "
            f"{max(costs):.1f} at most",
            kind == "short" or max(costs) <= MOST_TRAININGS,
        ),
        Claim(
            f"spread over {lrs[OURS].shape[1]} random states, {kind} test tasks",
            f"best of the others, {steadiest}: {medians[steadiest]:.2f}",
            f"median at most {MOST_SPREAD} decades",
            f"{medians[OURS]:.2f}",
            medians[OURS] <= MOST_SPREAD,
        ),
        Claim(
            f"answers that no trial verified, {kind} test tasks",
            "",
            "none",
            f"{unverified} of {len(ours)}",
            unverified == 0,
        ),
    ]


def _known(statistic: Callable[[Array], Any], values: Array) -> float:
    """Return a statistic of what is no NaN, infinite if that is nothing."""
    return float(statistic(values)) if np.isfinite(values).any() else np.inf


def spread_row(finder: str, lrs: Array) -> tuple[str, ...]:
    """Return a finder's spread over random states, and how often it had no answer."""
    spreads = spread(lrs)
    return (
        finder,
        f"{_known(np.nanmedian, spreads):.2f}",
        f"{_known(np.nanmax, spreads):.2f}",
        f"{np.isnan(lrs).sum()} of {lrs.size}",
    )


def against_users(
    tasks: Sequence[Task], seeds: range, jobs: int, picture: Path | None, quick: bool = False
) -> Report:
    """Compare sklr over budgets with what users do, at constant rates."""
    budgets = (*BUDGETS, "auto")
    found = over(jobs, find, tasks, ("constant",), seeds, budgets)
    names = ("a fixed rate", GRID) if quick else tuple(WAYS)
    ways = over(jobs, choose, tasks, names, seeds)
    curves = curves_of(tasks, "constant")

    def regrets(rate: Callable[[str, int], float]) -> Array:
        return np.array(
            [[regret(curve, rate(name, seed)) for seed in seeds] for name, curve in curves.items()]
        )

    ours = {b: regrets(lambda n, s, b=b: found[n, "constant", s, b].lr) for b in budgets}
    theirs = {w: regrets(lambda n, s, w=w: ways[n, w, s].lr) for w in names}
    costs = {b: np.mean([f.cost for key, f in found.items() if key[3] == b]) for b in budgets}
    cost_of = {w: np.mean([c.cost for key, c in ways.items() if key[1] == w]) for w in names}
    rows = [_row(f"sklr, budget {b}", costs[b], ours[b], ours["auto"]) for b in budgets] + [
        _row(way, cost_of[way], theirs[way], ours["auto"]) for way in names
    ]
    cheap = [b for b in BUDGETS if costs[b] <= PART_OF_COST * cost_of[GRID]]
    ratios = {b: geometric_mean(ours[b]) / geometric_mean(theirs[GRID]) for b in budgets}
    best = min(cheap, key=ratios.__getitem__)
    means = [geometric_mean(ours[b]) for b in BUDGETS]
    rise = max(later / earlier for earlier, later in itertools.pairwise(means))
    claims = [
        Claim(
            "regret against GridSearchCV of 8 rates, at a fifth of its steps",
            f"{GRID}: {geometric_mean(theirs[GRID]):.3f} at {cost_of[GRID]:.0f} trainings",
            f"ratio at most {MOST_OF_GRID}",
            f"{ratios[best]:.3f} at {costs[best]:.1f} trainings (budget {best}); 'auto' "
            f"{ratios['auto']:.3f} at {costs['auto']:.1f}",
            bool(ratios[best] <= MOST_OF_GRID),
        ),
        Claim(
            "regret over budgets",
            "",
            "falls, or is level",
            ", ".join(f"{mean:.3f}" for mean in means),
            rise <= 1.02,
        ),
    ]
    if picture is not None:
        _draw(picture, costs, ours, cost_of, theirs)
    notes = [
        f"{len(tasks)} short test tasks, {len(seeds)} random states a task, constant rates.",
        "Rates that users search are from 1e-4 to 1; their cost is counted without the last fit.",
    ]
    table = Table(
        ("way", "cost", "regret", "95%", "within 10%", "worst", "times sklr's, 95%"), rows
    )
    return Report("Regret against cost: what users do instead", notes, [table], claims)


def _row(name: str, cost: float, values: Array, ours: Array) -> tuple[str, ...]:
    low, high = paired_interval(np.ones_like(values), values)
    below, above = paired_interval(ours, values)
    return (
        name,
        f"{cost:.1f}",
        f"{geometric_mean(values):.3f}",
        f"{low:.2f} to {high:.2f}",
        f"{np.mean(values <= WITHIN):.0%}",
        f"{values.max():.2f}",
        f"{below:.2f} to {above:.2f}",
    )


def _draw(
    path: Path,
    costs: Mapping[float | str, float],
    ours: Mapping[float | str, Array],
    cost_of: Mapping[str, float],
    theirs: Mapping[str, Array],
) -> None:
    """Draw regret against cost: sklr as a curve over budgets, others as points."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    ax = figure.subplots()
    x = [costs[budget] for budget in BUDGETS]
    bounds = [paired_interval(np.ones_like(ours[b]), ours[b]) for b in BUDGETS]
    ax.fill_between(x, *zip(*bounds, strict=True), alpha=0.2, linewidth=0)
    ax.plot(x, [geometric_mean(ours[b]) for b in BUDGETS], "o-", label=f"{OURS}, by budget")
    ax.plot(costs["auto"], geometric_mean(ours["auto"]), "*", ms=13, label="its default")
    for marker, (way, values) in zip("sD^vPX<", theirs.items(), strict=True):
        ax.plot(max(cost_of[way], 0.3), geometric_mean(values), marker, label=way)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="cost, in whole trainings (a fixed rate costs none)",
        ylabel="final loss over the best rate's",
    )
    ticks = [1.02, 1.05, 1.1, 1.2, 1.5, 2.0, 3.0]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_yticks([], minor=True)
    ax.legend(fontsize="small", frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="random states a task, at least 2")
    parser.add_argument("--user-seeds", type=int, default=1, help="the same beside users' ways")
    parser.add_argument("--jobs", type=int, default=2, help="searches at once, one thread each")
    parser.add_argument("--tuning", action="store_true", help="the tuning halves instead")
    parser.add_argument(
        "--only", choices=("long", "short", "users"), action="append", help="one of the parts"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a task a part and 2 random states: shows that all runs, not how good",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help=f"file to write, by default {RESULTS.name} beside this script, with the picture, for "
        "a full run, and none otherwise",
    )
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds must be at least 2, for a spread.")
    seeds = range(2 if arguments.quick else arguments.seeds)
    whole = not (arguments.quick or arguments.tuning or arguments.only)
    halves = (TUNING, SHORT_TUNING) if arguments.tuning else (REPORT, SHORT_REPORT)
    long, short = (
        ([task for task in half if task.data == "digits"][:1] for half in halves)
        if (arguments.quick)
        else halves
    )
    reports = []
    for part in arguments.only or ("long", "short", "users"):
        if part == "users":
            picture = PICTURE if whole else None
            reports.append(
                against_users(
                    short, range(arguments.user_seeds), arguments.jobs, picture, arguments.quick
                )
            )
        else:
            tasks = long if part == "long" else short
            reports.append(compare(part, tasks, seeds, arguments.jobs))
    claims = [claim for report in reports for claim in report.claims]
    reading = "\n".join(f"- {line}" for line in READING)
    text = "\n\n".join(
        ["# How good suggested rates are", reading, *map(str, reports), summary(claims)]
    )
    print(text)
    output = arguments.output or (RESULTS if whole else None)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
