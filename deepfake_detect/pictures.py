"""An open file -> its picture, or the frames of an animation: what Pillow reads."""

from __future__ import annotations

import logging
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from .exif import exif_of
from .files import quietly
from .source import DECODER_ERRORS, PICTURE_FORMATS, check_pixels, first_line, is_hunger
from .types import Frame, MediaInfo, Note

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator, Sequence

    from .options import Options
    from .source import Identity

log = logging.getLogger(__name__)

_ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
_ERRORS = (*DECODER_ERRORS, Image.DecompressionBombError)
# By the orientation in EXIF.
_TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
          5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
          8: Image.Transpose.ROTATE_90}  # fmt: skip
_ANIMATION_FRAME_S = 0.1
# Transfer characteristics of ITU-T H.273: PQ and HLG.
_HDR_TRANSFERS = (16, 18)
# Those of cameras and screens have some hundred bytes to some thousand: what is much larger is not for colours.
_LARGEST_PROFILE = 2**20
# Tags of TIFF: what a directory holds, with 1 for a smaller copy of another picture, and where there are more directories.
_NEW_SUBFILE_TYPE, _REDUCED, _SUB_DIRECTORIES = 254, 1, 330

# So much of a file is searched at once; and the box that a video begins with is no longer than this.
_BLOCK, _LONGEST_FIRST_BOX = 2**20, 256


def is_picture(head: bytes) -> bool:
    """Whether a file that begins like that is for Pillow to read."""
    # TIFF has two orders of bytes, each with addresses of 32 or, where it may be larger, of 64 bits.
    tiff = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", *tiff)):
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


@dataclass(frozen=True)
class Picture:
    """A picture that was read: uint8 (H, W, 3) RGB, upright, what was noticed in it, and by which ICC profile its numbers
    are colours; empty where nothing is said."""

    info: MediaInfo
    pixels: np.ndarray
    notes: tuple[Note, ...] = ()
    profile: bytes = b""


def open_picture(file: io.BufferedReader, identity: Identity, options: Options) -> Picture | Animation:
    """Read a picture, after which its file is closed, or begin to read an animation.

    Raises:
        MediaError: It is damaged or too large.
    """
    pillow_heif.register_heif_opener()
    with quietly():
        # The size is checked below, against our own limit; a corrupt tag in an otherwise fine picture is no one's news.
        try:
            image = Image.open(file, formats=PICTURE_FORMATS)
        except Image.DecompressionBombError as error:
            found = f"has more pixels than can be read safely ({first_line(error)}); reduce it"
            raise identity.error(found, kind="too_large") from error
        except UnidentifiedImageError as error:
            found = "begins like a picture but can't be read as one; it is damaged or cut short, get it again"
            raise identity.error(found, kind="damaged") from error
        except _ERRORS as error:
            raise identity.damaged("picture", error) from error
        check_pixels(identity.name, *image.size, options)
        try:
            if _is_raw(image):
                found = "is a camera's raw file, of which only a small preview can be read; save it as a JPEG or TIFF"
                raise identity.error(found, kind="unsupported")
            if image.format in _ANIMATED_FORMATS and getattr(image, "is_animated", False):
                return Animation(file, image, identity, options)
            pixels, notes = _read_picture(image, file)
            if _holds_video(file):
                notes.append(Note("motion_photo"))
        except _ERRORS as error:
            raise identity.damaged("picture", error) from error
    codec = (image.format or "").lower().replace("mpo", "jpeg")
    height, width = pixels.shape[:2]
    info = MediaInfo(identity.path, "image", identity.size, identity.sha256, width, height, codec=codec)
    file.close()
    return Picture(info, pixels, tuple(notes), _profile(image))


def _is_raw(image: Image.Image) -> bool:
    """Whether it is a camera's raw file (DNG, NEF, ARW): like a TIFF, but what comes first is a preview of what lies in the
    directories below it."""
    if image.format != "TIFF":
        return False
    tags = image.tag_v2  # type: ignore[attr-defined]
    return bool(tags.get(_NEW_SUBFILE_TYPE) == _REDUCED and _SUB_DIRECTORIES in tags)


