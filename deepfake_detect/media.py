"""Path -> what the file is, and a lazy stream of upright RGB frames; which frames of a video are looked at.

A file is recognised by its content. Pictures are read by Pillow, videos by PyAV (FFmpeg), from an open file and never from
a name, so that no name can be taken for an address and nothing outside the file is opened.

A video is gone through twice. First its packets are listed without decoding: this gives every frame's own time stamp, the
key frames, and how much of the file is really there (containers lie about that). Then only what the chosen frames need is
decoded, in order; or, for a copy, every frame of the time asked for, with the packets of the sound between them. What is
damaged, and what is made of it, is left out.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import os
import stat
import struct
import sys
import zlib
from array import array
from bisect import bisect_left, bisect_right
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar

import av
import numpy as np
import pillow_heif
from av.video.reformatter import VideoReformatter
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from .errors import MediaError
from .files import quietly
from .types import Frame, MediaInfo, Note

if TYPE_CHECKING:
    from collections.abc import Container, Generator, Iterator, Sequence
    from os import PathLike
    from types import TracebackType

    from .options import Options
    from .types import NoteKey

    Source = str | PathLike[str] | np.ndarray

_Item = TypeVar("_Item")

log = logging.getLogger(__name__)

# A JPEG of several pictures (MPO) is opened by the reader of JPEG.
_PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "HEIF", "AVIF")
_ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
# Containers that hold their own media. What refers to other files or addresses (hls, concat, dash) is not among them,
# nor are raw streams, which have no time stamps and are found in almost any noise.
_VIDEO_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg"
# What Pillow and the decoders below it raise on damaged data.
_DECODER_ERRORS = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError,
                   ZeroDivisionError, RuntimeError, MemoryError, struct.error, zlib.error,
                   Image.DecompressionBombError)  # fmt: skip
# By the orientation in EXIF.
_TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
          5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
          8: Image.Transpose.ROTATE_90}  # fmt: skip
# A clock that goes back by more than this begins again: recordings were joined. Less is the order of decoding, or jitter.
_CLOCK_BACK_S = 1.0
# The colour matrices that FFmpeg's converter knows, and that which means "not said": what files say is often nonsense.
_MATRICES, _UNSAID_MATRIX = (0, 1, 2, 4, 5, 6, 7, 9), 2
# The curves of light in pictures of high dynamic range: PQ and HLG (ITU-T H.273, table 3).
_HDR_CURVES = (16, 18)
# A shorter loss than this at the end is rounding, not damage.
_TOLERATED_LOSS_S = 0.5
_ANIMATION_FRAME_S = 0.1
# Their packets say whether other frames need them, and where not, the decoder does without.
_CAN_LEAVE_OUT = ("h264", "hevc")
# Where a decoder begins, these show nothing before they have what they need; others show what they made up.
_BEGIN_SOUND = ("h264", "hevc")
# Of a frame that it can't make, this one's decoder says nothing.
_SAY_NOTHING = ("hevc",)
# Discs and cameras have pixels from 0.9 to 2.2 times as wide as high.
_WIDEST_PIXEL = 3
# A video of which fewer frames are looked at may hold a forged part that none of them shows.
_FEW_FRAMES = 16
_READ_AHEAD = 2**16
# So far apart may sound and picture of one moment lie in a file.
_SOUND_LEADS_S = 1.0

#: Of a longer video not every second is taken for hashing: decoding it all would take longer than looking at it.
MOST_SECONDS = 120
# Time stamps are whole ticks of some clock: a frame this little before a whole second is meant to be there.
_TICK_S = 1e-3


class Media:
    """An open picture or video. Use it in a `with` statement.

    Attributes:
        info: What the file is.
        notes: What was noticed so far; grows while frames are read.
    """

    def __init__(self, info: MediaInfo, options: Options) -> None:
        self.info = info
        self.notes: list[Note] = []
        self._options = options
        #: How many frames will be looked at, as far as is known.
        self.planned = 1
        #: Set by whoever wants no more frames, from any thread; `frames` then ends in the middle of its way to the next.
        self.left = Event()

    def frames(self, *, each_second: bool = False) -> Iterator[Frame]:
        """The frames to look at, in order of time, each decoded when it is asked for.

        Args:
            each_second: Between them, not `sampled`, those that begin a second as well, see `seconds`.

        Raises:
            MediaError: Nothing could be decoded.
        """
        raise NotImplementedError

    def _plan(self, times: Sequence[float], *, end_s: float, keys: Sequence[int] = ()) -> list[int]:
        """Which frames of a video to look at, see `choose`; notes it where they are so few that much lies between them."""
        name = shown(self.info.path)
        wanted = choose(times, self._options, end_s=end_s, name=name, keys=keys)
        self.planned = len(wanted)
        first, last = within(times, self._options, end_s=end_s, name=name)
        if len(wanted) < min(_FEW_FRAMES, last - first):
            apart = (times[last - 1] - times[first]) / len(wanted)
            note = Note("few_frames", {"frames": str(len(wanted)), "apart": f"{apart:.1f}"})
            if note not in self.notes:
                self.notes.append(note)
        return wanted

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
            size: Width and height, upright, to which each frame is scaled; None to leave each as it is.

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


def open(path: str | PathLike[str], options: Options, *, left: Event | None = None) -> Media:  # noqa: A001 - media.open
    """Open a file.

    Args:
        left: As `Media.left`; opening, too, then ends in the middle of its way, by a `LeftError`.

    Raises:
        MediaError: It is not there, not a file, empty, or neither a picture nor a video that can be read.
    """
    name = os.fspath(path)
    file = open_file(name, left=left)
    try:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise MediaError(f"{shown(name)}: the file is empty; get it again from its source", kind="empty")
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        head = file.read(4096)
        file.seek(0)
        identity = _Identity(name, size, digest)
        opened = (_open_picture if _is_picture(head) else _open_video)(file, identity, options)
        if left is not None:
            opened.left = left
        return opened
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
        self._path = os.fspath(path)
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
        found = _waited_for(self._opened)
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


def from_array(pixels: np.ndarray, options: Options) -> Media:
    """Take an RGB picture from memory.

    Args:
        pixels: uint8 (H, W, 3) RGB.

    Raises:
        MediaError: The array has another shape or type.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise MediaError(
            f"array: expected uint8 (height, width, 3) in RGB order, found {pixels.dtype} {pixels.shape}; convert it",
            kind="unsupported",
        )
    height, width = pixels.shape[:2]
    _check_pixels("array", width, height, options)
    data = np.ascontiguousarray(pixels)
    info = MediaInfo("<array>", "image", data.nbytes, hashlib.sha256(data.tobytes()).hexdigest(), width, height,
                     codec="array")  # fmt: skip
    return _Picture(info, options, data)


