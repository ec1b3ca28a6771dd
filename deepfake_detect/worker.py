"""Judges files in processes of their own, one after another, under limits: a decoder's crash or hang costs one file.

    with Pool(options, workers=2) as pool:
        outcome = pool.judge(Job("clip.mp4"))       # from any thread; as many at a time as there are workers

A worker is spawned, loads the net once, then gives up what judging does not need (`confine`). The parent opens each file
and hands over the open file, so that what was checked is what is read. What comes back is JSON and never a pickle: a worker
that a hostile file has taken over can lie about that file, and do nothing else to its parent. A worker that dies is
replaced. A file is blamed for a worker's death only when that worker had judged no other before; else it gets a second try,
in a new one.

This is the parent's side: `process` is a worker's own, and `answer` checks what it says.
"""

from __future__ import annotations

import json
import logging
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import reduction, resource_tracker
from typing import TYPE_CHECKING, Any

from . import checkpoint, media, process
from .answer import understood
from .confine import Limits
from .errors import MediaError, OptionsError, WeightsError, WorkerError
from .files import identity
from .interrupt import unbroken
from .job import Job, Original, Outcome, Progress, packed, to_json
from .options import EVERY_FRAME, Options
from .report import to_dict
from .source import open_file
from .types import Failure, Report
from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from .process import Judge

__all__ = ["Job", "Original", "Outcome", "Pool", "Progress"]

log = logging.getLogger(__name__)

# Loading the net takes seconds; on a machine under load, or from a cold disk, many more.
_LOADING_S = 900
# As objects JSON takes some twenty times its room. A face in a frame is 350 bytes of it: a frame has room for more than a
# thousand, and what many frames may say together has an end.
_REST_BYTES, _FRAME_BYTES, _LARGEST_MESSAGE = 4 * 2**20, 2**19, 256 * 2**20
_REAP_EVERY_S = 0.01
# How often a file is tried, and each time a worker's start. Where memory was lacking for that comes a pause, then one twice
# as long: others may be done with theirs by then.
_TRIES, _STARTS, _PAUSE_S = 3, 3, 5
# Starting and reaping children is not safe from several threads at a time.
_children = threading.Lock()


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
        self._prepare = prepare or partial(process.load, options, weights_folder)
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
                target=process.work, args=(theirs, prepare, limits), daemon=True, name="deepfake-detect worker"
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
                self._connection.send_bytes(packed(to_json(job)))
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
                    answer = understood(message, job, self.confinement)
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


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value
