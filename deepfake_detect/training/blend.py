"""Forgeries made from genuine faces, with the mask of what was altered.

The idea of blending a face with a changed copy of itself is Self-Blended Images (Shiohara and Yamasaki, CVPR 2022); with
another person's face it is Face X-ray (Li et al., CVPR 2020). Written from the descriptions. Three families, each over
one of several mask shapes, and one over all of the picture:

    self         a slightly moved, recoloured or resampled copy of the same face
    other        another person's face, warped onto the landmarks and matched in colour; or part of the same person's from
                 another moment, laid on as it is, as reenactment and lip-sync put another expression into a frame
    regenerated  the same face smoothed, resampled, quantised, recompressed, or redrawn by a net
    redrawn      the face with all around it redrawn by a net, as reenactment and talking-head programs leave it

What all families keep to: outside the mask, forgery and genuine half are equal to the last bit. `forge` therefore
returns both halves: the genuine one is the very picture the forgery was pasted into.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .augment import compressed_off_grid, sharpened
from .restore import take_face

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator

    from .data import TrainingFace

Picture = np.ndarray

IGNORE = -1.0
FAMILIES = ("self", "other", "regenerated", "redrawn")
SHAPES = ("whole", "inner", "below_brows", "lower_half", "mouth", "eyes", "nose", "box", "parts")
_SHAPE_WEIGHTS = (0.24, 0.18, 0.13, 0.1, 0.12, 0.06, 0.04, 0.07, 0.06)
# Another person's face mostly comes whole, and then fills what is looked at without the face's rim.
_OTHER_WEIGHTS = (0.3, 0.18, 0.13, 0.05, 0.06, 0.03, 0.01, 0.08, 0.16)
FILLING = ("whole", "inner", "below_brows", "box")
# How often a blend is seen through a swap net: its square of the picture drawn at the net's size. The sizes of published
# ones, in pixels a side; how wide the square is and how far below the eyes its centre lies, both in distances of the eyes
# (the template of ArcFace, Deng et al., CVPR 2019, as swap programs pad it, is 3.6 wide); what of each side is not pasted.
_THROUGH_NET, _ENHANCED = 0.3, 0.35
_NET_PX, _NET_SQUARE, _NET_BELOW, _NET_TRIMMED = (
    (96, 112, 128, 128, 128, 160, 192, 224, 256),
    (3.2, 4.6),
    0.35,
    (0.02, 0.12),
)
# How often a mask is what a net that parses faces takes for skin; how often another person's face keeps its own outline
# where otherwise it is bent onto the other's; and how often it takes on the light of the face it covers.
_PARSED, _OWN_OUTLINE, _RELIT = 0.25, 0.2, 0.4
# What of another moment is laid over: the parts that speak.
_SPEAKING, _SPEAKING_WEIGHTS = ("mouth", "lower_half", "below_brows", "inner"), (0.3, 0.3, 0.2, 0.2)
_STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Forgery:
    """A genuine picture and a forgery made of it.

    Attributes:
        genuine: uint8 (H, W, 3) RGB.
        forged: The same outside the mask.
        mask: float32 (H, W), 0 to 1: where and how much of the picture was replaced; `IGNORE` where it was, and a map
            need not say so.
        family: One of `FAMILIES`.
        shape: One of `SHAPES`; of a face redrawn all over, `all`.
        through_net: It was drawn anew at a swap net's size, see `through_net`.
    """

    genuine: Picture
    forged: Picture
    mask: np.ndarray
    family: str
    shape: str
    through_net: bool = False


def forge(
    pixels: Picture,
    face: TrainingFace,
    rng: Generator,
    *,
    donor: tuple[Picture, TrainingFace] | None = None,
    restored: Picture | None = None,
    same_person: bool = False,
) -> Forgery:
    """Forge one genuine face.

    Args:
        pixels: uint8 (H, W, 3) RGB.
        face: Where the face and its landmarks lie in `pixels`.
        donor: Another person's picture and face; with it the family is `other`.
        restored: The same picture with its face redrawn by a net; with it the family is `regenerated`.
        same_person: The donor is the same person at another moment.

    Raises:
        ValueError: The face has no mesh.
    """
    if face.mesh is None:
        raise ValueError(f"{face.path} has no mesh to blend along")
    weights = _SHAPE_WEIGHTS if donor is None else _OTHER_WEIGHTS
    shape = str(rng.choice(_SPEAKING, p=_SPEAKING_WEIGHTS) if same_person else rng.choice(SHAPES, p=weights))
    mask = draw_mask(face.mesh, pixels.shape[:2], shape, rng)
    if rng.random() < _PARSED:
        parsed = mask * skin(pixels, face.mesh, rng)
        # Where little of it is taken for skin, as under coloured light, such a net would have failed, too.
        mask = parsed if parsed.sum() > 0.3 * mask.sum() else mask
    target = source = pixels
    if donor is not None:
        family = "other"
        lay = lay_onto if same_person or rng.random() < _OWN_OUTLINE else warp_onto
        source = match_colour(lay(*donor, face, pixels.shape[:2]), pixels, mask, rng)
        if rng.random() < _RELIT:
            source = relit(source, pixels, rng.uniform(0.05, 0.15) * face.size_px)
        if rng.random() < 0.5:
            source, target = _differ(source, target, rng)
    elif restored is not None or rng.random() < 0.45:
        family = "regenerated"
        source = restored if restored is not None else _regenerate(pixels, rng)
        if restored is not None and rng.random() < 0.3:
            source = _regenerate(source, rng)
        if rng.random() < 0.4:
            source = _move(source, face, rng)
        if rng.random() < 0.5:
            source = _recolour(source, rng)
    else:
        family = "self"
        source, target = _differ(source, target, rng)
        source = _move(source, face, rng)
    strength = float(rng.choice(_STRENGTHS)) if family == "self" else float(rng.choice((0.75, 1.0, 1.0, 1.0)))
    draw = rng.random()
    heals = family != "regenerated" and strength == 1.0
    # Single eyes, noses and mouths are put together by hand, and whoever does so heals the seams.
    if heals and draw < (0.4 if shape == "parts" else 0.12):
        forged = poisson(source, target, mask)
    elif draw > (0.87 if heals else 0.75):
        forged = multi_band(source, target, mask * strength)
    else:
        forged = alpha_blend(source, target, mask * strength)
    netted = family != "self" and rng.random() < _THROUGH_NET
    if netted:
        forged, mask = through_net(forged, target, face, rng)
    # A pyramid rounds, and a Poisson seam may spill: outside the mask the halves must stay equal.
    forged = np.where((mask != 0)[..., None], forged, target)
    return Forgery(target, forged, mask, family, shape, netted)


def through_net(forged: Picture, target: Picture, face: TrainingFace, rng: Generator) -> tuple[Picture, np.ndarray]:
    """A forgery as one-click swap programs leave it: a net saw an upright square of it, drew it anew at its own, small
    size, and the square was enlarged and pasted back with soft edges; its hair and background are the net's, too.

    Returns:
        uint8 (H, W, 3) RGB and the mask of the square, float32 (H, W): 0 to 1 on the face, `IGNORE` around it, where the
        net's hair and background are and nobody looks for them.

    Raises:
        ValueError: The face has no mesh.
    """
    if face.mesh is None:
        raise ValueError(f"{face.path} has no mesh to align by")
    right, left = (face.mesh[part].mean(0).astype(np.float64) for part in ("right_eye", "left_eye"))
    across = left - right
    # A head in profile has its eyes close to each other, and its square is no smaller for that.
    apart = max(float(np.hypot(*across)), 0.3 * face.size_px)
    across /= max(1e-6, float(np.hypot(*across)))
    down = np.array([-across[1], across[0]])
    side = apart * rng.uniform(*_NET_SQUARE)
    centre = (right + left) / 2 + down * apart * _NET_BELOW
    # No net of these draws more than the picture holds: there would be nothing to see.
    net_px = max(48, round(min(float(rng.choice(_NET_PX)), 0.8 * side)))
    scale = net_px / side
    turned = np.stack([across, down]) * scale
    there = np.hstack([turned, (net_px / 2 - turned @ centre)[:, None]])
    # Most programs skip pixels when they reduce, and some don't.
    seen = forged if rng.random() < 0.5 else cv2.GaussianBlur(forged, (0, 0), max(0.3, 0.4 / scale))
    drawn = cv2.warpAffine(seen, there, (net_px, net_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < 0.3:
        drawn = _smooth(drawn, rng)
    trimmed = rng.uniform(*_NET_TRIMMED) * net_px
    inside: np.ndarray = np.zeros((net_px, net_px), np.float32)
    cv2.rectangle(inside, (round(trimmed),) * 2, (net_px - 1 - round(trimmed),) * 2, 1.0, -1)
    inside = cv2.GaussianBlur(inside, (0, 0), max(0.3, float(rng.uniform(0.1, 0.8)) * trimmed))
    height, width = target.shape[:2]
    how = int(rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC))) | cv2.WARP_INVERSE_MAP
    back = cv2.warpAffine(drawn, there, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)
    # Programs have an enhancer go over the face last, which leaves it sharper than what lies around it.
    if rng.random() < _ENHANCED:
        back = _sharpen(back, rng)
    mask = cv2.warpAffine(inside, there, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    mask[mask < 1 / 255] = 0
    around: np.ndarray = np.ones((height, width), np.uint8)
    cv2.fillConvexPoly(around, _about(cv2.convexHull(face.points())[:, 0], 1.1).round().astype(np.int32), 0)
    return alpha_blend(back, target, mask), np.where((mask > 0) & (around > 0), np.float32(IGNORE), mask)


def redrawn_whole(genuine: Picture, redrawn: Picture, face: TrainingFace) -> Forgery:
    """A genuine picture beside a copy whose face, with most of what a crop will show around it, a net has drawn.

    Where the copy ends it fades into the picture: a hard straight edge is a mark that no forgery has.
    """
    mask: np.ndarray = np.zeros(genuine.shape[:2], np.float32)
    mask[take_face(genuine, face.box)[1]] = 1
    fade = max(1, round(0.05 * face.size_px))
    # What is drawn up to the picture's own edge stays so.
    inner = cv2.erode(mask, np.ones((2 * fade + 1,) * 2, np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1.0)
    mask = cv2.blur(inner, (2 * fade + 1,) * 2, borderType=cv2.BORDER_REPLICATE)
    return Forgery(genuine, alpha_blend(redrawn, genuine, mask), mask, "redrawn", "all")


# Masks


def draw_mask(mesh: dict[str, np.ndarray], size: tuple[int, int], shape: str, rng: Generator) -> np.ndarray:
    """A soft mask over part of a face.

    Args:
        mesh: Landmarks by part, pixels.
        size: Height and width of the picture.
        shape: One of `SHAPES`.

    Returns:
        float32 (H, W), 0 to 1; exactly 0 well away from the part.
    """
    oval = mesh["oval"]
    width = float(np.ptp(oval[:, 0])) or 1.0
    mask: np.ndarray = np.zeros(size, np.float32)
    for outline in _outlines(mesh, shape, rng):
        hull = cv2.convexHull(outline.astype(np.float32)).round().astype(np.int32)
        cv2.fillConvexPoly(mask, hull, 1.0)
    mask = _deform(mask, rng, strength=0.05 * width)
    grow = int(rng.integers(-round(0.05 * width) - 1, round(0.06 * width) + 2))
    if shape in ("mouth", "eyes", "nose", "parts"):
        grow = abs(grow)
    if grow:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(grow) + 1,) * 2)
        mask = cv2.dilate(mask, kernel) if grow > 0 else cv2.erode(mask, kernel)
    # Softened, cut at a random level, softened again: the edge's place and its width vary independently.
    mask = _soften(mask, rng, width)
    if rng.random() < 0.5:
        level = float(rng.uniform(0.2, 0.7))
        mask = np.clip((mask - level) / (1 - level), 0, 1)
        mask = _soften(mask, rng, width)
    mask[mask < 1 / 255] = 0
    return np.ascontiguousarray(mask, np.float32)


def skin(pixels: Picture, mesh: dict[str, np.ndarray], rng: Generator) -> np.ndarray:
    """What a net that parses faces would take for skin, by its colour: without hair, glasses, eyes and the open mouth, and
    with the coarse steps of such a net's output.

    Args:
        pixels: uint8 (H, W, 3) RGB.
        mesh: Landmarks by part, pixels.

    Returns:
        float32 (H, W), 0 to 1.
    """
    height, width = pixels.shape[:2]
    cheeks: np.ndarray = np.zeros((height, width), np.uint8)
    between = np.concatenate([mesh["right_eye"], mesh["left_eye"], mesh["lips_outer"]])
    cv2.fillConvexPoly(cheeks, cv2.convexHull(between.astype(np.float32)).round().astype(np.int32), 1)
    ycc = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    known = ycc[cheeks > 0]
    if len(known) < 50:
        return np.ones((height, width), np.float32)
    middle = np.median(known, 0)
    # The spread that is not the eyes' and the lips'.
    spread = np.median(np.abs(known - middle), 0) * 1.5 + (20.0, 3.0, 3.0)
    like = (np.abs(ycc - middle) / spread).max(2) < rng.uniform(2.5, 4.0)
    longer = max(height, width)
    oval = mesh["oval"]
    cells = float(rng.uniform(64, 128)) / max(1.0, float(np.ptp(oval, axis=0).max()))
    small = cv2.resize(
        like.astype(np.float32), None, fx=min(1.0, cells), fy=min(1.0, cells), interpolation=cv2.INTER_AREA
    )
    small = cv2.medianBlur((small > 0.5).astype(np.uint8), 3).astype(np.float32)
    how = cv2.INTER_NEAREST if rng.random() < 0.3 else cv2.INTER_LINEAR
    result = cv2.resize(small, (width, height), interpolation=how)
    return np.asarray(cv2.GaussianBlur(result, (0, 0), max(0.3, float(rng.uniform(0.0, 0.004)) * longer)))


def _outlines(mesh: dict[str, np.ndarray], shape: str, rng: Generator) -> list[np.ndarray]:
    oval, nose, lips = mesh["oval"], mesh["nose"], mesh["lips_outer"]
    eyes = [mesh["right_eye"], mesh["left_eye"]]
    brows = [mesh["right_brow"], mesh["left_brow"]]
    eye_line = float(np.concatenate(eyes)[:, 1].mean())
    if shape == "whole":
        return [np.concatenate([oval, *brows])]
    if shape == "inner":
        return [np.concatenate([*brows, *eyes, nose, lips])]
    if shape == "below_brows":
        return [np.concatenate([*eyes, oval[oval[:, 1] > eye_line]])]
    if shape == "lower_half":
        return [np.concatenate([nose[nose[:, 1] > np.median(nose[:, 1])], oval[oval[:, 1] > nose[:, 1].max()], lips])]
    if shape == "mouth":
        return [_about(lips, 1.35)]
    if shape == "eyes":
        return [_about(np.concatenate([eye, brow]), 1.1) for eye, brow in zip(eyes, brows, strict=True)]
    if shape == "nose":
        return [_about(nose, 1.2)]
    if shape == "parts":
        # One to four of an eye, the other, the nose and the mouth, as composites are made by hand.
        single = [outline for part in ("eyes", "nose", "mouth") for outline in _outlines(mesh, part, rng)]
        return [single[i] for i in rng.choice(4, int(rng.integers(1, 5)), replace=False)]
    if shape == "box":
        (x0, y0), (x1, y1) = oval.min(0), oval.max(0)
        return [np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])]
    raise ValueError(f"unknown mask shape {shape!r}, expected one of {SHAPES}")


def _about(points: np.ndarray, scale: float) -> np.ndarray:
    centre = points.mean(0)
    return np.asarray((points - centre) * scale + centre)


def _deform(mask: np.ndarray, rng: Generator, *, strength: float) -> np.ndarray:
    """Elastic deformation of the mask alone, so that its edge does not always lie on the landmarks' hull."""
    height, width = mask.shape
    coarse = rng.normal(0, strength, (2, 5, 5)).astype(np.float32)
    flow = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) for plane in coarse]
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(mask, xs + flow[0], ys + flow[1], cv2.INTER_LINEAR)


