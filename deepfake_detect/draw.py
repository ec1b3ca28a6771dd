"""Boxes, labels and heat on a picture, on a fixed scale: the same colour means the same evidence everywhere.

Evidence up to 0 logits is not drawn at all, so a face without traces keeps its own colours; from there the heat grows to
its full strength at `HOTTEST`. What holds for a moment that was looked at is drawn with a solid line, what was put in
between two such moments with a dashed one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .words import in_plain_letters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .types import Box, FaceTrack, Heatmap, Score
    from .words import Words

    Colour = tuple[int, int, int]
    Place = tuple[int, int, int, int]

HOTTEST = 4.0
_OPACITY = 0.65
_MOST_PEOPLE = 40
# Two looks at a place are taken with so many pixels a side and compared on so many cells; a mean difference below so many
# grey levels is movement, not a cut.
_LOOK_PX, _LOOK_CELLS, _LOOKS_ALIKE = 64, 8, 28
# A veiled picture keeps so many blobs of grey along its longer side; around a face that is shown, this share of its box.
_BLOBS, _AROUND = 12, 0.18
#: One colour a person (Okabe and Ito's palette, told apart by colour-blind people too).
COLOURS = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66), (0, 114, 178), (213, 94, 0))
# What is too dark to be read on black is written in a brighter shade.
_INK = {(0, 114, 178): (86, 150, 220)}
# From so many people in a picture on no label is wider than its face, by so much, or narrower than can be read (pixels).
_CROWD, _LABEL_SHARE, _LABEL_PX = 8, 1.2, 48
_BLACK, _WHITE, _GREY = (0, 0, 0), (255, 255, 255), (150, 150, 150)
#: On which ground every annotated copy says that it is one.
MARK_GROUND = (255, 200, 0)


@dataclass(frozen=True, eq=False)
class Sight:
    """One person as they are drawn in one picture.

    Attributes:
        person: The number of the track.
        box: Pixels of the picture.
        said: What stands at the box.
        judged: Whether the face votes: one that is too small or blurred does not.
        looked_at: Whether this is a moment that was looked at; else the place is only interpolated.
        heatmap: Its crop is what was seen when it was looked at, and leads to this picture; None where there is no map.
        strength: Of the heat, 0 (none) to 1.
    """

    person: int
    box: Box
    said: str
    judged: bool
    looked_at: bool = True
    heatmap: Heatmap | None = None
    strength: float = 1.0


def colour_of(person: int) -> int:
    """Which of `COLOURS` is that of a person, by their number."""
    return (person - 1) % len(COLOURS)


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
    return mix(heatmap.crop.pixels, *heat(evidence))


def annotate(pixels: np.ndarray, people: Sequence[tuple[FaceTrack, Score]], *, words: Words) -> np.ndarray:
    """A copy of the picture with heat, boxes, each person's number and evidence, the scale, and the mark.

    Args:
        pixels: uint8 (H, W, 3) RGB.
        people: Who is seen in this picture, and the score of this picture.
        words: What is written comes from them.
    """
    canvas = pixels.copy()
    height, width = canvas.shape[:2]
    unit = unit_of(width, height)
    legend = _legend(width, height, unit, words)
    corner = _place(canvas, legend, 0, height)
    sights = [sight(track, score, words) for track, score in people]
    paint(canvas, sights, mark=words("copy_mark"), spared=(corner,))
    _put(canvas, legend, corner)
    return canvas


def sight(track: FaceTrack, score: Score, words: Words) -> Sight:
    """A person at a moment that was looked at."""
    said = finding(track, score, words)
    return Sight(track.id, score.face.box, said, judged=score.logit is not None, heatmap=score.heatmap)


def finding(track: FaceTrack, score: Score, words: Words) -> str:
    """The person's number, and the evidence or why there is none; and that no map was kept, else a face without heat would
    look like one that shows nothing."""
    said = words.number(score.logit, "+.1f") if score.logit is not None else words(f"excluded_{score.excluded}")
    if score.logit is not None and score.heatmap is None:
        said = words("copy_no_map", said=said)
    return f"{words('copy_person', person=track.id)}  {said}"


def unit_of(width: int, height: int) -> float:
    """By how much lines and letters grow with the picture; 1 for small ones."""
    return max(1.0, min(width, height) / 360)


def paint(
    canvas: np.ndarray, sights: Sequence[Sight], *, mark: str, caption: str = "", spared: Sequence[Place] = ()
) -> None:
    """Draw heat, boxes, what is said of each person, the mark that this is a copy, and a caption, onto a picture.

    Args:
        canvas: uint8 (H, W, 3) RGB, which is changed.
        sights: Who is seen.
        mark: What says that this is a copy.
        caption: Beside the mark, such as the time.
        spared: Where something else is put afterwards.
    """
    height, width = canvas.shape[:2]
    unit = unit_of(width, height)
    for one in sights:
        if one.heatmap is not None and one.strength > 0:
            _warm(canvas, one.heatmap, strength=one.strength)
    for one in sights:
        _outline(canvas, one, unit)
    marked = _label(mark, 17 * unit, _BLACK, MARK_GROUND, width)
    beside = _label(caption, 17 * unit, _WHITE, _BLACK, width) if caption else marked[:, :0]
    fits = marked.shape[1] + beside.shape[1] <= width
    corner = (marked.shape[1], 0) if fits else (0, marked.shape[0])
    taken = [_place(canvas, marked, 0, 0), _place(canvas, beside, *corner), *spared]
    for one in sights:
        colour = COLOURS[colour_of(one.person)]
        x0, y0, x1, y1 = one.box
        widest = width if len(sights) < _CROWD else min(width, max(_LABEL_PX, round(_LABEL_SHARE * (x1 - x0))))
        label = _label(one.said, 13 * unit, _INK.get(colour, colour), _BLACK, widest)
        places = [_place(canvas, label, x0, y) for y in (y0 - label.shape[0], y1, y0)]
        # Above the box, below it, or inside, wherever it covers no other.
        chosen = next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])
        taken.append(chosen)
        _put(canvas, label, chosen)
    # Last, so that nothing covers it.
    for label, place in ((marked, taken[0]), (beside, taken[1])):
        _put(canvas, label, place)


def veil(pixels: np.ndarray, shown: Sequence[Box], *, hidden: Sequence[Box] = ()) -> np.ndarray:
    """A copy of the picture in which only some faces can be recognised: all else is a few blobs of grey.

    Args:
        pixels: uint8 (H, W, 3) RGB.
        shown: Boxes of the faces that are shown, with a little of what is around them.
        hidden: Boxes of faces that are not, even where they overlap with one that is.
    """
    height, width = pixels.shape[:2]
    blobs = [max(1, round(_BLOBS * side / max(height, width))) for side in (width, height)]
    few = cv2.cvtColor(cv2.resize(pixels, blobs, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    result: np.ndarray = cv2.cvtColor(cv2.resize(few, (width, height)), cv2.COLOR_GRAY2RGB)
    veiled = result.copy() if hidden else result
    for source, boxes in ((pixels, shown), (veiled, hidden)):
        for x0, y0, x1, y1 in boxes:
            # A square, as the crop that was judged.
            x, y, half = (x0 + x1) / 2, (y0 + y1) / 2, (0.5 + _AROUND) * max(x1 - x0, y1 - y0)
            part = np.s_[_within(y - half, height) : _within(y + half, height),
                         _within(x - half, width) : _within(x + half, width)]  # fmt: skip
            result[part] = source[part]
    return result


def still_shows(pixels: np.ndarray, one: Sight) -> bool:
    """Whether the place of a sight looks much as it did when it was looked at, so that no cut lies between.

    Args:
        pixels: uint8 (H, W, 3) RGB, the picture that the sight is of.
    """
    if one.heatmap is None:
        return False
    crop = one.heatmap.crop
    # Pixels of the crop in one of the look.
    step = len(crop.pixels) / _LOOK_PX
    shrink = np.array([[step, 0, (step - 1) / 2], [0, step, (step - 1) / 2], [0, 0, 1]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    there = cv2.warpAffine(
        pixels, crop.to_frame @ shrink, (_LOOK_PX, _LOOK_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    looks = [cv2.resize(picture, (_LOOK_CELLS, _LOOK_CELLS), interpolation=cv2.INTER_AREA).astype(float)
             for picture in (there, crop.pixels)]  # fmt: skip
    return float(np.abs(looks[0] - looks[1]).mean()) < _LOOKS_ALIKE


def _within(value: float, side: int) -> int:
    return min(max(round(value), 0), side)


def _warm(canvas: np.ndarray, heatmap: Heatmap, *, strength: float) -> None:
    """Heat, in the part of the picture that it reaches; in bytes, as a video has many frames."""
    side, to_frame = len(heatmap.crop.pixels), heatmap.crop.to_frame
    corners = np.array([[-0.5, -0.5], [side - 0.5, -0.5], [-0.5, side - 0.5], [side - 0.5, side - 0.5]])
    reached = corners @ to_frame[:, :2].T + to_frame[:, 2]
    x0, y0 = np.maximum(np.floor(reached.min(0)), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(reached.max(0)) + 1, canvas.shape[1::-1]).astype(int)
    if x1 <= x0 or y1 <= y0:
        return
    large = cv2.resize(heatmap.evidence, (side, side), interpolation=cv2.INTER_LINEAR)
    share = ((large / HOTTEST).clip(0, 1) * 255 + 0.5).astype(np.uint8)
    matrix = to_frame - np.array([[0, 0, x0], [0, 0, y0]])
    placed = cv2.warpAffine(share, matrix, (int(x1 - x0), int(y1 - y0)), flags=cv2.INTER_LINEAR)
    colours, opacity = heat(np.linspace(0, HOTTEST, 256, dtype=np.float32))
    opacity *= strength
    added = (colours * opacity[:, None] + 0.5).astype(np.uint8).reshape(256, 1, 3)
    kept = np.repeat((255 * (1 - opacity) + 0.5).astype(np.uint8)[:, None], 3, axis=1).reshape(256, 1, 3)
    region = canvas[y0:y1, x0:x1]
    thrice = cv2.merge((placed, placed, placed))
    region[:] = cv2.add(cv2.multiply(region, cv2.LUT(thrice, kept), scale=1 / 255), cv2.LUT(thrice, added))


@dataclass(frozen=True, eq=False)
class Timeline:
    """A strip with one person's evidence over time.

    Attributes:
        pixels: uint8 (h, w, 3) RGB, without the cursor.
        plot: Left, top, right and bottom of the plot in it, pixels.
        span_s: The times at its left and right end.
    """

    pixels: np.ndarray
    plot: tuple[int, int, int, int]
    span_s: tuple[float, float]

    def x_of(self, time_s: float) -> int:
        """Where a time lies, pixels."""
        left, _, right, _ = self.plot
        begin, end = self.span_s
        share = (time_s - begin) / (end - begin) if end > begin else 0.5
        return round(left + min(max(share, 0.0), 1.0) * (right - left))

    def at(self, time_s: float) -> np.ndarray:
        """A copy with a cursor at the present time."""
        strip = self.pixels.copy()
        _, top, _, bottom = self.plot
        x, size = self.x_of(time_s), max(3, (bottom - top) // 8)
        cv2.line(strip, (x, top), (x, bottom), _WHITE, max(1, size // 4))
        # Its head lies above the plot, so that it hides no bar.
        head = np.array([(x - size, top - size), (x + size, top - size), (x, top)], np.int32)
        cv2.fillConvexPoly(strip, head, _WHITE)
        return strip


def timeline(
    track: FaceTrack | None,
    sampled_s: Sequence[float],
    *,
    span_s: tuple[float, float],
    size: tuple[int, int],
    unit: float,
    words: Words,
    even: float = 0.0,
) -> Timeline:
    """The evidence of a person at the moments that were looked at, on the fixed scale, and its legend.

    Args:
        track: The person, judged or not; None where nobody could be judged.
        sampled_s: All moments that were looked at; where the person was not judged there is a dot.
        span_s: Times at the left and right end.
        size: Width and height, pixels.
        unit: How much larger than usual lines and letters are.
        words: What is written comes from them.
        even: The logit at which the odds are even, where a line is drawn.
    """
    width, height = size
    strip = np.full((height, width, 3), 16, np.uint8)
    if track is None:
        title = words("copy_nobody")
    elif track.logit is None:
        title = words("summary_person", person=track.id, said=words("sheet_unjudged"))
    else:
        title = words("copy_timeline", person=track.id)
    head = _label(title, 11 * unit, _WHITE, (16, 16, 16), width)
    _put(strip, head, _place(strip, head, 0, 0))
    ends = (words.number(level, "+g") for level in (HOTTEST, 0.0, -HOTTEST))
    scale = [_label(text, 9 * unit, _GREY, (16, 16, 16), width) for text in ends]
    gap, ramp = round(4 * unit), round(6 * unit)
    left = max(label.shape[1] for label in scale) + ramp + gap
    top, right, bottom = head.shape[0] + gap, width - 1 - 2 * gap, height - 1 - 2 * gap
    result = Timeline(strip, (left, top, right, bottom), span_s)
    middle, half = (top + bottom) // 2, (bottom - top) // 2
    cv2.rectangle(strip, (left, top), (right, bottom), (52, 52, 52), cv2.FILLED)
    # The colours of the heat are the upper half of the scale: evidence of 0 and less is not drawn.
    for place, label in zip((top, middle, bottom), scale, strict=True):
        x, y = left - ramp - gap // 2 - label.shape[1], place - label.shape[0] / 2
        _put(strip, label, _place(strip, label, x, y))
    for row in range(half):
        strip[middle - row, left - ramp : left - gap // 2] = _bar_colour(row / half * HOTTEST)
    cv2.line(strip, (left, middle), (right, middle), _GREY, 1)
    if even:
        y = middle - round(min(max(even / HOTTEST, -1), 1) * half)
        cv2.line(strip, (left, y), (right, y), _WHITE, 1)
    judged = {} if track is None else {score.time_s: score.logit for score in track.scores if score.logit is not None}
    room = (right - left) / max(1, len(sampled_s))
    wide = max(0, min(round(2 * unit), int(room / 2.5)))
    for time_s in sampled_s:
        x = result.x_of(time_s)
        logit = judged.get(time_s)
        if logit is None:
            cv2.circle(strip, (x, middle), max(1, wide), _GREY, cv2.FILLED)
            continue
        reach = round(min(max(logit / HOTTEST, -1), 1) * half)
        # Never shorter than can be seen, so that no moment looks as if it had not been judged.
        reach = reach if abs(reach) > 1 else (2 if logit > 0 else -2)
        cv2.rectangle(strip, (x - wide, middle), (x + wide, middle - reach), _bar_colour(logit), cv2.FILLED)
    return result


def _bar_colour(logit: float) -> Colour:
    """As the heat, on a dark ground; a cool colour for evidence against manipulation, which heat does not show."""
    if logit <= 0:
        return 120, 170, 210
    colours, opacity = heat(np.array([[logit]], np.float32))
    share = float(opacity[0, 0]) / _OPACITY
    red, green, blue = (round(float(value) * share + 128 * (1 - share)) for value in colours[0, 0])
    return red, green, blue


def contact_sheet(tracks: Sequence[FaceTrack], *, words: Words) -> np.ndarray:
    """For each person the most telling crops, each above its map; uint8 (H, W, 3).

    Args:
        tracks: Those without a heatmap are left out.
        words: What is written comes from them.
    """
    columns, tile, gap, band = 6, 168, 8, 22
    font = _font(13)
    # A crowd is cut to those with the strongest evidence, in order of appearance: a JPEG has at most 65,500 rows.
    with_maps = [track for track in tracks if track.heatmaps]
    strongest = sorted(with_maps, key=lambda track: -(track.logit or 0.0))[:_MOST_PEOPLE]
    shown = [(track, telling(track, columns)) for track in sorted(strongest, key=lambda track: track.id)]
    others = left_out([track for track in tracks if track not in strongest], words)
    height = len(shown) * (band + 2 * tile + band + gap) + band * len(others) + 40
    # A picture has no time but 0.
    timed = any(score.time_s for track in tracks for score in track.scores)
    canvas = Image.new("RGB", (gap + columns * (tile + gap), max(height, 60)), (250, 250, 250))
    pen = ImageDraw.Draw(canvas)
    y = 4
    for track, scores in shown:
        # Who has a map was judged.
        line = f"{words('copy_person', person=track.id)}   {words('sheet_judged', logit=track.logit)}"
        if timed:
            line += f"   {words('sheet_span', start_s=track.start_s, end_s=track.end_s)}"
        pen.text((gap, y), in_plain_letters(line), (20, 20, 20), font)
        y += band
        for i, score in enumerate(scores):
            assert score.heatmap is not None
            x = gap + i * (tile + gap)
            for row, picture in enumerate((score.heatmap.crop.pixels, overlay_crop(score.heatmap))):
                small = cv2.resize(picture, (tile, tile), interpolation=cv2.INTER_AREA)
                canvas.paste(Image.fromarray(small), (x, y + row * tile))
            said = words.number(score.logit or 0.0, "+.2f")
            if timed:
                said = f"{words.number(score.time_s, '.2f')} s   {said}"
            pen.text((x, y + 2 * tile + 2), said, (20, 20, 20), font)
        y += 2 * tile + band + gap
    for said in others:
        pen.text((gap, y), in_plain_letters(said), (20, 20, 20), font)
        y += band
    legend = _legend(canvas.width, canvas.height, 1.0, words)
    canvas.paste(Image.fromarray(legend), (0, canvas.height - len(legend)))
    return np.asarray(canvas)


def left_out(tracks: Sequence[FaceTrack], words: Words) -> list[str]:
    """A sentence for those of these people who show less than others, and one for those who were not judged."""
    unjudged = sum(track.logit is None for track in tracks)
    counts = (("page_more_people", len(tracks) - unjudged), ("page_more_unjudged", unjudged))
    return [words(key, people=people) for key, people in counts if people]


def telling(track: FaceTrack, count: int) -> list[Score]:
    """The scores with a heatmap that speak most for manipulation, in order of time."""
    drawn = [score for score in track.scores if score.heatmap is not None]
    best = sorted(drawn, key=lambda score: -(score.logit or 0.0))[:count]
    return sorted(best, key=lambda score: score.time_s)


def mix(pixels: np.ndarray, colours: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Colours over pixels, (H, W, 3) each, at an opacity (H, W) of 0 to 1; uint8."""
    weight = opacity[..., None]
    return np.asarray(pixels * (1 - weight) + colours * weight + 0.5).astype(np.uint8)


