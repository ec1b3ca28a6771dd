"""Checks the folder of a report: is every byte what it was, and does the same program find the same again?"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from . import __version__, checkpoint, dossier
from .detector import Detector
from .errors import DeepfakeDetectError, OptionsError, WeightsError
from .options import Options
from .report import to_dict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from .types import Report

# Another processor rounds otherwise: so much may a figure differ, by its name; the ratio in proportion.
_TOLERATED = {"logit": 0.02, "probability": 0.01, "probability_interval": 0.02, "likelihood_ratio": 0.05, "box": 0.5,
              "landmarks": 0.5, "quality": 0.02, "detector_confidence": 0.01}  # fmt: skip
# And a cell of a map (logits), and a crop's mean grey level.
_MAP, _GREY = 0.1, 2.0
_COMPARED = ("media", "verdict", "tracks", "warnings")


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
    folder: Path, *, media: Path | None = None, key: Path | None = None, weights_folder: Path | None = None,
    progress: Callable[[float], None] | None = None,
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
    if not folder.is_dir():
        raise OptionsError(
            f"{folder}: expected the folder of a report, found {'a file' if folder.exists() else 'nothing'}"
        )
    checks = [*_files(folder), *_signature(folder, key)]
    if not all(check.good for check in checks if check.name in (dossier.JSON, dossier.SUMS)):
        # Who knows what it says now.
        return (*checks, Check("model", False, f"unknown, since {dossier.JSON} can't be relied on"))
    try:
        record = json.loads((folder / dossier.JSON).read_text(encoding="utf-8"))
        checks += _inner_files(folder, record)
        model = _model(record, weights_folder)
        checks.append(model)
        if media is not None:
            checks += _again(folder, record, media, weights_folder, model.good, progress)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        checks.append(
            Check(dossier.JSON, False, f"is not a report as this program writes it ({type(error).__name__}: {error})")
        )
    return tuple(checks)


def signed(checks: Sequence[Check]) -> bool:
    """Whether a signature was found and holds."""
    return any(check.name == "signature" and check.good for check in checks)


def _files(folder: Path) -> Iterator[Check]:
    if (folder / dossier.INCOMPLETE).exists():
        yield Check(dossier.INCOMPLETE, False, "the report was not finished; make it again")
    try:
        text = (folder / dossier.SUMS).read_bytes().decode("utf-8")
        sums = dossier.read_sums(text)
    except OSError as error:
        yield Check(dossier.SUMS, False, f"can't be read ({error.strerror})")
        return
    except ValueError as error:
        yield Check(dossier.SUMS, False, f"changed: {error}")
        return
    if dossier.sums_text(sums) != text or dossier.JSON not in sums:
        yield Check(dossier.SUMS, False, "changed: it is not as this program writes it")
    for name, digest in sums.items():
        try:
            found = dossier.sha256_of(folder / name)
        except OSError as error:
            yield Check(name, False, f"missing ({error.strerror})")
            continue
        good = found == digest
        yield Check(name, good, "unchanged" if good else f"changed: SHA-256 {found}, expected {digest}")
    own = {*sums, dossier.SUMS, dossier.SIGNATURE, dossier.PUBLIC_KEY, dossier.INCOMPLETE}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir() and name not in own:
            yield Check(name, False, "added: it is not part of the report")


def _signature(folder: Path, key: Path | None) -> Iterator[Check]:
    signature, beside = folder / dossier.SIGNATURE, folder / dossier.PUBLIC_KEY
    if not signature.exists():
        if key is not None or beside.exists():
            yield Check("signature", False, f"{dossier.SIGNATURE} is missing")
        return
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        yield Check(
            "signature", False, "can't be checked without the package cryptography; pip install 'deepfake-detect[sign]'"
        )
        return
    try:
        public = load_pem_public_key((key or beside).read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        if key is not None:
            raise OptionsError(f"{key}: expected a public key as PEM ({error})") from error
        yield Check(dossier.PUBLIC_KEY, False, f"changed or missing ({error})")
        return
    if not isinstance(public, Ed25519PublicKey):
        yield Check("signature", False, f"{key or dossier.PUBLIC_KEY} is not an Ed25519 key")
        return
    fingerprint = public.public_bytes_raw().hex()
    try:
        public.verify(signature.read_bytes(), (folder / dossier.SUMS).read_bytes())
    except (InvalidSignature, OSError):
        yield Check("signature", False, f"not made over this {dossier.SUMS} by the key {fingerprint}")
        return
    known = "the key given" if key else "a key that lies beside it: compare it with one you know"
    yield Check("signature", True, f"made by {known}, {fingerprint}")


def _inner_files(folder: Path, record: dict[str, Any]) -> Iterator[Check]:
    """The fingerprints that report.json itself states."""
    for name, known in record["files"].items():
        path = folder / name
        if path.is_file() and dossier.sha256_of(path) != known["sha256"]:
            yield Check(name, False, f"is not the file that {dossier.JSON} speaks of")


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
        checkpoint.WeightFile(entry.path, entry.sha256).read()
        if entry.graph is not None:
            entry.graph.read()
    except DeepfakeDetectError as error:
        return Check("model", False, str(error))
    return Check("model", True, f"{name}, unchanged")


def _again(
    folder: Path, record: dict[str, Any], media: Path, weights_folder: Path | None, same_model: bool,
    progress: Callable[[float], None] | None,
) -> Iterator[Check]:  # fmt: skip
    try:
        found = dossier.sha256_of(media)
    except OSError as error:
        yield Check("media", False, f"{media}: can't be read ({error.strerror})")
        return
    wanted = record["media"]["sha256"]
    if found != wanted:
        yield Check("media", False, f"{media}: another file, or changed: SHA-256 {found}, expected {wanted}")
        return
    yield Check("media", True, f"{media}: unchanged")
    if not same_model:
        yield Check("verdict", False, "can't be repeated without the same model")
        return
    known, before = record["examination"]["options"], record["examination"].get("provenance")
    wanted_options = {field.name: known[field.name] for field in fields(Options) if field.name in known}
    try:
        options = Options(**{**wanted_options, "provenance": before is not None, "trust": None})
        detector = Detector(options, weights=record["tool"]["model"], weights_folder=weights_folder)
        report = detector.detect(media, progress=progress)
    except DeepfakeDetectError as error:
        yield Check("verdict", False, f"can't be repeated: {error}")
        return
    differences = list(_differences("", {name: record[name] for name in _COMPARED}, to_dict(report)))
    differences += _other_maps(folder, record, report)
    if before is not None and report.provenance is not None:
        hashes = [moment.hash.bits for moment in report.provenance.perceptual_hashes]
        if [report.provenance.md5, *hashes] != [before["md5"], *(moment["hash"] for moment in before["pdq"])]:
            differences.append("MD5 or PDQ hashes differ")
    if not differences:
        yield Check("verdict", True, "found again, with the same figures and maps")
        return
    version = record["tool"]["version"]
    hint = "" if version == __version__ else f" (judged by version {version}, this is {__version__})"
    for difference in differences[:10]:
        yield Check("verdict", False, difference + hint)


def _other_maps(folder: Path, record: dict[str, Any], report: Report) -> Iterator[str]:
    """Stored maps and crops that are not what the net and the detector give."""
    for known, track in zip(record["tracks"], report.tracks, strict=False):
        for face, score in zip(known["faces"], track.scores, strict=False):
            if "evidence" not in face or score.heatmap is None:
                continue
            with np.load(folder / face["evidence"]["file"]) as kept:
                apart = float(np.abs(kept["evidence"] - score.heatmap.evidence).max())
                if apart > _MAP:
                    yield f"the map in {face['evidence']['file']} is another: up to {apart:.2f} logits apart"
                crop = kept["crop"].astype(float) if "crop" in kept else score.heatmap.crop.pixels
                if np.abs(crop - score.heatmap.crop.pixels).mean() > _GREY:
                    yield f"the crop in {face['evidence']['file']} is another"


def _differences(where: str, before: Any, now: Any) -> Iterator[str]:
    """Where two records of the same media differ by more than rounding."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in before:
            # What the file says of itself may stand in the reason, and what words it has is for the version to say.
            if name not in ("evidence", "path", "reason"):
                yield from _differences(f"{where}.{name}" if where else name, before[name], now.get(name))
    elif isinstance(before, list) and isinstance(now, list):
        if len(before) != len(now):
            yield f"{where}: were {len(before)}, are {len(now)}"
        else:
            for i, (old, new) in enumerate(zip(before, now, strict=True)):
                yield from _differences(f"{where}[{i}]", old, new)
    elif isinstance(before, int | float) and isinstance(now, int | float):
        name = where.rsplit(".", 1)[-1].split("[")[0]
        if abs(before - now) > _TOLERATED.get(name, 1e-3) * (max(1.0, abs(now)) if name == "likelihood_ratio" else 1):
            yield f"{where}: was {before}, is {now}"
    elif before != now:
        yield f"{where}: was {before}, is {now}"
