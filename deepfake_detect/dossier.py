"""Report -> a folder that someone else can check line by line.

    report.html     the page (and report.pdf on request)
    report.json     every figure, with the fingerprints of the files below; `report.schema.json` describes it
    annotated.*     the media with boxes and heat, marked as a copy for analysis
    contact_sheet.jpg
    evidence/       crops and maps of the most telling views, numbers as they were judged (.npz)
    SHA256SUMS      fingerprints of all of these, as `sha256sum -c` reads them; on request signed (SHA256SUMS.sig, .pub)

While it is being written it holds a file INCOMPLETE, which goes when all is there. Files of an earlier report in the same
folder are replaced, unless that is finished and either signed or on other media: it may be all that is left of them. All
other files are left alone, and where one of another origin has a name that would be written, nothing is.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import annotate, checkpoint, draw, media, page, report, source
from .errors import MediaError, OptionsError, WeightsError
from .files import is_same, write_atomically
from .options import ReportOptions
from .words import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from os import PathLike

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from .types import FaceTrack, Report, Score

SUMS, SIGNATURE, PUBLIC_KEY, INCOMPLETE, JSON, PAGE = (
    "SHA256SUMS", "SHA256SUMS.sig", "SHA256SUMS.pub", "INCOMPLETE", "report.json", "report.html",
)  # fmt: skip
# Every name this module writes; of each there may be a .part, too, where it was killed.
_LISTED = (JSON, PAGE, "report.pdf", "annotated.mp4", "annotated.jpg", "annotated.png", "contact_sheet.jpg")
_EVIDENCE = re.compile(r"evidence/person\d+_-?\d+\.\d+s_\d+\.npz")


def save(
    judged: Report,
    folder: str | os.PathLike[str],
    options: ReportOptions | None = None,
    *,
    key: Ed25519PrivateKey | None = None,
    name: str | None = None,
    called: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Write the folder of a report.

    Args:
        folder: Made when missing.
        options: What it holds, and in which language.
        key: Signs the fingerprints; `read_key` reads it.
        name: What the report calls the media, where that is not what the file is called.
        called: What the folder will be called where it is checked, where that is not what it is called here.
        progress: Called with the share that is done, 0 to 1; nearly all of it is the annotated copy of a video.

    Returns:
        The folder.

    Raises:
        MediaError: The media changed or disappeared since it was judged.
        OptionsError: There is no such person, what a PDF needs is missing, or the folder holds what is not replaced.
        OSError: The folder can't be written.
    """
    options = options or ReportOptions()
    check(options)
    if options.person is not None and judged.error is None and options.person not in [t.id for t in judged.tracks]:
        found = ", ".join(str(track.id) for track in judged.tracks) or "nobody"
        raise OptionsError(f"person {options.person}: expected one of those that were seen, found {found}")
    target = Path(folder)
    of = None if judged.media is None else judged.media.sha256
    earlier = _earlier_files(target, None if judged.pixels is not None else judged.path, lambda: of)
    judged = judged if options.person is None else _without_neighbours(judged, options.person)
    shown = judged if options.keep_path else _without_paths(judged, name)
    with _marked_incomplete(target):
        for path in earlier:
            if path.name != INCOMPLETE:
                path.unlink(missing_ok=True)
        pictures: list[str] = []
        evidence: dict[tuple[int, int], str] = {}
        if judged.error is None and judged.media is not None:
            evidence = _write_evidence(judged, target, options)
            if options.images:
                pictures = _write_pictures(judged, target, options, progress)
        # The page and its PDF hold the time of day; report.json stays the same from run to run but for its times.
        command = f"deepfake-detect verify {_quoted(called or target.name or str(target))}{_again_with(judged)}"
        write_page = partial(page.html, shown, options=options, created_utc=judged.created_utc, rerun=command)
        write_atomically(target / PAGE, write_page().encode("utf-8"))
        pages = [PAGE]
        if options.pdf:
            write_atomically(target / "report.pdf", _pdf(write_page(paper=True)))
            pages.append("report.pdf")
        _unchanged(judged)
        files = {name: _described(target / name) for name in sorted([*evidence.values(), *pictures])}
        record = _record(shown, options, files, evidence)
        write_atomically(target / JSON, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode("ascii"))
        sums = {name: str(known["sha256"]) for name, known in files.items()}
        sums |= {name: sha256_of(target / name) for name in (*pages, JSON)}
        listed = sums_text(sums).encode("utf-8")
        if key is not None:
            write_atomically(target / SIGNATURE, key.sign(listed))
            write_atomically(target / PUBLIC_KEY, public_pem(key.public_key()))
        write_atomically(target / SUMS, listed)
    return target


