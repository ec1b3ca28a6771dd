"""faces: what is found, and the traps of the detector below."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import SAMPLES, read_rgb, texture

from deepfake_detect import engine, mtcnn
from deepfake_detect.faces import FaceFinder, FaceFollower, quality, sharpness
from deepfake_detect.types import Face, Frame


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return engine.face_finder(engine.choose())


def test_a_portrait_has_one_face(finder: FaceFinder) -> None:
    (face,) = finder.find(Frame(read_rgb(SAMPLES / "portrait_genuine.jpg")))
    assert face.confidence > 0.99
    right_eye, left_eye, nose, right_mouth, left_mouth = face.landmarks
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_eye[1] < nose[1] < right_mouth[1]
    assert right_mouth[0] < left_mouth[0]
    x0, y0, x1, y1 = face.box
    assert all(x0 < x < x1 and y0 < y < y1 for x, y in face.landmarks)


def test_boxes_are_in_pixels_of_the_frame_whatever_its_size(finder: FaceFinder) -> None:
    pixels = read_rgb(SAMPLES / "portrait_genuine.jpg")
    (small,) = finder.find(Frame(pixels))
    large_pixels = cv2.resize(pixels, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    (large,) = finder.find(Frame(large_pixels))
    assert np.allclose(np.array(large.box) / 4, small.box, atol=0.06 * small.size_px)


def test_a_face_that_fills_the_picture_is_found(finder: FaceFinder) -> None:
    pixels = read_rgb(SAMPLES / "portrait_genuine.jpg")
    (face,) = finder.find(Frame(pixels))
    x0, y0, x1, y1 = (round(v) for v in face.box)
    close = np.ascontiguousarray(pixels[y0 + 8 : y1 - 8, x0 + 8 : x1 - 8])
    assert len(finder.find(Frame(close))) == 1


@pytest.mark.parametrize("size", [(1, 1), (10, 10), (5, 2000), (24, 24), (300, 300)])
def test_pictures_without_a_face_give_none(finder: FaceFinder, size: tuple[int, int]) -> None:
    assert finder.find(Frame(texture(*size))) == ()


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("count", [0, 1, 17, 120])
def test_few_boxes_are_compared_all_at_once_with_the_same_result(
    count: int, within: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(count)
    corner = rng.uniform(0, 200, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 90, (count, 2))], 1).astype(np.float32)
    # Rounded, so that some are equal and their order decides.
    scores = rng.uniform(0, 1, count).round(1).astype(np.float32)
    at_once = mtcnn._distinct(boxes, scores, 0.5, within=within)
    monkeypatch.setattr(mtcnn, "_FEW_BOXES", -1)
    assert np.array_equal(at_once, mtcnn._distinct(boxes, scores, 0.5, within=within))


def test_room_for_a_very_large_picture_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(views: np.ndarray) -> list[np.ndarray]:
        raise AssertionError

    found = mtcnn.Mtcnn(nothing, nothing, nothing, thresholds=(0.6, 0.7, 0.7))
    monkeypatch.setattr(mtcnn, "_KEPT_VALUES", 100 * 100 * 3)
    for side, kept in ((99, 1), (100, 0), (99, 1)):
        assert found.confirm(texture(side, side), np.zeros((0, 4), np.float32)) == []
        assert len(found._free) == kept


def test_largest_first(finder: FaceFinder) -> None:
    pixels = read_rgb(SAMPLES / "portrait_genuine.jpg")
    half = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    canvas = np.full((384, 600, 3), 127, np.uint8)
    canvas[:192, :192], canvas[:, 216:] = half, pixels
    sizes = [face.size_px for face in finder.find(Frame(canvas))]
    assert len(sizes) == 2
    assert sizes == sorted(sizes, reverse=True)


def test_sharpness_falls_with_blur_and_not_with_darkness() -> None:
    pixels = read_rgb(SAMPLES / "portrait_genuine.jpg")[80:300, 90:310]
    blurred = cv2.GaussianBlur(pixels, (0, 0), 3)
    dark = (pixels * 0.4).astype(np.uint8)
    assert sharpness(blurred) < 0.4 * sharpness(pixels)
    assert sharpness(dark) == pytest.approx(sharpness(pixels), rel=0.2)


def test_quality_is_between_0_and_1_and_falls_with_size() -> None:
    detail = sharpness(texture(224, 224))

    def of(size: float, confidence: float) -> float:
        return quality(Face((0, 0, size, size), ((0.0, 0.0),) * 5, confidence), detail)

    assert 0 == of(100, 0.5) <= of(40, 0.99) < of(100, 0.99) <= of(500, 1.0) <= 1


class _Scripted:
    """Finds the faces that are there, and keeps in mind how it was asked."""

    def __init__(self) -> None:
        self.there = [_face(10.0)]
        self.confirmed: list[Face] | None = None
        self.looks: list[str] = []

    def __call__(self, pixels: np.ndarray, *, smallest_px: float) -> list[Face]:
        self.looks.append("full")
        return self.there

    def confirm(self, pixels: np.ndarray, boxes: np.ndarray) -> list[Face]:
        self.looks.append("followed")
        # Candidates come in pixels of the part that is looked at; the first face's middle size is as long as its box.
        x, y = (boxes[1, :2] + boxes[1, 2:]) / 2 - 50
        return [_face(float(x), float(y))] if self.confirmed is None else self.confirmed


def _face(x: float, y: float = 20.0, *, size: float = 100.0, confidence: float = 0.99) -> Face:
    return Face((x, y, x + size, y + size), ((x + size / 2, y + size / 2),) * 5, confidence)


@pytest.mark.parametrize(
    ("found_from", "expected"),
    [(0, [39.8]), (30, [39.8, 26.7]), (100, [39.8, 26.7, 148.8])],
    ids=["large", "small", "none"],
)
def test_the_smallest_faces_are_looked_for_only_where_there_is_no_larger(
    found_from: float, expected: list[float]
) -> None:
    looked: list[float] = []

    class Mtcnn(_Scripted):
        def __call__(self, pixels: np.ndarray, *, smallest_px: float) -> list[Face]:
            looked.append(smallest_px)
            return self.there if found_from == 0 or smallest_px <= found_from < 100 else []

    faces = FaceFinder(Mtcnn(), smallest_px=48).find(Frame(texture(720, 1280)))
    assert looked == pytest.approx(expected, abs=0.05)
    assert len(faces) == (0 if found_from == 100 else 1)


def test_a_long_strip_is_not_made_much_larger_to_look_at_its_edges() -> None:
    seen: list[tuple[int, ...]] = []

    class Mtcnn(_Scripted):
        def __call__(self, pixels: np.ndarray, *, smallest_px: float) -> list[Face]:
            seen.append(pixels.shape[:2])
            return []

    assert FaceFinder(Mtcnn(), smallest_px=48).find(Frame(texture(100, 3000))) == ()
    assert max(height * width for height, width in seen) < 2 * 100 * 3000


def test_who_was_outside_of_what_the_frame_has_become_is_not_followed() -> None:
    finder = FaceFinder(_Scripted())
    assert finder.follow(Frame(texture(1080, 1920)), [_face(2900.0, 800.0, size=320.0)]) is None


PLAIN = texture(240, 320)


def test_faces_are_followed_for_a_quarter_of_a_second_after_a_full_look() -> None:
    mtcnn = _Scripted()
    follower = FaceFollower(FaceFinder(mtcnn))
    found = [follower.find(Frame(PLAIN, i / 30)) for i in range(17)]
    assert mtcnn.looks == (["full"] + ["followed"] * 7) * 2 + ["full"]
    assert all(np.allclose(face.box, mtcnn.there[0].box, atol=0.01) for (face,) in found)


def test_who_appears_between_two_full_looks_is_found_by_the_next() -> None:
    mtcnn = _Scripted()
    follower = FaceFollower(FaceFinder(mtcnn))
    follower.find(Frame(PLAIN, 0.0))
    mtcnn.there = [_face(10.0), _face(180.0)]
    assert [len(follower.find(Frame(PLAIN, i / 30))) for i in range(1, 9)] == [1] * 7 + [2]


def test_frames_further_apart_are_looked_at_in_full() -> None:
    mtcnn = _Scripted()
    follower = FaceFollower(FaceFinder(mtcnn))
    for time_s in (0.0, 0.11, 0.22, 0.28):
        follower.find(Frame(PLAIN, time_s))
    assert mtcnn.looks == ["full", "full", "full", "followed"]


def _patched() -> np.ndarray:
    pixels = PLAIN.copy()
    pixels[100:160, 200:260] = 255 - pixels[100:160, 200:260]
    return pixels


@pytest.mark.parametrize(
    "pixels", [texture(240, 320, seed=5), 255 - PLAIN, _patched()], ids=["cut", "flash", "something new"]
)
def test_a_cut_or_something_new_is_looked_at_in_full(pixels: np.ndarray) -> None:
    mtcnn = _Scripted()
    follower = FaceFollower(FaceFinder(mtcnn))
    for i, picture in enumerate([PLAIN, PLAIN, pixels]):
        follower.find(Frame(picture, i / 30))
    assert mtcnn.looks == ["full", "followed", "full"]


@pytest.mark.parametrize(
    "confirmed",
    [[], [_face(10.0, confidence=0.9)], [_face(90.0)], [_face(10.0), _face(180.0)]],
    ids=["lost", "unsure", "elsewhere", "one more"],
)
def test_what_is_not_surely_found_again_is_looked_at_in_full(confirmed: list[Face]) -> None:
    mtcnn = _Scripted()
    follower = FaceFollower(FaceFinder(mtcnn))
    follower.find(Frame(PLAIN, 0.0))
    mtcnn.confirmed = confirmed
    assert follower.find(Frame(PLAIN, 1 / 30)) == (mtcnn.there[0],)
    assert mtcnn.looks == ["full", "followed", "full"]


@pytest.mark.parametrize("there", [[], [_face(10.0, confidence=0.9)]], ids=["nobody", "an unsure one"])
def test_frames_without_sure_faces_are_looked_at_in_full(there: list[Face]) -> None:
    mtcnn = _Scripted()
    mtcnn.there = there
    follower = FaceFollower(FaceFinder(mtcnn))
    for i in range(3):
        follower.find(Frame(PLAIN, i / 30))
    assert "followed" not in mtcnn.looks


def test_a_followed_face_lies_where_a_full_look_finds_it(finder: FaceFinder) -> None:
    portrait = cv2.resize(read_rgb(SAMPLES / "portrait_genuine.jpg"), (240, 240), interpolation=cv2.INTER_AREA)
    follower = FaceFollower(finder)
    for i in range(12):
        pixels = texture(360, 640)
        pixels[60 + i : 300 + i, 100 + 2 * i : 340 + 2 * i] = portrait
        frame = Frame(pixels, i / 30)
        (followed,), (found,) = follower.find(frame), finder.find(frame)
        assert np.allclose(followed.box, found.box, atol=0.08 * found.size_px)
        assert np.allclose(followed.landmarks, found.landmarks, atol=0.05 * found.size_px)


def test_large_frames_are_reduced_by_a_whole_number(finder: FaceFinder) -> None:
    pixels = cv2.resize(read_rgb(SAMPLES / "portrait_genuine.jpg"), (2101, 2099), interpolation=cv2.INTER_CUBIC)
    reduced = cv2.resize(pixels[:2098, :2100], (1050, 1049), interpolation=cv2.INTER_AREA)
    (large,), (small,) = finder.find(Frame(pixels)), FaceFinder(finder._mtcnn, smallest_px=24).find(Frame(reduced))
    assert np.allclose(np.array(large.box) / 2, small.box, atol=0.04 * small.size_px)