class LeftError(Exception):
    """Nobody waits for the answer any more."""


class _Raw(io.FileIO):
    """A file that is read no further once nobody waits for what comes of it."""

    left: Event | None = None

    def readinto(self, buffer: Any) -> int | None:
        """As the system does it."""
        if self.left is not None and self.left.is_set():
            raise LeftError
        return super().readinto(buffer)


def ahead(items: Iterator[_Item], *, stopped: Event | None = None, count: int = 2) -> Generator[_Item, None, None]:
    """The same items, such as frames, made by a thread while the caller works on those before.

    Close it before what it reads from: this stops the thread and waits until it is gone.

    Args:
        stopped: Set when no more is wanted: `Media.left`, so that what is on the way is given up.
        count: So many wait at most, which bounds the memory.

    Raises:
        MediaError: As `items` does.
    """
    waiting: Queue[_Item | BaseException | None] = Queue(count)
    stopped = stopped or Event()

    def work() -> None:
        try:
            for item in items:
                waiting.put(item)
                if stopped.is_set():
                    # Another thread may wait for one more. Where there is no room it has something to take.
                    with suppress(Full):
                        waiting.put_nowait(None)
                    return
            waiting.put(None)
        except BaseException as error:  # raised again where the items are used
            waiting.put(error)

    thread = Thread(target=work, name="ahead", daemon=True)
    try:
        thread.start()
        while (got := _waited_for(waiting)) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got
    finally:
        stopped.set()
        # Makes room for the one that it may be waiting to hand over.
        with suppress(Empty):
            while True:
                waiting.get_nowait()
        # Not even a second Ctrl-C may let the file be closed under its hands.
        interrupt: KeyboardInterrupt | None = None
        while thread.is_alive():
            try:
                thread.join()
            except KeyboardInterrupt as again:
                interrupt = again
        if interrupt is not None:
            raise interrupt


