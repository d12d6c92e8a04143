"""Share the budget of a search, in training batches, between ramps and trials."""

from __future__ import annotations

from dataclasses import dataclass

from sklr._curves import MIN_POINTS

RAMP_SHARE = 1 / 4
"""Part of the budget that ramps take if trials follow: a mean of two ramps is nearly as good as one
of four, and trials gain more from the rest."""

SURVIVORS = (8, 4, 2)
"""Candidates that are trained in each rung of the trials (successive halving)."""
RUNGS = (0.042, 0.102, 0.297)
"""Steps that a candidate has had after each rung, as parts of what is left for all trials: they
add up to the whole, since each rung only goes on from the one before."""
MIN_FIRST_RUNG = 10
"""Fewer steps in the first rung than this say nothing of a candidate."""


@dataclass(frozen=True)
class Budget:
    """How the allowed steps are shared.

    Attributes
    ----------
    steps : int or None
        Steps in all; None if the length of the training is not known.
    n_repeats, n_steps : int
        Ramps, and the length of each.
    verify : bool
        Whether enough is left to verify candidates by trials.
    message : str
        What was made smaller than asked for, or left out, and why; may be empty.
    """

    steps: int | None
    n_repeats: int
    n_steps: int
    verify: bool
    message: str


def share(
    training_steps: int | None, budget: float, n_repeats: int, n_steps: int, verify: bool
) -> Budget:
    """Share the budget between ramps and trials.

    Parameters
    ----------
    training_steps : int or None
        Steps of the estimator's own whole training; None if that is not known.
    budget : float
        Whole trainings to spend.
    n_repeats, n_steps : int
        Ramps and their length, as asked for.
    verify : bool
        Whether trials are wanted.

    Returns
    -------
    Budget
    """
    if training_steps is None:
        unknown = "No candidate was verified: the training data has no length to budget for."
        return Budget(None, n_repeats, n_steps, False, unknown if verify else "")
    steps = int(budget * training_steps)
    for_ramps = int(steps * RAMP_SHARE)
    trials = verify and for_ramps >= n_steps and can_verify(steps - for_ramps)
    affordable = (for_ramps if trials else steps) // n_steps
    length = n_steps if affordable else max(MIN_POINTS, steps)
    repeats = min(n_repeats, max(1, affordable))
    words = []
    if verify and not trials:
        words.append("no candidate was verified")
    if repeats < n_repeats:
        words.append(f"{repeats} of {n_repeats} ramps were run")
    if length < n_steps:
        words.append(f"ramps had {length} of {n_steps} steps")
    message = ""
    if words:
        # The budget is what the user can change, so it comes first.
        listed = " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
        message = f"Raise budget for more: within {steps} steps {listed}."
    return Budget(steps, repeats, length, trials, message)


def more_ramps(budget: Budget, spent: int) -> int:
    """Return how many ramps there are for another range: fewer than before if little is left.

    Parameters
    ----------
    budget : Budget
        How the steps were shared.
    spent : int
        Steps so far.
    """
    if budget.steps is None:
        return budget.n_repeats
    left = budget.steps - spent
    wanted = int(left * RAMP_SHARE) if budget.verify else left
    return min(budget.n_repeats, max(wanted // budget.n_steps, int(left >= budget.n_steps)))


def can_verify(left: int) -> bool:
    """Return whether so many steps are enough for all trials."""
    return rungs(left)[0][1] >= MIN_FIRST_RUNG


def rungs(left: int) -> list[tuple[int, int]]:
    """Return, for each rung, its number of candidates and the steps that each has had after it."""
    return [(n, int(part * left)) for n, part in zip(SURVIVORS, RUNGS, strict=True)]
