"""The jobs of a server as rows in SQLite: what was asked for, how it stands, what came of it, and how long that is kept.

Not for several threads at a time: `jobs` has a lock.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from .. import source
from ..errors import OptionsError
from ..types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Status = Literal["queued", "running", "done", "failed", "cancelled"]
Contents = Literal["report", "record"]
#: Of a job of which nothing more will come.
OVER: tuple[Status, ...] = ("done", "failed", "cancelled")
#: What is not to be kept goes so many seconds after it is done, if nobody let it go before and its visit has no page open.
UNASKED_S = 3600
# "dfdj": a database of this module, and how its table is laid out.
_APPLICATION, _LAYOUT = 0x6466646A, 3
# Few indexes, and small: each is written with every row. Programs send most jobs, and those have no page.
_TABLE = """
CREATE TABLE jobs (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, suspect TEXT, page TEXT NOT NULL,
                   name TEXT NOT NULL, size_bytes INTEGER NOT NULL, language TEXT NOT NULL, contents TEXT NOT NULL,
                   status TEXT NOT NULL, starts INTEGER NOT NULL, created_s REAL NOT NULL, started_s REAL, ended_s REAL,
                   keep_s REAL, label TEXT, confinement TEXT NOT NULL, record TEXT, reasons TEXT);
