"""Path -> what the file is, and a lazy stream of upright RGB frames; which frames of a video are looked at.

A file is recognised by its content. Pictures are read by Pillow (`pictures.py`), videos by PyAV, which is FFmpeg
(`video.py`), from an open file and never from a name, so that no name can be taken for an address and nothing outside the
file is opened.
"""

from __future__ import annotations

import hashlib
import math
import os
from bisect import bisect_left, bisect_right
from dataclasses import replace
from itertools import pairwise
from queue import Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from .ahead import waited_for
from .errors import MediaError
from .pictures import Animation, Picture, is_picture, open_picture
from .source import Identity, check_pixels, open_file
from .source import shown as shown
from .types import Frame, MediaInfo, Note
from .video import open_video

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from os import PathLike
    from types import TracebackType

    import av

    from .options import Options
    from .video import Video

    Source = str | PathLike[str] | np.ndarray

_OF_A_LOOK = ("few_frames", "frames_not_decoded")
# A video of which fewer frames are looked at, or none for more seconds, may hold a forged part that none shows.
_FEW_FRAMES, _FAR_APART_S = 16, 5.0
#: Of a longer video not every second is taken for hashing: decoding it all would take longer than looking at it.
MOST_SECONDS = 120
# Time stamps are whole ticks of some clock: a frame this little before a whole second is meant to be there.
_TICK_S = 1e-3


class Media:
    """An open picture or video. Use it in a `with` statement.

    Attributes:
        info: What the file is.
        notes: What was noticed so far; grows while frames are read.
        profile: ICC profile by which the numbers of a picture are colours; empty where nothing is said.
    """

    def __init__(self, info: MediaInfo, notes: list[Note], left: Event, *, profile: bytes = b"") -> None:
        self.info = info
        self.notes = notes
        self.profile = profile
        #: How many frames will be looked at, as far as is known, and of how many.
        self.planned = self.available = 1
        #: Set by whoever wants no more frames, from any thread; `frames` then ends in the middle of its way to the next.
        self.left = left

    def frames(self, count: int | None = None, *, each_second: bool = False) -> Generator[Frame, None, None]:
        """The frames to look at, in order of time, each decoded when it is asked for. Can be called again, once all were
        read or no more are wanted.

        Args:
            count: So many of a video, see `choose`; None for those of the options.
            each_second: Between them, not `sampled`, those that begin a second as well, see `seconds`.

        Raises:
            MediaError: Nothing could be decoded.
        """
        raise NotImplementedError

    @property
    def sounds(self) -> tuple[av.audio.stream.AudioStream, ...]:
        """The tracks of sound, the one that players choose first; empty for pictures and animations."""
        return ()

    @property
    def span_s(self) -> tuple[float, float]:
        """The first and the last time stamp within the time asked for, seconds.

        Raises:
            MediaError: The time asked for lies outside the media.
        """
        return 0.0, 0.0

    @property
    def has_more_seconds(self) -> bool:
        """Whether the time asked for has more seconds than the `MOST_SECONDS` that `frames` gives each a frame of."""
        first_s, last_s = self.span_s
        return second_of(last_s - first_s) >= MOST_SECONDS

    def stretch(self, *, size: tuple[int, int] | None = None) -> Iterator[Frame | av.Packet[Any]]:
        """Every frame within the time asked for, in order of time, and between them the packets of `sounds[0]`, as they
        lie in the file: those that overlap with that time, and one more before it, from which a decoder starts.

        Args:
            size: Width and height, upright, to which each frame of a video is scaled; None to leave each as it is.

        Raises:
            MediaError: The time asked for lies outside the media, or nothing could be decoded.
        """
        yield from self.frames()

    def close(self) -> None:
        """Let go of the file."""

    def __enter__(self) -> Media:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Still(Media):
    """A picture."""

    def __init__(self, picture: Picture, left: Event) -> None:
        super().__init__(picture.info, list(picture.notes), left, profile=picture.profile)
        self._pixels = picture.pixels

    def frames(self, count: int | None = None, *, each_second: bool = False) -> Generator[Frame, None, None]:
        yield Frame(self._pixels)


