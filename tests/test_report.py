"""report and draw: the contract of the JSON, and what is drawn."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from conftest import SAMPLES, read_rgb, texture

from deepfake_detect import Detector, Options, ReportOptions, draw
from deepfake_detect.dossier import examination
from deepfake_detect.report import SCHEMA_FILE, to_dict, to_json
from deepfake_detect.types import Bands, ContentCredentials, Crop, Face, FaceTrack, Heatmap, OtherGroups, Report, Score
from deepfake_detect.words import Words

PICTURE, CLIP = SAMPLES / "portrait_forged.jpg", SAMPLES / "clip_forged.mp4"


@pytest.fixture(scope="module")
def picture(detector: Detector) -> Report:
    return detector.detect(PICTURE)


@pytest.fixture(scope="module")
def clip(detector: Detector) -> Report:
    return detector.detect(CLIP)


def test_reports_keep_the_contract(picture: Report, clip: Report, detector: Detector, tmp_path: Path) -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    (missing,) = detector.detect_many([tmp_path / "none.jpg"])
    (empty,) = detector.detect_many([texture(64, 64)])
    for report in (picture, clip, missing, empty):
        jsonschema.validate(json.loads(to_json(report)), schema)
    assert to_dict(missing)["verdict"] is None
    assert to_dict(missing)["error"]["kind"] == "not_found"
    assert to_dict(empty)["verdict"]["probability"] is None


def test_a_record_written_long_ago_keeps_the_contract() -> None:
    """Never edit `contract_1.json`: programs rely on records like it, and a schema that refuses it breaks the contract."""
    record = json.loads((Path(__file__).parent / "contract_1.json").read_text())
    assert record["schema"] == "deepfake-detect/1"
    assert record["tracks"][0]["faces"]
    jsonschema.validate(record, json.loads(SCHEMA_FILE.read_text()))


def test_records_hold_all_that_they_held_long_ago(picture: Report) -> None:
    def names(value: Any, where: str = "") -> set[str]:
        if isinstance(value, dict):
            return {where}.union(*(names(one, f"{where}.{name}") for name, one in value.items()))
        return names(value[0], f"{where}[]") if isinstance(value, list) and value else {where}

    record = json.loads((Path(__file__).parent / "contract_1.json").read_text())
    assert names(record) <= names(json.loads(to_json(picture)))


def test_the_contract_names_every_field_of_what_stands_beside_the_finding(picture: Report) -> None:
    known = json.loads(SCHEMA_FILE.read_text())["properties"]["examination"]["properties"]
    calibration = known["calibration"]["properties"]
    described = {
        Options: known["options"],
        ReportOptions: known["report_options"],
        OtherGroups: calibration["on_other_groups"],
        ContentCredentials: known["provenance"]["properties"]["content_credentials"],
    }
    for kind, said in described.items():
        assert list(said["properties"]) == [field.name for field in fields(kind)]
    assert {field.name for field in fields(Bands)} < set(calibration)
    assert list(calibration) == list(examination(picture, ReportOptions())["calibration"])


def test_the_contract_refuses_what_it_should(picture: Report) -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    for change in (
        {"verdict": None},
        {"schema": "deepfake-detect/2"},
        {"error": {"kind": "x", "message": "y"}},
        {"more": 1},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**to_dict(picture), **change}, schema)


def test_two_runs_give_the_same_but_for_times(clip: Report, detector: Detector) -> None:
    first, second = to_dict(clip), to_dict(detector.detect(CLIP))
    assert first.pop("timing_s").keys() == second.pop("timing_s").keys()
    assert first == second


def test_a_picture_and_its_array_are_judged_alike(detector: Detector) -> None:
    pixels = read_rgb(PICTURE)
    path = detector.detect(PICTURE).tracks[0]
    array = detector.detect(pixels).tracks[0]
    assert path.logit == pytest.approx(array.logit, abs=0.05)


def test_only_the_most_telling_heatmaps_are_kept() -> None:
    report = Detector(Options(max_heatmaps=5)).detect(CLIP)
    (track,) = report.tracks
    logits = sorted((score.logit or 0.0 for score in track.scores), reverse=True)
    assert sorted((s.logit or 0.0 for s in track.scores if s.heatmap), reverse=True) == pytest.approx(logits[:5])
    # A face without heat shows nothing, or its label says that there is no map.
    sights = [draw.sight(track, score, Words()) for score in track.scores]
    without = [one.said.endswith(", map not kept") for one in sights]
    assert without == [one.heatmap is None for one in sights]
    assert without.count(False) == 5


def test_evidence_against_manipulation_is_not_drawn() -> None:
    crop = Crop(texture(224, 224), np.eye(2, 3))
    cold = Heatmap(np.full((28, 28), -0.5, np.float32), crop)
    assert np.array_equal(draw.overlay_crop(cold), crop.pixels)


def test_the_scale_is_fixed() -> None:
    colours, opacity = draw.heat(np.array([[-9.0, 0.0, 2.0, draw.HOTTEST, 99.0]]))
    assert opacity[0, 0] == opacity[0, 1] == 0
    assert 0 < opacity[0, 2] < opacity[0, 3] == opacity[0, 4]
    assert np.array_equal(colours[0, 3], colours[0, 4])


def test_heat_lands_where_the_crop_was_cut() -> None:
    pixels = np.full((100, 100, 3), 100, np.uint8)
    crop = Crop(np.full((64, 64, 3), 100, np.uint8), np.array([[0.5, 0, 20], [0, 0.5, 40]]))
    drawn = pixels.copy()
    draw._warm(drawn, Heatmap(np.full((8, 8), 4.0, np.float32), crop), strength=1.0)
    changed = np.argwhere((drawn != 100).any(-1))
    assert np.allclose(changed.min(0), (40, 20), atol=1)
    assert np.allclose(changed.max(0), (71, 51), atol=1)


def test_annotating_leaves_the_frame_alone(picture: Report) -> None:
    pixels = read_rgb(PICTURE)
    before = pixels.copy()
    drawn = draw.annotate(pixels, [(picture.tracks[0], picture.tracks[0].scores[0])], words=Words())
    assert drawn.shape == pixels.shape
    assert (drawn != pixels).any()
    assert np.array_equal(pixels, before)


def test_a_contact_sheet_has_times_where_there_are_some_and_counts_whom_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr("PIL.ImageDraw.ImageDraw.text", lambda _, __, text, *___: said.append(text))
    face = Face((0, 0, 10, 10), ((1, 1),) * 5, 0.9)
    heatmap = Heatmap(np.zeros((4, 4), np.float32), Crop(texture(8, 8), np.eye(2, 3)))

    def sheet_of(people: int, time_s: float, *others: FaceTrack) -> str:
        said.clear()
        scores = (Score(time_s, face, 1.0, logit=1.0, heatmap=heatmap),)
        draw.contact_sheet([*(FaceTrack(i + 1, scores, 1.0, 0.7) for i in range(people)), *others], words=Words())
        return " ".join(said)

    still, moving = sheet_of(1, 0.0), sheet_of(42, 2.0)
    assert "0.0 s" not in still
    assert "0.00 s" not in still
    assert "more" not in still
    assert "2.0 s to 2.0 s" in moving
    assert "2 more people, with less evidence" in moving
    # Nobody is left out unsaid: who was not judged, and of whom no map was kept.
    small = tuple(FaceTrack(i, (Score(0.0, face, 0.1, "too_small"),)) for i in (2, 3, 4))
    without = FaceTrack(5, (Score(0.0, face, 1.0, logit=0.5),), 0.5, 0.6)
    said = sheet_of(1, 2.0, *small, without)
    assert "3 more people, not judged" in said
    assert "1 more person, with less evidence" in said


def test_a_contact_sheet_of_nobody_is_still_a_picture() -> None:
    sheet = draw.contact_sheet([], words=Words())
    assert cv2.imencode(".jpg", sheet)[0]
