"""One face laid over another, and how well the two then agree; and whether two pictures agree around their faces.

Faces are brought upright by their five points (a similarity), bent onto each other by an affine map of these points, and
then by a smooth field of displacements, found coarse to fine by correlation of patches. What is measured after that: how
far small structures agree, whether patches lie where the smooth field puts them, and how many SIFT features agree.

All of it looks at grey values without their slow changes: other light, colour or contrast over the face does not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .types import Face

# The upright face that both are brought to: side, distance of the eyes and the point between them, pixels. All other
# lengths below are in pixels of it, so one pixel is 1/64 of the distance of the eyes.
SIDE = 208
_EYES = 64.0
_BETWEEN_EYES = np.array([104.0, 80.0])
# Where MTCNN sees the five points of an average upright face: medians over some 8,500 genuine and generated portraits.
_FIVE = np.array([[-0.5, 0], [0.5, 0], [0, 0.6], [-0.455, 1.044], [0.455, 1.044]]) * _EYES + _BETWEEN_EYES
# The nose tip leaves the plane of the others when the head turns.
_FIVE_WEIGHTS = np.array([1.0, 1.0, 0.5, 1.0, 1.0])
# The inner face, an ellipse: brows to below the lips. Hair, ears and chin often stay those of the other picture.
_CENTRE = _BETWEEN_EYES + np.array([0.0, 32.0])
_RADII = (54.0, 58.0)
_ROWS, _COLUMNS = (plane.astype(np.float32) for plane in np.mgrid[0:SIDE, 0:SIDE])

# A patch lies in place when it fits best within this distance of where the smooth field puts it.
_IN_PLACE_PX = 0.7
# Places that are brought together lie no further apart.
_TOLERANCE_PX = 4.0
# Percent of the patches that must agree better than the figure stated: a swap may bring only eyes, nose and mouth.
_AGREEING = 20


@dataclass(frozen=True)
class _Stage:
    """How patches are looked for once the two lie roughly over each other: lengths in pixels, of the upright face.

    Attributes:
        step: From patch to patch.
        half: Of a patch.
        reach: How far it is looked for.
        finest: Of the structures looked at, as `_band` takes it.
        coarsest: Likewise.
        about: How far around a place patches say how it moves.
        tolerance: A patch that moves by so much more or less than those around it counts half.
    """

    step: int
    half: int
    reach: int
    finest: float
    coarsest: float
    about: float
    tolerance: float


_STAGES = (
    _Stage(8, 14, 6, 1.2, 5.0, about=14.0, tolerance=1.5),
    _Stage(6, 9, 4, 1.0, 4.0, about=7.0, tolerance=1.0),
    _Stage(6, 8, 3, 1.0, 4.0, about=5.0, tolerance=1.0),
)

# A correlation above it is that of one file with itself.
_SUREST = 0.999
_FRAME_SIDE_PX = 640
_LEAST_FRAME_FEATURES = 15


@dataclass(frozen=True, eq=False)
class Agreement:
    """How one face agrees with another that was laid over it.

    Attributes:
        mirrored: Whether the other was mirrored first.
        detail: Correlation of fine detail (structures of about 1/40 of the distance of the eyes) over small patches of the
            inner face, -1 to 1: a fifth of the patches agree better than this.
        pixels: The same for structures about twice as large.
        unexplained: Of these structures, how strong those are that the other face does not have, as a share of its own, 0
            and up: in a blurred or recompressed copy hardly any, in another picture of the person many.
        in_place: Local geometry, 0 to 1: the share of patches that fit best where the smooth field puts them.
        features: SIFT features that agree in look and place.
        face: uint8 (SIDE, SIDE, 3), the first face, upright.
        aligned: uint8 (SIDE, SIDE, 3), the other bent onto it and brought to its light.
        difference: uint8 (SIDE, SIDE), grey levels by which the two differ.
    """

    mirrored: bool
    detail: float
    pixels: float
    unexplained: float
    in_place: float
    features: int
    face: np.ndarray
    aligned: np.ndarray
    difference: np.ndarray

    def __post_init__(self) -> None:
        if not (-1 <= self.detail <= 1 and -1 <= self.pixels <= 1 and 0 <= self.in_place <= 1):
            raise ValueError(f"agreement out of its range: {self.detail}, {self.pixels}, {self.in_place}")
        if self.unexplained < 0:
            raise ValueError(f"unexplained must be 0 or more, found {self.unexplained}")
        for pixels, shape in (
            (self.face, (SIDE, SIDE, 3)),
            (self.aligned, (SIDE, SIDE, 3)),
            (self.difference, (SIDE, SIDE)),
        ):
            if pixels.dtype != np.uint8 or pixels.shape != shape:
                raise ValueError(f"expected uint8 {shape}, found {pixels.dtype} {pixels.shape}")

    @property
    def measured(self) -> tuple[float, float, float, float, float]:
        """The figures by which to judge, each the larger the more the faces agree.

        Detail and pixels as Fisher's z, minus the logarithm of what is unexplained, in_place, log(1 + features).

        Near 1 a correlation says little by itself: .98 and .99 lie as far apart as .4 and .64.
        """
        detail, pixels = (math.atanh(min(max(value, -_SUREST), _SUREST)) for value in (self.detail, self.pixels))
        return detail, pixels, -math.log(self.unexplained + 0.001), self.in_place, math.log1p(self.features)


@dataclass(frozen=True)
class FrameMatch:
    """Whether all around the faces the suspect frame shows the original, too.

    Attributes:
        features: SIFT features outside all faces that agree in look and, but for one scale, turn and shift, in place.
        compared: How many of the frame's features had a partner that looks alike, wherever it lay.
        mirrored: Whether the mirrored original agrees better.
        matches: Whether it is the same picture around the faces.
    """

    features: int
    compared: int
    mirrored: bool

    @property
    def matches(self) -> bool:
        """Enough features, and most of those that look alike."""
        return self.features >= _LEAST_FRAME_FEATURES and self.features >= 0.4 * self.compared


def lay_over(pixels: np.ndarray, face: Face, other_pixels: np.ndarray, other_face: Face) -> tuple[Agreement, Agreement]:
    """How a face agrees with another as it is, and with the other mirrored.

    Args:
        pixels: uint8 (H, W, 3) RGB.
        other_pixels: Likewise, of any other size.
    """
    points, other_points = _points(face), _points(other_face)
    upright, wanted = _upright(pixels, points), _on_upright(points)
    plain, five = _upright(other_pixels, other_points), _on_upright(other_points)
    turned = np.ascontiguousarray(plain[:, ::-1])
    # Mirrored, the person's right and left change places.
    turned_five = five[[1, 0, 2, 4, 3]] * (-1, 1) + (SIDE - 1, 0)
    return (
        _agree(upright, plain, _affine_field(wanted, five), mirrored=False),
        _agree(upright, turned, _affine_field(wanted, turned_five), mirrored=True),
    )


def match_frames(
    pixels: np.ndarray, faces: Sequence[Face], other_pixels: np.ndarray, other_faces: Sequence[Face]
) -> FrameMatch:
    """Whether the two pictures are one around their faces, from SIFT features (Lowe, 2004) and RANSAC."""
    theirs, at = _features(*_reduced(pixels, faces))
    ours, grounds = _features(*_reduced(other_pixels, other_faces))
    turned, mirrored_grounds = _features(*(plane[:, ::-1].copy() for plane in _reduced(other_pixels, other_faces)))
    tried = []
    for described, points, mirrored in ((ours, grounds, False), (turned, mirrored_grounds, True)):
        a, b = _alike(theirs, at, described, points, ratio=0.75)
        tried.append(FrameMatch(_in_agreement(a, b), len(a), mirrored))
    return max(tried, key=lambda match: match.features)


# Faces


def _points(face: Face) -> np.ndarray:
    return np.array(face.landmarks, np.float64)


def _similarity(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """(2, 3): the turn, scale and shift that fits five points best (Umeyama, 1991), points taken for complex numbers."""
    a, b = points[:, 0] + 1j * points[:, 1], onto[:, 0] + 1j * onto[:, 1]
    weights = _FIVE_WEIGHTS / _FIVE_WEIGHTS.sum()
    a0, b0 = (weights * a).sum(), (weights * b).sum()
    spread = float((weights * np.abs(a - a0) ** 2).sum())
    # Five points in one spot are no face, and nothing to divide by.
    turn = (weights * np.conj(a - a0) * (b - b0)).sum() / max(spread, 1e-6)
    shift = b0 - turn * a0
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def _on_upright(points: np.ndarray) -> np.ndarray:
    """The five points where `_upright` puts them."""
    matrix = _similarity(points, _FIVE)
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def _upright(pixels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face turned upright and brought to SIDE, uint8 (SIDE, SIDE, 3); beyond the frame its edge repeats."""
    matrix = _similarity(points, _FIVE)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.7:
        # A large face is first reduced by area, only where it lies, so that nothing aliases.
        back = cv2.invertAffineTransform(matrix)
        corners = np.array([[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]]) @ back[:, :2].T + back[:, 2]
        height, width = pixels.shape[:2]
        x0, y0 = (
            int(np.clip(np.floor(v) - 2, 0, most - 1)) for v, most in zip(corners.min(0), (width, height), strict=True)
        )
        x1, y1 = (int(v) + 3 for v in np.ceil(corners.max(0)))
        part = pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
        size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
        reduced = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        ratio = np.array(size) / (part.shape[1], part.shape[0])
        matrix = _similarity((points - (x0, y0) + 0.5) * ratio - 0.5, _FIVE)
        pixels = reduced
    return cv2.warpAffine(
        np.ascontiguousarray(pixels), matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


def _agree(theirs: np.ndarray, ours: np.ndarray, start: np.ndarray, *, mirrored: bool) -> Agreement:
    """Compare two upright faces, the second bent onto the first.

    Args:
        theirs: uint8 (SIDE, SIDE, 3).
        ours: Likewise.
        start: float32 (SIDE, SIDE, 2): where in `ours` each pixel of `theirs` is first looked for, as a displacement.
    """
    a, b = (cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) for pixels in (theirs, ours))
    displaced = _refined(a, b, start)
    bent = _bent(b, displaced)
    left, _ = _search(_band(a, 1.0, 4.0), _band(bent, 1.0, 4.0), _grid(8), reach=4, half=10)
    aligned = _in_the_light_of(theirs, _bent(ours, displaced))
    detail, _ = _correlated(a, bent, finest=0.7, coarsest=1.6, about=6.0)
    pixels, unexplained = _correlated(a, bent, finest=1.6, coarsest=3.2, about=8.0)
    return Agreement(
        mirrored=mirrored,
        detail=detail,
        pixels=pixels,
        unexplained=unexplained,
        in_place=float((_lengths(left) < _IN_PLACE_PX).mean()),
        features=_face_features(theirs, _bent(ours, displaced)),
        face=theirs,
        aligned=aligned,
        difference=np.abs(theirs.astype(np.int16) - aligned).mean(2).round().astype(np.uint8),
    )


