"""Seeded global generators, left as they were found; trainings in threads take turns."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_turn = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch, numpy and random within, and leave them as they were found.

    The generators are global: trainings in threads take turns.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1.
    """
    with _turn, torch.random.fork_rng():
        # The generators of those who have no generator of their own, such as a net's split.
        numpy_state = np.random.get_state()  # noqa: NPY002
        python_state = random.getstate()
        try:
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)
