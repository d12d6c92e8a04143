"""skorch callbacks: schedules, the ramp of a range test, snapshots of the weights."""

from sklr.callbacks._annealing import CosineDecay, ExponentialDecay, InverseTimeDecay, StepDecay
from sklr.callbacks._cycles import SGDR, CyclicalLR, FastGeometric, OneCycle, SnapshotCosine
from sklr.callbacks._finder import LRFinder
from sklr.callbacks._schedule import Schedule
from sklr.callbacks._snapshots import Snapshots

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
