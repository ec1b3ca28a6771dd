"""An opened picture -> the EXIF that its file holds, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image

if TYPE_CHECKING:
    from collections.abc import Mapping


def exif_of(image: Image.Image, info: Mapping[Any, Any] | None = None) -> Image.Exif:
    """What Pillow's own `getexif` gives, but for an orientation that stands in XMP alone: viewers turn no picture by that.

    Args:
        image: Opened; of a PNG, whose EXIF may lie behind the picture, loaded.
        info: What to take it from in place of `image.info`.

    Raises:
        Exception: What Pillow raises on damaged data.
    """
    if image.format == "TIFF":
        exif = image.getexif()
        if ExifTags.Base.Orientation not in image.tag_v2:  # type: ignore[attr-defined]
            exif.pop(ExifTags.Base.Orientation, None)
        return exif
    known = image.info if info is None else info
    # A picture without any XMP.
    bare = Image.new("1", (1, 1))
    bare.info = {name: known[name] for name in ("exif", "Raw profile type exif") if known.get(name)}
    return bare.getexif()
