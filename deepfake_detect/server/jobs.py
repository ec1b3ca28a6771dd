"""What a server was asked to judge, in order, and what came of it: in SQLite and folders, judged by workers, gone in time.

    jobs.sqlite         a row each, see `ledger`
    media/<id>          what was sent; its name is in the row, and is never a path
    pictures/<id>       of a comparison, as JPEG: both faces and their difference
    reports/<id>/       the report, see `dossier`: all that a worker may write to

A row is there once its file is, so that a server that is killed loses nothing it had taken. What runs then is judged again.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import secrets
import shutil
import sqlite3
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from .. import source
from ..errors import DeepfakeDetectError, MediaError, OptionsError, WorkerError
from ..files import write_atomically
from ..job import Job, Original, Outcome
from ..options import ReportOptions
from ..report import to_dict
from ..types import Failure, Report
from .download import FOLDER
from .ledger import BRIEF, OVER, REASONS, WHOLE, Contents, Ledger, Status, Ticket
from .pace import Live, Pace, Standing
from .removal import remove

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Collection, Iterable, Iterator

    from ..job import Progress
    from ..worker import Pool

log = logging.getLogger(__name__)

#: A job that cost the server its life so often is not tried again.
MOST_STARTS = 3
_DATABASE = "jobs.sqlite"
#: Below the folder of jobs: where workers write.
REPORTS = "reports"
_PLACES = ("media", "pictures", REPORTS)
# As `secrets.token_urlsafe(16)` makes them; nothing else in the folder is touched.
_ID = re.compile(r"[\w-]{22}", re.ASCII)
# While jobs run, what was written of deleted ones is wiped less often: everything waits meanwhile.
_SWEEP_EVERY_S, _WIPE_EVERY_S, _BUSY_WIPE_EVERY_S = 10, 1, 10
# Threads beyond one for each worker: they have the next jobs ready when a worker is.
_READY = 2
# A clock that differs by more from what has passed was set; less is what keeping time by the network does all along.
_STEP_S = 60
# So long what is deleted at the end may be in use elsewhere.
_LET_GO_S = 2.0
_LEAST_FREE_BYTES = 512 * 2**20


class FullError(Exception):
    """So many wait already that no more are taken.

    Args:
        retry_after_s: When there will be room, about.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("the queue is full")
        self.retry_after_s = retry_after_s


