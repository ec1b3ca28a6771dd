"""Many files -> one table with a row each: found, judged by workers, kept in a journal, written when all are judged.

    results.parquet            the table (or .csv, .jsonl), in order of path
    index.html                 the same to look at and to sort, what is called manipulated first
    results.parquet.journal    SQLite: what is known so far

What is judged is in the journal at once, so that a scan that was killed goes on where it was: nothing is lost, judged twice
or counted twice. A verdict belongs to a file's content, by SHA-256, and a path to a content as long as the file's size and
times stay what they were. What is not in the journal is in no other place: memory stays flat however many files there are.
"""

from __future__ import annotations

import base64
import csv
import errno
import glob
import hashlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from markupsafe import Markup

from . import content, media, remote
from .cluster import ActorLostError, Cluster, Look
from .confine import cores
from .errors import MediaError, OptionsError, WorkerError
from .files import replacing
from .options import Options
from .page import plain
from .types import Failure, Label
from .words import Words
from .worker import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from .cluster import Actor
    from .confine import Limits
    from .types import ToolInfo
    from .worker import Judge

log = logging.getLogger(__name__)

# The table's columns and what each holds; None where it does not apply.
COLUMNS: dict[str, type] = {
    "path": str, "sha256": str, "size_bytes": int, "kind": str, "width": int, "height": int, "duration_s": float,
    "people": int, "label": str, "probability": float, "likelihood_ratio": float, "reason": str, "warnings": str,
    "error_kind": str, "error": str, "confinement": str,
}  # fmt: skip
FORMATS = (".parquet", ".csv", ".jsonl")
TEMPLATE, SCRIPT, PAGE = "scan.html.j2", "scan.js.j2", "index.html"
# What a worker's end, a limit, the disk or a bug decided, and not the file's content alone; `retry` asks for it anew.
_NOT_FINAL = ("timed_out", "out_of_memory", "crashed", "killed", "unreadable", "internal")
# So many rows does the page show; the table has all.
_ON_PAGE = 2000
_ROWS_AT_A_TIME = 4096
_PASSES = 3
# So many files does an actor get at once, or as many as come to so many bytes, and so many actors a file.
_AT_ONCE, _AT_ONCE_BYTES, _ACTORS_A_FILE = 32, 64 * 2**20, 3
_NOT_FOLLOWED = "is a link and was not followed; --follow-links does"
# "dfds": a journal of this program, and how its tables are laid out.
_APPLICATION, _LAYOUT = 0x64666473, 1
_TABLES = """
CREATE TABLE about (settings TEXT NOT NULL);
CREATE TABLE verdicts (sha256 TEXT PRIMARY KEY, probability REAL, error_kind TEXT, answer TEXT NOT NULL,
                       crop BLOB NOT NULL);
CREATE TABLE files (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, sha256 TEXT,
                    error_kind TEXT, error TEXT);
"""


@dataclass(frozen=True)
class Progress:
    """How far a scan is.

    Attributes:
        files: How many were found.
        done: How many of them have their row.
        judged: How many of those this run looked at; the others were in the journal.
        seconds: Since this run began to judge.
    """

    files: int
    done: int
    judged: int
    seconds: float


@dataclass(frozen=True)
class Summary:
    """What a scan came to.

    Attributes:
        files: Rows of the table.
        labels: How many files by label.
        errors: How many files that could not be judged, by kind of error.
        duplicates: How many have the content of another one, and its verdict.
        confinements: What held in the workers, see `confine.confine`.
        table: Where the table is.
        page: Where the page is.
    """

    files: int
    labels: dict[str, int]
    errors: dict[str, int]
    duplicates: int
    confinements: tuple[str, ...]
    table: Path
    page: Path


