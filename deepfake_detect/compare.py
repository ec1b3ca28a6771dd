"""Suspect media and an innocent photo -> whether the face in the one was taken from the other.

Three things look alike and are told apart: the face of this very photo, with its expression, light and pixels, moved onto
other media; the same person in another photo; and somebody else. The faces are laid over each other by their five points,
then by a smooth field of displacements. Where the face was taken from the photo, hardly anything is left to move after
that and fine detail agrees; another photo of the person agrees in the coarse and differs in lids, lips, light and skin.

    comparison = compare("suspect.jpg", "my_photo.jpg")
    comparison.label, comparison.likelihood_ratio, comparison.reason

What it can't see: programs that draw a face anew keep nothing of a photo's pixels. `not_taken_from_this_photo` speaks of
the pixels only, and says so.
"""

from __future__ import annotations

import math
import os
import textwrap
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from . import engine, media, verdict
from .alignment import SIDE, Agreement, FrameMatch, lay_over, match_frames
from .crop import cut
from .errors import MediaError, OptionsError
from .faces import sharpness
from .files import replacing
from .options import Options
from .words import Words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from .faces import FaceFinder
    from .types import Face, Frame, MediaInfo

    Source = str | PathLike[str] | np.ndarray

ComparisonLabel = Literal["taken_from_this_photo", "not_taken_from_this_photo", "inconclusive", "no_face"]

#: Grey levels that show white in the picture of the difference; nothing left shows black.
DIFFERENCE_WHITE = 64


@dataclass(frozen=True)
class ErrorRates:
    """How often the answer was wrong on pairs whose people were not used to fit it.

    Attributes:
        false_taken_same_person: Share of pairs with another photo of the same person that were called taken.
        false_taken_stranger: Share of pairs with another person that were called taken.
        miss_rate: Share of faces pasted from the photo into another picture that were called not taken.
        undecided: Share of all pairs called inconclusive.
        pairs: How many pairs.
        people: How many people.
        data: What they are, in words.
    """

    false_taken_same_person: float
    false_taken_stranger: float
    miss_rate: float
    undecided: float
    pairs: int
    people: int
    data: str


@dataclass(frozen=True)
class Judgement:
    """Log odds of "taken", at even prior odds, from what was measured; and the bands of the answer.

    Attributes:
        weights: Of `Agreement.measured`, in that order.
        offset: Added to their sum.
        lower: Log odds up to this are `not_taken_from_this_photo`.
        upper: Log odds from this on are `taken_from_this_photo`.
        largest_ratio: The stated likelihood ratio stays below it, and above its inverse.
    """

    weights: tuple[float, ...]
    offset: float
    lower: float
    upper: float
    largest_ratio: float

    def __post_init__(self) -> None:
        if not (self.lower < self.upper and self.largest_ratio > 1):
            raise ValueError(f"bands must be ordered and the ratio above 1, found {self}")

    def log_odds(self, measured: Sequence[float]) -> float:
        """Before any limit."""
        return self.offset + math.fsum(w * x for w, x in zip(self.weights, measured, strict=True))


# Fitted by `benchmarks/compare.py fit` on one half of the people: a logistic regression with an L2 penalty and no weight
# below 0, in which pairs taken from the photo weigh as much as all others together, and every kind of pair as much as any
# other of its side. Local geometry got no weight of its own: features agree only where they lie in place, too.
JUDGEMENT = Judgement(
    weights=(1.536, 0.889, 1.126, 0.0, 0.709), offset=-9.344, lower=-1.33, upper=0.88, largest_ratio=16.0
)
# Printed by the same command, for the other half.
ERROR_RATES = ErrorRates(
    false_taken_same_person=0.042,
    false_taken_stranger=0.0,
    miss_rate=0.061,
    undecided=0.114,
    pairs=422,
    people=53,
    data=(
        "swaps made by this project's blender and worn, other photos of public figures, other moments of the same video,"
        " and strangers, of people the comparison was not fitted on"
    ),
)


