"""crop: the square, its edges, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import texture

from deepfake_detect.crop import cut, cut_square, look_at, margin_within, square
from deepfake_detect.types import Face, Frame, Look


def face(x0: float, y0: float, x1: float, y1: float) -> Face:
    return Face((x0, y0, x1, y1), ((0.0, 0.0),) * 5, 1.0)


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        ((10, 10, 30, 30), 0.0, (10, 10, 20)),
        ((10, 10, 30, 50), 0.0, (0, 10, 40)),
        ((10, 10, 30, 30), 0.5, (0, 0, 40)),
        ((-5, -5, 5, 5), 0.0, (-5, -5, 10)),
    ],
)
def test_square(box: tuple[float, float, float, float], margin: float, expected: tuple[int, int, int]) -> None:
    assert square(box, margin=margin) == expected


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((40, 40, 60, 60), 0.5),  # Room for twice the face on each side.
        ((40, 6, 60, 26), 0.4),  # Six pixels above it are .3 of the face; .1 may lie beyond.
        ((2, 40, 22, 60), 0.2),
        ((-4, 40, 16, 60), 0.15),  # None at all, so the least.
    ],
)
def test_a_margin_ends_where_the_picture_does(box: tuple[float, float, float, float], expected: float) -> None:
    assert margin_within(box, (100, 100), margin=0.5, least=0.15) == pytest.approx(expected)


def test_looks_that_see_the_same_share_a_crop() -> None:
    frame = Frame(texture(200, 200))
    looks = (Look(0.1), Look(0.5, 0.1), Look(0.1, mirrored=True), Look(0.5))
    narrow, fitting, mirrored, wide = look_at(frame, face(60, 20, 120, 80), looks, size=64)
    assert mirrored is narrow
    assert narrow.to_frame[0, 0] == pytest.approx(72 / 64)
    assert fitting.to_frame[0, 0] == pytest.approx(round(60 * (1 + 2 * (20 / 60 + 0.1))) / 64)
    assert wide.to_frame[0, 0] == pytest.approx(120 / 64)


def test_a_mirrored_crop_leads_back_to_the_same_places() -> None:
    crop = cut(Frame(texture(100, 120)), face(20, 30, 84, 94), size=32, margin=0.2)
    turned = crop.mirrored()
    assert np.array_equal(turned.pixels[:, 5], crop.pixels[:, 26])
    assert np.allclose(turned.to_frame @ [5, 7, 1], crop.to_frame @ [26, 7, 1])


def test_a_crop_of_its_own_size_copies_the_pixels() -> None:
    frame = Frame(texture(100, 120))
    crop = cut(frame, face(20, 30, 84, 94), size=64, margin=0.0)
    assert np.array_equal(crop.pixels, frame.pixels[30:94, 20:84])
    assert np.allclose(crop.to_frame, [[1, 0, 20], [0, 1, 30]])


def test_to_frame_leads_back() -> None:
    crop = cut(Frame(texture(300, 300)), face(50, 60, 178, 188), size=64, margin=0.0)
    # A crop pixel is the mean of a 2 x 2 block, so its centre lies between the block's pixels.
    assert np.allclose(crop.to_frame @ [0, 0, 1], [50.5, 60.5])
    assert np.allclose(crop.to_frame @ [63, 63, 1], [176.5, 186.5])


@pytest.mark.parametrize("place", [(-20, -20), (90, 70), (-500, 20), (20, 5000), (-40, -40)])
def test_beyond_the_frame_its_edge_repeats(place: tuple[int, int]) -> None:
    pixels = texture(100, 120)
    region = cut_square(pixels, *place, 60)
    rows = np.clip(np.arange(place[1], place[1] + 60), 0, 99)
    columns = np.clip(np.arange(place[0], place[0] + 60), 0, 119)
    assert np.array_equal(region, pixels[np.ix_(rows, columns)])


def test_the_frame_is_left_as_it_was() -> None:
    pixels = texture(100, 100)
    before = pixels.copy()
    cut(Frame(pixels), face(10, 10, 90, 90), size=64, margin=0.3).pixels[:] = 0
    assert np.array_equal(pixels, before)


def test_a_box_without_area_is_refused() -> None:
    with pytest.raises(ValueError, match="area"):
        square((10, 10, 10, 20), margin=0.1)