class _Moving(Media):
    """A video or an animation: says which of its frames are wanted, and leaves it to the reader how they are got."""

    def __init__(self, reader: Video | Animation, options: Options, left: Event) -> None:
        super().__init__(reader.info, reader.notes, left)
        self._reader, self._options = reader, options
        self._end_s = reader.times[0] + (reader.info.duration_s or 0.0)

    def frames(self, count: int | None = None, *, each_second: bool = False) -> Generator[Frame, None, None]:
        times = self._reader.times
        first, last = self._within()
        # These are about the frames of one look, and may stand there from the one before.
        self.notes[:] = [note for note in self.notes if note.key not in _OF_A_LOOK]
        options = self._options if count is None else replace(self._options, frames=count)
        wanted = choose(times, first, last, options, keys=self._reader.keys)
        self.planned, self.available = len(wanted), last - first
        if (first, last) != (0, len(times)):
            start, end, length = (time_s - times[0] for time_s in (times[first], times[last - 1], self._end_s))
            part = Note("part", {"start": f"{start:.1f}", "end": f"{end:.1f}", "length": f"{length:.1f}"})
            self.notes += [part] if part not in self.notes else []
        # Not every frame that is wanted can be decoded.
        looked_at = []
        for frame in self._reader.frames(wanted, seconds(times, first, last) if each_second else ()):
            if frame.sampled:
                looked_at.append(frame.time_s)
            yield frame
        gap_s = _longest_gap(times, first, last, looked_at)
        if len(looked_at) < last - first and (len(looked_at) < _FEW_FRAMES or gap_s > _FAR_APART_S):
            # Rounded up, but for what whole ticks of a clock add.
            apart = math.ceil(gap_s * 10 - 10 * _TICK_S) / 10
            self.notes.append(Note("few_frames", {"frames": str(len(looked_at)), "apart": f"{apart:.1f}"}))

    @property
    def sounds(self) -> tuple[av.audio.stream.AudioStream, ...]:
        return self._reader.sounds

    @property
    def span_s(self) -> tuple[float, float]:
        first, last = self._within()
        return round(self._reader.times[first], 6), round(self._reader.times[last - 1], 6)

    def stretch(self, *, size: tuple[int, int] | None = None) -> Iterator[Frame | av.Packet[Any]]:
        yield from self._reader.stretch(*self._within(), size=size)

    def close(self) -> None:
        self._reader.close()

    def _within(self) -> tuple[int, int]:
        return within(self._reader.times, self._options, end_s=self._reader.end_s, name=shown(self.info.path))


def open(path: str | PathLike[str], options: Options, *, left: Event | None = None) -> Media:  # noqa: A001 - media.open
    """Open a file.

    Args:
        left: As `Media.left`; opening, too, then ends in the middle of its way, by a `LeftError`.

    Raises:
        MediaError: It is no path, not there, not a file, empty, or neither a picture nor a video that can be read.
    """
    name = _path(path)
    file = open_file(name, left=left)
    try:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise MediaError(f"{shown(name)}: the file is empty; get it again from its source", kind="empty")
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        head = file.read(4096)
        file.seek(0)
        identity = Identity(name, size, digest)
        left = left or Event()
        if not is_picture(head):
            return _Moving(open_video(file, identity, options, left), options, left)
        found = open_picture(file, identity, options)
        return _Still(found, left) if isinstance(found, Picture) else _Moving(found, options, left)
    except BaseException:
        file.close()
        raise