def _soften(mask: np.ndarray, rng: Generator, width: float) -> np.ndarray:
    sigma = float(rng.uniform(0.004, 0.06)) * width
    return cv2.GaussianBlur(mask, (0, 0), max(sigma, 0.3))


# Ways to paste


def alpha_blend(source: Picture, target: Picture, mask: np.ndarray) -> Picture:
    """source where the mask is 1, target where it is 0."""
    weight = mask[..., None]
    return np.asarray(target + weight * (source.astype(np.float32) - target) + 0.5).clip(0, 255).astype(np.uint8)


def multi_band(source: Picture, target: Picture, mask: np.ndarray, *, levels: int = 3) -> Picture:
    """Blend each octave over its own width (Burt and Adelson, 1983): no visible seam, yet two textures."""
    height, width = mask.shape
    step = 2**levels
    pad = ((0, -height % step), (0, -width % step))
    s: np.ndarray = np.pad(source.astype(np.float32), (*pad, (0, 0)), mode="edge")
    t: np.ndarray = np.pad(target.astype(np.float32), (*pad, (0, 0)), mode="edge")
    m: np.ndarray = np.pad(mask, pad, mode="edge")
    bands = []
    for _ in range(levels):
        small_s, small_t = cv2.pyrDown(s), cv2.pyrDown(t)
        shape = (s.shape[1], s.shape[0])
        fine_s = s - cv2.pyrUp(small_s, dstsize=shape)
        fine_t = t - cv2.pyrUp(small_t, dstsize=shape)
        bands.append(fine_t + m[..., None] * (fine_s - fine_t))
        s, t, m = small_s, small_t, cv2.pyrDown(m)
    result = t + m[..., None] * (s - t)
    for band in reversed(bands):
        result = cv2.pyrUp(result, dstsize=(band.shape[1], band.shape[0])) + band
    return np.asarray(result[:height, :width] + 0.5).clip(0, 255).astype(np.uint8)


