"""batch: what is found, that nothing is lost, judged twice or counted twice, and what the table and the page say."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
from conftest import SAMPLES
from test_worker import obedient

import deepfake_detect
from deepfake_detect import batch, content, table
from deepfake_detect.batch import PAGE, Progress, scan
from deepfake_detect.cli import main
from deepfake_detect.confine import Limits
from deepfake_detect.errors import OptionsError
from deepfake_detect.journal import Journal
from deepfake_detect.options import Options
from deepfake_detect.report import to_dict
from deepfake_detect.table import COLUMNS
from deepfake_detect.types import Failure, MediaInfo, Report, ToolInfo, Verdict
from deepfake_detect.walk import Name, Sighting, Walk
from deepfake_detect.words import LANGUAGES
from deepfake_detect.worker import Job, Outcome

JPEG = b"\xff\xd8\xff" + b"a crop"


class InProcess:
    """Stands in for a pool: the file's first word is its label, its second the probability, or the kind of an error."""

    tool = ToolInfo("0.0", "net", "0" * 64, "calibration", "0" * 64)
    limits = Limits(file_bytes=10**6)
    judged: ClassVar[list[str]] = []
    before: ClassVar[Callable[[Job], None] | None] = None

    def __init__(self, *_: object, workers: int = 1, **__: object) -> None:
        self.workers = workers

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass

    def judge(self, job: Job) -> Outcome:
        assert job.descriptor is not None
        if InProcess.before is not None:
            InProcess.before(job)
        InProcess.judged.append(job.path)
        data = os.pread(job.descriptor, 10**6, 0)
        label, _, value = data.decode().partition("\n")[0].partition(" ")
        if label == "error":
            return Outcome(
                to_dict(Report(job.path, self.tool, error=Failure(value, f"{job.path}: no good"))), "rlimits"
            )
        info = MediaInfo(job.path, "image", len(data), hashlib.sha256(data).hexdigest(), 4, 3)
        chance = float(value) if value else None
        verdict = Verdict(label, chance, chance and chance / (1 - chance), "So it is.")  # type: ignore[arg-type]
        reasons = {language: f"So it is, in {language}." for language in LANGUAGES}
        report = Report(job.path, self.tool, info, verdict=verdict)
        return Outcome(to_dict(report), "rlimits", reasons, JPEG + data if job.crop else b"")


@pytest.fixture(autouse=True)
def in_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    InProcess.judged, InProcess.before = [], None
    if "real" not in request.keywords:
        monkeypatch.setattr(batch, "Pool", InProcess)


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    folder = tmp_path / "queue"
    (folder / "below").mkdir(parents=True)
    (folder / "a.jpg").write_text("manipulated 0.9")
    (folder / "b").write_text("no_face")
    (folder / "below/c.mp4").write_text("no_manipulation_found 0.1")
    (folder / "below/same.jpg").write_text("manipulated 0.9")
    (folder / "damaged.png").write_text("error damaged")
    return folder


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def remembered(out: Path) -> tuple[set[str], set[str]]:
    """What the journal of a table holds: names of files that have a verdict, and all contents that have one."""
    with closing(sqlite3.connect(f"{out}.journal")) as journal:
        names = journal.execute("SELECT path FROM files JOIN verdicts USING (sha256)").fetchall()
        contents = journal.execute("SELECT sha256 FROM verdicts").fetchall()
    return {os.fsdecode(path) for (path,) in names}, {sha256 for (sha256,) in contents}


def rows(*paths: object, out: Path, **options: Any) -> dict[str, dict[str, Any]]:
    scan([str(path) for path in paths], out, **options)
    found = jsonl(out)
    assert len({row["path"] for row in found}) == len(found)
    return {row["path"]: row for row in found}


def test_a_row_a_file_in_order_of_path(queue: Path, tmp_path: Path) -> None:
    summary = scan([str(queue)], tmp_path / "out.jsonl")
    found = jsonl(tmp_path / "out.jsonl")
    names = ["a.jpg", "b", "below/c.mp4", "below/same.jpg", "damaged.png"]
    assert [row["path"] for row in found] == [str(queue / name) for name in names]
    assert [list(row) for row in found] == [list(COLUMNS)] * 5
    assert [row["label"] for row in found] == ["manipulated", "no_face", "no_manipulation_found", "manipulated", None]
    assert found[0]["sha256"] == hashlib.sha256(b"manipulated 0.9").hexdigest()
    assert (found[0]["probability"], found[0]["reason"], found[0]["size_bytes"]) == (0.9, "So it is.", 15)
    assert (found[4]["error_kind"], found[4]["error"]) == ("damaged", "no good")
    assert (summary.files, summary.duplicates, summary.errors) == (5, 1, {"damaged": 1})
    assert summary.labels == {"manipulated": 2, "no_face": 1, "no_manipulation_found": 1}
    assert summary.confinements == ("rlimits",)


def test_paths_give_the_rows_that_their_names_give(queue: Path, tmp_path: Path) -> None:
    paths = [queue / "below", queue / "a.jpg"]
    scan(paths, tmp_path / "out.jsonl")
    found = jsonl(tmp_path / "out.jsonl")
    assert [Path(row["path"]) for row in found] == [queue / name for name in ("a.jpg", "below/c.mp4", "below/same.jpg")]
    scan([str(path) for path in paths], tmp_path / "out.jsonl", restart=True)
    assert jsonl(tmp_path / "out.jsonl") == found