def _outline(canvas: np.ndarray, one: Sight, unit: float) -> None:
    colour = COLOURS[colour_of(one.person)]
    x0, y0, x1, y1 = (round(value) for value in one.box)
    # Not thinner, or the colour is lost where a video keeps one colour for four pixels.
    thick = max(2, round(unit * (3 if one.judged and one.looked_at else 1.5)))
    # Dark below bright can be seen on any ground.
    for shade, width in ((_BLACK, thick + 2), (colour, thick)):
        if one.looked_at:
            cv2.rectangle(canvas, (x0, y0), (x1, y1), shade, width)
            continue
        dash = round(8 * unit)
        for x in range(x0, x1, 2 * dash):
            for y in (y0, y1):
                cv2.line(canvas, (x, y), (min(x + dash, x1), y), shade, width)
        for y in range(y0, y1, 2 * dash):
            for x in (x0, x1):
                cv2.line(canvas, (x, y), (x, min(y + dash, y1)), shade, width)


@cache
def _font(size_px: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


@lru_cache(maxsize=512)
def _label(text: str, size_px: float, colour: Colour, ground: Colour, widest: int) -> np.ndarray:
    """Text on a ground, uint8 (h, w, 3), in smaller letters where it would be wider than `widest`. Not to be changed."""
    text, pad = in_plain_letters(text), max(3, round(size_px / 4))
    font = _font(size_px)
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    long = pen.textlength(text, font)
    if long + 2 * pad > widest:
        font = _font(max(5.0, math.floor(size_px * max(1, widest - 2 * pad) / long)))
    left, _, right, _ = pen.textbbox((0, 0), text, font)
    # As high for every text, so that labels side by side look like one.
    _, top, _, bottom = pen.textbbox((0, 0), "ply0", font)
    label = Image.new("RGB", (math.ceil(right - left) + 2 * pad, math.ceil(bottom - top) + 2 * pad), ground)
    ImageDraw.Draw(label).text((pad - left, pad - top), text, colour, font)
    return np.asarray(label)


def _place(canvas: np.ndarray, picture: np.ndarray, x: float, y: float) -> Place:
    """Left, top, right and bottom of a small picture put here, moved inside where it would reach beyond."""
    height, width = (min(a, b) for a, b in zip(picture.shape[:2], canvas.shape[:2], strict=True))
    left = min(max(0, round(x)), canvas.shape[1] - width)
    top = min(max(0, round(y)), canvas.shape[0] - height)
    return left, top, left + width, top + height


def _overlap(a: Place, b: Place) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def _put(canvas: np.ndarray, picture: np.ndarray, place: Place) -> None:
    left, top, right, bottom = place
    canvas[top:bottom, left:right] = picture[: bottom - top, : right - left]


def _legend(canvas_width: int, canvas_height: int, unit: float, words: Words) -> np.ndarray:
    """The fixed scale, for the lower left corner, uint8 (h, w, 3); empty where the picture has no room for it."""
    width, height, gap = round(120 * unit), round(8 * unit), round(6 * unit)
    if canvas_width < 1.5 * width or canvas_height < 6 * height:
        return np.zeros((0, 0, 3), np.uint8)
    ramp = np.tile(np.linspace(0, HOTTEST, width, dtype=np.float32), (height, 1))
    colours, opacity = heat(ramp)
    bar = mix(np.full((height, width, 3), 128, np.uint8), colours, opacity)
    text, font = in_plain_letters(words("copy_scale", hottest=HOTTEST)), _font(13 * unit)
    left, top, right, bottom = ImageDraw.Draw(Image.new("RGB", (1, 1))).textbbox((0, 0), text, font)
    below = math.ceil(bottom - top) + round(5 * unit) + 3
    legend = Image.new("RGB", (gap + math.ceil(max(width, right - left)) + 6, below + height + gap), _BLACK)
    ImageDraw.Draw(legend).text((gap - left, 3 - top), text, _WHITE, font)
    legend.paste(Image.fromarray(bar), (gap, below))
    return np.asarray(legend)
