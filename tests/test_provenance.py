"""provenance, pdq, metadata, credentials: hashes against known values, metadata as plain text whatever is in it, C2PA
signed here with the library's own tools.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import struct
import subprocess
import sys
import textwrap
import unicodedata
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import numpy as np
import pillow_heif
import pytest
from conftest import SAMPLES, numbered, read_rgb, texture, write_video
from PIL import ExifTags, Image, PngImagePlugin

from deepfake_detect import Detector, credentials, media
from deepfake_detect.cli import main
from deepfake_detect.detector import _read_trust
from deepfake_detect.errors import MediaError, OptionsError
from deepfake_detect.metadata import MAX_CHARACTERS, WITHHELD
from deepfake_detect.options import Options
from deepfake_detect.pdq import perceptual_hash
from deepfake_detect.provenance import MAX_ENTRIES, examine
from deepfake_detect.types import ContentCredentials, HashedMoment, Note, PerceptualHash, Provenance

HOSTILE = "<script>alert(1)</script>\r\n\0\x1b[31m\u202egpj.exe\u2066\u200f\ufeff" + "A" * 10_000
WEBUI = "a portrait\nNegative prompt: hat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"


def jpeg(tmp_path: Path, *, exif: dict[Any, Any] | None = None, name: str = "a.jpg", **options: object) -> Path:
    tags = Image.Exif()
    for tag, value in (exif or {}).items():
        directory = tags.get_ifd(ExifTags.IFD.Exif) if tag in DETAILS else tags
        directory[tag] = value
    path = tmp_path / name
    Image.fromarray(texture(64, 64)).save(path, exif=tags, **options)  # type: ignore[arg-type]
    return path


DETAILS = {ExifTags.Base.DateTimeOriginal, ExifTags.Base.UserComment, ExifTags.Base.BodySerialNumber,
           ExifTags.Base.CameraOwnerName, ExifTags.Base.MakerNote}  # fmt: skip


def png(tmp_path: Path, **texts: str) -> Path:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text)
    path = tmp_path / "a.png"
    Image.fromarray(texture(32, 32)).save(path, pnginfo=info)
    return path


def xmp(body: str = "", **properties: str) -> bytes:
    spaces = {"xmp": "http://ns.adobe.com/xap/1.0/", "photoshop": "http://ns.adobe.com/photoshop/1.0/",
              "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "dc": "http://purl.org/dc/elements/1.1/",
              "stEvt": "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
              "xmpMM": "http://ns.adobe.com/xap/1.0/mm/"}  # fmt: skip
    declared = " ".join(f'xmlns:{prefix}="{space}"' for prefix, space in spaces.items())
    values = " ".join(f'{name.replace("__", ":")}="{value}"' for name, value in properties.items())
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {declared} {values}>{body}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def video(tmp_path: Path, name: str = "a.mp4", **tags: str) -> Path:
    path = tmp_path / name
    options = {"movflags": "use_metadata_tags"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=options) as container:
        container.metadata.update(tags)
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for pixels in numbered(3, height=48, width=64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def noted(found: Provenance) -> list[tuple[str, dict[str, str]]]:
    return [(note.key, note.values) for note in found.notes]


def keys(found: Provenance) -> set[str]:
    return {note.key for note in found.notes}


def value_of(found: Provenance, group: str, name: str) -> str:
    (value,) = [entry[2] for entry in found.metadata if entry[:2] == (group, name)]
    return value


# The hashes


def test_md5_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    found = examine(tmp_path / "abc", kind="image")
    assert found.md5 == "900150983cd24fb0d6963f7d28e17f72"
    assert noted(found) == [("metadata_unreadable", {"part": "file"})]


def drawn(height: int, width: int) -> np.ndarray:
    """A picture that is the same to the last bit wherever it is made: whole numbers only."""
    y, x = np.mgrid[:height, :width]
    red = (x * x // 97 + y * 3) % 256
    green = ((x - width // 3) ** 2 + (y - height // 2) ** 2) // 41 % 256
    return np.stack([red, green, (x * y // 53) % 256], -1).astype(np.uint8)


# Computed with pdqhash 0.2.8, which is the authors' own C++.
REFERENCE = {
    (64, 64): ("1aaa1ea1d14fdeab2410102bf1d5a55f0e22247be16f4075082a047ff55ff57f", 0),
    (97, 180): ("31fdc7009c7f73c0c63f98f0b38f2678e5c3ab1e5360aa4f52b855535aa4a2a8", 100),
    (480, 640): ("e3d370e711cee0ff87ff1f8072001f003c0efc38f4710ffc138e1ff0fc711c00", 100),
    (1080, 1920): ("e38effc41c71efdce38eff801c71fff0e38ef3801c71f184e38ee3801c710000", 100),
}


@pytest.mark.parametrize(("height", "width"), sorted(REFERENCE))
def test_pdq_is_that_of_its_authors(height: int, width: int) -> None:
    bits, quality = REFERENCE[height, width]
    assert perceptual_hash(drawn(height, width)) == PerceptualHash(bits, quality)


@pytest.mark.parametrize(
    ("height", "width"), [(5, 5), (64, 64), (65, 127), (128, 129), (333, 77), (720, 1280), (3000, 4000)]
)
def test_pdq_equals_the_library_at_any_size(height: int, width: int) -> None:
    pdqhash = pytest.importorskip("pdqhash", reason="pdqhash, the authors' code, is not installed")
    pixels = texture(height, width)
    bits, quality = pdqhash.compute(pixels)
    theirs = PerceptualHash(np.packbits(bits.astype(np.uint8)).tobytes().hex(), quality)
    ours = perceptual_hash(pixels)
    assert ours.quality == theirs.quality
    assert ours.distance(theirs) <= 2


def test_pdq_stays_when_saved_again_and_not_when_mirrored_or_turned() -> None:
    pixels = read_rgb(SAMPLES / "portrait_genuine.jpg")
    height, width = pixels.shape[:2]
    first = perceptual_hash(pixels)
    assert first.quality >= 50
    assert first.distance(first) == 0
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=50)
    assert first.distance(perceptual_hash(np.array(Image.open(buffer)))) <= 10
    smaller = np.array(Image.fromarray(pixels).resize((width // 2, height // 2)))
    assert first.distance(perceptual_hash(smaller)) <= 10
    for changed in (pixels[:, ::-1], pixels[::-1], np.rot90(pixels), texture(480, 640)):
        assert first.distance(perceptual_hash(np.ascontiguousarray(changed))) > 60


def test_pdq_of_what_has_nothing_in_it() -> None:
    assert perceptual_hash(np.full((50, 50, 3), 99, np.uint8)).quality == 0
    assert perceptual_hash(texture(4, 200)) == PerceptualHash("0" * 64, 0)
    with pytest.raises(ValueError, match="uint8"):
        perceptual_hash(np.zeros((50, 50, 3)))
    with pytest.raises(ValueError, match="uint8"):
        perceptual_hash(np.zeros((50, 50), np.uint8))


# What metadata become


def test_exif_xmp_and_comment_are_listed_in_order(tmp_path: Path) -> None:
    path = jpeg(
        tmp_path,
        exif={ExifTags.Base.Make: "Acme", ExifTags.Base.Model: "Ünï 1".encode(), ExifTags.Base.Orientation: 1},
        xmp=xmp("<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>A day</rdf:li></rdf:Alt></dc:title>", xmp__Rating="5"),
        comment=b"hello",
    )
    found = examine(path, kind="image")
    assert found.metadata == (
        ("EXIF", "Make", "Acme"),
        ("EXIF", "Model", "Ünï 1"),
        ("EXIF", "Orientation", "1"),
        ("JPEG", "Comment", "hello"),
        ("XMP", "dc:title", "A day"),
        ("XMP", "xmp:Rating", "5"),
    )
    assert found.notes == ()
    assert examine(path, kind="image") == found


def test_private_values_are_withheld_and_that_they_are_there_is_not(tmp_path: Path) -> None:
    secret = "Anna Secret"
    tags = Image.Exif()
    tags.update({ExifTags.Base.Artist: secret, ExifTags.Base.Copyright: secret})
    details = tags.get_ifd(ExifTags.IFD.Exif)
    details.update({ExifTags.Base.CameraOwnerName: secret, ExifTags.Base.BodySerialNumber: secret})
    tags[ExifTags.Base.XPAuthor] = secret.encode("utf-16-le")
    tags.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (52.0, 31.0, 12.25), 0xF1: secret})
    path = tmp_path / "a.jpg"
    packet = xmp(f"<dc:creator><rdf:Seq><rdf:li>{secret}</rdf:li></rdf:Seq></dc:creator>", photoshop__City=secret,
                 xmp__CreatorTool="Tool 1", photoshop__Credit=secret)  # fmt: skip
    Image.fromarray(texture(64, 64)).save(path, exif=tags, xmp=packet)
    found = examine(path, kind="image")
    shown = {name: value for _, name, value in found.metadata}
    withheld = {name for name, value in shown.items() if value == WITHHELD}
    assert withheld >= {"Artist", "Copyright", "CameraOwnerName", "BodySerialNumber", "XPAuthor", "GPSLatitude",
                        "GPSLatitudeRef", "GPS0x00F1", "dc:creator", "photoshop:City", "photoshop:Credit"}  # fmt: skip
    assert shown["xmp:CreatorTool"] == "Tool 1"
    for text in (secret, "52.0", "12.25"):
        assert text not in repr(found)


def test_private_values_of_videos_and_png_are_withheld(tmp_path: Path) -> None:
    found = examine(video(tmp_path, location="+52.5200+013.4050/", artist="Anna", title="A film"), kind="video")
    assert value_of(found, "container", "title") == "A film"
    assert value_of(found, "container", "artist") == WITHHELD
    assert "52.5" not in repr(found)
    assert "Anna" not in repr(found)
    assert value_of(examine(png(tmp_path, Author="Anna"), kind="image"), "PNG", "Author") == WITHHELD
    packed = examine(png(tmp_path, **{"Raw profile type iptc": "\niptc\n 8\n416e6e61"}), kind="image")
    assert value_of(packed, "PNG", "Raw profile type iptc") == "17 bytes"


@pytest.mark.parametrize(
    "name",
    ["Photographer", "contributor", "LicensorName", "ImageSupplierName", "ImageEditor", "WM/Writer", "WM/Producer", "IENG",
     "encoded_by", "EDITED_BY", "SOUND_ENGINEER", "ExecutiveProducer", "LATITUDE", "com.apple.proapps.serialno"],
)  # fmt: skip
def test_names_of_people_places_and_devices_in_any_field_are_withheld(name: str, tmp_path: Path) -> None:
    assert value_of(examine(png(tmp_path, **{name: "Anna"}), kind="image"), "PNG", name) == WITHHELD


def test_what_drones_raw_converters_and_cameras_of_film_write_is_withheld(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags.update(
        {0x10F: "DJI", 0xFDE8: "Owner's Name: Anna Kern", 0xFDE9: "Serial Number: 0420123456", 0xC7B5: "Anna Kern"}
    )
    # Photographer, image editor and image title of EXIF 3.0.
    tags.get_ifd(ExifTags.IFD.Exif).update({0xA436: "A field", 0xA437: "Anna Kern", 0xA438: "Anna Kern"})
    spaces = ('xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/"'
              ' xmlns:geo="http://www.w3.org/2003/01/geo/wgs84_pos#"')  # fmt: skip
    places = (
        'drone-dji:Latitude="52.5200" drone-dji:Longitude="+13.4050" drone-dji:RelativeAltitude="+40.10"'
        ' geo:lat="52.52" geo:long="13.405" geo:alt="40.1"'
    )
    packet = xmp().replace(b'rdf:about=""', f'rdf:about="" {spaces} {places}'.encode())
    Image.fromarray(texture(64, 64)).save(tmp_path / "a.jpg", exif=tags, xmp=packet)
    picture = examine(tmp_path / "a.jpg", kind="image")
    assert {name: value for _, name, value in picture.metadata if value != WITHHELD} == {
        "Make": "DJI", "ImageTitle": "A field"
    }  # fmt: skip
    assert {"OwnerName", "SerialNumber", "Tag0xC7B5", "Photographer", "ImageEditor", "1.0:Longitude"} <= {
        name for _, name, _ in picture.metadata
    }
    names = {f"com.apple.quicktime.{name}": "Anna Kern" for name in ("producer", "publisher", "credits", "author")}
    film = examine(
        video(tmp_path, "a.mov", **names, **{"com.apple.proapps.serialno": "0420123456", "title": "A film"}),
        kind="video",
    )
    assert value_of(film, "container", "title") == "A film"
    assert value_of(film, "container", "com.apple.proapps.serialno") == WITHHELD
    for found in (picture, film):
        for text in ("52.5", "13.4", "40.1", "Anna", "0420123456"):
            assert text not in repr(found)


def test_hostile_values_become_short_plain_text(tmp_path: Path) -> None:
    exif = {ExifTags.Base.ImageDescription: HOSTILE, ExifTags.Base.Software: HOSTILE.encode(),
            ExifTags.Base.UserComment: b"UNICODE\0" + HOSTILE.encode("utf-16-le")}  # fmt: skip
    packet = xmp(f"<dc:title><![CDATA[{HOSTILE.replace(chr(0), '').replace(chr(27), '')}]]></dc:title>")
    examined = [
        examine(jpeg(tmp_path, exif=exif, xmp=packet, comment=HOSTILE.encode()[:60_000]), kind="image"),
        examine(png(tmp_path, Title=HOSTILE.replace("\0", ""), **{"a" * 79: "b"}), kind="image"),
        examine(video(tmp_path, title=HOSTILE.replace("\0", ""), comment=HOSTILE.replace("\0", "")), kind="video"),
    ]
    for found in examined:
        values = [value for _, _, value in found.metadata if "AAAA" in value]
        assert values
        for value in values:
            assert value.startswith("<script>alert(1)</script>")
            assert len(value) <= MAX_CHARACTERS
            assert value.endswith("…")
        for text in (text for entry in found.metadata for text in entry):
            assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")], text
    assert len([value for _, _, value in examined[0].metadata if "AAAA" in value]) == 5


def test_no_more_entries_than_can_be_shown(tmp_path: Path) -> None:
    found = examine(png(tmp_path, **{f"k{i:05}": "v" for i in range(5000)}), kind="image")
    assert len(found.metadata) == MAX_ENTRIES
    assert found.metadata[0] == ("PNG", "k00000", "v")
    assert ("metadata_cut", {"kept": str(MAX_ENTRIES)}) in noted(found)


def test_bombs_are_not_unpacked(tmp_path: Path) -> None:
    packed = zlib.compress(b"x" * 50_000_000)
    chunks = b""
    for keyword in (b"bomb", b"XML:com.adobe.xmp", b"again"):
        body = keyword + b"\0\0" + packed
        chunks += struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    path = png(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunks + data[33:])
    found = examine(path, kind="image")
    assert value_of(found, "PNG", "bomb") == "x" * (MAX_CHARACTERS - 1) + "…"
    assert "metadata_cut" in keys(found)
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "lol"}">' for i in range(12))
    packet = f"<!DOCTYPE x [{entities}]>".encode() + xmp("<dc:title>&e11;</dc:title>")
    found = examine(jpeg(tmp_path, xmp=packet), kind="image")
    assert ("metadata_unreadable", {"part": "XMP"}) in noted(found)


@pytest.mark.parametrize("seed", range(12))
def test_odd_metadata_are_never_fatal(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = [
        jpeg(tmp_path, exif={ExifTags.Base.Make: "Acme", ExifTags.Base.DateTimeOriginal: "2026:02:30 25:61:00",
                             ExifTags.Base.UserComment: b"x", ExifTags.Base.MakerNote: bytes(40)}, xmp=xmp()),
        png(tmp_path, parameters=WEBUI),
        video(tmp_path, title="t"),
    ]  # fmt: skip
    for path in made:
        data = np.frombuffer(path.read_bytes(), np.uint8).copy()
        data[rng.integers(4, min(len(data), 1500), 25)] = rng.integers(0, 256, 25)
        cut = len(data) if seed % 2 else int(rng.integers(20, len(data)))
        path.write_bytes(data[:cut].tobytes())
        assert examine(path, kind="image").md5 == hashlib.md5(data[:cut].tobytes()).hexdigest()


def test_what_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no_such"):
        examine(tmp_path / "no_such", kind="image")
    with pytest.raises(MediaError, match="is a folder"):
        examine(tmp_path, kind="image")


def test_all_is_read_of_a_descriptor_that_stands_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, where what /dev/fd/N opens has one place in the file in common with N."""

    def opened(path: str, flags: int, *rest: int) -> int:
        return os.dup(int(path[8:])) if str(path).startswith("/dev/fd/") else os_open(path, flags, *rest)

    os_open, builtin_open = os.open, open
    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr("builtins.open", lambda path, mode="r": builtin_open(path, mode, opener=opened))
    content = jpeg(tmp_path).read_bytes()
    with builtin_open(tmp_path / "a.jpg", "rb") as file:
        name = f"/dev/fd/{file.fileno()}"
        for _ in range(2):
            with media.open(name, Options()) as found:
                assert found.info.sha256 == hashlib.sha256(content).hexdigest()
            assert examine(name, kind="image").md5 == hashlib.md5(content).hexdigest()