def _read_picture(image: Image.Image, file: io.BufferedReader) -> tuple[np.ndarray, list[Note]]:
    notes, in_passes = [], _comes_in_passes(image)
    if image.format == "TIFF" and (pages := _pages(image)) > 1:
        notes.append(Note("other_pages", {"pages": str(pages)}))
    if image.format == "HEIF" and (count := getattr(image, "n_frames", 1)) > 1:
        notes.append(Note("other_pictures", {"pictures": str(count)}))
    if _is_hdr(image, file):
        notes.append(Note("hdr"))
    # By an orientation in it Pillow would turn a TIFF while that is loaded.
    image.info.pop("xmp", None)
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
        pixels = np.asarray(image)
        # What comes first in a BMP is the row at the bottom.
        missing = _blank_share(pixels[::-1] if image.format in ("BMP", "DIB") else pixels)
        if missing >= 1:
            raise
        if in_passes:
            notes.append(Note("picture_coarse"))
        else:
            notes.append(Note("picture_cut_short", {"missing": f"{missing:.0%}"}))
    notes += _transparent(image)
    turn = _turn_of(image)
    return _to_rgb(image if turn is None else image.transpose(turn), image.format), notes


def _comes_in_passes(image: Image.Image) -> bool:
    """Whether a picture that is not loaded yet is coarse all over at first, then finer and finer."""
    if image.format == "GIF":
        # Pillow tells no one but its decoder.
        return any(tile.args[1] for tile in image.tile)  # type: ignore[attr-defined]
    return bool(image.info.get("progressive") or image.info.get("interlace"))


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    """What brings a picture upright, by its EXIF; where that can't be read the picture is no worse for it."""
    try:
        return _TURNS.get(exif_of(image).get(ExifTags.Base.Orientation, 1))
    except MemoryError:
        raise
    except _ERRORS as error:
        log.debug("EXIF: %s", error)
        return None


def _pages(image: Image.Image) -> int:
    """How many pages a TIFF has; 1 where the second can't be read, which is no reason to refuse the first."""
    try:
        pages: int = getattr(image, "n_frames", 1)
        image.seek(0)
    except _ERRORS:
        return 1
    return pages


def _blank_share(pixels: np.ndarray) -> float:
    """The share of rows at the end that all look like the last one: what a decoder fills in for missing data."""
    rows = pixels.reshape(len(pixels), -1)
    differs = np.flatnonzero((rows != rows[-1]).any(axis=1))
    return 1.0 - (differs[-1] + 1) / len(rows) if len(differs) else 1.0


def _is_hdr(image: Image.Image, file: io.BufferedReader) -> bool:
    """Whether a picture was made for a high dynamic range, as HEIC and AVIF say."""
    profile: dict[str, Any] | None = image.info.get("nclx_profile")
    if image.format == "AVIF":
        # Pillow keeps this to itself; what reads HEIC knows the boxes of AVIF, too, and decodes nothing until asked.
        try:
            file.seek(0)
            profile = pillow_heif.open_heif(file).info.get("nclx_profile")
        except MemoryError:
            raise
        except _ERRORS as error:
            log.debug("colours: %s", error)
    return (profile or {}).get("transfer_characteristics") in _HDR_TRANSFERS


def _holds_video(file: io.BufferedReader) -> bool:
    """Whether a video lies in the file of a picture, as many phones keep what happened around a photo.

    Behind a JPEG, in a box of a HEIC, or behind either with a mark of the maker's: it is a whole MP4 each time. What the
    metadata say of it is not asked, since they outlast a video that was cut off.
    """
    file.seek(0)
    done, behind = 0, b""
    while block := file.read(_BLOCK):
        data = behind + block
        at = data.find(b"ftyp")
        while at >= 0:
            begin = done - len(behind) + at - 4
            # Before its name stands how long the box is.
            if begin > 0 and data[at - 4 : at - 2] == b"\0\0":
                file.seek(begin)
                if _begins_video(file.read(_LONGEST_FIRST_BOX + 8)):
                    return True
            at = data.find(b"ftyp", at + 1)
        done += len(block)
        file.seek(done)
        behind = data[-7:]
    return False


def _begins_video(head: bytes) -> bool:
    """Whether what begins with a box `ftyp` (ISO 14496-12, 4.3) is a video: another box follows, and it is no picture."""
    size = int.from_bytes(head[:4])
    return 16 <= size <= _LONGEST_FIRST_BOX and head[size + 4 : size + 8].isalpha() and not is_picture(head)


def _transparent(image: Image.Image) -> list[Note]:
    """What there is to say where most of a picture is transparent, or more than half so."""
    # Of a picture whose palette was lost Pillow can't say.
    lost = image.mode in ("P", "PA") and image.palette is None
    if lost or not image.has_transparency_data:
        return []
    opacities = image.convert("RGBA").getchannel("A").histogram()
    clear = sum(opacities[:128]) / sum(opacities)
    return [Note("transparent", {"share": f"{clear:.0%}"})] if clear > 0.5 else []


