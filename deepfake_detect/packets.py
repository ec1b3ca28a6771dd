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


@dataclass
class PacketIndex:
    """What a pass over the packets tells.

    Attributes:
        stamps: Time stamps in stream ticks, in order of presentation; where the clock starts again they are counted on.
        keys: Those of the key frames.
        entries: When each key frame is decoded, which may be before it is shown.
        end: Where the last frame ends, as far as the file says how long it is shown.
        starts_again: Whether the clock does, as in recordings that were joined.
    """

    stamps: array[int] = field(default_factory=lambda: array("q"))
    keys: array[int] = field(default_factory=lambda: array("q"))
    entries: array[int] = field(default_factory=lambda: array("q"))
    end: int = 0
    starts_again: bool = False


def list_packets(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> PacketIndex:
    """Go through the packets of a video, up to where the file ends or is broken off."""
    index = PacketIndex()
    back = round(_CLOCK_BACK_S / float(stream.time_base or 1))
    before: int | None = None
    counted_on = 0
    keys: list[tuple[int, int]] = []
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:
                continue
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
            index.stamps.append(stamp)
            index.end = max(index.end, stamp + (packet.duration or 0))
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


def is_spare(packet: bytes, codec: str, *, prefix: int) -> bool:
    """Whether no other frame needs that of this packet: its first slice says so (ISO 14496-10, 7.4.1; 23008-2, 7.4.2.2).

    These are kept from the decoder. Were they left out by its `skip_frame`, it would say nothing of what it can't decode.

    Args:
        packet: Of H.264 or HEVC.
        codec: `h264` or `hevc`.
        prefix: See `prefix_of`.
    """
    for first, second in _units(packet, prefix):
        if codec == "h264":
            kind, spare = first & 31, not first & 0x60
            is_slice, is_for_all = kind in (1, 5), kind in (7, 8)
        else:
            # Of the kinds below 16 the even ones are spare. Where the second byte names no layer it is damaged.
            kind = first >> 1
            spare = kind % 2 == 0 and kind < 16 and second & 7 > 0
            is_slice, is_for_all = kind < 32, kind in (32, 33, 34)
        if is_slice or is_for_all:
            return is_slice and spare
    return False


def _units(packet: bytes, prefix: int) -> Iterator[tuple[int, int]]:
    """The first two bytes of each unit of a packet."""
    at = 0 if prefix else packet.find(b"\0\0\1")
    while 0 <= at <= len(packet) - (prefix or 3) - 2:
        begin = at + (prefix or 3)
        if packet[begin] & 0x80:
            # None begins like that: it is damaged.
            return
        yield packet[begin], packet[begin + 1]
        at = begin + int.from_bytes(packet[at:begin]) if prefix else packet.find(b"\0\0\1", begin)
