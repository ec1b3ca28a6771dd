"""Writing files all or nothing: a crash or Ctrl-C leaves no half-written file under its final name."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
