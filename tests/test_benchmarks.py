"""benchmarks: those of speed run, tiny. Time is never judged here."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import SAMPLES

BENCHMARKS = SAMPLES.parent / "benchmarks"


@pytest.mark.parametrize(
    ("command", "rows"),
    [
        (
            ["speed.py", "--tiny"],
            ["1 s of 240p, 2 frames", "every frame", "megapixels, cold", "photos of", "--version"],
        ),
        (["ideal.py", "--tiny"], ["| classifying 2 crops |"]),
        (["stages.py", "--tiny"], ["| photo |", "| minute |", "| crowd |"]),
        (["detection.py", str(SAMPLES), "--frames", "2"], ["| videos | 4 |", "| pictures | 2 |", "| groups | 8 |"]),
    ],
)
def test_a_tiny_run_fills_its_table(command: list[str], rows: list[str]) -> None:
    done = subprocess.run([sys.executable, str(BENCHMARKS / command[0]), *command[1:]], capture_output=True, text=True,
                          check=False, cwd=SAMPLES.parent)  # fmt: skip
    assert done.returncode == 0, done.stderr
    for row in rows:
        assert row in done.stdout
