"""Snapshot ensembles: the members of one training, used as a voting ensemble."""

from sklr.ensemble._classifier import SnapshotEnsemble
from sklr.ensemble._diversity import Uncertainty
from sklr.ensemble._regressor import SnapshotEnsembleRegressor

__all__ = ["SnapshotEnsemble", "SnapshotEnsembleRegressor", "Uncertainty"]
