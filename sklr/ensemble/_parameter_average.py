"""Average the parameters of snapshots into one net, for ``combine='parameters'``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from skorch import NeuralNet
from torch.utils.data import Subset

from sklr._averaging import averaged_state, reestimate_batch_norm
from sklr._module_state import ModuleState
from sklr.ensemble._prediction import make_member


def average_parameters(
    net: NeuralNet, states: Sequence[ModuleState], weights: Any, X: Any, y: Any, train_rows: Any
) -> NeuralNet:
    """Return one fitted net of averaged weights, its BatchNorm statistics estimated anew.

    Parameters
    ----------
    net : NeuralNet
        To clone.
    states : sequence of dict
        The snapshots.
    weights : ndarray of shape (n_snapshots,)
        Their weights.
    X, y : object
        All data.
    train_rows : ndarray of int or None
        Rows that were trained on; None is all.
    """
    average = make_member(net, averaged_state(states, weights))
    dataset = average.get_dataset(X, y)
    if train_rows is not None:
        dataset = Subset(dataset, np.asarray(train_rows).tolist())
    reestimate_batch_norm(average, average.get_iterator(dataset, training=False))
    return average
