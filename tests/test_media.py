"""media: every kind of file, its time stamps, its damage, and which frames are looked at."""

from __future__ import annotations

import errno
import io
import itertools
import os
import queue
import re
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from array import array
from contextlib import closing, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import pillow_heif
import pytest
from conftest import SAMPLES, number_of, numbered, texture, write_video
from PIL import ExifTags, Image, PngImagePlugin

from deepfake_detect import media, packets, pictures, provenance, source, video
from deepfake_detect.ahead import ahead
from deepfake_detect.errors import MediaError
from deepfake_detect.options import Options
from deepfake_detect.source import LeftError
from deepfake_detect.types import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LEFT_RED = np.zeros((40, 60, 3), np.uint8)
LEFT_RED[:, :30] = (250, 10, 10)
LEFT_RED[:, 30:] = (10, 10, 250)


def test_a_frame_before_a_damaged_one_is_found_again(tmp_path: Path) -> None:
    """A moving PNG whose second frame is out of order: Pillow does not find back to its first."""
    buffer = io.BytesIO()
    pictures = [Image.fromarray(pixels) for pixels in numbered(3)]
    pictures[0].save(buffer, "PNG", save_all=True, append_images=pictures[1:], duration=40)
    data = buffer.getvalue()
    second = data.index(b"fcTL", data.index(b"IDAT"))
    data = data[: second + 4] + (9).to_bytes(4, "big") + data[second + 8 :]
    data = data[: second + 30] + zlib.crc32(data[second : second + 30]).to_bytes(4, "big") + data[second + 34 :]
    path = tmp_path / "x.png"
    path.write_bytes(data)
    with media.open(path, Options()) as opened:
        assert [number_of(frame.pixels) for frame in opened.frames()] == [0]
        assert [number_of(frame.pixels) for frame in opened.stretch() if isinstance(frame, Frame)] == [0]
        assert [note.key for note in opened.notes] == ["frames_missing"]


