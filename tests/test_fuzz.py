"""benchmarks/fuzz.py: a few inputs of fixed seeds for each reader. How long it can run: benchmarks/README.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SAMPLES

FUZZ = SAMPLES.parent / "benchmarks" / "fuzz.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux tells it")


def fuzz(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(FUZZ), *words], capture_output=True, text=True, check=False,
                          cwd=SAMPLES.parent, timeout=300)  # fmt: skip


@pytest.mark.parametrize(("target", "inputs"), [("media", 80), ("records", 80), ("weights", 12), ("http", 400)])
def test_nothing_is_found(target: str, inputs: int, tmp_path: Path) -> None:
    done = fuzz("--target", target, "--inputs", str(inputs), "--minutes", "4", "--seed", "7", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"| {target} | 7 |" in done.stdout
    assert f"| {inputs} | 0 |" in done.stdout
    assert not list(tmp_path.iterdir())


def test_what_was_kept_can_be_read_again(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "media").write_bytes(b"no picture")
    done = fuzz("--target", "media", "--replay", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "unsupported, worker: unsupported\n"), done.stderr