@pytest.mark.parametrize("kind", [str, Path])
def test_one_path_is_no_list_of_paths_and_nothing_is_begun(kind: type[str | Path], queue: Path, tmp_path: Path) -> None:
    one: Any = kind(queue)
    with pytest.raises(TypeError, match=r"found one, .*queue"):
        scan(one, tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == [queue]


def test_the_formats_say_the_same(queue: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (queue / 'comma, "quote"\nline').write_text("inconclusive 0.5")
    tables = []
    for ending in ("jsonl", "csv", "parquet"):
        (tmp_path / ending).mkdir()
        scan([str(queue)], tmp_path / ending / f"out.{ending}")
    tables.append([{key: "" if value is None else str(value) for key, value in row.items()}
                   for row in jsonl(tmp_path / "jsonl/out.jsonl")])  # fmt: skip
    with (tmp_path / "csv/out.csv").open(newline="") as file:
        tables.append(list(csv.DictReader(file)))
    assert tables[0] == tables[1]
    assert parquet.read_table(tmp_path / "parquet/out.parquet").to_pylist() == jsonl(tmp_path / "jsonl/out.jsonl")


def test_what_has_the_same_content_is_judged_once(queue: Path, tmp_path: Path) -> None:
    for i in range(50):
        (queue / f"copy{i}").write_text("error damaged")
    found = rows(queue, out=tmp_path / "out.jsonl")
    assert len(InProcess.judged) == 4
    assert Counter(row["error"] for row in found.values())["no good"] == 51


def test_a_second_run_judges_only_what_changed(queue: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    first = rows(queue, out=out)
    before = InProcess.judged[:]
    assert rows(queue, out=out) == first
    assert before == InProcess.judged
    (queue / "b").write_text("inconclusive 0.5")
    (queue / "a.jpg").unlink()
    (queue / "new").write_text("no_face")
    second = rows(queue, out=out)
    # The new one has the content that the changed one had.
    assert InProcess.judged[len(before) :] == [str(queue / "b")]
    assert second.keys() == (first.keys() - {str(queue / "a.jpg")}) | {str(queue / "new")}
    assert second[str(queue / "b")]["label"] == "inconclusive"
    assert second[str(queue / "new")]["label"] == "no_face"


def test_a_file_of_the_same_size_and_date_with_another_content_is_noticed(queue: Path, tmp_path: Path) -> None:
    rows(queue, out=tmp_path / "out.jsonl")
    known = (queue / "b").stat()
    (queue / "b").write_text("no_fac3")
    (queue / "b").write_text("error x")
    os.utime(queue / "b", ns=(known.st_atime_ns, known.st_mtime_ns))
    assert (queue / "b").stat().st_size == known.st_size
    assert rows(queue, out=tmp_path / "out.jsonl")[str(queue / "b")]["error_kind"] == "x"


@pytest.mark.parametrize("year", [1900, 2300, 2500])
def test_a_date_beyond_what_the_journal_can_hold_ends_nothing(year: int, queue: Path, tmp_path: Path) -> None:
    date_s = (year - 1970) * 31_556_952
    os.utime(queue / "b", (date_s, date_s))
    first = rows(queue, out=tmp_path / "out.jsonl")
    assert first[str(queue / "b")]["label"] == "no_face"
    before = len(InProcess.judged)
    seen: list[Progress] = []
    assert rows(queue, out=tmp_path / "out.jsonl", progress=seen.append) == first
    assert len(InProcess.judged) == before
    # It is known, too, and not read again.
    assert seen[-1].judged == 0


def test_retry_judges_anew_what_the_content_alone_did_not_decide(queue: Path, tmp_path: Path) -> None:
    kinds = ("timed_out", "out_of_memory", "crashed", "killed", "unreadable", "internal")
    for kind in kinds:
        (queue / kind).write_text(f"error {kind}")
    rows(queue, out=tmp_path / "out.jsonl")
    before = len(InProcess.judged)
    rows(queue, out=tmp_path / "out.jsonl")
    assert len(InProcess.judged) == before
    rows(queue, out=tmp_path / "out.jsonl", retry=True)
    assert sorted(InProcess.judged[before:]) == sorted(str(queue / kind) for kind in kinds)


def test_other_settings_are_refused_until_told_to_begin_anew(queue: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    rows(queue, out=out)
    with pytest.raises(OptionsError, match=r"frames was 16, is 9.*--restart"):
        scan([str(queue)], out, options=Options(frames=9))
    assert len(rows(queue, out=out, options=Options(frames=9), restart=True)) == 5
    assert len(InProcess.judged) == 8


@pytest.mark.parametrize(
    ("named", "changed"),
    [
        ("version", {"version": "0.1"}),
        ("model_sha256", {"model_sha256": "1" * 64}),
        ("calibration", {"calibration": "2"}),
    ],
)
def test_a_scan_goes_on_only_with_the_same_version_weights_and_calibration(
    named: str, changed: dict[str, str], queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.jsonl"
    rows(queue, out=out)
    before = len(InProcess.judged)
    monkeypatch.setattr(InProcess, "tool", replace(InProcess.tool, **changed))
    with pytest.raises(OptionsError, match=rf"{named} was .*, is {changed[named]}.*--restart"):
        scan([str(queue)], out)
    assert len(InProcess.judged) == before
    assert len(rows(queue, out=out, restart=True)) == 5


def test_what_no_file_has_any_longer_is_forgotten(queue: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    rows(queue, out=out)
    before = len(InProcess.judged)
    assert JPEG + b"no_face" in (tmp_path / "out.jsonl.journal").read_bytes()
    (queue / "a.jpg").unlink()
    (queue / "damaged.png").unlink()
    (queue / "b").write_text("inconclusive 0.5")
    (queue / "below/c.mp4").rename(queue / "moved.mp4")
    rows(queue, out=out)
    names, contents = remembered(out)
    assert names == {str(queue / name) for name in ("b", "below/same.jpg", "moved.mp4")}
    texts = (b"inconclusive 0.5", b"manipulated 0.9", b"no_manipulation_found 0.1")
    assert contents == {hashlib.sha256(text).hexdigest() for text in texts}
    # What was moved, or is there once more, kept its verdict; and what is forgotten is overwritten.
    assert InProcess.judged[before:] == [str(queue / "b")]
    assert JPEG + b"no_face" not in (tmp_path / "out.jsonl.journal").read_bytes()


def test_what_may_only_be_out_of_reach_is_kept_until_it_is_left_out(queue: Path, tmp_path: Path) -> None:
    out, away = tmp_path / "out.jsonl", tmp_path / "away"
    rows(queue, out=out)
    known, before = remembered(out), len(InProcess.judged)
    assert len(known[0]) == 5
    # Not named this time, but there.
    rows(queue / "a.jpg", out=out)
    assert remembered(out) == known
    queue.rename(away)
    for name in (str(queue), f"{queue}/", f"{queue}/**/*.jpg"):
        assert rows(name, out=out)[name]["error_kind"] == "not_found"
        assert remembered(out) == known
    away.rename(queue)
    assert len(rows(queue, out=out)) == 5
    assert len(InProcess.judged) == before
    queue.rename(away)
    (tmp_path / "other").mkdir()
    assert rows(tmp_path / "other", out=out) == {}
    assert remembered(out) == (set(), set())


@pytest.mark.skipif(os.name != "posix", reason="links are those of Unix")
@pytest.mark.parametrize("how", ["names", "links"])
def test_a_list_of_files_that_are_out_of_reach_for_a_while_loses_no_verdict(
    how: str, queue: Path, tmp_path: Path
) -> None:
    out, away, links = tmp_path / "out.jsonl", tmp_path / "away", tmp_path / "links"
    names = [Name(queue / name) for name in ("a.jpg", "b", "below/same.jpg")]
    if how == "links":
        links.mkdir()
        for name in names:
            (links / Path(name).name).symlink_to(name)
        names = [Name(links / Path(name).name) for name in names]
    scan(names, out)
    first, known, before = jsonl(out), remembered(out), len(InProcess.judged)
    queue.rename(away)
    summary = scan(names, out)
    assert (summary.errors, summary.duplicates) == ({"not_found": 3}, 0)
    told = {key for row in jsonl(out) for key, value in row.items() if value is not None}
    assert told == {"path", "error_kind", "error"}
    assert {row["error"] for row in jsonl(out)} == {"no such file; check the path"}
    assert remembered(out) == known
    away.rename(queue)
    scan(names, out)
    assert jsonl(out) == first
    assert len(InProcess.judged) == before
    # What isn't named any longer and isn't there is forgotten, as always.
    queue.rename(away)
    if how == "links":
        links.rename(tmp_path / "gone")
    scan(names[:1], out)
    assert remembered(out)[0] == {str(names[0])}


@pytest.mark.skipif(os.name != "posix", reason="links are those of Unix")
def test_what_lies_behind_a_link_to_a_drive_that_is_away_is_not_forgotten(queue: Path, tmp_path: Path) -> None:
    out, link = tmp_path / "out.jsonl", tmp_path / "link"
    link.symlink_to(queue)
    scan([link], out)
    known = remembered(out)
    assert len(known[0]) == 5
    queue.rename(tmp_path / "away")
    scan([link], out)
    assert remembered(out) == known
    link.unlink()
    scan([link], out)
    assert remembered(out)[0] == known[0]
    link.mkdir()
    scan([link], out)
    assert remembered(out) == (set(), set())


def test_a_scan_that_was_stopped_forgets_nothing_and_reads_on_where_it_was(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, opened, read = tmp_path / "out.jsonl", content.opened, list[str]()

    def noted(path: str, **options: Any) -> Any:
        read.append(path)
        return opened(path, **options)

    def stop(progress: Progress) -> None:
        if progress.judged >= 10:
            raise KeyboardInterrupt

    monkeypatch.setattr(content, "opened", noted)
    rows(queue, out=out)
    assert len(read) == 5
    (queue / "damaged.png").unlink()
    for i in range(40):
        (queue / f"{i}").write_text(f"inconclusive 0.{i + 10}")
    read.clear()
    with pytest.raises(KeyboardInterrupt):
        scan([str(queue)], out, progress=stop, workers=1)
    known, _ = remembered(out)
    assert str(queue / "damaged.png") in known
    assert len(known) >= 15
    assert set(read) < {str(queue / f"{i}") for i in range(40)}
    read.clear()
    assert len(rows(queue, out=out)) == 44
    assert len(read) == len(set(read)) == 45 - len(known)


@pytest.mark.parametrize("kind", ["journal", "database", "page", "ending", "folder", "no_folder"])
def test_what_is_in_the_way_is_left_alone(kind: str, queue: Path, tmp_path: Path) -> None:
    out, journal = tmp_path / "out.csv", tmp_path / "out.csv.journal"
    if kind == "journal":
        journal.write_text("my own journal, with many words in it" * 100)
    elif kind == "database":
        with sqlite3.connect(journal) as other:
            other.execute("CREATE TABLE files (mine)")
        other.close()
    elif kind == "page":
        (tmp_path / PAGE).write_text("<p>mine")
    elif kind == "ending":
        out = tmp_path / "out.xlsx"
    elif kind == "folder":
        out.mkdir()
    else:
        out = tmp_path / "nowhere/out.csv"
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(OptionsError):
        scan([str(queue)], out, restart=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_two_scans_into_one_table_do_not_meet(queue: Path, tmp_path: Path) -> None:
    def again(progress: Progress) -> None:
        with pytest.raises(OptionsError, match="in use by another scan"):
            scan([str(queue)], tmp_path / "out.csv")

    scan([str(queue)], tmp_path / "out.csv", progress=again)


def test_parquet_without_pyarrow_says_what_to_install(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OptionsError, match=r'pip install "deepfake-detect\[scan\]"'):
        scan([str(queue)], tmp_path / "out.parquet")


def test_patterns_files_and_folders_and_each_path_once(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(queue)
    (queue / "=formula()").write_text("no_face")
    found = rows(
        "**/*.jpg",
        "b",
        "bel*",
        "below",
        "below",
        "nothing*here",
        "gone.jpg",
        "=formula()",
        out=tmp_path / "out.jsonl",
    )
    assert {path: row["error_kind"] for path, row in found.items()} == {
        "a.jpg": None, "below/same.jpg": None, "b": None, "below/c.mp4": None, "nothing*here": "not_found",
        "gone.jpg": "not_found", "./=formula()": None,
    }  # fmt: skip


def test_a_scan_that_was_stopped_keeps_its_folder_for_its_page(queue: Path, tmp_path: Path) -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan([str(queue)], tmp_path / "a.jsonl", progress=stop)
    with pytest.raises(OptionsError, match=r"a scan into a\.jsonl was begun there and has not ended"):
        scan([str(queue)], tmp_path / "b.csv")
    assert not (tmp_path / "b.csv.journal").exists()
    assert len(rows(queue, out=tmp_path / "a.jsonl")) == 5
    assert table._mark(tmp_path / "a.jsonl") in (tmp_path / PAGE).read_text(encoding="utf-8")


def test_two_scans_that_were_begun_at_once_do_not_replace_each_others_page(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beside(_: Job) -> None:
        monkeypatch.setattr(InProcess, "before", None)
        # As if neither had seen the other's journal.
        (tmp_path / "a.jsonl.journal").rename(tmp_path / "hidden")
        scan([str(queue / "b")], tmp_path / "b.jsonl")
        (tmp_path / "hidden").rename(tmp_path / "a.jsonl.journal")

    monkeypatch.setattr(InProcess, "before", staticmethod(beside))
    with pytest.raises(
        OptionsError, match=r"index\.html: is not of an earlier scan into a\.jsonl .* move it elsewhere"
    ):
        scan([str(queue)], tmp_path / "a.jsonl", workers=1)
    assert table._mark(tmp_path / "b.jsonl") in (tmp_path / PAGE).read_text(encoding="utf-8")
    # Nothing is lost.
    (tmp_path / PAGE).unlink()
    judged = len(InProcess.judged)
    assert len(rows(queue, out=tmp_path / "a.jsonl")) == 5
    assert len(InProcess.judged) == judged


@pytest.mark.skipif(os.name != "posix", reason="such names are those of Unix")
def test_refusals_name_tables_as_can_be_printed(tmp_path: Path) -> None:
    odd = tmp_path / "x\nok   \x1b[2K"
    for out, why in ((odd, "expected a name that ends in"), (odd / "a.csv", "is not a folder")):
        with pytest.raises(OptionsError, match=rf"x\\nok   \\x1b\[2K: {why}"):
            table.check_way(out, tmp_path / PAGE, tmp_path / "a.journal")
    odd.mkdir()
    (odd / "a.csv").mkdir()
    (odd / "b.csv").write_text("years of work")
    (odd / PAGE).write_text("years of work")
    for name, page, why in (
        ("a.csv", "none.html", r"a\.csv: is a folder"),
        ("b.csv", "none.html", r"b\.csv: is not of an earlier scan and"),
        ("c.csv", PAGE, r"index\.html: is not of an earlier scan into c\.csv"),
    ):
        with pytest.raises(OptionsError, match=rf"x\\nok   \\x1b\[2K/{why}"):
            table.check_way(odd / name, odd / page, odd / "a.journal")
    (odd / "d\n.csv.journal").touch()
    with pytest.raises(OptionsError, match=r"x\\nok   \\x1b\[2K: a scan into d\\n\.csv was begun"):
        table.check_way(odd / "c.csv", odd / "none.html", odd / "c.csv.journal")


def test_a_table_of_another_origin_is_not_replaced(queue: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.csv"
    out.write_text("years of work")
    with pytest.raises(OptionsError, match=r"mine\.csv: is not of an earlier scan"):
        rows(queue, out=out)
    assert out.read_text() == "years of work"
    out.unlink()
    rows(queue, out=tmp_path / "own.jsonl")
    (tmp_path / "own.jsonl.journal").unlink()
    assert rows(queue, out=tmp_path / "own.jsonl")


def test_a_pattern_of_folders_is_all_that_lies_below_them(queue: Path, tmp_path: Path) -> None:
    (queue / "case-1" / "deeper").mkdir(parents=True)
    for name in ("case-1/x.jpg", "case-1/deeper/y.jpg"):
        (queue / name).write_text("no_face")
    for number, pattern in enumerate(("case-*", "case-1/**", "case*/*")):
        (tmp_path / str(number)).mkdir()
        found = rows(f"{queue}/{pattern}", out=tmp_path / str(number) / "out.jsonl")
        assert {Path(path).name for path in found} == {"x.jpg", "y.jpg"}


def test_names_found_by_a_pattern_are_those_found_without(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = rows("queue", out=tmp_path / "out.jsonl").keys()
    assert len(whole) == 5
    for pattern in ("que*", "queue/**", "queue/**/*", "queue/*", "./queue/**", "**/queue", "q*/**/**"):
        assert rows(pattern, out=tmp_path / "out.jsonl").keys() == whole
    monkeypatch.chdir(queue)
    below = {path.removeprefix(f"queue{os.sep}") for path in whole}
    for pattern in ("*", "**", "**/*", "./**"):
        assert rows(pattern, out=tmp_path / "out.jsonl").keys() == below
    assert rows("**/*.jpg", "*/*.mp4", "**/*.jpg", out=tmp_path / "out.jsonl").keys() == {
        "a.jpg", "below/same.jpg", "below/c.mp4",
    }  # fmt: skip


def test_a_pattern_after_the_folder_that_it_fits_is_no_complaint(queue: Path, tmp_path: Path) -> None:
    found = rows(queue / "below", f"{queue}/bel*", f"{queue}/bel*/**", out=tmp_path / "out.jsonl")
    assert found.keys() == {str(queue / "below/c.mp4"), str(queue / "below/same.jpg")}


@pytest.mark.parametrize("pattern", ["**/*.jpg", "*/*.jpg", "bel*", "**"])
@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), FileNotFoundError(2, "No such file")])
def test_a_pattern_tells_of_folders_that_it_cannot_look_into(
    error: OSError, pattern: str, queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if os.fspath(path) == str(queue / "below"):
            raise error
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = rows(f"{queue}/{pattern}", queue / "a.jpg", out=tmp_path / "out.jsonl")
    assert found[str(queue / "below")]["error_kind"] == "unreadable"
    assert found[str(queue / "a.jpg")]["label"] == "manipulated"
    assert f"{queue}/{pattern}" not in found


def test_a_folder_that_can_be_listed_and_not_entered_ends_no_scan(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (queue / "below/deeper").mkdir()
    stat = os.stat

    def refuse(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if isinstance(path, (str, Path)) and str(path).startswith(f"{queue / 'below'}{os.sep}"):
            raise PermissionError(13, "Permission denied")
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    found = rows(f"{queue}/*/*", out=tmp_path / "out.jsonl")
    assert {path.removeprefix(f"{queue}{os.sep}"): row["error_kind"] for path, row in found.items()} == {
        "below/c.mp4": "unreadable", "below/same.jpg": "unreadable", "below/deeper": "unreadable",
    }  # fmt: skip


def test_two_spellings_of_a_folder_are_one(queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = rows(queue, "queue", f"{queue}/../queue", queue / "below", out=tmp_path / "out.jsonl")
    assert len(first) == 5
    assert all(path.startswith(str(queue)) for path in first)
    # What was looked at in part, by a pattern, is looked at in full all the same.
    assert len(rows("queue/**/*.mp4", queue / "below", "queue", out=tmp_path / "out.jsonl")) == 6


@pytest.mark.skipif(os.name != "posix", reason="links, pipes and such names are those of Unix")
def test_links_pipes_and_odd_names(queue: Path, tmp_path: Path) -> None:
    (queue / "below/loop").symlink_to(queue)
    (queue / "link.jpg").symlink_to(queue / "a.jpg")
    (queue / "nowhere").symlink_to(queue / "gone")
    (queue / "aa_itself").symlink_to(queue / "aa_itself")
    os.mkfifo(queue / "pipe")
    odd = ["new\nline", "\u202egpj.exe", os.fsdecode(b"\xff\xfe.jpg"), "<img src=x onerror=alert(1)>.jpg", "x" * 255]
    for name in odd:
        (queue / name).write_text("no_face")
    found = rows(queue, out=tmp_path / "out.jsonl")
    kinds = {path.removeprefix(f"{queue}/"): row["error_kind"] for path, row in found.items()}
    assert {name: kinds[name] for name in ("below/loop", "link.jpg", "nowhere", "pipe")} == {
        "below/loop": "link", "link.jpg": "link", "nowhere": "link", "pipe": "not_a_file",
    }  # fmt: skip
    assert {name.encode("utf-8", "backslashreplace").decode() for name in odd} <= kinds.keys()
    assert len(found) == 5 + 5 + len(odd)
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert "\u202e" not in page
    assert "<img src=x" not in page
    followed = rows(queue, out=tmp_path / "out.jsonl", follow_links=True)
    kinds = {path.removeprefix(f"{queue}/"): row["error_kind"] for path, row in followed.items()}
    assert {name: kinds[name] for name in ("below/loop", "link.jpg", "nowhere", "pipe")} == {
        "below/loop": "link", "link.jpg": None, "nowhere": "not_found", "pipe": "not_a_file",
    }  # fmt: skip
    assert kinds["aa_itself"] == "unreadable"
    assert len(followed) == len(found)
    again = rows(queue, out=tmp_path / "out.jsonl")
    assert {path: (row["error_kind"], row["label"]) for path, row in again.items()} == {
        path: (row["error_kind"], row["label"]) for path, row in found.items()
    }
    assert len(rows(f"{queue}/**/*", out=tmp_path / "out.jsonl")) == len(found)
    # Behind a link to a folder there may be what the pattern fits.
    some = rows(f"{queue}/**/*.jpg", out=tmp_path / "out.jsonl")
    assert some[str(queue / "below/loop")]["error_kind"] == "link"
    assert len(some) == 6
    some = rows(f"{queue}/**/*.jpg", out=tmp_path / "out.jsonl", follow_links=True)
    assert (len(some), some[str(queue / "link.jpg")]["label"]) == (6, "manipulated")
    assert rows(queue, queue / "link.jpg", out=tmp_path / "out.jsonl")[str(queue / "link.jpg")]["error"] is None


def test_names_that_are_no_file_have_a_row(queue: Path, tmp_path: Path) -> None:
    names = ["", f"{queue}/**.png", "nowhere/*", f"{queue}/a.jpg/*", "a\0*"]
    found = rows(*names, out=tmp_path / "out.jsonl")
    assert {path: row["error_kind"] for path, row in found.items()} == {
        "": "not_found", f"{queue}/damaged.png": "damaged", "nowhere/*": "not_found", f"{queue}/a.jpg/*": "not_found",
        "a\0*": "not_found",
    }  # fmt: skip


def test_a_carriage_return_in_a_name_ends_no_row(queue: Path, tmp_path: Path) -> None:
    (queue / "a\rb.jpg").write_text("no_face")
    scan([str(queue)], tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as lines:
        names = [row["path"] for row in csv.DictReader(lines)]
    assert len(names) == 6
    assert f"{queue}/a\\rb.jpg" in names


def test_a_link_that_was_given_is_followed(queue: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(queue)
    assert len(rows(tmp_path / "link", out=tmp_path / "out.jsonl")) == 5


def test_a_folder_that_cannot_be_read_has_a_row(queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if path == str(queue / "below"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = rows(queue, out=tmp_path / "out.jsonl")
    assert found[str(queue / "below")]["error_kind"] == "unreadable"
    assert len(found) == 4


def test_the_table_does_not_find_itself(queue: Path) -> None:
    first = rows(queue, out=queue / "out.jsonl")
    assert rows(queue, out=queue / "out.jsonl") == first
    assert len(first) == 5


def test_a_file_that_changes_while_it_is_judged_gets_no_verdict(queue: Path, tmp_path: Path) -> None:
    def grow(job: Job) -> None:
        if job.path.endswith("b"):
            with Path(job.path).open("a") as file:
                file.write("\nmore")

    InProcess.before = grow
    found = rows(queue, out=tmp_path / "out.jsonl")
    assert found[str(queue / "b")]["error_kind"] == "changed"
    InProcess.before = None
    assert rows(queue, out=tmp_path / "out.jsonl")[str(queue / "b")]["label"] == "no_face"


@pytest.mark.skipif(os.name != "posix", reason="limits are those of Unix")
def test_a_scan_may_open_as_many_files_as_the_system_allows(queue: Path, tmp_path: Path) -> None:
    import resource

    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("there is no limit")
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1, 512), hard))
        rows(queue, out=tmp_path / "out.jsonl")
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_too_large_a_file_is_not_even_read(queue: Path, tmp_path: Path) -> None:
    with (queue / "sparse").open("wb") as file:
        file.truncate(10**12)
    assert rows(queue, out=tmp_path / "out.jsonl")[str(queue / "sparse")]["error_kind"] == "too_large"


def test_a_file_that_takes_too_long_to_read_costs_a_row_and_is_read_again_next_time(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InProcess, "limits", Limits(seconds=1, file_bytes=10**6))
    monkeypatch.setattr(content, "_CHUNK", 4)
    read = os.read

    def slowly(descriptor: int, size: int) -> bytes:
        if os.fstat(descriptor).st_size == len("no_face"):
            time.sleep(0.7)
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", slowly)
    found = rows(queue, out=tmp_path / "out.jsonl")
    assert {path: row["error_kind"] for path, row in found.items() if row["error_kind"]} == {
        str(queue / "b"): "timed_out", str(queue / "damaged.png"): "damaged",
    }  # fmt: skip
    assert "longer than 1 s" in found[str(queue / "b")]["error"]
    monkeypatch.setattr(os, "read", read)
    assert rows(queue, out=tmp_path / "out.jsonl")[str(queue / "b")]["label"] == "no_face"


def test_the_largest_are_judged_first_and_the_table_stays_in_order_of_path(queue: Path, tmp_path: Path) -> None:
    (queue / "z.mp4").write_text("inconclusive 0.5" + "\n" * 10_000)
    (queue / "below/y.mp4").write_text("inconclusive 0.5" + "\n" * 40_000)
    found = list(rows(queue, out=tmp_path / "out.jsonl", workers=1))
    assert found == sorted(found)
    with Journal(tmp_path / "other.journal", {}, restart=False) as journal:
        journal.look_for(Walk([str(queue)], set(), follow=False), retry=False)
        names = [one.path.removeprefix(f"{queue}{os.sep}") for one in journal.pending()]
    # By powers of two, and by path among those.
    assert names == ["below/y.mp4", "z.mp4", "below/c.mp4", "a.jpg", "below/same.jpg", "damaged.png", "b"]


def test_an_actor_gets_many_small_files_at_once_and_few_large_ones() -> None:
    sizes = [10**9, 10**8, *[2**20] * 200, *[10] * 400]
    files = [Sighting(str(i), stamp=[size, 0, 0]) for i, size in enumerate(sizes)]
    portions = list(batch._portions(iter(files), len(files), 2))
    assert [one for some in portions for one in some] == files
    assert [len(some) for some in portions[:4]] == [1, 1, 32, 32]
    assert len(portions[-1]) == 1


def test_an_interrupt_loses_nothing(queue: Path, tmp_path: Path) -> None:
    for i in range(40):
        (queue / f"{i}").write_text(f"inconclusive 0.{i + 10}")
    whole = rows(queue, out=tmp_path / "whole.jsonl")
    (tmp_path / PAGE).unlink()
    InProcess.judged = []

    def stop(progress: Progress) -> None:
        if progress.judged >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan([str(queue)], tmp_path / "out.jsonl", progress=stop, workers=1)
    assert not (tmp_path / "out.jsonl").exists()
    assert rows(queue, out=tmp_path / "out.jsonl") == whole
    assert len(set(InProcess.judged)) == len({row["sha256"] for row in whole.values()})
    # Of those in hand when it was interrupted, one for each thread may have to be judged again.
    assert len(InProcess.judged) <= len(set(InProcess.judged)) + 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_at_any_moment_and_run_again_the_table_is_that_of_an_unbroken_run(tmp_path: Path) -> None:
    folder = tmp_path / "queue"
    folder.mkdir()
    chance = random.Random(0)
    for i in range(60):
        found = chance.choice([f"inconclusive 0.{i + 10}", "error damaged", "no_face"])
        # Every fifth has the content of another one.
        (folder / f"{i:02}").write_text(f"{found}\n{i}" if i % 5 else "no_face")
    program = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_batch
from deepfake_detect import batch, content
batch.Pool = test_batch.InProcess
test_batch.InProcess.before = lambda job: (print(job.path, flush=True), time.sleep(0.05))
from pathlib import Path
batch.scan([sys.argv[1]], Path(sys.argv[2]), workers=2)
print("done", flush=True)
"""
    whole = rows(folder, out=tmp_path / "whole.jsonl")
    (tmp_path / PAGE).unlink()
    command = [sys.executable, "-c", program, str(folder), str(tmp_path / "out.jsonl")]
    environment = {**os.environ, "PYTHONPATH": str(SAMPLES.parent)}
    said: list[str] = []
    statuses = []
    for kill in (True, True, True, True, False):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, 8)) if kill else ():
                said.append(process.stdout.readline())
            if kill:
                time.sleep(chance.uniform(0, 0.02))
                process.send_signal(signal.SIGKILL)
            said += process.stdout.read().splitlines(keepends=True)
        statuses.append(process.returncode)
    # On a machine under load it may be done before it is killed.
    assert -signal.SIGKILL in statuses
    assert statuses[-1] == 0
    said = [line for line in said if line not in ("", "done\n")]
    assert {row["path"]: row for row in jsonl(tmp_path / "out.jsonl")} == whole
    # Judged again were at most those in hand when it was killed.
    assert len(said) <= len({row["sha256"] for row in whole.values()}) + 4 * 4


@pytest.mark.real
@pytest.mark.skipif(os.name != "posix", reason="limits and signals are those of Unix")
def test_a_crash_a_hang_and_hunger_cost_a_row_each(tmp_path: Path) -> None:
    folder = tmp_path / "queue"
    folder.mkdir()
    orders = {"1": "be good 1", "2": "hang", "3": "be good 3", "4": f"crash {int(signal.SIGSEGV)}", "5": "eat 1000"}
    for name, order in orders.items():
        (folder / name).write_text(order)
    limits = Limits(seconds=5, memory_bytes=2**30)
    scan([str(folder)], tmp_path / "out.jsonl", prepare=obedient, limits=limits, workers=1)
    found = jsonl(tmp_path / "out.jsonl")
    assert [row["error_kind"] for row in found] == [None, "timed_out", None, "crashed", "out_of_memory"]
    assert all(row["confinement"] for row in found)


@pytest.mark.skipif(os.name != "posix", reason="limits and signals are those of Unix")
def test_ctrl_c_ends_everything_without_a_word(tmp_path: Path) -> None:
    folder = tmp_path / "queue"
    folder.mkdir()
    for name in "abcd":
        (folder / name).write_text(f"hang {name}")
    # What a shell runs in the background ignores SIGINT, and so would this.
    program = f"""
import signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_worker import obedient
from deepfake_detect.batch import scan
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        scan([sys.argv[1]], Path(sys.argv[2]), prepare=obedient, workers=2, progress=lambda _: print("goes", flush=True))
    except KeyboardInterrupt:
        sys.exit(130)
"""
    (tmp_path / "script.py").write_text(program)
    command = [sys.executable, str(tmp_path / "script.py"), str(folder), str(tmp_path / "out.csv")]
    environment = {**os.environ, "PYTHONPATH": str(SAMPLES.parent)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while process.stdout.readline() == "goes\n" and len(psutil.Process(process.pid).children()) < 3:
            pass
        family = psutil.Process(process.pid).children(recursive=True)
        # As a terminal does: to all of them at once, workers that only just start included.
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr.read() == ""
        assert process.wait(60) == 130
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page(language: str, queue: Path, tmp_path: Path) -> None:
    scan([str(queue)], tmp_path / "out.jsonl", language=language)
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert f'<html lang="{language}">' in page
    assert page.count(base64.b64encode(JPEG).decode()) == 4
    assert page.count(f"So it is, in {language}.") == 4
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}'" in page
    # The most probable first, what has no probability last.
    body = page[page.index("<tbody>") :]
    assert body.index("a.jpg") < body.index("below/c.mp4") < body.index("damaged.png")


def test_without_images_no_worker_is_asked_for_any(queue: Path, tmp_path: Path) -> None:
    asked: list[bool] = []
    InProcess.before = lambda job: asked.append(job.crop)
    rows(queue, out=tmp_path / "out.jsonl", images=False)
    assert asked == [False] * 4
    assert JPEG not in (tmp_path / "out.jsonl.journal").read_bytes()
    (tmp_path / "with").mkdir()
    rows(queue, out=tmp_path / "with/out.jsonl")
    assert asked[4:] == [True] * 4
    assert JPEG in (tmp_path / "with/out.jsonl.journal").read_bytes()


def test_no_images_means_none_anywhere(queue: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    scan([str(queue)], out)
    scan([str(queue)], out, images=False)
    assert "data:image" not in (tmp_path / PAGE).read_text()
    assert JPEG not in (tmp_path / "out.jsonl.journal").read_bytes()


def test_the_page_shows_the_most_probable_of_very_many(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "ON_PAGE", 2)
    scan([str(queue)], tmp_path / "out.jsonl")
    page = (tmp_path / PAGE).read_text()
    assert "Shown are 2 of 5 files: those called manipulated first" in page
    assert page.count('class="name"') == 2


def test_what_is_called_manipulated_comes_before_what_is_more_probable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "ON_PAGE", 3)
    (tmp_path / "queue").mkdir()
    for i in range(10):
        (tmp_path / f"queue/{i}.jpg").write_text(f"inconclusive 0.9\n{i}")
    (tmp_path / "queue/clip.mp4").write_text("manipulated 0.8")
    scan([str(tmp_path / "queue")], tmp_path / "out.jsonl")
    page = (tmp_path / PAGE).read_text()
    assert [Path(name).name for name in re.findall(r'class="name" [^>]*data-key="([^"]*)"', page)] == [
        "clip.mp4", "0.jpg", "1.jpg",
    ]  # fmt: skip


def test_every_text_the_page_asks_for_is_there() -> None:
    package = Path(deepfake_detect.__file__).parent
    asked = set(re.findall(r'w\("([a-z_]+)"[,)]', (package / "scan.html.j2").read_text(encoding="utf-8")))
    texts = json.loads((package / "languages/en.json").read_text(encoding="utf-8"))
    assert len(asked) > 15
    assert asked <= texts.keys()
    assert {f"scan_confined_{held}" for held in ("seccomp_rlimits", "rlimits", "none")} <= texts.keys()


def test_the_command(queue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out.csv")
    assert main(["scan", str(queue), "--out", out]) == 1
    printed, complaints = capsys.readouterr()
    assert "2  manipulated" in printed
    assert "1  not judged: damaged" in printed
    assert "5  files, 1 of them with the content of another one" in printed
    assert "left" in complaints
    # What is looked for is told even where something else could not be judged.
    assert main(["scan", "-q", str(queue), "--out", out, "--fail-on", "manipulated"]) == 3
    assert main(["scan", "-q", str(queue), "--out", out, "--fail-on", "inconclusive"]) == 1
    assert capsys.readouterr() == ("", "")
    (queue / "damaged.png").unlink()
    assert main(["scan", "-q", str(queue), "--out", out]) == 0
    assert main(["scan", "-q", str(queue), "--out", out, "--fail-on", "manipulated"]) == 3
    assert capsys.readouterr() == ("", "")
    assert main(["scan", str(queue), "--out", out, "--frames", "3"]) == 2
    assert "--restart" in capsys.readouterr().err


def test_the_command_speaks_the_language_asked_for(
    queue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scan", str(queue), "--out", str(tmp_path / "out.csv"), "--lang", "de"]) == 1
    printed, complaints = capsys.readouterr()
    assert "2  Spuren von Manipulation gefunden [manipulated]" in printed
    assert "1  nicht beurteilt: damaged" in printed
    assert "5  Dateien, 1 davon mit dem Inhalt einer anderen" in printed
    assert " von 5 Dateien, " in complaints
    assert not [word for word in ("files", "judged", "workers", "left") if word in (printed + complaints).split()]


@pytest.mark.parametrize("end", ["\n", "\0"])
def test_names_from_stdin(end: str, queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tmp_path / "names"
    # No pattern, as it would be if it were given as a path: gone since it was listed.
    gone = str(queue / "[abc].jpg")
    names.write_text(end.join([str(queue / "a.jpg"), str(queue / "below"), gone]))
    with names.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        zero = ["-0"] if end == "\0" else []
        assert main(["scan", "-q", "-", *zero, "--out", str(tmp_path / "out.jsonl")]) == 1
    rows = jsonl(tmp_path / "out.jsonl")
    assert len(rows) == 4
    assert [row["kind"] for row in rows if row["path"] == gone] == [None]


@pytest.mark.parametrize(
    "arguments",
    [["x"], ["--out", "x.csv"], ["x", "--out", "x.doc"], ["x", "--out", "x.csv", "--workers", "0"],
     ["x", "--out", "x.csv", "--time-limit", "0"], ["x", "--out", "x.csv", "--frames", "0"],
     ["x", "--out", "x.csv", "-0"]],
)  # fmt: skip
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["scan", *arguments])
    except SystemExit as stop:
        status = int(str(stop.code))
    assert status == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err