def test_exif_of_heic_and_avif_is_that_of_the_file(tmp_path: Path) -> None:
    """Their readers hand out an orientation of their own."""
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif.update({ExifTags.Base.Make: "Acme", ExifTags.Base.Orientation: 6})
    pillow_heif.from_pillow(Image.fromarray(texture(64, 96))).save(tmp_path / "a.heic", exif=exif.tobytes())
    Image.fromarray(texture(64, 96)).save(tmp_path / "a.avif", exif=exif)
    with Image.open(tmp_path / "a.heic") as heic, Image.open(tmp_path / "a.avif") as avif:
        assert [image.getexif()[ExifTags.Base.Orientation] for image in (heic, avif)] == [1, 6]
    found = {name: examine(tmp_path / name, kind="image").metadata for name in ("a.heic", "a.avif")}
    assert found["a.heic"] == (("EXIF", "Make", "Acme"), ("EXIF", "Orientation", "6"))
    # Pillow's encoder left the turning to the container.
    assert found["a.avif"] == (("EXIF", "Make", "Acme"),)


@pytest.mark.parametrize("name", ["a.webp", "a.tiff", "a.heic", "a.avif"])
def test_exif_and_xmp_of_other_formats(tmp_path: Path, name: str) -> None:
    pillow_heif.register_heif_opener()
    packet = xmp(xmp__Rating="5")
    # In a TIFF it is a tag like others.
    written: dict[str, Any] = {"xmp": packet} if name != "a.tiff" else {}
    exif: dict[Any, Any] = {ExifTags.Base.Software: "GIMP 3.0"}
    if not written:
        exif[0x2BC] = packet
    path = jpeg(tmp_path, exif=exif, name=name, **written)
    found = examine(path, kind="image")
    assert value_of(found, "EXIF", "Software") == "GIMP 3.0"
    assert ("editing_software", {"field": "EXIF Software", "software": "GIMP"}) in noted(found)
    assert value_of(found, "XMP", "xmp:Rating") == "5"


