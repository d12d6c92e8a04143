"""What a range test suggests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import loguniform

from sklr._validation import check_integer, check_option


class RangeTestError(RuntimeError):
    """A range test without an answer; the message says what happened and what to do."""


@dataclass(frozen=True, kw_only=True)
class LRSuggestion:
    """What a range test suggests.

    Attributes
    ----------
    lr : float
        For the net as it is: a constant rate, or the peak of the schedule that it has.
    base_lr, max_lr : float
        Bounds for a cycle.
    steepest_lr : float
        The rate at the steepest fall of the loss, which other finders suggest; to compare.
    interval : tuple of (float, float)
        How far single ramps differ: the rates that stand to `lr` as the least losses of the
        lowest and the highest of them to that of their mean. NaN for one ramp.
    status : {'ok', 'no_divergence', 'flat', 'diverged_at_start', 'failed'}
        What the test came to; the rates are NaN unless it is one of the first two.
    message : str
        What happened and what to do, and what was adjusted or left out.
    params : dict
        Ready for ``estimator.set_params(**params)``; empty without an answer.
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
    status: str
    message: str
    params: dict[str, float] = field(default_factory=dict)
    cost_steps: int
    seconds: float

    def __str__(self) -> str:
        lines = [f"{self.status}: {self.message}"]
        if self.params:
            low, high = self.interval
            lines += [
                f"lr {self.lr:.2g} (ramps from {low:.2g} to {high:.2g})",
                f"cycle from base_lr {self.base_lr:.2g} to max_lr {self.max_lr:.2g}",
                *(f"{name}={value:.3g}" for name, value in self.params.items()),
            ]
        return "\n".join([*lines, f"{self.cost_steps} steps, {self.seconds:.1f} s"])

    def param_grid(self, n: int = 5) -> dict[str, list[float]]:
        """Give a grid around the suggestion, for GridSearchCV.

        Parameters
        ----------
        n : int, default=5
            Number of rates, evenly spaced on the log scale over half a decade to each side.

        Returns
        -------
        dict of str to list of float
            By the name of the estimator's parameter.
        """
        check_integer(self, "n", n, at_least=1)
        steps = np.linspace(-0.5, 0.5, n) if n > 1 else np.zeros(1)
        return {
            name: [float(lr * 10**step) for step in steps] for name, lr in self._searched().items()
        }

    def param_distributions(self, library: str = "scipy") -> dict[str, Any]:
        """Give log-uniform distributions around the suggestion, half a decade to each side.

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
        """
        check_option(self, "library", library, ("scipy", "optuna"))
        make = loguniform if library == "scipy" else _optuna_loguniform()
        return {name: make(lr / 10**0.5, lr * 10**0.5) for name, lr in self._searched().items()}

    def _searched(self) -> dict[str, float]:
        """Give the parameters to search: the peak of a cycle, while its base stays as suggested."""
        return {name: lr for name, lr in self.params.items() if not name.endswith("__base_lr")}


def _optuna_loguniform() -> Callable[[float, float], Any]:
    """Give Optuna's log-uniform distribution."""
    try:
        from optuna.distributions import FloatDistribution
    except ImportError as error:
        raise ImportError(
            "library='optuna' needs Optuna. Install it with: pip install optuna"
        ) from error
    return partial(FloatDistribution, log=True)
