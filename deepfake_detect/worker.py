"""Judges files in processes of their own, one after another, under limits: a decoder's crash or hang costs one file.

    with Pool(options, workers=2) as pool:
        outcome = pool.judge(Job("clip.mp4"))       # from any thread; as many at a time as there are workers

A worker is spawned, loads the net once, then gives up what judging does not need (`confine`). The parent opens each file
and hands over the open file, so that what was checked is what is read. What comes back is JSON and never a pickle: a worker
that a hostile file has taken over can lie about that file, and do nothing else to its parent. A worker that dies is
replaced. A file is blamed for a worker's death only when that worker had judged no other before; else it gets a second try,
in a new one.
"""

from __future__ import annotations

import base64
import errno
import json
import logging
import math
import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache, partial
from multiprocessing import reduction, resource_tracker
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import cv2
import numpy as np

from . import checkpoint, draw, engine, media, verdict
from .compare import ERROR_RATES, ComparisonLabel, compare
from .confine import Limits, confine, fence, start_clock, stop_clock
from .errors import DeepfakeDetectError, MediaError, OptionsError, WeightsError, WorkerError
from .files import identity
from .interrupt import unbroken
from .options import EVERY_FRAME, Options, ReportOptions
from .report import to_dict
from .source import is_hunger, open_file
from .types import Effort, Face, FaceTrack, Failure, Kind, MediaInfo, Report, Score, ToolInfo, Verdict
from .watch import Watch
from .words import LANGUAGES, Words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from .faces import FaceFinder
    from .types import Exclusion

    # Judges the file of a name; tells the share that is done, 0 to 1.
    Judge = Callable[[str, Callable[[float], None]], Report]

log = logging.getLogger(__name__)
_T = TypeVar("_T")

_CROP_PX = 96
# Loading the net takes seconds; on a machine under load, or from a cold disk, many more.
_LOADING_S = 900
# As objects JSON takes some twenty times its room. A face in a frame is 350 bytes of it: a frame has room for more than a
# thousand, and what many frames may say together has an end.
_REST_BYTES, _FRAME_BYTES, _LARGEST_MESSAGE = 4 * 2**20, 2**19, 256 * 2**20
# What a worker may call an error: those of the file, and its own.
_KINDS = ("not_found", "not_a_file", "unreadable", "empty", "unsupported", "damaged", "too_large", "no_video", "no_frames",
          "timed_out", "out_of_memory", "internal", "report", "options", "weights")  # fmt: skip
_LONGEST_ERROR = 4096
# Of what a worker says. What is larger than any finding would be too much for those who keep it: rows, journals, databases.
_LARGEST_NUMBER, _LONGEST_TEXT = 1e18, 100_000
_SHA256 = "[0-9a-f]{64}"
_TELL_EVERY_S, _REAP_EVERY_S = 0.1, 0.01
# How often a file is tried, and each time a worker's start. Where memory was lacking for that comes a pause, then one twice
# as long: others may be done with theirs by then.
_TRIES, _STARTS, _PAUSE_S = 3, 3, 5
# Starting and reaping children is not safe from several threads at a time.
_children = threading.Lock()


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


