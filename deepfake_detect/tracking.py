"""Faces of successive frames -> people. The only stage with a memory; it is born and gone with the file.

Within a scene, a face belongs to the person whose predicted place it overlaps and whose looks it does not contradict.
The less the frame looks as it did when that person was last seen, the more alike the faces must be; across a cut or a gap,
place says nothing, and looks alone must be near certain: it is better that one person is counted twice than that two people
share a track, for then one person's evidence would be held against another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .types import iou

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .types import Face, Frame

# Until this long after a person was last seen, or one and a half sampling steps where these are longer, place counts.
_SHORT_GAP_S = 1.5
_LEAST_OVERLAP = 0.15
# Likeness of two aligned faces is a correlation, 1 for the same picture. On 37 held-out videos at 5 frames a second,
# 95 % of a person's neighbouring frames lie above .82, and 95 % of different people below .71.
_NOT_SOMEONE_ELSE = 0.66
_SURELY_THE_SAME = 0.86
# Among many strangers one is likely to look like another: of 192 portraits by one source up to every third has a best match
# among the others that is above the limit for few, and one in 25 above this. Up to so many people are few.
_SURELY_AMONG_MANY, _FEW_PEOPLE = 0.92, 4
_CLEARLY_BETTER = 0.04
# Place no longer counts for a face that is surely another person's and so much less like this one.
_MORE_LIKE_ANOTHER = 0.1
# By how much their small pictures correlate two frames are on different sides of a cut, or show the same scene. What lies
# between may be either, a moving camera or another picture that is laid out alike: of frames of one shot, 1.3 seconds
# apart, in those videos, the least is .63, and 95 % lie above .84; of portraits by one source 3 to 9 % lie above .6 and
# hardly any above .8 (where all stand before the same white wall, 76 and 22 %). Looks can't tell the two apart: a person's
# own differ as much after a second as those of strangers. With these limits 1 to 10 of 64 portraits, shown one after the
# other, share a number, which had been 7 to 25, and nobody in the videos is counted twice more often.
_CUT_BELOW, _SAME_SCENE = 0.6, 0.85
# In the same place somebody is still awaited after so many sampling steps, if alike enough and nobody else was there since.
_MISSED_STEPS, _ALIKE_AFTER_A_GAP = 4.5, 0.8
_LOOKS_PX = 24
# Where eyes, nose and mouth corners lie in an aligned face, in units of its side.
_ALIGNED = np.array([[0.32, 0.38], [0.68, 0.38], [0.5, 0.58], [0.36, 0.76], [0.64, 0.76]], np.float32)
# sRGB (IEC 61966-2-1): the light of each of 256 levels, and of red, green and blue in shares of white's X, Y and Z.
_LEVELS = np.arange(256, dtype=np.float32) / 255
_LIGHT = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(np.float32)
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], np.float32)
_XYZ /= _XYZ.sum(1, keepdims=True)


@dataclass(eq=False)
class _Person:
    id: int
    box: np.ndarray
    velocity: np.ndarray
    looks: np.ndarray
    time_s: float
    scene: np.ndarray


class Tracker:
    """Gives each face the number of its person.

    Use one for each file: `update` for every frame, in order of time.
    """

    def __init__(self) -> None:
        self._people: list[_Person] = []
        self._time_s = 0.0

    def update(self, frame: Frame, faces: Sequence[Face]) -> tuple[int, ...]:
        """The person of each face, numbered from 1 in order of appearance; never one number twice in a frame."""
        scene = _thumbnail(frame.pixels)
        step_s, self._time_s = frame.time_s - self._time_s, frame.time_s
        looks = [appearance(frame.pixels, face) for face in faces]
        boxes = [np.array(face.box) for face in faces]
        assigned = self._assign(boxes, looks, scene, frame.time_s, step_s=step_s)
        result = []
        for i, (box, look) in enumerate(zip(boxes, looks, strict=True)):
            person = assigned.get(i)
            if person is None:
                person = _Person(len(self._people) + 1, box, np.zeros(4), look, frame.time_s, scene)
                self._people.append(person)
            else:
                self._move(person, box, look, scene, frame.time_s)
            result.append(person.id)
        return tuple(result)

    def _assign(
        self, boxes: list[np.ndarray], looks: list[np.ndarray], scene: np.ndarray, time_s: float, *, step_s: float
    ) -> dict[int, _Person]:
        """Best pairs first, each person and each face once."""
        near, far = [], []
        alike = np.array([[_correlation(look, person.looks) for look in looks] for person in self._people])
        surely = _SURELY_THE_SAME if len(self._people) <= _FEW_PEOPLE else _SURELY_AMONG_MANY
        for person, row in zip(self._people, alike, strict=True):
            elapsed = time_s - person.time_s
            asked = self._asked_in_place(person, scene, elapsed, step_s)
            expected = person.box + person.velocity * min(elapsed, _SHORT_GAP_S)
            for i, (box, likeness) in enumerate(zip(boxes, row.tolist(), strict=True)):
                overlap = max(iou(expected, box), iou(person.box, box)) if asked < math.inf else 0.0
                # Two who have changed places between frames that lie far apart must not change their names.
                best = float(max(row.max(), alike[:, i].max()))
                another = best >= _SURELY_THE_SAME and likeness < best - _MORE_LIKE_ANOTHER
                if overlap >= _LEAST_OVERLAP and likeness >= asked and not another:
                    near.append((overlap + 2 * likeness, i, person))
                elif likeness >= surely and 0.5 < _width(box) / _width(person.box) < 2:
                    far.append((likeness, i, person))
        assigned: dict[int, _Person] = {}
        for _, i, person in sorted(near, key=lambda match: -match[0]):
            if i not in assigned and person not in assigned.values():
                assigned[i] = person
        for score, i, person in sorted(far, key=lambda match: -match[0]):
            rivals = [other for other, j, who in far if (j == i) != (who is person)]
            unrivalled = all(score - other >= _CLEARLY_BETTER for other in rivals)
            if unrivalled and i not in assigned and person not in assigned.values():
                assigned[i] = person
        return assigned

    def _asked_in_place(self, person: _Person, scene: np.ndarray, elapsed_s: float, step_s: float) -> float:
        """How alike a face in a person's place must be to be that person; infinite where place says nothing."""
        at_once = elapsed_s <= max(_SHORT_GAP_S, 1.5 * step_s)
        if not at_once and elapsed_s > _MISSED_STEPS * step_s:
            return math.inf
        same = _correlation(scene, person.scene)
        if same < _CUT_BELOW:
            return math.inf
        asked = float(np.interp(same, (_CUT_BELOW, _SAME_SCENE), (_SURELY_THE_SAME, _NOT_SOMEONE_ELSE)))
        if at_once:
            return asked
        since = (other.box for other in self._people if other.time_s > person.time_s)
        taken = any(iou(box, person.box) >= _LEAST_OVERLAP for box in since)
        return math.inf if taken else max(asked, _ALIKE_AFTER_A_GAP)

    def _move(self, person: _Person, box: np.ndarray, look: np.ndarray, scene: np.ndarray, time_s: float) -> None:
        elapsed = time_s - person.time_s
        cut = _correlation(scene, person.scene) < _CUT_BELOW
        if not cut and 0 < elapsed <= _SHORT_GAP_S:
            person.velocity = 0.5 * person.velocity + 0.5 * (box - person.box) / elapsed
        else:
            person.velocity = np.zeros(4)
        # Looks drift slowly with light and pose, and a single bad frame must not replace them.
        person.looks = look if cut else 0.7 * person.looks + 0.3 * look
        person.box, person.time_s, person.scene = box, time_s, scene


