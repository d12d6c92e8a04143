"""Seeds and turns: states come back bit for bit, and threads never mix their numbers."""

import random
import threading

import numpy as np
import pytest
import torch

from sklr._training._seeding import (
    generator_states,
    seeded,
    seeded_without_turn,
    set_generator_states,
    without_turn,
)

BLOCKS = [seeded, seeded_without_turn]


def draw():
    return torch.rand(3).tolist(), np.random.random(3).tolist(), random.random()  # noqa: NPY002


def assert_same(first, second):
    assert torch.equal(first.torch, second.torch)
    np.testing.assert_array_equal(first.numpy[1], second.numpy[1])
    assert first.numpy[2:] == second.numpy[2:]
    assert first.python == second.python


@pytest.mark.parametrize("inner", BLOCKS)
@pytest.mark.parametrize("outer", BLOCKS)
def test_states_come_back_and_numbers_depend_on_the_seed_only(outer, inner):
    before = generator_states()
    with outer(3):
        first, middle = draw(), generator_states()
        with inner(4):
            nested = draw()
        assert_same(generator_states(), middle)
    assert_same(generator_states(), before)
    draw()
    with inner(4):
        assert draw() == nested
    states_after = generator_states()
    with pytest.raises(ZeroDivisionError), outer(3):
        raise ZeroDivisionError if draw() == first else ValueError
    assert_same(generator_states(), states_after)


def run_together(*functions):
    """Run functions in threads, and return what they return; a hang is a failure."""
    results = [None] * len(functions)

    def call(i):
        results[i] = functions[i]()

    threads = [threading.Thread(target=call, args=(i,), daemon=True) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    return results


@pytest.mark.parametrize("other", BLOCKS)
def test_a_training_draws_its_own_numbers_beside_other_threads(other):
    with seeded(0):
        expected = [draw() for _ in range(3)]
    before = generator_states()
    has_begun, others_wait = threading.Event(), threading.Event()

    def train():
        with seeded(0):
            drawn = [draw()]
            has_begun.set()
            assert others_wait.wait(60)
            return [*drawn, draw(), draw()]

    def interfere():
        assert has_begun.wait(60)
        others_wait.set()
        with other(1):
            return draw()

    found, _ = run_together(train, interfere)
    assert found == expected
    assert_same(generator_states(), before)


def test_blocks_of_two_threads_that_end_in_any_order_leave_the_states_of_before():
    before = generator_states()
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def first():
        with seeded_without_turn(1):
            first_is_in.set()
            assert second_is_in.wait(60)
        first_is_out.set()

    def second():
        assert first_is_in.wait(60)
        with seeded_without_turn(2):
            second_is_in.set()
            assert first_is_out.wait(60)

    run_together(first, second)
    assert_same(generator_states(), before)


def test_without_turn_pauses_a_training_at_any_depth():
    before = generator_states()
    with seeded(5):
        expected = [draw(), draw()]

    def others():
        with seeded(9):
            return draw()

    with seeded(1), seeded(5):
        found = [draw()]
        with without_turn():
            assert_same(generator_states(), before)
            # Threads of the user's code have their turn meanwhile.
            run_together(others, others)
            with seeded(2):
                draw()
        found.append(draw())
    assert found == expected
    assert_same(generator_states(), before)


def test_without_turn_outside_a_training_does_nothing():
    before = generator_states()
    with without_turn():
        assert_same(generator_states(), before)
    set_generator_states(before)
    first = draw()
    set_generator_states(before)
    assert draw() == first
