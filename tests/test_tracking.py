"""tracking: one number per person, through crossings, absences and cuts."""

from __future__ import annotations

import functools
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import SAMPLES, read_rgb, texture, write_video

from deepfake_detect import Detector, Options, media, tracking
from deepfake_detect.tracking import Tracker, appearance, lab
from deepfake_detect.types import Face, Frame, iou

HEIGHT, WIDTH, HEAD = 360, 640, 220


@functools.cache
def heads() -> dict[str, np.ndarray]:
    """The two people of the samples, as square pictures."""
    with media.open(SAMPLES / "clip_genuine.mp4", Options(frames=1)) as opened:
        (frame,) = opened.frames()
    pictures = {"A": read_rgb(SAMPLES / "portrait_genuine.jpg"), "B": frame.pixels}
    return {name: cv2.resize(pixels, (HEAD, HEAD), interpolation=cv2.INTER_AREA) for name, pixels in pictures.items()}


def scene(places: dict[str, int], *, background: int = 1, seed: int = 0) -> np.ndarray:
    """People at these x positions; who is named later stands in front."""
    pixels = texture(HEIGHT, WIDTH, background)
    known = heads()
    for name, x in places.items():
        left, right = max(x, 0), min(x + HEAD, WIDTH)
        if right > left:
            pixels[70 : 70 + HEAD, left:right] = known[name][:, left - x : right - x]
    noise = np.random.default_rng(seed).normal(0, 2, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def who_is_where(detector: Detector, path: Path, places: list[dict[str, int]], fps: int) -> dict[int, list[str]]:
    """Track number -> the people whose place its faces lie on, frame by frame."""
    people = defaultdict(list)
    report = detector.detect(path)
    assert report.tracks
    for track in report.tracks:
        for score in track.scores:
            x0, _, x1, _ = score.face.box
            centre = (x0 + x1) / 2
            here = places[round(score.time_s * fps)]
            nearest = min(here, key=lambda name: abs(here[name] + HEAD / 2 - centre))
            apart = max(here.values()) - min(here.values())
            # Where two stand in one line, the one in front is seen.
            people[track.id].append(list(here)[-1] if apart < HEAD / 2 else nearest)
    return people


def film(path: Path, places: list[dict[str, int]], backgrounds: list[int]) -> Path:
    frames = [scene(p, background=b, seed=i) for i, (p, b) in enumerate(zip(places, backgrounds, strict=True))]
    return write_video(path, frames, fps=5, options={"crf": "18"})


def test_two_people_crossing_never_share_a_track(tmp_path: Path, detector: Detector) -> None:
    places = [{"A": 20 + 16 * i, "B": 400 - 16 * i} for i in range(24)]
    path = film(tmp_path / "a.mp4", places, [1] * 24)
    people = who_is_where(detector, path, places, 5)
    assert all(len(set(names)) == 1 for names in people.values()), dict(people)
    assert {names[0] for names in people.values()} == {"A", "B"}


def test_one_who_leaves_and_returns_keeps_the_number(tmp_path: Path, detector: Detector) -> None:
    places = [{"A": 60, "B": 380}] * 6 + [{"A": 60}] * 10 + [{"A": 60, "B": 380}] * 6
    path = film(tmp_path / "a.mp4", places, [1] * 22)
    people = who_is_where(detector, path, places, 5)
    assert len(people) == 2
    assert all(len(set(names)) == 1 for names in people.values())


def test_a_cut_to_someone_else_in_the_same_place_begins_a_new_track(tmp_path: Path, detector: Detector) -> None:
    places = [{"A": 200}] * 8 + [{"B": 200}] * 8
    path = film(tmp_path / "a.mp4", places, [1] * 8 + [2] * 8)
    people = who_is_where(detector, path, places, 5)
    assert sorted(people.values()) == [["A"] * 8, ["B"] * 8]


def test_someone_else_in_the_same_place_without_a_cut_begins_a_new_track(tmp_path: Path, detector: Detector) -> None:
    places = [{"A": 200}] * 8 + [{"B": 200}] * 8
    people = who_is_where(detector, film(tmp_path / "a.mp4", places, [1] * 16), places, 5)
    assert sorted(people.values()) == [["A"] * 8, ["B"] * 8]


def test_one_person_sampled_every_few_seconds_is_one_track(tmp_path: Path) -> None:
    frames = [scene({"A": 180 + 8 * (i % 5)}, seed=i) for i in range(24)]
    path = write_video(tmp_path / "a.mkv", frames, stamps=[5000 * i for i in range(24)])
    (track,) = Detector(Options(frames=24)).detect(path).tracks
    assert len(track.scores) == 24


def test_one_still_person_is_one_track(detector: Detector) -> None:
    report = detector.detect(SAMPLES / "clip_genuine.mp4")
    assert [len(track.scores) for track in report.tracks] == [len(report.sampled_times_s)]


@pytest.mark.parametrize("likeness", [0.7, 0.75, 0.85])
def test_two_who_look_alike_and_change_places_between_frames_keep_their_numbers(
    likeness: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames lie two seconds apart, so that nobody is seen on the way."""
    looks = {"anna": np.eye(1, 9)[0], "bert": np.array([likeness, np.sqrt(1 - likeness**2), *[0.0] * 7])}
    places = {0: (0.0, 0.0, 40.0, 40.0), 1: (100.0, 0.0, 140.0, 40.0)}
    tracker, seen = Tracker(), []
    for i in range(6):
        order = ["anna", "bert"] if i < 3 else ["bert", "anna"]
        shown = iter([looks[name] for name in order])
        monkeypatch.setattr(tracking, "appearance", lambda pixels, face, shown=shown: next(shown))
        faces = [Face(box, ((0.0, 0.0),) * 5, 1.0) for box in places.values()]
        numbers = tracker.update(Frame(texture(64, 160), time_s=2.0 * i), faces)
        seen.append(dict(zip(order, numbers, strict=True)))
    assert seen == [{"anna": 1, "bert": 2}] * 6


def numbers(
    monkeypatch: pytest.MonkeyPatch,
    shown: list[list[int]],
    *,
    likeness: float,
    scenes: float = 1.0,
    step_s: float = 4.0,
) -> list[tuple[int, ...]]:
    """The numbers of people all in one place, a look each `step_s`, of whom any two are so much alike, and any two frames
    likewise; nobody is alike to `-1`, and of `[]` no face is found."""

    def vector(which: int, alike: float) -> np.ndarray:
        return np.sqrt(alike) * np.eye(1, 99)[0] + np.sqrt(1 - alike) * np.eye(1, 99, which + 2)[0]

    tracker, seen = Tracker(), []
    for i, people in enumerate(shown):
        looks = iter([vector(person, likeness if person >= 0 else 0.0) for person in people])
        monkeypatch.setattr(tracking, "appearance", lambda pixels, face, looks=looks: next(looks))
        monkeypatch.setattr(tracking, "_thumbnail", lambda pixels, i=i: vector(i, scenes))
        faces = [Face((0.0, 0.0, 40.0, 40.0), ((0.0, 0.0),) * 5, 1.0) for _ in people]
        seen.append(tracker.update(Frame(texture(64, 160), time_s=step_s * i), faces))
    return seen


@pytest.mark.parametrize(
    ("likeness", "scenes", "own"),
    [
        # Slides that merely are laid out alike.
        (0.7, 0.4, True), (0.7, 0.59, True), (0.84, 0.61, True), (0.7, 0.75, True),
        # A person who moves, in a scene that changes a little or hardly.
        (0.87, 0.61, False), (0.8, 0.75, False), (0.7, 0.9, False), (0.67, 1.0, False),
        # A scene in which someone else sits down.
        (0.6, 1.0, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step_s", [0.2, 4.0])
def test_the_more_a_scene_has_changed_the_more_alike_must_be_who_keeps_a_number(
    likeness: float, scenes: float, own: bool, step_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = [[i] for i in range(16)]
    found = numbers(monkeypatch, shown, likeness=likeness, scenes=scenes, step_s=step_s)
    assert len(set(found)) == (16 if own else 1)


def test_among_many_strangers_one_who_looks_like_another_across_a_cut_is_not_taken_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five strangers, and then one who is like the first."""
    for likeness, found in ((0.9, 6), (0.93, 1)):
        looks = [np.eye(1, 9, i)[0] for i in range(5)]
        looks.append(likeness * looks[0] + np.sqrt(1 - likeness**2) * np.eye(1, 9, 6)[0])
        tracker, seen = Tracker(), []
        for i, look in enumerate(looks):
            monkeypatch.setattr(tracking, "appearance", lambda pixels, face, look=look: look)
            face = Face((0.0, 0.0, 40.0, 40.0), ((0.0, 0.0),) * 5, 1.0)
            seen += tracker.update(Frame(texture(64, 160, i), time_s=4.0 * i), [face])
        assert seen == [1, 2, 3, 4, 5, found]


@pytest.mark.parametrize("likeness", [0.81, 0.85])
def test_who_is_not_found_for_a_look_keeps_the_number_unless_someone_else_was_there(
    likeness: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert numbers(monkeypatch, [[0], [], [], [1]], likeness=likeness) == [(1,), (), (), (1,)]
    missed = [[] if i in (1, 4, 8, 9, 12) else [i] for i in range(16)]
    assert set(numbers(monkeypatch, missed, likeness=likeness)) == {(1,), ()}
    away = [[0], *[[]] * 5, [1]]
    assert numbers(monkeypatch, away, likeness=likeness)[-1] == (2,)
    assert numbers(monkeypatch, [[0], [-1], [1]], likeness=likeness) == [(1,), (2,), (3,)]
    # Less alike than that it may be anyone.
    assert numbers(monkeypatch, [[0], [], [1]], likeness=0.75) == [(1,), (), (2,)]


def test_no_number_twice_in_a_frame() -> None:
    tracker = Tracker()
    pixels = texture(200, 200)
    faces = [Face((10, 10, 60, 60), ((20, 25), (45, 25), (32, 38), (22, 48), (44, 48)), 1.0)] * 3
    for i in range(3):
        numbers = tracker.update(Frame(pixels, float(i) / 5), faces)
        assert len(set(numbers)) == 3


def test_a_frame_without_faces_gives_no_numbers() -> None:
    assert Tracker().update(Frame(texture(50, 50)), ()) == ()


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),
        ((0, 0, 10, 10), (50, 50, 60, 60), 0.0),
    ],
)
def test_iou(a: tuple[float, ...], b: tuple[float, ...], expected: float) -> None:
    assert iou(np.array(a), np.array(b)) == pytest.approx(expected)


def test_landmarks_in_one_point_do_not_break_the_appearance() -> None:
    face = Face((10, 10, 60, 60), ((30.0, 30.0),) * 5, 1.0)
    assert np.isfinite(appearance(texture(100, 100), face)).all()


def test_lab_is_that_of_opencv() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    pixels[0, :5] = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 0, 255], [3, 3, 3]]
    wanted = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    assert lab(pixels).dtype == np.float32
    assert np.abs(lab(pixels) - wanted).max() < 0.5
