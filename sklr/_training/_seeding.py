"""Seeded global generators, put back as they were; trainings in threads take turns."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch


class GeneratorStates(NamedTuple):
    """States of the global generators of torch (CPU and CUDA), numpy and Python."""

    torch: torch.Tensor
    cuda: list[torch.Tensor]
    numpy: Any
    python: Any


def generator_states() -> GeneratorStates:
    """Return the states of the global generators."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    # numpy's legacy generator is that of everyone who has none of their own, such as a net's split.
    return GeneratorStates(
        torch.get_rng_state(),
        cuda,
        np.random.get_state(),  # noqa: NPY002
        random.getstate(),
    )


def set_generator_states(states: GeneratorStates) -> None:
    """Set the states of the global generators."""
    torch.set_rng_state(states.torch)
    if states.cuda and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states.cuda)
    np.random.set_state(states.numpy)  # noqa: NPY002
    random.setstate(states.python)


_turn = threading.RLock()
"""Held by the thread whose training draws from the global generators."""


class _Held(threading.local):
    """How often this thread holds the turn, and the states that it found when it took it."""

    def __init__(self) -> None:
        self.depth = 0
        self.found: GeneratorStates | None = None


_held = _Held()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch, numpy and random for one training, and put them back as they were found.

    The generators are global, so trainings in threads take turns. Code of the user's that may
    start threads of its own (preprocessing, a scorer, a nested fit) must not run within: those
    threads would wait for a turn that never ends. Use `seeded_without_turn` or `without_turn`.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1.
    """
    with _turn:
        before = generator_states()
        if _held.depth == 0:
            _held.found = before
        _held.depth += 1
        try:
            _seed(seed)
            yield
        finally:
            set_generator_states(before)
            _held.depth -= 1


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


class _Shared:
    """The blocks without the turn that threads have open, and the states before the first."""

    def __init__(self) -> None:
        self.blocks = 0
        self.before: GeneratorStates | None = None


_shared = _Shared()


@contextmanager
def seeded_without_turn(seed: int) -> Iterator[None]:
    """Seed as `seeded` does, while other threads may train.

    The seed is set, and the states are put back, when no other thread trains: so its numbers stay
    what they are. Code within that draws from the global generators is repeatable unless other
    threads train meanwhile.
    """
    with _turn:
        before = generator_states()
        if _shared.blocks == 0:
            _shared.before = before
        _shared.blocks += 1
        _seed(seed)
    try:
        yield
    finally:
        with _turn:
            _shared.blocks -= 1
            # Blocks of several threads may end in any order: the last puts back what the first
            # found. If there is one only, that is what it found itself.
            last = _shared.before if _shared.blocks == 0 else before
            set_generator_states(last or before)


@contextmanager
def without_turn() -> Iterator[None]:
    """Pause this thread's training: run code of the user's that may itself train in threads.

    Within, the generators have the states of before the training; after, those of the training
    again. Does nothing if this thread has no turn.
    """
    depth = _held.depth
    if depth == 0 or _held.found is None:
        yield
        return
    training = generator_states()
    set_generator_states(_held.found)
    _held.depth = 0
    for _ in range(depth):
        _turn.release()
    try:
        yield
    finally:
        for _ in range(depth):
            _turn.acquire()
        _held.depth = depth
        set_generator_states(training)