class Opening:
    """A file that is being opened by a thread, while its caller gets ready for it, say by loading nets.

    As a path it is that of the file; `take` hands over what was opened, once.

    Attributes:
        left: As `Media.left`.
    """

    def __init__(self, path: str | PathLike[str], options: Options) -> None:
        self._path = _path(path)
        self.left = Event()
        self._opened: Queue[Media | BaseException] = Queue()
        Thread(target=self._open, args=(options,), name="open", daemon=True).start()

    def __fspath__(self) -> str:
        return self._path

    def _open(self, options: Options) -> None:
        try:
            self._opened.put(open(self._path, options, left=self.left))
        except BaseException as error:  # raised again where the file is taken
            self._opened.put(error)

    def take(self) -> Media:
        """What was opened; waits for it.

        Raises:
            MediaError: As `open`.
        """
        found = waited_for(self._opened)
        if isinstance(found, BaseException):
            raise found
        return found


def take(source: Source, options: Options, *, left: Event | None = None) -> Media:
    """Open a file, or take a picture from memory.

    Args:
        source: A path, or a picture as uint8 (H, W, 3) RGB.
        left: As for `open`; an `Opening` has its own.

    Raises:
        MediaError: As `open` and `from_array`.
    """
    if isinstance(source, Opening):
        return source.take()
    return from_array(source, options) if isinstance(source, np.ndarray) else open(source, options, left=left)


def _path(source: object) -> str:
    try:
        # Given as bytes it is the same path.
        return os.fsdecode(source)  # type: ignore[arg-type]
    except TypeError as error:
        kind = type(source)
        raise MediaError(
            f"{name_of(source)}: expected a path, or an array of uint8 (height, width, 3) in RGB order, found"
            f" {kind.__module__}.{kind.__qualname__}; of a picture that Pillow opened"
            " numpy.asarray(picture.convert('RGB')) makes one",
            kind="unsupported",
        ) from error


def name_of(source: object) -> str:
    """What a source is called, whatever it is: its path, or what else it is in angle brackets."""
    if isinstance(source, np.ndarray):
        return "<array>"
    try:
        return os.fsdecode(source)  # type: ignore[arg-type]
    except TypeError:
        return f"<{type(source).__name__}>"


def kept(source: Source, options: Options) -> Source:
    """The same, as it will be whatever its caller does in the meantime: of a picture in memory a copy.

    Raises:
        MediaError: The array has another shape or type.
    """
    if not isinstance(source, np.ndarray):
        return source
    _check_array(source, options)
    copy = np.array(source, order="C")
    copy.setflags(write=False)
    return copy


def from_array(pixels: np.ndarray, options: Options) -> Media:
    """Take an RGB picture from memory.

    Args:
        pixels: uint8 (H, W, 3) RGB.

    Raises:
        MediaError: The array has another shape or type.
    """
    _check_array(pixels, options)
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels)
    info = MediaInfo(
        "<array>", "image", data.nbytes, hashlib.sha256(data.data).hexdigest(), width, height, codec="array"
    )
    return _Still(Picture(info, data), Event())


def _check_array(pixels: np.ndarray, options: Options) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise MediaError(
            f"array: expected uint8 (height, width, 3) in RGB order, found {pixels.dtype} {pixels.shape}; convert it",
            kind="unsupported",
        )
    height, width = pixels.shape[:2]
    check_pixels("array", width, height, options)


def within(times: Sequence[float], options: Options, *, end_s: float, name: str) -> tuple[int, int]:
    """Which frames lie in the time asked for; where none does, the one that is shown meanwhile.

    Args:
        times: Time stamps of all frames, ascending, seconds.
        end_s: Where what is there of the media ends, seconds.
        name: For the message.

    Returns:
        Index into `times` of the first, and one more than that of the last.

    Raises:
        MediaError: The time asked for lies outside the media.
    """
    origin = times[0]
    start = origin + (options.start_s or 0.0)
    end = min(end_s, times[-1] + 1e-6) if options.end_s is None else origin + options.end_s
    first, last = bisect_left(times, start - 1e-9), bisect_right(times, end)
    if last <= first and start < end_s:
        # In what shows a screen, or a call that stands still, a frame may be shown for many seconds.
        return first - 1, first
    if last <= first:
        raise MediaError(
            f"{name}: has no frame between {start - origin:g} s and {end - origin:g} s;"
            f" it is {max(0.0, end_s - origin):.1f} s long, choose --start and --end within that",
            kind="no_frames",
        )
    return first, last


