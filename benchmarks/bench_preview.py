"""Measure what a preview of a schedule costs: the rates of all steps of a training."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from report import Claim, Report, Table
from skorch.callbacks import LRScheduler
from timing import Spread, interleave, ratios, seconds
from torch.optim import SGD, lr_scheduler

from sklr import schedules
from sklr.schedules import (
    SGDR,
    BaseSchedule,
    Constant,
    CosineDecay,
    CyclicalLR,
    ExponentialDecay,
    FastGeometric,
    InverseTimeDecay,
    OneCycle,
    RangeTest,
    SnapshotCosine,
    StepDecay,
    join,
    scale,
    warmup,
)

N = 1_000_000
MOST_SECONDS = 0.3
LEAST_RATIO = 20

TRIANGULAR = CyclicalLR(base_lr=0.01, max_lr=0.1, step_size=1_000)
COSINE = CosineDecay(max_lr=0.1, n_steps=N)
ONE_CYCLE = OneCycle(max_lr=0.1, n_steps=N)
RESTARTS = SGDR(max_lr=0.1, cycle_length=1_000)

SCHEDULES: dict[str, BaseSchedule] = {
    "Constant": Constant(lr=0.1),
    "StepDecay, every": StepDecay(lr=0.1, every=1_000),
    "StepDecay, 99 milestones": StepDecay(lr=0.1, milestones=range(10_000, N, 10_000)),
    "ExponentialDecay": ExponentialDecay(lr=0.1, gamma=0.99999),
    "InverseTimeDecay": InverseTimeDecay(lr=0.1, decay_rate=1e-3),
    "CosineDecay": COSINE,
    "CyclicalLR": TRIANGULAR,
    "CyclicalLR, triangular2": CyclicalLR(
        base_lr=0.01, max_lr=0.1, step_size=1_000, mode="triangular2"
    ),
    "CyclicalLR, exp_range": CyclicalLR(
        base_lr=0.01, max_lr=0.1, step_size=1_000, mode="exp_range", gamma=0.99999
    ),
    "SGDR": RESTARTS,
    "SGDR, cycles that grow": SGDR(max_lr=0.1, cycle_length=1_000, cycle_mult=1.5, max_decay=0.9),
    "SGDR, cycles that shrink": SGDR(
        max_lr=0.1, cycle_length=50_000, cycle_mult=0.96, max_decay=0.9
    ),
    "SnapshotCosine": SnapshotCosine(max_lr=0.1, n_steps=N, n_cycles=30),
    "OneCycle": ONE_CYCLE,
    "OneCycle, linear": OneCycle(max_lr=0.1, n_steps=N, anneal="linear"),
    "FastGeometric": FastGeometric(min_lr=0.001, max_lr=0.1, n_steps=N, n_cycles=10),
    "RangeTest": RangeTest(min_lr=1e-7, max_lr=10, n_steps=N),
    "RangeTest, linear": RangeTest(min_lr=1e-7, max_lr=10, n_steps=N, scale="linear"),
    "warmup of CosineDecay": warmup(COSINE, n_steps=1_000),
    "join of CosineDecay and OneCycle": join([COSINE, ONE_CYCLE], [N // 2]),
    "scale of SGDR": scale(RESTARTS, 0.5),
}
"""Every schedule and composition of sklr.schedules, in each of its modes."""

POLICIES: dict[str, tuple[BaseSchedule, str, dict[str, Any]]] = {
    "CyclicalLR": (
        TRIANGULAR,
        "CyclicLR",
        {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 1_000, "cycle_momentum": False},
    ),
    "CosineDecay": (COSINE, "CosineAnnealingLR", {"T_max": N}),
    "SGDR": (RESTARTS, "CosineAnnealingWarmRestarts", {"T_0": 1_000}),
    "OneCycle": (
        ONE_CYCLE,
        "OneCycleLR",
        {"max_lr": 0.1, "total_steps": N, "cycle_momentum": False},
    ),
}
"""Schedules with torch's scheduler of the same kind, and its parameters."""


