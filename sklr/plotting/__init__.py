"""Draw schedules, range tests and snapshot ensembles.

Displays hold the numbers that they draw. Matplotlib is imported only when they are plotted.
"""

from sklr.plotting._range_test import LRRangeDisplay
from sklr.plotting._schedule import ScheduleDisplay
from sklr.plotting._snapshots import SnapshotDisplay

__all__ = ["LRRangeDisplay", "ScheduleDisplay", "SnapshotDisplay"]