def _again_with(judged: Report) -> str:
    """What the command that checks a report needs to repeat the examination, if that can be repeated."""
    if judged.error is not None or judged.pixels is not None:
        return ""
    try:
        shipped = checkpoint.find(judged.tool.model).entry_sha256 == judged.tool.entry_sha256
    except WeightsError:
        shipped = False
    return " --media FILE" + ("" if shipped else " --weights DIR")


def check(options: ReportOptions) -> None:
    """Whether what the options ask for can be had here.

    Raises:
        OptionsError: A PDF is asked for, and WeasyPrint or what it draws with is missing.
    """
    if options.pdf:
        _pdf_printer()


def check_folder(folder: str | PathLike[str], path: str | PathLike[str]) -> None:
    """Whether a report on a file may be written into a folder, asked before the file is judged, which can take long.

    Raises:
        MediaError: The file can't be read, and what can be told depends on it.
        OptionsError: The folder holds what is not replaced.
    """

    def sha256() -> str:
        with source.open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    _earlier_files(Path(folder), path, sha256)


def may_be_listed(name: str) -> bool:
    """Whether a finished report may hold, and list, a file of this name."""
    return name in _LISTED or _EVIDENCE.fullmatch(name) is not None


def sums_text(sums: dict[str, str]) -> str:
    """File name -> SHA-256, as `sha256sum` writes it."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))


def read_sums(text: str) -> dict[str, str]:
    """What `sums_text` wrote.

    Raises:
        ValueError: A line is not a fingerprint and a name below the folder.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        inside = name and not name.startswith("/") and "\0" not in name and ".." not in Path(name).parts
        if len(digest) != 64 or set(digest) - set("0123456789abcdef") or not inside or name in found:
            raise ValueError(f"{SUMS}: expected a SHA-256, two spaces and a file's name, found {line[:100]!r}")
        found[name] = digest
    return found


@contextmanager
def _marked_incomplete(target: Path) -> Iterator[None]:
    mark = target / INCOMPLETE
    target.mkdir(parents=True, exist_ok=True)
    write_atomically(mark, b"This report was not finished. Make it again.\n")
    yield
    # Not in a finally: an unfinished folder keeps its mark.
    mark.unlink()


def _earlier_files(target: Path, path: str | PathLike[str] | None, sha256: Callable[[], str | None]) -> list[Path]:
    """What an earlier report left here, so that nothing of another file stays behind.

    Args:
        path: Of the file that the new report is on; None where it is a picture from memory.
        sha256: Of its content, None where it could not be judged. Asked only where there is a report to compare with.

    Raises:
        OptionsError: A file that would be replaced is the media itself, not of a report, or of one that is finished and
            either signed or on other media; or `evidence` leads elsewhere.
    """
    evidence = target / "evidence"
    if evidence.is_symlink():
        raise OptionsError(
            f"{source.shown(target)}: its folder evidence is a link and leads elsewhere; give another folder"
        )
    # Asked for by name, for to some file systems a Report.html is what would be replaced.
    fixed = [
        target / f"{name}{end}" for name in (*_LISTED, SUMS, SIGNATURE, PUBLIC_KEY, INCOMPLETE) for end in ("", ".part")
    ]
    found = [each for each in fixed if os.path.lexists(each)]
    found += [each for each in evidence.glob("*") if _EVIDENCE.fullmatch(f"evidence/{each.name.removesuffix('.part')}")]
    for each in found:
        if path is not None and is_same(each, path):
            raise OptionsError(
                f"{source.shown(each)}: is the file to be examined and would be replaced;"
                " give another folder for the report"
            )
    if not found or os.path.lexists(target / INCOMPLETE):
        return found
    if not _is_ours(target / JSON):
        raise OptionsError(
            f"{source.shown(found[0])}: was not written by this program and would be replaced; give another folder"
        )
    name, of = _media_of(target / JSON)
    signed = os.path.lexists(target / SIGNATURE)
    # One on a file that could not be judged holds nothing that would be lost.
    if signed or (of is not None and of != sha256()):
        what = "signed" if signed else "finished"
        raise OptionsError(
            f"{source.shown(target)}: holds a {what} report on {name}; give another folder, or delete it"
        )
    return found


