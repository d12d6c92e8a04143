"""Find the parameters with which a net takes its data; support modules in bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import clone, is_classifier
from skorch import NeuralNet
from torch.utils.data import Dataset

from sklr._training._dry_run import DryRun, begin_training, dry_run
from sklr._training._inputs import n_samples, take_rows
from sklr._training._seeding import seeded
from sklr._training._target import make_silent

BFLOAT16 = "bfloat16"


class InFloat32:
    """A nonlinearity whose results numpy can hold.

    Parameters
    ----------
    nonlinearity : callable
        The net's own.
    """

    def __init__(self, nonlinearity: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.nonlinearity = nonlinearity

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        """Return the result in float32."""
        return self.nonlinearity(output).float()


def predict_in_float32(net: NeuralNet) -> None:
    """Make an initialized net predict if its module is in bfloat16, which numpy lacks."""
    if any(p.dtype == torch.bfloat16 for p in net.module_.parameters()):
        # Not by set_params, which makes parts of an initialized net anew.
        vars(net)["predict_nonlinearity"] = InFloat32(nonlinearity(net))


def nonlinearity(net: NeuralNet) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function with which a net makes predictions of its module's outputs."""
    # Private, but the only place that knows what skorch infers from the criterion.
    function: Callable[[torch.Tensor], torch.Tensor] = net._get_predict_nonlinearity()
    return function


def in_dtype_of_targets(dry: DryRun, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a regression's targets in a dtype that becomes the net's, batch by batch."""
    return y.astype(np.float64) if dry.params.get("dataset__dtype") == BFLOAT16 else y


def adapt(net: NeuralNet, X: Any, y: Any) -> DryRun:
    """Return the dry run of a net, and raise if the module cannot take the data.

    `dry_run` itself knows nothing of bfloat16, and leaves all errors to the training.

    Parameters
    ----------
    net : NeuralNet
        The net, not initialized; it stays as it is.
    X, y : object
        The training data.

    Raises
    ------
    ValueError
        If torch cannot predict X, as with a wrong number of features.
    """
    dry = dry_run(net, X, y)
    if dry.output is not None or isinstance(X, Dataset):
        return dry
    in_bfloat16 = dry.params.get("dataset__dtype") == BFLOAT16
    # Integers are tried as they are, for an Embedding, then as floats, for most other layers.
    as_floats = (False, True) if dry.params and hasattr(X, "dtype") else (False,)
    for floats in as_floats:
        params = dry.params | ({"dataset__floats": True} if floats else {})
        try:
            output = _output(net, params, X, y)
        except RuntimeError as error:
            if floats is as_floats[-1]:
                raise ValueError(
                    f"The net cannot predict X of shape {_shape(X)}: {error}"
                ) from error
        except Exception:  # not torch's: a net that predicts in its own way may still train well
            break
        else:
            if in_bfloat16 and output.shape[1:] == (1,) and not is_classifier(net):
                params["dataset__columns"] = True
            return replace(dry, params=params, output=output)
    return dry


def _output(net: NeuralNet, params: dict[str, Any], X: Any, y: Any) -> npt.NDArray[Any]:
    """Return what a net predicts for two samples before its training."""
    untrained = clone(net).set_params(**params)
    make_silent(untrained)
    with seeded(0):
        begin_training(untrained, X, y)
        predict_in_float32(untrained)
        rows = take_rows(X, np.arange(min(2, n_samples(X))))
        return np.asarray(untrained.predict_proba(rows))


def _shape(X: Any) -> Any:
    """Return the shape of inputs, or those of a dict of them."""
    return (
        {key: tuple(part.shape) for key, part in X.items()}
        if isinstance(X, dict)
        else tuple(X.shape)
    )
