"""One training of a user's estimator: the only call of its fit, and of its net's partial_fit."""

from __future__ import annotations

from typing import Any

from skorch import NeuralNet

from sklr._interrupts import InterruptWatch


def run(net: NeuralNet, X: Any, y: Any, epochs: int | None = None) -> None:
    """Train a net as its `fit` does, or on as its `partial_fit` does."""
    with InterruptWatch():
        if epochs is None:
            net.fit(X, y)
        else:
            net.partial_fit(X, y, epochs=epochs)