def test_a_frame_larger_than_allowed_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a container says of its size need not be true; what is decoded counts."""
    path = write_video(tmp_path / "x.mp4", numbered(4))
    monkeypatch.setattr(video, "check_pixels", lambda *_: None)
    opened = media.open(path, Options(max_pixels=96 * 128))
    monkeypatch.undo()
    with opened:
        assert len(list(opened.frames())) == 4
    monkeypatch.setattr(video, "check_pixels", lambda *_: None)
    opened = media.open(path, Options(max_pixels=96 * 127))
    monkeypatch.undo()
    with opened, pytest.raises(MediaError, match="more than") as found:
        list(opened.frames())
    assert found.value.kind == "too_large"
    monkeypatch.setattr(video, "check_pixels", lambda *_: None)
    with pytest.raises(MediaError, match="no frame of the video could be decoded"):
        media.open(path, Options(max_pixels=96 * 16))


def test_an_animation_that_grows_beyond_what_is_allowed_is_refused(tmp_path: Path) -> None:
    """A frame of a GIF may be larger than the first."""
    small, large = (io.BytesIO() for _ in range(2))
    Image.new("P", (16, 16)).save(small, "GIF")
    Image.new("P", (300, 300)).save(large, "GIF")
    frame = large.getvalue().index(b"\x2c\0\0\0\0\x2c\1\x2c\1")
    path = tmp_path / "a.gif"
    path.write_bytes(small.getvalue()[:-1] + large.getvalue()[frame:])
    with media.open(path, Options(max_pixels=300 * 300)) as opened:
        assert (opened.info.width, opened.info.height) == (300, 300)
    with pytest.raises(MediaError, match="300 x 300 is more than") as found:
        media.open(path, Options(max_pixels=300 * 300 - 1))
    assert found.value.kind == "too_large"


def frames_of(path: Path, **options: object) -> list[Frame]:
    with media.open(path, Options(**options)) as opened:  # type: ignore[arg-type]
        return list(opened.frames())


def save(path: Path, image: Image.Image, kind: str, **options: object) -> Path:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.mark.parametrize(
    ("kind", "codec", "options"),
    [
        ("JPEG", "jpeg", {"quality": 95, "subsampling": 0}),
        ("PNG", "png", {}),
        ("WEBP", "webp", {"lossless": True}),
        ("GIF", "gif", {}),
        ("BMP", "bmp", {}),
        ("TIFF", "tiff", {}),
        ("TIFF", "tiff", {"big_tiff": True}),
        ("HEIF", "heif", {"quality": 95}),
        ("AVIF", "avif", {"quality": 95}),
    ],
)
def test_pictures_are_known_by_content(kind: str, codec: str, options: dict[str, object], tmp_path: Path) -> None:
    pillow_heif.register_heif_opener()
    path = save(tmp_path / "named.mp4", Image.fromarray(LEFT_RED), kind, **options)
    with media.open(path, Options()) as opened:
        info = opened.info
        (frame,) = opened.frames()
    assert (info.kind, info.codec, info.width, info.height, info.duration_s) == ("image", codec, 60, 40, None)
    assert np.abs(frame.pixels[:, 5:25].mean((0, 1)) - (250, 10, 10)).max() < 12
    assert np.abs(frame.pixels[:, 35:55].mean((0, 1)) - (10, 10, 250)).max() < 12


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mov", "libx264", "yuv444p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("a10.mp4", "libx265", "yuv420p10le"),
    ],
)
def test_videos_are_known_by_content(name: str, codec: str, pix_fmt: str, tmp_path: Path) -> None:
    made = write_video(tmp_path / name, numbered(30), codec=codec, pix_fmt=pix_fmt)
    path = shutil.move(made, tmp_path / "named.jpg")
    with media.open(path, Options(frames=5)) as opened:
        info = opened.info
        frames = list(opened.frames())
    assert (info.kind, info.width, info.height) == ("video", 128, 96)
    assert info.fps == pytest.approx(25, abs=0.5)
    assert info.duration_s == pytest.approx(1.2, abs=0.05)
    numbers = [number_of(frame.pixels) for frame in frames]
    assert numbers == [round((frame.time_s - frames[0].time_s) * 25) + numbers[0] for frame in frames]
    assert len(numbers) == 5
    assert numbers[0] <= 4
    # Its share of the time begins with frame 24, which may be a key frame.
    assert numbers[-1] >= 24


@pytest.mark.parametrize(("kind", "name"), [("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png")])
def test_animations_are_videos(kind: str, name: str, tmp_path: Path) -> None:
    pictures = [Image.fromarray(pixels) for pixels in numbered(6)]
    path = save(tmp_path / "a.jpg", pictures[0], kind, save_all=True, append_images=pictures[1:], duration=200)
    with media.open(path, Options()) as opened:
        assert (opened.info.kind, opened.info.codec) == ("video", name)
        assert opened.info.duration_s == pytest.approx(1.2)
        frames = list(opened.frames())
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert [number_of(frame.pixels) for frame in frames] == list(range(6))


@pytest.mark.parametrize("others", [3, 1])
def test_what_a_png_shows_instead_of_its_animation_is_none_of_its_frames(others: int, tmp_path: Path) -> None:
    stand_in, *frames = (Image.fromarray(pixels) for pixels in numbered(1 + others))
    stand_in.save(tmp_path / "a.png", save_all=True, append_images=frames, default_image=True, duration=200)
    with media.open(tmp_path / "a.png", Options()) as opened:
        assert opened.info.duration_s == pytest.approx(0.2 * others)
        assert opened.info.fps == pytest.approx(5)
        expected = [(i + 1, pytest.approx(0.2 * i)) for i in range(others)]
        assert [(number_of(frame.pixels), frame.time_s) for frame in opened.frames()] == expected
        played = [part for part in opened.stretch() if isinstance(part, Frame)]
        assert [(number_of(frame.pixels), frame.time_s) for frame in played] == expected
        assert opened.notes == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {1: 0, 2: 0, 3: 2, 4: 2, 5: 3, 6: 1, 7: 1, 8: 3}[orientation]
    stored = np.rot90(LEFT_RED, turned)
    if orientation in (2, 4, 5, 7):
        stored = np.fliplr(stored)
    save(tmp_path / "a.png", Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    (frame,) = frames_of(tmp_path / "a.png")
    assert np.array_equal(frame.pixels, LEFT_RED)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff"])
def test_an_orientation_in_xmp_alone_turns_no_picture(name: str, tmp_path: Path) -> None:
    """As in browsers and viewers."""
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    if name == "a.png":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet.decode())
        given: dict[str, Any] = {"pnginfo": text}
    else:
        given = {"tiffinfo": {700: packet}} if name == "a.tiff" else {"xmp": packet}
    Image.fromarray(LEFT_RED).save(tmp_path / name, **given)
    with Image.open(tmp_path / name) as image:
        assert image.getexif()[ExifTags.Base.Orientation] == 6
    (frame,) = frames_of(tmp_path / name)
    assert frame.pixels.shape == LEFT_RED.shape
    metadata = provenance.examine(tmp_path / name, kind="image").metadata
    assert [entry for entry in metadata if entry[1].endswith("Orientation")] == [("XMP", "tiff:Orientation", "6")]


@pytest.mark.parametrize("exif", [b"Exif\0\0" + bytes(60), b"Exif\0\0nonsense"])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_picture_is_none_the_worse_for_odd_exif(name: str, exif: bytes, tmp_path: Path) -> None:
    Image.fromarray(LEFT_RED).save(tmp_path / name, exif=exif, quality=95)
    (frame,) = frames_of(tmp_path / name)
    assert frame.pixels.shape == LEFT_RED.shape


def test_what_can_not_be_written_back_does_not_keep_a_picture_from_being_turned(tmp_path: Path) -> None:
    # Orientation 6, and a resolution below nothing (signed rationals).
    entries = struct.pack("<HHI4s", 0x0112, 3, 1, b"\6\0\0\0") + struct.pack("<HHII", 0x011A, 10, 1, 38)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 0) + struct.pack("<ii", -72, 1)
    Image.fromarray(LEFT_RED).save(tmp_path / "a.jpg", exif=exif)
    (frame,) = frames_of(tmp_path / "a.jpg")
    assert frame.pixels.shape == (LEFT_RED.shape[1], LEFT_RED.shape[0], 3)


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
def test_an_animation_is_turned_too(name: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(LEFT_RED)))
    other = Image.fromarray(255 - np.asarray(stored))
    stored.save(tmp_path / name, save_all=True, append_images=[other], duration=100, exif=exif, lossless=True)
    with media.open(tmp_path / name, Options()) as opened:
        assert (opened.info.height, opened.info.width) == LEFT_RED.shape[:2]
        first, second = opened.frames()
    assert np.array_equal(first.pixels, LEFT_RED)
    assert np.array_equal(second.pixels, 255 - LEFT_RED)


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [((-1, 0, 0, 1), "top right"), ((1, 0, 0, -1), "bottom left"), ((0, 1, 1, 0), "top left"),
     ((0, -1, -1, 0), "bottom right")],
)  # fmt: skip
def test_a_mirrored_video_is_mirrored_and_not_turned(matrix: tuple[int, ...], corner: str, tmp_path: Path) -> None:
    stored = np.zeros((96, 128, 3), np.uint8)
    stored[:48, :64] = 220
    path = write_video(tmp_path / "a.mp4", [stored] * 3)
    write_matrix(path, *(0x10000 * value for value in matrix))
    pixels = frames_of(path, frames=1)[0].pixels
    height, width = pixels.shape[:2]
    assert (height > width) == (matrix[0] == 0)
    rows, columns = corner.split()
    part = pixels[: height // 2] if rows == "top" else pixels[height // 2 :]
    part = part[:, : width // 2] if columns == "left" else part[:, width // 2 :]
    assert part.mean() > 200
    assert pixels.mean() < 70


def test_recordings_that_were_joined_are_seen_to_their_end(tmp_path: Path) -> None:
    parts = [write_video(tmp_path / f"{i}.ts", [np.full((96, 128, 3), 60 + 120 * i, np.uint8)] * 50) for i in range(2)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with media.open(joined, Options(frames=10)) as opened:
        frames = list(opened.frames())
        assert opened.info.duration_s == pytest.approx(4.0, abs=0.2)
        assert "times_start_again" in {note.key for note in opened.notes}
    assert [frame.pixels.mean() > 120 for frame in frames] == [False] * 5 + [True] * 5
    assert [frame.time_s for frame in frames] == sorted({frame.time_s for frame in frames})


def test_a_last_picture_that_stays_is_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "slide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        packets = [packet for seed in range(20) for packet in
                   stream.encode(av.VideoFrame.from_ndarray(texture(96, 128, seed), format="rgb24"))]  # fmt: skip
        packets += stream.encode()
        packets[-1].duration = round(5 / packets[-1].time_base)
        for packet in packets:
            container.mux(packet)
    with media.open(path, Options()) as opened:
        assert opened.info.duration_s == pytest.approx(6.9, abs=0.2)
        assert opened.notes == []


def test_an_unknown_colour_matrix_costs_no_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [texture(96, 128)] * 3, options={"x264-params": "colormatrix=YCgCo"})
    assert len(frames_of(path, frames=3)) == 3


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_container_rotation_is_applied(degrees: int, tmp_path: Path) -> None:
    upright = np.zeros((96, 128, 3), np.uint8)
    upright[:, :64] = 220
    stored = np.ascontiguousarray(np.rot90(upright, degrees // 90))
    path = write_video(tmp_path / "a.mp4", [stored] * 5)
    rotate_track(path, degrees)
    frame = frames_of(path, frames=1)[0]
    assert frame.pixels.shape == (96, 128, 3)
    assert frame.pixels[:, :60].mean() > 200
    assert frame.pixels[:, 68:].mean() < 20


def rotate_track(path: Path, degrees: int) -> None:
    """Write the display matrix of a phone held askew into the track header of an MP4 (ISO 14496-12, 8.3.2)."""
    one = 0x10000
    a, b = {0: (one, 0), 90: (0, one), 180: (-one, 0), 270: (0, -one)}[degrees]
    write_matrix(path, a, b, -b, a)


def write_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    for place, value in ((0, a), (1, b), (3, c), (4, d)):
        data[at + 4 * place : at + 4 * place + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(bytes(data))


def modes() -> list[tuple[str, Image.Image, tuple[int, int, int]]]:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 200, 0
    return [
        ("PNG", Image.fromarray(np.full((8, 8), 90, np.uint8)), (90, 90, 90)),
        ("PNG", Image.fromarray(np.full((8, 8), 90 * 257, np.uint16)), (90, 90, 90)),
        ("PNG", Image.fromarray(np.full((8, 8), 20 * 257, np.uint16)), (20, 20, 20)),  # dark, and not of fewer bits
        ("TIFF", Image.fromarray(np.full((8, 8), 90 * 257, np.uint16)), (90, 90, 90)),
        ("TIFF", Image.fromarray(np.full((8, 8), 1445, np.uint16)), (90, 90, 90)),  # 12 bits in 16
        ("TIFF", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), (255, 0, 0)),
        ("PNG", Image.new("RGB", (8, 8), (10, 200, 30)).quantize(2), (10, 200, 30)),
        ("PNG", Image.fromarray(rgba), (255, 255, 255)),
        ("PNG", Image.new("LA", (8, 8), (40, 255)), (40, 40, 40)),
        ("PNG", Image.new("1", (8, 8), 1), (255, 255, 255)),
    ]


@pytest.mark.parametrize("place", range(len(modes())))
def test_every_mode_becomes_rgb(place: int, tmp_path: Path) -> None:
    kind, image, expected = modes()[place]
    (frame,) = frames_of(save(tmp_path / "a", image, kind))
    assert frame.pixels.shape == (8, 8, 3)
    assert np.abs(frame.pixels.astype(int) - expected).max() <= 3


def notes_of(path: Path, **options: object) -> list[tuple[str, dict[str, str]]]:
    with media.open(path, Options(**options)) as opened:  # type: ignore[arg-type]
        for _ in opened.frames():
            pass
        return [(note.key, note.values) for note in opened.notes]


def test_of_a_heic_it_is_said_that_it_holds_more_pictures(tmp_path: Path) -> None:
    pillow_heif.register_heif_opener()
    several = {"save_all": True, "append_images": [Image.new("RGB", (64, 64))], "primary_index": 0}
    path = save(tmp_path / "a", Image.fromarray(LEFT_RED), "HEIF", **several)
    assert notes_of(path) == [("other_pictures", {"pictures": "2"})]


@pytest.mark.parametrize(
    ("kind", "before"),
    [
        ("JPEG", b""),
        # Of high dynamic range, with a second picture; with what Samsung's phones write before.
        ("JPEG", b"another"),
        ("JPEG", b"\0\0\x30\x0a\x10\0\0\0MotionPhoto_Data"),
        ("HEIF", b"\0\x01\0\0mpvd"),
        ("PNG", b"ftypftyp"),
    ],
)
def test_of_a_picture_with_a_video_in_it_that_is_said(kind: str, before: bytes, tmp_path: Path) -> None:
    pillow_heif.register_heif_opener()
    picture = save(tmp_path / "a", Image.fromarray(LEFT_RED), kind)
    still, alone = picture.read_bytes(), frames_of(picture)[0].pixels
    moving = write_video(tmp_path / "a.mp4", numbered(3)).read_bytes()
    before = still if before == b"another" else before
    assert notes_of(picture) == []
    picture.write_bytes(still + before + moving)
    assert notes_of(picture) == [("motion_photo", {})]
    assert np.array_equal(frames_of(picture)[0].pixels, alone)
    # No video is what is left of one, or another picture.
    heic = save(tmp_path / "b", Image.fromarray(LEFT_RED), "HEIF").read_bytes()
    for more in (moving[:20], moving.replace(b"ftyp", b"fytp"), heic, b"ftyp" * 99):
        picture.write_bytes(still + before + more)
        assert notes_of(picture) == []


@pytest.mark.parametrize("shift", range(12))
def test_a_video_in_a_picture_is_found_wherever_it_lies(
    shift: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_BLOCK", 11)
    first = b"\0\0\0\x14ftypisom\0\0\0\0mp42\0\0\0\x08moov"
    path = tmp_path / "a"
    for data, found in ((bytes(40 + shift) + first, True), (bytes(40 + shift) + first[:-4], False), (first, False)):
        path.write_bytes(data)
        with path.open("rb") as file:
            assert pictures._holds_video(file) == found


@pytest.mark.parametrize(("transfer", "noted"), [(16, ["hdr"]), (18, ["hdr"]), (13, [])])
def test_of_a_heic_a_high_dynamic_range_is_noted(transfer: int, noted: list[str], tmp_path: Path) -> None:
    pillow_heif.register_heif_opener()
    profile = {"color_primaries": 9, "transfer_characteristics": transfer, "matrix_coefficients": 9}
    path = save(tmp_path / "a", Image.fromarray(LEFT_RED), "HEIF", **profile)
    assert [key for key, _ in notes_of(path)] == noted


@pytest.mark.parametrize(("transfer", "noted"), [(16, ["hdr"]), (18, ["hdr"]), (13, [])])
@pytest.mark.parametrize("count", [1, 3])
def test_of_an_avif_a_high_dynamic_range_is_noted(count: int, transfer: int, noted: list[str], tmp_path: Path) -> None:
    frames = [Image.fromarray(pixels) for pixels in numbered(count)]
    path = save(tmp_path / "a", frames[0], "AVIF", save_all=True, append_images=frames[1:], duration=100)
    # Pillow writes that the values are those of sRGB (ISO 14496-12, 12.1.5).
    primaries, srgb = b"colrnclx\0\1", b"\0\x0d"
    data = path.read_bytes()
    assert primaries + srgb in data
    path.write_bytes(data.replace(primaries + srgb, primaries + transfer.to_bytes(2, "big")))
    assert [key for key, _ in notes_of(path)] == noted
    with media.open(path, Options()) as opened:
        assert (opened.info.codec, [number_of(frame.pixels) for frame in opened.frames()]) == (
            "avif",
            list(range(count)),
        )


@pytest.mark.parametrize(("clear", "noted"), [(8, "100%"), (5, "62%"), (4, None), (0, None)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_picture_that_is_mostly_transparent_is_noted(
    mode: str, clear: int, noted: str | None, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.png", partly_clear(clear).convert(mode), "PNG")
    assert notes_of(path) == ([("transparent", {"share": noted})] if noted else [])


def partly_clear(rows: int, *, grey: int = 255) -> Image.Image:
    """Eight rows of which these first ones are black, if only one could see them."""
    pixels = np.full((8, 8, 4), (grey, grey, grey, 255), np.uint8)
    pixels[:rows] = 0
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("clear", "noted"), [(7, "88%"), (5, "62%"), (4, None)])
@pytest.mark.parametrize("kind", ["WEBP", "PNG", "GIF"])
def test_an_animation_that_is_mostly_transparent_is_noted(
    kind: str, clear: int, noted: str | None, tmp_path: Path
) -> None:
    frames = [partly_clear(clear, grey=grey) for grey in (90, 140, 190)]
    more = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    path = save(tmp_path / "a", frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **more)
    assert notes_of(path) == ([("transparent", {"share": noted})] if noted else [])
    with media.open(path, Options()) as opened:
        assert len(list(opened.frames())) == 3


@pytest.mark.parametrize(("clear", "noted"), [(8, "100%"), (5, "62%"), (4, None)])
def test_what_is_transparent_in_a_video_is_looked_at_as_white(clear: int, noted: str | None, tmp_path: Path) -> None:
    pixels = np.full((96, 128, 4), (255, 40, 80, 120), np.uint8)
    pixels[: 12 * clear] = (0, 10, 10, 10)
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("qtrle", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "argb"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="argb")))
        container.mux(stream.encode(None))
    shown = [frame.pixels for frame in frames_of(tmp_path / "a.mov")]
    assert len(shown) == 3
    assert all((one[: 12 * clear] == 255).all() and (one[12 * clear :] == (40, 80, 120)).all() for one in shown)
    assert notes_of(tmp_path / "a.mov") == ([("transparent", {"share": noted})] if noted else [])


@pytest.mark.parametrize(("step_s", "count", "apart"), [(6, 20, "6.0"), (1, 40, None), (6, 16, None)])
def test_frames_that_lie_far_apart_are_noted(step_s: int, count: int, apart: str | None, tmp_path: Path) -> None:
    stamps = [1000 * step_s * i for i in range(count)]
    path = write_video(tmp_path / "a.mkv", numbered(count), stamps=stamps, options={"bf": "0"})
    found = [values for key, values in notes_of(path) if key == "few_frames"]
    assert found == ([{"frames": "16", "apart": apart}] if apart else [])


@pytest.mark.parametrize(
    ("pause", "count", "noted"),
    # The first is seldom looked at; of 49 the one that stands still is left out.
    [(25, 48, None), (25, 16, None), (25, 8, "0.4"), (25, 49, "12.1"), (1, 16, "12.1")],
)
def test_what_stands_still_and_was_looked_at_is_no_gap(
    pause: int, count: int, noted: str | None, tmp_path: Path
) -> None:
    stamps = [40 * i + 12000 * (i >= pause) for i in range(50)]
    path = write_video(tmp_path / "a.mkv", numbered(50), stamps=stamps, options={"bf": "0"})
    found = [values for key, values in notes_of(path, frames=count) if key == "few_frames"]
    assert found == ([{"frames": str(count), "apart": noted}] if noted else [])


@pytest.mark.parametrize(
    ("looked_at", "gap_s"),
    [([0, 1, 2, 14, 15], 0), ([0, 1, 2, 15], 1), ([0, 1, 14, 15], 12), ([0, 1, 2], 1), ([2], 2), ([1, 2, 14, 15], 1)],
)
def test_for_how_long_frames_are_shown_of_which_none_was_looked_at(looked_at: list[float], gap_s: float) -> None:
    assert media._longest_gap([0, 1, 2, 14, 15], 0, 5, looked_at) == gap_s
    assert media._longest_gap([-9, 0, 1, 2, 14, 15, 99], 1, 6, looked_at) == gap_s


@pytest.mark.parametrize("count", [8, None])
def test_of_a_damaged_video_no_more_frames_are_said_to_be_looked_at_than_came(
    count: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(SAMPLES / "clip_forged.mp4")) as whole, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(whole.streams.video[0])
        for i, packet in enumerate(whole.demux(whole.streams.video[0])):
            if packet.dts is None:
                continue
            sent = packet
            if 20 <= i < 44:
                sent = av.Packet(bytes(len(bytes(packet))))
                sent.pts, sent.dts, sent.time_base = packet.pts, packet.dts, packet.time_base
            sent.stream = stream
            target.mux(sent)
    with media.open(path, Options()) as opened:
        times = [frame.time_s for frame in opened.frames(count)]
        first_s, last_s = opened.span_s
        (note,) = [note for note in opened.notes if note.key == "few_frames"]
    assert 1 < len(times) < opened.planned
    assert note.values["frames"] == str(len(times))
    # From the one behind the last of them to the end nothing was looked at.
    assert max(np.diff([first_s, *times, last_s])) == last_s - times[-1]
    gap_s = last_s - times[-1] - 1 / 25
    assert gap_s > 1
    assert gap_s - 0.001 <= float(note.values["apart"]) < gap_s + 0.1


def test_of_one_frame_it_is_said_how_much_of_the_part_was_not_looked_at(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", numbered(125), options={"x264-params": "scenecut=0"})
    (said,) = [values for key, values in notes_of(path, frames=1, start_s=1, end_s=3) if key == "few_frames"]
    assert said == {"frames": "1", "apart": "1.0"}


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_frames_far_apart_and_coded_out_of_order_are_no_clock_that_starts_again(codec: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", numbered(12), stamps=[1000 * i for i in range(12)], codec=codec)
    with media.open(path, Options()) as opened:
        assert [(frame.time_s, number_of(frame.pixels)) for frame in opened.frames()] == [(i, i) for i in range(12)]
        assert opened.info.duration_s == pytest.approx(12.0, abs=1)
        assert opened.notes == []


def test_variable_frame_rate_keeps_its_time_stamps(tmp_path: Path) -> None:
    stamps = [0, 40, 80, 400, 440, 1000, 1040, 3000]
    path = write_video(tmp_path / "a.mkv", numbered(8), stamps=stamps)
    assert [frame.time_s for frame in frames_of(path)] == pytest.approx([stamp / 1000 for stamp in stamps])


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts"])
def test_seeking_gives_the_frames_that_reading_through_gives(name: str, tmp_path: Path) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = write_video(tmp_path / name, numbered(100), codec=codec, options={"g": "10", "bf": "2"})
    chosen = frames_of(path, frames=7)
    through = {round(f.time_s, 4): f for f in frames_of(path, frames=100)}
    assert len(through) == 100
    assert len(chosen) == 7
    for frame in chosen:
        assert np.array_equal(frame.pixels, through[round(frame.time_s, 4)].pixels)


def moving(count: int) -> list[np.ndarray]:
    """Grainy frames in which all moves: an encoder makes frames of every kind of them."""
    return [np.roll(texture(96, 128), (i, 2 * i), axis=(0, 1)) for i in range(count)]


@pytest.mark.parametrize("options", [{}, {"frames": 7}, {"frames": 99}, {"fps": 3.0}, {"start_s": 2.1, "frames": 4}])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_frames_and_times_are_those_of_plain_decoding(name: str, options: dict[str, float], tmp_path: Path) -> None:
    path = write_video(tmp_path / name, moving(120))
    with av.open(str(path)) as container:
        plain = {round(float(f.pts * f.time_base), 6): f.to_ndarray(format="rgb24") for f in container.decode(video=0)}
    assert len(plain) == 120
    found = frames_of(path, **options)
    assert len(found) >= 4
    for frame in found:
        assert np.array_equal(frame.pixels, plain[frame.time_s])


@pytest.mark.parametrize("options", [{"frames": 1000}, {"frames": 7}, {"start_s": 0.4, "end_s": 1.0, "frames": 5}])
def test_frames_of_an_avi_that_are_coded_out_of_order_come_in_order(options: dict[str, float], tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", numbered(40))
    with media.open(path, Options(**options)) as opened:  # type: ignore[arg-type]
        found = [(number_of(frame.pixels), frame.time_s) for frame in opened.frames()]
        played = [number_of(part.pixels) for part in opened.stretch() if isinstance(part, Frame)]
        assert "frames_not_decoded" not in [note.key for note in opened.notes]
    # Its packets begin at 0.04 s.
    assert [(number, round(0.04 * (number + 1), 6)) for number, _ in found] == found
    assert played == list(range(played[0], played[-1] + 1))
    assert len(found) == min(options["frames"], 40)


@pytest.mark.parametrize(
    ("aspect", "width"),
    [((4, 3), 171), ((8, 9), 114), ((1, 1), 128), ((100, 1), 128)],
    ids=["wide", "narrow", "square", "nonsense"],
)
def test_pixels_that_are_not_square_are_made_so(aspect: tuple[int, int], width: int, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(*aspect)
        for pixels in numbered(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    with media.open(path, Options()) as opened:
        assert (opened.info.width, opened.info.height) == (width, 96)
        assert [frame.pixels.shape for frame in opened.frames()] == [(96, width, 3)] * 5
        small = [part.pixels.shape for part in opened.stretch(size=(64, 48)) if isinstance(part, Frame)]
        assert small == [(48, 64, 3)] * 5


@pytest.mark.parametrize(
    ("params", "noted"),
    [("transfer=smpte2084", "hdr"), ("transfer=arib-std-b67", "hdr"), ("tff=1", "interlaced"), ("transfer=bt709", None)],
)  # fmt: skip
def test_what_the_net_was_not_shown_is_noted_once(params: str, noted: str | None, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(6), options={"x264-params": params})
    with media.open(path, Options()) as opened:
        assert len(list(opened.frames())) == 6
        assert [note.key for note in opened.notes] == ([noted] if noted else [])


def write_sizes(
    path: Path, *sizes: tuple[int, int], drawn: Callable[[int, int], list[np.ndarray]] | None = None
) -> Path:
    """A stream that changes its size on the way, as calls and recordings of screens do: six frames of each."""
    drawn = drawn or (lambda width, height: numbered(6, height=height, width=width))
    count = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for width, height in sizes:
            encoder = av.CodecContext.create("libx264", "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.framerate, encoder.options = Fraction(1, 25), Fraction(25), {"bf": "0"}
            pictures = [av.VideoFrame.from_ndarray(pixels, format="rgb24") for pixels in drawn(width, height)]
            for packet in [p for picture in (*pictures, None) for p in encoder.encode(picture)]:
                packet.pts = packet.dts = count
                packet.time_base, packet.stream = Fraction(1, 25), stream
                container.mux(packet)
                count += 1
    return path


@pytest.mark.parametrize("sizes", [((128, 96), (64, 48)), ((64, 48), (128, 96))])
def test_all_frames_are_of_the_size_that_is_stated(sizes: tuple[tuple[int, int], ...], tmp_path: Path) -> None:
    with media.open(write_sizes(tmp_path / "a.ts", *sizes), Options()) as opened:
        frames = list(opened.frames())
        assert (opened.info.width, opened.info.height, len(frames)) == (128, 96, 12)
        assert {frame.pixels.shape for frame in frames} == {(96, 128, 3)}
        assert [note.key for note in opened.notes] == ["size_changes"]
    first, last = (frames[i].pixels.astype(int) for i in (5, 11))
    assert np.abs(first - last)[8:-8].mean() < 12  # The same picture, half as fine.


def disc(width: int, height: int) -> list[np.ndarray]:
    """Six times a white disc in the middle of a grey picture."""
    pixels = np.full((height, width, 3), 60, np.uint8)
    cv2.circle(pixels, (width // 2, height // 2), 30, (255, 255, 255), -1)
    return [pixels] * 6


@pytest.mark.parametrize("size", [None, (80, 48)])
@pytest.mark.parametrize("sizes", [((160, 96), (96, 160)), ((96, 160), (160, 96))], ids=["wide", "high"])
def test_who_turns_a_phone_is_not_squeezed(
    sizes: tuple[tuple[int, int], ...], size: tuple[int, int] | None, tmp_path: Path
) -> None:
    size = size if sizes[0] == (160, 96) else size and size[::-1]
    with media.open(write_sizes(tmp_path / "a.ts", *sizes, drawn=disc), Options()) as opened:
        parts = opened.stretch(size=size) if size else opened.frames()
        frames = [part.pixels for part in parts if isinstance(part, Frame)]
        assert [note.key for note in opened.notes] == ["size_changes"]
    width, height = size or sizes[0]
    assert [pixels.shape for pixels in frames] == [(height, width, 3)] * 12
    diameters = []
    for pixels in frames:
        y, x = np.nonzero(pixels[..., 0] > 150)
        assert (x.max() + x.min(), y.max() + y.min()) == pytest.approx((width, height), abs=3)  # In the middle.
        assert x.max() - x.min() == pytest.approx(y.max() - y.min(), abs=2)
        assert pixels[[0, 0, -1, -1], [0, -1, 0, -1]].mean() == pytest.approx(60, abs=5)  # Around it nothing new.
        diameters.append(int(x.max() - x.min()) + 1)
    assert diameters == pytest.approx([61 * width / sizes[0][0]] * 6 + [61 * 0.6 * width / sizes[0][0]] * 6, abs=2)


def test_frames_that_nobody_needs_are_not_decoded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving(60))
    with media.open(path, Options()) as opened:
        reader = reader_of(opened)
        stamps = reader._index.stamps
        reader._rewind()
        decoded = [frame.pts for frame in reader._decode(frozenset([stamps[33]]))]
    assert stamps[33] in decoded
    assert len(decoded) < 45


def test_a_frame_that_does_not_come_is_replaced_by_the_next(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", moving(60), options={"g": "20"})
    lost_s = frames_of(path, frames=6)[3].time_s
    with media.open(path, Options(frames=6)) as opened:
        reader = reader_of(opened)
        real, lost = reader._decoded, round(lost_s * 1000)
        reader._decoded = lambda packet: [f for f in real(packet) if f.pts != lost]  # type: ignore[method-assign]
        found = [frame.time_s for frame in opened.frames()]
    assert len(found) == 6
    assert found == sorted(set(found))
    assert 0 < found[3] - lost_s < 0.2


def test_ahead_gives_the_same_frames_and_keeps_to_its_bound() -> None:
    made: list[int] = []

    def frames() -> Iterator[Frame]:
        for i in range(20):
            made.append(i)
            yield Frame(LEFT_RED, float(i))

    stream = ahead(frames(), count=2)
    for i, frame in enumerate(stream):
        assert frame.time_s == i
        # Those that wait, the one in hand, and the one being made.
        assert len(made) <= i + 5
    assert len(made) == 20


def test_ahead_raises_what_the_decoder_raises() -> None:
    def frames() -> Iterator[Frame]:
        yield Frame(LEFT_RED)
        raise MediaError("damaged", kind="damaged")

    stream = ahead(frames())
    assert next(stream).time_s == 0
    with pytest.raises(MediaError, match="damaged"):
        next(stream)


def test_ahead_stops_its_thread_when_it_is_closed() -> None:
    before = threading.active_count()
    stream = ahead(Frame(LEFT_RED, float(i)) for i in range(10**9))
    next(stream)
    assert threading.active_count() == before + 1
    stream.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("count", [1, 2])
def test_one_ahead_of_another_stops_wherever_it_is_left(count: int) -> None:
    before = threading.active_count()
    for taken in range(50):
        stopped = threading.Event()
        with (
            closing(ahead((Frame(LEFT_RED, float(i)) for i in range(60)), stopped=stopped, count=count)) as first,
            closing(ahead((frame.time_s for frame in first), stopped=stopped, count=count)) as second,
        ):
            assert [next(second) for _ in range(taken)] == list(range(taken))
    assert threading.active_count() == before


def test_start_and_end(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(100))
    times = [frame.time_s for frame in frames_of(path, start_s=1.0, end_s=2.0)]
    assert min(times) >= 1.0
    assert max(times) <= 2.0
    with pytest.raises(MediaError, match=r"no frame between 9 s and .*4\.0 s long"):
        frames_of(path, start_s=9.0)


@pytest.mark.parametrize(
    ("options", "shown_s"),
    [
        ({"start_s": 4, "end_s": 8}, [0.08]),
        ({"start_s": 0.05, "end_s": 0.07}, [0.04]),
        ({"start_s": 4, "end_s": 13}, [13]),
        # The last is shown for as long as a frame of this video is on average.
        ({"start_s": 13.06}, [13.04]),
        ({"start_s": 13.06, "end_s": 20}, [13.04]),
    ],
)
@pytest.mark.parametrize("late", [0, 9000])
def test_of_a_part_without_a_frame_of_its_own_that_is_looked_at_which_is_shown(
    late: int, options: dict[str, float], shown_s: list[float], tmp_path: Path
) -> None:
    stamps = [late + stamp for stamp in (0, 40, 80, 13000, 13040)]
    path = write_video(tmp_path / "a.mkv", numbered(5), stamps=stamps, options={"bf": "0"})
    assert [frame.time_s - late / 1000 for frame in frames_of(path, **options)] == pytest.approx(shown_s)
    with pytest.raises(MediaError, match=r"no frame between 20 s and .*choose --start and --end within that"):
        frames_of(path, start_s=20)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start_s": 1.0}, ("1.0", "4.0", "4.0")),
        ({"start_s": 1.0, "end_s": 2.0}, ("1.0", "2.0", "4.0")),
        ({"end_s": 2.0}, ("0.0", "2.0", "4.0")),
        ({"start_s": 0.0, "end_s": 9.0}, None),
        ({}, None),
    ],
)
def test_that_only_a_part_was_looked_at_is_noted(
    options: dict[str, float], said: tuple[str, ...] | None, tmp_path: Path
) -> None:
    stamps = [9000 + 40 * i for i in range(100)]
    path = write_video(tmp_path / "a.mkv", numbered(100), stamps=stamps)
    with media.open(path, Options(**options)) as opened:  # type: ignore[arg-type]
        for _ in range(2):
            list(opened.frames())
        found = [
            tuple(note.values[name] for name in ("start", "end", "length"))
            for note in opened.notes
            if note.key == "part"
        ]
    assert found == ([said] if said else [])


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "faststart.mp4"])
def test_a_video_cut_short_says_how_much_is_missing(name: str, tmp_path: Path) -> None:
    grainy = [texture(96, 128, seed) for seed in range(100)]
    path = tmp_path / name
    if name == "faststart.mp4":
        with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            for pixels in grainy:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
    else:
        write_video(path, grainy)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with media.open(path, Options(frames=100)) as opened:
        frames = list(opened.frames())
    assert 30 <= len(frames) <= 70
    if name != "a.ts":  # A transport stream does not say how long it was to be.
        assert {note.key for note in opened.notes} & {"video_cut_short", "frames_missing"}, opened.notes


@pytest.mark.parametrize("name", ["a.mkv", "a.wmv", "a.mp4", "a.ts"])
def test_a_video_that_begins_late_is_no_shorter_for_it(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, numbered(50), stamps=[10_000 + 40 * i for i in range(50)])
    with media.open(path, Options()) as opened:
        assert opened.span_s == pytest.approx((10.0, 11.96), abs=0.1)
        assert opened.info.start_s == opened.span_s[0]
        assert opened.info.duration_s == pytest.approx(2.0, abs=0.1)
        assert opened.notes == []


def test_of_a_video_that_begins_late_no_more_is_missing_than_was_cut_off(tmp_path: Path) -> None:
    grainy = [texture(96, 128, seed) for seed in range(100)]
    path = write_video(tmp_path / "a.mkv", grainy, stamps=[10_000 + 40 * i for i in range(100)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with media.open(path, Options()) as opened:
        (note,) = opened.notes
    assert (note.key, note.values["claimed"]) == ("video_cut_short", "4.0")
    assert 35 <= int(note.values["missing"].rstrip("%")) <= 65


def test_a_picture_cut_short_says_how_much_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    whole = cv2.imencode(".jpg", texture(200, 200), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    path.write_bytes(whole[: len(whole) // 2])
    with media.open(path, Options()) as opened:
        (frame,) = opened.frames()
    assert frame.pixels.shape == (200, 200, 3)
    (note,) = opened.notes
    assert note.key == "picture_cut_short"
    assert 35 <= int(note.values["missing"].rstrip("%")) <= 65


def test_a_progressive_picture_cut_short_is_coarse_all_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(texture(200, 200)).save(path, progressive=True, quality=95)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with media.open(path, Options()) as opened:
        (frame,) = opened.frames()
    assert frame.pixels.shape == (200, 200, 3)
    assert [note.key for note in opened.notes] == ["picture_coarse"]


def test_of_a_picture_that_is_stored_bottom_up_the_top_is_missing(tmp_path: Path) -> None:
    path = save(tmp_path / "a.bmp", Image.fromarray(texture(200, 200)), "BMP")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    with media.open(path, Options()) as opened:
        (frame,) = opened.frames()
    assert not frame.pixels[:100].any()
    (note,) = opened.notes
    assert (note.key, note.values["missing"]) in [("picture_cut_short", "75%"), ("picture_cut_short", "76%")]


@pytest.mark.parametrize(("interlace", "key"), [(1, "picture_coarse"), (0, "picture_cut_short")])
def test_an_interlaced_picture_cut_short_is_coarse_all_over(interlace: int, key: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.gif", Image.fromarray(texture(200, 200)).quantize(64), "GIF", interlace=interlace)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with media.open(path, Options()) as opened:
        assert len(list(opened.frames())) == 1
        assert [note.key for note in opened.notes] == [key]


@pytest.mark.parametrize(("tags", "refused"), [({254: 1, 330: 8}, True), ({254: 1}, False), ({330: 8}, False)])
def test_a_raw_file_of_a_camera_is_not_judged_by_its_preview(
    tags: dict[int, int], refused: bool, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.dng", Image.fromarray(LEFT_RED), "TIFF", tiffinfo=tags)
    if refused:
        with pytest.raises(MediaError, match=r"raw file, of which only a small preview .* save it as a JPEG") as found:
            media.open(path, Options())
        assert found.value.kind == "unsupported"
    else:
        (frame,) = frames_of(path)
        assert np.array_equal(frame.pixels, LEFT_RED)


def test_memory_that_runs_out_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(*_: object) -> None:
        raise MemoryError

    picture = save(tmp_path / "a.png", Image.fromarray(LEFT_RED), "PNG")
    clip = write_video(tmp_path / "a.mp4", numbered(3))
    monkeypatch.setattr("deepfake_detect.pictures._to_rgb", hungry)
    monkeypatch.setattr(video, "list_packets", hungry)
    for path in (picture, clip):
        with pytest.raises(MediaError, match="more memory than there is") as found:
            media.open(path, Options())
        assert found.value.kind == "too_large"


@pytest.mark.skipif(os.name != "posix", reason="a descriptor is made to lead elsewhere as on Unix")
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.png", "a.webp", "a.gif"])
def test_a_disk_that_fails_is_no_damage_whenever_it_does(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = [texture(96, 128, seed) for seed in range(30)]
    if name.endswith(("mp4", "mkv")):
        path = write_video(tmp_path / name, pixels)
    else:
        first, *rest = map(Image.fromarray, pixels)
        moves = {"save_all": True, "append_images": rest} if name == "a.gif" else {}
        path = save(tmp_path / name, first, name[2:].upper(), **moves)
    readinto, fails_at, reads = source._Raw.readinto, -1, 0

    def read(file: source._Raw, buffer: memoryview) -> int | None:
        nonlocal reads
        reads += 1
        if reads - 1 != fails_at:
            return readinto(file, buffer)
        # Nothing can be read of a folder.
        kept, folder = os.dup(file.fileno()), os.open(tmp_path, os.O_RDONLY)
        os.dup2(folder, file.fileno())
        try:
            return readinto(file, buffer)
        finally:
            os.dup2(kept, file.fileno())
            os.close(kept)
            os.close(folder)

    monkeypatch.setattr(source._Raw, "readinto", read)
    for look in (lambda opened: opened.frames(30), lambda opened: opened.stretch()):
        fails_at, reads = -1, 0
        with media.open(path, Options()) as opened:
            whole = len(list(look(opened)))
        assert whole == (1 if name in ("a.png", "a.webp") else 30)
        count = reads
        assert count >= 4
        for place in range(count):
            fails_at, reads = place, 0
            with pytest.raises(MediaError, match="can't be read") as found, media.open(path, Options()) as opened:
                list(look(opened))
            assert found.value.kind == "unreadable"
            assert str(path) in str(found.value)


@pytest.mark.parametrize("where", ["packets", "decoder", "converter"])
def test_memory_that_runs_out_in_the_middle_of_a_video_is_no_shorter_video(where: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(30))
    hunger = av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")
    for look in (lambda opened: opened.frames(), lambda opened: opened.stretch()):
        with media.open(path, Options(frames=30)) as opened:
            reader = reader_of(opened)
            rewind, upright, shown = reader._rewind, reader._upright, itertools.count()

            def again(reader: video.Video = reader, rewind: Callable[[], None] = rewind) -> None:
                rewind()
                if where == "packets":
                    reader._container = CutShort(reader._container, after=10, error=hunger)
                else:
                    stream = reader._stream
                    reader._packets = lambda *_: reader._container.demux(stream)  # type: ignore[assignment]
                    reader._stream = Hungry(stream, after=10, error=hunger)

            def convert(*given: Any, upright: Any = upright, shown: Iterator[int] = shown) -> np.ndarray:
                if next(shown) == 10:
                    raise MemoryError
                return upright(*given)

            if where == "converter":
                reader._upright = convert  # type: ignore[method-assign]
            else:
                reader._rewind = again  # type: ignore[method-assign]
            with pytest.raises(MediaError, match="more memory than there is") as found:
                list(look(opened))
            assert found.value.kind == "too_large"


def test_memory_that_runs_out_while_packets_are_listed_is_no_shorter_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(30))
    with av.open(str(path)) as container:
        hunger = av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")
        with pytest.raises(MemoryError):
            packets.list_packets(CutShort(container, after=10, error=hunger), container.streams.video[0])  # type: ignore[arg-type]
    with av.open(str(path)) as container:
        found = packets.list_packets(CutShort(container, after=10), container.streams.video[0])  # type: ignore[arg-type]
        assert len(found.stamps) == 10


def test_memory_that_runs_out_in_the_middle_of_an_animation_is_no_shorter_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *rest = map(Image.fromarray, numbered(5))
    path = save(tmp_path / "a.gif", first, "GIF", save_all=True, append_images=rest)
    seek = pictures.Animation._seek

    def hungry(animation: pictures.Animation, i: int) -> None:
        if i == 3:
            # As Pillow says it.
            raise OSError("out of memory when reading image file")
        seek(animation, i)

    monkeypatch.setattr(pictures.Animation, "_seek", hungry)
    with pytest.raises(MediaError, match="more memory than there is") as found:
        media.open(path, Options())
    assert found.value.kind == "too_large"


def test_of_several_videos_that_is_looked_at_which_players_choose(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, chosen in zip(streams, (0, 1), strict=True):
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            stream.disposition = av.stream.Disposition(chosen)
        for pixels in numbered(8):
            for stream, shown in zip(streams, (np.zeros_like(pixels), pixels), strict=True):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode(None))
    with media.open(path, Options()) as opened:
        assert [number_of(frame.pixels) for frame in opened.frames()] == list(range(8))
        assert [(note.key, note.values) for note in opened.notes] == [("other_videos", {"videos": "2"})]


def test_a_damaged_packet_costs_its_frames_only(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", [texture(96, 128, seed) for seed in range(50)], options={"g": "5"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(bytes(data))
    assert 30 <= len(frames_of(path, frames=50)) <= 50


def drifting(count: int) -> list[np.ndarray]:
    """Frames in which all moves: each is made of those before, and what one lacks shows in those after."""
    return [np.roll(texture(96, 128), 3 * i, axis=1) for i in range(count)]


def packets_of(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def spoil(path: Path, places: range) -> Path:
    """Zeros for all but the first bytes of some packets, counted in the order of the file."""
    data = bytearray(path.read_bytes())
    for packet in packets_of(path)[places.start : places.stop]:
        assert packet.pos is not None
        data[packet.pos + 6 : packet.pos + packet.size] = bytes(packet.size - 6)
    spoilt = path.with_name(f"spoilt{path.suffix}")
    spoilt.write_bytes(data)
    return spoilt


def plainly(path: Path) -> dict[float, np.ndarray]:
    """All frames by their times, as a decoder gives them."""
    found = {}
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            with suppress(av.InvalidDataError):
                for frame in packet.decode():
                    found[round(float(frame.pts * frame.time_base), 6)] = frame.to_ndarray(format="rgb24")
    return found


def reader_of(opened: media.Media) -> video.Video:
    assert isinstance(opened, media._Moving)
    assert isinstance(opened._reader, video.Video)
    return opened._reader


def sent_by(opened: media.Media) -> list[av.Packet | None]:
    """The packets that the decoder gets from now on."""
    reader = reader_of(opened)
    real, sent = reader._decoded, []

    def decoded(packet: av.Packet | None) -> list[av.VideoFrame]:
        sent.append(packet)
        return real(packet)

    reader._decoded = decoded  # type: ignore[method-assign]
    return sent


@pytest.mark.parametrize("places", [range(24, 25), range(30, 31), range(31, 36)], ids=["key", "one", "five"])
@pytest.mark.parametrize(
    ("codec", "extra"), [("libx264", {}), ("libx265", {"x265-params": "keyint=24:min-keyint=24:log-level=none"})]
)
def test_nothing_made_of_a_damaged_frame_is_looked_at(
    codec: str, extra: dict[str, str], places: range, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "a.mp4", drifting(96), codec=codec, options={"g": "24", "keyint_min": "24", **extra})
    whole = plainly(path)
    keys = [packet.pts for packet in packets_of(path) if packet.is_keyframe]
    assert len(keys) == 4
    spoilt = spoil(path, places)
    for options in (Options(frames=1000), Options(frames=30, fps=20.0)):
        with media.open(spoilt, options) as opened:
            found = list(opened.frames())
            played = [part for part in opened.stretch() if isinstance(part, Frame)]
            notes = [note for note in opened.notes if note.key == "frames_not_decoded"]
        # All but the damaged part, as it was coded.
        assert len(played) >= 72 - 4
        assert len(found) >= 0.7 * opened.planned
        for frame in (*found, *played):
            assert np.array_equal(frame.pixels, whole[frame.time_s])
        assert len(notes) == 2
        assert 0 < int(notes[0].values["missing"]) <= 0.3 * opened.planned


# All that a decoder does not give at once, or not for each packet.
SOUND = [
    ("a.mp4", "libx264", {"x264-params": "open-gop=1:bframes=3:b-adapt=0:keyint=24"}),
    ("a.ts", "libx264", {"x264-params": "open-gop=1:bframes=3:b-adapt=0:keyint=24"}),
    ("a.mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=24"}),
    ("a.mkv", "libx264", {"x264-params": "tff=1:keyint=24"}),
    ("a.mp4", "libx265", {"x265-params": "open-gop=1:b-adapt=0:keyint=24:log-level=none"}),
    ("a.ts", "libx265", {"x265-params": "open-gop=1:b-adapt=0:keyint=24:log-level=none"}),
    ("a.webm", "libvpx", {"g": "24", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    ("a.webm", "libvpx-vp9", {"g": "24", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    ("a.ts", "mpeg2video", {"g": "24", "bf": "2"}),
    ("a.avi", "mpeg4", {"g": "24", "bf": "2"}),
]


@pytest.mark.parametrize(
    ("name", "codec", "options", "start"),
    # A recording may begin between key frames. (One in an AVI does not say then when its frames are shown.)
    [(*video, 0) for video in SOUND] + [(*video, 9) for video in SOUND if video[0] != "a.avi"],
)
def test_nothing_is_lost_of_what_is_sound(
    name: str, codec: str, options: dict[str, str], start: int, tmp_path: Path
) -> None:
    path = write_video(tmp_path / name, drifting(60), codec=codec, options=options)
    if start:
        path = remuxed(path, path.with_name(f"late{path.suffix}"), start=start)
    whole = plainly(path)
    assert len(whole) >= (20 if start else 60)
    with media.open(path, Options(frames=1000)) as opened:
        found = list(opened.frames())
        played = [part for part in opened.stretch() if isinstance(part, Frame)]
    for frames in (found, played):
        assert [frame.time_s for frame in frames] == sorted(whole)
        for frame in frames:
            assert np.array_equal(frame.pixels, whole[frame.time_s])


def remuxed(path: Path, to: Path, *, start: int = 0, options: dict[str, str] | None = None) -> Path:
    """The same video without its first packets, or in another container."""
    with av.open(str(path)) as source, av.open(str(to), "w", options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in [packet for packet in source.demux(video=0) if packet.size][start:]:
            packet.stream = stream
            target.mux(packet)
    return to


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.ts", "libx264"), ("a.mp4", "libx265")])
def test_those_frames_are_spare_that_a_decoder_takes_for_such(name: str, codec: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, moving(40), codec=codec)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        prefix = packets.prefix_of(stream.codec_context.extradata, stream.codec_context.name)
        assert prefix == (0 if name == "a.ts" else 4)
        stream.codec_context.skip_frame = "NONREF"
        needed, spare = set(), set()
        for packet in container.demux(stream):
            if packet.size and packets.is_spare(bytes(packet), stream.codec_context.name, prefix=prefix, layer=1):
                spare.add(packet.pts)
            needed |= {frame.pts for frame in stream.decode(packet)}
    assert len(spare) > 5
    assert needed.isdisjoint(spare)
    assert len(needed) + len(spare) == 40


def ue(number: int) -> str:
    """A number as H.264 writes most: as many zeros before it as it has bits after its first."""
    code = f"{number + 1:b}"
    return "0" * (len(code) - 1) + code


def unit(head: int, code: str, data: bytes = b"", *, fill: str = "1") -> bytes:
    """A unit of H.264: what it is, bits, and bytes that follow where a whole one begins."""
    bits = code + fill
    bits += "0" * (-len(bits) % 8)
    whole = int(bits, 2).to_bytes(len(bits) // 8, "big") + data
    return b"\0\0\0\1" + bytes([head]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", whole)


def write_fields(path: Path, *, count: int, stamp_each: bool) -> Path:
    """H.264 of 64 x 64 pixels of which each frame is two fields: `40 + 3 * i` in its upper lines, `230` less that in the
    lower ones. No other frame needs the odd ones, as encoders have it of most.

    Args:
        stamp_each: Whether each field has a packet with a stamp of its own; else the first of a frame alone.
    """
    # Main profile, whole frames are not the rule; 4 x 2 blocks in a field. CAVLC.
    sequence = unit(0x67, f"{77:08b}{0:08b}{30:08b}" + ue(0) + ue(0) + ue(2) + ue(1) + "0" + ue(3) + ue(1) + "00100")
    picture = unit(0x68, ue(0) + ue(0) + "00" + ue(0) + ue(0) + ue(0) + "000" + ue(0) + ue(0) + ue(0) + "100")

    def field(i: int, *, bottom: bool) -> bytes:
        place, is_key = i % 25, i % 25 == 0 and not bottom
        needed = place % 2 == 0
        # First block, kind, set of parameters, number of the frame, that it is a field, and which.
        code = ue(0) + ue(7) + ue(0) + f"{(place + 1) // 2 % 16:04b}" + "1" + str(int(bottom)) + ue(0) * is_key
        code += ("00" if is_key else "0") * needed + ue(0) + ue(1)
        # Each block as plain samples.
        value = 40 + 3 * i
        block = bytes([230 - value if bottom else value]) * 256 + bytes([128]) * 128
        kind = ue(25) + "0" * (-len(ue(25)) % 8)
        plain = int(kind, 2).to_bytes(len(kind) // 8, "big") + block
        first = unit(
            (0x65 if is_key else 0x61) if needed else 0x01, code + ue(25), block + plain * 7 + b"\x80", fill=""
        )
        return unit(0x09, "111100", fill="00") + (sequence + picture) * is_key + first

    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for i in range(count):
            both = [field(i, bottom=bottom) for bottom in (False, True)]
            for k, data in enumerate(both if stamp_each else [b"".join(both)]):
                packet = av.Packet(data)
                packet.pts = packet.dts = 2 * i + k
                packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 50), stream, i % 25 == 0 and not k
                container.mux(packet)
    return path


@pytest.mark.parametrize("to", ["mpegts", "mp4", "mkv"])
@pytest.mark.parametrize("stamp_each", [True, False])
def test_a_frame_that_comes_as_two_fields_is_one(stamp_each: bool, to: str, tmp_path: Path) -> None:
    path = write_fields(tmp_path / "a.ts", count=50, stamp_each=stamp_each)
    if to != "mpegts":
        path = remuxed(path, tmp_path / f"a.{to}")
    whole = plainly(path)
    assert len(whole) == 50
    for options in ({"frames": 500}, {"frames": 32}, {"fps": 10.0}):
        with media.open(path, Options(**options)) as opened:  # type: ignore[arg-type]
            found = list(opened.frames())
            played = [part for part in opened.stretch() if isinstance(part, Frame)]
            assert (opened.planned, opened.available) == (len(found), 50)
            assert [note.key for note in opened.notes] == ["interlaced"]
            assert opened.info.fps == pytest.approx(25, abs=0.1)
        assert len(found) >= 20
        assert [frame.time_s for frame in played] == sorted(whole)
        for frame in (*found, *played):
            assert np.array_equal(frame.pixels, whole[frame.time_s])
            i = round((frame.time_s - min(whole)) * 25)
            assert frame.pixels[::2].mean() - frame.pixels[1::2].mean() == pytest.approx(
                (6 * i - 150) * 255 / 219, abs=3
            )


@pytest.mark.parametrize("scales", ["flat", "jvt"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
@pytest.mark.parametrize("interlaced", [True, False])
def test_of_frames_in_one_packet_each_those_that_nobody_needs_are_left_out(
    interlaced: bool, pix_fmt: str, scales: str, tmp_path: Path
) -> None:
    params = f"tff={int(interlaced)}:cqm={scales}:keyint=15:bframes=3:b-adapt=0"
    path = write_video(tmp_path / "a.mp4", moving(30), pix_fmt=pix_fmt, options={"x264-params": params})
    with av.open(str(path)) as container:
        assert (packets._fields_of(container.streams.video[0].codec_context.extradata) is not None) == interlaced
    with media.open(path, Options(frames=4)) as opened:
        sent = sent_by(opened)
        assert len(list(opened.frames())) == 4
        assert opened.available == 30
    assert len(sent) < 25


@pytest.mark.parametrize("length", range(9))
def test_what_is_cut_off_names_no_fields(length: int, tmp_path: Path) -> None:
    path = write_fields(tmp_path / "a.ts", count=1, stamp_each=True)
    with av.open(str(path)) as container:
        data = container.streams.video[0].codec_context.extradata
    assert data is not None
    assert packets._fields_of(data) is not None
    assert packets._fields_of(data[:length]) is None
    assert packets._fields_of(None) is None


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_what_higher_layers_of_hevc_need_is_not_left_out(name: str, tmp_path: Path) -> None:
    params = "ref=1:bframes=3:b-adapt=0:b-pyramid=1:keyint=300:open-gop=0:scenecut=0:log-level=none"
    path = write_video(tmp_path / "plain.mp4", moving(60), codec="libx265", options={"x265-params": params})
    whole = plainly(path)
    data = bytearray(path.read_bytes())
    for packet in packets_of(path):
        place = packet.pos
        while place < packet.pos + packet.size:
            # Which frames need them says in which layer B frames are, and x265 has them all in the first.
            kind = data[place + 4] >> 1
            if kind == 1 and packet.pts // 512 % 4 == 2:
                data[place + 4 : place + 6] = 2 << 1, 2
            elif kind == 0:
                data[place + 4 : place + 6] = 0, 3
            place += 4 + int.from_bytes(data[place : place + 4])
    path.write_bytes(data)
    labelled = plainly(path)
    assert len(labelled) == len(whole) == 60
    assert all(np.array_equal(whole[time_s], pixels) for time_s, pixels in labelled.items())
    path = remuxed(path, tmp_path / name)
    late_s = min(plainly(path))
    with media.open(path, Options(frames=16)) as opened:
        sent = sent_by(opened)
        found = list(opened.frames())
        assert [note.key for note in opened.notes] == []
    assert len(found) == 16
    for frame in found:
        assert np.array_equal(frame.pixels, whole[round(frame.time_s - late_s, 6)])
    # Of the highest layer, half of all, those that are not wanted.
    assert len(sent) < 50


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("prefix", [0, 4])
def test_a_packet_that_is_damaged_is_not_spare(codec: str, prefix: int) -> None:
    for data in (b"", bytes(3), bytes(100), b"\0\0\1", b"\0\0\0\1\xff", b"\0\0\0\2\xff\xff" * 9, b"\xff" * 100):
        assert not packets.is_spare(data, codec, prefix=prefix, layer=1)


def test_a_transport_stream_is_entered_where_it_is_said(tmp_path: Path) -> None:
    """It is searched by when frames are decoded; the key frame before the one that is wanted is shown later than that."""
    path = write_video(tmp_path / "a.ts", moving(240), options={"g": "24", "bf": "3"})
    with media.open(path, Options(frames=4, fps=0.5, min_frames=4)) as opened:
        sent = sent_by(opened)
        assert len(list(opened.frames())) == 5
        assert reader_of(opened)._may_jump
        # Five of its ten parts are read, up to the frame that is wanted.
        assert len(sent) < 120


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_a_lost_frame_does_not_make_the_rest_slow(name: str, tmp_path: Path) -> None:
    path = spoil(write_video(tmp_path / "a.mp4", drifting(240), options={"g": "24", "keyint_min": "24"}), range(49, 60))
    if name == "a.ts":
        path = remuxed(path, tmp_path / name)
    with media.open(path, Options(fps=1.5)) as opened:
        sent = sent_by(opened)
        found = list(opened.frames())
        assert reader_of(opened)._may_jump
    assert 12 <= len(found) <= 15
    # The part that is damaged is read for each frame that it lacks, with that before it; no other is read twice.
    assert len(sent) < 240


@pytest.mark.parametrize("options", [{"frames": 1000}, {"fps": 3.0}])
def test_an_end_that_is_lost_is_read_once(options: dict[str, float], tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", drifting(240), options={"g": "24", "keyint_min": "24"})
    with media.open(spoil(path, range(120, 240)), Options(**options)) as opened:  # type: ignore[arg-type]
        sent = sent_by(opened)
        found = list(opened.frames())
        note, *more = opened.notes
    assert note.key == "frames_not_decoded"
    # Half of it was seen in none.
    assert [one.key for one in more] == ["few_frames"] * (len(found) < 16)
    assert len(found) == opened.planned - int(note.values["missing"])
    assert 0.45 * opened.planned < len(found) < 0.55 * opened.planned
    # With what two key frames lead to once more, from which it is tried again.
    assert len(sent) < 240 + 2 * 24


def test_what_was_read_before_the_end_of_a_video_cut_short_is_looked_at(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", drifting(60), options={"bf": "3"})
    with media.open(path, Options(frames=1000)) as opened:
        reader = reader_of(opened)
        rewind = reader._rewind

        def again() -> None:
            rewind()
            reader._container = CutShort(reader._container, after=50)

        reader._rewind = again  # type: ignore[method-assign]
        assert len(list(opened.frames())) == 50
        assert len([part for part in opened.stretch() if isinstance(part, Frame)]) == 50


def test_a_packet_that_is_cut_off_costs_no_other_its_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "b.mp4", drifting(60), options={"bf": "3", "g": "24"})
    path = remuxed(path, tmp_path / "a.mp4", options={"movflags": "faststart"})
    cut_off = packets_of(path)[44]
    assert cut_off.pos is not None
    path.write_bytes(path.read_bytes()[: cut_off.pos + cut_off.size // 2])
    assert len(frames_of(path, frames=1000)) == 44


def test_a_part_beyond_what_is_there_of_a_file_that_is_cut_off_has_no_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "b.mp4", drifting(100), options={"bf": "0", "g": "25"})
    path = remuxed(path, tmp_path / "a.mp4", options={"movflags": "faststart"})
    end = packets_of(path)[50]
    assert end.pos is not None
    path.write_bytes(path.read_bytes()[: end.pos])
    assert frames_of(path, start_s=1.99, end_s=1.999)[0].time_s == pytest.approx(1.96)
    with pytest.raises(MediaError, match=r"no frame between 3 s and 3\.5 s"):
        frames_of(path, start_s=3, end_s=3.5)


class CutShort:
    """A container whose packets end in the middle of one."""

    def __init__(self, container: av.container.InputContainer, *, after: int, error: Exception | None = None) -> None:
        self._container, self._after = container, after
        self._error = error or av.InvalidDataError(1, "cut short")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self, *streams: av.stream.Stream) -> Iterator[av.Packet]:
        for number, packet in enumerate(self._container.demux(*streams)):
            if number == self._after:
                raise self._error
            yield packet


class Hungry:
    """A video stream whose decoder fails after so many packets."""

    def __init__(self, stream: av.video.stream.VideoStream, *, after: int, error: Exception) -> None:
        self._stream, self._left, self._error = stream, after, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        self._left -= 1
        if self._left < 0:
            raise self._error
        return self._stream.decode(packet)


def test_opening_a_video_converts_no_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(5))
    rotate_track(path, 90)
    monkeypatch.setattr(video, "VideoReformatter", lambda: None)
    with media.open(path, Options()) as opened:
        assert (opened.info.width, opened.info.height) == (96, 128)


def test_who_waits_for_what_is_made_ahead_can_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows not within a wait that has no end."""
    waits: list[float | None] = []

    class Watched(queue.Queue):  # type: ignore[type-arg]
        def get(self, block: bool = True, timeout: float | None = None) -> object:
            if block:
                waits.append(timeout)
            return super().get(block, timeout)

    monkeypatch.setattr("deepfake_detect.ahead.Queue", Watched)
    assert list(ahead(iter("abc"))) == ["a", "b", "c"]
    assert len(waits) >= 4
    assert None not in waits


