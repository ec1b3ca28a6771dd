"""Face -> square crop, and the affine map that leads back. The only crop there is, in use and in training alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .types import Crop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .types import Face, Frame, Look


# A margin may reach so far beyond the picture's nearest edge, as a fraction of the face: less would often lose much for
# little, for people are seldom in the very middle.
_BEYOND = 0.1


def cut(frame: Frame, face: Face, *, size: int, margin: float) -> Crop:
    """Square picture of one face, upright, with some surroundings.

    Args:
        size: Side of the result in pixels.
        margin: Extra on each side as a fraction of the longer side of the box; a negative one leaves out the face's rim.

    Returns:
        The crop. Parts beyond the frame repeat the frame's edge. `to_frame` leads back.

    Raises:
        ValueError: The box has no area.
    """
    x0, y0, side = square(face.box, margin=margin)
    region = cut_square(frame.pixels, x0, y0, side)
    pixels = resize(region, size)
    scale = side / size
    # Pixel centres: crop pixel i covers the frame from x0 + i * scale, so its centre lies half a step further.
    shift = 0.5 * scale - 0.5
    to_frame = np.array([[scale, 0.0, x0 + shift], [0.0, scale, y0 + shift]])
    return Crop(pixels=pixels, to_frame=to_frame)


def look_at(frame: Frame, face: Face, looks: Sequence[Look], *, size: int) -> tuple[Crop, ...]:
    """One crop of a face for each look; looks that differ in nothing else share it. None is mirrored yet.

    Args:
        size: Side of the crops in pixels.

    Raises:
        ValueError: The box has no area.
    """
    height, width = frame.pixels.shape[:2]
    margins = [
        look.margin
        if look.least_margin is None
        else margin_within(face.box, (height, width), margin=look.margin, least=look.least_margin)
        for look in looks
    ]
    crops = {margin: cut(frame, face, size=size, margin=margin) for margin in sorted(set(margins))}
    return tuple(crops[margin] for margin in margins)


def margin_within(
    box: tuple[float, float, float, float], size: tuple[int, int], *, margin: float, least: float
) -> float:
    """The margin that a picture has room for, between `least` and `margin`.

    What lies beyond a picture's edge says nothing, and how much of it there is says how somebody framed the picture.

    Args:
        box: The face.
        size: Height and width of the picture.
    """
    (x0, y0, x1, y1), (height, width) = box, size
    longer = max(x1 - x0, y1 - y0)
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    room = min(middle_x, width - middle_x, middle_y, height - middle_y) / longer - 0.5
    return min(margin, max(least, room + _BEYOND))


def square(box: tuple[float, float, float, float], *, margin: float) -> tuple[int, int, int]:
    """The square around a box on whole pixels: left, top and side. It may reach beyond the frame."""
    x0, y0, x1, y1 = box
    longer = max(x1 - x0, y1 - y0)
    if not (x1 > x0 and y1 > y0):
        raise ValueError(f"expected a box with an area, found {box}")
    side = max(2, round(longer * (1 + 2 * margin)))
    return math.floor((x0 + x1 - side) / 2 + 0.5), math.floor((y0 + y1 - side) / 2 + 0.5), side


def cut_square(pixels: np.ndarray, x0: int, y0: int, side: int) -> np.ndarray:
    """Part of a picture (H, W) or (H, W, C); beyond its edge the edge repeats."""
    height, width = pixels.shape[:2]
    left, top = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    right, bottom = max(min(x0 + side, width), left + 1), max(min(y0 + side, height), top + 1)
    inside = pixels[top:bottom, left:right]
    before_x, before_y = min(max(left - x0, 0), side - 1), min(max(top - y0, 0), side - 1)
    after_x, after_y = side - before_x - inside.shape[1], side - before_y - inside.shape[0]
    if not (before_x or before_y or after_x or after_y):
        return inside
    return cv2.copyMakeBorder(inside, before_y, max(after_y, 0), before_x, max(after_x, 0), cv2.BORDER_REPLICATE)[
        :side, :side
    ]


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """To size x size: by area when it shrinks, so that nothing aliases, else bilinear."""
    if pixels.shape[:2] == (size, size):
        return pixels.copy()
    shrinks = pixels.shape[0] > size
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
