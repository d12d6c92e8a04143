"""Learning-rate range tests, schedules and snapshot ensembles for skorch, in scikit-learn's API."""

from sklr._checkpoint import CheckpointError
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
from sklr.ensemble import SnapshotEnsemble, SnapshotEnsembleRegressor, Uncertainty
from sklr.lr_scheduler import RangeTestLR, ScheduleLR
from sklr.range_search import LRRangeSearch, LRSuggestion, RangeTestError

__version__ = "0.1.0"

__all__ = [
    "SGDR",
    "CheckpointError",
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
    "RangeTestLR",
    "Schedule",
    "ScheduleLR",
    "SnapshotCosine",
    "SnapshotEnsemble",
    "SnapshotEnsembleRegressor",
    "Snapshots",
    "StepDecay",
    "Uncertainty",
]