def _affine_field(wanted: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The displacements that carry five points onto five others as well as an affine map can, float32 (SIDE, SIDE, 2)."""
    known = np.hstack([wanted, np.ones((5, 1))]) * _FIVE_WEIGHTS[:, None]
    affine = np.linalg.lstsq(known, (points - wanted) * _FIVE_WEIGHTS[:, None], rcond=None)[0]
    return np.asarray(np.stack([_COLUMNS, _ROWS, np.ones_like(_ROWS)], -1) @ affine, np.float32)


def _refined(theirs: np.ndarray, ours: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The smooth displacements under which the second agrees best with the first, coarse to fine.

    First a quadratic polynomial through the displacements of large patches, robustly: a nose or a mouth that moved on its
    own has no say. Then, three times, the mean displacement of ever smaller patches around each place, likewise.
    """
    points = _grid(16)
    moves, agree = _search(_band(theirs, 2.0, 8.0), _band(_bent(ours, start), 2.0, 8.0), points, reach=14, half=20)
    trust = agree.clip(0.05, 1) ** 4
    weights = trust
    terms = _polynomial(points)
    # Bending costs more than shifting.
    ridge = 0.05 * np.diag([0.0, 1.0, 1.0, 4.0, 4.0, 4.0])
    for _ in range(6):
        root = np.sqrt(weights)[:, None]
        system, wanted = np.vstack([terms * root, ridge]), np.vstack([moves * root, np.zeros((6, 2))])
        fitted = np.linalg.lstsq(system, wanted, rcond=None)[0]
        weights = trust / (1 + (_lengths(moves - terms @ fitted) / 2.0) ** 2)
    everywhere = np.stack([_COLUMNS, _ROWS], -1)
    displaced: np.ndarray = start + (_polynomial(everywhere) @ fitted).astype(np.float32)
    for stage in _STAGES:
        displaced = displaced + _smooth_moves(theirs, _bent(ours, displaced), stage)
    return displaced


def _smooth_moves(theirs: np.ndarray, ours: np.ndarray, stage: _Stage) -> np.ndarray:
    """What is left to move, float32 (SIDE, SIDE, 2): where patches disagree with those around them they count less."""
    points = _grid(stage.step)
    a, b = (_band(grey, stage.finest, stage.coarsest) for grey in (theirs, ours))
    moves, agree = _search(a, b, points, reach=stage.reach, half=stage.half)
    trust = agree.clip(0.02, 1) ** 4
    weights = trust
    for _ in range(3):
        away = _lengths(moves - _smoothed(points, moves, weights, points, about=stage.about))
        weights = trust / (1 + (away / stage.tolerance) ** 2)
    step = 4
    ticks = np.arange(0, SIDE + step, step, dtype=np.float64)
    knots = np.stack(np.meshgrid(ticks, ticks), -1)
    coarse = _smoothed(points, moves, weights, knots.reshape(-1, 2), about=stage.about).reshape(knots.shape)
    at = (_COLUMNS / step, _ROWS / step)
    return np.asarray(cv2.remap(coarse.astype(np.float32), *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _grid(step: int) -> np.ndarray:
    """Whole pixels of the inner face, (n, 2)."""
    rx, ry = _RADII
    xs, ys = np.meshgrid(np.arange(-rx // step, rx // step + 1) * step, np.arange(-ry // step, ry // step + 1) * step)
    inside = (xs / rx) ** 2 + (ys / ry) ** 2 <= 1
    return np.asarray(np.stack([xs[inside], ys[inside]], -1) + _CENTRE)


def _polynomial(points: np.ndarray) -> np.ndarray:
    x, y = ((points[..., i] - _CENTRE[i]) / 60 for i in (0, 1))
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)


def _lengths(moves: np.ndarray) -> np.ndarray:
    return np.asarray(np.hypot(moves[:, 0], moves[:, 1]))


def _smoothed(
    points: np.ndarray, moves: np.ndarray, weights: np.ndarray, at: np.ndarray, *, about: float
) -> np.ndarray:
    """The weighted mean of the moves around each place, nearing none where there are no points."""
    squared = ((at[:, None] - points[None]) ** 2).sum(-1)
    share = np.exp(-squared / (2 * about**2)) * weights
    return np.asarray((share @ moves) / (share.sum(1, keepdims=True) + 0.02))


def _search(
    a: np.ndarray, b: np.ndarray, points: np.ndarray, *, reach: int, half: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where in `b` the patch of `a` around each point fits best.

    Args:
        reach: How far it is looked for, pixels each way.
        half: Of a patch, pixels.

    Returns:
        Moves (n, 2) to a fraction of a pixel, and the correlation there (n,).
    """
    moves, agree = np.zeros((len(points), 2)), np.zeros(len(points))
    for i, (x, y) in enumerate(points.astype(int)):
        patch = a[y - half : y + half + 1, x - half : x + half + 1]
        wide = half + reach
        surface = cv2.matchTemplate(b[y - wide : y + wide + 1, x - wide : x + wide + 1], patch, cv2.TM_CCOEFF_NORMED)
        _, agree[i], _, (mx, my) = cv2.minMaxLoc(surface)
        moves[i] = (mx - reach + _peak(surface[my], mx), my - reach + _peak(surface[:, mx], my))
    return moves, agree


def _peak(values: np.ndarray, i: int) -> float:
    """How far from i a parabola through three values has its top."""
    if not 0 < i < len(values) - 1:
        return 0.0
    before, top, after = (float(v) for v in values[i - 1 : i + 2])
    bend = before - 2 * top + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0


def _bent(pixels: np.ndarray, displaced: np.ndarray) -> np.ndarray:
    return cv2.remap(
        pixels,
        _COLUMNS + displaced[..., 0],
        _ROWS + displaced[..., 1],
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _band(grey: np.ndarray, finest: float, coarsest: float) -> np.ndarray:
    """Structures between two sizes: light that changes slowly falls out, and so does the noise of compression."""
    return cv2.GaussianBlur(grey, (0, 0), finest) - cv2.GaussianBlur(grey, (0, 0), coarsest)


def _correlated(
    theirs: np.ndarray, ours: np.ndarray, *, finest: float, coarsest: float, about: float
) -> tuple[float, float]:
    """How structures between two sizes agree, patch by patch, each under a Gaussian window of width `about`.

    Returns:
        The correlation that a fifth of the patches surpass, and what a fifth of them undercut: the variance of the first
        that the second does not explain, over the variance of the second.
    """
    a, b = _band(theirs, finest, coarsest), _band(ours, finest, coarsest)

    def mean(plane: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(plane, (0, 0), about)

    mean_a, mean_b = mean(a), mean(b)
    # Flat skin has no detail to agree in; without a floor its rounding errors would correlate.
    spread_a, spread_b = (np.maximum(mean(x * x) - m * m, 0.05) for x, m in ((a, mean_a), (b, mean_b)))
    correlation = ((mean(a * b) - mean_a * mean_b) / np.sqrt(spread_a * spread_b)).clip(-1, 1)
    unexplained = (1 - correlation**2) * spread_a / spread_b
    xs, ys = _grid(8).astype(int).T
    return (
        float(np.percentile(correlation[ys, xs], 100 - _AGREEING)),
        float(np.percentile(unexplained[ys, xs], _AGREEING)),
    )


def _in_the_light_of(theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """The second with the first's slow changes of colour and light, uint8."""
    slow_a, slow_b = (cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), SIDE / 16) for pixels in (theirs, ours))
    return np.asarray(ours + (slow_a - slow_b) + 0.5).clip(0, 255).astype(np.uint8)


# Features


@cache
def _inner_face() -> np.ndarray:
    mask: np.ndarray = ((((_COLUMNS - _CENTRE[0]) / 62) ** 2 + ((_ROWS - _CENTRE[1]) / 68) ** 2) <= 1).astype(np.uint8)
    return mask * 255


def _face_features(theirs: np.ndarray, ours: np.ndarray) -> int:
    """How many SIFT features of two upright faces agree in look and place."""
    described, at = _features(theirs, _inner_face())
    a, b = _alike(described, at, *_features(ours, _inner_face()), ratio=0.8)
    # The faces lie over each other already.
    near = _lengths(a - b) < 0.3 * _EYES
    return _in_agreement(a[near], b[near])


def _features(pixels: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SIFT descriptions (n, 128) and places (n, 2)."""
    finder = cv2.SIFT.create(nfeatures=600, contrastThreshold=0.02)
    keys, described = finder.detectAndCompute(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), mask)
    if not keys:
        return np.zeros((0, 128), np.float32), np.zeros((0, 2))
    return described, np.array([key.pt for key in keys])


def _alike(
    a: np.ndarray, at_a: np.ndarray, b: np.ndarray, at_b: np.ndarray, *, ratio: float
) -> tuple[np.ndarray, np.ndarray]:
    """Places (n, 2) of the features of `a` with one clear partner in `b` (Lowe's ratio test), and those of the partners."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    clear = [
        (first.queryIdx, first.trainIdx)
        for first, second in cv2.BFMatcher().knnMatch(a, b, k=2)
        if first.distance < ratio * second.distance
    ]
    pairs = np.array(clear, int).reshape(-1, 2)
    return at_a[pairs[:, 0]], at_b[pairs[:, 1]]


def _in_agreement(a: np.ndarray, b: np.ndarray) -> int:
    """How many pairs of places one turn, scale and shift brings together (RANSAC)."""
    if len(a) < 3:
        return 0
    matrix, inside = cv2.estimateAffinePartial2D(a, b, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE_PX)
    # Where nothing fits there is no map either.
    if not np.any(inside):
        return 0
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    # A map that shrinks everything to a spot brings anything together.
    return int(inside.sum()) if 0.1 < scale < 10 else 0


def _reduced(pixels: np.ndarray, faces: Sequence[Face]) -> tuple[np.ndarray, np.ndarray]:
    """The picture at a size that is quick to describe, and the mask of what is not face."""
    height, width = pixels.shape[:2]
    scale = min(1.0, _FRAME_SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    mask: np.ndarray = np.full(small.shape[:2], 255, np.uint8)
    for face in faces:
        # MTCNN's box ends at the brow and the chin: a little more, so that nothing of a swap is taken for surroundings.
        x0, y0, x1, y1 = face.box
        more = 0.15 * face.size_px
        left, top, right, bottom = (round(v * scale) for v in (x0 - more, y0 - more, x1 + more, y1 + more))
        mask[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = 0
    return np.ascontiguousarray(small), mask