def _longest_gap(times: Sequence[float], first: int, last: int, looked_at: Sequence[float]) -> float:
    """For how long, at most, frames are shown of which none was looked at, up to the last frame.

    Not how far those that were lie apart: in what stands still neighbours may do so by many seconds.

    Args:
        times: Time stamps of all frames, ascending, seconds.
        first: Index of the first frame in the time asked for, see `within`.
        last: One more than that of the last.
        looked_at: Time stamps of those that were, rounded, ascending.
    """
    seen = (bisect_left(times, time_s - 1e-6, first, last - 1) for time_s in looked_at)
    pairs = pairwise([first - 1, *seen, last])
    return max(times[min(after, last - 1)] - times[min(before + 1, last - 1)] for before, after in pairs)


def choose(times: Sequence[float], first: int, last: int, options: Options, *, keys: Sequence[int] = ()) -> list[int]:
    """Which frames to look at.

    `options.frames` of them, each of an equal share of the time asked for: the key frame nearest to its middle, which is
    decoded without any other and keeps most detail, or the frame in its middle where the share has no key frame. Or one
    every 1 / `options.fps` seconds, but never fewer than `options.min_frames` while the video has them.

    Args:
        times: Time stamps of all frames, ascending, seconds.
        first: Index of the first frame in the time asked for, see `within`.
        last: One more than that of the last.
        keys: Indices of the key frames into `times`, ascending.

    Returns:
        Indices into `times`, ascending, each once.
    """
    available = last - first
    count = options.frames
    if options.fps is not None:
        count = max(options.min_frames, int((times[last - 1] - times[first]) * options.fps + 1e-6) + 1)
    if count >= available:
        return list(range(first, last))
    span_start, span_end = times[first], times[last - 1]
    step = (span_end - span_start) / count
    chosen = set()
    for i in range(count):
        low, middle, high = (span_start + (i + part) * step for part in (0, 0.5, 1))
        near: Sequence[int] = ()
        if options.fps is None:
            # The very first frame is black in many videos.
            earliest = max(first + 1, bisect_left(times, low))
            near = keys[bisect_left(keys, earliest) : bisect_left(keys, bisect_left(times, high))]
        wanted = min(near, key=lambda k: abs(times[k] - middle)) if near else bisect_left(times, middle)
        chosen.add(min(max(wanted, first), last - 1))
    # Where time stamps bunch up several targets meet in one frame: fill up with neighbours by count.
    missing = count - len(chosen)
    if missing:
        rest = [i for i in range(first, last) if i not in chosen]
        chosen.update(rest[int((j + 0.5) * len(rest) / missing)] for j in range(missing))
    return sorted(chosen)


def second_of(elapsed_s: float) -> int:
    """In which second a frame lies, counted from 0."""
    return math.floor(elapsed_s + _TICK_S)


def seconds(times: Sequence[float], first: int, last: int) -> list[int]:
    """The frames that begin a second, counted from the first of a stretch: the first at or after each whole one.

    Args:
        times: Time stamps of all frames, ascending, seconds.
        first: Index of the stretch's first frame.
        last: One more than that of its last.

    Returns:
        Indices into `times`, ascending, each once; of the first `MOST_SECONDS` seconds.
    """
    count = min(MOST_SECONDS, second_of(times[last - 1] - times[first]) + 1)
    return sorted({bisect_left(times, times[first] + second - _TICK_S, first, last) for second in range(count)})
