"""Frames -> faces, with MTCNN (Zhang et al., 2016), whatever runs its nets; and how good a picture of a face is.

A full look finds every face of a frame. It is most of the work of a dense sampling, so where frames follow closely on each
other the faces of one are looked for in the next at their place alone, and a full look is taken a few times a second.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from .types import PYRAMID_FACTOR, Face, iou

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .types import Frame

# Frames are reduced by a whole number, which is quick, as long as this much is left of the longer side and the smallest
# face worth judging stays as large as the detector can see.
_DETECTION_SIDE_PX = 960
_SMALLEST_SEEN_PX = 20
_SMALLEST_FRAME_PX = 24
# A face that is cut off by the picture's edge all around is no smaller than this share of its shorter side.
_FILLS = 0.25
# So long after a full look faces are followed at most. Who appears meanwhile is found by the next.
_FULL_LOOK_EVERY_S = 0.25
# Frames further apart are always looked at in full: there following would save little, and faces have moved.
_CLOSE_S = 0.1
# A face is followed while the detector is so sure of it, and it stays about where and as large as it was.
_SURELY_A_FACE = 0.95
_SAME_PLACE = 0.5
# Candidates around the place where a face was, in units of its box's longer side. The third net was trained on candidates
# a little tighter than the boxes it gives.
_SIZES = np.array([0.85, 0.95, 1.05])
# Cells of a frame, and by how many grey levels one must change to be worth a full look: a cut, or something new.
_CELLS = (32, 18)
_NEW_IN_CELL = 40
_ALL = (None, None)


class Mtcnn(Protocol):
    """What finds the faces of one picture: `mtcnn.Mtcnn`, or the reference."""

    def __call__(self, pixels: np.ndarray, *, smallest_px: float) -> list[Face]:
        """The faces of a uint8 (H, W, 3) RGB picture from `smallest_px` up, in any order."""
        ...

    def confirm(self, pixels: np.ndarray, boxes: np.ndarray) -> list[Face]:
        """The faces at square candidates, float32 (N, 4); none where faces can only be found on whole pictures."""
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
        pixels, times = self._reduced(frame)
        smallest = _SMALLEST_SEEN_PX / self._least_scale(frame) / times
        # The first levels of the pyramid are most of the work, and what is wanted is seen on the later ones.
        first = _SMALLEST_SEEN_PX if times == 1 else smallest
        wanted = _on_pyramid(first, self._smallest_px / times)
        faces = self._find(pixels, wanted)
        if not faces and wanted > first:
            faces = self._find(pixels, smallest)
        if not faces:
            # Of the shorter side, which is as large as a face can be: a border as wide as a long strip takes gigabytes.
            border = round(0.3 * min(pixels.shape[:2]))
            bordered = cv2.copyMakeBorder(pixels, border, border, border, border, cv2.BORDER_REPLICATE)
            # Such a face is large, and the levels of the pyramid that show small ones are nearly all of the work.
            large = self._find(bordered, _on_pyramid(smallest, _FILLS * min(pixels.shape[:2])))
            moved = [_placed(face, 1, -border, -border) for face in large]
            faces = [face for face in moved if _inside_share(face, pixels.shape[1], pixels.shape[0]) > 0.5]
        return _largest_first([_placed(face, times) for face in faces])

    def follow(self, frame: Frame, faces: Sequence[Face]) -> tuple[Face, ...] | None:
        """The same faces in a frame shortly after, in no more than their neighbourhood.

        Returns:
            As `find` does; None when one of them was not surely found again.
        """
        boxes = np.array([face.box for face in faces])
        centres = np.repeat((boxes[:, :2] + boxes[:, 2:]) / 2, len(_SIZES), 0)
        halves = ((boxes[:, 2:] - boxes[:, :2]).max(1)[:, None] * _SIZES / 2).reshape(-1, 1)
        places = np.concatenate([centres - halves, centres + halves], 1)
        # Of the frame only this part is read.
        x, y = (max(0, math.floor(edge)) for edge in places.min(0)[:2])
        # The frame may have become smaller on the way.
        height, width = frame.pixels.shape[:2]
        right, bottom = (
            min(most, math.ceil(edge)) for most, edge in zip((width, height), places.max(0)[2:], strict=True)
        )
        if right <= x or bottom <= y:
            return None
        pixels, times = self._reduced(frame, (y, bottom), (x, right))
        there = self._mtcnn.confirm(pixels, (places - [x, y, x, y]).astype(np.float32) / times)
        found = [_placed(face, times, x, y) for face in there]
        # As many as before, each in the place of one.
        again = [[face for face in found if iou(face.box, known.box) > _SAME_PLACE] for known in faces]
        sure = all(len(here) == 1 and here[0].confidence >= _SURELY_A_FACE for here in again)
        return _largest_first(found) if sure and len(found) == len(faces) else None

    def _least_scale(self, frame: Frame) -> float:
        """How far a frame may be reduced, 1 or less: that much of a face must remain to be seen."""
        longer: int = max(frame.pixels.shape[:2])
        return min(1.0, max(_DETECTION_SIDE_PX / longer, _SMALLEST_SEEN_PX / self._smallest_px))

    def _reduced(
        self, frame: Frame, rows: tuple[int | None, int | None] = _ALL, columns: tuple[int | None, int | None] = _ALL
    ) -> tuple[np.ndarray, int]:
        """Part of a frame as faces are looked for in it, and how many times smaller it is."""
        times = math.floor(1 / self._least_scale(frame))
        part = frame.pixels[slice(*rows), slice(*columns)]
        if times == 1:
            return np.ascontiguousarray(part), 1
        size = (max(1, part.shape[1] // times), max(1, part.shape[0] // times))
        return cv2.resize(part[: size[1] * times, : size[0] * times], size, interpolation=cv2.INTER_AREA), times

    def _find(self, pixels: np.ndarray, smallest_px: float) -> list[Face]:
        if min(pixels.shape[:2]) < max(_SMALLEST_FRAME_PX, smallest_px):
            return []
        return self._mtcnn(pixels, smallest_px=smallest_px)


class FaceFollower:
    """Finds the faces of a file's frames, in order of time; make one for each file.

    Args:
        finder: Looks at one frame.
    """

    def __init__(self, finder: FaceFinder) -> None:
        self._finder = finder
        self._faces: tuple[Face, ...] = ()
        self._looked_s = self._before_s = -math.inf
        self._cells = np.zeros(0)

    def find(self, frame: Frame) -> tuple[Face, ...]:
        """The faces of the next frame, as `FaceFinder.find` gives them.

        A full look is taken unless the frame before and the last full look were shortly before, nothing has changed much
        anywhere since that look, and the faces of the frame before, all of them sure ones, are surely there again.
        """
        faces = None
        cells = _cells(frame.pixels)
        if (
            frame.time_s - self._before_s < _CLOSE_S
            and frame.time_s - self._looked_s < _FULL_LOOK_EVERY_S
            and self._faces
            and all(face.confidence >= _SURELY_A_FACE for face in self._faces)
            and np.abs(cells - self._cells).max() < _NEW_IN_CELL
        ):
            faces = self._finder.follow(frame, self._faces)
        if faces is None:
            faces = self._finder.find(frame)
            self._looked_s, self._cells = frame.time_s, cells
        self._faces, self._before_s = faces, frame.time_s
        return faces


def _on_pyramid(first: float, most: float) -> float:
    """The largest size up to `most` that a pyramid shows which begins at the size `first`; that one where there is none.

    Leaving out the first sizes must not change the others: a box comes out some pixels apart when it was proposed at
    another one.
    """
    return float(
        first / PYRAMID_FACTOR ** max(0, math.floor(math.log(most / first) / -math.log(PYRAMID_FACTOR) + 1e-9))
    )


def _cells(pixels: np.ndarray) -> np.ndarray:
    """A frame in few cells, float32; of a large one some pixels stand for all."""
    step = max(1, min(pixels.shape[:2]) // 144)
    return cv2.resize(np.ascontiguousarray(pixels[::step, ::step]), _CELLS, interpolation=cv2.INTER_AREA).astype(
        np.float32
    )


def sharpness(pixels: np.ndarray) -> float:
    """How much fine detail a crop has: the spread of its Laplacian over the spread of its grey values.

    Relative to the contrast, so that a dark face is not taken for a blurred one.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F).std() / (grey.std() + 4.0))