class Jobs:
    """The jobs of a server. Safe to use from several threads; one process at a time has a folder.

    Args:
        folder: Where they lie; made when missing, for its owner alone.
        pool: Judges them, as many at a time as it has workers.
        keep_s: How long what is done is kept, seconds, over a restart too; None to keep nothing longer than needed, and
            nothing once this is closed. What an earlier server was to keep longer stays as long as that.
        most_waiting: Of all that wait, so many are taken.

    Attributes:
        open_visits: Finds the visits whose pages are open: their jobs stay until the pages are closed.

    Raises:
        OptionsError: The folder can't be used: it is somebody else's, of another program, in use, or holds what is still to
            be kept while nothing is to be.
    """

    def __init__(self, folder: Path, pool: Pool, *, keep_s: float | None = None, most_waiting: int = 100) -> None:
        self.folder, self.keep_s = folder, keep_s
        self._pool, self._most_waiting = pool, most_waiting
        # One lock for everything that changes. What waits for something is told: that a job came, that a worker is rid of
        # one, that all ends.
        self._lock = threading.RLock()
        self._came = threading.Condition(self._lock)
        self._rid = threading.Condition(self._lock)
        self._closing = threading.Event()
        self._live: dict[str, Live] = {}
        # The number of the last that was made ready.
        self._last = 0
        self._stopped: set[str] = set()
        # Being deleted: who waits for one of them learns that it is gone, and not that it was cancelled on the way.
        self._doomed: set[str] = set()
        self._awaited: dict[str, set[Future[None]]] = {}
        self._reserved: set[str] = set()
        self._pace = Pace()
        self._told = 0
        # By the clock, and by one that nobody sets.
        self._began_s, self._passed_s = time.time(), _steady_s()
        self.open_visits: Callable[[], Collection[str]] = tuple
        self.counts: dict[str, int] = dict.fromkeys(OVER, 0)
        self.seconds = 0.0
        # A folder for each job would be one more thing to make and delete, which costs a disk more than what is in it.
        self._media, self._pictures, self._reports = self._places = tuple(folder / name for name in _PLACES)
        _make_private(folder, self._places)
        with ExitStack() as opened:
            opened.enter_context(_spared(folder))
            self._ledger = Ledger(folder / _DATABASE, keep_s=keep_s)
            opened.callback(self._ledger.close)
            self._clear_unknown()
            self._opened_until_closed = opened.pop_all()
        self._threads = [
            threading.Thread(target=self._work, name="jobs", daemon=True) for _ in range(pool.workers + _READY)
        ]
        self._threads.append(threading.Thread(target=self._sweep, name="sweep", daemon=True))

    def start(self) -> None:
        """Begin to judge."""
        for thread in self._threads:
            thread.start()

    # Asking

    @contextmanager
    def room(self, size_bytes: int = 0) -> Iterator[str]:
        """A place for one more, and the id it will have; what lies at `file_of` goes again if nothing is added.

        Raises:
            FullError: Too many wait.
            OSError: The disk is nearly full, or the folder is gone.
        """
        name = secrets.token_urlsafe(16)
        with self._lock:
            if self._ledger.queued() + len(self._reserved) >= self._most_waiting:
                # When what waits now will be done: asking in vain costs time, and others fill the queue meanwhile.
                all_s = self._pace.mean_s * self._most_waiting / self._pool.workers
                raise FullError(max(1, min(60, math.ceil(all_s))))
            self._reserved.add(name)
        try:
            self.check_space(size_bytes)
            _make(self._places)
            yield name
        finally:
            with self._lock:
                added = name not in self._reserved
                self._reserved.discard(name)
            if not added:
                with suppress(OSError):
                    self.file_of(name).unlink()

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
        return self._media / name

    def picture_of(self, name: str) -> Path:
        """Where the picture of a comparison lies, by its id."""
        return self._pictures / name

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
        size_bytes = self.file_of(name).stat().st_size
        with self._lock:
            if suspect is not None and self.get(suspect) is None:
                raise KeyError(suspect)
            self._ledger.add(
                name, size_bytes, called=called, page=page, language=language, contents=contents, suspect=suspect
            )
            self._reserved.discard(name)
            self._came.notify()
            found = self.get(name)
        assert found is not None
        return found

    def get(self, name: str, *, whole: bool = False) -> Ticket | None:
        """The job of this id; with all that came of it if `whole`."""
        with self._lock:
            found = self._ledger.of_id(name, WHOLE if whole else BRIEF)
        return next(found, None)

    def record_of(self, name: str) -> str | None:
        """What came of a job as JSON; None where nothing did yet."""
        with self._lock:
            return self._ledger.record_of(name)

    def of_page(self, page: str, *, reasons: bool = False) -> list[Ticket]:
        """The jobs of a visit, in order; with the reasons for what was found if `reasons`."""
        with self._lock:
            found = self._ledger.of_page(page, REASONS if reasons else BRIEF)
        return list(found)

    def comparisons(self, name: str, *, whole: bool = False) -> list[Ticket]:
        """Of the file of this job, in order; with all that came of them if `whole`."""
        with self._lock:
            found = self._ledger.comparisons(name, WHOLE if whole else BRIEF)
        return list(found)

    def standing(self, ticket: Ticket) -> Standing:
        """How far it is."""
        with self._lock:
            if ticket.over:
                return Standing("", 1.0, 0.0)
            live = self._live.get(ticket.id)
            if live is not None and live.taken_s is not None:
                return self._pace.running(live, time.monotonic())
            return self._pace.waiting(self._ledger.queued(before=ticket.number), self._pool.workers)

    @property
    def changes(self) -> int:
        """Grows with whatever changes what can be asked for. Waits for nobody."""
        return self._ledger.changes + self._told

    @property
    def longest_keep_s(self) -> float | None:
        """So long is anything here kept after its end at most; None where nothing is to be kept."""
        return self._ledger.longest_keep_s

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
            return self._ledger.queued()

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
        with self._lock:
            ticket = self.get(name)
            return ticket is not None and self._cancel(ticket)

    def _cancel(self, ticket: Ticket) -> bool:
        if ticket.over:
            return False
        live = self._live.get(ticket.id)
        if live is None:
            self._end(ticket.id, "cancelled", self._failure(ticket, "cancelled", "was cancelled"))
        else:
            self._stopped.add(ticket.id)
            if live.job is not None:
                self._pool.cancel(live.job)
        return True

    def delete(self, name: str) -> bool:
        """End a job, and forget it, its file and all that came of it; False where it is not there.

        Raises:
            OSError: Not all of it can be deleted. The rest is gone, and its row is still there, to try again.
            sqlite3.Error: The disk is full. What was sent and made is gone nevertheless, and its row is still there.
        """
        self._delete_all(self.comparisons(name))
        with self._lock:
            ticket = self.get(name)
            if ticket is None:
                return False
            self._doomed.add(name)
            # What can't be marked as cancelled is deleted all the same.
            with suppress(sqlite3.Error):
                self._cancel(ticket)
            self._rid.wait_for(lambda: name not in self._live, 10)
        try:
            # First what lies here: it makes room for what is to be written of its end, and none of it stays without a row.
            self._clear(name)
            self._strike(name)
        finally:
            with self._lock:
                self._doomed.discard(name)
                self._tell_over(name)
        # What was being sent meanwhile; from here on it finds no suspect.
        self._delete_all(self.comparisons(name))
        return True

    def delete_page(self, page: str) -> None:
        """Forget all jobs of a visit."""
        self._delete_all(self.of_page(page))

    def _delete_all(self, tickets: Iterable[Ticket]) -> None:
        """Forget these, one after another: one that can't be forgotten yet keeps no other."""
        for ticket in tickets:
            try:
                self.delete(ticket.id)
            except (OSError, sqlite3.Error) as error:
                log.warning("%s: %s; a job is deleted later", self.folder, error)

    def _strike(self, name: str) -> None:
        with self._lock:
            self._ledger.strike(name)
            self._live.pop(name, None)

    def close(self) -> None:
        """End what runs; what is not to be kept is gone after this."""
        with self._lock:
            self._closing.set()
            self._came.notify_all()
            running = [live.job for live in self._live.values() if live.job is not None]
        for job in running:
            self._pool.cancel(job)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        with self._lock:
            # What can't be put back waits at the next start all the same.
            with suppress(sqlite3.Error):
                self._ledger.put_back()
            self._opened_until_closed.close()
        if self.keep_s is None:
            self._empty()

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The folder

    def _own_names(self) -> set[str]:
        """The ids of which something lies here."""
        # There may be very many.
        there = filter(Path.exists, self._places)
        lying = {name.partition(".")[0] for place in there for name in os.listdir(place)}
        return set(filter(_ID.fullmatch, lying))

    def _clear(self, name: str) -> None:
        """Delete what lies here of a job.

        Raises:
            OSError: Not all of it can be deleted, such as what another program has open on Windows.
        """
        failures = []
        # A picture that was being written when the server was killed, too.
        pictures = (self.picture_of(name), self._pictures / f"{name}.part")
        for path in (self.file_of(name), *pictures, self._reports / name):
            try:
                remove(path)
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _clear_unknown(self) -> None:
        """Delete what belongs to no job: left by a server that was killed, or in use when its job was deleted."""
        lying = self._own_names()
        with self._lock:
            lying -= self._ledger.names()
        for name in lying:
            with self._lock:
                if name not in self._reserved and self.get(name) is None:
                    with suppress(OSError):
                        self._clear(name)

    def _empty(self) -> None:
        """Delete everything. Windows deletes nothing that another program has open, say to look for viruses: that is tried
        again for a while, and then left to the next start."""
        end = time.monotonic() + _LET_GO_S
        while not self._is_emptied():
            if time.monotonic() > end:
                log.warning(
                    "%s: not all can be deleted, such as what is open elsewhere; the next start does it", self.folder
                )
                return
            time.sleep(0.1)

    def _is_emptied(self) -> bool:
        """Whether all that is ours could be deleted. By the database the next start knows a folder for its own, so it goes
        last, and where anything else is left it stays."""
        for name in self._own_names():
            with suppress(OSError):
                self._clear(name)
        if self._own_names():
            return False
        with suppress(OSError):
            for place in filter(Path.exists, self._places):
                place.rmdir()
        if any(map(Path.exists, self._places)):
            return True
        try:
            for ending in ("-wal", "-shm", "-journal", ""):
                (self.folder / f"{_DATABASE}{ending}").unlink(missing_ok=True)
        except OSError:
            return False
        with suppress(OSError):
            self.folder.rmdir()
        return True

    # Judging

    def _end(self, name: str, status: Status, outcome: Outcome) -> None:
        with self._lock:
            self._ledger.end(
                name, status, record=outcome.record, reasons=outcome.reasons, confinement=outcome.confinement
            )
            self.counts[status] += 1
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
        message = f"{source.shown(ticket.name)}: {found}"
        return Outcome(to_dict(Report(ticket.name, self._pool.tool, error=Failure(kind, message))))

    def _work(self) -> None:
        """The life of a thread that has jobs judged, one after another."""
        while (ticket := self._insist(self._next)) is not None:
            try:
                self._insist(partial(self._finish, ticket, self._outcome(ticket), time.monotonic()))
            except Exception:
                # Whatever it is costs one job, and not the thread that would have had the next ones judged.
                log.exception("%s: internal error; what came of a job is lost", self.folder)
                with self._lock:
                    self._live.pop(ticket.id, None)
                    self._rid.notify_all()

    def _outcome(self, ticket: Ticket) -> Outcome:
        if ticket.starts >= MOST_STARTS:
            return self._failure(ticket, "killed", f"ended the server {MOST_STARTS} times and is not tried again")
        try:
            return self._judged(ticket)
        except DeepfakeDetectError as error:
            return self._failure(ticket, error.kind, str(error).removeprefix(f"{source.shown(ticket.name)}: "))
        except Exception as error:
            log.debug("internal error", exc_info=True)
            return self._failure(ticket, "internal", f"internal error ({type(error).__name__}); please report it")

    def _insist(self, act: Callable[[], Ticket | None]) -> Ticket | None:
        """What it returns, tried again as long as the database can't be written: the disk may be full for a while. None
        when this is closed."""
        while True:
            try:
                return act()
            except sqlite3.Error as error:
                log.warning("%s: %s; tried again in a second", self.folder, error)
                if self._closing.wait(1):
                    return None

    def _next(self) -> Ticket | None:
        """The next job, once there is one; None when this is closed. It is queued until a worker has it."""
        with self._lock:
            while not self._closing.is_set():
                ticket = next(self._ledger.first_queued(after=self._last), None)
                if ticket is not None:
                    self._last = ticket.number
                    self._live[ticket.id] = Live(writes=ticket.contents == "report" and ticket.suspect is None)
                    return ticket
                self._came.wait()
        return None

    def _begin(self, ticket: Ticket, live: Live) -> None:
        """A worker has it."""
        with self._lock:
            live.taken_s = time.monotonic()
            try:
                self._ledger.begin(ticket.id)
            except sqlite3.Error as error:
                # Its seconds are counted already; what comes of it is written as soon as there is room.
                log.warning("%s: %s; a job is judged that seems to wait", self.folder, error)

    def _judged(self, ticket: Ticket) -> Outcome:
        own, options = self.file_of(ticket.id), _options(ticket.language)
        with self._opened(ticket) as file:
            if ticket.suspect is not None:
                return self._compared(ticket, ticket.suspect, Original(ticket.name, file.fileno(), own), options)
            report = self._place_for_report(ticket) if ticket.contents == "report" else None
            job = Job(
                ticket.name, file.fileno(), report=report, report_called=FOLDER, report_options=options, lies_at=own
            )
            return self._in_pool(ticket, job)

    def _compared(self, ticket: Ticket, name: str, original: Original, options: ReportOptions) -> Outcome:
        suspect, lies_at = self.get(name), self.file_of(name)
        if suspect is None:
            raise WorkerError("the file to compare with is gone", kind="cancelled")
        with self._opened(suspect) as file:
            job = Job(
                suspect.name, file.fileno(), crop=True, report_options=options, lies_at=lies_at, original=original
            )
            outcome = self._in_pool(ticket, job)
        try:
            if outcome.crop:
                write_atomically(self.picture_of(ticket.id), outcome.crop)
        except OSError as error:
            raise _unwritten(ticket, "picture", error) from error
        return outcome

    def _opened(self, ticket: Ticket) -> io.BufferedReader:
        """What was sent.

        Raises:
            WorkerError: It is not there, or not all of it: the power went before the disk had it.
        """
        try:
            file = source.open_file(self.file_of(ticket.id), follow=False)
        except MediaError as error:
            # Where it lies is for who runs the server to know, and not for who sent it.
            log.warning("%s", error)
            why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else "it is no regular file"
            found = f"what was sent can't be read any more ({why}); send it again"
            raise WorkerError(f"{source.shown(ticket.name)}: {found}", kind=error.kind) from error
        left = os.fstat(file.fileno()).st_size
        if left != ticket.size_bytes:
            file.close()
            found = f"only {left:,} of the {ticket.size_bytes:,} bytes that were sent are left; send it again"
            raise WorkerError(f"{source.shown(ticket.name)}: {found}", kind="changed")
        return file

    def _place_for_report(self, ticket: Ticket) -> Path:
        """
        Raises:
            WorkerError: There is no room.
        """
        report = self._reports / ticket.id
        try:
            self.check_space()
            # Of an earlier start, perhaps by another version.
            remove(report)
            _make(self._places)
        except OSError as error:
            raise _unwritten(ticket, "report", error) from error
        return report

    def _in_pool(self, ticket: Ticket, job: Job) -> Outcome:
        live = self._live[ticket.id]

        def tell(progress: Progress) -> None:
            with self._lock:
                if ticket.id in self._stopped or self._closing.is_set():
                    raise WorkerError(f"{source.shown(ticket.name)}: was cancelled", kind="cancelled")
                if progress.stage != "waiting":
                    if live.taken_s is None:
                        self._begin(ticket, live)
                    live.tell(progress.stage, progress.done, time.monotonic())
                    self._told += 1

        with self._lock:
            live.job = job
        return self._pool.judge(job, progress=tell)

    def _finish(self, ticket: Ticket, outcome: Outcome, now: float) -> None:
        if outcome.error:
            # Not with the lock, for it may be gigabytes. What can't be deleted now goes with the job.
            with suppress(OSError):
                remove(self._reports / ticket.id)
        with self._lock:
            live = self._live.get(ticket.id)
            stopped = ticket.id in self._stopped
            self._stopped.discard(ticket.id)
            cancelled = outcome.error is not None and outcome.error.kind == "cancelled"
            if not (self._closing.is_set() and cancelled and not stopped):
                status: Status = "cancelled" if cancelled else "failed" if outcome.error else "done"
                self._end(ticket.id, status, outcome)
                if live is not None and live.taken_s is not None and not cancelled:
                    self.seconds += now - live.taken_s
                    self._pace.learn(live, now - live.taken_s, now)
            self._live.pop(ticket.id, None)
            self._rid.notify_all()

    # Forgetting

    def _sweep(self) -> None:
        """The life of the thread that forgets what is over for long enough."""
        swept = wiped = time.monotonic()
        while not self._closing.wait(_WIPE_EVERY_S):
            try:
                with self._lock:
                    if self._ledger.unwiped and (not self._live or time.monotonic() - wiped > _BUSY_WIPE_EVERY_S):
                        wiped = time.monotonic()
                        self._ledger.wipe()
                self._follow_clock()
                if time.monotonic() - swept > _SWEEP_EVERY_S:
                    swept = time.monotonic()
                    self.forget(now_s=time.time())
                    self._clear_unknown()
            except (sqlite3.Error, OSError) as error:
                log.warning("%s: %s; forgotten later", self.folder, error)
            except Exception:
                # Or nothing of anybody would be forgotten any more.
                log.exception("%s: internal error; forgotten later", self.folder)

    def _follow_clock(self) -> None:
        """A clock that is set while this runs, as on a machine that starts with a wrong one, makes nothing older or younger
        that is of this run. What is of earlier ones is left: nothing tells by which clock they were."""
        now_s, passed_s = time.time(), _steady_s() - self._passed_s
        step_s = now_s - self._began_s - passed_s
        if abs(step_s) > _STEP_S:
            with self._lock:
                self._ledger.shift(step_s, since_s=self._began_s, until_s=now_s - step_s)
            self._began_s += step_s

    def forget(self, *, now_s: float) -> None:
        """Delete what was to be kept until before now, Unix time; not yet what something is compared with that was not."""
        with self._lock:
            found = self._ledger.past(now_s, self.open_visits())
        self._delete_all(found)