def scan(
    paths: Iterable[str],
    out: Path,
    *,
    options: Options | None = None,
    weights_folder: Path | None = None,
    limits: Limits | None = None,
    workers: int | None = None,
    images: bool = True,
    language: str = "en",
    follow_links: bool = False,
    restart: bool = False,
    retry: bool = False,
    progress: Callable[[Progress], None] | None = None,
    prepare: Callable[[], Judge] | None = None,
    ray: bool = False,
    ray_address: str | None = None,
) -> Summary:
    """Judge many files and write a table of them. Run again, it goes on where it was.

    Args:
        paths: Files, folders (with all that is in them) and patterns such as `queue/**/*.jpg`; URLs too, see `remote`.
        out: The table; its ending says how it is written, one of `FORMATS`. `index.html` and the journal lie beside it.
        options: Settings of every file.
        weights_folder: Folder with another manifest.json and its files; None for the one that ships.
        limits: What judging one file may take.
        workers: How many files are judged at a time; None for as many as there are cores, here or in the cluster.
        images: Whether page and journal hold crops of faces.
        language: Of the page.
        follow_links: Whether links found in folders are followed; those given are.
        restart: Forget the journal.
        retry: Judge anew what a limit or a worker's end decided.
        progress: Called now and then, from this thread.
        prepare: As for `worker.Pool`.
        ray: Whether a Ray cluster judges, whose machines see the files under the same names.
        ray_address: Where that is, see `cluster.Cluster`.

    Raises:
        OptionsError: Something stands in the way of the output, its ending is unknown, pyarrow or Ray is missing, the
            journal was begun with other settings or is in use, or an option can't be had here.
        WeightsError: The weights can't be used.
        WorkerError: No worker can be started.
        OSError: The output can't be written.
    """
    out = Path.cwd() / out
    page = out.with_name(PAGE)
    options, tell = options or Options(), progress or (lambda _: None)
    _check_output(out, page)
    pool: Pool | Cluster
    if ray:
        pool = Cluster(options, weights_folder=weights_folder, limits=limits, workers=workers, address=ray_address,
                       prepare=prepare)  # fmt: skip
        workers = pool.workers
    else:
        workers = workers or cores()
        pool = Pool(options, weights_folder=weights_folder, limits=limits, workers=workers, prepare=prepare)
    try:
        journal = _Journal(out.with_name(out.name + ".journal"), _settings(pool.tool, options), restart=restart)
    except BaseException:
        pool.close()
        raise
    endings = ("", ".part", "-wal", "-shm", "-journal")
    own = {os.path.realpath(f"{path}{ending}") for path in (out, page, journal.path) for ending in endings}
    try:
        # In this order, so that an interrupt ends the workers first and then the threads that wait for them.
        with journal, ThreadPoolExecutor(2 * workers) as threads, pool:
            journal.look_for(_find(paths, own, follow=follow_links), retry=retry)
            if not images:
                journal.forget_crops()
            _judge(journal, pool, threads, tell, images=images, workers=workers)
            summary = _summary(journal, out, page)
            with replacing(page) as partial, partial.open("w", encoding="utf-8") as file:
                file.writelines(_page(journal, summary, pool.tool, options, Words(language), images=images))
            with replacing(out) as partial:
                _WRITERS[out.suffix](partial, journal.rows())
    except sqlite3.Error as error:
        raise OSError(errno.EIO, f"the journal can't be used ({error})", str(journal.path)) from error
    return summary


def _check_output(out: Path, page: Path) -> None:
    if out.suffix not in FORMATS:
        raise OptionsError(
            f"{out.name}: expected a name that ends in {', '.join(FORMATS)}, found {out.suffix or 'none'!r}"
        )
    if out.suffix == ".parquet":
        _pyarrow()
    if not out.parent.is_dir():
        raise OptionsError(f"{out.parent}: is not a folder; make it first")
    if out.is_dir():
        raise OptionsError(f"{out}: is a folder; give the name of a file")
    if os.path.lexists(page):
        with page.open("rb") as file:
            if _mark(out).encode() not in file.read(1000):
                found = f"{page}: is not of an earlier scan into {out.name} and would be replaced; give another folder"
                raise OptionsError(found)
    elif os.path.lexists(out) and not os.path.lexists(out.with_name(out.name + ".journal")):
        raise OptionsError(f"{out}: is not of an earlier scan and would be replaced; give another name")


