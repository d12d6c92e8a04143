"""Measure in how many steps schedules reach the final validation accuracy of a fixed rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean, median

import torch
from datasets import Data, Split, split
from joblib import Parallel, delayed
from models import mlp
from report import Claim, Report, Table
from skorch import NeuralNetClassifier
from skorch.helper import predefined_split
from timing import Spread

from sklr.callbacks import CyclicalLR, OneCycle
from sklr.data import ArrayDataset

SMITH = 2.8
"""Times fewer steps that Smith (2017) reports on CIFAR-10: 25,000 instead of 70,000."""
N_LAST = 3
"""Evaluations at the end of a fixed rate's training whose mean is its final accuracy."""


@dataclass(frozen=True)
class Design:
    """The size of the comparison; lengths are in epochs."""

    name: str
    n_train: int
    n_valid: int
    hidden: tuple[int, ...]
    batch_size: int
    n_epochs: int
    lrs: tuple[float, ...]
    peaks: tuple[float, ...]
    step_sizes: tuple[int, ...]
    budgets: tuple[int, ...]
    tuning_seeds: tuple[int, ...]
    seeds: tuple[int, ...]

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.n_train / self.batch_size)


FASHION = Design(
    name="Fashion-MNIST",
    n_train=20_000,
    n_valid=5_000,
    hidden=(256, 128),
    batch_size=128,
    n_epochs=16,
    lrs=(0.003, 0.0065, 0.014, 0.03, 0.065, 0.14, 0.3),
    peaks=(0.03, 0.065, 0.14),
    step_sizes=(1, 2),
    budgets=(2, 4, 6, 8, 16),
    tuning_seeds=(100, 101),
    seeds=(0, 1, 2, 3, 4),
)
DIGITS = Design(
    name="digits",
    n_train=1_280,
    n_valid=500,
    hidden=(32,),
    batch_size=64,
    n_epochs=6,
    lrs=(0.01, 0.03, 0.1),
    peaks=(0.1, 0.3),
    step_sizes=(1,),
    budgets=(2, 6),
    tuning_seeds=(100,),
    seeds=(0, 1),
)


@dataclass(frozen=True)
class Setting:
    """One way to train, for `n_epochs` in all."""

    name: str
    n_epochs: int
    lr: float
    callback: CyclicalLR | OneCycle | None = None


Curve = list[float]
"""Validation accuracy at the end of each epoch."""
Curves = Mapping[Setting, Sequence[Curve]]
"""Each setting's curves, one a seed."""
Trainer = Callable[[str, Sequence[Setting], Sequence[int]], Curves]


@dataclass(frozen=True)
class Search:
    """The settings tried for one policy on the tuning seeds, and the curves of the chosen ones."""

    policy: str
    tried: Curves
    chosen: Curves


class Trainings:
    """Trains settings on the parts of one data set, in one process per processor."""

    def __init__(self, parts: Split, design: Design, progress: Callable[[str], object]) -> None:
        self.parts = parts
        self.design = design
        self.progress = progress

    def tune(self, what: str, settings: Sequence[Setting]) -> Curves:
        return self._run(f"{what}, tuning", settings, self.design.tuning_seeds)

    def report(self, what: str, settings: Sequence[Setting]) -> Curves:
        return self._run(f"{what}, chosen", settings, self.design.seeds)

    def _run(self, what: str, settings: Sequence[Setting], seeds: Sequence[int]) -> Curves:
        n_epochs = sum(setting.n_epochs for setting in settings) * len(seeds)
        self.progress(f"  {what}: {len(settings) * len(seeds)} trainings, {n_epochs} epochs")
        # The longest first, so that no process is left alone with one at the end.
        tasks = sorted(product(settings, seeds), key=lambda task: -task[0].n_epochs)
        curves = Parallel(n_jobs=-1)(
            delayed(_train)(self.parts, self.design, setting, seed) for setting, seed in tasks
        )
        by_task = dict(zip(tasks, curves, strict=True))
        return {setting: [by_task[setting, seed] for seed in seeds] for setting in settings}


