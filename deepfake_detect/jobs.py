"""What a server was asked to judge, in order, and what came of it: in SQLite and folders, judged by workers, gone in time.

    jobs.sqlite         a row each
    <id>/media          what was sent; its name is in the row, and is never a path
    <id>/picture.jpg    of a comparison: both faces and their difference
    reports/<id>/       the report, see `dossier`: all that a worker may write to

A row is there once its file is, so that a server that is killed loses nothing it had taken. What runs then is judged again.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import re
import secrets
import shutil
import sqlite3
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from . import media
from .errors import DeepfakeDetectError, OptionsError, WorkerError
from .files import write_atomically
from .options import ReportOptions
from .report import to_dict
from .types import Failure, Report
from .worker import Job, Original, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .worker import Pool, Progress

log = logging.getLogger(__name__)

Status = Literal["queued", "running", "done", "failed", "cancelled"]
Contents = Literal["report", "record"]
#: A job that cost the server its life so often is not tried again.
MOST_STARTS = 3
#: Without `keep_s` what is done goes after so many seconds, if nobody let it go before.
UNASKED_S = 3600
_DATABASE = "jobs.sqlite"
#: Below the folder of jobs: where workers write.
REPORTS = "reports"
# As `secrets.token_urlsafe(16)` makes them; nothing else in the folder is touched.
_ID = re.compile(r"[\w-]{22}", re.ASCII)
_OVER = ("done", "failed", "cancelled")
# "dfdj": a database of this module, and how its table is laid out.
_APPLICATION, _LAYOUT = 0x6466646A, 2
_TABLE = """
CREATE TABLE jobs (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, suspect TEXT, page TEXT NOT NULL,
                   name TEXT NOT NULL, size_bytes INTEGER NOT NULL, language TEXT NOT NULL, contents TEXT NOT NULL,
                   status TEXT NOT NULL, starts INTEGER NOT NULL, created_s REAL NOT NULL, started_s REAL, ended_s REAL,
                   label TEXT, record TEXT, reasons TEXT, confinement TEXT);
CREATE INDEX by_status ON jobs (status, number);
CREATE INDEX by_page ON jobs (page, number);
CREATE INDEX by_suspect ON jobs (suspect)
"""
_COLUMNS = ("number", "id", "suspect", "page", "name", "size_bytes", "language", "contents", "status", "starts",
            "created_s", "started_s", "ended_s", "label", "record", "reasons", "confinement")  # fmt: skip
# Without what is large, unless that says why nothing came of it.
_BRIEF = tuple({"record": "iif(status = 'done', NULL, record)", "reasons": "NULL"}.get(name, name) for name in _COLUMNS)
# While jobs run, what was written of deleted ones is wiped less often: everything waits meanwhile.
_SWEEP_EVERY_S, _WIPE_EVERY_S, _BUSY_WIPE_EVERY_S = 10, 1, 10
# Threads beyond one for each worker: they have the next jobs ready when a worker is.
_READY = 2
# Shorter jobs teach nothing about how long writing a report takes.
_TELLING_S = 3.0
_LEAST_FREE_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Ticket:
    """A job as it stands.

    Attributes:
        number: Later ones have larger numbers.
        id: What it is asked for by; nobody can guess it.
        suspect: Of a comparison, the job whose file is compared.
        page: Whose visit it belongs to; empty for programs.
        name: What its sender calls the file.
        size_bytes: Of the file.
        language: Of its report.
        contents: Whether it makes a whole report or its record alone.
        status: One of `Status`.
        created_s, started_s, ended_s: Unix time; None for what has not happened.
        label: Of the verdict, or of the comparison.
        record: What came of it: the contract `deepfake-detect/1`, or `deepfake-detect/compare/1`; None where it was not
            asked for, either.
        reasons: The reason by language, likewise.
        confinement: What held in its worker.
    """

    number: int
    id: str
    suspect: str | None
    page: str
    name: str
    size_bytes: int
    language: str
    contents: Contents
    status: Status
    starts: int
    created_s: float
    started_s: float | None
    ended_s: float | None
    label: str | None
    record: dict[str, Any] | None
    reasons: dict[str, str]
    confinement: str

    @property
    def over(self) -> bool:
        """Nothing more will come of it."""
        return self.status in _OVER

    @property
    def error(self) -> Failure | None:
        """Why nothing came of it."""
        found = (self.record or {}).get("error")
        return found and Failure(str(found["kind"]), str(found["message"]))


@dataclass(frozen=True)
class Standing:
    """How far a job is.

    Attributes:
        stage: `queued`, `loading`, `judging` or `writing`; empty once it is over.
        progress: Share that is done, 0 to 1.
        seconds_left: About how long it still takes; None where nothing can be said yet.
        ahead: How many wait in front of it.
    """

    stage: str
    progress: float
    seconds_left: float | None
    ahead: int = 0


class FullError(Exception):
    """So many wait already that no more are taken.

    Args:
        retry_after_s: When there will be room, about.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("the queue is full")
        self.retry_after_s = retry_after_s