def _mark(out: Path) -> str:
    """What tells the page of this table from any other file of its name."""
    name = hashlib.sha256(os.fsencode(out.name)).hexdigest()[:16]
    return f'<meta name="generator" content="deepfake-detect scan {name}">'


def _settings(tool: ToolInfo, options: Options) -> dict[str, Any]:
    """What a verdict depends on, beside the file."""
    return {"layout": _LAYOUT, **asdict(tool), **asdict(options)}


# Files


@dataclass(frozen=True)
class _Sighting:
    """Something that was found: whether it may be a link, why it is out of reach if that is known already, and what changes
    when it does, size first, where that is known already."""

    path: str
    follow: bool = True
    failure: Failure | None = None
    stamp: list[int] | None = None


# What is wanted of a folder: what fits one of these patterns, each as its parts; see `_either`.
_Wanted = frozenset[tuple[str, ...]]
_ALL: _Wanted = frozenset([()])
# Folders that were looked at, by device and number, and what was wanted of them then.
_Seen = set[tuple[int, int, _Wanted]]


def _find(paths: Iterable[str], own: set[str], *, follow: bool) -> Iterator[_Sighting]:
    """What there is at these paths, in no particular order, some of it perhaps twice."""
    seen: _Seen = set()
    names = {Path(path).name for path in own}
    for path in paths:
        if remote.is_url(path) and not os.path.lexists(path):
            yield from (_Sighting(one.url, True, one.failure, one.stamp) for one in remote.find(path))
            continue
        if os.path.isdir(path):
            found: Iterable[_Sighting] = _walk(path, seen, follow=follow)
        elif not os.path.lexists(path) and glob.has_magic(path):
            found = _matching(path, seen, follow=follow)
        else:
            found = [_Sighting(path)]
        for one in found:
            # A table may be opened in a spreadsheet, which would take such a beginning for a formula, and we for a URL.
            odd = one.path[:1] in tuple("=+-@\t\r") or remote.is_url(one.path)
            name = "./" + one.path if odd else one.path
            if Path(name).name not in names or os.path.realpath(name) not in own:
                yield replace(one, path=name)


def _walk(top: str, seen: _Seen, *, follow: bool, wanted: _Wanted = _ALL) -> Generator[_Sighting, None, bool]:
    """Everything below a folder but folders, or what of it fits a pattern; an empty name is the current folder's.

    Returns:
        Whether anything fits, what other paths led to included, or may fit where nobody can look.
    """
    folders, links = [(top, wanted)], list[tuple[str, _Wanted]]()
    fits = wanted == _ALL
    while folders or links:
        linked = not folders
        folder, wanted = folders.pop() if folders else links.pop(0)
        below = list[tuple[str, bool, _Wanted]]()
        try:
            # Once each, or two links could make a maze without an end.
            known = os.stat(folder or ".")
            device, number = known.st_dev, known.st_ino
            if (device, number, _ALL) in seen or (device, number, wanted) in seen:
                fits = True
                if linked:
                    yield _Sighting(folder, failure=Failure("link", "leads to a folder that is looked at already"))
                continue
            seen.add((device, number, wanted))
            with os.scandir(folder or ".") as entries:
                for entry in entries:
                    rest = _within(wanted, entry.name)
                    if not rest:
                        continue
                    path = entry.path if folder else entry.name
                    fits = fits or rest == _ALL
                    if entry.is_symlink() and not follow:
                        # Behind a link to a folder there may be what fits.
                        if rest == _ALL or _leads_to_folder(entry):
                            fits = True
                            yield _Sighting(path, failure=Failure("link", _NOT_FOLLOWED))
                    elif _leads_to_folder(entry):
                        below.append((path, entry.is_symlink(), rest))
                    elif rest == _ALL:
                        yield _Sighting(path, follow)
        except OSError as error:
            fits = True
            found = f"the folder can't be read ({error.strerror}); check its permissions"
            yield _Sighting(folder or ".", failure=Failure("unreadable", found))
        # Folders alone are put in order, and thereby held in memory: which of them comes first gives its name to what is
        # found twice. Files have their order from the journal.
        for path, link, rest in sorted(below, key=lambda one: os.fsencode(one[0])):
            # Real folders first, so that what a link leads to bears its own name where it has one.
            (links if link else folders).append((path, rest))
    return fits


