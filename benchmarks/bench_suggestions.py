"""How good suggested rates are: python benchmarks/bench_suggestions.py [--seeds 3].

A suggestion's regret is the final loss of a training at that rate over the best of a grid, both
from `range_truth.csv` (3 trainings a rate; between rates of the grid the log of the loss is
interpolated; a loss worse than an untrained net's counts as that). The data that judges is seen by
no search. `range_tasks.TUNING` chose sklr's constants; `range_tasks.REPORT` did not.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch_lr_finder
from numpy.typing import NDArray
from range_tasks import REPORT, TUNING, Task, parts
from range_truth import LRS, SCHEDULES, SEEDS, Key, load
from report import Claim, Report, Table, summary
from torch.utils.data import DataLoader, TensorDataset

from sklr import LRRangeSearch

RESULTS = Path(__file__).with_name("results_suggestions.md")
N_STEPS = 100
START, END = 1e-7, 10.0
OURS = "sklr LRRangeSearch"
TO_REACH = {"constant": (1.10, 0.75), "1cycle": (1.05, 0.85), "snapshot": (1.05, 0.85)}
"""Geometric mean of the regret at most, part of suggestions within a tenth at least."""

Array = NDArray[np.float64]


def truth_curve(task: Task, schedule: str) -> Array:
    """Give the log of the loss at each rate of the grid."""
    truth = load()
    losses = np.array([[truth[Key(task.name, schedule, lr, s)] for s in SEEDS] for lr in LRS])
    return np.log(np.minimum(losses, np.median(losses[:2]))).mean(axis=1)


def regret(curve: Array, lr: float) -> float:
    """Give the loss at a rate over the best of the grid; no suggestion counts as the worst."""
    if not math.isfinite(lr):
        return float(np.exp(curve.max() - curve.min()))
    return float(np.exp(np.interp(math.log(lr), np.log(LRS), curve) - curve.min()))


def torch_lr_finder_rate(task: Task, seed: int) -> float:
    """Run the installed torch-lr-finder with its defaults."""
    torch.manual_seed(seed)
    net, seen = task.net(lr=START).initialize(), parts(task.data)
    data = TensorDataset(torch.from_numpy(seen.X), torch.from_numpy(seen.y))
    loader = DataLoader(data, task.batch_size, shuffle=True)
    silence = io.StringIO()
    with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        finder = torch_lr_finder.LRFinder(net.module_, net.optimizer_, net.criterion_)
        finder.range_test(loader, end_lr=END, num_iter=N_STEPS)
        try:
            _, lr = finder.plot(suggest_lr=True)
        except ValueError:
            return math.nan
    plt.close("all")
    return float(lr)


def fastai_ramp(task: Task, seed: int) -> tuple[Array, Array]:
    """Run fastai's ramp in a plain loop: rates and smoothed losses, trimmed as it trims them."""
    torch.manual_seed(seed)
    net, seen = task.net(lr=START).initialize(), parts(task.data)
    X, y = torch.from_numpy(seen.X), torch.from_numpy(seen.y)
    lrs: list[float] = []
    losses: list[float] = []
    mean, order = 0.0, torch.empty(0, dtype=torch.long)
    for step in range(N_STEPS):
        if len(order) < 2:  # BatchNorm takes no single sample
            order = torch.randperm(len(X))
        rows, order = order[: task.batch_size], order[task.batch_size :]
        lr = START * (END / START) ** (step / N_STEPS)
        for group in net.optimizer_.param_groups:
            group["lr"] = lr
        net.optimizer_.zero_grad()
        loss = net.criterion_(net.module_(X[rows]), y[rows])
        loss.backward()
        net.optimizer_.step()
        mean = 0.98 * mean + 0.02 * loss.item()
        lrs.append(lr)
        losses.append(mean / (1 - 0.98 ** (step + 1)))
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
    return np.array(lrs)[N_STEPS // 10 : -5], np.array(losses)[N_STEPS // 10 : -5]


def valley(lrs: Array, losses: Array) -> float:
    """Give a point halfway down the longest run of falling losses."""
    n = len(losses)
    lengths = [1] * n
    for i in range(1, n):
        for j in range(i):
            if losses[i] < losses[j]:
                lengths[i] = max(lengths[i], lengths[j] + 1)
    end = int(np.argmax(lengths))
    start = end - lengths[end]
    third = (end - start) / 3
    return float(lrs[start + int(third) + int(third / 2)])


def slide(lrs: Array, losses: Array) -> float:
    """Slide an interval down from the end while the slopes at its ends differ."""
    slopes = np.gradient(losses)
    right, left, lr = -1, -16, math.nan
    while left >= -len(losses) and abs(slopes[right] - slopes[left]) > 0.005:
        lr, right, left = float(lrs[left]), right - 1, left - 1
    return lr


def minimum(lrs: Array, losses: Array) -> float:
    """Give a tenth of the rate of least loss."""
    return float(lrs[np.argmin(losses)]) / 10


FASTAI: dict[str, Callable[[Array, Array], float]] = {
    "fastai valley": valley,
    "fastai slide": slide,
    "fastai minimum": minimum,
}


def suggestions(task: Task, seed: int) -> dict[str, dict[str, float]]:
    """Give every finder's rate for every schedule, and sklr's cost in trainings."""
    seen = parts(task.data)
    found = LRRangeSearch(task.net(), random_state=seed).fit(seen.X, seen.y).suggestion_
    steps = task.max_epochs * math.ceil(0.8 * len(seen.X) / task.batch_size)
    rates = {
        OURS: {"constant": found.lr, "1cycle": found.max_lr, "snapshot": found.max_lr},
        "cost": {"trainings": found.cost_steps / steps, "seconds": found.seconds},
    }
    lrs, losses = fastai_ramp(task, seed)
    single = {"torch-lr-finder": torch_lr_finder_rate(task, seed)}
    for name, rule in FASTAI.items():
        single[name] = rule(lrs, losses) if len(lrs) > 16 else math.nan
    return rates | {name: dict.fromkeys(SCHEDULES, lr) for name, lr in single.items()}


def paired_interval(ours: Array, rival: Array) -> tuple[float, float]:
    """Give the 95% bootstrap interval over tasks of the ratio of geometric mean regrets."""
    difference = np.log(rival / ours).mean(axis=1)
    rng = np.random.default_rng(0)
    draws = rng.choice(difference, (10_000, len(difference))).mean(axis=1)
    return tuple(np.exp(np.percentile(draws, [2.5, 97.5])))


def measure(tasks: Sequence[Task], half: str, seeds: range) -> Report:
    """Judge every finder on some tasks."""
    found = [[suggestions(task, seed) for seed in seeds] for task in tasks]
    names = [name for name in found[0][0] if name != "cost"]
    cost = max(run["cost"]["trainings"] for row in found for run in row)
    lrs = np.log10([[run[OURS]["constant"] for run in row] for row in found])
    spreads = np.nanmax(lrs, axis=1) - np.nanmin(lrs, axis=1)
    rows, claims = [], []
    for schedule in SCHEDULES:
        curves = [truth_curve(task, schedule) for task in tasks]
        regrets = {
            name: np.array(
                [
                    [regret(curve, run[name][schedule]) for run in row]
                    for curve, row in zip(curves, found, strict=True)
                ]
            )
            for name in names
        }
        for name, values in regrets.items():
            low, high = paired_interval(regrets[OURS], values)
            rows.append(
                (
                    schedule,
                    name,
                    f"{np.exp(np.log(values).mean()):.3f}",
                    f"{np.mean(values <= 1.1):.0%}",
                    f"{values.max():.2f}",
                    "" if name == OURS else f"{low:.2f} to {high:.2f}",
                )
            )
        mean = float(np.exp(np.log(regrets[OURS]).mean()))
        within = float(np.mean(regrets[OURS] <= 1.1))
        bound, part = TO_REACH[schedule]
        best = min(np.exp(np.log(regrets[name]).mean()) for name in names if name != OURS)
        claims.append(
            Claim(
                f"regret of the suggestion, {schedule}, {half} tasks",
                f"best of the others: {best:.3f}",
                f"at most {bound:.2f}, {part:.0%} within a tenth",
                f"{mean:.3f}, {within:.0%}",
                mean <= bound and within >= part,
            )
        )
    claims.append(
        Claim(
            f"cost of a suggestion, {half} tasks",
            "19 trainings of a grid",
            "at most 1.5 trainings",
            f"{cost:.2f} at most",
            cost <= 1.5,
        )
    )
    claims.append(
        Claim(
            f"spread over {len(seeds)} random states, {half} tasks",
            "",
            "median at most 0.2 decades",
            f"{np.median(spreads):.2f}",
            bool(np.median(spreads) <= 0.2),
        )
    )
    header = ("schedule", "finder", "regret", "within 10%", "worst", "times sklr's, 95%")
    notes = [
        f"{len(tasks)} tasks, {len(seeds)} random states each.",
        f"{int(np.isnan(lrs).sum())} of sklr's {lrs.size} searches gave no answer, which counts as "
        "the worst rate of the grid.",
    ]
    return Report(f"Suggestions: {half} tasks", notes, [Table(header, rows)], claims)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="random states a task")
    seeds = range(parser.parse_args().seeds)
    mpl.use("Agg")
    torch.set_num_threads(1)
    reports = [measure(REPORT, "held-back", seeds), measure(TUNING, "tuning", seeds)]
    claims = [claim for report in reports for claim in report.claims]
    text = "\n\n".join(["# How good suggested rates are", *map(str, reports), summary(claims)])
    print(text)
    RESULTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
