"""Boxes, labels and heat on a picture, on a fixed scale: the same colour means the same evidence everywhere.

Evidence up to 0 logits is not drawn at all, so a face without traces keeps its own colours; from there the heat grows to
its full strength at `HOTTEST`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .types import FaceTrack, Heatmap, Score

HOTTEST = 4.0
_OPACITY = 0.65
_MOST_PEOPLE = 40
# One colour a person (Okabe and Ito's palette, told apart by colour-blind people too).
_COLOURS = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66), (0, 114, 178), (213, 94, 0))


def heat(evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours and opacity of evidence.

    Args:
        evidence: (h, w) logits.

    Returns:
        uint8 (h, w, 3) RGB, yellow through red to dark red, and float32 (h, w) opacity, 0 where evidence is 0 or less.
    """
    share = (evidence / HOTTEST).clip(0, 1).astype(np.float32)
    stops = np.array([[255, 236, 130], [253, 141, 60], [227, 26, 28], [128, 0, 38]], np.float32)
    place = np.linspace(0, 1, len(stops))
    colours = np.stack([np.interp(share, place, stops[:, channel]) for channel in range(3)], axis=-1)
    # Opacity rises faster than the colour, else weak evidence could not be seen at all.
    return (colours + 0.5).astype(np.uint8), np.sqrt(share) * np.float32(_OPACITY)


def overlay_crop(heatmap: Heatmap) -> np.ndarray:
    """The crop with its heat, uint8 (S, S, 3)."""
    size = heatmap.crop.pixels.shape[0]
    evidence = cv2.resize(heatmap.evidence, (size, size), interpolation=cv2.INTER_LINEAR)
    return _mix(heatmap.crop.pixels, *heat(evidence))


def overlay_frame(pixels: np.ndarray, heatmap: Heatmap) -> np.ndarray:
    """A copy of the frame with the heat where the crop was cut, uint8 (H, W, 3)."""
    height, width = pixels.shape[:2]
    size = heatmap.crop.pixels.shape[0]
    evidence = cv2.resize(heatmap.evidence, (size, size), interpolation=cv2.INTER_LINEAR)
    placed = cv2.warpAffine(
        evidence,
        heatmap.crop.to_frame,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=-1.0,
    )
    return _mix(pixels, *heat(placed))


def annotate(pixels: np.ndarray, people: Sequence[tuple[FaceTrack, Score]], *, caption: str = "") -> np.ndarray:
    """A copy of the frame with heat, boxes, each person's number and evidence, the scale, and a caption.

    Args:
        pixels: uint8 (H, W, 3) RGB.
        people: Who is seen in this frame, and the score of this frame.
        caption: A line at the top left, such as the time.
    """
    for _, score in people:
        if score.heatmap is not None:
            pixels = overlay_frame(pixels, score.heatmap)
    canvas = Image.fromarray(pixels)
    pen = ImageDraw.Draw(canvas)
    unit = max(1.0, min(canvas.size) / 360)
    font = ImageFont.load_default(13 * unit)
    for track, score in people:
        colour = _COLOURS[(track.id - 1) % len(_COLOURS)]
        x0, y0, x1, y1 = score.face.box
        pen.rectangle((x0, y0, x1, y1), outline=colour, width=max(1, round(1.5 * unit)))
        said = f"{score.logit:+.1f}" if score.logit is not None else str(score.excluded).replace("_", " ")
        _label(pen, (x0, y0), f"person {track.id}  {said}", font, colour, above=True)
    _label(pen, (0, 0), f"analysis copy  {caption}".strip(), font, (255, 255, 255), above=False)
    _legend(canvas, font, unit)
    return np.asarray(canvas)


