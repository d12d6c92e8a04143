"""Displays: they hold arrays, and draw them when asked. Matplotlib is imported only then."""

from sklr.plotting.range_test import LRRangeDisplay
from sklr.plotting.schedule import ScheduleDisplay
from sklr.plotting.snapshots import SnapshotDisplay

__all__ = ["LRRangeDisplay", "ScheduleDisplay", "SnapshotDisplay"]
