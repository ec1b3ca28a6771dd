"""What the packets of a video tell before any is decoded: the times of its frames, its key frames, how much of the file is
really there, and which frames no other needs."""

from __future__ import annotations

import logging
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import av

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

# A clock that goes back by more than this begins again: recordings were joined. Less is the order of decoding, or jitter.
_CLOCK_BACK_S = 1.0
# Their packets say whether other frames need them, and where not, the decoder does without.
CAN_LEAVE_OUT = ("h264", "hevc")
# Profiles of H.264 that say more on colours (ISO 14496-10, 7.3.2.1.1).
_WITH_CHROMA = (44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244)


@dataclass
class PacketIndex:
    """What a pass over the packets tells.

    Attributes:
        stamps: Time stamps in stream ticks, in order of presentation; where the clock starts again they are counted on.
        keys: Those of the key frames.
        entries: When each key frame is decoded, which may be before it is shown.
        end: Where the last frame ends, as far as the file says how long it is shown.
        starts_again: Whether the clock does, as in recordings that were joined.
        has_halves: Whether some packets hold the second half of the frame that the packet before begins, one of its two
            fields. They are no frames: what they are stamped with is not among `stamps`.
        layer: The highest temporal layer in which a frame of HEVC lies, counted from 1.
    """

    stamps: array[int] = field(default_factory=lambda: array("q"))
    keys: array[int] = field(default_factory=lambda: array("q"))
    entries: array[int] = field(default_factory=lambda: array("q"))
    end: int = 0
    starts_again: bool = False
    has_halves: bool = False
    layer: int = 1