def measure(
    data: Data, quick: bool = False, progress: Callable[[str], object] = lambda line: None
) -> Report:
    design = DIGITS if quick else FASHION
    trainings = Trainings(split(data, design.n_train, design.n_valid), design, progress)
    fixed = _search_fixed(trainings)
    target = fmean(map(_final, *fixed.chosen.values()))
    soonest = _search_soonest_fixed(fixed, target, trainings)
    triangular = _search_triangular(target, trainings)
    one_cycle = _search_one_cycle(trainings)

    whole = [float(design.n_epochs)] * len(design.seeds)
    rivals = {
        "best fixed rate, its whole training": whole,
        "soonest fixed rate, first reaching": _first_reaching(soonest, target),
    }
    ours = {
        "triangular (CyclicalLR), first reaching": _first_reaching(triangular, target),
        "OneCycle, smallest budget that ends there": _smallest_budget(one_cycle, target),
    }
    same_rate = {"best fixed rate, first reaching": _first_reaching(fixed, target)}
    ratios, claims = _compare(rivals, ours, design.n_epochs)
    tables = [
        _steps_table(rivals | same_rate | ours, design),
        Table(("policy", "rival", "times fewer steps", "seeds that reach it"), ratios),
        _tuning_table([fixed, soonest, triangular, one_cycle], design),
        _accuracy_table([fixed, triangular, one_cycle]),
    ]
    return Report("Steps to a fixed rate's accuracy", _notes(design, target), tables, claims)


def _search_fixed(trainings: Trainings) -> Search:
    """Choose the rate with the best final accuracy."""
    design = trainings.design
    settings = [Setting(f"lr={lr:g}", design.n_epochs, lr) for lr in design.lrs]
    tried = trainings.tune("fixed rate", settings)
    best = max(tried, key=lambda setting: fmean(map(_final, tried[setting])))
    return Search("best fixed rate", tried, trainings.report("fixed rate", [best]))


def _soonest(tried: Curves, target: float) -> Setting:
    """Choose the setting that reaches the target soonest on the tuning seeds."""

    def lateness(setting: Setting) -> tuple[int, float]:
        epochs = [_first(curve, target) for curve in tried[setting]]
        reached = [epoch for epoch in epochs if epoch < math.inf]
        return len(epochs) - len(reached), fmean(reached or epochs)

    return min(tried, key=lateness)


def _search_soonest_fixed(fixed: Search, target: float, trainings: Trainings) -> Search:
    """Choose the rate of the same grid that reaches the target soonest."""
    soonest = _soonest(fixed.tried, target)
    known = soonest in fixed.chosen
    chosen = fixed.chosen if known else trainings.report("soonest fixed rate", [soonest])
    return Search("soonest fixed rate", fixed.tried, chosen)


def _search_triangular(target: float, trainings: Trainings) -> Search:
    design = trainings.design
    settings = [
        Setting(
            f"max_lr={peak:g}, base_lr={peak / 10:g}, step_size={step_size}",
            design.n_epochs,
            peak,
            CyclicalLR(base_lr=peak / 10, step_size=step_size),
        )
        for peak, step_size in product(design.peaks, design.step_sizes)
    ]
    tried = trainings.tune("triangular", settings)
    chosen = trainings.report("triangular", [_soonest(tried, target)])
    return Search("triangular", tried, chosen)


def _search_one_cycle(trainings: Trainings) -> Search:
    """Choose the peak with the best last accuracy, for each budget."""
    design = trainings.design
    settings = [
        Setting(f"max_lr={peak:g} over {n_epochs} epochs", n_epochs, peak, OneCycle())
        for n_epochs, peak in product(design.budgets, design.peaks)
    ]
    tried = trainings.tune("OneCycle", settings)
    best: dict[int, Setting] = {}
    for setting in settings:
        rival = best.setdefault(setting.n_epochs, setting)
        if _mean_last(tried[setting]) > _mean_last(tried[rival]):
            best[setting.n_epochs] = setting
    return Search("OneCycle", tried, trainings.report("OneCycle", list(best.values())))


def _train(parts: Split, design: Design, setting: Setting, seed: int) -> Curve:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = NeuralNetClassifier(
        mlp,
        module__sizes=(parts.X_train.shape[1], *design.hidden, 10),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer__momentum=0.9,
        lr=setting.lr,
        batch_size=design.batch_size,
        max_epochs=setting.n_epochs,
        dataset=ArrayDataset,
        train_split=predefined_split(ArrayDataset(parts.X_valid, parts.y_valid)),
        iterator_train__shuffle=True,
        iterator_valid__batch_size=design.n_valid,
        callbacks=[] if setting.callback is None else [setting.callback],
        callbacks__print_log=None,
        verbose=0,
    )
    net.fit(parts.X_train, parts.y_train)
    return [float(accuracy) for accuracy in net.history[:, "valid_acc"]]


def _final(curve: Curve) -> float:
    return fmean(curve[-N_LAST:])


def _mean_last(curves: Sequence[Curve]) -> float:
    return fmean(curve[-1] for curve in curves)


def _first(curve: Curve, target: float) -> float:
    """Return the epochs until the target is first reached, infinite if it never is."""
    return next((float(i) for i, accuracy in enumerate(curve, 1) if accuracy >= target), math.inf)


