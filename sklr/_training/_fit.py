"""One training: the only place that calls the fit of a user's net, and so that sees Ctrl-C."""

from __future__ import annotations

from typing import Any

from skorch import NeuralNet

from sklr._interrupts import InterruptWatch


def fit_net(
    net: NeuralNet, X: Any, y: Any, *, epochs: int | None = None, **fit_params: Any
) -> NeuralNet:
    """Train a net, and let the user's Ctrl-C through, which skorch swallows.

    A callback that ends the training, such as skorch's EarlyStopping, raises KeyboardInterrupt
    too; that ends it without an error, as in skorch.

    Parameters
    ----------
    net : NeuralNet
        The net; its generators are those of `seeded`.
    X, y : object
        Training data, as the net takes it.
    epochs : int, default=None
        How many more epochs an initialized net is trained for, as by its `partial_fit`; None is
        its whole `fit`.
    **fit_params
        Passed on to the net.

    Returns
    -------
    net : NeuralNet
        The same net, trained.

    Raises
    ------
    KeyboardInterrupt
        If the user pressed Ctrl-C.
    """
    with InterruptWatch():
        if epochs is None:
            net.fit(X, y, **fit_params)
        else:
            net.partial_fit(X, y, epochs=epochs, **fit_params)
    return net
