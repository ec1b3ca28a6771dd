"""MTCNN's cascade around its three nets (Zhang, Zhang, Li and Qiao, IEEE Signal Processing Letters 2016), in NumPy.

The nets and every rule and threshold are those of facenet-pytorch, which is the reference: both find the same boxes. Three
nets look at candidates one after the other, each more closely: the first (P) at every place of a pyramid of the picture,
the second (R) at what the first took for a face, at 24 pixels, the third (O) at what is left, at 48, with landmarks.

Every reduced picture is made by averaging whole pixels, as in training. One table of sums serves the whole pyramid and all
candidates: the sum over any rectangle is read off its corners.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .types import PYRAMID_FACTOR, Face

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Net = Callable[[np.ndarray], list[np.ndarray]]

# The first net sees squares of 12 pixels, every second pixel.
_CELL_PX, _STRIDE_PX = 12, 2
_R_SIDE_PX, _O_SIDE_PX = 24, 48
# Of so many boxes or fewer all pairs are compared at once.
_FEW_BOXES = 200
# Candidates looked at at a time: a picture of foliage has thousands, which would take hundreds of megabytes.
_CANDIDATES = 128
# Room for a picture of so many values or more is not kept for the next: of 12 million pixels it is 200 megabytes.
_KEPT_VALUES = 36_000_000


class Mtcnn:
    """Finds the faces of a picture.

    Args:
        pnet: Float32 (1, 3, H, W), 0 to 255 -> offsets (1, 4, h, w) and probabilities (1, h, w).
        rnet: Float32 (N, 3, 24, 24) -> offsets (N, 4) and probabilities (N,).
        onet: Float32 (N, 3, 48, 48) -> offsets (N, 4), landmarks (N, 10) and probabilities (N,).
        thresholds: Below these each net drops a candidate.
    """

    def __init__(self, pnet: Net, rnet: Net, onet: Net, *, thresholds: tuple[float, float, float]) -> None:
        self._pnet, self._rnet, self._onet = pnet, rnet, onet
        self._thresholds = thresholds
        self._free: list[_Room] = []

    def __call__(self, pixels: np.ndarray, *, smallest_px: float) -> list[Face]:
        """The faces of a picture, in no particular order.

        Args:
            pixels: uint8 (H, W, 3) RGB, at least 12 pixels a side.
            smallest_px: Faces down to this size are found, 12 or more.
        """
        with self._sums(pixels) as picture:
            return self._confirm(picture, self._refine(picture, self._propose(picture, smallest_px)))

    def confirm(self, pixels: np.ndarray, boxes: np.ndarray) -> list[Face]:
        """What the third net alone takes for a face, of given candidates.

        Args:
            pixels: uint8 (H, W, 3) RGB.
            boxes: Squares, float32 (N, 4).
        """
        with self._sums(pixels) as picture:
            return self._confirm(picture, boxes)

    @contextmanager
    def _sums(self, pixels: np.ndarray) -> Iterator[_Sums]:
        """The picture's sums; several threads may ask at a time, each takes a room that is free."""
        try:
            room = self._free.pop()
        except IndexError:
            room = _Room()
        yield _Sums(pixels, room)
        if pixels.size < _KEPT_VALUES:
            self._free.append(room)

    def _propose(self, picture: _Sums, smallest_px: float) -> np.ndarray:
        """Square candidates (N, 4) of the first net."""
        found = [np.zeros((0, 9), np.float32)]
        scale = _CELL_PX / smallest_px
        while min(picture.height, picture.width) * scale >= _CELL_PX:
            level = picture.reduced(int(picture.height * scale + 1), int(picture.width * scale + 1))
            offsets, probabilities = self._pnet(level)
            y, x = np.nonzero(probabilities[0] >= self._thresholds[0])
            corner = np.stack([x, y], 1).astype(np.float32) * _STRIDE_PX
            first = np.floor((corner + 1) / np.float32(scale))
            last = np.floor((corner + _CELL_PX) / np.float32(scale))
            candidates = np.concatenate([first, last, probabilities[0, y, x, None], offsets[0, :, y, x]], 1)
            found.append(candidates[_distinct(candidates[:, :4], candidates[:, 4], 0.5)])
            scale *= PYRAMID_FACTOR
        all_found = np.concatenate(found)
        all_found = all_found[_distinct(all_found[:, :4], all_found[:, 4], 0.7)]
        size = all_found[:, 2:4] - all_found[:, :2]
        return _squares(all_found[:, :4] + all_found[:, 5:] * np.tile(size, 2))

    def _refine(self, picture: _Sums, boxes: np.ndarray) -> np.ndarray:
        """The square candidates (N, 4) that the second net keeps."""
        boxes, views = picture.views(boxes, _R_SIDE_PX)
        if not len(boxes):
            return boxes
        offsets, probabilities = _by_parts(self._rnet, views)
        kept = probabilities > self._thresholds[1]
        boxes, offsets, probabilities = boxes[kept], offsets[kept], probabilities[kept]
        kept = _distinct(boxes, probabilities, 0.7)
        return _squares(_moved(boxes[kept], offsets[kept]))

    def _confirm(self, picture: _Sums, boxes: np.ndarray) -> list[Face]:
        """What the third net takes for a face."""
        boxes, views = picture.views(boxes, _O_SIDE_PX)
        if not len(boxes):
            return []
        offsets, landmarks, probabilities = _by_parts(self._onet, views)
        kept = probabilities > self._thresholds[2]
        boxes, offsets, probabilities = boxes[kept], offsets[kept], probabilities[kept]
        # Net and reference count a box's pixels from 1.
        size = boxes[:, 2:] - boxes[:, :2] + 1
        x = landmarks[kept, :5] * size[:, :1] + boxes[:, :1] - 1
        y = landmarks[kept, 5:] * size[:, 1:] + boxes[:, 1:2] - 1
        boxes = _moved(boxes, offsets)
        faces = []
        for i in _distinct(boxes, probabilities, 0.7, within=True):
            x0, y0, x1, y1 = (float(value) for value in boxes[i])
            if x1 > x0 and y1 > y0:
                points = tuple((float(a), float(b)) for a, b in zip(x[i], y[i], strict=True))
                faces.append(Face((x0, y0, x1, y1), points, float(probabilities[i])))
        return faces


