"""The learning-rate range test as a scikit-learn estimator."""

from sklr.range_search.search import LRRangeSearch
from sklr.range_search.suggestion import LRSuggestion, RangeTestError

__all__ = ["LRRangeSearch", "LRSuggestion", "RangeTestError"]