def poisson(source: Picture, target: Picture, mask: np.ndarray) -> Picture:
    """Gradient-domain paste (Perez et al., SIGGRAPH 2003), then softened along the mask."""
    solid = (mask > 0.5).astype(np.uint8) * 255
    solid[0], solid[-1], solid[:, 0], solid[:, -1] = 0, 0, 0, 0
    ys, xs = np.nonzero(solid)
    if len(xs) < 50:
        return alpha_blend(source, target, mask)
    # seamlessClone centres the mask's bounding rectangle at this point: the rectangle's own centre leaves it in place.
    centre = (int(xs.min() + xs.max() + 1) // 2, int(ys.min() + ys.max() + 1) // 2)
    cloned = cv2.seamlessClone(source, target, solid, centre, cv2.NORMAL_CLONE)
    return alpha_blend(cloned, target, np.minimum(mask * 2, 1))


# Ways to differ


def _differ(source: Picture, target: Picture, rng: Generator) -> tuple[Picture, Picture]:
    """Colour and sharpness of one of the two change; which one is drawn."""
    if rng.random() < 0.5:
        return _alter(source, rng), target
    return source, _alter(target, rng)


def _alter(pixels: Picture, rng: Generator) -> Picture:
    if rng.random() < 0.8:
        pixels = _recolour(pixels, rng)
    return _resample(pixels, rng) if rng.random() < 0.6 else _sharpen(pixels, rng)


def _recolour(pixels: Picture, rng: Generator) -> Picture:
    if rng.random() < 0.5:
        shift = rng.uniform(-18, 18, 3)
        gain = rng.uniform(0.92, 1.08)
        return _whole_levels(pixels * np.float32(gain) + shift.astype(np.float32))
    hsv: np.ndarray = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-12, 12)) % 360
    hsv[..., 1] *= rng.uniform(0.75, 1.25)
    hsv[..., 2] = hsv[..., 2] * rng.uniform(0.88, 1.12) + rng.uniform(-8, 8) / 255
    return _whole_levels(255 * cv2.cvtColor(hsv.clip(0, (360, 1, 1)).astype(np.float32), cv2.COLOR_HSV2RGB))