@pytest.mark.parametrize(
    ("count", "options", "expected"),
    [
        (100, {"frames": 4}, [13, 38, 62, 87]),
        (3, {"frames": 32}, [0, 1, 2]),
        (100, {"frames": 1}, [50]),
        (100, {"fps": 5.0}, 20),
        (100, {"fps": 0.1}, 8),
        (5, {"fps": 0.1}, 5),
        (100, {"frames": 1000}, 100),
    ],
)
def test_choice_of_frames(count: int, options: dict[str, float], expected: list[int] | int) -> None:
    times = array("d", (i / 25 for i in range(count)))
    chosen = media.choose(times, 0, count, Options(**options))  # type: ignore[arg-type]
    if isinstance(expected, int):
        assert len(chosen) == expected
        assert chosen == sorted(set(chosen))
    else:
        assert chosen == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([0], [13, 38, 62, 87]),
        ([0, 30, 60, 65], [13, 30, 60, 87]),
        (range(100), [12, 37, 62, 87]),
    ],
)
def test_a_key_frame_stands_for_its_share_of_the_time(keys: Sequence[int], expected: list[int]) -> None:
    times = array("d", (i / 25 for i in range(100)))
    assert media.choose(times, 0, 100, Options(frames=4), keys=keys) == expected
    # Who asks for a rate gets it.
    even = media.choose(times, 0, 100, Options(fps=2.5))
    assert media.choose(times, 0, 100, Options(fps=2.5), keys=keys) == even


