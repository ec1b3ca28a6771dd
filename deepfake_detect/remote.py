"""Files elsewhere, by URL: found, and fetched one by one into a private temporary file. Only for URLs that the user gives.

What reads them is fsspec with the storage's own package, and credentials come from where that package takes them, never
from a URL. A fetched file has no name on this machine: with the process that holds it, even a killed one, it is gone.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import IO, TYPE_CHECKING, Any

from . import source
from .errors import MediaError, OptionsError
from .types import Failure
from .watch import time_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .confine import Limits

# Others can run programs, follow links into other places, or open files of this machine.
PROTOCOLS = ("s3", "gs", "az", "memory")
# A single letter is a drive of Windows.
_PROTOCOL = "[A-Za-z][A-Za-z0-9+.-]+"
_URL = re.compile(f"{_PROTOCOL}(::|://)")
# Some of these in a name are a name; as a query they are someone's key.
_SECRETS = re.compile(
    r"\?.*(signature|credential|token|secret|passw|pwd|auth(?!ors?\b)|sas|jwt|sig|key)[^=]*=", re.IGNORECASE
)
_CHUNK, _AHEAD = 2**20, 8 * 2**20
# The first that a storage has changes whenever the content does.
_VERSIONS = ("ETag", "etag", "generation", "LastModified", "last_modified", "mtime", "created")
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Entry:
    """Something elsewhere, as its storage lists it.

    Attributes:
        url: Without credentials.
        stamp: What changes when it does; None where the storage has no such thing.
        failure: Why it is out of reach if that is known already.
    """

    url: str
    stamp: list[int] | None = None
    failure: Failure | None = None


def is_url(path: str) -> bool:
    """Whether this looks like a name of something elsewhere."""
    return _URL.match(path) is not None


def in_one_spelling(url: str) -> str:
    """S3:// is s3://."""
    protocol, mark, rest = url.partition("://")
    return f"{protocol.lower()}{mark}{rest}"


def find(url: str) -> Iterator[Entry]:
    """What there is at a URL, in one spelling: a file, all that is below a folder, or what fits a pattern.

    Raises:
        OptionsError: A package is missing.
    """
    clean = _without_secrets(url)
    protocol, _, rest = url.partition("://")
    if protocol not in PROTOCOLS:
        others = ", ".join(f"{name}://" for name in PROTOCOLS)
        # There a query may be a key whatever it is called, and what is behind # one that decrypts.
        clean = re.split("[?#]", clean)[0]
        yield Entry(clean, failure=Failure("refused", f"no place that is read from; those are {others}"))
        return
    if clean != url:
        found = "holds a key or a signature, which others can see here; give it to the storage's package instead"
        yield Entry(clean, failure=Failure("refused", found))
        return
    storage = _storage(protocol)
    try:
        for known in _entries(storage, rest):
            yield Entry(f"{protocol}://{known['name'].lstrip('/')}", _stamp(known))
    except FileNotFoundError:
        what = "nothing matches this pattern" if glob.has_magic(rest) else "no such file; check the URL"
        yield Entry(url, failure=Failure("not_found", what))
    except Exception as error:  # each storage has errors of its own
        yield Entry(url, failure=Failure("unreadable", f"can't be listed ({_reason(error)}); check the permissions"))


@contextmanager
def fetched(url: str, *, limits: Limits, stopped: Callable[[], bool]) -> Iterator[tuple[IO[bytes], list[int]]]:
    """A copy of a file elsewhere, as an open file without a name, gone at the end of the `with` statement; and its stamp.

    Args:
        limits: On size and time.
        stopped: Asked now and then; once it says so, nothing more is fetched.

    Raises:
        MediaError: It is not there, too large, or can't be fetched.
        OptionsError: A package is missing.
    """
    protocol, _, rest = url.partition("://")
    storage = _storage(protocol)
    with ExitStack() as opened:
        try:
            file = opened.enter_context(tempfile.TemporaryFile())
        except OSError as error:
            # Of this machine, where FileNotFoundError says that no folder for temporary files can be written to.
            said = f"there is no place here for a copy ({error.strerror}); check TMPDIR"
            raise MediaError(said, kind="unreadable") from error
        try:
            known = storage.info(rest)
            _check_size(int(known.get("size") or 0), limits)
            _copy(storage, rest, file, limits=limits, stopped=stopped)
            file.flush()
        except MediaError:
            raise
        except FileNotFoundError as error:
            raise MediaError("no such file; it was there a moment ago", kind="not_found") from error
        except Exception as error:  # each storage has errors of its own
            raise MediaError(f"can't be fetched ({_reason(error)})", kind="unreadable") from error
        file.seek(0)
        yield file, _stamp(known) or [int(known.get("size") or 0), 0, 0]