def measure(quick: bool = False) -> Report:
    rounds, n_steps = (2, 20_000) if quick else (3, 100_000)
    previews, slowest = _previews(rounds)
    steps, per_step = _against_rivals(rounds, n_steps)
    notes = [
        f"Claim: `schedule(np.arange({N:,}))` takes under {MOST_SECONDS} s for every schedule of "
        f"`sklr.schedules`, and a step of it at most 1/{LEAST_RATIO} of the rivals' step.",
        "Rivals, with the scheduler of the same kind: a loop that calls torch's `scheduler.step()` "
        f"and keeps the rate, and skorch's `LRScheduler.simulate`, both over {n_steps:,} steps.",
        f"Rounds: {rounds}, interleaved, after one that is dropped. Median (lowest-highest); "
        "ratios are taken round by round.",
    ]
    return Report("Cost of a preview", notes, [previews, steps], [slowest, *per_step])


def _previews(rounds: int) -> tuple[Table, Claim]:
    _check_complete()
    times = interleave(
        {name: partial(_preview_seconds, schedule) for name, schedule in SCHEDULES.items()}, rounds
    )
    spreads = {name: Spread.of(values) for name, values in times.items()}
    rows = sorted(spreads.items(), key=lambda row: row[1].median, reverse=True)
    slowest, spread = rows[0]
    claim = Claim(
        f"preview of {N:,} steps, every schedule",
        "none",
        f"under {MOST_SECONDS} s",
        f"{spread.median:.3f} s at most ({slowest})",
        spread.median < MOST_SECONDS,
    )
    return Table(("schedule", f"seconds for {N:,} steps"), rows), claim


def _against_rivals(rounds: int, n_steps: int) -> tuple[Table, list[Claim]]:
    rows = []
    least = {"torch scheduler loop": [], "skorch LRScheduler.simulate": []}
    for name, (schedule, policy, params) in POLICIES.items():
        measured = interleave(
            {
                "preview": partial(_preview_seconds, schedule),
                "torch scheduler loop": partial(_loop_seconds, policy, params, n_steps),
                "skorch LRScheduler.simulate": partial(_simulate_seconds, policy, params, n_steps),
            },
            rounds,
        )
        ours = [value / N for value in measured.pop("preview")]
        for rival, values in measured.items():
            theirs = [value / n_steps for value in values]
            faster = ratios(theirs, ours)
            least[rival].append((faster.median, name))
            spreads = Spread.of(ours, unit=1e-6), Spread.of(theirs, unit=1e-6)
            rows.append((name, f"{rival}, {policy}", *spreads, faster))
    claims = []
    for rival, values in least.items():
        ratio, name = min(values)
        claims.append(
            Claim(
                "preview, per step",
                rival,
                f"at least {LEAST_RATIO}x faster",
                f"{ratio:.0f}x faster at least ({name})",
                ratio >= LEAST_RATIO,
            )
        )
    header = ("schedule", "rival", "sklr, us a step", "rival, us a step", "times faster")
    return Table(header, rows), claims


def _check_complete() -> None:
    """Raise if a schedule of sklr.schedules is not measured."""
    missing = set(schedules.__all__) - {"BaseSchedule", "warmup", "join", "scale"}
    missing -= {type(schedule).__name__ for schedule in SCHEDULES.values()}
    if missing:
        raise ValueError(f"SCHEDULES must hold every schedule. It lacks {sorted(missing)}.")


def _preview_seconds(schedule: BaseSchedule) -> float:
    return seconds(lambda: schedule(np.arange(N)))


def _loop_seconds(policy: str, params: dict[str, Any], n_steps: int) -> float:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = getattr(lr_scheduler, policy)(optimizer, **params)
    optimizer.step()  # torch warns of a scheduler that steps first

    def loop() -> list[float]:
        rates = []
        for _ in range(n_steps):
            rates.append(optimizer.param_groups[0]["lr"])
            scheduler.step()
        return rates

    return seconds(loop)


def _simulate_seconds(policy: str, params: dict[str, Any], n_steps: int) -> float:
    callback = LRScheduler(getattr(lr_scheduler, policy), **params)
    return seconds(lambda: callback.simulate(n_steps, initial_lr=0.1))
