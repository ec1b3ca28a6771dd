"""Checks the folder of a report: is every byte what it was, and does the same program find the same again?"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, again, checkpoint, dossier, source
from .detector import Detector
from .errors import DeepfakeDetectError, MediaError, OptionsError, WeightsError
from .folder import LONGEST, briefly, fingerprint, opened, read_file
from .options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from os import PathLike

    from .types import Report


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
        text = read_file(folder, dossier.JSON).decode("utf-8")
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
    return check if len(said) <= 3 * LONGEST else replace(check, message=f"{said[: 3 * LONGEST]} …")


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


def signed(checks: Sequence[Check]) -> bool:
    """Whether a signature was found and holds."""
    return any(check.name == "signature" and check.good for check in checks)


def _files(folder: Path) -> Iterator[Check]:
    if os.path.lexists(folder / dossier.INCOMPLETE):
        yield Check(dossier.INCOMPLETE, False, "the report was not finished; make it again")
    try:
        text = read_file(folder, dossier.SUMS).decode("utf-8")
        sums = dossier.read_sums(text)
    except (MediaError, OSError) as error:
        yield Check(dossier.SUMS, False, f"can't be read ({briefly(error)})")
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
            found = fingerprint(folder, name)
        except (MediaError, OSError) as error:
            yield Check(name, False, f"missing, or not a file ({briefly(error)})")
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
        public = load_pem_public_key(key.read_bytes() if key else read_file(folder, dossier.PUBLIC_KEY))
    except (MediaError, OSError, ValueError, UnsupportedAlgorithm) as error:
        if key is not None:
            raise OptionsError(f"{source.shown(key)}: expected a public key as PEM ({error})") from error
        yield Check(dossier.PUBLIC_KEY, False, f"changed or missing ({error})")
        return
    if not isinstance(public, Ed25519PublicKey):
        yield Check("signature", False, f"{key or dossier.PUBLIC_KEY} is not an Ed25519 key")
        return
    public_hex = public.public_bytes_raw().hex()
    if key is not None:
        # Who knows the right key vouches for the folder to whoever goes by the one in it.
        try:
            own = read_file(folder, dossier.PUBLIC_KEY)
        except (MediaError, OSError) as error:
            yield Check(dossier.PUBLIC_KEY, False, f"missing, or not a file ({briefly(error)})")
        else:
            if own != dossier.public_pem(public):
                yield Check(dossier.PUBLIC_KEY, False, "changed: it is not the key given")
    try:
        public.verify(read_file(folder, dossier.SIGNATURE), read_file(folder, dossier.SUMS))
    except (InvalidSignature, MediaError, OSError):
        yield Check("signature", False, f"not made over this {dossier.SUMS} by the key {public_hex}")
        return
    known = "the key given" if key else "a key that lies beside it: compare it with one you know"
    yield Check("signature", True, f"made by {known}, {public_hex}")


def _inner_files(folder: Path, record: dict[str, Any], *, told: set[str]) -> Iterator[Check]:
    """The fingerprints that report.json itself states; `told` are the names of which something was said."""
    for name, known in record["files"].items():
        try:
            with opened(folder, name) as file:
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
    compared = again.compare(folder, record, report, detector.calibration)
    differences, passed_over, said = compared.differences, compared.passed_over, "with the same figures"
    if differences and (there := again.read_there(record, report, detector.calibration)) is not None:
        entry = checkpoint.find(record["tool"]["model"], folder=weights_folder)
        compared = again.compare(folder, record, there, detector.calibration, read_by=entry)
        if not compared.differences:
            differences, passed_over, said = [], compared.passed_over, again.how_read(there, report)
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