# What is worth noticing


@pytest.mark.parametrize(
    ("text", "software"),
    [
        ("Adobe Photoshop 25.0 (Windows)", "Adobe Photoshop"),
        ("Adobe Photoshop Lightroom Classic 13", "Adobe Photoshop"),
        ("Lightroom 9.1 (Android)", "Adobe Lightroom"),
        ("GIMP 2.10.36", "GIMP"),
        ("Snapseed 2.0", "Snapseed"),
        ("Facetune2", "Facetune"),
        ("Remini", "Remini"),
        ("FaceApp 11", "FaceApp"),
        ("Reface", "Reface"),
        ("CapCut 12.1", "CapCut"),
        ("DaVinci Resolve 19", "DaVinci Resolve"),
    ],
)
def test_editing_software_is_noted_with_its_field(tmp_path: Path, text: str, software: str) -> None:
    camera = {ExifTags.Base.Make: "Acme"}
    found = examine(jpeg(tmp_path, exif={**camera, ExifTags.Base.Software: text}), kind="image")
    assert noted(found) == [("editing_software", {"field": "EXIF Software", "software": software})]
    history = f"<xmpMM:History><rdf:Seq><rdf:li stEvt:softwareAgent='{text}'/></rdf:Seq></xmpMM:History>"
    found = examine(jpeg(tmp_path, exif=camera, xmp=xmp(history)), kind="image")
    assert noted(found) == [("editing_software", {"field": "XMP stEvt:softwareAgent", "software": software})]
    # What a picture is called says nothing about how it was made.
    found = examine(jpeg(tmp_path, exif={**camera, ExifTags.Base.ImageDescription: text}), kind="image")
    assert found.notes == ()


