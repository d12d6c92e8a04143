"""The quickstart example runs as README's command runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart.py"


@pytest.mark.slow
def test_quickstart_prints_its_table_and_draws_its_figure(tmp_path):
    figure = tmp_path / "figure.png"
    done = subprocess.run(
        [sys.executable, QUICKSTART, "--figure", figure],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "PATH": ""},
        timeout=600,
    )
    stages = re.findall(r"^(\d) of 4: ", done.stdout, re.M)
    assert stages == ["1", "2", "3", "4"]
    (seconds,) = re.findall(r"(\d+) s in all", done.stdout)
    assert int(seconds) < 60
    assert figure.read_bytes().startswith(b"\x89PNG")
    rows = re.findall(r"│ (.+?) +│ (\d\.\d+) +│ (\d\.\d+) +│ (chosen)? +│", done.stdout)
    valid = {name: float(score) for name, score, _, _ in rows}
    assert len(rows) == 4
    default, suggested, *_ = valid.values()
    assert suggested > default
    (chosen,) = (name for name, *_, chosen in rows if chosen)
    assert valid[chosen] == max(valid.values())
