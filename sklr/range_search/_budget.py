"""Share the budget of a search, in training batches, between ramps and trials."""

from __future__ import annotations

from dataclasses import dataclass

from sklr._curves import MIN_POINTS

AUTO = "auto"
LONG = 600
"""Steps from which on a training is a long one for 'auto'. For a shorter one seconds buy trials of
its whole length, which measure it as it is."""
AUTO_LONG = 1.5
"""Whole trainings that 'auto' is for a long one."""
AUTO_SHORT, AUTO_STEPS = 6, 2_500
"""Whole trainings that 'auto' is for a short one, or these steps if they are more."""

RAMP_SHARE = 1 / 4
"""Part of the budget that ramps take if trials follow: a mean of two ramps is nearly as good as one
of four, and trials gain more from the rest."""

SURVIVORS = (8, 4, 2)
"""Candidates that are trained in each rung of short trials (successive halving)."""
RUNGS = (0.042, 0.102, 0.297)
"""Steps that a candidate has had after each rung, as parts of what is left for all trials. In all
that is nearly the whole, since each rung only goes on from the one before."""
MIN_FIRST_RUNG = 10
"""Fewer steps in the first rung than this say nothing of a candidate."""

MIN_WHOLE = 5
"""So many whole trainings find the best rate between two others in most searches: with less, all
trials are shorter."""
MIN_BOTH = 9
"""So many find the best constant rate and the best peak of a schedule: with less, averaged weights
of the trainings at constant rates speak for the peak."""
MAX_SPLITS = 5
"""Splits that the best rates are trained on at most."""


@dataclass(frozen=True)
class Budget:
    """How the allowed steps are shared.

    Attributes
    ----------
    steps : int or None
        Steps in all; None if the length of the training is not known.
    training_steps : int or None
        Steps of a whole training.
    n_repeats, n_steps : int
        Ramps, and the length of each.
    verify : bool
        Whether enough is left to verify candidates by trials.
    message : str
        What was made smaller than asked for, or left out, and why; may be empty.
    """

    steps: int | None
    training_steps: int | None
    n_repeats: int
    n_steps: int
    verify: bool
    message: str

    def left(self, spent: int) -> int:
        """Return how many steps are left for trials; none if the training has no known length."""
        return 0 if self.steps is None else self.steps - spent


def allowed_steps(training_steps: int, budget: float | str) -> int:
    """Return the steps that a budget allows.

    Parameters
    ----------
    training_steps : int
        Steps of a whole training.
    budget : float or 'auto'
        Whole trainings. 'auto' is 1.5 long ones, or 6 short ones, and of these at least 2,500
        steps.
    """
    if budget == AUTO and training_steps < LONG:
        return max(AUTO_SHORT * training_steps, AUTO_STEPS)
    if budget == AUTO:
        return int(AUTO_LONG * training_steps)
    return int(float(budget) * training_steps)


def share(
    training_steps: int | None, budget: float | str, n_repeats: int, n_steps: int, verify: bool
) -> Budget:
    """Share the budget between ramps and trials.

    Parameters
    ----------
    training_steps : int or None
        Steps of the estimator's own whole training; None if that is not known.
    budget : float or 'auto'
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
        return Budget(None, None, n_repeats, n_steps, False, unknown if verify else "")
    steps = allowed_steps(training_steps, budget)
    for_ramps = int(steps * RAMP_SHARE)
    if are_whole(steps - n_steps, training_steps):
        # A further ramp is worth less than a whole training, and one is always run.
        for_ramps = max(n_steps, min(for_ramps, steps - MIN_WHOLE * training_steps))
    trials = verify and for_ramps >= n_steps and can_verify(steps - for_ramps, training_steps)
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
    # Fewer ramps are no loss that the user must hear of if 'auto' chose so, and trials follow.
    if words and not (trials and budget == AUTO):
        # The budget is what the user can change, so it comes first.
        listed = " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
        message = f"Raise budget for more: within {steps} steps {listed}."
    return Budget(steps, training_steps, repeats, length, trials, message)


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
    left = budget.left(spent)
    wanted = int(left * RAMP_SHARE) if budget.verify else left
    return min(budget.n_repeats, max(wanted // budget.n_steps, int(left >= budget.n_steps)))


def can_verify(left: int, training_steps: int) -> bool:
    """Return whether so many steps are enough for trials, of the whole length or shorter."""
    return are_whole(left, training_steps) or rungs(left, training_steps)[0][1] >= MIN_FIRST_RUNG


def are_whole(left: int, training_steps: int) -> bool:
    """Return whether so many steps are enough for trials of the whole length."""
    return left >= MIN_WHOLE * training_steps


def rungs(left: int, training_steps: int) -> list[tuple[int, int]]:
    """Return, for each rung, its number of candidates and the steps that each has had after it.

    No trial is longer than the training that it stands for.
    """
    steps = [min(int(part * left), training_steps) for part in RUNGS]
    return list(zip(SURVIVORS, steps, strict=True))