@pytest.mark.parametrize(
    ("texts", "key", "values"),
    [
        ({"parameters": WEBUI}, "generator_data", {"field": "PNG parameters", "generator": "Stable Diffusion WebUI"}),
        (
            {"prompt": '{"3": {"class_type": "KSampler", "inputs": {}}}'},
            "generator_data",
            {"field": "PNG prompt", "generator": "ComfyUI"},
        ),
        (
            {"workflow": '{"last_node_id": 9, "nodes": []}'},
            "generator_data",
            {"field": "PNG workflow", "generator": "ComfyUI"},
        ),
        (
            {"invokeai_metadata": "{}"},
            "generator_data",
            {"field": "PNG invokeai_metadata", "generator": "InvokeAI"},
        ),
        ({"Software": "NovelAI"}, "generator_named", {"field": "PNG Software", "generator": "NovelAI"}),
        (
            {"Description": "a cat --v 6 Job ID: 12345678-1234-1234-1234-123456789abc"},
            "generator_data",
            {"field": "PNG Description", "generator": "Midjourney"},
        ),
        ({"Software": "DALL·E 3"}, "generator_named", {"field": "PNG Software", "generator": "DALL-E"}),
        ({"AIGC": '{"Label":"1","ContentProducer":"x"}'}, "generator_data", {"field": "PNG AIGC", "generator": "AIGC"}),
        ({"AIGC": '{"Label":"2"}'}, "aigc_label", {"field": "PNG AIGC"}),
        ({"AIGC": '{"Label":"10"}'}, "aigc_label", {"field": "PNG AIGC"}),
        ({"TC260:AIGC": "no"}, "aigc_label", {"field": "PNG TC260:AIGC"}),
    ],
)
def test_marks_of_generators_in_png(tmp_path: Path, texts: dict[str, str], key: str, values: dict[str, str]) -> None:
    assert noted(examine(png(tmp_path, **texts), kind="image")) == [(key, values)]


def test_a_number_of_a_job_is_not_midjourney_s_unless_it_is_written_as_theirs(tmp_path: Path) -> None:
    for text in ("Poster 50x70, Job ID: 20251104-12", "Job ID: 12345678-1234-1234-1234-123456789abcd"):
        assert noted(examine(png(tmp_path, Description=text), kind="image")) == []


def test_marks_of_generators_in_exif(tmp_path: Path) -> None:
    comment = b"UNICODE\0" + WEBUI.encode("utf-16-be")
    found = examine(jpeg(tmp_path, exif={ExifTags.Base.UserComment: comment}), kind="image")
    assert value_of(found, "EXIF", "UserComment").startswith("a portrait Negative prompt: hat Steps: 20")
    assert noted(found) == [
        ("generator_data", {"field": "EXIF UserComment", "generator": "Stable Diffusion WebUI"}),
        ("no_camera_data", {"format": "JPEG"}),
    ]
    found = examine(jpeg(tmp_path, exif={ExifTags.Base.Make: "Midjourney"}), kind="image")
    assert noted(found) == [("generator_named", {"field": "EXIF Make", "generator": "Midjourney"})]
    found = examine(jpeg(tmp_path, exif={ExifTags.Base.Make: 'workflow:{"nodes": []}'}), kind="image")
    assert noted(found) == [("generator_data", {"field": "EXIF Make", "generator": "ComfyUI"})]


@pytest.mark.parametrize("term", ["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"])
def test_iptc_digital_source_type(tmp_path: Path, term: str) -> None:
    address = f"http://cv.iptc.org/newscodes/digitalsourcetype/{term}"
    field = "XMP Iptc4xmpExt:DigitalSourceType"
    packets = [
        xmp(Iptc4xmpExt__DigitalSourceType=address),
        xmp(f"<Iptc4xmpExt:DigitalSourceType>{address}</Iptc4xmpExt:DigitalSourceType>"),
        xmp(f"<Iptc4xmpExt:DigitalSourceType rdf:resource='{address}'/>"),
    ]
    for packet in packets:
        found = examine(jpeg(tmp_path, exif={ExifTags.Base.Make: "Acme"}, xmp=packet), kind="image")
        assert noted(found) == [("digital_source_type", {"field": field, "type": term})]
        assert value_of(found, "XMP", "Iptc4xmpExt:DigitalSourceType") == address
    found = examine(png(tmp_path, **{"XML:com.adobe.xmp": packets[0].decode()}), kind="image")
    assert noted(found) == [("digital_source_type", {"field": field, "type": term})]
    camera = xmp(Iptc4xmpExt__DigitalSourceType=address.replace(term, "digitalCapture"))
    assert examine(jpeg(tmp_path, exif={ExifTags.Base.Make: "Acme"}, xmp=camera), kind="image").notes == ()


