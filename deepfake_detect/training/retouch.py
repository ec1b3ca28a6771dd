"""What happens to honest pictures and may look like forgery: beauty filters, make-up, glasses, prints, screenshots.

Done alike to both halves of a pair before one of them is forged, so that "processed" is not learned as "manipulated".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from .augment import compressed_off_grid, sharpened

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator

    Mesh = dict[str, np.ndarray]


def retouch(pixels: np.ndarray, mesh: Mesh, seed: int) -> np.ndarray:
    """One retouching, drawn by the seed alone: pictures of the same face get the very same.

    Args:
        pixels: uint8 (H, W, 3) RGB.
        mesh: Landmarks by part, pixels.
        seed: Of what is done and how strongly.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    rng = np.random.default_rng([seed, 2])
    weights = [weight for weight, _ in _WAYS]
    return _WAYS[int(rng.choice(len(_WAYS), p=weights))][1](pixels, mesh, rng)


def beauty(pixels: np.ndarray, mesh: Mesh, rng: Generator) -> np.ndarray:
    """Skin smoothed and brightened, eyes and mouth left sharp, as phone cameras do on their own."""
    width = _width(mesh)
    skin = _soft(pixels, [mesh["oval"]], 0.04 * width)
    for part in ("right_eye", "left_eye", "lips_outer"):
        skin = skin * (1 - _soft(pixels, [mesh[part]], 0.02 * width))
    smooth = cv2.bilateralFilter(pixels, 7, float(rng.uniform(15, 45)), float(rng.uniform(2, 6)))
    lighter = cv2.convertScaleAbs(smooth, alpha=1.0, beta=float(rng.uniform(0, 12)))
    return _mix(pixels, lighter, skin * np.float32(rng.uniform(0.4, 0.9)))


def make_up(pixels: np.ndarray, mesh: Mesh, rng: Generator) -> np.ndarray:
    """Lips, and sometimes lids and cheeks, tinted."""
    width = _width(mesh)
    red = np.array([rng.uniform(120, 220), rng.uniform(10, 80), rng.uniform(30, 110)], np.float32)
    result = _tint(pixels, _soft(pixels, [mesh["lips_outer"]], 0.012 * width), red, rng.uniform(0.15, 0.5))
    if rng.random() < 0.5:
        shade = rng.uniform(20, 140, 3).astype(np.float32)
        lids = [np.concatenate([mesh[f"{side}_eye"], mesh[f"{side}_brow"]]) for side in ("right", "left")]
        result = _tint(result, _soft(pixels, lids, 0.03 * width), shade, rng.uniform(0.1, 0.35))
    return result


def glasses(pixels: np.ndarray, mesh: Mesh, rng: Generator) -> np.ndarray:
    """Frames around both eyes and a bridge, with clear or tinted lenses."""
    width = _width(mesh)
    result = pixels.copy()
    colour = tuple(int(v) for v in rng.integers(5, 110, 3))
    thick = max(1, round(width * float(rng.uniform(0.01, 0.035))))
    centres = [mesh["right_eye"].mean(0), mesh["left_eye"].mean(0)]
    axes = (round(width * float(rng.uniform(0.15, 0.2))), round(width * float(rng.uniform(0.1, 0.16))))
    slope = float(np.degrees(np.arctan2(*(centres[1] - centres[0])[::-1])))
    tint = float(rng.uniform(0, 0.15)) if rng.random() < 0.8 else float(rng.uniform(0.4, 0.9))
    lenses = np.zeros(pixels.shape[:2], np.uint8)
    for centre in centres:
        middle = (round(float(centre[0])), round(float(centre[1])))
        cv2.ellipse(lenses, middle, axes, slope, 0, 360, 255, -1, cv2.LINE_AA)
        cv2.ellipse(result, middle, axes, slope, 0, 360, colour, thick, cv2.LINE_AA)
    result = _tint(result, lenses.astype(np.float32) / 255, np.array(colour, np.float32), tint)
    along = centres[1] - centres[0]
    along = along / (np.linalg.norm(along) + 1e-6) * axes[0]
    start, end = (centres[0] + along).round().astype(int), (centres[1] - along).round().astype(int)
    return cv2.line(result, start.tolist(), end.tolist(), colour, thick, cv2.LINE_AA)


