"""What files were judged, and what was said of them: judges labelled files and keeps their scores in a folder."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import sys
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .. import __version__
from ..files import NAMES, write_atomically
from ..source import shown
from ..verdict import deciding, evidence, finding, log_odds, probability, seen_enough, shown_in_part
from .datasets import Labelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from ..detector import Detector
    from ..types import Bands, Calibration, FaceTrack, Label, Report

_Row = TypeVar("_Row")

log = logging.getLogger(__name__)

#: In a folder of scores: those of files that are asked for, of others, and of frames; and what they were made with.
KEPT = ("scores.csv", "other_scores.csv", "frames.csv", "run.json")


@dataclass(frozen=True)
class Item(Labelled):
    """One labelled file, and what the detector said of it.

    Attributes:
        kind: `image` or `video`; empty where it could not be read.
        verdict: The label of the verdict, or `error`.
        probability: Calibrated; None where nobody could be judged.
        logit: Of the deciding person; None likewise.
        quality: Mean over that person's views, 0 to 1; None likewise.
        model: SHA-256 of all that the logit comes from, see `ManifestEntry.evidence_sha256`.
        others: Of the others who decide with that person, logit:quality of each, with spaces between.
        brief: Likewise of what shows for a good part of the time and does not decide, see `verdict.shown_in_part`.
        log_odds: By which the verdict is decided: of the mean of all people's ratios, none of them limited. None where
            nobody could be judged, and in what versions before this column wrote.
        size_bytes: Of the file; None where it could not be read, and in what versions before this column wrote.
    """

    kind: str = ""
    verdict: str = ""
    probability: float | None = None
    logit: float | None = None
    quality: float | None = None
    model: str = ""
    others: str = ""
    brief: str = ""
    log_odds: float | None = None
    size_bytes: int | None = None


@dataclass(frozen=True)
class FrameScore:
    """One view of the deciding person of a file."""

    path: str
    time_s: float
    logit: float


def judge(item: Labelled, report: Report, *, model: str) -> tuple[Item, list[FrameScore]]:
    """What the report says of a file, and of the frames that decided.

    Args:
        model: What made the logits, see `Item`.
    """
    worst = deciding(report.tracks)
    verdict = report.verdict
    voting = worst.voting if worst else ()
    judged = Item(
        **{field.name: getattr(item, field.name) for field in fields(Labelled)},
        kind=report.media.kind if report.media else "",
        verdict=verdict.label if verdict else "error",
        probability=verdict.probability if verdict else None,
        logit=worst.logit if worst else None,
        quality=worst.quality if worst else None,
        model=model,
        others=_written([track for track in seen_enough(report.tracks) if track is not worst]),
        brief=_written(shown_in_part(report.tracks)),
        size_bytes=report.media.size_bytes if report.media else None,
    )  # fmt: skip
    return judged, [FrameScore(item.path, s.time_s, s.logit) for s in voting if s.logit is not None]


def _written(people: Sequence[FaceTrack]) -> str:
    return " ".join(f"{logit}:{quality}" for logit, quality in evidence(people))


def _read(people: str) -> list[tuple[float, float]]:
    """What `_written` wrote."""
    return [(float(logit), float(quality)) for logit, quality in (one.split(":") for one in people.split())]


def run(
    root: Path, items: Sequence[Labelled], out: Path, detector: Detector, *, show_progress: bool = True
) -> tuple[list[Item], list[FrameScore]]:
    """Judge what `out` does not hold yet; each row is written as soon as it is known.

    Logits depend on the net and how it is used, and on how this version reads media, follows faces and pools their views:
    those of another one are not gone on with. What an earlier run found is labelled anew, by the calibration there is now;
    of a file that has another size by now it is forgotten.

    Raises:
        SystemExit: `out` holds results of other media, weights, options or of another version.
    """
    out.mkdir(parents=True, exist_ok=True)
    scores, others, frames, kept = (out / name for name in KEPT)
    made_with = {
        "version": __version__,
        "evidence_sha256": detector.evidence_sha256,
        "options": asdict(detector.options),
        "root": root.resolve().name,
    }
    earlier = json.loads(kept.read_text()) if kept.exists() else {}
    if scores.exists() and earlier != json.loads(json.dumps(made_with)):
        version = earlier.get("version", "unknown")
        what = (
            "other media, weights or options" if version == __version__ else f"version {version}, this is {__version__}"
        )
        raise SystemExit(f"{shown(out)} holds results of {what}; remove it, give another folder, or `evaluate` --again")
    write_atomically(kept, json.dumps(made_with, indent=1).encode())
    for rows_so_far in (scores, frames):
        _cut_torn_row(rows_so_far)
    # What could not be read is tried again: a drive may have been missing.
    known = {item.path: item for file in (others, scores) if file.exists() for item in read_scores(file)
             if item.verdict != "error"}  # fmt: skip
    if replaced := [path for path, item in known.items() if _has_other_size(root / path, item.size_bytes)]:
        for path in replaced:
            del known[path]
        _write_rows(frames, FrameScore, [view for view in read_frames(frames) if view.path in known])
    todo = [item for item in items if item.path not in known]
    reports = detector.detect_many(root / item.path for item in todo)
    with (
        scores.open("a", -1, *NAMES, newline="") as score_lines,
        frames.open("a", -1, *NAMES, newline="") as frame_lines,
    ):
        score_rows = csv.DictWriter(score_lines, [field.name for field in fields(Item)])
        frame_rows = csv.DictWriter(frame_lines, [field.name for field in fields(FrameScore)])
        for lines, rows in ((score_lines, score_rows), (frame_lines, frame_rows)):
            if not lines.tell():
                rows.writeheader()
        for i, (item, report) in enumerate(zip(todo, reports, strict=True), 1):
            known[item.path], views = judge(item, report, model=detector.evidence_sha256)
            # The frames first: a file counts as known once its own row is there.
            frame_rows.writerows(asdict(view) for view in views)
            frame_lines.flush()
            score_rows.writerow(asdict(known[item.path]))
            score_lines.flush()
            if report.error:
                log.warning("%s", report.error.message)
            if show_progress and i % 50 == 0:
                print(f"{i} of {len(todo)}", file=sys.stderr)
    # Labels and groups as they are given now: a corrected list corrects the results, and what is made of them.
    found = [relabelled(replace(known[item.path], **vars(item)), detector.calibration) for item in items]
    wanted = {item.path for item in items}
    not_asked_for = [item for path, item in known.items() if path not in wanted]
    if not_asked_for or others.exists():
        _write_rows(others, Item, not_asked_for)
    _write_rows(scores, Item, found)
    if errors := sum(item.verdict == "error" for item in found):
        log.warning("%d of %d files could not be read; they count as unjudged alone", errors, len(found))
    return found, [frame for frame in read_frames(frames) if frame.path in wanted]


def _cut_torn_row(table: Path) -> None:
    """Leave off the row that was being written when a run was stopped."""
    if table.exists():
        with table.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _write_rows(table: Path, kind: type[Item | FrameScore], rows: Iterable[Item | FrameScore]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in fields(kind)])
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomically(table, text.getvalue().encode(*NAMES))


def _has_other_size(path: Path, size_bytes: int | None) -> bool:
    """Whether a file is not what it was; of one that can't be seen, as on a drive that is missing, nothing is known."""
    try:
        return size_bytes is not None and path.stat().st_size != size_bytes
    except OSError:
        return False


