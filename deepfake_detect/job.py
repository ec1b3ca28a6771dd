"""What a worker is given and what comes of it: one file to judge, how far it is, and the outcome."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .options import ReportOptions
from .types import Failure

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, eq=False)
class Job:
    """One file to judge.

    Attributes:
        path: Its name; a `Path` becomes text.
        descriptor: The file itself, already open, which is then read in place of whatever bears the name; it stays the
            caller's. None to have it opened.
        follow: Whether the name may be a link.
        crop: Whether the outcome is to hold a crop of the deciding face. Default False.
        report: A folder into which the report is written, too; the limits must allow files to be written.
        report_called: What that folder will be called where it is checked, if not as here.
        report_options: What that report holds.
        lies_at: Where the file lies if `path` is only what it is called. The report's pictures are made from there.
        original: An innocent photo: the face is compared with that in it, and nothing else is judged.
    """

    path: str
    descriptor: int | None = None
    follow: bool = True
    crop: bool = False
    report: Path | None = None
    report_called: str | None = None
    report_options: ReportOptions = field(default_factory=ReportOptions)
    lies_at: Path | None = None
    original: Original | None = None

    def __post_init__(self) -> None:
        # Workers are told of it in JSON.
        object.__setattr__(self, "path", os.fsdecode(self.path))


@dataclass(frozen=True)
class Original:
    """An innocent photo, see `compare`.

    Attributes:
        path: What it is called.
        descriptor: The file itself, already open; it stays the caller's.
        lies_at: Where it lies.
    """

    path: str
    descriptor: int
    lies_at: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fsdecode(self.path))


@dataclass(frozen=True)
class Progress:
    """How far a job is: `stage` is `waiting`, `loading`, `judging` or `writing`, `done` the share of that stage, 0 to 1."""

    stage: str
    done: float


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        record: The contract `deepfake-detect/1`, with either a verdict or an error; of a comparison that could be made
            `deepfake-detect/compare/1`.
        confinement: What held while it was judged, see `confine.confine`; empty where no worker saw the file.
        reasons: The verdict's reason by language; empty after an error.
        crop: The deciding person's most telling view as JPEG, of 96 px; of a comparison, both faces and their difference
            side by side. Empty where there is none.
    """

    record: dict[str, Any]
    confinement: str = ""
    reasons: dict[str, str] = field(default_factory=dict)
    crop: bytes = b""

    @property
    def error(self) -> Failure | None:
        """Why it could not be judged."""
        found = self.record.get("error")
        return found and Failure(str(found["kind"]), str(found["message"]))


def to_json(job: Job) -> dict[str, Any]:
    """As a worker is told of it."""
    return {
        "path": job.path,
        "crop": job.crop,
        "report": None if job.report is None else os.fspath(job.report),
        "report_called": job.report_called,
        "report_options": asdict(job.report_options),
        "lies_at": os.fspath(job.lies_at or job.path),
        "original": job.original and {"path": job.original.path, "lies_at": os.fspath(job.original.lies_at)},
    }


def packed(message: dict[str, Any]) -> bytes:
    """A message between a worker and its parent."""
    # ASCII, so that halves of surrogate pairs, which stand for names that are no text, come through.
    return json.dumps(message, allow_nan=False).encode("ascii")
