"""Trainings that survive an interruption, and the files that they and fitted estimators keep."""

from sklr._checkpoint._files import CheckpointError

__all__ = ["CheckpointError"]