@dataclass
class _Live:
    """A job that runs, or is ready for the next worker: how far it is, and since when."""

    job: Job | None = None
    stage: str = "loading"
    done: float = 0.0
    # When a worker had it; None while none has.
    taken_s: float | None = None
    # When judging and writing began.
    began_s: dict[str, float] = field(default_factory=dict)


class Jobs:
    """The jobs of a server. Safe to use from several threads; one process at a time has a folder.

    Args:
        folder: Where they lie; made when missing, for its owner alone.
        pool: Judges them.
        workers: How many at a time.
        keep_s: How long what is done is kept, seconds, over a restart too; None to keep nothing longer than needed, and
            nothing once this is closed.
        most_waiting: Of all that wait, so many are taken.

    Raises:
        OptionsError: The folder can't be used: it is somebody else's, of another program, in use, or holds what is kept
            while nothing is to be.
    """

    def __init__(
        self, folder: Path, pool: Pool, *, workers: int = 1, keep_s: float | None = None, most_waiting: int = 100
    ) -> None:
        self.folder, self.keep_s = folder, keep_s
        self._pool, self._workers, self._most_waiting = pool, max(1, workers), most_waiting
        # One lock for everything that changes; `_changed` tells of it.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._live: dict[str, _Live] = {}
        # The number of the last that was made ready.
        self._last = 0
        self._stopped: set[str] = set()
        # Being deleted: who waits for one of them learns that it is gone, and not that it was cancelled on the way.
        self._doomed: set[str] = set()
        self._awaited: dict[str, set[Future[None]]] = {}
        self._reserved: set[str] = set()
        self._closed = False
        # Rows were deleted, and what was written of them is still there.
        self._unwiped = False
        # How long a job takes here, and how much longer writing takes than judging: the annotated copy of a video.
        self._mean_s = 0.0
        self._ratio: float | None = None
        self.counts: dict[str, int] = dict.fromkeys(_OVER, 0)
        self.seconds = 0.0
        _make_private(folder)
        self._reports = folder / REPORTS
        self._reports.mkdir(mode=0o700, exist_ok=True)
        self._open(folder / _DATABASE)
        self._threads = [
            threading.Thread(target=self._work, name="jobs", daemon=True) for _ in range(self._workers + _READY)
        ]
        self._threads.append(threading.Thread(target=self._sweep, name="sweep", daemon=True))

    def start(self) -> None:
        """Begin to judge."""
        for thread in self._threads:
            thread.start()

    # Asking

    @contextmanager
    def room(self, size_bytes: int = 0) -> Iterator[str]:
        """A place for one more, and the id it will have; its folder is there, and goes again if nothing is added.

        Raises:
            FullError: Too many wait.
            OSError: The disk is nearly full.
        """
        name = secrets.token_urlsafe(16)
        with self._lock:
            if self._count("queued") + len(self._reserved) >= self._most_waiting:
                # When half of what waits will be done: there is enough to do until then, and asking in vain costs time.
                half_s = self._mean_s * self._most_waiting / self._workers / 2
                raise FullError(max(1, min(60, math.ceil(half_s))))
            self._reserved.add(name)
        place = self.folder / name
        try:
            self.check_space(size_bytes)
            place.mkdir(mode=0o700)
            yield name
        finally:
            with self._lock:
                self._reserved.discard(name)
                if self.get(name) is None:
                    shutil.rmtree(place, ignore_errors=True)

    def check_space(self, size_bytes: int = 0) -> None:
        """
        Args:
            size_bytes: Of what is still to be written.

        Raises:
            OSError: The disk is nearly full, or would be.
        """
        if shutil.disk_usage(self.folder).free - size_bytes < _LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, "hardly any space is left", str(self.folder))

    def file_of(self, name: str) -> Path:
        """Where the file of a job lies, by its id."""
        return self.folder / name / "media"

    def report_of(self, name: str) -> Path:
        """The folder of a job's report, by its id, whether it is there or not.

        Raises:
            FileNotFoundError: A link lies in its place, which can only be a worker's that was taken over.
        """
        path = self._reports / name
        if path.is_symlink():
            raise FileNotFoundError(2, "a link in place of a report", str(path))
        return path

    def add(
        self,
        name: str,
        *,
        called: str,
        page: str = "",
        language: str = "en",
        contents: Contents = "report",
        suspect: str | None = None,
    ) -> Ticket:
        """Take a job whose file lies at `file_of`.

        Args:
            name: The id that `room` gave.
            called: What the file is called.
            page: Whose visit it belongs to.
            language: Of its report.
            contents: What it makes.
            suspect: The job with whose file this one, an innocent photo, is compared.

        Raises:
            KeyError: There is no such suspect.
        """
        size = self.file_of(name).stat().st_size
        with self._changed:
            if suspect is not None and self.get(suspect) is None:
                raise KeyError(suspect)
            self._db.execute(
                "INSERT INTO jobs (id, suspect, page, name, size_bytes, language, contents, status, starts, created_s)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 'queued', 0, ?)",
                [
                    name,
                    suspect,
                    page,
                    called.encode("utf-8", "replace").decode(),
                    size,
                    language,
                    contents,
                    time.time(),
                ],
            )
            self._changed.notify_all()
            found = self.get(name)
        assert found is not None
        return found

    def get(self, name: str, *, whole: bool = False) -> Ticket | None:
        """The job of this id; with all that came of it if `whole`."""
        return next(self._find("id = ?", name, whole=whole), None)

    def of_page(self, page: str, *, whole: bool = False) -> list[Ticket]:
        """The jobs of a visit, in order."""
        return list(self._find("page = ?", page, whole=whole)) if page else []

    def comparisons(self, name: str) -> list[Ticket]:
        """Of the file of this job, in order."""
        return list(self._find("suspect = ?", name, whole=True))

    def standing(self, ticket: Ticket) -> Standing:
        """How far it is."""
        with self._lock:
            if ticket.over:
                return Standing("", 1.0, 0.0)
            live = self._live.get(ticket.id)
            if live is not None and live.taken_s is not None:
                return self._judge_standing(live, ticket, time.monotonic())
            query = "SELECT count(*) FROM jobs WHERE status = 'queued' AND number < ?"
            (ahead,) = self._db.execute(query, [ticket.number]).fetchone()
            left = self._mean_s * (ahead // self._workers + 2) if self._mean_s else None
            return Standing("queued", 0.0, left, ahead)

    def when_over(self, name: str) -> Future[None]:
        """Done as soon as the job of this id is over or gone. Whoever no longer waits for it cancels it."""
        found = Future[None]()
        with self._lock:
            ticket = self.get(name)
            if ticket is None or ticket.over:
                found.set_result(None)
            else:
                self._awaited.setdefault(name, set()).add(found)
                found.add_done_callback(partial(self._no_longer_awaited, name))
        return found

    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return self._count("queued")

    def running(self) -> int:
        """How many are being judged."""
        with self._lock:
            return sum(live.taken_s is not None for live in self._live.values())

    def let_go(self) -> None:
        """Nobody waits any longer for a job to be over."""
        with self._lock:
            for name in list(self._awaited):
                self._tell_over(name)

    # Letting go

    def cancel(self, name: str) -> bool:
        """End a job; False where it was over, or is not there.

        Raises:
            sqlite3.Error: The disk is full, and it waits on.
        """
        with self._changed:
            ticket = self.get(name)
            if ticket is None or ticket.over:
                return False
            live = self._live.get(name)
            if live is None:
                self._end(name, "cancelled", self._failure(ticket, "cancelled", "was cancelled"))
            else:
                self._stopped.add(name)
                if live.job is not None:
                    self._pool.cancel(live.job)
            return True

    def delete(self, name: str) -> bool:
        """End a job, and forget it, its file and all that came of it; False where it is not there.

        Raises:
            sqlite3.Error: The disk is full. What was sent and made is gone nevertheless, and its row is still there.
        """
        self._delete_all(self.comparisons(name))
        with self._changed:
            if self.get(name) is None:
                return False
            self._doomed.add(name)
            # What can't be marked as cancelled is deleted all the same.
            with suppress(sqlite3.Error):
                self.cancel(name)
            self._changed.wait_for(lambda: name not in self._live, 10)
        try:
            self._strike(name)
        except sqlite3.Error:
            # What lies here makes room for what is to be written of its end.
            self._clear(name)
            self._strike(name)
        finally:
            with self._lock:
                self._doomed.discard(name)
                self._tell_over(name)
        # What was being sent meanwhile; from here on it finds no suspect.
        self._delete_all(self.comparisons(name))
        self._clear(name)
        return True

    def delete_page(self, page: str) -> None:
        """Forget all jobs of a visit."""
        self._delete_all(self.of_page(page))

    def _delete_all(self, tickets: list[Ticket]) -> None:
        """Forget these, one after another: one that can't be forgotten yet keeps no other."""
        for ticket in tickets:
            try:
                self.delete(ticket.id)
            except sqlite3.Error as error:
                log.warning("%s: %s; the row of a job is deleted later", self.folder, error)

    def _strike(self, name: str) -> None:
        with self._lock:
            self._db.execute("DELETE FROM jobs WHERE id = ?", [name])
            self._live.pop(name, None)
            self._unwiped = True

    def close(self) -> None:
        """End what runs; what is not to be kept is gone after this."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            running = [live.job for live in self._live.values() if live.job is not None]
        for job in running:
            self._pool.cancel(job)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        with self._lock:
            self._db.execute("UPDATE jobs SET status = 'queued', starts = starts - 1 WHERE status = 'running'")
            self._db.close()
        if self.keep_s is None:
            self._empty()

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The database

    def _open(self, path: Path) -> None:
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
            with ExitStack() as undo:
                undo.callback(self._db.close)
                # Before WAL, which then needs no shared memory; and nobody else can have it.
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                (application,) = self._db.execute("PRAGMA application_id").fetchone()
                (layout,) = self._db.execute("PRAGMA user_version").fetchone()
                (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
                if tables and (application, layout) != (_APPLICATION, _LAYOUT):
                    raise sqlite3.DatabaseError("a database of another program or version")
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.execute("PRAGMA secure_delete = ON")
                if not tables:
                    self._db.executescript(
                        f"BEGIN; PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_LAYOUT}; {_TABLE}; COMMIT"
                    )
                self._take_up()
                undo.pop_all()
        except sqlite3.OperationalError as error:
            found = f"{self.folder}: is in use by another server, or can't be written ({error}); give another --data"
            raise OptionsError(found) from error
        except sqlite3.DatabaseError as error:
            raise OptionsError(f"{path}: can't be used ({error}); give another --data") from error

    def _take_up(self) -> None:
        """What an earlier server left: judged again if it was to be kept, else gone.

        Raises:
            OptionsError: It was to be kept, and now nothing is.
        """
        # An empty table says that what is done was to outlive the server: the layout stays what it was.
        (kept,) = self._db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'kept'").fetchone()
        (count,) = self._db.execute("SELECT count(*) FROM jobs").fetchone()
        if self.keep_s is not None:
            self._db.execute("CREATE TABLE IF NOT EXISTS kept (empty)")
        elif kept and count:
            found = f"{self.folder}: holds what an earlier server was to keep; give --keep again, or another --data"
            raise OptionsError(found)
        else:
            self._db.execute("DROP TABLE IF EXISTS kept")
            self._unwiped |= self._db.execute("DELETE FROM jobs").rowcount > 0
        self._db.execute("UPDATE jobs SET status = 'queued' WHERE status = 'running'")
        self._clear_unknown()
        for ticket in list(self._find("status = 'queued' AND starts >= ?", MOST_STARTS)):
            found = f"ended the server {MOST_STARTS} times and is not tried again"
            self._end(ticket.id, "failed", self._failure(ticket, "killed", found))

    def _own_names(self) -> set[str]:
        """The ids of which something lies here."""
        places = (*self.folder.iterdir(), *self._reports.iterdir())
        return {path.name for path in places if _ID.fullmatch(path.name)}

    def _clear(self, name: str) -> None:
        """Delete what lies here of a job."""
        for path in (self.folder / name, self._reports / name):
            if path.is_symlink():
                path.unlink(missing_ok=True)
            else:
                shutil.rmtree(path, ignore_errors=True)

    def _clear_unknown(self) -> None:
        """Delete what belongs to no job: left by a server that was killed, or in use when its job was deleted."""
        for name in self._own_names():
            with self._lock:
                if name not in self._reserved and self.get(name) is None:
                    self._clear(name)

    def _empty(self) -> None:
        for name in self._own_names():
            self._clear(name)
        with suppress(OSError):
            self._reports.rmdir()
        for ending in ("", "-wal", "-shm", "-journal"):
            (self.folder / f"{_DATABASE}{ending}").unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _find(self, condition: str, *values: object, whole: bool = False) -> Iterator[Ticket]:
        with self._lock:
            query = f"SELECT {', '.join(_COLUMNS if whole else _BRIEF)} FROM jobs WHERE {condition} ORDER BY number"
            rows = self._db.execute(query, values).fetchall()
        for row in rows:
            known = dict(zip(_COLUMNS, row, strict=True))
            known["record"] = json.loads(known["record"]) if known["record"] else None
            known["reasons"] = json.loads(known["reasons"]) if known["reasons"] else {}
            yield Ticket(**{**known, "confinement": known["confinement"] or ""})

    def _count(self, status: Status) -> int:
        (count,) = self._db.execute("SELECT count(*) FROM jobs WHERE status = ?", [status]).fetchone()
        return int(count)

    def _end(self, name: str, status: Status, outcome: Outcome) -> None:
        label = (outcome.record.get("verdict") or outcome.record).get("label")
        with self._changed:
            self._db.execute(
                "UPDATE jobs SET status = ?, ended_s = ?, label = ?, record = ?, reasons = ?, confinement = ? WHERE id = ?",
                [status, time.time(), label, json.dumps(outcome.record, allow_nan=False), json.dumps(outcome.reasons),
                 outcome.confinement, name],
            )  # fmt: skip
            self.counts[status] += 1
            self._changed.notify_all()
            self._tell_over(name)

    def _tell_over(self, name: str) -> None:
        if name in self._doomed:
            return
        for one in self._awaited.pop(name, set()):
            if one.set_running_or_notify_cancel():
                one.set_result(None)

    def _no_longer_awaited(self, name: str, one: Future[None]) -> None:
        with self._lock:
            left = self._awaited.get(name, set())
            left.discard(one)
            if not left:
                self._awaited.pop(name, None)

    def _failure(self, ticket: Ticket, kind: str, found: str) -> Outcome:
        message = f"{media.shown(ticket.name)}: {found}"
        return Outcome(to_dict(Report(ticket.name, self._pool.tool, error=Failure(kind, message))))

    # Judging

    def _work(self) -> None:
        """The life of a thread that has jobs judged, one after another."""
        while (ticket := self._insist(self._next)) is not None:
            try:
                outcome = self._judged(ticket)
            except DeepfakeDetectError as error:
                outcome = self._failure(ticket, error.kind, str(error).removeprefix(f"{media.shown(ticket.name)}: "))
            except Exception as error:
                log.debug("internal error", exc_info=True)
                outcome = self._failure(
                    ticket, "internal", f"internal error ({type(error).__name__}); please report it"
                )
            self._insist(partial(self._finish, ticket, outcome, time.monotonic()))

    def _insist(self, act: Callable[[], Ticket | None]) -> Ticket | None:
        """What it returns, tried again as long as the database can't be written: the disk may be full for a while. None
        when this is closed."""
        while True:
            try:
                return act()
            except sqlite3.Error as error:
                log.warning("%s: %s; tried again in a second", self.folder, error)
                with self._changed:
                    if self._changed.wait_for(lambda: self._closed, 1):
                        return None

    def _next(self) -> Ticket | None:
        """The next job, once there is one; None when this is closed. It is queued until a worker has it."""
        with self._changed:
            while not self._closed:
                ticket = next(self._find("number = (SELECT min(number) FROM jobs WHERE status = 'queued' AND number > ?)",
                                         self._last), None)  # fmt: skip
                if ticket is not None:
                    self._last = ticket.number
                    self._live[ticket.id] = _Live()
                    return ticket
                self._changed.wait()
        return None

    def _begin(self, ticket: Ticket, live: _Live) -> None:
        """A worker has it."""
        with self._lock:
            live.taken_s = time.monotonic()
            query = "UPDATE jobs SET status = 'running', starts = starts + 1, started_s = ? WHERE id = ?"
            try:
                self._db.execute(query, [time.time(), ticket.id])
            except sqlite3.Error as error:
                # Its seconds are counted already; what comes of it is written as soon as there is room.
                log.warning("%s: %s; a job is judged that seems to wait", self.folder, error)

    def _judged(self, ticket: Ticket) -> Outcome:
        language = ReportOptions(language=ticket.language)
        own = self.file_of(ticket.id)
        with ExitStack() as opened:
            descriptor = opened.enter_context(media.open_file(own, follow=False)).fileno()
            if ticket.suspect is None:
                report = self.report_of(ticket.id) if ticket.contents == "report" else None
                if report is not None:
                    self._check_space_for_report(ticket)
                    # Of an earlier start, perhaps by another version.
                    shutil.rmtree(report, ignore_errors=True)
                return self._in_pool(
                    ticket, Job(ticket.name, descriptor, report=report, report_options=language, lies_at=own)
                )
            suspect = self.get(ticket.suspect)
            if suspect is None:
                raise WorkerError("the file to compare with is gone", kind="cancelled")
            theirs = self.file_of(suspect.id)
            other = opened.enter_context(media.open_file(theirs, follow=False)).fileno()
            original = Original(ticket.name, descriptor, own)
            job = Job(suspect.name, other, crop=True, report_options=language, lies_at=theirs, original=original)
            outcome = self._in_pool(ticket, job)
            if outcome.crop:
                write_atomically(self.folder / ticket.id / "picture.jpg", outcome.crop)
            return outcome

    def _check_space_for_report(self, ticket: Ticket) -> None:
        """
        Raises:
            WorkerError: There is none.
        """
        try:
            self.check_space()
        except OSError as error:
            found = f"its report can't be written ({error.strerror}); free some and send it again"
            raise WorkerError(f"{media.shown(ticket.name)}: {found}", kind="report") from error

    def _in_pool(self, ticket: Ticket, job: Job) -> Outcome:
        live = self._live[ticket.id]

        def tell(progress: Progress) -> None:
            with self._lock:
                if ticket.id in self._stopped or self._closed:
                    raise WorkerError(f"{media.shown(ticket.name)}: was cancelled", kind="cancelled")
                if progress.stage != "waiting":
                    if live.taken_s is None:
                        self._begin(ticket, live)
                    live.stage, live.done = progress.stage, min(max(progress.done, 0.0), 1.0)
                    live.began_s.setdefault(progress.stage, time.monotonic())

        with self._lock:
            live.job = job
        return self._pool.judge(job, progress=tell)

    def _finish(self, ticket: Ticket, outcome: Outcome, now: float) -> None:
        if outcome.error:
            # Not with the lock, for it may be gigabytes.
            shutil.rmtree(self._reports / ticket.id, ignore_errors=True)
        with self._changed:
            live = self._live.get(ticket.id)
            stopped = ticket.id in self._stopped
            self._stopped.discard(ticket.id)
            cancelled = outcome.error is not None and outcome.error.kind == "cancelled"
            if not (self._closed and cancelled and not stopped):
                status: Status = "cancelled" if cancelled else "failed" if outcome.error else "done"
                self._end(ticket.id, status, outcome)
                if live is not None and live.taken_s is not None and not cancelled:
                    self._learn(live, now - live.taken_s, now)
            self._live.pop(ticket.id, None)
            self._changed.notify_all()

    def _learn(self, live: _Live, seconds: float, now: float) -> None:
        """How long things take here."""
        self.seconds += seconds
        judging, writing = live.began_s.get("judging"), live.began_s.get("writing")
        if "loading" not in live.began_s:
            self._mean_s += (seconds - self._mean_s) * (0.2 if self._mean_s else 1.0)
        if seconds > _TELLING_S and judging is not None and writing is not None:
            ratio = (now - writing) / max(writing - judging, 0.1)
            self._ratio = ratio if self._ratio is None else self._ratio + 0.5 * (ratio - self._ratio)

    def _judge_standing(self, live: _Live, ticket: Ticket, now: float) -> Standing:
        judging, writing = live.began_s.get("judging"), live.began_s.get("writing")
        if judging is None:
            return Standing("loading", 0.0, None)
        writes = ticket.contents == "report" and ticket.suspect is None
        learnt = not writes or self._ratio is not None
        ratio = (1.0 if self._ratio is None else self._ratio) if writes else 0.0
        # Nothing is said in the first moments of anything, nor before it is known how long writing takes here.
        if writing is None:
            spent = now - judging
            said = learnt and live.done > 0.05 and spent > 0.5
            left = spent / live.done * (1 + ratio) - spent if said else None
            return Standing("judging", live.done / (1 + ratio), left)
        spent = now - writing
        left = spent / live.done - spent if live.done > 0.02 and spent > 0.5 else None
        return Standing("writing", (1 + ratio * live.done) / (1 + ratio), left)

    # Forgetting

    def _sweep(self) -> None:
        """The life of the thread that forgets what is over for long enough."""
        swept = wiped = time.monotonic()
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._closed, _WIPE_EVERY_S):
                    return
            try:
                with self._lock:
                    if self._unwiped and (not self._live or time.monotonic() - wiped > _BUSY_WIPE_EVERY_S):
                        # Else deleted rows would lie on in the log of what was written. It takes a while, so not for each.
                        wiped = time.monotonic()
                        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                        self._unwiped = False
                if time.monotonic() - swept > _SWEEP_EVERY_S:
                    swept = time.monotonic()
                    self.forget(before_s=time.time() - (UNASKED_S if self.keep_s is None else self.keep_s))
                    self._clear_unknown()
            except (sqlite3.Error, OSError) as error:
                log.warning("%s: %s; forgotten later", self.folder, error)

    def forget(self, *, before_s: float) -> None:
        """Delete what was over before, Unix time; not yet what something is compared with that was not."""
        own, of_pair = (f"{table}.status IN {_OVER} AND {table}.ended_s < ?1" for table in ("jobs", "pair"))
        compared = f"EXISTS (SELECT 1 FROM jobs AS pair WHERE pair.suspect = jobs.id AND NOT ({of_pair}))"
        self._delete_all(list(self._find(f"{own} AND NOT {compared}", before_s)))


def _make_private(folder: Path) -> None:
    """
    Raises:
        OptionsError: It can't be made, or is not the user's own.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = folder.lstat()
        if hasattr(os, "getuid"):
            # A place that everyone may write to, such as /tmp: somebody else may have been there first.
            if known.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
                raise OptionsError(f"{folder}: is not a folder of your own; give another --data")
            folder.chmod(0o700)
        if not (folder / _DATABASE).exists() and any(folder.iterdir()):
            raise OptionsError(f"{folder}: holds other files; give an empty or a new folder as --data")
    except OSError as error:
        raise OptionsError(f"{folder}: can't be used ({error.strerror}); give another --data") from error
