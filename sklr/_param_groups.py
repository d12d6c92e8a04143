"""Writing rates to an optimizer's parameter groups, each in proportion to its initial rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RATIO = "lr_ratio"
"""Key of a group for its ratio, which so travels in the optimizer's state and in pickles."""
HAS_MOMENTUM = "has_momentum"
"""Key of a group that uses momentum."""

Groups = list[dict[str, Any]]


def initial_ratios(groups: Groups, base_lr: float) -> list[float]:
    """Give each group's initial rate over the optimizer's own.

    Groups that all have one rate have no proportion to keep, whatever that rate is.

    Parameters
    ----------
    groups : list of dict
        The groups of an optimizer; an 'initial_lr' that a scheduler noted goes before the rate.
    base_lr : float
        The optimizer's own rate, which holds where a group names none.
    """
    noted = ["initial_lr" if "initial_lr" in group else "lr" for group in groups]
    initial = [float(group[key]) for group, key in zip(groups, noted, strict=True)]
    if len(set(initial)) == 1 or base_lr == 0:
        return [1.0] * len(groups)
    return [lr / base_lr for lr in initial]


def note_ratios(groups: Groups, base_lr: float) -> None:
    """Note each group's ratio in it, once, and make a rate that is a tensor the group's own."""
    for group, ratio in zip(groups, initial_ratios(groups, base_lr), strict=True):
        if RATIO not in group:
            group[RATIO] = ratio
            # Until now it may be the user's, a parameter of the net that nothing may write to.
            if hasattr(group["lr"], "clone"):
                group["lr"] = group["lr"].clone()


def rate_writer(groups: Groups, ratios: list[float]) -> Callable[[float], None]:
    """Give the function that writes a schedule's rate to all groups; the hot loop's only call."""
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
    """Give the groups that use momentum (or Adam's first beta), noting it in each.

    The note keeps a group whose momentum a schedule has brought to 0.
    """
    for group in groups:
        if "betas" in group or group.get("momentum"):
            group[HAS_MOMENTUM] = True
    return [group for group in groups if HAS_MOMENTUM in group]


def momentum_writer(groups: Groups) -> Callable[[float], None]:
    """Give the function that writes momentum, or Adam's first beta, to all groups that use it."""
    groups = momentum_groups(groups)

    def write(momentum: float) -> None:
        for group in groups:
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum

    return write
