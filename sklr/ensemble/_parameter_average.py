"""Average the parameters of snapshots into one net, for ``combine='parameters'``."""

from __future__ import annotations

from collections.abc import Sequence

from skorch import NeuralNet
from torch.utils.data import Subset

from sklr._averaging import averaged_state, reestimate_batch_norm
from sklr._module_state import ModuleState
from sklr.ensemble._members import Data
from sklr.ensemble._prediction import make_member
from sklr.ensemble._selection import Array


def average_parameters(
    net: NeuralNet, states: Sequence[ModuleState], weights: Array, data: Data, rows: Array | None
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
    data : Data
        What the ensemble is fitted on.
    rows : ndarray of int or None
        Rows that were trained on; None is all.
    """
    # Statistics of BatchNorm are those of each snapshot's own activations: the mean of them is not
    # that of the averaged weights'.
    average = make_member(net, averaged_state(states, weights))
    dataset = average.get_dataset(data.X, data.y)
    if rows is not None:
        dataset = Subset(dataset, rows.tolist())
    reestimate_batch_norm(average, average.get_iterator(dataset, training=False))
    return average