def _waited_for(waiting: Queue[_Item]) -> _Item:
    """The next item. A wait without an end can't be interrupted on Windows, before Python 3.14."""
    while True:
        with suppress(Empty):
            return waiting.get(timeout=0.5)


def shown(name: str) -> str:
    """A path as it can be printed: bytes that are not text, and control characters, become escapes."""
    readable = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in readable)


@dataclass(frozen=True)
class _Identity:
    path: str
    size: int
    sha256: str

    def error(self, found: str, *, kind: str) -> MediaError:
        return MediaError(f"{shown(self.path)}: {found}", kind=kind)


def open_file(path: str | PathLike[str], *, follow: bool = True, left: Event | None = None) -> io.BufferedReader:
    """Open a regular file for reading, and nothing else: what was looked at is what is read.

    Args:
        follow: Whether the name may be a link to the file.
        left: Once it is set, reading on raises a `LeftError`.

    Raises:
        MediaError: It is not there, not a regular file, or must not be read.
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
        except BaseException:
            file.close()
            raise
        return file
    except FileNotFoundError as error:
        raise MediaError(f"{shown(name)}: no such file; check the path", kind="not_found") from error
    except ValueError as error:
        raise MediaError(f"{shown(name)}: is not a possible file name; check the path", kind="not_found") from error
    except OSError as error:
        raise MediaError(
            f"{shown(name)}: can't be read ({error.strerror}); check its permissions", kind="unreadable"
        ) from error


def _check_regular(name: str, found: os.stat_result) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    what = "is not a regular file (a pipe, socket or device); save it to a file first"
    if stat.S_ISDIR(found.st_mode):
        what = "is a folder; give the files in it"
    elif stat.S_ISLNK(found.st_mode):
        what = "is a link; give the file that it leads to"
    raise MediaError(f"{shown(name)}: {what}", kind="not_a_file")


def _is_picture(head: bytes) -> bool:
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")):
        return True
    if (
        head.startswith(b"BM")
        and len(head) >= 18
        and int.from_bytes(head[14:18], "little") in (12, 40, 52, 56, 108, 124)
    ):
        return True
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return True
    if head[4:8] == b"ftyp":
        brands = head[8 : min(len(head), int.from_bytes(head[:4], "big"))]
        return any(brands[i : i + 4] in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"avis")
                   for i in range(0, len(brands), 4) if i != 4)  # fmt: skip
    return False


def _check_pixels(name: str, width: int, height: int, options: Options) -> None:
    if width * height > options.max_pixels:
        raise MediaError(
            f"{name}: {width} x {height} is more than {options.max_pixels / 1e6:g} million pixels;"
            " reduce it (or, in Python, raise Options.max_pixels)",
            kind="too_large",
        )


# Pictures


class _Picture(Media):
    def __init__(self, info: MediaInfo, options: Options, pixels: np.ndarray) -> None:
        super().__init__(info, options)
        self._pixels = pixels

    def frames(self, *, each_second: bool = False) -> Iterator[Frame]:
        yield Frame(self._pixels)


def _open_picture(file: io.BufferedReader, identity: _Identity, options: Options) -> Media:
    pillow_heif.register_heif_opener()
    with quietly():
        # The size is checked below, against our own limit; a corrupt tag in an otherwise fine picture is no one's news.
        try:
            image = Image.open(file, formats=_PICTURE_FORMATS)
        except Image.DecompressionBombError as error:
            found = f"has more pixels than can be read safely ({_first_line(error)}); reduce it"
            raise identity.error(found, kind="too_large") from error
        except UnidentifiedImageError as error:
            found = "begins like a picture but can't be read as one; it is damaged or cut short, get it again"
            raise identity.error(found, kind="damaged") from error
        except _DECODER_ERRORS as error:
            raise identity.error(f"damaged picture ({_first_line(error)}); get it again", kind="damaged") from error
        _check_pixels(shown(identity.path), *image.size, options)
        try:
            if image.format in _ANIMATED_FORMATS and getattr(image, "is_animated", False):
                return _Animation(file, image, identity, options)
            pixels, notes = _read_picture(image)
        except _DECODER_ERRORS as error:
            raise identity.error(f"damaged picture ({_first_line(error)}); get it again", kind="damaged") from error
    codec = (image.format or "").lower().replace("mpo", "jpeg")
    height, width = pixels.shape[:2]
    info = MediaInfo(identity.path, "image", identity.size, identity.sha256, width, height, codec=codec)
    picture = _Picture(info, options, pixels)
    picture.notes += notes
    file.close()
    return picture


def _read_picture(image: Image.Image) -> tuple[np.ndarray, list[Note]]:
    notes = []
    if image.format == "TIFF" and (pages := _pages(image)) > 1:
        notes.append(Note("other_pages", {"pages": str(pages)}))
    try:
        image.load()
    except OSError as error:
        if "truncated" not in str(error) and "broken" not in str(error):
            raise
        before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
        try:
            image.load()
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before
        missing = _blank_share(np.asarray(image))
        if missing >= 1:
            raise
        if image.info.get("progressive"):
            # Coarse all over at first, then finer and finer.
            notes.append(Note("picture_coarse"))
        else:
            notes.append(Note("picture_cut_short", {"missing": f"{missing:.0%}"}))
    turn = _turn_of(image)
    return _to_rgb(image if turn is None else image.transpose(turn)), notes


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    """What brings a picture upright, by its EXIF; where that can't be read the picture is no worse for it."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DECODER_ERRORS as error:
        log.debug("EXIF: %s", error)
        return None


