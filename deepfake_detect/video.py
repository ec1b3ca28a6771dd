"""An open file -> the frames of a video, upright RGB, each decoded when it is asked for: what PyAV (FFmpeg) reads.

It is gone through twice. First its packets are listed without decoding: this gives every frame's own time stamp, the key
frames, and how much of the file is really there (containers lie about that). Then only what the chosen frames need is
decoded, in order; or, for a copy, every frame of a stretch, with the packets of the sound between them. What is damaged,
and what is made of it, is left out.
"""

from __future__ import annotations

import logging
import math
import sys
from array import array
from bisect import bisect_left, bisect_right
from itertools import chain
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from .damage import Intact
from .packets import CAN_LEAVE_OUT, is_spare, list_packets, prefix_of
from .source import DECODER_ERRORS, VIDEO_FORMATS, LeftError, check_pixels, first_line, is_hunger
from .types import Frame, MediaInfo, Note

if TYPE_CHECKING:
    import io
    from collections.abc import Container, Iterator, Sequence
    from threading import Event

    from .options import Options
    from .source import Identity
    from .types import NoteKey

log = logging.getLogger(__name__)

_ERRORS = (av.FFmpegError, *DECODER_ERRORS)
# The colour matrices that FFmpeg's converter knows, and that which means "not said": what files say is often nonsense.
_MATRICES, _UNSAID_MATRIX = (0, 1, 2, 4, 5, 6, 7, 9), 2
# The curves of light in pictures of high dynamic range: PQ and HLG (ITU-T H.273, table 3).
_HDR_CURVES = (16, 18)
# A shorter loss than this at the end is rounding, not damage.
_TOLERATED_LOSS_S = 0.5
# Discs and cameras have pixels from 0.9 to 2.2 times as wide as high.
_WIDEST_PIXEL = 3
# So near are the proportions of sizes that a call uses in turn: encoders round sides.
_SAME_SHAPE = 0.98
# So far apart may sound and picture of one moment lie in a file.
_SOUND_LEADS_S = 1.0


def open_video(file: io.BufferedReader, identity: Identity, options: Options, left: Event) -> Video:
    """Begin to read a video.

    Args:
        left: Set by whoever wants no more frames.

    Raises:
        MediaError: It is none, or holds none that can be read.
    """
    try:
        container = _open_container(file)
    except _ERRORS as error:
        found = f"is neither a picture nor a video that can be read ({first_line(error)})"
        raise identity.error(found, kind="unsupported") from error
    try:
        streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams:
            raise identity.error("has no video in it, only sound or data", kind="no_video")
        best = container.streams.best("video")
        stream = best if best in streams else streams[0]
        if stream.codec_context is None:
            raise identity.error("its video is in a format that can't be decoded; convert it first", kind="unsupported")
        width, height = stream.codec_context.width, stream.codec_context.height
        if stream.time_base is None:
            raise identity.error("its video has no time base; it is damaged", kind="damaged")
        check_pixels(identity.name, width, height, options)
        video = Video(file, container, stream, identity, options, left)
        if len(streams) > 1:
            video.notes.append(Note("other_videos", {"videos": str(len(streams))}))
        return video
    except _ERRORS as error:
        container.close()
        raise identity.damaged("video", error) from error
    except BaseException:
        container.close()
        raise


def _open_container(file: io.BufferedReader) -> av.container.InputContainer:
    file.seek(0)
    return av.open(file, mode="r", options={"format_whitelist": VIDEO_FORMATS}, metadata_errors="replace")