@pytest.mark.parametrize(
    ("taken", "changed", "modify_date", "expected"),
    [
        ("2026:01:10 12:00:00", "2026:01:10 12:00:00", "2026-01-10T12:00:00Z", set()),
        ("2026:01:10 12:00:00", "2026:01:11 11:00:00", "2026-01-10T02:00:00Z", set()),
        ("2026:01:10 12:00:00", "2026:01:12 12:00:01", "", {"times_disagree"}),
        ("2026:01:10 12:00:00", "", "2026-02-10T12:00:00+01:00", {"times_disagree"}),
        ("2026:01:10 12:00:00", "2026:01:10 11:00:00", "", {"changed_before_taken"}),
        ("2026:01:10 12:00:00", "", "2026-01-08T12:00:00", {"changed_before_taken"}),
        ("0000:00:00 00:00:00", "2026:01:10 11:00:00", "1970-01-01T00:00:00", set()),
    ],
)
def test_times_that_disagree(tmp_path: Path, taken: str, changed: str, modify_date: str, expected: set[str]) -> None:
    exif = {ExifTags.Base.Make: "Acme", ExifTags.Base.DateTimeOriginal: taken, ExifTags.Base.DateTime: changed}
    path = jpeg(
        tmp_path, exif={tag: value for tag, value in exif.items() if value}, xmp=xmp(xmp__ModifyDate=modify_date)
    )
    assert keys(examine(path, kind="image")) == expected


def test_times_are_told(tmp_path: Path) -> None:
    exif = {ExifTags.Base.Make: "Acme", ExifTags.Base.DateTimeOriginal: "2026:01:10 12:00:00",
            ExifTags.Base.DateTime: "2026:01:13 13:00:00"}  # fmt: skip
    values = {"taken_field": "EXIF DateTimeOriginal", "taken": "2026-01-10 12:00:00", "changed_field": "EXIF DateTime",
              "changed": "2026-01-13 13:00:00", "days": "3"}  # fmt: skip
    assert noted(examine(jpeg(tmp_path, exif=exif), kind="image")) == [("times_disagree", values)]


def test_camera_data_are_missed_only_where_a_camera_would_have_written_them(tmp_path: Path) -> None:
    assert noted(examine(jpeg(tmp_path), kind="image")) == [("no_camera_data", {"format": "JPEG"})]
    pillow_heif.register_heif_opener()
    assert noted(examine(jpeg(tmp_path, name="a.heic"), kind="image")) == [("no_camera_data", {"format": "HEIF"})]
    assert examine(jpeg(tmp_path, exif={ExifTags.Base.Model: "1"}), kind="image").notes == ()
    assert examine(png(tmp_path), kind="image").notes == ()


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("Trip to Las Vegas 2019", None),
        ("Film premiere, red carpet", None),
        ("my daughter Sora", None),
        ("Gemini, born in June", None),
        ("affinity group", None),
        ("cut with Vegas Pro 21", ("editing_software", "VEGAS")),
        ("Adobe Premiere Pro 2024", ("editing_software", "Adobe Premiere")),
        ("made with OpenAI Sora", ("generator_named", "OpenAI")),
        ("Midjourney", ("generator_named", "Midjourney")),
        ("app=Meta AI, device=glasses", None),
        ("Imagined with AI", ("generator_named", "Meta AI")),
        ("made with Meta AI", ("generator_named", "Meta AI")),
    ],
)
def test_in_free_text_a_program_must_be_spelled_out(tmp_path: Path, text: str, note: tuple[str, str] | None) -> None:
    named = {key: values.get("software") or values.get("generator") for key, values in
             noted(examine(png(tmp_path, Comment=text), kind="image"))}  # fmt: skip
    assert named == (dict([note]) if note else {})
    assert noted(examine(png(tmp_path, Software="Sora"), kind="image"))


def test_a_photo_of_smart_glasses_is_not_said_to_be_generated(tmp_path: Path) -> None:
    exif = {ExifTags.Base.Make: "Meta AI", ExifTags.Base.Model: "Ray-Ban Meta Smart Glasses"}
    assert noted(examine(jpeg(tmp_path, exif=exif), kind="image")) == []
    packet = xmp(photoshop__Credit="Imagined with AI")
    assert noted(examine(jpeg(tmp_path, exif=exif, xmp=packet), kind="image")) == [
        ("generator_named", {"field": "XMP photoshop:Credit", "generator": "Meta AI"})
    ]


@pytest.mark.parametrize(
    "name", ["account_id", "DocumentName", "creatorAtom:uncProjectPath", "xmpDM:path", "AOCreator"]
)
def test_what_bears_a_user_s_name_is_withheld(name: str, tmp_path: Path) -> None:
    assert value_of(examine(png(tmp_path, **{name: "/Users/annakern/film"}), kind="image"), "PNG", name) == WITHHELD


@pytest.mark.parametrize(
    "value",
    [
        "/home/anna/a.jpg", "/Users/anna/a.jpg", "file:///Users/anna/a.jpg", r"C:\Users\anna\a.jpg",
        "C:/Users/anna/x.blend", "/Volumes/Anna/x", "/media/anna/USB/x", "/mnt/anna/x", r"\\nas\anna\x",
        r"saved from C:\Users\anna\a.jpg",
    ],
)  # fmt: skip
def test_a_path_is_withheld_in_any_field(value: str, tmp_path: Path) -> None:
    assert value_of(examine(png(tmp_path, Comment=value), kind="image"), "PNG", "Comment") == WITHHELD
    for harmless in ("at home", "https://example.org/a", r"a\nb", "ratio 16:9", "ICC profile: sRGB"):
        assert value_of(examine(png(tmp_path, Comment=harmless), kind="image"), "PNG", "Comment") == harmless


@pytest.mark.parametrize(
    "name", ["Iptc4xmpCore:CreatorContactInfo", "stRef:lastURL", "xmpMM:PreservedFileName", "crs:RawFileName"]
)
def test_how_to_reach_someone_and_what_a_file_was_called_is_withheld(name: str, tmp_path: Path) -> None:
    assert value_of(examine(png(tmp_path, **{name: "anna@example.org"}), kind="image"), "PNG", name) == WITHHELD


@pytest.mark.parametrize("name", ["Hostname", "DICOM:PatientName", "PatientID"])
def test_whose_computer_it_was_and_who_is_the_patient_is_withheld(name: str, tmp_path: Path) -> None:
    assert value_of(examine(png(tmp_path, **{name: "Anna Kern"}), kind="image"), "PNG", name) == WITHHELD


