"""What a scan knows so far, on disk, in SQLite: which files there are, what is in them, and what that was judged to be.

A verdict belongs to a file's content, by SHA-256, and a path to a content as long as the file's size and times stay what
they were. What is judged is in here at once, so that a scan that was killed goes on where it was: nothing is lost, judged
twice or counted twice. What belongs to no file any longer is forgotten when a scan is through.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from . import content, remote, source
from .errors import OptionsError
from .table import as_row
from .types import Failure
from .walk import Sighting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

# What a worker's end, a limit, the disk or a bug decided, and not the file's content alone; `retry` asks for it anew.
_NOT_FINAL = ("timed_out", "out_of_memory", "crashed", "killed", "unreadable", "internal")
_ROWS_AT_A_TIME = 4096
# "dfds": a journal of this program, and how its tables are laid out.
_APPLICATION, _LAYOUT = 0x64666473, 1
_TABLES = """
CREATE TABLE about (settings TEXT NOT NULL);
CREATE TABLE verdicts (sha256 TEXT PRIMARY KEY, probability REAL, error_kind TEXT, answer TEXT NOT NULL,
                       crop BLOB NOT NULL);
CREATE TABLE files (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, sha256 TEXT,
                    error_kind TEXT, error TEXT);
"""
# What was found this time, gone with the connection.
_FOUND = """
CREATE TEMP TABLE found (path BLOB PRIMARY KEY, follow INTEGER, error_kind TEXT, error TEXT, turn INTEGER, size INTEGER,
                         mtime_ns INTEGER, ctime_ns INTEGER) WITHOUT ROWID
"""
_PENDING = """
SELECT turn, found.path, follow, found.size, found.mtime_ns, found.ctime_ns
FROM found LEFT JOIN files USING (path) LEFT JOIN verdicts USING (sha256)
WHERE found.error_kind IS NULL AND files.error_kind IS NULL AND verdicts.sha256 IS NULL
"""
# Of what is out of reach this time, a link that is not followed too, nothing is told of a time when it was not.
_ANSWERS = """
SELECT found.path, files.size, sha256, coalesce(found.error_kind, files.error_kind), coalesce(found.error, files.error),
       answer, crop
