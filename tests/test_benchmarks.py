"""The benchmarks run and report on every claim; their measurements are not asserted here."""

import math
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RUN = BENCHMARKS / "run.py"
sys.path.insert(0, str(BENCHMARKS))

ROWS = {
    "rate": ("setting the rate", 6),
    "callback": ("callback per training batch", 3),
    "preview": ("preview", 3),
    "training": ("training a 64-64-10 MLP", 3),
    "convergence": ("steps to a fixed rate's final validation accuracy", 4),
}
"""How the claims of each benchmark begin in the summary, and their number."""

RIVALS = ("ignite", "pytorch_lightning", "torch_lr_finder")
needs_rivals = pytest.mark.skipif(
    any(find_spec(name) is None for name in RIVALS),
    reason="the rivals are in the extra 'benchmarks'",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_quick_run_reports_on_every_claim(name, tmp_path):
    output = tmp_path / "results.md"
    command = [sys.executable, "-W", "error", RUN, "--quick", "--only", name, "--output", output]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    written = output.read_text(encoding="utf-8")
    assert written.strip() in done.stdout.strip()
    assert "nan" not in written
    _, summary = written.split("## Summary")
    beginning, n_claims = ROWS[name]
    rows = re.findall(rf"^\| {re.escape(beginning)}.*\| (?:yes|no) +\|$", summary, re.M)
    assert len(rows) == n_claims


@pytest.mark.slow
def test_missing_data_is_named_before_anything_is_measured(tmp_path):
    command = [sys.executable, RUN, "--data-dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "The '--data-dir' folder must hold train-images-idx3-ubyte.gz" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
@needs_rivals
@pytest.mark.parametrize(
    ("script", "beginnings"),
    [
        (
            "bench_range_time.py",
            {"one ramp, 64-64-10 MLP": 4, "one ramp, 784-256-10 MLP": 4, "2 ramps at n_jobs=2": 1},
        ),
        (
            "bench_suggestions.py",
            {
                "regret of the suggestion": 5,
                "worst regret": 3,
                "better than every rival": 5,
                "cost of a suggestion": 2,
                "spread over 2 random states": 2,
                "answers that no trial verified": 2,
                "regret against GridSearchCV": 1,
                "regret over budgets": 1,
            },
        ),
    ],
)
def test_quick_run_of_range_tests_reports_on_every_claim(script, beginnings, tmp_path):
    output = tmp_path / "results.md"
    command = [sys.executable, "-W", "error", BENCHMARKS / script, "--quick", "--output", output]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == [output]

    written = output.read_text(encoding="utf-8")
    assert written.strip() == done.stdout.strip()
    _, summary = written.split("## Summary")
    for beginning, n_claims in beginnings.items():
        rows = re.findall(rf"^\| {re.escape(beginning)}.*\| (?:yes|no) +\|$", summary, re.M)
        assert len(rows) == n_claims, beginning


@pytest.mark.slow
@needs_rivals
def test_every_rival_suggests_a_rate_or_nan_and_leaves_no_trace(tmp_path, monkeypatch, capfd):
    import range_rivals
    from range_tasks import TASKS

    monkeypatch.chdir(tmp_path)
    task = next(task for task in TASKS if task.name == "diabetes MLP SGD")
    rates = range_rivals.rates(task, 0)
    assert list(rates) == list(range_rivals.NAMES)
    assert all(math.isnan(lr) or 0 < lr <= range_rivals.END for lr in rates.values())
    assert sum(map(math.isfinite, rates.values())) >= 4
    assert repr(range_rivals.rates(task, 0)) == repr(rates)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_quick_run_of_ensemble_speed_reports_on_every_claim(tmp_path):
    output = tmp_path / "results.md"
    script = BENCHMARKS / "bench_ensemble_speed.py"
    command = [sys.executable, "-W", "error", script, "--quick", "--output", output]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == [output]

    written = output.read_text(encoding="utf-8")
    assert written.strip() == done.stdout.strip()
    _, summary = written.split("## Summary")
    for beginning, n_claims in {"predict_proba": 5, "extra peak memory": 3, "fit": 3}.items():
        rows = re.findall(rf"^\| {beginning}, .*\| (?:yes|no) +\|$", summary, re.M)
        assert len(rows) == n_claims, beginning
