"""The truth that suggested rates are judged by is whole, and each best rate inside its grid."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import range_tasks
import range_truth


def test_every_training_of_the_truth_is_there():
    truth = range_truth.load()
    assert list(truth) == range_truth.all_keys()
    assert all(loss > 0 for loss in truth.values())
    assert len(range_tasks.TASKS) >= 16
    assert len(range_tasks.TUNING) == len(range_tasks.REPORT)


def test_every_task_has_a_best_rate_inside_the_grid():
    truth = range_truth.load()
    for task in range_tasks.TASKS:
        for schedule in range_truth.SCHEDULES:
            mean = [
                np.mean([truth[range_truth.Key(task.name, schedule, lr, s)] for s in (0, 1, 2)])
                for lr in range_truth.LRS
            ]
            assert 0 < int(np.argmin(mean)) < len(mean) - 1
