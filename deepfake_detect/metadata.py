"""File -> what its metadata say: EXIF, XMP, the text of a PNG, what stands in a video's container; who and where withheld.

What they hold was written by anyone: it is cut, freed of control characters and kept as plain text. Whoever shows it in a
page must still escape it.
"""

from __future__ import annotations

import logging
import re
import struct
import unicodedata
import zlib
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec
from xml.etree import ElementTree

import av
import pillow_heif
from PIL import ExifTags, Image

from .exif import exif_of
from .files import quietly
from .source import DECODER_ERRORS, PICTURE_FORMATS, VIDEO_FORMATS
from .types import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping
    from typing import BinaryIO

    from .types import NoteKey

log = logging.getLogger(__name__)

_P = ParamSpec("_P")

WITHHELD = "[withheld]"
MAX_CHARACTERS = 300
MAX_NAME = 80

# What is looked at is far more than what is shown, as a mark may stand behind many others; still, a small file must not
# unpack to gigabytes: characters of one value, how many values, and bytes in all.
_MAX_KEPT = 20_000
_MAX_LOOKED_AT = 2000
_MAX_READ = 8_000_000
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
# What Pillow, pillow-heif and the parsers raise on damaged data.
DAMAGE = (*DECODER_ERRORS, AttributeError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Entry:
    """A field, by the part of the file it stands in and its name there, and what it says."""

    group: str
    name: str
    text: str

    @property
    def where(self) -> str:
        """As it is called in a note."""
        return one_line(f"{self.group} {self.name}", MAX_NAME)

    @property
    def key(self) -> str:
        """The name without its name space, case and separators, such as `creatortool` of `xmp:CreatorTool`."""
        return re.sub(r"[^a-z0-9]", "", self.name.rpartition(":")[2].lower())

    def shown(self, withheld: frozenset[str]) -> str:
        """The value as it is stated, where `withheld` are the words that other fields withhold."""
        return WITHHELD if self.is_private or self._says(withheld) else one_line(self.text, MAX_CHARACTERS)

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
        if self.key in SOFTWARE_FIELDS - FREE_TEXT or self.key.endswith(("make", "model")):
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
# What people write.
FREE_TEXT = frozenset({"comment", "source", "credit", "make", "model"})
# Fields in which a program names itself. In others the same word may be what the picture shows.
SOFTWARE_FIELDS = frozenset({
    "software", "processingsoftware", "creatortool", "softwareagent", "encoder", "encodedby", "encodingtool", "tool",
    "comapplequicktimesoftware", "handlername", "program", "originatingprogram", "writingapp", "muxingapp", "comment",
    "combytedanceinfo", "historysoftwareagent", "source",
})  # fmt: skip


@dataclass
class Found:
    """What a file's metadata hold, as it is gathered."""

    entries: list[Entry] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    left_out: bool = False
    bytes_read: int = 0

    def add(self, group: str, name: object, value: object) -> None:
        """A field, unless it is empty or too many were found."""
        text = _as_text(value)
        if text.strip() and not self.is_full():
            self.entries.append(Entry(group, str(name)[:MAX_NAME], text))

    def is_full(self) -> bool:
        """Whether more was found than is looked at: from here on all is left out."""
        self.left_out |= len(self.entries) >= _MAX_LOOKED_AT or self.bytes_read > _MAX_READ
        return self.left_out

    def note(self, key: NoteKey, **values: str) -> None:
        """That something is worth noticing."""
        self.notes.append(Note(key, values))

    def attempt(
        self, part: str, read: Callable[Concatenate[Found, _P], None], *args: _P.args, **kwargs: _P.kwargs
    ) -> None:
        """Read one part of the metadata; that it is damaged is worth a note and the rest may still be fine."""
        try:
            read(self, *args, **kwargs)
        except (*DAMAGE, ElementTree.ParseError) as error:
            log.debug("metadata %s: %s", part, error)
            self.note("metadata_unreadable", part=part)


def one_line(text: str, most: int) -> str:
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


def last_part(text: str) -> str:
    """Of a term's address its name: `.../digitalsourcetype/trainedAlgorithmicMedia`."""
    return one_line(re.split(r"[/#]", text.strip()[:2000])[-1], MAX_NAME)


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        text = value[:_MAX_KEPT].rstrip(b"\0").decode("utf-8", "replace")
        odd = sum(c == "\ufffd" or (unicodedata.category(c) == "Cc" and not c.isspace()) for c in text[:200])
        return text if odd * 10 <= len(text[:200]) else f"{len(value)} bytes"
    if isinstance(value, tuple):
        more = " …" if len(value) > 16 else ""
        return " ".join(_as_text(item) for item in value[:16]) + more
    return str(value)[:_MAX_KEPT]


def read_metadata(file: BinaryIO, found: Found) -> str:
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
        except DAMAGE:
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
        except DAMAGE as error:
            log.debug("metadata of %s: %s", image.format, error)
    return image.info


def _read_picture(image: Image.Image, info: Mapping[Any, Any], found: Found) -> None:
    found.attempt("EXIF", _read_exif_of, image, info)
    if isinstance(packet := info.get("xmp"), (bytes, str)) and packet:
        found.attempt("XMP", _read_xmp, packet)
    if comment := info.get("comment"):
        found.add(image.format or "", "Comment", comment)


def _read_png(found: Found, file: BinaryIO) -> None:
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


def _read_png_text(found: Found, kind: bytes, body: bytes) -> None:
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


def _read_exif_of(found: Found, image: Image.Image, info: Mapping[Any, Any]) -> None:
    _read_exif(found, exif_of(image, info))


def _read_exif_bytes(found: Found, data: bytes) -> None:
    exif = Image.Exif()
    exif.load(data)
    _read_exif(found, exif)


def _read_exif(found: Found, exif: Image.Exif) -> None:
    _read_tags(found, exif, _TAGS)
    for number, names in ((ExifTags.IFD.Exif, _TAGS), (ExifTags.IFD.GPSInfo, ExifTags.GPSTAGS)):
        found.attempt("EXIF", _read_directory, exif, number, names)


def _read_directory(found: Found, exif: Image.Exif, number: int, names: dict[int, str]) -> None:
    _read_tags(found, exif.get_ifd(number), names)


def _read_tags(found: Found, values: MutableMapping[int, Any], names: dict[int, str]) -> None:
    # What stands in the directory of the place is private, also where no one knows what it is.
    unknown = "GPS" if names is ExifTags.GPSTAGS else "Tag"
    for tag in list(values):
        if isinstance(tag, int) and not (names is _TAGS and tag in _BUILD_TAGS) and not found.is_full():
            found.attempt("EXIF", _read_tag, values, tag, names.get(tag, f"{unknown}0x{tag:04X}"))


def _read_tag(found: Found, values: MutableMapping[int, Any], tag: int, name: str) -> None:
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


def _read_xmp(found: Found, packet: bytes | str) -> None:
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


def _read_container(file: BinaryIO, found: Found) -> str:
    file.seek(0)
    # `export_xmp` is MOV's and MP4's; the other formats pass over it.
    options = {"format_whitelist": VIDEO_FORMATS, "export_xmp": "1"}
    try:
        container = av.open(file, mode="r", options=options, metadata_errors="replace")
    except (av.FFmpegError, *DAMAGE) as error:
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
