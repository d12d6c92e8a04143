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
"""Steps that the epoch was to have; tells what part of an interrupted epoch was done."""
TOTAL_STEPS = "total_batch_count"
"""Steps that the whole training was to have, at this epoch's steps per epoch."""
OPTIMIZER_STEPS = "optimizer_batch_count"
"""Optimizer steps of the epoch, where they are not its batches (accelerate)."""


def row_steps(row: Row) -> int:
    """Give the steps done in an epoch, whole or interrupted."""
    if OPTIMIZER_STEPS in row:
        return int(row[OPTIMIZER_STEPS])
    if "train_batch_count" in row:
        return int(row["train_batch_count"])
    # An interrupted epoch: the batch that was cut has a row, but no loss yet.
    return sum("train_loss" in batch for batch in row["batches"])


def row_epochs(row: Row, steps_per_epoch: int) -> tuple[int, int]:
    """Give the part of an epoch that was done as a fraction: numerator and denominator."""
    if "train_batch_count" in row:
        return 1, 1
    return row_steps(row), int(row.get(PLANNED_STEPS, steps_per_epoch))


def steps_done(rows: Sequence[Row]) -> int:
    """Give the steps done in all epochs."""
    return sum(row_steps(row) for row in rows)


def epochs_done_in_steps(rows: Sequence[Row], steps_per_epoch: int) -> float:
    """Give the epochs done, in steps of the present epochs' length.

    Whole where no epoch was interrupted and where interrupted ones had the present length.
    """
    parts = [row_epochs(row, steps_per_epoch) for row in rows]
    return sum(done * steps_per_epoch / planned for done, planned in parts)


def planned_epochs(rows: Sequence[Row]) -> int | None:
    """Give the epochs that the first fit was to have, or None where no schedule noted them."""
    for row in rows:
        # A fit that was cut before its first epoch began left a row without a plan.
        if TOTAL_STEPS in row:
            return int(row[TOTAL_STEPS]) // int(row[PLANNED_STEPS])
    return None
