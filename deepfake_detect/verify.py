"""Checks the folder of a report: is every byte what it was, and does the same program find the same again?"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zipfile
import zlib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from . import __version__, checkpoint, dossier, source
from .detector import Detector
from .errors import DeepfakeDetectError, MediaError, OptionsError, WeightsError
from .options import Options, ReportOptions
from .report import to_dict
from .verdict import is_open, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from os import PathLike

    from .types import Calibration, Heatmap, Kind, Report

# Another processor rounds otherwise: so much may a figure differ, by its name; the ratio in proportion.
_TOLERATED = {"logit": 0.02, "probability": 0.01, "probability_interval": 0.02, "likelihood_ratio": 0.05, "box": 0.5,
              "landmarks": 0.5, "quality": 0.02, "detector_confidence": 0.01}  # fmt: skip
# And a cell of a map (logits); a crop's mean grey level, and that of a patch of so many pixels; a crop's place (pixels).
_MAP, _GREY, _PATCH_GREY, _PATCH_PX, _PLACE = 0.1, 2.0, 6.0, 15, 1.0
_COMPARED = ("schema", "media", "verdict", "tracks", "error")
# Figures within sentences: each is compared where it stands by itself.
_FIGURE = re.compile(r"[-+]?\d+(?:\.\d+)?")
# A folder may come from anyone. No list of fingerprints, record or signature is larger, nor an array of a map or a crop.
_LARGEST_FILE, _LARGEST_ARRAY, _LONGEST = 256 * 2**20, 64 * 2**20, 300
# What NumPy and what it reads archives by raise on damaged data.
_NO_MAP = (OSError, ValueError, LookupError, EOFError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)


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
        raise OptionsError(f"{folder}: expected the folder of a report, found {found}")
    checks = [*_files(folder), *_signature(folder, key)]
    if not all(check.good for check in checks if check.name in (dossier.JSON, dossier.SUMS)):
        # Who knows what it says now.
        checks.append(Check("model", False, f"unknown, since {dossier.JSON} can't be relied on"))
        return tuple(_brief(check) for check in checks)
    try:
        record = json.loads(_read(folder, dossier.JSON).decode("utf-8"), parse_constant=_refuse)
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
            raise OptionsError(f"{key}: expected a public key as PEM ({error})") from error
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
    repeated = to_dict(report)
    # Older reports do not state them.
    for name in {"container", "start_s"} - set(record["media"]):
        del repeated["media"][name]
    before_and_now = ({name: one[name] for name in _COMPARED} for one in (record, repeated))
    differences = [*_differences("", *before_and_now), *_other_effort(record, report, detector.calibration)]
    maps = _compare_maps(folder, record, report)
    differences += maps.differences
    version = record["tool"]["version"]
    again = dossier.examination(report, ReportOptions())
    # Whether a signer is trusted depends on what was given as trusted, and what can be read of a manifest on what is
    # installed; what words there are, on the version.
    trusted = {"content_credentials", "notes"} if known.get("trust") or _unread(again) != _unread(stated) else set()
    worded = {"limits", "where_to_turn"} if version != __version__ else set()
    left_out = {"created_utc", "options", "report_options", *trusted, *worded}
    if not worded:
        differences += _differences("warnings", *(_without_figures(one["warnings"]) for one in (record, repeated)))
    if not (worded or trusted):
        reasons = ([one["verdict"]["reason"]] for one in (record, repeated))
        differences += _differences("verdict.reason", *map(_without_figures, reasons))
    differences += _differences("examination", stated, json.loads(json.dumps(again)), left_out=left_out)
    if not differences:
        # What a record says decides what of it can be compared: that must be told, or it could switch off its own check.
        passed_over = maps.passed_over
        if worded:
            passed_over.append(f"sentences (judged by version {str(version)[:40]}, this is {__version__})")
        if trusted:
            why = f"{known['trust']} was trusted" if known.get("trust") else "they were read otherwise"
            passed_over.append(f"the reason, notes and Content Credentials ({why})")
        count = f" and {maps.same} map{'s' if maps.same > 1 else ''}" if maps.same else ""
        said = f"found again, with the same figures{count}; the page and its pictures were not made again"
        yield Check("verdict", True, "; not compared: ".join((said, *passed_over)))
        return
    hint = "" if version == __version__ else f" (judged by version {version}, this is {__version__})"
    for difference in differences[:10]:
        yield Check("verdict", False, difference + hint)


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
        if (known is None) != (now is None):
            yield f"effort: was {known}, is {now}"
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
    """Whether a label is open: as it is, and were each logit as much lower or higher as another processor may make it."""
    kind: Kind = "video" if report.effort else "image"
    for apart in (-_TOLERATED["logit"], 0, _TOLERATED["logit"]):
        tracks = []
        for track in report.tracks:
            scores = (
                score if score.logit is None else replace(score, logit=score.logit + apart) for score in track.scores
            )
            tracks.append(judge(replace(track, scores=tuple(scores)), kind=kind, calibration=calibration))
        yield is_open(tracks, kind=kind, calibration=calibration)


def _without_figures(sentences: Sequence[str]) -> list[str]:
    """Rounded, a figure may differ by a last digit where itself it is nearly the same."""
    return [_FIGURE.sub("#", sentence) for sentence in sentences]


def _unread(examination: dict[str, Any]) -> Any:
    """Why the Content Credentials were not read, if they were not."""
    credentials = (examination.get("provenance") or {}).get("content_credentials") or {}
    return credentials.get("reason")


@dataclass
class _Maps:
    """What came of comparing the maps and crops of a report: how many are the same, what differs, what can't be said."""

    same: int = 0
    differences: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def _compare_maps(folder: Path, record: dict[str, Any], report: Report) -> _Maps:
    """Whether the stored maps and crops are those that the net and the detector give, and all of them are there."""
    found, shown = _Maps(), record["examination"]["report_options"]
    person = shown.get("person")
    with_crops = shown.get("images", True) and person is None
    if person is not None and person not in [track.id for track in report.tracks]:
        found.differences.append(f"examination.report_options.person: was {person}, who was not seen")
    # Of more views than maps are kept, rounding may choose others.
    few = sum(len(track.heatmaps) for track in report.tracks) < report.options.max_heatmaps
    others = 0
    for i, (known, track) in enumerate(zip(record["tracks"], report.tracks, strict=False)):
        for j, (face, score) in enumerate(zip(known["faces"], track.scores, strict=False)):
            heatmap = score.heatmap if person in (None, track.id) else None
            if "evidence" in face and heatmap is not None:
                differences = list(_other_map(folder, face["evidence"]["file"], heatmap, with_crop=with_crops))
                found.differences += differences
                found.same += not differences
            elif "evidence" in face or heatmap is not None:
                others += 1
                if few:
                    has = "a map, where none is kept" if heatmap is None else "no map"
                    found.differences.append(f"tracks[{i}].faces[{j}]: has {has}")
    if person is not None:
        found.passed_over.append(f"crops and the maps of others (person {person} is shown alone)")
    elif not with_crops:
        found.passed_over.append("crops (none are kept)")
    if report.tracks and not found.same and not others:
        found.passed_over.append("maps (none are kept)")
    if others:
        found.passed_over.append(f"the maps of {others} views (of so many views not each keeps its map)")
    return found


