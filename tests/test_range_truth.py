"""The truth that suggestions are judged by is whole, and scores are what they are said to be."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import range_scores
import range_tasks
import range_truth


def test_every_training_of_the_truth_is_there():
    truth = range_truth.load()
    assert list(truth) == range_truth.all_keys()
    assert all(loss > 0 for loss in truth.values())
    assert len(range_tasks.LONG) >= 16
    assert len(range_tasks.SHORT) >= 32
    assert len(range_tasks.TUNING) == len(range_tasks.REPORT)
    assert len(range_tasks.SHORT_TUNING) == len(range_tasks.SHORT_REPORT)
    names = [task.name for task in range_tasks.TASKS]
    assert len(set(names)) == len(names)
    assert all(100 <= task.n_steps <= 600 for task in range_tasks.SHORT)


def test_every_task_has_a_best_rate_inside_the_grid():
    for task in range_tasks.TASKS:
        for schedule in range_truth.schedules_of(task):
            logs = range_scores.log_losses(task, schedule).mean(axis=1)
            assert 0 < int(np.argmin(logs)) < len(logs) - 1


def test_noise_floor_judges_each_seed_at_the_rate_that_the_others_choose():
    # Rows are rates, columns seeds. Seeds 0 and 1 are judged at the second rate, as the others
    # choose it; seed 2 at the first, whose mean log loss over seeds 0 and 1 is log(1.5) / 2. The
    # best of the grid is the second rate, with log(2) / 3.
    logs = np.log([[1, 1.5, 4], [2, 1, 1], [3, 3, 3]])
    expected = np.array([2, 1, 4]) / 2 ** (1 / 3)
    np.testing.assert_allclose(range_scores.run_again(logs), expected, rtol=1e-14)


def test_noise_floor_of_trainings_that_do_not_differ_is_one():
    logs = np.repeat([[0.5], [0.25], [1.0]], 3, axis=1)
    assert range_scores.run_again(logs).tolist() == [1, 1, 1]


def test_regret_is_one_at_the_best_rate_and_greatest_without_an_answer():
    curve = np.linspace(-1, 1, len(range_truth.LRS)) ** 2
    best = int(curve.argmin())
    assert range_scores.regret(curve, range_truth.LRS[best]) == 1
    assert range_scores.regret(curve, range_truth.LRS[0]) == np.exp(curve[0])
    assert range_scores.regret(curve, range_truth.LRS[0] / 100) == np.exp(curve[0])
    assert range_scores.regret(curve, float("nan")) == np.exp(curve.max())


def test_spread_is_in_decades_and_leaves_out_what_gave_no_answer():
    nan = float("nan")
    lrs = np.array([[0.1, 1, nan], [0.01, 0.01, 0.01], [nan, 0.1, nan], [nan, nan, nan]])
    np.testing.assert_array_equal(range_scores.spread(lrs), [1, 0, nan, nan])


def test_paired_interval_is_one_number_where_every_task_has_the_same_ratio():
    ours = np.array([[1.0, 2.0], [4.0, 4.0], [1.0, 1.0]])
    assert range_scores.paired_interval(ours, ours) == (1, 1)
    # A rival may have another number of runs a task.
    rival = 2 * np.exp(np.log(ours).mean(axis=1, keepdims=True))
    np.testing.assert_allclose(range_scores.paired_interval(ours, rival), (2, 2), rtol=1e-14)


def test_a_failed_training_counts_as_an_untrained_net():
    truth = range_truth.load()
    for task in range_tasks.TASKS:
        logs = range_scores.log_losses(task, "constant")
        untrained = [
            truth[range_truth.Key(task.name, "constant", lr, seed)]
            for lr in range_truth.LRS[:2]
            for seed in range_truth.seeds_of(task)
        ]
        assert logs.shape == (len(range_truth.LRS), len(range_truth.seeds_of(task)))
        assert logs.max() <= np.log(np.median(untrained))