def test_bunched_time_stamps_still_give_enough_frames() -> None:
    times = array("d", [i * 0.001 for i in range(90)] + [60.0])
    assert len(media.choose(times, 0, 91, Options(frames=32))) == 32


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0.0], [0]),
        ([i / 4 for i in range(9)], [0, 4, 8]),
        # Counted from the first, wherever a stream's clock begins.
        ([1.4 + i / 25 for i in range(51)], [0, 25, 50]),
        # At 30000/1001 frames a second a second begins at its 31st frame.
        ([i * 1001 / 30000 for i in range(61)], [0, 30, 60]),
        # Nothing in the second from 1 on: that at 2.5 begins both it and the next, and counts once.
        ([0.0, 0.5, 2.5, 2.9, 3.1], [0, 2, 4]),
        # A clock of whole milliseconds rounds down.
        ([0.0, 0.9995, 1.033], [0, 1]),
    ],
)
def test_which_frames_begin_a_second(times: list[float], expected: list[int]) -> None:
    assert media.seconds(times, 0, len(times)) == expected


def test_only_so_many_seconds_are_begun() -> None:
    times = [i / 2 for i in range(10_000)]
    begun = media.seconds(times, 10, 9000)
    assert begun == [10 + 2 * second for second in range(media.MOST_SECONDS)]


