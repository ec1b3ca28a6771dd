"""detector: many files at a time give what each gives alone, in order, and nothing is left running."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import SAMPLES, read_rgb, texture, write_video
from PIL import Image

from deepfake_detect import Detector, verdict
from deepfake_detect.errors import MediaError, OptionsError, WeightsError
from deepfake_detect.media import Opening
from deepfake_detect.options import Options, ReportOptions
from deepfake_detect.report import to_dict
from deepfake_detect.types import Effort
from deepfake_detect.words import LANGUAGES, Words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deepfake_detect.types import Report

FILES = [
    SAMPLES / name
    for name in ("portrait_genuine.jpg", "clip_forged.mp4", "none.jpg", "portrait_forged.jpg", "clip_genuine.mp4")
]


def said(report: Report) -> dict[str, object]:
    return {key: value for key, value in to_dict(report).items() if key != "timing_s"}


def test_a_video_whose_label_is_open_is_looked_at_again(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = SAMPLES / "clip_genuine.mp4"
    once = detector.detect(clip)
    assert (len(once.sampled_times_s), once.effort) == (16, Effort(75, (16,), settled=True))
    shares: list[float] = []
    answers = iter([True, True, False])
    monkeypatch.setattr(verdict, "is_open", lambda *_, **__: next(answers))
    hashing = Detector(Options(provenance=True))
    again = hashing.detect(clip, progress=shares.append)
    assert (len(again.sampled_times_s), again.effort) == (75, Effort(75, (16, 64, 75), settled=True))
    monkeypatch.undo()
    every = Detector(Options(frames=75, provenance=True)).detect(clip)
    assert every.effort == Effort(75, (75,), settled=True)
    # As if all had been looked at from the beginning: nothing is said twice, and every second has one hash.
    apart = {"effort", "timing_s"}
    first, second = ({k: v for k, v in to_dict(one).items() if k not in apart} for one in (again, every))
    assert first == second
    assert again.provenance is not None
    assert again.provenance == every.provenance
    assert len(again.provenance.perceptual_hashes) == 3
    assert shares[-1] == 1
    assert shares == sorted(shares)
    assert len(shares) == 16 + 64 + 75 + 1


def face_for(seconds: tuple[float, float], *, of: float, fps: int, path: Path) -> Path:
    """A grey video that shows a face for so long."""
    face = read_rgb(SAMPLES / "portrait_forged.jpg")
    grey = np.full_like(face, 127)
    frames = [face if seconds[0] <= i / fps < seconds[1] else grey for i in range(round(of * fps))]
    # One key frame: none is where the face begins.
    return write_video(path, frames, fps=fps, options={"g": "10000", "sc_threshold": "0", "preset": "ultrafast"})


def test_where_nobody_was_seen_more_is_looked_at(tmp_path: Path) -> None:
    # Sixteen frames lie at 0.94, 2.8 s and so on.
    clip = face_for((3.2, 4.4), of=30, fps=10, path=tmp_path / "a.mp4")
    report = Detector().detect(clip)
    assert report.effort is not None
    assert len(report.effort.looks) > 1
    assert report.tracks
    assert Detector(Options(frames=16, most_frames=16)).detect(clip).verdict.label == "no_face"  # type: ignore[union-attr]


def test_after_the_minutes_that_are_hashed_moments_looked_at_in_the_end_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = face_for((0, 0), of=150, fps=2, path=tmp_path / "a.mp4")
    report = Detector(Options(provenance=True)).detect(clip)
    assert report.effort == Effort(300, (16, 64, 128), settled=False)
    assert report.provenance is not None
    hashed = [one.time_s for one in report.provenance.perceptual_hashes]
    assert hashed[:120] == list(range(120))
    later = [time_s for time_s in report.sampled_times_s if time_s >= 120]
    seconds = {int(time_s): time_s for time_s in reversed(later)}
    assert hashed[120:] == sorted(seconds.values())


def test_of_a_damaged_video_all_that_comes_is_all_there_is(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [texture(96, 128, i) for i in range(40)], options={"g": "10", "bf": "0"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 600] = bytes(600)
    path.write_bytes(data)
    report = Detector().detect(path)
    assert report.effort is not None
    assert report.effort.looks == (16, 40)
    assert len(report.sampled_times_s) < 40
    assert verdict.effort(report, Words())[-1] == Words()("effort_all")
    assert [note.key for note in report.notes].count("frames_not_decoded") == 1


@pytest.mark.parametrize(("end_s", "frames", "key"), [(0.5, 13, "effort_all_in_part"), (None, 75, "effort_all")])
def test_all_frames_of_a_part_are_not_said_to_be_all_there_are(end_s: float | None, frames: int, key: str) -> None:
    report = Detector(Options(frames=99, end_s=end_s)).detect(SAMPLES / "clip_genuine.mp4")
    assert report.effort == Effort(frames, (frames,), settled=True)
    assert [verdict.effort(report, Words(language)) for language in LANGUAGES] == [
        (Words(language)(key),) for language in LANGUAGES
    ]


def test_a_number_of_frames_that_was_asked_for_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "is_open", lambda *_, **__: True)
    report = Detector(Options(frames=4)).detect(SAMPLES / "clip_genuine.mp4")
    assert (len(report.sampled_times_s), report.effort) == (4, Effort(75, (4,), settled=False))
    picture = Detector(Options(frames=4)).detect(SAMPLES / "portrait_genuine.jpg")
    assert picture.effort is None


@pytest.mark.parametrize(
    ("options", "looks"),
    [({}, (16, 64, 128)), ({"frames": 8}, (8,)), ({"frames": 8, "most_frames": 16}, (8, 16)), ({"most_frames": 16}, (16,)),
     ({"frames": 200}, (200,)), ({"fps": 2.0}, (16,)), ({"frames": 64, "most_frames": 8}, (64,))],
)  # fmt: skip
def test_how_many_frames_are_looked_at(options: dict[str, Any], looks: tuple[int, ...]) -> None:
    assert Options(**options).looks == looks


def test_many_are_judged_as_each_alone(detector: Detector) -> None:
    reports = list(detector.detect_many(FILES))
    assert [report.path for report in reports] == [str(path) for path in FILES]
    assert [report.error is None for report in reports] == [True, True, False, True, True]
    for path, report in zip(FILES, reports, strict=True):
        if report.error is None:
            assert said(report) == said(detector.detect(path))
            for track, alone in zip(report.tracks, detector.detect(path).tracks, strict=True):
                assert all(
                    np.array_equal(a.evidence, b.evidence) for a, b in zip(track.heatmaps, alone.heatmaps, strict=True)
                )


def test_one_array_that_is_filled_again_and_again_gives_what_an_array_each_gives(detector: Detector) -> None:
    pictures = [read_rgb(SAMPLES / f"portrait_{kind}.jpg") for kind in ("forged", "genuine", "forged")]

    def refilled() -> Iterator[np.ndarray]:
        one = np.empty_like(pictures[0])
        for picture in pictures:
            one[:] = picture
            yield one

    found, wanted = (list(detector.detect_many(each)) for each in (refilled(), pictures))
    assert [said(report) for report in found] == [said(report) for report in wanted]
    assert said(wanted[0])["media"] != said(wanted[1])["media"]


def test_what_becomes_of_an_array_later_changes_no_report(detector: Detector, tmp_path: Path) -> None:
    picture = read_rgb(SAMPLES / "portrait_genuine.jpg")
    copies = []
    for name in ("before", "after"):
        report = detector.detect(picture)
        if name == "after":
            picture[:] = 0
        report.save(tmp_path / name, options=ReportOptions(whole_frames=True))
        copies.append((tmp_path / name / "annotated.jpg").read_bytes())
    assert copies[0] == copies[1]


def test_what_is_neither_a_path_nor_an_array_costs_no_other_file(detector: Detector) -> None:
    good = SAMPLES / "portrait_genuine.jpg"
    with Image.open(good) as picture:
        sources: list[Any] = [good, picture, None, os.fsencode(good), b"missing.jpg", 5, good]
        reports = list(detector.detect_many(sources))
        assert [(report.path, report.error and report.error.kind) for report in reports] == [
            (str(good), None), ("<JpegImageFile>", "unsupported"), ("<NoneType>", "unsupported"), (str(good), None),
            ("missing.jpg", "not_found"), ("<int>", "unsupported"), (str(good), None),
        ]  # fmt: skip
        assert said(reports[3]) == said(reports[0])
        with pytest.raises(MediaError, match=r"found PIL\.JpegImagePlugin\.JpegImageFile; .* makes one"):
            detector.detect(sources[1])
        assert detector.detect(np.asarray(picture.convert("RGB"))).error is None


@pytest.mark.parametrize("one", ["a.mp4", b"a.mp4"])
def test_one_name_is_no_list_of_its_letters(one: Any, detector: Detector) -> None:
    with pytest.raises(TypeError, match=r"found one, .*a\.mp4"):
        next(detector.detect_many(one))


def test_certificates_may_be_named_as_a_path(tmp_path: Path) -> None:
    pem = tmp_path / "a.pem"
    assert Options(trust=pem) == Options(trust=str(pem))  # type: ignore[arg-type]
    json.dumps(asdict(Options(trust=pem)))  # type: ignore[arg-type]
    with pytest.raises(OptionsError, match="trust: expected the name of a file, found 5"):
        Options(trust=5)  # type: ignore[arg-type]


def test_sources_are_taken_as_they_are_needed(detector: Detector) -> None:
    taken = 0

    def sources() -> Iterator[np.ndarray]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield texture(64, 64)

    reports = detector.detect_many(sources())
    assert taken == 0
    for done in range(1, 5):
        next(reports)
        assert taken == done + 2
    reports.close()  # type: ignore[attr-defined]
    assert taken == 6


def test_whoever_leaves_leaves_nothing_running(detector: Detector) -> None:
    reports = detector.detect_many([SAMPLES / "portrait_genuine.jpg"] + [SAMPLES / "clip_genuine.mp4"] * 3)
    assert next(reports).error is None
    reports.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("judge", "ahead"))]


def test_progress_is_told_of_the_file_that_is_waited_for(detector: Detector) -> None:
    told: list[tuple[str, float]] = []
    paths = [SAMPLES / "clip_genuine.mp4", SAMPLES / "clip_forged.mp4", SAMPLES / "portrait_genuine.jpg"]
    reports = detector.detect_many(paths, progress=lambda source, share: told.append((str(source), share)))
    for path in paths:
        told.clear()
        next(reports)
        assert {name for name, _ in told} <= {str(path)}
        shares = [share for _, share in told]
        assert shares == sorted(shares)


@pytest.mark.parametrize("name", ["portrait_genuine.jpg", "clip_genuine.mp4"])
def test_what_the_callers_progress_raises_ends_all_and_is_no_fault_of_the_file(detector: Detector, name: str) -> None:
    def cancel(*_: object) -> None:
        # Even one of ours is the caller's.
        raise MediaError("enough", kind="damaged")

    reports = detector.detect_many([SAMPLES / name] * 4, progress=cancel)
    with pytest.raises(MediaError, match=r"^enough$"):
        next(reports)
    assert list(reports) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("judge", "ahead"))]


def test_an_error_while_faces_are_looked_for_reaches_the_caller(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(detector._finder, "_mtcnn", fail)
    with pytest.raises(RuntimeError, match="broken"):
        detector.detect(read_rgb(SAMPLES / "portrait_genuine.jpg"))
    (report,) = detector.detect_many([SAMPLES / "clip_genuine.mp4"])
    assert report.error is not None
    assert report.error.kind == "internal"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("judge", "ahead"))]


def test_how_many_threads_judge_changes_nothing(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are put together by order alone, also where later ones are done first."""
    wanted = detector.detect(SAMPLES / "clip_forged.mp4")
    turn, score = itertools.count(), detector._examiner.score

    def by_turns(*arguments: Any, **named: Any) -> tuple[np.ndarray, np.ndarray]:
        if next(turn) % 2 == 0:
            time.sleep(0.05)
        return score(*arguments, **named)

    monkeypatch.setattr(detector._examiner, "score", by_turns)
    for threads in (1, 3):
        monkeypatch.setattr(detector._examiner, "at_a_time", threads)
        found = detector.detect(SAMPLES / "clip_forged.mp4")
        assert [track.scores for track in found.tracks] == [track.scores for track in wanted.tracks]
        assert len(found.tracks[0].scores) > 2 * 3 * detector.options.batch_size
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("classify")]


def test_an_error_while_judging_reaches_the_caller(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise WeightsError("torn")

    monkeypatch.setattr(detector._examiner, "score", fail)
    with pytest.raises(WeightsError, match="torn"):
        detector.detect(SAMPLES / "clip_forged.mp4")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("classify")]


def test_a_file_that_is_opened_beforehand_is_judged_as_any_other(detector: Detector) -> None:
    paths = [SAMPLES / "portrait_genuine.jpg", SAMPLES / "clip_forged.mp4", SAMPLES / "missing.jpg"]
    begun = [Opening(path, detector.options) for path in paths]
    for early, late in zip(detector.detect_many(begun), detector.detect_many(paths), strict=True):
        assert said(early) == said(late)
    assert [os.fspath(one) for one in begun] == [os.fspath(path) for path in paths]
