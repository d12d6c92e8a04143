"""A training whose interruption by the user is seen, which skorch swallows."""

from __future__ import annotations

import dis
from typing import Any

from skorch import NeuralNet
from skorch.callbacks import Callback

from sklr.callbacks._progress import was_interrupted
from sklr.ensemble._prediction import is_skorchs


def run(net: NeuralNet, X: Any, y: Any, epochs: int | None = None) -> None:
    """Train a net as its `fit` does, or on as its `partial_fit` does.

    Callbacks that stop a training, such as skorch's EarlyStopping, raise KeyboardInterrupt too, and
    end it without a word, as in skorch.

    Parameters
    ----------
    net : NeuralNet
        The net.
    X, y : object
        What it takes.
    epochs : int, default=None
        How many more of an initialized net; None is a whole fit.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupted.
    """
    by_user = False
    if is_skorchs(net, ("fit", "partial_fit")):
        if epochs is None:
            net.initialize()
        net.notify("on_train_begin", X=X, y=y)
        try:
            net.fit_loop(X, y, epochs=epochs)
        except KeyboardInterrupt as error:
            by_user = not _is_raised_by_callback(error)
        net.notify("on_train_end", X=X, y=y)
    # A way of its own is kept; of it the history tells an interruption within an epoch only.
    elif epochs is None:
        net.fit(X, y)
    else:
        net.partial_fit(X, y, epochs=epochs)
    if by_user or was_interrupted(net):
        raise KeyboardInterrupt


def _is_raised_by_callback(error: KeyboardInterrupt) -> bool:
    """Tell whether a statement of a callback raised it, and no signal while something ran."""
    place = error.__traceback__
    assert place is not None
    while place.tb_next is not None:
        place = place.tb_next
    code = place.tb_frame.f_code.co_code
    raised = dis.opname[code[place.tb_lasti]] == "RAISE_VARARGS"
    return raised and isinstance(place.tb_frame.f_locals.get("self"), Callback)
