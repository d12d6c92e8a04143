"""The suggestion of a range test, as users receive it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import loguniform

from sklr._validation import check_integer, check_option


@dataclass(frozen=True, kw_only=True)
class LRSuggestion:
    """A learning rate that a range test suggests, and how sure it is.

    Attributes
    ----------
    lr : float
        For the net as it is: a constant rate, or the peak of the schedule that it has.
    base_lr, max_lr : float
        Bounds for a cycle.
    steepest_lr : float
        The rate at the steepest fall of the loss, which other finders suggest; to compare.
    interval : tuple of (float, float)
        The rates that trials leave open, within their noise; without trials, `lr` scaled by the
        lowest and highest rate that the ramps leave open for their least loss. Two numbers if there
        is an answer, else NaN.
    good_range : tuple of (float, float)
        The rates around `lr` that did as well in the trials: their validation loss is at most 5%
        above the least. NaN without trials.
    status : {'ok', 'no_divergence', 'flat', 'diverged_at_start', 'failed'}
        The outcome; the rates are NaN unless it is one of the first two.
    message : str
        What to do, what happened, and what was adjusted or left out.
    verified : bool
        Whether trials on validation data confirmed it.
    params : dict
        Ready for ``estimator.set_params(**params)``, parameter groups with rates of their own in
        proportion; empty without an answer.
    cost_steps : int
        Training batches that the test took.
    seconds : float
        Wall time that the test took.
    """

    lr: float
    base_lr: float
    max_lr: float
    steepest_lr: float
    interval: tuple[float, float]
    good_range: tuple[float, float] = (math.nan, math.nan)
    status: str
    message: str
    verified: bool = False
    params: dict[str, Any] = field(default_factory=dict)
    cost_steps: int
    seconds: float

    def __str__(self) -> str:
        lines = [f"{self.status}: {self.message}"]
        if self.params:
            low, high = self.interval
            lines += [
                f"lr {self.lr:.2g} (from {low:.2g} to {high:.2g})",
                f"cycle from base_lr {self.base_lr:.2g} to max_lr {self.max_lr:.2g}",
                *(f"{name}={_shown(value)}" for name, value in self.params.items()),
            ]
        return "\n".join([*lines, f"{self.cost_steps} steps, {self.seconds:.1f} s"])

    def param_grid(self, n: int = 5) -> dict[str, list[Any]] | list[dict[str, list[Any]]]:
        """Return a grid around the suggestion, for GridSearchCV.

        Parameters
        ----------
        n : int, default=5
            Number of rates, evenly spaced on the log scale over half a decade to each side.

        Returns
        -------
        dict of str to list, or list of such dicts
            By the name of the estimator's parameter. If parameter groups have rates of their own, a
            list with one dict a rate, so that the groups stay in proportion.
        """
        check_integer(self, "n", n, at_least=1)
        exponents = np.linspace(-0.5, 0.5, int(n)) if n > 1 else np.zeros(1)
        points = [self._scaled(10**exponent) for exponent in exponents]
        if any(isinstance(value, list) for value in points[0].values()):
            return [{name: [value] for name, value in point.items()} for point in points]
        return {name: [point[name] for point in points] for name in points[0]}

    def param_distributions(self, library: str = "scipy") -> dict[str, Any]:
        """Return log-uniform distributions around the suggestion, half a decade to each side.

        Parameters
        ----------
        library : {'scipy', 'optuna'}, default='scipy'
            Whose: scipy's for RandomizedSearchCV, Optuna's for OptunaSearchCV.

        Returns
        -------
        dict of str to distribution
            By the name of the estimator's parameter.

        Raises
        ------
        ImportError
            If Optuna is asked for and not installed.
        ValueError
            If parameter groups have rates of their own, which independent distributions would not
            keep in proportion.
        """
        check_option(self, "library", library, ("scipy", "optuna"))
        searched = self._scaled(1.0)
        if any(isinstance(value, list) for value in searched.values()):
            raise ValueError(
                "Use param_grid(n) for a net whose parameter groups have rates of their own: "
                "independent distributions would not keep them in proportion."
            )
        make = loguniform if library == "scipy" else _optuna_loguniform()
        return {name: make(lr / 10**0.5, lr * 10**0.5) for name, lr in searched.items()}

    def _scaled(self, factor: float) -> dict[str, Any]:
        """Return the parameters to search, scaled: a cycle's peak, while its base stays."""
        return {
            name: _times(value, factor)
            for name, value in self.params.items()
            if not name.endswith("__base_lr")
        }


def _times(value: Any, factor: float) -> Any:
    """Return a rate, or the groups' rates, times a factor."""
    if not isinstance(value, list):
        return float(value * factor)
    return [
        (pattern, options | {"lr": options["lr"] * factor} if "lr" in options else options)
        for pattern, options in value
    ]


def _shown(value: Any) -> str:
    if not isinstance(value, list):
        return f"{value:.3g}"
    rates = ", ".join(f"{p}: {o['lr']:.3g}" for p, o in value if "lr" in o)
    return f"[{rates}]"


def _optuna_loguniform() -> Callable[[float, float], Any]:
    """Return Optuna's log-uniform distribution."""
    try:
        from optuna.distributions import FloatDistribution
    except ImportError as error:
        raise ImportError(
            "library='optuna' needs Optuna. Install it with: pip install optuna"
        ) from error
    return partial(FloatDistribution, log=True)
