"""Let nets whose modules are in bfloat16 predict, though numpy has no such dtype."""

from __future__ import annotations

from collections.abc import Callable

import torch
from skorch import NeuralNet

Nonlinearity = Callable[[torch.Tensor], torch.Tensor]


class InFloat32:
    """A nonlinearity whose results numpy can hold.

    Parameters
    ----------
    nonlinearity : callable
        The net's own.
    """

    def __init__(self, nonlinearity: Nonlinearity) -> None:
        self.nonlinearity = nonlinearity

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        """Return the result in float32."""
        return self.nonlinearity(output).float()


def predict_in_float32(net: NeuralNet) -> None:
    """Make an initialized net predict if its module is in bfloat16."""
    if any(p.dtype == torch.bfloat16 for p in net.module_.parameters()):
        # Not by set_params, which makes parts of an initialized net anew.
        vars(net)["predict_nonlinearity"] = InFloat32(nonlinearity(net))


def nonlinearity(net: NeuralNet) -> Nonlinearity:
    """Return the function with which a net makes predictions of its module's outputs."""
    # Private, but the only place that knows what skorch infers from the criterion.
    function: Nonlinearity = net._get_predict_nonlinearity()
    return function
