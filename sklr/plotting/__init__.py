"""Displays: they hold arrays, and draw them when asked. Matplotlib is imported only then."""

from sklr.plotting._range_test import LRRangeDisplay
from sklr.plotting._schedule import ScheduleDisplay
from sklr.plotting._snapshots import SnapshotDisplay

__all__ = ["LRRangeDisplay", "ScheduleDisplay", "SnapshotDisplay"]
