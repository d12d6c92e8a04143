"""Writing rates to an optimizer's parameter groups, each in proportion to its initial rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RATIO = "lr_ratio"
"""Key of a group for its ratio, which so travels in the optimizer's state and in pickles."""

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
    initial = [float(group.get("initial_lr", group["lr"])) for group in groups]
    if len(set(initial)) == 1 or base_lr == 0:
        return [1.0] * len(groups)
    return [lr / base_lr for lr in initial]


def rate_writer(groups: Groups, ratios: list[float]) -> Callable[[float], None]:
    """Give the function that writes a schedule's rate to all groups; the hot loop's only call."""
    # A capturable optimizer holds its rate in a tensor, which must stay the same object.
    if any(hasattr(group["lr"], "fill_") for group in groups):

        def write(rate: float) -> None:
            for group, ratio in zip(groups, ratios, strict=True):
                group["lr"].fill_(rate * ratio)

    elif set(ratios) == {1.0}:

        def write(rate: float) -> None:
            for group in groups:
                group["lr"] = rate

    else:

        def write(rate: float) -> None:
            for group, ratio in zip(groups, ratios, strict=True):
                group["lr"] = rate * ratio

    return write


def has_momentum(defaults: dict[str, Any]) -> bool:
    """Tell by an optimizer's defaults whether it uses momentum (or Adam's first beta)."""
    return "betas" in defaults or bool(defaults.get("momentum"))


def momentum_writer(groups: Groups) -> Callable[[float], None]:
    """Give the function that writes momentum, or Adam's first beta, to all groups."""

    def write(momentum: float) -> None:
        for group in groups:
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum

    return write
