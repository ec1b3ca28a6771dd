"""annotate: the copy has the media's frames at their times, its sound in step, and says that it is a copy."""

from __future__ import annotations

import logging
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from conftest import number_of, numbered, texture, write_video
from PIL import Image, ImageCms
from test_media import rotate_track

from deepfake_detect import Detector, MediaError, Options, OptionsError, annotate, draw, media
from deepfake_detect.options import ReportOptions
from deepfake_detect.types import Box, Crop, Face, FaceTrack, Heatmap, Note, Report, Score, ToolInfo, Verdict
from deepfake_detect.words import LANGUAGES, Words

if TYPE_CHECKING:
    from collections.abc import Sequence

WHOLE = ReportOptions(whole_frames=True)
RATE = 48_000
BOX = (40.0, 40.0, 100.0, 110.0)
# Leaves the lowest rows of `numbered` free.
SMALL = (40.0, 50.0, 60.0, 69.0)


def report_on(path: Path, *, box: Box = BOX, people: int = 1, unseen: Sequence[int] = (), **options: object) -> Report:
    """A report on media as they are, about people who move 20 pixels a second to the right and are found manipulated."""
    chosen = Options(**{"frames": 4, **options})  # type: ignore[arg-type]
    with media.open(path, chosen) as opened:
        info, times = opened.info, [frame.time_s for frame in opened.frames()]
    x0, y0, x1, y1 = box
    crop = Crop(np.zeros((64, 64, 3), np.uint8), np.array([[(x1 - x0) / 64, 0, x0], [0, (y1 - y0) / 64, y0]]))
    tracks = []
    for person in range(1, people + 1):
        scores = []
        for i, time_s in enumerate(times):
            if i in unseen:
                continue
            right = 20 * time_s + 70 * (person - 1)
            here = Crop(crop.pixels, crop.to_frame + np.array([[0, 0, right], [0, 0, 0]]))
            face = Face((x0 + right, y0, x1 + right, y1), ((x0, y0),) * 5, 0.99)
            heatmap = Heatmap(np.full((8, 8), 3.0, np.float32), here)
            scores.append(Score(time_s, face, 1.0, logit=2.5, heatmap=heatmap))
        tracks.append(FaceTrack(person, tuple(scores), 2.5, 0.9, (0.8, 0.95)))
    verdict = Verdict("manipulated", 0.9, 9.0, "made for a test")
    tool = ToolInfo("1", "none", "0" * 64, "none", "0" * 64)
    return Report(str(path), tool, info, tuple(times), verdict, tuple(tracks), options=chosen)


