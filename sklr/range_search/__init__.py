"""The learning-rate range test as a scikit-learn estimator."""

from sklr._curves import Curve, RangeTestError
from sklr.range_search._search import LRRangeSearch
from sklr.range_search._suggestion import LRSuggestion

__all__ = ["Curve", "LRRangeSearch", "LRSuggestion", "RangeTestError"]
