"""journal: what is asked for comes once, and what belongs to nobody any longer goes."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from deepfake_detect import journal as journals
from deepfake_detect.content import Answer
from deepfake_detect.journal import Journal
from deepfake_detect.walk import Sighting

STAMP = [1, 2, 3]


def sightings(*names: str) -> list[Sighting]:
    return [Sighting(name, stamp=STAMP) for name in names]


def answer(crop: bytes = b"") -> Answer:
    return Answer({"probability": 0.5, "error_kind": None, "label": "inconclusive"}, crop)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.csv.journal"


def test_all_that_is_pending_comes_once_however_many_there_are(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "_ROWS_AT_A_TIME", 3)
    found = [Sighting(f"{i:02}", stamp=[i % 5, 0, 0]) for i in range(20)]
    with Journal(path, {}, restart=False) as journal:
        # A storage may tell nothing of a file; what isn't there is known not to be.
        journal.look_for([*found, *found, Sighting("memory://a"), Sighting("gone")], retry=False)
        names = [one.path for one in journal.pending()]
        assert journal.count() == (22, 21)
    assert len(names) == len(set(names)) == 21


def test_a_content_belongs_to_who_claims_it_first(path: Path) -> None:
    with Journal(path, {}, restart=False) as journal:
        assert journal.claim("1")
        assert not journal.claim("1")
        journal.release("1")
        assert journal.claim("1")
        journal.keep("a", STAMP, "1", answer())
        journal.release("1")
        assert not journal.claim("1")


def test_a_content_is_forgotten_with_the_last_file_that_has_it(path: Path) -> None:
    with Journal(path, {}, restart=False) as journal:
        journal.look_for(sightings("a", "b", "c"), retry=False)
        for name, sha256 in (("a", "1"), ("b", "1"), ("c", "2")):
            journal.keep(name, STAMP, sha256, answer(b"crop " + sha256.encode()))
        journal.forget_lost(lambda _: True)
        assert [row["sha256"] for row in journal.rows()] == ["1", "1", "2"]
    asked = list[str]()

    def is_gone(name: str) -> bool:
        asked.append(name)
        return name != "c"

    with Journal(path, {}, restart=False) as journal:
        journal.look_for(sightings("b"), retry=False)
        journal.forget_lost(is_gone)
        # Of a, b has the content; c is only out of reach.
        assert sorted(asked) == ["a", "c"]
        assert not journal.claim("1")
        assert not journal.claim("2")
    with Journal(path, {}, restart=False) as journal:
        journal.look_for([*sightings("c"), Sighting("b", stamp=[9, 9, 9])], retry=False)
        journal.keep("b", [9, 9, 9], "3", answer())
        journal.forget_lost(lambda _: True)
        assert [(row["path"], row["sha256"]) for row in journal.rows()] == [("b", "3"), ("c", "2")]
        assert journal.claim("1")
    assert b"crop 1" not in path.read_bytes()
    assert b"crop 2" in path.read_bytes()


def test_of_a_full_disk_it_is_said_that_it_is_full(path: Path) -> None:
    with Journal(path, {}, restart=False) as journal:
        journal.look_for(sightings("a"), retry=False)
        journal._db.execute("PRAGMA max_page_count = 8")
        with pytest.raises(sqlite3.OperationalError, match="is full"):
            journal.keep("a", STAMP, "1", answer(bytes(10**5)))
        # What was begun is undone, and something smaller may find room.
        journal.keep("a", STAMP, "1", answer())
        assert [row["sha256"] for row in journal.rows()] == ["1"]


def test_names_that_are_no_text_are_asked_for_as_they_are(path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.jpg")
    with Journal(path, {}, restart=False) as journal:
        journal.look_for(sightings(name), retry=False)
        journal.keep(name, STAMP, "1", answer())
    asked = list[str]()
    with Journal(path, {}, restart=False) as journal:
        journal.look_for([], retry=False)
        journal.forget_lost(lambda one: not asked.append(one))
        assert journal.claim("1")
    assert asked == [name]