FROM found LEFT JOIN files ON files.path = found.path AND found.error_kind IS NULL LEFT JOIN verdicts USING (sha256)
"""


class Journal:
    """A journal, open. Safe to use from several threads; one process at a time has it. Use it in a `with` statement.

    Args:
        path: Where it lies; begun if there is none.
        settings: What a verdict depends on, beside the file.
        restart: Forget what is known.

    Raises:
        OptionsError: It was begun with other settings, is in use, or is something else.
        OSError: It can't be read or written any longer; at the end of the `with` statement.
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, restart: bool) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._claimed: set[str] = set()
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
            with ExitStack() as undo:
                undo.callback(self._db.close)
                self._open({"layout": _LAYOUT, **settings}, restart=restart)
                undo.pop_all()
        except sqlite3.OperationalError as error:
            raise OptionsError(
                f"{source.shown(path)}: is in use by another scan, or can't be written ({error})"
            ) from error
        except sqlite3.DatabaseError as error:
            found = f"{source.shown(path)}: is not a journal of this program ({error}); give another name for the table"
            raise OptionsError(found) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, _: object, error: object, __: object) -> None:
        with self._lock:
            self._db.close()
        if isinstance(error, sqlite3.Error):
            raise OSError(errno.EIO, f"the journal can't be used ({error})", str(self.path)) from error

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
        self._check_same(settings if known is None else json.loads(known[0]), settings)
        self._db.execute(_FOUND)

    def _check_same(self, before: dict[str, Any], settings: dict[str, Any]) -> None:
        changed = [f"{key} was {before.get(key)}, is {settings.get(key)}" for key in sorted({*before, *settings})
                   if before.get(key) != settings.get(key)]  # fmt: skip
        if changed:
            raise OptionsError(
                f"{self.path}: was begun with other settings ({'; '.join(changed)});"
                " use the same, give another name for the table, or begin anew with --restart"
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # Where the disk is full or fails SQLite has done so already.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def look_for(self, found: Iterable[Sighting], *, retry: bool) -> None:
        """Take down what there is, and see what of that which is known holds no longer.

        Args:
            retry: Ask anew for what a limit or a worker's end decided.
        """
        with self._transaction():
            for one in found:
                self._take_down(one)
            self._db.execute("CREATE INDEX temp.by_turn ON found (turn, path)")
            if retry:
                marks = ", ".join("?" * len(_NOT_FINAL))
                self._db.execute(f"DELETE FROM verdicts WHERE error_kind IN ({marks})", _NOT_FINAL)
            # Whether a file can be read now is nothing to remember.
            self._db.execute("DELETE FROM files WHERE sha256 IS NULL")
            # What is out of reach may be what it was: it may be on a drive that isn't plugged in.
            self._db.execute(
                "DELETE FROM files WHERE path IN (SELECT found.path FROM found JOIN files USING (path)"
                " WHERE found.error_kind IS NULL"
                " AND (found.size, found.mtime_ns, found.ctime_ns) IS NOT (files.size, files.mtime_ns, files.ctime_ns))"
            )

    def _take_down(self, one: Sighting) -> None:
        stamp, failure = _seen(one)
        error = (failure.kind, failure.message) if failure else (None, None)
        # What is out of reach on one way may be in reach on another.
        self._db.execute(
            "INSERT INTO found VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " follow = excluded.follow, error_kind = NULL, error = NULL, turn = excluded.turn,"
            " size = excluded.size, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns"
            " WHERE error_kind IS NOT NULL AND excluded.error_kind IS NULL",
            [os.fsencode(one.path), one.follow, *error, _turn(stamp), *(stamp or (None, None, None))],
        )

    def pending(self) -> Iterator[Sighting]:
        """What has no answer yet, the largest first, or a long video might be left to one worker when the others are done.
        Some are asked for at a time, so that others may write meanwhile."""
        page = f"{_PENDING} AND (turn, found.path) > (?, ?) ORDER BY turn, found.path LIMIT {_ROWS_AT_A_TIME}"
        turn, path = -1, b""
        while True:
            with self._lock:
                rows = self._db.execute(page, [turn, path]).fetchall()
            if not rows:
                return
            for _, path, follow, *stamp in rows:
                yield Sighting(os.fsdecode(path), bool(follow), stamp=None if None in stamp else stamp)
            turn = rows[-1][0]

    def count(self) -> tuple[int, int]:
        """How many files there are, and how many have no answer yet."""
        with self._lock:
            (files,) = self._db.execute("SELECT count(*) FROM found").fetchone()
            (pending,) = self._db.execute(f"SELECT count(*) FROM ({_PENDING})").fetchone()
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
        """The claim is over, whatever came of it."""
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

    def forget_lost(self, is_gone: Callable[[str], bool]) -> None:
        """Nothing stays of files that are gone, nor of contents that no file has any longer. Not before all is judged: a
        file that was moved may until then need what is known of its old name.

        Args:
            is_gone: Asked of each file that is known and was not found this time, or is out of reach.
        """
        with self._lock, self._transaction():
            self._db.execute("CREATE TEMP TABLE gone (path BLOB)")
            there = "SELECT path FROM found WHERE error_kind IS NULL"
            for (path,) in self._db.execute(f"SELECT path FROM files WHERE path NOT IN ({there})"):
                if is_gone(os.fsdecode(path)):
                    self._db.execute("INSERT INTO gone VALUES (?)", [path])
            self._db.execute("DELETE FROM files WHERE path IN (SELECT path FROM gone)")
            known = "SELECT sha256 FROM files WHERE sha256 IS NOT NULL"
            self._db.execute(f"DELETE FROM verdicts WHERE sha256 NOT IN ({known})")

    def duplicates(self) -> int:
        """How many files have the content of another one."""
        files = "found JOIN files USING (path) WHERE found.error_kind IS NULL"
        (count,) = self._db.execute(f"SELECT count(sha256) - count(DISTINCT sha256) FROM {files}").fetchone()
        return int(count)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The table, in order of path: a row each, as `table.COLUMNS` says."""
        for row, _, _ in self._answers("ORDER BY found.path"):
            yield row

    def first_to_see(self, count: int) -> Iterator[tuple[dict[str, Any], dict[str, str], bytes]]:
        """So many rows, each with its reason by language and its crop: what is called manipulated, then the others, by
        probability. A video is called so at a lower probability than a picture, and thousands of pictures must not hide it.
        """
        called = "coalesce(json_extract(verdicts.answer, '$.label') = 'manipulated', 0)"
        yield from self._answers(f"ORDER BY {called} DESC, verdicts.probability DESC, found.path LIMIT {count}")

    def _answers(self, order: str) -> Iterator[tuple[dict[str, Any], dict[str, str], bytes]]:
        # Nothing is written by then, so that one cursor may go through all of it.
        for path, size, sha256, kind, error, answer, crop in self._db.execute(_ANSWERS + order):
            known = json.loads(answer) if answer else {"error_kind": kind, "error": error}
            row = as_row({"path": os.fsdecode(path), "sha256": sha256, "size_bytes": size, **known})
            yield row, known.get("reasons", {}), crop or b""


def _seen(one: Sighting) -> tuple[list[int] | None, Failure | None]:
    """What changes when a file does: size and times, or what its storage said, None where it has no such thing; or why it
    is out of reach."""
    if one.stamp is not None or one.failure is not None or remote.is_url(one.path):
        return one.stamp, one.failure
    try:
        return content.stamp(os.stat(one.path, follow_symlinks=one.follow)), None
    except (OSError, ValueError) as error:
        found = source.out_of_reach(one.path, error)
        return None, Failure(found.kind, content.without_name(str(found), one.path))


def _turn(stamp: list[int] | None) -> int:
    """When a file's turn is, from 0: the largest first, by powers of two, so that what lies together stays together."""
    return 64 - (stamp[0].bit_length() if stamp else 0)