def test_keywords_filed_under_anything_are_withheld_and_others_are_not(tmp_path: Path) -> None:
    for name in ("digiKam:TagsList", "lr:hierarchicalSubject"):
        for value in ("People/Anna Kern", "Personen|Anna", "People, Anna", "Places|Home|Garden Road", "Familie/Anna"):
            assert value_of(examine(png(tmp_path, **{name: value}), kind="image"), "PNG", name) == WITHHELD
        assert value_of(examine(png(tmp_path, **{name: "sunset"}), kind="image"), "PNG", name) == "sunset"


def test_a_name_that_is_withheld_in_one_field_is_in_the_others(tmp_path: Path) -> None:
    spaces = {"dc": "http://purl.org/dc/elements/1.1/", "lr": "http://ns.adobe.com/lightroom/1.0/",
              "mediapro": "http://ns.iview-multimedia.com/mediapro/1.0/", "acdsee": "http://ns.acdsee.com/iptc/1.0/",
              "digiKam": "http://www.digikam.org/ns/1.0/", "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
              "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/"}  # fmt: skip
    tree = "&lt;Categories&gt;&lt;Category&gt;People&lt;Category&gt;Anna Kern&lt;/Category&gt;&lt;/Category&gt;"

    def several(name: str, *values: str) -> str:
        items = "".join(f"<rdf:li>{value}</rdf:li>" for value in values)
        return f"<{name}><rdf:Bag>{items}</rdf:Bag></{name}>"

    declared = " ".join(f'xmlns:{key}="{space}"' for key, space in spaces.items())
    # As photo managers write them for a face that was given a name; and a Chinese one, which may be short.
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {declared} acdsee:categories="{tree}" mwg-rs:Name="Anna Kern">'
        + several("dc:subject", "anna kern", "李娜", "beach")
        + several("lr:hierarchicalSubject", "People|Anna Kern")
        + several("digiKam:TagsList", "People/Anna Kern")
        + several("mediapro:CatalogSets", "People|Anna Kern")
        + several("Iptc4xmpExt:PersonInImage", "李娜")
        + "</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    tags = Image.Exif()
    tags.update({ExifTags.Base.Artist: "Anna Kern; Canon", ExifTags.Base.Make: "Canon",
                 ExifTags.Base.HostComputer: "Phone 12", ExifTags.Base.Model: "Phone 12",
                 ExifTags.Base.ImageDescription: "Anna Kern"})  # fmt: skip
    for tag, text in ((ExifTags.Base.XPKeywords, "Anna Kern;sand"), (ExifTags.Base.XPTitle, "By the sea")):
        tags[tag] = text.encode("utf-16-le")
    tags.get_ifd(ExifTags.IFD.GPSInfo)[0] = b"\2\3\0\0"
    tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ComponentsConfiguration] = b"\1\2\3\0"
    path = tmp_path / "a.jpg"
    Image.fromarray(texture(64, 64)).save(path, exif=tags, xmp=packet.encode())
    found = examine(path, kind="image")
    assert not [entry for entry in found.metadata if "kern" in repr(entry).casefold() or "李娜" in repr(entry)]
    shown = {(name, value) for _, name, value in found.metadata if value != WITHHELD}
    assert shown >= {("dc:subject", "beach"), ("Make", "Canon"), ("Model", "Phone 12"), ("XPTitle", "By the sea"),
                     ("ComponentsConfiguration", "4 bytes")}  # fmt: skip


def test_a_video_encoded_again(tmp_path: Path) -> None:
    found = examine(video(tmp_path), kind="video")
    assert noted(found) == []
    assert value_of(found, "container", "major_brand") == "isom"
    found = examine(video(tmp_path, "a.mkv", comment="HandBrake 1.9"), kind="video")
    assert ("encoded_again", {"field": "container COMMENT", "encoder": "HandBrake"}) in noted(found)
    found = examine(video(tmp_path, "a.mov", comment="made with CapCut"), kind="video")
    assert ("editing_software", {"field": "container comment", "software": "CapCut"}) in noted(found)
    prompt = '{"1": {"class_type": "KSampler"}}'
    found = examine(video(tmp_path, prompt=prompt), kind="video")
    assert ("generator_data", {"field": "container prompt", "generator": "ComfyUI"}) in noted(found)


def test_xmp_of_a_video(tmp_path: Path) -> None:
    packet = xmp(xmp__CreatorTool="Adobe Premiere Pro 2024")
    body = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + packet
    path = video(tmp_path)
    path.write_bytes(path.read_bytes() + struct.pack(">I4s", 8 + len(body), b"uuid") + body)
    found = examine(path, kind="video")
    assert ("editing_software", {"field": "XMP xmp:CreatorTool", "software": "Adobe Premiere"}) in noted(found)


def test_an_animation_is_read_as_the_picture_file_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    frames = [Image.fromarray(pixels) for pixels in numbered(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], comment=b"made with GIMP")
    found = examine(path, kind="video")
    assert found.metadata == (("GIF", "Comment", "made with GIMP"),)
    assert noted(found) == [("editing_software", {"field": "GIF Comment", "software": "GIMP"})]


def test_what_several_fields_say_alike_is_one_note(tmp_path: Path) -> None:
    exif = {ExifTags.Base.Make: "Acme", ExifTags.Base.Software: "GIMP 3.0", ExifTags.Base.DateTime: "2026:01:13 13:00:00",
            ExifTags.Base.DateTimeOriginal: "2026:01:10 12:00:00"}  # fmt: skip
    packet = xmp(
        xmp__CreatorTool="GIMP", xmp__ModifyDate="2026-01-13T13:00:00", photoshop__DateCreated="2026-01-10T12:00:00"
    )
    found = examine(jpeg(tmp_path, exif=exif, xmp=packet), kind="image")
    assert [note.key for note in found.notes] == ["editing_software", "times_disagree"]
    assert found.notes[0].values == {"field": "EXIF Software, XMP xmp:CreatorTool", "software": "GIMP"}
    assert found.notes[1].values["changed_field"] == "EXIF DateTime"


# The types


def test_types_are_checked_when_made() -> None:
    with pytest.raises(ValueError, match="64 digits"):
        PerceptualHash("xyz", 0)
    with pytest.raises(ValueError, match="0 to 100"):
        PerceptualHash("0" * 64, 101)
    with pytest.raises(ValueError, match="key"):
        Note("nonsense")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="text"):
        Note("metadata_cut", {"kept": 3})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="state"):
        ContentCredentials("nonsense")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reason"):
        ContentCredentials("not_read")
    with pytest.raises(ValueError, match="32 digits"):
        Provenance("")
    blank = PerceptualHash("0" * 64, 0)
    with pytest.raises(ValueError, match="order of time"):
        Provenance("0" * 32, (HashedMoment(1.0, blank), HashedMoment(0.5, blank)))
    assert PerceptualHash("0" * 64, 0).distance(PerceptualHash("f" + "0" * 62 + "1", 0)) == 5


