"""Learning-rate schedules as values: frozen, exact, callable, step in and rate out.

>>> from sklr import schedules
>>> schedule = schedules.CyclicalLR(base_lr=0.01, max_lr=0.1, step_size=100)
>>> schedule(100)
0.1
>>> schedule([0, 50, 100]).round(6)
array([0.01 , 0.055, 0.1  ])
"""

from sklr.schedules._annealing import (
    Constant,
    CosineDecay,
    ExponentialDecay,
    InverseTimeDecay,
    StepDecay,
)
from sklr.schedules._base import BaseSchedule
from sklr.schedules._composition import join, scale, warmup
from sklr.schedules._cycles import (
    SGDR,
    CyclicalLR,
    FastGeometric,
    OneCycle,
    SnapshotCosine,
)
from sklr.schedules._range_test import RangeTest

__all__ = [
    "SGDR",
    "BaseSchedule",
    "Constant",
    "CosineDecay",
    "CyclicalLR",
    "ExponentialDecay",
    "FastGeometric",
    "InverseTimeDecay",
    "OneCycle",
    "RangeTest",
    "SnapshotCosine",
    "StepDecay",
    "join",
    "scale",
    "warmup",
]
