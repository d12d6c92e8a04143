"""What a range test suggests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import loguniform

from sklr._validation import check_integer


class RangeTestError(RuntimeError):
    """A range test without an answer; the message says what happened and what to do."""


@dataclass(frozen=True, kw_only=True)
class LRSuggestion:
    """What a range test suggests.

    Attributes
    ----------
    lr : float
        For a constant rate.
    base_lr, max_lr : float
        Bounds for a cycle.
    steepest_lr : float
        The rate at the steepest fall of the loss, which other finders suggest; to compare.
    interval : tuple of (float, float)
        Lowest and highest `lr` that the repeats suggest one by one.
    status : {'ok', 'no_divergence', 'flat', 'diverged_at_start', 'failed'}
        What the test came to; the rates are NaN unless it is one of the first two.
    message : str
        What happened and what to do.
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

    def param_distributions(self) -> dict[str, Any]:
        """Give log-uniform distributions around the suggestion, for RandomizedSearchCV.

        Returns
        -------
        dict of str to scipy distribution
            By the name of the estimator's parameter; half a decade to each side.
        """
        return {
            name: loguniform(lr / 10**0.5, lr * 10**0.5) for name, lr in self._searched().items()
        }

    def _searched(self) -> dict[str, float]:
        """Give the parameters to search: the peak of a cycle, while its base stays as suggested."""
        return {name: lr for name, lr in self.params.items() if not name.endswith("__base_lr")}
