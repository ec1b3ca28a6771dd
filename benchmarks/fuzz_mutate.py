"""Makes inputs wrong in the ways that matter to readers: bytes, the parts of containers and their sizes, and JSON.

Everything is drawn from the generator that is passed in, so a seed and a number give the same input again.
"""

from __future__ import annotations

import copy
import json
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

#: Inputs stay below this, so that what takes long or fills memory does so because of what it claims.
LARGEST = 2**20
_NUMBERS = (0, 1, 2, 7, 8, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1,
            2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
_BOXES = frozenset((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"edts", b"udta", b"mvex", b"moof", b"traf",
                    b"meta", b"iprp", b"ipco", b"stsd", b"avc1", b"hvc1", b"av01"))  # fmt: skip
# How many bytes stand before the first part in one that holds others.
_BEFORE_PARTS = {b"meta": 4, b"stsd": 8, b"avc1": 78, b"hvc1": 78, b"av01": 78}
_EBML_MASTERS = (b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\x1f\x43\xb6\x75", b"\x1a\x45\xdf\xa3", b"\x11\x4d\x9b\x74",
                 b"\x15\x49\xa9\x66", b"\xae", b"\xe0", b"\xa0")  # fmt: skip
_GUIDS = 24


@dataclass(frozen=True)
class Part:
    """A piece of a container: where it lies, and where its size stands."""

    begin: int
    end: int
    size_at: int
    size_width: int
    big_endian: bool


def parts(data: bytes) -> list[Part]:
    """The pieces of a container, nested ones too; none where its format is not known here."""
    if data.startswith(b"\x89PNG"):
        found = _png(data)
    elif data[:4] == b"RIFF":
        found = _riff(data, 12, len(data))
    elif data[4:8] == b"ftyp":
        found = _boxes(data, 0, len(data))
    elif data.startswith(b"\xff\xd8"):
        found = _jpeg(data)
    elif data.startswith(b"\x1a\x45\xdf\xa3"):
        found = _ebml(data, 0, len(data))
    elif data.startswith(b"FLV"):
        found = _flv(data)
    elif data[:2] in (b"II", b"MM"):
        found = _tiff(data)
    elif data.startswith(b"\x30\x26\xb2\x75"):
        found = _asf(data)
    else:
        found = _even(data)
    return [part for part in found if part.begin < part.end <= len(data)][:2000]


def _png(data: bytes) -> Iterator[Part]:
    at = 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        yield Part(at, end, at, 4, True)
        at = end


def _riff(data: bytes, at: int, end: int) -> Iterator[Part]:
    while at + 8 <= end:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        after = at + 8 + size + size % 2
        yield Part(at, min(after, len(data)), at + 4, 4, False)
        if data[at : at + 4] == b"LIST":
            yield from _riff(data, at + 12, min(after, end))
        at = after


def _boxes(data: bytes, at: int, end: int) -> Iterator[Part]:
    while at + 8 <= end:
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        after = at + size if size >= 8 else end
        yield Part(at, min(after, end), at, 4, True)
        if kind in _BOXES:
            yield from _boxes(data, at + 8 + _BEFORE_PARTS.get(kind, 0), min(after, end))
        at = after


def _jpeg(data: bytes) -> Iterator[Part]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield Part(at, end, at + 2, 2, True)
        at = end


def _ebml(data: bytes, at: int, end: int) -> Iterator[Part]:
    def width(i: int) -> int:
        return 9 - data[i].bit_length() if i < len(data) and data[i] else 0

    while at < end:
        name = width(at)
        size = width(at + name)
        if not name or not size or at + name + size > end:
            return
        begin = at + name + size
        value = int.from_bytes(data[at + name : begin], "big") & ((1 << 7 * size) - 1)
        after = end if value == (1 << 7 * size) - 1 else min(begin + value, end)
        yield Part(at, after, at + name, size, True)
        if data[at : at + name] in _EBML_MASTERS:
            yield from _ebml(data, begin, after)
        at = max(after, at + 1)


def _flv(data: bytes) -> Iterator[Part]:
    at = 13
    while at + 11 <= len(data):
        end = at + 15 + int.from_bytes(data[at + 1 : at + 4], "big")
        yield Part(at, end, at + 1, 3, True)
        at = end


def _tiff(data: bytes) -> Iterator[Part]:
    order = "little" if data[:2] == b"II" else "big"
    at = int.from_bytes(data[4:8], order)  # type: ignore[arg-type]
    for _ in range(8):
        count = int.from_bytes(data[at : at + 2], order)  # type: ignore[arg-type]
        for i in range(min(count, 100)):
            entry = at + 2 + 12 * i
            yield Part(entry, entry + 12, entry + 4, 4, order == "big")
        after = at + 2 + 12 * count
        at = int.from_bytes(data[after : after + 4], order)  # type: ignore[arg-type]
        if not at:
            return


def _asf(data: bytes) -> Iterator[Part]:
    at = 0
    while at + _GUIDS <= len(data):
        size = int.from_bytes(data[at + 16 : at + 24], "little")
        end = at + max(size, _GUIDS)
        yield Part(at, end, at + 16, 8, False)
        # The first holds the others.
        at = at + 30 if at == 0 else end


def _even(data: bytes) -> Iterator[Part]:
    """Of what has packets of one size, such as a transport stream, and of all else: pieces of 188 bytes."""
    for at in range(0, len(data), 188):
        yield Part(at, min(at + 188, len(data)), at, 1, True)


def number(rng: Random, width: int) -> int:
    """One that programs stumble over, of so many bytes."""
    return (rng.choice(_NUMBERS) + rng.choice((-1, 0, 0, 0, 1))) % (1 << 8 * width)


def mutated(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    """One to several changes to a file; `others` are what parts of it may come from."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 9))):
        if not data:
            break
        data = rng.choice(_CHANGES)(data, rng, others)[:LARGEST]
    # A reader that checks sums would see nothing but wrong sums.
    return mended(data) if data.startswith(b"\x89PNG") and rng.random() < 0.8 else data


def mended(data: bytes) -> bytes:
    """A PNG with the right sums."""
    found = bytearray(data)
    for part in parts(data):
        found[part.end - 4 : part.end] = struct.pack(">I", zlib.crc32(found[part.begin + 4 : part.end - 4]))
    return bytes(found)


def _place(data: bytes, rng: Random) -> int:
    # The beginning says what the rest is.
    return rng.randrange(min(len(data), rng.choice((64, 512, 4096, len(data)))))


def _flip(data: bytes, rng: Random, _: Sequence[bytes]) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 40))):
        found[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(found)


def _write_number(data: bytes, rng: Random, _: Sequence[bytes]) -> bytes:
    width, at = rng.choice((1, 2, 3, 4, 8)), _place(data, rng)
    return data[:at] + number(rng, width).to_bytes(width, rng.choice(("big", "little"))) + data[at + width :]


def _noise(data: bytes, rng: Random, _: Sequence[bytes]) -> bytes:
    at, length = _place(data, rng), rng.choice((1, 4, 16, 200))
    return data[:at] + rng.randbytes(length) + data[at + length :]


def _cut(data: bytes, rng: Random, _: Sequence[bytes]) -> bytes:
    return data[: rng.randrange(len(data))]


def _remove(data: bytes, rng: Random, _: Sequence[bytes]) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 4, 32, 1000)) :]


def _repeat(data: bytes, rng: Random, _: Sequence[bytes]) -> bytes:
    at, length = _place(data, rng), rng.choice((1, 4, 32, 1000))
    return data[:at] + data[at : at + length] * rng.choice((2, 3, 100)) + data[at + length :]


def _splice(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    return data[: rng.randrange(len(data))] + other[rng.randrange(max(1, len(other))) :]


def _other_head(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    length = rng.choice((4, 12, 16, 64, 512))
    return rng.choice(others)[:length] + data[length:]


def _append(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    return data + rng.choice(others)


def _part(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    """Something done to a piece as a whole."""
    pieces = parts(data)
    if not pieces:
        return _flip(data, rng, others)
    one, two = rng.choice(pieces), rng.choice(pieces)
    body = data[one.begin : one.end]
    deed = rng.randrange(7)
    if deed == 0:
        body = b""
    elif deed == 1:
        body *= rng.choice((2, 2, 3, 50))
    elif deed == 2:
        body = data[two.begin : two.end]
    elif deed == 3:
        body = data[two.begin : two.end] + body
    elif deed == 4:
        other = rng.choice(others)
        theirs = parts(other)
        body = other[theirs[0].begin : theirs[rng.randrange(len(theirs))].end] if theirs else b""
    elif deed == 5:
        body = body[:12] + bytes(len(body) - 12) if len(body) > 12 else b""
    else:
        at = rng.randrange(len(body))
        body = body[:at] + number(rng, 4).to_bytes(4, "big") + body[at + 4 :]
    return data[: one.begin] + body + data[one.end :]


def _resize(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    """A piece that lies about its size."""
    pieces = parts(data)
    if not pieces:
        return _write_number(data, rng, others)
    part = rng.choice(pieces)
    field = data[part.size_at : part.size_at + part.size_width]
    order: Any = "big" if part.big_endian else "little"
    size = int.from_bytes(field, order) + rng.choice((-8, -4, -1, 1, 4, 8, 255))
    size = rng.choice((size, number(rng, part.size_width))) % (1 << 8 * part.size_width)
    return data[: part.size_at] + size.to_bytes(part.size_width, order) + data[part.size_at + len(field) :]


_CHANGES: tuple[Callable[[bytes, Random, Sequence[bytes]], bytes], ...] = (
    _flip, _flip, _write_number, _write_number, _noise, _cut, _remove, _repeat, _splice, _other_head, _append,
    _part, _part, _part, _resize, _resize,
)  # fmt: skip

_JUNK: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, 2**31, 2**63, 10**30, 1e308, -1e308, float("nan"), float("inf"), "", "x", "x" * 5000,
    "\0", "\n", "\x1b[31m", "\ud800", "..", "../../outside", "/dev/zero", "/dev/stdin", "CON", "0" * 64, [], {}, [[]],
    [None], {"": {}}, {"file": 1},
)  # fmt: skip


def mutated_json(text: str, rng: Random) -> bytes:
    """One to several values of a JSON text are something else; now and then the text itself is."""
    value = json.loads(text)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        value = _changed(value, rng)
    if rng.random() < 0.04:
        deep = 100_000
        return rng.choice(
            (b"[" * deep, b'{"a":' * deep + b"1" + b"}" * deep, b"9" * 5000, b"\xff\xfe", b"\xef\xbb\xbf{}", b"")
        )
    if rng.random() < 0.04:
        text = json.dumps(value)
        at = rng.randrange(len(text))
        return (text[:at] + rng.choice(("[" * 100_000, "9" * 5000, "}", '"', "\0")) + text[at:]).encode()
    return json.dumps(value).encode("ascii")


def _changed(value: Any, rng: Random) -> Any:
    """The same with one value below it exchanged, removed or added."""
    holders: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        for key in keys:
            holders.append((one, key))
            waiting.append(one[key])
    if not holders or rng.random() < 0.02:
        return copy.deepcopy(rng.choice(_JUNK))
    holder, key = rng.choice(holders)
    deed = rng.random()
    if deed < 0.15:
        del holder[key]
    elif deed < 0.25 and isinstance(holder, dict):
        holder[str(rng.choice(_JUNK))[:100]] = holder.pop(key)
    elif deed < 0.35 and isinstance(holder, list):
        holder.extend([holder[key]] * rng.choice((1, 1, 1000)))
    elif deed < 0.5:
        other, name = rng.choice(holders)
        # A copy, for nothing may hold itself.
        holder[key] = copy.deepcopy(other[name])
    elif deed < 0.65 and isinstance(holder[key], (int, float)):
        holder[key] = holder[key] * rng.choice((-1, 0, 2, 1000, 1e12)) + rng.choice((0, 1, 0.5))
    else:
        holder[key] = copy.deepcopy(rng.choice(_JUNK))
    return value
