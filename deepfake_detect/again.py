"""A record and what is found where the media are examined again: what differs by more than processors do."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from . import __version__, dossier
from .engine import moved_onto, pooled
from .errors import MediaError
from .folder import NO_MAP, briefly, read_arrays
from .options import Options, ReportOptions
from .pooling import resting_on
from .report import to_dict
from .types import Crop, Face, PerceptualHash
from .verdict import decide, is_open, judge, warnings
from .words import Words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from . import checkpoint
    from .types import Calibration, FaceTrack, Heatmap, Provenance, Report, Score

# Another processor rounds otherwise: so much may a figure differ, by its name; the ratio in proportion.
_TOLERATED = {"logit": 0.02, "probability": 0.01, "probability_interval": 0.02, "likelihood_ratio": 0.05, "box": 0.5,
              "landmarks": 0.5, "quality": 0.02, "detector_confidence": 0.01}  # fmt: skip
# And a cell of a map (logits); a crop's mean grey level, and that of a patch of so many pixels; a crop's place (pixels).
_MAP, _GREY, _PATCH_GREY, _PATCH_PX, _PLACE = 0.1, 2.0, 6.0, 15, 1.0
# FFmpeg makes RGB of a video's colours by other instructions on another kind of processor. These round otherwise, by up to
# 2 levels, and so far apart are faces then found and judged; all else follows from that. Measured with its SIMD switched
# off, as it converts most widths on ARM, on 16 frames of each of the samples and of four held-out videos. At most there
# were between two views of a face: 0.81 in logits (in those of a whole person, of 16 views, 0.15: of so many, this limit is
# divided by the root of their number), 0.053 in quality and 0.051 in confidence;
_READ = {"logit": 1.0, "quality": 0.1, "detector_confidence": 0.1}
# 0.11 of the face's longer side in boxes, landmarks and the place of a crop; 2.7 logits in a cell of a map, laid where the
# other one lies (crops, laid likewise, are as near as above: 1.2 grey levels, 4.5 in a patch); 4 of the 256 bits of a PDQ
# hash and 1 in its quality. The limits leave room beyond that.
_READ_PLACE, _READ_MAP, _READ_BITS, _READ_HASH_QUALITY = 0.15, 3.5, 10, 3
# Figures within sentences, and the words before those that may round otherwise: a ratio, a moment, a probability.
_FIGURE = re.compile(r"(about |around |would be |)([0-9]+(?:\.[0-9]+)?)")
# What records of older versions don't name.
_LATER = (
    "effort", "media.container", "media.start_s", "tool.entry_sha256", "examination.options.most_frames",
    "examination.calibration.genuine_effective", "examination.calibration.manipulated_effective",
)  # fmt: skip
_ODDS = re.compile(r"([0-9]{1,6}) : ([0-9]{1,6})")
# Of a cell or pixel so much must be seen for it to be compared, but for rounding.
_WHOLE = 0.999


@dataclass
class Compared:
    """What came of comparing: how many maps are the same, what differs, what can't be said."""

    same: int = 0
    differences: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def compare(
    folder: Path, record: dict[str, Any], report: Report, calibration: Calibration,
    *, read_by: checkpoint.ManifestEntry | None = None,
) -> Compared:  # fmt: skip
    """A record and what was found.

    Args:
        read_by: The net, where `report` is what another kind of processor read, see `read_there`.
    """
    stated, known = record["examination"], record["examination"]["options"]
    compared = Compared()
    version = record["tool"]["version"]
    again = dossier.examination(report, ReportOptions())
    now = json.loads(json.dumps({**to_dict(report), "examination": again}))
    # Whether a signer is trusted depends on what was given as trusted, and what can be read of a manifest on what is
    # installed; what words there are, on the version.
    trusted, worded = bool(known.get("trust")) or _unread(again) != _unread(stated), version != __version__
    _take_over(record, now, trusted=trusted, worded=worded)
    _round_as(record, now, report)
    compared.differences += _differences("", record, now, later=_LATER if worded else ())
    compared.differences += _other_effort(record, report, calibration)
    _compare_maps(compared, folder, record, report, read_by)
    if worded:
        compared.passed_over.append(f"sentences (judged by version {str(version)[:40]}, this is {__version__})")
    if trusted:
        why = f"{known['trust']} was trusted" if known.get("trust") else "they were read otherwise"
        compared.passed_over.append(f"the reason, notes and Content Credentials ({why})")
    return compared