def _whole_levels(values: np.ndarray) -> Picture:
    """To the nearest grey level: cut off, one half of a pair would be darker than the other by half a level."""
    return np.asarray(values + 0.5).clip(0, 255).astype(np.uint8)


def _resample(pixels: Picture, rng: Generator, *, least: float = 0.25, most: float = 0.9) -> Picture:
    """Down and up again."""
    height, width = pixels.shape[:2]
    scale = rng.uniform(least, most)
    down = int(rng.choice((cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_NEAREST), p=(0.5, 0.3, 0.2)))
    up = int(
        rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_NEAREST), p=(0.4, 0.3, 0.2, 0.1))
    )
    small = cv2.resize(pixels, (max(8, round(width * scale)), max(8, round(height * scale))), interpolation=down)
    return cv2.resize(small, (width, height), interpolation=up)


def _sharpen(pixels: Picture, rng: Generator) -> Picture:
    return sharpened(pixels, radius=float(rng.uniform(0.7, 2.0)), amount=float(rng.uniform(0.3, 1.5)))


def _smooth(pixels: Picture, rng: Generator) -> Picture:
    draw = rng.random()
    if draw < 0.4:
        return cv2.bilateralFilter(pixels, 7, float(rng.uniform(15, 60)), float(rng.uniform(2, 6)))
    if draw < 0.65:
        return cv2.medianBlur(pixels, int(rng.choice((3, 5))))
    if draw < 0.8:
        return cv2.edgePreservingFilter(
            pixels, flags=1, sigma_s=float(rng.uniform(5, 20)), sigma_r=float(rng.uniform(0.05, 0.3))
        )
    return cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.6, 2.2)))