# C2PA


@pytest.fixture(scope="module")
def c2pa() -> Any:
    pytest.importorskip("cryptography", reason="cryptography is needed to make a certificate")
    return pytest.importorskip("c2pa", reason="c2pa-python, the extra `provenance`, is not installed")


@pytest.fixture(scope="module")
def signer(c2pa: Any) -> Signer:
    return Signer(c2pa)


class Signer:
    """A certificate made here, under an authority made here."""

    def __init__(self, c2pa: Any, revocation_server: str = "http://127.0.0.1:9/") -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

        def named(organisation: str, name: str) -> x509.Name:
            parts = [(NameOID.ORGANIZATION_NAME, organisation), (NameOID.COMMON_NAME, name)]
            return x509.Name([x509.NameAttribute(part, value) for part, value in parts])

        def usage(*, signs: bool) -> x509.KeyUsage:
            return x509.KeyUsage(
                digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
            )  # fmt: skip

        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        now = datetime.now(UTC)
        base = (
            x509.CertificateBuilder().not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=2))
        )
        root_name = named("Test Authority", "Test Root")
        root = (
            base.subject_name(root_name).issuer_name(root_name).public_key(root_key.public_key()).serial_number(1)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
            .sign(root_key, hashes.SHA256())
        )  # fmt: skip
        revocation = x509.AccessDescription(
            AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(revocation_server)
        )
        leaf = (
            base.subject_name(named("Test <b>Newsroom</b>", "Test Signer\u202e")).issuer_name(root_name)
            .public_key(key.public_key()).serial_number(2)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
            .add_extension(x509.AuthorityInformationAccess([revocation]), critical=False)
            .sign(root_key, hashes.SHA256())
        )  # fmt: skip
        pem = serialization.Encoding.PEM
        self.c2pa = c2pa
        self.anchors = root.public_bytes(pem).decode()
        self._chain = leaf.public_bytes(pem) + root.public_bytes(pem)
        self._key = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    def sign(
        self,
        path: Path,
        mime: str,
        *,
        at: str = "",
        source: str = "trainedAlgorithmicMedia",
        more: tuple[Any, ...] = (),
    ) -> None:
        """Put a manifest into a file, or the address where one would be."""
        address = f"http://cv.iptc.org/newscodes/digitalsourcetype/{source}"
        action = {"action": "c2pa.created", "digitalSourceType": address, "softwareAgent": {"name": "Maker"}}
        manifest = {
            "claim_generator_info": [{"name": "Maker", "version": "1.0"}],
            "title": "a",
            "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}, *more],
        }
        settings = {"verify": {"verify_after_sign": False}, "builder": {"thumbnail": {"enabled": False}}}
        signed = io.BytesIO()
        info = self.c2pa.C2paSignerInfo(b"es256", self._chain, self._key, None)
        with (
            self.c2pa.Context.from_dict(settings) as context,
            self.c2pa.Builder(manifest, context=context) as builder,
            self.c2pa.Signer.from_info(info) as signer,
        ):
            if at:
                builder.set_no_embed()
                builder.set_remote_url(at)
            builder.sign(signer, mime, io.BytesIO(path.read_bytes()), signed)
        path.write_bytes(signed.getvalue())


@pytest.fixture
def signed(tmp_path: Path, signer: Signer) -> Path:
    path = jpeg(tmp_path, exif={ExifTags.Base.Make: "Acme"})
    signer.sign(path, "image/jpeg")
    return path


HELD = ContentCredentials(
    "valid",
    signer="Test Signer",
    issuer="Test <b>Newsroom</b>",
    generator="Maker 1.0",
    actions=("c2pa.created",),
    digital_source_types=("trainedAlgorithmicMedia",),
)


def test_a_trusted_signature(signed: Path, signer: Signer) -> None:
    found = examine(signed, kind="image", trust_anchors=signer.anchors)
    assert found.content_credentials == HELD
    assert noted(found) == [("digital_source_type", {"field": "C2PA", "type": "trainedAlgorithmicMedia"})]


def test_a_signer_on_no_list(signed: Path, signer: Signer, c2pa: Any) -> None:
    for anchors in ("", Signer(c2pa).anchors):
        found = examine(signed, kind="image", trust_anchors=anchors).content_credentials
        assert found.state == "untrusted"
        assert found.failures == ("signingCredential.untrusted",)
        assert (found.signer, found.issuer, found.actions) == (HELD.signer, HELD.issuer, HELD.actions)


@pytest.mark.parametrize("state", ["Trusted", "Valid"])
def test_a_time_that_no_trusted_authority_vouches_for_is_not_stated(state: str) -> None:
    """As the library says it of a clock that the signer runs, and of one under a certificate that is trusted."""
    time = "2019-05-01T12:00:00+00:00"
    manifests = {"a": {"signature_info": {"common_name": "Anna", "time": time}}}

    def found(**outcome: list[dict[str, str]]) -> ContentCredentials:
        results = {"activeManifest": outcome}
        store = {
            "active_manifest": "a",
            "manifests": manifests,
            "validation_state": state,
            "validation_results": results,
        }
        return credentials._credentials(store)

    fits, vouched, own = ({"code": f"timeStamp.{code}"} for code in ("validated", "trusted", "untrusted"))
    assert found(success=[fits], informational=[own]).time == ""
    assert found(success=[fits]).time == ""
    assert found().time == ""
    assert found(success=[fits, vouched]).time == time


@pytest.mark.parametrize("actions", [5, True, "abc", {"a": 1}, [5], None])
def test_what_a_vendor_s_assertion_calls_actions_need_be_none(tmp_path: Path, signer: Signer, actions: object) -> None:
    path = jpeg(tmp_path)
    signer.sign(path, "image/jpeg", more=({"label": "org.example.x", "data": {"actions": actions}},))
    found = examine(path, kind="image").content_credentials
    assert (found.state, found.actions) == ("untrusted", HELD.actions)
    assert found.digital_source_types == HELD.digital_source_types