def _copy(storage: Any, path: str, file: IO[bytes], *, limits: Limits, stopped: Callable[[], bool]) -> None:
    size = 0
    with (
        time_over(limits.seconds) as is_over,
        storage.open(path, "rb", block_size=_AHEAD, cache_type="readahead") as remote_file,
    ):
        while not stopped() and (chunk := remote_file.read(_CHUNK)):
            size += len(chunk)
            _check_size(size, limits)
            if is_over():
                raise MediaError(f"took longer than {limits.seconds:g} s to fetch", kind="timed_out")
            file.write(chunk)


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.file_bytes:
        found = f"{size / 1e6:.0f} MB are more than {limits.file_bytes / 1e6:.0f} MB; raise the limit"
        raise MediaError(found, kind="too_large")


def _entries(storage: Any, path: str) -> Iterator[dict[str, Any]]:
    """What is known of each file at a path."""
    try:
        top = storage.info(path)
    except FileNotFoundError:
        if not glob.has_magic(path):
            raise
        yield from _matching(storage, path)
        return
    if top["type"] != "file":
        yield from _below(storage, top["name"])
        return
    yield top
    # Storages let one name be a file's and that of a folder.
    yield from (known for known in _listed(storage.find(path, detail=True)) if known["name"] != top["name"])


def _matching(storage: Any, pattern: str) -> Iterator[dict[str, Any]]:
    """The files that fit a pattern, and all below the folders that do.

    Raises:
        FileNotFoundError: Nothing does.
    """
    found = storage.glob(pattern, detail=True).values()
    if not found:
        raise FileNotFoundError(pattern)
    folders = {known["name"].rstrip("/") for known in found if known["type"] != "file"}
    for known in found:
        name = known["name"].rstrip("/")
        if any(name[: mark.start()] in folders for mark in re.finditer("/", name)):
            # Found below its folder.
            continue
        if known["type"] == "file":
            yield known
        else:
            yield from _below(storage, name)


def _below(storage: Any, top: str) -> Iterator[dict[str, Any]]:
    """Every file below a folder, one folder after another, so that no more than one's names are in memory.

    The storages' own `walk` leaves out what it can't list, and folders without a name, which keys with `//` have.
    """
    folders = [top.rstrip("/")]
    while folders:
        folder = folders.pop()
        try:
            here = storage.ls(folder, detail=True)
        except FileNotFoundError:
            if folder == top.rstrip("/"):
                raise
            # Deleted since its name was read.
            continue
        for known in here:
            name = known["name"].rstrip("/")
            if known["type"] == "file":
                yield from _listed({name: known})
            elif name.strip("/") != folder.strip("/"):
                folders.append(name)
            elif known["name"] != folder:
                # Nobody lists a folder without a name, but what begins with it.
                nameless = storage.find(folder, prefix="/", detail=True)
                yield from (known for known in _listed(nameless) if known["name"].startswith(f"{folder}//"))


def _listed(found: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The files of a listing. A name that ends with a slash stands for a folder."""
    return (known for known in found.values() if known["type"] == "file" and not known["name"].endswith("/"))


def _stamp(known: dict[str, Any]) -> list[int] | None:
    version = next((known[key] for key in _VERSIONS if known.get(key) is not None), None)
    if version is None:
        return None
    digest = hashlib.sha256(str(version).encode()).digest()
    return [int(known.get("size") or 0), int.from_bytes(digest[:8], "big") >> 1, 0]


@cache
def _storage(protocol: str) -> Any:
    if os.name != "posix":
        raise OptionsError(f"{protocol}://: URLs can be read on Linux and macOS only; copy the files first")
    try:
        import fsspec

        # Listings must be those of now, at each run.
        return fsspec.filesystem(protocol, use_listings_cache=False)
    except ImportError as error:
        raise OptionsError(
            f'{protocol}:// needs a package ({error}); pip install "deepfake-detect[remote]", for gs gcsfs, for az adlfs'
        ) from error
    except Exception as error:  # each storage has errors of its own
        raise OptionsError(f"{protocol}://: can't be used ({_reason(error)}); check its configuration") from error


def _without_secrets(url: str) -> str:
    """A URL, or several that stand for one, without name and password, and without a query that looks like a key."""
    return "::".join(_clean(part) for part in re.split(f"::(?={_PROTOCOL}://)", url))


def _clean(url: str) -> str:
    clean = _without_user(url)
    return clean[: clean.index("?")] if _SECRETS.search(clean) else clean


def _without_user(url: str) -> str:
    """Without name and password, also of an address that is part of it."""
    mark = re.search("://|::", url)
    if mark is None:
        return url
    rest = url[mark.end() :]
    place = rest.partition("/")[0]
    # A password may hold slashes; a place holds no colon but before one.
    if ":" in place or "@" in place:
        rest = rest.rpartition("@")[2]
    return url[: mark.end()] + _without_user(rest)


def _reason(error: Exception) -> str:
    """What went wrong, without the addresses with signatures that it may tell."""
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return source.shown(re.sub(r"\?\S+", "?...", text))[:_LONGEST_REASON]
