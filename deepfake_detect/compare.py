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
from .files import is_same, replacing
from .options import Options
from .types import Note
from .words import Words, in_plain_letters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    from .faces import FaceFinder
    from .media import Source
    from .types import Face, Frame, MediaInfo

Side = Literal["suspect", "original"]
ComparisonLabel = Literal["taken_from_this_photo", "not_taken_from_this_photo", "inconclusive", "no_face"]

#: Grey levels that show white in the picture of the difference; nothing left shows black.
DIFFERENCE_WHITE = 64


@dataclass(frozen=True)
class ErrorRates:
    """How often the answer was wrong on pairs of pictures whose people were not used to fit it. Videos were not tried.

    Attributes:
        false_taken_same_person: Share of pairs with another picture of the same person that were called taken, another
            moment of one video among them.
        false_taken_other_photo: Of these, with another photo.
        false_taken_other_moment: Of these, with another moment of the video that the original is from.
        false_taken_stranger: Share of pairs with another person that were called taken.
        miss_rate: Share of faces pasted from the photo into another picture that were called not taken.
        undecided: Share of all pairs called inconclusive.
        pairs: How many pairs.
        people: How many people.
        data: What they are, in words.
    """

    false_taken_same_person: float
    false_taken_other_photo: float
    false_taken_other_moment: float
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
# Of a video: one frame can be an answer, and no net judges them.
_FRAMES = 32
# So many faces of an original are compared at most, the largest: each with every face of every frame.
_MOST_KNOWN = 8
# Printed by the same command, for the other half.
ERROR_RATES = ErrorRates(
    false_taken_same_person=0.042,
    false_taken_other_photo=0.0,
    false_taken_other_moment=0.125,
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
        suspect: The suspect file.
        original: The original's file.
        match: The face that agrees best; None where none was compared.
        frame: Around the faces; None where that was not compared.
        lacking: Which of the two, `suspect` or `original`, has no face that can be compared; None where faces were.
        compared: How many faces of the suspect media were compared, over all frames.
        error_rates: Of this way of comparing.
        notes: What the reader must know, such as that a file is cut short, each with the side it is about.
    """

    label: ComparisonLabel
    score: float | None
    likelihood_ratio: float | None
    suspect: MediaInfo
    original: MediaInfo
    match: FaceMatch | None = None
    frame: FrameMatch | None = None
    lacking: Side | None = None
    compared: int = 0
    error_rates: ErrorRates = field(default_factory=lambda: ERROR_RATES)
    notes: tuple[tuple[Side, Note], ...] = ()

    def __post_init__(self) -> None:
        if self.label not in get_args(ComparisonLabel):
            raise ValueError(f"label must be one of {get_args(ComparisonLabel)}, found {self.label!r}")
        if not (self.score is None) == (self.likelihood_ratio is None) == (self.match is None):
            raise ValueError("score, likelihood_ratio and match are set together")
        if self.score is None and self.label in ("taken_from_this_photo", "not_taken_from_this_photo"):
            raise ValueError(f"{self.label} without a face that was compared")
        if (self.match is None) != (self.lacking is not None):
            raise ValueError(f"without a face that was compared one of the two lacks it, found {self.lacking}")

    @property
    def reason(self) -> str:
        """`explain` in English."""
        return self.explain(Words())

    def explain(self, words: Words) -> str:
        """The reason for the answer, one sentence for a lay person."""
        kind = self.suspect.kind
        if self.match is None or self.likelihood_ratio is None:
            where = words("compare_original" if self.lacking == "original" else f"compare_suspect_{kind}")
            return words("compare_no_face" if self.label == "no_face" else "compare_poor_face", where=where)
        who = words(f"compare_face_{kind}", time_s=self.match.time_s)
        same = self.frame is not None and self.frame.matches
        though = words("compare_not_taken_same_frame") if same else ""
        if self.label == "inconclusive" and label_of(self.match.log_odds) == "taken_from_this_photo":
            return words("compare_one_of_many", who=who)
        if self.label == "inconclusive" and self.score is not None and label_of(self.score) != "inconclusive":
            return words("compare_one_unclear", who=who)
        if self.label == "inconclusive":
            return words("compare_inconclusive", who=who, rest=though)
        ratio = self.likelihood_ratio
        support = {"amount": verdict.amount(ratio, words), "strength": words(verdict.strength(ratio))}
        if self.label == "taken_from_this_photo":
            mirrored = words("compare_mirrored") if self.match.agreement.mirrored else ""
            rest = words(f"compare_taken_{'same' if same else 'other'}_frame")
            return words("compare_taken", who=who, mirrored=mirrored, rest=rest, **support)
        return words("compare_not_taken", rest=though, **support)

    def explain_errors(self, words: Words) -> str:
        """How often this way of comparing erred, and that it was not tried on videos; empty where no face was compared."""
        if self.match is None:
            return ""
        known = self.error_rates
        said = words(
            "compare_errors", people=known.people, photos=known.false_taken_other_photo,
            moments=known.false_taken_other_moment, missed=known.miss_rate,
        )  # fmt: skip
        return f"{said} {words('compare_errors_video')}" if self.suspect.kind == "video" else said

    def warnings(self, words: Words) -> tuple[str, ...]:
        """The notes, each with the file that it is about."""
        about = {"original": "compare_note_original", "suspect": f"compare_note_suspect_{self.suspect.kind}"}
        return tuple(words(about[side], said=words(f"note_{note.key}", **note.values)) for side, note in self.notes)

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
            "warnings": list(self.warnings(Words())),
        }

    def save(self, path: str | PathLike[str], *, language: str = "en") -> None:
        """Write `picture` as a PNG.

        Args:
            language: Of its words, one of `words.LANGUAGES`.

        Raises:
            OptionsError: No face was compared, so there is nothing to show; or this is a folder, a file compared, or no
                name of a PNG.
            OSError: The file can't be written.
        """
        spare(path, self.suspect.path, self.original.path)
        if self.match is None:
            raise OptionsError(f"{media.shown(path)}: nothing to show. {self.reason}")
        with replacing(Path(path)) as partial:
            Image.fromarray(self.picture(language=language)).save(partial, "PNG")

    def picture(self, *, side: int = 320, language: str = "en") -> np.ndarray:
        """Suspect face, aligned original and their difference side by side with their names; uint8 (H, W, 3).

        Args:
            side: Of each of the three, pixels.
            language: Of its words, one of `words.LANGUAGES`.

        Raises:
            ValueError: No face was compared, so there is nothing to show.
        """
        if self.match is None:
            raise ValueError(f"nothing to show: {self.reason}")
        words = Words(language)
        label = words(f"compare_label_{self.label}")
        said = (f"{label}. {self.explain(words)}", self.explain_errors(words), *self.warnings(words))
        return _side_by_side(self.match, " ".join(said), side, words)


def compare(
    suspect: Source,
    original: Source,
    *,
    options: Options | None = None,
    finder: FaceFinder | None = None,
    progress: Callable[[float], None] | None = None,
) -> Comparison:
    """Whether a face of the suspect media was taken from the original photo.

    Every face of the picture, or of the chosen frames of a video, is compared with each of the original's largest faces.
    Where several are compared the ratio is the mean of theirs: which one was taken, if any, is not known beforehand.

    Args:
        suspect: A path, or a picture as uint8 (H, W, 3) RGB.
        original: The innocent photo, likewise.
        options: Which frames are looked at (32 unless said), and which faces are too small, blurred or uncertain to count.
        finder: To use instead of a new one, where many are compared.
        progress: Called with the share that is done, 0 to 1.

    Raises:
        MediaError: A file can't be read, or the original is a video.
        OptionsError: The device is not there.
    """
    options = options or Options(frames=_FRAMES)
    finder = finder or engine.face_finder(engine.choose(options), smallest_px=options.min_face_px)
    with media.take(original, options) as opened:
        if opened.info.kind != "image":
            raise MediaError(
                f"{media.shown(opened.info.path)}: expected a photo as the original, found a video;"
                " save the frame in question as a picture and give that",
                kind="unsupported",
            )
        photo = next(opened.frames())
        original_info = opened.info
        notes: list[tuple[Side, Note]] = [("original", note) for note in opened.notes]
    known = finder.find(photo)
    usable = [face for face in known if _worth_comparing(photo, face, options)][:_MOST_KNOWN]
    if left := len(known) - len(usable):
        notes.append(("original", Note("other_faces", {"faces": str(len(known)), "left": str(left)})))
    found = _Compared()
    with media.take(suspect, options) as opened:
        for done, frame in enumerate(opened.frames(), 1):
            faces = finder.find(frame)
            found.seen += len(faces)
            found.first = found.first or (frame, faces)
            for face in faces:
                if usable and _worth_comparing(frame, face, options):
                    for other in usable:
                        found.add(frame, faces, compare_faces(frame, face, photo, other))
                    found.compared += 1
            if progress:
                progress(min(0.99, done / opened.planned))
        suspect_info = opened.info
        notes += [("suspect", note) for note in opened.notes]
    shown = found.best_frame or found.first
    around = match_frames(shown[0].pixels, shown[1], photo.pixels, known) if shown else None
    label, lacking = _without_a_face(found, known, usable=bool(usable))
    score = pooled(found.log_odds) if found.log_odds else None
    return Comparison(
        label_of_all(found.log_odds) if found.log_odds else label, score,
        None if score is None else likelihood_ratio(score),
        suspect_info, original_info, found.best, around, lacking, found.compared, notes=tuple(notes),
    )  # fmt: skip


def compare_faces(suspect: Frame, suspect_face: Face, original: Frame, original_face: Face) -> FaceMatch:
    """How one face agrees with another, as it is or mirrored, whichever agrees better."""
    both = lay_over(suspect.pixels, suspect_face, original.pixels, original_face)
    return max((FaceMatch(suspect.time_s, suspect_face, each) for each in both), key=lambda match: match.log_odds)


def spare(path: str | PathLike[str], *compared: str) -> None:
    """Keep what is compared from being replaced, and refuse what can be no picture before anything is compared.

    Raises:
        OptionsError: The picture would be written over it, or `path` is a folder or no name of a PNG.
    """
    if os.path.isdir(path):
        raise OptionsError(f"{media.shown(path)}: is a folder; give the name of a picture in it, such as both.png")
    if Path(path).suffix.lower() != ".png":
        raise OptionsError(f"{media.shown(path)}: expected a name ending in .png, which is what is written")
    if any(is_same(path, each) for each in compared if each):
        raise OptionsError(f"{media.shown(path)}: is a file to be compared and would be replaced; give another name")


# Deciding


@dataclass
class _Compared:
    """What was seen in the suspect media so far."""

    seen: int = 0
    compared: int = 0
    log_odds: list[float] = field(default_factory=list)
    best: FaceMatch | None = None
    best_frame: tuple[Frame, tuple[Face, ...]] | None = None
    first: tuple[Frame, tuple[Face, ...]] | None = None

    def add(self, frame: Frame, faces: tuple[Face, ...], match: FaceMatch) -> None:
        """A face beside one of the original's; only the frame of the best is kept."""
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


def label_of_all(log_odds: Sequence[float]) -> ComparisonLabel:
    """The answer for several faces: that of their mean, yet "not taken" only where each alone would be called so."""
    label, best = label_of(pooled(log_odds)), label_of(max(log_odds))
    return "inconclusive" if label == "not_taken_from_this_photo" != best else label


def likelihood_ratio(log_odds: float) -> float:
    """What may be stated: the logarithm bends smoothly towards the limit that the amount of data sets."""
    return verdict.limited(log_odds, JUDGEMENT.largest_ratio)


def _without_a_face(found: _Compared, known: tuple[Face, ...], *, usable: bool) -> tuple[ComparisonLabel, Side | None]:
    """The answer where no face was compared, and on which side it is missing; None where one was."""
    if not known or not found.seen:
        return "no_face", "suspect" if known else "original"
    return "inconclusive", None if found.best else "suspect" if usable else "original"


def _worth_comparing(frame: Frame, face: Face, options: Options) -> bool:
    crop = cut(frame, face, size=224, margin=0.1)
    return verdict.exclusion(face, sharpness(crop.pixels), options) is None


# Showing


def _side_by_side(match: FaceMatch, said: str, side: int, words: Words) -> np.ndarray:
    gap, band = max(4, side // 40), max(14, side // 12)
    font = ImageFont.load_default(max(8, 0.55 * band))
    scaled = (match.agreement.difference.astype(np.float32) * (255 / DIFFERENCE_WHITE)).clip(0, 255).astype(np.uint8)
    tiles = (
        (words("compare_tile_suspect"), match.agreement.face),
        (words("compare_tile_original" + ("_mirrored" if match.agreement.mirrored else "")), match.agreement.aligned),
        (words("compare_tile_difference", white=DIFFERENCE_WHITE), np.repeat(scaled[..., None], 3, axis=2)),
    )
    width = gap + 3 * (side + gap)
    lines = textwrap.wrap(in_plain_letters(said), max(20, round(width / (0.29 * band))))
    canvas = Image.new("RGB", (width, band + side + gap + band * len(lines) + gap), (250, 250, 250))
    pen = ImageDraw.Draw(canvas)
    for i, (name, pixels) in enumerate(tiles):
        x = gap + i * (side + gap)
        pen.text((x, band * 0.15), in_plain_letters(name), (20, 20, 20), font)
        enlarged = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_CUBIC if side > SIDE else cv2.INTER_AREA)
        canvas.paste(Image.fromarray(enlarged), (x, band))
    for i, line in enumerate(lines):
        pen.text((gap, band + side + gap + band * i), line, (20, 20, 20), font)
    return np.asarray(canvas)
