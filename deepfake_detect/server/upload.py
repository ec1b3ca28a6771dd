"""A form that is being sent -> its one file on disk and its few words, as they arrive, within limits on size and time.

Frameworks collect a form before they hand it over, in memory and then in a temporary file of their own. Here the file is
written once, where it belongs, and who sends too much, too slowly or half of it leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from .guard import RefusedError

if TYPE_CHECKING:
    import io
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from python_multipart.multipart import MultipartCallbacks

_LONGEST_NAME, _LONGEST_WORD, _LONGEST_HEADER, _MOST_PARTS = 255, 1024, 8192, 16
# Written when so much has come; so little is written quicker than it is handed to another thread.
_BUFFER, _LITTLE = 2**20, 2**16


@dataclass(frozen=True)
class Limits:
    """What sending a file may take.

    Attributes:
        file_bytes: A larger file is refused. Default 4 GiB.
        pause_s: The longest time without a byte, seconds. Default 20.
        least_bytes_s: Bytes a second, on the average of all but the first `pause_s`. Default 10,000.
    """

    file_bytes: int = 4 * 2**30
    pause_s: float = 20
    least_bytes_s: float = 10_000


@dataclass(frozen=True)
class Form:
    """What was sent: what the file is called, its size, and the other fields."""

    name: str
    size_bytes: int
    words: dict[str, str]


async def receive(
    stream: AsyncIterator[bytes],
    headers: Mapping[str, str],
    target: Path,
    limits: Limits,
    *,
    words: tuple[str, ...] = (),
    check_space: Callable[[], None] = lambda: None,
) -> Form:
    """Write the file of a form, field `file`.

    Args:
        stream: The request's body as it arrives.
        headers: The request's, with names in lower case.
        target: Where the file goes; must not exist.
        words: Other fields that may be sent.
        check_space: Called before each part is written; what it raises comes out here.

    Raises:
        RefusedError: It is no such form, or too large, or came too slowly.
        OSError: The file can't be written.
    """
    kind, options = parse_options_header(headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise RefusedError(415, "form", "expected multipart/form-data with the media in the field file")
    if announced(headers) > limits.file_bytes + _BUFFER:
        raise _too_large(limits)
    with target.open("xb") as file:
        reader = _Reader(file, limits, words, check_space)
        try:
            parser = MultipartParser(options[b"boundary"], reader.callbacks())
            async for chunk in _in_time(stream, limits):
                parser.write(chunk)
                if len(reader.waiting) >= _BUFFER:
                    await asyncio.to_thread(reader.write)
            parser.finalize()
        except FormParserError as error:
            raise RefusedError(400, "form", f"the form can't be read ({error})") from error
        if len(reader.waiting) > _LITTLE:
            await asyncio.to_thread(reader.write)
        else:
            reader.write()
    if not reader.ended:
        raise RefusedError(400, "form", "the form ends before its end")
    if not reader.name:
        raise RefusedError(400, "form", "expected a file in the field file, found none")
    if not reader.size:
        raise RefusedError(400, "empty", "the file is empty")
    return Form(reader.name, reader.size, reader.words)


def announced(headers: Mapping[str, str]) -> int:
    """How much is said to come, bytes; 0 where nothing sensible is said."""
    length = headers.get("content-length", "")
    # Other digits than ASCII's are digits, too, and of thousands of them no number is made.
    return int(length) if re.fullmatch(r"[0-9]{1,18}", length) else 0


def _too_large(limits: Limits) -> RefusedError:
    return RefusedError(413, "too_large", f"more than {limits.file_bytes / 1e6:,.0f} MB are not taken")


async def _in_time(stream: AsyncIterator[bytes], limits: Limits) -> AsyncIterator[bytes]:
    """
    Raises:
        RefusedError: It comes too slowly, or does not end.
    """
    began, read = time.monotonic(), 0
    while True:
        try:
            async with asyncio.timeout(limits.pause_s):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise RefusedError(408, "slow", f"nothing came for {limits.pause_s:g} s") from error
        if chunk is None:
            return
        read += len(chunk)
        # Behind the end of a form more may follow, which is passed over.
        if read > limits.file_bytes + _BUFFER:
            raise _too_large(limits)
        if read < limits.least_bytes_s * (time.monotonic() - began - limits.pause_s):
            raise RefusedError(408, "slow", f"less than {limits.least_bytes_s:,.0f} bytes a second are too slow")
        yield chunk


@dataclass
class _Reader:
    """What the parser finds, part by part."""

    file: io.BufferedWriter
    limits: Limits
    known: tuple[str, ...]
    check_space: Callable[[], None]
    name: str = ""
    size: int = 0
    ended: bool = False
    words: dict[str, str] = field(default_factory=dict)
    waiting: bytearray = field(default_factory=bytearray)
    _parts: int = 0
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""
    _field: str = ""
    _word: bytearray = field(default_factory=bytearray)

    def callbacks(self) -> MultipartCallbacks:
        """For the parser."""
        return {
            "on_part_begin": self._begin, "on_header_field": self._read_header, "on_header_value": self._read_value,
            "on_header_end": self._end_header, "on_headers_finished": self._understand, "on_part_data": self._take,
            "on_part_end": self._end_part, "on_end": self._end,
        }  # fmt: skip

    def write(self) -> None:
        """What waits goes to disk. There was room for what was announced, but others write, too."""
        self.check_space()
        self.file.write(self.waiting)
        self.waiting.clear()

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise RefusedError(400, "form", f"more than {_MOST_PARTS} fields")
        self._disposition = b""

    def _read_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._check_length(self._header)

    def _read_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_length(self._value)

    def _check_length(self, read: bytearray) -> None:
        if len(read) > _LONGEST_HEADER:
            raise RefusedError(400, "form", "a header of a field is too long")

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _understand(self) -> None:
        kind, options = parse_options_header(self._disposition)
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or self._field not in ("file", *self.known):
            raise RefusedError(
                400, "form", f"unknown field {self._field[:40]!r}; expected {', '.join(('file', *self.known))}"
            )
        if self._field in self.words or (self._field == "file" and self.name):
            raise RefusedError(400, "form", f"the field {self._field} stands there twice")
        if self._field == "file":
            self.name = _checked(options.get(b"filename", b"").decode("utf-8", "replace"))

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._field != "file":
            self._word += data[start:end]
            if len(self._word) > _LONGEST_WORD:
                raise RefusedError(400, "form", f"the field {self._field} is too long")
            return
        self.size += end - start
        if self.size > self.limits.file_bytes:
            raise _too_large(self.limits)
        self.waiting += data[start:end]

    def _end_part(self) -> None:
        if self._field != "file":
            self.words[self._field] = self._word.decode("utf-8", "replace")
            self._word.clear()

    def _end(self) -> None:
        self.ended = True


def _checked(name: str) -> str:
    """What the sender calls the file. It is shown, and never opened.

    Raises:
        RefusedError: It is a path.
    """
    if "/" in name or "\\" in name or name in (".", ".."):
        raise RefusedError(400, "name", "expected the name of a file, found a path")
    # As browsers write a quotation mark.
    return name.replace("%22", '"')[-_LONGEST_NAME:] or "file"
