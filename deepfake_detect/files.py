"""Writing files all or nothing: a crash, a power cut or Ctrl-C leaves no half-written file under its name; and reading
quietly."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager, suppress
from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike
    from pathlib import Path

#: How text with names of files is encoded, on every system; names that are no text come back as they were.
NAMES = ("utf-8", "surrogateescape")
_ONE_AT_A_TIME = RLock()


@contextmanager
def quietly() -> Iterator[None]:
    """What a reader of files warns of is no one's news. Warnings, and Pillow's settings, are those of the whole process, so
    one thread at a time is in here."""
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def identity(path: str | PathLike[str]) -> tuple[int, int] | str:
    """What tells a file or a folder from all others, whatever names lead to it.

    Raises:
        OSError: Nobody can look.
    """
    known = os.stat(path)
    # Drives on a network may have no numbers for what lies on them; Windows then says 0 of all.
    return (known.st_dev, known.st_ino) if known.st_ino else os.path.realpath(os.fspath(path))


def is_same(one: str | PathLike[str], other: str | PathLike[str]) -> bool:
    """Whether two names are of one file, also where the file system does not tell large letters from small ones."""
    try:
        return identity(one) == identity(other)
    except (OSError, ValueError):
        return os.path.realpath(one) == os.path.realpath(other)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Another name to write to, empty, that takes the place of the target at the end; after an error nothing is left of it.

    It is made anew and never opened where it is, so that a link laid under its name leads nowhere.
    """
    partial = target.with_name(target.name + ".part")
    partial.unlink(missing_ok=True)
    try:
        partial.touch(exist_ok=False)
        yield partial
        # Or a power cut might leave the new name and nothing under it. Windows wants it open for writing.
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(partial, target)
        _keep_names(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def _keep_names(folder: Path) -> None:
    """See that a folder's names outlast a power cut, where the system can: Windows opens no folder, some drives refuse."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file's bytes, all or nothing."""
    with replacing(path) as partial:
        partial.write_bytes(data)
