"""What members, and their means, lose on each held-out sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def log_losses(proba: Array, y: Array) -> Array:
    """Give the negative logs of the probabilities of the true labels, which are indices."""
    true = proba[np.arange(len(y)), y.astype(int)]
    losses: Array = -np.log(np.maximum(true, np.finfo(np.float64).tiny))
    return losses


def squared_errors(values: Array, y: Array) -> Array:
    """Give the squared differences."""
    errors: Array = (values - y) ** 2
    return errors