def _take_over(record: dict[str, Any], now: dict[str, Any], *, trusted: bool, worded: bool) -> None:
    """Have what was found now say, as the record does, what can't be found again; but under no other names than its own, so
    that what nobody writes still differs."""
    stated, again = record["examination"], now["examination"]

    def take(known: Any, own: Any, *names: str) -> None:
        if isinstance(known, dict) and isinstance(own, dict):
            own.update({name: known[name] for name in names or own if name in known})

    take(record, now, "files")
    take(record["tool"], now["tool"])
    take(record["media"], now["media"], "path")
    take(record.get("effort"), now["effort"])
    if _is_time(stated["created_utc"]):
        take(stated, again, "created_utc")
    for name in ("options", "report_options"):
        take(stated[name], again[name])
    timed = {name: seconds for name, seconds in record["timing_s"].items() if isinstance(seconds, int | float)}
    if worded:
        # Another version may have other stages.
        now["timing_s"] = timed
    else:
        take(timed, now["timing_s"])
    for known, own in zip(record["tracks"], now["tracks"], strict=False):
        for face, same in zip(known["faces"], own["faces"], strict=False):
            if "evidence" in face:
                same["evidence"] = dict.fromkeys(("file", "sha256"))
                take(face["evidence"], same["evidence"])
    if worded:
        take(stated, again, "limits", "where_to_turn")
        again["posteriors"] = _for_odds(stated["posteriors"], now["verdict"], again["posteriors"])
        take(record, now, "warnings")
    if worded or trusted:
        # What the file says of itself may stand in the reason.
        take(record["verdict"], now["verdict"], "reason")
    if trusted:
        known, own = stated.get("provenance"), again.get("provenance")
        take(known, own, "notes")
        if isinstance(known, dict) and isinstance(own, dict):
            take(known.get("content_credentials"), own["content_credentials"])


def _for_odds(stated: Any, found: dict[str, Any] | None, otherwise: Any) -> Any:
    """What was found makes of the odds that a record asks about, which another version chose; else of our own."""
    odds = [_ODDS.fullmatch(str(one["prior_odds"])) for one in stated]
    if not found or not found["likelihood_ratio"] or not all(odds):
        return otherwise
    priors = [(int(one[1]), int(one[2])) for one in odds if one and int(one[2])]
    return dossier.posteriors(found["likelihood_ratio"], priors)


def _is_time(stated: Any) -> bool:
    try:
        datetime.fromisoformat(stated)
    except (TypeError, ValueError):
        return False
    return True


def _round_as(record: dict[str, Any], now: dict[str, Any], report: Report) -> None:
    """Have sentences found now say what the record's say where their figures differ by rounding alone."""
    known, own = record["warnings"], now["warnings"]
    if len(known) == len(own):
        now["warnings"] = [
            there if _same_sentence(there, here, report) else here for there, here in zip(known, own, strict=True)
        ]
    known, own = record["verdict"], now["verdict"]
    if known and own and _same_sentence(known["reason"], own["reason"], report):
        own["reason"] = known["reason"]


def _same_sentence(there: str, here: str, report: Report) -> bool:
    """Whether the words are the same, and the figures but for rounding: these and what they are rounded to when written."""
    if _FIGURE.sub(r"\1#", there) != _FIGURE.sub(r"\1#", here):
        return False
    return all(
        was == found
        or (
            which == "about "
            and abs(float(was) - float(found)) <= _last_digit(found) + _TOLERATED["likelihood_ratio"] * float(found)
        )
        or (which == "around " and was in _moments_like(found, report))
        or (which == "would be " and abs(float(was) - float(found)) <= _last_digit(found) + _TOLERATED["probability"])
        for (which, was), (_, found) in zip(_FIGURE.findall(there), _FIGURE.findall(here), strict=True)
    )


def _last_digit(figure: str) -> float:
    return 10.0 ** -len(figure.partition(".")[2])


def _moments_like(moment: str, report: Report) -> set[str]:
    """The times of views that show nearly as much as one of this time, so that rounding may put either first."""
    views = [
        (f"{score.time_s:.1f}", score.logit)
        for track in report.tracks
        for score in track.scores
        if score.logit is not None
    ]
    named = [logit for time, logit in views if time == moment]
    return {time for time, logit in views for other in named if abs(logit - other) <= 2 * _TOLERATED["logit"]}


