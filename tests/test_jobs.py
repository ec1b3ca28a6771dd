"""jobs: what is taken, judged, kept over a restart, and gone when it should be."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from deepfake_detect.confine import Limits
from deepfake_detect.errors import OptionsError, WorkerError
from deepfake_detect.jobs import MOST_STARTS, REPORTS, UNASKED_S, FullError, Jobs, Ticket
from deepfake_detect.report import to_dict
from deepfake_detect.types import Failure, MediaInfo, Report, ToolInfo, Verdict
from deepfake_detect.words import LANGUAGES
from deepfake_detect.worker import Job, Outcome, Progress

T = TypeVar("T")
JPEG = b"\xff\xd8\xffa picture"


class StubPool:
    """Stands in for a pool: a file says what comes of it, `label probability`, `error kind`, `hold` or `bug`."""

    tool = ToolInfo("0.0", "net", "0" * 64, "calibration")
    limits = Limits()

    def __init__(self) -> None:
        self.judged: list[str] = []
        self.released = threading.Event()
        self._cancelled: set[Job] = set()

    def cancel(self, job: Job) -> bool:
        self._cancelled.add(job)
        return True

    def judge(self, job: Job, *, progress: Callable[[Progress], None]) -> Outcome:
        assert job.descriptor is not None
        data = os.pread(job.descriptor, 10**6, 0)
        order, _, value = data.decode().partition("\n")[0].partition(" ")
        self.judged.append(job.path)
        try:
            progress(Progress("waiting", 0))
            progress(Progress("judging", 0.5))
            while order == "hold" and not self.released.is_set():
                if job in self._cancelled:
                    raise WorkerError(f"{job.path}: was cancelled", kind="cancelled")
                time.sleep(0.005)
        except WorkerError as error:
            return self._failed(job, error.kind)
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
    until(lambda: jobs.standing(held).stage == "judging" or None)
    with pytest.raises(FullError), jobs.room():
        raise AssertionError("there is no room")
    pool.released.set()
    assert {ended(jobs, ticket).status for ticket in (held, *waiting)} == {"done"}
    assert jobs.standing(ended(jobs, held)).progress == 1


def test_nothing_is_left_of_what_was_never_added(jobs: Jobs) -> None:
    before = sorted(jobs.folder.iterdir())
    with jobs.room() as name:
        jobs.file_of(name).write_text("half")
    assert sorted(jobs.folder.iterdir()) == before


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
    assert (jobs.folder / pair.id / "picture.jpg").read_bytes() == JPEG
    held = sent(jobs, "hold")
    until(lambda: running(jobs, held))
    assert jobs.delete(held.id)
    assert jobs.delete(suspect.id)
    assert not jobs.delete(suspect.id)
    assert [jobs.get(ticket.id) for ticket in (suspect, pair, held)] == [None, None, None]
    assert [path.name for path in jobs.folder.iterdir() if path.is_dir()] == [REPORTS]
    assert list((jobs.folder / REPORTS).iterdir()) == []

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
    jobs.forget(before_s=done.ended_s)
    assert jobs.get(done.id) is not None
    jobs.forget(before_s=done.ended_s + 1e-6)
    assert jobs.get(done.id) is None
    assert UNASKED_S > 60


def test_nothing_is_left_when_nothing_is_to_be_kept(tmp_path: Path, pool: StubPool) -> None:
    with Jobs(tmp_path / "data", pool) as jobs:  # type: ignore[arg-type]
        jobs.start()
        ended(jobs, sent(jobs))
        held = sent(jobs, "hold")
        until(lambda: running(jobs, held))
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
        found = jobs.get(ticket.id)
        assert found is not None
        assert found.error is not None
        assert (found.status, found.error.kind) == ("failed", "killed")


def test_what_a_killed_server_left_is_gone_at_the_next_start(tmp_path: Path, pool: StubPool) -> None:
    with Jobs(tmp_path / "data", pool, keep_s=60) as jobs:  # type: ignore[arg-type]
        kept = sent(jobs)
        (jobs.folder / "A-folder-never-recorded").mkdir()
        (jobs.folder / ("x" * 22)).mkdir()
    with Jobs(tmp_path / "data", pool) as jobs:  # type: ignore[arg-type]
        assert jobs.get(kept.id) is None
        left = {path.name for path in jobs.folder.iterdir() if path.is_dir()}
        assert left == {"A-folder-never-recorded", REPORTS}


def test_a_folder_that_is_not_its_own_is_left_alone(tmp_path: Path, pool: StubPool) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x").write_text("mine")
    with pytest.raises(OptionsError, match="holds other files"):
        Jobs(tmp_path / "photos", pool)  # type: ignore[arg-type]
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    with pytest.raises(OptionsError, match="not a folder of your own"):
        Jobs(tmp_path / "link", pool)  # type: ignore[arg-type]
    with (
        Jobs(tmp_path / "data", pool),  # type: ignore[arg-type]
        pytest.raises(OptionsError, match="in use by another server"),
    ):
        Jobs(tmp_path / "data", pool)  # type: ignore[arg-type]
