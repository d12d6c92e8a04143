"""The benchmark of ensembles keeps validation and test data apart, and its scores are right."""

import math
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from sklr import SnapshotEnsemble
from sklr.ensemble._parameters import choose_schedule

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import bench_ensemble_accuracy as bench
import ensemble_tasks

SCRIPT = Path(bench.__file__)


def test_there_are_six_pairs_with_fashion_on_a_cnn_with_batch_norm():
    names = [task.name for task in ensemble_tasks.TASKS]
    assert len(set(names)) >= 6
    assert "fashion CNN BN momentum" in names


@pytest.mark.parametrize("data", ["digits", "shells", "clusters"])
def test_parts_are_disjoint_and_only_training_labels_are_wrong(data):
    clean, noisy = ensemble_tasks.parts(data), ensemble_tasks.parts(data, noise=0.2)
    parts = (clean.X_train, clean.X_valid, clean.X_test)
    rows = [{row.tobytes() for row in X} for X in parts]
    assert all(not a & b for a, b in combinations(rows, 2))
    np.testing.assert_array_equal(clean.y_valid, noisy.y_valid)
    np.testing.assert_array_equal(clean.y_test, noisy.y_test)
    wrong = np.mean(clean.y_train != noisy.y_train)
    assert abs(wrong - 0.2) < 4 * math.sqrt(0.2 * 0.8 / len(clean.y_train))


def test_seeds_that_choose_are_not_reported():
    assert not set(bench.TUNING_SEEDS) & set(bench.SEEDS)
    assert len(bench.SEEDS) == 5


def test_chosen_recipes_were_candidates_and_are_reported():
    for fits in (bench.CANDIDATES, bench.REPORTED):
        assert {bench.DEFAULT, bench.STATED} <= {way for fit in fits for way in fit.ways}


def test_the_reported_default_is_the_ensembles_default():
    (fit,) = (fit for fit in bench.REPORTED if bench.DEFAULT in fit.ways)
    task = ensemble_tasks.TASKS[0]
    net = task.net().set_params(callbacks=None)
    assert repr(fit.schedule(task, 0.1)) == repr(choose_schedule(SnapshotEnsemble(net)))
    assert not fit.params
    assert fit.share == 1


def test_scores_of_known_probabilities():
    proba = np.array([[0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.5, 0.5]])
    found = bench.scores(proba, np.array([0, 1, 1, 0]))
    assert found.error == 0.25
    expected = -(2 * math.log(0.75) + math.log(0.25) + math.log(0.5)) / 4
    assert found.log_loss == pytest.approx(expected, rel=1e-15)
    # Three of confidence 0.75, two of them right; one of confidence 0.5, right.
    assert found.ece == pytest.approx((abs(3 * 0.75 - 2) + 0.5) / 4, rel=1e-15)


def test_probabilities_are_compared_with_labels_as_wrong_as_the_trainings():
    proba = np.array([[0.9, 0.1, 0.0], [0.4, 0.2, 0.4]])
    y, noise = np.array([0, 2]), 0.2
    found = bench.scores(proba, y, noise)
    repeated = np.array([[0] * 8 + [1, 2], [2] * 8 + [0, 1]])
    safe = np.maximum(proba, 1e-12)
    log_loss = -np.mean([np.log(safe[i, label]) for i in range(2) for label in repeated[i]])
    assert found.error == 0.5
    assert found.log_loss == pytest.approx(log_loss, rel=1e-12)
    # The first is right for 8 of its 10 labels, the second for 1 of 10.
    assert found.ece == pytest.approx((abs(0.9 - 0.8) + abs(0.4 - 0.1)) / 2, rel=1e-12)


def test_interval_is_one_number_if_every_pair_has_the_same_ratio():
    logs = np.full((3, 2), np.log(0.5))
    np.testing.assert_allclose(bench.interval(logs), (0.5, 0.5), rtol=1e-14)


def test_share_is_that_of_the_ceilings_gain():
    def errors(*values):
        return np.array([[[value, 0.0, 0.0]] for value in values])

    results = {
        bench.COSINE: errors(0.10, 0.20),
        bench.CEILING: errors(0.08, 0.19),
        "ours": errors(0.09, 0.21),
    }
    gains, won = bench.shares(results, "ours")
    np.testing.assert_allclose(gains, [0.2, 0.05], rtol=1e-12)
    np.testing.assert_allclose(won, [0.5, -1.0], rtol=1e-12)


def test_short_restarts_end_with_the_training():
    task = ensemble_tasks.TASKS[0]
    schedule = bench._restarts(task, 0.1).schedule
    steps = schedule.snapshot_steps(task.n_steps)
    assert len(steps) == 5
    assert steps[-1] == task.n_steps


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--choose",)])
def test_quick_run_reads_no_test_part_and_resumes_from_its_cache(options, tmp_path):
    output, cache = tmp_path / "results.md", tmp_path / "cache.jsonl"
    command = [sys.executable, "-W", "error", SCRIPT, "--quick", *options]
    command += ["--output", output, "--cache", cache]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    written, trained = output.read_text(encoding="utf-8"), cache.read_text(encoding="utf-8")
    assert written.strip() == done.stdout.strip()
    assert "- Validation data, seeds" in written
    assert '[["test"' not in trained
    claims = re.findall(r"^\| .* \| (?:yes|no) +\|$", written, re.M)
    assert len(claims) == (0 if options else 7)

    again = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert again.stdout == done.stdout
    assert cache.read_text(encoding="utf-8") == trained


@pytest.mark.slow
def test_missing_data_is_named_before_anything_is_trained(tmp_path):
    command = [sys.executable, SCRIPT, "--data-dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "The '--data-dir' folder must hold train-images-idx3-ubyte.gz" in done.stderr
    assert done.stdout == ""
