"""The media once more, with what was found drawn onto it: every frame of a video at its own time, with its sound.

A copy is for looking at, and says so. What was measured and what was not must not look the same: a solid box and its full
heat stand for the very frame that was judged; between two such frames the box is dashed, its place interpolated, the
number is that of the nearest judged frame and says so, and the heat fades. Nothing is drawn of a person where they were
looked for and not found.

Unless whole frames are asked for, only faces near a moment in which they were judged can be recognised in it: the media may
be such as nobody should have to see.
"""

from __future__ import annotations

import builtins
import io
import logging
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image, ImageCms

from . import draw, media
from .errors import MediaError
from .files import replacing
from .options import Options, ReportOptions
from .types import Frame
from .verdict import deciding
from .words import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    from .draw import Sight
    from .types import Box, FaceTrack, Heatmap, Report, Score

log = logging.getLogger(__name__)

LONGEST_SIDE_PX = 1280
_LONGEST_JPEG_PX = 65_500
# A clock that every common frame rate fits into, and that players expect.
_TICK = Fraction(1, 90_000)
# What a frame lasts that nothing follows or precedes.
_LONE_FRAME_S = 0.5
# Heat is gone so long after the frame it was measured in, or half way to the next one that was looked at.
_FADE_S = 0.5
_SAME_TIME_S = 1e-6
_STRIP_PX = 60
_GROUND = 16
# Sound that players of MP4 know. MP4 may hold more, but hardly any player would play it.
_KEPT_SOUND = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
_AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000})
_AAC_RATE = 48_000


def file_name(report: Report) -> str:
    """What the annotated copy is called: `annotated.mp4`, `annotated.png` for a PNG or what is too long for a JPEG, else
    `annotated.jpg`.

    Raises:
        ValueError: The report has no media.
    """
    if report.media is None:
        raise ValueError("a file that could not be opened can't be annotated")
    if report.media.kind == "video":
        return "annotated.mp4"
    long = max(report.media.width, report.media.height) > _LONGEST_JPEG_PX
    return "annotated.png" if long or report.media.codec == "png" else "annotated.jpg"


def reopen(report: Report) -> media.Media:
    """The media of a report, from the file itself: a report holds no pictures but face crops.

    Raises:
        MediaError: It changed or disappeared since it was judged.
    """
    if report.pixels is not None:
        return media.from_array(report.pixels, Options(max_pixels=10**9))
    opened = media.open(report.path, report.options)
    if report.media is not None and opened.info.sha256 != report.media.sha256:
        opened.close()
        raise MediaError(f"{media.shown(report.path)}: changed since it was judged; judge it again", kind="unreadable")
    return opened


def write_copy(
    report: Report,
    folder: str | PathLike[str],
    *,
    options: ReportOptions | None = None,
    progress: Callable[[float], None] | None = None,
) -> str:
    """Write the annotated picture or video into a folder that is there. What a copy lacks is logged.

    Args:
        options: Whom and what it shows.
        progress: Called with the share of a video that is done, 0 to 1.

    Returns:
        The name of the file, see `file_name`.

    Raises:
        MediaError: The media changed or disappeared since it was judged, or can't be decoded.
        OSError: The file can't be written.
    """
    name = file_name(report)
    if name.endswith(".mp4"):
        for note in write_annotated_video(report, Path(folder) / name, options=options, progress=progress):
            log.warning("%s: %s", media.shown(report.path), note)
    else:
        write_annotated_picture(report, Path(folder) / name, options=options)
    return name


def write_annotated_picture(report: Report, path: str | PathLike[str], *, options: ReportOptions | None = None) -> None:
    """Write the picture with what was found, as PNG where the original is one, else as JPEG; else as for a video."""
    shown = options or ReportOptions()
    with reopen(report) as opened:
        # Beside the original the copy must not look paler; a profile may hold more than colours, and is not handed on.
        pixels = _in_srgb(next(opened.frames()).pixels, opened.profile)
    people = [(track, track.scores[0]) for track in report.tracks if shown.person in (None, track.id)]
    others = [track.scores[0].face.box for track in report.tracks if shown.person not in (None, track.id)]
    words = Words(shown.language)
    pixels = _veiled(pixels, [draw.sight(*one, words) for one in people], shown, others=others)
    drawn = draw.annotate(pixels, people, words=words)
    kind: dict[str, Any] = {"format": "PNG"} if file_name(report).endswith("png") else {"format": "JPEG", "quality": 92}
    with replacing(Path(path)) as partial, builtins.open(partial, "wb") as file:
        Image.fromarray(drawn).save(file, **kind)