def _media_of(path: Path) -> tuple[str, str | None]:
    """Name and SHA-256 of the media that a report is on: None where they could not be judged, "" where it does not say."""
    try:
        known = json.loads(path.read_bytes())["media"]
        return source.shown(str(known["path"])), known["sha256"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "a file that it no longer names", ""


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return f'"schema": "{report.SCHEMA}"'.encode() in file.read(200)
    except OSError:
        return False


def _without_paths(judged: Report, name: str | None) -> Report:
    """The report with names of files instead of where they lie."""
    name = name or Path(judged.path).name or judged.path
    error = judged.error
    if error is not None:
        said = error.message
        # As an error may write a path: with escapes for what can't be printed, for all but ASCII, or as it is.
        for written in (media.shown, ascii, str):
            said = said.replace(written(judged.path), written(name))
        error = replace(error, message=said)
    trust = judged.options.trust
    options = replace(judged.options, trust=Path(trust).name if trust else None)
    return replace(judged, path=name, error=error, options=options)


def _without_neighbours(judged: Report, person: int) -> Report:
    """The report with other people's faces made unrecognisable in the crops of this person, into which they may reach."""
    others = [score for track in judged.tracks if track.id != person for score in track.scores]

    def alone(score: Score) -> Score:
        if score.heatmap is None:
            return score
        crop = score.heatmap.crop
        # Crops are upright: a scale and a shift in each direction.
        (x, y), (left, top) = np.diag(crop.to_frame), crop.to_frame[:, 2]
        hidden = [
            ((x0 - left) / x, (y0 - top) / y, (x1 - left) / x, (y1 - top) / y)
            for x0, y0, x1, y1 in (other.face.box for other in others if other.time_s == score.time_s)
        ]
        height, width = crop.pixels.shape[:2]
        pixels = draw.veil(crop.pixels, [(0, 0, width, height)], hidden=hidden)
        return replace(score, heatmap=replace(score.heatmap, crop=replace(crop, pixels=pixels)))

    tracks = [
        replace(track, scores=tuple(map(alone, track.scores))) if track.id == person else track
        for track in judged.tracks
    ]
    return replace(judged, tracks=tuple(tracks))


def _write_evidence(judged: Report, target: Path, options: ReportOptions) -> dict[tuple[int, int], str]:
    """The crops and maps that were kept; (person, place among their views) -> file."""
    names = {}
    for track in judged.tracks:
        if options.person not in (None, track.id):
            continue
        for i, score in enumerate(track.scores):
            if score.heatmap is None:
                continue
            name = f"evidence/person{track.id:03}_{score.time_s:010.3f}s_{i:05}.npz"
            arrays: dict[str, Any] = {"evidence": score.heatmap.evidence, "to_frame": score.heatmap.crop.to_frame}
            if options.images:
                arrays["crop"] = score.heatmap.crop.pixels
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays)
            (target / "evidence").mkdir(exist_ok=True)
            write_atomically(target / name, buffer.getvalue())
            names[track.id, i] = name
    return names


def _write_pictures(
    judged: Report, target: Path, options: ReportOptions, progress: Callable[[float], None] | None
) -> list[str]:
    name = annotate.write_copy(judged, target, options=options, progress=progress)
    tracks = [track for track in judged.tracks if options.person in (None, track.id)]
    if not any(track.heatmaps for track in tracks):
        return [name]
    write_atomically(
        target / "contact_sheet.jpg", report.jpeg(draw.contact_sheet(tracks, words=Words(options.language)))
    )
    return [name, "contact_sheet.jpg"]


def _unchanged(judged: Report) -> None:
    """The original must be what it was, after all has been made from it."""
    if judged.media is None or judged.pixels is not None:
        return
    name = source.shown(judged.path)
    try:
        now = sha256_of(Path(judged.path))
    except OSError as error:
        raise MediaError(f"{name}: can't be read any more ({error.strerror})", kind="unreadable") from error
    if now != judged.media.sha256:
        raise MediaError(f"{name}: changed since it was judged; judge it again", kind="unreadable")


def _record(
    shown: Report, options: ReportOptions, files: dict[str, dict[str, Any]], evidence: dict[tuple[int, int], str]
) -> dict[str, Any]:
    """What stands in report.json: what `--json` prints, and all that one needs to check it."""
    record = report.to_dict(shown)
    for track, described in zip(shown.tracks, record["tracks"], strict=True):
        for i, face in enumerate(described["faces"]):
            if name := evidence.get((track.id, i)):
                face["evidence"] = {"file": name, "sha256": files[name]["sha256"]}
    return {**record, "examination": examination(shown, options), "files": files}


