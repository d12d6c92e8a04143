"""Measure what it costs to set the rate of a step, in a plain torch loop and in callbacks."""

from __future__ import annotations

import torch
from report import Claim, Report, Table
from timing import Spread, clock, interleave, ratios
from torch.optim import SGD
from torch.optim.lr_scheduler import CyclicLR

from sklr._param_groups import initial_ratios, rate_writer
from sklr.lr_scheduler import ScheduleLR
from sklr.schedules import CyclicalLR

RIVAL = "torch CyclicLR.step()"
SCHEDULER = "ScheduleLR.step()"
ASSIGNMENT = "closed form and assignment"
STEP_SIZE = 1_000

SETTINGS = {
    "1 group": [0.1],
    "100 groups of one rate": [0.1] * 100,
    "100 groups, each its own rate": [0.1 / (i + 1) for i in range(100)],
}
"""The rates of the parameter groups."""


def measure(quick: bool = False) -> Report:
    rounds, n_rates = (3, 2_000) if quick else (15, 50_000)
    rows, claims = [], []
    for groups, lrs in SETTINGS.items():
        seconds = _compare(lrs, rounds, n_steps=max(n_rates // len(lrs), 100))
        least, to_reach = (1.0, "not slower") if len(lrs) == 1 else (10.0, "at least 10x faster")
        for way, values in seconds.items():
            faster = ratios(seconds[RIVAL], values)
            rows.append((groups, way, Spread.of(values, unit=1e-6), faster))
            if way != RIVAL:
                measured = f"{faster.median:.1f}x faster"
                what = f"setting the rate, {groups}: {way}"
                claims.append(Claim(what, RIVAL, to_reach, measured, faster.median >= least))
    notes = [
        "Claim: `sklr.lr_scheduler.ScheduleLR(optimizer, CyclicalLR(...)).step()`, and the closed "
        "form with the assignment to the groups as the callbacks do it, take no longer than the "
        "rival for 1 parameter group and at most a tenth for 100.",
        "Rival: `torch.optim.lr_scheduler.CyclicLR(..., cycle_momentum=False).step()`.",
        f"Rounds: {rounds}, interleaved, after one that is dropped. Median (lowest-highest); "
        "ratios are taken round by round.",
    ]
    header = ("groups", "way", "us a step", "times faster than torch")
    return Report("Cost of setting the rate", notes, [Table(header, rows)], claims)


def _compare(lrs: list[float], rounds: int, n_steps: int) -> dict[str, list[float]]:
    rivals = {
        RIVAL: lambda: _seconds_a_step(_cyclic_lr(_optimizer(lrs), lrs), n_steps),
        SCHEDULER: lambda: _seconds_a_step(ScheduleLR(_optimizer(lrs), _triangular()), n_steps),
        ASSIGNMENT: lambda: _seconds_an_assignment(_optimizer(lrs), n_steps),
    }
    return interleave(rivals, rounds)


def _optimizer(lrs: list[float]) -> SGD:
    return SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs], lr=0.1)


def _triangular() -> CyclicalLR:
    return CyclicalLR(base_lr=0.1, max_lr=1.0, step_size=STEP_SIZE)


def _cyclic_lr(optimizer: SGD, lrs: list[float]) -> CyclicLR:
    return CyclicLR(optimizer, lrs, [10 * lr for lr in lrs], STEP_SIZE, cycle_momentum=False)


def _seconds_a_step(scheduler: CyclicLR | ScheduleLR, n_steps: int) -> float:
    scheduler.optimizer.step()  # torch warns of a scheduler that steps first
    start = clock()
    for _ in range(n_steps):
        scheduler.step()
    return (clock() - start) / n_steps


def _seconds_an_assignment(optimizer: SGD, n_steps: int) -> float:
    groups = optimizer.param_groups
    rate = _triangular()
    write = rate_writer(groups, initial_ratios(groups, optimizer.defaults["lr"]))
    start = clock()
    for step in range(n_steps):
        write(rate(step))
    return (clock() - start) / n_steps