def _quantise(pixels: Picture, rng: Generator) -> Picture:
    step = float(rng.choice((4, 8, 12, 16)))
    ycc = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    first = 0 if rng.random() < 0.3 else 1
    ycc[..., first:] = (ycc[..., first:] / step).round() * step
    return cv2.cvtColor(_whole_levels(ycc), cv2.COLOR_YCrCb2RGB)


def _recompress(pixels: Picture, rng: Generator) -> Picture:
    down, right = int(rng.integers(0, 8)), int(rng.integers(0, 8))
    ending = (".jpg", ".webp")[int(rng.random() < 0.3)]
    return compressed_off_grid(pixels, down=down, right=right, quality=int(rng.integers(20, 75)), ending=ending)


def _renoise(pixels: Picture, rng: Generator) -> Picture:
    noise = rng.normal(0, rng.uniform(2, 9), pixels.shape).astype(np.float32)
    if rng.random() < 0.5:
        noise = cv2.GaussianBlur(noise, (0, 0), 0.8) * 1.6
    return _whole_levels(pixels + noise)


_REGENERATORS: tuple[tuple[float, Callable[[Picture, Generator], Picture]], ...] = (
    (0.34, lambda pixels, rng: _resample(pixels, rng, least=0.2, most=0.6)),
    (0.26, _smooth),
    (0.10, _sharpen),
    (0.10, _quantise),
    (0.10, _recompress),
    (0.10, _renoise),
)