def _either(patterns: Iterable[tuple[str, ...]]) -> _Wanted:
    """What fits one of several patterns, each as its parts: `**` is any number of folders, none too, and what has no parts
    left fits with all that is below it."""
    found = set[tuple[str, ...]]()
    for parts in patterns:
        found.add(parts)
        while parts[:1] == ("**",):
            parts = parts[1:]
            found.add(parts)
    return _ALL if () in found else frozenset(found)


def _within(wanted: _Wanted, name: str) -> _Wanted:
    """What is wanted of something that lies in a folder of which `wanted` is wanted; `_ALL` where it is wanted itself."""
    if wanted == _ALL:
        return _ALL
    return _either(
        parts if parts[0] == "**" else parts[1:] for parts in wanted if parts[0] == "**" or fnmatch(name, parts[0])
    )


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself, for one. Whoever opens it will say so.
        return False


def _matching(pattern: str, seen: _Seen, *, follow: bool) -> Iterator[_Sighting]:
    """The files that fit a pattern, and all below the folders that do. Unlike the modules glob and pathlib, this tells of
    folders that can't be read, and goes into no links unasked."""
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    top = str(Path(*parts[:fixed])) if fixed else ""
    there = not top or os.path.isdir(top)
    if not (there and (yield from _walk(top, seen, follow=follow, wanted=_either([parts[fixed:]])))):
        yield _Sighting(pattern, failure=Failure("not_found", "nothing that can be reached matches this pattern"))


# What is known