def _in_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """The same colours as numbers of sRGB, which is what programs take them for where no profile says otherwise.

    Args:
        pixels: uint8 (H, W, 3) RGB.
        profile: As of `Media`; where it is empty or damaged, the numbers stay as they are.
    """
    if not profile:
        return pixels
    try:
        known = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        image = ImageCms.profileToProfile(Image.fromarray(pixels), known, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        log.debug("ICC profile: %s", error)
        return pixels
    return pixels if image is None else np.asarray(image)


def write_annotated_video(
    report: Report,
    path: str | PathLike[str],
    *,
    options: ReportOptions | None = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[str, ...]:
    """Write an MP4 with every frame of the time that was examined, upright, each at its own time.

    Boxes, heat, time and the mark of a copy are drawn onto the picture, one person's evidence over time in a strip below:
    the deciding person's, or that of the one who is shown. The first frame is at 0, though the time written into it is that
    of the media. Longer sides than `LONGEST_SIDE_PX` are reduced. The sound is copied as it is where players of MP4 know
    it, else encoded again.

    Args:
        path: Written beside it as `.part` and renamed when it is complete.
        options: Whom and what it shows.
        progress: Called with the share that is done, 0 to 1.

    Returns:
        What the copy lacks, a sentence each.

    Raises:
        MediaError: The media changed or disappeared since it was judged, or can't be decoded.
        OSError: The file can't be written.
    """
    with reopen(report) as opened, replacing(Path(path)) as partial:
        known, words = len(opened.notes), Words()
        copy = _Copy(report, opened, partial, options or ReportOptions(), progress)
        notes = _write_with_sound(copy)
        # What the report says already need not be said again.
        more = [note for note in opened.notes[known:] if note not in report.notes]
        return tuple(dict.fromkeys((*notes, *(words(f"note_{note.key}", **note.values) for note in more))))


def _veiled(
    pixels: np.ndarray, sights: Sequence[Sight], options: ReportOptions, *, others: Sequence[Box]
) -> np.ndarray:
    """The picture with those made unrecognisable who are not to be shown.

    That is everything but judged faces, unless whole frames are shown.
    """
    if options.whole_frames:
        return pixels
    # Away from a judged moment the place is a guess: after a cut it shows something else.
    near = [one for one in sights if one.judged and one.strength > 0]
    shown = [one.box for one in near if one.looked_at or draw.still_shows(pixels, one)]
    return draw.veil(pixels, shown, hidden=others)


class _SoundError(Exception):
    """The sound can't be written in the way that was tried."""


@dataclass(frozen=True)
class _Copy:
    """What goes into a copy, and where it goes."""

    report: Report
    opened: media.Media
    partial: Path
    options: ReportOptions
    progress: Callable[[float], None] | None


def _write_with_sound(copy: _Copy) -> list[str]:
    sounds = copy.opened.sounds
    if not sounds:
        _write_pictures(copy)
        return []
    # A codec without a decoder has no context.
    known = sounds[0].codec_context is not None
    codec = sounds[0].codec_context.codec.canonical_name if known else "an unknown format"
    ways: list[type[_Sound]] = [_CopiedSound, _EncodedSound] if codec in _KEPT_SOUND else [_EncodedSound]
    for way in ways:
        try:
            _write(copy, way)
        except (_SoundError, av.FFmpegError) as error:
            # Damaged sound may also be refused when the file is closed. What has another cause is met again without sound.
            log.debug("sound: %s", error.__cause__ or error)
            continue
        return [f"The annotated copy has one of {len(sounds)} tracks of sound."] if len(sounds) > 1 else []
    _write_pictures(copy)
    return [f"The annotated copy has no sound: that of the original ({codec}) can't be read."]


def _write_pictures(copy: _Copy) -> None:
    """
    Raises:
        MediaError: What was decoded can't be encoded again: damaged files have odd times and sizes.
    """
    try:
        _write(copy, None)
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        name = media.shown(copy.report.path)
        found = f"{name}: its annotated copy can't be made ({error.strerror}); leave it out with --no-images"
        raise MediaError(found, kind="damaged") from error


def _write(copy: _Copy, way: type[_Sound] | None) -> None:
    """
    Raises:
        _SoundError: The sound can't be written in this way.
    """
    report, opened, partial, progress = copy.report, copy.opened, copy.partial, copy.progress
    info = opened.info
    begin_s, end_s = opened.span_s
    scene = _Scene(report, copy.options, width=info.width, height=info.height, span_s=(begin_s, end_s))

    def read_back(*_: object) -> io.BufferedReader:
        # To put its index in front of the pictures FFmpeg reads again what it wrote.
        file.flush()
        return builtins.open(partial, "rb")

    with (
        _Unnamed(io.FileIO(partial, "w")) as file,
        av.open(file, "w", format="mp4", options={"movflags": "faststart"}, io_open=read_back) as container,
    ):
        words = Words(copy.options.language)
        container.metadata["title"] = words("copy_mark")
        container.metadata["comment"] = words("copy_made", version=report.tool.version, sha256=info.sha256)
        # Without frames that refer to later ones each frame is written at its own time, and any moment is quickly found.
        stream = container.add_stream(
            "libx264",
            rate=max(1, round(info.fps or 25)),
            options={"crf": "20", "preset": "veryfast", "bf": "0", "g": "60"},
        )
        stream.width, stream.height, stream.pix_fmt = scene.width, scene.height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = _TICK
        # BT.709 in the narrow range, and said so, or each player would guess its own colours.
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1
        reformatter = VideoReformatter()
        sound = way(container, opened.sounds[0], begin_s) if way else None
        try:
            container.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            if sound is None:
                raise
            raise _SoundError from error
        last = -1
        for part in opened.stretch(size=scene.picture_size):
            if not isinstance(part, Frame):
                if sound is not None:
                    sound.write(part)
                continue
            picture = reformatter.reformat(
                av.VideoFrame.from_ndarray(scene.draw(part), format="rgb24"),
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
            )
            stamp = max(last + 1, round((part.time_s - begin_s) / _TICK))
            # Only the last one's counts: it stays as long as the one before it.
            picture.duration = (
                stamp - last if last >= 0 else round((1 / info.fps if info.fps else _LONE_FRAME_S) / _TICK)
            )
            picture.pts, picture.time_base, last = stamp, _TICK, stamp
            container.mux(stream.encode(picture))
            if progress and end_s > begin_s:
                progress(min(0.99, (part.time_s - begin_s) / (end_s - begin_s)))
        container.mux(stream.encode(None))
        if sound is not None:
            sound.finish()
    if progress:
        progress(1.0)


class _Unnamed(io.BufferedWriter):
    """A file whose name FFmpeg does not see: one with a colon it would take for an address, others are no valid text."""

    @property
    def name(self) -> str:
        return "copy"


class _Sound(Protocol):
    """Takes the packets of the sound, and the container they go to."""

    def __init__(
        self, container: av.container.OutputContainer, source: av.audio.stream.AudioStream, begin_s: float
    ) -> None: ...

    def write(self, packet: av.Packet[av.audio.stream.AudioStream]) -> None:
        """Add a packet.

        Raises:
            _SoundError: It can't be written in this way.
        """

    def finish(self) -> None:
        """Write what still waits; errors likewise."""


class _CopiedSound(_Sound):
    """Packets of sound as they are, at the time of the copy. What lies before 0 is in the file but not played, which is how
    MP4 lets a cut fall between packets."""

    def __init__(
        self, container: av.container.OutputContainer, source: av.audio.stream.AudioStream, begin_s: float
    ) -> None:
        self._container, self._begin_s = container, begin_s
        try:
            self._stream = container.add_stream_from_template(source)
        except (av.FFmpegError, ValueError) as error:
            raise _SoundError from error
        self._last: int | None = None

    def write(self, packet: av.Packet[av.audio.stream.AudioStream]) -> None:
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None or (self._last is not None and stamp <= self._last):
            # Without a time of its own it can't be placed: damage, or a jump back in a stream put together of several.
            return
        self._last = stamp
        moved = round(self._begin_s / packet.time_base)
        packet.pts = (packet.pts if packet.pts is not None else stamp) - moved
        packet.dts = stamp - moved
        packet.stream = self._stream
        try:
            self._container.mux(packet)
        except (av.FFmpegError, ValueError) as error:
            raise _SoundError from error

    def finish(self) -> None:
        pass


class _EncodedSound(_Sound):
    """Sound decoded and encoded again as AAC, mono or stereo."""

    def __init__(
        self, container: av.container.OutputContainer, source: av.audio.stream.AudioStream, begin_s: float
    ) -> None:
        if source.codec_context is None:
            raise _SoundError
        self._container, self._begin_s = container, begin_s
        rate = source.rate if source.rate in _AAC_RATES else _AAC_RATE
        self._stream = container.add_stream("aac", rate=rate)
        self._stream.layout = "mono" if source.channels == 1 else "stereo"
        self._resampler: av.AudioResampler | None = None
        self._decoder: av.audio.codeccontext.AudioCodecContext | None = None

    def write(self, packet: av.Packet[av.audio.stream.AudioStream]) -> None:
        self._decoder = packet.stream.codec_context
        try:
            frames = packet.decode()
        except av.FFmpegError:
            # Passed over, which leaves a pause.
            return
        for frame in frames:
            self._encode(frame)

    def finish(self) -> None:
        if self._decoder is None:
            return
        for frame in self._decoder.decode(None):
            self._encode(frame)
        if self._resampler is None:
            raise _SoundError
        self._encode(None)
        self._container.mux(self._stream.encode(None))

    def _encode(self, frame: av.AudioFrame | None) -> None:
        if self._resampler is None:
            # Known only once the encoder is open.
            size = self._stream.codec_context.frame_size
            self._resampler = av.AudioResampler("fltp", self._stream.layout, self._stream.rate, frame_size=size)
        if frame is not None and frame.pts is not None and frame.time_base is not None:
            frame.pts -= round(self._begin_s / frame.time_base)
        try:
            for fitting in self._resampler.resample(frame):
                self._container.mux(self._stream.encode(fitting))
        except (av.FFmpegError, ValueError) as error:
            raise _SoundError from error


class _Scene:
    """Where everything lies in the frames of a copy, and the drawing of one frame after the other."""

    def __init__(
        self, report: Report, options: ReportOptions, *, width: int, height: int, span_s: tuple[float, float]
    ) -> None:
        self._options, self._words = options, Words(options.language)
        words, self._mark = self._words, self._words("copy_mark")
        scale = min(1.0, LONGEST_SIDE_PX / max(width, height))
        unit = draw.unit_of(round(width * scale), round(height * scale))
        strip = round(_STRIP_PX * unit / 2) * 2
        scale = min(scale, (LONGEST_SIDE_PX - strip) / height)
        # H.264 wants even sides. A picture that keeps its size keeps its pixels, too: a line is repeated instead.
        self.picture_size = (
            (width, height)
            if scale == 1
            else (max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2))
        )
        self.width, top = (side + side % 2 for side in self.picture_size)
        self.height = top + strip
        self._scale = np.array(self.picture_size) / (width, height)
        times = {*report.sampled_times_s, *(score.time_s for track in report.tracks for score in track.scores)}
        people = [_Person(track, sorted(times), words) for track in report.tracks]
        self._shown = [person for person in people if options.person in (None, person.id)]
        self._others = [person for person in people if person not in self._shown]
        self._top = top
        only = [track for track in report.tracks if options.person in (None, track.id)]
        # Who is shown alone may be someone who was not judged.
        track = deciding(only) or (only[0] if len(only) == 1 else None)
        even = report.calibration.video.even if report.calibration else 0.0
        self._timeline = draw.timeline(
            track, sorted(times), span_s=span_s, size=(self.width, strip), unit=unit, words=words, even=even
        )

    def draw(self, frame: Frame) -> np.ndarray:
        """The frame of the copy, uint8 (height, width, 3)."""
        canvas = np.full((self.height, self.width, 3), _GROUND, np.uint8)
        width, height = self.picture_size
        picture = canvas[:height, :width]
        sights = [self._scaled(sight) for person in self._shown if (sight := person.at(frame.time_s)) is not None]
        others = [self._scaled_box(box) for person in self._others if (box := person.may_be(frame.time_s)) is not None]
        picture[:] = _veiled(frame.pixels, sights, self._options, others=others)
        draw.paint(picture, sights, mark=self._mark, caption=f"{self._words.number(frame.time_s, '.2f')} s")
        canvas[:height, width:] = canvas[:height, width - 1 : width]
        canvas[height : self._top] = canvas[height - 1]
        canvas[self._top :] = self._timeline.at(frame.time_s)
        return canvas

    def _scaled_box(self, box: Box) -> Box:
        x, y = self._scale
        return box[0] * x, box[1] * y, box[2] * x, box[3] * y

    def _scaled(self, sight: Sight) -> Sight:
        x, y = self._scale
        # Of pixel centres, which lie half a pixel from the edge in either size.
        heatmap = _moved(sight.heatmap, scale=(x, y), shift=(x / 2 - 0.5, y / 2 - 0.5))
        return replace(sight, box=self._scaled_box(sight.box), heatmap=heatmap)


class _Person:
    """Where one person is at any time."""

    def __init__(self, track: FaceTrack, sampled_s: Sequence[float], words: Words) -> None:
        self.id, self._track, self._words = track.id, track, words
        self._times = [score.time_s for score in track.scores]
        self._places = [bisect_left(sampled_s, time_s) for time_s in self._times]
        usual = float(np.median(np.diff(sampled_s))) if len(sampled_s) > 1 else _LONE_FRAME_S
        halves = [usual / 2, *(np.diff(sampled_s) / 2).tolist(), usual / 2]
        # How far each sighting reaches back and forward: half way to when anyone was looked for again.
        self._reach = [(halves[place], halves[place + 1]) for place in self._places]

    def at(self, time_s: float) -> Sight | None:
        """How the person is drawn at a time, None where they are not; pixels of the media."""
        after = bisect_right(self._times, time_s + _SAME_TIME_S)
        before = after - 1
        scores = self._track.scores
        if before >= 0 and time_s - self._times[before] <= _SAME_TIME_S:
            return draw.sight(self._track, scores[before], self._words)
        if before >= 0 and after < len(scores) and self._joined(before):
            share = (time_s - self._times[before]) / (self._times[after] - self._times[before])
            pairs = zip(scores[before].face.box, scores[after].face.box, strict=True)
            x0, y0, x1, y1 = (a + (b - a) * share for a, b in pairs)
            near = before if share < 0.5 else after
            return self._between(scores[near], (x0, y0, x1, y1), time_s, self._reach[near][near == before])
        for near, side in ((before, 1), (after, 0)):
            if 0 <= near < len(scores) and abs(time_s - self._times[near]) <= self._reach[near][side]:
                return self._between(scores[near], scores[near].face.box, time_s, self._reach[near][side])
        return None

    def may_be(self, time_s: float) -> Box | None:
        """What to cover so that the person can't be recognised at a time: rather too much than too little."""
        after = bisect_right(self._times, time_s)
        near = [i for i in (after - 1, after) if 0 <= i < len(self._times)]
        # Before they were first and after they were last seen they may have been there for a whole step.
        if len(near) == 1 and abs(time_s - self._times[near[0]]) > 2 * max(self._reach[near[0]]):
            return None
        boxes = np.array([self._track.scores[i].face.box for i in near])
        (x0, y0), (x1, y1) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
        return x0, y0, x1, y1

    def _joined(self, before: int) -> bool:
        """Whether the person may be assumed on the way from one sighting to the next: nobody looked in between, and the
        places overlap; else there may be a cut between them."""
        if self._places[before + 1] - self._places[before] != 1:
            return False
        ax0, ay0, ax1, ay1 = self._track.scores[before].face.box
        bx0, by0, bx1, by1 = self._track.scores[before + 1].face.box
        return min(ax1, bx1) > max(ax0, bx0) and min(ay1, by1) > max(ay0, by0)

    def _between(self, score: Score, box: Box, time_s: float, reach_s: float) -> Sight:
        measured = draw.sight(self._track, score, self._words)
        faded = 1 - abs(time_s - score.time_s) / max(_SAME_TIME_S, min(_FADE_S, reach_s))
        x0, y0, x1, y1 = score.face.box
        wider, higher = (box[2] - box[0]) / (x1 - x0), (box[3] - box[1]) / (y1 - y0)
        shift = box[0] - x0 * wider, box[1] - y0 * higher
        return replace(
            measured,
            box=box,
            said=self._words("copy_said_at", said=measured.said, time_s=score.time_s),
            looked_at=False,
            heatmap=_moved(measured.heatmap, scale=(wider, higher), shift=shift),
            strength=max(0.0, faded),
        )


def _moved(heatmap: Heatmap | None, *, scale: tuple[float, float], shift: tuple[float, float]) -> Heatmap | None:
    """The same where its frame is so much wider and higher, and then lies so many pixels further right and down."""
    if heatmap is None:
        return None
    to_frame = heatmap.crop.to_frame * np.reshape(scale, (2, 1))
    to_frame[:, 2] += shift
    return replace(heatmap, crop=replace(heatmap.crop, to_frame=to_frame))
