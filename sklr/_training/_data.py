"""The data set through which sklr feeds a net: dtypes, shapes and sample weights as it needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklr.data import ArrayDataset, Tree, as_column, map_leaves

SAMPLE_WEIGHT = "sklr_sample_weight"
"""Key of the samples' weights in a batch of inputs; the inputs themselves are at `INPUT`."""
INPUT = "sklr_input"


def frame_as_array(X: Any) -> Any:
    """Return a frame of numbers, of any library, as an array, and anything else as it is."""
    if not (hasattr(type(X), "columns") and hasattr(type(X), "to_numpy")):
        return X
    values = X.to_numpy()
    return values if values.dtype.kind in "biuf" else X


class AdaptedDataset(ArrayDataset):
    """ArrayDataset that also gives a net the numbers and shapes it needs.

    Parameters
    ----------
    X, y, length
        As in ArrayDataset.
    dtype : str, torch.dtype or None, default=None
        As in ArrayDataset, or its name, such as 'float32', which files can keep.
    floats : bool, default=False
        Whether inputs of any other dtype, such as integers, become `dtype` too, batch by batch.
    columns : bool, default=False
        Whether targets of shape (n_samples,) come as (n_samples, 1).
    frames : bool, default=False
        Whether a frame of numbers comes as one array, instead of as a dict of its columns.
    sample_weight : ndarray of shape (n_samples,), default=None
        Comes with the inputs, as `SAMPLE_WEIGHT` beside `INPUT`, where y comes too.
    """

    def __init__(
        self,
        X: Any,
        y: Any = None,
        length: int | None = None,
        dtype: str | torch.dtype | None = None,
        floats: bool = False,
        columns: bool = False,
        frames: bool = False,
        sample_weight: NDArray[np.float32] | None = None,
    ) -> None:
        self.floats = floats
        self.columns = columns
        self.frames = frames
        self.sample_weight = sample_weight
        X = frame_as_array(X) if frames else X
        super().__init__(X, y, length, getattr(torch, dtype) if isinstance(dtype, str) else dtype)

    def _parse_data(self) -> None:
        super()._parse_data()
        if self.columns and self._y is not None:
            self._y = map_leaves(as_column, self._y)

    def _fetch(self, index: NDArray[np.intp]) -> list[Tree]:
        X, y = super()._fetch(index)
        if self.floats:
            X = map_leaves(self._as_float, X)
        if self.sample_weight is not None and self.y is not None:
            X = {INPUT: X, SAMPLE_WEIGHT: torch.from_numpy(self.sample_weight[index])}
        return [X, y]

    def _as_float(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.to(self._float64_to)
