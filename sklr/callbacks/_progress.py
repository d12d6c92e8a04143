"""How far a net's training is, read from its history alone.

Nothing is counted beside the history, so the answer is right after `partial_fit`, with
`warm_start`, in an unpickled net and after `load_params(f_history=...)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
"""One epoch of a skorch history."""

# skorch hides keys that end so from its log.
PLANNED_STEPS = "planned_batch_count"
"""Steps that the epoch was to have; to know what part of an interrupted epoch was done."""
TOTAL_STEPS = "total_batch_count"
"""Steps that the whole training was to have, at this epoch's steps per epoch."""
OPTIMIZER_STEPS = "optimizer_batch_count"
"""Optimizer steps of the epoch, if they are not its batches (accelerate)."""


def row_steps(row: Row) -> int:
    """Return the steps done in an epoch, whole or interrupted."""
    if OPTIMIZER_STEPS in row:
        return int(row[OPTIMIZER_STEPS])
    if "train_batch_count" in row:
        return int(row["train_batch_count"])
    # An interrupted epoch: the batch that was cut has a row, but no loss yet.
    return sum("train_loss" in batch for batch in row["batches"])


class Done:
    """The epochs done, summed up row by row as a training goes on.

    Parameters
    ----------
    steps_per_epoch : int or None
        Length of the present training's epochs; None if it is not known.

    Attributes
    ----------
    n_rows : int
        Epochs of the history that are in the sums.
    steps : int
        Steps done in them.
    epochs_in_steps : float
        These epochs in steps of the present length: an interrupted one by the part of its own
        length that was done. Whole if no interrupted epoch had another length.
    """

    def __init__(self, steps_per_epoch: int | None) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.n_rows = 0
        self.steps = 0
        self.epochs_in_steps: float = 0

    def add(self, rows: Sequence[Row]) -> None:
        """Take in the epochs of a history that are not in the sums yet."""
        for row in rows[self.n_rows :]:
            steps = row_steps(row)
            self.steps += steps
            if self.steps_per_epoch is not None:
                whole = "train_batch_count" in row
                planned = int(row.get(PLANNED_STEPS, self.steps_per_epoch))
                done = self.steps_per_epoch if whole else steps * self.steps_per_epoch / planned
                self.epochs_in_steps += done
        self.n_rows = len(rows)


def planned_epochs(rows: Sequence[Row]) -> int | None:
    """Return the epochs that the first fit was to have, or None if no schedule noted them."""
    for row in rows:
        # A fit that was cut before its first epoch began left a row without a plan.
        if TOTAL_STEPS in row:
            return int(row[TOTAL_STEPS]) // int(row[PLANNED_STEPS])
    return None
