"""Checks the folder of a report: is every byte what it was, and does the same program find the same again?"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import zipfile
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from . import __version__, checkpoint, dossier, source
from .detector import Detector
from .engine import moved_onto, pooled
from .errors import DeepfakeDetectError, MediaError, OptionsError, WeightsError
from .options import Options, ReportOptions
from .report import to_dict
from .types import Crop, Face, PerceptualHash
from .verdict import decide, is_open, judge, resting_on, warnings
from .words import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from os import PathLike

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
# A folder may come from anyone. No list of fingerprints, record or signature is larger, nor an array of a map or a crop.
_LARGEST_FILE, _LARGEST_ARRAY, _LONGEST = 256 * 2**20, 64 * 2**20, 300
# What an archive of a view holds at most.
_ARRAYS = ("evidence", "crop", "to_frame")
# Of a cell or pixel so much must be seen for it to be compared, but for rounding.
_WHOLE = 0.999
# What NumPy and what it reads archives by raise on damaged data.
_NO_MAP = (*source.DECODER_ERRORS, zipfile.BadZipFile)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: Of the file, or `media`, `model`, `signature`, `verdict`.
        good: Whether it is as it was.
        message: What was found, one line.
    """

    name: str
    good: bool
    message: str


def verify(
    folder: str | PathLike[str], *, media: str | PathLike[str] | None = None, key: str | PathLike[str] | None = None,
    weights_folder: str | PathLike[str] | None = None, progress: Callable[[float], None] | None = None,
) -> tuple[Check, ...]:  # fmt: skip
    """Check a folder that `Report.save` wrote.

    Args:
        media: The original file; with it the examination is made again and compared.
        key: Public key (PEM) that must have signed it; without it the key that lies beside the signature is used.
        weights_folder: As for `Detector`.
        progress: Of the new examination.

    Returns:
        What was looked at, in order; all is well when each is good.

    Raises:
        OptionsError: `folder` is not a folder, or `key` can't be read.
    """
    folder = Path(folder)
    media, key, weights_folder = (None if path is None else Path(path) for path in (media, key, weights_folder))
    # Path's own questions raise an error where a folder must not be entered, instead of answering.
    if not os.path.isdir(folder):
        found = "a file" if os.path.lexists(folder) else "nothing"
        raise OptionsError(f"{source.shown(folder)}: expected the folder of a report, found {found}")
    checks = [*_files(folder), *_signature(folder, key)]
    if not all(check.good for check in checks if check.name in (dossier.JSON, dossier.SUMS)):
        # Who knows what it says now.
        checks.append(Check("model", False, f"unknown, since {dossier.JSON} can't be relied on"))
        return tuple(_brief(check) for check in checks)
    try:
        text = _read(folder, dossier.JSON).decode("utf-8")
        record = json.loads(text, parse_constant=_refuse, object_pairs_hook=_each_once)
        checks += _inner_files(folder, record, told={check.name for check in checks})
        model = _model(record, weights_folder)
        checks.append(model)
        if media is not None:
            checks += _again(folder, record, media, weights_folder, model.good, progress)
    except (
        MediaError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        said = f"{type(error).__name__}: {error}"
        checks.append(Check(dossier.JSON, False, f"is not a report as this program writes it ({said})"))
    return tuple(_brief(check) for check in checks)


def _brief(check: Check) -> Check:
    """What stands in a record may be of any length."""
    said = check.message
    return check if len(said) <= 3 * _LONGEST else replace(check, message=f"{said[: 3 * _LONGEST]} …")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values of one name one program takes the last, another, or a person, the first."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name} stands twice")
        found[name] = value
    return found


def _opened(folder: Path, name: str) -> io.BufferedReader:
    """A regular file of the folder, and nothing that a link leads to: whoever made the folder does not say what else is
    opened here, nor does a pipe hold us up.

    Raises:
        MediaError: It is not there, no regular file, or lies elsewhere.
    """
    below = Path(name).parent
    place = Path(os.path.realpath(folder)) / below
    # To Windows /x is not absolute, and yet leads out.
    if Path(name).anchor or ".." in below.parts or os.path.realpath(place) != str(place):
        raise MediaError(f"{source.shown(name)}: lies behind a link or outside the folder", kind="not_a_file")
    return source.open_file(folder / name, follow=False)


