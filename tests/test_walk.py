"""walk: what there is at the places named, and what of that which was there once is gone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepfake_detect.walk import Name, Walk


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    folder = tmp_path / "queue"
    (folder / "below").mkdir(parents=True)
    for name in ("a.jpg", "b", "below/c.mp4", "below/d.jpg"):
        (folder / name).write_text(name)
    return folder


def walked(*paths: object) -> tuple[Walk, set[str]]:
    walk = Walk([str(path) for path in paths], set(), follow=False)
    return walk, {one.path for one in walk}


def test_a_name_that_is_gone_by_its_turn_is_no_pattern(queue: Path) -> None:
    gone = f"{queue}/[ab]*"
    assert {Path(one.path).name for one in Walk([gone], set(), follow=False)} == {"a.jpg", "b", "c.mp4", "d.jpg"}
    assert [(one.path, one.failure) for one in Walk([Name(gone)], set(), follow=False)] == [(gone, None)]
    # Of a folder it is still all that lies below.
    assert len(list(Walk([Name(queue)], set(), follow=False))) == 4


def test_what_is_ours_is_not_found(queue: Path) -> None:
    own = {os.path.realpath(queue / "b")}
    found = [one.path for one in Walk([str(queue), str(queue / "b")], own, follow=False)]
    assert sorted(found) == [str(queue / name) for name in ("a.jpg", "below/c.mp4", "below/d.jpg")]


def test_folders_without_numbers_are_told_apart(queue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some drives on a network Windows says 0."""
    stat = os.stat

    def without_numbers(path: str, **how: Any) -> os.stat_result:
        known = list(stat(path, **how))
        return os.stat_result([known[0], 0, *known[2:]])

    (queue / "more").mkdir()
    (queue / "more" / "e.jpg").touch()
    (queue / "round").symlink_to(queue)
    monkeypatch.setattr(os, "stat", without_numbers)
    found = [(Path(one.path).name, one.failure and one.failure.kind) for one in Walk([str(queue)], set(), follow=True)]
    assert sorted(found) == [
        ("a.jpg", None), ("b", None), ("c.mp4", None), ("d.jpg", None), ("e.jpg", None), ("round", "link"),
    ]  # fmt: skip
    assert len({one.path for one in Walk([str(queue / "below"), str(queue / "more")], set(), follow=False)}) == 3


def test_what_lies_in_a_huge_folder_is_not_held_in_memory(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(100):
        (queue / f"{i:03}").write_text("no_face")
    scandir, taken = os.scandir, Counter[str]()

    class Counted:
        def __init__(self, path: str) -> None:
            self._path, self._entries = path, scandir(path)

        def __enter__(self) -> Counted:
            return self

        def __exit__(self, *_: object) -> None:
            self._entries.close()

        def __iter__(self) -> Iterator[os.DirEntry[str]]:
            for entry in self._entries:
                taken[self._path] += 1
                yield entry

    monkeypatch.setattr(os, "scandir", Counted)
    found = iter(Walk([str(queue)], set(), follow=False))
    next(found)
    # One more where the folder was met before the first file.
    assert taken[str(queue)] <= 2
    assert len(list(found)) == 103


def test_what_was_deleted_is_gone_and_what_is_elsewhere_is_not(queue: Path, tmp_path: Path) -> None:
    (queue / "b").unlink()
    walk, found = walked(queue / "below")
    assert found == {str(queue / "below/c.mp4"), str(queue / "below/d.jpg")}
    assert walk.is_gone(str(queue / "b"))
    assert walk.is_gone(str(queue / "below/gone/x.jpg"))
    # A file where there was a folder.
    assert walk.is_gone(str(queue / "a.jpg/x.jpg"))
    assert not walk.is_gone(str(queue / "a.jpg"))


@pytest.mark.parametrize("named", ["drive", "drive/", "drive/queue", "drive/*.jpg", "drive/queue/**/*.jpg"])
def test_below_a_place_that_is_not_there_nothing_is_gone(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    walk, found = walked(named)
    assert found == {named}
    assert not walk.is_gone("drive/queue/x.jpg")
    assert walk.is_gone("queue/x.jpg")


def test_below_a_folder_that_cannot_be_read_nothing_is_gone(queue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if os.fspath(path) == str(queue / "below"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    walk, found = walked(queue)
    assert str(queue / "below") in found
    assert not walk.is_gone(str(queue / "below/x.jpg"))
    assert walk.is_gone(str(queue / "x.jpg"))


def test_what_nobody_may_look_at_is_not_gone(queue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk, _ = walked(queue)

    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "lstat", refuse)
    assert not walk.is_gone(str(queue / "x.jpg"))
