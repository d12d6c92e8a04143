"""skorch callbacks: schedules, the ramp of a range test, snapshots of the weights."""

from sklr.callbacks.annealing import CosineDecay, ExponentialDecay, InverseTimeDecay, StepDecay
from sklr.callbacks.cycles import SGDR, CyclicalLR, FastGeometric, OneCycle, SnapshotCosine
from sklr.callbacks.finder import LRFinder
from sklr.callbacks.schedule import Schedule
from sklr.callbacks.snapshots import Snapshots

__all__ = [
    "SGDR",
    "CosineDecay",
    "CyclicalLR",
    "ExponentialDecay",
    "FastGeometric",
    "InverseTimeDecay",
    "LRFinder",
    "OneCycle",
    "Schedule",
    "SnapshotCosine",
    "Snapshots",
    "StepDecay",
]
