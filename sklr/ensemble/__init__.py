"""Snapshot ensembles: the members of one training, used as a voting ensemble."""

from sklr.ensemble.classifier import SnapshotEnsemble
from sklr.ensemble.regressor import SnapshotEnsembleRegressor

__all__ = ["SnapshotEnsemble", "SnapshotEnsembleRegressor"]