def _steady_s() -> float:
    """Seconds that pass however the clock is set, those included in which the machine sleeps."""
    # The first is Linux's, the second goes on on macOS; `time.monotonic` stands still there meanwhile, but not on Windows.
    for clock in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        if hasattr(time, clock):
            return time.clock_gettime(getattr(time, clock))
    return time.monotonic()


@cache
def _options(language: str) -> ReportOptions:
    return ReportOptions(language=language)


def _unwritten(ticket: Ticket, what: str, error: OSError) -> WorkerError:
    found = f"its {what} can't be written ({error.strerror}); free some space and send it again"
    return WorkerError(f"{source.shown(ticket.name)}: {found}", kind="report")


def _make_private(folder: Path, places: Iterable[Path]) -> None:
    """Make a folder and these in it, for their owner alone.

    Raises:
        OptionsError: They can't be made, or it is not the user's own.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = folder.lstat()
        if hasattr(os, "getuid"):
            # A place that everyone may write to, such as /tmp: somebody else may have been there first.
            if known.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
                raise OptionsError(f"{source.shown(folder)}: is not a folder of your own; give another --data")
            folder.chmod(0o700)
        # Where a start got no further, as on a full disk, some of our own folders are there, with nothing in them.
        folders = [place for place in places if place.is_dir() and not place.is_symlink()]
        begun = {place for place in folders if not any(place.iterdir())}
        if not (folder / _DATABASE).exists() and set(folder.iterdir()) - begun:
            raise OptionsError(f"{source.shown(folder)}: holds other files; give an empty or a new folder as --data")
        _make(places)
    except OSError as error:
        raise OptionsError(f"{source.shown(folder)}: can't be used ({error.strerror}); give another --data") from error


def _make(places: Iterable[Path]) -> None:
    """Also anew: programs that clean up take folders that nobody used for days."""
    for place in places:
        place.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def _spared(folder: Path) -> Iterator[None]:
    """While this is open, systemd takes nothing out of the folder when it cleans up what is temporary: it passes over a
    folder that is locked."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some drives on a network know no locks.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