def _first_reaching(search: Search, target: float) -> list[float]:
    """Return the epochs of each seed, for a search that chose one setting."""
    (curves,) = search.chosen.values()
    return [_first(curve, target) for curve in curves]


def _smallest_budget(search: Search, target: float) -> list[float]:
    """Return, per seed, the shortest whole training whose last evaluation reaches the target."""
    by_seed = zip(*search.chosen.values(), strict=True)
    return [
        min((float(len(curve)) for curve in curves if curve[-1] >= target), default=math.inf)
        for curves in by_seed
    ]


def _compare(
    rivals: Mapping[str, Sequence[float]], ours: Mapping[str, Sequence[float]], n_epochs: int
) -> tuple[list[tuple[object, ...]], list[Claim]]:
    rows, claims = [], []
    for (policy, epochs), (rival, rival_epochs) in product(ours.items(), rivals.items()):
        # A rival that does not reach the target counts with its whole training.
        fewer = [min(b, n_epochs) / a for a, b in zip(epochs, rival_epochs, strict=True)]
        spread = Spread.of(fewer)
        n_reached = sum(epoch < math.inf for epoch in epochs)
        reached = f"{n_reached} of {len(epochs)}"
        rows.append((policy, rival, spread if n_reached else "not reached", reached))
        claims.append(
            Claim(
                f"steps to a fixed rate's final validation accuracy: {policy}",
                rival,
                f"Smith's {SMITH}x fewer",
                f"{spread.median:.1f}x fewer, {reached} seeds" if n_reached else "not reached",
                spread.median >= SMITH,
            )
        )
    return rows, claims


def _tuning_table(searches: Sequence[Search], design: Design) -> Table:
    rows = []
    for search in searches:
        n_epochs = sum(setting.n_epochs for setting in search.tried) * len(design.tuning_seeds)
        chosen = "; ".join(setting.name for setting in search.chosen)
        n_steps = f"{n_epochs * design.steps_per_epoch:,}"
        rows.append((search.policy, len(search.tried), n_steps, chosen))
    return Table(("policy", "settings tried", "steps spent on tuning", "chosen"), rows)


def _steps_table(epochs: Mapping[str, Sequence[float]], design: Design) -> Table:
    def cell(value: float) -> str:
        return f"{value * design.steps_per_epoch:,.0f}" if value < math.inf else "not reached"

    rows = [(way, *map(cell, values), cell(median(values))) for way, values in epochs.items()]
    return Table(("steps", *(f"seed {seed}" for seed in design.seeds), "median"), rows)


def _accuracy_table(searches: Sequence[Search]) -> Table:
    """Return the accuracies of all settings, on tuning and on reported seeds."""
    rows = []
    for search in searches:
        for setting, curves in search.tried.items():
            chosen = search.chosen.get(setting)
            rows.append(
                (
                    search.policy.removeprefix("best "),
                    setting.name,
                    f"{_mean_last(curves):.4f}",
                    "" if chosen is None else f"{_mean_last(chosen):.4f}",
                )
            )
    header = ("policy", "setting", "last accuracy, tuning seeds", "reported seeds")
    return Table(header, rows)


def _notes(design: Design, target: float) -> list[str]:
    return [
        "Claim: with a triangular rate (`CyclicalLR`) or `OneCycle`, fewer steps reach the "
        f"validation accuracy that a fixed rate ends with; Smith reports {SMITH}x fewer on "
        "CIFAR-10, with another network.",
        "Rivals: the best fixed rate of a grid with its whole training (Smith's comparison, which "
        f"depends on how long that is: {design.n_epochs} epochs here), and the fixed rate that "
        "reaches the target soonest, by the same rule as the triangular rate.",
        f"Target: {target:.4f}, the best fixed rate's accuracy over its last {N_LAST} epochs, mean "
        f"of {len(design.seeds)} seeds.",
        f"{design.name}: {design.n_train:,} images to train on, {design.n_valid:,} to validate on, "
        "both of the training set; the test set is never read. "
        f"MLP with hidden layers {design.hidden}, SGD with momentum 0.9, batch size "
        f"{design.batch_size} ({design.steps_per_epoch} steps an epoch), one evaluation at the end "
        "of each epoch.",
        "Settings are chosen on the same validation images with seeds of their own: the fixed "
        "rate and OneCycle's peaks by accuracy at the end, the soonest fixed rate and the "
        "triangular rate by the steps to the target. Step sizes are in epochs.",
        f"Repeats: {len(design.seeds)} seeds, the same for all. Ratios are taken seed by seed, "
        "median (lowest-highest); a seed that does not reach the target counts as 0x.",
    ]
