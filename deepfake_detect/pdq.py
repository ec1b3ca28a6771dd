"""Picture -> PDQ: a hash by which it is found again when it was made smaller or saved anew."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .types import PerceptualHash


def perceptual_hash(pixels: np.ndarray) -> PerceptualHash:
    """PDQ: a hash that stays nearly the same when a picture is made smaller or saved again, but not when it is mirrored.

    Meta's algorithm (The TMK+PDQF video-hashing algorithm and the PDQ image-hashing algorithm, Facebook, 2019): brightness,
    smoothed by two box filters each way and reduced to 64 x 64, its lowest 16 x 16 cosine frequencies without the
    constant, one bit for each above their median. Smoothing and picking 64 samples is linear and separable, so it is done
    here by a matrix on each side: the same result at any size, without reducing the picture first.

    The package of its authors' code, pdqhash, has no build for Linux; the tests compare with it where it is installed.

    Args:
        pixels: uint8 (H, W, 3) RGB.

    Returns:
        256 bits, and a quality of 0 to 100 that is low where there is too little in the picture to tell it from others: its
        authors advise against matching below 50. Below 5 pixels on a side both are 0.

    Raises:
        ValueError: The array has another shape or type.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"pixels must be uint8 (H, W, 3), found {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape[:2]
    if min(height, width) < _SMALLEST_HASHED_PX:
        return PerceptualHash("0" * 64, 0)
    narrow = np.zeros((64, width), np.float32)
    # In strips, as the brightness of a large picture as floats would be several times its size; and in single precision,
    # as in the reference. A sample is made of few pixels, so what a matrix library's threads would do, and wait for a core
    # that the nets are busy on, is soon done in this one.
    for top in range(0, height, 256):
        brightness = cv2.transform(pixels[top : top + 256].astype(np.float32), _BRIGHTNESS)
        brightness = brightness.reshape(-1, width)
        for sample, (first, weights) in enumerate(_reduction(height)):
            begin, end = max(first, top), min(first + len(weights), top + len(brightness))
            if begin < end:
                part = weights[begin - first : end - first]
                narrow[sample] += np.einsum("i,ij->j", part, brightness[begin - top : end - top])
    small = np.stack(
        [
            np.einsum("ij,j->i", narrow[:, first : first + len(weights)], weights)
            for first, weights in _reduction(width)
        ],
        axis=1,
    ).astype(np.float64)
    steps = sum(int(np.abs(np.trunc(np.diff(small, axis=axis) * (100 / 255))).sum()) for axis in (0, 1))
    frequencies = (_COSINES @ small @ _COSINES.T).ravel()
    # The lower of the two middle values, as in the reference, so that exactly half of the bits are set.
    bits = frequencies > np.partition(frequencies, 127)[127]
    # The first frequency is the last bit of the written number.
    return PerceptualHash(np.packbits(bits[::-1]).tobytes().hex(), min(100, steps // 90))


_SMALLEST_HASHED_PX = 5
_BRIGHTNESS = np.array([[0.299, 0.587, 0.114]], np.float32)
_COSINES = np.sqrt(2 / 64) * np.cos(np.pi / 128 * np.arange(1, 17)[:, None] * (2 * np.arange(64) + 1))


@lru_cache(maxsize=8)
def _reduction(length: int) -> tuple[tuple[int, np.ndarray], ...]:
    """Two box filters over a row of so many pixels, then 64 samples: of each the first pixel and the weights from there."""
    window = (length + 127) // 128
    ahead = (window + 2) // 2
    at = np.arange(length)
    first, after = np.maximum(at + ahead - window, 0), np.minimum(at + ahead, length)
    samples = ((np.arange(64) + 0.5) * (length / 64)).astype(int)
    weights = np.zeros((64, length))
    weights[np.arange(64), samples] = 1
    # The boxes that reach pixel j are neighbours, as both ends of a box move on with it.
    begin, end = np.searchsorted(after, at, "right"), np.searchsorted(first, at, "right")
    for _ in range(2):
        sums = np.pad(np.cumsum(weights / (after - first), axis=1), ((0, 0), (1, 0)))
        weights = sums[:, end] - sums[:, begin]
    spans = [np.flatnonzero(row)[[0, -1]] for row in weights]
    return tuple(
        (int(begin), np.ascontiguousarray(row[begin : end + 1], np.float32))
        for row, (begin, end) in zip(weights, spans, strict=True)
    )
