"""jobs: what is taken, judged, kept over a restart, and gone when it should be."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import shutil
import sqlite3
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from deepfake_detect.confine import Limits
from deepfake_detect.errors import OptionsError, WorkerError
from deepfake_detect.report import to_dict
from deepfake_detect.server import jobs as module
from deepfake_detect.server.jobs import MOST_STARTS, REPORTS, FullError, Jobs
from deepfake_detect.server.ledger import UNASKED_S, Ticket
from deepfake_detect.server.pace import Live, Pace, Standing
from deepfake_detect.types import Failure, MediaInfo, Report, ToolInfo, Verdict
from deepfake_detect.words import LANGUAGES
from deepfake_detect.worker import Job, Outcome, Progress

T = TypeVar("T")
JPEG = b"\xff\xd8\xffa picture"
posix = pytest.mark.skipif(os.name != "posix", reason="made as only Unix lets one")


class StubPool:
    """A pool of one worker whose files say what comes of them: `label probability`, `error kind`, `hold` or `bug`."""

    tool = ToolInfo("0.0", "net", "0" * 64, "calibration", "0" * 64)
    limits = Limits()
    workers = 1

    def __init__(self) -> None:
        self.judged: list[str] = []
        self.released = threading.Event()
        self._worker = threading.Lock()
        self._cancelled: set[Job] = set()

    def cancel(self, job: Job) -> bool:
        self._cancelled.add(job)
        return True

    def judge(self, job: Job, *, progress: Callable[[Progress], None]) -> Outcome:
        try:
            progress(Progress("waiting", 0))
            while not self._worker.acquire(timeout=0.005):
                self._check(job)
            try:
                return self._judge(job, progress)
            finally:
                self._worker.release()
        except WorkerError as error:
            return self._failed(job, error.kind)

    def _check(self, job: Job) -> None:
        if job in self._cancelled:
            raise WorkerError(f"{job.path}: was cancelled", kind="cancelled")

    def _judge(self, job: Job, progress: Callable[[Progress], None]) -> Outcome:
        assert job.descriptor is not None
        data = os.pread(job.descriptor, 10**6, 0)
        order, _, value = data.decode().partition("\n")[0].partition(" ")
        self.judged.append(job.path)
        progress(Progress("judging", 0.5))
        while order == "hold" and not self.released.is_set():
            self._check(job)
            time.sleep(0.005)
        if order == "bug":
            raise KeyError("a bug")
        if order == "error":
            return self._failed(job, value)
        reasons = {language: f"So it is, in {language}." for language in LANGUAGES}
        if job.original is not None:
            record = {"schema": "deepfake-detect/compare/1", "label": "inconclusive", "likelihood_ratio": 1.0,
                      "suspect": {"path": job.path}, "original": {"path": job.original.path}}  # fmt: skip
            return Outcome(record, "rlimits", reasons, JPEG)
        label, chance = (order, float(value)) if value else ("no_face", None)
        info = MediaInfo(job.path, "image", len(data), hashlib.sha256(data).hexdigest(), 4, 3)
        verdict = Verdict(label, chance, chance and chance / (1 - chance), "So it is.")  # type: ignore[arg-type]
        record = to_dict(Report(job.path, self.tool, info, verdict=verdict))
        if job.report is not None:
            progress(Progress("writing", 0.5))
            (job.report / "evidence").mkdir(parents=True)
            (job.report / "report.json").write_text(json.dumps({**record, "examination": {}, "files": {}}))
            (job.report / "report.html").write_text("<title>Report</title>")
            (job.report / "annotated.jpg").write_bytes(JPEG)
            (job.report / "evidence" / "person001.npz").write_bytes(b"map")
        return Outcome(record, "rlimits", reasons)

    def _failed(self, job: Job, kind: str) -> Outcome:
        return Outcome(to_dict(Report(job.path, self.tool, error=Failure(kind, f"{job.path}: no good"))))


def sent(jobs: Jobs, order: str = "manipulated 0.9", **more: object) -> Ticket:
    with jobs.room() as name:
        jobs.file_of(name).write_text(order)
        return jobs.add(name, called="clip.mp4", **more)  # type: ignore[arg-type]


def lying(jobs: Jobs) -> list[str]:
    """What lies in the folders that hold something of each job."""
    return sorted(path.name for folder in jobs.folder.iterdir() if folder.is_dir() for path in folder.iterdir())


def ended(jobs: Jobs, ticket: Ticket) -> Ticket:
    return until(lambda: found if (found := jobs.get(ticket.id, whole=True)) and found.over else None)


def until(look: Callable[[], T | None], seconds: float = 20, *, every_s: float = 0.005) -> T:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (found := look()) is not None:
            return found
        time.sleep(every_s)
    raise AssertionError("it never happened")


def running(jobs: Jobs, ticket: Ticket) -> bool | None:
    found = jobs.get(ticket.id)
    return True if found and found.status == "running" else None


@pytest.fixture
def pool() -> StubPool:
    return StubPool()


@pytest.fixture
def jobs(tmp_path: Path, pool: StubPool) -> Iterator[Jobs]:
    with Jobs(tmp_path / "data", pool, most_waiting=3) as opened:  # type: ignore[arg-type]
        opened.start()
        yield opened


def test_what_is_sent_is_judged_in_order_and_its_report_lies_there(jobs: Jobs, pool: StubPool) -> None:
    first, second = sent(jobs), sent(jobs, "no_face", contents="record", language="de")
    done, other = ended(jobs, first), ended(jobs, second)
    assert (done.status, done.confinement, done.reasons["de"]) == ("done", "rlimits", "So it is, in de.")
    assert done.record is not None
    assert done.record["verdict"]["label"] == "manipulated"
    assert done.record["media"]["path"] == "clip.mp4"
    assert (jobs.report_of(first.id) / "report.json").is_file()
    assert other.status == "done"
    assert not jobs.report_of(second.id).exists()
    assert jobs.counts == {"done": 2, "failed": 0, "cancelled": 0}


@pytest.mark.parametrize(("order", "kind"), [("error damaged", "damaged"), ("bug", "internal")])
def test_what_goes_wrong_costs_one_job(order: str, kind: str, jobs: Jobs) -> None:
    bad, good = ended(jobs, sent(jobs, order)), ended(jobs, sent(jobs))
    assert (bad.status, good.status) == ("failed", "done")
    assert bad.error is not None
    assert bad.error.kind == kind
    assert bad.error.message.startswith("clip.mp4: ")


def test_the_folder_is_its_owners_alone(jobs: Jobs) -> None:
    assert stat.S_IMODE(jobs.folder.stat().st_mode) == 0o700


def test_waiting_ones_have_a_place_and_no_more_are_taken_than_may_wait(jobs: Jobs, pool: StubPool) -> None:
    held = sent(jobs, "hold")
    until(lambda: running(jobs, held))
    waiting = [sent(jobs) for _ in range(3)]
    assert [jobs.standing(ticket).ahead for ticket in waiting] == [0, 1, 2]
    # Those that are ready for the next worker wait like the others.
    until(lambda: len(jobs._live) == 3 or None)
    found = [jobs.get(ticket.id) for ticket in waiting]
    assert [(one.status, jobs.standing(one).stage) for one in found if one] == [("queued", "queued")] * 3
    assert (jobs.waiting(), jobs.running()) == (3, 1)
    until(lambda: jobs.standing(held).stage == "judging" or None)
    with pytest.raises(FullError), jobs.room():
        raise AssertionError("there is no room")
    pool.released.set()
    assert {ended(jobs, ticket).status for ticket in (held, *waiting)} == {"done"}
    assert jobs.standing(ended(jobs, held)).progress == 1


def test_what_is_left_is_told_by_what_others_took() -> None:
    pace, first = Pace(), Live(writes=True)
    assert pace.waiting(3, 2) == Standing("queued", 0.0, None, 3)
    assert pace.running(first, 0.0) == Standing("loading", 0.0, None)
    first.tell("judging", 0.5, 0.0)
    # Nobody knows yet how long writing takes here.
    assert pace.running(first, 10.0) == Standing("judging", 0.25, None)
    first.tell("writing", 0.5, 20.0)
    assert pace.running(first, 30.0) == Standing("writing", 0.75, 10.0)
    pace.learn(first, 40.0, 40.0)
    second, record = Live(writes=True), Live(writes=False)
    for live in (second, record):
        live.tell("judging", 0.5, 0.0)
    assert pace.running(second, 10.0) == Standing("judging", 0.25, 30.0)
    assert pace.running(record, 10.0) == Standing("judging", 0.5, 10.0)
    assert pace.waiting(3, 2) == Standing("queued", 0.0, 120.0, 3)


def test_who_finds_the_queue_full_is_told_when_all_of_it_will_be_done(jobs: Jobs) -> None:
    held = sent(jobs, "hold")
    until(lambda: running(jobs, held))
    for _ in range(3):
        sent(jobs)
    jobs._pace.mean_s = 2.5
    with pytest.raises(FullError) as full, jobs.room():
        raise AssertionError("there is no room")
    assert full.value.retry_after_s == 8


def test_nothing_is_left_of_what_was_never_added(jobs: Jobs) -> None:
    with jobs.room() as name:
        jobs.file_of(name).write_text("half")
        assert lying(jobs) == [name]
    assert lying(jobs) == []


def test_waiting_and_running_ones_are_cancelled(jobs: Jobs) -> None:
    held = sent(jobs, "hold")
    until(lambda: running(jobs, held))
    waiting = sent(jobs)
    assert jobs.cancel(waiting.id)
    assert jobs.cancel(held.id)
    assert [ended(jobs, ticket).status for ticket in (held, waiting)] == ["cancelled", "cancelled"]
    assert not jobs.cancel(held.id)
    assert ended(jobs, sent(jobs)).status == "done"


def test_what_is_deleted_is_gone_with_its_comparisons_whatever_it_was_doing(jobs: Jobs) -> None:
    suspect = ended(jobs, sent(jobs, "manipulated 0.91234"))
    pair = ended(jobs, sent(jobs, "an original", suspect=suspect.id))
    assert pair.status == "done"
    assert jobs.picture_of(pair.id).read_bytes() == JPEG
    held = sent(jobs, "hold")
    until(lambda: running(jobs, held))
    assert jobs.delete(held.id)
    assert jobs.delete(suspect.id)
    assert not jobs.delete(suspect.id)
    assert [jobs.get(ticket.id) for ticket in (suspect, pair, held)] == [None, None, None]
    assert lying(jobs) == []

    def stored() -> bytes:
        return b"".join(path.read_bytes() for path in jobs.folder.iterdir() if path.is_file())

    assert b"CREATE TABLE jobs" in stored()
    # SQLite's log is wiped within a second.
    until(lambda: b"clip.mp4" not in stored() or None)
    assert b"0.91234" not in stored()


def test_a_full_disk_holds_jobs_up_and_loses_none(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = 2
    end = jobs._end

    def full(*found: object) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise sqlite3.OperationalError("database or disk is full")
        end(*found)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs, "_end", full)
    first, second = sent(jobs), sent(jobs)
    assert [ended(jobs, ticket).status for ticket in (first, second)] == ["done", "done"]
    assert failures == 0


class Full:
    """A database on a disk that is full as long as `orders` says so, for statements of this kind."""

    def __init__(self, jobs: Jobs, order: str, failures: float) -> None:
        self.order, self.failures, self._db = order, failures, jobs._ledger._db
        jobs._ledger._db = self  # type: ignore[assignment]

    def execute(self, query: str, *values: object) -> object:
        if query.startswith(self.order) and self.failures > 0:
            self.failures -= 1
            raise sqlite3.OperationalError("database or disk is full")
        return self._db.execute(query, *values)

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)


def test_what_is_deleted_makes_room_for_its_own_end(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def makes_room(name: str) -> None:
        clear(name)
        disk.failures = 0

    done, clear = ended(jobs, sent(jobs)), jobs._clear
    disk = Full(jobs, "DELETE", 10**6)
    monkeypatch.setattr(jobs, "_clear", makes_room)
    assert jobs.delete(done.id)
    assert jobs.get(done.id) is None


def test_on_a_full_disk_files_are_deleted_and_their_row_says_so_by_staying(jobs: Jobs) -> None:
    done, waits = ended(jobs, sent(jobs)), ended(jobs, sent(jobs, "no_face"))
    disk = Full(jobs, "DELETE", 10**6)
    for ticket in (done, waits):
        with pytest.raises(sqlite3.Error):
            jobs.delete(ticket.id)
        assert jobs.get(ticket.id) is not None
        assert not jobs.file_of(ticket.id).exists()
        assert not jobs.report_of(ticket.id).exists()
    disk.failures = 0
    assert jobs.delete(done.id)


@pytest.mark.parametrize("how", ["page", "age"])
def test_one_row_that_can_not_be_deleted_keeps_no_other(how: str, jobs: Jobs) -> None:
    tickets = [ended(jobs, sent(jobs, page="mine")) for _ in range(3)]
    disk = Full(jobs, "DELETE", 1)
    if how == "page":
        jobs.delete_page("mine")
    else:
        jobs.forget(now_s=time.time() + UNASKED_S + 1)
    assert disk.failures == 0
    assert [jobs.get(ticket.id) is None for ticket in tickets] == [False, True, True]
    assert not jobs.file_of(tickets[0].id).exists()


def test_a_job_that_can_not_be_marked_as_cancelled_is_deleted(jobs: Jobs) -> None:
    held = sent(jobs, "hold")
    until(lambda: running(jobs, held))
    waiting = [sent(jobs) for _ in range(3)]
    until(lambda: len(jobs._live) == 3 or None)
    Full(jobs, "UPDATE", 1)
    with pytest.raises(sqlite3.Error):
        jobs.cancel(waiting[2].id)
    Full(jobs, "UPDATE", 1)
    assert jobs.delete(waiting[2].id)
    assert jobs.get(waiting[2].id) is None


def test_without_room_no_report_is_begun_and_records_go_on(
    jobs: Jobs, pool: StubPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = sent(jobs, "hold")
    until(lambda: running(jobs, held))
    # The first two are ready for the next worker already.
    *records, report = (sent(jobs, contents="record") if i < 2 else sent(jobs) for i in range(3))
    until(lambda: len(jobs._live) == 3 or None)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 1, 1))
    with pytest.raises(OSError, match="hardly any space"):
        jobs.check_space()
    pool.released.set()
    failed = ended(jobs, report)
    assert failed.error is not None
    assert (failed.status, failed.error.kind) == ("failed", "report")
    assert "hardly any space is left" in failed.error.message
    assert {ended(jobs, ticket).status for ticket in (held, *records)} == {"done"}


@pytest.mark.parametrize("lost", ["suspect", "original"])
def test_a_part_of_what_was_sent_is_not_judged_as_the_whole(lost: str, tmp_path: Path, pool: StubPool) -> None:
    with Jobs(tmp_path / "data", pool) as jobs:  # type: ignore[arg-type]
        suspect = sent(jobs)
        pair = sent(jobs, "an original", suspect=suspect.id)
        os.truncate(jobs.file_of(suspect.id if lost == "suspect" else pair.id), 8)
        jobs.start()
        failed = [ended(jobs, suspect), ended(jobs, pair)][lost == "original" :]
        size_bytes = (suspect if lost == "suspect" else pair).size_bytes
        for ticket in failed:
            assert ticket.error is not None
            assert (ticket.status, ticket.error.kind) == ("failed", "changed")
            assert f"only 8 of the {size_bytes} bytes that were sent are left" in ticket.error.message
        assert len(pool.judged) == 2 - len(failed)


@pytest.mark.parametrize(
    ("instead", "kind", "why"),
    [(None, "not_found", "No such file or directory"), ("a folder", "not_a_file", "it is no")],
)
def test_what_was_sent_and_is_gone_is_said_without_where_it_lay(
    instead: str | None, kind: str, why: str, tmp_path: Path, pool: StubPool
) -> None:
    with Jobs(tmp_path / "data", pool) as jobs:  # type: ignore[arg-type]
        ticket = sent(jobs)
        jobs.file_of(ticket.id).unlink()
        if instead:
            jobs.file_of(ticket.id).mkdir()
        jobs.start()
        error = ended(jobs, ticket).error
        assert error is not None
        assert error.kind == kind
        assert error.message.startswith(f"clip.mp4: what was sent can't be read any more ({why}")
        assert str(tmp_path) not in (jobs.record_of(ticket.id) or "")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_can_not_be_written_is_said(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    suspect = ended(jobs, sent(jobs))
    monkeypatch.setattr("deepfake_detect.server.jobs.write_atomically", full)
    pair = ended(jobs, sent(jobs, "an original", suspect=suspect.id))
    assert pair.error is not None
    assert (pair.status, pair.error.kind) == ("failed", "report")
    assert pair.error.message.startswith("clip.mp4: its picture can't be written (No space left on device)")


def test_a_link_that_a_worker_laid_in_place_of_a_report_leads_nowhere(jobs: Jobs, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    ticket = ended(jobs, sent(jobs))
    shutil.rmtree(jobs.report_of(ticket.id))
    (jobs.folder / REPORTS / ticket.id).symlink_to(precious)
    with pytest.raises(FileNotFoundError):
        jobs.report_of(ticket.id)
    assert jobs.delete(ticket.id)
    assert not (jobs.folder / REPORTS / ticket.id).is_symlink()
    assert (precious / "file").exists()


def grow_deep(folder: Path) -> None:
    """Deeper than Python goes into itself, and than paths may be long."""
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        lower = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = lower
    os.close(os.open("file", os.O_CREAT, dir_fd=here))
    os.close(here)


@contextmanager
def no_more_than_an_ordinary_user() -> Iterator[None]:
    """Root may look into all folders; this thread no longer."""
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, before = struct.pack("<Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    assert libc.capget(header, before) == 0
    may, *others = struct.unpack("<6I", before.raw)
    # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
    assert libc.capset(header, struct.pack("<6I", may & ~6, *others)) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0


@posix
def test_no_report_that_a_worker_made_holds_up_what_comes_after_it(
    jobs: Jobs, pool: StubPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "judge", lambda job, *, progress: grow_deep(job.report) or pool._failed(job, "crashed"))
    hostile = [ended(jobs, sent(jobs)) for _ in range(3)]
    assert {ticket.status for ticket in hostile} == {"failed"}
    monkeypatch.undo()
    assert ended(jobs, sent(jobs)).status == "done"
    assert not [ticket for ticket in hostile if jobs.report_of(ticket.id).exists()]


@posix
@pytest.mark.parametrize("shape", ["deep", "closed"])
def test_a_report_is_deleted_whatever_a_worker_made_of_it(shape: str, jobs: Jobs, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    done = ended(jobs, sent(jobs))
    report = jobs.report_of(done.id)
    (report / "link").symlink_to(precious)
    if shape == "deep":
        grow_deep(report / "d")
    else:
        for mode in (0, 0o300, 0o500):
            (report / f"{mode:o}" / "below").mkdir(parents=True)
            (report / f"{mode:o}" / "file").touch()
            (report / f"{mode:o}").chmod(mode)
        report.chmod(0o300)
    with no_more_than_an_ordinary_user():
        assert jobs.delete(done.id)
    assert lying(jobs) == []
    assert (precious / "file").exists()


def test_what_can_not_be_deleted_yet_keeps_its_row(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        if path == jobs.report_of(done.id):
            raise PermissionError(13, "Permission denied", str(path))
        remove(path)

    done = ended(jobs, sent(jobs, page="mine"))
    remove = module.remove
    monkeypatch.setattr(module, "remove", refuse)
    with pytest.raises(PermissionError):
        jobs.delete(done.id)
    jobs.delete_page("mine")
    assert jobs.get(done.id) is not None
    assert not jobs.file_of(done.id).exists()
    monkeypatch.undo()
    assert jobs.delete(done.id)
    assert lying(jobs) == []


def test_a_bug_costs_no_thread(jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(module, "_SWEEP_EVERY_S", 0.0)
    monkeypatch.setattr(jobs, "_end", break_down)
    monkeypatch.setattr(jobs, "forget", break_down)
    lost = [sent(jobs) for _ in range(3)]
    until(lambda: caplog.text.count("what came of a job is lost") == 3 or None)
    until(lambda: "forgotten later" in caplog.text or None)
    monkeypatch.undo()
    assert ended(jobs, sent(jobs)).status == "done"
    assert all(thread.is_alive() for thread in jobs._threads)
    assert all(jobs.delete(ticket.id) for ticket in lost)


def test_an_original_needs_something_to_be_compared_with(jobs: Jobs) -> None:
    with pytest.raises(KeyError):
        sent(jobs, suspect="nobody")


def test_a_visit_is_forgotten_as_a_whole_and_no_other(jobs: Jobs) -> None:
    mine, other = ended(jobs, sent(jobs, page="mine")), ended(jobs, sent(jobs, page="other"))
    assert [ticket.id for ticket in jobs.of_page("mine")] == [mine.id]
    assert jobs.of_page("") == []
    jobs.delete_page("mine")
    assert jobs.get(mine.id) is None
    assert jobs.get(other.id) is not None


def test_what_is_over_for_long_enough_is_forgotten(jobs: Jobs) -> None:
    done = ended(jobs, sent(jobs))
    assert done.ended_s is not None
    jobs.forget(now_s=done.ended_s + UNASKED_S)
    assert jobs.get(done.id) is not None
    jobs.forget(now_s=done.ended_s + UNASKED_S + 1e-6)
    assert jobs.get(done.id) is None
    assert UNASKED_S > 60


def test_what_has_its_page_open_is_not_forgotten(jobs: Jobs) -> None:
    mine, other, program = (ended(jobs, sent(jobs, page=page)) for page in ("mine", "other", ""))
    suspect = ended(jobs, sent(jobs))
    pair = ended(jobs, sent(jobs, "an original", page="mine", suspect=suspect.id))
    late = time.time() + 10 * UNASKED_S
    jobs.open_visits = lambda: {"mine"}
    jobs.forget(now_s=late)
    left = {ticket.id for ticket in (mine, other, program, suspect, pair) if jobs.get(ticket.id)}
    assert left == {mine.id, suspect.id, pair.id}
    jobs.open_visits = tuple
    jobs.forget(now_s=late)
    assert lying(jobs) == []


def test_what_is_kept_for_its_time_goes_then_though_its_page_is_open(tmp_path: Path, pool: StubPool) -> None:
    with Jobs(tmp_path / "data", pool, keep_s=60) as jobs:  # type: ignore[arg-type]
        jobs.start()
        kept = ended(jobs, sent(jobs, page="mine"))
        jobs.open_visits = lambda: {"mine"}
        jobs.forget(now_s=time.time() + 61)
        assert jobs.get(kept.id) is None


YEAR_S = 365 * 86400


@pytest.mark.parametrize("step_s", [YEAR_S, -YEAR_S])
def test_a_clock_that_is_set_makes_nothing_older_or_younger(
    step_s: int, tmp_path: Path, pool: StubPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WIPE_EVERY_S", 0.05)
    monkeypatch.setattr(module, "_SWEEP_EVERY_S", 0.1)
    right = time.time
    with Jobs(tmp_path / "data", pool, keep_s=2 * YEAR_S) as jobs:  # type: ignore[arg-type]
        jobs.start()
        earlier = ended(jobs, sent(jobs))
    # The machine starts with a wrong clock.
    monkeypatch.setattr(time, "time", lambda: right() - step_s)
    with Jobs(tmp_path / "data", pool, keep_s=60) as jobs:  # type: ignore[arg-type]
        jobs.start()
        done = ended(jobs, sent(jobs))
        assert done.ended_s == pytest.approx(right() - step_s, abs=30)
        monkeypatch.setattr(time, "time", right)
        moved = until(lambda: found if (found := jobs.get(done.id)) and found.ended_s != done.ended_s else None)
        assert moved.ended_s is not None
        assert moved.ended_s == pytest.approx(right(), abs=30)
        assert moved.ended_s - moved.created_s == pytest.approx((done.ended_s or 0) - done.created_s, abs=1e-3)
        jobs.forget(now_s=right())
        assert jobs.get(done.id) is not None
        assert jobs.get(earlier.id, whole=True) == earlier
        jobs.forget(now_s=right() + 61)
        assert jobs.get(done.id) is None


@pytest.mark.parametrize("keep_s", [None, 0.2])
def test_what_is_over_for_long_enough_goes_by_itself(
    keep_s: float | None, tmp_path: Path, pool: StubPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfake_detect.server.ledger.UNASKED_S", 0.2)
    monkeypatch.setattr("deepfake_detect.server.jobs._WIPE_EVERY_S", 0.05)
    monkeypatch.setattr("deepfake_detect.server.jobs._SWEEP_EVERY_S", 0.1)
    with Jobs(tmp_path / "data", pool, keep_s=keep_s) as jobs:  # type: ignore[arg-type]
        jobs.start()
        # Ended first: the other one may get the only worker before it.
        done = ended(jobs, sent(jobs))
        held = sent(jobs, "hold")
        until(lambda: running(jobs, held))
        until(lambda: jobs.get(done.id) is None or None)
        until(lambda: lying(jobs) == [held.id] or None)
        assert running(jobs, held)


def test_what_is_compared_is_not_forgotten_before_its_comparison(jobs: Jobs, pool: StubPool) -> None:
    suspect = ended(jobs, sent(jobs))
    assert suspect.ended_s is not None
    late = suspect.ended_s + UNASKED_S + 1e-6
    with pool._worker:
        held = sent(jobs, "an original", suspect=suspect.id)
        jobs.forget(now_s=late)
    pair = ended(jobs, held)
    assert pair.status == "done"
    jobs.forget(now_s=late)
    assert None not in (jobs.get(suspect.id), jobs.get(pair.id))
    assert pair.ended_s is not None
    jobs.forget(now_s=pair.ended_s + UNASKED_S + 1e-6)
    assert (jobs.get(suspect.id), jobs.get(pair.id)) == (None, None)


def test_nothing_is_left_when_nothing_is_to_be_kept(tmp_path: Path, pool: StubPool) -> None:
    with Jobs(tmp_path / "data", pool) as jobs:  # type: ignore[arg-type]
        jobs.start()
        ended(jobs, sent(jobs))
        held = sent(jobs, "hold")
        until(lambda: running(jobs, held))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("held", ["what was sent", "the database"])
def test_what_another_program_has_open_at_the_end_is_gone_at_the_next_start(
    held: str, tmp_path: Path, pool: StubPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        if path == in_use:
            raise PermissionError(13, "The process cannot access the file because it is being used by another process")
        unlink(path, missing_ok=missing_ok)

    unlink = Path.unlink
    monkeypatch.setattr(module, "_LET_GO_S", 0.0)
    with Jobs(tmp_path / "data", pool) as jobs:  # type: ignore[arg-type]
        database = jobs.folder / "jobs.sqlite"
        in_use = jobs.file_of(sent(jobs).id) if held == "what was sent" else database
        monkeypatch.setattr(Path, "unlink", refuse)
    assert in_use.exists()
    assert database.exists()
    assert "the next start does it" in caplog.text
    monkeypatch.undo()
    with Jobs(tmp_path / "data", pool) as jobs:  # type: ignore[arg-type]
        assert lying(jobs) == []
    assert list(tmp_path.iterdir()) == []


def test_what_another_program_lets_go_in_time_is_gone(
    tmp_path: Path, pool: StubPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse_once(path: Path, *, missing_ok: bool = False) -> None:
        monkeypatch.setattr(Path, "unlink", unlink)
        raise PermissionError(13, "The process cannot access the file because it is being used by another process")

    unlink = Path.unlink
    with Jobs(tmp_path / "data", pool) as jobs:  # type: ignore[arg-type]
        sent(jobs)
        monkeypatch.setattr(Path, "unlink", refuse_once)
    assert list(tmp_path.iterdir()) == []
    assert caplog.text == ""


def test_nothing_is_left_when_the_disk_is_full(tmp_path: Path, pool: StubPool) -> None:
    with Jobs(tmp_path / "data", pool) as jobs:  # type: ignore[arg-type]
        sent(jobs)
        Full(jobs, "UPDATE", 10**6)
    assert list(tmp_path.iterdir()) == []


def test_a_restart_goes_on_with_what_waited_and_ran_and_keeps_what_was_done(tmp_path: Path, pool: StubPool) -> None:
    with Jobs(tmp_path / "data", pool, keep_s=60) as jobs:  # type: ignore[arg-type]
        jobs.start()
        done = ended(jobs, sent(jobs))
        held = sent(jobs, "hold")
        until(lambda: running(jobs, held))
        waiting = sent(jobs, "no_face")
    again = StubPool()
    again.released.set()
    with Jobs(tmp_path / "data", again, keep_s=60) as jobs:  # type: ignore[arg-type]
        assert [ticket.status for ticket in map(jobs.get, (done.id, held.id, waiting.id)) if ticket] == [
            "done", "queued", "queued",
        ]  # fmt: skip
        jobs.start()
        assert ended(jobs, held).status == ended(jobs, waiting).status == "done"
        assert again.judged == ["clip.mp4", "clip.mp4"]


def test_a_job_that_costs_the_server_its_life_again_and_again_is_given_up(tmp_path: Path, pool: StubPool) -> None:
    with Jobs(tmp_path / "data", pool, keep_s=60) as jobs:  # type: ignore[arg-type]
        ticket = sent(jobs)
    database = sqlite3.connect(tmp_path / "data" / "jobs.sqlite")
    with database:
        database.execute("UPDATE jobs SET status = 'running', starts = ?", [MOST_STARTS])
    database.close()
    with Jobs(tmp_path / "data", pool, keep_s=60) as jobs:  # type: ignore[arg-type]
        jobs.start()
        found = ended(jobs, ticket)
        assert pool.judged == []
        assert found.error is not None
        assert (found.status, found.error.kind) == ("failed", "killed")


def test_what_a_killed_server_left_is_gone_at_the_next_start(tmp_path: Path, pool: StubPool) -> None:
    with Jobs(tmp_path / "data", pool) as jobs:  # type: ignore[arg-type]
        left_behind = sent(jobs)
        jobs.file_of("A-file-never-recorded").touch()
        jobs.file_of("x" * 22).touch()
        jobs.picture_of("y" * 22 + ".part").touch()
        shutil.copytree(jobs.folder, tmp_path / "killed")
    with Jobs(tmp_path / "killed", pool) as jobs:  # type: ignore[arg-type]
        assert jobs.get(left_behind.id) is None
        assert lying(jobs) == ["A-file-never-recorded"]


def test_what_was_to_be_kept_is_not_wiped_by_who_keeps_nothing(tmp_path: Path, pool: StubPool) -> None:
    with Jobs(tmp_path / "data", pool, keep_s=60) as jobs:  # type: ignore[arg-type]
        kept = sent(jobs)
    with pytest.raises(OptionsError, match="give --keep again"):
        Jobs(tmp_path / "data", pool)  # type: ignore[arg-type]
    with Jobs(tmp_path / "data", pool, keep_s=60) as jobs:  # type: ignore[arg-type]
        assert jobs.file_of(kept.id).is_file()
        assert jobs.delete(kept.id)
    with Jobs(tmp_path / "data", pool):  # type: ignore[arg-type]
        pass
    assert not (tmp_path / "data").exists()


def test_what_was_to_be_kept_longer_is_not_forgotten_by_who_keeps_less(tmp_path: Path, pool: StubPool) -> None:
    with Jobs(tmp_path / "data", pool, keep_s=1000) as jobs:  # type: ignore[arg-type]
        jobs.start()
        kept = ended(jobs, sent(jobs))
    assert kept.ended_s is not None
    for keep_s, until_s in ((10, 1000), (5000, 5000), (10, 5000)):
        with Jobs(tmp_path / "data", pool, keep_s=keep_s) as jobs:  # type: ignore[arg-type]
            jobs.forget(now_s=kept.ended_s + until_s - 1)
            assert jobs.report_of(kept.id).is_dir()
    with Jobs(tmp_path / "data", pool, keep_s=10) as jobs:  # type: ignore[arg-type]
        jobs.start()
        brief = ended(jobs, sent(jobs))
        assert brief.ended_s is not None
        jobs.forget(now_s=brief.ended_s + 11)
        assert [jobs.get(ticket.id) is None for ticket in (brief, kept)] == [True, False]
        jobs.forget(now_s=kept.ended_s + 5001)
        assert jobs.get(kept.id) is None


def test_what_was_kept_for_its_time_goes_with_who_keeps_nothing(tmp_path: Path, pool: StubPool) -> None:
    with Jobs(tmp_path / "data", pool, keep_s=0.001) as jobs:  # type: ignore[arg-type]
        jobs.start()
        ended(jobs, sent(jobs))
    time.sleep(0.01)
    with Jobs(tmp_path / "data", pool) as jobs:  # type: ignore[arg-type]
        assert lying(jobs) == []


def test_what_was_not_to_be_kept_is_not_kept_by_the_next(tmp_path: Path, pool: StubPool) -> None:
    with Jobs(tmp_path / "data", pool) as jobs:  # type: ignore[arg-type]
        left_behind = sent(jobs)
        shutil.copytree(jobs.folder, tmp_path / "killed")
    with Jobs(tmp_path / "killed", pool, keep_s=60) as jobs:  # type: ignore[arg-type]
        assert jobs.get(left_behind.id) is None
        assert lying(jobs) == []


def test_folders_that_were_cleaned_away_are_made_again(jobs: Jobs) -> None:
    for name in ("media", "pictures", REPORTS):
        (jobs.folder / name).rmdir()
    suspect = ended(jobs, sent(jobs))
    assert ended(jobs, sent(jobs, "an original", suspect=suspect.id)).status == "done"
    waits = sent(jobs, "no_face", contents="record")
    assert ended(jobs, waits).status == "done"
    # What was taken before they went is judged, too.
    with jobs.room() as name:
        jobs.file_of(name).write_text("no_face")
        shutil.rmtree(jobs.folder / REPORTS)
        last = jobs.add(name, called="clip.mp4")
    assert ended(jobs, last).status == "done"
    assert stat.S_IMODE((jobs.folder / REPORTS).stat().st_mode) == 0o700


@posix
def test_what_cleans_up_passes_over_the_folder_of_a_server(tmp_path: Path, pool: StubPool) -> None:
    fcntl = pytest.importorskip("fcntl")
    with Jobs(tmp_path / "data", pool, keep_s=60) as jobs:  # type: ignore[arg-type]
        # As systemd-tmpfiles looks whether it is in use.
        descriptor = os.open(jobs.folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_a_start_that_the_disk_was_too_full_for_is_said_and_tried_again(
    tmp_path: Path, pool: StubPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *arguments: object, **options: object) -> None:
        if path.name == "pictures":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        mkdir(path, *arguments, **options)  # type: ignore[arg-type]

    mkdir = Path.mkdir
    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(OptionsError, match="can't be used \\(No space left on device\\)"):
        Jobs(tmp_path / "data", pool)  # type: ignore[arg-type]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["media"]
    monkeypatch.undo()
    with Jobs(tmp_path / "data", pool):  # type: ignore[arg-type]
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_another_version_kept_is_left_as_it_is(tmp_path: Path, pool: StubPool) -> None:
    with Jobs(tmp_path / "data", pool, keep_s=60) as jobs:  # type: ignore[arg-type]
        kept = sent(jobs)
    database = sqlite3.connect(tmp_path / "data" / "jobs.sqlite")
    with database:
        database.execute("PRAGMA user_version = 2")
    database.close()
    before = {path: path.stat().st_size for path in (tmp_path / "data").rglob("*")}
    assert jobs.file_of(kept.id) in before
    for keep_s in (None, 60):
        with pytest.raises(OptionsError, match="another program or version"):
            Jobs(tmp_path / "data", pool, keep_s=keep_s)  # type: ignore[arg-type]
    assert {path: path.stat().st_size for path in (tmp_path / "data").rglob("*")} == before


def test_a_folder_that_is_not_its_own_is_left_alone(tmp_path: Path, pool: StubPool) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x").write_text("mine")
    with pytest.raises(OptionsError, match="holds other files"):
        Jobs(tmp_path / "photos", pool)  # type: ignore[arg-type]
    (tmp_path / "others" / "pictures").mkdir(parents=True)
    (tmp_path / "others" / "pictures" / "x").write_text("mine")
    with pytest.raises(OptionsError, match="holds other files"):
        Jobs(tmp_path / "others", pool)  # type: ignore[arg-type]
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    with pytest.raises(OptionsError, match="not a folder of your own"):
        Jobs(tmp_path / "link", pool)  # type: ignore[arg-type]
    with (
        Jobs(tmp_path / "data", pool),  # type: ignore[arg-type]
        pytest.raises(OptionsError, match="in use by another server"),
    ):
        Jobs(tmp_path / "data", pool)  # type: ignore[arg-type]