CREATE INDEX waiting ON jobs (number) WHERE status = 'queued';
CREATE INDEX by_page ON jobs (page, number) WHERE page != '';
CREATE INDEX by_suspect ON jobs (suspect) WHERE suspect IS NOT NULL
"""


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
        starts: How often a worker had it.
        created_s, started_s, ended_s: Unix time; None for what has not happened.
        keep_s: How long after its end it is to be kept at least; None for no longer than it is needed.
        label: Of the verdict, or of the comparison.
        confinement: What held in its worker.
        record: What came of it: the contract `deepfake-detect/1`, or `deepfake-detect/compare/1`; None where it was not
            asked for, either.
        reasons: The reason by language, likewise.
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
    keep_s: float | None
    label: str | None
    confinement: str
    record: dict[str, Any] | None
    reasons: dict[str, str]

    @property
    def over(self) -> bool:
        """Nothing more will come of it."""
        return self.status in OVER

    @property
    def has_report(self) -> bool:
        """A report was made, and not its record alone."""
        return self.status == "done" and self.suspect is None and self.contents == "report"

    @property
    def error(self) -> Failure | None:
        """Why nothing came of it."""
        found = (self.record or {}).get("error")
        return found and Failure(str(found["kind"]), str(found["message"]))


_NAMES = tuple(column.name for column in fields(Ticket))


def _columns(**instead: str) -> str:
    return ", ".join(instead.get(name, name) for name in _NAMES)


#: What is read of a row: all, or without what is large, unless that says why nothing came of it.
WHOLE = _columns()
REASONS = _columns(record="iif(status = 'done', NULL, record)")
BRIEF = _columns(record="iif(status = 'done', NULL, record)", reasons="NULL")


def _past(table: str) -> str:
    """Of a row: its time is over at `?1`, Unix time, while the pages of `?2`, a list as JSON, are open."""
    over = f"{table}.status IN {OVER} AND {table}.ended_s + ifnull({table}.keep_s, {UNASKED_S}) < ?1"
    return f"{over} AND ({table}.keep_s IS NOT NULL OR {table}.page NOT IN (SELECT value FROM json_each(?2)))"


class Ledger:
    """The rows of a folder; one process at a time has them.

    Args:
        path: The database, made when missing.
        keep_s: How long what is added is to be kept after its end; None for no longer than it is needed. What an earlier
            server was to keep is kept until its own time, and as long as this.

    Attributes:
        unwiped: Rows were deleted, and what was written of them is still there.
        longest_keep_s: So long is any row kept after its end at most; None where none is to be.

    Raises:
        OptionsError: It can't be used: it is in use, of another program, or holds what is still to be kept and `keep_s` is
            None.
        sqlite3.Error: By whatever writes: the disk is full, and nothing has changed.
    """

    def __init__(self, path: Path, *, keep_s: float | None) -> None:
        self._path, self._keep_s = path, keep_s
        self.longest_keep_s = keep_s
        self.unwiped = False
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
            with ExitStack() as undo:
                undo.callback(self._db.close)
                self._open()
                self._take_up()
                undo.pop_all()
        except sqlite3.OperationalError as error:
            found = f"is in use by another server, or can't be written ({error}); give another --data"
            raise OptionsError(f"{source.shown(path.parent)}: {found}") from error
        except sqlite3.DatabaseError as error:
            raise OptionsError(f"{source.shown(path)}: can't be used ({error}); give another --data") from error

    def _open(self) -> None:
        # Before WAL, which then needs no shared memory; and nobody else can have it.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (layout,) = self._db.execute("PRAGMA user_version").fetchone()
        empty = not self._count("sqlite_master")
        if not empty and (application, layout) != (_APPLICATION, _LAYOUT):
            raise sqlite3.DatabaseError("of another program or version, whose files are left as they are")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA secure_delete = ON")
        if empty:
            self._db.executescript(
                f"BEGIN; PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_LAYOUT}; {_TABLE}; COMMIT"
            )

    def _take_up(self) -> None:
        """What an earlier server left: judged again if it was to be kept, else gone."""
        if self._keep_s is None:
            if kept := self._count("jobs", f"keep_s IS NOT NULL AND NOT ({_past('jobs')})", time.time(), "[]"):
                found = f"still holds what an earlier server was to keep (files: {kept})"
                raise OptionsError(f"{self._path.parent}: {found}; give --keep again, or another --data")
            gone = self._db.execute("DELETE FROM jobs")
        else:
            gone = self._db.execute("DELETE FROM jobs WHERE keep_s IS NULL")
            self._db.execute("UPDATE jobs SET keep_s = max(keep_s, ?)", [self._keep_s])
            (longest_s,) = self._db.execute("SELECT max(keep_s) FROM jobs").fetchone()
            self.longest_keep_s = longest_s or self._keep_s
        self.unwiped = gone.rowcount > 0
        self._db.execute("UPDATE jobs SET status = 'queued' WHERE status = 'running'")

    # Reading

    @property
    def changes(self) -> int:
        """How many rows were written so far; from any thread."""
        return self._db.total_changes

    def of_id(self, name: str, columns: str = BRIEF) -> Iterator[Ticket]:
        """The job of this id, if it is there."""
        return self._find("id = ?", name, columns=columns)

    def of_page(self, page: str, columns: str = BRIEF) -> Iterator[Ticket]:
        """The jobs of a visit, in order."""
        return self._find("page = ? AND page != ''", page, columns=columns)

    def comparisons(self, name: str, columns: str = BRIEF) -> Iterator[Ticket]:
        """Of the file of this job, in order."""
        return self._find("suspect = ?", name, columns=columns)

    def first_queued(self, after: int) -> Iterator[Ticket]:
        """The first that waits of those with larger numbers, if there is one."""
        return self._find("number = (SELECT min(number) FROM jobs WHERE status = 'queued' AND number > ?)", after)

    def past(self, now_s: float, open_pages: Iterable[str] = ()) -> Iterator[Ticket]:
        """Whose time is over, Unix time; not yet what something is compared with whose time is not. Without a time of its
        own it stays while its page is open."""
        compared = f"EXISTS (SELECT 1 FROM jobs AS pair WHERE pair.suspect = jobs.id AND NOT ({_past('pair')}))"
        return self._find(f"{_past('jobs')} AND NOT {compared}", now_s, json.dumps(list(open_pages)))

    def queued(self, before: int | None = None) -> int:
        """How many wait, in all or with smaller numbers."""
        if before is None:
            return self._count("jobs", "status = 'queued'")
        return self._count("jobs", "status = 'queued' AND number < ?", before)

    def names(self) -> set[str]:
        """The ids of all."""
        return {name for (name,) in self._db.execute("SELECT id FROM jobs")}

    def record_of(self, name: str) -> str | None:
        """The record of a job as JSON; None where it has none."""
        (record,) = self._db.execute("SELECT record FROM jobs WHERE id = ?", [name]).fetchone() or (None,)
        return record

    def _find(self, condition: str, *values: object, columns: str = BRIEF) -> Iterator[Ticket]:
        """Read at once; taken apart when asked for, which needs no lock."""
        query = f"SELECT {columns} FROM jobs WHERE {condition} ORDER BY number"
        return map(_ticket, self._db.execute(query, values).fetchall())

    def _count(self, table: str, condition: str = "TRUE", *values: object) -> int:
        (count,) = self._db.execute(f"SELECT count(*) FROM {table} WHERE {condition}", values).fetchone()
        return int(count)

    # Writing

    def add(
        self,
        name: str,
        size_bytes: int,
        *,
        called: str,
        page: str,
        language: str,
        contents: Contents,
        suspect: str | None,
    ) -> None:
        """A job that waits; its file is there."""
        row = {
            "id": name, "suspect": suspect, "page": page, "name": called.encode("utf-8", "replace").decode(),
            "size_bytes": size_bytes, "language": language, "contents": contents, "status": "queued", "starts": 0,
            "created_s": time.time(), "keep_s": self._keep_s, "confinement": "",
        }  # fmt: skip
        places = ", ".join("?" * len(row))
        self._db.execute(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({places})", list(row.values()))

    def begin(self, name: str) -> None:
        """A worker has it."""
        query = "UPDATE jobs SET status = 'running', starts = starts + 1, started_s = ? WHERE id = ?"
        self._db.execute(query, [time.time(), name])

    def end(
        self, name: str, status: Status, *, record: dict[str, Any], reasons: dict[str, str], confinement: str
    ) -> None:
        """It is over."""
        row = {
            "status": status, "ended_s": time.time(), "label": (record.get("verdict") or record).get("label"),
            "record": json.dumps(record, allow_nan=False, separators=(",", ":")),
            "reasons": json.dumps(reasons), "confinement": confinement,
        }  # fmt: skip
        changes = ", ".join(f"{column} = ?" for column in row)
        self._db.execute(f"UPDATE jobs SET {changes} WHERE id = ?", [*row.values(), name])

    def put_back(self) -> None:
        """What runs waits again, as if it had not been begun."""
        self._db.execute("UPDATE jobs SET status = 'queued', starts = starts - 1 WHERE status = 'running'")

    def shift(self, step_s: float, *, since_s: float, until_s: float) -> None:
        """The clock was set by so much: what was written between, by the clock of before, is moved along. It then goes when
        it was to, and not at once or a year late."""
        columns = ("created_s", "started_s", "ended_s")
        moved = ", ".join(f"{column} = {column} + iif({column} BETWEEN ?2 AND ?3, ?1, 0)" for column in columns)
        concerned = " OR ".join(f"{column} BETWEEN ?2 AND ?3" for column in columns)
        self._db.execute(f"UPDATE jobs SET {moved} WHERE {concerned}", [step_s, since_s, until_s])

    def strike(self, name: str) -> None:
        """Forget it."""
        self._db.execute("DELETE FROM jobs WHERE id = ?", [name])
        self.unwiped = True

    def wipe(self) -> None:
        """Else deleted rows would lie on in the log of what was written. It takes a while, so not for each."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.unwiped = False

    def close(self) -> None:
        """Let go of it."""
        self._db.close()


def _ticket(row: tuple[Any, ...]) -> Ticket:
    known = dict(zip(_NAMES, row, strict=True))
    record, reasons = known["record"], known["reasons"]
    known |= {"record": record and json.loads(record), "reasons": json.loads(reasons) if reasons else {}}
    return Ticket(**known)
