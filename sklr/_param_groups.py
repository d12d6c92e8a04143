"""Write rates and momentum to an optimizer's parameter groups, each in its own proportion.

A group's proportion is its initial rate over the optimizer's own. It is noted in the group, so that
it travels in the optimizer's state and in pickles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

from sklr._warnings import warn

RATIO = "lr_ratio"
"""Key of a group for its proportion."""
REFERENCE = "lr_reference"
"""Key of the groups for the rate that proportions refer to, if it is not the optimizer's own."""
WRITTEN = "lr_written"
"""Key of the first group for the schedule's rate of the last step: if a group does not have that in
its proportion, the user has set its rate."""
HAS_MOMENTUM = "has_momentum"
"""Key of a group that uses momentum."""

Group = dict[str, Any]
Groups = list[Group]


def initial_rates(groups: Groups) -> list[float]:
    """Return each group's initial rate: what a torch scheduler noted of it, else its rate."""
    return [float(group["initial_lr" if "initial_lr" in group else "lr"]) for group in groups]


def guessed_reference(rates: Collection[float], own_lr: float) -> float:
    """Return the initial rate that a schedule's rate takes the place of.

    It is the optimizer's own if a group has that. It need not be anyone's: all groups may name
    rates, and torch's CyclicLR and OneCycleLR leave initial rates of their own behind. Then it is
    the highest group's, so that no group goes above the schedule.
    """
    return own_lr if own_lr and own_lr in rates else max(rates)


def initial_ratios(groups: Groups, reference: float) -> list[float]:
    """Return each group's initial rate over the one that the schedule's takes the place of."""
    return [lr / reference if reference else 1.0 for lr in initial_rates(groups)]


def note_ratios(groups: Groups, own_lr: float, stated: Collection[float] = ()) -> float:
    """Record each group's proportion in it, once, and return the rate that a peak of None is.

    A group that is added to a training is noted when it is first seen: by its rate over the
    optimizer's own, or, at the rate that another group has just now, by that group's proportion.

    Parameters
    ----------
    groups : list of dict
        The optimizer's groups.
    own_lr : float
        The optimizer's own rate.
    stated : collection of float, default=()
        Rates that the user gave to groups. A proportion above one is warned of if it is not stated:
        in an optimizer state that was loaded, the group that has the optimizer's rate may be
        another.
    """
    noted = [group for group in groups if RATIO in group]
    new = [group for group in groups if RATIO not in group]
    if not new:
        return _noted_reference(groups, own_lr)
    if not noted:
        rates = initial_rates(groups)
        reference = guessed_reference(rates, own_lr)
        _note(groups, rates, reference, own_lr)
        if not set(rates) <= {*stated, own_lr}:
            warn_of_excess(rates, reference, "initialize the net with lr set to that group's rate")
        return reference
    reference = _noted_reference(noted, own_lr)
    for group in new:
        lr = float(group["lr"])
        like = (other[RATIO] for other in noted if _is_written(groups, other, lr))
        group[RATIO] = next(like, lr / reference if reference else 1.0)
        _own_tensor(group)
    return reference


def follow_user(groups: Groups, own_lr: float) -> None:
    """Take the rates that the user has set since the last training for initial ones."""
    if WRITTEN not in groups[0]:
        return
    changed = [
        group for group in groups if RATIO in group and not _is_written(groups, group, group["lr"])
    ]
    rates = [float(group["lr"]) for group in changed]
    if len(changed) < len(groups):
        reference = _noted_reference(groups, own_lr)
        for group, lr in zip(changed, rates, strict=True):
            group[RATIO] = lr / reference if reference else 1.0
            _own_tensor(group)
        return
    # skorch writes `lr` and `optimizer__lr` to all groups: they stand for the reference, and the
    # groups keep their proportions.
    same = len(set(rates)) == 1
    reference = rates[0] if same else guessed_reference(rates, own_lr)
    for group, lr in zip(groups, rates, strict=True):
        group.pop(REFERENCE, None)
        if not same:
            group[RATIO] = lr / reference
        _refer(group, reference, own_lr)


def warn_of_excess(rates: list[float], reference: float, remedy: str) -> None:
    """Warn if a group would train at a multiple of the schedule's rates."""
    highest = max(rates)
    if highest > reference > 0:
        warn(
            f"Parameter group {rates.index(highest)} trains at {highest / reference:.3g} times the "
            f"schedule's rates, since its initial rate is {highest:g} and the optimizer's own is "
            f"{reference:g}. If the schedule's rates are meant for this group, {remedy}."
        )


def _note(groups: Groups, rates: list[float], reference: float, own_lr: float) -> None:
    for group, lr in zip(groups, rates, strict=True):
        group[RATIO] = lr / reference if reference else 1.0
        _refer(group, reference, own_lr)


def _refer(group: Group, reference: float, own_lr: float) -> None:
    if reference != own_lr:
        group[REFERENCE] = reference
    _own_tensor(group)


def _noted_reference(groups: Groups, own_lr: float) -> float:
    return next((float(group[REFERENCE]) for group in groups if REFERENCE in group), own_lr)


def _own_tensor(group: Group) -> None:
    """Make a rate that is a tensor the group's own.

    Until then it may be the user's, a parameter of the net that nothing may write to.
    """
    if hasattr(group["lr"], "clone"):
        group["lr"] = group["lr"].clone()


def _is_written(groups: Groups, group: Group, lr: Any) -> bool:
    """Return whether a rate is the one that a noted group got in the last step."""
    if WRITTEN not in groups[0]:
        return False
    # A tensor holds the rate in single precision.
    written = groups[0][WRITTEN] * group[RATIO]
    return math.isclose(written, float(lr), rel_tol=1e-6, abs_tol=1e-37)


def rate_writer(groups: Groups, ratios: list[float]) -> Callable[[float], None]:
    """Return the function that writes a schedule's rate to all groups, all decided before."""
    # A capturable optimizer holds its rate in a tensor, which must stay the same object.
    if any(hasattr(group["lr"], "fill_") for group in groups):

        def write(rate: float) -> None:
            for group, ratio in zip(groups, ratios, strict=True):
                if hasattr(group["lr"], "fill_"):
                    group["lr"].fill_(rate * ratio)
                else:
                    group["lr"] = rate * ratio

    elif set(ratios) == {1.0}:

        def write(rate: float) -> None:
            for group in groups:
                group["lr"] = rate

    else:
        pairs = list(zip(groups, ratios, strict=True))

        def write(rate: float) -> None:
            for group, ratio in pairs:
                group["lr"] = rate * ratio

    return write


def momentum_groups(groups: Groups) -> Groups:
    """Return the groups that use momentum (or Adam's first beta), noting it in each.

    The note keeps a group whose momentum a schedule has brought to 0.
    """
    for group in groups:
        if "betas" in group or group.get("momentum"):
            group[HAS_MOMENTUM] = True
    return [group for group in groups if HAS_MOMENTUM in group]


def momentum_writer(groups: Groups) -> Callable[[float], None]:
    """Return the function that writes momentum, or Adam's first beta, to all groups with it."""
    groups = momentum_groups(groups)

    def write(momentum: float) -> None:
        for group in groups:
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum

    return write