def read_there(record: dict[str, Any], report: Report, calibration: Calibration) -> Report | None:
    """The report as it would be had each face, and each hash, been read here as the record says they were read elsewhere;
    None where these are further apart than two kinds of processors read them.

    All that follows from them, from a person's logit to the label and the sentences, is worked out anew, so that it can be
    compared as closely as ever.
    """
    if report.effort is None:
        # Pictures are read alike everywhere.
        return None
    try:
        pairs = list(zip(record["tracks"], report.tracks, strict=True))
        tracks = [_track_there(known["faces"], track, calibration) for known, track in pairs]
        provenance = report.provenance and _hashes_there(record["examination"]["provenance"]["pdq"], report.provenance)
    except (_FurtherApartError, ValueError, LookupError, TypeError, AttributeError):
        # Nor is it as this program writes it, which was told.
        return None
    answer = decide(tracks, kind="video", calibration=calibration, provenance=provenance)
    warned = warnings(report.notes, tracks, kind="video", calibration=calibration, words=Words())
    return replace(report, tracks=tuple(tracks), provenance=provenance, verdict=answer, warnings=warned)


class _FurtherApartError(Exception):
    """Two kinds of processors do not read a video so differently."""


def _track_there(known: Sequence[dict[str, Any]], track: FaceTrack, calibration: Calibration) -> FaceTrack:
    scores = tuple(_score_there(face, score) for face, score in zip(known, track.scores, strict=True))
    there = judge(replace(track, scores=scores), kind="video", calibration=calibration)
    if track.logit is not None:
        # Views err each by itself: one that moves all of them the same way is none.
        _demand(there.logit, track.logit, _READ["logit"] / math.sqrt(len(resting_on(track))))
    return there


def _score_there(known: dict[str, Any], score: Score) -> Score:
    face = score.face
    for name, now in (("box", face.box), ("landmarks", face.landmarks)):
        _demand(known[name], now, _READ_PLACE * face.size_px)
    _demand(known["detector_confidence"], face.confidence, _READ["detector_confidence"])
    _demand(known["quality"], score.quality, _READ["quality"])
    if score.logit is not None:
        _demand(known["logit"], score.logit, _READ["logit"])
    box, landmarks = tuple(known["box"]), tuple((x, y) for x, y in known["landmarks"])
    there = Face(box, landmarks, known["detector_confidence"])
    return replace(score, face=there, quality=known["quality"], logit=known["logit"])


def _hashes_there(known: Sequence[dict[str, Any]], provenance: Provenance) -> Provenance:
    hashes = []
    for one, at in zip(known, provenance.perceptual_hashes, strict=True):
        there = PerceptualHash(one["hash"], one["quality"])
        _demand(there.distance(at.hash), 0, _READ_BITS)
        _demand(there.quality, at.hash.quality, _READ_HASH_QUALITY)
        hashes.append(replace(at, hash=there))
    return replace(provenance, perceptual_hashes=tuple(hashes))


def _demand(before: Any, now: Any, most: float) -> None:
    """
    Raises:
        _FurtherApartError: One of these figures differs by more than that.
    """
    # Not larger, lest what is no number be near to any.
    if not float(np.abs(np.subtract(before, now)).max()) <= most:
        raise _FurtherApartError


def how_read(there: Report, here: Report) -> str:
    """How far apart what was read elsewhere lies from what was read here."""
    pairs = [
        pair
        for track, own in zip(there.tracks, here.tracks, strict=True)
        for pair in zip(track.scores, own.scores, strict=True)
    ]
    said = []
    if pairs:
        logits = (abs(one.logit - own.logit) for one, own in pairs if one.logit is not None and own.logit is not None)
        boxes = (float(np.abs(np.subtract(one.face.box, own.face.box)).max()) for one, own in pairs)
        said += [f"logits up to {max(logits, default=0):.2f} apart", f"boxes up to {max(boxes):.1f} pixels"]
    if there.provenance is not None and here.provenance is not None:
        hashes = zip(there.provenance.perceptual_hashes, here.provenance.perceptual_hashes, strict=True)
        if bits := max((one.hash.distance(own.hash) for one, own in hashes), default=0):
            said.append(f"hashes up to {bits} bits")
    if there.verdict is not None and here.verdict is not None and there.verdict.label != here.verdict.label:
        said.append(f"the label is {here.verdict.label} here, so near to its limit lies the figure")
    which = "with the figures of another kind of processor, which reads colours of video slightly differently"
    return f"{which} ({', '.join(said)})"


