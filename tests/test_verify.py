"""verify, again, folder: a flipped bit in what is large is named; and the page as PDF is part of what is vouched for."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from conftest import SAMPLES

from deepfake_detect import Detector, Options, ReportOptions, checkpoint
from deepfake_detect.again import _READ, how_read, read_there
from deepfake_detect.dossier import SUMS, examination, read_sums, save
from deepfake_detect.report import to_dict
from deepfake_detect.verdict import decide, judge
from deepfake_detect.verify import _model, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepfake_detect.types import Report, Score

CLIP, WEIGHTS = SAMPLES / "clip_forged.mp4", SAMPLES.parent / "weights"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(Detector(Options(frames=2)).detect(CLIP), tmp_path_factory.mktemp("report"))


@pytest.mark.parametrize("what", ["annotated.mp4", "media", "model"])
def test_a_flipped_bit_of_video_media_or_weights_is_named(what: str, folder: Path, tmp_path: Path) -> None:
    report = shutil.copytree(folder, tmp_path / "report")
    weights = shutil.copytree(WEIGHTS, tmp_path / "weights", ignore=shutil.ignore_patterns("__pycache__"))
    clip = shutil.copy(CLIP, tmp_path / "clip.mp4")
    entry = checkpoint.find(folder=weights)
    assert entry.graph is not None
    files = {"annotated.mp4": [report / what], "media": [clip], "model": [entry.path, entry.graph.path]}[what]

    def bad() -> set[str]:
        # Whole media would be judged anew each time.
        checks = verify(report, media=clip if what == "media" else None, weights_folder=weights)
        return {check.name for check in checks if not check.good}

    assert not bad()
    rng = random.Random(0)
    for _ in range(20):
        path = rng.choice(files)
        before = path.read_bytes()
        changed = bytearray(before)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        assert bad() == {what}
        path.write_bytes(before)


def test_the_nets_that_find_faces_are_vouched_for_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = Path(shutil.copytree(WEIGHTS, tmp_path / "weights"))
    monkeypatch.setattr(checkpoint, "_FOLDERS", (weights,))
    entry = checkpoint.find()
    record, evidence = {"tool": dict(vars(entry.tool))}, entry.evidence_sha256
    assert _model(record, None).good
    path, manifest = checkpoint.find_face_nets()[2].path, weights / "manifest.json"
    before, listed = path.read_bytes(), manifest.read_text()
    changed = before[:-1] + bytes([before[-1] ^ 1])
    path.write_bytes(changed)
    assert "expected SHA-256" in _model(record, None).message
    old, new = (hashlib.sha256(data).hexdigest() for data in (before, changed))
    manifest.write_text(listed.replace(old, new))
    assert "face finder are others" in _model(record, None).message
    # What was learned from logits does not depend on who found the faces.
    assert checkpoint.find().evidence_sha256 == evidence


def test_a_page_is_printed_and_vouched_for_where_weasyprint_is(tmp_path: Path) -> None:
    # OSError: the package is there and Pango is not.
    pytest.importorskip("weasyprint", exc_type=(ImportError, OSError))
    folder = save(Detector().detect(SAMPLES / "portrait_forged.jpg"), tmp_path, ReportOptions(pdf=True))
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")
    assert "report.pdf" in read_sums((folder / SUMS).read_text())
    assert all(check.good for check in verify(folder))


# Prints what a check says where FFmpeg uses none of the processor's instructions for many values at once, as is the case
# with most widths of video on ARM: colours then come out up to 2 levels apart.
ELSEWHERE = """
import ctypes, json, sys
from pathlib import Path
import av
(library,) = Path(av.__file__).parent.parent.glob("av.libs/libavutil*")
ctypes.CDLL(str(library)).av_force_cpu_flags(0)
from deepfake_detect.verify import verify
print(json.dumps([[check.name, check.good, check.message] for check in verify(sys.argv[1], media=sys.argv[2])]))
"""


@pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64")
    or not list(Path(av.__file__).parent.parent.glob("av.libs/libavutil*")),
    reason="PyAV's wheel for Linux on x86-64 is not installed",
)
def test_a_report_is_good_where_another_kind_of_processor_reads_its_video(judged: Report, tmp_path: Path) -> None:
    folder = save(judged, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(folder), str(CLIP)], capture_output=True, text=True, check=True
    )
    checks = json.loads(done.stdout)
    assert [name for name, good, _ in checks if not good] == []
    assert checks[-1][0] == "verdict"
    found = re.search(r"another kind of processor.* \(logits up to (\d\.\d\d) apart.*\) and 8 maps; the", checks[-1][2])
    assert found is not None, checks[-1][2]
    assert 0.02 < float(found[1]) < _READ["logit"]


@pytest.fixture(scope="module")
def judged() -> Report:
    return Detector(Options(frames=8, provenance=True)).detect(CLIP)


def forged(report: Report, change: Callable[[int, Score], Score]) -> Report:
    """A report that agrees with itself and not with its video: all else follows from views that are other ones."""
    (track,) = report.tracks
    assert report.calibration is not None
    track = replace(track, scores=tuple(starmap(change, enumerate(track.scores))))
    track = judge(track, kind="video", calibration=report.calibration)
    answer = decide([track], kind="video", calibration=report.calibration, provenance=report.provenance)
    return replace(report, tracks=(track,), verdict=answer)


def louder(score: Score, by: float) -> Score:
    assert score.logit is not None
    assert score.heatmap is not None
    heatmap = replace(score.heatmap, evidence=score.heatmap.evidence + np.float32(by))
    return replace(score, logit=score.logit + by, heatmap=heatmap)


def retouched(score: Score) -> Score:
    assert score.heatmap is not None
    pixels = score.heatmap.crop.pixels.copy()
    pixels[140:180, 80:140] -= np.minimum(pixels[140:180, 80:140], 30)
    return replace(score, heatmap=replace(score.heatmap, crop=replace(score.heatmap.crop, pixels=pixels)))


def moved(score: Score, by: float) -> Score:
    face = score.face
    return replace(score, face=replace(face, box=tuple(x + by * face.size_px for x in face.box)))


@pytest.mark.parametrize(
    ("change", "good"),
    [
        (lambda i, score: louder(score, -0.9) if i == 3 else score, True),
        (lambda i, score: louder(score, -1.1) if i == 3 else score, False),
        # Each view by less than one may, and all of them the same way.
        (lambda _, score: louder(score, -0.6), False),
        # The map and the logit it is said to give.
        (lambda i, score: replace(louder(score, -0.9), heatmap=score.heatmap) if i == 3 else score, False),
        (lambda i, score: retouched(louder(score, -0.9)) if i == 3 else score, False),
        (lambda i, score: moved(score, 0.1) if i == 3 else score, True),
        (lambda i, score: moved(score, 0.2) if i == 3 else score, False),
        (lambda i, score: replace(score, quality=score.quality - 0.2) if i == 3 else score, False),
    ],
    ids=[
        "logit within",
        "logit beyond",
        "all logits",
        "map of another",
        "mouth",
        "box within",
        "box beyond",
        "quality beyond",
    ],
)
def test_a_forged_figure_beyond_what_processors_differ_by_stays_bad(
    judged: Report, tmp_path: Path, change: Callable[[int, Score], Score], good: bool
) -> None:
    report = forged(judged, change)
    checks = [
        check for check in verify(save(report, tmp_path), media=CLIP) if not check.good or check.name == "verdict"
    ]
    assert {(check.name, check.good) for check in checks} == {("verdict", good)}
    assert ("another kind of processor" in checks[0].message) == good


def test_a_label_may_be_another_where_the_figure_lies_that_near_to_its_limit(judged: Report) -> None:
    calibration, (track,) = judged.calibration, judged.tracks
    assert calibration is not None
    assert track.logit is not None
    bands = calibration.bands("video")
    limit = math.log(bands.upper / (1 - bands.upper))
    near = replace(bands, quality_loss=0.0, offset=limit - bands.slope * (track.logit - 0.1))
    calibration = replace(calibration, video=near)
    here = forged(replace(judged, calibration=calibration), lambda _, score: score)
    there = forged(here, lambda _, score: louder(score, -0.2))
    record = {**to_dict(there), "examination": examination(there, ReportOptions())}
    found = read_there(record, here, calibration)
    assert found is not None
    assert here.verdict is not None
    assert here.verdict.label == "manipulated"
    assert found.verdict is not None
    assert found.verdict.label == record["verdict"]["label"] == "inconclusive"
    assert "0.20 apart" in how_read(found, here)
    assert "the label is manipulated here, so near to its limit lies the figure" in how_read(found, here)