def screenshot(pixels: np.ndarray, mesh: Mesh, rng: Generator) -> np.ndarray:
    """Shown at another size on a screen and captured there: an odd factor, no compression, a slight sharpening."""
    height, width = pixels.shape[:2]
    factor = float(rng.uniform(0.55, 1.6))
    shown = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=_one_of(rng, cv2.INTER_LINEAR, cv2.INTER_AREA))
    if rng.random() < 0.5:
        shown = sharpened(shown, amount=float(rng.uniform(0.2, 0.6)), radius=1.0)
    return cv2.resize(shown, (width, height), interpolation=cv2.INTER_LINEAR)


def enlarged(pixels: np.ndarray, mesh: Mesh, rng: Generator) -> np.ndarray:
    """A small picture enlarged and sharpened."""
    height, width = pixels.shape[:2]
    factor = float(rng.uniform(0.3, 0.7))
    small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (width, height), interpolation=_one_of(rng, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4))
    return sharpened(large, amount=float(rng.uniform(0.4, 1.5)), radius=float(rng.uniform(0.8, 2)))


def printed(pixels: np.ndarray, mesh: Mesh, rng: Generator) -> np.ndarray:
    """Printed in dots and scanned: a screen of dots, the grain of paper, a flatter range of tones."""
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle, period = float(rng.uniform(0, np.pi)), float(rng.uniform(2.2, 4.5))
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    dots = np.sin(2 * np.pi * along / period) * np.sin(2 * np.pi * across / period)
    grain = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 1.0)
    worn = pixels.astype(np.float32) + (dots * float(rng.uniform(6, 22)) + grain * float(rng.uniform(4, 14)))[..., None]
    low, high = float(rng.uniform(5, 40)), float(rng.uniform(215, 250))
    scanned: np.ndarray = (low + worn * (high - low) / 255).clip(0, 255).astype(np.uint8)
    return cv2.GaussianBlur(scanned, (0, 0), float(rng.uniform(0.4, 1.1)))


def resent(pixels: np.ndarray, mesh: Mesh, rng: Generator) -> np.ndarray:
    """Saved as JPEG again and again, each time on another grid."""
    for _ in range(int(rng.integers(2, 5))):
        down, right = int(rng.integers(0, 8)), int(rng.integers(0, 8))
        pixels = compressed_off_grid(pixels, down=down, right=right, quality=int(rng.integers(25, 70)))
    return pixels


_WAYS: tuple[tuple[float, Callable[[np.ndarray, Mesh, Generator], np.ndarray]], ...] = (
    (0.2, beauty),
    (0.12, make_up),
    (0.1, glasses),
    (0.12, screenshot),
    (0.2, enlarged),
    (0.1, printed),
    (0.16, resent),
)


def _width(mesh: Mesh) -> float:
    return float(np.ptp(mesh["oval"][:, 0])) or 1.0


def _soft(pixels: np.ndarray, outlines: list[np.ndarray], blur: float) -> np.ndarray:
    """float32 (H, W), 0 to 1: the hulls of the outlines with a soft edge."""
    mask = np.zeros(pixels.shape[:2], np.uint8)
    for outline in outlines:
        cv2.fillConvexPoly(mask, cv2.convexHull(outline.astype(np.float32)).round().astype(np.int32), 255)
    return cv2.GaussianBlur(mask, (0, 0), max(blur, 0.5)).astype(np.float32) / 255


def _mix(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    mixed = below + share[..., None] * (above.astype(np.float32) - below)
    return np.ascontiguousarray((mixed + 0.5).clip(0, 255), np.uint8)


def _tint(pixels: np.ndarray, where: np.ndarray, colour: np.ndarray, amount: float) -> np.ndarray:
    return _mix(pixels, np.broadcast_to(colour, pixels.shape), where * np.float32(amount))


def _one_of(rng: Generator, *ways: int) -> int:
    return ways[int(rng.integers(len(ways)))]
