"""What a search may spend, in training batches: on ramps, and on trial trainings after them."""

from __future__ import annotations

from dataclasses import dataclass

from sklr._curves import MIN_POINTS

RAMP_SHARE = 1 / 4
"""Part of the budget that ramps take where probes follow: a mean of two ramps is nearly as good as
one of four, and probes gain more from the rest."""

KEPT = (8, 4, 2)
"""Candidates that are trained in each round of the probes."""
ROUNDS = (0.042, 0.102, 0.297)
"""Steps that a candidate has had after each round, as parts of what is left for all probes."""
FIRST_ROUND = 10
"""Fewer steps of the first round than this tell nothing."""


@dataclass(frozen=True)
class Budget:
    """How the allowed steps are shared.

    Attributes
    ----------
    steps : int or None
        Steps in all; None where the length of the training is not known.
    n_repeats, n_steps : int
        Ramps, and the length of each.
    probes : bool
        Whether enough is left to probe candidates.
    message : str
        What was made smaller than asked for, or left out, and why; may be empty.
    """

    steps: int | None
    n_repeats: int
    n_steps: int
    probes: bool
    message: str


def share(
    training_steps: int | None, budget: float, n_repeats: int, n_steps: int, probe: bool
) -> Budget:
    """Share the budget between ramps and probes.

    Parameters
    ----------
    training_steps : int or None
        Steps of the estimator's own whole training; None where that is not known.
    budget : float
        Whole trainings to spend.
    n_repeats, n_steps : int
        Ramps and their length, as asked for.
    probe : bool
        Whether probes are wanted.
    """
    if training_steps is None:
        unknown = "No candidate was probed: the training data has no length to budget for."
        return Budget(None, n_repeats, n_steps, False, unknown if probe else "")
    steps = int(budget * training_steps)
    ramps = int(steps * RAMP_SHARE)
    probes = probe and ramps >= n_steps and can_probe(steps - ramps)
    affordable = (ramps if probes else steps) // n_steps
    length = n_steps if affordable else max(MIN_POINTS, steps)
    repeats = min(n_repeats, max(1, affordable))
    words = []
    if probe and not probes:
        words.append("no candidate was probed")
    if repeats < n_repeats:
        words.append(f"{repeats} of {n_repeats} ramps were run")
    if length < n_steps:
        words.append(f"ramps had {length} of {n_steps} steps")
    message = f"For a budget of {steps} steps {' and '.join(words)}." if words else ""
    return Budget(steps, repeats, length, probes, message)


def more_ramps(budget: Budget, spent: int) -> int:
    """Give how many ramps there are for another range: fewer than before where little is left.

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
    wanted = int(left * RAMP_SHARE) if budget.probes else left
    return min(budget.n_repeats, max(wanted // budget.n_steps, int(left >= budget.n_steps)))


def can_probe(left: int) -> bool:
    """Tell whether so many steps are enough for all probes."""
    return rounds(left)[0][1] >= FIRST_ROUND


def rounds(left: int) -> list[tuple[int, int]]:
    """Give, for each round, the candidates in it and the steps that each has had after it."""
    return [(n, int(part * left)) for n, part in zip(KEPT, ROUNDS, strict=True)]