def relabelled(item: Item, calibration: Calibration) -> Item:
    """The item with what this calibration says of its logits; as it is where it has none."""
    if item.logit is None:
        return item
    bands = calibration.bands("image" if item.kind == "image" else "video")
    label, ratio = said_of(item, bands)
    return replace(item, verdict=label, probability=probability(ratio), log_odds=unlimited(item, bands))


def said_of(item: Item, bands: Bands) -> tuple[Label, float]:
    """Label and likelihood ratio of a judged file, as `verdict.finding` gives them."""
    return finding(_people(item), bands, brief=_read(item.brief))


def unlimited(item: Item, bands: Bands) -> float:
    """The log odds of a judged file that its label rests on: of the mean of all people's ratios, before any limit."""
    odds = [log_odds(logit, bands, quality=quality) for logit, quality in _people(item)]
    return float(np.logaddexp.reduce(odds) - math.log(len(odds)))


def _people(item: Item) -> list[tuple[float, float]]:
    """Logit and quality of each person who decides, the one who shows most first.

    Raises:
        ValueError: Nobody could be judged.
    """
    if item.logit is None:
        raise ValueError(f"{shown(item.path)}: expected a judged file")
    return [(item.logit, 1.0 if item.quality is None else item.quality), *_read(item.others)]


def read_scores(path: Path) -> list[Item]:
    """What an earlier run wrote.

    Raises:
        SystemExit: There is no such file.
    """
    if not path.is_file():
        raise SystemExit(f"{shown(path)}: expected the scores.csv that an evaluation wrote, found no such file")
    return _read_rows(path, _item)


def _item(row: dict[str, str]) -> Item:
    known: dict[str, Any] = {field.name: row.get(field.name, "") for field in fields(Item)}
    numbers = {name: _number(known[name]) for name in ("probability", "logit", "quality", "log_odds")}
    return Item(**{**known, **numbers, "size_bytes": int(known["size_bytes"]) if known["size_bytes"] else None})


def _number(text: str) -> float | None:
    return float(text) if text else None


def read_frames(path: Path) -> list[FrameScore]:
    """The frames of an earlier run, each once; nothing where there is no file."""
    rows = _read_rows(path, lambda row: FrameScore(row["path"], float(row["time_s"]), float(row["logit"])))
    return list(dict.fromkeys(rows))


def _read_rows(path: Path, read: Callable[[dict[str, str]], _Row]) -> list[_Row]:
    """The rows of a table that are whole: a power cut may have left others."""
    if not path.exists():
        return []
    rows, broken = [], 0
    with path.open("r", -1, *NAMES, newline="") as lines:
        for row in csv.DictReader(lines):
            try:
                if None in row.values():
                    raise ValueError("fewer fields than columns")
                rows.append(read(row))
            except (KeyError, ValueError):
                broken += 1
    if broken:
        log.warning("%s: %d rows can't be read and are passed over", shown(path), broken)
    return rows
