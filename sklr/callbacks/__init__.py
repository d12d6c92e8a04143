"""skorch callbacks that set the learning rate of each training batch."""

from sklr.callbacks.annealing import CosineDecay, ExponentialDecay, InverseTimeDecay, StepDecay
from sklr.callbacks.cycles import SGDR, CyclicalLR, FastGeometric, OneCycle, SnapshotCosine
from sklr.callbacks.schedule import Schedule

__all__ = [
    "SGDR",
    "CosineDecay",
    "CyclicalLR",
    "ExponentialDecay",
    "FastGeometric",
    "InverseTimeDecay",
    "OneCycle",
    "Schedule",
    "SnapshotCosine",
    "StepDecay",
]