def _pages(image: Image.Image) -> int:
    """How many pages a TIFF has; 1 where the second can't be read, which is no reason to refuse the first."""
    try:
        pages: int = getattr(image, "n_frames", 1)
        image.seek(0)
    except _DECODER_ERRORS:
        return 1
    return pages


def _blank_share(pixels: np.ndarray) -> float:
    """The share of rows at the bottom that all look like the last one: what a decoder fills in for missing data."""
    rows = pixels.reshape(len(pixels), -1)
    differs = np.flatnonzero((rows != rows[-1]).any(axis=1))
    return 1.0 - (differs[-1] + 1) / len(rows) if len(differs) else 1.0


def _to_rgb(image: Image.Image) -> np.ndarray:
    """Any mode of Pillow -> uint8 (H, W, 3). Transparent parts show white, as most viewers do."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image).astype(np.float32))
        # Integers use the range of 8 or 16 bits, floats often 0 to 1; what is larger is scaled to its own maximum.
        most = float(values.max(initial=0))
        top = next(
            (limit for limit in (1.0, 255.0, 65535.0) if most <= limit and (limit > 1 or image.mode == "F")), most
        )
        grey = (values.clip(0, top) / top * 255 + 0.5).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("P", "PA") or "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


class _Animation(Media):
    """GIF, WebP, PNG or AVIF with several frames: a video read by Pillow."""

    def __init__(self, file: io.BufferedReader, image: Image.Image, identity: _Identity, options: Options) -> None:
        self._file, self._image, self._identity = file, image, identity
        times, clock = array("d"), 0.0
        damaged = False
        count: int = image.n_frames  # type: ignore[attr-defined]
        for i in range(count):
            try:
                image.seek(i)
                image.load()
            except _DECODER_ERRORS as error:
                if not times:
                    raise identity.error(f"damaged animation ({_first_line(error)})", kind="damaged") from error
                damaged = True
                break
            times.append(clock)
            clock += float(image.info.get("duration") or 0) / 1000 or _ANIMATION_FRAME_S
        self._turn = _turn_of(image)
        width, height = (image if self._turn is None else image.transpose(self._turn)).size
        codec = (image.format or "").lower()
        super().__init__(
            MediaInfo(identity.path, "video", identity.size, identity.sha256, width, height,
                      round(clock, 6), round(len(times) / clock, 6), codec),
            options,
        )  # fmt: skip
        self._times = times
        if damaged:
            self.notes.append(Note("frames_missing", {"missing": str(count - len(times)), "frames": str(count)}))

    def frames(self, *, each_second: bool = False) -> Iterator[Frame]:
        wanted = self._plan(self._times, end_s=self.info.duration_s or 0.0)
        for i in sorted({*wanted, *seconds(self._times, *self._within())} if each_second else wanted):
            yield Frame(self._pixels(i), self._times[i], sampled=i in wanted)

    @property
    def span_s(self) -> tuple[float, float]:
        first, last = self._within()
        return self._times[first], self._times[last - 1]

    def stretch(self, *, size: tuple[int, int] | None = None) -> Iterator[Frame | av.Packet[Any]]:
        for i in range(*self._within()):
            pixels = self._pixels(i)
            if size is not None and size != (pixels.shape[1], pixels.shape[0]):
                pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
            yield Frame(pixels, self._times[i])

    def _within(self) -> tuple[int, int]:
        return within(self._times, self._options, end_s=self.info.duration_s or 0.0, name=shown(self.info.path))

    def _pixels(self, i: int) -> np.ndarray:
        with quietly():
            try:
                return self._upright(i)
            except _DECODER_ERRORS as error:
                log.debug("%s: %s", shown(self._identity.path), error)
            # Where a frame was damaged the reader may not find back to those before; a new one does.
            try:
                self._file.seek(0)
                self._image = Image.open(self._file, formats=_PICTURE_FORMATS)
                return self._upright(i)
            except _DECODER_ERRORS as error:
                raise self._identity.error(f"damaged animation ({_first_line(error)})", kind="damaged") from error

    def _upright(self, i: int) -> np.ndarray:
        self._image.seek(i)
        return _to_rgb(self._image if self._turn is None else self._image.transpose(self._turn))

    def close(self) -> None:
        self._file.close()


# Videos


@dataclass
class _PacketIndex:
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


class _Intact:
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


def _open_video(file: io.BufferedReader, identity: _Identity, options: Options) -> Media:
    try:
        container = _open_container(file)
    except (av.FFmpegError, *_DECODER_ERRORS) as error:
        found = f"is neither a picture nor a video that can be read ({_first_line(error)})"
        raise identity.error(found, kind="unsupported") from error
    try:
        streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams:
            raise identity.error("has no video in it, only sound or data", kind="no_video")
        stream = streams[0]
        if stream.codec_context is None:
            raise identity.error("its video is in a format that can't be decoded; convert it first", kind="unsupported")
        width, height = stream.codec_context.width, stream.codec_context.height
        if stream.time_base is None:
            raise identity.error("its video has no time base; it is damaged", kind="damaged")
        _check_pixels(shown(identity.path), width, height, options)
        return _Video(file, container, stream, identity, options)
    except (av.FFmpegError, *_DECODER_ERRORS) as error:
        container.close()
        raise identity.error(f"damaged video ({_first_line(error)}); get it again", kind="damaged") from error
    except BaseException:
        container.close()
        raise


def _open_container(file: io.BufferedReader) -> av.container.InputContainer:
    file.seek(0)
    return av.open(file, mode="r", options={"format_whitelist": _VIDEO_FORMATS}, metadata_errors="replace")


class _Video(Media):
    def __init__(
        self,
        file: io.BufferedReader,
        container: av.container.InputContainer,
        stream: av.video.stream.VideoStream,
        identity: _Identity,
        options: Options,
    ) -> None:
        self._file, self._container, self._number = file, container, stream.index
        self._identity, self._options = identity, options
        # One for all frames: it starts threads, and a frame's own would start them for each.
        self._converter = VideoReformatter()
        codec = stream.codec_context.name
        fps = float(stream.average_rate) if stream.average_rate else None
        claimed = self._claimed_s(container, stream)
        self._index = _list_packets(container, stream)
        self._base = float(stream.time_base or 0)
        # AVI knows when a packet comes, not when it is shown: where frames are coded in another order than they are shown
        # in, FFmpeg makes up stamps, and what it shows after one another goes back and forth.
        self._by_count = self._index.starts_again or (container.format.name == "avi" and codec in _CAN_LEAVE_OUT)
        self._codec = codec
        # Of a packet that is cut off other files say that it is corrupt, and over it a decoder may lose those before it. In
        # these it may be whole: it is also said where parts were joined.
        self._is_transport = container.format.name == "mpegts"
        self._may_jump, self._by_decoding = not self._by_count, False
        self._pixel_aspect = _pixel_aspect(stream)
        self._prefix = _prefix(stream.codec_context.extradata, codec)
        if not self._index.stamps:
            raise identity.error("has a video stream without a single frame; it is damaged", kind="no_frames")
        self._times = array("d", (stamp * self._base for stamp in self._index.stamps))
        # The last frame is shown for as long as any other, or as the file says.
        present = max(self._times[-1] + (1 / fps if fps else 0.0), self._index.end * self._base) - self._times[0]
        duration = max(claimed or 0.0, present)
        width, height = self._first_size()
        super().__init__(
            MediaInfo(identity.path, "video", identity.size, identity.sha256, width, height,
                      round(duration, 6), round(fps, 6) if fps else None, codec),
            options,
        )  # fmt: skip
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

    def _first_size(self) -> tuple[int, int]:
        """Upright width and height, of the first frame: rotation is a property of frames, not of the container."""
        self._rewind()
        for frame in self._decode():
            width, height = self._size(frame)
            return (height, width) if _turns(frame) % 2 else (width, height)
        raise self._identity.error(
            "no frame of the video could be decoded; it is damaged, get it again", kind="damaged"
        )

    def _rewind(self) -> None:
        """Begin again from the first packet. A new container, since not every format can seek to its start."""
        self._container.close()
        self._container = _open_container(self._file)
        self._stream = next(s for s in self._container.streams.video if s.index == self._number)
        self._stream.thread_type = "AUTO"
        self._counted = 0
        self._intact = _Intact(self._codec, by_stamps=not self._by_count)
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
            with suppress(av.FFmpegError):
                self._container.seek(place, stream=self._stream)
                packet = next(self._container.demux(self._stream))
                before = packet.dts is not None and packet.dts <= entry
                if before or (packet.is_keyframe and packet.pts is not None and packet.pts <= stamp):
                    # That packet is to be read again.
                    self._container.seek(place, stream=self._stream)
                    self._intact = _Intact(self._codec, by_stamps=not self._by_count)
                    self._by_decoding = by_decoding
                    return True
        return False

    def _packets(self, *streams: av.stream.Stream) -> Iterator[av.Packet[Any] | None]:
        """The packets from here on; None where they end too early: what was read is still to come out of the decoder."""
        try:
            yield from self._container.demux(*streams)
        except (av.FFmpegError, OSError) as error:
            log.debug("%s: %s", shown(self._identity.path), error)
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
                or not _is_spare(bytes(packet), self._codec, prefix=self._prefix)
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
        except av.FFmpegError as error:
            log.debug("%s: %s", shown(self._identity.path), error)
            self._intact.failed()
        if self._by_count:
            # They come in the order in which they are shown: the first has the first stamp, and so on.
            stamps = self._index.stamps[self._counted : self._counted + len(frames)]
            self._counted += len(frames)
            for frame, stamp in zip(frames, stamps, strict=False):
                frame.pts = stamp
        intact = [other for frame in frames for other in self._intact.came(frame)]
        return intact if packet is not None and packet.size else [*intact, *self._intact.rest()]

    def frames(self, *, each_second: bool = False) -> Iterator[Frame]:
        keys = [bisect_left(self._index.stamps, key) for key in self._index.keys]
        wanted, got = self._plan(self._times, end_s=self._times[0] + (self.info.duration_s or 0.0), keys=keys), 0
        try:
            for frame in self._decode_chosen(wanted, seconds(self._times, *self._within()) if each_second else ()):
                got += frame.sampled
                yield frame
        except (av.FFmpegError, *_DECODER_ERRORS) as error:
            if not got:
                raise self._identity.error(f"damaged video ({_first_line(error)})", kind="damaged") from error
            log.debug("%s: %s", shown(self._identity.path), error)
        if not got:
            raise self._identity.error("none of the chosen frames could be decoded; it is damaged", kind="damaged")
        if got < len(wanted):
            self._note_lost(len(wanted) - got, len(wanted))

    def _note_once(self, key: NoteKey) -> None:
        if all(note.key != key for note in self.notes):
            self.notes.append(Note(key))

    def _note_lost(self, missing: int, frames: int) -> None:
        self.notes.append(Note("frames_not_decoded", {"missing": str(missing), "frames": str(frames)}))

    def _decode_chosen(self, wanted: Sequence[int], hashed: Sequence[int]) -> Iterator[Frame]:
        stamps, keys = self._index.stamps, self._index.keys
        sampled = {stamps[i] for i in wanted}
        targets = sorted({*sampled, *(stamps[i] for i in hashed)})
        needed = frozenset(targets) if self._codec in _CAN_LEAVE_OUT and not self._by_count else None
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
            found = _first_from(decoded, target, self.left)
            if jumps and self._may_jump and _stamp(found) > _next(stamps, target):
                # It is lost, or one can't begin at this key frame: then more is found from the one before.
                decoded = self._from_key(key - 1, needed)
                again = _first_from(decoded, target, self.left)
                self._may_jump &= _stamp(again) >= _stamp(found)
                found = again
            if found is not None:
                last = _stamp(found)
                yield Frame(
                    self._upright(found), round(last * self._base, 6), sampled=target in sampled or last in sampled
                )

    def _from_key(self, key: int, wanted: Container[int] | None) -> Iterator[av.VideoFrame]:
        """As `_decode`, from a key frame on; from the first frame on where the file does not lead there, or it is -1."""
        if key < 0 or not self._land(key):
            self._may_jump = self._may_jump and key < 0
            self._rewind()
        return self._decode(wanted)

    def _size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Width and height with square pixels, not yet upright."""
        # The size may change on the way, and what the container says of it need not be true.
        _check_pixels(shown(self._identity.path), frame.width, frame.height, self._options)
        # Pixels need not be square: as it is coded, a face may be a third too narrow.
        width, height = round(frame.width * self._pixel_aspect), frame.height
        _check_pixels(shown(self._identity.path), width, height, self._options)
        return width, height

    def _upright(self, frame: av.VideoFrame, size: tuple[int, int] | None = None) -> np.ndarray:
        if frame.color_trc in _HDR_CURVES:
            self._note_once("hdr")
        if frame.interlaced_frame:
            self._note_once("interlaced")
        turns, wanted = _turns(frame), dict[str, Any]()
        width, height = self._size(frame)
        if size is not None:
            width, height = size[::-1] if turns % 2 else size
        if (width, height) != (frame.width, frame.height):
            _check_pixels(shown(self._identity.path), width, height, self._options)
            wanted = {"width": width, "height": height, "interpolation": "AREA" if size is not None else "BICUBIC"}
        if frame.colorspace not in _MATRICES:
            frame.colorspace = _UNSAID_MATRIX
        pixels = self._converter.reformat(frame, format="rgb24", **wanted).to_ndarray()
        seen = pixels[:, ::-1] if _is_mirrored(frame) else pixels
        return np.ascontiguousarray(np.rot90(seen, turns))

    @property
    def sounds(self) -> tuple[av.audio.stream.AudioStream, ...]:
        best = self._container.streams.best("audio")
        return tuple(sorted(self._container.streams.audio, key=lambda stream: stream is not best))

    @property
    def span_s(self) -> tuple[float, float]:
        first, last = self._within()
        return round(self._times[first], 6), round(self._times[last - 1], 6)

    def _within(self) -> tuple[int, int]:
        end_s = self._times[0] + (self.info.duration_s or 0.0)
        return within(self._times, self._options, end_s=end_s, name=shown(self.info.path))

    def stretch(self, *, size: tuple[int, int] | None = None) -> Iterator[Frame | av.Packet[Any]]:
        first, last = self._within()
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
        except (av.FFmpegError, *_DECODER_ERRORS) as error:
            log.debug("%s: %s", shown(self._identity.path), error)

    def close(self) -> None:
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