def _other_effort(record: dict[str, Any], report: Report, calibration: Calibration) -> Iterator[str]:
    """What a record says of how much was looked at, and why no more, that can't be so."""
    if "effort" not in record and "most_frames" not in record["examination"]["options"]:
        # Older reports do not state it.
        return
    known, now = record["effort"], report.effort
    if known is None or now is None:
        return
    options = record["examination"]["options"]
    looks = Options(**{name: options[name] for name in ("frames", "most_frames", "fps")}).looks
    asked = [min(count, now.available) for count in looks]
    if known["looks"] not in [asked[: i + 1] for i in range(len(asked))] and options["fps"] is None:
        yield f"effort.looks: was {known['looks']}, is none of {asked}"
    if known["available"] != now.available:
        yield f"effort.available: was {known['available']}, is {now.available}"
    if known["settled"] not in {not one for one in _opens(report, calibration)}:
        yield f"effort.settled: was {known['settled']}, is {now.settled}"


def _opens(report: Report, calibration: Calibration) -> Iterator[bool]:
    """Whether a video's label is open: as it is, and were each logit as far off as another processor may make it."""
    for apart in (-_TOLERATED["logit"], 0, _TOLERATED["logit"]):
        tracks = []
        for track in report.tracks:
            scores = (
                score if score.logit is None else replace(score, logit=score.logit + apart) for score in track.scores
            )
            tracks.append(judge(replace(track, scores=tuple(scores)), kind="video", calibration=calibration))
        yield is_open(tracks, kind="video", calibration=calibration)


def _unread(examination: dict[str, Any]) -> Any:
    """Why the Content Credentials were not read, if they were not."""
    credentials = (examination.get("provenance") or {}).get("content_credentials") or {}
    return credentials.get("reason")


def _compare_maps(
    compared: Compared, folder: Path, record: dict[str, Any], report: Report, read_by: checkpoint.ManifestEntry | None
) -> None:
    """Whether the stored maps and crops are those that the net and the detector give, and all of them are there."""
    shown = record["examination"]["report_options"]
    person = shown.get("person")
    with_crops = shown.get("images", True) and person is None
    if person is not None and person not in [track.id for track in report.tracks]:
        compared.differences.append(f"examination.report_options.person: was {person}, who was not seen")
    # Of more views than maps are kept, rounding may choose others.
    few = sum(len(track.heatmaps) for track in report.tracks) < report.options.max_heatmaps
    others = 0
    for i, (known, track) in enumerate(zip(record["tracks"], report.tracks, strict=False)):
        for j, (face, score) in enumerate(zip(known["faces"], track.scores, strict=False)):
            heatmap = score.heatmap if person in (None, track.id) else None
            if "evidence" in face and heatmap is not None:
                file = face["evidence"]["file"]
                differences = list(_other_map(folder, file, score, heatmap, with_crop=with_crops, read_by=read_by))
                compared.differences += differences
                compared.same += not differences
            elif "evidence" in face or heatmap is not None:
                others += 1
                if few:
                    has = "a map, where none is kept" if heatmap is None else "no map"
                    compared.differences.append(f"tracks[{i}].faces[{j}]: has {has}")
    if person is not None:
        compared.passed_over.append(f"crops and the maps of others (person {person} is shown alone)")
    elif not with_crops:
        compared.passed_over.append("crops (none are kept)")
    if report.tracks and not compared.same and not others:
        compared.passed_over.append("maps (none are kept)")
    if others:
        compared.passed_over.append(f"the maps of {others} views (of so many views not each keeps its map)")


