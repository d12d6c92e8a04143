"""The learning rate, handled, in the API that scikit-learn users know."""

from sklr.callbacks import (
    SGDR,
    CosineDecay,
    CyclicalLR,
    ExponentialDecay,
    FastGeometric,
    InverseTimeDecay,
    LRFinder,
    OneCycle,
    Schedule,
    SnapshotCosine,
    Snapshots,
    StepDecay,
)
from sklr.ensemble import SnapshotEnsemble, SnapshotEnsembleRegressor
from sklr.range_search import LRRangeSearch, LRSuggestion, RangeTestError

__version__ = "0.1.0"

__all__ = [
    "SGDR",
    "CosineDecay",
    "CyclicalLR",
    "ExponentialDecay",
    "FastGeometric",
    "InverseTimeDecay",
    "LRFinder",
    "LRRangeSearch",
    "LRSuggestion",
    "OneCycle",
    "RangeTestError",
    "Schedule",
    "SnapshotCosine",
    "SnapshotEnsemble",
    "SnapshotEnsembleRegressor",
    "Snapshots",
    "StepDecay",
]