@pytest.mark.parametrize("keys", [250, 25, 7])
def test_the_seconds_between_change_nothing_in_what_is_looked_at(keys: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(130), options={"g": str(keys)})
    with media.open(path, Options(frames=7)) as opened:
        frames = list(opened.frames(each_second=True))
        assert opened.planned == 7
    assert {note.key for note in opened.notes} == {"few_frames"}
    assert [frame.time_s for frame in frames] == sorted({frame.time_s for frame in frames})
    sampled = [(frame.time_s, number_of(frame.pixels)) for frame in frames if frame.sampled]
    assert sampled == [(frame.time_s, number_of(frame.pixels)) for frame in frames_of(path, frames=7)]
    begun = {round(frame.time_s, 6): number_of(frame.pixels) for frame in frames}
    assert {float(second): begun[second] for second in range(6)} == {float(second): 25 * second for second in range(6)}


def test_what_stands_in_for_a_second_and_a_frame_that_are_lost_is_looked_at(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", moving(60), options={"g": "60"})
    seen = []
    for each_second in (False, True):
        with media.open(path, Options(frames=9)) as opened:
            reader = reader_of(opened)
            real = reader._decoded
            # The second begins at 1.0 s, and 1.2 s is to be looked at.
            reader._decoded = lambda packet, real=real: [  # type: ignore[method-assign]
                frame for frame in real(packet) if not 1000 <= frame.pts < 1240
            ]
            frames = opened.frames(each_second=each_second)
            seen.append([frame.time_s for frame in frames if frame.sampled])
            assert "frames_not_decoded" not in {note.key for note in opened.notes}
    assert len(seen[0]) == 9
    assert seen[0] == seen[1]


def test_an_animation_has_seconds_too(tmp_path: Path) -> None:
    pictures = [Image.fromarray(pixels) for pixels in numbered(12)]
    path = save(tmp_path / "a", pictures[0], "GIF", save_all=True, append_images=pictures[1:], duration=250)
    with media.open(path, Options(frames=2)) as opened:
        frames = list(opened.frames(each_second=True))
    assert [(number_of(frame.pixels), frame.sampled) for frame in frames] == [
        (0, False), (3, True), (4, False), (8, False), (9, True)
    ]  # fmt: skip


def test_memory_stays_flat_with_length(tmp_path: Path) -> None:
    """Frames are made one at a time: asking for the first must not decode the rest."""
    path = write_video(tmp_path / "a.mp4", numbered(100), options={"g": "10"})
    with media.open(path, Options(frames=100)) as opened:
        sent = sent_by(opened)
        frames = opened.frames()
        assert number_of(next(frames).pixels) == 0
        assert len(sent) < 50
        assert len(list(frames)) == 99
        assert len(sent) >= 100


def test_an_array_is_a_picture() -> None:
    with media.take(LEFT_RED, Options()) as opened:
        (frame,) = opened.frames()
    assert np.array_equal(frame.pixels, LEFT_RED)
    assert opened.info.path == "<array>"
    with pytest.raises(MediaError, match=r"expected uint8 .* found float64"):
        media.from_array(LEFT_RED.astype(float), Options())


def test_names_that_are_no_text_are_shown_readably() -> None:
    assert media.shown("a\udcff\n.jpg") == "a\\udcff\\n.jpg"


def test_who_wants_no_more_frames_does_not_wait_for_the_next(tmp_path: Path) -> None:
    """With one key frame the way to a chosen frame may be long: it is given up in the middle."""
    path = write_video(tmp_path / "a.mp4", numbered(200), options={"g": "10000"})
    with media.open(path, Options(frames=2)) as opened:
        frames = ahead(opened.frames(), stopped=opened.left)
        next(frames)
        frames.close()
        assert opened.left.is_set()
        assert "decoder" not in {thread.name for thread in threading.enumerate()}
        decoded = iter([av.VideoFrame(16, 16, "rgb24")] * 5)
        with pytest.raises(LeftError):
            video._first_from(decoded, 10**6, opened.left)
        assert len(list(decoded)) == 4


def test_a_picture_that_lost_its_palette_costs_no_assertion() -> None:
    image = Image.new("P", (8, 8))
    image.palette = None
    assert pictures._transparent(image) == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory hold on Linux alone")
def test_no_room_to_load_a_library_is_want_of_memory() -> None:
    code = """
import resource
from deepfake_detect.source import is_hunger
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 2**21,) * 2)
try:
    import onnxruntime
except ImportError as error:
    print(is_hunger(error))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"], done
    assert not source.is_hunger(ImportError("cannot import name 'x'"))