def _by_parts(net: Net, views: np.ndarray) -> list[np.ndarray]:
    parts = [net(views[start : start + _CANDIDATES]) for start in range(0, len(views), _CANDIDATES)]
    return [np.concatenate(results) for results in zip(*parts, strict=True)]


class _Room:
    """Memory in which one picture after the other is worked on: to get it anew takes longer than to fill it."""

    def __init__(self) -> None:
        self._kept: dict[str, np.ndarray] = {}

    def array(self, name: str, shape: tuple[int, ...], kind: type[np.generic] = np.int32) -> np.ndarray:
        """An array, its values those of whatever was there before under that name."""
        size, kept = math.prod(shape), self._kept.get(name)
        if kept is None or kept.size < size:
            kept = self._kept[name] = np.empty(size, kind)
        return kept[:size].reshape(shape)


class _Sums:
    """A picture as a table of sums, from which it is read at any size.

    Args:
        pixels: uint8 (H, W, 3).
        room: Where it is kept; for nothing else as long as it is used.
    """

    def __init__(self, pixels: np.ndarray, room: _Room | None = None) -> None:
        self.height, self.width = pixels.shape[:2]
        self._room = room or _Room()
        # Sums over large pictures wrap around, and differences then wrap back. A table for each colour, since single
        # numbers are gathered several times faster than groups of three.
        self._tables = self._room.array("tables", (3, self.height + 1, self.width + 1))
        colours = self._room.array("colours", (3, self.height, self.width), np.uint8)
        cv2.split(pixels, list(colours))
        for colour, table in zip(colours, self._tables, strict=True):
            cv2.integral(colour, table, cv2.CV_32S)

    def reduced(self, height: int, width: int) -> np.ndarray:
        """The whole picture at another size, float32 (1, 3, height, width), until the next is asked for."""
        top, bottom = _windows(np.array(0), np.array(self.height), height)
        left, right = _windows(np.array(0), np.array(self.width), width)
        area = ((bottom - top)[:, None] * (right - left)).astype(np.float32)
        bands, less = (self._room.array(name, (height, self.width + 1)) for name in ("bands", "less"))
        sums, fewer = (self._room.array(name, (height, width)) for name in ("sums", "fewer"))
        result = self._room.array("reduced", (1, 3, height, width), np.float32)
        # "clip" since "raise" makes a copy; all indices are within.
        for colour, table in enumerate(self._tables):
            np.take(table, bottom, 0, out=bands, mode="clip")
            bands -= np.take(table, top, 0, out=less, mode="clip")
            np.take(bands, right, 1, out=sums, mode="clip")
            sums -= np.take(bands, left, 1, out=fewer, mode="clip")
            np.divide(sums, area, out=result[0, colour], casting="same_kind", dtype=np.float32)
        return result

    def views(self, boxes: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
        """What lies inside of boxes.

        Args:
            boxes: (N, 4), cut off at the picture's edge.
            side: Of each view in pixels.

        Returns:
            The boxes of which something lies in the picture (M, 4), and their views, float32 (M, 3, side, side).
        """
        # Corners are counted from 1, and the last pixel belongs to the box.
        corners = boxes.astype(np.int64)
        x0, y0 = np.maximum(corners[:, 0], 1) - 1, np.maximum(corners[:, 1], 1) - 1
        x1, y1 = np.minimum(corners[:, 2], self.width), np.minimum(corners[:, 3], self.height)
        there = (x1 > x0) & (y1 > y0)
        top, bottom = _windows(y0[there, None], y1[there, None], side)
        left, right = _windows(x0[there, None], x1[there, None], side)
        area = ((bottom - top)[:, :, None] * (right - left)[:, None]).astype(np.float32)
        top, bottom = (rows[:, :, None] * (self.width + 1) for rows in (top, bottom))
        left, right = left[:, None], right[:, None]
        views = np.empty((len(area), 3, side, side), np.float32)
        for colour, table in enumerate(self._tables):
            sums = table.take(bottom + right)
            sums -= table.take(top + right)
            sums -= table.take(bottom + left)
            sums += table.take(top + left)
            np.divide(sums, area, out=views[:, colour], casting="same_kind", dtype=np.float32)
        return boxes[there], views


def _windows(start: np.ndarray, stop: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of `count` pixels begins and ends that reduce start to stop: whole pixels, so neighbours may overlap."""
    i, length = np.arange(count), stop - start
    return start + i * length // count, start - (-(i + 1) * length // count)


def _squares(boxes: np.ndarray) -> np.ndarray:
    """The square around the centre of each box, as long as its longer side."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(1, keepdims=True, initial=0)
    first = boxes[:, :2] + size * np.float32(0.5) - side * np.float32(0.5)
    return np.concatenate([first, first + side], 1)


def _moved(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Boxes corrected by what a net says, in units of their size."""
    return np.asarray(boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2))


def _distinct(boxes: np.ndarray, scores: np.ndarray, most: float, *, within: bool = False) -> np.ndarray:
    """Non-maximum suppression: of boxes that overlap by more than `most` the best.

    Args:
        within: Overlap is the share of the smaller box, counted in whole pixels; else intersection over union.

    Returns:
        Indices, the best first.
    """
    # Boxes that reach beyond the picture by different amounts show the same and score the same. Which one is kept makes
    # tens of pixels: of equals the first, in the last round the last, as in the reference.
    waiting = np.argsort(scores, kind="stable")[::-1] if within else np.argsort(-scores, kind="stable")
    one = 1 if within else 0
    x0, y0, x1, y1 = boxes.T
    known = np.stack([x0, y0, x1, y1, (x1 - x0 + one) * (y1 - y0 + one)])
    kept = []
    if len(waiting) <= _FEW_BOXES:
        known = known[:, waiting]
        apart = _apart(known[:, :, None], known[:, None], most, within=within)
        left = np.ones(len(waiting), bool)
        for i, best in enumerate(waiting):
            if left[i]:
                kept.append(best)
                left &= apart[i]
        return np.array(kept, np.intp)
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        waiting = waiting[_apart(known[:, best], known[:, waiting], most, within=within)]
    return np.array(kept, np.intp)


def _apart(boxes: np.ndarray, others: np.ndarray, most: float, *, within: bool) -> np.ndarray:
    """Which boxes overlap with which others by no more than `most`, see `_distinct`: edges and area of each, (5, ...); the
    rest broadcasts."""
    one = 1 if within else 0
    (x0, y0, x1, y1, area), (left, top, right, bottom, areas) = boxes, others
    across = np.minimum(x1, right) - np.maximum(x0, left) + one
    down = np.minimum(y1, bottom) - np.maximum(y0, top) + one
    shared = np.maximum(across, 0) * np.maximum(down, 0)
    whole = np.minimum(area, areas) if within else area + areas - shared
    return np.asarray(shared <= most * whole)
