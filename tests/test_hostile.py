"""Whatever is thrown at the command: a clear line or a right answer, never a traceback, never a verdict from an error."""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import jsonschema
import numpy as np
import pytest
from conftest import SAMPLES, numbered, texture, write_video
from PIL import Image, PngImagePlugin

from deepfake_detect import Detector, MediaError, media
from deepfake_detect.cli import main
from deepfake_detect.report import SCHEMA_FILE

if TYPE_CHECKING:
    from collections.abc import Callable

JPEG = (SAMPLES / "portrait_genuine.jpg").read_bytes()
MP4 = (SAMPLES / "clip_genuine.mp4").read_bytes()
# What a hostile file may become: a kind of error, or a label. `None` as a label means any judgement is right.
Outcome = str | None


def png(width: int, height: int, body: bytes, *extra: bytes, depth: int = 8, colour: int = 0) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def huge_png() -> bytes:
    packer = zlib.compressobj(9)
    row = bytes(1 + 20_000 // 8)
    body = b"".join(packer.compress(row) for _ in range(20_000)) + packer.flush()
    return png(20_000, 20_000, body, depth=1)


def encoded(kind: str, pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def animation(kind: str) -> bytes:
    pictures = [Image.fromarray(pixels) for pixels in numbered(5)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, kind, save_all=True, append_images=pictures[1:], duration=100)
    return buffer.getvalue()


def two_pages() -> bytes:
    buffer = io.BytesIO()
    page = Image.fromarray(texture(32, 32))
    page.save(buffer, "TIFF", save_all=True, append_images=[page])
    data = bytearray(buffer.getvalue())
    second = int.from_bytes(data[4:8], "little")
    entries = int.from_bytes(data[second : second + 2], "little")
    after = second + 2 + 12 * entries
    target = int.from_bytes(data[after : after + 4], "little")
    data[target : target + 40] = b"\xff" * 40
    return bytes(data)


def text_bomb() -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("comment", "x" * 50_000_000, zip=True)
    return encoded("PNG", texture(64, 64), pnginfo=notes)


def video_bytes(folder: Path, name: str, **options: object) -> bytes:
    return write_video(folder / f"made_{name}", numbered(10), **options).read_bytes()  # type: ignore[arg-type]


def audio_only(folder: Path) -> bytes:
    import av

    path = folder / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def no_frames(folder: Path) -> bytes:
    data = bytearray(video_bytes(folder, "none.mp4"))
    at = data.index(b"stsz")
    data[at + 12 : at + 16] = bytes(4)
    return bytes(data)


def mangled(data: bytes, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    result = np.frombuffer(data, np.uint8).copy()
    places = rng.integers(0, len(result), 200)
    result[places] = rng.integers(0, 256, 200)
    return result.tobytes()


PLAYLIST = b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:10,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"
CASES: dict[str, tuple[Callable[[Path], bytes], set[Outcome]]] = {
    "empty.jpg": (lambda _: b"", {"empty"}),
    "text.jpg": (lambda _: b"This is not a picture.\n" * 40, {"unsupported"}),
    "text.mp4": (lambda _: b"This is not a video.\n" * 40, {"unsupported"}),
    "one_byte.png": (lambda _: b"\x89", {"unsupported"}),
    "zeros.mp4": (lambda _: bytes(10_000), {"unsupported"}),
    "noise.mp4": (lambda _: np.random.default_rng(0).bytes(20_000), {"unsupported"}),
    "page.html": (lambda _: b"<html><body>hello</body></html>", {"unsupported"}),
    "script.svg": (lambda _: b"<svg xmlns='http://www.w3.org/2000/svg'/>", {"unsupported"}),
    "document.pdf": (lambda _: b"%PDF-1.7\n" + bytes(500), {"unsupported"}),
    "archive.zip": (lambda _: b"PK\x03\x04" + bytes(500), {"unsupported"}),
    "program.jpg": (lambda _: b"\x7fELF" + bytes(500), {"unsupported"}),
    "subtitles.mp4": (lambda _: b"1\n00:00:01,000 --> 00:00:02,000\nhello\n", {"unsupported"}),
    "playlist.m3u8": (lambda _: PLAYLIST, {"unsupported"}),
    "playlist.mp4": (lambda _: PLAYLIST, {"unsupported"}),
    "concat.mp4": (lambda _: b"ffconcat version 1.0\nfile '/etc/hostname'\n", {"unsupported"}),
    "sdp.mp4": (
        lambda _: b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 1 RTP/AVP 96\n",
        {"unsupported"},
    ),
    "only_magic.jpg": (lambda _: b"\xff\xd8\xff", {"damaged"}),
    "only_magic.png": (lambda _: b"\x89PNG\r\n\x1a\n", {"damaged"}),
    "only_magic.gif": (lambda _: b"GIF89a", {"damaged"}),
    "only_magic.tiff": (lambda _: b"II*\0", {"damaged"}),
    "only_magic.heic": (lambda _: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", {"damaged"}),
    "only_magic.webp": (lambda _: b"RIFF\x10\0\0\0WEBP", {"damaged"}),
    "only_magic.bmp": (lambda _: b"BM" + bytes(12) + (40).to_bytes(4, "little"), {"damaged"}),
    "one_pixel.png": (lambda _: encoded("PNG", np.zeros((1, 1, 3), np.uint8)), {"no_face"}),
    "one_pixel.jpg": (lambda _: encoded("JPEG", np.zeros((1, 1, 3), np.uint8)), {"no_face"}),
    "one_pixel.gif": (lambda _: encoded("GIF", np.zeros((1, 1, 3), np.uint8)), {"no_face"}),
    "ten_pixels.png": (lambda _: encoded("PNG", texture(10, 10)), {"no_face"}),
    "one_row.png": (lambda _: encoded("PNG", texture(1, 3000)), {"no_face"}),
    "one_column.png": (lambda _: encoded("PNG", texture(3000, 1)), {"no_face"}),
    "black.jpg": (lambda _: encoded("JPEG", np.zeros((300, 300, 3), np.uint8)), {"no_face"}),
    "huge.png": (lambda _: huge_png(), {"too_large"}),
    "claims_huge.png": (lambda _: png(2**31 - 1, 2**31 - 1, zlib.compress(bytes(10))), {"too_large"}),
    "no_area.png": (lambda _: png(0, 0, zlib.compress(b"")), {"damaged", "no_face"}),
    "inflating.png": (lambda _: png(64, 64, zlib.compress(bytes(80_000_000))), {"no_face", "damaged"}),
    "text_bomb.png": (lambda _: text_bomb(), {"damaged", "no_face"}),
    "wrong_sum.png": (lambda _: encoded("PNG", texture(64, 64)).replace(b"IDAT", b"IDAX"), {"damaged"}),
    "sound.mp4": (audio_only, {"no_video"}),
    "no_frames.mp4": (no_frames, {"no_frames", "damaged", "unsupported"}),
    "one_frame.mp4": (lambda f: write_video(f / "made.mp4", numbered(1)).read_bytes(), {"no_face"}),
    "tiny.mp4": (lambda f: write_video(f / "m.mp4", [np.zeros((2, 2, 3), np.uint8)] * 3).read_bytes(), {"no_face"}),
    "no_index.mp4": (lambda f: video_bytes(f, "a.mp4").replace(b"moov", b"free"), {"unsupported", "no_face"}),
    "second_frame_cut.gif": (lambda _: animation("GIF")[:-120], {None, "damaged"}),
    "second_frame_cut.webp": (lambda _: animation("WEBP")[:-120], {None, "damaged"}),
    "second_frame_cut.png": (lambda _: animation("PNG")[:-120], {None, "damaged"}),
    "half.tiff": (lambda _: encoded("TIFF", texture(64, 64))[:5000], {None, "damaged"}),
    "half.webp": (lambda _: encoded("WEBP", texture(64, 64))[:700], {None, "damaged"}),
    "half.avif": (lambda _: encoded("AVIF", texture(64, 64))[:700], {None, "damaged"}),
    "second_page_bad.tiff": (lambda _: two_pages(), {None, "no_face"}),
    "unknown_codec.mp4": (lambda f: video_bytes(f, "u.mp4").replace(b"avc1", b"zzzz"), {"unsupported", "damaged"}),
    "half.mkv": (lambda f: video_bytes(f, "h.mkv")[:1500], {None, "damaged", "unsupported", "no_frames"}),
    "half.avi": (
        lambda f: video_bytes(f, "h.avi", codec="mpeg4")[:7000],
        {None, "damaged", "unsupported", "no_frames"},
    ),
    "appended.jpg": (lambda _: JPEG + MP4, {None}),
    "picture_in_video.mp4": (lambda _: MP4 + JPEG, {None}),
    "wrong_rotation.jpg": (
        lambda _: encoded("JPEG", cv2.imdecode(np.frombuffer(JPEG, np.uint8), 1)[::-1, ::-1, ::-1].copy()),
        {None},
    ),
    "bad_exif.jpg": (
        lambda _: JPEG[:2] + b"\xff\xe1\x00\x10Exif\0\0II*\0\xff\xff\xff\xff" + JPEG[2:],
        {None, "damaged"},
    ),
}
MAYBE_PICTURE: set[Outcome] = {None, "damaged", "unsupported", "too_large"}
MAYBE_VIDEO: set[Outcome] = {None, "damaged", "unsupported", "no_frames", "no_video"}
for share in (1, 10, 40, 70, 99):
    CASES[f"cut_{share}.jpg"] = (lambda _, s=share: JPEG[: len(JPEG) * s // 100], MAYBE_PICTURE)
    CASES[f"cut_{share}.mp4"] = (lambda _, s=share: MP4[: len(MP4) * s // 100], MAYBE_VIDEO)
for seed in range(4):
    CASES[f"mangled_{seed}.jpg"] = (lambda _, s=seed: mangled(JPEG, s), MAYBE_PICTURE)
    CASES[f"mangled_{seed}.mp4"] = (lambda _, s=seed: mangled(MP4, s), MAYBE_VIDEO)
NAMES = [
    "-leading.jpg",
    "with space.jpg",
    "quote'\".jpg",
    "new\nline.jpg",
    "$(touch x).jpg",
    "[bold]markup.jpg",
    "ü.jpg",
    "http:x.jpg",
]


def test_there_are_enough_cases() -> None:
    assert len(CASES) + len(NAMES) >= 40


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_hostile_file(name: str, tmp_path: Path, detector: Detector) -> None:
    make, allowed = CASES[name]
    path = tmp_path / name
    path.write_bytes(make(tmp_path))
    (report,) = detector.detect_many([path])
    if report.error is not None:
        assert report.verdict is None
        assert report.error.kind in allowed, report.error
        assert name in report.error.message
        assert "\n" not in report.error.message
        assert len(report.error.message) < 400
    else:
        assert report.verdict is not None
        assert report.verdict.label in allowed or None in allowed, report.verdict
    json.dumps(report.error and report.error.message)


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_just_names(name: str, tmp_path: Path, detector: Detector) -> None:
    path = tmp_path / name
    path.write_bytes(JPEG)
    (report,) = detector.detect_many([path])
    assert report.error is None
    assert report.path == str(path)


@pytest.mark.skipif(os.name != "posix", reason="names that are no text exist on POSIX only")
def test_a_name_that_is_no_text(tmp_path: Path, detector: Detector) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe.jpg"
    Path(os.fsdecode(name)).write_bytes(JPEG)
    (report,) = detector.detect_many([os.fsdecode(name)])
    assert report.error is None
    (missing,) = detector.detect_many([os.fsdecode(name + b"x")])
    assert missing.error is not None
    assert missing.error.message.encode("utf-8")


@pytest.mark.parametrize("kind", ["folder", "missing", "pipe", "socket", "device", "dangling", "nul", "no_permission"])
def test_what_is_no_file(kind: str, tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x"
    expected = "not_a_file"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("x")
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere")
        expected = "not_found"
    elif kind == "no_permission":
        path.write_bytes(JPEG)
        path.chmod(0)
        expected = "unreadable"
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")
    else:
        expected = "not_found"
    (report,) = detector.detect_many([str(path) + "\0" if kind == "nul" else path])
    assert report.error is not None
    assert report.error.kind == expected
    assert report.verdict is None


@pytest.mark.skipif(os.name != "posix", reason="pipes are those of Unix")
def test_a_pipe_that_takes_the_place_of_a_file_just_looked_at_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = os.stat(SAMPLES / "portrait_genuine.jpg")
    os.mkfifo(tmp_path / "x.jpg")
    monkeypatch.setattr(os, "stat", lambda *_, **__: looked_at)
    with pytest.raises(MediaError, match="not a regular file"):
        media.open_file(tmp_path / "x.jpg")


@pytest.mark.skipif(os.name != "posix", reason="links are those of Unix")
def test_a_link_is_refused_where_none_may_be_even_if_it_was_a_file_a_moment_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.jpg").symlink_to(SAMPLES / "portrait_genuine.jpg")
    with pytest.raises(MediaError, match="is a link"):
        media.open_file(tmp_path / "x.jpg", follow=False)
    looked_at = os.stat(SAMPLES / "portrait_genuine.jpg")
    monkeypatch.setattr(os, "stat", lambda *_, **__: looked_at)
    with pytest.raises(MediaError, match="can't be read"):
        media.open_file(tmp_path / "x.jpg", follow=False)


def test_the_command_takes_them_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one go: a line of valid JSON each, a line on stderr for each error, no traceback, exit status 1."""
    monkeypatch.chdir(tmp_path)
    schema = json.loads(SCHEMA_FILE.read_text())
    names = sorted(CASES)
    for name in names:
        Path(name).write_bytes(CASES[name][0](tmp_path))
    assert main(["--json", "--report", "out", "--", *names]) == 1
    out, err = capsys.readouterr()
    reports = [json.loads(line) for line in out.splitlines()]
    assert [report["media"]["path"] for report in reports] == names
    for report in reports:
        jsonschema.validate(report, schema)
    failed = [report for report in reports if report["error"]]
    assert len(failed) > 20
    assert not [report for report in failed if report["error"]["kind"] == "internal"]
    assert len(err.splitlines()) == len(failed)
    assert "Traceback" not in err
    assert len(list(Path("out").iterdir())) == len(names)


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path, detector: Detector) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"")
    reports = list(detector.detect_many([tmp_path / "bad.jpg", SAMPLES / "portrait_genuine.jpg", tmp_path / "none"]))
    assert [report.error is None for report in reports] == [False, True, False]
