"""Path -> where a file says it comes from: hashes to match it by, its metadata, what is worth noticing, C2PA.

All of this informs the reader and none of it is proof: metadata is easily written and easily lost, and nothing here moves
a probability. The file is opened once, read-only, and the libraries get the open file and never its name (see `media.py`).
What it holds was written by anyone: it is cut, freed of control characters and kept as plain text. Whoever shows it in a
page must still escape it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import struct
import unicodedata
import zlib
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec
from urllib.parse import urlsplit
from xml.etree import ElementTree

import av
import cv2
import numpy as np
import pillow_heif
from PIL import ExifTags, Image

from .errors import OptionsError
from .exif import exif_of
from .files import quietly
from .source import DECODER_ERRORS, PICTURE_FORMATS, VIDEO_FORMATS, open_file
from .types import ContentCredentials, Note, PerceptualHash, Provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
    from os import PathLike
    from typing import BinaryIO

    from .types import HashedMoment, Kind, NoteKey

log = logging.getLogger(__name__)

_P = ParamSpec("_P")

WITHHELD = "[withheld]"
MAX_CHARACTERS = 300
MAX_ENTRIES = 200

# What is looked at is far more than what is shown, as a mark may stand behind many others; still, a small file must not
# unpack to gigabytes: characters of one value, how many values, and bytes in all.
_MAX_KEPT = 20_000
_MAX_LOOKED_AT = 2000
_MAX_READ = 8_000_000
_MAX_NAME = 80
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
# What Pillow, pillow-heif and the parsers raise on damaged data.
_DAMAGE = (*DECODER_ERRORS, AttributeError, Image.DecompressionBombError)


def examine(
    path: str | PathLike[str], *, kind: Kind, hashes: Sequence[HashedMoment] = (), hashed_s: int | None = None,
    trust_anchors: str = "",
) -> Provenance:  # fmt: skip
    """What a file says about itself. Odd or broken metadata is stated in a note and never an error.

    Args:
        kind: What the file was judged as; a video is not expected to name a camera.
        hashes: Of the decoded picture, or of a video's seconds, in order of time: see `perceptual_hash`.
        hashed_s: How many seconds at its beginning have each a hash, where a video is longer than that.
        trust_anchors: As `certificates` gives them: of those whose C2PA signatures are trusted. None are built in: a trust
            list grows old, and whom to trust is for the reader to say.

    Raises:
        MediaError: The file can't be opened or read at all.
        OptionsError: `trust_anchors` are none that the library for C2PA can use, as `certificates` would have said.
    """
    found = _Found()
    with open_file(path) as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        form = _read_metadata(file, found)
        credentials = _read_credentials(file, found, trust_anchors)
    _notice(found, camera_expected=kind == "image" and form in ("JPEG", "HEIF"), form=form)
    for origin in credentials.digital_source_types:
        if origin in _GENERATIVE_SOURCES:
            found.note("digital_source_type", field="C2PA", type=origin)
    if hashed_s is not None:
        found.note("hashes_cut", seconds=str(hashed_s))
    withheld = frozenset[str]().union(*(e.withheld_words for e in found.entries))
    metadata = sorted(
        {(_plain(e.group, _MAX_NAME), _plain(e.name, _MAX_NAME), e.shown(withheld)) for e in found.entries}
    )
    if found.left_out or len(metadata) > MAX_ENTRIES:
        found.note("metadata_cut", kept=str(min(len(metadata), MAX_ENTRIES)))
    return Provenance(
        md5=md5,
        perceptual_hashes=tuple(hashes),
        metadata=tuple(metadata[:MAX_ENTRIES]),
        notes=_merged(found.notes),
        content_credentials=credentials,
    )


# The perceptual hash


def perceptual_hash(pixels: np.ndarray) -> PerceptualHash:
    """PDQ: a hash that stays nearly the same when a picture is made smaller or saved again, but not when it is mirrored.

    Meta's algorithm (The TMK+PDQF video-hashing algorithm and the PDQ image-hashing algorithm, Facebook, 2019): brightness,
    smoothed by two box filters each way and reduced to 64 x 64, its lowest 16 x 16 cosine frequencies without the
    constant, one bit for each above their median. Smoothing and picking 64 samples is linear and separable, so it is done
    here by a matrix on each side: the same result at any size, without reducing the picture first.

    The package of its authors' code, pdqhash, has no build for Linux; the tests compare with it where it is installed.

    Args:
        pixels: uint8 (H, W, 3) RGB.

    Returns:
        256 bits, and a quality of 0 to 100 that is low where there is too little in the picture to tell it from others: its
        authors advise against matching below 50. Below 5 pixels on a side both are 0.

    Raises:
        ValueError: The array has another shape or type.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"pixels must be uint8 (H, W, 3), found {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape[:2]
    if min(height, width) < _SMALLEST_HASHED_PX:
        return PerceptualHash("0" * 64, 0)
    narrow = np.zeros((64, width), np.float32)
    # In strips, as the brightness of a large picture as floats would be several times its size; and in single precision,
    # as in the reference. A sample is made of few pixels, so what a matrix library's threads would do, and wait for a core
    # that the nets are busy on, is soon done in this one.
    for top in range(0, height, 256):
        brightness = cv2.transform(pixels[top : top + 256].astype(np.float32), _BRIGHTNESS)
        brightness = brightness.reshape(-1, width)
        for sample, (first, weights) in enumerate(_reduction(height)):
            begin, end = max(first, top), min(first + len(weights), top + len(brightness))
            if begin < end:
                part = weights[begin - first : end - first]
                narrow[sample] += np.einsum("i,ij->j", part, brightness[begin - top : end - top])
    small = np.stack(
        [
            np.einsum("ij,j->i", narrow[:, first : first + len(weights)], weights)
            for first, weights in _reduction(width)
        ],
        axis=1,
    ).astype(np.float64)
    steps = sum(int(np.abs(np.trunc(np.diff(small, axis=axis) * (100 / 255))).sum()) for axis in (0, 1))
    frequencies = (_COSINES @ small @ _COSINES.T).ravel()
    # The lower of the two middle values, as in the reference, so that exactly half of the bits are set.
    bits = frequencies > np.partition(frequencies, 127)[127]
    # The first frequency is the last bit of the written number.
    return PerceptualHash(np.packbits(bits[::-1]).tobytes().hex(), min(100, steps // 90))


_SMALLEST_HASHED_PX = 5
_BRIGHTNESS = np.array([[0.299, 0.587, 0.114]], np.float32)
_COSINES = np.sqrt(2 / 64) * np.cos(np.pi / 128 * np.arange(1, 17)[:, None] * (2 * np.arange(64) + 1))


@lru_cache(maxsize=8)
def _reduction(length: int) -> tuple[tuple[int, np.ndarray], ...]:
    """Two box filters over a row of so many pixels, then 64 samples: of each the first pixel and the weights from there."""
    window = (length + 127) // 128
    ahead = (window + 2) // 2
    at = np.arange(length)
    first, after = np.maximum(at + ahead - window, 0), np.minimum(at + ahead, length)
    samples = ((np.arange(64) + 0.5) * (length / 64)).astype(int)
    weights = np.zeros((64, length))
    weights[np.arange(64), samples] = 1
    # The boxes that reach pixel j are neighbours, as both ends of a box move on with it.
    begin, end = np.searchsorted(after, at, "right"), np.searchsorted(first, at, "right")
    for _ in range(2):
        sums = np.pad(np.cumsum(weights / (after - first), axis=1), ((0, 0), (1, 0)))
        weights = sums[:, end] - sums[:, begin]
    spans = [np.flatnonzero(row)[[0, -1]] for row in weights]
    return tuple(
        (int(begin), np.ascontiguousarray(row[begin : end + 1], np.float32))
        for row, (begin, end) in zip(weights, spans, strict=True)
    )


# Metadata


@dataclass(frozen=True)
class _Entry:
    group: str
    name: str
    text: str

    @property
    def where(self) -> str:
        return _plain(f"{self.group} {self.name}", _MAX_NAME)

    @property
    def key(self) -> str:
        """The name without its name space, case and separators, such as `creatortool` of `xmp:CreatorTool`."""
        return re.sub(r"[^a-z0-9]", "", self.name.rpartition(":")[2].lower())

    def shown(self, withheld: frozenset[str]) -> str:
        """The value as it is stated, where `withheld` are the words that other fields withhold."""
        return WITHHELD if self.is_private or self._says(withheld) else _plain(self.text, MAX_CHARACTERS)

    @property
    def withheld_words(self) -> frozenset[str]:
        """Names and keywords in a private field, which programs write into others side by side with it.

        Single letters and numbers are none. Coordinates and paths are left out: what they are made of stands in harmless
        fields, too.
        """
        if not self.is_private or self.key.startswith("gps") or _PATH.search(self.text):
            return frozenset()
        return frozenset(word for word in self._words if _WORD.search(word))

    @property
    def _words(self) -> frozenset[str]:
        """What a list or a branch of keywords, or one as XML, is made of."""
        return frozenset(word.strip().casefold() for word in re.split(r"[|/;,<>]", self.text))

    def _says(self, withheld: frozenset[str]) -> bool:
        """Whether the value, or one of its keywords, is withheld elsewhere. A camera or program is no person's name."""
        if self.key in _SOFTWARE_FIELDS - _FREE_TEXT or self.key.endswith(("make", "model")):
            return False
        said = self._words if self.key in _KEYWORDS else frozenset({self.text.strip().casefold()})
        return not said.isdisjoint(withheld)

    @property
    def is_private(self) -> bool:
        """Whether it may tell who or where someone is."""
        # Apple and Microsoft write their own names in front of the same words.
        key = re.sub(r"^(comapplequicktime|wm)", "", self.key)
        return (
            key in _PRIVATE
            or any(part in key for part in _PRIVATE_PARTS)
            or key.startswith(_PRIVATE_BEGINNINGS)
            or key.endswith(_PRIVATE_ENDS)
            or self.name in _PRIVATE_NAMES
            or _PATH.search(self.text) is not None
            or (key in _KEYWORDS and _FILED.search(self.text) is not None)
        )


# Who took it, whom it shows, where, with which single camera.
_PRIVATE_NAMES = ("mwg-rs:Name", "photoshop:Source", "Iptc4xmpExt:Name", "regions:Name", "acdsee-rs:Name",
                  "wgs84_pos:alt")  # fmt: skip
# Folders bear the names of those who use them. And keywords that are filed under people, families or places.
_PRIVATE_ENDS = ("projectpath", "filepath", "documentname", "lasturl", "preservedfilename", "rawfilename",
                 "rights")  # fmt: skip
_PATH = re.compile(r"\bfile:|/(home|users|volumes|media|mnt)/|\b[a-z]:[\\/]|(?<!\w)\\\\\w", re.IGNORECASE)
_FILED = re.compile(r"[|/]|^\s*pe(ople|rsonen|rsonas)\b", re.IGNORECASE)
_KEYWORDS = frozenset({
    "tagslist", "hierarchicalsubject", "lastkeywordxmp", "lastkeywordiptc", "keywords", "subject", "xpkeywords",
    "catalogsets", "categories",
})  # fmt: skip
_WORD = re.compile(r"[^\W\d_]{2}")
_PRIVATE_PARTS = (
    "serial", "location", "latitude", "longitude", "altitude", "director", "copyright", "owner", "creatorname", "artist",
    "author", "country", "photographer", "cinematographer", "imageeditor", "contributor", "licensor", "imagesupplier",
    "contactinfo", "producer", "publisher", "performer", "engineer",
)  # fmt: skip
# What EXIF holds under a number that no one has a name for may be anything.
_PRIVATE_BEGINNINGS = ("gps", "location", "patient", "person", "ciadr", "ciemail", "citel", "ciurl", "tag0x")
_PRIVATE = frozenset({
    "actor", "actors", "arranger", "byline", "bylinetitle", "captionwriter", "composer", "conductor", "contact", "credit",
    "credits", "creator", "imagecreator", "aocreator", "accountid", "lyricist", "technician", "thanksto", "writer",
    "editedby", "encodedby", "masteredby", "mixedby", "remixedby", "screenplayby", "writtenby", "ieng", "itch",
    "filepath", "hostcomputer", "hostname", "path", "webstatement", "usageterms",
    "city", "provincestate", "state", "sublocation", "xyz", "lat", "lon", "long", "lng",
})  # fmt: skip


@dataclass
class _Found:
    """What a file's metadata hold, as it is gathered."""

    entries: list[_Entry] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    left_out: bool = False
    bytes_read: int = 0

    def add(self, group: str, name: object, value: object) -> None:
        text = _as_text(value)
        if text.strip() and not self.is_full():
            self.entries.append(_Entry(group, str(name)[:_MAX_NAME], text))

    def is_full(self) -> bool:
        """Whether more was found than is looked at: from here on all is left out."""
        self.left_out |= len(self.entries) >= _MAX_LOOKED_AT or self.bytes_read > _MAX_READ
        return self.left_out

    def note(self, key: NoteKey, **values: str) -> None:
        self.notes.append(Note(key, values))

    def attempt(
        self, part: str, read: Callable[Concatenate[_Found, _P], None], *args: _P.args, **kwargs: _P.kwargs
    ) -> None:
        """Read one part of the metadata; that it is damaged is worth a note and the rest may still be fine."""
        try:
            read(self, *args, **kwargs)
        except (*_DAMAGE, ElementTree.ParseError) as error:
            log.debug("metadata %s: %s", part, error)
            self.note("metadata_unreadable", part=part)


def _plain(text: str, most: int) -> str:
    """One line without control, format and bidirectional characters, of at most so many characters."""
    # Cut twice: cleaning what is thrown away would take its time with a value of megabytes.
    kept = []
    for character in text[: 4 * most]:
        category = unicodedata.category(character)
        if character.isspace() or category in ("Zl", "Zp"):
            kept.append(" ")
        elif category not in ("Cc", "Cf", "Cs", "Co", "Cn"):
            kept.append(character)
    clean = " ".join("".join(kept).split())
    cut = len(clean) > most or len(text) > 4 * most
    return clean[: most - 1].rstrip() + "…" if cut else clean


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        text = value[:_MAX_KEPT].rstrip(b"\0").decode("utf-8", "replace")
        odd = sum(c == "\ufffd" or (unicodedata.category(c) == "Cc" and not c.isspace()) for c in text[:200])
        return text if odd * 10 <= len(text[:200]) else f"{len(value)} bytes"
    if isinstance(value, tuple):
        more = " …" if len(value) > 16 else ""
        return " ".join(_as_text(item) for item in value[:16]) + more
    return str(value)[:_MAX_KEPT]


def _read_metadata(file: BinaryIO, found: _Found) -> str:
    """Fill `found`; returns the format as Pillow or FFmpeg names it, empty where neither knows it."""
    file.seek(0)
    head = file.read(len(_PNG_HEAD))
    if head == _PNG_HEAD:
        found.attempt("PNG", _read_png, file)
        return "PNG"
    file.seek(0)
    pillow_heif.register_heif_opener()
    with quietly():
        try:
            image = Image.open(file, formats=PICTURE_FORMATS)
        except _DAMAGE:
            return _read_container(file, found)
        _read_picture(image, _held(image, file), found)
    # A JPEG that holds more pictures behind the first is a JPEG.
    return (image.format or "").replace("MPO", "JPEG")


def _held(image: Image.Image, file: BinaryIO) -> Mapping[Any, Any]:
    """EXIF and XMP as the file holds them. Readers of HEIC and AVIF, of which the container says how they are turned, hand
    out an orientation that fits what they decoded."""
    if image.format in ("HEIF", "AVIF"):
        try:
            file.seek(0)
            held: dict[str, Any] = pillow_heif.open_heif(file).info
            return held
        except _DAMAGE as error:
            log.debug("metadata of %s: %s", image.format, error)
    return image.info


def _read_picture(image: Image.Image, info: Mapping[Any, Any], found: _Found) -> None:
    found.attempt("EXIF", _read_exif_of, image, info)
    if isinstance(packet := info.get("xmp"), (bytes, str)) and packet:
        found.attempt("XMP", _read_xmp, packet)
    if comment := info.get("comment"):
        found.add(image.format or "", "Comment", comment)


def _read_png(found: _Found, file: BinaryIO) -> None:
    """Text, EXIF and XMP of a PNG, from its chunks (PNG specification, third edition).

    Pillow reads those behind the picture only by decoding it, and none at all when one is too large.
    """
    file.seek(len(_PNG_HEAD))
    while len(head := file.read(8)) == 8 and not found.is_full():
        size, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            break
        after = file.tell() + size + 4
        body = file.read(min(size, _MAX_READ)) if kind in (b"tEXt", b"zTXt", b"iTXt", b"eXIf") else b""
        file.seek(after)
        if not body:
            continue
        found.bytes_read += len(body)
        if kind == b"eXIf":
            found.attempt("EXIF", _read_exif_bytes, body)
        else:
            found.attempt("PNG", _read_png_text, kind, body)


def _read_png_text(found: _Found, kind: bytes, body: bytes) -> None:
    name, _, rest = body.partition(b"\0")
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed = rest[:1] == b"\1"
        _language, _translated, rest = rest[2:].split(b"\0", 2)
    elif packed:
        rest = rest[1:]
    is_xmp = name == b"XML:com.adobe.xmp"
    if packed:
        # Not more than so much: a small chunk can unpack to gigabytes.
        rest = zlib.decompressobj().decompress(rest, _MAX_READ if is_xmp else _MAX_KEPT)
        found.bytes_read += len(rest)
    if is_xmp:
        _read_xmp(found, rest)
    else:
        text = rest[:_MAX_KEPT].decode("utf-8" if kind == b"iTXt" else "latin-1", "replace")
        # ImageMagick's way to keep EXIF, IPTC and XMP: digits that no one can read and that may name people.
        packed_away = name.lower().startswith(b"raw profile type")
        found.add("PNG", name.decode("latin-1"), f"{len(rest)} bytes" if packed_away else _mended(text))


# Of a file's build and not of its origin, or read elsewhere.
_BUILD_TAGS = frozenset({0x111, 0x117, 0x140, 0x144, 0x145, 0x15B, 0x201, 0x202, 0x2BC, 0x8769, 0x8825, 0xA005,
                         0x83BB, 0x8649, 0x8773, 0xEA1C})  # fmt: skip
_XP_TAGS = range(0x9C9B, 0x9CA0)
_USER_COMMENT, _MAKER_NOTE = 0x9286, 0x927C
# Of EXIF 3.0 and of Adobe Camera Raw, which Pillow has no names for.
_TAGS = ExifTags.TAGS | {
    0xA436: "ImageTitle", 0xA437: "Photographer", 0xA438: "ImageEditor", 0xA439: "CameraFirmware",
    0xA43A: "RAWDevelopingSoftware", 0xA43B: "ImageEditingSoftware", 0xA43C: "MetadataEditingSoftware",
    0xFDE8: "OwnerName", 0xFDE9: "SerialNumber", 0xFDEA: "Lens",
}  # fmt: skip


def _read_exif_of(found: _Found, image: Image.Image, info: Mapping[Any, Any]) -> None:
    _read_exif(found, exif_of(image, info))


def _read_exif_bytes(found: _Found, data: bytes) -> None:
    exif = Image.Exif()
    exif.load(data)
    _read_exif(found, exif)


def _read_exif(found: _Found, exif: Image.Exif) -> None:
    _read_tags(found, exif, _TAGS)
    for number, names in ((ExifTags.IFD.Exif, _TAGS), (ExifTags.IFD.GPSInfo, ExifTags.GPSTAGS)):
        found.attempt("EXIF", _read_directory, exif, number, names)


def _read_directory(found: _Found, exif: Image.Exif, number: int, names: dict[int, str]) -> None:
    _read_tags(found, exif.get_ifd(number), names)


def _read_tags(found: _Found, values: MutableMapping[int, Any], names: dict[int, str]) -> None:
    # What stands in the directory of the place is private, also where no one knows what it is.
    unknown = "GPS" if names is ExifTags.GPSTAGS else "Tag"
    for tag in list(values):
        if isinstance(tag, int) and not (names is _TAGS and tag in _BUILD_TAGS) and not found.is_full():
            found.attempt("EXIF", _read_tag, values, tag, names.get(tag, f"{unknown}0x{tag:04X}"))


def _read_tag(found: _Found, values: MutableMapping[int, Any], tag: int, name: str) -> None:
    # Pillow reads a value when it is asked for, so only here is it known to be damaged.
    value = values[tag]
    found.bytes_read += len(value) if isinstance(value, (bytes, str, tuple)) else 8
    found.add("EXIF", name, _exif_text(tag, value))


def _exif_text(tag: int, value: object) -> str:
    if tag == _MAKER_NOTE and isinstance(value, bytes):
        return f"{len(value)} bytes"
    if tag in _XP_TAGS and isinstance(value, (bytes, tuple)):
        return bytes(value[:_MAX_KEPT]).decode("utf-16-le", "replace").rstrip("\0")
    if tag == _USER_COMMENT and isinstance(value, bytes):
        code, body = value[:8].rstrip(b"\0 "), value[8:_MAX_KEPT]
        if code == b"UNICODE":
            return _either_endian(body)
        return _as_text(body if code in (b"ASCII", b"") else value)
    return _mended(_as_text(value))


def _either_endian(body: bytes) -> str:
    # The byte order is nowhere said for sure: that of the text whose characters are mostly of the lower code points.
    big, little = (body.decode(f"utf-16-{order}", "replace") for order in ("be", "le"))
    return big if sum(ord(c) < 0x800 for c in big) >= sum(ord(c) < 0x800 for c in little) else little


def _mended(text: str) -> str:
    """Text read as Latin-1, as the standards have it, that is UTF-8, as most writers have it."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


# Of XMP, what stands in the field's own specifications (Adobe XMP part 2, IPTC Photo Metadata 2023.2).
_PREFIXES = {
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/xap/1.0/mm/": "xmpMM",
    "http://ns.adobe.com/xap/1.0/rights/": "xmpRights",
    "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#": "stEvt",
    "http://ns.adobe.com/xap/1.0/sType/ResourceRef#": "stRef",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/camera-raw-settings/1.0/": "crs",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://ns.adobe.com/exif/1.0/aux/": "aux",
    "http://cipa.jp/exif/1.0/": "exifEX",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": "Iptc4xmpCore",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
    "http://ns.useplus.org/ldf/xmp/1.0/": "plus",
    "http://www.metadataworkinggroup.com/schemas/regions/": "mwg-rs",
}
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_SILENT = (_RDF, "http://www.w3.org/XML/1998/namespace", "adobe:ns:meta/")


class _NoDoctype(ElementTree.TreeBuilder):
    """XMP has no document type, and with one come entities that grow without end."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("XMP with a document type")


def _read_xmp(found: _Found, packet: bytes | str) -> None:
    data = packet.encode("utf-8", "replace") if isinstance(packet, str) else packet
    found.bytes_read += len(data)
    if found.is_full():
        return
    # Some writers leave the name of the JPEG segment in front, some fill up with zeros.
    text = data[max(data.find(b"<"), 0) :].rstrip(b"\0 \t\r\n")
    root = ElementTree.fromstring(text, ElementTree.XMLParser(target=_NoDoctype()))
    waiting = [(root, "")]
    while waiting:
        element, owner = waiting.pop()
        space, name = _split_name(element.tag)
        # A list and its items speak for the property that holds them.
        label = owner if space in _SILENT else f"{_prefix(space)}:{name}"
        if label and element.text:
            found.add("XMP", label, element.text)
        for attribute, value in element.attrib.items():
            space, name = _split_name(attribute)
            if space and space not in _SILENT:
                found.add("XMP", f"{_prefix(space)}:{name}", value)
            elif (space, name) == (_RDF, "resource") and label:
                found.add("XMP", label, value)
        waiting += [(child, label) for child in element]


def _split_name(tag: str) -> tuple[str, str]:
    space, _, name = tag.rpartition("}")
    return space[1:], name


def _prefix(space: str) -> str:
    return _PREFIXES.get(space) or next((part for part in reversed(re.split(r"[/#:]", space)) if part), "xmp")[:24]


def _read_container(file: BinaryIO, found: _Found) -> str:
    file.seek(0)
    # `export_xmp` is MOV's and MP4's; the other formats pass over it.
    options = {"format_whitelist": VIDEO_FORMATS, "export_xmp": "1"}
    try:
        container = av.open(file, mode="r", options=options, metadata_errors="replace")
    except (av.FFmpegError, *_DAMAGE) as error:
        log.debug("no container: %s", error)
        found.note("metadata_unreadable", part="file")
        return ""
    with closing(container):
        for name, value in container.metadata.items():
            if name == "xmp":
                found.attempt("XMP", _read_xmp, value)
            else:
                found.add("container", name, value)
        for stream in container.streams:
            for name, value in stream.metadata.items():
                found.add(f"stream {stream.index} ({stream.type})", name, value)
        return str(container.format.name)


# What is worth noticing

# A name that stands in a field which names software -> how it is called. In order; a generator's name goes first.
_GENERATORS = {
    r"stable[ _-]?diffusion|automatic1111|\bsd[ -]?webui\b": "Stable Diffusion",
    r"comfy ?ui": "ComfyUI",
    r"invoke ?ai": "InvokeAI",
    r"novel ?ai": "NovelAI",
    r"mid ?journey": "Midjourney",
    r"dall[·.\- ]?e\b": "DALL-E",
    r"\bopenai\b|chatgpt|gpt-image": "OpenAI",
    r"firefly": "Adobe Firefly",
    r"google ai\b|\bgemini\b": "Google AI",
    r"\bmeta ai\b|imagined with ai": "Meta AI",
    r"microsoft designer|bing image creator": "Microsoft Designer",
    r"leonardo\.ai": "Leonardo.Ai",
    r"\bideogram\b": "Ideogram",
    r"draw things": "Draw Things",
    r"fooocus": "Fooocus",
    r"swarm ?ui": "SwarmUI",
    r"\bgrok\b": "Grok",
    r"\brunway(ml)?\b": "Runway",
    r"\bsora\b": "Sora",
}
_EDITORS = {
    r"photoshop": "Adobe Photoshop",
    r"lightroom": "Adobe Lightroom",
    r"camera raw": "Adobe Camera Raw",
    r"premiere": "Adobe Premiere",
    r"after effects": "Adobe After Effects",
    r"\bgimp\b": "GIMP",
    r"\bkrita\b": "Krita",
    r"affinity": "Affinity Photo",
    r"snapseed": "Snapseed",
    r"facetune": "Facetune",
    r"\bremini\b": "Remini",
    r"face ?app": "FaceApp",
    r"\breface\b": "Reface",
    r"face ?swap": "a face swapper",
    r"deepfacelab|\bdfl\b": "DeepFaceLab",
    r"\broop\b|facefusion|rope-?live|deep-?live-?cam": "a face swapper",
    r"cap ?cut|jianying": "CapCut",
    r"davinci|\bresolve\b": "DaVinci Resolve",
    r"final cut": "Final Cut Pro",
    r"\bimovie\b": "iMovie",
    r"inshot": "InShot",
    r"picsart": "Picsart",
    r"\bpixlr\b": "Pixlr",
    r"\bcanva\b": "Canva",
    r"meitu|beautyplus": "Meitu",
    r"youcam|perfect365": "YouCam",
    r"airbrush": "AirBrush",
    r"\bvsco\b": "VSCO",
    r"photoroom": "PhotoRoom",
    r"pixelmator": "Pixelmator",
    r"luminar": "Luminar",
    r"topaz|gigapixel": "Topaz",
    r"paint\.net": "Paint.NET",
    r"image ?magick": "ImageMagick",
    r"kdenlive": "Kdenlive",
    r"filmora|wondershare": "Filmora",
    r"\bvegas\b": "VEGAS",
    r"kinemaster": "KineMaster",
}
# Lavc is FFmpeg's encoder; Lavf only puts streams into a file, as cameras and recorders have it do, too.
_REENCODERS = {r"handbrake": "HandBrake", r"\blavc\d": "FFmpeg", r"produced by google": "Google (YouTube)"}
# What people write, where a program's name may be a word like others or somebody's name: there it must be spelled out.
_FREE_TEXT = frozenset({"comment", "source", "credit", "make", "model"})
_AMBIGUOUS = frozenset({
    r"firefly", r"google ai\b|\bgemini\b", r"\bmeta ai\b|imagined with ai", r"\bideogram\b", r"\bgrok\b",
    r"\brunway(ml)?\b", r"\bsora\b", r"premiere", r"affinity", r"\bremini\b", r"\breface\b", r"davinci|\bresolve\b",
    r"\bcanva\b", r"airbrush", r"luminar", r"topaz|gigapixel", r"\bvegas\b",
    r"\broop\b|facefusion|rope-?live|deep-?live-?cam", r"after effects", r"face ?swap",
})  # fmt: skip
_SPELLED_OUT = {
    r"adobe firefly": "Adobe Firefly", r"(made|edited) with google ai|google gemini|gemini (nano|flash|pro)": "Google AI",
    r"imagined with (meta )?ai\b|(made|generated|edited) with meta ai\b": "Meta AI",
    r"openai sora": "Sora", r"runwayml|runway gen": "Runway", r"xai grok|grok imagine": "Grok",
    r"ideogram\.ai|ideogram ai": "Ideogram", r"adobe premiere|premiere pro": "Adobe Premiere",
    r"affinity (photo|designer)": "Affinity Photo", r"davinci resolve": "DaVinci Resolve",
    r"(sony|magix) vegas|vegas pro": "VEGAS", r"facefusion|deep-?live-?cam|rope-?live": "a face swapper",
    r"adobe after effects": "Adobe After Effects", r"topaz labs|topaz (photo|video|gigapixel)": "Topaz",
    r"luminar (neo|ai|\d)": "Luminar", r"canva\.com": "Canva",
}  # fmt: skip
# Fields in which a program names itself. In others the same word may be what the picture shows.
_SOFTWARE_FIELDS = frozenset({
    "software", "processingsoftware", "creatortool", "softwareagent", "encoder", "encodedby", "encodingtool", "tool",
    "comapplequicktimesoftware", "handlername", "program", "originatingprogram", "writingapp", "muxingapp", "comment",
    "combytedanceinfo", "historysoftwareagent", "source",
})  # fmt: skip
# Generators also name themselves as the camera and in the credit line.
_GENERATOR_FIELDS = _SOFTWARE_FIELDS | {"make", "model", "credit"}
_GENERATIVE_SOURCES = frozenset({
    "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "algorithmicMedia", "compositeSynthetic",
    "trainedAlgorithmicData",
})  # fmt: skip
_FIELDS_OF_INVOKEAI = frozenset({"invokeaimetadata", "invokeaigraph", "invokeaiworkflow", "sdmetadata", "dream"})
# In the label that Chinese law (GB 45438-2025) wants in generated media; 2 and 3 are for what may be.
_SAYS_GENERATED = re.compile(r"\bLabel\W{1,8}1\b", re.IGNORECASE)
_COMFY_GRAPH = re.compile(r'"class_type"|"last_node_id"')
_DAY = timedelta(days=1)


def _notice(found: _Found, *, camera_expected: bool, form: str) -> None:
    entries = list(found.entries)
    for entry in entries:
        if generator := _generator_by_field(entry):
            found.note("generator_data", field=entry.where, generator=generator)
        elif entry.key == "aigc":
            found.note("aigc_label", field=entry.where)
        if entry.key in _GENERATOR_FIELDS and (name := _named(entry, _GENERATORS)):
            found.note("generator_named", field=entry.where, generator=name)
        if entry.key in _SOFTWARE_FIELDS:
            if name := _named(entry, _EDITORS):
                found.note("editing_software", field=entry.where, software=name)
            if "(audio)" not in entry.group and (name := _named(entry, _REENCODERS)):
                found.note("encoded_again", field=entry.where, encoder=name)
        if entry.key in ("digitalsourcetype", "digitalsourcefiletype"):
            origin = _last_part(entry.text)
            if origin in _GENERATIVE_SOURCES:
                found.note("digital_source_type", field=entry.where, type=origin)
    if camera_expected and not {"make", "model"} & {entry.key for entry in entries}:
        found.note("no_camera_data", format=form)
    _notice_times(found, entries)


def _generator_by_field(entry: _Entry) -> str | None:
    """The image generator that writes such a field."""
    key, text = entry.key, entry.text[:10_000]
    graph = ("prompt:{", "workflow:{")
    if text.startswith(graph) or (key in ("prompt", "workflow", "comment") and re.search(_COMFY_GRAPH, entry.text)):
        return "ComfyUI"
    if "sui_image_params" in text:
        return "SwarmUI"
    if re.search(r"\bSteps: \d+, Sampler: ", text):
        return "Stable Diffusion WebUI"
    if key in _FIELDS_OF_INVOKEAI:
        return "InvokeAI"
    if key == "fooocusscheme":
        return "Fooocus"
    if key == "description" and re.search(r"\bJob ID: [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", text):
        return "Midjourney"
    return "AIGC" if key == "aigc" and re.search(_SAYS_GENERATED, text) else None


def _merged(notes: Iterable[Note]) -> tuple[Note, ...]:
    """Sorted, each once: what several fields say alike becomes one note that names them all."""
    fields: dict[tuple[NoteKey, tuple[tuple[str, str], ...]], set[str]] = {}
    for note in notes:
        rest = {name: value for name, value in note.values.items() if name != "field"}
        named = fields.setdefault((note.key, tuple(sorted(rest.items()))), set())
        if "field" in note.values:
            named.add(note.values["field"])
    merged = []
    for (key, values), named in sorted(fields.items()):
        merged.append(Note(key, dict(values) | ({"field": ", ".join(sorted(named))} if named else {})))
    return tuple(merged)


def _named(entry: _Entry, names: dict[str, str]) -> str | None:
    """How the program is called that the field names, if it is one of these."""
    if entry.key in _FREE_TEXT:
        called = set(names.values())
        names = {pattern: name for pattern, name in names.items() if pattern not in _AMBIGUOUS}
        names |= {pattern: name for pattern, name in _SPELLED_OUT.items() if name in called}
    return next((name for pattern, name in names.items() if re.search(pattern, entry.text[:2000], re.IGNORECASE)), None)


def _last_part(text: str) -> str:
    """Of a term's address its name: `.../digitalsourcetype/trainedAlgorithmicMedia`."""
    return _plain(re.split(r"[/#]", text.strip()[:2000])[-1], _MAX_NAME)


# When it was taken, and when it was last changed.
_TAKEN = ("EXIF DateTimeOriginal", "XMP exif:DateTimeOriginal", "XMP photoshop:DateCreated",
          "container com.apple.quicktime.creationdate")  # fmt: skip
_CHANGED = ("EXIF DateTime", "XMP xmp:ModifyDate", "container creation_time")


def _notice_times(found: _Found, entries: Iterable[_Entry]) -> None:
    """Times that don't fit. Time zones are often missing, so less than a day says nothing but within one standard."""
    times: dict[str, datetime] = {}
    for entry in entries:
        where = f"{entry.group} {entry.name}"
        if where in (*_TAKEN, *_CHANGED) and (time := _time(entry.text)):
            times.setdefault(where, time)
    told: set[str] = set()
    for taken, changed in product(
        (name for name in _TAKEN if name in times), (name for name in _CHANGED if name in times)
    ):
        gap = times[changed] - times[taken]
        tolerated = timedelta(minutes=1) if taken.startswith("EXIF") and changed.startswith("EXIF") else _DAY
        values = {"taken_field": taken, "taken": str(times[taken]), "changed_field": changed,
                  "changed": str(times[changed])}  # fmt: skip
        # The same two times mostly stand in several fields: once is enough.
        if gap < -tolerated and "before" not in told:
            told.add("before")
            found.note("changed_before_taken", **values)
        elif gap > _DAY and "after" not in told:
            told.add("after")
            found.note("times_disagree", days=str(gap.days), **values)


def _time(text: str) -> datetime | None:
    """EXIF's `2026:11:24 10:00:00` or ISO 8601, as the clock showed it there; None for what was never set."""
    match = re.match(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?", text.strip()[:40])
    try:
        time = datetime(*(int(part or 0) for part in match.groups())) if match else None  # type: ignore[arg-type]
    except ValueError:
        return None
    # Containers count from 1904 or 1970, and a clock that was never set says so.
    return time if time and time.year >= 1980 else None


# C2PA

# A manifest may stand elsewhere, name a server to ask for revocation, and hold identities that lead to more servers;
# nothing is fetched. The list of hosts is empty besides, which the library does not heed for identities (c2pa-rs #1645).
_OFFLINE = {
    "verify": {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"decode_identity_assertions": False, "allowed_network_hosts": []},
}
_MAX_ACTIONS = 50


def certificates(text: str, *, of: str) -> str:
    """The certificates in the text of a PEM file, one after the other, without the comments between them.

    The library for C2PA passes over much that is no certificate, and the signer would seem to be trusted by nobody.

    Args:
        of: Where the text is from, for the message.

    Raises:
        OptionsError: There are none, or one that can't be read.
    """
    import ssl

    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    lines = "\n".join(map(str.rstrip, text.splitlines()))
    blocks = re.findall(f"^{begin}$.*?^{end}$", lines, re.MULTILINE | re.DOTALL)
    wanted = f"{of}: expected certificates in PEM, one after the other"
    if not blocks or len(blocks) != lines.count(begin):
        raise OptionsError(f"{wanted}, found {'one that is cut or indented' if begin in lines else 'none'}")
    read = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for i, block in enumerate(blocks, start=1):
        try:
            # As bytes it would be taken for DER.
            read.load_verify_locations(cadata=block.encode("ascii").decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise OptionsError(f"{wanted}; the one at place {i} can't be read ({error})") from error
    found = "\n".join((*blocks, ""))
    if (context := _c2pa_context(found)) is not None:
        context.close()
    return found


def _c2pa_context(trust_anchors: str) -> Any:
    """How c2pa is to read; None where it is not installed, or might fetch something.

    Raises:
        OptionsError: It can't use these certificates.
    """
    try:
        import c2pa
    except (ImportError, OSError, RuntimeError) as error:
        log.debug("c2pa: %s", error)
        return None
    try:
        context = c2pa.Context.from_dict(_OFFLINE)
    except c2pa.C2paError as error:
        # A version that does not know these settings might fetch something, so it is as good as none.
        log.debug("c2pa: %s", error)
        return None
    if not trust_anchors:
        return context
    context.close()
    try:
        return c2pa.Context.from_dict({**_OFFLINE, "trust": {"trust_anchors": trust_anchors}})
    except c2pa.C2paError as error:
        raise OptionsError(f"trust: c2pa can't use these certificates ({error})") from error


def _read_credentials(file: BinaryIO, found: _Found, trust_anchors: str) -> ContentCredentials:
    context = _c2pa_context(trust_anchors)
    if context is None:
        return ContentCredentials("not_read", reason="library_missing")
    import c2pa

    file.seek(0)
    try:
        # The format is left open: the name may lie about it, the content does not.
        with closing(context), c2pa.Reader(None, file, context=context) as reader:
            store = json.loads(reader.json())
    except (c2pa.C2paError, ValueError) as error:
        return _without_manifest(str(error), found)
    try:
        return _credentials(store)
    except _DAMAGE as error:
        # Whoever signs may put anything into a manifest, and that must cost nobody a verdict.
        log.debug("c2pa: %s", error)
        return ContentCredentials("not_read", reason="unreadable")


def _without_manifest(error: str, found: _Found) -> ContentCredentials:
    if "ManifestNotFound" in error:
        return ContentCredentials("absent")
    if address := re.search(r"remote manifests? from url (\S+)", error):
        found.note("credentials_elsewhere", host=_plain(urlsplit(address[1]).hostname or "", _MAX_NAME))
        return ContentCredentials("not_read", reason="elsewhere")
    log.debug("c2pa: %s", error)
    return ContentCredentials("not_read", reason="not_supported" if "NotSupported" in error else "unreadable")


def _credentials(store: dict[str, Any]) -> ContentCredentials:
    manifests = store.get("manifests", {})
    manifest = manifests.get(store.get("active_manifest"), {})
    signature = manifest.get("signature_info") or {}
    results = store.get("validation_results") or {}
    failures = tuple(sorted(set(_failures(results))))
    # Whoever signs may run a clock of their own and set it to any day.
    vouched = "timeStamp.trusted" in _codes(results.get("activeManifest"), "success")
    state = store.get("validation_state")
    actions = [action for label, data in _assertions(manifest) if label.startswith("c2pa.actions")
               for action in _actions(data)]  # fmt: skip
    origins = {_last_part(origin) for each in manifests.values() for _, data in _assertions(each)
               for origin in _source_types(data)}  # fmt: skip
    makers = manifest.get("claim_generator_info") or [{"name": manifest.get("claim_generator") or ""}]
    return ContentCredentials(
        # The library calls a manifest valid that is well-formed and whose signer it has no reason to trust.
        {"Trusted": "valid", "Valid": "untrusted"}.get(str(state), "invalid"),  # type: ignore[arg-type]
        signer=_plain(str(signature.get("common_name") or ""), _MAX_NAME),
        issuer=_plain(str(signature.get("issuer") or ""), _MAX_NAME),
        time=_plain(str(signature.get("time") or ""), _MAX_NAME) if vouched else "",
        generator=_plain(" ".join(str(makers[0].get(part) or "") for part in ("name", "version")), _MAX_NAME),
        actions=tuple(_plain(str(action.get("action", "")), _MAX_NAME) for action in actions[:_MAX_ACTIONS]),
        digital_source_types=tuple(sorted(origins))[:_MAX_ACTIONS],
        failures=failures[:_MAX_ACTIONS],
    )


def _assertions(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for assertion in manifest.get("assertions") or ():
        if isinstance(data := assertion.get("data"), dict):
            yield str(assertion.get("label", "")), data


def _actions(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The actions of an assertion. In a vendor's own, anything may bear that name, such as a count."""
    actions = data.get("actions")
    return [action for action in actions if isinstance(action, dict)] if isinstance(actions, list) else []


def _source_types(data: dict[str, Any]) -> Iterator[str]:
    """Digital source types of an assertion: of its actions, or an IPTC property of its own."""
    for holder in (data, *_actions(data)):
        for name, value in holder.items():
            if name.rpartition(":")[2].lower() == "digitalsourcetype" and isinstance(value, str):
                yield value


def _failures(results: dict[str, Any]) -> Iterator[str]:
    """Codes of what did not hold: of the manifest, and of those of the parts it was made of."""
    parts = [results.get("activeManifest")]
    parts += [delta.get("validationDeltas") for delta in results.get("ingredientDeltas") or ()]
    for part in parts:
        yield from _codes(part, "failure")


def _codes(part: dict[str, Any] | None, outcome: str) -> list[str]:
    """What the library found of a manifest: `success`, `informational` or `failure`."""
    return [_plain(str(found.get("code", "")), _MAX_NAME) for found in (part or {}).get(outcome) or ()]