def appearance(pixels: np.ndarray, face: Face) -> np.ndarray:
    """What a face looks like: small, aligned by its landmarks, each colour channel in Lab.

    Returns:
        float32 (24 * 24 * 3,): lightness normalised by the whole face, colours against neutral grey.
    """
    landmarks = np.array(face.landmarks, np.float32)
    matrix, _ = cv2.estimateAffinePartial2D(landmarks, _ALIGNED * _LOOKS_PX, method=cv2.LMEDS)
    if matrix is None or not np.isfinite(matrix).all():
        x0, y0, x1, y1 = face.box
        scale = _LOOKS_PX / max(x1 - x0, y1 - y0)
        matrix = np.array([[scale, 0, -x0 * scale], [0, scale, -y0 * scale]])
    # Reduced in two steps, as warping alone would skip most pixels of a large face.
    scale = float(np.hypot(matrix[0, 0], matrix[0, 1]))
    steps = 1 if scale > 0.5 else min(8, int(1 / scale))
    large = cv2.warpAffine(pixels, matrix * steps, (_LOOKS_PX * steps,) * 2, borderMode=cv2.BORDER_REPLICATE)
    aligned = cv2.resize(large, (_LOOKS_PX, _LOOKS_PX), interpolation=cv2.INTER_AREA)
    looks = lab(aligned)
    light = looks[..., 0]
    looks[..., 0] = (light - light.mean()) / (light.std() + 1.57)
    looks[..., 1:] /= 24
    return looks.ravel()


def lab(pixels: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of sRGB under D65.

    OpenCV's own takes 70 ms to build a table first, longer than it takes to judge a photo.

    Args:
        pixels: uint8 (H, W, 3) RGB.

    Returns:
        float32 (H, W, 3): L* 0 to 100, a* and b* about -128 to 127.
    """
    xyz = _LIGHT[pixels] @ _XYZ.T
    x, y, z = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + np.float32(16 / 116)), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1).astype(np.float32)


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    # Of a large frame some pixels stand for all: averaging a million takes longer than all the rest here.
    step = max(1, min(pixels.shape[:2]) // 144)
    small = cv2.resize(np.ascontiguousarray(pixels[::step, ::step]), (24, 24), interpolation=cv2.INTER_AREA)
    values = np.asarray(cv2.GaussianBlur(small, (0, 0), 1.0), np.float32).reshape(-1, 3)
    return np.asarray(values - values.mean(0)).ravel()


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 1e-6 else float(np.allclose(a, b))


def _width(box: np.ndarray) -> float:
    return max(1.0, float(box[2] - box[0]))
