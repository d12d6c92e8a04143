"""Writing rates to an optimizer's parameter groups, each in proportion to its initial rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RATIO = "lr_ratio"
"""Key of a group for its ratio, which so travels in the optimizer's state and in pickles."""
REFERENCE = "lr_reference"
"""Key of the groups for the rate of which their ratios are, where none has the optimizer's own."""
HAS_MOMENTUM = "has_momentum"
"""Key of a group that uses momentum."""

Groups = list[dict[str, Any]]


def initial_rates(groups: Groups) -> list[float]:
    """Give each group's initial rate: what a torch scheduler noted of it, else its rate."""
    return [float(group["initial_lr" if "initial_lr" in group else "lr"]) for group in groups]


def reference_lr(groups: Groups, own_lr: float) -> float:
    """Give the initial rate that a schedule's rate takes the place of.

    It is the optimizer's own where a group has that. It need not be anyone's: all groups may name
    rates, and torch's CyclicLR and OneCycleLR leave initial rates of their own behind. Then it is
    the highest group's, so that no group goes above the schedule.
    """
    initial = initial_rates(groups)
    return own_lr if own_lr and own_lr in initial else max(initial)


def initial_ratios(groups: Groups, reference: float) -> list[float]:
    """Give each group's initial rate over the one that the schedule's takes the place of."""
    return [lr / reference if reference else 1.0 for lr in initial_rates(groups)]


def note_ratios(groups: Groups, own_lr: float) -> float:
    """Note each group's ratio in it, once, and give the rate that a peak of None stands for.

    A rate that is a tensor becomes the group's own: until then it may be the user's, a parameter
    of the net that nothing may write to.
    """
    if not any(RATIO in group for group in groups):
        reference = reference_lr(groups, own_lr)
        if reference != own_lr:
            for group in groups:
                group[REFERENCE] = reference
    reference = next((group[REFERENCE] for group in groups if REFERENCE in group), own_lr)
    for group, ratio in zip(groups, initial_ratios(groups, reference), strict=True):
        if RATIO not in group:
            group[RATIO] = ratio
            if hasattr(group["lr"], "clone"):
                group["lr"] = group["lr"].clone()
    return reference


def rate_writer(groups: Groups, ratios: list[float]) -> Callable[[float], None]:
    """Give the function that writes a schedule's rate to all groups, all decided before."""
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