def contact_sheet(tracks: Sequence[FaceTrack], *, columns: int = 6, rows_each: int = 1) -> np.ndarray:
    """For each person the most telling crops, each above its map; uint8 (H, W, 3).

    Args:
        tracks: Those without a heatmap are left out.
        columns: Crops in a row.
        rows_each: Rows for each person.
    """
    tile, gap, band = 168, 8, 22
    font = ImageFont.load_default(13)
    # A crowd is cut to those with the strongest evidence, in order of appearance: a JPEG has at most 65,500 rows.
    strongest = sorted(tracks, key=lambda track: math.inf if track.logit is None else -track.logit)[:_MOST_PEOPLE]
    chosen = sorted(strongest, key=lambda track: track.id)
    shown = [(track, _telling(track, columns * rows_each)) for track in chosen]
    shown = [(track, scores) for track, scores in shown if scores]
    height = sum(band + -(-len(scores) // columns) * (2 * tile + band + gap) for _, scores in shown) + 40
    canvas = Image.new("RGB", (gap + columns * (tile + gap), max(height, 60)), (250, 250, 250))
    pen = ImageDraw.Draw(canvas)
    y = 4
    for track, scores in shown:
        said = "not judged" if track.logit is None else f"pooled evidence {track.logit:+.2f}"
        pen.text(
            (gap, y), f"person {track.id}   {said}   {track.start_s:.1f} s to {track.end_s:.1f} s", (20, 20, 20), font
        )
        y += band
        for start in range(0, len(scores), columns):
            for i, score in enumerate(scores[start : start + columns]):
                assert score.heatmap is not None
                x = gap + i * (tile + gap)
                for row, picture in enumerate((score.heatmap.crop.pixels, overlay_crop(score.heatmap))):
                    small = cv2.resize(picture, (tile, tile), interpolation=cv2.INTER_AREA)
                    canvas.paste(Image.fromarray(small), (x, y + row * tile))
                pen.text((x, y + 2 * tile + 2), f"{score.time_s:.2f} s   {score.logit:+.2f}", (20, 20, 20), font)
            y += 2 * tile + band + gap
    _legend(canvas, font, 1.0)
    return np.asarray(canvas)


def _telling(track: FaceTrack, count: int) -> list[Score]:
    drawn = [score for score in track.scores if score.heatmap is not None]
    best = sorted(drawn, key=lambda score: -(score.logit or 0.0))[:count]
    return sorted(best, key=lambda score: score.time_s)


def _mix(pixels: np.ndarray, colours: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    weight = opacity[..., None]
    return np.asarray(pixels * (1 - weight) + colours * weight + 0.5).astype(np.uint8)


def _label(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    colour: tuple[int, int, int],
    *,
    above: bool,
) -> None:
    left, top, right, bottom = pen.textbbox((0, 0), text, font)
    width, height = right - left + 6, bottom - top + 6
    x = min(max(0.0, at[0]), max(0.0, pen.im.size[0] - width))
    y = max(0.0, at[1] - height) if above else at[1]
    pen.rectangle((x, y, x + width, y + height), fill=(0, 0, 0))
    pen.text((x + 3 - left, y + 3 - top), text, colour, font)


def _legend(canvas: Image.Image, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, unit: float) -> None:
    """The fixed scale, at the lower left."""
    width, height = round(120 * unit), round(8 * unit)
    if canvas.width < 1.5 * width or canvas.height < 6 * height:
        return
    ramp = np.tile(np.linspace(0, HOTTEST, width, dtype=np.float32), (height, 1))
    colours, opacity = heat(ramp)
    bar = _mix(np.full((height, width, 3), 128, np.uint8), colours, opacity)
    pen = ImageDraw.Draw(canvas)
    text = f"evidence 0 to {HOTTEST:g}+ (logits)"
    left, top, right, bottom = pen.textbbox((0, 0), text, font)
    x, y = round(6 * unit), canvas.height - height - round(6 * unit)
    line = y - (bottom - top) - round(5 * unit)
    pen.rectangle((0, line - 3, x + max(width, right - left) + 6, canvas.height), fill=(0, 0, 0))
    pen.text((x - left, line - top), text, (255, 255, 255), font)
    canvas.paste(Image.fromarray(bar), (x, y))