def _regenerate(pixels: Picture, rng: Generator) -> Picture:
    """One or two of the traces that redrawing a face leaves."""
    weights = [weight for weight, _ in _REGENERATORS]
    for i in rng.choice(len(weights), size=int(rng.integers(1, 3)), replace=False, p=weights):
        pixels = _REGENERATORS[i][1](pixels, rng)
    return pixels


def _move(source: Picture, face: TrainingFace, rng: Generator) -> Picture:
    """Shift up to 3 % and scale by .95 to 1.05, turn by up to 2 degrees, and bend a little."""
    height, width = source.shape[:2]
    x0, y0, x1, y1 = face.box
    centre = (float(x0 + x1) / 2, float(y0 + y1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, float(rng.uniform(-2, 2)), float(rng.uniform(0.95, 1.05)))
    matrix[:, 2] += rng.uniform(-0.03, 0.03, 2) * (x1 - x0, y1 - y0)
    # Cubic or linear at random: interpolation is itself a trace, and there is not one way to do it.
    how = int(rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC)))
    moved = cv2.warpAffine(source, matrix, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < 0.5:
        return moved
    coarse = rng.normal(0, 0.012 * float(x1 - x0), (2, 4, 4)).astype(np.float32)
    flow = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) for plane in coarse]
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(moved, xs + flow[0], ys + flow[1], how, borderMode=cv2.BORDER_REPLICATE)


# Another person's face