def quality(face: Face, detail: float) -> float:
    """0 to 1: how much the picture of a face lets one judge, from its size, detail and the detector's confidence.

    Args:
        detail: See `sharpness`.
    """
    size, sharp = min(1.0, face.size_px / 128), min(1.0, detail / 0.15)
    certain = min(1.0, max(0.0, (face.confidence - 0.7) / 0.29))
    return float((size * sharp * certain) ** (1 / 3))


def _placed(face: Face, times: float, x: float = 0, y: float = 0) -> Face:
    """A face found in a smaller picture of a part that begins at (x, y), where it lies in the whole."""
    x0, y0, x1, y1 = face.box
    landmarks = tuple((a * times + x, b * times + y) for a, b in face.landmarks)
    return Face((x0 * times + x, y0 * times + y, x1 * times + x, y1 * times + y), landmarks, face.confidence)


def _largest_first(faces: Sequence[Face]) -> tuple[Face, ...]:
    return tuple(sorted(faces, key=lambda face: -face.size_px))


def _inside_share(face: Face, width: int, height: int) -> float:
    """The share of a box that lies within the picture."""
    x0, y0, x1, y1 = face.box
    inside = max(0.0, min(x1, width) - max(x0, 0)) * max(0.0, min(y1, height) - max(y0, 0))
    return inside / math.prod((x1 - x0, y1 - y0))