def _other_map(
    folder: Path, name: str, score: Score, own: Heatmap, *, with_crop: bool, read_by: checkpoint.ManifestEntry | None
) -> Iterator[str]:
    """How what was kept of a view differs from what the net and the detector give."""
    most, place = _MAP, _PLACE
    try:
        kept = read_arrays(folder, name)
        evidence, to_frame = kept["evidence"], kept.get("to_frame", np.zeros(0))
        crop = kept.get("crop", np.zeros(0)) if with_crop else own.crop.pixels
    except (MediaError, *NO_MAP) as error:
        yield f"the map in {name} can't be read ({briefly(error)})"
        return
    if read_by is not None:
        most, place = _READ_MAP, _READ_PLACE * score.face.size_px
    alike = evidence.shape == own.evidence.shape and evidence.dtype.kind == "f"
    placed = _same_place(to_frame, own.crop.to_frame, side=len(own.crop.pixels), most=place)
    if read_by is not None and alike and placed:
        # Only videos are read otherwise. Whoever made the folder may have put in any figures.
        with np.errstate(all="ignore"):
            (logit,) = pooled(evidence[None].astype(np.float32), read_by, kind="video")
        if score.logit is None or not abs(logit - score.logit) <= _TOLERATED["logit"]:
            yield f"the map in {name} is not that of its logit"
        evidence = _map_laid_onto(own, evidence, to_frame)
        if with_crop and _same_kind(crop, own.crop.pixels):
            crop = _crop_laid_onto(own.crop, crop, to_frame)
    if not alike:
        yield f"the map in {name} is another"
    # Not larger, lest a map without numbers be the same as any.
    elif not (apart := float(np.abs(evidence - own.evidence).max())) <= most:
        yield f"the map in {name} is another: up to {apart:.2f} logits apart"
    if not _same_pixels(crop, own.crop.pixels):
        yield f"the crop in {name} is another"
    if not placed:
        yield f"the place of the crop in {name} is another"


def _map_laid_onto(own: Heatmap, evidence: np.ndarray, to_frame: np.ndarray) -> np.ndarray:
    """A map of the same face as a map over our crop of it; ours where it shows nothing."""
    moved, seen = moved_onto(own.crop, Crop(own.crop.pixels, to_frame), evidence.astype(np.float32))
    return np.where(seen > _WHOLE, moved, own.evidence)


def _crop_laid_onto(own: Crop, pixels: np.ndarray, to_frame: np.ndarray) -> np.ndarray:
    """A crop of the same face as it lies in ours; ours where it shows nothing."""
    there, here = (np.vstack([one, [0, 0, 1]]) for one in (to_frame, own.to_frame))
    across, size = (np.linalg.inv(here) @ there)[:2], pixels.shape[1::-1]
    moved = cv2.warpAffine(pixels, across, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    seen = cv2.warpAffine(np.ones(pixels.shape[:2], np.float32), across, size)
    return np.where(seen[..., None] > _WHOLE, moved, own.pixels)


def _same_pixels(kept: np.ndarray, own: np.ndarray) -> bool:
    """Whether a crop is the same but for rounding, as a whole and in every patch: a mouth is a small part of it."""
    if not _same_kind(kept, own):
        return False
    apart = kept.astype(np.float32) - own
    # With its sign, as an edge that lies half a pixel off is brighter here and darker there.
    in_patches = cv2.blur(apart, (_PATCH_PX, _PATCH_PX))
    return float(np.abs(apart).mean()) <= _GREY and float(np.abs(in_patches).max()) <= _PATCH_GREY


def _same_kind(kept: np.ndarray, own: np.ndarray) -> bool:
    return kept.shape == own.shape and kept.dtype == np.uint8


def _same_place(kept: np.ndarray, own: np.ndarray, *, side: int, most: float) -> bool:
    """Whether the corners of a crop lie in the same place of the frame, within so many pixels."""
    if kept.shape != own.shape or kept.dtype.kind != "f":
        return False
    corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]])
    return float(np.abs(corners @ (kept - own).T).max()) <= most


def _differences(where: str, before: Any, now: Any, *, later: Sequence[str] = ()) -> Iterator[str]:
    """Where two records of the same media differ by more than rounding, or one has a name that the other has not; the one
    from before may lack those that came `later`."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            deeper = f"{where}.{name}" if where else name
            if name not in now:
                yield f"{deeper}: is in no report"
            elif name in before:
                yield from _differences(deeper, before[name], now[name], later=later)
            elif deeper not in later:
                yield f"{deeper}: is missing"
    elif isinstance(before, list) and isinstance(now, list):
        if len(before) != len(now):
            yield f"{where}: were {len(before)}, are {len(now)}"
        else:
            for i, (old, new) in enumerate(zip(before, now, strict=True)):
                yield from _differences(f"{where}[{i}]", old, new, later=later)
    elif isinstance(before, int | float) and isinstance(now, int | float):
        name = where.rsplit(".", 1)[-1].split("[")[0]
        if abs(before - now) > _TOLERATED.get(name, 1e-3) * (max(1.0, abs(now)) if name == "likelihood_ratio" else 1):
            yield f"{where}: was {before}, is {now}"
    elif before != now:
        yield f"{where}: was {before}, is {now}"
