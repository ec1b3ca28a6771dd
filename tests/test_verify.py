"""verify: a single bit that is flipped in what is large is named; and the page as PDF is part of what is vouched for."""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path

import pytest
from conftest import SAMPLES

from deepfake_detect import Detector, Options, ReportOptions, checkpoint
from deepfake_detect.dossier import SUMS, read_sums, save
from deepfake_detect.verify import _model, verify

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
