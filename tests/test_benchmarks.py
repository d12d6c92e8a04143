"""The benchmarks run and report on every claim; what they measure is not asserted here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "benchmarks" / "run.py"

ROWS = {
    "rate": ("setting the rate", 6),
    "callback": ("callback per training batch", 3),
    "preview": ("preview", 3),
    "training": ("training a 64-64-10 MLP", 3),
    "convergence": ("steps to a fixed rate's final validation accuracy", 4),
}
"""How the claims of each benchmark begin in the summary, and how many there are."""


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