def _pixel_aspect(stream: av.video.stream.VideoStream) -> float:
    """How wide a pixel is for its height; 1 where nothing is said, or something that no camera or disc has."""
    said = stream.sample_aspect_ratio
    return float(said) if said and 1 / _WIDEST_PIXEL <= said <= _WIDEST_PIXEL else 1.0


def _list_packets(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> _PacketIndex:
    index = _PacketIndex()
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
            if before is not None and clock < before - back:
                index.starts_again, counted_on = True, index.end - stamp
            before = clock
            stamp += counted_on
            index.stamps.append(stamp)
            index.end = max(index.end, stamp + (packet.duration or 0))
            if packet.is_keyframe and not packet.is_corrupt:
                keys.append((stamp, clock + counted_on))
    except (av.FFmpegError, OSError) as error:
        log.debug("packets end early: %s", error)
    index.stamps = array("q", sorted(set(index.stamps)))
    keys.sort()
    index.keys, index.entries = array("q", (key for key, _ in keys)), array("q", (entry for _, entry in keys))
    return index


def _prefix(extradata: bytes | None, codec: str) -> int:
    """How many bytes before each unit of a packet say how long it is; 0 where a mark stands before it instead.

    That of H.264 and HEVC in containers (ISO 14496-15, 5.3.3.1 and 8.3.3.1), and in streams that are none.
    """
    place = 4 if codec == "h264" else 21
    return (extradata[place] & 3) + 1 if extradata and len(extradata) > place and extradata[0] == 1 else 0


def _is_spare(packet: bytes, codec: str, *, prefix: int) -> bool:
    """Whether no other frame needs that of this packet: its first slice says so (ISO 14496-10, 7.4.1; 23008-2, 7.4.2.2).

    These are kept from the decoder. Were they left out by its `skip_frame`, it would say nothing of what it can't decode.

    Args:
        packet: Of H.264 or HEVC.
        codec: `h264` or `hevc`.
        prefix: See `_prefix`.
    """
    for first, second in _units(packet, prefix):
        if codec == "h264":
            kind, is_spare = first & 31, not first & 0x60
            is_slice, is_for_all = kind in (1, 5), kind in (7, 8)
        else:
            # Of the kinds below 16 the even ones are spare. Where the second byte names no layer it is damaged.
            kind = first >> 1
            is_spare = kind % 2 == 0 and kind < 16 and second & 7 > 0
            is_slice, is_for_all = kind < 32, kind in (32, 33, 34)
        if is_slice or is_for_all:
            return is_slice and is_spare
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


def within(times: Sequence[float], options: Options, *, end_s: float, name: str) -> tuple[int, int]:
    """Which frames lie in the time asked for; arguments and errors as for `choose`.

    Returns:
        Index into `times` of the first, and one more than that of the last.
    """
    origin = times[0]
    start = origin + (options.start_s or 0.0)
    end = min(end_s, times[-1] + 1e-6) if options.end_s is None else origin + options.end_s
    first, last = bisect_left(times, start - 1e-9), bisect_right(times, end)
    if last <= first:
        raise MediaError(
            f"{name}: has no frame between {start - origin:g} s and {end - origin:g} s;"
            f" it is {max(0.0, end_s - origin):.1f} s long, choose --start and --end within that",
            kind="no_frames",
        )
    return first, last


def choose(times: Sequence[float], options: Options, *, end_s: float, name: str, keys: Sequence[int] = ()) -> list[int]:
    """Which frames to look at.

    `options.frames` of them, each of an equal share of the time asked for: the key frame nearest to its middle, which is
    decoded without any other and keeps most detail, or the frame in its middle where the share has no key frame. Or one
    every 1 / `options.fps` seconds, but never fewer than `options.min_frames` while the video has them.

    Args:
        times: Time stamps of all frames, ascending, seconds.
        end_s: Where the media ends, seconds.
        name: For the message.
        keys: Indices of the key frames into `times`, ascending.

    Returns:
        Indices into `times`, ascending, each once.

    Raises:
        MediaError: The time asked for lies outside the media.
    """
    first, last = within(times, options, end_s=end_s, name=name)
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


def _first_line(error: BaseException) -> str:
    # FFmpeg's errors repeat their number and the name around what they say.
    said = str(getattr(error, "strerror", None) or error)
    text = said.strip().splitlines()
    return text[0][:120] if text and text[0] else type(error).__name__