def posteriors(ratio: float, priors: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """What a likelihood ratio makes of odds held before, as it is written."""
    return [{"prior_odds": odds, "probability": round(chance, 6)} for odds, chance in page.posteriors(ratio, priors)]


def examination(shown: Report, options: ReportOptions) -> dict[str, Any]:
    """What stands in report.json beside the finding, so that it can be checked."""
    ratio = shown.verdict.likelihood_ratio if shown.verdict else None
    english = Words()
    result: dict[str, Any] = {
        "created_utc": shown.created_utc,
        "options": asdict(shown.options),
        "report_options": asdict(options),
        "calibration": _calibration(shown),
        "left_out": _left_out(shown),
        "posteriors": posteriors(ratio, page.PRIORS) if ratio else [],
        "limits": [english(f"limit_{key}") for key in page.limits(shown)],
        "where_to_turn": [english(f"help_{key}") for key in ("adults", "minors", "police", "copy")],
    }
    if shown.provenance is not None:
        known = shown.provenance
        result["provenance"] = {
            "md5": known.md5,
            "pdq": [{"time_s": round(at.time_s, 6), "hash": at.hash.bits, "quality": at.hash.quality}
                    for at in known.perceptual_hashes],
            "metadata": [list(entry) for entry in known.metadata],
            "notes": [{"key": note.key, "values": note.values} for note in known.notes],
            "content_credentials": asdict(known.content_credentials),
        }  # fmt: skip
    return result


def _calibration(shown: Report) -> dict[str, Any] | None:
    if shown.calibration is None or shown.media is None:
        return None
    known, kind = shown.calibration, shown.media.kind
    elsewhere = known.other_groups.get(kind)
    return {
        "name": known.name, "date": known.date, "data": known.data, **asdict(known.bands(kind)),
        "on_other_groups": asdict(elsewhere) if elsewhere else None,
    }  # fmt: skip


def _left_out(shown: Report) -> list[dict[str, Any]]:
    """The views that do not vote, and why."""

    def described(track: FaceTrack, score: Score) -> dict[str, Any]:
        return {"person": track.id, "time_s": round(score.time_s, 6), "why": score.excluded}

    return [described(track, score) for track in shown.tracks for score in track.scores if score.excluded]


def _described(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_of(path), "size_bytes": path.stat().st_size}


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pdf(text: str) -> bytes:
    drawn: bytes = _pdf_printer().HTML(string=text).write_pdf()
    return drawn


def _pdf_printer() -> Any:
    try:
        import weasyprint
    except (ImportError, OSError) as error:
        # OSError: the package is there, Pango, which it draws with, is not.
        raise OptionsError(
            f'report.pdf needs WeasyPrint and Pango ({error}); pip install "deepfake-detect[pdf]", or print report.html'
        ) from error
    return weasyprint


def read_key(path: str | PathLike[str]) -> Ed25519PrivateKey:
    """A private key for signing, from a PEM file such as `openssl genpkey -algorithm ed25519` writes.

    Raises:
        OptionsError: It can't be read, is of another kind, or the package `cryptography` is missing.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise OptionsError('signing needs the package cryptography; pip install "deepfake-detect[sign]"') from error
    wanted = f"{source.shown(path)}: expected an Ed25519 private key as PEM without a password"
    try:
        key = load_pem_private_key(Path(path).read_bytes(), password=None)
    except OSError as error:
        raise OptionsError(f"{wanted}; it can't be read ({error.strerror})") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise OptionsError(f"{wanted}, found something else; make one: openssl genpkey -algorithm ed25519") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise OptionsError(f"{wanted}, found another kind of key; make one: openssl genpkey -algorithm ed25519")
    return key


def public_pem(key: Ed25519PublicKey) -> bytes:
    """What is written beside a signature, byte for byte."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _quoted(name: str) -> str:
    # Marks that are not seen are not shown either, and without them it is no longer the folder's name.
    if page.plain(name) != name:
        return "FOLDER"
    # It would be taken for an option.
    name = f"./{name}" if name.startswith("-") else name
    quoted = shlex.quote(name)
    # To cmd.exe single quotes are letters like others, and it takes a name with a space for two.
    return f'"{name}"' if quoted != name and not set(name) & set('"$`%!\\') else quoted
