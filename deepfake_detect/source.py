"""A file that is to be judged: opened only where it is a regular one, and what is wrong with it, told under its name."""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import MediaError

if TYPE_CHECKING:
    from os import PathLike
    from threading import Event

    from .options import Options

#: What is read of pictures, by Pillow's names: a JPEG of several (MPO) is opened by the reader of JPEG.
PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "HEIF", "AVIF")
#: And of videos, by FFmpeg's names: containers that hold their own media. What refers to other files or addresses (hls,
#: concat, dash) is not among them, nor are raw streams, which have no time stamps and are found in almost any noise.
VIDEO_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg"
# What the libraries that read pictures and videos, and those below them, raise on damaged data, beside errors of their own.
DECODER_ERRORS = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError, RuntimeError,
                  MemoryError, struct.error, zlib.error)  # fmt: skip
# What libraries say when memory is what they lack, the last of them the system where there is no room to load one.
_HUNGRY = (
    "allocate memory", "out of memory", "Insufficient memory", "std::bad_alloc", "can't start new thread",
    "failed to map segment",
)  # fmt: skip
_READ_AHEAD = 2**16


class LeftError(Exception):
    """Nobody waits for the answer any more."""


class _Raw(io.FileIO):
    """A file that is read no further once nobody waits for what comes of it. That its disk fails is no damage of it."""

    left: Event | None = None
    # By way of `readinto`.
    read, readall = io.RawIOBase.read, io.RawIOBase.readall  # type: ignore[assignment]

    def readinto(self, buffer: Any) -> int | None:
        """As the system does it."""
        if self.left is not None and self.left.is_set():
            raise LeftError
        try:
            return super().readinto(buffer)
        except OSError as error:
            # Of a kind that no decoder takes for its own.
            found = f"{shown(str(self.name))}: can't be read ({error.strerror}); the disk may be failing"
            raise MediaError(found, kind="unreadable") from error


def open_file(path: str | PathLike[str], *, follow: bool = True, left: Event | None = None) -> io.BufferedReader:
    """Open a regular file for reading from its beginning, and nothing else: what was looked at is what is read.

    Args:
        follow: Whether the name may be a link to the file.
        left: Once it is set, reading on raises a `LeftError`.

    Raises:
        MediaError: It is not there, not a regular file, or must not be read; when it is read, that it can't be.
    """
    name = os.fspath(path)
    try:
        # Looked at before it is opened, since opening a device can do things; and after, since it may have been another
        # file by then. A pipe that nobody writes to does not hold us up.
        _check_regular(name, os.stat(name, follow_symlinks=follow))
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
        flags |= 0 if follow else getattr(os, "O_NOFOLLOW", 0)
        raw = _Raw(name, opener=lambda path, _: os.open(path, flags))
        raw.left = left
        file: io.BufferedReader = io.BufferedReader(raw, _READ_AHEAD)
        try:
            _check_regular(name, os.fstat(file.fileno()))
            # On macOS to open /dev/fd/N again gives no file of its own: it stands where N was read to.
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file
    except (OSError, ValueError) as error:
        raise out_of_reach(name, error) from error


def out_of_reach(name: str, error: OSError | ValueError) -> MediaError:
    """What to raise where the system would not have a file looked at or opened."""
    if isinstance(error, FileNotFoundError):
        return MediaError(f"{shown(name)}: no such file; check the path", kind="not_found")
    # The latter is what Windows says of a name with a character that none may hold, such as *.
    if isinstance(error, ValueError) or error.errno == errno.EINVAL:
        return MediaError(f"{shown(name)}: is not a possible file name; check the path", kind="not_found")
    what = "raise that limit (ulimit -n)" if error.errno in (errno.EMFILE, errno.ENFILE) else "check its permissions"
    return MediaError(f"{shown(name)}: can't be read ({error.strerror}); {what}", kind="unreadable")


def _check_regular(name: str, found: os.stat_result) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    what = "is not a regular file (a pipe, socket or device); save it to a file first"
    if stat.S_ISDIR(found.st_mode):
        what = "is a folder; give the files in it, or judge all of them with scan"
    elif stat.S_ISLNK(found.st_mode):
        what = "is a link; give the file that it leads to"
    raise MediaError(f"{shown(name)}: {what}", kind="not_a_file")


def shown(name: str | PathLike[str]) -> str:
    """A path as it can be printed: bytes that are not text, and control characters, become escapes."""
    readable = os.fspath(name).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in readable)


@dataclass(frozen=True)
class Identity:
    """Which file it is: its path as given, its size in bytes, its fingerprint."""

    path: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The path as it can be printed."""
        return shown(self.path)

    def error(self, found: str, *, kind: str) -> MediaError:
        """What to raise where something is wrong with the file."""
        return MediaError(f"{self.name}: {found}", kind=kind)

    def damaged(self, what: str, error: BaseException) -> MediaError:
        """What to raise where a decoder gave up on a picture or video; that memory ran out is no damage."""
        if is_hunger(error):
            return self.error(f"needs more memory than there is for this {what}; reduce it", kind="too_large")
        return self.error(f"damaged {what} ({first_line(error)}); get it again", kind="damaged")


def check_pixels(name: str, width: int, height: int, options: Options) -> None:
    """
    Raises:
        MediaError: A picture or frame of that size has more pixels than are allowed.
    """
    if width * height > options.max_pixels:
        raise MediaError(
            f"{name}: {width} x {height} is more than {options.max_pixels / 1e6:g} million pixels;"
            " reduce it (or, in Python, raise Options.max_pixels)",
            kind="too_large",
        )


def is_hunger(error: BaseException | None) -> bool:
    """Whether memory was what lacked, whatever it was called on the way: a damaged file is something else."""
    while error is not None:
        # Pillow, torch, OpenCV and ONNX Runtime have no class of their own for it.
        if isinstance(error, MemoryError) or any(words in _said_by(error) for words in _HUNGRY):
            return True
        error = error.__cause__ or error.__context__
    return False


def first_line(error: BaseException) -> str:
    """What a library says of an error, short enough to be part of a message."""
    text = _said_by(error).strip().splitlines()
    return text[0][:120] if text and text[0] else type(error).__name__


def _said_by(error: BaseException) -> str:
    # FFmpeg's errors repeat their number and the name around what they say.
    return str(getattr(error, "strerror", None) or error)
