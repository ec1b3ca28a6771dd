"""benchmarks: those of speed run, tiny. Time is never judged here."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

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
        (
            ["growth.py", "--tiny"],
            ["| seconds of 1080p | 2 |", "one-minute video | 180 |", "| faces in view", "one call | 2 |"],
        ),
        (["stages.py", "--tiny"], ["| photo |", "| minute |", "| crowd |"]),
        (["detection.py", str(SAMPLES), "--frames", "2"], ["| videos | 4 |", "| pictures | 2 |", "| groups | 8 |"]),
    ],
)
def test_a_tiny_run_fills_its_table(command: list[str], rows: list[str]) -> None:
    printed = run(*command)
    for row in rows:
        assert row in printed


def test_how_many_frames_are_needed(tmp_path: Path) -> None:
    for name in ("clip_genuine.mp4", "clip_forged.mp4"):
        shutil.copy(SAMPLES / name, tmp_path)
    (tmp_path / "index.csv").write_text("path,label\nclip_genuine.mp4,real\nclip_forged.mp4,fake\n")
    printed = run("effort.py", str(tmp_path / "index.csv"))
    assert "2 videos of 75 to 75 frames" in printed
    assert "| all | 2 of 2 (0.34–1.00) | 1.000 | 0.00 | 0.00 |" in printed


def test_files_of_one_clip_or_of_a_swap_and_its_sources_are_one_group(tmp_path: Path) -> None:
    together = [
        ["ffpp_c23/original_253.mp4", "ffpp_c23/Face2Face_253_183.mp4", "ffpp_c23/original_183.mp4"],
        ["crops_mixed/ffpp_Deepfakes_000_003_025.png", "crops_mixed/ffpp_Face2Face_000_003_009.png"],
        ["crops_mixed/Celeb-real_id0_0000_045.png", "crops_mixed/Celeb-synthesis_id0_id1_0000_000.png"],
        ["dfdc_faces/aabyjxwqyo_ppulbuhtsc_0.jpg", "dfdc_faces/aabyjxwqyo_3.jpg", "dfdc/ppulbuhtsc.mp4"],
        ["hardfaces/000_003_1.jpg"],
        ["hardfaces/000_003_2.jpg"],
    ]
    lines = [f"{name},real,{name.split('/')[0]},{name}" for names in together for name in names]
    (tmp_path / "index.csv").write_text("\n".join(["path,label,source,group", *lines]))
    rows = csv.DictReader(run("groups.py", str(tmp_path / "index.csv")).splitlines())
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["group"], set()).add(str(Path(row["path"]).relative_to(tmp_path.resolve())))
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, together))


def run(name: str, *arguments: str) -> str:
    """What a benchmark prints."""
    done = subprocess.run([sys.executable, str(BENCHMARKS / name), *arguments], capture_output=True, text=True,
                          check=False, cwd=SAMPLES.parent)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
