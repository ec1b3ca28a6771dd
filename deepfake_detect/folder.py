"""The folder of a report, which may come from anyone: what is read of it, so that it harms nobody who looks."""

from __future__ import annotations

import hashlib
import io
import math
import os
import zipfile
from pathlib import Path

import numpy as np

from . import source
from .errors import MediaError

# No list of fingerprints, record or signature is larger, nor an array of a map or a crop.
_LARGEST_FILE, _LARGEST_ARRAY = 256 * 2**20, 64 * 2**20
# So many characters of an error's words are told.
LONGEST = 300
# What an archive of a view holds at most.
_ARRAYS = ("evidence", "crop", "to_frame")
# What NumPy and what it reads archives by raise on damaged data.
NO_MAP = (*source.DECODER_ERRORS, zipfile.BadZipFile)


def opened(folder: Path, name: str) -> io.BufferedReader:
    """A regular file of the folder, and nothing that a link leads to: whoever made the folder does not say what else is
    opened here, nor does a pipe hold us up.

    Raises:
        MediaError: It is not there, no regular file, or lies elsewhere.
    """
    below = Path(name).parent
    place = Path(os.path.realpath(folder)) / below
    # To Windows /x is not absolute, and yet leads out.
    if Path(name).anchor or ".." in below.parts or os.path.realpath(place) != str(place):
        raise MediaError(f"{source.shown(name)}: lies behind a link or outside the folder", kind="not_a_file")
    return source.open_file(folder / name, follow=False)


def read_file(folder: Path, name: str) -> bytes:
    """What is in a file.

    Raises:
        MediaError: As `opened`, or it is too large.
    """
    with opened(folder, name) as file:
        data = file.read(_LARGEST_FILE + 1)
    if len(data) > _LARGEST_FILE:
        raise MediaError(f"{source.shown(name)}: is larger than a report's can be", kind="too_large")
    return data


def fingerprint(folder: Path, name: str) -> str:
    """SHA-256 of a file, in hex.

    Raises:
        MediaError: As `opened`.
    """
    with opened(folder, name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    """What was kept of a view. What it unpacks to is bounded before it is.

    Raises:
        MediaError: It is no file of the folder.
        ValueError: It holds something else, or too much; and what else `NO_MAP` has.
    """
    data = read_file(folder, name)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if len(entries) > len(_ARRAYS):
            raise ValueError(f"it holds {len(entries)} arrays, expected {len(_ARRAYS)}")
        # NumPy makes room for what an array's header claims before it reads what is there.
        if (
            sum(entry.file_size for entry in entries) > _LARGEST_ARRAY
            or sum(abs(_claimed_bytes(archive, entry)) for entry in entries) > _LARGEST_ARRAY
        ):
            raise ValueError("it would unpack to more than a map can be")
    with np.load(io.BytesIO(data), allow_pickle=False) as kept:
        return {key: kept[key] for key in _ARRAYS if key in kept}


def _claimed_bytes(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    """What the header of an array in NumPy's own format says that it holds.

    Raises:
        ValueError: It is none.
    """
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("its entries are packed in no way that NumPy packs them")
    try:
        with archive.open(entry) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
    except Exception as error:  # NumPy reads it as Python, and raises whatever Python does
        raise ValueError(f"{entry.filename[:40]} has no header of an array") from error
    return math.prod(shape) * dtype.itemsize


def briefly(error: Exception) -> str:
    """In a few words."""
    return str(getattr(error, "strerror", None) or error)[:LONGEST] or type(error).__name__
