"""Writing files all or nothing: a crash or Ctrl-C leaves no half-written file under its final name; and reading quietly."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
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
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file's bytes, all or nothing."""
    with replacing(path) as partial:
        partial.write_bytes(data)