def _read(folder: Path, name: str) -> bytes:
    """
    Raises:
        MediaError: As `_opened`, or it is too large.
    """
    with _opened(folder, name) as file:
        data = file.read(_LARGEST_FILE + 1)
    if len(data) > _LARGEST_FILE:
        raise MediaError(f"{source.shown(name)}: is larger than a report's can be", kind="too_large")
    return data


def _sha256(folder: Path, name: str) -> str:
    with _opened(folder, name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def signed(checks: Sequence[Check]) -> bool:
    """Whether a signature was found and holds."""
    return any(check.name == "signature" and check.good for check in checks)


def _files(folder: Path) -> Iterator[Check]:
    if os.path.lexists(folder / dossier.INCOMPLETE):
        yield Check(dossier.INCOMPLETE, False, "the report was not finished; make it again")
    try:
        text = _read(folder, dossier.SUMS).decode("utf-8")
        sums = dossier.read_sums(text)
    except (MediaError, OSError) as error:
        yield Check(dossier.SUMS, False, f"can't be read ({_why(error)})")
        return
    except ValueError as error:
        yield Check(dossier.SUMS, False, f"changed: {error}")
        return
    if dossier.sums_text(sums) != text or not {dossier.JSON, dossier.PAGE} <= sums.keys():
        yield Check(dossier.SUMS, False, "changed: it is not as this program writes it")
    for name, digest in sums.items():
        if not dossier.may_be_listed(name):
            # Nor is it shown as a file of that name: it could be called `signature`.
            yield Check(dossier.SUMS, False, f"changed: it lists {source.shown(name)}, which is no file of a report")
            continue
        try:
            found = _sha256(folder, name)
        except (MediaError, OSError) as error:
            yield Check(name, False, f"missing, or not a file ({_why(error)})")
            continue
        good = found == digest
        yield Check(name, good, "unchanged" if good else f"changed: SHA-256 {found}, expected {digest}")
    own = {
        *filter(dossier.may_be_listed, sums),
        dossier.SUMS,
        dossier.SIGNATURE,
        dossier.PUBLIC_KEY,
        dossier.INCOMPLETE,
    }
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if (os.path.islink(path) or not os.path.isdir(path)) and name not in own:  # noqa: PTH114 - as in `verify`
            yield Check(name, False, "added: it is not part of the report")


def _signature(folder: Path, key: Path | None) -> Iterator[Check]:
    signature, beside = folder / dossier.SIGNATURE, folder / dossier.PUBLIC_KEY
    if not os.path.lexists(signature):
        if key is not None or os.path.lexists(beside):
            yield Check("signature", False, f"{dossier.SIGNATURE} is missing")
        return
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        yield Check(
            "signature", False, 'checking it needs the package cryptography; pip install "deepfake-detect[sign]"'
        )
        return
    try:
        public = load_pem_public_key(key.read_bytes() if key else _read(folder, dossier.PUBLIC_KEY))
    except (MediaError, OSError, ValueError, UnsupportedAlgorithm) as error:
        if key is not None:
            raise OptionsError(f"{source.shown(key)}: expected a public key as PEM ({error})") from error
        yield Check(dossier.PUBLIC_KEY, False, f"changed or missing ({error})")
        return
    if not isinstance(public, Ed25519PublicKey):
        yield Check("signature", False, f"{key or dossier.PUBLIC_KEY} is not an Ed25519 key")
        return
    fingerprint = public.public_bytes_raw().hex()
    if key is not None:
        # Who knows the right key vouches for the folder to whoever goes by the one in it.
        try:
            own = _read(folder, dossier.PUBLIC_KEY)
        except (MediaError, OSError) as error:
            yield Check(dossier.PUBLIC_KEY, False, f"missing, or not a file ({_why(error)})")
        else:
            if own != dossier.public_pem(public):
                yield Check(dossier.PUBLIC_KEY, False, "changed: it is not the key given")
    try:
        public.verify(_read(folder, dossier.SIGNATURE), _read(folder, dossier.SUMS))
    except (InvalidSignature, MediaError, OSError):
        yield Check("signature", False, f"not made over this {dossier.SUMS} by the key {fingerprint}")
        return
    known = "the key given" if key else "a key that lies beside it: compare it with one you know"
    yield Check("signature", True, f"made by {known}, {fingerprint}")


def _inner_files(folder: Path, record: dict[str, Any], *, told: set[str]) -> Iterator[Check]:
    """The fingerprints that report.json itself states; `told` are the names of which something was said."""
    for name, known in record["files"].items():
        try:
            with _opened(folder, name) as file:
                found = {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size_bytes": file.tell()}
        except (MediaError, OSError):
            if name not in told:
                yield Check(name, False, f"missing: {dossier.JSON} speaks of it, and {dossier.SUMS} no longer does")
            continue
        if found != known:
            yield Check(name, False, f"is not the file that {dossier.JSON} speaks of")
    for face in (face for track in record["tracks"] for face in track["faces"] if "evidence" in face):
        name = face["evidence"]["file"]
        if record["files"].get(name, {}).get("sha256") != face["evidence"]["sha256"]:
            yield Check(dossier.JSON, False, f"states another fingerprint of {name} beside a face than among its files")


def _model(record: dict[str, Any], weights_folder: Path | None) -> Check:
    name, wanted = record["tool"]["model"], record["tool"]["model_sha256"]
    try:
        try:
            entry = checkpoint.find(name, folder=weights_folder)
        except WeightsError:
            entry = checkpoint.find(folder=weights_folder)
        if entry.sha256 != wanted:
            return Check(
                "model", False, f"judged by {name} ({wanted}); this installation has {entry.name} ({entry.sha256})"
            )
        used = record["tool"].get("entry_sha256") or entry.entry_sha256
        if entry.entry_sha256 != used:
            return Check(
                "model", False, f"{name} was used as manifest.json said then ({used}); it says otherwise here"
                f" ({entry.entry_sha256}): looks, softness, calibration or face finder are others",
            )  # fmt: skip
        calibration = record["tool"]["calibration"]
        if calibration != entry.tool.calibration:
            found = f"{name} was calibrated by {calibration}; it is by {entry.tool.calibration} here"
            return Check("model", False, found)
        checkpoint.WeightFile(entry.path, entry.sha256).read()
        for file in (*((entry.graph,) if entry.graph else ()), *checkpoint.find_face_nets()):
            file.read()
    except DeepfakeDetectError as error:
        return Check("model", False, str(error))
    return Check("model", True, f"{name}, unchanged")


def _again(
    folder: Path, record: dict[str, Any], media: Path, weights_folder: Path | None, same_model: bool,
    progress: Callable[[float], None] | None,
) -> Iterator[Check]:  # fmt: skip
    wanted = record["media"]["sha256"]
    if wanted is None:
        yield Check("media", False, f"{media}: could not be judged then, so there is nothing to repeat")
        return
    try:
        found = dossier.sha256_of(media)
    except OSError as error:
        yield Check("media", False, f"{media}: can't be read ({error.strerror})")
        return
    if found != wanted:
        yield Check("media", False, f"{media}: another file, or changed: SHA-256 {found}, expected {wanted}")
        return
    yield Check("media", True, f"{media}: unchanged")
    if not same_model:
        yield Check("verdict", False, "can't be repeated without the same model")
        return
    stated = record["examination"]
    known, before = stated["options"], stated.get("provenance")
    wanted_options = {field.name: known[field.name] for field in fields(Options) if field.name in known}
    # What was looked at is looked at again, at once: whether a label is open may turn on how a processor rounds. Older
    # versions looked once.
    effort = record.get("effort")
    if effort is not None and known["fps"] is None:
        wanted_options["frames"] = effort["looks"][-1]
    wanted_options["most_frames"] = wanted_options["frames"]
    try:
        options = Options(**{**wanted_options, "provenance": before is not None, "trust": None})
        detector = Detector(options, weights=record["tool"]["model"], weights_folder=weights_folder)
        report = _detected(detector, media, progress)
    except DeepfakeDetectError as error:
        yield Check("verdict", False, f"can't be repeated: {error}")
        return
    compared = _compare(folder, record, report, detector.calibration)
    differences, passed_over, said = compared.differences, compared.passed_over, "with the same figures"
    if differences and (there := _read_there(record, report, detector.calibration)) is not None:
        entry = checkpoint.find(record["tool"]["model"], folder=weights_folder)
        compared = _compare(folder, record, there, detector.calibration, read_by=entry)
        if not compared.differences:
            differences, passed_over, said = [], compared.passed_over, _how_read(there, report)
    if not differences:
        # What a record says decides what of it can be compared: that must be told, or it could switch off its own check.
        count = f" and {compared.same} map{'s' if compared.same > 1 else ''}" if compared.same else ""
        said = f"found again, {said}{count}; the page and its pictures were not made again"
        yield Check("verdict", True, "; not compared: ".join((said, *passed_over)))
        return
    version = record["tool"]["version"]
    hint = "" if version == __version__ else f" (judged by version {version}, this is {__version__})"
    for difference in differences[:10]:
        yield Check("verdict", False, difference + hint)


@dataclass
class _Compared:
    """What came of comparing: how many maps are the same, what differs, what can't be said."""

    same: int = 0
    differences: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def _compare(
    folder: Path, record: dict[str, Any], report: Report, calibration: Calibration,
    *, read_by: checkpoint.ManifestEntry | None = None,
) -> _Compared:  # fmt: skip
    """A record and what was found.

    Args:
        read_by: The net, where `report` is what another kind of processor read, see `_read_there`.
    """
    stated, known = record["examination"], record["examination"]["options"]
    compared = _Compared()
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


def _read_there(record: dict[str, Any], report: Report, calibration: Calibration) -> Report | None:
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


def _how_read(there: Report, here: Report) -> str:
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


def _detected(detector: Detector, media: Path, progress: Callable[[float], None] | None) -> Report:
    """
    Raises:
        DeepfakeDetectError: It can't be judged, be it for a fault of this program, which is none of the record's.
    """
    try:
        return detector.detect(media, progress=progress)
    except DeepfakeDetectError:
        raise
    except Exception as error:
        said = f"internal error ({type(error).__name__}: {error}); please report it"
        raise MediaError(said, kind="internal") from error


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
    compared: _Compared, folder: Path, record: dict[str, Any], report: Report, read_by: checkpoint.ManifestEntry | None
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
        kept = _arrays(folder, name)
        evidence, to_frame = kept["evidence"], kept.get("to_frame", np.zeros(0))
        crop = kept.get("crop", np.zeros(0)) if with_crop else own.crop.pixels
    except (MediaError, *_NO_MAP) as error:
        yield f"the map in {name} can't be read ({_why(error)})"
        return
    if read_by is not None:
        most, place = _READ_MAP, _READ_PLACE * score.face.size_px
    alike = evidence.shape == own.evidence.shape and evidence.dtype.kind == "f"
    placed = _same_place(to_frame, own.crop.to_frame, side=len(own.crop.pixels), most=place)
    if read_by is not None and alike and placed:
        # Whoever made the folder may have put in any figures.
        with np.errstate(all="ignore"):
            (logit,) = pooled(evidence[None].astype(np.float32), read_by)
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


def _arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    """What was kept of a view. What it unpacks to is bounded before it is.

    Raises:
        MediaError: It is no file of the folder.
        ValueError: It holds something else, or too much; and what else `_NO_MAP` has.
    """
    data = _read(folder, name)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if len(entries) > len(_ARRAYS):
            raise ValueError(f"it holds {len(entries)} arrays, expected {len(_ARRAYS)}")
        # NumPy makes room for what an array's header claims before it reads what is there.
        if (
            sum(entry.file_size for entry in entries) > _LARGEST_ARRAY
            or sum(abs(_claimed_bytes(archive, entry)) for entry in entries) > _LARGEST_ARRAY
        ):
            raise ValueError("it would unpack to more than a map can be")
    with np.load(io.BytesIO(data), allow_pickle=False) as kept:
        return {key: kept[key] for key in _ARRAYS if key in kept}


def _claimed_bytes(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    """What the header of an array in NumPy's own format says that it holds.

    Raises:
        ValueError: It is none.
    """
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("its entries are packed in no way that NumPy packs them")
    try:
        with archive.open(entry) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
    except Exception as error:  # NumPy reads it as Python, and raises whatever Python does
        raise ValueError(f"{entry.filename[:40]} has no header of an array") from error
    return math.prod(shape) * dtype.itemsize


def _why(error: Exception) -> str:
    """In a few words."""
    return str(getattr(error, "strerror", None) or error)[:_LONGEST] or type(error).__name__


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