class Video:
    """A video that is being read.

    Attributes:
        info: What the file is.
        notes: What was noticed so far; grows while frames are read.
        times: Time stamps of all frames, ascending, seconds.
        end_s: Where what is there of it ends, whatever the file says.
    """

    def __init__(
        self,
        file: io.BufferedReader,
        container: av.container.InputContainer,
        stream: av.video.stream.VideoStream,
        identity: Identity,
        options: Options,
        left: Event,
    ) -> None:
        self._file, self._container, self._number = file, container, stream.index
        self._identity, self._options, self._left = identity, options, left
        # One for all frames: it starts threads, and a frame's own would start them for each.
        self._converter = VideoReformatter()
        codec = stream.codec_context.name
        fps = float(stream.average_rate) if stream.average_rate else None
        claimed = self._claimed_s(container, stream)
        self._index = list_packets(container, stream)
        self._base = float(stream.time_base or 0)
        # AVI knows when a packet comes, not when it is shown: where frames are coded in another order than they are shown
        # in, FFmpeg makes up stamps, and what it shows after one another goes back and forth.
        self._by_count = self._index.starts_again or (container.format.name == "avi" and codec in CAN_LEAVE_OUT)
        # Of a frame that comes in two packets the decoder would fill in the half that was left out, and say nothing.
        self._may_leave_out = codec in CAN_LEAVE_OUT and not self._by_count and not self._index.has_halves
        self._codec = codec
        # Of a packet that is cut off other files say that it is corrupt, and over it a decoder may lose those before it. In
        # these it may be whole: it is also said where parts were joined.
        self._is_transport = container.format.name == "mpegts"
        self._may_jump, self._by_decoding = not self._by_count, False
        self._pixel_aspect = _pixel_aspect(stream)
        self._prefix = prefix_of(stream.codec_context.extradata, codec)
        if not self._index.stamps:
            raise identity.error("has a video stream without a single frame; it is damaged", kind="no_frames")
        self.times = array("d", (stamp * self._base for stamp in self._index.stamps))
        if self._index.has_halves and len(self.times) > 1:
            # Some files say how many packets come in a second.
            fps = (len(self.times) - 1) / (self.times[-1] - self.times[0])
        # The last frame is shown for as long as any other, or as the file says.
        self.end_s = max(self.times[-1] + (1 / fps if fps else 0.0), self._index.end * self._base)
        present = self.end_s - self.times[0]
        if claimed and "mp4" not in container.format.name:
            # Of the others some say how long the video is, some where it ends on their clock, as Matroska and ASF do when
            # FFmpeg writes them. No loss is claimed that only one of the two would explain.
            claimed -= max(0.0, self.times[0])
        duration = max(claimed or 0.0, present)
        width, height = self._frame_size()
        self.info = MediaInfo(identity.path, "video", identity.size, identity.sha256, width, height,
                              round(duration, 6), round(fps, 6) if fps else None, codec,
                              container.format.name, round(self.times[0], 6))  # fmt: skip
        self.notes: list[Note] = []
        if claimed and claimed - present > max(_TOLERATED_LOSS_S, 0.02 * claimed):
            lost = 1 - present / claimed
            said = {"claimed": f"{claimed:.1f}", "present": f"{present:.1f}", "missing": f"{lost:.0%}"}
            self.notes.append(Note("video_cut_short", said))
        if self._index.starts_again:
            self.notes.append(Note("times_start_again"))

    @staticmethod
    def _claimed_s(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> float | None:
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if len(container.streams) > 1:
            # The length of the whole, and sound may well be longer than the video.
            return None
        return container.duration / av.time_base if container.duration else None

    def _frame_size(self) -> tuple[int, int]:
        """Upright width and height of the first frame, or of one in the middle where that is larger.

        A call begins small: scaled to its first frame, all others would lose what they show.
        """
        self._rewind()
        first = self._next_size()
        if first is None:
            raise self._identity.error(
                "no frame of the video could be decoded; it is damaged, get it again", kind="damaged"
            )
        middle, keys = None, len(self._index.keys)
        if self._may_jump and keys > 1 and self._land(keys // 2):
            middle = self._next_size()
        return max(first, middle or first, key=math.prod)

    def _next_size(self) -> tuple[int, int] | None:
        """Upright width and height of the next frame: rotation is a property of frames, not of the container."""
        for frame in self._decode():
            width, height = self._size(frame)
            return (height, width) if _turns(frame) % 2 else (width, height)
        return None

    def _rewind(self) -> None:
        """Begin again from the first packet. A new container, since not every format can seek to its start."""
        self._container.close()
        self._container = _open_container(self._file)
        self._stream = next(s for s in self._container.streams.video if s.index == self._number)
        self._stream.thread_type = "AUTO"
        self._counted = 0
        self._intact = Intact(self._codec, by_stamps=not self._by_count)
        # What a decoder makes room for before we see a frame; its rows are longer than the picture's. What is really there
        # is held to `max_pixels` itself.
        self._stream.codec_context.options = {"max_pixels": str(min(2 * self._options.max_pixels, 2**31 - 1))}

    def _land(self, key: int) -> bool:
        """Go to where the key frame of this number is read next; False where the file does not lead there."""
        stamp, entry = self._index.keys[key], self._index.entries[key]
        # Most formats are searched by when a frame is shown, a transport stream by when it is decoded: what is found there
        # for when it is shown lies behind it.
        for by_decoding in (True,) if self._by_decoding else (False, True):
            place = entry if by_decoding else stamp
            try:
                self._container.seek(place, stream=self._stream)
                packet = next(self._container.demux(self._stream))
                before = packet.dts is not None and packet.dts <= entry
                if before or (packet.is_keyframe and packet.pts is not None and packet.pts <= stamp):
                    # That packet is to be read again.
                    self._container.seek(place, stream=self._stream)
                    self._intact = Intact(self._codec, by_stamps=not self._by_count)
                    self._by_decoding = by_decoding
                    return True
            except MemoryError:
                raise
            except av.FFmpegError as error:
                log.debug("%s: %s", self._identity.name, error)
        return False

    def _packets(self, *streams: av.stream.Stream) -> Iterator[av.Packet[Any] | None]:
        """The packets from here on; None where they end too early: what was read is still to come out of the decoder."""
        try:
            yield from self._container.demux(*streams)
        except MemoryError:
            raise
        except (av.FFmpegError, OSError) as error:
            log.debug("%s: %s", self._identity.name, error)
        else:
            return
        yield None

    def _decode(self, wanted: Container[int] | None = None) -> Iterator[av.VideoFrame]:
        """The frames from here on. A packet that can't be decoded is passed over; the next may be fine again.

        Args:
            wanted: Time stamps in ticks. Other frames may be left out where none needs them: half of most videos. None to
                leave none out.
        """
        for packet in self._packets(self._stream):
            if (
                wanted is None or packet is None or packet.pts is None or packet.pts in wanted
                or not is_spare(bytes(packet), self._codec, prefix=self._prefix, layer=self._index.layer)
            ):  # fmt: skip
                yield from self._decoded(packet)

    def _decoded(self, packet: av.Packet[Any] | None) -> list[av.VideoFrame]:
        """The frames that come with a packet, the damaged ones left out; with None those that are still to come."""
        frames: list[av.VideoFrame] = []
        if packet is not None:
            whole = self._is_transport or not packet.is_corrupt
            self._intact.sent(packet, whole=whole)
            if not whole:
                return []
        try:
            frames = self._stream.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError as error:
            log.debug("%s: %s", self._identity.name, error)
            self._intact.failed()
        if self._by_count:
            # They come in the order in which they are shown: the first has the first stamp, and so on.
            stamps = self._index.stamps[self._counted : self._counted + len(frames)]
            self._counted += len(frames)
            for frame, stamp in zip(frames, stamps, strict=False):
                frame.pts = stamp
        intact = [other for frame in frames for other in self._intact.came(frame)]
        return intact if packet is not None and packet.size else [*intact, *self._intact.rest()]

    def frames(self, sampled: Sequence[int], between: Sequence[int] = ()) -> Iterator[Frame]:
        """The frames with these indices into `times`; for one that can't be decoded the next that can.

        Args:
            sampled: Those to look at, ascending.
            between: Others, ascending.

        Raises:
            MediaError: None of those to look at could be decoded, or memory ran out.
        """
        got = 0
        try:
            for frame in self._decode_chosen(sampled, between):
                got += frame.sampled
                yield frame
        except _ERRORS as error:
            if not got or is_hunger(error):
                raise self._identity.damaged("video", error) from error
            log.debug("%s: %s", self._identity.name, error)
        if not got:
            raise self._identity.error("none of the chosen frames could be decoded; it is damaged", kind="damaged")
        if got < len(sampled):
            self._note_lost(len(sampled) - got, len(sampled))

    def _note_once(self, key: NoteKey, **values: str) -> None:
        if all(note.key != key for note in self.notes):
            self.notes.append(Note(key, values))

    def _note_lost(self, missing: int, frames: int) -> None:
        self.notes.append(Note("frames_not_decoded", {"missing": str(missing), "frames": str(frames)}))

    def _decode_chosen(self, wanted: Sequence[int], between: Sequence[int]) -> Iterator[Frame]:
        stamps, keys = self._index.stamps, self._index.keys
        sampled = [stamps[i] for i in wanted]
        targets = sorted({*sampled, *(stamps[i] for i in between)})
        needed = frozenset(targets) if self._may_leave_out else None
        self._rewind()
        decoded, last = self._decode(needed), stamps[0] - 1
        for target in targets:
            if target <= last:
                # In a damaged video a later frame has stood in for this one already.
                continue
            key = bisect_right(keys, target) - 1
            # A jump pays only where a key frame lies between here and there, and it is not the next frame anyway.
            jumps = self._may_jump and key >= 0 and keys[key] > _next(stamps, last)
            if jumps:
                decoded = self._from_key(key, needed)
            found = _first_from(decoded, target, self._left)
            if jumps and self._may_jump and _stamp(found) > _next(stamps, target):
                # It is lost, or one can't begin at this key frame: then more is found from the one before.
                decoded = self._from_key(key - 1, needed)
                again = _first_from(decoded, target, self._left)
                self._may_jump &= _stamp(again) >= _stamp(found)
                found = again
            if found is None:
                # Nor is there any for those behind it.
                return
            last = _stamp(found)
            # It stands for all from the target to itself.
            looked_at = bisect_left(sampled, target) < bisect_right(sampled, last)
            yield Frame(self._upright(found), round(last * self._base, 6), sampled=looked_at)

    def _from_key(self, key: int, wanted: Container[int] | None) -> Iterator[av.VideoFrame]:
        """As `_decode`, from a key frame on; from the first frame on where the file does not lead there, or it is -1."""
        if key < 0 or not self._land(key):
            self._may_jump = self._may_jump and key < 0
            self._rewind()
        return self._decode(wanted)

    def _size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Width and height with square pixels, not yet upright."""
        # The size may change on the way, and what the container says of it need not be true.
        check_pixels(self._identity.name, frame.width, frame.height, self._options)
        # Pixels need not be square: as it is coded, a face may be a third too narrow.
        width, height = round(frame.width * self._pixel_aspect), frame.height
        check_pixels(self._identity.name, width, height, self._options)
        return width, height

    def _upright(self, frame: av.VideoFrame, size: tuple[int, int] | None = None) -> np.ndarray:
        if frame.color_trc in _HDR_CURVES:
            self._note_once("hdr")
        if frame.interlaced_frame:
            self._note_once("interlaced")
        turns, wanted = _turns(frame), dict[str, Any]()
        width, height = self._size(frame)
        own = inner = (height, width) if turns % 2 else (width, height)
        said = (self.info.width, self.info.height)
        if own != said:
            # A box means nothing unless all frames are of the size that is stated.
            self._note_once("size_changes")
            inner = _fitted(own, said)
        if size is not None:
            inner = max(1, round(inner[0] * size[0] / said[0])), max(1, round(inner[1] * size[1] / said[1]))
        width, height = inner[::-1] if turns % 2 else inner
        if (width, height) != (frame.width, frame.height):
            check_pixels(self._identity.name, width, height, self._options)
            wanted = {"width": width, "height": height, "interpolation": "BICUBIC" if inner == own else "AREA"}
        if frame.colorspace not in _MATRICES:
            frame.colorspace = _UNSAID_MATRIX
        pixels = self._on_white(frame, wanted)
        seen = pixels[:, ::-1] if _is_mirrored(frame) else pixels
        return _framed(np.ascontiguousarray(np.rot90(seen, turns)), size or said)

    def _on_white(self, frame: av.VideoFrame, wanted: dict[str, Any]) -> np.ndarray:
        """The frame as RGB. What is transparent shows white, as in pictures."""
        if not any(part.is_alpha for part in frame.format.components):
            return self._converter.reformat(frame, format="rgb24", **wanted).to_ndarray()
        pixels = self._converter.reformat(frame, format="rgba", **wanted).to_ndarray()
        opacity = pixels[..., 3:].astype(np.uint16)
        if (clear := float((opacity < 128).mean())) > 0.5:
            self._note_once("transparent", share=f"{clear:.0%}")
        return ((pixels[..., :3] * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)

    @property
    def keys(self) -> Sequence[int]:
        """Indices of the key frames into `times`, ascending."""
        return [bisect_left(self._index.stamps, key) for key in self._index.keys]

    @property
    def sounds(self) -> tuple[av.audio.stream.AudioStream, ...]:
        """The tracks of sound, the one that players choose first."""
        best = self._container.streams.best("audio")
        return tuple(sorted(self._container.streams.audio, key=lambda stream: stream is not best))

    def stretch(
        self, first: int, last: int, *, size: tuple[int, int] | None = None
    ) -> Iterator[Frame | av.Packet[Any]]:
        """Every frame from the index `first` to before `last`, and between them the packets of `sounds[0]`, as they lie in
        the file.

        Args:
            size: Width and height, upright, to which each frame is scaled; None to leave each as it is.

        Raises:
            MediaError: Nothing could be decoded.
        """
        stamps = self._index.stamps
        parts = self._play(first, last, size, jump=self._may_jump)
        # The sound that comes before the first frame waits until it is clear that the jump did not overshoot.
        begun: list[Frame | av.Packet[Any]] = []
        for part in parts:
            begun.append(part)
            if isinstance(part, Frame):
                break
        landed = begun[-1] if begun else None
        if not isinstance(landed, Frame) or landed.time_s > round(_next(stamps, stamps[first]) * self._base, 6):
            parts, begun = self._play(first, last, size, jump=False), []
        got = 0
        for part in chain(begun, parts):
            got += isinstance(part, Frame)
            yield part
        if not got:
            raise self._identity.error("none of its frames could be decoded; it is damaged", kind="damaged")
        if got < last - first:
            self._note_lost(last - first - got, last - first)

    def _play(
        self, first: int, last: int, size: tuple[int, int] | None, *, jump: bool
    ) -> Iterator[Frame | av.Packet[Any]]:
        """Frames `first` to `last - 1` of the index, and the sound that goes with them, in the order of the file."""
        stamps, keys = self._index.stamps, self._index.keys
        start, end = stamps[first], stamps[last - 1]
        # Sound may begin before the picture and outlast it. Where a part was asked for it ends where the next frame begins.
        sound_from = start * self._base if self._options.start_s else -math.inf
        sound_to = math.inf if self._options.end_s is None else _next(stamps, end) * self._base
        self._rewind()
        # Where the clock starts again nobody knows which sound goes with which frame.
        sound = None if self._index.starts_again else next(iter(self.sounds), None)
        # Some files hold the sound later than the picture of the same moment, some earlier: begin a little before.
        early = bisect_right(keys, start - round(_SOUND_LEADS_S / self._base)) - 1
        if jump and early > 0 and not self._land(early):
            self._rewind()
        at, seen_s = start - 1, -math.inf
        try:
            for packet in self._packets(self._stream, *((sound,) if sound else ())):
                if packet is not None and sound is not None and packet.stream.index == sound.index:
                    stamp = packet.pts if packet.pts is not None else packet.dts
                    if not packet.size or stamp is None:
                        continue
                    began_s = float(stamp * packet.time_base)
                    lasts_s = float((packet.duration or 0) * packet.time_base)
                    if began_s + 2 * lasts_s > sound_from and began_s < sound_to:
                        yield packet
                    continue
                for frame in self._decoded(packet) if at < end else ():
                    if at < _stamp(frame) <= end:
                        at = _stamp(frame)
                        yield Frame(self._upright(frame, size), round(at * self._base, 6))
                if packet is not None and packet.dts is not None:
                    seen_s = packet.dts * self._base
                # The picture is complete; the sound to go with it may lie a little behind in the file.
                if seen_s > sound_to + _SOUND_LEADS_S or (at >= end and sound is None):
                    return
        except _ERRORS as error:
            if is_hunger(error):
                raise self._identity.damaged("video", error) from error
            log.debug("%s: %s", self._identity.name, error)

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()
        self._file.close()


def _turns(frame: av.VideoFrame) -> int:
    """How many quarter turns bring a frame upright, once a mirrored one is mirrored back."""
    turns = round(frame.rotation / 90) % 4
    # The angle is that of the first column, which points the other way in a mirrored one.
    return (turns + 2) % 4 if _is_mirrored(frame) else turns


def _is_mirrored(frame: av.VideoFrame) -> bool:
    """Whether the display matrix mirrors: its determinant is negative."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False
    a, b, _, c, d = (int(value) for value in np.frombuffer(data, np.int32)[:5])
    return a * d - b * c < 0


def _fitted(size: tuple[int, int], room: tuple[int, int]) -> tuple[int, int]:
    """Width and height of what is as large as there is room for and keeps its shape; those of the room where that is the
    same but for rounding."""
    scale = min(room[0] / size[0], room[1] / size[1])
    width, height = (max(1, round(side * scale)) for side in size)
    return room if width > _SAME_SHAPE * room[0] and height > _SAME_SHAPE * room[1] else (width, height)


def _framed(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture in the middle of one of this width and height; beyond its edge the edge repeats, as in a crop."""
    right, below = size[0] - pixels.shape[1], size[1] - pixels.shape[0]
    if not (right or below):
        return pixels
    left, above = right // 2, below // 2
    return cv2.copyMakeBorder(pixels, above, below - above, left, right - left, cv2.BORDER_REPLICATE)


def _pixel_aspect(stream: av.video.stream.VideoStream) -> float:
    """How wide a pixel is for its height; 1 where nothing is said, or something that no camera or disc has."""
    said = stream.sample_aspect_ratio
    return float(said) if said and 1 / _WIDEST_PIXEL <= said <= _WIDEST_PIXEL else 1.0


def _stamp(frame: av.VideoFrame | None) -> int:
    """Its time stamp, as that of one that is none: after all others."""
    return sys.maxsize if frame is None or frame.pts is None else frame.pts


def _first_from(frames: Iterator[av.VideoFrame], stamp: int, left: Event) -> av.VideoFrame | None:
    for frame in frames:
        if left.is_set():
            raise LeftError
        if frame.pts is not None and frame.pts >= stamp:
            return frame
    return None


def _next(stamps: Sequence[int], stamp: int) -> int:
    i = bisect_right(stamps, stamp)
    return stamps[i] if i < len(stamps) else sys.maxsize