def _profile(image: Image.Image) -> bytes:
    """The ICC profile of a picture whose numbers `_to_rgb` keeps; empty where it has none, or none of RGB."""
    profile = bytes(image.info.get("icc_profile") or b"") if image.mode in ("RGB", "RGBA", "P") else b""
    of_rgb = profile[16:20] == b"RGB " and profile[36:40] == b"acsp"
    return profile if of_rgb and len(profile) <= _LARGEST_PROFILE else b""


def _to_rgb(image: Image.Image, form: str | None) -> np.ndarray:
    """Any mode of Pillow, of a file in this format -> uint8 (H, W, 3). Transparent parts show white, as in most viewers."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image).astype(np.float32))
        # Integers use the range of 8 to 16 bits, those of PNG all 16, floats often 0 to 1; what is larger is scaled to its
        # own maximum.
        most = float(values.max(initial=0))
        bits = (16,) if form == "PNG" else (8, 10, 12, 14, 16)
        limits = (*((1.0,) if image.mode == "F" else ()), *(2.0**each - 1 for each in bits))
        top = next((limit for limit in limits if most <= limit), most)
        grey = (values.clip(0, top) / top * 255 + 0.5).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("P", "PA") or "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


class Animation:
    """GIF, WebP, PNG or AVIF with several frames: a video read by Pillow. It is used as a `video.Video` is."""

    sounds = ()
    keys = ()

    def __init__(self, file: io.BufferedReader, image: Image.Image, identity: Identity, options: Options) -> None:
        self._file, self._image, self._identity, self._options = file, image, identity, options
        self.times, clock = array("d"), 0.0
        self.notes: list[Note] = []
        damaged = False
        # A PNG may begin with a picture for programs that know no animations: it is none of its frames.
        self._skipped = 1 if image.info.get("default_image") else 0
        count: int = image.n_frames - self._skipped  # type: ignore[attr-defined]
        for i in range(count):
            try:
                self._seek(i)
                image.load()
                if i == 0:
                    self.notes += _transparent(image)
            except _ERRORS as error:
                if not self.times or is_hunger(error):
                    raise identity.damaged("animation", error) from error
                damaged = True
                break
            self.times.append(clock)
            clock += float(image.info.get("duration") or 0) / 1000 or _ANIMATION_FRAME_S
        self.end_s = clock
        self._turn = _turn_of(image)
        width, height = (image if self._turn is None else image.transpose(self._turn)).size
        codec = (image.format or "").lower()
        self.info = MediaInfo(identity.path, "video", identity.size, identity.sha256, width, height,
                              round(clock, 6), round(len(self.times) / clock, 6), codec, start_s=0.0)  # fmt: skip
        if _is_hdr(image, file):
            self.notes.append(Note("hdr"))
        if damaged:
            missing = count - len(self.times)
            self.notes.append(Note("frames_missing", {"missing": str(missing), "frames": str(count)}))

    def frames(self, sampled: Sequence[int], between: Sequence[int] = ()) -> Iterator[Frame]:
        looked_at = set(sampled)
        for i in sorted({*sampled, *between}):
            yield Frame(self._pixels(i), self.times[i], sampled=i in looked_at)

    def stretch(self, first: int, last: int, *, size: tuple[int, int] | None = None) -> Iterator[Frame]:
        for i in range(first, last):
            pixels = self._pixels(i)
            if size is not None and size != (pixels.shape[1], pixels.shape[0]):
                pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
            yield Frame(pixels, self.times[i])

    def _pixels(self, i: int) -> np.ndarray:
        with quietly():
            try:
                return self._upright(i)
            except _ERRORS as error:
                log.debug("%s: %s", self._identity.name, error)
            # Where a frame was damaged the reader may not find back to those before; a new one does.
            try:
                self._file.seek(0)
                self._image = Image.open(self._file, formats=PICTURE_FORMATS)
                return self._upright(i)
            except _ERRORS as error:
                raise self._identity.damaged("animation", error) from error

    def _upright(self, i: int) -> np.ndarray:
        self._seek(i)
        image = self._image
        return _to_rgb(image if self._turn is None else image.transpose(self._turn), image.format)

    def _seek(self, i: int) -> None:
        self._image.seek(i + self._skipped)
        # A GIF grows where a frame is larger than the first.
        check_pixels(self._identity.name, *self._image.size, self._options)

    def close(self) -> None:
        self._file.close()
