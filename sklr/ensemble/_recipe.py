"""The schedule of an ensemble that is given none, of a net that has none."""

from __future__ import annotations

from dataclasses import dataclass

from sklr._validation import check_integer
from sklr.callbacks._base import Plan
from sklr.callbacks._named import NamedSchedule
from sklr.schedules import CosineRestarts

N_SNAPSHOTS = 3
LAST_TO_FIRST = 4
"""How many times as long as the first cycle the last one is."""


@dataclass(kw_only=True, eq=False, repr=False)
class LengtheningCycles(NamedSchedule):
    """Cosine falls that lengthen evenly and fill the training.

    Three of them, of one, two and four sevenths of the training, did best on validation data
    (benchmarks/results_ensemble_choice.md). The same as a callback of the user's:
    ``SGDR(unit="fraction", cycle_length=1 / 7, cycle_mult=2)``.

    Parameters
    ----------
    max_lr : float, default=None
        The peak of each cycle; None is the optimizer's own rate.
    n_cycles : int, default=3
        Number of cycles, at least 1 and at most as many as the training has steps. Where they are
        so many that the first would be under one step, all have the same length.
    """

    max_lr: float | None = None
    n_cycles: int = N_SNAPSHOTS

    def _needs_total(self) -> bool:
        return True

    def _value(self, plan: Plan, n_steps: int) -> CosineRestarts:
        n_cycles = check_integer(
            self, "n_cycles", self.n_cycles, at_least=1, at_most=("n_steps", n_steps)
        )
        cycle_mult = LAST_TO_FIRST ** (1 / max(n_cycles - 1, 1))
        cycle_length = n_steps / sum(cycle_mult**i for i in range(n_cycles))
        if cycle_length < 1:
            cycle_length, cycle_mult = n_steps / n_cycles, 1.0
        return CosineRestarts(
            max_lr=self._peak("max_lr", plan), cycle_length=cycle_length, cycle_mult=cycle_mult
        )