class _Journal:
    """What is known so far, on disk. Safe to use from several threads; one process at a time has it."""

    def __init__(self, path: Path, settings: dict[str, Any], *, restart: bool) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._claimed: set[str] = set()
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
            with ExitStack() as undo:
                undo.callback(self._db.close)
                self._open(settings, restart=restart)
                undo.pop_all()
        except sqlite3.OperationalError as error:
            raise OptionsError(f"{path}: is in use by another scan, or can't be written ({error})") from error
        except sqlite3.DatabaseError as error:
            found = f"{path}: is not a journal of this program ({error}); give another name for the table"
            raise OptionsError(found) from error

    def _open(self, settings: dict[str, Any], *, restart: bool) -> None:
        # Before WAL, which then needs no shared memory and so works on network drives.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and application != _APPLICATION:
            raise sqlite3.DatabaseError("a database of another program")
        self._db.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing; where the power fails, the last rows may have to be judged again.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA secure_delete = ON")
        with self._transaction():
            if not tables:
                self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
                for table in _TABLES.split(";")[:-1]:
                    self._db.execute(table)
            if restart:
                for name in ("about", "verdicts", "files"):
                    self._db.execute(f"DELETE FROM {name}")
            known = self._db.execute("SELECT settings FROM about").fetchone()
            if known is None:
                self._db.execute("INSERT INTO about VALUES (?)", [json.dumps(settings)])
        before = settings if known is None else json.loads(known[0])
        changed = [f"{key} was {before.get(key)}, is {settings.get(key)}" for key in sorted({*before, *settings})
                   if before.get(key) != settings.get(key)]  # fmt: skip
        if changed:
            raise OptionsError(
                f"{self.path}: was begun with other settings ({'; '.join(changed)});"
                " use the same, give another name for the table, or begin anew with --restart"
            )
        self._db.execute(
            "CREATE TEMP TABLE found (path BLOB PRIMARY KEY, follow INTEGER, error_kind TEXT, error TEXT, turn INTEGER,"
            " size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER) WITHOUT ROWID"
        )

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def look_for(self, found: Iterable[_Sighting], *, retry: bool) -> None:
        """Take down what there is, and forget what no longer holds of what is known."""
        with self._transaction():
            for one in found:
                error = (one.failure.kind, one.failure.message) if one.failure else (None, None)
                stamp = _stamp_of(one)
                row = [os.fsencode(one.path), one.follow, *error, _turn(stamp), *(stamp or (None, None, None))]
                # What is out of reach on one way may be in reach on another.
                self._db.execute(
                    "INSERT INTO found VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                    " follow = excluded.follow, error_kind = NULL, error = NULL, turn = excluded.turn,"
                    " size = excluded.size, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns"
                    " WHERE error_kind IS NOT NULL AND excluded.error_kind IS NULL",
                    row,
                )
            self._db.execute("CREATE INDEX temp.by_turn ON found (turn, path)")
            if retry:
                marks = ", ".join("?" * len(_NOT_FINAL))
                self._db.execute(f"DELETE FROM verdicts WHERE error_kind IN ({marks})", _NOT_FINAL)
            # Whether a file can be read now is nothing to remember.
            self._db.execute("DELETE FROM files WHERE sha256 IS NULL")
            self._db.execute(
                "DELETE FROM files WHERE path IN (SELECT found.path FROM found JOIN files USING (path) WHERE"
                " (found.size, found.mtime_ns, found.ctime_ns) IS NOT (files.size, files.mtime_ns, files.ctime_ns))"
            )

    _PENDING = (
        "SELECT turn, found.path, follow, found.size, found.mtime_ns, found.ctime_ns"
        " FROM found LEFT JOIN files USING (path) LEFT JOIN verdicts USING (sha256)"
        " WHERE found.error_kind IS NULL AND files.error_kind IS NULL AND verdicts.sha256 IS NULL"
    )

    def pending(self) -> Iterator[_Sighting]:
        """What has no answer yet, the largest first, or a long video might be left to one worker when the others are done.
        Some are asked for at a time, so that others may write meanwhile."""
        page = f"{self._PENDING} AND (turn, found.path) > (?, ?) ORDER BY turn, found.path LIMIT {_ROWS_AT_A_TIME}"
        turn, path = -1, b""
        while True:
            with self._lock:
                rows = self._db.execute(page, [turn, path]).fetchall()
            if not rows:
                return
            for _, path, follow, *stamp in rows:
                yield _Sighting(os.fsdecode(path), bool(follow), stamp=None if None in stamp else stamp)
            turn = rows[-1][0]

    def count(self) -> tuple[int, int]:
        """How many files there are, and how many have no answer yet."""
        with self._lock:
            (files,) = self._db.execute("SELECT count(*) FROM found").fetchone()
            (pending,) = self._db.execute(f"SELECT count(*) FROM ({self._PENDING})").fetchone()
        return files, pending

    def claim(self, sha256: str) -> bool:
        """Whether this content is the caller's to judge: nobody has, and nobody is about to."""
        with self._lock:
            known = self._db.execute("SELECT 1 FROM verdicts WHERE sha256 = ?", [sha256]).fetchone()
            if known or sha256 in self._claimed:
                return False
            self._claimed.add(sha256)
            return True

    def release(self, sha256: str) -> None:
        """Nothing came of the claim."""
        with self._lock:
            self._claimed.discard(sha256)

    def keep(self, path: str, stamp: list[int], sha256: str, answer: content.Answer | None) -> None:
        """A file's content, and what came of it where it was judged just now."""
        with self._lock, self._transaction():
            if answer is not None:
                found = answer.found
                self._db.execute(
                    "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?)",
                    [sha256, found["probability"], found["error_kind"], json.dumps(found), answer.crop],
                )
                self._claimed.discard(sha256)
            self._db.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, NULL, NULL)", [os.fsencode(path), *stamp, sha256]
            )

    def keep_failure(self, path: str, failure: Failure) -> None:
        """A file that has no content to be judged."""
        row = [os.fsencode(path), failure.kind, content.without_name(failure.message, path)]
        with self._lock, self._transaction():
            self._db.execute("INSERT OR REPLACE INTO files VALUES (?, NULL, NULL, NULL, NULL, ?, ?)", row)

    def forget_crops(self) -> None:
        """No picture stays."""
        with self._lock, self._transaction():
            self._db.execute("UPDATE verdicts SET crop = x''")

    def duplicates(self) -> int:
        """How many files have the content of another one."""
        query = "SELECT count(sha256) - count(DISTINCT sha256) FROM found JOIN files USING (path)"
        (count,) = self._db.execute(query).fetchone()
        return int(count)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The table, in order of path: a row each, as `COLUMNS` says."""
        for row, _, _ in self._answers("ORDER BY found.path"):
            yield row

    def first_to_see(self, count: int) -> Iterator[tuple[dict[str, Any], dict[str, str], bytes]]:
        """So many rows, each with its reason by language and its crop: what is called manipulated, then the others, by
        probability. A video is called so at a lower probability than a picture, and thousands of pictures must not hide it.
        """
        called = "coalesce(json_extract(verdicts.answer, '$.label') = 'manipulated', 0)"
        yield from self._answers(f"ORDER BY {called} DESC, verdicts.probability DESC, found.path LIMIT {count}")

    def _answers(self, order: str) -> Iterator[tuple[dict[str, Any], dict[str, str], bytes]]:
        query = (
            "SELECT found.path, files.size, sha256, coalesce(found.error_kind, files.error_kind),"
            # A link that is not followed this time keeps no verdict of a time when it was.
            " coalesce(found.error, files.error), iif(found.error_kind IS NULL, answer, NULL),"
            " iif(found.error_kind IS NULL, crop, NULL)"
            " FROM found LEFT JOIN files USING (path) LEFT JOIN verdicts USING (sha256) "
        )
        # Nothing is written by then, so that one cursor may go through all of it.
        for path, size, sha256, kind, error, answer, crop in self._db.execute(query + order):
            known = json.loads(answer) if answer else {"error_kind": kind, "error": error}
            row = {"path": os.fsdecode(path), "sha256": sha256, "size_bytes": size, **known}
            yield {key: _text(row.get(key)) for key in COLUMNS}, known.get("reasons", {}), crop or b""


def _stamp_of(one: _Sighting) -> list[int] | None:
    """What changes when a file does: size and times, or what its storage said. None where it can't be told."""
    if one.stamp is not None or one.failure is not None or remote.is_url(one.path):
        return one.stamp
    try:
        return content.stamp(os.stat(one.path, follow_symlinks=one.follow))
    except (OSError, ValueError):
        return None