@dataclass(frozen=True, eq=False)
class FaceMatch:
    """One face of the suspect media beside the face of the original.

    Attributes:
        time_s: Of the frame.
        face: In that frame of the suspect media.
        agreement: With the original's face.
    """

    time_s: float
    face: Face
    agreement: Agreement

    @property
    def log_odds(self) -> float:
        """Of "taken from this photo", at even prior odds, before any limit."""
        return JUDGEMENT.log_odds(self.agreement.measured)


@dataclass(frozen=True, eq=False)
class Comparison:
    """The answer for a pair of suspect media and original.

    Attributes:
        label: `taken_from_this_photo`, `not_taken_from_this_photo`, `inconclusive` or `no_face`.
        score: Log odds of "taken from this photo" at even prior odds, over all faces compared; None where none was.
        likelihood_ratio: How many times more probable the finding is if the face was taken from the photo than if not,
            within what the data it was measured on can support; None likewise.
        reason: One sentence for a lay person.
        suspect: The suspect file.
        original: The original's file.
        match: The face that agrees best; None where none was compared.
        frame: Around the faces; None where that was not compared.
        compared: How many faces of the suspect media were compared, over all frames.
        error_rates: Of this way of comparing.
        warnings: What the reader must know, such as that a file is cut short.
    """

    label: ComparisonLabel
    score: float | None
    likelihood_ratio: float | None
    reason: str
    suspect: MediaInfo
    original: MediaInfo
    match: FaceMatch | None = None
    frame: FrameMatch | None = None
    compared: int = 0
    error_rates: ErrorRates = field(default_factory=lambda: ERROR_RATES)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.label not in get_args(ComparisonLabel):
            raise ValueError(f"label must be one of {get_args(ComparisonLabel)}, found {self.label!r}")
        if not (self.score is None) == (self.likelihood_ratio is None) == (self.match is None):
            raise ValueError("score, likelihood_ratio and match are set together")
        if self.score is None and self.label in ("taken_from_this_photo", "not_taken_from_this_photo"):
            raise ValueError(f"{self.label} without a face that was compared")

    def to_dict(self) -> dict[str, Any]:
        """What `deepfake-detect compare --json` prints."""
        return {
            "schema": "deepfake-detect/compare/1",
            "label": self.label,
            "score": None if self.score is None else round(self.score, 4),
            "likelihood_ratio": None if self.likelihood_ratio is None else round(self.likelihood_ratio, 4),
            "reason": self.reason,
            "suspect": {"path": self.suspect.path, "sha256": self.suspect.sha256},
            "original": {"path": self.original.path, "sha256": self.original.sha256},
            "time_s": None if self.match is None else round(self.match.time_s, 6),
            "mirrored": None if self.match is None else self.match.agreement.mirrored,
            "frame_matches": None if self.frame is None else self.frame.matches,
            "faces_compared": self.compared,
            "error_rates": asdict(self.error_rates),
            "warnings": list(self.warnings),
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write `picture` as a PNG.

        Raises:
            OptionsError: No face was compared, so there is nothing to show.
            OSError: The file can't be written.
        """
        if self.match is None:
            raise OptionsError(f"{path}: nothing to show. {self.reason}")
        with replacing(Path(path)) as partial:
            Image.fromarray(self.picture()).save(partial, "PNG")

    def picture(self, *, side: int = 320) -> np.ndarray:
        """Suspect face, aligned original and their difference side by side with their names; uint8 (H, W, 3).

        Args:
            side: Of each of the three, pixels.

        Raises:
            ValueError: No face was compared, so there is nothing to show.
        """
        if self.match is None:
            raise ValueError(f"nothing to show: {self.reason}")
        return _side_by_side(self.match, f"{self.label.replace('_', ' ')}. {self.reason}", side)


def compare(
    suspect: Source, original: Source, *, options: Options | None = None, finder: FaceFinder | None = None
) -> Comparison:
    """Whether a face of the suspect media was taken from the original photo.

    Every face of the picture, or of the chosen frames of a video, is compared with the largest face of the original. Where
    several are compared the ratio is the mean of theirs: which one was taken, if any, is not known beforehand.

    Args:
        suspect: A path, or a picture as uint8 (H, W, 3) RGB.
        original: The innocent photo, likewise.
        options: Which frames are looked at, and which faces are too small, blurred or uncertain to count.
        finder: To use instead of a new one, where many are compared.

    Raises:
        MediaError: A file can't be read, or the original is a video.
        OptionsError: The device is not there.
    """
    options = options or Options()
    finder = finder or engine.choose(options).face_finder(smallest_px=options.min_face_px)
    with _opened(original, options) as opened:
        if opened.info.kind != "image":
            raise MediaError(
                f"{media.shown(opened.info.path)}: expected a photo as the original, found a video;"
                " save the frame in question as a picture and give that",
                kind="unsupported",
            )
        photo = next(opened.frames())
        original_info, warnings = opened.info, list(opened.warnings)
    known = finder.find(photo)
    if len(known) > 1:
        warnings.append(f"The original shows {len(known)} faces; only the largest was compared.")
    usable = bool(known) and _worth_comparing(photo, known[0], options)
    found = _Compared()
    with _opened(suspect, options) as opened:
        for frame in opened.frames():
            faces = finder.find(frame)
            found.seen += len(faces)
            found.first = found.first or (frame, faces)
            for face in faces:
                if usable and _worth_comparing(frame, face, options):
                    found.add(frame, faces, compare_faces(frame, face, photo, known[0]))
        suspect_info = opened.info
        warnings += opened.warnings
    shown = found.best_frame or found.first
    around = match_frames(shown[0].pixels, shown[1], photo.pixels, known) if shown else None
    label, score, ratio, reason = _decide(found, known, around, usable=usable, kind=suspect_info.kind)
    return Comparison(
        label, score, ratio, reason, suspect_info, original_info, found.best, around, len(found.log_odds),
        warnings=tuple(warnings),
    )  # fmt: skip


def compare_faces(suspect: Frame, suspect_face: Face, original: Frame, original_face: Face) -> FaceMatch:
    """How one face agrees with another, as it is or mirrored, whichever agrees better."""
    both = lay_over(suspect.pixels, suspect_face, original.pixels, original_face)
    return max((FaceMatch(suspect.time_s, suspect_face, each) for each in both), key=lambda match: match.log_odds)


# Deciding


@dataclass
class _Compared:
    """What was seen in the suspect media so far."""

    seen: int = 0
    log_odds: list[float] = field(default_factory=list)
    best: FaceMatch | None = None
    best_frame: tuple[Frame, tuple[Face, ...]] | None = None
    first: tuple[Frame, tuple[Face, ...]] | None = None

    def add(self, frame: Frame, faces: tuple[Face, ...], match: FaceMatch) -> None:
        """A face that was compared; only the frame of the best is kept."""
        self.log_odds.append(match.log_odds)
        if self.best is None or match.log_odds > self.best.log_odds:
            self.best, self.best_frame = match, (frame, faces)


def pooled(log_odds: Sequence[float]) -> float:
    """Log of the mean of the likelihood ratios of several faces, each as likely to be the one that was taken."""
    largest = max(log_odds)
    return largest + math.log(sum(math.exp(odds - largest) for odds in log_odds) / len(log_odds))


def label_of(log_odds: float) -> ComparisonLabel:
    """Which band the log odds fall into, before the limit on what is stated."""
    if log_odds >= JUDGEMENT.upper:
        return "taken_from_this_photo"
    return "not_taken_from_this_photo" if log_odds <= JUDGEMENT.lower else "inconclusive"


def likelihood_ratio(log_odds: float) -> float:
    """What may be stated: the logarithm bends smoothly towards the limit that the amount of data sets."""
    return verdict.limited(log_odds, JUDGEMENT.largest_ratio)


def _decide(
    found: _Compared, known: tuple[Face, ...], around: FrameMatch | None, *, usable: bool, kind: str
) -> tuple[ComparisonLabel, float | None, float | None, str]:
    what = "picture" if kind == "image" else "video"
    if not known or not found.seen:
        where = "the original photo" if not known else f"the suspect {what}"
        return "no_face", None, None, f"No face was found in {where}, so there is nothing to compare."
    if found.best is None:
        where = f"the suspect {what}" if usable else "the original photo"
        reason = f"The face in {where} is too small, too blurred or too uncertain to compare; look for a larger copy."
        return "inconclusive", None, None, reason
    score = pooled(found.log_odds)
    ratio = likelihood_ratio(score)
    label = label_of(score)
    return label, score, ratio, _reason(label, found.best, around, ratio, what=what)


def _reason(label: ComparisonLabel, match: FaceMatch, around: FrameMatch | None, ratio: float, *, what: str) -> str:
    words = Words()
    amount, support = verdict.amount(ratio, words), f"{words(verdict.strength(ratio))} support"
    when = f" at {match.time_s:.1f} s" if what == "video" else ""
    mirrored = ", mirrored," if match.agreement.mirrored else ""
    same = around is not None and around.matches
    if label == "taken_from_this_photo":
        rest = (
            "and all around the face the two agree as well, so it is this photo or an edited copy"
            if same
            else "while the surroundings differ or show too little to tell"
        )
        return (
            f"The face{when} agrees with this photo{mirrored} in expression, light and fine detail, {rest}; such an"
            f" agreement is {amount} more probable if the face was taken from this photo than if not ({support})."
        )
    if label == "not_taken_from_this_photo":
        rest = ", although the surroundings are those of this photo" if same else ""
        return (
            f"The face differs from this photo in expression, light or fine detail{rest}; such a difference is {amount}"
            f" more probable if its pixels were not taken from this photo ({support}), which does not rule out that a"
            " program drew the face anew after it."
        )
    return (
        f"The face{when} agrees with this photo in part only, too little to tell a copy of it from another photo of the"
        " same person; a larger or less compressed copy may help."
    )


def _opened(source: Source, options: Options) -> media.Media:
    return (
        media.from_array(source, options) if isinstance(source, np.ndarray) else media.open(os.fspath(source), options)
    )


def _worth_comparing(frame: Frame, face: Face, options: Options) -> bool:
    crop = cut(frame, face, size=224, margin=0.1)
    return verdict.exclusion(face, sharpness(crop.pixels), options) is None


# Showing


def _side_by_side(match: FaceMatch, said: str, side: int) -> np.ndarray:
    gap, band = max(4, side // 40), max(14, side // 12)
    font = ImageFont.load_default(max(8, 0.55 * band))
    scaled = (match.agreement.difference.astype(np.float32) * (255 / DIFFERENCE_WHITE)).clip(0, 255).astype(np.uint8)
    tiles = (
        ("suspect", match.agreement.face),
        (
            "original, mirrored and aligned" if match.agreement.mirrored else "original, aligned",
            match.agreement.aligned,
        ),
        (f"difference: black 0, white {DIFFERENCE_WHITE}+ levels", np.repeat(scaled[..., None], 3, axis=2)),
    )
    width = gap + 3 * (side + gap)
    lines = textwrap.wrap(said, max(20, round(width / (0.29 * band))))
    canvas = Image.new("RGB", (width, band + side + gap + band * len(lines) + gap), (250, 250, 250))
    pen = ImageDraw.Draw(canvas)
    for i, (name, pixels) in enumerate(tiles):
        x = gap + i * (side + gap)
        pen.text((x, band * 0.15), name, (20, 20, 20), font)
        enlarged = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_CUBIC if side > SIDE else cv2.INTER_AREA)
        canvas.paste(Image.fromarray(enlarged), (x, band))
    for i, line in enumerate(lines):
        pen.text((gap, band + side + gap + band * i), line, (20, 20, 20), font)
    return np.asarray(canvas)
