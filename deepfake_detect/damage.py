"""Decoded frames -> those of them that are as they were coded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import av

# Where a decoder begins, these show nothing before they have what they need; others show what they made up.
_BEGIN_SOUND = ("h264", "hevc")
# Of a frame that it can't make, this one's decoder says nothing.
_SAY_NOTHING = ("hevc",)


class Intact:
    """Lets those frames through that are as they were coded.

    A decoder makes up what is missing and goes on; what follows is made of that, and bears no mark. So nothing is let
    through from where something was damaged, or did not come, to the next key frame.

    Args:
        codec: Of the video.
        by_stamps: Whether frames have the stamps of their packets, so that it shows which did not come.
    """

    def __init__(self, codec: str, *, by_stamps: bool) -> None:
        self._codec, self._by_stamps = codec, by_stamps
        self._begun = self._failed = False
        self._sent, self._newest, self._shown = 0, -sys.maxsize, -sys.maxsize
        # By the stamp of each packet whose frame is to come: its number, and what is shown last of it and those before it.
        self._due: dict[int, tuple[int, int]] = {}
        # Frames, each with both: a damaged one may be shown after those that were made of it.
        self._held: list[tuple[av.VideoFrame, int, int]] = []
        # The number of the first packet that is damaged.
        self._broken = sys.maxsize

    def sent(self, packet: av.Packet[Any], *, whole: bool = True) -> None:
        """A packet is given to the decoder, or would be, were it whole."""
        self._failed |= not whole
        self._sent += 1
        if not self._by_stamps or not packet.size or packet.pts is None or packet.is_discard:
            return
        self._newest = packet.pts if packet.is_keyframe else max(self._newest, packet.pts)
        # Where a decoder begins it leaves out what is shown before that.
        if packet.pts > self._shown:
            self._due[packet.pts] = self._sent, self._newest

    def failed(self) -> None:
        """The decoder could not make a frame; of which packet is not known."""
        self._failed = True
        if self._begun or self._codec not in _BEGIN_SOUND:
            self._break(min((number for number, _ in self._due.values()), default=0))

    def came(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Those that can be let through now that this one has come."""
        self._shown = stamp = frame.pts or 0
        number, until = self._due.pop(stamp, (self._sent, stamp))
        lost = [self._due.pop(other)[0] for other in list(self._due) if other < stamp]
        # Some packets hold no frame of their own, such as half of an interlaced one: where nothing failed, none is lost.
        if lost and self._begun and (self._failed or self._codec in _SAY_NOTHING):
            self._break(min(lost))
        self._failed &= not lost
        self._begun = True
        if frame.is_corrupt:
            self._break(number)
        elif frame.key_frame and number >= self._broken:
            self._broken = sys.maxsize
        if number < self._broken:
            self._held.append((frame, number, until))
        while self._held and self._held[0][2] <= stamp:
            yield self._held.pop(0)[0]

    def rest(self) -> Iterator[av.VideoFrame]:
        """Those that can be let through when no more will come."""
        if self._due and (self._failed or self._codec in _SAY_NOTHING):
            self._break(min(number for number, _ in self._due.values()))
        yield from (frame for frame, _, _ in self._held)
        self._held.clear()

    def _break(self, number: int) -> None:
        """What was decoded from that packet on is damaged."""
        self._broken = min(self._broken, number)
        self._held = [held for held in self._held if held[1] < number]