def _other_map(folder: Path, name: str, own: Heatmap, *, with_crop: bool) -> Iterator[str]:
    """How what was kept of a view differs from what the net and the detector give."""
    try:
        kept = _arrays(folder, name)
        evidence, to_frame = kept["evidence"], kept.get("to_frame", np.zeros(0))
        crop = kept.get("crop", np.zeros(0)) if with_crop else own.crop.pixels
    except (MediaError, *_NO_MAP) as error:
        yield f"the map in {name} can't be read ({_why(error)})"
        return
    if evidence.shape != own.evidence.shape or evidence.dtype.kind != "f":
        yield f"the map in {name} is another"
    # Not larger, lest a map without numbers be the same as any.
    elif not (apart := float(np.abs(evidence - own.evidence).max())) <= _MAP:
        yield f"the map in {name} is another: up to {apart:.2f} logits apart"
    if not _same_pixels(crop, own.crop.pixels):
        yield f"the crop in {name} is another"
    if not _same_place(to_frame, own.crop.to_frame, side=len(own.crop.pixels)):
        yield f"the place of the crop in {name} is another"


def _same_pixels(kept: np.ndarray, own: np.ndarray) -> bool:
    """Whether a crop is the same but for rounding, as a whole and in every patch: a mouth is a small part of it."""
    if kept.shape != own.shape or kept.dtype != np.uint8:
        return False
    apart = kept.astype(np.float32) - own
    # With its sign, as an edge that lies half a pixel off is brighter here and darker there.
    in_patches = cv2.blur(apart, (_PATCH_PX, _PATCH_PX))
    return float(np.abs(apart).mean()) <= _GREY and float(np.abs(in_patches).max()) <= _PATCH_GREY


def _same_place(kept: np.ndarray, own: np.ndarray, *, side: int) -> bool:
    """Whether the corners of a crop lie in the same pixels of the frame."""
    if kept.shape != own.shape or kept.dtype.kind != "f":
        return False
    corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]])
    return float(np.abs(corners @ (kept - own).T).max()) <= _PLACE


def _arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    """What was kept of a view. What it unpacks to is bounded before it is.

    Raises:
        MediaError: It is no file of the folder.
        ValueError: It holds something else, or too much; and what else `_NO_MAP` has.
    """
    data = _read(folder, name)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _LARGEST_ARRAY:
            raise ValueError("it would unpack to more than a map can be")
    with np.load(io.BytesIO(data), allow_pickle=False) as kept:
        return {key: kept[key] for key in ("evidence", "crop", "to_frame") if key in kept}


def _why(error: Exception) -> str:
    """In a few words."""
    return str(getattr(error, "strerror", None) or error)[:_LONGEST] or type(error).__name__


def _differences(where: str, before: Any, now: Any, *, left_out: Collection[str] = ()) -> Iterator[str]:
    """Where two records of the same media differ by more than rounding."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            # What the file says of itself may stand in the reason, and what words it has is for the version to say.
            if name in ("evidence", "path", "reason", *left_out):
                continue
            deeper = f"{where}.{name}" if where else name
            yield from _differences(deeper, before.get(name), now.get(name), left_out=left_out)
    elif isinstance(before, list) and isinstance(now, list):
        if len(before) != len(now):
            yield f"{where}: were {len(before)}, are {len(now)}"
        else:
            for i, (old, new) in enumerate(zip(before, now, strict=True)):
                yield from _differences(f"{where}[{i}]", old, new, left_out=left_out)
    elif isinstance(before, int | float) and isinstance(now, int | float):
        name = where.rsplit(".", 1)[-1].split("[")[0]
        if abs(before - now) > _TOLERATED.get(name, 1e-3) * (max(1.0, abs(now)) if name == "likelihood_ratio" else 1):
            yield f"{where}: was {before}, is {now}"
    elif before != now:
        yield f"{where}: was {before}, is {now}"
