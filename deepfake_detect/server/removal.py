"""Deletes a folder with all below it, whatever a worker that was taken over made there, such as a thousand folders in each
other, which `shutil.rmtree` takes for a bug, or one that even its owner may not look into."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def remove(path: Path) -> None:
    """Delete a file, a link, or a folder with all below it. No link is followed, and what is gone already is no error.

    Raises:
        OSError: Not all of it could be deleted; what could be is gone.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            path.unlink()
        elif os.name == "posix":
            _Removal(path).run()
        else:
            # What is open elsewhere stays; all else goes.
            shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        raise OSError(errno.EBUSY, "something in it is in use", str(path))


class _Removal:
    """Goes down and up again with one folder open, for neither paths nor open files suffice for any depth."""

    def __init__(self, path: Path) -> None:
        self._here = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        # Of each folder on the way down to the open one: which it is, and what is still to be deleted in it.
        self._above: list[tuple[int, int]] = []
        self._left = [[path.name]]
        self._failure: OSError | None = None

    def run(self) -> None:
        """
        Raises:
            OSError: Something is still there.
        """
        try:
            while self._left[0]:
                if self._left[-1]:
                    self._go_down(self._left[-1][-1])
                else:
                    self._go_up()
        finally:
            os.close(self._here)
        if self._failure is not None:
            raise self._failure

    def _go_down(self, name: str) -> None:
        """Into a folder here, whose files are deleted at once."""
        try:
            lower = self._opened(name)
        except OSError as error:
            self._left[-1].pop()
            self._note(error)
            return
        self._above.append(_which(self._here))
        self._go_to(lower)
        folders: list[str] = []
        self._left.append(folders)
        try:
            # Its owner may do what is needed, whatever was written of its mode.
            os.fchmod(lower, 0o700)
            with os.scandir(lower) as entries:
                found = list(entries)
        except OSError as error:
            self._note(error)
            return
        for entry in found:
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                else:
                    os.unlink(entry.name, dir_fd=lower)
            except OSError as error:
                self._note(error)

    def _opened(self, name: str) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        try:
            return os.open(name, flags, dir_fd=self._here)
        except PermissionError:
            # Who could lay a link here in the meantime could change any mode himself.
            os.chmod(name, 0o700, dir_fd=self._here)
            return os.open(name, flags, dir_fd=self._here)

    def _go_up(self) -> None:
        """Out of a folder that is empty as far as it can be, and delete it."""
        upper = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._here)
        self._go_to(upper)
        if _which(upper) != self._above.pop():
            raise OSError(errno.EAGAIN, "it was moved meanwhile")
        self._left.pop()
        try:
            os.rmdir(self._left[-1].pop(), dir_fd=upper)
        except OSError as error:
            self._note(error)

    def _go_to(self, folder: int) -> None:
        os.close(self._here)
        self._here = folder

    def _note(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            # The first one says why the rest failed.
            self._failure = self._failure or error


def _which(folder: int) -> tuple[int, int]:
    known = os.stat(folder)
    return known.st_dev, known.st_ino
