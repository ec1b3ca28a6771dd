"""Whatever is thrown at the command: a clear line or a right answer, never a traceback, never a verdict from an error."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import jsonschema
import numpy as np
import pillow_heif
import pytest
from conftest import SAMPLES, numbered, texture, write_video
from PIL import Image, PngImagePlugin

from deepfake_detect import Detector, MediaError, media
from deepfake_detect.cli import main
from deepfake_detect.report import SCHEMA_FILE
from deepfake_detect.source import open_file

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
    pillow_heif.register_heif_opener()
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


# What FFmpeg and players take for an address, a list of them, or a way to other files. None of it leads anywhere from here.
ADDRESSES = {
    "concat": "concat:/etc/hostname|/etc/passwd", "file": "file:///etc/hostname", "http": "http://127.0.0.1:9/x.mp4",
    "https": "https://127.0.0.1:9/x.mp4", "subfile": "subfile,,start,0,end,10,,:/etc/hostname", "tee": "tee:/tmp/a|/tmp/b",
    "data": "data:video/mp4;base64,AAAAGGZ0eXBtcDQy", "crypto": "crypto:/etc/hostname", "pipe": "pipe:0",
    "async": "async:/etc/hostname", "cache": "cache:/etc/hostname", "rtsp": "rtsp://127.0.0.1:9/x", "ftp": "ftp://127.0.0.1:9/x",
    "tcp": "tcp://127.0.0.1:9", "udp": "udp://127.0.0.1:9", "unix": "unix:/tmp/x", "gopher": "gopher://127.0.0.1:9/x",
    "md5": "md5:/tmp/x", "fd": "fd:0", "rtmp": "rtmp://127.0.0.1:9/x",
}  # fmt: skip
for protocol, address in ADDRESSES.items():
    CASES[f"address_{protocol}.mp4"] = (lambda _, a=address: a.encode(), {"unsupported"})
for protocol in ("concat", "file", "http", "subfile", "data", "crypto"):
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{ADDRESSES[protocol]}\n#EXT-X-ENDLIST\n"
    CASES[f"playlist_{protocol}.ts"] = (lambda _, t=text: t.encode(), {"unsupported"})
LISTS = {
    "key.m3u8": "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"file:///etc/hostname\"\n#EXTINF:9,\nx.ts\n",
    "map.m3u8": "#EXTM3U\n#EXT-X-MAP:URI=\"file:///etc/hostname\"\n#EXTINF:9,\nx.m4s\n",
    "master.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfile:///etc/hostname\n",
    "dash.mp4": "<?xml version='1.0'?><MPD><BaseURL>file:///etc/</BaseURL><Period/></MPD>",
    "dash.mpd": "<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>http://127.0.0.1:9/</BaseURL></MPD>",
    "list.pls": "[playlist]\nFile1=file:///etc/hostname\nNumberOfEntries=1\n",
    "list.asx": "<asx version='3.0'><entry><ref href='file:///etc/hostname'/></entry></asx>",
    "list.xspf": "<playlist><trackList><track><location>file:///etc/hostname</location></track></trackList></playlist>",
    "list.smil": "<smil><body><video src='file:///etc/hostname'/></body></smil>",
    "options.ffconcat": "ffconcat version 1.0\nfile 'http://127.0.0.1:9/x'\noption protocol_whitelist file,http,tcp\n",
    "script.avs": "DirectShowSource(\"/etc/hostname\")\n", "script.vpy": "import os\nos.system('touch x')\n",
    "list.imf": "<?xml version='1.0'?><CompositionPlaylist xmlns='http://www.smpte-ra.org/schemas/2067-3/2013'/>",
    "meta.txt": ";FFMETADATA1\ntitle=file:///etc/hostname\n", "entity.svg":
    "<!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><svg>&x;</svg>",
    "index.idx": "# VobSub index file, v7\nid: en, index: 0\n", "text.vtt": "WEBVTT\n\n00:00.000 --> 00:01.000\nfile:///etc/hostname\n",
}  # fmt: skip
for name, text in LISTS.items():
    CASES[f"list_{name}"] = (lambda _, t=text: t.encode(), {"unsupported"})

# Files of other kinds, and of two kinds at once.
OTHERS = {
    "flash.swf": b"CWS\x0a" + bytes(200), "layers.psd": b"8BPS\0\1" + bytes(200), "icon.ico": b"\0\0\1\0\1\0" + bytes(200),
    "wavelet.jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200), "new.jxl": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(200),
    "bare.jxl": b"\xff\x0a" + bytes(200), "range.exr": b"v/1\1" + bytes(200), "surface.dds": b"DDS \x7c\0\0\0" + bytes(200),
    "class.jpg": b"\xca\xfe\xba\xbe" + bytes(200), "windows.jpg": b"MZ" + bytes(200), "song.mp3": b"ID3\3" + bytes(200),
    "song.flac": b"fLaC" + bytes(200), "gzip.png": b"\x1f\x8b\x08" + bytes(200), "seven.7z": b"7z\xbc\xaf\x27\x1c" + bytes(200),  # noqa: E501
    "data.sqlite": b"SQLite format 3\0" + bytes(200), "pickle.jpg": b"\x80\4\x95" + bytes(200),
    "script.jpg": b"#!/bin/sh\ntouch x\n", "page_then.jpg": b"<html>" + JPEG, "zip_then.jpg": b"PK\3\4" + JPEG,
    "space_then.jpg": b" " + JPEG, "mark_then.png": b"\xef\xbb\xbf\x89PNG\r\n\x1a\n",
}  # fmt: skip
for name, data in OTHERS.items():
    CASES[f"other_{name}"] = (lambda _, d=data: d, {"unsupported"})


def mixed(head: bytes, body: bytes, length: int) -> bytes:
    return head[:length] + body[length:]


def sized(kind: str, **options: object) -> bytes:
    return encoded(kind, texture(16, 16), **options)


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(sized("JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def webp_claiming(side: int) -> bytes:
    data = bytearray(sized("WEBP"))
    at = data.index(b"\x9d\x01\x2a") + 3
    data[at : at + 4] = struct.pack("<HH", side, side)
    return bytes(data)


def heif_claiming(kind: str, side: int) -> bytes:
    data = bytearray(sized(kind))
    at = data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", side, side)
    return bytes(data)


def tiff_claiming(side: int) -> bytes:
    data = bytearray(sized("TIFF"))
    at = int.from_bytes(data[4:8], "little") + 2
    for tag in (0x100, 0x101):
        place = data.index(struct.pack("<H", tag), at)
        data[place : place + 12] = struct.pack("<HHII", tag, 4, 1, side)
    return bytes(data)


def tiff_loop() -> bytes:
    data = bytearray(sized("TIFF"))
    at = int.from_bytes(data[4:8], "little")
    after = at + 2 + 12 * int.from_bytes(data[at : at + 2], "little")
    data[after : after + 4] = at.to_bytes(4, "little")
    return bytes(data)


def claims(folder: Path, name: str, kind: bytes, offset: int, value: bytes) -> bytes:
    """A video with another number in one of its boxes."""
    data = bytearray(video_bytes(folder, name))
    at = data.index(kind) + offset
    data[at : at + len(value)] = value
    return bytes(data)


def nested(kind: bytes, depth: int) -> bytes:
    return b"".join(struct.pack(">I", 8 * (depth - i)) + kind for i in range(depth))


def xmp_jpeg(packet: bytes) -> bytes:
    body = b"http://ns.adobe.com/xap/1.0/\0" + packet
    return JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + JPEG[2:]


LAUGHS = b"<!DOCTYPE x [" + b"".join(
    b"<!ENTITY a%d '%s'>" % (i, b"&a%d;" % (i - 1) * 10 if i else b"ha") for i in range(12)
)
CASES |= {
    "header_png_body_jpeg.png": (lambda _: mixed(sized("PNG"), JPEG, 16), {"damaged"}),
    "header_jpeg_body_png.jpg": (lambda _: mixed(JPEG, sized("PNG"), 4), {"damaged"}),
    "header_gif_body_png.gif": (lambda _: mixed(sized("GIF"), sized("PNG"), 6), {"damaged", "too_large"}),
    "header_heic_body_mp4.heic": (lambda _: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + MP4[32:], {"damaged"}),
    "header_webp_body_avi.webp": (
        lambda f: mixed(b"RIFF\0\0\1\0WEBP", video_bytes(f, "w.avi", codec="mpeg4"), 12),
        {"damaged"},
    ),
    "header_mp4_body_heic.mp4": (
        lambda _: b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + sized("HEIF")[24:],
        {"no_video", "unsupported", "damaged"},
    ),
    "script_gif.gif": (lambda _: b"GIF89a/*" + b"*/=1;alert(1)//", {"damaged", "too_large"}),
    "zip_behind.jpg": (lambda _: JPEG + b"PK\3\4" + bytes(300) + b"PK\5\6" + bytes(18), {None}),
    "page_behind.png": (lambda _: sized("PNG") + b"<html><script>alert(1)</script></html>", {"no_face"}),
    "program_behind.gif": (lambda _: sized("GIF") + b"\x7fELF" + bytes(300), {"no_face"}),
    "gif_behind.bmp": (lambda _: sized("BMP") + animation("GIF"), {"no_face"}),
    "zip_behind.mp4": (lambda f: video_bytes(f, "z.mp4") + b"PK\5\6" + bytes(18), {"no_face"}),
    "sound.wav": (
        lambda _: b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\0\0\0\0",
        {"unsupported"},
    ),
    "claims_huge.jpg": (lambda _: jpeg_claiming(65535, 65535), {"too_large"}),
    "claims_large.jpg": (lambda _: jpeg_claiming(12000, 11000), {"too_large"}),
    "claims_nothing.jpg": (lambda _: jpeg_claiming(0, 16), {"damaged"}),
    "claims_huge.gif": (lambda _: b"GIF89a\xff\xff\xff\xff" + sized("GIF")[10:], {"too_large"}),
    "claims_huge.webp": (lambda _: webp_claiming(16383), {"too_large"}),
    "claims_huge.bmp": (
        lambda _: sized("BMP")[:18] + struct.pack("<ii", 60000, 60000) + sized("BMP")[26:],
        {"too_large"},
    ),
    "claims_negative.bmp": (lambda _: sized("BMP")[:18] + struct.pack("<ii", -5, 5) + sized("BMP")[26:], {"too_large"}),
    "claims_huge.tiff": (lambda _: tiff_claiming(60000), {"too_large"}),
    "claims_huge.heic": (lambda _: heif_claiming("HEIF", 60000), {"too_large", "damaged"}),
    "claims_huge.avif": (lambda _: heif_claiming("AVIF", 60000), {"too_large", "damaged"}),
    "loop.tiff": (lambda _: tiff_loop(), {"no_face"}),
    "many_frames.png": (
        lambda _: animation("PNG").replace(b"acTL\0\0\0\5", b"acTL\x7f\xff\xff\xff"),
        {"damaged", "no_face"},
    ),
    "profile_bomb.png": (
        lambda _: png(8, 8, zlib.compress(bytes(72)), chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(90_000_000), 9))),
        {"damaged", "no_face"},
    ),
    "text_bombs.png": (
        lambda _: png(8, 8, zlib.compress(bytes(72)), *[chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(2_000_000), 9))] * 60),  # noqa: E501
        {"damaged", "no_face"},
    ),
    "many_chunks.png": (
        lambda _: png(8, 8, zlib.compress(bytes(72)), *[chunk(b"tEXt", b"a\0b")] * 100_000),
        {"no_face", "damaged"},
    ),
    "endless_chunk.png": (lambda _: sized("PNG")[:33] + b"\xff\xff\xff\xffIDAT" + bytes(100), {"damaged"}),
    "many_segments.jpg": (lambda _: JPEG[:2] + b"\xff\xe5\0\2" * 200_000 + JPEG[2:], {None}),
    "comment_only.jpg": (lambda _: b"\xff\xd8" + b"\xff\xfe\xff\xff" + bytes(65533), {"damaged"}),
    "laughing.jpg": (lambda _: xmp_jpeg(LAUGHS + b"]><x>&a11;</x>"), {None}),
    "outside_entity.jpg": (
        lambda _: xmp_jpeg(b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/hostname'>]><x>&a;</x>"),
        {None},
    ),
    "many_samples.mp4": (
        lambda f: claims(f, "s.mp4", b"stsz", 12, b"\xff\xff\xff\xff"),
        {"damaged", "unsupported", "no_frames", "no_face"},
    ),
    "long_times.mp4": (
        lambda f: claims(f, "t.mp4", b"stts", 8, b"\xff\xff\xff\xff"),
        {"damaged", "unsupported", "no_frames", "no_face"},
    ),
    "no_clock.mp4": (lambda f: claims(f, "c.mp4", b"mdhd", 16, bytes(4)), {"no_frames"}),
    "claims_huge.mp4": (
        lambda f: claims(f, "h.mp4", b"avc1", 28, b"\xff\xff\xff\xff"),
        {"damaged", "too_large", "no_face"},
    ),
    "endless_box.mp4": (
        lambda f: claims(f, "e.mp4", b"mdat", -4, b"\xff\xff\xff\xff"),
        {"damaged", "unsupported", "no_face", "no_frames"},
    ),
    "deep.mp4": (
        lambda _: b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + nested(b"moov", 20_000),
        {"unsupported", "no_video"},
    ),
    "deep.heic": (lambda _: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + nested(b"moov", 20_000), {"damaged"}),
    "elsewhere.mov": (
        lambda f: claims(f, "d.mov", b"url ", 4, b"\0\0\0\0"),
        {"damaged", "unsupported", "no_frames", "no_face"},
    ),
    "half.webm": (
        lambda f: video_bytes(f, "v.webm", codec="libvpx")[:1200],
        {None, "damaged", "unsupported", "no_frames"},
    ),
    "only_magic.mkv": (lambda _: b"\x1a\x45\xdf\xa3", {"unsupported"}),
    "only_magic.flv": (lambda _: b"FLV\1\5\0\0\0\x09\0\0\0\0", {"unsupported", "no_video"}),
    "only_magic.avi": (lambda _: b"RIFF\x10\0\0\0AVI LIST", {"unsupported", "no_video"}),
    "only_magic.ts": (lambda _: (b"G\x1f\xff\x10" + b"\xff" * 184) * 40, {"unsupported", "no_video"}),
    "only_magic.ogg": (lambda _: b"OggS" + bytes(23), {"unsupported", "no_video"}),
    "only_magic.asf": (
        lambda _: b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c" + bytes(14),
        {"unsupported", "no_video"},
    ),
    "only_magic.avif": (lambda _: b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", {"damaged"}),
}  # fmt: skip
NAMES += [
    "concat:a|b.jpg", "file:x.jpg", "data:,x.jpg", "subfile,,start,1,end,2,,:x.jpg", "pipe:0", "tee:x.jpg", "%00.jpg",
    "..jpg", "long" * 50 + ".jpg", "\x1b[31mred.jpg", "CON.jpg", "\u202egpj.exe", "x.m3u8", "a\tb.jpg", "~.jpg", "*.jpg",
]  # fmt: skip


def test_there_are_enough_cases() -> None:
    assert len(CASES) + len(NAMES) >= 150


@pytest.mark.parametrize("address", [*ADDRESSES.values(), "", ".", "-", "~", "\\\\host\\share\\x.jpg"])
def test_an_address_is_no_name_of_a_file(address: str, detector: Detector) -> None:
    (report,) = detector.detect_many([address])
    assert report.error is not None
    assert report.error.kind in ("not_found", "not_a_file")


@pytest.mark.skipif(os.name != "posix", reason="links are those of Unix")
def test_links_lead_to_files_alone(tmp_path: Path, detector: Detector) -> None:
    path = tmp_path / "x.jpg"
    for target, kind in ((tmp_path, "not_a_file"), (Path("/dev/zero"), "not_a_file"), (path, "unreadable"),
                         (Path("/dev/full"), "not_a_file"), (tmp_path / "none", "not_found")):  # fmt: skip
        path.symlink_to(target)
        with pytest.raises(MediaError) as found:
            detector.detect(path)
        assert found.value.kind == kind, target
        path.unlink()


@pytest.mark.skipif(os.name != "posix", reason="an open file can be replaced on Unix")
@pytest.mark.parametrize("name", ["x.jpg", "x.mp4"])
def test_a_file_replaced_once_it_is_open_is_judged_as_it_was(
    name: str, tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at it, its fingerprint and its decoding another file may take its name: it is not that one's turn."""  # noqa: E501
    data = JPEG if name == "x.jpg" else MP4
    path = tmp_path / name
    path.write_bytes(data)
    digest = hashlib.file_digest

    def replaced(*given: object) -> object:
        path.unlink(missing_ok=True)
        path.write_bytes(b"something else")
        return digest(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(media.hashlib, "file_digest", replaced)
    report = detector.detect(path)
    assert report.media is not None
    assert report.media.sha256 == hashlib.sha256(data).hexdigest()
    assert report.verdict is not None
    with pytest.raises(MediaError, match=name):
        report.save(tmp_path / "out")


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
        open_file(tmp_path / "x.jpg")


@pytest.mark.skipif(os.name != "posix", reason="a descriptor is made to lead elsewhere as on Unix")
@pytest.mark.parametrize(
    "read", [lambda file: file.read(), lambda file: file.read(9), list], ids=["all", "some", "lines"]
)
def test_a_file_that_can_not_be_read_says_so_however_it_is_read(
    read: Callable[[io.BufferedReader], object], tmp_path: Path
) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    with open_file(SAMPLES / "portrait_genuine.jpg") as file:
        os.dup2(folder, file.fileno())
        with pytest.raises(MediaError, match="can't be read") as found:
            read(file)
    os.close(folder)
    assert found.value.kind == "unreadable"


@pytest.mark.skipif(os.name != "posix", reason="limits are those of Unix")
def test_too_many_open_files_are_not_the_fault_of_the_next_one() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        with pytest.raises(MediaError, match="raise that limit") as found:
            open_file(SAMPLES / "portrait_genuine.jpg")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found.value.kind == "unreadable"


@pytest.mark.skipif(os.name != "posix", reason="links are those of Unix")
def test_a_link_is_refused_where_none_may_be_even_if_it_was_a_file_a_moment_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.jpg").symlink_to(SAMPLES / "portrait_genuine.jpg")
    with pytest.raises(MediaError, match="is a link"):
        open_file(tmp_path / "x.jpg", follow=False)
    looked_at = os.stat(SAMPLES / "portrait_genuine.jpg")
    monkeypatch.setattr(os, "stat", lambda *_, **__: looked_at)
    with pytest.raises(MediaError, match="can't be read"):
        open_file(tmp_path / "x.jpg", follow=False)


def test_the_command_takes_them_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third of them in one go: a line of valid JSON each, a line on stderr for each error, no traceback, exit status 1."""  # noqa: E501
    monkeypatch.chdir(tmp_path)
    schema = json.loads(SCHEMA_FILE.read_text())
    names = sorted(CASES)[::3]
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
    folders = list(Path("out").iterdir())
    assert len(folders) == len(names)
    for folder in folders:
        jsonschema.validate(json.loads((folder / "report.json").read_text()), schema)


# Of a call that opens to write, what was opened; of one that changes something by its name, all of its arguments.
_WRITES = re.compile(r"^(?:open|creat)\w*\(.*(?:O_WRONLY|O_RDWR|O_CREAT).*\) = \d+<(.+)>$", re.M)
_CHANGES = re.compile(
    r"^(?:mk|rename|unlink|rmdir|link|symlink|truncate|l?chown|chmod|utime|l?setx|l?removex)\w*\((.*)\) = 0$", re.M
)


def test_nothing_is_written_but_where_it_was_asked_for(tmp_path: Path) -> None:
    """A quarter of them in one scan, by workers, seen by the kernel: what is written, and within which limits."""
    strace = ["strace", "-ff", "--seccomp-bpf", "-y", "-e", "trace=%file", "-o"]
    if (
        shutil.which("strace") is None
        or subprocess.run([*strace, str(tmp_path / "try"), "true"], check=False).returncode
    ):
        pytest.skip("strace is not installed, or may not look")
    made, queue, out, scratch, here, trace = (
        tmp_path / name for name in ("made", "queue", "out", "tmp", "here", "trace")
    )
    for folder in (made, queue, out, scratch, here, trace):
        folder.mkdir()
    names = sorted(CASES)[::4]
    for name in names:
        (queue / name).write_bytes(CASES[name][0](made))
    scan = ["scan", str(queue), "--out", str(out / "results.jsonl"), "--time-limit", "20", "-q"]
    environment = {**os.environ, "HOME": str(here), "TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*strace, str(trace / "of"), sys.executable, "-m", "deepfake_detect", *scan], check=False,
                          capture_output=True, text=True, cwd=here, env=environment)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    rows = {Path(row["path"]).name: row for row in map(json.loads, (out / "results.jsonl").read_text().splitlines())}
    assert rows.keys() == set(names)
    for name, row in rows.items():
        # What claims too much may meet the limit on memory; what took too long or ended its worker has yet another kind.
        kind, allowed = row["error_kind"], CASES[name][1]
        assert kind in {*allowed, "out_of_memory"} if kind else row["label"] in allowed or None in allowed, row
    calls = [path.read_text(errors="replace") for path in trace.iterdir()]
    written = {Path(path) for call in calls for path in _WRITES.findall(call)}
    written |= {
        here / path for call in calls for words in _CHANGES.findall(call) for path in re.findall(r'"(.*?)"', words)
    }
    assert out / "results.jsonl.journal" in written
    assert not [path for path in written - {Path(os.devnull)} if not {out, scratch} & {path, *path.parents}]


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path, detector: Detector) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"")
    reports = list(detector.detect_many([tmp_path / "bad.jpg", SAMPLES / "portrait_genuine.jpg", tmp_path / "none"]))
    assert [report.error is None for report in reports] == [False, True, False]