def warp_onto(donor_pixels: Picture, donor: TrainingFace, face: TrainingFace, size: tuple[int, int]) -> Picture:
    """The donor's face bent so that its landmarks lie on the face's.

    A thin-plate spline (Bookstein, 1989) through about fifty landmarks, evaluated on a coarse grid: smooth, and quick.

    Args:
        size: Height and width of the result.
    """
    if donor.mesh is None or face.mesh is None:
        raise ValueError("both faces need a mesh")
    onto, origin = _controls(face.mesh), _controls(donor.mesh)
    height, width = size
    step = 8
    gx = np.arange(0, width + step, step, dtype=np.float64)
    gy = np.arange(0, height + step, step, dtype=np.float64)
    grid = np.stack(np.meshgrid(gx, gy), -1).reshape(-1, 2)
    scale = float(np.ptp(onto, axis=0).max())
    centre = onto.mean(0)
    controls = (onto - centre) / scale
    basis = _spline_basis(controls, controls) + 1e-3 * np.eye(len(controls))
    affine = np.hstack([np.ones((len(controls), 1)), controls])
    system = np.block([[basis, affine], [affine.T, np.zeros((3, 3))]])
    solved = np.linalg.solve(system, np.vstack([origin, np.zeros((3, 2))]))
    at = (grid - centre) / scale
    mapped = np.hstack([_spline_basis(at, controls), np.ones((len(at), 1)), at]) @ solved
    coarse = mapped.reshape(len(gy), len(gx), 2).astype(np.float32)
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32) / step, np.arange(height, dtype=np.float32) / step)
    flow = cv2.remap(coarse, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.remap(donor_pixels, flow[..., 0], flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def lay_onto(donor_pixels: Picture, donor: TrainingFace, face: TrainingFace, size: tuple[int, int]) -> Picture:
    """The donor's face moved, turned and scaled so that eyes and nose lie on the face's; its expression stays its own.

    Args:
        size: Height and width of the result.
    """
    if donor.mesh is None or face.mesh is None:
        raise ValueError("both faces need a mesh")
    firm = ("right_eye", "left_eye", "nose")
    origin, onto = (np.concatenate([mesh[part] for part in firm]) for mesh in (donor.mesh, face.mesh))
    matrix = np.asarray(cv2.estimateAffinePartial2D(origin, onto, method=cv2.LMEDS)[0], np.float64)
    if matrix.shape != (2, 3):
        # None was found, as of points that all but coincide.
        return warp_onto(donor_pixels, donor, face, size)
    return cv2.warpAffine(donor_pixels, matrix, size[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _controls(mesh: dict[str, np.ndarray]) -> np.ndarray:
    parts = ((mesh["oval"], 2), (mesh["right_brow"], 3), (mesh["left_brow"], 3), (mesh["right_eye"], 4),
             (mesh["left_eye"], 4), (mesh["nose"], 4), (mesh["lips_outer"], 3))  # fmt: skip
    return np.concatenate([points[::every] for points, every in parts]).astype(np.float64)


def _spline_basis(at: np.ndarray, controls: np.ndarray) -> np.ndarray:
    squared = ((at[:, None] - controls[None]) ** 2).sum(-1)
    result: np.ndarray = 0.5 * squared * np.log(squared + 1e-12)
    return result


def relit(source: Picture, target: Picture, reach: float) -> Picture:
    """Give the source the light of the target, so that what differs is fine detail: swap nets keep the shading they get.

    Args:
        reach: Standard deviation in pixels of what counts as light and not as detail.
    """
    lights = [cv2.GaussianBlur(picture, (0, 0), max(1.0, reach)).astype(np.float32) + 4 for picture in (source, target)]
    return np.asarray(source * (lights[1] / lights[0]).clip(0.5, 2.0) + 0.5).clip(0, 255).astype(np.uint8)


def match_colour(source: Picture, target: Picture, mask: np.ndarray, rng: Generator) -> Picture:
    """Give the source the target's colours inside the mask (mean and spread per Lab channel; Reinhard et al., 2001)."""
    inside = mask > 0.3
    if inside.sum() < 50:
        return source
    s, t = (cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for picture in (source, target))
    t = t[inside]
    own = s[inside]
    spread = (t.std(0) / (own.std(0) + 1e-3)).clip(0.6, 1.6) if rng.random() < 0.6 else np.ones(3, np.float32)
    matched = (s - own.mean(0)) * spread + t.mean(0)
    amount = float(rng.choice((1.0, 1.0, 0.8, 0.5)))
    mixed = np.asarray(s + amount * (matched - s), np.float32)
    return _whole_levels(255 * cv2.cvtColor(mixed, cv2.COLOR_LAB2RGB))
