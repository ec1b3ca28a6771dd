"""Ctrl-C at any moment: nothing is left outside the folder asked for, and that one is complete or says that it is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import SAMPLES

from deepfake_detect.dossier import INCOMPLETE
from deepfake_detect.verify import verify

CLIP = str(SAMPLES / "clip_forged.mp4")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.1, 0.25, 0.5])
def test_an_interrupted_report_says_that_it_is_not_finished(after_s: float, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    folder = tmp_path / "report"
    command = [sys.executable, "-m", "deepfake_detect", CLIP, "--report", "report", "--frames", "8"]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "scratch")}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=quiet, stderr=quiet) as process:
        # From when the writing begins.
        while not (folder / INCOMPLETE).exists() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(after_s)
        process.send_signal(signal.SIGINT)
        status = process.wait(timeout=120)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report", "scratch"]
    assert not list((tmp_path / "scratch").iterdir())
    assert not list(tmp_path.rglob("*.part"))
    finished = not (folder / INCOMPLETE).exists()
    assert finished == all(check.good for check in verify(folder))
    assert status == 130 or finished
