"""What is in a file: opened or fetched, hashed, judged, and whether it was one thing all along."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol

from . import remote, source
from .errors import MediaError
from .job import Job
from .watch import time_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .confine import Limits
    from .job import Outcome

_CHUNK = 2**20
# SQLite has no larger numbers, and dates beyond the year 2262 are.
_LARGEST = 2**63 - 1


class Judging(Protocol):
    """A `worker.Pool`, or what stands in for it."""

    def judge(self, job: Job) -> Outcome:
        """As `worker.Pool.judge`."""


@dataclass(frozen=True)
class Content:
    """A file that is open, and what was in it when it was read.

    Attributes:
        file: It.
        stamp: What changes when the file does, see `stamp`.
        sha256: Of all of it; of a part only where reading was stopped.
        private: It is our own copy, which nobody else can change.
    """

    file: IO[bytes]
    stamp: list[int]
    sha256: str
    private: bool = False


@dataclass(frozen=True)
class Answer:
    """What is kept of an outcome: the content's part of a row with the reasons by language, and the crop as JPEG."""

    found: dict[str, Any]
    crop: bytes


@contextmanager
def opened(path: str, *, follow: bool, limits: Limits, stopped: Callable[[], bool]) -> Iterator[Content]:
    """A file with what is in it, open until the end of the `with` statement.

    Args:
        path: Its name, or its URL, see `remote`.
        follow: Whether the name may be a link.
        stopped: Asked now and then; once it says so, nothing more is read.

    Raises:
        MediaError: It is not there, not a regular file, too large, or can't be read, in the time that there is.
        OptionsError: A package for such URLs is missing.
    """
    if remote.is_url(path):
        with remote.fetched(path, limits=limits, stopped=stopped) as (copy, known):
            yield Content(copy, known, _hashed(copy, limits, stopped), private=True)
        return
    with source.open_file(path, follow=follow) as file:
        before = stamp(os.fstat(file.fileno()))
        yield Content(file, before, _hashed(file, limits, stopped))


def judge(pool: Judging, path: str, content: Content, *, images: bool) -> Answer | None:
    """What a file's content comes to; None where it was cancelled, or where what was judged may not be what was hashed."""
    outcome = pool.judge(Job(path, descriptor=content.file.fileno(), crop=images))
    if outcome.error is not None and outcome.error.kind == "cancelled":
        return None
    same = outcome.record["media"]["sha256"] in (None, content.sha256)
    if not same or not (content.private or content.stamp == stamp(os.fstat(content.file.fileno()))):
        return None
    return Answer(_found(outcome), outcome.crop)


def stamp(known: os.stat_result) -> list[int]:
    """What changes when a file does: size and times, of 63 bits each."""
    return [number & _LARGEST for number in (known.st_size, known.st_mtime_ns, known.st_ctime_ns)]


def without_name(message: str, path: str) -> str:
    """Other files may have the same content, and the row has the name already."""
    return message.removeprefix(f"{source.shown(path)}: ")


def _hashed(file: IO[bytes], limits: Limits, stopped: Callable[[], bool]) -> str:
    """SHA-256 of what is in the file, which may be growing."""
    digest, read = hashlib.sha256(), 0
    descriptor = file.fileno()
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        with time_over(limits.seconds) as is_over:
            # Not by the file's own `read`, which would ask a storage that hardly answers again and again for a whole chunk.
            while not stopped() and (chunk := os.read(descriptor, _CHUNK)):
                digest.update(chunk)
                read += len(chunk)
                if max(read, os.fstat(descriptor).st_size) > limits.file_bytes:
                    found = f"is larger than the limit of {limits.file_bytes / 1e6:.0f} MB; raise the limit"
                    raise MediaError(found, kind="too_large")
                if is_over():
                    found = f"took longer than {limits.seconds:g} s to read; give it more time if it is worth it"
                    raise MediaError(found, kind="timed_out")
    except OSError as error:
        raise MediaError(f"can't be read ({error.strerror}); the disk may be failing", kind="unreadable") from error
    return digest.hexdigest()


def _found(outcome: Outcome) -> dict[str, Any]:
    record = outcome.record
    answer, info, error = record["verdict"] or {}, record["media"], outcome.error
    return {
        **{key: info.get(key) for key in ("kind", "width", "height", "duration_s")},
        **{key: answer.get(key) for key in ("label", "probability", "likelihood_ratio", "reason")},
        "people": len(record["tracks"]) if answer else None,
        "warnings": " ".join(record["warnings"]) or None,
        "error_kind": error.kind if error else None,
        "error": without_name(error.message, info["path"]) if error else None,
        "confinement": outcome.confinement or None,
        "reasons": outcome.reasons,
    }