def _turn(stamp: list[int] | None) -> int:
    """When a file's turn is, from 0: the largest first, by powers of two, so that what lies together stays together."""
    return 64 - (stamp[0].bit_length() if stamp else 0)


def _text(value: Any) -> Any:
    """Names that are no text have escapes in place of bytes that can't be written."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value


# Judging


def _judge(
    journal: _Journal,
    pool: Pool | Cluster,
    threads: ThreadPoolExecutor,
    tell: Callable[[Progress], None],
    *,
    images: bool,
    workers: int,
) -> None:
    """Until every file has an answer."""
    files, pending = journal.count()
    began, judged, stopped = time.monotonic(), 0, threading.Event()
    running: set[Future[int]] = set()

    def settle(*, below: int) -> None:
        nonlocal running, judged
        while len(running) > below:
            # Now and then even if nothing ends, so that the time that passes is seen to.
            done, running = wait(running, timeout=1, return_when=FIRST_COMPLETED)
            judged += sum(one.result() for one in done)
            answered = min(files, files - pending + judged)
            tell(Progress(files, answered, judged, time.monotonic() - began))

    tell(Progress(files, files - pending, 0, 0.0))
    try:
        # Again, for the content of one that changed under our hands may have been another one's.
        for _ in range(_PASSES):
            if isinstance(pool, Cluster):
                for some in _portions(journal.pending(), pending, workers):
                    running.add(threads.submit(_examine_there, some, journal, pool, stopped, images=images))
                    settle(below=2 * workers)
            else:
                for one in journal.pending():
                    running.add(threads.submit(_examine, one, journal, pool, stopped, images=images))
                    settle(below=4 * workers)
            settle(below=0)
        for one in journal.pending():
            journal.keep_failure(one.path, Failure("changed", "changes while it is read; scan it when it is complete"))
    except BaseException:
        stopped.set()
        threads.shutdown(wait=False, cancel_futures=True)
        raise


def _portions(pending: Iterator[_Sighting], count: int, workers: int) -> Iterator[list[_Sighting]]:
    """Some at a time, fewer towards the end and of large ones, so that none has much to do when the others are done."""
    for one in pending:
        some, size = [one], one.stamp[0] if one.stamp else 0
        most = min(_AT_ONCE, count // (4 * workers))
        while len(some) < most and size < _AT_ONCE_BYTES and (another := next(pending, None)) is not None:
            some.append(another)
            size += another.stamp[0] if another.stamp else 0
        count -= len(some)
        yield some


def _examine_there(
    files: list[_Sighting], journal: _Journal, cluster: Cluster, stopped: threading.Event, *, images: bool
) -> int:
    """Some files, by an actor, or more where one is lost. Runs in a thread. Returns how many got what they can get."""
    left, looks, losses = deque(files), dict[str, Look](), 0
    while left and not stopped.is_set():
        # If an actor was lost because of a file, then of the first that it left. That one goes to the next actor alone.
        some = [left[0]] if losses else list(left)
        try:
            with cluster.actor() as actor:
                for _ in _settled(some, journal, actor, looks, images=images):
                    left.popleft()
                    losses = 0
        except ActorLostError as error:
            if stopped.is_set():
                break
            losses += 1
            log.debug("%s: an actor was lost: %s", media.shown(left[0].path), error)
            if losses == _ACTORS_A_FILE:
                _give_up(left.popleft().path, journal, looks)
                losses = 0
        except WorkerError as error:
            if error.kind != "cancelled":
                raise
            break
    return len(files) - len(left)


def _settled(
    files: list[_Sighting], journal: _Journal, actor: Actor, looks: dict[str, Look], *, images: bool
) -> Iterator[None]:
    """As `_examine` does, for each file, in order; yields when one of them is done."""
    found = actor.look([(one.path, one.follow) for one in files])
    mine: list[int] = []
    try:
        for i, look in enumerate(found):
            if isinstance(look, Look):
                looks[files[i].path] = look
                if journal.claim(look.sha256):
                    mine.append(i)
        answers = actor.judge(mine, images=images)
        for i, (one, look) in enumerate(zip(files, found, strict=False)):
            if isinstance(look, Failure):
                journal.keep_failure(one.path, look)
            elif i not in mine:
                journal.keep(one.path, look.stamp, look.sha256, None)
            elif (answer := next(answers)) is not None:
                journal.keep(one.path, look.stamp, look.sha256, answer)
            yield
    finally:
        for i in mine:
            journal.release(looks[files[i].path].sha256)


def _give_up(path: str, journal: _Journal, looks: dict[str, Look]) -> None:
    """So many actors were lost with this file in their hands that there shall be no more."""
    found = f"{_ACTORS_A_FILE} times the process or machine that looked at it was lost; the file may be hostile"
    if path in looks:
        known: dict[str, Any] = {"probability": None, "error_kind": "crashed", "error": found, "reasons": {}}
        journal.keep(path, looks[path].stamp, looks[path].sha256, content.Answer(known, b""))
    else:
        journal.keep_failure(path, Failure("crashed", found))


def _examine(one: _Sighting, journal: _Journal, pool: Pool, stopped: threading.Event, *, images: bool) -> int:
    """One file: its content, and a verdict unless that is known. Runs in a thread. Returns 1, for it is one."""
    path = one.path
    try:
        with content.opened(path, follow=one.follow, limits=pool.limits, stopped=stopped.is_set) as found:
            if stopped.is_set():
                # Of a part of the file, perhaps, and a part may be another file.
                return 0
            if not journal.claim(found.sha256):
                journal.keep(path, found.stamp, found.sha256, None)
                return 1
            try:
                # Where there is none it is looked at again.
                if (answer := content.judge(pool, path, found, images=images)) is not None:
                    journal.keep(path, found.stamp, found.sha256, answer)
            finally:
                journal.release(found.sha256)
    except MediaError as error:
        journal.keep_failure(path, Failure(error.kind, str(error)))
    return 1


# Writing


def _summary(journal: _Journal, out: Path, page: Path) -> Summary:
    labels, errors, confinements = Counter[str](), Counter[str](), set()
    for row in journal.rows():
        (errors if row["error_kind"] else labels)[row["error_kind"] or row["label"]] += 1
        confinements |= {row["confinement"]} - {None}
    return Summary(
        labels.total() + errors.total(), {label: labels[label] for label in get_args(Label) if label in labels},
        dict(sorted(errors.items())), journal.duplicates(), tuple(sorted(confinements)), out, page,
    )  # fmt: skip


def _write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(COLUMNS), lineterminator="\n")
        table.writeheader()
        for row in rows:
            # Python before 3.13 writes a carriage return bare, and readers take it for the end of a row.
            table.writerow({key: value.replace("\r", "\\r") if isinstance(value, str) else value
                            for key, value in row.items()})  # fmt: skip


def _write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="ascii") as file:
        file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    arrow, parquet = _pyarrow()
    kinds = {str: arrow.string(), int: arrow.int64(), float: arrow.float64()}
    schema = arrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    with parquet.ParquetWriter(path, schema) as table:
        for some in _batched(rows, _ROWS_AT_A_TIME):
            table.write_batch(arrow.RecordBatch.from_pylist(some, schema=schema))


_WRITERS = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_jsonl}


def _batched(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """So many at a time."""
    left = iter(rows)
    while some := list(islice(left, size)):
        yield some


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise OptionsError(
            f"Parquet needs pyarrow ({error}); pip install 'deepfake-detect[scan]', or give a name ending in .csv or .jsonl"
        ) from error
    return pyarrow, pyarrow.parquet


def _page(
    journal: _Journal, summary: Summary, tool: ToolInfo, options: Options, words: Words, *, images: bool
) -> Iterator[str]:
    """The page, in pieces."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["plain"] = plain
    template = environment.get_template(TEMPLATE)
    script = environment.get_template(SCRIPT).render()
    allowed = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    default = asdict(Options())
    changed = [f"{name} {value}" for name, value in asdict(options).items() if value != default[name]]
    shown = (
        (row, reasons.get(words.language, ""), base64.b64encode(crop if images else b"").decode("ascii"))
        for row, reasons, crop in journal.first_to_see(_ON_PAGE)
    )
    yield from template.generate(
        w=words, summary=summary, tool=tool, options=", ".join(changed) or words("page_fact_none"), rows=shown,
        shown=min(summary.files, _ON_PAGE), images=images, mark=Markup(_mark(summary.table)), script=Markup(script),
        allowed=allowed,
    )  # fmt: skip