def test_a_manifest_of_an_odd_shape_is_not_read_and_no_error(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_assertions", lambda _: [("c2pa.actions", 5)])
    found = examine(signed, kind="image").content_credentials
    assert found == ContentCredentials("not_read", reason="unreadable")


def test_one_changed_byte(signed: Path, signer: Signer) -> None:
    data = bytearray(signed.read_bytes())
    data[-100] ^= 1
    signed.write_bytes(data)
    found = examine(signed, kind="image", trust_anchors=signer.anchors).content_credentials
    assert found.state == "invalid"
    assert found.failures == ("assertion.dataHash.mismatch",)
    assert found.signer == HELD.signer
    assert examine(signed, kind="image").content_credentials.state == "invalid"


def test_a_changed_manifest(signed: Path, signer: Signer) -> None:
    data = signed.read_bytes()
    assert b"trainedAlgorithmicMedia" in data
    signed.write_bytes(data.replace(b"trainedAlgorithmicMedia", b"trainedAlgorithmicMedio"))
    found = examine(signed, kind="image", trust_anchors=signer.anchors).content_credentials
    assert found.state == "invalid"
    assert found.failures == ("assertion.hashedURI.mismatch",)


def test_a_signed_video(tmp_path: Path, signer: Signer) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(5))
    assert examine(path, kind="video").content_credentials == ContentCredentials("absent")
    signer.sign(path, "video/mp4", source="digitalCapture")
    found = examine(path, kind="video", trust_anchors=signer.anchors)
    assert found.content_credentials.state == "valid"
    assert found.content_credentials.digital_source_types == ("digitalCapture",)
    assert "digital_source_type" not in keys(found)
    data = bytearray(path.read_bytes())
    at = data.index(b"mdat") + 60
    data[at] ^= 1
    path.write_bytes(data)
    found = examine(path, kind="video", trust_anchors=signer.anchors)
    assert found.content_credentials.state == "invalid"
    assert found.content_credentials.failures == ("assertion.bmffHash.mismatch",)


def test_no_manifest(tmp_path: Path, c2pa: Any) -> None:
    assert examine(jpeg(tmp_path), kind="image").content_credentials == ContentCredentials("absent")
    assert examine(png(tmp_path), kind="image").content_credentials == ContentCredentials("absent")


def test_a_file_that_can_hold_no_manifest(tmp_path: Path, c2pa: Any) -> None:
    for path in (jpeg(tmp_path, name="a.bmp"), video(tmp_path, "a.mkv")):
        assert examine(path, kind="image").content_credentials == ContentCredentials("not_read", reason="not_supported")
    cut = jpeg(tmp_path)
    cut.write_bytes(cut.read_bytes()[:100])
    assert examine(cut, kind="image").content_credentials == ContentCredentials("not_read", reason="unreadable")


def test_nothing_is_fetched(tmp_path: Path, c2pa: Any) -> None:
    """Neither a manifest that is elsewhere nor whether a certificate was revoked; the library would do the first."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        signer = Signer(c2pa, revocation_server=address)
        path = jpeg(tmp_path, exif={ExifTags.Base.Make: "Acme"})
        signer.sign(path, "image/jpeg")
        assert examine(path, kind="image", trust_anchors=signer.anchors).content_credentials.state == "valid"
        signer.sign(path, "image/jpeg", at=address + "a.c2pa")
        found = examine(path, kind="image")
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()
    assert found.content_credentials == ContentCredentials("not_read", reason="elsewhere")
    assert ("credentials_elsewhere", {"host": "127.0.0.1"}) in noted(found)


def no_certificates(good: str) -> dict[str, str]:
    """Texts of PEM files that are damaged, by what is wrong with them."""
    nothing = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
    return {
        "no text of that kind": "nonsense",
        "cut": good[: len(good) // 2],
        "indented": textwrap.indent(good, "  "),
        "no Base64": nothing.replace("MA==", "!!!"),
        "no certificate": nothing,
        "one of them none": good + nothing,
        "the last one cut": good + good[:300],
        "a letter from elsewhere": nothing.replace("MA", "ő"),
    }


@pytest.mark.parametrize("what", no_certificates(""))
def test_damaged_certificates_are_wrong_usage_before_anything_is_judged(
    what: str, tmp_path: Path, signer: Signer, capsys: pytest.CaptureFixture[str]
) -> None:
    (trusted := tmp_path / "trusted.pem").write_text(no_certificates(signer.anchors)[what], encoding="utf-8")
    with pytest.raises(OptionsError, match=r"trusted\.pem: expected certificates in PEM"):
        Detector(Options(provenance=True, trust=str(trusted)))
    assert main([str(tmp_path / "none.jpg"), "--report", str(tmp_path / "out"), "--trust", str(trusted)]) == 2
    assert "expected certificates in PEM" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("line", ["\n", "\r\n"])
def test_trusted_certificates_may_have_comments_in_any_language(
    encoding: str, line: str, tmp_path: Path, signed: Path, signer: Signer
) -> None:
    text = f"# Autoridad de certificación\n{signer.anchors}subject=é\n{signer.anchors}"
    (trusted := tmp_path / "trusted.pem").write_bytes(text.replace("\n", line).encode(encoding))
    anchors = _read_trust(str(trusted))
    assert anchors.isascii()
    assert examine(signed, kind="image", trust_anchors=anchors).content_credentials.state == "valid"


def test_a_broken_signature_is_never_told_as_a_missing_library(signed: Path, signer: Signer) -> None:
    signed.write_bytes(signed.read_bytes()[:-100] + bytes([signed.read_bytes()[-100] ^ 1]) + signed.read_bytes()[-99:])
    for anchors in ("", signer.anchors):
        assert examine(signed, kind="image", trust_anchors=anchors).content_credentials.state == "invalid"
    with pytest.raises(OptionsError, match="c2pa can't use these certificates"):
        examine(signed, kind="image", trust_anchors=signer.anchors[: len(signer.anchors) // 2])


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    found = examine(jpeg(tmp_path, exif={ExifTags.Base.Make: "Acme"}), kind="image")
    assert found.content_credentials == ContentCredentials("not_read", reason="library_missing")
    assert found.metadata == (("EXIF", "Make", "Acme"),)


def test_the_library_is_loaded_late_and_changes_nothing(c2pa: Any) -> None:
    program = """
import json, os, sys, threading, warnings
from pathlib import Path
import deepfake_detect.credentials
assert "c2pa" not in sys.modules
tasks = Path("/proc/self/task")
def state():
    return dict(os.environ), list(warnings.filters), threading.active_count(), tasks.exists() and len(list(tasks.iterdir()))
before = state()
import c2pa
with c2pa.Context.from_dict(deepfake_detect.credentials._OFFLINE): pass
assert state() == before
print(json.dumps("ok"))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == "ok"