class Pool:
    """Workers that judge. Use it in a `with` statement; closing it ends them at once.

    Args:
        options: Settings of every run.
        weights_folder: Folder with another manifest.json and its files; None for the one that ships.
        limits: For each file.
        workers: How many at most; each is started when it is first needed.
        prepare: Called once in each worker and gives what judges a file there; must be picklable. None for a `Detector`.

    Attributes:
        tool: What does the judging.
        limits: For each file.
        workers: How many at most.

    Raises:
        WeightsError: The weights' manifest is missing or does not fit.
    """

    def __init__(
        self,
        options: Options | None = None,
        *,
        weights_folder: Path | None = None,
        limits: Limits | None = None,
        workers: int = 1,
        prepare: Callable[[], Judge] | None = None,
    ) -> None:
        entry = checkpoint.find(folder=weights_folder)
        self.tool = entry.tool
        self.limits = limits or Limits()
        options = options or Options()
        self._prepare = prepare or partial(load, options, weights_folder)
        self._longest_answer = _longest_answer(options)
        self._watch = Watch()
        self.workers = self._free = max(1, workers)
        self._lock = threading.RLock()
        # A worker is free, or a job need not wait for one any longer.
        self._changed = threading.Condition(self._lock)
        self._idle: list[_Worker] = []
        self._running: dict[Job, _Worker | None] = {}
        self._cancelled: set[Job] = set()
        self._closed = False

    def judge(self, job: Job, *, progress: Callable[[Progress], None] | None = None) -> Outcome:
        """Judge one file; waits until a worker is free. Safe to call from several threads.

        Args:
            progress: Called from this thread; what it raises ends the job and comes out here.

        Returns:
            What came of it, whatever that is: what goes wrong with a file is part of its outcome.

        Raises:
            WeightsError: The weights can't be used.
            OptionsError: An option can't be had here.
            WorkerError: No worker can be started.
        """
        tell = progress or (lambda _: None)
        with self._lock:
            self._running[job] = None
        try:
            tell(Progress("waiting", 0.0))
            with _opened(job, self.limits) as descriptor, self._turn(job):
                return self._judge(job, descriptor, tell)
        except (MediaError, WorkerError) as error:
            if error.kind == "not_started":
                raise
            return self._failed(job, Failure(error.kind, str(error)))
        finally:
            with self._lock:
                del self._running[job]
                self._cancelled.discard(job)

    def cancel(self, job: Job) -> bool:
        """End a job, whether it runs or waits; its outcome says so.

        Returns:
            False where it is over, or was never begun.
        """
        with self._changed:
            if job not in self._running:
                return False
            self._cancelled.add(job)
            self._changed.notify_all()
            # In here, or it might be judging another's file by then.
            if (worker := self._running[job]) is not None:
                worker.kill()
            return True

    def close(self) -> None:
        """End all workers, and with them the jobs that run. An interrupt comes out when that is done."""
        unbroken(self._end_all)

    def _end_all(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            jobs, idle = list(self._running), list(self._idle)
        for job in jobs:
            self.cancel(job)
        for worker in idle:
            worker.end()
        self._watch.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _turn(self, job: Job) -> Iterator[None]:
        """While no more jobs are in here than there are workers; whoever is cancelled does not wait for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0 or job in self._cancelled or self._closed)
            self._free -= 1
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()

    def _judge(self, job: Job, descriptor: int, tell: Callable[[Progress], None]) -> Outcome:
        for attempt in range(_TRIES):
            worker = self._taken(job, tell)
            try:
                answer = worker.judge(job, descriptor, tell)
            except WorkerError as error:
                worker.end()
                self._check(job)
                # What it judged before may have left it in a bad way, and if it died in its sleep the file is no reason.
                innocent = worker.judged > 0 or not worker.begun or worker.paused
                over = error.kind == "timed_out" and not worker.paused
                if over or not innocent or attempt == _TRIES - 1:
                    return self._failed(job, Failure(error.kind, str(error)), worker.confinement)
                log.debug("%s: tried again after: %s", media.shown(job.path), error)
            except BaseException:
                worker.end()
                raise
            else:
                if worker.expired:
                    # Just as it answered: it is dead, and who comes next is no reason.
                    worker.end()
                else:
                    self._release(job, worker)
                return answer if isinstance(answer, Outcome) else self._failed(job, answer, worker.confinement)
        raise AssertionError("the last attempt returns or raises")

    def _taken(self, job: Job, tell: Callable[[Progress], None]) -> _Worker:
        """A worker for this job, the one that judged last if there is one: it is warm."""
        with self._lock:
            self._check(job)
            while self._idle:
                worker = self._idle.pop()
                if worker.writes_into == _written_below(self.limits):
                    self._running[job] = worker
                    return worker
                # It is held to a folder that was there before this one: no report of its would be written.
                worker.end()
        for attempt in range(_STARTS):
            try:
                return self._started(job, tell)
            except WorkerError as error:
                self._check(job)
                if attempt == _STARTS - 1:
                    raise
                log.debug("%s: a worker is started again after: %s", media.shown(job.path), error)
                if isinstance(error.__cause__, OSError) or getattr(error.__cause__, "kind", "") == "killed":
                    with self._changed:
                        self._changed.wait_for(lambda: job in self._cancelled or self._closed, _PAUSE_S * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _started(self, job: Job, tell: Callable[[Progress], None]) -> _Worker:
        """A new worker, which has loaded its net."""
        worker = _Worker(self._prepare, self.limits, self._watch, self._longest_answer)
        try:
            with self._lock:
                # Cancelled in the meantime, when there was nothing to end.
                self._check(job)
                self._running[job] = worker
            tell(Progress("loading", 0.0))
            worker.get_ready()
        except BaseException:
            worker.end()
            raise
        return worker

    def _release(self, job: Job, worker: _Worker) -> None:
        with self._lock:
            self._running[job] = None
            if not self._closed:
                self._idle.append(worker)
                return
        worker.end()

    def _check(self, job: Job) -> None:
        with self._lock:
            if job in self._cancelled or self._closed:
                raise WorkerError(f"{media.shown(job.path)}: was cancelled", kind="cancelled")

    def _failed(self, job: Job, failure: Failure, confinement: str = "") -> Outcome:
        return Outcome(to_dict(Report(job.path, self.tool, error=failure)), confinement)


def _longest_answer(options: Options) -> int:
    """So many bytes an honest worker says at most of a file."""
    frames = EVERY_FRAME if options.fps is not None else max(options.looks)
    return min(_REST_BYTES + frames * _FRAME_BYTES, _LARGEST_MESSAGE)


@contextmanager
def _opened(job: Job, limits: Limits) -> Iterator[int]:
    """The job's file, regular and not too large."""
    if job.descriptor is None:
        with open_file(job.path, follow=job.follow) as file:
            _check_size(job.path, file.fileno(), limits)
            yield file.fileno()
    else:
        _check_size(job.path, job.descriptor, limits)
        yield job.descriptor


def _check_size(path: str, descriptor: int, limits: Limits) -> None:
    size = os.fstat(descriptor).st_size
    if size > limits.file_bytes:
        raise MediaError(
            f"{media.shown(path)}: {size / 1e6:.0f} MB are more than {limits.file_bytes / 1e6:.0f} MB; raise the limit",
            kind="too_large",
        )


def _written_below(limits: Limits) -> object:
    """Which folder may be written to: another one of its name is another."""
    with suppress(OSError):
        return None if limits.written_below is None else identity(limits.written_below)
    return None


# In the parent, for each worker


class _Worker:
    """A process that judges, as its parent sees it.

    Raises:
        WorkerError: The system starts none.

    Attributes:
        ready: It has loaded its net.
        judged: How many files it has judged.
        begun: It has begun the present job.
        expired: It was killed because its time was over.
        confinement: What it gave up.
        writes_into: The folder that it is held to.
    """

    def __init__(self, prepare: Callable[[], Judge], limits: Limits, watch: Watch, longest_answer: int) -> None:
        self.ready, self.judged, self.begun, self.confinement = False, 0, False, ""
        self._limits, self._watch, self.expired = limits, watch, False
        self._longest_answer = longest_answer
        self.writes_into = _written_below(limits)
        try:
            self._connection, theirs = multiprocessing.Pipe()
            # Spawned: a fork would take along the parent's threads' locks, and its open files.
            self._process: BaseProcess = multiprocessing.get_context("spawn").Process(
                target=_work, args=(theirs, prepare, limits), daemon=True, name="deepfake-detect worker"
            )
            with theirs, _children, _deaf_to_interrupts():
                self._process.start()
        except OSError as error:
            found = f"a process that judges could not be started ({error.strerror}); try fewer workers"
            raise WorkerError(found, kind="not_started") from error

    def get_ready(self) -> None:
        """Wait until the net is loaded.

        Raises:
            WeightsError: The weights can't be used.
            OptionsError: An option can't be had here.
            WorkerError: It ended before.
        """
        with self._watch.at_most(_LOADING_S, self.expire):
            try:
                message = self._hear()
            except WorkerError as error:
                found = f"a process that judges could not be started: {error}"
                raise WorkerError(found, kind="not_started") from error
        if "failed" in message:
            kind, text = message["failed"]
            known = {"weights": WeightsError, "options": OptionsError}.get(kind)
            raise known(text) if known else WorkerError(text, kind="not_started")
        self.ready, self.confinement = True, str(message.get("ready"))

    def judge(self, job: Job, descriptor: int, tell: Callable[[Progress], None]) -> Outcome | Failure:
        """Have a file judged.

        Raises:
            WorkerError: The process ended, or ran out of time or memory.
        """
        self.begun = False
        with self._watch.at_most(self._limits.seconds, self.expire):
            try:
                self._connection.send_bytes(_packed(_to_json(job)))
                if os.name == "posix":
                    reduction.send_handle(self._connection, descriptor, self._process.pid)
                    if job.original is not None:
                        reduction.send_handle(self._connection, job.original.descriptor, self._process.pid)
            except (OSError, RuntimeError) as error:
                # RuntimeError on macOS: the descriptor was not acknowledged.
                raise self._death(job.path) from error
            while True:
                message = self._hear(job.path)
                self.begun = True
                try:
                    answer = _understood(message, job, self.confinement)
                except (KeyError, TypeError, ValueError) as error:
                    raise self._senseless(job.path) from error
                if not isinstance(answer, Progress):
                    break
                tell(answer)
        if isinstance(answer, Failure) and answer.kind == "out_of_memory":
            raise WorkerError(answer.message, kind=answer.kind)
        self.judged += 1
        return answer

    @property
    def paused(self) -> bool:
        """It was ended by its own clock, and not by who watches it, which comes first unless all of us are stopped."""
        return not self.expired and self._process.exitcode == -getattr(signal, "SIGALRM", math.inf)

    def kill(self) -> None:
        """End it at once. Whoever waits for its answer learns so."""
        self._process.kill()

    def expire(self) -> None:
        """Its time is over."""
        self.expired = True
        self._process.kill()

    def end(self) -> None:
        """End it, and leave nothing of it."""
        self._process.kill()
        self._reap()
        self._connection.close()

    def _hear(self, path: str = "") -> dict[str, Any]:
        try:
            data = self._connection.recv_bytes(self._longest_answer)
            message = json.loads(data, parse_constant=_refuse, parse_float=_finite)
        except (EOFError, OSError) as error:
            raise self._death(path) from error
        except (ValueError, RecursionError) as error:
            raise self._senseless(path) from error
        if not isinstance(message, dict):
            raise self._senseless(path)
        return message

    def _death(self, path: str) -> WorkerError:
        """Why it ended."""
        if not self._reap(5):
            # It lives, and does not speak as it should.
            return self._senseless(path)
        kind, found = _cause_of_death(
            self._process.exitcode, self._limits, expired=self.expired, loading=not self.ready
        )
        return WorkerError(f"{media.shown(path)}: {found}" if path else found, kind=kind)

    def _senseless(self, path: str) -> WorkerError:
        found = "the process that judged it gave a senseless answer; the file is damaged or hostile"
        return WorkerError(f"{media.shown(path)}: {found}", kind="crashed")

    def _reap(self, timeout_s: float | None = None) -> bool:
        """Whether it ends in time. Its end of the sentinel is no proof: a hostile one closes that and lives on."""
        until_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        multiprocessing.connection.wait([self._process.sentinel], timeout_s)
        while True:
            # Others wait for this one: in here nothing is waited for.
            with _children:
                if self._process.exitcode is not None or self._is_gone():
                    self._process.join()
                    return True
            if time.monotonic() >= until_s:
                return False
            time.sleep(_REAP_EVERY_S)

    def _is_gone(self) -> bool:
        """Whether somebody else has reaped it, as a program does that lets the system reap all that it starts."""
        assert self._process.pid is not None
        if os.name != "posix":
            return False
        try:
            os.kill(self._process.pid, 0)
        except OSError:
            return True
        return False


def _cause_of_death(code: int | None, limits: Limits, *, expired: bool, loading: bool) -> tuple[str, str]:
    """Kind and words for a worker's exit code."""
    number = -code if code is not None and code < 0 else 0
    if expired and loading:
        return "timed_out", f"took longer than {_LOADING_S:g} s to load its net and was stopped"
    if expired or number == getattr(signal, "SIGALRM", -1):
        return (
            "timed_out",
            f"took longer than {limits.seconds:g} s and was stopped; give it more time if it is worth it",
        )
    if number == getattr(signal, "SIGXCPU", -1):
        return "timed_out", f"took more than {limits.cpu_s:g} s of the processor and was stopped"
    if number == getattr(signal, "SIGKILL", -1):
        return "killed", "the process that judged it was killed from outside, most often for want of memory"
    if number:
        return "crashed", f"the process that judged it crashed ({_signal_name(number)}); the file is damaged or hostile"
    return "crashed", f"the process that judged it ended with status {code}; the file is damaged or hostile"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """A process started in here never sees Ctrl-C, not even before it can say that it does not care: its parent ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Started in time, for it lets interrupts through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _to_json(job: Job) -> dict[str, Any]:
    return {
        "path": job.path,
        "crop": job.crop,
        "report": None if job.report is None else os.fspath(job.report),
        "report_called": job.report_called,
        "report_options": asdict(job.report_options),
        "lies_at": os.fspath(job.lies_at or job.path),
        "original": job.original and {"path": job.original.path, "lies_at": os.fspath(job.original.lies_at)},
    }


def _packed(message: dict[str, Any]) -> bytes:
    # ASCII, so that halves of surrogate pairs, which stand for names that are no text, come through.
    return json.dumps(message, allow_nan=False).encode("ascii")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value


def _understood(message: dict[str, Any], job: Job, confinement: str) -> Progress | Failure | Outcome:
    """What a worker said, checked: it may have been taken over. Of a record nothing goes on but what belongs there.

    Raises:
        KeyError, TypeError, ValueError: It makes no sense.
    """
    if "stage" in message:
        stage, done = message["stage"], _number(message["done"])
        if stage not in ("judging", "writing"):
            raise ValueError(f"expected a stage, found {stage!r}")
        return Progress(stage, min(max(done, 0.0), 1.0))
    if "error" in message:
        kind, text = (str(part)[:_LONGEST_ERROR] for part in message["error"])
        if kind not in _KINDS:
            raise ValueError(f"expected a kind of error, found {kind!r}")
        return Failure(kind, text.encode("utf-8", "replace").decode())
    said = message["record"]
    if job.original is not None:
        record = _comparison(said, job.path, job.original.path)
    else:
        record = to_dict(_report(said, job.path))
    reasons = {language: _text(message["reasons"][language]) for language in LANGUAGES}
    crop = base64.b64decode(message["crop"], validate=True)
    if crop and not crop.startswith(b"\xff\xd8\xff"):
        raise ValueError("the crop is no JPEG")
    return Outcome(record, confinement, reasons, crop)


def _number(value: object, least: float = -_LARGEST_NUMBER, most: float = _LARGEST_NUMBER) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise ValueError(f"expected a number from {least:g} to {most:g}")
    return float(value)


def _whole(value: object, least: float = 0, most: float = _LARGEST_NUMBER) -> int:
    if not isinstance(value, int):
        raise TypeError(f"expected a whole number, found {type(value).__name__}")
    _number(value, least, most)
    return value


def _whether(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"expected true or false, found {type(value).__name__}")
    return value


def _text(value: object, pattern: str = "") -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or (pattern and not re.fullmatch(pattern, value)):
        raise ValueError(f"expected text {pattern}")
    # Halves of surrogate pairs can be written nowhere.
    return value.encode("utf-8", "replace").decode()


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list of texts, found {type(value).__name__}")
    return [_text(text) for text in value]


def _if_any(value: object, check: Callable[..., _T], *limits: Any) -> _T | None:
    return None if value is None else check(value, *limits)


def _report(said: dict[str, Any], path: str) -> Report:
    """The report that a worker's record was made of, as far as it is in there."""
    info, found = said["media"], said["verdict"]
    if info["kind"] not in get_args(Kind):
        raise ValueError("expected a picture or a video")
    return Report(
        path=path,
        tool=ToolInfo(**{field.name: _text(said["tool"][field.name]) for field in fields(ToolInfo)}),
        media=MediaInfo(
            path,
            info["kind"],
            _whole(info["size_bytes"]),
            _text(info["sha256"], _SHA256),
            width=_whole(info["width"], 1, 2**31),
            height=_whole(info["height"], 1, 2**31),
            duration_s=_if_any(info["duration_s"], _number, 0, 1e9),
            fps=_if_any(info["fps"], _number),
            codec=_text(info["codec"]),
            container=_if_any(info["container"], _text),
            start_s=_if_any(info["start_s"], _number),
        ),
        sampled_times_s=tuple(_number(time_s) for time_s in info["sampled_times_s"]),
        effort=_if_any(said["effort"], _effort),
        verdict=Verdict(
            found["label"],
            _if_any(found["probability"], _number),
            _if_any(found["likelihood_ratio"], _number, 0),
            _text(found["reason"]),
            _interval(found["probability_interval"]),
        ),
        tracks=tuple(_track(track) for track in said["tracks"]),
        warnings=tuple(_texts(said["warnings"])),
        timing_s={_text(stage): _number(seconds) for stage, seconds in dict(said["timing_s"]).items()},
    )


def _track(said: dict[str, Any]) -> FaceTrack:
    return FaceTrack(
        _whole(said["id"], 1),
        tuple(_score(face) for face in said["faces"]),
        _if_any(said["logit"], _number),
        _if_any(said["probability"], _number, 0, 1),
        _interval(said["probability_interval"]),
    )


def _effort(said: dict[str, Any]) -> Effort:
    looks = tuple(_whole(count, 1) for count in said["looks"])
    return Effort(_whole(said["available"], 1), looks, _whether(said["settled"]))


def _score(said: dict[str, Any]) -> Score:
    left, top, right, bottom = (_number(edge) for edge in said["box"])
    landmarks = tuple((_number(x), _number(y)) for x, y in said["landmarks"])
    face = Face((left, top, right, bottom), landmarks, _number(said["detector_confidence"], 0, 1))
    logit = _if_any(said["logit"], _number)
    # Why it does not vote is in the warnings, and in no record.
    why: Exclusion | None = "too_uncertain" if logit is None else None
    return Score(_number(said["time_s"]), face, _number(said["quality"], 0, 1), why, logit)


def _interval(said: object) -> tuple[float, float] | None:
    if said is None:
        return None
    if not isinstance(said, list) or len(said) != 2:
        raise TypeError("expected the ends of an interval")
    return _number(said[0], 0, 1), _number(said[1], 0, 1)


def _comparison(said: dict[str, Any], suspect: str, original: str) -> dict[str, Any]:
    """What a worker said about a pair, in the same way: see `Comparison.to_dict`."""
    if said["label"] not in get_args(ComparisonLabel):
        raise ValueError("expected a label of a comparison")
    return {
        "schema": "deepfake-detect/compare/1",
        "label": said["label"],
        "score": _if_any(said["score"], _number),
        "likelihood_ratio": _if_any(said["likelihood_ratio"], _number, 0),
        "reason": _text(said["reason"]),
        "suspect": {"path": suspect, "sha256": _text(said["suspect"]["sha256"], _SHA256)},
        "original": {"path": original, "sha256": _text(said["original"]["sha256"], _SHA256)},
        "time_s": _if_any(said["time_s"], _number),
        "mirrored": _if_any(said["mirrored"], _whether),
        "frame_matches": _if_any(said["frame_matches"], _whether),
        "faces_compared": _whole(said["faces_compared"]),
        # Those of this way of comparing, and no finding.
        "error_rates": asdict(ERROR_RATES),
        "warnings": _texts(said["warnings"]),
    }


# In the worker


def load(options: Options, weights_folder: Path | None) -> Judge:
    """A detector that keeps to one thread, for there is a worker for each core."""
    from .detector import Detector

    cv2.setNumThreads(1)
    detector = Detector(replace(options, threads=1), weights_folder=weights_folder)
    if detector.options.engine == "torch":
        import torch

        torch.set_num_threads(1)
    # What is loaded at first use is loaded now, while it may be.
    detector.detect(np.full((160, 160, 3), 127, np.uint8))
    return lambda source, tell: detector.detect(source, progress=tell)


def _work(connection: Connection, prepare: Callable[[], Judge], limits: Limits) -> None:
    """The life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _leave_terminal()
    _mute()
    try:
        # Before there is any other thread: it holds for those that are started after it.
        fenced = fence(limits)
        _die_with_parent()
        judge = prepare()
        confinement = "landlock+" * fenced + confine(limits)
    except DeepfakeDetectError as error:
        connection.send_bytes(_packed({"failed": [error.kind, str(error)]}))
        return
    except Exception as error:
        found = f"a process that judges could not be started ({type(error).__name__}: {error})"
        connection.send_bytes(_packed({"failed": ["not_started", found]}))
        return
    connection.send_bytes(_packed({"ready": confinement}))
    while True:
        try:
            job = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        sources = [each["lies_at"] for each in (job, job["original"]) if each is not None]
        descriptors = []
        if os.name == "posix":
            descriptors = [reduction.recv_handle(connection) for _ in sources]
            for descriptor in descriptors:
                os.lseek(descriptor, 0, os.SEEK_SET)
            sources = [f"/dev/fd/{descriptor}" for descriptor in descriptors]
        start_clock(limits)
        answer = _answer(judge, job, sources, _teller(connection))
        stop_clock()
        for descriptor in descriptors:
            os.close(descriptor)
        connection.send_bytes(answer)


def _answer(judge: Judge, job: dict[str, Any], sources: list[str], tell: Callable[[str, float], None]) -> bytes:
    path = job["path"]
    try:
        tell("judging", 0.0)
        if job["original"] is not None:
            return _packed(_compared(job, sources, partial(tell, "judging")))
        judged = judge(sources[0], partial(tell, "judging"))
        judged = replace(judged, path=path, media=judged.media and replace(judged.media, path=path))
        if job["report"] is not None:
            tell("writing", 0.0)
            replace(judged, path=job["lies_at"]).save(
                job["report"],
                options=ReportOptions(**job["report_options"]),
                name=None if job["lies_at"] == path else path,
                called=job["report_called"],
                progress=partial(tell, "writing"),
            )
        return _packed({
            "record": to_dict(judged),
            "reasons": {language: verdict.reason(judged, Words(language)) for language in LANGUAGES},
            "crop": base64.b64encode(_crop(judged) if job["crop"] else b"").decode("ascii"),
        })  # fmt: skip
    except Exception as error:
        kind, found = "internal", f"{media.shown(path)}: internal error ({type(error).__name__}); please report it"
        # FFmpeg says so (EAGAIN) where the limit on memory leaves no room for an encoder's threads.
        if is_hunger(error) or isinstance(error, BlockingIOError):
            kind, found = "out_of_memory", f"{media.shown(path)}: needs more memory than the limit allows"
        elif isinstance(error, DeepfakeDetectError):
            kind, found = error.kind, _with_names(str(error), job, sources)
        elif isinstance(error, OSError) and job["report"] is not None:
            kind = "report"
            found = f"{media.shown(path)}: its report can't be written ({error.strerror}); check the folder"
        return _packed({"error": [kind, found]})


def _with_names(message: str, job: dict[str, Any], sources: list[str]) -> str:
    """An error's words with what the files are called in place of where they are."""
    files = [each for each in (job, job["original"]) if each is not None]
    for source, file in zip(sources, files, strict=True):
        for place in (source, media.shown(file["lies_at"])):
            message = message.replace(place, media.shown(file["path"]))
    return message


def _compared(job: dict[str, Any], sources: list[str], tell: Callable[[float], None]) -> dict[str, Any]:
    suspect, original = sources
    found = compare(suspect, original, finder=_face_finder(), progress=tell)
    picture = b""
    if job["crop"] and found.match is not None:
        drawn = found.picture(language=ReportOptions(**job["report_options"]).language)
        picture = cv2.imencode(".jpg", drawn[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 90))[1].tobytes()
    said = {
        language: " ".join([found.explain(words), *found.warnings(words), found.explain_errors(words)]).strip()
        for language, words in _every_language()
    }
    return {"record": found.to_dict(), "reasons": said, "crop": base64.b64encode(picture).decode("ascii")}


def _every_language() -> list[tuple[str, Words]]:
    return [(language, Words(language)) for language in LANGUAGES]


@cache
def _face_finder() -> FaceFinder:
    options = Options(threads=1)
    return engine.face_finder(engine.choose(options), smallest_px=options.min_face_px)


def _teller(connection: Connection) -> Callable[[str, float], None]:
    """Tells the parent how far a job is, when a stage begins and then not too often."""
    last = ("", 0.0)

    def tell(stage: str, done: float) -> None:
        nonlocal last
        now = time.monotonic()
        if stage != last[0] or now - last[1] >= _TELL_EVERY_S:
            last = (stage, now)
            connection.send_bytes(_packed({"stage": stage, "done": done}))

    return tell


def _crop(judged: Report) -> bytes:
    track = verdict.deciding(judged.tracks)
    views = draw.telling(track, 1) if track else []
    if not views or views[0].heatmap is None:
        return b""
    small = cv2.resize(views[0].heatmap.crop.pixels, (_CROP_PX, _CROP_PX), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 80))
    return data.tobytes()


def _leave_terminal() -> None:
    """What is typed into a terminal by a process that it controls, its shell would run after us."""
    if sys.platform == "win32":
        return
    import fcntl
    import termios

    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
        try:
            # Not by a session of its own, for what is sent to the group, as by Ctrl-Z, has to stop us, too.
            fcntl.ioctl(terminal, termios.TIOCNOTTY)
        finally:
            os.close(terminal)
    except OSError as error:
        # Where there is none, all is well; where it can't be got at, it has to be left that way after all.
        if error.errno != errno.ENXIO:
            os.setsid()


def _mute() -> None:
    """What decoders print may be the file's own words, with marks that a terminal obeys.

    Nor is anything told to the process that removes what ours forget: it prints what it does not understand, and removes
    whatever of the user's it is told to.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    heard = resource_tracker.getfd() if os.name == "posix" else None
    for descriptor in (0, 1, 2, heard):
        if descriptor is not None:
            os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _die_with_parent() -> None:
    """Nobody is left to hear the answer, nor to stop us."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
