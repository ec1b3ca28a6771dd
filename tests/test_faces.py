"""faces: what is found, and the traps of the detector below."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import SAMPLES, read_rgb, texture

from deepfake_detect import engine
from deepfake_detect.faces import FaceFinder, quality, sharpness
from deepfake_detect.types import Face, Frame


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return engine.choose().face_finder()


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
    pixels = texture(224, 224)

    def of(size: float, confidence: float) -> float:
        return quality(Face((0, 0, size, size), ((0.0, 0.0),) * 5, confidence), pixels)

    assert 0 == of(100, 0.5) <= of(40, 0.99) < of(100, 0.99) <= of(500, 1.0) <= 1


@pytest.mark.parametrize(
    ("found_from", "expected"), [(0, [28.2]), (24, [28.2, 20]), (100, [28.2, 20, 20])], ids=["large", "small", "none"]
)
def test_the_smallest_faces_are_looked_for_only_where_there_is_no_larger(
    found_from: float, expected: list[float]
) -> None:
    looked: list[float] = []

    def mtcnn(pixels: np.ndarray, *, smallest_px: float) -> list[Face]:
        looked.append(smallest_px)
        there = found_from == 0 or smallest_px <= found_from < 100
        return [Face((10.0, 10.0, 40.0, 40.0), ((20.0, 20.0),) * 5, 0.99)] if there else []

    faces = FaceFinder(mtcnn, smallest_px=48).find(Frame(texture(720, 1280)))
    assert looked == pytest.approx(expected, abs=0.05)
    assert len(faces) == (0 if found_from == 100 else 1)