def list_packets(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> PacketIndex:
    """Go through the packets of a video, up to where the file ends or is broken off."""
    index = PacketIndex()
    back = round(_CLOCK_BACK_S / float(stream.time_base or 1))
    before: int | None = None
    counted_on = 0
    keys: list[tuple[int, int]] = []
    codec, extradata = stream.codec_context.name, stream.codec_context.extradata
    fields, prefix = _fields_of(extradata) if codec == "h264" else None, prefix_of(extradata, codec)
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:
                continue
            is_half = fields is not None and fields.ends_frame(bytes(packet))
            index.has_halves |= is_half
            if codec == "hevc" and (head := _first_slice(bytes(packet), codec, prefix)):
                index.layer = max(index.layer, head[1] & 7)
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is None:
                continue
            clock = packet.dts if packet.dts is not None else stamp
            # Only when packets are decoded goes one way; when they are shown, which is all that Matroska says of the first
            # few, goes back and forth by as long as frames lie apart.
            if packet.dts is not None:
                if before is not None and packet.dts < before - back:
                    index.starts_again, counted_on = True, index.end - stamp
                before = packet.dts
            stamp += counted_on
            index.end = max(index.end, stamp + (packet.duration or 0))
            if is_half:
                continue
            index.stamps.append(stamp)
            if packet.is_keyframe and not packet.is_corrupt:
                keys.append((stamp, clock + counted_on))
    except MemoryError:
        raise
    except (av.FFmpegError, OSError) as error:
        log.debug("packets end early: %s", error)
    index.stamps = array("q", sorted(set(index.stamps)))
    keys.sort()
    index.keys, index.entries = array("q", (key for key, _ in keys)), array("q", (entry for _, entry in keys))
    return index


def prefix_of(extradata: bytes | None, codec: str) -> int:
    """How many bytes before each unit of a packet say how long it is; 0 where a mark stands before it instead.

    That of H.264 and HEVC in containers (ISO 14496-15, 5.3.3.1 and 8.3.3.1), and in streams that are none.
    """
    place = 4 if codec == "h264" else 21
    return (extradata[place] & 3) + 1 if extradata and len(extradata) > place and extradata[0] == 1 else 0


def is_spare(packet: bytes, codec: str, *, prefix: int, layer: int) -> bool:
    """Whether no other frame needs that of this packet: its first slice says so (ISO 14496-10, 7.4.1; 23008-2, 7.4.2.2).

    These are kept from the decoder. Were they left out by its `skip_frame`, it would say nothing of what it can't decode.

    Args:
        packet: Of H.264 or HEVC.
        codec: `h264` or `hevc`.
        prefix: See `prefix_of`.
        layer: See `PacketIndex`.
    """
    head = _first_slice(packet, codec, prefix)
    if head is None or head[2]:
        return False
    first, second, _ = head
    if codec == "h264":
        return not first & 0x60
    # Of the kinds below 16 the even ones are needed by none of their own layer, but those of higher ones may need them.
    kind = first >> 1
    return kind % 2 == 0 and kind < 16 and second & 7 == layer


def _first_slice(packet: bytes, codec: str, prefix: int) -> tuple[int, int, bool] | None:
    """The first two bytes of the first slice, and whether before it stands what is for all frames."""
    slices, for_all = ((1, 5), (7, 8)) if codec == "h264" else (range(32), (32, 33, 34))
    is_behind = False
    for begin in _units(packet, prefix):
        first, second = packet[begin], packet[begin + 1]
        kind = first & 31 if codec == "h264" else first >> 1
        if kind in slices:
            return first, second, is_behind
        is_behind |= kind in for_all
    return None


def _units(packet: bytes, prefix: int) -> Iterator[int]:
    """Where each unit of a packet begins; two bytes at least are there."""
    at = 0 if prefix else packet.find(b"\0\0\1")
    while 0 <= at <= len(packet) - (prefix or 3) - 2:
        begin = at + (prefix or 3)
        if packet[begin] & 0x80:
            # None begins like that: it is damaged.
            return
        yield begin
        at = begin + int.from_bytes(packet[at:begin]) if prefix else packet.find(b"\0\0\1", begin)


class _Bits:
    """The bits of a unit, read one after another (ISO 14496-10, 7.2 and 9.1). Beyond its end a `ValueError` is raised."""

    def __init__(self, unit: bytes) -> None:
        # A 3 keeps what would look like the beginning of another unit from doing so.
        self._bits = "".join(f"{byte:08b}" for byte in unit.replace(b"\0\0\3", b"\0\0"))
        self._at = 0

    def take(self, count: int) -> int:
        """A number of so many bits."""
        self._at += count
        if self._at > len(self._bits):
            raise ValueError
        return int(self._bits[self._at - count : self._at], 2)

    def number(self) -> int:
        """One that says itself how long it is."""
        zeros = self._bits.index("1", self._at) - self._at
        self._at += zeros
        return self.take(zeros + 1) - 1

    def pass_numbers(self, count: int) -> None:
        """Pass over so many of these."""
        for _ in range(count):
            self.number()


class _Fields:
    """Pairs the fields of interlaced H.264 as FFmpeg's decoder does: a frame may come as two, each in its own packet.

    Args:
        prefix: See `prefix_of`.
        number_bits: How long the number of a frame is.
    """

    def __init__(self, prefix: int, *, number_bits: int) -> None:
        self._prefix, self._number_bits = prefix, number_bits
        # The number of the frame whose other field is to come, and whether it is the one at the bottom that came.
        self._begun: tuple[int, int] | None = None

    def ends_frame(self, packet: bytes) -> bool:
        """Whether the next packet holds the second field of the frame that the one before it began."""
        ends: bool | None = None
        for begin in _units(packet, self._prefix):
            # One that does not begin at the first block goes on with the picture of the slice before.
            if packet[begin] & 31 not in (1, 5) or not packet[begin + 1] & 0x80:
                continue
            try:
                bits = _Bits(packet[begin + 1 : begin + 32])
                bits.pass_numbers(3)
                number, is_field = bits.take(self._number_bits), bits.take(1)
                is_bottom = is_field and bits.take(1)
            except ValueError:
                continue
            second = bool(is_field) and self._begun == (number, 1 - is_bottom)
            self._begun = (number, is_bottom) if is_field and not second else None
            ends = second if ends is None else ends
        return bool(ends)


def _fields_of(extradata: bytes | None) -> _Fields | None:
    """What pairs the fields of a stream of H.264; None where all of its pictures are whole frames, or nothing is said.

    Its first sequence parameter set says so (ISO 14496-10, 7.3.2.1.1; where it lies in a container 14496-15, 5.3.3.1).
    """
    data, prefix = extradata or b"", prefix_of(extradata, "h264")
    places = _units(data, 0) if not prefix else (8,) if len(data) > 8 else ()
    begin = next((place for place in places if data[place] & 31 == 7), len(data))
    try:
        bits, plane_bits = _Bits(data[begin + 1 : begin + 1024]), 0
        profile = bits.take(8)
        bits.take(16)
        bits.number()
        if profile in _WITH_CHROMA:
            chroma = bits.number()
            if chroma == 3:
                plane_bits = 2 * bits.take(1)
            bits.pass_numbers(2)
            bits.take(1)
            for i in range((12 if chroma == 3 else 8) * bits.take(1)):
                _pass_scaling(bits, 16 if i < 6 else 64)
        # Before the number of a frame stands which plane of colours it is, where these are coded apart.
        number_bits = plane_bits + bits.number() + 4
        order = bits.number()
        if order == 0:
            bits.number()
        elif order == 1:
            bits.take(1)
            bits.pass_numbers(2)
            bits.pass_numbers(bits.number())
        bits.number()
        bits.take(1)
        bits.pass_numbers(2)
        whole = bits.take(1)
    except ValueError:
        return None
    return None if whole else _Fields(prefix, number_bits=number_bits)


def _pass_scaling(bits: _Bits, size: int) -> None:
    """Pass over a list of scales, of which those at the end may be left out (ISO 14496-10, 7.3.2.1.1.1)."""
    last, after = 8, 8 * bits.take(1)
    for _ in range(size):
        if after:
            code = bits.number()
            after = (last + (code // 2 + 1 if code % 2 else -(code // 2))) % 256
            last = after or last