def blocks(height: int, width: int) -> np.ndarray:
    """Black and grey blocks of 4 pixels at random: full of detail, uint8 (H, W, 3)."""
    coarse = np.random.default_rng(0).integers(0, 2, (-(-height // 4), -(-width // 4)), np.uint8) * 200
    fine = np.kron(coarse, np.ones((4, 4), np.uint8))[:height, :width]
    return np.repeat(fine[..., None], 3, axis=2)


def write_clip(
    path: Path,
    *,
    sound: str = "aac",
    seconds: float = 1.6,
    flash_s: float = 1.0,
    codec: str = "libx264",
    size: tuple[int, int] = (160, 120),
) -> Path:
    """Dark frames of which one is white, at `flash_s`, and silence in which a tone begins at the same moment."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25, options={"g": "10"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = container.add_stream(sound, rate=RATE)
        audio.layout = "mono"
        container.start_encoding()
        step = audio.codec_context.frame_size or 1024
        wave = 0.6 * np.sin(2 * np.pi * 1000 * np.arange(round(seconds * RATE)) / RATE)
        wave[: round(flash_s * RATE)] = 0
        resampler = av.AudioResampler(audio.codec_context.format, "mono", RATE)
        done = 0
        for i in range(round(seconds * 25)):
            bright = 230 if round(flash_s * 25) == i else 20
            picture = np.full((size[1], size[0], 3), bright, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            while done < (i + 1) * RATE / 25:
                part = (wave[done : done + step] * 32767).astype(np.int16)
                if not len(part):
                    break
                frame = av.AudioFrame.from_ndarray(part[None], format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE, done, Fraction(1, RATE)
                for fitting in resampler.resample(frame):
                    container.mux(audio.encode(fitting))
                done += step
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def frames_of(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(float(frame.time or 0), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def packets_of(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [(float((p.pts or 0) * p.time_base), bytes(p)) for p in container.demux(stream) if p.size]


def tone_begins_s(path: Path) -> float:
    """When the sound that a player plays grows loud."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = np.flatnonzero(np.abs(to_float(frame)).max(0) > 0.2)
            if len(loud) and frame.time is not None and frame.time * RATE + loud[0] >= 0:
                return float(frame.time + loud[0] / frame.sample_rate)
    raise AssertionError("no tone")


def to_float(frame: av.AudioFrame) -> np.ndarray:
    values = frame.to_ndarray()
    values = values / 32768 if values.dtype == np.int16 else values
    return values.reshape(-1, frame.samples) if frame.format.is_planar else values.reshape(frame.samples, -1).T


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_every_frame_is_there_at_its_time(name: str, tmp_path: Path) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = write_video(tmp_path / name, numbered(30), codec=codec, options={"g": "10"})
    with media.open(path, Options(frames=100)) as opened:
        source = [frame.time_s for frame in opened.frames()]
    assert annotate.write_annotated_video(report_on(path, box=SMALL), tmp_path / "copy.mp4", options=WHOLE) == ()
    copied = frames_of(tmp_path / "copy.mp4")
    assert len(source) == 30
    assert [time_s for time_s, _ in copied] == pytest.approx([time_s - source[0] for time_s in source], abs=2e-5)
    # Below the mark, and above the strip.
    assert [number_of(pixels[90:96]) for _, pixels in copied] == list(range(30))


def test_variable_frame_rates_stay(tmp_path: Path) -> None:
    stamps = [0, 40, 80, 400, 440, 1000, 1001, 1900]
    path = write_video(tmp_path / "a.mkv", numbered(8), stamps=stamps)
    annotate.write_annotated_video(report_on(path), tmp_path / "copy.mp4")
    copied = [time_s for time_s, _ in frames_of(tmp_path / "copy.mp4")]
    assert copied == pytest.approx([stamp / 1000 for stamp in stamps], abs=2e-5)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_only_the_time_that_was_examined(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, numbered(75), options={"g": "10", "bf": "2"})
    report = report_on(path, box=SMALL, start_s=1.0, end_s=2.0)
    annotate.write_annotated_video(report, tmp_path / "copy.mp4", options=WHOLE)
    copied = frames_of(tmp_path / "copy.mp4")
    assert [number_of(pixels[90:96]) for _, pixels in copied] == list(range(25, 51))
    assert [time_s for time_s, _ in copied] == pytest.approx(np.arange(26) / 25, abs=2e-5)


SOUNDS = [
    ("a.mp4", "aac", "aac"),
    ("a.ts", "aac", "aac"),
    ("a.mkv", "libopus", "opus"),
    ("a.mkv", "libmp3lame", "mp3"),
    ("a.mkv", "ac3", "ac3"),
    ("a.mkv", "flac", "flac"),
    ("a.mov", "pcm_s16le", "aac"),
    ("a.avi", "pcm_s16le", "aac"),
]


@pytest.mark.parametrize(("name", "sound", "expected"), SOUNDS)
@pytest.mark.parametrize("start_s", [None, 0.52])
def test_sound_is_kept_and_in_step(name: str, sound: str, expected: str, start_s: float | None, tmp_path: Path) -> None:
    path = write_clip(tmp_path / name, sound=sound, codec="mpeg4" if name.endswith("avi") else "libx264")
    assert annotate.write_annotated_video(report_on(path, start_s=start_s), tmp_path / "copy.mp4") == ()
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        assert copy.streams.audio[0].codec_context.codec.canonical_name == expected
    if sound.startswith("pcm"):
        assert len(packets_of(tmp_path / "copy.mp4")) > 20
    else:
        source, copied = (packets_of(p) for p in (path, tmp_path / "copy.mp4"))
        # An MPEG stream has a header on each packet, which MP4 has no use for.
        start = -len(copied[0][1]) if name.endswith("ts") else 0
        kept = [data[len(data) - len(c) :] if start else data for (_, data), (_, c) in
                zip(source[len(source) - len(copied) :], copied, strict=True)]  # fmt: skip
        assert kept == [data for _, data in copied]
        assert len(copied) == len(source) if start_s is None else len(copied) < 0.8 * len(source)
    source_lag = tone_begins_s(path) - flash_of(path)
    assert tone_begins_s(tmp_path / "copy.mp4") - flash_of(tmp_path / "copy.mp4") == pytest.approx(
        source_lag, abs=0.004
    )


def flash_of(path: Path) -> float:
    """When the frame is white, seen in a corner that nothing is drawn in."""
    return max(frames_of(path), key=lambda frame: float(frame[1][110:118, 2:30].mean()))[0]


def test_sound_that_nobody_can_read_is_left_out_and_this_is_said(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", sound="pcm_s16le")
    path.write_bytes(path.read_bytes().replace(b"A_PCM/INT/LIT", b"A_XYZ/INT/LIT"))
    (note,) = annotate.write_annotated_video(report_on(path), tmp_path / "copy.mp4")
    assert "no sound" in note
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        assert not copy.streams.audio
    assert len(frames_of(tmp_path / "copy.mp4")) == 40


def test_what_a_copy_lacks_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_clip(tmp_path / "a.mkv", sound="pcm_s16le")
    path.write_bytes(path.read_bytes().replace(b"A_PCM/INT/LIT", b"A_XYZ/INT/LIT"))
    with caplog.at_level(logging.WARNING):
        assert annotate.write_copy(report_on(path), tmp_path) == "annotated.mp4"
    assert "no sound" in caplog.text


def test_what_the_report_says_already_is_not_said_again(tmp_path: Path) -> None:
    frames = [np.full((120, 160, 3), 40 * i, np.uint8) for i in range(5)]
    path = write_video(tmp_path / "a.mkv", frames, options={"x264-params": "tff=1"})
    report = report_on(path)
    (said,) = annotate.write_annotated_video(report, tmp_path / "copy.mp4")
    assert said == Words()("note_interlaced")
    known = replace(report, notes=(Note("interlaced"),))
    assert annotate.write_annotated_video(known, tmp_path / "copy.mp4") == ()


def test_rotation_is_applied_once(tmp_path: Path) -> None:
    upright = np.full((128, 96, 3), 20, np.uint8)
    upright[64:] = 200
    path = write_video(tmp_path / "a.mp4", [np.ascontiguousarray(np.rot90(upright))] * 5)
    rotate_track(path, 90)
    annotate.write_annotated_video(report_on(path, box=(10, 40, 40, 80)), tmp_path / "copy.mp4", options=WHOLE)
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        frame = next(copy.decode(video=0))
    assert frame.rotation == 0
    pixels = frame.to_ndarray(format="rgb24")
    assert pixels.shape[1] == 96
    assert pixels[50:60, 85:].mean() < 40
    assert pixels[70:120, 85:].mean() > 180


@pytest.mark.parametrize("size", [(161, 121), (160, 121), (121, 160)])
def test_odd_sizes_keep_their_pixels(size: tuple[int, int], tmp_path: Path) -> None:
    width, height = size
    pixels = blocks(height, width)
    path = write_video(tmp_path / "a.mkv", [pixels] * 5, codec="ffv1", pix_fmt="bgr0")
    annotate.write_annotated_video(report_on(path, unseen=range(1, 4)), tmp_path / "copy.mp4", options=WHOLE)
    copied = frames_of(tmp_path / "copy.mp4")
    assert len(copied) == 5
    assert copied[0][1].shape[:2] == (height + height % 2 + 60, width + width % 2)
    # Where nothing is drawn.
    part = np.s_[height - 10 : height - 1, width - 30 : width]
    assert np.corrcoef(copied[-1][1][part].ravel(), pixels[part].ravel())[0, 1] > 0.95


def test_large_videos_are_reduced(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [texture(1500, 200)] * 2)
    annotate.write_annotated_video(report_on(path), tmp_path / "copy.mp4")
    height, width = frames_of(tmp_path / "copy.mp4")[0][1].shape[:2]
    assert height == annotate.LONGEST_SIDE_PX
    assert width == pytest.approx(200 * (height - 60) / 1500, abs=1)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_animations_have_frames_and_no_sound(kind: str, tmp_path: Path) -> None:
    first, *rest = [Image.fromarray(pixels) for pixels in numbered(6)]
    path = tmp_path / "a"
    first.save(path, kind, save_all=True, append_images=rest, duration=[100, 200, 300, 100, 100, 100])
    assert annotate.write_annotated_video(report_on(path, box=SMALL), tmp_path / "copy.mp4", options=WHOLE) == ()
    copied = frames_of(tmp_path / "copy.mp4")
    assert [number_of(pixels[90:96]) for _, pixels in copied] == list(range(6))
    assert [time_s for time_s, _ in copied] == pytest.approx([0, 0.1, 0.3, 0.6, 0.7, 0.8], abs=2e-5)


def test_the_copy_plays_everywhere_and_says_what_it_is(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    report = report_on(path)
    annotate.write_annotated_video(report, tmp_path / "copy.mp4")
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        stream = copy.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert copy.metadata["title"] == Words()("copy_mark")
        assert report.media is not None
        assert report.media.sha256 in copy.metadata["comment"]
    data = (tmp_path / "copy.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    for _, pixels in frames_of(tmp_path / "copy.mp4"):
        corner = pixels[:6, :6].mean((0, 1))
        assert np.abs(corner - draw.MARK_GROUND).max() < 20


def test_the_copy_is_written_in_the_language_of_its_report(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    report, copies = report_on(path), []
    for language in LANGUAGES:
        options = replace(WHOLE, language=language)
        annotate.write_annotated_video(report, tmp_path / "copy.mp4", options=options)
        with av.open(str(tmp_path / "copy.mp4")) as copy:
            assert copy.metadata["title"] == Words(language)("copy_mark")
        copies.append(frames_of(tmp_path / "copy.mp4")[0][1])
    english, *others = copies
    # At the box, and in the strip below.
    assert all((other != english).any() for other in others)


def test_colours_stay(tmp_path: Path) -> None:
    colour = (200, 60, 40)
    path = write_video(tmp_path / "a.mp4", [np.full((120, 160, 3), colour, np.uint8)] * 3)
    with media.open(path, Options()) as opened:
        source = next(opened.frames()).pixels[112:118, 2:20].mean((0, 1))
    annotate.write_annotated_video(report_on(path), tmp_path / "copy.mp4", options=WHOLE)
    with media.open(tmp_path / "copy.mp4", Options()) as opened:
        copied = next(opened.frames()).pixels[112:118, 2:20].mean((0, 1))
    assert np.abs(copied - source).max() < 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_writing_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "copy.mp4").write_bytes(b"earlier")

    def stop(share: float) -> None:
        if share > 0.5:
            raise error

    with pytest.raises(error):
        annotate.write_annotated_video(report_on(path), folder / "copy.mp4", progress=stop)
    assert [(p.name, p.read_bytes()) for p in folder.iterdir()] == [("copy.mp4", b"earlier")]


@pytest.mark.parametrize("name", ["http:copy.mp4", "-copy.mp4", "\udcff.mp4"])
def test_any_name_will_do(name: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    annotate.write_annotated_video(report_on(path), tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a.mp4", name])


def test_the_original_is_not_touched(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    before, changed = path.read_bytes(), path.stat().st_mtime_ns
    path.chmod(0o400)
    annotate.write_annotated_video(report_on(path), tmp_path / "copy.mp4")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, changed)


def test_what_changed_since_is_not_annotated(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    report = report_on(path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(MediaError, match="changed since"):
        annotate.write_annotated_video(report, tmp_path / "copy.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_measured_and_interpolated_do_not_look_the_same(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [np.full((160, 200, 3), 90, np.uint8)] * 40)
    report = report_on(path)
    person = annotate._Person(report.tracks[0], report.sampled_times_s, Words())
    measured, later = report.sampled_times_s[:2]
    there = person.at(measured)
    assert there is not None
    assert there.looked_at
    assert there.strength == 1
    between = person.at(measured + 0.25 * (later - measured))
    assert between is not None
    assert not between.looked_at
    assert 0 < between.strength < 1
    assert between.said.endswith(f"at {measured:.2f} s")
    assert between.box[0] == pytest.approx(there.box[0] + 20 * 0.25 * (later - measured), abs=1e-6)
    assert between.heatmap is not None
    assert there.heatmap is not None
    moved = between.heatmap.crop.to_frame - there.heatmap.crop.to_frame
    assert moved[0, 2] == pytest.approx(between.box[0] - there.box[0])
    canvases = []
    for sight in (there, replace(between, box=there.box, heatmap=there.heatmap)):
        canvas = np.full((160, 200, 3), 90, np.uint8)
        draw.paint(canvas, [sight], mark="COPY")
        canvases.append(canvas[60:100, 30:110].astype(int))
    edge = round(there.box[0]) - 30
    solid, dashed = (canvas[:, edge, 2] > 200 for canvas in canvases)
    assert solid.all()
    assert 0.3 < dashed.mean() < 0.8
    inside = np.s_[10:40, 25:60]
    assert np.abs(canvases[0][inside] - 90).sum() > np.abs(canvases[1][inside] - 90).sum() > 0


def test_nobody_is_drawn_where_they_were_looked_for_and_not_found(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [np.full((160, 200, 3), 90, np.uint8)] * 80)
    report = report_on(path, frames=8, unseen=(0, 3, 4, 7))
    times = report.sampled_times_s
    person = annotate._Person(report.tracks[0], times, Words())
    step = times[1] - times[0]
    present = [person.at(time_s) is not None for time_s in times]
    assert present == [False, True, True, False, False, True, True, False]
    for seen, sign in ((1, -1), (2, 1), (5, -1), (6, 1)):
        assert person.at(times[seen] + sign * 0.45 * step) is not None
        assert person.at(times[seen] + sign * 0.55 * step) is None


def test_who_is_not_to_be_shown_is_covered_all_the_way_between_two_sightings(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(80))
    report = report_on(path, frames=8, unseen=(0, 3, 4, 7))
    times, track = report.sampled_times_s, report.tracks[0]
    person = annotate._Person(track, times, Words())
    # Last seen at the third moment, again at the sixth: they may have been anywhere between.
    left, right = track.scores[1].face.box, track.scores[2].face.box
    assert person.may_be((times[2] + times[5]) / 2) == (left[0], left[1], right[2], right[3])
    assert person.may_be(times[0]) == track.scores[0].face.box
    assert person.may_be(times[7] + 0.5 * (times[7] - times[6])) is None


def test_by_default_only_judged_faces_can_be_recognised(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [blocks(160, 240)] * 20)
    report = report_on(path, frames=20, people=2)
    detail = {}
    for name, options in (
        ("faces", None),
        ("second", ReportOptions(person=2)),
        ("whole", WHOLE),
    ):
        annotate.write_annotated_video(report, tmp_path / "copy.mp4", options=options)
        _, pixels = frames_of(tmp_path / "copy.mp4")[0]
        grain = np.abs(np.diff(pixels.astype(int), axis=1)).mean(-1)
        # The first face, the second, and a place without any.
        detail[name] = [grain[65:100, 50:85].mean(), grain[65:100, 130:155].mean(), grain[135:155, 150:230].mean()]
    assert min(detail["faces"][:2]) > 5 > 1 > detail["faces"][2]
    assert detail["second"][1] > 5 > 1 > max(detail["second"][0], detail["second"][2])
    assert min(detail["whole"]) > 5
    # Whole frames show everybody, also who was not found.
    with pytest.raises(OptionsError, match="can't show one person alone"):
        replace(WHOLE, person=2)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("options", "seen"),
    [(None, [True, True, False]), (ReportOptions(person=2), [False, True, False]), (WHOLE, [True, True, True])],
)
def test_of_a_picture_too_only_judged_faces_can_be_recognised(
    options: ReportOptions | None, seen: list[bool], kind: str, tmp_path: Path
) -> None:
    Image.fromarray(blocks(160, 240)).save(tmp_path / "a", kind)
    name = annotate.write_copy(report_on(tmp_path / "a", people=2), tmp_path, options=options)
    with Image.open(tmp_path / name) as opened:
        grain = np.abs(np.diff(np.asarray(opened.convert("RGB")).astype(int), axis=1)).mean(-1)
    # The first face, the second, and a place without any.
    detail = [grain[65:100, 50:85].mean(), grain[65:100, 130:155].mean(), grain[135:155, 150:230].mean()]
    assert [one > 5 for one in detail] == seen


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff"])
def test_the_copy_of_a_picture_has_its_colours_and_not_its_profile(name: str, tmp_path: Path) -> None:
    standard = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Red and blue are each other's: what the numbers (200, 40, 40) mean is blue.
    at = {tag: standard.index(tag, 128) for tag in (b"rXYZ", b"bXYZ")}
    swapped = bytearray(standard)
    swapped[at[b"rXYZ"] : at[b"rXYZ"] + 4], swapped[at[b"bXYZ"] : at[b"bXYZ"] + 4] = b"bXYZ", b"rXYZ"
    grey = standard[:16] + b"GRAY" + standard[20:]
    known = [(bytes(swapped) + b"ANNA KERN", (40, 40, 200)), (standard, (200, 40, 40)), (b"", (200, 40, 40)),
             (grey, (200, 40, 40)), (standard[:200], (200, 40, 40))]  # fmt: skip
    for given, colour in known:
        path = tmp_path / name
        Image.new("RGB", (200, 160), (200, 40, 40)).save(path, icc_profile=given)
        copy = tmp_path / annotate.write_copy(report_on(path), tmp_path, options=WHOLE)
        with Image.open(copy) as annotated:
            assert "icc_profile" not in annotated.info
            # A corner, away from box and words.
            found = np.asarray(annotated.convert("RGB"))[-3, -3]
        assert np.abs(found.astype(int) - colour).max() < 12, (len(given), found)
        assert b"ANNA" not in copy.read_bytes()
        copy.unlink()


@pytest.mark.parametrize(
    ("kind", "name"), [("JPEG", "annotated.jpg"), ("PNG", "annotated.png"), ("BMP", "annotated.jpg")]
)
def test_pictures_are_marked_and_keep_their_size(kind: str, name: str, tmp_path: Path) -> None:
    pixels = texture(161, 201)
    Image.fromarray(pixels).save(tmp_path / "a", kind)
    assert annotate.write_copy(report_on(tmp_path / "a"), tmp_path, options=WHOLE) == name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", name]
    with Image.open(tmp_path / name) as opened:
        assert opened.format == ("PNG" if kind == "PNG" else "JPEG")
        drawn = np.asarray(opened.convert("RGB"))
    assert drawn.shape == pixels.shape
    assert np.abs(drawn[:6, :6].mean((0, 1)) - draw.MARK_GROUND).max() < 20
    assert np.abs(drawn[80:110, 120:].astype(int) - pixels[80:110, 120:]).mean() < 8


def crowd(rows: int, columns: int, *, height: int = 1080, width: int = 1920) -> list[tuple[FaceTrack, Score]]:
    """People in rows, their faces half as wide as the room each has."""
    people = []
    across, down = width / columns, height / rows
    for i in range(rows * columns):
        x, y = (i % columns + 0.25) * across, (i // columns + 0.3) * down
        face = Face((x, y, x + across / 2, y + down / 2), ((x, y),) * 5, 0.99)
        score = Score(0.0, face, 1.0, logit=2.5)
        people.append((FaceTrack(i + 1, (score,), 2.5, 0.9, (0.8, 0.95)), score))
    return people


def test_the_labels_of_a_crowd_cover_neither_each_other_nor_the_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[tuple[int, int, int, int]] = []
    put = draw._put

    def noted(canvas: np.ndarray, picture: np.ndarray, place: tuple[int, int, int, int]) -> None:
        places.append(place)
        put(canvas, picture, place)

    monkeypatch.setattr(draw, "_put", noted)
    draw.annotate(np.full((1080, 1920, 3), 90, np.uint8), crowd(5, 8), words=Words())
    # One for each, the mark, the caption that is empty, the scale.
    assert len(places) == 43
    assert not [(a, b) for i, a in enumerate(places) for b in places[:i] if draw._overlap(a, b)]


def test_every_colour_can_be_read_on_black() -> None:
    def luminance(colour: tuple[int, int, int]) -> float:
        parts = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in
                 (channel / 255 for channel in colour)]  # fmt: skip
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    inks = [draw._INK.get(colour, colour) for colour in draw.COLOURS]
    assert len(set(inks)) == 7
    assert min((luminance(ink) + 0.05) / 0.05 for ink in inks) >= 4.5


def test_the_bar_is_on_the_fixed_scale() -> None:
    face = Face((0, 0, 10, 10), ((1, 1),) * 5, 0.9)
    logits = [-2.0, 1.0, 2.0, draw.HOTTEST, 3 * draw.HOTTEST]
    track = FaceTrack(1, tuple(Score(float(i), face, 1.0, logit=logit) for i, logit in enumerate(logits)), 1.0, 0.5)
    line = draw.timeline(track, range(5), span_s=(0.0, 4.0), size=(400, 120), unit=1.0, words=Words())
    _, top, _, bottom = line.plot
    middle, half = (top + bottom) // 2, (bottom - top) // 2
    ground = line.pixels[top + 1, line.x_of(0.5)]
    for i, logit in enumerate(logits):
        filled = np.flatnonzero((line.pixels[top : bottom + 1, line.x_of(i)] != ground).any(-1)) + top
        reach = middle - filled.min() if logit > 0 else filled.max() - middle
        assert reach == pytest.approx(half * min(abs(logit) / draw.HOTTEST, 1), abs=1.5)
    assert (line.at(2.2) != line.pixels).any()
    assert draw.timeline(None, (), span_s=(0.0, 0.0), size=(40, 60), unit=1.0, words=Words()).at(0).shape == (60, 40, 3)


def test_the_strip_shows_where_the_odds_are_even_and_says_who_was_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    face = Face((0, 0, 10, 10), ((1, 1),) * 5, 0.9)
    strip = {"span_s": (0.0, 4.0), "size": (400, 120), "unit": 1.0, "words": Words()}
    track = FaceTrack(1, tuple(Score(float(i), face, 1.0, logit=3.0) for i in range(5)), 3.0, 0.9)
    plain, lined = (draw.timeline(track, range(5), **strip, even=even) for even in (0.0, -2.0))  # type: ignore[arg-type]
    left, top, right, bottom = lined.plot
    rows = np.flatnonzero((plain.pixels != lined.pixels).any((1, 2)))
    assert rows.tolist() == [(top + bottom) // 2 + round((bottom - top) // 2 / 2)]
    assert (lined.pixels[rows[0], left : right + 1] == 255).all()
    said: list[str] = []
    label = draw._label

    def heard(text: str, *look: Any) -> np.ndarray:
        said.append(text)
        return label(text, *look)

    monkeypatch.setattr(draw, "_label", heard)
    unjudged = FaceTrack(2, (Score(0.0, face, 0.1, "too_small"),))
    for shown, title in ((unjudged, "person 2: not judged"), (None, Words()("copy_nobody"))):
        draw.timeline(shown, range(5), **strip)  # type: ignore[arg-type]
        assert title in said


def test_what_cannot_be_encoded_again_is_a_media_error(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged sound is refused by the container only when it is closed; and some decoded pictures have no encoder."""
    judged = detector.detect(write_video(tmp_path / "x.mp4", numbered(3)))
    tried = []

    def refuse(_: object, way: type | None) -> None:
        tried.append(way)
        raise av.InvalidDataError(1, "refused")

    monkeypatch.setattr(annotate, "_write", refuse)
    with pytest.raises(MediaError, match=r"x\.mp4: its annotated copy can't be made"):
        judged.save(tmp_path / "out")
    assert tried == [None]
