"""Frames -> faces, with MTCNN (Zhang et al., 2016), whatever runs its nets; and how good a picture of a face is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from .types import Face

if TYPE_CHECKING:
    from .types import Frame

# The longer side at which faces are looked for; larger frames are reduced to it, unless the smallest face worth judging
# would then be smaller than the detector can see.
_DETECTION_SIDE_PX = 960
_SMALLEST_SEEN_PX = 20
_SMALLEST_FRAME_PX = 24
# MTCNN looks at the picture in sizes each of which is so much smaller than the one before. Leaving out the first must not
# change the others: a box comes out some pixels apart when it was proposed at another size.
_PYRAMID_FACTOR = 0.709


class Mtcnn(Protocol):
    """What finds the faces of one picture: `mtcnn.Mtcnn`, or the reference."""

    def __call__(self, pixels: np.ndarray, *, smallest_px: float) -> list[Face]:
        """The faces of a uint8 (H, W, 3) RGB picture from `smallest_px` up, in any order."""
        ...


class FaceFinder:
    """Finds the faces of one frame after another.

    Args:
        mtcnn: Looks at one picture.
        smallest_px: Faces down to this size are to be found.
    """

    def __init__(self, mtcnn: Mtcnn, *, smallest_px: float = 48) -> None:
        self._mtcnn = mtcnn
        self._smallest_px = smallest_px

    def find(self, frame: Frame) -> tuple[Face, ...]:
        """The faces of a frame, the largest first; an empty tuple when there are none.

        Smaller faces than those to be found are found only where there is no larger one. A face that fills the picture to
        its edge is missed by the detector: when nothing is found, it looks once more with a border added, in which the edge
        repeats.
        """
        height, width = frame.pixels.shape[:2]
        longer = max(height, width)
        scale = min(1.0, max(_DETECTION_SIDE_PX / longer, _SMALLEST_SEEN_PX / self._smallest_px))
        pixels = frame.pixels
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        # The first levels of the pyramid are most of the work, and what is wanted is seen on the later ones.
        skipped = max(
            0, math.floor(math.log(self._smallest_px * scale / _SMALLEST_SEEN_PX) / -math.log(_PYRAMID_FACTOR))
        )
        faces = self._find(pixels, _SMALLEST_SEEN_PX / _PYRAMID_FACTOR**skipped)
        if not faces and skipped:
            faces = self._find(pixels, _SMALLEST_SEEN_PX)
        if not faces:
            border = round(0.3 * max(pixels.shape[:2]))
            bordered = cv2.copyMakeBorder(pixels, border, border, border, border, cv2.BORDER_REPLICATE)
            moved = [_moved(face, -border) for face in self._find(bordered, _SMALLEST_SEEN_PX)]
            faces = [face for face in moved if _inside_share(face, pixels.shape[1], pixels.shape[0]) > 0.5]
        # Horizontal and vertical scale differ by the rounding of the reduced size.
        across, down = width / pixels.shape[1], height / pixels.shape[0]
        return tuple(sorted((_scaled(face, across, down) for face in faces), key=lambda face: -face.size_px))

    def _find(self, pixels: np.ndarray, smallest_px: float) -> list[Face]:
        if min(pixels.shape[:2]) < max(_SMALLEST_FRAME_PX, smallest_px):
            return []
        return self._mtcnn(np.ascontiguousarray(pixels), smallest_px=smallest_px)


def sharpness(pixels: np.ndarray) -> float:
    """How much fine detail a crop has: the spread of its Laplacian over the spread of its grey values.

    Relative to the contrast, so that a dark face is not taken for a blurred one.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F).std() / (grey.std() + 4.0))


def quality(face: Face, pixels: np.ndarray) -> float:
    """0 to 1: how much the picture of a face lets one judge, from its size, sharpness and the detector's confidence.

    Args:
        pixels: The crop, uint8 (S, S, 3).
    """
    size = min(1.0, face.size_px / 128)
    detail = min(1.0, sharpness(pixels) / 0.15)
    certain = min(1.0, max(0.0, (face.confidence - 0.7) / 0.29))
    return float((size * detail * certain) ** (1 / 3))


def _moved(face: Face, by: int) -> Face:
    x0, y0, x1, y1 = face.box
    landmarks = tuple((x + by, y + by) for x, y in face.landmarks)
    return Face((x0 + by, y0 + by, x1 + by, y1 + by), landmarks, face.confidence)


def _scaled(face: Face, across: float, down: float) -> Face:
    x0, y0, x1, y1 = face.box
    landmarks = tuple((x * across, y * down) for x, y in face.landmarks)
    return Face((x0 * across, y0 * down, x1 * across, y1 * down), landmarks, face.confidence)


def _inside_share(face: Face, width: int, height: int) -> float:
    """The share of a box that lies within the picture."""
    x0, y0, x1, y1 = face.box
    inside = max(0.0, min(x1, width) - max(x0, 0)) * max(0.0, min(y1, height) - max(y0, 0))
    return inside / math.prod((x1 - x0, y1 - y0))
